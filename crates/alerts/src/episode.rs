//! An episode: one stretch of time in which the condition of a rule held for a key, as it is stored and told.
//!
//! Not here: how it comes to be (`rules` folds samples, `evaluate` feeds it), who hears of it (`machine`). The laws: what
//! an episode is (rule, version, key, start) makes its id, so the same episode found twice is one; `late` and everything
//! else that depends on when it was learnt is no part of it. Late data can move the start of an episode that was told: the row
//! keeps its id then, for people and their systems know it by that (`store`).
//!
//! ```text
//! id = first 16 bytes of SHA-256( "godwit episode 1" | rule | version | entries | name | value | … | start ), marked
//!      as a UUID of version 8           texts: length as u64, then UTF-8; numbers: 8 bytes; all big-endian
//! ```

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use catalog::{FromValue, ToValue, Value as Stored};
use model::{Timestamp, Value};

/// What the ids of episodes start from.
const SALT: &[u8] = b"godwit episode 1";

/// The id of an episode: a UUID made of rule, version, key and start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpisodeId([u8; 16]);

impl EpisodeId {
    /// The id of the episode of this rule, version and key that starts then.
    #[must_use]
    pub fn of(rule: &str, version: u64, key: &BTreeMap<String, String>, started_at: Timestamp) -> Self {
        let mut said = Vec::with_capacity(128);
        let text = |said: &mut Vec<u8>, text: &str| {
            said.extend((text.len() as u64).to_be_bytes());
            said.extend(text.as_bytes());
        };
        said.extend(SALT);
        text(&mut said, rule);
        said.extend(version.to_be_bytes());
        said.extend((key.len() as u64).to_be_bytes());
        for (name, value) in key {
            text(&mut said, name);
            text(&mut said, value);
        }
        said.extend(started_at.micros().to_be_bytes());
        Self::from_digest(&said)
    }

    /// The id of an episode whose own was taken by one that has moved since.
    pub(crate) fn next(self) -> Self {
        let mut said = SALT.to_vec();
        said.extend(self.0);
        Self::from_digest(&said)
    }

    fn from_digest(said: &[u8]) -> Self {
        let mut id: [u8; 16] =
            digest::digest(&digest::SHA256, said).as_ref()[..16].try_into().expect("16 bytes");
        // RFC 9562, section 5.8: version 8 is what an application makes by a rule of its own.
        id[6] = (id[6] & 0x0f) | 0x80;
        id[8] = (id[8] & 0x3f) | 0x80;
        Self(id)
    }

    /// Reads an id as it is shown; `None` when the text is no UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex: String = text.split('-').collect();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self(u128::from_str_radix(&hex, 16).ok()?.to_be_bytes()))
    }
}

impl fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            number >> 96,
            (number >> 80) & 0xffff,
            (number >> 64) & 0xffff,
            (number >> 48) & 0xffff,
            number & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ToValue for EpisodeId {
    fn to_value(&self) -> Option<Stored<'_>> {
        Some(Stored::Bytes(&self.0))
    }
}

impl FromValue for EpisodeId {
    const KIND: &'static str = "the 16 bytes of an episode's id";

    fn from_value(value: Stored<'_>) -> Option<Self> {
        <[u8; 16]>::from_value(value).map(Self)
    }
}

/// Where an episode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The condition holds.
    Firing,
    /// It held and does so no more.
    Resolved,
    /// Late data said that it never was; those who were told of it hear that.
    Retracted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Firing, Self::Resolved, Self::Retracted];

    /// Its name in the table, the API and notices.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Retracted => "retracted",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What an episode is and says: as the evaluation hands it over.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// The bare name of the rule: `RoomTooHot`.
    pub rule: String,
    /// Which text of the rule made it.
    pub version: u64,
    /// For what: `device` → `office-1` by default, whatever the rule's `by` names.
    pub key: BTreeMap<String, String>,
    /// By which it is routed. Beside what the rule says: `site` (the first part of the device's group path), where known.
    pub labels: BTreeMap<String, String>,
    /// What people read; templates filled in.
    pub annotations: BTreeMap<String, String>,
    /// The values of the newest sample that the verdict rests on, by channel.
    pub values: BTreeMap<String, Value>,
    /// The first sample for which the condition held.
    pub started_at: Timestamp,
    /// The event time at which it fired.
    pub fired_at: Timestamp,
    /// The event time at which it resolved; none while it is firing.
    pub resolved_at: Option<Timestamp>,
    /// When the server received what made it known.
    pub learnt_at: Timestamp,
    /// It was over, or its newest sample was old, when the verdict was made: it pages nobody.
    pub late: bool,
}

impl Episode {
    /// The id of an episode that starts then. The row of one whose start moved has another.
    #[must_use]
    pub fn id(&self) -> EpisodeId {
        EpisodeId::of(&self.rule, self.version, &self.key, self.started_at)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        if self.resolved_at.is_some() { State::Resolved } else { State::Firing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_id_is_made_of_rule_version_key_and_start_alone() {
        let start = Timestamp::from_micros(1_423_128_900_000_000);
        let id = EpisodeId::of("RoomTooHot", 1, &key(&[("device", "office-1")]), start);
        // Frozen: people keep these ids in tickets, and a replay must find the row of yesterday.
        assert_eq!(id.to_string(), "bd195309-cc15-8bd6-ae41-1de745baca7a");
        let others = [
            EpisodeId::of("RoomTooHo", 1, &key(&[("device", "office-1")]), start),
            EpisodeId::of("RoomTooHot", 2, &key(&[("device", "office-1")]), start),
            EpisodeId::of("RoomTooHot", 1, &key(&[("device", "office-2")]), start),
            EpisodeId::of("RoomTooHot", 1, &key(&[("deviceo", "ffice-1")]), start),
            EpisodeId::of("RoomTooHot", 1, &key(&[]), start),
            EpisodeId::of("RoomTooHot", 1, &key(&[("device", "office-1")]), start.plus_micros(1)),
        ];
        assert!(others.iter().all(|other| *other != id));
    }

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = EpisodeId::of("a", 1, &key(&[]), Timestamp::from_micros(0));
        assert_eq!(EpisodeId::parse(&id.to_string()), Some(id));
        assert_eq!(EpisodeId::parse(&id.to_string().to_uppercase()), Some(id));
        for wrong in
            ["", "-", "0123", "+1234567-0000-0000-0000-000000000000", "00000000000000000000000000000000"]
        {
            assert_eq!(EpisodeId::parse(wrong), None, "{wrong}");
        }
    }
}
