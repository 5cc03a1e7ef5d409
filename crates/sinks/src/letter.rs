//! Dead letters: what an action gave up, by name.
//!
//! Not here: their rows (`store`). The law: neighbours that failed for the same reason are one letter, so that a receiver that refuses
//! everything fills no table.

use model::Timestamp;

/// Why a message was given up. The slugs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The receiver said that it will never take it.
    Refused,
    /// The receiver did not take it within `sinks.hold`.
    Held,
    /// The journal no longer has it.
    Trimmed,
    /// The disk gave back something else than was written.
    Damaged,
    /// A template of the action came to nothing.
    Template,
    /// The topic, address or header that a template came to is none.
    Target,
    /// The statement passed it but gave nothing.
    Nothing,
    /// What was made is larger than may be sent.
    TooLarge,
    /// It went from rule to rule in a circle.
    Looped,
}

impl Reason {
    const ALL: [(Self, &str); 9] = [
        (Self::Refused, "refused"),
        (Self::Held, "held"),
        (Self::Trimmed, "trimmed"),
        (Self::Damaged, "damaged"),
        (Self::Template, "template"),
        (Self::Target, "target"),
        (Self::Nothing, "nothing"),
        (Self::TooLarge, "too_large"),
        (Self::Looped, "looped"),
    ];

    /// Its slug, in the list, the API and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("refused", |(_, name)| name)
    }

    pub(crate) fn of(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(Self::Refused, |(reason, _)| *reason)
    }
}

/// A range of messages that an action gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// The action: `rule/kind-n`.
    pub sink: String,
    /// Where it was to go, as the rule writes it.
    pub target: String,
    /// The first message.
    pub from: u64,
    /// The last one; between them are also messages that the rule is not about.
    pub to: u64,
    /// How many messages of the rule it is; `None` where they were not looked at.
    pub messages: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// What the receiver said, or which template it was.
    pub detail: String,
    /// When the last of them was given up.
    pub at: Timestamp,
}

/// A range on its way into the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) messages: Option<u64>,
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn of(seq: u64, reason: Reason, detail: impl Into<String>) -> Self {
        Self { from: seq, to: seq, messages: Some(1), reason, detail: detail.into() }
    }

    /// Takes in what follows it, when it failed for the same reason. The detail is the first one's: receivers like to put a time
    /// into what they say.
    pub(crate) fn takes(&mut self, next: &Self) -> bool {
        let is_same = self.reason == next.reason;
        if is_same {
            self.to = next.to;
            self.messages = self.messages.zip(next.messages).map(|(a, b)| a + b);
        }
        is_same
    }
}
