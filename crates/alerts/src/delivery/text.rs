//! A notice in words, for people: a title and a line per alert.
//!
//! Not here: where it is shown. The law: a title is one line, whatever devices write into labels; an alert that is learnt
//! late says since when it holds and when it was learnt.

use model::Timestamp;

use super::Letter;
use crate::machine::notice::{Body, Cause, Told};

/// Longest title, in characters.
const TITLE_CHARACTERS_MAX: usize = 200;

/// How much later than it fired something must be learnt for that to be said.
const LEARNT_LATER_MICROS: i64 = 60 * Timestamp::SECOND;

/// `[FIRING:2] RoomTooHot (site hq)`.
pub(crate) fn title(body: &Body) -> String {
    let state = match (body.cause, body.firing) {
        (Cause::Retraction, _) => "RETRACTED".to_owned(),
        (_, 0) => "RESOLVED".to_owned(),
        (Cause::Repeat, firing) => format!("STILL FIRING:{firing}"),
        (_, firing) => format!("FIRING:{firing}"),
    };
    let mut rules: Vec<&str> = body.alerts.iter().map(|one| one.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let named = match rules.len() {
        0..=3 => rules.join(", "),
        more => format!("{} and {} more", rules[..2].join(", "), more - 2),
    };
    let labels: Vec<String> = body
        .group_labels
        .iter()
        .filter(|(name, value)| !value.is_empty() && *name != "alertname" && !rules.contains(&value.as_str()))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let late = if body.alerts.iter().all(|one| one.late) && !body.alerts.is_empty() { " late:" } else { "" };
    let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join(", ")) };
    one_line(&format!("[{state}]{late} {named}{labels}"), TITLE_CHARACTERS_MAX)
}

/// A line per alert, and how many are left out.
pub(crate) fn lines(letter: &Letter<'_>) -> Vec<String> {
    let shown = letter.body.alerts.iter().take(letter.alerts_max);
    let mut lines: Vec<String> = shown.map(line).collect();
    let left_out = letter.body.left_out + (letter.body.alerts.len() - lines.len()) as u64;
    if left_out > 0 {
        lines.push(format!("and {left_out} more"));
    }
    lines
}

fn line(told: &Told) -> String {
    let time = |micros: i64| Timestamp::from_micros(micros).to_string();
    let summary = told.annotations.get("summary").or_else(|| told.annotations.get("description"));
    let subject = told.labels.get("device").map_or_else(String::new, |device| format!("{device}: "));
    let said = summary.map_or_else(|| format!("{subject}{}", told.rule), Clone::clone);
    let learnt = if told.learnt_at - told.fired_at > LEARNT_LATER_MICROS {
        format!(", learnt {}", time(told.learnt_at))
    } else {
        String::new()
    };
    let when = match (told.state.as_str(), told.resolved_at) {
        ("retracted", _) => format!(
            "retracted: late data shows that it never was (said to hold since {})",
            time(told.started_at)
        ),
        (_, Some(end)) => format!("from {} to {}{learnt}", time(told.started_at), time(end)),
        (_, None) => format!("since {}{learnt}", time(told.started_at)),
    };
    one_line(&format!("{}: {said}; {when}", told.state.to_uppercase()), 1_000)
}

/// Without line breaks and other characters that a mail's header or a terminal would obey.
fn one_line(text: &str, characters_max: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(characters_max).collect()
}
