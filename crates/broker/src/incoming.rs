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
    /// On its way to the journal.
    Pending,
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
    /// A PUBLISH came.
    pub(crate) fn begin(&mut self, packet_id: u16, most: usize) -> Begun {
        if self.ids.contains_key(&packet_id) {
            return Begun::Again;
        }
        if self.ids.len() >= most {
            return Begun::TooMany;
        }
        self.ids.insert(packet_id, Receipt::Pending);
        self.pending += 1;
        Begun::New
    }

    /// Its message is durable as record `seq`.
    pub(crate) fn durable(&mut self, packet_id: u16, seq: u64) {
        self.settle(packet_id, Receipt::Durable(seq));
    }

    /// Its message was dealt with and has no record.
    pub(crate) fn unrecorded(&mut self, packet_id: u16) {
        self.settle(packet_id, Receipt::Unrecorded);
    }

    fn settle(&mut self, packet_id: u16, receipt: Receipt) {
        if let Some(known @ Receipt::Pending) = self.ids.get_mut(&packet_id) {
            *known = receipt;
            self.pending -= 1;
        }
    }

    /// Its message was not taken: the id is free.
    pub(crate) fn refused(&mut self, packet_id: u16) {
        if self.ids.get(&packet_id) == Some(&Receipt::Pending) {
            self.ids.remove(&packet_id);
            self.pending -= 1;
        }
    }

    /// The record of an id that PUBREL releases (0: it has none); `None`: the id is not known.
    pub(crate) fn find(&self, packet_id: u16) -> Option<u64> {
        self.ids.get(&packet_id).map(|receipt| match receipt {
            Receipt::Durable(seq) => *seq,
            Receipt::Pending | Receipt::Unrecorded => 0,
        })
    }

    /// PUBREL came, and is durable where it has to be.
    pub(crate) fn release(&mut self, packet_id: u16) {
        if self.ids.remove(&packet_id) == Some(Receipt::Pending) {
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
        assert_eq!(incoming.begin(7, 2), Begun::New);
        assert_eq!(incoming.begin(7, 2), Begun::Again);
        incoming.durable(7, 42);
        assert_eq!(
            (incoming.begin(7, 2), incoming.find(7), incoming.is_pending()),
            (Begun::Again, Some(42), false)
        );
        assert_eq!(incoming.begin(8, 2), Begun::New);
        assert_eq!(incoming.begin(9, 2), Begun::TooMany);
        assert_eq!(incoming.begin(7, 2), Begun::Again, "an honest repeat passes at the bound");
        incoming.refused(8);
        assert_eq!(incoming.find(8), None);
        incoming.refused(7);
        assert_eq!(incoming.find(7), Some(42), "what is durable cannot be refused");
        incoming.release(7);
        assert_eq!((incoming.begin(7, 2), incoming.len()), (Begun::New, 1));
        incoming.unrecorded(7);
        assert_eq!(incoming.find(7), Some(0));
    }
}
