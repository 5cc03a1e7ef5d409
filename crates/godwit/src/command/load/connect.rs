//! `godwit load connect`: many clients connect at once, and stay; what each costs the server when it is idle.

use std::sync::Arc;
use std::time::Duration;

use client::{Endpoint, Machine, Plain, Tls};
use indicatif::HumanBytes;
use tokio::task::JoinSet;

use super::report::{Better, Report, count, histogram, per_second, seconds};
use super::usage::{Usage, resident_bytes};
use super::{Common, fleet};
use crate::command::target::duration;

const HELP: &str = r#"Connects many clients with clean sessions, a number of them at a time, and keeps them connected for a while.
Prints connects a second, how long each took from opening the socket to CONNACK, and how much memory
each idle connection holds at the server.

Examples:
  godwit load connect --data ./godwit-data --connections 10000
  godwit load connect --to 127.0.0.1:8883 --ca ca.pem --cert load.cert.pem --key load.key.pem --connections 2000 --resume
  godwit load connect --to 127.0.0.1:1884 --pid $(pidof mosquitto) --expect failed=0"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Connections that are being made at one time
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_once: u32,
    /// How long they stay connected, idle, before memory is read
    #[arg(long, value_name = "TIME", default_value = "2", value_parser = duration)]
    hold: Duration,
    /// With --ca: resume TLS sessions where there is a ticket, instead of making each handshake in full
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    common: Common,
}

/// Connects, waits, looks, prints.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    fleet::raise_files(args.connections)?;
    let server = args.common.find()?;
    let clock = Machine::system().clock;
    let run = fleet::run_name();
    let mut base = args.common.target.options(&server.target, "load");
    if !args.resume {
        let lookup = Arc::clone(&base.lookup);
        base.lookup = Arc::new(move || {
            let endpoint = lookup()?;
            Ok(Endpoint { tls: endpoint.tls.as_ref().map(Tls::without_resumption), ..endpoint })
        });
    }
    let before = server.pid.map(resident_bytes).transpose()?;

    let usage = Usage::begin(server.pid)?;
    let started = clock.mono_micros();
    let mut waits = histogram();
    let (mut held, mut failures, mut first_failure) = (Vec::new(), 0_u64, None);
    let mut connecting = JoinSet::new();
    let mut next = 1;
    loop {
        while next <= args.connections && connecting.len() < args.at_once as usize {
            let (options, clock) = (fleet::options(&base, &run, "idle", next), Arc::clone(&clock));
            connecting.spawn(async move {
                let started = clock.mono_micros();
                let connected = Plain::connect(&options).await;
                (clock.mono_micros().saturating_sub(started), connected)
            });
            next += 1;
        }
        let Some(connected) = connecting.join_next().await else { break };
        match connected? {
            (waited, Ok(plain)) => {
                waits.saturating_record(waited.max(1));
                // The socket is what counts here; its buffers would be this process's memory only.
                held.push(plain.stream);
            }
            (_, Err(error)) => {
                failures += 1;
                first_failure.get_or_insert(error);
            }
        }
    }
    let took = clock.mono_micros() - started;
    let used = usage.end()?;
    tokio::time::sleep(args.hold).await;
    let after = server.pid.map(resident_bytes).transpose()?;

    let connected = held.len() as u64;
    let mut report = Report::new(
        "connect",
        format!("{} connections, {} at a time, {:.2} s", args.connections, args.at_once, seconds(took)),
    );
    report.count("connections", args.connections);
    report.count("at_once", args.at_once);
    report.count("connected", connected as f64);
    report.count("seconds", seconds(took));
    let rate = per_second(connected, took);
    report.figure("connects_per_second", rate, Better::More);
    report.figure("failed", failures as f64, Better::Less);
    report.line("connected", format!("{}, {}/s", count(connected), count(rate as u64)));
    if let Some(error) = first_failure {
        report.line("failed", format!("{}, the first because: {error}", count(failures)));
    }
    let names = ["connect_p50_ms", "connect_p99_ms", "connect_p999_ms", "connect_max_ms"];
    report.latency("socket to CONNACK", names, &waits);
    if let Some((before, after)) = before.zip(after) {
        let each = after.saturating_sub(before) as f64 / connected.max(1) as f64;
        report.count("resident_bytes_before", before as f64);
        report.count("resident_bytes_idle", after as f64);
        report.figure("bytes_per_connection", each, Better::Less);
        report.line(
            "server's memory",
            format!("{} before, {} with them: {each:.0} bytes each", HumanBytes(before), HumanBytes(after)),
        );
    }
    report.processors(&used, connected, "connections");
    drop(held);
    args.common.finish(report)
}
