//! Whether routes are right: every mistake of every route at once, with what would be right.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;

use super::expand;
use super::naming::Naming;
use super::shape::Shape;
use super::{Decoder, DeviceRule, Keep, Route, RouteSettings};
use crate::device_time::{TimeRule, TimeUnit};
use crate::limit::{RENAMES_MAX, ROUTES_MAX};
use crate::preset::{PRESETS, Part};
use crate::sparkplug::NAMESPACE;
use crate::{ChannelName, Kind, Lane, Timestamp, TopicFilter};

/// The filter of the route that ends every list.
const DEFAULT_FILTER: &str = "dt/+/#";

/// Everything that is wrong with the routes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(errors))]
pub struct RoutesError {
    /// One per mistake, in the order of the routes.
    pub errors: Vec<RouteError>,
}

impl RoutesError {
    /// The configuration must change.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// One mistake in one route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {position} (`{filter}`) {what}")]
pub struct RouteError {
    /// Which `[[route]]`, counted from 1.
    pub position: usize,
    /// Its filter.
    pub filter: String,
    /// What is wrong and what would be right.
    pub what: String,
}

fn lines(errors: &[RouteError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
/// The routes of `settings`, and the default route after them.
pub(super) fn routes(settings: &[RouteSettings]) -> Result<Vec<Route>, RoutesError> {
    let mut routes = Vec::with_capacity(settings.len() + 1);
    let mut errors = Vec::new();
    for (position, route) in (1..).zip(settings) {
        let filter =
            if route.filter.is_empty() { route.preset.as_deref().unwrap_or("") } else { &route.filter };
        let mut check = Check { position, filter, errors: &mut errors };
        match &route.preset {
            Some(preset) => routes.extend(check.preset(preset, route)),
            None => routes.extend(check.route(route)),
        }
        check.is_reached(route, &settings[..position - 1]);
    }
    if let Some(beyond) = settings.get(ROUTES_MAX) {
        let mut check = Check { position: ROUTES_MAX + 1, filter: &beyond.filter, errors: &mut errors };
        check.wrong(format!("is one too many: {} routes, at most {ROUTES_MAX}", settings.len()));
    }
    let mut check = Check { position: settings.len() + 1, filter: DEFAULT_FILTER, errors: &mut errors };
    routes.extend(check.default_route());
    if errors.is_empty() { Ok(routes) } else { Err(RoutesError { errors }) }
}

/// Judges one route, noting every mistake.
struct Check<'a> {
    position: usize,
    filter: &'a str,
    errors: &'a mut Vec<RouteError>,
}

impl Check<'_> {
    fn wrong(&mut self, what: impl fmt::Display) {
        let filter = self.filter.chars().take(128).collect();
        self.errors.push(RouteError { position: self.position, filter, what: what.to_string() });
    }

    /// A route with the filter of an earlier one is never found; an empty filter is wrong already.
    fn is_reached(&mut self, route: &RouteSettings, earlier: &[RouteSettings]) {
        let is_same = |other: &RouteSettings| match (&route.preset, &other.preset) {
            (None, None) => !route.filter.is_empty() && other.filter == route.filter,
            (Some(preset), Some(other_preset)) => preset == other_preset && other.filter == route.filter,
            // Of a preset's topics some may be the earlier route's alone; that is how one overrides the other.
            _ => false,
        };
        if let Some(position) = earlier.iter().position(is_same) {
            let n = position + 1;
            let same = if route.preset.is_some() { "`preset` on the same topics" } else { "`filter`" };
            self.wrong(format!("is never reached: route {n} has the same {same}; remove one"));
        }
    }

    fn default_route(&mut self) -> Option<Route> {
        let device = Some("topic(2)".to_owned());
        self.route(&RouteSettings { filter: DEFAULT_FILTER.to_owned(), device, ..RouteSettings::default() })
    }

    /// The route, if its filter and device are right; what else is wrong is noted.
    fn route(&mut self, settings: &RouteSettings) -> Option<Route> {
        let filter = self.filter(&settings.filter);
        let decoder = self.one_of("decode", settings.decode.as_deref(), &Decoder::NAMED);
        let device = match settings.device.as_deref() {
            None if decoder == Decoder::Sparkplug => Some(DeviceRule::Sparkplug),
            text => self.device(text, filter.as_ref()),
        };
        let mut time = self.time(settings);
        if decoder == Decoder::Sparkplug {
            time.unit = TimeUnit::Milliseconds;
            self.sparkplug(filter.as_ref(), device.as_ref());
        }
        let id = self.path("id", settings.id.as_deref());
        let channels = self.path("channels", settings.channels.as_deref());
        let (lane, keep) = (self.lane(settings), self.keep(settings));
        let naming = self.naming(settings, channels.as_deref());
        self.needs_fields(decoder, settings, device.as_ref());
        let (filter, device) = (filter?, device?);
        let shape = Shape::of(&filter);
        Some(Route { filter, shape, device, decoder, lane, keep, time, id, naming })
    }

    /// The routes that a preset stands for.
    fn preset(&mut self, name: &str, settings: &RouteSettings) -> Vec<Route> {
        let Some(preset) = expand::preset(name) else {
            let names =
                PRESETS.iter().map(|preset| format!("`{}`", preset.name)).collect::<Vec<_>>().join(", ");
            self.wrong(format!("has `preset = \"{name}\"`; it is one of {names}"));
            return Vec::new();
        };
        let asked = [
            ("decode", settings.decode.is_some()),
            ("id", settings.id.is_some()),
            ("channels", settings.channels.is_some()),
            ("time.field", settings.time.as_ref().is_some_and(|time| time.field.is_some())),
            ("time.unit", settings.time.as_ref().is_some_and(|time| time.unit.is_some())),
        ];
        for (what, is_asked) in asked {
            if is_asked {
                self.wrong(format!(
                    "has `{what}` beside `preset = \"{name}\"`, which knows it; remove one of them"
                ));
            }
        }
        let filter = match settings.filter.as_str() {
            "" => None,
            text => match self.filter(text) {
                Some(filter) => Some(filter),
                None => return Vec::new(),
            },
        };
        let expanded = expand::expand(preset, filter.as_deref());
        if expanded.is_empty() {
            let known: Vec<String> = preset
                .families
                .iter()
                .flat_map(|family| family.parts)
                .filter(|(tail, part)| *part != Part::Aside && *tail != "#")
                .map(|(tail, _)| format!("`{tail}`"))
                .collect();
            self.wrong(format!(
                "has a `filter` that ends in nothing `preset = \"{name}\"` knows; end it in {} or in `#`",
                known.join(", ")
            ));
        }
        let device = settings.device.as_deref().and_then(|text| self.device(Some(text), filter.as_ref()));
        let time = self.time(settings);
        let naming = self.naming(settings, None);
        let (lane, keep) = (self.lane(settings), self.keep(settings));
        let mut routes = Vec::with_capacity(expanded.len());
        for route in expanded {
            let text = route.pattern.split_inclusive("#").next().unwrap_or_default().to_owned();
            // The parts of a filter that is right are right.
            let Ok(filter) = TopicFilter::parse(text) else { continue };
            let is_aside = route.part == Part::Aside;
            let device = match &device {
                Some(own) if own.path().is_some() && !route.part.has_fields() => route.device,
                Some(own) => own.clone(),
                None => route.device,
            };
            routes.push(Route {
                shape: Shape::of_pattern(&route.pattern),
                filter,
                device,
                decoder: if is_aside { Decoder::Raw } else { Decoder::Preset(route.part) },
                lane,
                keep: if is_aside && keep == Keep::All { Keep::Journal } else { keep },
                time: time.clone(),
                id: None,
                naming: naming.clone(),
            });
        }
        routes
    }

    fn lane(&mut self, settings: &RouteSettings) -> Lane {
        self.one_of("lane", settings.lane.as_deref(), &Lane::ALL.map(|lane| (lane.name(), lane)))
    }

    fn keep(&mut self, settings: &RouteSettings) -> Keep {
        let keeps = [("all", Keep::All), ("journal", Keep::Journal), ("none", Keep::None)];
        self.one_of("keep", settings.keep.as_deref(), &keeps)
    }

    fn naming(&mut self, settings: &RouteSettings, channels: Option<&str>) -> Option<Box<Naming>> {
        for (what, count) in [("rename", settings.rename.len()), ("ignore", settings.ignore.len())] {
            if count > RENAMES_MAX {
                self.wrong(format!("has {count} entries of `{what}`; the most is {RENAMES_MAX}"));
            }
        }
        let star = |text: &str| text.strip_suffix('*').unwrap_or(text).contains('*');
        for name in &settings.ignore {
            if name.is_empty() || star(name) {
                self.wrong(format!(
                    "has `{name}` in `ignore`; write a name, or with a `*` at its end the start of names, such as `Wifi.*`"
                ));
            }
        }
        for (from, to) in &settings.rename {
            if from.is_empty() || star(from) || star(to) || from.ends_with('*') != to.ends_with('*') {
                self.wrong(format!(
                    "has `\"{from}\" = \"{to}\"` in `rename`; write two names, or two starts of names with a `*` at both ends, such as `\"ENERGY.*\" = \"energy.*\"`"
                ));
            } else if !to.ends_with('*')
                && let Err(error) = ChannelName::parse(to.as_str())
            {
                self.wrong(format!("has `\"{from}\" = \"{to}\"` in `rename`: {error}"));
            }
        }
        Naming::new(channels, &settings.ignore, &settings.rename)
    }

    fn filter(&mut self, text: &str) -> Option<TopicFilter> {
        if text.is_empty() {
            self.wrong("has no `filter`; name the topics, such as `filter = \"dt/+/#\"`");
            return None;
        }
        match TopicFilter::parse(text) {
            Ok(filter) if filter.starts_with('$') => {
                self.wrong("starts with `$`; such topics are reserved and carry no readings");
                None
            }
            Ok(filter) => Some(filter),
            Err(error) => {
                self.wrong(format!("has a `filter` that is none: {error}"));
                None
            }
        }
    }

    fn device(&mut self, text: Option<&str>, filter: Option<&TopicFilter>) -> Option<DeviceRule> {
        let rule = match text.map_or(Ok(DeviceRule::Connection), DeviceRule::parse) {
            Ok(rule) => rule,
            Err(what) => {
                self.wrong(format!("is wrong: {what}"));
                return None;
            }
        };
        if let Some(filter) = filter.filter(|filter| !filter.ends_with('#'))
            && rule.level_max() > filter.split('/').count()
        {
            let (levels, asked) = (filter.split('/').count(), rule.level_max());
            self.wrong(format!(
                "has `device = \"{rule}\"`, but its topics have {levels} levels, not {asked}"
            ));
        }
        Some(rule)
    }

    fn time(&mut self, settings: &RouteSettings) -> TimeRule {
        let mut rule = TimeRule::default();
        let of_time = settings.time.as_ref().and_then(|time| time.zone.as_ref());
        if let (Some(zone), Some(other)) = (&settings.zone, of_time)
            && zone != other
        {
            self.wrong(format!("has `zone = \"{zone}\"` and `time.zone = \"{other}\"`; remove one"));
        }
        let (name, zone) =
            if of_time.is_some() { ("time.zone", of_time) } else { ("zone", settings.zone.as_ref()) };
        if let Some(zone) = zone {
            match TimeZone::get(zone) {
                Ok(found) => rule.zone = Some(found),
                Err(_) => self.wrong(format!(
                    "has `{name} = \"{zone}\"`, which this machine does not know; write a name such as `Europe/Berlin` (package tzdata) or `UTC`"
                )),
            }
        }
        let Some(settings) = &settings.time else { return rule };
        rule.field = self.path("time.field", settings.field.as_deref());
        let units =
            ["auto", "s", "ms", "us", "ns"].map(|name| (name, TimeUnit::parse(name).unwrap_or_default()));
        rule.unit = self.one_of("time.unit", settings.unit.as_deref(), &units);
        if let Some(text) = &settings.not_before {
            match moment(text) {
                Some(time) => rule.not_before = time,
                None => self.wrong(format!(
                    "has `time.not_before = \"{text}\"`; write a date such as `2000-01-08` or a time such as `2000-01-08T00:00:00Z`"
                )),
            }
        }
        rule
    }

    fn path(&mut self, name: &str, path: Option<&str>) -> Option<String> {
        if path == Some("") {
            self.wrong(format!(
                "has an empty `{name}`; name a field of the payload, such as `{name} = \"msg.id\"`"
            ));
        }
        path.map(str::to_owned)
    }

    /// What Sparkplug's topics and names need.
    fn sparkplug(&mut self, filter: Option<&TopicFilter>, device: Option<&DeviceRule>) {
        if let Some(filter) = filter.filter(|filter| filter.split('/').next() != Some(NAMESPACE)) {
            self.wrong(format!(
                "has `decode = \"sparkplug\"`, whose topics start with `{NAMESPACE}/`; `{filter}` does not"
            ));
        }
        if let Some(device) = device.filter(|device| !device.is_for_sparkplug()) {
            self.wrong(format!(
                "has `device = \"{device}\"`, by which a Sparkplug node and its devices are not told apart; leave it out for `{{group}}:{{node}}:{{device}}`, or write `{{topic(2)}}-{{topic(4..)}}`"
            ));
        }
    }

    /// What only means something where the payload has fields.
    fn needs_fields(&mut self, decoder: Decoder, settings: &RouteSettings, device: Option<&DeviceRule>) {
        if decoder.has_fields() {
            return;
        }
        let time = settings.time.as_ref();
        // SenML names devices by its base name, and knows its own times; log lines may have local times.
        let is_senml = decoder == Decoder::Senml;
        let takes_time = matches!(decoder, Decoder::Senml | Decoder::Log | Decoder::Cayenne);
        let payload = device.and_then(DeviceRule::path);
        let asked = [
            ("time", time.is_some() && !takes_time),
            ("time.field", takes_time && time.is_some_and(|time| time.field.is_some())),
            ("time.unit", takes_time && time.is_some_and(|time| time.unit.is_some())),
            ("id", settings.id.is_some()),
            ("channels", settings.channels.is_some()),
            ("device = \"payload(…)\"", payload.is_some_and(|path| !is_senml || path != "bn")),
        ];
        for (name, is_asked) in asked {
            if is_asked && is_senml && name.starts_with("device") {
                self.wrong(
                    "has `device = \"payload(…)\"`; of SenML it can only be the base name, `payload(bn)`",
                );
            } else if is_asked {
                self.wrong(format!(
                    "has `{name}`, which needs `decode = \"json\"` or `\"cbor\"`: other payloads have no fields"
                ));
            }
        }
    }

    fn one_of<T: Copy + Default>(&mut self, name: &str, text: Option<&str>, known: &[(&str, T)]) -> T {
        let Some(text) = text else { return T::default() };
        let found = known.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names = known.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            self.wrong(format!("has `{name} = \"{text}\"`; it is one of {names}"));
        }
        found.map_or_else(T::default, |(_, value)| *value)
    }
}

/// A date at its start in UTC, or a moment.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(time) = Timestamp::parse(text) {
        return Some(time);
    }
    let start = text.parse::<civil::Date>().ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(start.timestamp().as_microsecond()))
}
