//! QoS 2 on its way in: the packet ids that a client has used and not yet released (MQTT 5.0, section 4.3.3, method B).
//!
//! Pure. The laws: a message is taken once per packet id until PUBREL comes; an id is forgotten only by PUBREL, by a
//! message that was not taken, or with its session; an id that is known is always taken again, however many there are
//! (aedes GHSA-5jvp-3p2v-5qgf: a bound that refuses honest repeats is no remedy); bounded by Receive Maximum.

use hashbrown::HashMap;

/// What was received and not released.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// By packet id: the record.
    ids: HashMap<u16, Receipt>,
    /// How many of them are not durable yet.
    pending: usize,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receipt {
    /// On its way to the journal, as a record after this one.
    Pending(u64),
    /// Durable, as this record.
    Durable(u64),
    /// Answered without a record: dropped, or delivered to subscribers only.
    Unrecorded,
}

/// What a PUBLISH with a packet id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// A message that was not seen before.
    New,
    /// One that was taken: it is answered again, and not taken again.
    Again,
    /// One more than there may be.
    TooMany,
}

impl Incoming {
    /// A PUBLISH came, when everything up to record `after` was durable.
    pub(crate) fn begin(&mut self, packet_id: u16, most: usize, after: u64) -> Begun {
        if self.ids.contains_key(&packet_id) {
            return Begun::Again;
        }
        if self.ids.len() >= most {
            return Begun::TooMany;
        }
        self.ids.insert(packet_id, Receipt::Pending(after));
        self.pending += 1;
        Begun::New
    }

    /// Its message is durable as record `seq`.
    pub(crate) fn durable(&mut self, packet_id: u16, seq: u64) {
        self.settle(packet_id, Receipt::Durable(seq));
    }

    /// The journal has record `seq` with this id: the message that is on its way, unless it is of an earlier life of the id.
    pub(crate) fn journalled(&mut self, packet_id: u16, seq: u64) {
        if matches!(self.ids.get(&packet_id), Some(Receipt::Pending(after)) if seq > *after) {
            self.settle(packet_id, Receipt::Durable(seq));
        }
    }

    /// At the start of the process: record `seq` has this id, and no release of it is known.
    pub(crate) fn recover(&mut self, packet_id: u16, seq: u64) {
        self.ids.insert(packet_id, Receipt::Durable(seq));
    }

    /// At the start of the process: the message of record `seq`, or of an earlier one, was released.
    pub(crate) fn release_record(&mut self, packet_id: u16, seq: u64) {
        if matches!(self.ids.get(&packet_id), Some(Receipt::Durable(known)) if *known <= seq) {
            self.ids.remove(&packet_id);
        }
    }

    /// The ids that must not be forgotten, with their records.
    pub(crate) fn records(&self) -> Vec<(u16, u64)> {
        let record = |(&id, receipt): (&u16, &Receipt)| match receipt {
            Receipt::Durable(seq) => Some((id, *seq)),
            Receipt::Pending(_) | Receipt::Unrecorded => None,
        };
        self.ids.iter().filter_map(record).collect()
    }

    /// Its message was dealt with and has no record.
    pub(crate) fn unrecorded(&mut self, packet_id: u16) {
        self.settle(packet_id, Receipt::Unrecorded);
    }

    fn settle(&mut self, packet_id: u16, receipt: Receipt) {
        if let Some(known @ Receipt::Pending(_)) = self.ids.get_mut(&packet_id) {
            *known = receipt;
            self.pending -= 1;
        }
    }

    /// Its message was not taken: the id is free.
    pub(crate) fn refused(&mut self, packet_id: u16) {
        if matches!(self.ids.get(&packet_id), Some(Receipt::Pending(_))) {
            self.ids.remove(&packet_id);
            self.pending -= 1;
        }
    }

    /// The record of an id that PUBREL releases (0: it has none); `None`: the id is not known.
    pub(crate) fn find(&self, packet_id: u16) -> Option<u64> {
        self.ids.get(&packet_id).map(|receipt| match receipt {
            Receipt::Durable(seq) => *seq,
            Receipt::Pending(_) | Receipt::Unrecorded => 0,
        })
    }

    /// PUBREL came, and is durable where it has to be.
    pub(crate) fn release(&mut self, packet_id: u16) {
        if let Some(Receipt::Pending(_)) = self.ids.remove(&packet_id) {
            self.pending -= 1;
        }
        if self.ids.is_empty() && self.ids.capacity() > 64 {
            self.ids = HashMap::new();
        }
    }

    /// How many ids are not released.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether some are on their way to the journal.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once_until_it_is_released() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.begin(7, 2, 0), Begun::New);
        assert_eq!(incoming.begin(7, 2, 0), Begun::Again);
        incoming.durable(7, 42);
        assert_eq!(
            (incoming.begin(7, 2, 0), incoming.find(7), incoming.is_pending()),
            (Begun::Again, Some(42), false)
        );
        assert_eq!(incoming.begin(8, 2, 0), Begun::New);
        assert_eq!(incoming.begin(9, 2, 0), Begun::TooMany);
        assert_eq!(incoming.begin(7, 2, 0), Begun::Again, "an honest repeat passes at the bound");
        incoming.refused(8);
        assert_eq!(incoming.find(8), None);
        incoming.refused(7);
        assert_eq!(incoming.find(7), Some(42), "what is durable cannot be refused");
        incoming.release(7);
        assert_eq!((incoming.begin(7, 2, 0), incoming.len()), (Begun::New, 1));
        incoming.unrecorded(7);
        assert_eq!(incoming.find(7), Some(0));
        assert_eq!(incoming.records(), [], "without a record there is nothing to know it by");
    }

    #[test]
    fn a_record_of_an_earlier_life_of_an_id_says_nothing_of_the_next() {
        let mut incoming = Incoming::default();
        incoming.begin(7, 9, 10);
        incoming.journalled(7, 10);
        assert!(incoming.is_pending());
        incoming.journalled(7, 11);
        assert_eq!(incoming.records(), [(7, 11)]);
        incoming.release_record(7, 10);
        assert_eq!(incoming.len(), 1);
        incoming.release_record(7, 11);
        incoming.recover(8, 12);
        assert_eq!(incoming.records(), [(8, 12)]);
    }
}
