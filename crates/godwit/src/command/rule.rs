//! `godwit rule`: checks rules, tests them, and tries them on what was recorded. Needs no server.
//!
//! Not here: what rules mean (`rules`). The law: nothing here has a side effect; the same fold runs as in the server.

mod backtest;
mod check;
mod files;
mod recorded;
mod test;

use std::path::PathBuf;

/// What `--help` says behind the flags.
const HELP: &str = r#"The language: docs/rules.md.

Examples:
  godwit rule check rules/*.yaml
  godwit rule check rules/doors.yaml --recording doors.csv     # does `for` fit how often doors report?
  godwit rule test rules/comfort_test.yaml
  godwit rule backtest rules/comfort.yaml --recording office.csv --as office-1
  godwit rule backtest new.yaml --recording office.csv --against old.yaml"#;

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
    /// Say what rules would have done with a recording
    Backtest(backtest::Args),
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Check(args) => check::run(&args),
        Args::Test { file } => test::run(&file),
        Args::Backtest(args) => backtest::run(&args),
    }
}

/// Writes a result to stdout.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?)
}
