//! Whether channels are right: every mistake of every channel at once, with what would be right.

use std::fmt;
use std::time::Duration;

use super::known::KNOWN;
use super::unit::{self, UNIT_BYTES_MAX};
use super::{Channel, ChannelKind, ChannelSettings, Pattern};
use crate::Kind;
use crate::limit::{CHANNEL_NAME_BYTES_MAX, CHANNELS_MAX};

/// Everything that is wrong with the channels of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ChannelsError {
    /// One per mistake, in the order of the channels.
    pub errors: Vec<ChannelError>,
}

impl ChannelsError {
    /// The configuration must change.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// One mistake in one channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("channel {position} (`{name}`) {what}")]
pub struct ChannelError {
    /// Which `[[channel]]`, counted from 1.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// What is wrong and what would be right.
    pub what: String,
}

/// What is said of one name; what is open is `None`.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) unit: Option<String>,
    /// Whether the settings say the unit; else it is what the name suggests.
    is_unit_set: bool,
    pub(super) kind: Option<ChannelKind>,
    min: Option<f64>,
    max: Option<f64>,
    hold: Option<Duration>,
    interval: Option<Duration>,
    appends: Option<bool>,
    rollover: Option<f64>,
}

impl Said {
    /// Takes what is open here from `other`. What belongs to another kind is not taken: who says that `energy` is a
    /// gauge does not want a counter's rollover.
    fn or(self, other: &Self) -> Self {
        let is_same_kind = self.kind.is_none() || self.kind == other.kind;
        let of_kind = |value: Option<f64>| value.filter(|_| is_same_kind);
        Self {
            is_unit_set: self.is_unit_set || (self.unit.is_none() && other.is_unit_set),
            unit: self.unit.or_else(|| other.unit.clone()),
            min: self.min.or(other.min),
            max: self.max.or(other.max),
            hold: self.hold.or(other.hold.filter(|_| is_same_kind)),
            interval: self.interval.or(other.interval),
            appends: self.appends.or(other.appends.filter(|_| is_same_kind)),
            rollover: self.rollover.or(of_kind(other.rollover)),
            kind: self.kind.or(other.kind),
        }
    }

    fn channel(self) -> Channel {
        let kind = self.kind.unwrap_or_default();
        let is_event = kind == ChannelKind::Event;
        Channel {
            unit: self.unit.map(Into::into),
            is_unit_set: self.is_unit_set,
            kind,
            min: self.min,
            max: self.max,
            // An event is over at once.
            hold: self.hold.or(is_event.then_some(Duration::ZERO)),
            interval: self.interval,
            appends: self.appends.unwrap_or(is_event),
            rollover: self.rollover,
        }
    }
}

/// What is known of a channel of which nothing is said.
pub(super) fn other() -> Channel {
    Said::default().channel()
}

/// The channels of `settings`, then those of well-known names.
pub(super) fn channels(settings: &[ChannelSettings]) -> Result<Vec<(Pattern, Channel)>, ChannelsError> {
    let mut errors = Vec::new();
    let mut list: Vec<(Pattern, Said)> = Vec::with_capacity(settings.len() + KNOWN.len());
    for (position, channel) in (1..).zip(settings) {
        let mut check = Check { position, name: &channel.name, errors: &mut errors };
        let said = check.channel(channel);
        check.is_reached(&settings[..position - 1]);
        list.push((Pattern::new(&channel.name), said));
    }
    if let Some(beyond) = settings.get(CHANNELS_MAX) {
        let mut check = Check { position: CHANNELS_MAX + 1, name: &beyond.name, errors: &mut errors };
        check.wrong(format!(
            "is one too many: {} channels, at most {CHANNELS_MAX}; one pattern with `*` stands for many",
            settings.len()
        ));
    }
    if !errors.is_empty() {
        return Err(ChannelsError { errors });
    }
    list.extend(KNOWN.iter().map(|&(name, kind, unit)| {
        let unit = (!unit.is_empty()).then(|| unit.to_owned());
        (Pattern::new(name), Said { unit, kind: Some(kind), ..Said::default() })
    }));
    // What one leaves open is taken from the first after it that stands for all of its names.
    let filled = (0..list.len()).map(|place| {
        let (pattern, said) = &list[place];
        let sample = pattern.to_string();
        let later = list[place + 1..].iter().filter(|(other, _)| other.matches(&sample));
        let said = later.fold(said.clone(), |said, (_, other)| said.or(other));
        (pattern.clone(), said.channel())
    });
    Ok(filled.collect())
}

/// Judges one channel, noting every mistake.
struct Check<'a> {
    position: usize,
    name: &'a str,
    errors: &'a mut Vec<ChannelError>,
}

impl Check<'_> {
    fn wrong(&mut self, what: impl fmt::Display) {
        let name = self.name.chars().take(128).collect();
        self.errors.push(ChannelError { position: self.position, name, what: what.to_string() });
    }

    fn is_reached(&mut self, earlier: &[ChannelSettings]) {
        let covers = |other: &ChannelSettings| {
            !self.name.is_empty() && !other.name.is_empty() && Pattern::new(&other.name).matches(self.name)
        };
        if let Some(place) = earlier.iter().position(covers) {
            let (n, name) = (place + 1, &earlier[place].name);
            self.wrong(format!(
                "is never reached: channel {n} (`{name}`) stands for its names already; put this one before it, or remove one"
            ));
        }
    }

    fn channel(&mut self, settings: &ChannelSettings) -> Said {
        match self.name.len() {
            0 => self.wrong("has no `name`; name the channel, such as `name = \"temperature\"`"),
            bytes if bytes > CHANNEL_NAME_BYTES_MAX => {
                self.wrong(format!(
                    "has a `name` of {bytes} bytes; the longest has {CHANNEL_NAME_BYTES_MAX}"
                ));
            }
            _ => {}
        }
        let kind = self.kind(settings.kind.as_deref());
        let appends = self.on_conflict(settings.on_conflict.as_deref(), kind);
        self.unit(settings.unit.as_deref());
        let bounds = [("min", settings.min), ("max", settings.max)];
        for (what, bound) in bounds {
            if let Some(bound) = bound.filter(|bound| !bound.is_finite()) {
                self.wrong(format!("has `{what} = {bound}`; a bound is a finite number"));
            }
        }
        if let (Some(min), Some(max)) = (settings.min, settings.max)
            && min > max
        {
            self.wrong(format!("has `min = {min}` above `max = {max}`; no value is between them"));
        }
        if settings.interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
            self.wrong("has an `interval` below a second; the least is `1s`");
        }
        if let Some(rollover) = settings.rollover {
            if kind.is_some_and(|kind| kind != ChannelKind::Counter) {
                self.wrong("has a `rollover`, which only a counter has; write `kind = \"counter\"`");
            }
            if !rollover.is_finite() || rollover <= 0.0 {
                self.wrong(format!(
                    "has `rollover = {rollover}`; it is the number of values that the counter has, such as 4294967296"
                ));
            }
        }
        Said {
            unit: settings.unit.clone(),
            is_unit_set: settings.unit.is_some(),
            // Only a counter rolls over.
            kind: kind.or(settings.rollover.map(|_| ChannelKind::Counter)),
            min: settings.min,
            max: settings.max,
            hold: settings.hold,
            interval: settings.interval,
            appends,
            rollover: settings.rollover,
        }
    }

    fn kind(&mut self, text: Option<&str>) -> Option<ChannelKind> {
        let text = text?;
        let found = ChannelKind::ALL.into_iter().find(|kind| kind.name() == text);
        if found.is_none() {
            self.wrong(format!("has `kind = \"{text}\"`; it is one of `gauge`, `counter`, `state`, `event`"));
        }
        found
    }

    fn on_conflict(&mut self, text: Option<&str>, kind: Option<ChannelKind>) -> Option<bool> {
        match text? {
            "replace" => Some(false),
            "append" if kind == Some(ChannelKind::Event) => Some(true),
            "append" => {
                self.wrong(
                    "has `on_conflict = \"append\"`, which only an event has: of anything else one value is true at a time; write `kind = \"event\"` too",
                );
                None
            }
            other => {
                self.wrong(format!("has `on_conflict = \"{other}\"`; it is `replace` or `append`"));
                None
            }
        }
    }

    fn unit(&mut self, unit: Option<&str>) {
        let Some(unit) = unit else { return };
        if let Some(ucum) = unit::meant(unit) {
            self.wrong(format!("has `unit = \"{unit}\"`; in UCUM that is `{ucum}`"));
        } else if unit.is_empty() || unit.len() > UNIT_BYTES_MAX {
            self.wrong(format!("has a `unit` of {} bytes; it has 1 to {UNIT_BYTES_MAX}", unit.len()));
        } else if let Some(wrong) = unit::wrong_character(unit) {
            self.wrong(format!(
                "has `unit = \"{unit}\"` with the character `{}`; a unit is UCUM, such as `Cel`, `kW.h` or `ug/m3`",
                wrong.escape_default()
            ));
        }
    }
}
