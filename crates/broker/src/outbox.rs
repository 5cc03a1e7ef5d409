//! What one session has to send: the messages that wait, those on their way, and those left in the journal.
//!
//! ```text
//! push ─→ queue (memory, bounded) ─→ in flight (bounded by the client's window) ─→ next ─→ acknowledge
//!   └───→ left (only `seq`, bounded) ─→ refill ─┘        └─ QoS 2: on record ─┘
//! ```
//!
//! Pure: no clock, no lock, no socket; time comes in. The laws:
//!
//! - **Order.** QoS 1 messages leave in the order they were pushed, whether they waited in memory or in the journal.
//! - **A packet id is never used twice at once** (MQTT 5.0, section 2.2.1), however long one stays unacknowledged.
//! - **On record first.** With [`Outbox::recording`], a message of QoS 2 leaves after its packet id and `seq` are durable, and
//!   its release after it is durable that the client has it (MQTT 5.0, section 4.3.3): the caller says when they are.
//! - **Bounded.** Memory is bounded in messages and in bytes; what does not fit is left in the journal; what does
//!   not fit there either is handed back with its reason, for the caller to count.

mod saved;
mod withdrawn;

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use model::Qos;

use crate::backlog::Ledger;
use crate::prepared::Prepared;
use crate::tally::Drop;
use crate::trie::Key;

pub(crate) use self::saved::{Back, OnRecord, Saved};
pub(crate) use self::withdrawn::Withdrawn;

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

/// What a delivery comes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The session's own subscriptions, when the message was published.
    #[default]
    Own,
    /// A retained message, for a new subscription.
    Retained,
    /// This shared subscription.
    Group(Key),
}

/// A message that is known by its record, and how its delivery was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// Its record.
    pub(crate) seq: u64,
    /// What it comes by.
    pub(crate) source: Source,
    /// The highest QoS of the delivery.
    pub(crate) qos_max: Qos,
    /// The retain flag of the delivery.
    pub(crate) retain: bool,
    /// Identifiers of the matching subscriptions.
    pub(crate) ids: Option<Box<[u32]>>,
}

impl Left {
    /// Group and record, if it came by a shared subscription.
    fn of_group(&self) -> Option<(Key, u64)> {
        match self.source {
            Source::Group(group) => Some((group, self.seq)),
            _ => None,
        }
    }
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

/// A message that waits in memory.
#[derive(Debug)]
struct Waiting {
    prepared: Arc<Prepared>,
    source: Source,
}

impl Waiting {
    /// Group and record, if another member of its group may have it: QoS 0 waits for nobody.
    fn share(&self) -> Option<(Key, u64)> {
        self.prepared.left(self.source).filter(|left| left.qos_max != Qos::AtMostOnce)?.of_group()
    }
}

#[derive(Debug)]
struct Flight {
    serial: u64,
    source: Source,
    freight: Freight,
    record: Record,
    /// It was sent, on this connection or an earlier one.
    was_sent: bool,
}

/// How far a flight is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// It has no record to wait for: QoS 1, a session that ends with its connection, a message that is not in the journal.
    Needless,
    /// Its next packet is not on record, and nobody was asked for it yet.
    Wanted,
    /// As before, and somebody was.
    Asked,
    /// Its next packet may leave.
    Durable,
}

/// What is to be durable before packets of QoS 2 are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Before PUBLISH: by its serial the packet id, and how the message is found again.
    pub(crate) begun: Vec<(u64, Left)>,
    /// Before PUBREL: the client has the messages of these serials.
    pub(crate) received: Vec<u64>,
}

impl Steps {
    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.received.is_empty()
    }
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
    fn may_leave(&self) -> bool {
        matches!(self.record, Record::Needless | Record::Durable)
    }

    fn left(&self) -> Option<Left> {
        match &self.freight {
            Freight::Message(prepared) => prepared.left(self.source),
            Freight::Lost(left) => Some(left.clone()),
            Freight::Release => None,
        }
    }

    fn qos(&self) -> Option<Qos> {
        match &self.freight {
            Freight::Message(prepared) => Some(prepared.qos()),
            Freight::Lost(left) => Some(left.qos_max),
            Freight::Release => None,
        }
    }

    /// Group and record, if another member of its group may have it: at QoS 2 nobody else may have what was begun (MQTT 5.0,
    /// section 4.8.2, MQTT-4.8.2-5).
    fn share(&self) -> Option<(Key, u64)> {
        self.left().filter(|left| left.qos_max == Qos::AtLeastOnce)?.of_group()
    }
}

/// What became of a PUBREC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The client has the message: PUBREL is to be sent.
    Release,
    /// The same, when it is durable that the flight with this serial has come so far.
    Record(u64),
    /// The client has said so before, and PUBREL follows when that is durable.
    Awaited,
    /// The client does not want it, and its id is free.
    Refused,
    /// No such message is on its way.
    Unknown,
}

/// The outgoing side of one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Waiting>,
    queue_bytes: usize,
    left: VecDeque<Left>,
    /// In the order of their first sending.
    flights: VecDeque<Flight>,
    /// How many flights, from the back, were not sent on this connection yet.
    unsent: usize,
    /// Messages of QoS 2 are to be on record before they leave.
    is_recording: bool,
    /// Flights that were on record and are over: their records are needed until the queue is saved without them.
    over: Vec<u64>,
    /// What of `queue` and `left` is to be saved.
    ledger: Ledger,
    /// While the process starts: what was begun before, and is not to be begun again.
    known: HashSet<(u64, Source)>,
    /// Counts the packet ids given; id = serial modulo 65,535, plus 1.
    serial: u64,
}

impl Outbox {
    /// An empty one, of a session that outlives its connection and so the process.
    pub(crate) fn recording() -> Self {
        Self { is_recording: true, ..Self::default() }
    }

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
        source: Source,
    ) -> Pushed {
        let bytes = prepared.bytes();
        let fits = self.fits(bytes, bounds, is_full);
        if prepared.qos() == Qos::AtMostOnce {
            return match (is_away, fits) {
                (true, _) => Pushed::Dropped(Drop::Away),
                (false, false) => Pushed::Dropped(Drop::Slow),
                (false, true) => self.queue(prepared, source),
            };
        }
        // Nobody overtakes what was left in the journal.
        if fits && (self.left.is_empty() || left.is_none()) {
            self.ledger.push(is_booked(&prepared, source));
            return self.queue(prepared, source);
        }
        match left {
            Some(left) if self.left.len() < bounds.left_max => {
                self.ledger.push(true);
                self.left.push_back(left);
                Pushed::Left
            }
            _ => Pushed::Dropped(Drop::QueueFull),
        }
    }

    /// Forgets the message that was left last: all sessions together have no more room for such.
    pub(crate) fn take_back_left(&mut self) {
        if self.left.pop_back().is_some() {
            self.ledger.pop_back(1);
        }
    }

    /// Whether so many bytes more may wait in memory.
    pub(crate) fn fits(&self, bytes: usize, bounds: &Bounds, is_full: bool) -> bool {
        // One message may always wait, so that a session gets on whatever the others hold.
        let may_wait = self.queue.is_empty() || !is_full;
        may_wait && self.queue.len() < bounds.messages_max && self.queue_bytes + bytes <= bounds.bytes_max
    }

    /// Whether a message that is given now leaves at once, within the client's window.
    pub(crate) fn has_room(&self, window: usize) -> bool {
        self.left.is_empty() && self.queue.len() + self.flights.len() < window
    }

    fn queue(&mut self, prepared: Arc<Prepared>, source: Source) -> Pushed {
        self.queue_bytes += prepared.bytes();
        self.queue.push_back(Waiting { prepared, source });
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
        loop {
            let sent = self.flights.len() - self.unsent;
            if sent < window
                && let Some(flight) = self.flights.get_mut(sent)
                && flight.may_leave()
            {
                self.unsent -= 1;
                let packet_id = id_of(flight.serial);
                let dup = std::mem::replace(&mut flight.was_sent, true);
                return Some(match &flight.freight {
                    Freight::Message(prepared) => {
                        Next::Publish(Outgoing { prepared: Arc::clone(prepared), packet_id, dup })
                    }
                    Freight::Release => Next::Release(packet_id),
                    Freight::Lost(_) => unreachable!("read again before anybody connects"),
                });
            }
            let is_acknowledged = self.queue.front()?.prepared.qos() != Qos::AtMostOnce;
            if is_acknowledged && self.flights.len() >= window {
                return None;
            }
            let Waiting { prepared, source } = self.queue.pop_front().expect("there is a first");
            self.queue_bytes -= prepared.bytes();
            self.ledger.pop_front(is_booked(&prepared, source));
            if self.queue.is_empty() && self.queue.capacity() > 64 {
                self.queue = VecDeque::new();
            }
            if prepared.is_expired(now_mono) {
                drop(Drop::Expired);
            } else if bytes_max.is_some_and(|most| prepared.bytes() > most.get() as usize) {
                drop(Drop::TooLarge);
            } else if is_acknowledged {
                let needs_record =
                    self.is_recording && prepared.qos() == Qos::ExactlyOnce && prepared.seq() > 0;
                let record = if needs_record { Record::Wanted } else { Record::Needless };
                let (serial, freight) = (self.free_serial(), Freight::Message(prepared));
                self.flights.push_back(Flight { serial, source, freight, record, was_sent: false });
                self.unsent += 1;
            } else {
                return Some(Next::Publish(Outgoing { prepared, packet_id: 0, dup: false }));
            }
        }
    }

    /// Takes what is to be on record before it leaves.
    pub(crate) fn steps(&mut self) -> Steps {
        let mut steps = Steps::default();
        if !self.is_recording || self.unsent == 0 {
            return steps;
        }
        let sent = self.flights.len() - self.unsent;
        for flight in self.flights.iter_mut().skip(sent).filter(|flight| flight.record == Record::Wanted) {
            match flight.left() {
                Some(left) => steps.begun.push((flight.serial, left)),
                None => steps.received.push(flight.serial),
            }
            flight.record = Record::Asked;
        }
        steps
    }

    /// These flights are on record: their next packets may leave. `is_so` false: they are not, and are asked for again.
    pub(crate) fn recorded(&mut self, serials: &[u64], is_so: bool) {
        let record = if is_so { Record::Durable } else { Record::Wanted };
        for flight in &mut self.flights {
            if flight.record == Record::Asked && serials.contains(&flight.serial) {
                flight.record = record;
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
        match self.flight_of(packet_id).map(|flight| flight.qos()) {
            None | Some(Some(Qos::AtMostOnce | Qos::AtLeastOnce)) => Received::Unknown,
            // MQTT 5.0, section 4.3.3: it has said that it has the message, and cannot take that back.
            Some(None) => match self.flight_of(packet_id).map(|flight| flight.record) {
                Some(Record::Asked) => Received::Awaited,
                Some(Record::Wanted) => {
                    let flight = self.flight_of(packet_id).expect("looked at just now");
                    flight.record = Record::Asked;
                    Received::Record(flight.serial)
                }
                _ => Received::Release,
            },
            Some(Some(Qos::ExactlyOnce)) if is_refused => {
                self.take_flight(packet_id, |_| true);
                Received::Refused
            }
            Some(Some(Qos::ExactlyOnce)) => {
                let flight = self.flight_of(packet_id).expect("looked at just now");
                if !flight.was_sent {
                    return Received::Unknown;
                }
                flight.freight = Freight::Release;
                if flight.record == Record::Needless {
                    return Received::Release;
                }
                flight.record = Record::Asked;
                Received::Record(flight.serial)
            }
        }
    }

    fn flight_of(&mut self, packet_id: u16) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|flight| id_of(flight.serial) == packet_id)
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
        let flight = self.flights.remove(at).expect("it was found");
        if flight.record != Record::Needless {
            self.over.push(flight.serial);
        }
        if self.flights.is_empty() && self.flights.capacity() > 64 {
            self.flights = VecDeque::new();
        }
        true
    }

    /// A new connection goes on with the session: everything unacknowledged is sent again first, in the order of
    /// its first sending (MQTT 5.0, section 4.4).
    pub(crate) fn resume(&mut self) {
        self.unsent = self.flights.len();
    }

    /// Nobody is connected any more: QoS 0 that still waits goes. Returns how many went.
    pub(crate) fn away(&mut self) -> usize {
        let before = self.queue.len();
        self.queue.retain(|waiting| waiting.prepared.qos() != Qos::AtMostOnce);
        self.queue_bytes = self.queue.iter().map(|waiting| waiting.prepared.bytes()).sum();
        before - self.queue.len()
    }

    /// Takes what came by shared subscriptions and was not begun: others may have it. With `is_over`, the session ends,
    /// what is on its way at QoS 1 too.
    pub(crate) fn give_back(&mut self, is_over: bool) -> Vec<(Key, u64)> {
        let mut given = Vec::new();
        let mut stays = |share: Option<(Key, u64)>| {
            given.extend(share);
            share.is_none()
        };
        if is_over {
            self.flights.retain(|flight| stays(flight.share()));
        }
        self.queue.retain(|waiting| stays(waiting.share()));
        self.queue_bytes = self.queue.iter().map(|waiting| waiting.prepared.bytes()).sum();
        given
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
        if self.left.pop_front().is_some() {
            self.queue(prepared, Source::Own);
        }
    }

    /// Messages left in the journal before `seq` are not there any more. Returns how many went.
    pub(crate) fn forget_left_before(&mut self, seq: u64) -> usize {
        let gone = self.left.iter().take_while(|left| left.seq < seq).count();
        self.left.drain(..gone);
        if gone > 0 {
            // What follows stands where these were.
            let before = self.booked();
            self.ledger.pop_back(gone as u64);
            self.ledger.touch_after(before as u64);
        }
        gone
    }
}

/// Whether a message that waits in memory is one of the backlog: of the session's own, and in the journal.
fn is_booked(prepared: &Prepared, source: Source) -> bool {
    source == Source::Own && prepared.qos() != Qos::AtMostOnce && prepared.seq() > 0
}

fn id_of(serial: u64) -> u16 {
    // The remainder is below 65,535.
    (serial % PACKET_IDS) as u16 + 1
}

#[cfg(test)]
mod tests;
