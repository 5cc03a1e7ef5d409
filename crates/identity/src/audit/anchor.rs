//! The log's head, said to the journal: what is anchored cannot be changed in the catalog alone.
//!
//! ```text
//! topic $godwit/audit, lane control, from inside, to connection 0 (which nobody is: no subscriber, rule or SQL sees it)
//! payload {"number": 4711, "hash": "64 hexadecimal digits"}
//! ```
//!
//! At most one a minute, when there is something new, and one when the server stops. The journal's files are encrypted and
//! their own order is checked. Who can write the catalog alone is found by [`Identity::verify_audit`]. Who has the catalog, the
//! journal's directory and the key can write both anew; against them only what was exported to another machine helps.
//! Anchors go with the journal's retention; the newest is repeated daily, so that there is one while the server runs.
//!
//! The law: what is no record from inside is no anchor.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::ReadError;
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
}

/// What was said last.
#[derive(Default)]
pub(crate) struct Said(Mutex<Option<(u64, u64)>>);

/// Why the log was not anchored, or not verified.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The catalog cannot be read.
    #[error("cannot read the audit log")]
    Catalog(#[from] ReadError),
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
        if number == 0 || self.parts.anchored.0.lock().is_some_and(is_said) {
            return Ok(());
        }
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let payload = serde_json::to_vec(&Anchor { number, hash }).expect("two fields are JSON");
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
        *self.parts.anchored.0.lock() = Some((number, now));
        Ok(())
    }

    /// Judges the whole log, beside every anchor that the journal still holds. Reads all of the log, and all alarms and
    /// control messages of the journal.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub async fn verify_audit(&self, journal: &Journal) -> Result<Verdict, AnchorError> {
        // Anchors first: whatever is anchored by now is in the log by then.
        let reader = journal.reader(1, Chains::Urgent);
        let anchors = tokio::task::spawn_blocking(move || anchors(reader)).await;
        let anchors = anchors.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        Ok(self.judge_audit(anchors).await?)
    }
}

fn anchors(mut reader: journal::Reader) -> Result<BTreeMap<u64, [u8; 32]>, journal::ReadError> {
    let mut found = BTreeMap::new();
    while let Some(batch) = reader.try_next()? {
        for record in &batch.records[..] {
            let message = &record.message;
            let is_ours = message.to == Some(0) && message.origin.principal == Principal::Inside;
            if !is_ours || message.topic.as_str() != TOPIC {
                continue;
            }
            let anchor = serde_json::from_slice::<Anchor>(&message.payload).ok();
            if let Some((number, hash)) =
                anchor.and_then(|anchor| Some((anchor.number, parse(&anchor.hash)?)))
            {
                // The first word of a number stands: a later one that differs was said of a log written anew.
                found.entry(number).or_insert(hash);
            }
        }
    }
    Ok(found)
}

/// 64 hexadecimal digits as what they say.
fn parse(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}
