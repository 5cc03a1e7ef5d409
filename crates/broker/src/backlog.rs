//! Which part of a queue is to be saved: a long one is saved in chunks, and only those that changed.
//!
//! ```text
//! chunk 0              chunk 1              chunk 2
//! │ . . . . . h b b b b│b b b b b b t b b b b│b b e            h: head, the first that still waits; e: end
//! └──── kept as it was ┘└───────── written again: something from t on changed
//! ```
//!
//! Pure. Every message of a queue has a number, given when it is put in at the end. The laws: what is saved is what
//! waits, in its order; a save costs what changed since the one before, and one chunk at most beyond it.

use crate::outbox::Left;

/// Messages of one chunk: 12 KB of a row, and a queue of 100,000 is 98 rows.
pub(crate) const CHUNK: u64 = 1_024;

/// The numbers of one queue.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The first message that waits.
    head: u64,
    /// The next one to come.
    end: u64,
    /// From here on the saved chunks are not what waits.
    touched: u64,
}

/// What of a queue changed since it was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Number of the first message that waits.
    pub(crate) head: u64,
    /// Number behind the last.
    pub(crate) end: u64,
    /// Chunks that are to be written, whole.
    pub(crate) chunks: Vec<Chunk>,
}

/// A row of messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Which one: messages of these numbers divided by [`CHUNK`].
    pub(crate) chunk: u64,
    /// Number of the first one in it.
    pub(crate) first: u64,
    pub(crate) lefts: Vec<Left>,
}

impl Changes {
    /// The chunks that are in use: those before the first of these and from the second on are to go.
    pub(crate) fn kept(&self) -> (u64, u64) {
        (self.head / CHUNK, self.end.div_ceil(CHUNK))
    }
}

/// The messages that wait, of chunks in their order: what is before `head` or behind `end` was gone when these were saved.
pub(crate) fn unite(head: u64, end: u64, chunks: Vec<Chunk>) -> Vec<Left> {
    let numbered = chunks.into_iter().flat_map(|Chunk { first, lefts, .. }| (first..).zip(lefts));
    numbered.filter(|(number, _)| (head..end).contains(number)).map(|(_, left)| left).collect()
}

impl Ledger {
    /// A message was put in at the end, if it counts.
    pub(crate) fn push(&mut self, counts: bool) {
        self.end += u64::from(counts);
    }

    /// The first one was taken, if it counts.
    pub(crate) fn pop_front(&mut self, counts: bool) {
        self.head += u64::from(counts);
        self.touched = self.touched.max(self.head);
    }

    /// So many were taken away at the end.
    pub(crate) fn pop_back(&mut self, messages: u64) {
        self.end -= messages;
        self.touched = self.touched.min(self.end);
    }

    /// Everything behind the first `messages` that wait stands elsewhere now.
    pub(crate) fn touch_after(&mut self, messages: u64) {
        self.touched = self.touched.min(self.head + messages);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> u64 {
        self.end - self.head
    }

    /// Of a queue of so many messages that is as it was saved, if `is_saved`: with the first message of this number.
    pub(crate) fn of(head: u64, messages: u64, is_saved: bool) -> Self {
        let end = head + messages;
        Self { head, end, touched: if is_saved { end } else { head } }
    }

    /// What changed since the last time. `from` gives the messages behind the first so many that wait. From here on it
    /// counts as saved.
    pub(crate) fn save<I: Iterator<Item = Left>>(&mut self, from: impl FnOnce(u64) -> I) -> Changes {
        let mut chunks: Vec<Chunk> = Vec::new();
        if self.touched < self.end {
            // A chunk is written whole, from its first message that waits.
            let begin = (self.touched / CHUNK * CHUNK).max(self.head);
            for (number, left) in (begin..self.end).zip(from(begin - self.head)) {
                match chunks.last_mut() {
                    Some(Chunk { chunk, lefts, .. }) if *chunk == number / CHUNK => lefts.push(left),
                    _ => chunks.push(Chunk { chunk: number / CHUNK, first: number, lefts: vec![left] }),
                }
            }
        }
        self.touched = self.end;
        Changes { head: self.head, end: self.end, chunks }
    }

    /// What was given was not saved.
    pub(crate) fn not_saved(&mut self, changes: &Changes) {
        if let Some(Chunk { first, .. }) = changes.chunks.first() {
            self.touched = self.touched.min((*first).max(self.head)).min(self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use model::Qos;
    use proptest::prelude::*;

    use super::*;
    use crate::outbox::Source;

    fn left(seq: u64) -> Left {
        Left { seq, source: Source::Own, qos_max: Qos::AtLeastOnce, retain: false, ids: None }
    }

    /// A queue and the table that it is saved in.
    #[derive(Default)]
    struct Queue {
        ledger: Ledger,
        waiting: VecDeque<u64>,
        next: u64,
        table: BTreeMap<u64, Chunk>,
        saved: (u64, u64),
        written: usize,
    }

    impl Queue {
        fn push(&mut self, messages: u64) {
            for _ in 0..messages {
                self.waiting.push_back(self.next);
                self.ledger.push(true);
                self.next += 1;
            }
        }

        fn save(&mut self, fails: bool) {
            let waiting = &self.waiting;
            let changes = self.ledger.save(|skip| waiting.iter().skip(skip as usize).map(|&seq| left(seq)));
            if fails {
                return self.ledger.not_saved(&changes);
            }
            let (from, to) = changes.kept();
            self.table.retain(|chunk, _| (from..to).contains(chunk));
            for chunk in changes.chunks {
                self.written += chunk.lefts.len();
                self.table.insert(chunk.chunk, chunk);
            }
            self.saved = (changes.head, changes.end);
        }

        fn loaded(&self) -> Vec<u64> {
            let chunks = self.table.values().cloned().collect();
            unite(self.saved.0, self.saved.1, chunks).iter().map(|left| left.seq).collect()
        }
    }

    #[test]
    fn a_save_costs_what_changed_and_at_most_a_chunk_beyond_it() {
        let mut queue = Queue::default();
        queue.push(100_000);
        queue.save(false);
        queue.written = 0;
        for _ in 0..10 {
            queue.push(10);
            queue.save(false);
        }
        assert!(queue.written <= 10 * (CHUNK as usize + 10), "{}", queue.written);
        assert_eq!(queue.loaded().len(), 100_100);
        queue.written = 0;
        for _ in 0..5_000 {
            queue.waiting.pop_front();
            queue.ledger.pop_front(true);
        }
        queue.save(false);
        assert_eq!((queue.written, queue.loaded().len()), (0, 95_100));
    }

    proptest! {
        #[test]
        fn what_is_saved_is_what_waits(
            steps in prop::collection::vec((0..7_u8, 1..3_000_u64), 1..40),
        ) {
            let mut queue = Queue::default();
            for (step, n) in steps {
                match step {
                    0..=2 => queue.push(n),
                    3 => for _ in 0..n.min(queue.waiting.len() as u64) {
                        queue.waiting.pop_front();
                        queue.ledger.pop_front(true);
                    },
                    4 => for _ in 0..(n % 5).min(queue.waiting.len() as u64) {
                        queue.waiting.pop_back();
                        queue.ledger.pop_back(1);
                    },
                    5 if !queue.waiting.is_empty() => {
                        // From the middle, as retention does.
                        let at = n as usize % queue.waiting.len();
                        queue.waiting.remove(at);
                        queue.ledger.pop_back(1);
                        queue.ledger.touch_after(at as u64);
                    }
                    _ => {
                        if n % 2 == 0 {
                            queue.save(true);
                        }
                        queue.save(false);
                        prop_assert_eq!(queue.loaded(), queue.waiting.iter().copied().collect::<Vec<_>>());
                        let again = Ledger::of(queue.saved.0, queue.loaded().len() as u64, true);
                        if n % 3 == 0 {
                            queue.ledger = again;
                        }
                    }
                }
                prop_assert_eq!(queue.ledger.len(), queue.waiting.len() as u64);
            }
        }
    }
}
