//! Unit tests of rules in YAML: readings in, episodes that must come out, in the manner of promtool.
//!
//! ```yaml
//! rule_files: [comfort.yaml]
//! tests:
//! - name: ten minutes above
//!   interval: 1m
//!   input:
//!   - device: office-1
//!     topic: dt/office-1/climate
//!     values:
//!       temperature: 20 31x9 25
//!   expect:
//!     RoomTooHot:
//!     - {start: 1m, fired: 6m, resolved: 11m}
//! ```
//!
//! Not here: reading the rule files. The laws: an alert that is named must have exactly the episodes that are written; all
//! that differs is told, with the line of the test.

mod read;
mod series;

use std::collections::BTreeMap;

use model::{DeviceName, GroupPath, Sample, Timestamp, TopicName};

use super::backtest::{Backtest, Report};
use super::order::in_order;
use crate::duration::shown;
use crate::episode::Episode;
use crate::fault::Fault;
use crate::file::RuleSet;
use crate::key::{Circumstances, Key};
use crate::rule::Rule;
use crate::template::Written;

/// A file of tests.
#[derive(Debug)]
pub struct TestFile {
    rule_files: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    name: String,
    line: usize,
    start: Timestamp,
    until: Option<Timestamp>,
    devices: Vec<Device>,
    expected: Vec<(String, usize, Vec<Expected>)>,
}

#[derive(Debug)]
struct Device {
    name: DeviceName,
    topic: TopicName,
    group: Option<GroupPath>,
    attributes: BTreeMap<String, String>,
    messages: Vec<Sample>,
}

#[derive(Debug)]
struct Expected {
    line: usize,
    key: BTreeMap<String, String>,
    start: Timestamp,
    fired: Timestamp,
    resolved: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// What is otherwise than written; empty when it passed.
    pub failures: Vec<Fault>,
}

impl TestFile {
    /// Reads a file of tests.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        read::file(text)
    }

    /// The rule files it names, as it names them: relative to itself.
    #[must_use]
    pub fn rule_files(&self) -> &[String] {
        &self.rule_files
    }

    /// Runs every test over `rules`.
    #[must_use]
    pub fn run(&self, rules: &RuleSet) -> Vec<CaseResult> {
        self.cases.iter().map(|case| case.run(rules)).collect()
    }
}

impl Case {
    fn run(&self, rules: &RuleSet) -> CaseResult {
        let mut failures = Vec::new();
        for (name, line, expected) in &self.expected {
            match rules.alert(name) {
                None => {
                    let names = rules.alerts.iter().map(Rule::name);
                    let fault = Fault::new(*line, 1, format!("no rule file has an alert `{name}`"));
                    failures.push(fault.suggesting(crate::fault::did_you_mean(name, names)));
                }
                Some(rule) => self.compare(rule, *line, expected, &mut failures),
            }
        }
        CaseResult { name: self.name.clone(), line: self.line, failures }
    }

    fn compare(&self, rule: &Rule, line: usize, expected: &[Expected], failures: &mut Vec<Fault>) {
        let report = self.report(rule);
        let mut found: Vec<(&Key, &Episode, &Written)> = report.episodes().collect();
        for wanted in expected {
            match found.iter().position(|episode| wanted.is(episode)) {
                Some(at) => {
                    let (_, _, written) = found.remove(at);
                    wanted.compare_texts(written, failures);
                }
                None => {
                    let message = format!("`{}` has no episode {}", rule.name(), self.shown_wanted(wanted));
                    failures.push(Fault::new(wanted.line, 1, message));
                }
            }
        }
        for (key, episode, _) in found {
            let shown = self.shown(episode.start, episode.fired_at, episode.resolved_at);
            let message =
                format!("`{}` has an episode that is not written here: {shown} of {key}", rule.name());
            failures.push(Fault::new(line, 1, message));
        }
    }

    fn report(&self, rule: &Rule) -> Report {
        let seen = self.devices.iter().filter(|device| rule.from().matches(&device.topic));
        let messages = seen.flat_map(|device| device.messages.iter().cloned()).collect();
        let mut backtest = Backtest::new(rule);
        for sample in in_order(messages) {
            let of = self.devices.iter().find(|device| device.name == sample.device);
            let attribute = |name: &str| of.and_then(|device| device.attributes.get(name).cloned());
            let group = of.and_then(|device| device.group.as_ref());
            backtest.feed(&sample, sample.time, &Circumstances { group, attribute: &attribute });
        }
        backtest.finish(self.until)
    }

    fn shown(&self, start: Timestamp, fired: Timestamp, resolved: Option<Timestamp>) -> String {
        let since = |time: Timestamp| shown(time.micros_since(self.start));
        let end = resolved.map_or("open".to_owned(), since);
        format!("{{start: {}, fired: {}, resolved: {end}}}", since(start), since(fired))
    }

    fn shown_wanted(&self, wanted: &Expected) -> String {
        self.shown(wanted.start, wanted.fired, wanted.resolved)
    }
}

impl Expected {
    fn is(&self, (key, episode, _): &(&Key, &Episode, &Written)) -> bool {
        (episode.start, episode.fired_at, episode.resolved_at) == (self.start, self.fired, self.resolved)
            && self.key.iter().all(|(part, value)| key.part(part) == Some(value))
    }

    fn compare_texts(&self, written: &Written, failures: &mut Vec<Fault>) {
        for (what, wanted, found) in [
            ("label", &self.labels, &written.labels),
            ("annotation", &self.annotations, &written.annotations),
        ] {
            for (name, text) in wanted {
                let is = found.get(name).map_or("", String::as_str);
                if is != text {
                    let message = format!("the {what} `{name}` is `{is}`, not `{text}`");
                    failures.push(Fault::new(self.line, 1, message));
                }
            }
        }
    }
}
