//! What goes to stderr while a command runs: key/value events, one line each.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts the log. `verbose` counts the `-v` flags; `GODWIT_LOG` overrides it with a filter.
pub(crate) fn start(verbose: u8) {
    let level = ["info", "debug", "trace"][usize::from(verbose.min(2))];
    // The engine of the columns is chatty below warnings, whatever our own level is.
    let default = format!("{level},datafusion=warn,sqlparser=warn,hyper=warn,hyper_util=warn,reqwest=warn");
    let filter = EnvFilter::builder().parse_lossy(std::env::var("GODWIT_LOG").unwrap_or(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(true)
        .init();
}
