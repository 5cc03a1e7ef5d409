//! Rule files: groups of rules in the envelope that Prometheus made familiar, checked as a whole.
//!
//! Not here: reading the files from disk, and what `sql:` means ([`sql`](crate::sql)). The law: either all files are right and make a
//! [`RuleSet`], or every fault in all of them is told at once.

mod action;
mod alert;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::ActionRule;
use crate::document::Node;
use crate::fault::{Fault, FileFault};
use crate::limits::Limits;
use crate::rule::Rule;
pub(crate) use shape::Shape;

/// Most rules of all files together.
pub const RULES_MAX: usize = 1_000;

/// Most actions of all rules together: each reads every message of the journal by itself.
pub const ACTIONS_OF_ALL_MAX: usize = 256;

/// What a set of rule files says.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The rules that raise alerts, in the order of files and text.
    pub alerts: Vec<Rule>,
    /// The rules that act on messages.
    pub actions: Vec<Arc<ActionRule>>,
}

impl RuleSet {
    /// Reads and checks files, each with a name and its text, for the fleet of `limits`.
    ///
    /// # Errors
    /// Everything that is wrong with all of them, in the order of files and places.
    pub fn load<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        limits: &Limits,
    ) -> Result<Self, Vec<FileFault>> {
        let mut loading =
            Loading { limits, set: Self::default(), names: BTreeMap::new(), faults: Vec::new() };
        for (file, text) in files {
            let before = loading.faults.len();
            loading.file(file, text);
            loading.faults[before..].sort();
        }
        let rules = loading.set.alerts.len() + loading.set.actions.len();
        if rules > RULES_MAX {
            let message = format!("there are {rules} rules; the most is {RULES_MAX}");
            loading.faults.push(Fault::new(1, 1, message).of(""));
        }
        let actions: usize = loading.set.actions.iter().map(|rule| rule.actions.len()).sum();
        if actions > ACTIONS_OF_ALL_MAX {
            let message = format!("the rules have {actions} actions; the most is {ACTIONS_OF_ALL_MAX}");
            let way_out =
                "every action reads the journal by itself: let one rule select for several receivers";
            loading.faults.push(Fault::new(1, 1, message).suggesting(way_out.to_owned()).of(""));
        }
        if loading.faults.is_empty() { Ok(loading.set) } else { Err(loading.faults) }
    }

    /// The rule with this name that raises alerts.
    #[must_use]
    pub fn alert(&self, name: &str) -> Option<&Rule> {
        self.alerts.iter().find(|rule| rule.name == name)
    }
}

/// Files on their way to a set.
struct Loading<'a> {
    limits: &'a Limits,
    set: RuleSet,
    /// Where each name was first seen.
    names: BTreeMap<String, String>,
    faults: Vec<FileFault>,
}

impl Loading<'_> {
    fn file(&mut self, file: &str, text: &str) {
        let root = match Node::parse(text) {
            Ok(root) => root,
            Err(fault) => return self.faults.push(fault.of(file)),
        };
        let mut faults = Vec::new();
        let mut shape = Shape::of(&root, "a rule file", &["groups"], &mut faults);
        let groups = shape.list("groups");
        shape.finish();
        for group in groups.unwrap_or_default() {
            let mut shape = Shape::of(group, "a group", &["name", "rules"], &mut faults);
            let name = shape.needed_text("name").unwrap_or_default();
            let rules = shape.list("rules");
            shape.finish();
            for rule in rules.unwrap_or_default() {
                self.rule(Place { file, source: text, group: &name }, rule, &mut faults);
            }
        }
        self.faults.extend(faults.into_iter().map(|fault| fault.of(file)));
    }

    fn rule(&mut self, place: Place<'_>, node: &Node, faults: &mut Vec<Fault>) {
        let Some(keys) = node.map() else {
            let fault = node.fault(format!("a rule is a map, and this is {}", node.kind()));
            return faults.push(fault.suggesting("begin it with `alert: NAME` or `rule: NAME`".to_owned()));
        };
        let before = faults.len();
        let names: Vec<&Node> = keys
            .iter()
            .filter(|(key, _)| ["alert", "rule"].contains(&key.text().unwrap_or_default().as_str()))
            .map(|(_, value)| value)
            .collect();
        let [name_node] = names[..] else {
            let message = if names.is_empty() {
                "a rule without `alert` or `rule`"
            } else {
                "a rule with both `alert` and `rule`"
            };
            return faults.push(
                node.fault(message)
                    .suggesting("`alert: NAME` raises alerts, `rule: NAME` acts on messages".to_owned()),
            );
        };
        let name = name_node.text().filter(|name| is_name(name)).unwrap_or_else(|| {
            faults.push(name_node.fault("a rule's name is 1 to 128 letters, digits, `_` and `-`"));
            // The rest of it is read all the same, for its own faults.
            String::new()
        });
        let here = format!("{}:{}", place.file, name_node.line);
        if let Some(there) = self.names.get(&name) {
            let message = format!("there is a rule `{name}` already, at {there}");
            faults.push(name_node.fault(message).suggesting("every rule has a name of its own".to_owned()));
        } else if !name.is_empty() {
            self.names.insert(name.clone(), here);
        }
        if node.get("alert").is_some() {
            let rule = alert::read(self.limits, place, name, node, faults);
            self.set.alerts.extend(rule.filter(|_| faults.len() == before));
        } else {
            let rule = action::read(place, name, node, faults);
            self.set.actions.extend(rule.filter(|_| faults.len() == before).map(Arc::new));
        }
    }
}

/// Where a rule stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    source: &'a str,
    group: &'a str,
}

fn is_name(name: &str) -> bool {
    let allows = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=128).contains(&name.len()) && name.chars().all(allows)
}
