//! Reading one chain from the disk, segment after segment, and saying exactly what is not there.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::chain::Chain;
use crate::record::Decoder;
use crate::segment::{Mark, Segment};
use crate::shared::Shared;
use crate::walk::{Step, Walk};
use crate::{ReadError, Record, SkipReason, Skipped};

/// What comes next in a chain.
pub(crate) enum Piece {
    /// Records, never empty.
    Records(Vec<Record>),
    /// Records that cannot be had.
    Gap(Skipped),
}

impl Piece {
    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::Records(records) => records[0].seq,
            Self::Gap(gap) => gap.from,
        }
    }

    pub(crate) fn last(&self) -> u64 {
        match self {
            Self::Records(records) => records[records.len() - 1].seq,
            Self::Gap(gap) => gap.to,
        }
    }
}

/// A place in one chain.
pub(crate) struct ChainCursor {
    chain: Chain,
    /// Everything of the chain up to this `seq` was given.
    given: u64,
    open: Option<(Arc<Segment>, Walk)>,
    ready: VecDeque<Piece>,
    decoder: Decoder,
}

impl ChainCursor {
    /// A cursor whose first record is the chain's first with a `seq` of at least `from`.
    pub(crate) fn new(chain: Chain, from: u64) -> Self {
        Self {
            chain,
            given: from.saturating_sub(1),
            open: None,
            ready: VecDeque::new(),
            decoder: Decoder::default(),
        }
    }

    /// What comes next; `None` when all that is durable was given.
    pub(crate) fn peek(&mut self, shared: &Shared) -> Result<Option<&mut Piece>, ReadError> {
        while self.ready.is_empty() {
            if !self.advance(shared)? {
                return Ok(None);
            }
        }
        Ok(self.ready.front_mut())
    }

    /// The same, without what of a gap lies at or before `given`: the other chain has the records there.
    fn peek_beyond(&mut self, shared: &Shared, given: u64) -> Result<Option<&Piece>, ReadError> {
        while let Some(Piece::Gap(gap)) = self.peek(shared)? {
            gap.from = gap.from.max(given + 1);
            if gap.from <= gap.to {
                break;
            }
            self.take();
        }
        Ok(self.ready.front())
    }

    /// Takes what [`ChainCursor::peek`] showed.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    /// Goes one frame or segment further; false when there is nothing further.
    fn advance(&mut self, shared: &Shared) -> Result<bool, ReadError> {
        let Some((segment, mut walk)) = self.open.take() else { return self.open_next(shared) };
        let extent = segment.extent();
        walk.extend(extent.data_end);
        if self.given < extent.last_seq {
            let begin = walk.at();
            let step = match walk.next() {
                Ok(step) => step,
                Err(source) => {
                    walk.back_to(begin);
                    let path = segment.path.clone();
                    self.open = Some((segment, walk));
                    return Err(ReadError::Io { path, source });
                }
            };
            match step.filter(|step| step.header.first_seq <= extent.last_seq) {
                Some(step) => {
                    let taken = self.frame(shared, &segment, &mut walk, step);
                    self.open = Some((segment, walk));
                    return taken.map(|()| true);
                }
                // The frames end before the chain does.
                None => self.lost(shared, segment.number, extent.last_seq, SkipReason::Damaged),
            }
            self.open = Some((segment, walk));
            return Ok(true);
        }
        // This segment is read to its end; is there a later one with more?
        if shared.segment_after(self.chain, self.given).is_some() {
            return self.open_next(shared);
        }
        self.open = Some((segment, walk));
        Ok(false)
    }

    /// Opens the segment that holds what follows.
    fn open_next(&mut self, shared: &Shared) -> Result<bool, ReadError> {
        let Some((segment, is_oldest)) = shared.segment_after(self.chain, self.given) else {
            return Ok(false);
        };
        if segment.chain_last > self.given {
            let reason = if is_oldest { SkipReason::Trimmed } else { SkipReason::Missing };
            self.lost(shared, segment.number, segment.chain_last, reason);
        }
        // Lower ones were never in this segment: between runs there are seqs that never existed.
        self.given = self.given.max(segment.first_seq.saturating_sub(1));
        if let Err(reason) = segment.key {
            self.lost(shared, segment.number, segment.extent().last_seq, reason);
            return Ok(true);
        }
        let file = match shared.host.disk.open(&segment.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Retention was quicker, and then the segment is no longer in the list; or a hand was.
                let reason =
                    if shared.has_segment(&segment) { SkipReason::Missing } else { SkipReason::Trimmed };
                self.lost(shared, segment.number, segment.extent().last_seq, reason);
                return Ok(true);
            }
            Err(source) => return Err(ReadError::Io { path: segment.path.clone(), source }),
        };
        let wanted = self.given + 1;
        let mark = segment.last_mark(|mark| mark.seq <= wanted);
        let walk = Walk::new(Arc::from(file), mark.offset, segment.extent().data_end);
        self.open = Some((segment, walk));
        Ok(true)
    }

    /// Takes in one frame, and the damage before it.
    fn frame(
        &mut self,
        shared: &Shared,
        segment: &Segment,
        walk: &mut Walk,
        step: Step,
    ) -> Result<(), ReadError> {
        let header = step.header;
        if header.last_seq() <= self.given {
            return Ok(());
        }
        if step.bad_from.is_some() {
            self.lost(shared, segment.number, header.first_seq - 1, SkipReason::Damaged);
        }
        let content = match walk.frame(&step) {
            Ok(_) if step.cut => None,
            Ok(frame) => segment.key.as_ref().ok().and_then(|key| key.open(&header, frame)),
            Err(source) => {
                // The same frame is tried again by the next call.
                walk.back_to(step.offset);
                return Err(ReadError::Io { path: segment.path.clone(), source });
            }
        };
        let decoded = content.and_then(|content| {
            let mut unknown = Vec::new();
            let content = Bytes::from(content);
            let count = header.count as usize;
            let records = self.decoder.frame(&content, header.first_seq, count, &mut unknown).ok()?;
            Some((records, unknown))
        });
        match decoded {
            Some((records, unknown)) => {
                self.records(shared, segment.number, records, &unknown, header.last_seq());
            }
            None => self.lost(shared, segment.number, header.last_seq(), SkipReason::Damaged),
        }
        Ok(())
    }

    fn records(
        &mut self,
        shared: &Shared,
        segment: u64,
        mut records: Vec<Record>,
        unknown: &[u64],
        last: u64,
    ) {
        let given = self.given;
        records.drain(..records.partition_point(|record| record.seq <= given));
        for &seq in unknown.iter().filter(|&&seq| seq > given) {
            let later = records.split_off(records.partition_point(|record| record.seq < seq));
            if !records.is_empty() {
                self.ready.push_back(Piece::Records(records));
            }
            self.given = seq - 1;
            self.lost(shared, segment, seq, SkipReason::Unknown);
            records = later;
        }
        if !records.is_empty() {
            self.ready.push_back(Piece::Records(records));
        }
        self.given = last;
    }

    /// Gives up everything of the chain up to `to`.
    fn lost(&mut self, shared: &Shared, segment: u64, to: u64, reason: SkipReason) {
        let from = shared.past_holes(self.given + 1);
        self.given = self.given.max(to);
        if to < from {
            return;
        }
        self.ready.push_back(Piece::Gap(Skipped { from, to, reason }));
        if reason != SkipReason::Trimmed {
            shared.note_damage(self.chain, segment, from, to, reason);
        }
    }
}

/// Both chains, or one, in the order of `seq`.
pub(crate) struct Merge {
    cursors: Vec<ChainCursor>,
    /// Everything up to this `seq` was given or told as lost.
    given: u64,
}

impl Merge {
    /// From `from` on.
    pub(crate) fn new(chains: crate::Chains, from: u64) -> Self {
        let wanted = Chain::ALL.into_iter().filter(|&chain| chains.has(chain));
        Self {
            cursors: wanted.map(|chain| ChainCursor::new(chain, from)).collect(),
            given: from.saturating_sub(1),
        }
    }

    /// What comes next with a first `seq` of at most `limit`, up to which everything is durable.
    ///
    /// What one chain lost is told without the seqs of which the other chain has the records.
    pub(crate) fn next(&mut self, shared: &Shared, limit: u64) -> Result<Option<Piece>, ReadError> {
        let mut heads = Vec::with_capacity(2);
        for (at, cursor) in self.cursors.iter_mut().enumerate() {
            if let Some(piece) = cursor.peek_beyond(shared, self.given)?
                && piece.first() <= limit
            {
                // Of two that begin together, records come before a gap: the gap is then told from behind them.
                heads.push((piece.first(), matches!(piece, Piece::Gap(_)), at));
            }
        }
        heads.sort_unstable();
        let Some(&(_, _, lowest)) = heads.first() else { return Ok(None) };
        let Some(piece) = self.cursors[lowest].take() else { return Ok(None) };
        let piece = match piece {
            Piece::Gap(gap) => {
                // Up to here neither chain has a record.
                let to = match heads.get(1).and_then(|&(_, _, other)| self.cursors[other].ready.front()) {
                    Some(Piece::Records(records)) => gap.to.min(records[0].seq - 1),
                    Some(Piece::Gap(other)) => gap.to.min(other.to),
                    None => gap.to,
                };
                if to < gap.to {
                    self.cursors[lowest].ready.push_front(Piece::Gap(Skipped { from: to + 1, ..gap }));
                }
                Piece::Gap(Skipped { to, ..gap })
            }
            records @ Piece::Records(_) => records,
        };
        self.given = piece.last();
        Ok(Some(piece))
    }
}

/// The first `seq` from which on nothing of `segment` was received before `time`, or `None` when everything in it
/// was: frame by frame from the last known place before it. Remembers places on the way.
pub(crate) fn seq_at(shared: &Shared, segment: &Segment, time: i64) -> io::Result<Option<u64>> {
    let extent = segment.extent();
    let mark = segment.last_mark(|mark| mark.time_before < time);
    let file = Arc::from(shared.host.disk.open(&segment.path)?);
    let mut walk = Walk::new(file, mark.offset, extent.data_end);
    let mut time_before = mark.time_before;
    while let Some(step) = walk.next()? {
        let header = step.header;
        if header.first_seq > extent.last_seq {
            break;
        }
        segment.mark(Mark { offset: step.offset, seq: header.first_seq, time_before });
        if header.time_max >= time {
            return Ok(Some(header.first_seq));
        }
        time_before = time_before.max(header.time_max);
    }
    Ok(None)
}
