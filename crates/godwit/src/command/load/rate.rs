//! `godwit load rate`: an open loop. Messages leave at a fixed rate whatever the server does, and their latency counts from
//! the moment at which each was meant to leave: a server that stops for a second is late with a second's messages,
//! not with one.
//!
//! A thread of its own keeps the time, for the timers of the runtime are a millisecond coarse.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::BytesMut;
use client::{Machine, Plain};
use host::{Clock, Shutdown};
use model::{Qos, TopicName};
use mqtt::{Ack, Packet, Reason, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::credit::Account;
use super::fan::{gather, last_deliveries};
use super::payload::{Payload, STAMP_BYTES, Templates};
use super::publisher::Tally;
use super::report::{Better, Report, count, histogram, seconds};
use super::subscriber::Subscriber;
use super::usage::Usage;
use super::{Common, fleet};
use crate::command::target::{duration, qos};

const HELP: &str = r#"Publishes at a fixed rate from many connections to one subscriber, and prints how late messages arrive,
counted from when each was meant to leave.

Examples:
  godwit load rate --data ./godwit-data --rate 5000 --publishers 1000
  godwit load rate --to 127.0.0.1:1884 --expect p99_ms=3"#;

/// Before the first message: what was set up is over by then.
const RUN_UP: Duration = Duration::from_millis(200);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Messages a second, of all publishers together
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Publishers, in turn
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    publishers: u32,
    /// Subscribers to everything
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    subscribers: u32,
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
    #[arg(short, long, default_value = "1", value_parser = qos)]
    qos: Qos,
    #[command(flatten)]
    common: Common,
}

/// Connects, publishes, counts, prints.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(!args.seconds.is_zero(), "--seconds must be above 0");
    fleet::raise_files(args.publishers + args.subscribers)?;
    let server = args.common.find()?;
    let clock = Machine::system().clock;
    let run = fleet::run_name();
    let base = args.common.target.options(&server.target, "load");
    let accounts: Arc<[_]> = vec![Account::new(1)].into();
    let topic = format!("{}/{run}", args.topic);
    let stop = Shutdown::new();
    let mut listening = JoinSet::new();
    let connected = fleet::connect(args.subscribers, fleet::CONNECTING_AT_ONCE, |n| {
        fleet::options(&base, &run, "sub", n)
    });
    for plain in connected.await? {
        let (version, clock, accounts) = (base.version, Arc::clone(&clock), Arc::clone(&accounts));
        let mut subscriber = Subscriber { plain, version, clock, accounts };
        subscriber.subscribe(&format!("{topic}/#"), args.qos).await?;
        listening.spawn(subscriber.run(stop.clone()));
    }
    let connected =
        fleet::connect(args.publishers, fleet::CONNECTING_AT_ONCE, |n| fleet::options(&base, &run, "pub", n));
    let mut orders = Vec::new();
    let mut publishing = JoinSet::new();
    for (n, plain) in (1_u32..).zip(connected.await?) {
        // All on one account: who sent what is not asked here.
        let payload = Payload::stamped(args.bytes as usize, 1);
        let own = TopicName::parse(format!("{topic}/{n}"))?;
        let templates = Templates::new(&own, &payload, args.qos, base.version)?;
        let (order, due) = mpsc::unbounded_channel();
        orders.push(order);
        let (version, clock, qos) = (base.version, Arc::clone(&clock), args.qos);
        publishing.spawn(Paced { plain, version, templates, payload, clock, qos }.run(due));
    }

    let usage = Usage::begin(server.pid)?;
    let started = clock.mono_micros() + RUN_UP.as_micros() as u64;
    let messages = (f64::from(args.rate) * args.seconds.as_secs_f64()).round().max(1.0) as u64;
    let rate = u64::from(args.rate);
    let pacing = {
        let clock = Arc::clone(&clock);
        tokio::task::spawn_blocking(move || pace(&*clock, started, rate, messages, &orders))
    };
    pacing.await.context("the clock of the load broke off")?;
    let mut tally = Tally::new();
    let mut late = histogram();
    while let Some(finished) = publishing.join_next().await {
        let (of_one, lateness) = finished.context("a publisher broke off")??;
        tally.add(of_one);
        late.add(&lateness).expect("both have the same bounds");
    }
    let wanted = tally.sent * u64::from(args.subscribers);
    let ended = last_deliveries(&accounts, wanted, &*clock).await;
    let used = usage.end()?;
    stop.stop();
    let (deliveries, waits) = gather(listening).await?;

    let mut report = Report::new(
        "rate",
        format!(
            "{}/s for {:.1} s, {} publishers, {} subscribers, QoS {}, {} bytes",
            count(rate),
            args.seconds.as_secs_f64(),
            args.publishers,
            args.subscribers,
            args.qos as u8,
            args.bytes
        ),
    );
    report.count("rate", args.rate);
    report.count("publishers", args.publishers);
    report.count("subscribers", args.subscribers);
    report.count("payload_bytes", args.bytes);
    report.count("qos", args.qos as u8);
    report.count("messages", tally.sent as f64);
    report.count("deliveries", deliveries as f64);
    report.count("seconds", seconds(ended.saturating_sub(started)));
    report.line("delivered", format!("{} of {} messages", count(deliveries), count(wanted)));
    report.figure("lost", wanted.saturating_sub(deliveries) as f64, Better::Less);
    report.latency("end to end", ["p50_ms", "p99_ms", "p999_ms", "max_ms"], &waits);
    let names = ["ack_p50_ms", "ack_p99_ms", "ack_p999_ms", "ack_max_ms"];
    report.latency("acknowledgement", names, &tally.waits);
    let names = ["late_p50_ms", "late_p99_ms", "late_p999_ms", "late_max_ms"];
    report.latency("generator late by", names, &late);
    report.processors(&used, deliveries, "deliveries");
    args.common.finish(report)?;
    if let Some(reason) = tally.first_refusal {
        return Err(anyhow!("{} messages were refused, the first because: {reason}", tally.refused));
    }
    Ok(())
}

/// Orders message `n` at `started + n / rate`, from each publisher in turn. Blocks its thread.
fn pace(clock: &dyn Clock, started: u64, rate: u64, messages: u64, orders: &[mpsc::UnboundedSender<u64>]) {
    let due = |n: u64| started + n * 1_000_000 / rate;
    let mut n = 0;
    while n < messages {
        let now = clock.mono_micros();
        if let Some(early) = due(n).checked_sub(now).filter(|early| *early > 0) {
            std::thread::sleep(Duration::from_micros(early));
            continue;
        }
        // A publisher that is gone has said why.
        let _ = orders[(n % orders.len() as u64) as usize].send(due(n));
        n += 1;
    }
}

/// One connection that publishes when it is told.
struct Paced {
    plain: Plain,
    version: Version,
    templates: Templates,
    payload: Payload,
    clock: Arc<dyn Clock>,
    qos: Qos,
}

impl Paced {
    /// Publishes what is due, and waits for its acknowledgements; tells how late it was itself.
    async fn run(
        mut self,
        mut due: mpsc::UnboundedReceiver<u64>,
    ) -> anyhow::Result<(Tally, hdrhistogram::Histogram<u64>)> {
        let (mut tally, mut late) = (Tally::new(), histogram());
        let mut output = BytesMut::new();
        // By packet id, from 1; as many as the server takes, and never so many that an id comes round while it is out.
        let most = self.plain.receive_maximum.min(client::WINDOW_MAX);
        let mut meant_at: Vec<u64> = vec![0];
        let mut free: Vec<u16> = Vec::new();
        let mut out = 0;
        let mut is_over = false;
        loop {
            if is_over && out == 0 {
                return Ok((tally, late));
            }
            tokio::select! {
                ordered = due.recv(), if !is_over && out < most => match ordered {
                    None => is_over = true,
                    Some(meant) => {
                        let id = match self.qos {
                            Qos::AtMostOnce => 0,
                            _ => free.pop().map_or_else(
                                || {
                                    meant_at.push(0);
                                    u16::try_from(meant_at.len() - 1)
                                },
                                Ok,
                            )?,
                        };
                        if id != 0 {
                            meant_at[usize::from(id)] = meant;
                            out += 1;
                        }
                        self.payload.advance(meant);
                        self.templates.each.write_head(id, &mut output);
                        output.extend_from_slice(&self.payload.bytes);
                        tally.sent += 1;
                        late.saturating_record(self.clock.mono_micros().saturating_sub(meant).max(1));
                    }
                },
                read = self.plain.stream.read_buf(&mut self.plain.input) => {
                    ensure!(read.unwrap_or(0) > 0, "the server closed the connection of a publisher");
                    let now = self.clock.mono_micros();
                    while let Some(packet) = self.plain.next_packet()? {
                        let ack = match packet {
                            Packet::PubAck(ack) | Packet::PubComp(ack) => ack,
                            Packet::PubRec(ack) if ack.reason.is_failure() => ack,
                            Packet::PubRec(ack) => {
                                let release = Packet::PubRel(Ack::new(ack.packet_id, Reason::Success));
                                mqtt::encode(&release, self.version, &mut output)?;
                                continue;
                            }
                            _ => continue,
                        };
                        let meant = meant_at.get(usize::from(ack.packet_id)).copied().unwrap_or(now);
                        tally.answered(now.saturating_sub(meant), ack.reason);
                        free.push(ack.packet_id);
                        out -= 1;
                    }
                }
            }
            if !output.is_empty() {
                self.plain.stream.write_all(&output).await.context("the server closed a connection")?;
                output.clear();
            }
        }
    }
}
