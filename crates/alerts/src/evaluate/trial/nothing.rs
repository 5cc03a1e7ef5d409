//! Why a rule saw nothing, and what there is instead: a rule that can never fire looks like one that had nothing to say.
//!
//! Not here: rules that saw something. The law: what is said is what was looked at, with a name that is near where there is one.

use std::collections::BTreeSet;

use rules::{Rule, did_you_mean};
use series::{Selection, Series};

/// How many names are listed.
const NAMES_SHOWN: usize = 8;

/// Why `rule` saw nothing of `selection`, whose readings of the rules' channels came over topics of these patterns.
pub(super) fn why(
    series: &Series,
    rule: &Rule,
    selection: &Selection,
    patterns: &BTreeSet<String>,
) -> String {
    let Some((from, to)) = series.extent(&Selection::default()) else {
        return "this server has no readings".to_owned();
    };
    if series.extent(selection).is_none() {
        return format!("this server has no readings of that time; it has some from {from} to {to}");
    }
    let known = series.channel_names();
    for channel in rule.channels() {
        let channel = channel.as_str();
        if !known.contains_key(channel) {
            let near = did_you_mean(channel, known.keys().map(String::as_str))
                .unwrap_or_else(|| listed("there are", known.keys().map(String::as_str)));
            return format!("there is no channel `{channel}`; {near}");
        }
    }
    if patterns.is_empty() {
        let newest = rule.channels().iter().filter_map(|channel| known.get(channel.as_str())).max();
        let newest = newest.map(|time| format!("; the newest is of {time}")).unwrap_or_default();
        return format!("there is no reading of its channels of that time{newest}");
    }
    let from = rule.from().as_str();
    let others = patterns.iter().map(String::as_str).filter(|pattern| *pattern != from);
    let near = did_you_mean(from, others)
        .unwrap_or_else(|| listed("they came over", patterns.iter().map(String::as_str)));
    format!("no reading of its channels came over a topic that `{from}` matches; {near}")
}

fn listed<'a>(head: &str, names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown: Vec<String> = names.take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{head} {}{more}", shown.join(", "))
}
