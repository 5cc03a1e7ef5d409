//! What a backup takes of the journal: the segment files, each as far as it counted at one moment.
//!
//! Not here: the copying, and what holds segments while it goes on (a [`Consumer`](crate::Consumer) does). The law: the
//! files of one extract are what a crash at its moment would have left, without a torn tail: every record up to its
//! `durable_seq` is in them, and none beyond it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use host::{Disk, File, Host};

use crate::chain::Chain;
use crate::checkpoint;
use crate::recovery;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::{Journal, OpenError, Settings, SkipReason};

/// How often a moment is looked for at which no group of records is half shown. The writer shows one within a few
/// microseconds, once per sync.
const TRIES: usize = 100_000;

/// The journal at one moment.
#[derive(Clone)]
pub struct Extract {
    /// Every record up to this `seq` is in it, and none beyond it.
    pub durable_seq: u64,
    /// The segments, each chain's oldest first.
    pub segments: Vec<SegmentExtract>,
}

/// A segment file, as far as it counted.
#[derive(Clone)]
pub struct SegmentExtract {
    segment: Arc<Segment>,
    bytes: u64,
    last_seq: u64,
    is_newest: bool,
}

impl SegmentExtract {
    /// Its chain.
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.segment.chain
    }

    /// Its number in the chain.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.segment.number
    }

    /// Its name in the journal's directory.
    #[must_use]
    pub fn name(&self) -> String {
        self.segment.chain.segment_name(self.segment.number)
    }

    /// How many bytes of the file count.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last `seq` of the chain up to the end of these bytes.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Whether it was the newest of its chain: it may grow, and is not dropped while it is.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        self.is_newest
    }

    /// The same segment as far as it counts now. Of one that is no longer the newest of its chain that is for good.
    #[must_use]
    pub fn now(&self) -> Self {
        let extent = self.segment.extent_at_once();
        Self { bytes: extent.data_end, last_seq: extent.last_seq, ..self.clone() }
    }

    /// Opens the file. What retention drops can be read on as long as it is open.
    ///
    /// # Errors
    /// `NotFound` when retention has dropped it; else what the operating system says.
    pub fn open(&self, disk: &dyn Disk) -> io::Result<Box<dyn File>> {
        disk.open(&self.segment.path)
    }
}

impl Journal {
    /// The journal at this moment. `None` when no moment could be found, which only a writer that was stopped in
    /// the very middle of its work explains.
    #[must_use]
    pub fn extract(&self) -> Option<Extract> {
        (0..TRIES).find_map(|_| {
            let found = extract(self.shared());
            if found.is_none() {
                std::thread::yield_now();
            }
            found
        })
    }

    /// The file `checkpoint` as it is on the disk: the message-id window of some moment before.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        let shared = self.shared();
        read_checkpoint(&shared.dir, &*shared.host.disk)
    }
}

impl Extract {
    /// The journal of a directory that nobody has open.
    ///
    /// # Errors
    /// [`OpenError`] as for [`Journal::open`].
    pub fn at_rest(dir: &Path, settings: &Settings, host: &Host) -> Result<Self, OpenError> {
        let opened = recovery::open(dir, settings, host)?;
        Ok(Self {
            durable_seq: opened.last_seq,
            segments: opened.segments.iter().flat_map(|chain| of_chain(chain)).collect(),
        })
    }

    /// The file `checkpoint` of a directory that nobody has open.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn checkpoint_at_rest(dir: &Path, disk: &dyn Disk) -> io::Result<Option<Vec<u8>>> {
        read_checkpoint(dir, disk)
    }

    /// The name of that file.
    pub const CHECKPOINT: &str = checkpoint::NAME;
}

/// The files and their extents, when no group was half shown meanwhile.
fn extract(shared: &Shared) -> Option<Extract> {
    // Everything up to here lies within the extents that are read after it; what lies beyond is another group's.
    let durable_seq = shared.durable();
    let segments: Vec<_> = {
        let segments = shared.segments.lock();
        segments.iter().flat_map(|chain| of_chain(chain)).collect()
    };
    let last_seq = segments.iter().map(SegmentExtract::last_seq).max().unwrap_or(0);
    (last_seq <= durable_seq).then_some(Extract { durable_seq, segments })
}

fn of_chain(chain: &[Arc<Segment>]) -> impl Iterator<Item = SegmentExtract> {
    let newest = chain.last().map(|segment| segment.number);
    chain
        .iter()
        // Of a file that is gone there is nothing to take.
        .filter(|segment| !matches!(segment.key, Err(SkipReason::Missing)))
        .map(move |segment| {
            let extent = segment.extent_at_once();
            SegmentExtract {
                segment: Arc::clone(segment),
                bytes: extent.data_end,
                last_seq: extent.last_seq,
                is_newest: Some(segment.number) == newest,
            }
        })
}

fn read_checkpoint(dir: &Path, disk: &dyn Disk) -> io::Result<Option<Vec<u8>>> {
    match disk.read(&dir.join(checkpoint::NAME), checkpoint::BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
