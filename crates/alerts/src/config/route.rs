//! The tree of routes: which alert goes to whom, in whose company and how soon.
//!
//! Not here: the gathering itself (`machine`). The laws: a child has what its parent says unless it says otherwise; the first
//! child that matches takes the alert, unless it says `continue`; an alert that no child takes stays with the parent; the
//! root takes every alert. A late alert goes to the inbox, unless a route names the label `late` itself.

use super::matcher::{Labels, Matcher};
use super::problem::Problems;
use super::section::Section;
use super::yaml::Node;

/// Deepest tree: deeper than people write.
const DEPTH_MAX: usize = 16;

/// The label by which routes may speak of late alerts.
pub(crate) const LATE: &str = "late";

/// A node of the tree, with everything it inherited.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// What makes its groups other than another route's: the matchers on the way to it.
    pub(crate) key: String,
    pub(crate) receiver: String,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) group_by: GroupBy,
    /// Microseconds, as those below.
    pub(crate) group_wait: i64,
    pub(crate) group_interval: i64,
    pub(crate) repeat_interval: i64,
    pub(crate) goes_on: bool,
    pub(crate) mute: Vec<String>,
    pub(crate) active: Vec<String>,
    pub(crate) routes: Vec<Route>,
}

/// Which labels make one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupBy {
    /// Each alert is a group of its own: `[...]`.
    All,
    Labels(Vec<String>),
}

impl Route {
    pub(crate) fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Self> {
        Self::read_child(node, path, None, 0, problems)
    }

    fn read_child(
        node: &Node,
        path: &str,
        parent: Option<&Route>,
        depth: usize,
        problems: &mut Problems,
    ) -> Option<Self> {
        if depth > DEPTH_MAX {
            problems.say(node.place, format!("`{path}` is more than {DEPTH_MAX} routes deep"));
            return None;
        }
        let mut section = Section::of(node, path, problems)?;
        let matchers = matchers(&mut section, ["matchers", "match", "match_re"], problems);
        let receiver = section.text("receiver", problems);
        if parent.is_none() {
            if receiver.is_none() {
                problems.advise(
                    section.place,
                    format!("`{path}` has no `receiver`"),
                    "it takes what no other route takes",
                );
            }
            if !matchers.is_empty() {
                problems.say(section.place, format!("`{path}` has matchers; the root takes every alert"));
            }
        }
        let group_by = section.node("group_by").is_some().then(|| {
            let labels: Vec<String> =
                section.texts("group_by", problems).into_iter().map(|(_, text)| text).collect();
            if labels.iter().any(|label| label == "...") {
                if labels.len() > 1 {
                    let wrong =
                        format!("`{path}.group_by` has `...`, which means every label, and others beside it");
                    problems.say(section.place_of("group_by"), wrong);
                }
                GroupBy::All
            } else {
                GroupBy::Labels(labels)
            }
        });
        let group_wait = section.duration("group_wait", problems);
        let group_interval = section.duration("group_interval", problems);
        let repeat_interval = section.duration("repeat_interval", problems);
        for (key, value) in [("group_interval", group_interval), ("repeat_interval", repeat_interval)] {
            if value == Some(0) {
                problems.say(
                    section.place_of(key),
                    format!("`{path}.{key}` is 0; it must be longer, as in `10s`"),
                );
            }
        }
        let goes_on = section.bool("continue", problems).unwrap_or(false);
        let names = |texts: Vec<(_, String)>| texts.into_iter().map(|(_, text)| text).collect();
        let mute = names(section.texts("mute_time_intervals", problems));
        let active = names(section.texts("active_time_intervals", problems));
        let own = matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut route = Self {
            key: parent.map_or_else(|| "{}".to_owned(), |parent| format!("{}/{{{own}}}", parent.key)),
            receiver: receiver.or_else(|| parent.map(|parent| parent.receiver.clone())).unwrap_or_default(),
            matchers,
            group_by: group_by
                .or_else(|| parent.map(|parent| parent.group_by.clone()))
                .unwrap_or(GroupBy::Labels(Vec::new())),
            group_wait: group_wait.or(parent.map(|parent| parent.group_wait)).unwrap_or(30_000_000),
            group_interval: group_interval
                .or(parent.map(|parent| parent.group_interval))
                .unwrap_or(300_000_000),
            repeat_interval: repeat_interval
                .or(parent.map(|parent| parent.repeat_interval))
                .unwrap_or(4 * 3_600_000_000),
            goes_on,
            mute,
            active,
            routes: Vec::new(),
        };
        let children = section.list("routes", problems);
        for (at, child) in children.iter().enumerate() {
            let path = format!("{path}.routes[{at}]");
            if let Some(mut child) = Self::read_child(child, &path, Some(&route), depth + 1, problems) {
                // Two children may say the same; their place tells them apart.
                if route.routes.iter().any(|other| other.key == child.key) {
                    child.rename(at);
                }
                route.routes.push(child);
            }
        }
        section.finish(&[("group_limit", "remove it: a group has no bound, a notice has")], problems);
        Some(route)
    }

    fn rename(&mut self, at: usize) {
        let (old, new) = (self.key.clone(), format!("{}#{at}", self.key));
        self.each(&mut |route| route.key = route.key.replacen(&old, &new, 1));
    }

    fn each(&mut self, change: &mut dyn FnMut(&mut Route)) {
        change(self);
        for route in &mut self.routes {
            route.each(change);
        }
    }

    /// Every route of the tree, itself first.
    pub(crate) fn all(&self) -> Vec<&Route> {
        let mut all = vec![self];
        all.extend(self.routes.iter().flat_map(Route::all));
        all
    }

    /// The routes that take an alert. For a late one only those that speak of `late`: none is the inbox.
    pub(crate) fn takers(&self, labels: &Labels, late: bool) -> Vec<&Route> {
        let mut takers = Vec::new();
        self.take(labels, false, &mut takers);
        takers.retain(|(_, names_late)| !late || *names_late);
        takers.into_iter().map(|(route, _)| route).collect()
    }

    fn take<'r>(&'r self, labels: &Labels, names_late: bool, takers: &mut Vec<(&'r Route, bool)>) -> bool {
        if !self.matchers.iter().all(|matcher| matcher.matches(labels)) {
            return false;
        }
        let names_late = names_late || self.matchers.iter().any(|matcher| matcher.name() == LATE);
        let mut taken = false;
        for route in &self.routes {
            let took = route.take(labels, names_late, takers);
            taken |= took;
            if took && !route.goes_on {
                break;
            }
        }
        if !taken {
            takers.push((self, names_late));
        }
        true
    }
}

/// Reads matchers in the new words and the old ones.
pub(crate) fn matchers(
    section: &mut Section<'_>,
    keys: [&'static str; 3],
    problems: &mut Problems,
) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    let mut keep =
        |place, path: String, read: Result<Vec<Matcher>, String>, problems: &mut Problems| match read {
            Ok(read) => matchers.extend(read),
            Err(wrong) => problems.say(place, format!("`{path}`: {wrong}")),
        };
    for (place, text) in section.texts(keys[0], problems) {
        keep(place, format!("{}.{}", section.path, keys[0]), Matcher::parse_all(&text), problems);
    }
    for (key, operator) in [(keys[1], "="), (keys[2], "=~")] {
        for (place, name, value) in section.texts_by_name(key, problems) {
            let path = format!("{}.{key}.{name}", section.path);
            keep(place, path, Matcher::new(name, operator, value).map(|one| vec![one]), problems);
        }
    }
    matchers
}

/// While an alert that matches `source` is firing, those that match `target` and agree in the labels of `equal` are not told.
#[derive(Debug, Clone)]
pub(crate) struct Inhibition {
    pub(crate) source: Vec<Matcher>,
    pub(crate) target: Vec<Matcher>,
    pub(crate) equal: Vec<String>,
}

impl Inhibition {
    pub(crate) fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut section = Section::of(node, path, problems)?;
        section.text("name", problems);
        let source = matchers(&mut section, ["source_matchers", "source_match", "source_match_re"], problems);
        let target = matchers(&mut section, ["target_matchers", "target_match", "target_match_re"], problems);
        let equal = section.texts("equal", problems).into_iter().map(|(_, text)| text).collect();
        for (what, side) in [("source_matchers", &source), ("target_matchers", &target)] {
            if side.is_empty() {
                problems.advise(
                    section.place,
                    format!("`{path}` has no `{what}`"),
                    "without one, every alert would be meant",
                );
            }
        }
        section.finish(&[], problems);
        Some(Self { source, target, equal })
    }
}
