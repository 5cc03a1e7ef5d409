//! `godwit load ingest`: many publishers, each with a window of unacknowledged messages.
//!
//! A closed loop: an acknowledgement makes room for the next message, so the server is never flooded and the figures
//! say what it sustains. Packets are encoded once and only given their id (and digits) anew; the clock is read once
//! per read of the socket. The law: a message counts when it is acknowledged, and every message sent is waited for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use client::{Machine, Options, Plain, WINDOW_MAX};
use hdrhistogram::Histogram;
use host::{Clock, Random as _, SystemRandom};
use indicatif::HumanCount;
use model::{Qos, TopicName};
use mqtt::{Delivery, PublishTemplate, Reason};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{processor, status};
use crate::command::target::{Target, TargetArgs, duration, qos};
use crate::fault::hinted;
use crate::server_file::ServerFile;

/// Connections that are being made at one time: a server's accept queue is not what is measured.
const CONNECTING_AT_ONCE: usize = 64;
/// How long the last acknowledgements may take after the time is up.
const LAST_ACKS: Duration = Duration::from_secs(30);
/// Longest acknowledgement that is told apart, in microseconds: a minute.
const WAIT_MICROS_MAX: u64 = 60_000_000;
/// How much is read at once: the acknowledgements of a large window.
const READ_BYTES: usize = 16 * 1024;
/// How far before now the readings of `--json-readings` start, in milliseconds: a millisecond a message and device
/// must not overtake the clock.
const READINGS_START_MS: i64 = 3_600_000;

/// What `--help` says behind the flags: the command line's own text for a command is one line.
const HELP: &str = r#"Publishes from many connections as fast as acknowledgements allow, and prints what was
sustained: messages a second, how long acknowledgements took, and the server's processor time.

Examples:
  godwit load ingest --data ./godwit-data                   # no route decodes it
  godwit load ingest --data ./godwit-data --json-readings   # until series has them
  godwit load ingest --to 127.0.0.1:1884 --pid $(pidof mosquitto)   # any other server"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Connections, each a publisher
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Unacknowledged messages of each connection
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=WINDOW_MAX as i64))]
    window: u16,
    /// Payload of each message in bytes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    bytes: u32,
    /// How long to publish
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = duration)]
    seconds: Duration,
    /// Where to publish: TOPIC/N for connection N
    #[arg(long, value_name = "TOPIC", default_value = "load")]
    topic: String,
    /// Publish one JSON reading a message on dt/load-N/telemetry; with --data the server's processor time is counted
    /// until series has applied them all
    #[arg(long, conflicts_with_all = ["topic", "bytes"])]
    json_readings: bool,
    /// 0: nobody waits but for the last message of each connection; 1: acknowledged
    #[arg(short, long, default_value = "1", value_parser = qos)]
    qos: Qos,
    /// The server's process on this machine, for its processor time [default: that of --data]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Figures {
    connections: u32,
    window: u16,
    payload_bytes: usize,
    qos: u8,
    /// Acknowledged messages; with QoS 0 those that the server has read.
    messages: u64,
    refused: u64,
    seconds: f64,
    messages_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_ms: Option<AckMs>,
    /// Seconds from the last acknowledgement until series had applied everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_core_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_core_seconds_per_million: Option<f64>,
    generator_core_seconds: f64,
}

#[derive(Debug, Serialize)]
struct AckMs {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Connects, publishes, counts, prints.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(!args.seconds.is_zero(), "--seconds must be above 0");
    let target = args.target.find()?;
    let server = target.data.as_deref().map(ServerFile::read).transpose()?;
    let pid = args.pid.or(server.as_ref().map(|file| file.pid));
    let machine = Machine::system();
    let clock = Arc::clone(&machine.clock);
    let (publishers, payload_bytes) = connect_all(&args, &target, &clock).await?;

    let own = std::process::id();
    let used = |pid: Option<u32>| pid.map(processor::core_seconds).transpose();
    let (server_before, own_before) = (used(pid)?, processor::core_seconds(own)?);
    let started = clock.mono_micros();
    let until = started.saturating_add(u64::try_from(args.seconds.as_micros()).unwrap_or(u64::MAX));
    let mut running = JoinSet::new();
    for publisher in publishers {
        running.spawn(tokio::time::timeout(args.seconds + LAST_ACKS, publisher.run(until)));
    }
    let mut tally = Tally::new();
    while let Some(finished) = running.join_next().await {
        let of_one = finished.context("a publisher broke off")?;
        tally.add(of_one.map_err(|_| {
            anyhow!("acknowledgements are missing {} s after the end", LAST_ACKS.as_secs())
        })??);
    }
    let ended = clock.mono_micros();
    let catch_up_seconds = match &server {
        Some(file) if args.json_readings => {
            status::caught_up(file).await?;
            Some(seconds(clock.mono_micros() - ended))
        }
        _ => None,
    };
    let server_core_seconds = used(pid)?.zip(server_before).map(|(after, before)| after - before);
    let figures = Figures {
        connections: args.connections,
        window: args.window,
        payload_bytes,
        qos: args.qos as u8,
        messages: tally.messages,
        refused: tally.refused,
        seconds: seconds(ended - started),
        messages_per_second: tally.messages as f64 / seconds(ended - started).max(1e-6),
        ack_ms: (!tally.waits.is_empty()).then(|| tally.ack_ms()),
        catch_up_seconds,
        server_core_seconds,
        server_core_seconds_per_million: server_core_seconds
            .map(|used| used * 1e6 / tally.messages.max(1) as f64),
        generator_core_seconds: processor::core_seconds(own)? - own_before,
    };
    let text = if args.json { serde_json::to_string(&figures)? + "\n" } else { table(&figures, pid) };
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    if let Some(reason) = tally.first_refusal {
        bail!("{} messages were refused, the first because: {reason}", tally.refused);
    }
    Ok(())
}

async fn connect_all(
    args: &Args,
    target: &Target,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Vec<Publisher>, usize)> {
    let run = SystemRandom.number() >> 32;
    let base = args.target.options(target, "load");
    let mut publishers = Vec::new();
    let mut payload_bytes = 0;
    let mut connecting = JoinSet::new();
    for n in 1..=args.connections {
        if connecting.len() >= CONNECTING_AT_ONCE {
            publishers.extend(connecting.join_next().await.transpose()?.transpose()?);
        }
        // No keep-alive: a publisher here is never idle, and answers nothing but acknowledgements.
        let options =
            Options { client_id: format!("load-{run:08x}-{n}").into(), keep_alive_s: 0, ..base.clone() };
        let (topic, payload) = if args.json_readings {
            (format!("dt/load-{n}/telemetry"), Payload::readings(clock))
        } else {
            (format!("{}/{n}", args.topic), Payload::filler(args.bytes as usize))
        };
        payload_bytes = payload.bytes.len();
        let topic = TopicName::parse(topic)?;
        let templates = Templates {
            each: template(&topic, &payload.bytes, args.qos, options.version)?,
            last: template(&topic, &payload.bytes, Qos::AtLeastOnce, options.version)?,
        };
        let (clock, window, qos) = (Arc::clone(clock), args.window, args.qos);
        connecting.spawn(async move {
            let plain = Plain::connect(&options).await.map_err(hinted(client::ConnectError::hint))?;
            let window = usize::from(window).min(plain.receive_maximum);
            Ok::<_, anyhow::Error>(Publisher { plain, templates, payload, clock, window, qos })
        });
    }
    while let Some(connected) = connecting.join_next().await {
        publishers.push(connected??);
    }
    Ok((publishers, payload_bytes))
}

fn template(
    topic: &TopicName,
    payload: &[u8],
    qos: Qos,
    version: mqtt::Version,
) -> Result<PublishTemplate, mqtt::EncodeError> {
    let delivery = Delivery {
        topic,
        qos,
        retain: false,
        expiry_s: None,
        subscription_ids: &[],
        attached: None,
        payload: &Bytes::copy_from_slice(payload),
    };
    PublishTemplate::new(&delivery, version)
}

/// What each message carries: always as long as the template says, only the digits differ.
struct Payload {
    bytes: Vec<u8>,
    /// The time of the next reading in milliseconds, when these are readings.
    next_ms: Option<u64>,
}

impl Payload {
    fn filler(bytes: usize) -> Self {
        Self { bytes: (0..bytes).map(|n| b'a' + (n % 26) as u8).collect(), next_ms: None }
    }

    fn readings(clock: &Arc<dyn Clock>) -> Self {
        let now_ms = clock.now().micros() / 1000;
        let next_ms = u64::try_from(now_ms - READINGS_START_MS).unwrap_or(0);
        Self { bytes: b"{\"ts\":0000000000000,\"temperature\":20.00}".to_vec(), next_ms: Some(next_ms) }
    }

    /// Makes the next reading: a millisecond later, a hundredth of a degree further every sixteenth time.
    fn advance(&mut self) {
        let Some(ms) = &mut self.next_ms else { return };
        digits(*ms, &mut self.bytes[6..19]);
        let hundredths = *ms / 16 % 1000;
        digits(hundredths / 100, &mut self.bytes[35..36]);
        digits(hundredths % 100, &mut self.bytes[37..39]);
        *ms += 1;
    }
}

/// Writes the last digits of `number`, as many as there is room for.
fn digits(mut number: u64, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The packets of one connection, encoded.
struct Templates {
    each: PublishTemplate,
    /// Of QoS 1: behind messages of QoS 0 its acknowledgement says that the server has read them all.
    last: PublishTemplate,
}

/// One connection that publishes.
struct Publisher {
    plain: Plain,
    templates: Templates,
    payload: Payload,
    clock: Arc<dyn Clock>,
    window: usize,
    qos: Qos,
}

impl Publisher {
    async fn run(mut self, until: u64) -> anyhow::Result<Tally> {
        match self.qos {
            Qos::AtMostOnce => self.flood(until).await,
            _ => self.converse(until).await,
        }
    }

    async fn converse(&mut self, until: u64) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        let mut output = BytesMut::new();
        // By packet id, which goes from 1 to the window.
        let mut sent_at = vec![self.clock.mono_micros(); self.window + 1];
        let mut out = 0;
        for id in 1..=self.window {
            self.put(u16::try_from(id)?, &mut output);
            out += 1;
        }
        while out > 0 {
            if !output.is_empty() {
                self.plain.stream.write_all(&output).await.context("the server closed a connection")?;
                output.clear();
            }
            self.plain.input.reserve(READ_BYTES);
            let read = self.plain.stream.read_buf(&mut self.plain.input).await.unwrap_or(0);
            ensure!(read > 0, "the server closed a connection with {out} messages unacknowledged");
            let now = self.clock.mono_micros();
            while let Some((id, reason)) = self.plain.next_ack()? {
                let since = sent_at
                    .get_mut(usize::from(id))
                    .with_context(|| format!("acknowledgement of id {id}, which was never sent"))?;
                tally.answered(now.saturating_sub(*since), reason);
                if now < until {
                    *since = now;
                    self.put(id, &mut output);
                } else {
                    out -= 1;
                }
            }
        }
        Ok(tally)
    }

    async fn flood(&mut self, until: u64) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        let mut output = BytesMut::new();
        let mut is_last = false;
        while !is_last {
            is_last = self.clock.mono_micros() >= until;
            if is_last {
                self.templates.last.write_head(1, &mut output);
                output.extend_from_slice(&self.payload.bytes);
            } else {
                for _ in 0..self.window {
                    self.put(0, &mut output);
                }
                tally.messages += self.window as u64;
            }
            self.plain.stream.write_all(&output).await.context("the server closed a connection")?;
            output.clear();
        }
        while self.plain.next_ack()?.is_none() {
            let read = self.plain.stream.read_buf(&mut self.plain.input).await.unwrap_or(0);
            ensure!(read > 0, "the server closed a connection before it had read everything");
        }
        Ok(tally)
    }

    fn put(&mut self, id: u16, output: &mut BytesMut) {
        self.payload.advance();
        self.templates.each.write_head(id, output);
        output.extend_from_slice(&self.payload.bytes);
    }
}

/// What was acknowledged, and how long it took.
struct Tally {
    messages: u64,
    refused: u64,
    first_refusal: Option<Reason>,
    waits: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        let waits = Histogram::new_with_bounds(1, WAIT_MICROS_MAX, 2).expect("the bounds are in order");
        Self { messages: 0, refused: 0, first_refusal: None, waits }
    }

    fn answered(&mut self, waited_micros: u64, reason: Reason) {
        if (reason as u8) < 0x80 {
            self.messages += 1;
            self.waits.saturating_record(waited_micros.max(1));
        } else {
            self.refused += 1;
            self.first_refusal.get_or_insert(reason);
        }
    }

    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.or(other.first_refusal);
        self.waits.add(&other.waits).expect("both have the same bounds");
    }

    fn ack_ms(&self) -> AckMs {
        let ms = |micros: u64| micros as f64 / 1000.0;
        AckMs {
            p50: ms(self.waits.value_at_quantile(0.5)),
            p99: ms(self.waits.value_at_quantile(0.99)),
            max: ms(self.waits.max()),
        }
    }
}

fn table(figures: &Figures, pid: Option<u32>) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<22}{value}");
    };
    line(
        "load",
        format!(
            "{} connections, window {}, QoS {}, {} bytes, {:.1} s",
            figures.connections, figures.window, figures.qos, figures.payload_bytes, figures.seconds
        ),
    );
    let what = if figures.qos == 0 { "taken" } else { "acknowledged" };
    line(
        what,
        format!(
            "{} messages, {}/s",
            HumanCount(figures.messages),
            HumanCount(figures.messages_per_second as u64)
        ),
    );
    if figures.refused > 0 {
        line("refused", HumanCount(figures.refused).to_string());
    }
    if let Some(ms) = &figures.ack_ms {
        line("acknowledgement", format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms.p50, ms.p99, ms.max));
    }
    if let Some(catch_up) = figures.catch_up_seconds {
        line("series caught up", format!("{catch_up:.2} s after the last acknowledgement"));
    }
    match (figures.server_core_seconds, figures.server_core_seconds_per_million, pid) {
        (Some(used), Some(per_million), Some(pid)) => {
            line(
                "server's processor",
                format!("{per_million:.2} core-s per million messages ({used:.2} core-s, pid {pid})"),
            );
        }
        _ => line("server's processor", "unknown: name its process with --pid".to_owned()),
    }
    line("generator's processor", format!("{:.2} core-s", figures.generator_core_seconds));
    text
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_json_of_one_length_a_millisecond_apart() {
        let clock: Arc<dyn Clock> = Arc::new(host::SystemClock::start());
        let mut payload = Payload::readings(&clock);
        let length = payload.bytes.len();
        let mut last = None;
        for _ in 0..2_000 {
            payload.advance();
            assert_eq!(payload.bytes.len(), length);
            let value: serde_json::Value = serde_json::from_slice(&payload.bytes).expect("JSON");
            let ts = value["ts"].as_u64().expect("a time");
            assert!(last.is_none_or(|last| ts == last + 1));
            assert!((20.0..30.0).contains(&value["temperature"].as_f64().expect("a number")));
            last = Some(ts);
        }
    }
}
