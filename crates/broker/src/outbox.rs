//! What one session has to send: the messages that wait, those on their way, and those left in the journal.
//!
//! ```text
//! push ─→ queue (memory, bounded) ─→ next ─→ in flight (bounded by the client's window) ─→ acknowledge
//!   └───→ left (only `seq`, bounded) ─→ refill ─┘
//! ```
//!
//! Pure: no clock, no lock, no socket; time comes in. The laws:
//!
//! - **Order.** QoS 1 messages leave in the order they were pushed, whether they waited in memory or in the journal.
//! - **A packet id is never used twice at once** (MQTT 5.0, section 2.2.1), however long one stays unacknowledged.
//! - **Bounded.** Memory is bounded in messages and in bytes; what does not fit is left in the journal; what does
//!   not fit there either is handed back with its reason, for the caller to count.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use model::Qos;

use crate::prepared::Prepared;
use crate::tally::Drop;

/// Numbers of packet ids: 1 to 65,535 (MQTT 5.0, section 2.2.1).
const PACKET_IDS: u64 = 65_535;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Messages in memory.
    pub(crate) messages_max: usize,
    /// Bytes in memory.
    pub(crate) bytes_max: usize,
    /// Messages left in the journal.
    pub(crate) left_max: usize,
}

/// A message that waits in the journal only, and how its delivery was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// Its record.
    pub(crate) seq: u64,
    /// The highest QoS of the delivery.
    pub(crate) qos_max: Qos,
    /// The retain flag of the delivery.
    pub(crate) retain: bool,
    /// Identifiers of the matching subscriptions.
    pub(crate) ids: Option<Box<[u32]>>,
}

/// What became of a pushed message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits in memory.
    Queued,
    /// It waits in the journal.
    Left,
    /// It is not kept.
    Dropped(Drop),
}

/// One packet to send now.
#[derive(Debug)]
pub(crate) enum Next {
    /// A message.
    Publish(Outgoing),
    /// PUBREL for a QoS 2 message that the client has received.
    Release(u16),
}

/// A message to send now.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The message.
    pub(crate) prepared: Arc<Prepared>,
    /// Its packet id; 0 with QoS 0.
    pub(crate) packet_id: u16,
    /// It was sent before.
    pub(crate) dup: bool,
}

#[derive(Debug)]
struct Flight {
    serial: u64,
    freight: Freight,
}

/// What a flight is to bring.
#[derive(Debug)]
enum Freight {
    /// A message.
    Message(Arc<Prepared>),
    /// A message of an earlier process, that is to be read again.
    Lost(Left),
    /// QoS 2, the client has it (PUBREC came): the release of its id.
    Release,
}

impl Flight {
    fn qos(&self) -> Option<Qos> {
        match &self.freight {
            Freight::Message(prepared) => Some(prepared.qos()),
            Freight::Lost(left) => Some(left.qos_max),
            Freight::Release => None,
        }
    }
}

/// What of an outbox outlives the process.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Saved {
    pub(crate) serial: u64,
    /// In the order of their first sending: serial, whether it is to be released, how it is found again.
    pub(crate) flights: Vec<(u64, bool, Left)>,
    /// In the order of their sending.
    pub(crate) waiting: Vec<Left>,
}

/// How much came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) flights: usize,
    pub(crate) waiting: usize,
}

/// What became of a PUBREC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The client has the message: PUBREL is to be sent.
    Release,
    /// The client does not want it, and its id is free.
    Refused,
    /// No such message is on its way.
    Unknown,
}

/// The outgoing side of one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Arc<Prepared>>,
    queue_bytes: usize,
    left: VecDeque<Left>,
    /// In the order of their first sending.
    flights: VecDeque<Flight>,
    /// How many flights, from the back, were sent on an earlier connection and not yet on this one.
    unsent: usize,
    /// Counts the packet ids given; id = serial modulo 65,535, plus 1.
    serial: u64,
}

impl Outbox {
    /// Messages that wait in memory.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Their bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Messages left in the journal.
    pub(crate) fn left(&self) -> usize {
        self.left.len()
    }

    /// Messages sent or to be sent again, and not acknowledged.
    pub(crate) fn inflight(&self) -> usize {
        self.flights.len()
    }

    /// Takes a message to be sent. `is_full` says that all sessions together have no more room in memory;
    /// `is_away` that nobody is connected; `left` how to find it again, or `None` when it is not in the journal
    /// (a retained message).
    pub(crate) fn push(
        &mut self,
        prepared: Arc<Prepared>,
        left: Option<Left>,
        bounds: &Bounds,
        is_full: bool,
        is_away: bool,
    ) -> Pushed {
        let bytes = prepared.bytes();
        // One message may always wait, so that a session gets on whatever the others hold.
        let may_wait = self.queue.is_empty() || !is_full;
        let fits = may_wait
            && self.queue.len() < bounds.messages_max
            && self.queue_bytes + bytes <= bounds.bytes_max;
        if prepared.qos() == Qos::AtMostOnce {
            return match (is_away, fits) {
                (true, _) => Pushed::Dropped(Drop::Away),
                (false, false) => Pushed::Dropped(Drop::Slow),
                (false, true) => self.queue(prepared, bytes),
            };
        }
        // Nobody overtakes what was left in the journal.
        if fits && (self.left.is_empty() || left.is_none()) {
            return self.queue(prepared, bytes);
        }
        match left {
            Some(left) if self.left.len() < bounds.left_max => {
                self.left.push_back(left);
                Pushed::Left
            }
            _ => Pushed::Dropped(Drop::QueueFull),
        }
    }

    /// Forgets the message that was left last: all sessions together have no more room for such.
    pub(crate) fn take_back_left(&mut self) {
        self.left.pop_back();
    }

    fn queue(&mut self, prepared: Arc<Prepared>, bytes: usize) -> Pushed {
        self.queue.push_back(prepared);
        self.queue_bytes += bytes;
        Pushed::Queued
    }

    /// Gives the next packet to send, with at most `window` unacknowledged ones on their way. Messages that
    /// expired before `now_mono` and such as have more than `bytes_max` bytes are handed to `drop` instead.
    pub(crate) fn next(
        &mut self,
        window: usize,
        now_mono: u64,
        bytes_max: Option<NonZeroU32>,
        mut drop: impl FnMut(Drop),
    ) -> Option<Next> {
        let sent = self.flights.len() - self.unsent;
        if self.unsent > 0 {
            if sent >= window {
                return None;
            }
            let flight = &self.flights[sent];
            self.unsent -= 1;
            let packet_id = id_of(flight.serial);
            return Some(match &flight.freight {
                Freight::Message(prepared) => {
                    Next::Publish(Outgoing { prepared: Arc::clone(prepared), packet_id, dup: true })
                }
                Freight::Release => Next::Release(packet_id),
                Freight::Lost(_) => unreachable!("read again before anybody connects"),
            });
        }
        loop {
            let first = self.queue.front()?;
            let is_acknowledged = first.qos() != Qos::AtMostOnce;
            if is_acknowledged && sent >= window {
                return None;
            }
            let prepared = self.queue.pop_front().expect("there is a first");
            self.queue_bytes -= prepared.bytes();
            if self.queue.is_empty() && self.queue.capacity() > 64 {
                self.queue = VecDeque::new();
            }
            if prepared.is_expired(now_mono) {
                drop(Drop::Expired);
            } else if bytes_max.is_some_and(|most| prepared.bytes() > most.get() as usize) {
                drop(Drop::TooLarge);
            } else if is_acknowledged {
                let serial = self.free_serial();
                let freight = Freight::Message(Arc::clone(&prepared));
                self.flights.push_back(Flight { serial, freight });
                return Some(Next::Publish(Outgoing { prepared, packet_id: id_of(serial), dup: false }));
            } else {
                return Some(Next::Publish(Outgoing { prepared, packet_id: 0, dup: false }));
            }
        }
    }

    /// The next serial whose packet id is free.
    fn free_serial(&mut self) -> u64 {
        loop {
            let serial = self.serial;
            self.serial += 1;
            // Ids repeat after 65,535 serials: only a flight that old can hold the same id.
            let is_used = self
                .flights
                .iter()
                .take_while(|flight| flight.serial + PACKET_IDS <= serial)
                .any(|flight| id_of(flight.serial) == id_of(serial));
            if !is_used {
                return serial;
            }
        }
    }

    /// PUBACK: the client has the QoS 1 message with this packet id. `false`: no such message is on its way.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> bool {
        self.take_flight(packet_id, |flight| flight.qos() == Some(Qos::AtLeastOnce))
    }

    /// PUBREC: the client has the QoS 2 message with this packet id, or (`is_refused`) does not want it.
    pub(crate) fn receive(&mut self, packet_id: u16, is_refused: bool) -> Received {
        let flight = self.flights.iter_mut().find(|flight| id_of(flight.serial) == packet_id);
        match flight.map(|flight| flight.qos()) {
            None | Some(Some(Qos::AtMostOnce | Qos::AtLeastOnce)) => Received::Unknown,
            // MQTT 5.0, section 4.3.3: it has said that it has the message, and cannot take that back.
            Some(None) => Received::Release,
            Some(Some(Qos::ExactlyOnce)) if is_refused => {
                self.take_flight(packet_id, |_| true);
                Received::Refused
            }
            Some(Some(Qos::ExactlyOnce)) => {
                for flight in self.flights.iter_mut().filter(|flight| id_of(flight.serial) == packet_id) {
                    flight.freight = Freight::Release;
                }
                Received::Release
            }
        }
    }

    /// PUBCOMP: the id of a QoS 2 message is free. `false`: it was not released.
    pub(crate) fn complete(&mut self, packet_id: u16) -> bool {
        self.take_flight(packet_id, |flight| matches!(flight.freight, Freight::Release))
    }

    fn take_flight(&mut self, packet_id: u16, is_so: impl Fn(&Flight) -> bool) -> bool {
        let is_it = |flight: &Flight| id_of(flight.serial) == packet_id && is_so(flight);
        let Some(at) = self.flights.iter().position(is_it) else { return false };
        if at >= self.flights.len() - self.unsent {
            self.unsent -= 1;
        }
        self.flights.remove(at);
        if self.flights.is_empty() && self.flights.capacity() > 64 {
            self.flights = VecDeque::new();
        }
        true
    }

    /// What of it outlives the process: everything that is in the journal. Retained messages for a new subscription are
    /// not: whoever subscribes again gets them again.
    pub(crate) fn save(&self) -> Saved {
        let flight = |flight: &Flight| match &flight.freight {
            Freight::Message(prepared) => prepared.left().map(|left| (flight.serial, false, left)),
            Freight::Lost(left) => Some((flight.serial, false, left.clone())),
            Freight::Release => {
                let none = Left { seq: 0, qos_max: Qos::ExactlyOnce, retain: false, ids: None };
                Some((flight.serial, true, none))
            }
        };
        let queued = self.queue.iter().filter(|prepared| prepared.qos() != Qos::AtMostOnce);
        let waiting = queued.filter_map(|prepared| prepared.left()).chain(self.left.iter().cloned());
        Saved {
            serial: self.serial,
            flights: self.flights.iter().filter_map(flight).collect(),
            waiting: waiting.collect(),
        }
    }

    /// Takes back what was saved. Flights are lost until they are [`flown again`](Self::fly_again).
    pub(crate) fn restore(&mut self, saved: Saved) -> Restored {
        self.serial = saved.serial;
        self.flights = saved
            .flights
            .into_iter()
            .map(|(serial, is_released, left)| Flight {
                serial,
                freight: if is_released { Freight::Release } else { Freight::Lost(left) },
            })
            .collect();
        self.unsent = self.flights.len();
        self.left = saved.waiting.into();
        Restored { flights: self.flights.len(), waiting: self.left.len() }
    }

    /// The records of lost flights.
    pub(crate) fn lost_flights(&self) -> impl Iterator<Item = u64> {
        self.flights.iter().filter_map(|flight| match &flight.freight {
            Freight::Lost(left) => Some(left.seq),
            _ => None,
        })
    }

    /// Record `seq` was read: its lost flight gets what `prepare` makes of it.
    pub(crate) fn fly_again(&mut self, seq: u64, mut prepare: impl FnMut(&Left) -> Option<Arc<Prepared>>) {
        for flight in &mut self.flights {
            if let Freight::Lost(left) = &flight.freight
                && left.seq == seq
                && let Some(prepared) = prepare(left)
            {
                flight.freight = Freight::Message(prepared);
            }
        }
    }

    /// Record `seq` is not there any more: its lost flights end. Returns how many.
    pub(crate) fn give_up_flight(&mut self, seq: u64) -> usize {
        let before = self.flights.len();
        self.flights.retain(|flight| !matches!(&flight.freight, Freight::Lost(left) if left.seq == seq));
        self.unsent = self.flights.len();
        before - self.flights.len()
    }

    /// A new connection goes on with the session: everything unacknowledged is sent again first, in the order of
    /// its first sending (MQTT 5.0, section 4.4).
    pub(crate) fn resume(&mut self) {
        self.unsent = self.flights.len();
    }

    /// Nobody is connected any more: QoS 0 that still waits goes. Returns how many went.
    pub(crate) fn away(&mut self) -> usize {
        let before = self.queue.len();
        self.queue.retain(|prepared| prepared.qos() != Qos::AtMostOnce);
        self.queue_bytes = self.queue.iter().map(|prepared| prepared.bytes()).sum();
        before - self.queue.len()
    }

    /// The message to be read from the journal next, when memory has room for it again.
    pub(crate) fn wanted(&self, bounds: &Bounds) -> Option<u64> {
        let has_room =
            self.queue.len() <= bounds.messages_max / 2 && self.queue_bytes <= bounds.bytes_max / 2;
        if has_room { self.left.front().map(|left| left.seq) } else { None }
    }

    /// How the first message left in the journal is to be delivered.
    pub(crate) fn left_front(&self) -> Option<&Left> {
        self.left.front()
    }

    /// The first message left in the journal was read, and waits in memory from now on.
    pub(crate) fn refill(&mut self, prepared: Arc<Prepared>) {
        self.left.pop_front();
        let bytes = prepared.bytes();
        self.queue(prepared, bytes);
    }

    /// Messages left in the journal before `seq` are not there any more. Returns how many went.
    pub(crate) fn forget_left_before(&mut self, seq: u64) -> usize {
        let gone = self.left.iter().take_while(|left| left.seq < seq).count();
        self.left.drain(..gone);
        gone
    }
}

fn id_of(serial: u64) -> u16 {
    // The remainder is below 65,535.
    (serial % PACKET_IDS) as u16 + 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::prepared::tests::{number, prepared};

    const BOUNDS: Bounds = Bounds { messages_max: 4, bytes_max: 10_000, left_max: 3 };

    fn left(seq: u64) -> Option<Left> {
        Some(Left { seq, qos_max: Qos::AtLeastOnce, retain: false, ids: None })
    }

    /// The next message.
    fn next(
        outbox: &mut Outbox,
        window: usize,
        now_mono: u64,
        bytes_max: Option<NonZeroU32>,
        drop: impl FnMut(Drop),
    ) -> Option<Outgoing> {
        outbox.next(window, now_mono, bytes_max, drop).map(|next| match next {
            Next::Publish(outgoing) => outgoing,
            Next::Release(packet_id) => panic!("PUBREL of {packet_id}"),
        })
    }

    fn push(outbox: &mut Outbox, seq: u64, qos: Qos) -> Pushed {
        outbox.push(prepared(seq, qos), left(seq), &BOUNDS, false, false)
    }

    #[test]
    fn what_does_not_fit_in_memory_is_left_and_comes_back_in_order() {
        let mut outbox = Outbox::default();
        let pushed: Vec<_> = (1..=9).map(|seq| push(&mut outbox, seq, Qos::AtLeastOnce)).collect();
        assert_eq!(pushed.iter().filter(|pushed| **pushed == Pushed::Queued).count(), 4);
        assert_eq!(pushed.iter().filter(|pushed| **pushed == Pushed::Left).count(), 3);
        assert_eq!(pushed[7..], [Pushed::Dropped(Drop::QueueFull), Pushed::Dropped(Drop::QueueFull)]);
        let mut seen = Vec::new();
        while let Some(out) = next(&mut outbox, 100, 0, None, |_| panic!("nothing expires")) {
            seen.push(number(&out.prepared));
            if let Some(seq) = outbox.wanted(&BOUNDS) {
                outbox.refill(prepared(seq, Qos::AtLeastOnce));
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_resumed_session_sends_again_in_order_and_within_the_new_window() {
        let mut outbox = Outbox::default();
        for seq in 1..=4 {
            push(&mut outbox, seq, Qos::AtLeastOnce);
        }
        let ids: Vec<_> =
            (0..3).map(|_| next(&mut outbox, 3, 0, None, |_| {}).expect("one more").packet_id).collect();
        assert!(next(&mut outbox, 3, 0, None, |_| {}).is_none(), "the window is full");
        assert!(outbox.acknowledge(ids[1]));
        assert!(!outbox.acknowledge(ids[1]), "acknowledged once");
        outbox.resume();
        let again = next(&mut outbox, 1, 0, None, |_| {}).expect("the first again");
        assert_eq!((again.packet_id, again.dup, number(&again.prepared)), (ids[0], true, 1));
        assert!(next(&mut outbox, 1, 0, None, |_| {}).is_none(), "the new window is one");
        assert!(outbox.acknowledge(ids[0]));
        let again = next(&mut outbox, 1, 0, None, |_| {}).expect("the third again");
        assert_eq!((again.packet_id, again.dup), (ids[2], true));
        assert!(outbox.acknowledge(ids[2]));
        let fresh = next(&mut outbox, 1, 0, None, |_| {}).expect("the fourth");
        assert_eq!((number(&fresh.prepared), fresh.dup), (4, false));
    }

    #[test]
    fn mqtt5_4_3_3_5_what_the_client_has_is_released_and_never_published_again() {
        let mut outbox = Outbox::default();
        for seq in 1..=3 {
            push(&mut outbox, seq, Qos::ExactlyOnce);
        }
        let ids: Vec<_> =
            (0..3).map(|_| next(&mut outbox, 9, 0, None, |_| {}).expect("one more").packet_id).collect();
        assert!(!outbox.acknowledge(ids[0]), "PUBACK is no answer to QoS 2");
        assert!(!outbox.complete(ids[0]), "not released yet");
        assert_eq!(outbox.receive(ids[0], false), Received::Release);
        assert_eq!(outbox.receive(ids[0], true), Received::Release, "it cannot take that back");
        assert_eq!(outbox.receive(ids[1], true), Received::Refused);
        assert_eq!(outbox.receive(ids[1], false), Received::Unknown);
        assert_eq!(outbox.inflight(), 2, "an id is in use until PUBCOMP");
        outbox.resume();
        assert!(matches!(outbox.next(9, 0, None, |_| {}), Some(Next::Release(id)) if id == ids[0]));
        let again = next(&mut outbox, 9, 0, None, |_| {}).expect("the third again");
        assert_eq!((again.packet_id, again.dup, number(&again.prepared)), (ids[2], true, 3));
        assert!(outbox.complete(ids[0]) && !outbox.complete(ids[0]));
        assert_eq!(outbox.receive(ids[2], false), Received::Release);
        assert!(outbox.complete(ids[2]));
        assert_eq!(outbox.inflight(), 0);
    }

    #[test]
    fn what_is_saved_comes_back_with_its_packet_ids_and_in_its_order() {
        let mut outbox = Outbox::default();
        for seq in 1..=7 {
            push(&mut outbox, seq, Qos::ExactlyOnce);
        }
        let ids: Vec<_> =
            (0..3).map(|_| next(&mut outbox, 3, 0, None, |_| {}).expect("one more").packet_id).collect();
        assert_eq!(outbox.receive(ids[1], false), Received::Release);
        let saved = outbox.save();
        assert_eq!(saved.waiting.iter().map(|left| left.seq).collect::<Vec<_>>(), [4, 5, 6, 7]);
        let mut back = Outbox::default();
        assert_eq!(back.restore(saved), Restored { flights: 3, waiting: 4 });
        assert_eq!(back.lost_flights().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(back.give_up_flight(1), 1, "retention took it");
        back.fly_again(3, |left| Some(prepared(left.seq, left.qos_max)));
        back.resume();
        assert!(matches!(back.next(9, 0, None, |_| {}), Some(Next::Release(id)) if id == ids[1]));
        let third = next(&mut back, 9, 0, None, |_| {}).expect("the third");
        assert_eq!((third.packet_id, third.dup, number(&third.prepared)), (ids[2], true, 3));
        back.refill(prepared(4, Qos::ExactlyOnce));
        let fourth = next(&mut back, 9, 0, None, |_| {}).expect("the fourth");
        assert!(!ids.contains(&fourth.packet_id), "no id is used twice");
        assert!(!fourth.dup);
    }

    /// emqx issue 16296: an id used again while its first message is unacknowledged loses that message.
    #[test]
    fn an_id_that_is_never_acknowledged_is_never_used_again() {
        let mut outbox = Outbox::default();
        push(&mut outbox, 0, Qos::AtLeastOnce);
        let stuck = next(&mut outbox, 2, 0, None, |_| {}).expect("a packet").packet_id;
        for seq in 1..=140_000 {
            push(&mut outbox, seq, Qos::AtLeastOnce);
            let id = next(&mut outbox, 2, 0, None, |_| {}).expect("a packet").packet_id;
            assert_ne!(id, stuck);
            assert_ne!(id, 0);
            assert!(outbox.acknowledge(id));
        }
    }

    #[test]
    fn expired_and_oversized_messages_are_handed_back_with_their_reason() {
        let mut outbox = Outbox::default();
        let expiring = crate::prepared::tests::expiring(1, 1_000_000);
        outbox.push(expiring, left(1), &BOUNDS, false, false);
        push(&mut outbox, 2, Qos::AtLeastOnce);
        let mut dropped = Vec::new();
        let out = next(&mut outbox, 9, 1_000_000, NonZeroU32::new(5), |reason| dropped.push(reason));
        assert!(out.is_none());
        assert_eq!(dropped, [Drop::Expired, Drop::TooLarge]);
        assert_eq!(outbox.queued_bytes(), 0);
    }

    proptest! {
        #[test]
        fn every_message_is_sent_acknowledged_or_counted(
            steps in prop::collection::vec((0..6_u8, 0..8_usize, any::<bool>()), 1..200),
        ) {
            let mut outbox = Outbox::default();
            let (mut seq, mut dropped, mut acknowledged) = (0_u64, 0_usize, 0_usize);
            let mut flying: Vec<(u16, u64)> = Vec::new();
            let mut zero_sent = 0;
            let mut last_new = 0;
            for (step, pick, zero) in steps {
                match step {
                    0..=2 => {
                        seq += 1;
                        let qos = if zero { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                        if let Pushed::Dropped(_) = push(&mut outbox, seq, qos) {
                            dropped += 1;
                        }
                    }
                    3 => if let Some(out) = next(&mut outbox, 3, 0, None, |_| ()) {
                        let got = number(&out.prepared);
                        if out.packet_id == 0 {
                            zero_sent += 1;
                        } else if out.dup {
                            prop_assert!(flying.contains(&(out.packet_id, got)), "the same id again");
                        } else {
                            prop_assert!(got > last_new, "order");
                            last_new = got;
                            flying.push((out.packet_id, got));
                        }
                        let ids: HashSet<_> = flying.iter().map(|(id, _)| *id).collect();
                        prop_assert_eq!(ids.len(), flying.len(), "an id is in use twice");
                    },
                    4 if !flying.is_empty() => {
                        let (id, _) = flying.remove(pick % flying.len());
                        prop_assert!(outbox.acknowledge(id));
                        acknowledged += 1;
                    }
                    5 => outbox.resume(),
                    _ => {}
                }
                if let Some(wanted) = outbox.wanted(&BOUNDS) {
                    outbox.refill(prepared(wanted, Qos::AtLeastOnce));
                }
                let waiting = outbox.queued() + outbox.left() + outbox.inflight();
                prop_assert_eq!(seq as usize, waiting + dropped + acknowledged + zero_sent);
                prop_assert!(outbox.queued() <= BOUNDS.messages_max);
                prop_assert!(outbox.left() <= BOUNDS.left_max);
                prop_assert_eq!(outbox.inflight(), flying.len());
            }
        }
    }
}
