//! `alerts.yaml`: who is told, in whose company, how soon and on which way, in the words of `alertmanager.yml`.
//!
//! A file that Alertmanager takes is taken for what Godwit does too; what it does not is refused by name, with the line and
//! what to do. Not here: when notices leave (`machine`), how (`delivery`). The laws: all faults are said at once; nothing
//! that is written is passed over in silence; what is read is whole: every name it uses is there.

pub(crate) mod duration;
mod interval;
pub(crate) mod matcher;
pub(crate) mod problem;
pub(crate) mod receiver;
pub(crate) mod route;
pub(crate) mod section;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Timestamp;

use interval::Interval;
use problem::{ConfigError, Problems};
use receiver::{Global, Http, Receiver, Way};
use route::{Inhibition, Route};
use section::{Files, Reading, Section};
use yaml::Node;

/// The receiver that is always there: what operators find when they look.
pub const INBOX: &str = "inbox";

/// What is in force when there is no file.
pub const SHIPPED: &str = include_str!("config/shipped.yaml");

/// Largest file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// A configuration that was read and is whole. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Config(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    route: Route,
    receivers: Vec<Receiver>,
    inhibitions: Vec<Inhibition>,
    intervals: Vec<Interval>,
    refire: i64,
    urgent_within: i64,
    heartbeat: Option<Heartbeat>,
    late: Route,
}

/// Says every `interval` that Godwit lives.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    pub(crate) http: Http,
    /// Microseconds.
    pub(crate) interval: i64,
}

impl Config {
    /// The configuration in force when there is no file.
    #[must_use]
    pub fn shipped() -> Self {
        let none = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        Self::parse("the shipped configuration", SHIPPED, PathBuf::new(), &none)
            .expect("the shipped file is whole")
    }

    /// Reads a configuration. `name` is how faults call it; files it names are sought from `dir` and read by `read`.
    ///
    /// # Errors
    /// [`ConfigError`] has every fault of the file.
    pub fn parse(
        name: &str,
        text: &str,
        dir: PathBuf,
        read: &dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let mut reading = Reading { problems: Problems::default(), files: Files { dir, read } };
        if text.len() > CONFIG_BYTES_MAX {
            let place = problem::Place { line: 1, column: 1 };
            reading
                .problems
                .say(place, format!("it is {} bytes; it must be at most {CONFIG_BYTES_MAX}", text.len()));
            return reading.problems.or(name, None);
        }
        let node = match Node::parse(text) {
            Ok(node) => node,
            Err(problem) => {
                reading.problems.push(problem);
                return reading.problems.or(name, None);
            }
        };
        let parts = Parts::read(&node, &mut reading);
        reading.problems.or(name, parts.map(|parts| Self(Arc::new(parts))))
    }

    /// Behind the newest sample's age of which an episode is late, in microseconds: for the evaluation.
    #[must_use]
    pub fn urgent_within_micros(&self) -> i64 {
        self.0.urgent_within
    }

    /// The names of all receivers.
    #[must_use]
    pub fn receivers(&self) -> Vec<&str> {
        self.0.receivers.iter().map(|receiver| receiver.name.as_str()).collect()
    }

    pub(crate) fn refire(&self) -> i64 {
        self.0.refire
    }

    pub(crate) fn heartbeat(&self) -> Option<&Heartbeat> {
        self.0.heartbeat.as_ref()
    }

    pub(crate) fn route(&self) -> &Route {
        &self.0.route
    }

    /// Where late alerts go that no route asks for.
    pub(crate) fn late(&self) -> &Route {
        &self.0.late
    }

    pub(crate) fn inhibitions(&self) -> &[Inhibition] {
        &self.0.inhibitions
    }

    pub(crate) fn ways(&self) -> impl Iterator<Item = &Way> {
        self.0.receivers.iter().flat_map(|receiver| &receiver.ways)
    }

    pub(crate) fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.0.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// Why a route is mute at this time, if it is: the interval's name.
    pub(crate) fn muted<'c>(&'c self, route: &'c Route, at: Timestamp) -> Option<&'c str> {
        let holds =
            |name: &str| self.0.intervals.iter().any(|interval| interval.name == name && interval.holds(at));
        if let Some(name) = route.mute.iter().find(|name| holds(name)) {
            return Some(name);
        }
        let active = route.active.is_empty() || route.active.iter().any(|name| holds(name));
        if active { None } else { route.active.first().map(String::as_str) }
    }
}

impl Parts {
    fn read(node: &Node, reading: &mut Reading<'_>) -> Option<Self> {
        let mut file = Section::of(node, "", &mut reading.problems)?;
        let global = Global::read(file.node("global"), reading);
        let mut receivers: Vec<Receiver> = Vec::new();
        for (at, node) in file.list("receivers", &mut reading.problems).iter().enumerate() {
            if let Some(receiver) = Receiver::read(node, &format!("receivers[{at}]"), &global, reading) {
                if receivers.iter().any(|other| other.name == receiver.name) {
                    reading.problems.say(node.place, format!("receiver `{}` is there twice", receiver.name));
                }
                receivers.push(receiver);
            }
        }
        if !receivers.iter().any(|receiver| receiver.name == INBOX) {
            receivers.push(Receiver::inbox());
        }
        let problems = &mut reading.problems;
        let mut intervals: Vec<Interval> = Vec::new();
        for key in ["time_intervals", "mute_time_intervals"] {
            for (at, node) in file.list(key, problems).iter().enumerate() {
                intervals.extend(Interval::read(node, &format!("{key}[{at}]"), problems));
            }
        }
        let mut inhibitions = Vec::new();
        for (at, node) in file.list("inhibit_rules", problems).iter().enumerate() {
            inhibitions.extend(Inhibition::read(node, &format!("inhibit_rules[{at}]"), problems));
        }
        let route = match file.node("route") {
            Some(node) => Route::read(node, "route", problems),
            None => {
                problems.advise(
                    file.place,
                    "there is no `route`",
                    "the smallest is `route: {receiver: inbox}`",
                );
                None
            }
        };
        if let Some(route) = &route {
            let place = file.place_of("route");
            let names: Vec<&str> = receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            for route in route.all() {
                if !route.receiver.is_empty() && !names.contains(&route.receiver.as_str()) {
                    let near = matcher::nearest(&route.receiver, &names).unwrap_or(INBOX);
                    let wrong = format!(
                        "route `{}` names receiver `{}`, which is not there",
                        route.key, route.receiver
                    );
                    problems.advise(place, wrong, format!("did you mean `{near}`?"));
                }
                for name in route.mute.iter().chain(&route.active) {
                    if !intervals.iter().any(|interval| interval.name == *name) {
                        let wrong =
                            format!("route `{}` names interval `{name}`, which is not there", route.key);
                        problems.advise(place, wrong, "define it under `time_intervals`");
                    }
                }
            }
        }
        let refire = file.duration("refire", problems).unwrap_or(300_000_000);
        let urgent_within = file.duration("urgent_within", problems).unwrap_or(900_000_000);
        let heartbeat = file.node("heartbeat").and_then(|node| Heartbeat::read(node, &global, reading));
        let templates = file.list("templates", &mut reading.problems);
        if let Some(node) = templates.first() {
            let hint = "remove it: what a notice says comes from the rule's annotations";
            reading.problems.advise(node.place, "`templates` is not supported", hint);
        }
        file.finish(&[("tracing", "remove it")], &mut reading.problems);
        let late =
            Node::parse("{receiver: inbox, group_by: [site, cause], group_wait: 30s, group_interval: 5m}");
        let late = late.ok().and_then(|node| Route::read(&node, "late", &mut Problems::default()))?;
        let late = Route { key: "late".to_owned(), ..late };
        Some(Self {
            route: route?,
            receivers,
            inhibitions,
            intervals,
            refire,
            urgent_within,
            heartbeat,
            late,
        })
    }
}

impl Heartbeat {
    fn read(node: &Node, global: &Global, reading: &mut Reading<'_>) -> Option<Self> {
        let mut section = Section::of(node, "heartbeat", &mut reading.problems)?;
        let sign = section.secret("secret", "secret_file", reading);
        let http = receiver::http(&mut section, ["url", "url_file"], None, sign, global, reading);
        let interval = section.duration("interval", &mut reading.problems).unwrap_or(60_000_000);
        if interval < 1_000_000 {
            let place = section.place_of("interval");
            reading.problems.say(place, "`heartbeat.interval` must be at least `1s`");
        }
        section.finish(&[], &mut reading.problems);
        Some(Self { http: http?, interval: interval.max(1_000_000) })
    }
}
