//! Lists of devices, page by page.
//!
//! A page is found by a walk in memory, so that any filter is as quick as any other, and its devices are then read from
//! the catalog. Not here: the order is that of names and no other. The law: pages together are all devices that the filter
//! wants, each once.

use std::ops::Bound;

use catalog::{Connection, SqlError};
use model::{DeviceName, GroupPath};

use super::fleet::{Fleet, Seen};
use super::{Device, DeviceState, one};
use crate::Reach;

/// Most devices on one page.
pub const PAGE_DEVICES_MAX: usize = 1000;

/// Which devices are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Only those in this state; without one all that are not removed.
    pub state: Option<DeviceState>,
    /// Only those whose name begins with this.
    pub name_prefix: Option<String>,
    /// Only those whose name is this, where `*` is any text and `?` any character.
    pub name_pattern: Option<String>,
    /// Only those that are in this group or in one below it, at home or as members.
    pub group: Option<GroupPath>,
    /// Only those with all these attributes: key and value.
    pub attributes: Vec<(String, String)>,
    /// Only those whose home somebody may look into.
    pub reach: Option<Reach>,
}

/// Which part of the devices is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only names after this one: [`Devices::next`] of the page before.
    pub after: Option<DeviceName>,
    /// At most so many; held between 1 and [`PAGE_DEVICES_MAX`].
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: 100 }
    }
}

/// One page of devices, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// The devices.
    pub devices: Vec<Device>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<DeviceName>,
}

impl DeviceFilter {
    fn wants(&self, device: &Seen<'_>) -> bool {
        let is_state = self.state.map_or(device.state != DeviceState::Removed, |state| device.state == state);
        let is_within = |group: &GroupPath| {
            device.home().into_iter().chain(device.memberships()).any(|own| own.is_within(group))
        };
        let is_reached = |home: &GroupPath, group: &String| {
            home.strip_prefix(group.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let may_look = match &self.reach {
            None | Some(Reach::Everywhere) => true,
            Some(Reach::Groups(groups)) => {
                device.home().is_some_and(|home| groups.iter().any(|group| is_reached(home, group)))
            }
        };
        may_look
            && is_state
            && self.name_pattern.as_deref().is_none_or(|pattern| matches(pattern, device.name))
            && self.group.as_ref().is_none_or(is_within)
            && self.attributes.iter().all(|(key, value)| device.attributes.get(key) == Some(value))
    }

    /// What the names that are wanted begin with.
    fn beginning(&self) -> &str {
        let pattern = self.name_pattern.as_deref().unwrap_or_default();
        let literal = &pattern[..pattern.find(['*', '?']).unwrap_or(pattern.len())];
        let prefix = self.name_prefix.as_deref().unwrap_or_default();
        // Of two the longer one; names that begin otherwise are looked at and refused.
        if literal.len() > prefix.len() { literal } else { prefix }
    }
}

/// The names of a page, and whether there are more.
pub(crate) fn names(fleet: &Fleet, filter: &DeviceFilter, page: &Page) -> (Vec<DeviceName>, bool) {
    let limit = page.limit.clamp(1, PAGE_DEVICES_MAX);
    let (beginning, prefix) = (filter.beginning(), filter.name_prefix.as_deref().unwrap_or_default());
    let after = page.after.as_deref().filter(|after| *after >= beginning);
    let start = after.map_or(Bound::Included(beginning), Bound::Excluded);
    let mut names = Vec::with_capacity(limit.min(128));
    let mut has_more = false;
    fleet.walk(start, |device| {
        if !device.name.starts_with(beginning) {
            return false;
        }
        if device.name.starts_with(prefix) && filter.wants(&device) {
            has_more = names.len() == limit;
            if has_more {
                return false;
            }
            names.push(device.name.clone());
        }
        true
    });
    (names, has_more)
}

/// Reads the devices of a page.
pub(crate) fn read(
    connection: &Connection<'_>,
    (names, has_more): (Vec<DeviceName>, bool),
) -> Result<Devices, SqlError> {
    let next = names.last().filter(|_| has_more).cloned();
    let mut devices = Vec::with_capacity(names.len());
    for name in names {
        devices.extend(one(connection, &name)?);
    }
    Ok(Devices { devices, next })
}

/// Whether `pattern` is `text`, where `*` is any text and `?` any character. Time: their lengths multiplied at most.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how much it has taken: only the last one is ever taken back.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_is_the_whole_name() {
        let check = |pattern: &str, text: &str, expect: bool| {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        };
        check("pump-1", "pump-1", true);
        check("pump-1", "pump-11", false);
        check("pump-*", "pump-11", true);
        check("*-1", "pump-1", true);
        check("p*p-?", "pump-1", true);
        check("p*p-?", "pump-11", false);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b", "ab-ab-a", false);
        check("", "a", false);
        check("**", "", true);
    }
}
