//! `godwit rule backtest`: what rules would have done with a recording, or with what a server keeps, and what another version
//! would.
//!
//! Not here: the fold (`rules`), and the reading of columns (the server). The law: both ways the same fold runs, and the range
//! that there really was is said.

#[cfg(feature = "platform")]
mod kept;
mod outcome;

use std::collections::BTreeMap;
#[cfg(feature = "platform")]
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rules::{Backtest, Circumstances, Report, Rule};

use super::recorded::{Recorded, RecordingArgs};
use super::{files, say};
use outcome::{Beside, Outcome};

/// What `--help` says behind the flags.
const HELP: &str = "Without --recording the server looks at the readings it keeps as columns: nothing is changed and nobody is told. What is
known of devices, groups and attributes, is what is known today. Without --against, rules are compared with those of
the same names in force there.

Examples:
  godwit rule backtest rules/comfort.yaml --since 30d
  godwit rule backtest new.yaml --since 2026-01-01 --until 2026-02-01 --against old.yaml
  godwit rule backtest rules/comfort.yaml --recording office.csv --as office-1";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The rule file
    file: PathBuf,
    /// A recording, CSV or JSON lines, instead of what a server keeps
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Another version of the rule file: say what is different
    #[arg(long, value_name = "FILE2")]
    against: Option<PathBuf>,
    /// Readings of this time or later: a date, RFC 3339, or how long ago, such as 30d [default: all that the server keeps]
    #[cfg(feature = "platform")]
    #[arg(long, value_name = "TIME", value_parser = crate::command::moment::moment, conflicts_with = "recording")]
    since: Option<model::Timestamp>,
    /// Readings before this time
    #[cfg(feature = "platform")]
    #[arg(long, value_name = "TIME", value_parser = crate::command::moment::moment, conflicts_with = "recording")]
    until: Option<model::Timestamp>,
    /// An attribute of the device that was recorded, which rules may name
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute, requires = "recording")]
    attributes: Vec<(String, String)>,
    /// The home group of the device that was recorded, for rules that have state by group or site
    #[arg(long, value_name = "PATH", value_parser = group, requires = "recording")]
    group: Option<model::GroupPath>,
    /// The label by which notices are counted
    #[arg(long, value_name = "LABEL", default_value = "severity")]
    label: String,
    #[command(flatten)]
    how: RecordingArgs,
    #[cfg(feature = "platform")]
    #[command(flatten)]
    server: crate::http::ServerArgs,
}

/// Fleet of one: what a window needs for many is asked by `check`.
const DEVICES: u64 = 1;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    match &args.recording {
        Some(recording) => on_recording(args, recording),
        #[cfg(feature = "platform")]
        None => on_server(args).await,
        #[cfg(not(feature = "platform"))]
        None => anyhow::bail!("say which recording: --recording FILE"),
    }
}

#[cfg(feature = "platform")]
async fn on_server(args: &Args) -> anyhow::Result<()> {
    // What is wrong with the files is said here, as `check` says it.
    let rules = files::load(std::slice::from_ref(&args.file), DEVICES)?;
    let against = args.against.as_ref().map(|file| files::load(std::slice::from_ref(file), DEVICES));
    let against = against.transpose()?;
    let order = api::BacktestOrder {
        rules: kept::file(&args.file)?,
        against: args.against.as_deref().map(kept::file).transpose()?,
        since: args.since.map(|time| time.to_string()),
        until: args.until.map(|time| time.to_string()),
        label: Some(args.label.clone()),
    };
    let kept = kept::run(&args.server.find()?, &order).await?;
    let mut text = String::new();
    for outcome in &kept.outcomes {
        outcome::write(&mut text, outcome, &args.label)?;
    }
    if let Some(against) = &against {
        let new = rules.alerts.iter().map(Rule::name).filter(|name| against.alert(name).is_none());
        outcome::write_alone(&mut text, new, kept.done.gone.iter().map(String::as_str))?;
    }
    if kept.done.behind > 0 {
        writeln!(
            text,
            "The columns were behind by {} messages when it began: the newest may be missing",
            kept.done.behind
        )?;
    }
    say(&text)
}

fn on_recording(args: &Args, recording: &Path) -> anyhow::Result<()> {
    let rules = files::load(std::slice::from_ref(&args.file), DEVICES)?;
    let against =
        args.against.as_ref().map(|file| files::load(std::slice::from_ref(file), DEVICES)).transpose()?;
    let recorded = args.how.read(recording)?;
    let mut text = String::new();
    for rule in &rules.alerts {
        let report = report(args, rule, &recorded);
        let old = against.as_ref().and_then(|old| old.alert(rule.name()));
        let beside = old.map(|old| {
            let then = self::report(args, old, &recorded);
            Beside {
                version: old.version(),
                is_in_force: false,
                differences: report.difference_to(&then),
                is_partial: old.version() != rule.version() && !(report.lists_all() && then.lists_all()),
            }
        });
        let nothing = (report.samples == 0)
            .then(|| format!("no sample that `from: {}` lets pass has a channel of it", rule.from()));
        outcome::write(&mut text, &Outcome { report, nothing, beside }, &args.label)?;
    }
    if let Some(against) = &against {
        let only = |these: &'_ rules::RuleSet, others: &rules::RuleSet| -> Vec<String> {
            let alone = these.alerts.iter().filter(|rule| others.alert(rule.name()).is_none());
            alone.map(|rule| rule.name().to_owned()).collect()
        };
        let (new, gone) = (only(&rules, against), only(against, &rules));
        outcome::write_alone(&mut text, new.iter().map(String::as_str), gone.iter().map(String::as_str))?;
    }
    say(&text)
}

fn report(args: &Args, rule: &Rule, recorded: &Recorded) -> Report {
    let attributes: BTreeMap<&str, &str> =
        args.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let attribute = |name: &str| attributes.get(name).map(|value| (*value).to_owned());
    let known = Circumstances { group: args.group.as_ref(), attribute: &attribute };
    let mut backtest = Backtest::new(rule).by_label(&args.label);
    if recorded.is_seen_by(rule.from()) {
        recorded.samples.iter().for_each(|sample| backtest.feed(sample, sample.time, &known));
    }
    // A value that stands (`hold`) stands until its time is over, as it would when the server looks later.
    let end = recorded.samples.last().map(|sample| sample.time.plus_micros(rule.for_micros()));
    backtest.finish(if rule.has_hold() { end } else { None })
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as floor=17")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn group(text: &str) -> Result<model::GroupPath, String> {
    model::GroupPath::parse(text.to_owned()).map_err(|error| error.to_string())
}
