//! What operators do: acknowledge, silence, end a silence, try a dead letter again.
//!
//! Not here: who may (the door asks that). The law: each is in the audit log, in the transaction of the change.

use catalog::{Transaction, WriteError, params};
use identity::{Actor, write_down};
use model::{GroupPath, Kind, Timestamp};
use serde_json::json;

use crate::store::{episodes, next_turn, silences};
use crate::{Alerts, EpisodeId, Matcher, NoticeId, SILENCES_MAX, Silence};

/// Longest reason of a silence, in bytes.
pub const SILENCE_REASON_BYTES_MAX: usize = 1_024;

/// Most matchers of a silence.
pub const SILENCE_MATCHERS_MAX: usize = 32;

/// Longest silence: a year; what is to be quiet for longer is a rule to change.
pub const SILENCE_MICROS_MAX: i64 = 366 * Timestamp::DAY;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] WriteError),
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    None {
        /// What was named.
        what: &'static str,
        /// As it was named.
        name: String,
    },
    /// It is over already.
    #[error("{what} `{name}` is over already")]
    Over {
        /// What was named.
        what: &'static str,
        /// As it was named.
        name: String,
    },
    /// A silence is not as it must be.
    #[error("{0}")]
    Silence(String),
    /// Too many silences are in force.
    #[error("{SILENCES_MAX} silences are in force already")]
    TooMany,
}

impl ActError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Catalog(error) => error.kind(),
            Self::None { .. } => Kind::NotFound,
            Self::Over { .. } => Kind::Conflict,
            Self::Silence(_) => Kind::Invalid,
            Self::TooMany => Kind::TooMuch,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Catalog(error) => error.hint(),
            Self::None { .. } => Some("list them to see which there are"),
            Self::Over { .. } => None,
            Self::Silence(_) => {
                Some("a silence has matchers such as `device=\"pump-7\"`, a reason, and an end within a year")
            }
            Self::TooMany => Some("expire those that are needed no more"),
        }
    }
}

/// A silence to be made.
#[derive(Debug, Clone)]
pub struct NewSilence {
    /// Each as `severity="warning"`; all must match.
    pub matchers: Vec<String>,
    /// It means alerts in these groups alone; none: wherever they are.
    pub groups: Vec<GroupPath>,
    /// Why.
    pub reason: String,
    /// From when; at once when it is not said.
    pub starts_at: Option<Timestamp>,
    /// Until when.
    pub ends_at: Timestamp,
}

impl Alerts {
    /// Takes an episode on: it is not repeated and, where it was not told yet, not told. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`ActError::None`]; [`ActError::Over`] when it fires no more.
    pub async fn acknowledge(&self, by: &Actor, id: EpisodeId) -> Result<(), ActError> {
        let (host, by, now) = (self.host().clone(), by.clone(), self.host().clock.now());
        let done = self.catalog().write(move |tx: &Transaction<'_>| {
            let Some(stored) = episodes::one(tx, &host, id)?.filter(|one| one.state != "withdrawn") else {
                return Ok(Err(ActError::None { what: "alert", name: id.to_string() }));
            };
            if stored.state != "firing" {
                return Ok(Err(ActError::Over { what: "alert", name: id.to_string() }));
            }
            if stored.acknowledged.is_some() {
                return Ok(Ok(()));
            }
            let turn = next_turn(tx)?;
            tx.execute(
                "UPDATE alert_episodes SET acknowledged_at = $2, acknowledged_by = $3, turn = $4 WHERE id = $1",
                params![id, now, by.name(), turn],
            )?;
            let after = json!({ "rule": stored.episode.rule, "key": stored.episode.key });
            write_down(tx, now, &by, "alert.acknowledge", format!("alert:{id}"), (None, Some(after)))?;
            Ok(Ok(()))
        });
        done.await??;
        self.bell().wake();
        Ok(())
    }

    /// Makes a silence.
    ///
    /// # Errors
    /// [`ActError::Silence`] says what would be right; [`ActError::TooMany`].
    pub async fn silence(&self, by: &Actor, new: NewSilence) -> Result<Silence, ActError> {
        let (host, by, now) = (self.host().clone(), by.clone(), self.host().clock.now());
        let silence = Silence {
            id: random_id(&host),
            matchers: matchers(&new.matchers, !new.groups.is_empty())?,
            groups: new.groups.iter().map(ToString::to_string).collect(),
            author: by.name().to_owned(),
            reason: new.reason.trim().to_owned(),
            created_at: now,
            starts_at: new.starts_at.unwrap_or(now).max(now),
            ends_at: new.ends_at,
        };
        if silence.reason.is_empty() || silence.reason.len() > SILENCE_REASON_BYTES_MAX {
            let length = silence.reason.len();
            let wrong = format!("the reason is {length} bytes; it must be 1 to {SILENCE_REASON_BYTES_MAX}");
            return Err(ActError::Silence(wrong));
        }
        let length = silence.ends_at.micros_since(silence.starts_at);
        if !(1..=SILENCE_MICROS_MAX).contains(&length) {
            let (from, to) = (silence.starts_at, silence.ends_at);
            return Err(ActError::Silence(format!("from {from} to {to} is no time of at most 366 days")));
        }
        let made = silence.clone();
        let done = self.catalog().write(move |tx: &Transaction<'_>| {
            let in_force = silences::ending_after(tx, &host, now, SILENCES_MAX)?.len();
            if in_force >= SILENCES_MAX {
                return Ok(Err(ActError::TooMany));
            }
            silences::insert(tx, &host, &silence)?;
            let shown: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
            let after = json!({
                "matchers": shown, "groups": silence.groups, "reason": silence.reason,
                "starts_at": silence.starts_at.to_string(), "ends_at": silence.ends_at.to_string(),
            });
            write_down(tx, now, &by, "silence.add", format!("silence:{}", silence.id), (None, Some(after)))?;
            Ok(Ok(()))
        });
        done.await??;
        self.bell().wake();
        Ok(made)
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// [`ActError::None`]; [`ActError::Over`].
    pub async fn expire(&self, by: &Actor, id: &str) -> Result<(), ActError> {
        let (host, by, now, id) = (self.host().clone(), by.clone(), self.host().clock.now(), id.to_owned());
        let done = self.catalog().write(move |tx: &Transaction<'_>| {
            let Some(silence) = silences::one(tx, &host, &id)? else {
                return Ok(Err(ActError::None { what: "silence", name: id }));
            };
            if !silences::expire(tx, &id, now)? {
                return Ok(Err(ActError::Over { what: "silence", name: id }));
            }
            let before = json!({ "ends_at": silence.ends_at.to_string() });
            write_down(tx, now, &by, "silence.expire", format!("silence:{id}"), (Some(before), None))?;
            Ok(Ok(()))
        });
        done.await??;
        self.bell().wake();
        Ok(())
    }

    /// Tries dead letters again: one notice, or all; on one way, or all. How many.
    ///
    /// # Errors
    /// [`ActError::None`] when nothing of that is dead.
    pub async fn retry(
        &self,
        by: &Actor,
        notice: Option<NoticeId>,
        way: Option<String>,
    ) -> Result<usize, ActError> {
        let (by, now) = (by.clone(), self.host().clock.now());
        let config = self.config();
        let done = self.catalog().write(move |tx: &Transaction<'_>| {
            let dead = tx.query(
                "SELECT notice, way FROM alert_deliveries WHERE state = 'dead' ORDER BY turn",
                params![],
                |row| Ok((row.get::<NoticeId>(0)?, row.get::<String>(1)?)),
            )?;
            let meant = |(dead, on): &(NoticeId, String)| {
                notice.is_none_or(|notice| notice == *dead)
                    && way.as_ref().is_none_or(|way| way == on)
                    && config.ways().any(|known| known.key == *on)
            };
            let meant: Vec<_> = dead.into_iter().filter(meant).collect();
            for (notice, way) in &meant {
                let turn = next_turn(tx)?;
                // Its day of attempts begins anew: `made_at` of the delivery, not of the notice.
                tx.execute(
                    "UPDATE alert_deliveries SET state = 'waiting', made_at = $3, turn = $4
                     WHERE notice = $1 AND way = $2",
                    params![*notice, way.as_str(), now, turn],
                )?;
            }
            if meant.is_empty() {
                let name = notice.map_or_else(|| "any".to_owned(), |notice| notice.to_string());
                return Ok(Err(ActError::None { what: "dead letter", name }));
            }
            let object = notice.map_or_else(|| "notices".to_owned(), |notice| format!("notice:{notice}"));
            let after = json!({ "deliveries": meant.len() });
            write_down(tx, now, &by, "notice.retry", object, (None, Some(after)))?;
            Ok(Ok(meant))
        });
        let meant = done.await??;
        for (_, way) in &meant {
            self.ring_way(way);
        }
        Ok(meant.len())
    }
}

fn matchers(texts: &[String], has_groups: bool) -> Result<Vec<Matcher>, ActError> {
    let mut matchers = Vec::new();
    for text in texts {
        matchers.extend(Matcher::parse_all(text).map_err(ActError::Silence)?);
    }
    if matchers.is_empty() || matchers.len() > SILENCE_MATCHERS_MAX {
        let wrong = format!("it has {} matchers; it must have 1 to {SILENCE_MATCHERS_MAX}", matchers.len());
        return Err(ActError::Silence(wrong));
    }
    if matchers.iter().all(Matcher::matches_absence) {
        return Err(ActError::Silence(
            "its matchers match alerts that have none of their labels: all".to_owned(),
        ));
    }
    if !has_groups && matchers.iter().all(Matcher::matches_presence) {
        return Err(ActError::Silence(
            "its matchers match whatever their labels say: all; say which alerts are meant, or of which group".to_owned(),
        ));
    }
    Ok(matchers)
}

/// A random UUID (RFC 9562, section 5.4).
fn random_id(host: &host::Host) -> String {
    let mut bytes = [0_u8; 16];
    host.random.fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
