//! A notice: what one group says to one receiver at one time.
//!
//! Not here: how it is written on each way (`delivery`). The law: a notice holds everything that any way needs, so that what
//! is sent an hour later says what was to be said, not what is true by then.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use catalog::{FromValue, ToValue, Value as Stored};
use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::alert::Alert;
use crate::EpisodeId;
use crate::config::matcher::Labels;
use crate::document::Said;

/// Most alerts that a notice spells out: half a megabyte. It says how many it leaves out.
pub const NOTICE_ALERTS_MAX: usize = 1_000;

/// The id of a notice: towards a receiver that may get it twice, the idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeId(pub(crate) [u8; 16]);

impl NoticeId {
    pub(crate) fn of(group: &str, number: u64, made_at: Timestamp) -> Self {
        let said = format!("godwit notice 1|{group}|{number}|{}", made_at.micros());
        let hash = digest::digest(&digest::SHA256, said.as_bytes());
        Self(hash.as_ref()[..16].try_into().expect("16 bytes"))
    }

    /// Reads an id as it is shown: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ToValue for NoticeId {
    fn to_value(&self) -> Option<Stored<'_>> {
        Some(Stored::Bytes(&self.0))
    }
}

impl FromValue for NoticeId {
    const KIND: &'static str = "the 16 bytes of a notice's id";

    fn from_value(value: Stored<'_>) -> Option<Self> {
        <[u8; 16]>::from_value(value).map(Self)
    }
}

/// Why a notice leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Something fired or resolved.
    News,
    /// Nothing changed for `repeat_interval`.
    Repeat,
    /// What was told never was.
    Retraction,
}

impl Cause {
    /// Its name in the table and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::News => "news",
            Self::Repeat => "repeat",
            Self::Retraction => "retraction",
        }
    }

    /// The cause of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::News, Self::Repeat, Self::Retraction].into_iter().find(|cause| cause.name() == name)
    }
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) receiver: String,
    pub(crate) cause: Cause,
    pub(crate) group: String,
    pub(crate) group_labels: Labels,
    /// Firing ones first, then those that are over, then those that never were.
    pub(crate) alerts: Vec<Told>,
    /// How many more there are.
    pub(crate) left_out: u64,
    pub(crate) firing: u64,
    pub(crate) resolved: u64,
}

/// What a notice says of one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) id: String,
    /// `firing`, `resolved` or `retracted`.
    pub(crate) state: String,
    pub(crate) late: bool,
    pub(crate) rule: String,
    pub(crate) version: u64,
    /// Whose it is: who may read it depends on that.
    #[serde(default)]
    pub(crate) key: BTreeMap<String, String>,
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) values: BTreeMap<String, Said>,
    /// Microseconds, as those below.
    pub(crate) started_at: i64,
    pub(crate) fired_at: i64,
    pub(crate) resolved_at: Option<i64>,
    pub(crate) learnt_at: i64,
}

impl Told {
    pub(crate) fn of(alert: &Alert, state: &str) -> Self {
        let episode = &alert.episode;
        Self {
            id: alert.id.to_string(),
            state: state.to_owned(),
            late: episode.late,
            rule: episode.rule.clone(),
            version: episode.version,
            key: episode.key.clone(),
            labels: alert.labels.clone(),
            annotations: episode.annotations.clone(),
            values: episode.values.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
            started_at: episode.started_at.micros(),
            fired_at: episode.fired_at.micros(),
            resolved_at: episode.resolved_at.map(Timestamp::micros),
            learnt_at: episode.learnt_at.micros(),
        }
    }
}

/// A notice that is to leave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notice {
    pub(crate) id: NoticeId,
    pub(crate) made_at: Timestamp,
    pub(crate) body: Body,
}

/// Why something was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suppression {
    pub(crate) episode: EpisodeId,
    pub(crate) receiver: String,
    pub(crate) why: Why,
    /// By what: a silence, an alert, an interval, a person.
    pub(crate) detail: String,
}

/// The reasons for which something is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// A silence matches it.
    Silenced,
    /// Another alert that is firing speaks for it.
    Inhibited,
    /// Its route is mute at this time.
    Muted,
    /// Somebody has taken it on.
    Acknowledged,
    /// It continues an incident of which the receiver was told shortly before (`refire`).
    Reopened,
    /// It was over before its notice left (`group_wait`).
    Short,
    /// The receiver was told by another route, or as a late one.
    ToldAlready,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Silenced,
        Self::Inhibited,
        Self::Muted,
        Self::Acknowledged,
        Self::Reopened,
        Self::Short,
        Self::ToldAlready,
    ];

    /// Its name in the table and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silenced => "silenced",
            Self::Inhibited => "inhibited",
            Self::Muted => "muted",
            Self::Acknowledged => "acknowledged",
            Self::Reopened => "reopened",
            Self::Short => "short",
            Self::ToldAlready => "told_already",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }
}
