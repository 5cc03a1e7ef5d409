//! `godwit doctor`: looks at the machine and at the server, and says of each finding what to do.

mod certificates;
mod exports;
mod flags;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;

use host::{Clock, Disk, SystemClock, SystemDisk};
use reqwest::Method;
use serde::Deserialize;

use self::certificates::Authority;
use self::exports::Export;
use self::flags::Flagged;
use crate::http::ServerArgs;
use crate::server_file::ServerFile;

/// What `--help` says behind the flags.
const HELP: &str = "Looks at the machine the data is on: how long a disk sync takes (each acknowledgement waits for one), the
clock, file descriptors, free space, the place of the key. And at what the server knows: topics without a route,
payloads that could not be understood, devices whose retries may be counted twice, consumers that lag, damage.

Ends with 1 when something is wrong, with 0 when there are only warnings.";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// As JSON: an array of findings
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Syncs that are timed.
const PROBES: usize = 50;
/// What is written before each, in bytes: about what a group commit of a quiet server writes.
const PROBE_BYTES: usize = 4096;
/// Above this a sync is slow, in microseconds.
const SYNC_SLOW_MICROS: u64 = 10_000;
/// Above this it is so slow that devices will notice, in microseconds.
const SYNC_BAD_MICROS: u64 = 100_000;
/// Fewer file descriptors than this do not carry a fleet.
const FILES_FEW: u64 = 4_096;
/// No clock that is right says an earlier time, in microseconds since 1970: 2026-01-01.
const CLOCK_EARLIEST_MICROS: i64 = 1_767_225_600_000_000;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Fine,
    Warning,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, serde::Serialize)]
struct Finding {
    level: Level,
    subject: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    fn fine(subject: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Fine, subject, found: found.into(), todo: None }
    }

    fn warning(subject: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject, found: found.into(), todo: Some(todo.into()) }
    }

    fn wrong(subject: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Wrong, subject, found: found.into(), todo: Some(todo.into()) }
    }
}

/// Looks, prints, and ends with 1 when something is wrong.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    if !args.server.is_remote() {
        findings.extend(machine(&args.server.data_dir()));
    }
    match args.server.find() {
        Ok(server) => match server.json::<Status>(Method::GET, "/api/v1/status", None).await {
            Ok(status) => {
                if !args.server.is_remote() {
                    findings.extend(sql_finding(&args.server.data_dir()));
                }
                findings.extend(status.findings());
                // Whoever may not ask is not told.
                let authority = server.json::<Authority>(Method::GET, "/api/v1/ca", None).await;
                findings.extend(authority.ok().map(|authority| authority.finding()));
            }
            Err(error) => findings.push(Finding::wrong("server", format!("{error:#}"), "look at its log")),
        },
        Err(error) => {
            findings.push(Finding::warning("server", format!("{error:#}"), "start it with `godwit serve`"));
        }
    }
    print(&findings, args.json)?;
    let wrong = findings.iter().filter(|finding| finding.level == Level::Wrong).count();
    anyhow::ensure!(wrong == 0, "{wrong} of {} findings are wrong", findings.len());
    Ok(())
}

/// Where SQL clients are served.
fn sql_finding(data: &Path) -> Option<Finding> {
    let found = match ServerFile::read(data).ok()?.postgres {
        Some(address) => format!("PostgreSQL clients are served on {address}"),
        None => "PostgreSQL clients are not served: `[postgres] enabled` is false, or 127.0.0.1:5433 was taken at start"
            .to_owned(),
    };
    Some(Finding::fine("sql", found))
}

fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(findings)?)?;
        return Ok(());
    }
    let colour = out.is_terminal();
    for finding in findings {
        let (mark, paint) = match finding.level {
            Level::Fine => ("fine   ", "32"),
            Level::Warning => ("warning", "33"),
            Level::Wrong => ("wrong  ", "31"),
        };
        let mark = if colour { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() };
        let mut text = format!("{mark}  {:<14}", finding.subject);
        indent(&mut text, &finding.found);
        if let Some(todo) = &finding.todo {
            text += &format!("\n{:25}", "");
            indent(&mut text, &format!("-> {todo}"));
        }
        writeln!(out, "{text}")?;
    }
    Ok(())
}

/// Further lines stand below the first.
fn indent(text: &mut String, more: &str) {
    for (number, line) in more.lines().enumerate() {
        if number > 0 {
            let _ = write!(text, "\n{:25}", "");
        }
        text.push_str(line);
    }
}

/// What can be seen of the machine the data is on.
fn machine(data: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let clock = SystemClock::start();
    findings.push(clock_finding(&clock));
    if !data.join("FORMAT").exists() {
        findings.push(Finding::warning(
            "data",
            format!("`{}` is no data directory of Godwit", data.display()),
            "name one with --data",
        ));
        return findings;
    }
    findings.push(sync_finding(data, &clock));
    findings.push(space_finding(data));
    findings.push(key_finding(data));
    if let Ok(file) = ServerFile::read(data) {
        findings.push(files_finding(file.pid));
    }
    findings
}

fn clock_finding(clock: &SystemClock) -> Finding {
    let now = clock.now();
    if now.micros() < CLOCK_EARLIEST_MICROS {
        let todo = "set it, and keep it set (NTP): readings without a time of their own get this one";
        return Finding::wrong("clock", format!("it says {now}, which is past"), todo);
    }
    Finding::fine("clock", format!("{now}"))
}

fn sync_finding(data: &Path, clock: &SystemClock) -> Finding {
    match sync_latency(data, clock) {
        Err(error) => Finding::wrong(
            "disk sync",
            format!("cannot write to `{}`: {error}", data.display()),
            "make room, or give the user that runs this the right to write there",
        ),
        Ok((p50, p99)) => {
            let found = format!("p50 {:.2} ms, p99 {:.2} ms", p50 as f64 / 1e3, p99 as f64 / 1e3);
            let slow = "every acknowledgement waits for one: a disk with power-loss protection is a hundred times quicker";
            match p50 {
                SYNC_BAD_MICROS.. => Finding::wrong("disk sync", found, slow),
                SYNC_SLOW_MICROS.. => Finding::warning("disk sync", found, slow),
                _ => Finding::fine("disk sync", found),
            }
        }
    }
}

/// Times a few syncs of a file beside the journal: the median and the slowest but for one in a hundred, in microseconds.
fn sync_latency(data: &Path, clock: &SystemClock) -> std::io::Result<(u64, u64)> {
    let path = data.join(format!("doctor-{}.probe", std::process::id()));
    let mut file = SystemDisk.create(&path)?;
    let mut timed = || -> std::io::Result<Vec<u64>> {
        let mut micros = Vec::with_capacity(PROBES);
        for _ in 0..PROBES {
            file.append(&[0x5a; PROBE_BYTES])?;
            let before = clock.mono_micros();
            file.sync()?;
            micros.push(clock.mono_micros() - before);
        }
        Ok(micros)
    };
    let micros = timed();
    SystemDisk.remove(&path)?;
    let mut micros = micros?;
    micros.sort_unstable();
    Ok((micros[PROBES / 2], micros[PROBES * 99 / 100]))
}

fn space_finding(data: &Path) -> Finding {
    match SystemDisk.space(data) {
        Err(error) => {
            Finding::warning("free space", format!("cannot be known: {error}"), "look at the volume")
        }
        Ok(space) => {
            let part = space.free as f64 / space.total.max(1) as f64;
            let found =
                format!("{} of {} ({:.0} %)", gigabytes(space.free), gigabytes(space.total), part * 100.0);
            let todo =
                "make room: Godwit drops its oldest raw readings and refuses messages before it fills a disk";
            match part {
                part if part < 0.02 => Finding::wrong("free space", found, todo),
                part if part < 0.10 => Finding::warning("free space", found, todo),
                _ => Finding::fine("free space", found),
            }
        }
    }
}

fn key_finding(data: &Path) -> Finding {
    let key = host::default_key_path(data);
    match host::machine::same_volume(data, &key) {
        Ok(true) => Finding::warning(
            "key",
            format!("`{}` is on the same disk as the data", key.display()),
            "who takes the disk can read the data: put the key elsewhere and name it with `[keys] file`; keep a copy apart",
        ),
        Ok(false) => Finding::fine("key", format!("`{}` is on another disk than the data", key.display())),
        Err(_) => Finding::fine("key", "not in its default place: named by `[keys] file`"),
    }
}

fn files_finding(pid: u32) -> Finding {
    match host::machine::open_files(pid) {
        Err(error) => {
            Finding::warning("open files", format!("of pid {pid}: {error}"), "run as the user of the server")
        }
        Ok(files) if files.limit < FILES_FEW => Finding::warning(
            "open files",
            format!("{} of at most {}", files.open, files.limit),
            "each connection is one: raise the limit (`LimitNOFILE=` of its unit, or `ulimit -n`)",
        ),
        Ok(files) => Finding::fine("open files", format!("{} of at most {}", files.open, files.limit)),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// What the server says of itself, as far as it is judged here.
#[derive(Debug, Deserialize)]
struct Status {
    journal: Journal,
    series: Series,
    exports: Vec<Export>,
    devices: Vec<Flagged>,
}

#[derive(Debug, Deserialize)]
struct Journal {
    bytes: u64,
    bytes_max: u64,
    poisoned: Option<String>,
    full: bool,
    damage: Vec<Damage>,
    consumers: Vec<Consumer>,
}

#[derive(Debug, Deserialize)]
struct Damage {
    segment: String,
    from: u64,
    to: u64,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Consumer {
    name: String,
    lag_records: u64,
    lag_s: f64,
    #[serde(default)]
    held_s: f64,
}

#[derive(Debug, Deserialize)]
struct Series {
    flush_after_s: f64,
    undecodable: Vec<Undecodable>,
    unrouted: Vec<Unrouted>,
    no_identity: Vec<String>,
    channels_beyond: Vec<String>,
    type_changed: Vec<String>,
    notes: BTreeMap<String, u64>,
    faulty: BTreeMap<String, String>,
    disk: Volume,
    remote: Option<Remote>,
}

#[derive(Debug, Deserialize)]
struct Volume {
    used: u64,
    budget: u64,
    nearly_full: bool,
    growth_per_day: u64,
    days_left: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Remote {
    url: String,
    files: u64,
    bytes: u64,
    last_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Undecodable {
    reason: String,
    count: u64,
    topic: String,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct Unrouted {
    pattern: String,
    count: u64,
    topic: String,
    suggestion: String,
}

/// A consumer that is further behind than this is worth a word, in seconds.
const LAG_LONG_S: f64 = 60.0;

/// What a consumer has taken and not stored for longer than this, in seconds, it cannot store: all of them do within
/// `[series] flush_after` (10 minutes, or what is set), some within seconds.
const HELD_LONG_S: f64 = 3_600.0;

/// Beyond `[series] flush_after` this may take storing itself.
const FLUSHES_LATE: f64 = 2.0;

impl Status {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.journal.finding()];
        for damage in &self.journal.damage {
            findings.push(Finding::warning(
                "damage",
                format!(
                    "{}: seq {}..{} cannot be read: {}",
                    damage.segment, damage.from, damage.to, damage.reason
                ),
                "look at the disk; devices that kept these readings may send them again",
            ));
        }
        for consumer in self.journal.consumers.iter().filter(|consumer| consumer.lag_s > LAG_LONG_S) {
            findings.push(Finding::warning(
                "lag",
                format!(
                    "`{}` is {} messages ({:.0} s) behind",
                    consumer.name, consumer.lag_records, consumer.lag_s
                ),
                "it catches up when less comes in; if it does not, the machine is too small",
            ));
        }
        let unstored = |consumer: &Consumer| consumer.unstored(self.series.flush_after_s);
        findings.extend(self.journal.consumers.iter().filter_map(unstored));
        findings.extend(self.series.findings());
        findings.extend(self.exports.iter().map(Export::finding));
        findings.extend(self.devices.iter().filter_map(Flagged::finding));
        findings
    }
}

impl Consumer {
    /// That it has taken and cannot store.
    fn unstored(&self, flush_after_s: f64) -> Option<Finding> {
        let held_long_s = HELD_LONG_S.max(FLUSHES_LATE * flush_after_s);
        (self.lag_s <= LAG_LONG_S && self.held_s > held_long_s).then(|| {
            Finding::warning(
                "unstored",
                format!("`{}` has stored nothing of the last {:.0} minutes", self.name, self.held_s / 60.0),
                "nothing is lost as long as the journal has room; the log says what it cannot write",
            )
        })
    }
}

impl Journal {
    fn finding(&self) -> Finding {
        let found = format!("{} of at most {}", gigabytes(self.bytes), gigabytes(self.bytes_max));
        match &self.poisoned {
            Some(reason) => Finding::wrong(
                "journal",
                format!("it refuses messages: {reason}"),
                "a disk that fails to sync cannot be trusted: look at it, then start the server again",
            ),
            None if self.full => Finding::wrong(
                "journal",
                format!("it refuses messages, being full: {found}"),
                "raise `[journal] bytes_max`, shorten `[journal] keep`, or see which consumer holds it",
            ),
            None => Finding::fine("journal", found),
        }
    }
}

impl Series {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, reason) in &self.faulty {
            findings.push(Finding::wrong(
                "file",
                format!("`{name}` cannot be read: {reason}"),
                "put it back from a backup into `series/` and start the server again; queries that do not need it are answered",
            ));
        }
        for unrouted in &self.unrouted {
            findings.push(Finding::warning(
                "unrouted",
                format!(
                    "{} messages on `{}`, such as `{}`, match no route",
                    unrouted.count, unrouted.pattern, unrouted.topic
                ),
                format!(
                    "they are kept in the journal; if they are readings, add this to the settings, restart the server and run \
                     `godwit reprocess --since 7d`:\n{}",
                    unrouted.suggestion.trim_end()
                ),
            ));
        }
        for undecodable in &self.undecodable {
            findings.push(Finding::warning(
                "undecodable",
                format!("{} messages: {}, such as on `{}`: {}", undecodable.count, undecodable.reason, undecodable.topic, undecodable.detail),
                "see them: godwit query \"SELECT time, topic, error, payload FROM messages WHERE error IS NOT NULL\"",
            ));
        }
        if !self.no_identity.is_empty() {
            findings.push(Finding::warning(
                "no identity",
                format!("a retry of these devices may be counted twice: {}", self.no_identity.join(", ")),
                "let them send a time (`ts`) or a `message-id` with each message",
            ));
        }
        if !self.channels_beyond.is_empty() {
            findings.push(Finding::warning(
                "channels",
                format!("these devices have more channels than are stored: {}", self.channels_beyond.join(", ")),
                "a changing value in a field's name makes a channel of each: `ignore` or `rename` it in the route, or raise `[series] channels_per_device`",
            ));
        }
        if !self.type_changed.is_empty() {
            findings.push(Finding::warning(
                "type changed",
                format!("a text where a number was, or the other way round: {}", self.type_changed.join(", ")),
                "both are stored, in the columns `value` and `text`; look at the device, or `rename` one of them in its route",
            ));
        }
        if let Some(count) = self.notes.get("not_formatted") {
            findings.push(Finding::warning(
                "not formatted",
                format!("{count} uplinks that their network server did not decode"),
                "give the device a payload formatter (The Things Stack) or a codec (ChirpStack)",
            ));
        }
        if let Some(count) = self.notes.get("zone_missing") {
            findings.push(Finding::warning(
                "no zone",
                format!("{count} messages with local times and no zone: the time of receipt is used"),
                "say the zone in their route: zone = \"Europe/Berlin\"",
            ));
        }
        findings.extend(self.sparkplug());
        if findings.is_empty() {
            findings.push(Finding::fine("readings", "everything that came in could be understood"));
        }
        findings.push(self.disk.finding());
        findings.extend(self.remote.as_ref().map(Remote::finding));
        findings
    }

    /// What Sparkplug's edge nodes said that no birth explains.
    fn sparkplug(&self) -> Option<Finding> {
        let troubles = [
            ("sparkplug_gap", "after a gap"),
            ("sparkplug_unborn", "of nodes or devices that were not born"),
            ("sparkplug_unknown_metric", "with metrics that no birth told"),
            ("sparkplug_values_skipped", "with data sets, templates, bytes or arrays"),
            ("sparkplug_no_room", "of nodes beyond the bound on what is remembered"),
        ];
        let counted = troubles.iter().filter_map(|(note, what)| Some((*self.notes.get(*note)?, what)));
        let told: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
        (!told.is_empty()).then(|| {
            Finding::warning(
                "sparkplug",
                format!("messages lost, or not stored wholly: {}", told.join(", ")),
                "nodes are asked for their births by themselves; docs/sparkplug.md says what is not stored",
            )
        })
    }
}

impl Volume {
    fn finding(&self) -> Finding {
        let growth = match self.days_left {
            Some(days) => {
                format!("; {} a day, which is reached in {days} days", gigabytes(self.growth_per_day))
            }
            None => String::new(),
        };
        let found = format!("{} of at most {} used{growth}", gigabytes(self.used), gigabytes(self.budget));
        if self.nearly_full {
            return Finding::warning(
                "disk budget",
                found,
                "then the oldest raw readings go: raise `[series] disk_budget`, say ages with `keep`, or name a `[series.remote]`",
            );
        }
        Finding::fine("disk budget", found)
    }
}

impl Remote {
    fn finding(&self) -> Finding {
        let found = format!("`{}` has {} files, {}", self.url, self.files, gigabytes(self.bytes));
        match &self.last_error {
            Some(error) => Finding::wrong(
                "remote store",
                format!("{found}; it does not answer: {error}"),
                "readings that are there cannot be asked for meanwhile; all else goes on, and what is old waits here",
            ),
            None => Finding::fine("remote store", found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_as_long_as_the_settings_say_is_no_finding() {
        let (quick, slow) = (600.0, 7_200.0);
        for (held_s, flush_after_s, is_found) in
            [(3_000.0, quick, false), (3_700.0, quick, true), (7_300.0, slow, false), (15_000.0, slow, true)]
        {
            let name = "series".to_owned();
            let consumer = Consumer { name, lag_records: 0, lag_s: 0.0, held_s };
            assert_eq!(consumer.unstored(flush_after_s).is_some(), is_found, "{held_s} {flush_after_s}");
        }
    }
}
