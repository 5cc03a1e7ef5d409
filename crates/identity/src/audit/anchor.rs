//! The log's head, said to the journal: what is anchored cannot be changed in the catalog alone.
//!
//! ```text
//! topic $godwit/audit, lane control, from inside, to connection 0 (which nobody is: no subscriber, rule or SQL sees it)
//! payload {"number": 4711, "hash": "64 hexadecimal digits", "cut": 0}
//! ```
//!
//! `cut` is how many entries Godwit has cut off at the beginning because they were old (`cut`).
//!
//! At most one a minute, when there is something new, and one when the server stops. The journal's files are encrypted and
//! their own order is checked. Who can write the catalog alone is found by [`Identity::verify_audit`]. Who has the catalog, the
//! journal's directory and the key can write both anew; against them only what was exported to another machine helps.
//! Anchors go with the journal's retention; the newest is repeated daily, so that there is one while the server runs.
//!
//! The law: what is no record from inside is no anchor.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{ReadError, WriteError, params};
use journal::{AppendError, Chains, Journal};
use model::{Kind, Lane, Message, Origin, Principal, Qos, TopicName};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::chain::Verdict;
use crate::Identity;

/// Where anchors are said. No door takes a publish there: only what is from inside counts.
const TOPIC: &str = "$godwit/audit";

/// How often the head is said again though nothing is new.
const REPEAT_MICROS: u64 = 86_400_000_000;

#[derive(Serialize, Deserialize)]
struct Anchor {
    number: u64,
    hash: String,
    /// Absent in anchors of before there were cuts.
    #[serde(default)]
    cut: Option<u64>,
}

/// What was said last.
#[derive(Default)]
pub(crate) struct Said {
    /// The number of the last entry, and when.
    last: Mutex<Option<(u64, u64)>>,
    /// How many entries were cut off; not known before it was looked for.
    cut: Mutex<Option<u64>>,
}

/// What the journal says of the log.
#[derive(Default)]
struct Anchors {
    hashes: BTreeMap<u64, [u8; 32]>,
    /// The most that were cut off; `None` when nothing is said of it.
    cut: Option<u64>,
}

/// Why the log was not anchored, or not verified.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The catalog cannot be read.
    #[error("cannot read the audit log")]
    Catalog(#[from] ReadError),
    /// The catalog does not take the cut.
    #[error("cannot write the audit log")]
    Write(#[from] WriteError),
    /// The journal does not take it.
    #[error("the journal does not take the head of the audit log")]
    Append(#[from] AppendError),
    /// The journal cannot be read.
    #[error("cannot read the anchors in the journal")]
    Journal(#[from] journal::ReadError),
}

impl AnchorError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Catalog(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Append(error) => error.kind(),
            Self::Journal(error) => error.kind(),
        }
    }
}

impl Identity {
    /// Says the log's head to the journal, unless it is said already. To be called every minute and at the end.
    ///
    /// # Errors
    /// [`AnchorError`]; it is tried again with the next call.
    pub async fn anchor_audit(&self, journal: &Journal) -> Result<(), AnchorError> {
        let (number, hash) = self.audit_head().await?;
        let now = self.parts.host.clock.mono_micros();
        let is_said = |(last, at): (u64, u64)| last == number && now.saturating_sub(at) < REPEAT_MICROS;
        if number == 0 || self.parts.anchored.last.lock().is_some_and(is_said) {
            return Ok(());
        }
        let cut = self.known_cut(journal).await?;
        self.say(number, hash, cut, journal).await
    }

    /// Says that entries up to this one are about to be cut off.
    pub(super) async fn say_cut(&self, to: u64, journal: &Journal) -> Result<(), AnchorError> {
        // What is said is the most: a beginning that somebody else took away is not made ours.
        let known = self.known_cut(journal).await?;
        let (number, hash) = self.audit_head().await?;
        self.say(number, hash, to.max(known), journal).await?;
        *self.parts.anchored.cut.lock() = Some(to.max(known));
        Ok(())
    }

    /// How many entries were cut off by Godwit itself. A log that begins with its first entry tells it; else the journal
    /// does, which is read once; where that says nothing, the log is believed.
    async fn known_cut(&self, journal: &Journal) -> Result<u64, AnchorError> {
        if let Some(known) = *self.parts.anchored.cut.lock() {
            return Ok(known);
        }
        let gone = self.parts.catalog.read_async(|connection| {
            let first = "SELECT number FROM audit ORDER BY number LIMIT 1";
            let first = connection.query_one(first, params![], |row| row.get::<u64>(0))?;
            Ok::<_, ReadError>(first.unwrap_or(1).saturating_sub(1))
        });
        let known = match gone.await? {
            0 => 0,
            gone => read_anchors(journal).await?.cut.unwrap_or(gone),
        };
        *self.parts.anchored.cut.lock() = Some(known);
        Ok(known)
    }

    async fn say(&self, number: u64, hash: [u8; 32], cut: u64, journal: &Journal) -> Result<(), AnchorError> {
        let now = self.parts.host.clock.mono_micros();
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let payload =
            serde_json::to_vec(&Anchor { number, hash, cut: Some(cut) }).expect("three fields are JSON");
        let topic = TopicName::parse(TOPIC).expect("it is a topic");
        let host = &self.parts.host;
        let message = Message {
            qos: Qos::AtLeastOnce,
            lane: Lane::Control,
            received_at: host.clock.now(),
            received_mono: now,
            to: Some(0),
            ..Message::new(topic, payload, Arc::new(Origin::inside(host.boot)))
        };
        journal.append(vec![message]).await?;
        *self.parts.anchored.last.lock() = Some((number, now));
        Ok(())
    }

    /// Judges the whole log, beside every anchor that the journal still holds. Reads all of the log, and all alarms and
    /// control messages of the journal.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub async fn verify_audit(&self, journal: &Journal) -> Result<Verdict, AnchorError> {
        // Anchors first: whatever is anchored by now is in the log by then.
        let Anchors { hashes, cut } = read_anchors(journal).await?;
        Ok(self.judge_audit(hashes, cut).await?)
    }
}

async fn read_anchors(journal: &Journal) -> Result<Anchors, AnchorError> {
    let reader = journal.reader(1, Chains::Urgent);
    let anchors = tokio::task::spawn_blocking(move || anchors(reader)).await;
    Ok(anchors.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?)
}

fn anchors(mut reader: journal::Reader) -> Result<Anchors, journal::ReadError> {
    let mut found = Anchors::default();
    while let Some(batch) = reader.try_next()? {
        for record in &batch.records[..] {
            let message = &record.message;
            let is_ours = message.to == Some(0) && message.origin.principal == Principal::Inside;
            if !is_ours || message.topic.as_str() != TOPIC {
                continue;
            }
            let Ok(anchor) = serde_json::from_slice::<Anchor>(&message.payload) else { continue };
            found.cut = found.cut.max(anchor.cut);
            if let Some(hash) = from_hex(&anchor.hash) {
                // The first word of a number stands: a later one that differs was said of a log written anew.
                found.hashes.entry(anchor.number).or_insert(hash);
            }
        }
    }
    Ok(found)
}

/// 64 hexadecimal digits as what they say.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}
