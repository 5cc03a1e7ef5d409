//! Opening: what is on the disk, what of it counts, and which `seq` comes next.
//!
//! Headers are read of all segments, frames only of the newest of each chain, and none after an end in good
//! order. A recovered segment is never appended to. After an end that was not in good order the next
//! `seq` leaves out [`SEQS_LEFT_OUT`]: whatever had been given out but is not found, because it was in flight or
//! because the disk lied about a sync, is not given out again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Entry;

use crate::chain::Chain;
use crate::checkpoint::{self, ChainEnd, Checkpoint};
use crate::frame::FrameKey;
use crate::header::{self, HEADER_BYTES, Header, HeaderFault};
use crate::ids::Ids;
use crate::queue::QUEUE_MESSAGES_MAX;
use crate::segment::{self, Extent, Segment};
use crate::walk::Walk;
use crate::{Damage, OpenError, Settings, SkipReason};

/// Seqs left out after an unclean end. More than can be in flight (two groups of at most twice the queue's bound),
/// and with records of 256 bytes as many as the largest write caches of drives hold.
pub(crate) const SEQS_LEFT_OUT: u64 = 1 << 20;
const _: () = assert!(4 * QUEUE_MESSAGES_MAX as u64 <= SEQS_LEFT_OUT);

/// What was found on opening.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// The journal was closed in good order, or is new.
    pub clean: bool,
    /// The last `seq` that is there; 0: none.
    pub last_seq: u64,
    /// Segment files found.
    pub segments: usize,
    /// Tails that a crash left half written: nothing in them was acknowledged.
    pub torn: Vec<Torn>,
    /// Acknowledged records that are lost, as far as opening had to look: damage further back is found by who
    /// reads there.
    pub damage: Vec<Damage>,
}

/// A tail that a crash left half written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Its chain.
    pub chain: Chain,
    /// Number of the segment in its chain.
    pub segment: u64,
    /// Where in the file the tail begins.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What opening hands to the writer.
pub(crate) struct Opened {
    pub(crate) journal: [u8; 16],
    pub(crate) next_seq: u64,
    /// The last `seq` that is durable.
    pub(crate) last_seq: u64,
    pub(crate) ids: Ids,
    /// The window has all ids up to this `seq`.
    pub(crate) ids_to: u64,
    pub(crate) segments: [Vec<Arc<Segment>>; 2],
    pub(crate) chains: [ChainState; 2],
    pub(crate) holes: Vec<(u64, u64)>,
    pub(crate) recovery: Recovery,
}

/// Where a chain stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ChainState {
    pub(crate) next_number: u64,
    pub(crate) last_seq: u64,
    pub(crate) time_before: i64,
}

/// Looks through the directory.
pub(crate) fn open(dir: &Path, settings: &Settings, host: &host::Host) -> Result<Opened, OpenError> {
    let disk = &*host.disk;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    disk.create_dir(dir).map_err(at(dir))?;
    let entries = disk.list(dir).map_err(at(dir))?;
    let saved = read_checkpoint(dir, settings, host)?;
    let mut journal = saved.as_ref().map(|(checkpoint, _)| checkpoint.journal);
    let mut found = [
        read_chain(dir, Chain::Urgent, &entries, host, &mut journal)?,
        read_chain(dir, Chain::Regular, &entries, host, &mut journal)?,
    ];
    // Whatever is written after opening goes to a new segment: a chain whose newest is still the one of the good end
    // was not written to since.
    let ends = saved.as_ref().map(|(checkpoint, _)| checkpoint.chains);
    let good_end = saved.as_ref().is_some_and(|(checkpoint, _)| checkpoint.clean);
    let clean = match ends {
        Some(ends) => good_end && found.iter().zip(ends).all(|(chain, end)| chain.newest() <= end.number),
        None => found.iter().all(|chain| chain.files.is_empty()),
    };
    let mut recovery = Recovery { clean, ..Recovery::default() };
    let mut segments = [Vec::new(), Vec::new()];
    let mut chains = [ChainState { next_number: 1, last_seq: 0, time_before: i64::MIN }; 2];
    let mut holes = Vec::new();
    for chain in Chain::ALL {
        let files = std::mem::take(&mut found[chain.index()].files);
        recovery.segments += files.len();
        let state = &mut chains[chain.index()];
        let end = ends.map(|ends| ends[chain.index()]);
        segments[chain.index()] = settle(files, end, good_end, state, &mut holes, &mut recovery, host)?;
        if let Some(end) = end
            && state.next_number <= end.number
        {
            // Files that were there are gone, and nothing after them says so: something must, for the readers.
            let (number, last_seq, reason) = (end.number, end.last_seq, SkipReason::Missing);
            if state.last_seq < last_seq {
                let (from, to) = (state.last_seq + 1, last_seq);
                recovery.damage.push(Damage { chain, segment: number, from, to, reason });
                let path = segment::path(dir, chain, number);
                let extent = Extent { last_seq, data_end: 0, bytes: 0, time_max: end.time_max };
                let lost = Segment::lost(path, chain, number, state.last_seq, extent, reason);
                segments[chain.index()].push(Arc::new(lost));
            }
            *state = ChainState { next_number: number + 1, last_seq, time_before: end.time_max };
        }
    }
    let journal = journal.unwrap_or_else(|| {
        let mut id = [0; 16];
        host.random.fill(&mut id);
        id
    });
    let last_seq = chains.iter().map(|chain| chain.last_seq).max().unwrap_or(0);
    let mut next_seq = last_seq + 1;
    if let Some((checkpoint, _)) = &saved {
        next_seq = next_seq.max(checkpoint.next_seq);
    }
    if !clean {
        next_seq += SEQS_LEFT_OUT;
    }
    if next_seq > last_seq + 1 {
        holes.push((last_seq + 1, next_seq - 1));
    }
    holes.sort_unstable();
    holes.dedup();
    recovery.last_seq = last_seq;
    let (ids_to, ids) = match saved {
        Some((checkpoint, ids)) => (checkpoint.ids_to.min(last_seq), ids),
        None => (0, Ids::new(settings)),
    };
    Ok(Opened { journal, next_seq, last_seq, ids, ids_to, segments, chains, holes, recovery })
}

fn read_checkpoint(
    dir: &Path,
    settings: &Settings,
    host: &host::Host,
) -> Result<Option<(Checkpoint, Ids)>, OpenError> {
    let path = dir.join(checkpoint::NAME);
    let bytes = match host.disk.read(&path, checkpoint::BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    match Checkpoint::parse(&bytes, settings, &host.keys) {
        Ok(read) => Ok(Some(read)),
        Err(checkpoint::Fault::Newer(found)) => {
            Err(OpenError::Newer { path, found, known: checkpoint::VERSION })
        }
        Err(checkpoint::Fault::Key(source)) => Err(OpenError::Key { path, source }),
        Err(checkpoint::Fault::Damaged) => {
            tracing::warn!(path = %path.display(), "journal checkpoint is damaged; the segments are read instead");
            Ok(None)
        }
    }
}

/// The files of a chain, by number.
struct FoundChain {
    files: Vec<FoundFile>,
}

struct FoundFile {
    path: PathBuf,
    number: u64,
    chain: Chain,
    bytes: u64,
    /// `None`: damaged.
    head: Option<(Header, FrameKey)>,
}

impl FoundChain {
    /// The number of the newest file; 0: none.
    fn newest(&self) -> u64 {
        self.files.last().map_or(0, |file| file.number)
    }
}

fn read_chain(
    dir: &Path,
    chain: Chain,
    entries: &[Entry],
    host: &host::Host,
    journal: &mut Option<[u8; 16]>,
) -> Result<FoundChain, OpenError> {
    let mut files = Vec::new();
    for entry in entries {
        let Some((of, number)) = segment::parse_name(&entry.name) else { continue };
        if of != chain {
            continue;
        }
        let path = dir.join(&entry.name);
        let head = read_head(&path, chain, number, host, journal)?;
        files.push(FoundFile { path, number, chain, bytes: entry.bytes, head });
    }
    // A file that a crash left before its header was whole holds nothing: frames follow a synced header.
    if let Some(last) = files.last()
        && last.head.is_none()
        && last.bytes <= HEADER_BYTES as u64
    {
        host.disk.remove(&last.path).map_err(|source| OpenError::Io { path: last.path.clone(), source })?;
        files.pop();
    }
    Ok(FoundChain { files })
}

fn read_head(
    path: &Path,
    chain: Chain,
    number: u64,
    host: &host::Host,
    journal: &mut Option<[u8; 16]>,
) -> Result<Option<(Header, FrameKey)>, OpenError> {
    let mut bytes = [0; HEADER_BYTES];
    let got = host
        .disk
        .open(path)
        .and_then(|file| file.read_at(0, &mut bytes))
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let (head, wrapped) = match Header::parse(&bytes[..got]) {
        Ok(parsed) => parsed,
        Err(HeaderFault::Damaged) => return Ok(None),
        Err(HeaderFault::Newer(found)) => {
            return Err(OpenError::Newer { path: path.to_owned(), found, known: header::VERSION });
        }
    };
    if *journal.get_or_insert(head.journal) != head.journal || (head.chain, head.number) != (chain, number) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    match host.keys.unwrap(&wrapped, &head.context()) {
        Ok(key) => Ok(Some((head, FrameKey::new(&key)))),
        Err(host::KeyError::Damaged) => Ok(None),
        Err(source) => Err(OpenError::Key { path: path.to_owned(), source }),
    }
}

/// Makes segments of the files of one chain, oldest first, and says where the chain ends.
fn settle(
    files: Vec<FoundFile>,
    end: Option<ChainEnd>,
    good_end: bool,
    state: &mut ChainState,
    holes: &mut Vec<(u64, u64)>,
    recovery: &mut Recovery,
    host: &host::Host,
) -> Result<Vec<Arc<Segment>>, OpenError> {
    let mut segments = Vec::new();
    let mut files = files.into_iter().peekable();
    while let Some(file) = files.next() {
        if let Some((head, _)) = &file.head {
            if head.run_first > head.run_before + 1 {
                holes.push((head.run_before + 1, head.run_first - 1));
            }
            // What lies between the file before and this one is known by this header.
            state.last_seq = state.last_seq.max(head.chain_last);
            state.time_before = head.time_before;
        }
        let before = state.last_seq;
        let end = end.filter(|end| end.number == file.number);
        let next = files.peek().and_then(|next| next.head.as_ref()).map(|(head, _)| head);
        // A header further on speaks of a file that is gone.
        let next = next.filter(|next| next.number == file.number + 1);
        let extent = match (next, end) {
            // Sealed: the next header says what counts of it.
            (Some(next), _) => Extent {
                last_seq: next.chain_last,
                data_end: file.bytes,
                bytes: file.bytes,
                time_max: next.time_before,
            },
            (None, Some(end)) if good_end => Extent {
                last_seq: end.last_seq,
                data_end: end.data_end.min(file.bytes),
                bytes: file.bytes,
                time_max: end.time_max,
            },
            (None, end) => tail(&file, before, end, recovery, host)?,
        };
        state.last_seq = state.last_seq.max(extent.last_seq);
        if extent.time_max > i64::MIN {
            state.time_before = extent.time_max;
        }
        state.next_number = file.number + 1;
        segments.push(Arc::new(file.into_segment(before, Extent { last_seq: state.last_seq, ..extent })));
    }
    Ok(segments)
}

impl FoundFile {
    fn into_segment(self, chain_last: u64, extent: Extent) -> Segment {
        match self.head {
            Some((header, key)) => Segment::new(self.path, &header, Ok(key), extent),
            None => {
                let reason = SkipReason::Damaged;
                Segment::lost(self.path, self.chain, self.number, chain_last, extent, reason)
            }
        }
    }
}

/// How far a segment counts that no later header and no good end speaks of. `saved`: how far it once counted.
///
/// Every frame says up to which offset the file was synced when it was written. Bad bytes before the highest such
/// offset are damage to acknowledged records. From the first bad bytes behind it on nothing was acknowledged: a crash
/// tore it, and whole frames behind the tear do not count either, or order would be broken.
fn tail(
    file: &FoundFile,
    chain_last: u64,
    saved: Option<ChainEnd>,
    recovery: &mut Recovery,
    host: &host::Host,
) -> Result<Extent, OpenError> {
    let failed = |source| OpenError::Io { path: file.path.clone(), source };
    let mut opened = host.disk.open(&file.path).map_err(failed)?;
    // What a killed process had written may be in the machine's memory only; readers are about to trust it.
    opened.sync().map_err(failed)?;
    let mut walk = Walk::new(Arc::from(opened), HEADER_BYTES as u64, file.bytes);
    let mut frames = Vec::new();
    while let Some(step) = walk.next().map_err(failed)? {
        let whole = match &file.head {
            Some((_, key)) if !step.cut => {
                key.open(&step.header, walk.frame(&step).map_err(failed)?).is_some()
            }
            _ => false,
        };
        frames.push((step, whole));
    }
    let frames_end = walk.at();
    let saved_end = saved.map_or(HEADER_BYTES as u64, |end| end.data_end);
    let synced = frames.iter().map(|(step, _)| step.header.commit).max().unwrap_or(0).max(saved_end);
    let mut extent =
        Extent { last_seq: chain_last, data_end: frames_end, bytes: file.bytes, time_max: i64::MIN };
    let mut lost = |extent: &mut Extent, to: u64| {
        let from = extent.last_seq + 1;
        if from <= to {
            let (chain, segment, reason) = (file.chain, file.number, SkipReason::Damaged);
            recovery.damage.push(Damage { chain, segment, from, to, reason });
            extent.last_seq = to;
        }
    };
    let mut torn_at = None;
    for (step, whole) in &frames {
        let header = &step.header;
        let bad_from = step.bad_from.or((!whole).then_some(step.offset));
        if file.head.is_some()
            && let Some(bad_from) = bad_from.filter(|&bad_from| bad_from >= synced)
        {
            torn_at = Some(bad_from);
            break;
        }
        if step.bad_from.is_some() {
            lost(&mut extent, header.first_seq - 1);
        }
        if file.head.is_some() && step.offset >= synced && !whole {
            torn_at = Some(step.offset);
            break;
        }
        if *whole {
            extent.last_seq = header.last_seq();
            extent.time_max = extent.time_max.max(header.time_max);
        } else {
            lost(&mut extent, header.last_seq());
        }
    }
    if let Some(end) = saved.filter(|end| extent.last_seq < end.last_seq) {
        lost(&mut extent, end.last_seq);
    }
    // Bytes at the end that are no frame, save the zeros that were written ahead.
    let offset = torn_at.unwrap_or(frames_end);
    let bytes = walk.written_behind(offset).map_err(failed)?;
    if file.head.is_some() {
        extent.data_end = offset;
        extent.bytes = offset;
        if bytes > 0 {
            recovery.torn.push(Torn { chain: file.chain, segment: file.number, offset, bytes });
        }
    }
    Ok(extent)
}
