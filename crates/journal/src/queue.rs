//! The way from the doors to the writer: bounded, encoded on the doors' threads, taken as a whole.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use crate::assembly::Assembly;
use crate::chain::Chain;
use crate::record::{self, RECORD_BYTES_MAX};
use crate::{AppendError, Busy, Outcome, Record};
use model::Message;

/// What is called when a batch is durable, or will never be.
pub(crate) type Done = Box<dyn FnOnce(Result<Vec<Outcome>, AppendError>) + Send>;

/// Most messages that may wait for the writer: the most that one group commit brings. After an unclean end more
/// seqs than this are left out, see `recovery`.
pub(crate) const QUEUE_MESSAGES_MAX: usize = 131_072;

/// Batches that wait to be written together.
#[derive(Default)]
pub(crate) struct Group {
    /// Per chain: the frames, and the records they were made of. A record's `seq` is put in by the writer.
    pub(crate) chains: [ChainGroup; 2],
    pub(crate) batches: Vec<WaitingBatch>,
    /// Whether any message has an id.
    pub(crate) has_ids: bool,
}

#[derive(Default)]
pub(crate) struct ChainGroup {
    pub(crate) frames: Assembly,
    pub(crate) records: Vec<Record>,
}

/// One batch: which of the group's records are its own, and who waits for it.
pub(crate) struct WaitingBatch {
    pub(crate) done: Done,
    /// Per chain: where its records begin, and how many they are.
    pub(crate) parts: [(u32, u32); 2],
    /// For a batch of both chains: the chain of each message in turn.
    pub(crate) mixed: Option<Box<[Chain]>>,
}

impl Group {
    fn push(&mut self, batch: Vec<Message>, done: Done) {
        let begin = self.chains.each_ref().map(|chain| chain.records.len() as u32);
        let mixed = batch
            .iter()
            .any(|message| message.lane.is_urgent() != batch[0].lane.is_urgent())
            .then(|| batch.iter().map(|message| Chain::of(message.lane)).collect());
        for message in batch {
            self.has_ids |= message.message_id.is_some();
            let chain = &mut self.chains[Chain::of(message.lane).index()];
            let time = message.received_at.micros();
            chain.frames.push(time, |out| record::encode(&message, false, out));
            chain.records.push(Record { seq: 0, message, id_reused: false });
        }
        let parts = [0, 1].map(|at| (begin[at], self.chains[at].records.len() as u32 - begin[at]));
        self.batches.push(WaitingBatch { done, parts, mixed });
    }

    pub(crate) fn messages(&self) -> usize {
        self.chains.iter().map(|chain| chain.records.len()).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chains.iter().map(|chain| chain.frames.bytes()).sum()
    }

    /// Makes it empty for the next use.
    pub(crate) fn clear(&mut self) {
        for chain in &mut self.chains {
            chain.frames.clear();
            chain.records.clear();
        }
        self.batches.clear();
        self.batches.shrink_to(16_384);
        self.has_ids = false;
    }
}

/// What the writer is woken for, beside the group.
pub(crate) struct Wake {
    /// The journal is to be closed; everything that came before is in the group.
    pub(crate) close: bool,
    /// Who waits for a trim; dropped when it is done.
    pub(crate) trims: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct State {
    group: Group,
    /// The writer sleeps, and is to be woken at this many messages.
    wake_at: Option<usize>,
    trims: Vec<oneshot::Sender<()>>,
    closing: bool,
    /// Set when nothing is taken any more.
    refusal: Option<AppendError>,
}

/// The queue.
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    emptied: Notify,
    bytes_max: usize,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), emptied: Notify::new(), bytes_max }
    }

    /// Takes a batch, or gives it back. A batch that can never be written is answered here and now.
    pub(crate) fn submit<F>(&self, batch: Vec<Message>, done: F) -> Result<(), Busy<F>>
    where
        F: FnOnce(Result<Vec<Outcome>, AppendError>) + Send + 'static,
    {
        if batch.is_empty() {
            done(Ok(Vec::new()));
            return Ok(());
        }
        // What can be in flight bounds the seqs that are left out after an unclean end.
        assert!(batch.len() <= QUEUE_MESSAGES_MAX, "a batch has {} messages", batch.len());
        let largest = batch.iter().map(record::bytes_bound).max().unwrap_or(0);
        if largest > RECORD_BYTES_MAX {
            done(Err(AppendError::TooLarge { bytes: largest, bytes_max: RECORD_BYTES_MAX }));
            return Ok(());
        }
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal.clone() {
            drop(state);
            done(Err(refusal));
            return Ok(());
        }
        if !state.has_room(self.bytes_max) {
            return Err(Busy { batch, done });
        }
        state.group.push(batch, Box::new(done));
        let wake = state.wake_at.is_some_and(|wake_at| state.group.messages() >= wake_at);
        if wake {
            state.wake_at = None;
            drop(state);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until a batch would be taken, or refused for good.
    pub(crate) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let state = self.state.lock();
                if state.refusal.is_some() || state.has_room(self.bytes_max) {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Bytes and messages that wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.group.bytes(), state.group.messages())
    }

    /// Has the writer drop what retention allows, and waits for it.
    pub(crate) async fn trim(&self) {
        let (done, trimmed) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closing {
                return;
            }
            state.trims.push(done);
        }
        self.arrived.notify_one();
        // The writer drops its end when it is done.
        let _ = trimmed.await;
    }

    /// Takes nothing more; the writer is to end when it has written what is here.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        state.refusal.get_or_insert(AppendError::Closed);
        drop(state);
        self.arrived.notify_one();
        self.emptied.notify_waiters();
    }

    /// Takes nothing more, for this reason.
    pub(crate) fn refuse(&self, refusal: AppendError) {
        self.state.lock().refusal = Some(refusal);
        self.emptied.notify_waiters();
    }

    /// The writer's side: waits until there is work, at most `idle`, and takes it all, giving `group`, which is
    /// empty, in exchange.
    ///
    /// `gather` is how long to wait for others when something is there already, and `enough` the number of
    /// messages at which not to wait any longer.
    pub(crate) fn take(&self, group: &mut Group, idle: Duration, gather: Duration, enough: usize) -> Wake {
        let mut state = self.state.lock();
        if !gather.is_zero() && !state.is_urgent() && state.group.messages() < enough {
            state.wake_at = Some(enough);
            let _ = self.arrived.wait_for(&mut state, gather);
        }
        if !state.is_urgent() && state.group.batches.is_empty() {
            state.wake_at = Some(1);
            let _ = self.arrived.wait_for(&mut state, idle);
        }
        state.wake_at = None;
        std::mem::swap(&mut state.group, group);
        let wake = Wake { close: state.closing, trims: std::mem::take(&mut state.trims) };
        drop(state);
        self.emptied.notify_waiters();
        wake
    }
}

impl State {
    fn has_room(&self, bytes_max: usize) -> bool {
        self.group.bytes() < bytes_max && self.group.messages() < QUEUE_MESSAGES_MAX
    }

    /// Whether something is asked of the writer beside writing.
    fn is_urgent(&self) -> bool {
        self.closing || !self.trims.is_empty()
    }
}
