//! `godwit load fanin` and `fanout`: how much one subscriber gets from many publishers, and many from one.
//!
//! A closed loop over the server: each publisher has a window of messages that have not reached all their subscribers, so that
//! QoS 0 too measures what is delivered and not what is dropped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use client::{Machine, WINDOW_MAX};
use hdrhistogram::Histogram;
use host::{Clock, Shutdown};
use model::{Qos, TopicName};
use tokio::task::JoinSet;

use super::credit::{Account, Credit};
use super::ingest::{LAST_ACKS, publish_all};
use super::payload::{Payload, STAMP_BYTES, Templates};
use super::publisher::Publisher;
use super::report::{Better, Report, count, histogram, per_second, seconds};
use super::subscriber::{Got, Subscriber};
use super::usage::Usage;
use super::{Common, fleet};
use crate::command::target::{duration, qos};

/// How long the last deliveries may take, without any, before they count as lost.
const LAST_DELIVERIES: Duration = Duration::from_secs(2);
/// Between two looks for them.
const LOOK: Duration = Duration::from_millis(5);

const HELP_IN: &str = r#"Many publishers, one subscriber to all of it. Each publisher has at most --window messages on their way to
the subscriber. The rate counts deliveries; the latency is from sending to the subscriber.

Examples:
  godwit load fanin --data ./godwit-data --qos 0
  godwit load fanin --to 127.0.0.1:1884 --pid $(pidof mosquitto) --qos 1"#;

const HELP_OUT: &str = r#"One publisher, many subscribers to its topic. At most --window messages are on their way to all of them. The
rate counts deliveries; the latency is from sending to each subscriber.

Examples:
  godwit load fanout --data ./godwit-data --subscribers 500
  godwit load fanout --to 127.0.0.1:1884 --pid $(pidof mosquitto) --qos 1"#;

/// Arguments of `fanin`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP_IN)]
pub(crate) struct In {
    /// Publishers
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    publishers: u32,
    /// Subscribers to everything
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    subscribers: u32,
    /// Messages of each publisher on their way
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=WINDOW_MAX as i64))]
    window: u16,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `fanout`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP_OUT)]
pub(crate) struct Out {
    /// Publishers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    publishers: u32,
    /// Subscribers to everything
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    subscribers: u32,
    /// Messages of each publisher on their way
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=WINDOW_MAX as i64))]
    window: u16,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Shape {
    /// Payload of each message in bytes; at least 12, for it carries the time of its sending
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=200_000))]
    bytes: u32,
    /// How long to publish
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = duration)]
    seconds: Duration,
    /// Where to publish: TOPIC/N for publisher N
    #[arg(long, value_name = "TOPIC", default_value = "load")]
    topic: String,
    /// Of publishing and of delivery
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: Qos,
}

struct Plan {
    scenario: &'static str,
    publishers: u32,
    subscribers: u32,
    window: u16,
    shape: Shape,
    common: Common,
}

/// Runs `fanin`.
pub(super) async fn run_in(args: In) -> anyhow::Result<()> {
    let In { publishers, subscribers, window, shape, common } = args;
    run(Plan { scenario: "fanin", publishers, subscribers, window, shape, common }).await
}

/// Runs `fanout`.
pub(super) async fn run_out(args: Out) -> anyhow::Result<()> {
    let Out { publishers, subscribers, window, shape, common } = args;
    run(Plan { scenario: "fanout", publishers, subscribers, window, shape, common }).await
}

async fn run(plan: Plan) -> anyhow::Result<()> {
    let Shape { bytes, seconds: long, topic, qos } = &plan.shape;
    ensure!(!long.is_zero(), "--seconds must be above 0");
    fleet::raise_files(plan.publishers + plan.subscribers)?;
    let server = plan.common.find()?;
    let clock = Machine::system().clock;
    let run = fleet::run_name();
    let base = plan.common.target.options(&server.target, "load");
    let accounts: Arc<[_]> =
        (0..plan.publishers).map(|_| Account::new(plan.subscribers.into())).collect::<Vec<_>>().into();

    let connected = fleet::connect(plan.subscribers, fleet::CONNECTING_AT_ONCE, |n| {
        fleet::options(&base, &run, "sub", n)
    });
    let stop = Shutdown::new();
    let mut listening = JoinSet::new();
    // A topic of this run's own: what others say meanwhile is not counted.
    let topic = format!("{topic}/{run}");
    for plain in connected.await? {
        let mut subscriber = Subscriber {
            plain,
            version: base.version,
            clock: Arc::clone(&clock),
            accounts: Arc::clone(&accounts),
        };
        subscriber.subscribe(&format!("{topic}/#"), *qos).await?;
        listening.spawn(subscriber.run(stop.clone()));
    }
    let connected =
        fleet::connect(plan.publishers, fleet::CONNECTING_AT_ONCE, |n| fleet::options(&base, &run, "pub", n));
    let mut publishers = Vec::new();
    for (n, plain) in (1_u32..).zip(connected.await?) {
        let payload = Payload::stamped(*bytes as usize, n);
        let own = TopicName::parse(format!("{topic}/{n}"))?;
        publishers.push(Publisher {
            plain,
            version: base.version,
            templates: Templates::new(&own, &payload, *qos, base.version)?,
            payload,
            clock: Arc::clone(&clock),
            window: plan.window.into(),
            qos: *qos,
            credit: Some(Credit::new(Arc::clone(&accounts[n as usize - 1]), plan.window.into())),
        });
    }

    let usage = Usage::begin(server.pid)?;
    let started = clock.mono_micros();
    let until = started.saturating_add(u64::try_from(long.as_micros()).unwrap_or(u64::MAX));
    let tally = publish_all(publishers, until, *long + LAST_ACKS).await?;
    let wanted = tally.sent * u64::from(plan.subscribers);
    let ended = last_deliveries(&accounts, wanted, &*clock).await;
    let used = usage.end()?;
    stop.stop();
    let (deliveries, waits) = gather(listening).await?;

    let long = seconds(ended - started);
    let mut report = Report::new(
        plan.scenario,
        format!(
            "{} publishers, window {}, {} subscribers, QoS {}, {bytes} bytes, {long:.1} s",
            plan.publishers, plan.window, plan.subscribers, *qos as u8
        ),
    );
    report.count("publishers", plan.publishers);
    report.count("subscribers", plan.subscribers);
    report.count("window", plan.window);
    report.count("payload_bytes", *bytes);
    report.count("qos", *qos as u8);
    report.count("messages", tally.sent as f64);
    report.count("deliveries", deliveries as f64);
    report.count("seconds", long);
    let rate = per_second(deliveries, ended - started);
    report.figure("deliveries_per_second", rate, Better::More);
    report.line("delivered", format!("{} messages, {}/s", count(deliveries), count(rate as u64)));
    let lost = wanted.saturating_sub(deliveries);
    report.figure("lost", lost as f64, Better::Less);
    if lost > 0 {
        report.line("lost", format!("{} of {}", count(lost), count(wanted)));
    }
    report.latency("end to end", ["p50_ms", "p99_ms", "p999_ms", "max_ms"], &waits);
    let names = ["ack_p50_ms", "ack_p99_ms", "ack_p999_ms", "ack_max_ms"];
    report.latency("acknowledgement", names, &tally.waits);
    report.processors(&used, deliveries, "deliveries");
    plan.common.finish(report)
}

/// Waits for what is still on its way; gives the time of the last delivery, or of the last look.
pub(super) async fn last_deliveries(accounts: &[Arc<Account>], wanted: u64, clock: &dyn Clock) -> u64 {
    let delivered = || accounts.iter().map(|account| account.delivered()).sum::<u64>();
    let mut known = delivered();
    let mut last = clock.mono_micros();
    while known < wanted {
        tokio::time::sleep(LOOK).await;
        let (now, mono) = (delivered(), clock.mono_micros());
        if now > known {
            (known, last) = (now, mono);
        } else if Duration::from_micros(mono.saturating_sub(last)) > LAST_DELIVERIES {
            break;
        }
    }
    last
}

/// What all subscribers got.
pub(super) async fn gather(
    mut listening: JoinSet<anyhow::Result<Got>>,
) -> anyhow::Result<(u64, Histogram<u64>)> {
    let (mut deliveries, mut waits) = (0, histogram());
    while let Some(finished) = listening.join_next().await {
        let got = finished.context("a subscriber broke off")??;
        deliveries += got.deliveries;
        waits.add(&got.waits).expect("both have the same bounds");
    }
    Ok((deliveries, waits))
}
