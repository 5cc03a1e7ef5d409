//! What a statement may know of a message beside its payload.
//!
//! Not here: the message itself. The law: nothing in this crate reads a clock or draws a random number; two evaluations with
//! one context give one result, so that a replay after a crash makes what was made before.

use std::cell::Cell;

use model::Properties;
use sha2::{Digest, Sha256};

/// What the functions without arguments answer with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Where the message was published.
    pub topic: &'a str,
    /// When it was received, in milliseconds since 1970: what `timestamp()` gives.
    pub time_ms: i64,
    /// The MQTT client id, if it came by MQTT.
    pub client_id: Option<&'a str>,
    /// The certificate id in hex, or the name of the user or device that sent it.
    pub principal: Option<&'a str>,
    /// The account's number by the settings.
    pub account_id: &'a str,
    /// The id by which the message is followed.
    pub trace_id: &'a str,
    /// What the publisher attached.
    pub properties: Option<&'a Properties>,
    /// Where `newuuid()` and `rand()` begin: different for every message and rule, the same for the same.
    pub seed: [u8; 16],
}

impl<'a> Context<'a> {
    /// A message on `topic` of which nothing else is known: for checks and tests.
    #[must_use]
    pub fn of_topic(topic: &'a str) -> Self {
        Self {
            topic,
            time_ms: 0,
            client_id: None,
            principal: None,
            account_id: "000000000000",
            trace_id: "00000000-0000-0000-0000-000000000000",
            properties: None,
            seed: [0; 16],
        }
    }

    /// The level of the topic at `position`, from 1; the prefix of Basic Ingest is not counted.
    pub(crate) fn level(&self, position: usize) -> Option<&'a str> {
        let levels = self.topic.split('/');
        let skipped = if self.topic.starts_with("$aws/rules/") { 3 } else { 0 };
        levels.skip(skipped).nth(position.checked_sub(1)?)
    }
}

/// What is random, of one evaluation: SHA-256 of the seed and a counter.
#[derive(Debug)]
pub(crate) struct Draws {
    seed: [u8; 16],
    drawn: Cell<u32>,
}

impl Draws {
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self { seed, drawn: Cell::new(0) }
    }

    /// The next 16 bytes.
    pub(crate) fn draw(&self) -> [u8; 16] {
        let number = self.drawn.get();
        self.drawn.set(number + 1);
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(number.to_le_bytes());
        hash.finalize()[..16].try_into().expect("half of 32 bytes")
    }
}
