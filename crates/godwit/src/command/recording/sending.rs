//! The beginning of a replay or an import: the progress of an interrupted one, the connection, and what is shown of it.
//!
//! Not here: what is sent (`replay`, `import`), and how it is counted (`delivery`). The law: what the same command sent
//! before and the server acknowledged is known before the first row is read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{Machine, Options};
use host::Disk;

use super::delivery::{Delivery, state_dir};
use super::meter::Meter;
use super::progress::{Progress, Which};
use crate::command::target::{Target, TargetArgs, duration};

/// How it is sent, as far as both commands say it alike.
#[derive(Debug, clap::Args)]
pub(crate) struct SendingArgs {
    /// Start over, even when the same was interrupted before
    #[arg(long)]
    pub(crate) restart: bool,
    /// How long to wait for a server that is gone before giving up
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) patience: Duration,
    /// Where progress is remembered [default: $XDG_STATE_HOME/godwit or ~/.local/state/godwit]
    #[arg(long, value_name = "DIR", env = "GODWIT_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// What is under way.
pub(crate) struct Begun {
    pub(crate) delivery: Delivery,
    pub(crate) meter: Meter,
    /// Rows that are done already.
    pub(crate) skip: u64,
}

impl SendingArgs {
    /// Finds how far `which` came, connects to `target`, and says so when it goes on. `lines` is what a whole run shows,
    /// `row` what one step of it is called.
    pub(crate) async fn begin(
        &self,
        which: Which,
        window: usize,
        target: &Target,
        (lines, row): (u64, &str),
        (machine, disk): (&Machine, &Arc<dyn Disk>),
    ) -> anyhow::Result<Begun> {
        let command = which.command.clone();
        let dir = state_dir(self.state.as_deref())?;
        let clock = || Arc::clone(&machine.clock);
        let mut progress = Progress::open(Arc::clone(disk), clock(), &dir, which)?;
        if self.restart {
            progress.forget()?;
        }
        let options = Options {
            window,
            patience: self.patience,
            session_expiry_s: u32::try_from(self.patience.as_secs()).unwrap_or(u32::MAX),
            ..self.target.options(target, &command)
        };
        let skip = progress.rows();
        let meter = Meter::start(lines, clock(), self.quiet);
        let delivery = Delivery::open(options, progress, meter.clone(), clock()).await?;
        if skip > 0 {
            meter.note(&format!(
                "goes on after {row} {skip} of an interrupted {command} (--restart starts over)"
            ));
            meter.at(skip);
        }
        Ok(Begun { delivery, meter, skip })
    }
}
