//! What came of a backtest, as people read it.
//!
//! Not here: where it was made, on a file or in a server: both look the same. The law: what was not looked at is said.

use std::fmt::Write as _;

use model::Timestamp;
use rules::{Difference, Episode, Key, Report, Version};

/// What came of a rule.
pub(super) struct Outcome {
    pub(super) report: Report,
    /// Why it saw nothing.
    pub(super) nothing: Option<String>,
    pub(super) beside: Option<Beside>,
}

/// Another version of it.
pub(super) struct Beside {
    pub(super) version: Version,
    /// It is the one in force in a server.
    pub(super) is_in_force: bool,
    pub(super) differences: Vec<(Key, Vec<Difference>)>,
    /// One of the two has episodes that are only counted: of those nothing is said.
    pub(super) is_partial: bool,
}

/// Writes it.
pub(super) fn write(text: &mut String, outcome: &Outcome, label: &str) -> std::fmt::Result {
    write_report(text, outcome, label)?;
    match &outcome.beside {
        Some(beside) => write_beside(text, beside),
        None => Ok(()),
    }
}

fn write_report(text: &mut String, outcome: &Outcome, label: &str) -> std::fmt::Result {
    let Outcome { report, nothing, .. } = outcome;
    let listed = report.episodes().count();
    let unlisted = usize::try_from(report.episodes_unlisted).unwrap_or(usize::MAX);
    let episodes = counted(listed.saturating_add(unlisted), "episode");
    writeln!(text, "{} (version {}): {episodes}", report.rule, report.version)?;
    match (report.range, nothing) {
        (None, Some(nothing)) => writeln!(text, "  {nothing}")?,
        (None, None) => writeln!(text, "  no sample")?,
        (Some((first, last)), _) => writeln!(
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
    if unlisted > 0 {
        writeln!(text, "  and {} that are only counted", counted(unlisted, "episode"))?;
    }
    if !report.notices.is_empty() {
        writeln!(text, "  notices a day, before grouping and silences:")?;
    }
    for (day, by_label) in &report.notices {
        let of = |(value, count): (&String, &u64)| {
            if value.is_empty() {
                format!("{count} without {label}")
            } else {
                format!("{count} {label}={value}")
            }
        };
        let of: Vec<String> = by_label.iter().map(of).collect();
        let day = Timestamp::from_micros(day * Timestamp::DAY).to_string();
        writeln!(text, "    {} {}", day.get(..10).unwrap_or(&day), of.join(", "))?;
    }
    Ok(())
}

fn write_beside(text: &mut String, beside: &Beside) -> std::fmt::Result {
    let in_force = if beside.is_in_force { ", which is in force" } else { "" };
    let partial = if beside.is_partial { "; of episodes that are only counted nothing is known" } else { "" };
    if beside.differences.is_empty() {
        return writeln!(text, "  the same as version {}{in_force}{partial}", beside.version);
    }
    writeln!(text, "  against version {}{in_force}{partial}:", beside.version)?;
    for (key, differences) in &beside.differences {
        for difference in differences {
            let line = match difference {
                Difference::Fired(now) => format!("+ {}", shown(now)),
                Difference::Vanished(was) => format!("- {}", shown(was)),
                Difference::Resolved(now) => format!("~ {} (was open)", shown(now)),
                Difference::Changed { was, now } | Difference::Moved { was, now } => {
                    format!("~ {} (was {})", shown(now), shown(was))
                }
            };
            writeln!(text, "    {line}  {key}")?;
        }
    }
    Ok(())
}

/// Writes which rules are in one file alone.
pub(super) fn write_alone<'a>(
    text: &mut String,
    new: impl Iterator<Item = &'a str>,
    gone: impl Iterator<Item = &'a str>,
) -> std::fmt::Result {
    for name in new {
        writeln!(text, "{name} is new")?;
    }
    for name in gone {
        writeln!(text, "{name} is gone")?;
    }
    Ok(())
}

fn shown(episode: &Episode) -> String {
    let end = episode.resolved_at.map_or("open".to_owned(), |end| format!("resolved {end}"));
    format!("start {}  fired {}  {end}", episode.start, episode.fired_at)
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_of_listed_episodes_alone_is_called_one() {
        let beside = |is_partial| Beside {
            version: Version::parse("0f69b9c1ea6e14a4").expect("a version"),
            is_in_force: true,
            differences: Vec::new(),
            is_partial,
        };
        let said = |beside: &Beside| {
            let mut text = String::new();
            write_beside(&mut text, beside).expect("written");
            text
        };
        assert_eq!(said(&beside(false)), "  the same as version 0f69b9c1ea6e14a4, which is in force\n");
        assert_eq!(
            said(&beside(true)),
            "  the same as version 0f69b9c1ea6e14a4, which is in force; of episodes that are only counted nothing is known\n"
        );
    }
}
