//! `godwit load ingest`: many publishers, each with a window of unacknowledged messages, and nobody who listens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use client::{Machine, WINDOW_MAX};
use model::{Qos, TopicName};
use tokio::task::JoinSet;

use super::payload::{Payload, Templates};
use super::publisher::{Publisher, Tally};
use super::report::{Better, Report, count, per_second, seconds};
use super::usage::Usage;
use super::{Common, fleet, status};
use crate::command::target::{duration, qos};

/// How long the last acknowledgements may take after the time is up.
pub(super) const LAST_ACKS: Duration = Duration::from_secs(30);

/// What `--help` says behind the flags: the command line's own text for a command is one line.
const HELP: &str = r#"Publishes from many connections as fast as acknowledgements allow, and prints what was
sustained: messages a second, how long acknowledgements took, and the server's processor time.

Examples:
  godwit load ingest --data ./godwit-data                   # no route decodes it
  godwit load ingest --data ./godwit-data --json-readings   # until series has them
  godwit load ingest --to 127.0.0.1:1884 --pid $(pidof mosquitto)   # any other server
  godwit load ingest --expect messages_per_second=300000 --expect ack_p99_ms=20"#;

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
    /// 0: nobody waits but for the last message of each connection; 1: acknowledged; 2: released too
    #[arg(short, long, default_value = "1", value_parser = qos)]
    qos: Qos,
    #[command(flatten)]
    common: Common,
}

/// Connects, publishes, counts, prints.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(!args.seconds.is_zero(), "--seconds must be above 0");
    fleet::raise_files(args.connections)?;
    let server = args.common.find()?;
    let machine = Machine::system();
    let clock = Arc::clone(&machine.clock);
    let run = fleet::run_name();
    let base = args.common.target.options(&server.target, "load");
    let connected = fleet::connect(args.connections, fleet::CONNECTING_AT_ONCE, |n| {
        fleet::options(&base, &run, "pub", n)
    });
    let mut publishers = Vec::new();
    let mut payload_bytes = 0;
    for (n, plain) in (1_u32..).zip(connected.await?) {
        let (topic, payload) = if args.json_readings {
            (format!("dt/load-{n}/telemetry"), Payload::readings(&clock))
        } else {
            (format!("{}/{n}", args.topic), Payload::filler(args.bytes as usize))
        };
        payload_bytes = payload.bytes.len();
        publishers.push(Publisher {
            plain,
            version: base.version,
            templates: Templates::new(&TopicName::parse(topic)?, &payload, args.qos, base.version)?,
            payload,
            clock: Arc::clone(&clock),
            window: args.window.into(),
            qos: args.qos,
            credit: None,
        });
    }

    let usage = Usage::begin(server.pid)?;
    let started = clock.mono_micros();
    let until = started.saturating_add(u64::try_from(args.seconds.as_micros()).unwrap_or(u64::MAX));
    let tally = publish_all(publishers, until, args.seconds + LAST_ACKS).await?;
    let ended = clock.mono_micros();
    let mut report = Report::new(
        "ingest",
        format!(
            "{} connections, window {}, QoS {}, {payload_bytes} bytes, {:.1} s",
            args.connections,
            args.window,
            args.qos as u8,
            seconds(ended - started)
        ),
    );
    report.count("connections", args.connections);
    report.count("window", args.window);
    report.count("payload_bytes", payload_bytes as f64);
    report.count("qos", args.qos as u8);
    report.count("messages", tally.messages as f64);
    report.figure("refused", tally.refused as f64, Better::Less);
    report.count("seconds", seconds(ended - started));
    let rate = per_second(tally.messages, ended - started);
    report.figure("messages_per_second", rate, Better::More);
    let what = if args.qos == Qos::AtMostOnce { "taken" } else { "acknowledged" };
    report.line(what, format!("{} messages, {}/s", count(tally.messages), count(rate as u64)));
    if tally.refused > 0 {
        report.line("refused", count(tally.refused));
    }
    let names = ["ack_p50_ms", "ack_p99_ms", "ack_p999_ms", "ack_max_ms"];
    report.latency("acknowledgement", names, &tally.waits);
    if let Some(file) = server.file.as_ref().filter(|_| args.json_readings) {
        status::caught_up(file).await?;
        let catch_up = seconds(clock.mono_micros() - ended);
        report.figure("catch_up_seconds", catch_up, Better::Less);
        report.line("series caught up", format!("{catch_up:.2} s after the last acknowledgement"));
    }
    report.processors(&usage.end()?, tally.messages, "messages");
    args.common.finish(report)?;
    if let Some(reason) = tally.first_refusal {
        bail!("{} messages were refused, the first because: {reason}", tally.refused);
    }
    Ok(())
}

/// Lets every publisher run to its end.
pub(super) async fn publish_all(
    publishers: Vec<Publisher>,
    until: u64,
    within: Duration,
) -> anyhow::Result<Tally> {
    let mut running = JoinSet::new();
    for publisher in publishers {
        running.spawn(tokio::time::timeout(within, publisher.run(until)));
    }
    let mut tally = Tally::new();
    while let Some(finished) = running.join_next().await {
        let of_one = finished.context("a publisher broke off")?;
        tally.add(of_one.map_err(|_| {
            anyhow!("acknowledgements are missing {} s after the end", LAST_ACKS.as_secs())
        })??);
    }
    Ok(tally)
}
