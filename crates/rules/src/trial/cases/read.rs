//! Reading a file of tests.
//!
//! Not here: running them. The law: as for rule files, everything wrong is told at once, with its place.

use std::collections::BTreeMap;

use model::{ChannelName, DeviceName, Flags, GroupPath, Reading, Sample, Timestamp, TopicName};

use super::{Case, Device, Expected, TestFile, series};
use crate::document::Node;
use crate::duration;
use crate::fault::Fault;
use crate::file::Shape;

/// When a test begins that does not say.
const START_DEFAULT: &str = "2026-01-01T00:00:00Z";

pub(super) fn file(text: &str) -> Result<TestFile, Vec<Fault>> {
    let root = Node::parse(text).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let mut shape = Shape::of(&root, "a file of tests", &["rule_files", "tests"], &mut faults);
    let files = shape.list("rule_files").unwrap_or_default();
    let tests = shape.list("tests").unwrap_or_default();
    shape.finish();
    let mut rule_files = Vec::new();
    for file in files {
        match file.text() {
            Some(name) => rule_files.push(name),
            None => faults
                .push(file.fault(format!("a rule file is named by a text, and this is {}", file.kind()))),
        }
    }
    let cases = tests.iter().filter_map(|test| case(test, &mut faults)).collect();
    faults.sort();
    if faults.is_empty() { Ok(TestFile { rule_files, cases }) } else { Err(faults) }
}

fn case(node: &Node, faults: &mut Vec<Fault>) -> Option<Case> {
    let known = ["name", "start", "interval", "until", "input", "expect"];
    let mut shape = Shape::of(node, "a test", &known, faults);
    let name = shape.needed_text("name");
    let start = shape.text("start");
    let interval_micros = shape.span("interval").unwrap_or(60 * Timestamp::SECOND);
    let until = shape.text("until");
    let input = shape.list("input");
    let expect = shape.needed("expect");
    shape.finish();
    let start = match start {
        None => Timestamp::parse(START_DEFAULT).unwrap_or_default(),
        Some((text, node)) => Timestamp::parse(&text).unwrap_or_else(|error| {
            faults.push(node.fault(error.to_string()));
            Timestamp::default()
        }),
    };
    let until = until.map(|(text, node)| moment(&text, node, start, faults));
    let times = Times { start, interval_micros };
    let devices = input?.iter().filter_map(|input| device(input, times, faults)).collect();
    let mut expected = Vec::new();
    for (alert, episodes) in map(expect?, "expect", faults) {
        let Some(list) = episodes.list() else {
            faults.push(episodes.fault("the episodes of an alert are a list; `[]` for none"));
            continue;
        };
        let episodes = list.iter().filter_map(|node| episode(node, start, faults)).collect();
        expected.push((alert.text().unwrap_or_default(), alert.line, episodes));
    }
    Some(Case { name: name?, line: node.line, start, until: until.flatten(), devices, expected })
}

#[derive(Clone, Copy)]
struct Times {
    start: Timestamp,
    interval_micros: i64,
}

fn device(node: &Node, times: Times, faults: &mut Vec<Fault>) -> Option<Device> {
    let known = ["device", "topic", "group", "attributes", "values"];
    let mut shape = Shape::of(node, "an input", &known, faults);
    let name = shape.needed("device").and_then(|_| shape.text("device"));
    let topic = shape.text("topic");
    let group = shape.text("group");
    let attributes = shape.take("attributes");
    let values = shape.needed("values");
    shape.finish();
    let (name, name_node) = name?;
    let topic = topic.unwrap_or_else(|| (format!("dt/{name}/telemetry"), name_node));
    let mut told = |node: &Node, error: String| {
        faults.push(node.fault(error));
    };
    let name = DeviceName::parse(name).map_err(|error| told(name_node, error.to_string())).ok();
    let topic = TopicName::parse(topic.0).map_err(|error| told(topic.1, error.to_string())).ok();
    let group = match group {
        None => Some(None),
        Some((text, node)) => {
            GroupPath::parse(text).map_err(|error| told(node, error.to_string())).ok().map(Some)
        }
    };
    let attributes = attributes.map(|node| texts(node, "attributes", faults)).unwrap_or_default();
    let name = name?;
    let messages = messages(&name, values?, times, faults);
    Some(Device { name, topic: topic?, group: group?, attributes, messages })
}

fn messages(device: &DeviceName, node: &Node, times: Times, faults: &mut Vec<Fault>) -> Vec<Sample> {
    let mut messages = Vec::new();
    for (channel, values) in map(node, "values", faults) {
        let channel = match ChannelName::parse(channel.text().unwrap_or_default()) {
            Ok(name) => name,
            Err(error) => {
                faults.push(channel.fault(error.to_string()));
                continue;
            }
        };
        let series = match series::parse(&values.text().unwrap_or_default()) {
            Ok(series) => series,
            Err(error) => {
                faults.push(values.fault(error));
                continue;
            }
        };
        for (nth, value) in (0_i64..).zip(series) {
            let Some(value) = value else { continue };
            messages.push(Sample {
                device: device.clone(),
                time: times.start.plus_micros(times.interval_micros.saturating_mul(nth)),
                flags: Flags::empty(),
                readings: vec![Reading { channel: channel.clone(), value }],
            });
        }
    }
    messages
}

fn episode(node: &Node, start: Timestamp, faults: &mut Vec<Fault>) -> Option<Expected> {
    let known = ["key", "start", "fired", "resolved", "labels", "annotations"];
    let mut shape = Shape::of(node, "an episode", &known, faults);
    let times = ["start", "fired", "resolved"].map(|key| {
        shape.needed(key)?;
        shape.text(key)
    });
    let maps = ["key", "labels", "annotations"].map(|key| (key, shape.take(key)));
    shape.finish();
    let [begin, fired, resolved] = times;
    let mut at =
        |time: Option<(String, &Node)>| time.and_then(|(text, node)| moment(&text, node, start, faults));
    let is_open = resolved.as_ref().is_some_and(|(text, _)| text == "open");
    let (begin, fired) = (at(begin), at(fired));
    let resolved = if is_open { Some(None) } else { at(resolved).map(Some) };
    let [key, labels, annotations] =
        maps.map(|(key, node)| node.map(|node| texts(node, key, faults)).unwrap_or_default());
    Some(Expected {
        line: node.line,
        key,
        start: begin?,
        fired: fired?,
        resolved: resolved?,
        labels,
        annotations,
    })
}

/// A time after the start of the test, or a moment.
fn moment(text: &str, node: &Node, start: Timestamp, faults: &mut Vec<Fault>) -> Option<Timestamp> {
    if ["0", "0s", "0m"].contains(&text) {
        return Some(start);
    }
    if let Ok(time) = Timestamp::parse(text) {
        return Some(time);
    }
    match duration::parse(text) {
        Ok(micros) => Some(start.plus_micros(micros)),
        Err(_) => {
            let fault = node.fault(format!("`{text}` is no time"));
            let right = "write how long after the start: `6m`, or a moment: `2026-01-01T00:06:00Z`";
            faults.push(fault.suggesting(right.to_owned()));
            None
        }
    }
}

fn map<'a>(node: &'a Node, what: &str, faults: &mut Vec<Fault>) -> &'a [(Node, Node)] {
    node.map().unwrap_or_else(|| {
        faults.push(node.fault(format!("`{what}` is a map, and this is {}", node.kind())));
        &[]
    })
}

fn texts(node: &Node, what: &str, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let entries = map(node, what, faults).iter();
    entries.map(|(name, text)| (name.text().unwrap_or_default(), text.text().unwrap_or_default())).collect()
}
