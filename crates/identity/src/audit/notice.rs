//! What is worth an entry and may come in floods: refusals, reads of classified channels.
//!
//! The first of a kind is written at once; those that follow within a minute are counted and become one entry. So a
//! stranger who guesses passwords all day writes some entries a minute, not millions. Not here: changes, each of which
//! has its own entry. The laws: at most [`KINDS_MAX`] kinds of refusals a minute have entries of their own, the rest are
//! counted together; what is not a refusal is never counted with something else; nobody waits for the disk here; what the catalog did not take is counted again.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Actor, Entry, Outcome, append};
use crate::Identity;

/// How long those of a kind are gathered.
const WINDOW_MICROS: u64 = 60_000_000;

/// Most kinds that have entries of their own within a window: a flood of made-up names fills 12 MB a day.
const KINDS_MAX: usize = 32;

/// Most kinds of what was not refused that are gathered. Whoever does such things is known and answers for each: beyond,
/// each has its own entry.
const KNOWN_KINDS_MAX: usize = 1_024;

/// What makes two of them one kind.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    name: String,
    address: Option<IpAddr>,
    action: &'static str,
    object: String,
    refused: bool,
}

struct Gathered {
    since: u64,
    /// Those behind the first.
    more: u64,
    detail: Option<Value>,
}

/// What came lately.
#[derive(Default)]
pub(crate) struct Notices {
    kinds: Mutex<HashMap<Kind, Gathered>>,
}

impl Kind {
    /// What stands for all kinds that have no entries of their own.
    fn others(&self) -> Self {
        let object = "(many)".to_owned();
        Self { name: "(many)".to_owned(), address: None, object, ..self.clone() }
    }
}

impl Notices {
    /// Whether it is the first of its kind in this window, as which it is to be written.
    fn is_first(&self, kind: Kind, detail: Option<&Value>, now: u64) -> Option<Kind> {
        let mut kinds = self.kinds.lock();
        let is_known = kinds.contains_key(&kind);
        if !kind.refused && !is_known && kinds.len() >= KNOWN_KINDS_MAX {
            return Some(kind);
        }
        let kind = match kind.refused && !is_known && kinds.len() >= KINDS_MAX {
            true => kind.others(),
            false => kind,
        };
        if let Some(gathered) = kinds.get_mut(&kind) {
            gathered.more += 1;
            return None;
        }
        kinds.insert(kind.clone(), Gathered { since: now, more: 0, detail: detail.cloned() });
        Some(kind)
    }

    /// Those whose window is over, or all.
    fn take(&self, now: u64, all: bool) -> Vec<(Kind, Gathered)> {
        let is_over = |gathered: &Gathered| all || now.saturating_sub(gathered.since) >= WINDOW_MICROS;
        self.kinds.lock().extract_if(|_, gathered| is_over(gathered)).collect()
    }
}

impl Identity {
    /// Writes down what was not changed: a refusal, a read. Never waits. `detail` must hold no secret.
    pub fn notice(
        &self,
        by: &Actor,
        action: &'static str,
        object: String,
        outcome: Outcome,
        detail: Option<Value>,
    ) {
        let refused = outcome == Outcome::Refused;
        let kind = Kind { name: by.name().to_owned(), address: by.address(), action, object, refused };
        let now = self.parts.host.clock.mono_micros();
        if let Some(kind) = self.parts.notices.is_first(kind, detail.as_ref(), now) {
            self.write_notice(kind, detail, None);
        }
    }

    /// Writes down what was gathered: with `all` even what is not a minute old, as at the end.
    pub(crate) fn write_gathered(&self, all: bool) {
        let now = self.parts.host.clock.mono_micros();
        for (kind, gathered) in self.parts.notices.take(now, all) {
            if gathered.more > 0 {
                self.write_notice(kind, gathered.detail, Some(gathered.more));
            }
        }
    }

    fn write_notice(&self, kind: Kind, detail: Option<Value>, more: Option<u64>) {
        let now = self.parts.host.clock.now();
        let back = (Arc::clone(&self.parts), kind.clone(), detail.clone());
        let full = back.clone();
        let written = self.parts.catalog.submit(
            move |transaction| {
                let by = Actor { name: kind.name, address: kind.address };
                let mut entry = Entry::done(&by, kind.action, kind.object);
                if kind.refused {
                    entry.outcome = Outcome::Refused;
                }
                entry.after = match (detail, more) {
                    (detail, None) => detail,
                    (Some(Value::Object(mut detail)), Some(more)) => {
                        detail.insert("more".to_owned(), json!(more));
                        Some(Value::Object(detail))
                    }
                    (_, Some(more)) => Some(json!({ "more": more })),
                };
                Ok(append(transaction, now, &entry)?)
            },
            move |written| {
                if let Err(error) = written {
                    tracing::error!(%error, "an entry of the audit log was not written");
                    count_again(back, more);
                }
            },
        );
        if written.is_err() {
            metrics::counter!("godwit_identity_audit_notices_delayed_total").increment(1);
            count_again(full, more);
        }
    }
}

/// Puts what was not written back, to be written with the next.
fn count_again(back: (Arc<crate::identity::Parts>, Kind, Option<Value>), more: Option<u64>) {
    let (parts, kind, detail) = back;
    let now = parts.host.clock.mono_micros();
    let mut kinds = parts.notices.kinds.lock();
    let gathered = kinds.entry(kind).or_insert(Gathered { since: now, more: 0, detail });
    gathered.more += more.unwrap_or(1);
}
