//! Channels: what a channel's name means - its unit, its kind, its bounds, how long a value stands.
//!
//! An ordered list: `[[channel]]` of the configuration, then what is known of well-known names. The first whose name or
//! pattern fits is the channel's; a setting that it leaves open is taken from the next that fits, so that one who sets
//! bounds for `temperature` keeps its unit. Not here: readings, and what their values were. The laws: every mistake of
//! every channel is reported at once at load; the same name always finds the same channel.

mod check;
mod known;
mod pattern;
mod unit;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

pub use check::{ChannelError, ChannelsError};
pub use pattern::Pattern;

pub(crate) use unit::ucum;

/// One `[[channel]]`: what the channels of a name or pattern mean. The first that fits a name is the channel's.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelSettings {
    /// The channel, or a pattern in which `*` stands for any text: `*.aenergy.total`. Required.
    pub name: String,
    /// The unit in UCUM: `Cel`, `%`, `W.h`, `[ppm]`. Default: none.
    pub unit: Option<String>,
    /// What kind of value it is: `gauge`, `counter`, `state` or `event`. Default: `gauge`.
    pub kind: Option<String>,
    /// The least value that can be true; a lesser one is stored, flagged and counted. Default: none.
    pub min: Option<f64>,
    /// The greatest value that can be true; a greater one is stored, flagged and counted. Default: none.
    pub max: Option<f64>,
    /// How long a value stands when no other comes. Default: until the next; of an event: not at all.
    #[serde(deserialize_with = "duration")]
    pub hold: Option<Duration>,
    /// The usual time between two readings. Default: learnt per device.
    #[serde(deserialize_with = "duration")]
    pub interval: Option<Duration>,
    /// What a different value of the same device and time does: `replace` the old one, or `append`: both stay (events
    /// only). Default: `append` for events, else `replace`.
    pub on_conflict: Option<String>,
    /// Where a counter starts again from zero, such as `4294967296` for one of 32 bits in steps of 1. Default: it does
    /// not.
    pub rollover: Option<f64>,
    /// Who reads it is written into the audit log. Default: no.
    pub classified: bool,
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    humantime_serde::deserialize(from)
}

/// What kind of value a channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelKind {
    /// A measured value that goes up and down.
    #[default]
    Gauge,
    /// A total that only grows, until it starts again.
    Counter,
    /// One of few values, standing until it changes.
    State,
    /// Something that happened at a moment.
    Event,
}

impl ChannelKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gauge, Self::Counter, Self::State, Self::Event];

    /// Its name in settings and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::State => "state",
            Self::Event => "event",
        }
    }
}

/// What is known of a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    unit: Option<Arc<str>>,
    is_unit_set: bool,
    kind: ChannelKind,
    min: Option<f64>,
    max: Option<f64>,
    hold: Option<Duration>,
    interval: Option<Duration>,
    appends: bool,
    rollover: Option<f64>,
}

impl Channel {
    /// The unit in UCUM, as far as settings and name tell it.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The unit in UCUM of a channel whose device says that it is `said`: the settings know best, the device knows better
    /// than its channel's name.
    #[must_use]
    pub fn unit_or<'a>(&'a self, said: Option<&'a str>) -> Option<&'a str> {
        if self.is_unit_set { self.unit() } else { said.or(self.unit()) }
    }

    /// What kind of value it has.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// The least value that can be true.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.min
    }

    /// The greatest value that can be true.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.max
    }

    /// How long a value stands when no other comes; `None`: until the next.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        self.hold
    }

    /// The usual time between two readings, where it was set.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Whether different values of the same device and time stay side by side.
    #[must_use]
    pub fn appends(&self) -> bool {
        self.appends
    }

    /// Where a counter starts again from zero.
    #[must_use]
    pub fn rollover(&self) -> Option<f64> {
        self.rollover
    }

    /// Whether `value` can be true.
    #[must_use]
    pub fn allows(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// All channels, in order; those of well-known names last.
#[derive(Debug, Clone)]
pub struct Channels {
    list: Vec<(Pattern, Channel)>,
    /// Plain names and their place in the list.
    plain: HashMap<Box<str>, usize>,
    /// Places of the patterns.
    patterns: Vec<usize>,
    other: Channel,
    has_bounds: bool,
}

impl Channels {
    /// The channels of `settings` in their order, and those of well-known names after them.
    ///
    /// # Errors
    /// [`ChannelsError`] names everything that is wrong in all of them, and what would be right.
    pub fn new(settings: &[ChannelSettings]) -> Result<Self, ChannelsError> {
        let list = check::channels(settings)?;
        let mut plain = HashMap::new();
        let mut patterns = Vec::new();
        for (place, (pattern, _)) in list.iter().enumerate() {
            match pattern.plain() {
                Some(name) => {
                    plain.entry(Box::from(name)).or_insert(place);
                }
                None => patterns.push(place),
            }
        }
        let has_bounds = list.iter().any(|(_, channel)| channel.min.is_some() || channel.max.is_some());
        Ok(Self { list, plain, patterns, other: check::other(), has_bounds })
    }

    /// What is known of the channel `name`: a gauge without unit when nothing is.
    #[must_use]
    pub fn find(&self, name: &str) -> &Channel {
        let plain = self.plain.get(name).copied().unwrap_or(usize::MAX);
        let fits = |place: &&usize| **place < plain && self.list[**place].0.matches(name);
        let place = self.patterns.iter().find(fits).copied().unwrap_or(plain);
        self.list.get(place).map_or(&self.other, |(_, channel)| channel)
    }

    /// Whether any channel has a least or greatest value: else no reading need be looked at for it.
    #[must_use]
    pub fn has_bounds(&self) -> bool {
        self.has_bounds
    }

    /// A number for everything that decides what is computed from readings (kinds, holds, rollovers, what is kept of
    /// conflicts): other rules have another number, the same rules the same in every process.
    #[must_use]
    pub fn rules(&self) -> u64 {
        // FNV-1a: short, and the same everywhere; an accident of 1 in 2^64 is no concern between two settings.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (pattern, channel) in &self.list {
            let Channel { kind, hold, appends, rollover, .. } = channel;
            let text = format!("{pattern}\n{}\n{hold:?}\n{appends}\n{rollover:?}\n", kind.name());
            for byte in text.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }
}

/// Those of well-known names alone.
impl Default for Channels {
    fn default() -> Self {
        Self::new(&[]).expect("what is known of well-known names is right")
    }
}
