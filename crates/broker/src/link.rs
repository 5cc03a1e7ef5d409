//! What others may know of a connection, and how they reach it.
//!
//! The connection's task owns everything else. Others (the journal's writer, the delivery, a later connection with the
//! same client id, an operator) leave a note here and raise a flag; none of them waits for the connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytestring::ByteString;
use model::{ConnectionId, Kind, Timestamp};
use mqtt::{Packet, Version};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::signal::{Flags, Signal};
use crate::tally::End;

/// Batches became durable, or failed.
pub(crate) const DONE: Flags = 1;
/// There is something to send.
pub(crate) const OUTBOX: Flags = 2;
/// Somebody wants the connection to end.
pub(crate) const END: Flags = 4;
/// What a principal may do has changed.
pub(crate) const RIGHTS: Flags = 8;
/// The delivery has come to where a subscription waits for it.
pub(crate) const APPLIED: Flags = 16;

/// The fate of one batch: its number, and what the journal said when it did not take it.
pub(crate) struct Done {
    pub(crate) number: u64,
    pub(crate) failed: Option<Failure>,
}

/// Why the journal did not take a batch.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) text: Arc<str>,
    pub(crate) hint: Option<&'static str>,
}

/// One connection, as others see it.
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) peer: SocketAddr,
    pub(crate) client_id: ByteString,
    pub(crate) version: Version,
    pub(crate) connected_at: Timestamp,
    /// How many QoS 1 messages may be on their way to it.
    pub(crate) window: usize,
    /// The largest packet it takes.
    pub(crate) packet_bytes_max: Option<NonZeroU32>,
    /// It wants to be told why (Request Problem Information; MQTT 5.0, section 3.1.2.11.7). MQTT 3.1.1 cannot be told.
    pub(crate) is_explained: bool,
    pub(crate) signal: Signal,
    inbox: Mutex<Inbox>,
    is_bridge: AtomicBool,
    is_closed: AtomicBool,
    closed: Notify,
}

#[derive(Default)]
struct Inbox {
    done: Vec<Done>,
    answers: Vec<Packet>,
    /// The turn whose answers are to leave next, and answers of later turns.
    turn: u64,
    early: BTreeMap<u64, Vec<Packet>>,
    end: Option<End>,
}

impl Link {
    pub(crate) fn new(
        id: ConnectionId,
        peer: SocketAddr,
        connect: &mqtt::Connect,
        client_id: ByteString,
        connected_at: Timestamp,
        inflight_max: u16,
    ) -> Self {
        Self {
            id,
            peer,
            client_id,
            version: connect.version,
            connected_at,
            window: inflight_max.min(connect.properties.receive_maximum.get()).into(),
            packet_bytes_max: connect.properties.packet_bytes_max,
            is_explained: connect.version == Version::V5 && connect.properties.request_problem_information,
            signal: Signal::default(),
            inbox: Mutex::default(),
            is_bridge: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            closed: Notify::new(),
        }
    }

    /// A batch is durable, or failed. Called on the journal's thread: one short lock and one wake.
    pub(crate) fn done(&self, number: u64, failed: Option<Failure>) {
        self.inbox.lock().done.push(Done { number, failed });
        self.signal.raise(DONE);
    }

    /// Takes the fates of batches into `into`, which is empty.
    pub(crate) fn take_done(&self, into: &mut Vec<Done>) {
        std::mem::swap(&mut self.inbox.lock().done, into);
    }

    /// What was to be durable before these answers is. They leave when those of every earlier turn have left: turns are
    /// counted from 0 by the connection, in the order in which it was asked (MQTT 5.0, section 4.6: PUBREL in the order of
    /// PUBREC), and the tasks that wait for the catalog may end in any.
    pub(crate) fn answer(&self, turn: u64, answers: impl IntoIterator<Item = Packet>) {
        let mut inbox = self.inbox.lock();
        let inbox = &mut *inbox;
        inbox.early.insert(turn, answers.into_iter().collect());
        while let Some(answers) = inbox.early.remove(&inbox.turn) {
            inbox.answers.extend(answers);
            inbox.turn += 1;
        }
        self.signal.raise(DONE);
    }

    /// Takes the answers.
    pub(crate) fn take_answers(&self) -> Vec<Packet> {
        std::mem::take(&mut self.inbox.lock().answers)
    }

    /// Asks the connection to end. The first one who asks gives the reason.
    pub(crate) fn end(&self, why: End) {
        self.inbox.lock().end.get_or_insert(why);
        self.signal.raise(END);
    }

    /// Why it is to end, if somebody asked.
    pub(crate) fn asked_to_end(&self) -> Option<End> {
        self.inbox.lock().end
    }

    /// It has shown itself to be a bridge of another broker.
    pub(crate) fn mark_bridge(&self) {
        self.is_bridge.store(true, Ordering::Relaxed);
    }

    /// Whether it is a bridge of another broker.
    pub(crate) fn is_bridge(&self) -> bool {
        self.is_bridge.load(Ordering::Relaxed)
    }

    /// The connection's task has ended: it reads and writes no more.
    pub(crate) fn mark_closed(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.closed.notify_waiters();
    }

    /// Waits until the connection's task has ended.
    pub(crate) async fn closed(&self) {
        // Registered before the look, so that an end in between is not missed.
        let closed = self.closed.notified();
        if !self.is_closed.load(Ordering::Acquire) {
            closed.await;
        }
    }
}
