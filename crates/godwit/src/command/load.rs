//! `godwit load`: finds the limits of a server.
//!
//! One file per scenario; what they share (the server's processor time, its status) stands beside them.

mod ingest;
mod processor;
mod status;

/// Measures what a server can take. Works against any MQTT server; what its processor does is read from /proc.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    /// Many publishers, as fast as acknowledgements allow
    Ingest(ingest::Args),
}

/// Runs a scenario and prints its figures.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.scenario {
        Scenario::Ingest(args) => ingest::run(args).await,
    }
}
