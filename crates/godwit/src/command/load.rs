//! `godwit load`: finds the limits of a server.
//!
//! One file per scenario; what they share stands beside them: who publishes ([`publisher`]), who listens
//! ([`subscriber`]), what is used ([`usage`]), what is found ([`report`]) and held against limits ([`expect`]). No
//! scenario needs anything of Godwit's own: any MQTT server can be measured, and compared in one run.

mod connect;
mod credit;
mod expect;
mod fan;
mod fleet;
mod ingest;
mod payload;
mod publisher;
mod rate;
mod report;
mod status;
mod subscriber;
mod usage;

use expect::{Expectation, Expectations};
use report::Report;

use crate::command::target::{Target, TargetArgs};
use crate::server_file::ServerFile;

/// What `--help` says behind the scenarios.
const HELP: &str = r#"Every scenario works against any MQTT server (--to HOST:PORT, --user, --password) and prints what the
server's processor did when its process is on this machine (--pid). --json prints one object; its names
are those that --expect knows:

  godwit load ingest --expect messages_per_second=300000 --expect server_core_seconds_per_million=2
  godwit load connect --expect limits.toml   # a table per scenario, `[connect]`, with a line per limit

A limit that is missed ends the command with exit code 1."#;

/// Measures what a server can take. Works against any MQTT server; what its processor does is read from /proc.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    /// Many clients connect at once, and stay
    Connect(connect::Args),
    /// Many publishers, as fast as acknowledgements allow
    Ingest(ingest::Args),
    /// Many publishers, one subscriber
    Fanin(fan::In),
    /// One publisher, many subscribers
    Fanout(fan::Out),
    /// A fixed rate whatever the server does, and how late messages arrive
    Rate(rate::Args),
}

/// What every scenario may be told.
#[derive(Debug, clap::Args)]
struct Common {
    /// The server's process on this machine, for its processor time and memory [default: that of --data]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// A limit to hold the figures against, or a TOML file of them; may be given more than once
    #[arg(long, value_name = "NAME=LIMIT|FILE", value_parser = expect::parse)]
    expect: Vec<Expectation>,
    #[command(flatten)]
    target: TargetArgs,
}

/// The server that is measured.
struct Measured {
    target: Target,
    /// What it says of itself, when it is found through its data directory.
    file: Option<ServerFile>,
    pid: Option<u32>,
}

impl Common {
    /// Finds the server.
    fn find(&self) -> anyhow::Result<Measured> {
        let target = self.target.find()?;
        let file = target.data.as_deref().map(ServerFile::read).transpose()?;
        let pid = self.pid.or(file.as_ref().map(|file| file.pid));
        Ok(Measured { target, file, pid })
    }

    /// Prints what was found, and judges it.
    fn finish(self, report: Report) -> anyhow::Result<()> {
        report.print(self.json, &Expectations(self.expect))
    }
}

/// Runs a scenario and prints its figures.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.scenario {
        Scenario::Connect(args) => connect::run(args).await,
        Scenario::Ingest(args) => ingest::run(args).await,
        Scenario::Fanin(args) => fan::run_in(args).await,
        Scenario::Fanout(args) => fan::run_out(args).await,
        Scenario::Rate(args) => rate::run(args).await,
    }
}
