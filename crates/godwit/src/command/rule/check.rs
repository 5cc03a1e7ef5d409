//! `godwit rule check`: everything that is wrong with rule files, and what a recording makes doubtful.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rules::{Intervals, RuleSet, span_shown};

use super::recorded::RecordingArgs;
use super::{files, say};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rule files: they are checked together
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How many devices there are or will be: what windows need is judged by it
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    devices: u64,
    /// A recording (CSV or JSON lines) of such a device: warns of channels that report more seldom than `for` assumes
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    #[command(flatten)]
    how: RecordingArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let rules = files::load(&args.files, args.devices)?;
    let mut text = String::new();
    if let Some(recording) = &args.recording {
        text = warnings(&rules, &args.how, recording)?;
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    writeln!(
        text,
        "{}: {} and {}, nothing wrong",
        count(args.files.len(), "file"),
        count(rules.alerts.len(), "alert"),
        count(rules.actions.len(), "action rule")
    )?;
    say(&text)
}

fn warnings(rules: &RuleSet, how: &RecordingArgs, recording: &Path) -> anyhow::Result<String> {
    let recorded = how.read(recording)?;
    let mut text = String::new();
    for rule in rules.alerts.iter().filter(|rule| recorded.is_seen_by(rule.from())) {
        let mut intervals = Intervals::new(rule);
        recorded.samples.iter().for_each(|sample| intervals.feed(sample));
        for sparse in intervals.sparse() {
            writeln!(
                text,
                "warning: {}: `{}`: {} of {} intervals of `{}` are longer than `for: {}`, and there is no `hold`: if it \
                 reports on change, say how long a value stands, such as `hold: 24h`",
                rule.file(),
                rule.name(),
                sparse.longer,
                sparse.intervals,
                sparse.channel,
                span_shown(rule.for_micros())
            )?;
        }
    }
    Ok(text)
}
