//! `godwit rule`: checks rules, tests them, tries them on what was recorded, and shows those in force in a server.
//!
//! Not here: what rules mean (`rules`). The law: nothing here has a side effect; the same fold runs as in the server.

mod backtest;
mod check;
#[cfg(feature = "platform")]
mod explain;
mod files;
mod recorded;
#[cfg(feature = "platform")]
mod shown;
mod test;

use std::path::PathBuf;

/// What `--help` says behind the flags.
const HELP: &str = r#"The language: docs/rules.md.

Examples:
  godwit rule check rules/*.yaml
  godwit rule check rules/doors.yaml --recording doors.csv     # does `for` fit how often doors report?
  godwit rule test rules/comfort_test.yaml
  godwit rule backtest rules/comfort.yaml --since 30d          # on the readings that a server keeps
  godwit rule backtest new.yaml --since 30d --against old.yaml
  godwit rule backtest rules/comfort.yaml --recording office.csv --as office-1
  godwit rule explain bd195309-cc15-8bd6-ae41-1de745baca7a      # why there is this alert
  godwit rule list                                             # those in force, and how each is doing
  godwit rule show RoomTooHot                                  # every text that it has had"#;

/// Arguments.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Say what is wrong with rule files, all at once
    Check(check::Args),
    /// Run unit tests of rules: readings in, episodes that must come out
    Test {
        /// The file of tests
        file: PathBuf,
    },
    /// Say what rules would have done with what a server keeps, or with a recording
    Backtest(backtest::Args),
    /// Explain an alert: the rule's text, the readings that made it, what was sent to whom and what was not
    #[cfg(feature = "platform")]
    Explain(explain::Args),
    /// List the rules in force in a server, and how each is doing
    #[cfg(feature = "platform")]
    List(shown::List),
    /// Show a rule, and every text that it has had
    #[cfg(feature = "platform")]
    Show(shown::Show),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Check(args) => check::run(&args),
        Args::Test { file } => test::run(&file),
        Args::Backtest(args) => backtest::run(&args).await,
        #[cfg(feature = "platform")]
        Args::Explain(args) => explain::run(&args).await,
        #[cfg(feature = "platform")]
        Args::List(args) => shown::list(&args).await,
        #[cfg(feature = "platform")]
        Args::Show(args) => shown::show(&args).await,
    }
}

/// Writes a result to stdout.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?)
}
