//! One chain's newest segment, as the writer holds it: made, appended to, sealed, taken back.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host::File;

use crate::assembly::Assembly;
use crate::chain::Chain;
use crate::frame::FrameKey;
use crate::header::{HEADER_BYTES, Header};
use crate::recovery::ChainState;
use crate::segment::{self, Extent, Mark, Segment};
use crate::shared::Shared;

/// A segment older than this part of `keep` is sealed, so that a quiet chain's old records can be dropped too.
const KEEP_PARTS: u32 = 8;

/// Most bytes of zeros written ahead of the frames. A sync on blocks that the file already has takes a fraction of one
/// that makes the file longer; one sync in many pays for the others. Bounded by a part of the segment too, so that
/// small segments stay small.
const PREPARE_BYTES: u64 = 1024 * 1024;
const PREPARE_PARTS: u64 = 16;

/// The journal's life since it was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) journal: [u8; 16],
    pub(crate) boot: u32,
    pub(crate) first: u64,
    pub(crate) before: u64,
}

/// What went wrong with a file.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It could not be made or written; nothing is in doubt.
    Write(PathBuf, io::Error),
    /// What it holds is in doubt.
    Sync(PathBuf, io::Error),
}

/// The writing end of a chain.
pub(crate) struct ChainLog {
    pub(crate) chain: Chain,
    state: ChainState,
    run: Run,
    active: Option<Active>,
}

struct Active {
    segment: Arc<Segment>,
    file: Box<dyn File>,
    key: FrameKey,
    next_frame: u64,
    /// Length of the frames that are durable.
    durable: u64,
    /// Up to here the file has blocks.
    prepared: u64,
    /// What was appended since: bytes, last seq, largest time, first seq.
    pending: Option<Pending>,
}

#[derive(Clone, Copy)]
struct Pending {
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
    time_max: i64,
}

impl ChainLog {
    pub(crate) fn new(chain: Chain, state: ChainState, run: Run) -> Self {
        Self { chain, state, run, active: None }
    }

    /// The id of the journal that the chain belongs to.
    pub(crate) fn journal(&self) -> [u8; 16] {
        self.run.journal
    }

    /// Sees to it that a segment is open with room for `bytes`, whose first record will be `first_seq` or later.
    /// True when a segment was begun.
    pub(crate) fn ready(&mut self, shared: &Shared, bytes: u64, first_seq: u64) -> Result<bool, Fault> {
        let now = shared.host.clock.now().micros();
        if let Some(active) = &self.active {
            let full = active.durable > HEADER_BYTES as u64
                && active.durable + bytes > shared.settings.segment_bytes.max(HEADER_BYTES as u64);
            let age = u64::try_from(now.saturating_sub(active.segment.created_at)).unwrap_or(0);
            let old =
                Duration::from_micros(age) >= (shared.settings.keep / KEEP_PARTS).max(Duration::from_secs(1));
            if !full && !old {
                return Ok(false);
            }
            self.seal();
        }
        self.begin(shared, first_seq, now)?;
        Ok(true)
    }

    /// Makes the next segment: header written and durable, directory too.
    fn begin(&mut self, shared: &Shared, first_seq: u64, now: i64) -> Result<(), Fault> {
        let header = Header {
            chain: self.chain,
            boot: self.run.boot,
            journal: self.run.journal,
            number: self.state.next_number,
            first_seq,
            chain_last: self.state.last_seq,
            time_before: self.state.time_before,
            created_at: now,
            run_first: self.run.first,
            run_before: self.run.before,
        };
        let (key, wrapped) = shared.host.keys.new_data_key(&header.context(), &*shared.host.random);
        let path = segment::path(&shared.dir, self.chain, header.number);
        let disk = &*shared.host.disk;
        let mut file = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by an attempt that failed and could not be cleared away; it never had a frame.
                disk.remove(&path).and_then(|()| disk.create(&path))
            }
            made => made,
        }
        .map_err(|error| Fault::Write(path.clone(), error))?;
        if let Err(error) = file.append(&header.to_bytes(&wrapped)) {
            // What is left of it is cleared away by the next attempt, or by the next start.
            let _ = disk.remove(&path);
            return Err(Fault::Write(path, error));
        }
        file.sync().map_err(|error| Fault::Sync(path.clone(), error))?;
        disk.sync_dir(&shared.dir).map_err(|error| Fault::Sync(path.clone(), error))?;
        let durable = HEADER_BYTES as u64;
        let extent =
            Extent { last_seq: self.state.last_seq, data_end: durable, bytes: durable, time_max: i64::MIN };
        let key = FrameKey::new(&key);
        let segment = Arc::new(Segment::new(path, &header, Ok(key.clone()), extent));
        shared.segments.lock()[self.chain.index()].push(Arc::clone(&segment));
        self.state.next_number += 1;
        self.active =
            Some(Active { segment, file, key, next_frame: 0, durable, prepared: durable, pending: None });
        Ok(())
    }

    /// Ends the newest segment; the next write begins another.
    pub(crate) fn seal(&mut self) {
        if let Some(mut active) = self.active.take() {
            if active.prepared > active.durable
                && let Err(error) = active.file.truncate(active.durable)
            {
                // Zeros behind the last frame are no frame: readers stop before them.
                tracing::warn!(path = %active.segment.path.display(), %error, "journal segment cannot be cut to its length");
            }
            let time_max = active.segment.extent().time_max;
            if time_max > i64::MIN {
                self.state.time_before = time_max;
            }
        }
    }

    /// Writes frames behind the others; not durable yet. There must be a segment.
    pub(crate) fn append(
        &mut self,
        shared: &Shared,
        frames: &mut Assembly,
        first_seq: u64,
        last_seq: u64,
    ) -> Result<(), Fault> {
        let active = self.active.as_mut().expect("made ready");
        let time_max = frames.time_max();
        let number = active.next_frame;
        // Counted before the write: a number that may be on the disk is never used again.
        active.next_frame += frames.frames();
        let bytes = frames.seal(&active.key, number, first_seq, active.durable);
        active.pending = Some(Pending { bytes: bytes.len() as u64, first_seq, last_seq, time_max });
        let end = active.durable + bytes.len() as u64;
        active.file.append(bytes).map_err(|error| Fault::Write(active.segment.path.clone(), error))?;
        if end > active.prepared {
            let ahead = (shared.settings.segment_bytes / PREPARE_PARTS)
                .min(PREPARE_BYTES)
                .min(shared.settings.segment_bytes.saturating_sub(end));
            // Without it the next sync is slower, and that is all.
            active.prepared = end + if active.file.prepare(ahead).is_ok() { ahead } else { 0 };
        }
        Ok(())
    }

    /// Makes durable what was appended.
    pub(crate) fn sync(&mut self) -> Result<(), Fault> {
        let active = self.active.as_mut().expect("appended to");
        active.file.sync().map_err(|error| Fault::Sync(active.segment.path.clone(), error))
    }

    /// Lets readers see what is durable now; says how many bytes that is.
    pub(crate) fn publish(&mut self) -> u64 {
        let active = self.active.as_mut().expect("appended to");
        let pending = active.pending.take().expect("appended");
        let before = active.segment.extent();
        active.segment.mark(Mark {
            offset: active.durable,
            seq: pending.first_seq,
            time_before: before.time_max,
        });
        active.durable += pending.bytes;
        active.segment.grow(Extent {
            last_seq: pending.last_seq,
            data_end: active.durable,
            bytes: active.durable,
            time_max: pending.time_max,
        });
        self.state.last_seq = pending.last_seq;
        pending.bytes
    }

    /// Cuts off what was appended and not synced, durably, and seals the segment: nothing of it may appear later.
    pub(crate) fn take_back(&mut self) -> Result<(), Fault> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.pending.take().is_none() {
            return Ok(());
        }
        let cut = active.file.truncate(active.durable).and_then(|()| active.file.sync());
        active.prepared = active.durable;
        let path = active.segment.path.clone();
        self.seal();
        cut.map_err(|error| Fault::Sync(path, error))
    }
}
