//! Whether routes are right: every mistake of every route at once, with what would be right.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;

use super::shape::Shape;
use super::{Decoder, DeviceRule, Keep, Route, RouteSettings, TimeSettings};
use crate::device_time::{TimeRule, TimeUnit};
use crate::limit::ROUTES_MAX;
use crate::{Kind, Lane, Timestamp, TopicFilter};

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
        let mut check = Check { position, filter: &route.filter, errors: &mut errors };
        routes.extend(check.route(route));
        check.is_reached(&settings[..position - 1]);
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
    fn is_reached(&mut self, earlier: &[RouteSettings]) {
        let same = earlier.iter().position(|other| other.filter == self.filter && !self.filter.is_empty());
        if let Some(position) = same {
            let n = position + 1;
            self.wrong(format!("is never reached: route {n} has the same `filter`; remove one"));
        }
    }

    fn default_route(&mut self) -> Option<Route> {
        let device = Some("topic(2)".to_owned());
        self.route(&RouteSettings { filter: DEFAULT_FILTER.to_owned(), device, ..RouteSettings::default() })
    }

    /// The route, if its filter and device are right; what else is wrong is noted.
    fn route(&mut self, settings: &RouteSettings) -> Option<Route> {
        self.later(settings);
        let filter = self.filter(&settings.filter);
        let device = self.device(settings.device.as_deref(), filter.as_ref());
        let decoder = self.decoder(settings.decode.as_deref());
        let lane = self.one_of("lane", settings.lane.as_deref(), &Lane::ALL.map(|lane| (lane.name(), lane)));
        let keeps = [("all", Keep::All), ("journal", Keep::Journal), ("none", Keep::None)];
        let keep = self.one_of("keep", settings.keep.as_deref(), &keeps);
        let time = self.time(settings.time.as_ref());
        let id = self.path("id", settings.id.as_deref());
        if decoder != Decoder::Json {
            self.json_only(settings, device.as_ref());
        }
        let (filter, device) = (filter?, device?);
        let shape = Shape::of(&filter);
        Some(Route { filter, shape, device, decoder, lane, keep, time, id })
    }

    /// Refuses what this version does not have yet.
    fn later(&mut self, settings: &RouteSettings) {
        let asked = [
            ("preset", settings.preset.is_some(), "write `device` and `decode` out"),
            ("channels", settings.channels.is_some(), "every field of the payload is a channel"),
            ("rename", settings.rename.is_some(), "channels are named as the payload names them"),
            ("ignore", settings.ignore.is_some(), "every field of the payload is a channel"),
        ];
        for (name, is_asked, instead) in asked {
            if is_asked {
                self.wrong(format!("has `{name}`, which is not available yet; remove it ({instead})"));
            }
        }
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

    fn decoder(&mut self, text: Option<&str>) -> Decoder {
        const LATER: [&str; 5] = ["senml", "cbor", "cayenne", "sparkplug", "log"];
        if let Some(later) = text.filter(|text| LATER.contains(text)) {
            self.wrong(format!(
                "has `decode = \"{later}\"`, which is not available yet; there are `json`, `number`, `text` and `raw` (keeps the bytes in the journal)"
            ));
            return Decoder::Raw;
        }
        let known = [
            ("json", Decoder::Json),
            ("number", Decoder::Number),
            ("text", Decoder::Text),
            ("raw", Decoder::Raw),
        ];
        self.one_of("decode", text, &known)
    }

    fn time(&mut self, settings: Option<&TimeSettings>) -> TimeRule {
        let mut rule = TimeRule::default();
        let Some(settings) = settings else { return rule };
        rule.field = self.path("time.field", settings.field.as_deref());
        let units =
            ["auto", "s", "ms", "us", "ns"].map(|name| (name, TimeUnit::parse(name).unwrap_or_default()));
        rule.unit = self.one_of("time.unit", settings.unit.as_deref(), &units);
        if let Some(zone) = &settings.zone {
            match TimeZone::get(zone) {
                Ok(found) => rule.zone = Some(found),
                Err(_) => self.wrong(format!(
                    "has `time.zone = \"{zone}\"`, which this machine does not know; write a name such as `Europe/Berlin` (package tzdata) or `UTC`"
                )),
            }
        }
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

    /// What only means something where the payload has fields.
    fn json_only(&mut self, settings: &RouteSettings, device: Option<&DeviceRule>) {
        let asked = [
            ("time", settings.time.is_some()),
            ("id", settings.id.is_some()),
            ("device = \"payload(…)\"", device.is_some_and(|device| device.path().is_some())),
        ];
        for (name, is_asked) in asked {
            if is_asked {
                self.wrong(format!(
                    "has `{name}`, which needs `decode = \"json\"`: other payloads have no fields"
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
