//! `godwit rule backtest`: what rules would have done with a recording, and what another version would.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use model::Timestamp;
use rules::{Backtest, Circumstances, Difference, Episode, Report, Rule, RuleSet};

use super::recorded::{Recorded, RecordingArgs};
use super::{files, say};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The rule file
    file: PathBuf,
    /// The recording: CSV or JSON lines
    #[arg(long, value_name = "FILE")]
    recording: PathBuf,
    /// Another version of the rule file: say what is different
    #[arg(long, value_name = "FILE2")]
    against: Option<PathBuf>,
    /// An attribute of the device, which rules may name
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// The device's home group, for rules that have state by group or site
    #[arg(long, value_name = "PATH", value_parser = group)]
    group: Option<model::GroupPath>,
    /// The label by which notices are counted
    #[arg(long, value_name = "LABEL", default_value = "severity")]
    label: String,
    #[command(flatten)]
    how: RecordingArgs,
}

/// Fleet of one: what a window needs for many is asked by `check`.
const DEVICES: u64 = 1;

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let rules = files::load(std::slice::from_ref(&args.file), DEVICES)?;
    let against =
        args.against.as_ref().map(|file| files::load(std::slice::from_ref(file), DEVICES)).transpose()?;
    let recorded = args.how.read(&args.recording)?;
    let mut text = String::new();
    for rule in &rules.alerts {
        let report = report(args, rule, &recorded);
        write_report(&mut text, args, rule, &report)?;
        if let Some(old) = against.as_ref().and_then(|old| old.alert(rule.name())) {
            write_difference(&mut text, &report, &self::report(args, old, &recorded))?;
        }
    }
    if let Some(against) = &against {
        write_unmatched(&mut text, &rules, against)?;
    }
    say(&text)
}

fn report(args: &Args, rule: &Rule, recorded: &Recorded) -> Report {
    let attributes: BTreeMap<&str, &str> =
        args.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let attribute = |name: &str| attributes.get(name).map(|value| (*value).to_owned());
    let known = Circumstances { group: args.group.as_ref(), attribute: &attribute };
    let mut backtest = Backtest::new(rule);
    if recorded.is_seen_by(rule.from()) {
        recorded.samples.iter().for_each(|sample| backtest.feed(sample, &known));
    }
    // A value that stands (`hold`) stands until its time is over, as it would when the server looks later.
    let end = recorded.samples.last().map(|sample| sample.time.plus_micros(rule.for_micros()));
    backtest.finish(if rule.has_hold() { end } else { None })
}

fn write_report(text: &mut String, args: &Args, rule: &Rule, report: &Report) -> std::fmt::Result {
    let episodes = report.episodes().count();
    writeln!(text, "{} (version {}): {}", report.rule, report.version, counted(episodes, "episode"))?;
    match report.range {
        None => writeln!(text, "  no sample that `from: {}` lets pass", rule.from())?,
        Some((first, last)) => writeln!(
            text,
            "  {} of {}, {first} to {last}",
            counted(usize::try_from(report.samples).unwrap_or(usize::MAX), "sample"),
            counted(report.keys_seen, "key")
        )?,
    }
    let undefined = report.counts.total();
    if undefined > 0 {
        let counts = report.counts;
        writeln!(
            text,
            "  {undefined} times Undefined by the data: {} divisions by zero, {} of a wrong kind, {} not finite, {} windows full",
            counts.division_by_zero, counts.wrong_kind, counts.not_finite, counts.window_full
        )?;
    }
    for key in &report.keys {
        writeln!(text, "  {}: {}", key.key, counted(key.episodes.len(), "episode"))?;
        for (episode, _) in &key.episodes {
            writeln!(text, "    {}", shown(episode))?;
        }
        if let Some(start) = key.pending_since {
            writeln!(text, "    start {start}, not fired at the end")?;
        }
    }
    let days = report.notices_by_day(&args.label);
    if !days.is_empty() {
        writeln!(text, "  notices a day, before grouping and silences:")?;
    }
    for (day, by_label) in days {
        let of = |(value, count): (&String, &u64)| {
            if value.is_empty() {
                format!("{count} without {}", args.label)
            } else {
                format!("{count} {}={value}", args.label)
            }
        };
        let of: Vec<String> = by_label.iter().map(of).collect();
        let day = Timestamp::from_micros(day * Timestamp::DAY).to_string();
        writeln!(text, "    {} {}", day.get(..10).unwrap_or(&day), of.join(", "))?;
    }
    Ok(())
}

fn write_difference(text: &mut String, new: &Report, old: &Report) -> std::fmt::Result {
    let differences = new.difference_to(old);
    if differences.is_empty() {
        return writeln!(text, "  the same as version {}", old.version);
    }
    writeln!(text, "  against version {}:", old.version)?;
    for (key, differences) in differences {
        for difference in differences {
            let line = match difference {
                Difference::Fired(now) => format!("+ {}", shown(&now)),
                Difference::Vanished(was) => format!("- {}", shown(&was)),
                Difference::Resolved(now) => format!("~ {} (was open)", shown(&now)),
                Difference::Changed { was, now } | Difference::Moved { was, now } => {
                    format!("~ {} (was {})", shown(&now), shown(&was))
                }
            };
            writeln!(text, "    {line}  {key}")?;
        }
    }
    Ok(())
}

fn write_unmatched(text: &mut String, new: &RuleSet, old: &RuleSet) -> std::fmt::Result {
    for rule in new.alerts.iter().filter(|rule| old.alert(rule.name()).is_none()) {
        writeln!(text, "{} is new", rule.name())?;
    }
    for rule in old.alerts.iter().filter(|rule| new.alert(rule.name()).is_none()) {
        writeln!(text, "{} is gone", rule.name())?;
    }
    Ok(())
}

fn shown(episode: &Episode) -> String {
    let end = episode.resolved_at.map_or("open".to_owned(), |end| format!("resolved {end}"));
    format!("start {}  fired {}  {end}", episode.start, episode.fired_at)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as floor=17")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn group(text: &str) -> Result<model::GroupPath, String> {
    model::GroupPath::parse(text.to_owned()).map_err(|error| error.to_string())
}
