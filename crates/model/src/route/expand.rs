//! A preset as the routes it stands for.
//!
//! Not here: what the topics are (`preset::topics`), and what their payloads mean (`preset`). The law: a filter of the
//! user's own only says where the maker's topics are; what they mean stays.

use super::device::{DeviceRule, Piece};
use crate::preset::{Family, Owner, PRESETS, Part, Preset};

/// A route that a preset stands for.
pub(super) struct Expanded {
    /// The topics; a `#` may stand before further levels.
    pub pattern: String,
    pub part: Part,
    /// Whose readings these are, where the settings do not say.
    pub device: DeviceRule,
}

/// The preset called `name`.
pub(super) fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// The routes of `preset` on the topics of `filter`, or on those that its maker's devices use by default. Empty when
/// the filter ends in nothing that the preset knows.
pub(super) fn expand(preset: &Preset, filter: Option<&str>) -> Vec<Expanded> {
    let Some(filter) = filter else {
        return preset.families.iter().flat_map(|family| at_base(family, family.base)).collect();
    };
    let is_marked =
        |family: &&Family| family.marker.is_some_and(|marker| filter.split('/').any(|level| level == marker));
    let marked: Vec<&Family> = preset.families.iter().filter(is_marked).collect();
    let families: Vec<&Family> = match marked.last() {
        // The last of a mark is the one with a level for the device.
        Some(family) => vec![family],
        None => preset.families.iter().filter(|family| family.marker.is_none()).collect(),
    };
    if filter.ends_with('#') {
        return families.into_iter().flat_map(|family| at_base(family, filter)).collect();
    }
    families.into_iter().filter_map(|family| at_topic(family, filter)).take(1).collect()
}

/// Every part of a family, in place of the `#` that ends `base`.
fn at_base(family: &Family, base: &str) -> Vec<Expanded> {
    let start = base.strip_suffix('#').unwrap_or(base);
    let made = |&(tail, part): &(&str, Part)| Expanded {
        pattern: format!("{start}{tail}"),
        part,
        device: device(family, start, tail),
    };
    family.parts.iter().map(made).collect()
}

/// The part of a family that a filter without `#` ends in.
fn at_topic(family: &Family, filter: &str) -> Option<Expanded> {
    let levels: Vec<&str> = filter.split('/').collect();
    let first_plus = levels.iter().position(|level| *level == "+");
    family.parts.iter().find_map(|&(tail, part)| {
        let start = match tail {
            // Everything after the levels that are written out.
            "#" => first_plus.unwrap_or(levels.len() - 1),
            // Everything after the level that names the device.
            "+/#" => {
                let mark = levels.iter().position(|level| Some(*level) == family.marker);
                first_plus.or(mark.map(|at| at + 1)).unwrap_or(0) + 1
            }
            tail => {
                let tail: Vec<&str> = tail.trim_start_matches("#/").split('/').collect();
                let at = levels.len().checked_sub(tail.len())?;
                let fits = |(wanted, level): (&&str, &&str)| *wanted == "+" || wanted == level;
                if !tail.iter().zip(&levels[at..]).all(fits) {
                    return None;
                }
                at
            }
        };
        // What is left of the start of `#/availability` are the levels that name the device.
        let start = if tail.starts_with("#/") { first_plus.unwrap_or(start).min(start) } else { start };
        let start: String = levels.iter().take(start).flat_map(|level| [level, "/"]).collect();
        Some(Expanded { pattern: filter.to_owned(), part, device: device(family, &start, tail) })
    })
}

/// Whose readings a part's messages carry.
fn device(family: &Family, start: &str, tail: &str) -> DeviceRule {
    let levels: Vec<&str> = start.split_terminator('/').collect();
    let level = levels.iter().rposition(|level| *level == "+").unwrap_or(levels.len().saturating_sub(1)) + 1;
    match family.device {
        Owner::Level => DeviceRule::Level(level),
        Owner::Payload(path) => DeviceRule::PayloadOr(path.to_owned(), level),
        Owner::Rest if tail.starts_with("#/") => {
            let dropped = tail.split('/').count() - 1;
            DeviceRule::Pieces(vec![Piece::LevelsBetween { from: levels.len() + 1, dropped }])
        }
        Owner::Rest => DeviceRule::Pieces(vec![Piece::LevelsFrom(levels.len() + 1)]),
    }
}
