//! What of an outbox outlives the process, and how it comes back.
//!
//! Three parts: the backlog (what waits, in chunks that are saved when they change), what is small and saved whole (flights of
//! QoS 1, what waits and is not in the backlog), and flights of QoS 2, which are on record step by step. The law:
//! what is on record was begun, and is neither begun nor queued a second time, whatever else was saved.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Qos;

use super::{Flight, Freight, Left, Outbox, Record, Source, is_booked};
use crate::backlog::{Changes, Ledger};
use crate::prepared::Prepared;

/// What of an outbox is to be saved: all of what is small, and what changed of the backlog.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Saved {
    /// Counts the packet ids given.
    pub(crate) serial: u64,
    /// Flights of QoS 1, in the order of their first sending.
    pub(crate) flights: Vec<(u64, Left)>,
    /// What waits and is not of the backlog: retained messages, messages of groups, QoS 2 that is not on record yet.
    pub(crate) aside: Vec<Left>,
    pub(crate) backlog: Changes,
    /// Flights that are over: nothing of them needs to be on record any more.
    pub(crate) over: Vec<u64>,
}

/// A flight of QoS 2, as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnRecord {
    pub(crate) serial: u64,
    pub(crate) left: Left,
    /// The client has the message.
    pub(crate) is_received: bool,
    /// It has a row of its own. Those of a process that did not keep such have none.
    pub(crate) is_kept: bool,
}

/// What an outbox is made of again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Back {
    pub(crate) serial: u64,
    pub(crate) flights: Vec<(u64, Left)>,
    /// What was to be sent before `waiting`.
    pub(crate) aside: Vec<Left>,
    pub(crate) head: u64,
    pub(crate) waiting: Vec<Left>,
    /// `waiting` is in the table as it stands here.
    pub(crate) is_saved: bool,
    pub(crate) on_record: Vec<OnRecord>,
}

/// How much came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) flights: usize,
    pub(crate) waiting: usize,
}

impl Outbox {
    /// How many messages of the backlog wait in memory.
    pub(super) fn booked(&self) -> usize {
        self.queue.iter().filter(|waiting| is_booked(&waiting.prepared, waiting.source)).count()
    }

    /// What is to be saved now. From here on it counts as saved.
    pub(crate) fn save(&mut self) -> Saved {
        let flights = self.flights.iter().filter(|flight| flight.qos() == Some(Qos::AtLeastOnce));
        let flights = flights.filter_map(|flight| Some((flight.serial, flight.left()?))).collect();
        // What is begun and not on record yet was not sent: it still waits.
        let begun = self.flights.iter().filter(|flight| {
            matches!(flight.record, Record::Wanted | Record::Asked) && flight.qos() == Some(Qos::ExactlyOnce)
        });
        let aside = self
            .queue
            .iter()
            .filter(|waiting| waiting.source != Source::Own && waiting.prepared.qos() != Qos::AtMostOnce);
        let aside = aside.filter_map(|waiting| waiting.prepared.left(waiting.source));
        let aside = begun.filter_map(Flight::left).chain(aside).collect();
        let booked = self.booked();
        let (queue, left) = (&self.queue, &self.left);
        debug_assert_eq!(self.ledger.len(), (booked + left.len()) as u64);
        let backlog = self.ledger.save(|skip| {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let in_memory = queue.iter().filter(|waiting| is_booked(&waiting.prepared, waiting.source));
            let in_memory = in_memory.filter_map(|waiting| waiting.prepared.left(waiting.source));
            in_memory.skip(skip).chain(left.iter().skip(skip.saturating_sub(booked)).cloned())
        });
        Saved { serial: self.serial, flights, aside, backlog, over: std::mem::take(&mut self.over) }
    }

    /// It could not be saved.
    pub(crate) fn not_saved(&mut self, saved: &Saved) {
        self.ledger.not_saved(&saved.backlog);
        self.over.extend_from_slice(&saved.over);
    }

    /// Takes back what was saved. Flights are lost until they are [`flown again`](Self::fly_again); retained messages that
    /// waited are the first in their row. What is on record is [`known`](Self::is_known) until [`settle`](Self::settle).
    pub(crate) fn restore(&mut self, back: Back) -> Restored {
        let Back { serial, mut flights, aside, head, mut waiting, is_saved, on_record } = back;
        self.serial = on_record.iter().map(|flight| flight.serial + 1).max().unwrap_or(0).max(serial);
        self.known = on_record.iter().map(|flight| (flight.left.seq, flight.left.source)).collect();
        let before = waiting.len();
        waiting.retain(|left| !self.known.contains(&(left.seq, left.source)));
        flights.retain(|(serial, _)| on_record.iter().all(|flight| flight.serial != *serial));
        let lost = |serial, left: Left, record| Flight {
            serial,
            source: left.source,
            freight: Freight::Lost(left),
            record,
            was_sent: true,
        };
        let mut all: Vec<_> =
            flights.into_iter().map(|(serial, left)| lost(serial, left, Record::Needless)).collect();
        all.extend(on_record.into_iter().map(|OnRecord { serial, left, is_received, is_kept }| {
            let mut flight = lost(serial, left, if is_kept { Record::Durable } else { Record::Needless });
            if is_received {
                flight.freight = Freight::Release;
            }
            flight
        }));
        for left in aside.into_iter().filter(|left| !self.known.contains(&(left.seq, left.source))) {
            // Begun as flights: they leave first, with the next packet ids.
            let is_two = left.qos_max == Qos::ExactlyOnce && self.is_recording;
            let record = if is_two { Record::Wanted } else { Record::Needless };
            all.push(Flight { was_sent: false, ..lost(self.serial, left, record) });
            self.serial += 1;
        }
        all.sort_by_key(|flight| flight.serial);
        self.flights = all.into();
        self.unsent = self.flights.len();
        self.ledger = Ledger::of(head, waiting.len() as u64, is_saved && waiting.len() == before);
        self.left = waiting.into();
        Restored { flights: self.flights.len(), waiting: self.left.len() }
    }

    /// While the process starts: whether this delivery was begun before it ended.
    pub(crate) fn is_known(&self, seq: u64, source: Source) -> bool {
        self.known.contains(&(seq, source))
    }

    /// Everything is matched again. What is retained and owed is looked for later, and all of it is when `is_over`.
    pub(crate) fn settle(&mut self, is_over: bool) {
        self.known.retain(|(_, source)| *source == Source::Retained && !is_over);
        self.known.shrink_to_fit();
    }

    /// The records of lost flights, and what they come by.
    pub(crate) fn lost_flights(&self) -> impl Iterator<Item = (u64, Source)> {
        self.flights.iter().filter_map(|flight| match &flight.freight {
            Freight::Lost(left) => Some((left.seq, left.source)),
            _ => None,
        })
    }

    /// Record `seq` was found: its lost flight gets what `prepare` makes of it.
    pub(crate) fn fly_again(
        &mut self,
        seq: u64,
        source: Source,
        mut prepare: impl FnMut(&Left) -> Option<Arc<Prepared>>,
    ) {
        for flight in self.flights.iter_mut().filter(|flight| flight.source == source) {
            if let Freight::Lost(left) = &flight.freight
                && left.seq == seq
                && let Some(prepared) = prepare(left)
            {
                flight.freight = Freight::Message(prepared);
            }
        }
    }

    /// What was not found is not there any more: its flights end. Returns how many.
    pub(crate) fn give_up_lost(&mut self) -> usize {
        let before = self.flights.len();
        let (lost, kept): (VecDeque<_>, VecDeque<_>) =
            self.flights.drain(..).partition(|flight| matches!(flight.freight, Freight::Lost(_)));
        self.flights = kept;
        self.over.extend(
            lost.iter().filter(|flight| flight.record != Record::Needless).map(|flight| flight.serial),
        );
        self.unsent = self.flights.len();
        before - self.flights.len()
    }
}
