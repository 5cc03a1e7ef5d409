//! The journal as other rooms hold it.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use model::{Message, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::chain::{Chain, Chains};
use crate::cursor::{self, Merge, Piece};
use crate::ids::{Fingerprint, Ids};
use crate::queue::Queue;
use crate::recovery::{self, Opened, Recovery};
use crate::retention::{Consumer, Hold};
use crate::shared::{Health, Progress, Shared};
use crate::tap::Tap;
use crate::writer::Writer;
use crate::{AppendError, Busy, OpenError, Outcome, Reader, Settings, Status};

/// Of the volume's size, the part that the journal may use unless told otherwise.
const VOLUME_PERCENT: u64 = 60;

/// The journal. Cheap to clone; when the last clone is dropped it ends as by [`Journal::close`], without waiting.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Journal {
    /// Opens the journal in `dir`, or makes it, and starts its writer.
    ///
    /// After an end in good order this reads a header per segment; else also the newest segment of each chain.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way. Damage is no error: it is told in [`Recovery`] and by the readers
    /// that come to it.
    pub fn open(dir: &Path, settings: &Settings, host: &host::Host) -> Result<(Self, Recovery), OpenError> {
        let mut opened = recovery::open(dir, settings, host)?;
        let space = host.disk.space(dir);
        let io = |source| OpenError::Io { path: dir.to_owned(), source };
        let bytes_max = match settings.bytes_max {
            Some(bytes_max) => bytes_max,
            None => space.map_err(io)?.total / 100 * VOLUME_PERCENT,
        };
        let health = Health { damage: opened.recovery.damage.clone(), ..Health::default() };
        let progress = Progress { durable: opened.last_seq, closed: false };
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            bytes_max,
            dir: dir.to_owned(),
            host: host.clone(),
            queue: Queue::new(settings.queue_bytes),
            tap: Mutex::new(Tap::new(opened.last_seq, settings.tap_bytes)),
            segments: Mutex::new(std::mem::take(&mut opened.segments)),
            holes: Mutex::new(std::mem::take(&mut opened.holes)),
            progress: watch::Sender::new(progress),
            places: crate::retention::Places::default(),
            health: Mutex::new(health),
        });
        let ids = remember(&shared, &mut opened, settings)?;
        shared.health.lock().ids = ids.len();
        let recovery = std::mem::take(&mut opened.recovery);
        let writer = Writer::new(Arc::clone(&shared), &opened, ids);
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Thread { source })?;
        Ok((Self { handle: Arc::new(Handle { shared }) }, recovery))
    }

    /// What the writer and the readers share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Appends messages; resolves when all of them are on stable storage. The outcomes are in the order of `batch`.
    ///
    /// Waits for room in the queue when there is none. Dropped while it waits for the disk, the messages are
    /// appended all the same.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the batch will appear then, except as [`AppendError::Poisoned`] says.
    pub async fn append(&self, batch: Vec<Message>) -> Result<Vec<Outcome>, AppendError> {
        let (done, mut answer) = oneshot::channel();
        let mut waiting = (batch, done);
        loop {
            let (batch, done) = waiting;
            let submitted = self.submit(batch, move |outcomes| {
                // Nobody waits any more: the messages are durable all the same.
                let _ = done.send(outcomes);
            });
            match submitted {
                Ok(()) => return answer.await.unwrap_or(Err(AppendError::Closed)),
                Err(busy) => {
                    drop(busy.done);
                    let (done, next_answer) = oneshot::channel();
                    answer = next_answer;
                    waiting = (busy.batch, done);
                }
            }
            self.room().await;
        }
    }

    /// Hands messages over without waiting for the disk. Batches of one caller keep their order. `done` is called
    /// once, on the writer's thread when all of them are durable (keep it short: everybody waits for it), or at once
    /// on this thread when they can never be written.
    ///
    /// A payload that is a slice of a larger buffer keeps all of it in memory until the messages leave the tap:
    /// copy small ones.
    ///
    /// # Errors
    /// [`Busy`] gives the batch back when too much waits for the disk; see [`Journal::room`].
    pub fn submit<F>(&self, batch: Vec<Message>, done: F) -> Result<(), Busy<F>>
    where
        F: FnOnce(Result<Vec<Outcome>, AppendError>) + Send + 'static,
    {
        self.handle.shared.queue.submit(batch, done)
    }

    /// Waits until the queue has room, or nothing is taken any more. Others may be quicker: try again, in a loop.
    pub async fn room(&self) {
        self.handle.shared.queue.room().await;
    }

    /// A reader whose first record is the first with a `seq` of at least `from`.
    #[must_use]
    pub fn reader(&self, from: u64, chains: Chains) -> Reader {
        Reader::new(Arc::clone(&self.handle.shared), from, chains)
    }

    /// A consumer's place, for lag and retention. From now on retention heeds it; it holds everything until its
    /// first [`Consumer::report`].
    #[must_use]
    pub fn consumer(&self, name: &str, hold: Hold) -> Consumer {
        Consumer::new(Arc::clone(&self.handle.shared), name, hold)
    }

    /// Every record up to this `seq` is durable; 0 when there is none.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.handle.shared.durable()
    }

    /// The lowest `seq` that may still be there.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.handle.shared.first_seq()
    }

    /// A `seq` from which on every record is found that was received at `time` or later, and few that were received
    /// before: the frame is found in which the first of them is. One past the last when there is none.
    #[must_use]
    pub fn seq_at(&self, time: Timestamp) -> u64 {
        seq_at(&self.handle.shared, time.micros())
    }

    /// How the journal is.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.handle.shared;
        let (queue_bytes, queue_messages) = shared.queue.load();
        let consumers = shared.places.status(shared);
        let segments = shared.segments.lock().each_ref().map(Vec::len);
        let (first_seq, durable_seq, bytes) = (shared.first_seq(), shared.durable(), shared.bytes());
        let health = shared.health.lock();
        Status {
            first_seq,
            durable_seq,
            bytes,
            bytes_max: shared.bytes_max,
            segments,
            queue_bytes,
            queue_messages,
            poisoned: health.poisoned.as_deref().map(str::to_owned),
            full: health.full,
            damage: health.damage.clone(),
            consumers,
            sync: health.sync.clone(),
            ids: health.ids,
        }
    }

    /// Drops the segments that retention allows to be dropped, and waits for it. The writer does so by itself
    /// when it begins a segment, when room is short, and once a minute when idle.
    pub async fn trim(&self) {
        self.handle.shared.queue.trim().await;
    }

    /// Takes nothing more, writes what waits, and ends in good order. Resolves when it is done; readers then come
    /// to their end.
    pub async fn close(&self) {
        let shared = &self.handle.shared;
        shared.queue.close();
        // The sender lives in `shared`, so waiting cannot fail.
        let _ = shared.progress.subscribe().wait_for(|progress| progress.closed).await;
    }
}

/// Completes the message-id window with what came after it was saved.
fn remember(shared: &Shared, opened: &mut Opened, settings: &Settings) -> Result<Ids, OpenError> {
    let mut ids = std::mem::replace(&mut opened.ids, Ids::new(settings));
    if opened.ids_to >= opened.last_seq {
        return Ok(ids);
    }
    let oldest = shared.host.clock.now().minus(settings.ids_keep);
    let from = seq_at(shared, oldest.micros()).max(opened.ids_to + 1);
    let mut merge = Merge::new(Chains::Both, from);
    loop {
        match merge.next(shared, opened.last_seq) {
            Ok(Some(Piece::Records(records))) => {
                for record in records {
                    if let Some(print) = Fingerprint::of(&record.message) {
                        ids.remember(print, record.seq);
                    }
                }
            }
            Ok(Some(Piece::Gap(_))) => {}
            Ok(None) => return Ok(ids),
            Err(crate::ReadError::Io { path, source }) => return Err(OpenError::Io { path, source }),
            Err(crate::ReadError::Closed) => unreachable!("a merge does not wait"),
        }
    }
}

fn seq_at(shared: &Shared, time: i64) -> u64 {
    let end = shared.durable() + 1;
    let of_chain = |chain: Chain| {
        let segments = shared.segments.lock()[chain.index()].clone();
        for segment in segments.iter().filter(|segment| segment.extent().time_max >= time) {
            match cursor::seq_at(shared, segment, time) {
                Ok(Some(seq)) => return seq,
                Ok(None) => {}
                // Too early is right, too late is not.
                Err(_) => return segment.first_seq,
            }
        }
        end
    };
    Chain::ALL.into_iter().map(of_chain).min().unwrap_or(end).min(end)
}
