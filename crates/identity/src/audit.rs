//! The audit log: who did what to what, from where, when, and what came of it.
//!
//! An entry is written in the transaction of the change that it tells of, so that neither is without the other.
//! Entries are chained: each holds SHA-256 over the one before and over itself. Not here: secrets (an entry says that a
//! password was made, never which). The laws: an entry is never changed, nor taken away but by a cut of all that are older,
//! which is an entry itself (`cut`); numbers have no holes.
//!
//! ```text
//! hash(n) = SHA-256( "godwit audit 1" | hash(n-1) | n | at | actor | address | action | object | before | after |
//!                    outcome )                 texts: length as u64, then UTF-8; absent: length u64::MAX; all big-endian
//! hash(0) = 32 zero bytes
//! ```

mod anchor;
mod chain;
mod cut;
mod notice;
mod read;

pub use anchor::AnchorError;
pub(crate) use anchor::Said;
pub use chain::{Fault, Judge, Recorded, Verdict};
pub(crate) use notice::Notices;
pub use read::{AUDIT_PAGE_MAX, AuditFilter, AuditPage};

use std::net::IpAddr;

use aws_lc_rs::digest;
use catalog::{Connection, Migration, SqlError, Transaction, WriteError, params};
use model::{Principal, Timestamp};
use serde_json::Value;

use crate::{Identity, Who};

/// The table of this file.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 3,
    sql: "
        CREATE TABLE audit (
            -- 1, 2, 3, … without holes.
            number BIGINT PRIMARY KEY,
            at BIGINT NOT NULL,
            actor TEXT NOT NULL,
            address TEXT,
            action TEXT NOT NULL,
            object TEXT NOT NULL,
            -- JSON.
            before TEXT,
            after TEXT,
            outcome TEXT NOT NULL,
            hash BYTEA NOT NULL
        );
    ",
};

/// What the chain starts from.
const SALT: &[u8] = b"godwit audit 1";

/// Who asked for a change, and from where: every method that changes something takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    name: String,
    address: Option<IpAddr>,
}

impl Actor {
    /// Who was proven to speak, at this address.
    #[must_use]
    pub fn of(who: &Who, address: Option<IpAddr>) -> Self {
        let name = match &who.principal {
            Principal::Anonymous => "anonymous".to_owned(),
            Principal::User(name) => match &who.token {
                None => format!("user:{name}"),
                Some(token) => format!("user:{name} token:{}", token.name),
            },
            Principal::DevicePassword(device) => format!("device:{device}"),
            Principal::Certificate(digest) => {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("certificate:{hex}")
            }
            Principal::Inside => "godwit".to_owned(),
        };
        Self { name, address }
    }

    /// Godwit itself: what happens by time or by a rule, nobody having asked.
    #[must_use]
    pub fn inside() -> Self {
        Self { name: "godwit".to_owned(), address: None }
    }

    /// As the log shows it: `user:alice`, `user:alice token:grafana`, `device:pump-1`, `certificate:…`, `anonymous` or `godwit`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From where, if over a network.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

impl Outcome {
    /// Its name in the table and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Done, Self::Refused].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// What is to be said.
pub(crate) struct Entry<'a> {
    /// Who.
    pub(crate) by: &'a Actor,
    /// What, as `noun.verb`: `device.add`, `policy.attach`, `user.login`.
    pub(crate) action: &'static str,
    /// On what, as `noun:name`: `device:pump-1`.
    pub(crate) object: String,
    /// How it was; never a secret.
    pub(crate) before: Option<Value>,
    /// How it is now; never a secret.
    pub(crate) after: Option<Value>,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

impl<'a> Entry<'a> {
    /// Something that is being done.
    pub(crate) fn done(by: &'a Actor, action: &'static str, object: String) -> Self {
        Self { by, action, object, before: None, after: None, outcome: Outcome::Done }
    }

    /// With how it was.
    pub(crate) fn before(mut self, before: Value) -> Self {
        self.before = Some(before);
        self
    }

    /// With how it is now.
    pub(crate) fn after(mut self, after: Value) -> Self {
        self.after = Some(after);
        self
    }
}

impl Identity {
    /// Writes down what was done to something that is not kept here: keys, backups. Returns when it is durable. `after`
    /// must hold no secret.
    ///
    /// # Errors
    /// What the catalog says; nothing was written then.
    pub async fn note(
        &self,
        by: &Actor,
        action: &'static str,
        object: String,
        after: Option<Value>,
    ) -> Result<(), WriteError> {
        let (by, now) = (by.clone(), self.parts.host.clock.now());
        let write = move |transaction: &Transaction<'_>| {
            Ok(append(transaction, now, &Entry { after, ..Entry::done(&by, action, object) })?)
        };
        self.parts.catalog.write(write).await
    }
}

/// Writes down what is being done to something that another room keeps, in the transaction that does it. `before` and
/// `after` must hold no secret.
///
/// # Errors
/// What the catalog says; the change must fail then too.
pub fn write_down(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &Actor,
    action: &'static str,
    object: String,
    change: (Option<Value>, Option<Value>),
) -> Result<(), SqlError> {
    let (before, after) = change;
    append(transaction, now, &Entry { before, after, ..Entry::done(by, action, object) })
}

/// Writes an entry behind the last one, in the transaction of what it tells of.
pub(crate) fn append(
    transaction: &Transaction<'_>,
    now: Timestamp,
    entry: &Entry<'_>,
) -> Result<(), SqlError> {
    let (last, last_hash) = head(transaction)?;
    let number = last + 1;
    let address = entry.by.address.map(|address| address.to_string());
    let before = entry.before.as_ref().map(Value::to_string);
    let after = entry.after.as_ref().map(Value::to_string);
    let texts = [
        Some(entry.by.name.as_str()),
        address.as_deref(),
        Some(entry.action),
        Some(&entry.object),
        before.as_deref(),
        after.as_deref(),
        Some(entry.outcome.name()),
    ];
    let hash = chained(&last_hash, number, now, texts);
    transaction.execute(
        "INSERT INTO audit (number, at, actor, address, action, object, before, after, outcome, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            number,
            now,
            entry.by.name.as_str(),
            address,
            entry.action,
            entry.object.as_str(),
            before,
            after,
            entry.outcome.name(),
            hash
        ],
    )?;
    Ok(())
}

/// The number and the hash of the last entry; 0 and zeros before the first.
pub(crate) fn head(connection: &Connection<'_>) -> Result<(u64, [u8; 32]), SqlError> {
    let last = connection.query_one(
        "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1",
        params![],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(last.unwrap_or((0, [0; 32])))
}

/// The hash of an entry, from that of the one before it.
fn chained(last: &[u8; 32], number: u64, at: Timestamp, texts: [Option<&str>; 7]) -> [u8; 32] {
    let mut said = Vec::with_capacity(256);
    said.extend(SALT);
    said.extend(last);
    said.extend(number.to_be_bytes());
    said.extend(at.micros().to_be_bytes());
    for text in texts {
        said.extend(text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
        said.extend(text.unwrap_or_default().as_bytes());
    }
    digest::digest(&digest::SHA256, &said).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}
