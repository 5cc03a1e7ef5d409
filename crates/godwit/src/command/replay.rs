//! `godwit replay`: sends a recording as a device would have, with its own timestamps.
//!
//! Rows are read as they are needed, sent as fast as acknowledgements allow (or at the recording's own pace), and
//! counted as done only when the server has acknowledged them; see `recording` for what is remembered.

mod csv_rows;
mod json_rows;
mod order;
pub(crate) mod rows;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::{Machine, Outgoing};
use host::{Disk, SystemDisk};
use jiff::tz::TimeZone;
use model::device_time::NOT_BEFORE_DEFAULT;
use model::limit::CLOCK_AHEAD_MICROS_MAX;
use model::{DeviceName, Qos, Timestamp, TopicName};

use self::order::Order;
use self::rows::{Format, Reading, Row, Rows};
use super::recording::delivery::{Collected, Delivery, How};
use super::recording::file::{FileReader, Survey, survey};
use super::recording::meter::Meter;
use super::recording::progress::Which;
use super::recording::sending::{Begun, SendingArgs};
use super::recording::{device, window, without_bom, zone};
use super::target::qos;
use crate::fault::with_hint;

/// What `--help` says behind the flags: the command line's own text for a command is one line.
const HELP: &str = r#"Sends each row of a CSV or JSON-lines file as a message to dt/DEVICE/telemetry, as JSON with
`ts` in milliseconds. In a CSV the header names the channels: lower case, other characters `_`;
an unnamed first column is dropped.

An interrupted replay goes on where it was when the same command is given again; a finished one
starts over. Sending rows twice changes nothing on the server: a reading is known by its device,
channel and time.

Examples:
  godwit replay office.csv --as office-1
  godwit replay office.csv --as office-1 --zone Europe/Berlin   # times in it are local
  godwit replay office.csv --as office-1 --speed 60   # a minute of it each second
  godwit replay log.jsonl --as press-3 --topic vibration --to 192.168.1.10:1883 --user press-3"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The recording
    file: PathBuf,
    /// The device that it is sent as
    #[arg(long = "as", value_name = "DEVICE", value_parser = device)]
    device: DeviceName,
    /// What follows the device in the topic: dt/DEVICE/TOPIC
    #[arg(long, value_name = "TOPIC", default_value = "telemetry")]
    topic: String,
    /// `max`, as fast as acknowledgements allow, or how many times the recording's own pace
    #[arg(long, value_name = "FACTOR", default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Time zone of times in the file that name none, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    zone: TimeZone,
    /// The column that holds the time [default: date, time, timestamp, ts, or the first that holds times]
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// How the file is written [default: by its name, else by its first character]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Stop at the first row that cannot be read, instead of leaving it out
    #[arg(long)]
    strict: bool,
    /// Send the rows in an order drawn from SEED: to try what late data does
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Send each message so many times, as a device does that has missed the acknowledgement: to try repeats
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    copies: u32,
    /// 0: nobody waits; 1: acknowledged when durable
    #[arg(short, long, default_value = "1", value_parser = qos)]
    qos: Qos,
    /// Most messages on their way to the server
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = window)]
    window: usize,
    #[command(flatten)]
    sending: SendingArgs,
}

/// How fast rows are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

/// Sends the recording and prints what became of it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let machine = Machine::system();
    let topic = TopicName::parse(format!("dt/{}/{}", args.device, args.topic))?;
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let survey =
        survey(&*disk, &args.file).with_context(|| format!("cannot read `{}`", args.file.display()))?;
    let rows = open(&*disk, &args, &survey)?;
    let target = args.sending.target.find()?;
    let shuffle = args.shuffle.map_or(String::new(), |seed| seed.to_string());
    let which = Which {
        command: "replay".to_owned(),
        file_sha256: survey.hash,
        target: target.identity.clone(),
        how: vec![args.device.to_string(), args.topic.clone(), shuffle],
    };
    let Begun { delivery, meter, skip } =
        args.sending.begin(which, args.window, &target, (survey.lines, "row"), (&machine, &disk)).await?;
    let mut sender = Sender {
        args: &args,
        topic,
        machine,
        meter,
        delivery: &delivery,
        summary: Sent::default(),
        pace_from: None,
    };
    let sent = sender.send(rows, skip).await;
    let summary = sender.summary;
    let mut collected = delivery.finish(sent).await?;
    collected.progress.forget()?;
    report(&args, &summary, &collected)
}

fn open(disk: &dyn Disk, args: &Args, survey: &Survey) -> anyhow::Result<Order<FileReader>> {
    let name = args.file.to_string_lossy();
    let bom = survey.head.len() - without_bom(&survey.head).len();
    let input = FileReader::open(disk, &args.file, bom as u64)?;
    let format = args.format.unwrap_or_else(|| Format::detect(&name, &survey.head));
    let reading = Reading { zone: args.zone.clone(), time: args.time.clone() };
    let rows = Rows::open(format, input, &survey.head, &reading).map_err(|error| {
        let hint = error.hint();
        with_hint(anyhow::Error::new(error).context(format!("cannot replay `{name}`")), hint)
    })?;
    Ok(match args.shuffle {
        None => Order::File(rows),
        Some(seed) => Order::shuffled(rows, seed).with_context(|| format!("cannot shuffle `{name}`"))?,
    })
}

/// What was sent.
#[derive(Debug, Default)]
struct Sent {
    left_out: u64,
    /// Rows whose time the server will not believe.
    unbelievable: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

struct Sender<'a> {
    args: &'a Args,
    topic: TopicName,
    machine: Machine,
    meter: Meter,
    delivery: &'a Delivery,
    summary: Sent,
    /// The row from which the pace is counted, and when it was sent.
    pace_from: Option<(Timestamp, u64)>,
}

impl Sender<'_> {
    async fn send(&mut self, rows: Order<FileReader>, skip: u64) -> anyhow::Result<How> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for (done, row) in (1_u64..).zip(rows).skip(skip) {
            let row = match row.context("cannot read the recording")? {
                Ok(row) => row,
                Err(bad) if self.args.strict => {
                    let error = anyhow::anyhow!("line {}: {}", bad.line, bad.why);
                    return Err(with_hint(
                        error,
                        Some("correct the line, or leave such rows out by omitting --strict"),
                    ));
                }
                Err(bad) => {
                    self.summary.left_out += 1;
                    self.meter.bad_row(bad.line, &bad.why);
                    continue;
                }
            };
            self.note_time(row.time);
            // While the window is full or the pace asks for patience, an interruption is heard all the same.
            let outcome = tokio::select! {
                biased;
                _ = &mut interrupt => return Ok(How::Interrupted),
                outcome = self.send_row(row, done) => outcome,
            };
            // The one who counts has met an error, and will tell it.
            if !outcome? {
                break;
            }
        }
        Ok(How::Finished)
    }

    /// Sends a row; false when nobody counts any more.
    async fn send_row(&mut self, row: Row, done: u64) -> anyhow::Result<bool> {
        self.keep_pace(row.time).await;
        let message = Outgoing { qos: self.args.qos, ..Outgoing::new(self.topic.clone(), row.payload) };
        for copy in 1..=self.args.copies {
            // A copy that is followed by another ends no row.
            let done = if copy == self.args.copies { done } else { 0 };
            if !self.delivery.send(message.clone(), done).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note_time(&mut self, time: Timestamp) {
        let ahead = time.micros_since(self.machine.clock.now()) > CLOCK_AHEAD_MICROS_MAX;
        self.summary.unbelievable += u64::from(ahead || time < NOT_BEFORE_DEFAULT);
        self.summary.first = Some(self.summary.first.map_or(time, |first| first.min(time)));
        self.summary.last = Some(self.summary.last.map_or(time, |last| last.max(time)));
    }

    async fn keep_pace(&mut self, time: Timestamp) {
        let Speed::Times(factor) = self.args.speed else { return };
        let now = self.machine.clock.mono_micros();
        let (first, started) = *self.pace_from.get_or_insert((time, now));
        let due_micros = time.micros_since(first).max(0) as f64 / factor;
        let wait_s = (due_micros - now.saturating_sub(started) as f64) / 1e6;
        if let Ok(wait) = Duration::try_from_secs_f64(wait_s) {
            tokio::time::sleep(wait).await;
        }
    }
}

fn report(args: &Args, sent: &Sent, collected: &Collected) -> anyhow::Result<()> {
    use std::fmt::Write as _;
    let rate = collected.messages as f64 / collected.elapsed.as_secs_f64().max(1e-6);
    let mut text = format!(
        "{} messages acknowledged in {:.2} s ({rate:.0}/s), as device {}\n",
        collected.messages,
        collected.elapsed.as_secs_f64(),
        args.device
    );
    if collected.messages > 0 {
        let ms = |quantile| collected.waits.value_at_quantile(quantile) as f64 / 1000.0;
        writeln!(text, "acknowledgement: p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99))?;
    }
    if let (Some(first), Some(last)) = (sent.first, sent.last) {
        writeln!(text, "time of the rows: {first} to {last}")?;
    }
    if sent.left_out > 0 {
        writeln!(
            text,
            "{} rows left out: correct the lines named above and replay again; what was sent stays as it is",
            sent.left_out
        )?;
    }
    if sent.unbelievable > 0 {
        writeln!(
            text,
            "{} rows are from before {NOT_BEFORE_DEFAULT} or from the future: the server takes the time of receipt \
             for them, unless a route's `not_before` says otherwise",
            sent.unbelievable
        )?;
    }
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    Ok(())
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Times(factor)),
        _ => Err("it is `max` or a number above 0, such as 60".to_owned()),
    }
}
