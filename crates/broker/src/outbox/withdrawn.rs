//! What a session may not be sent any more goes.
//!
//! Not here: who may what; the caller asks. The law: what was sent on this connection stays, its acknowledgement is awaited; everything
//! that would still leave is judged again.

use model::TopicName;

use super::{Freight, Outbox, Record, is_booked};
use crate::trie::Key;

/// What went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Withdrawn {
    /// So many messages are nobody's.
    pub(crate) dropped: usize,
    /// Those of shared subscriptions that other members may have.
    pub(crate) given: Vec<(Key, u64)>,
}

impl Withdrawn {
    /// One that goes: to another member of its group, or to nobody.
    fn take(&mut self, share: Option<(Key, u64)>) {
        match share {
            Some(share) => self.given.push(share),
            None => self.dropped += 1,
        }
    }
}

impl Outbox {
    /// Takes away what `may` says no to: of what waits in memory and of what is on its way and was not sent on this connection.
    /// What was left in the journal is judged when it is read.
    pub(crate) fn withdraw(&mut self, may: impl Fn(&TopicName) -> bool) -> Withdrawn {
        let mut gone = Withdrawn::default();
        let sent = self.flights.len() - self.unsent;
        let mut at = 0;
        let over = &mut self.over;
        self.flights.retain(|flight| {
            at += 1;
            let Freight::Message(prepared) = &flight.freight else { return true };
            if at <= sent || may(&prepared.topic()) {
                return true;
            }
            if flight.record != Record::Needless {
                over.push(flight.serial);
            }
            gone.take(flight.share());
            false
        });
        self.unsent = self.flights.len() - sent;
        let mut booked = 0;
        self.queue.retain(|waiting| {
            if may(&waiting.prepared.topic()) {
                return true;
            }
            booked += u64::from(is_booked(&waiting.prepared, waiting.source));
            gone.take(waiting.share());
            false
        });
        self.queue_bytes = self.queue.iter().map(|waiting| waiting.prepared.bytes()).sum();
        if booked > 0 {
            // What follows stands where these were.
            self.ledger.pop_back(booked);
            self.ledger.touch_after(0);
        }
        gone
    }
}
