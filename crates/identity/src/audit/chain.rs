//! Whether an audit log is as it was written: the chain recomputed, entry by entry.
//!
//! Pure: entries come in, in the order of their numbers, and what is wrong comes out, named by number. The server does
//! it over its catalog, the command line over an exported file. Not here: where entries are (`read`), and what the
//! journal knows of them (`anchor`). A log whose beginning was cut off (`cut`) is judged from the entry that tells of the
//! cut. The law: after a fault it goes on from what is there, so that each is named once.

use std::collections::BTreeMap;
use std::fmt;

use model::Timestamp;

use super::chained;
use super::cut;

/// Most faults that are told one by one.
const FAULTS_MAX: usize = 100;

/// An entry, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// 1, 2, 3, …
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// What.
    pub action: String,
    /// On what.
    pub object: String,
    /// How it was: JSON text.
    pub before: Option<String>,
    /// How it is: JSON text.
    pub after: Option<String>,
    /// `done` or `refused`.
    pub outcome: String,
    /// The chain up to here.
    pub hash: Vec<u8>,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An entry is not what was written there: it, or the one before it, was changed or moved.
    Changed {
        /// Which.
        number: u64,
    },
    /// Entries are gone.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Entries that the journal knows of are gone from the end.
    CutOff {
        /// The first.
        from: u64,
        /// The last that the journal knows of.
        to: u64,
    },
    /// The journal knows another entry of this number: the log was written anew from there or before.
    NotAnchored {
        /// Which.
        number: u64,
    },
    /// An entry comes after one that should come after it.
    OutOfOrder {
        /// Which.
        number: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { number } => {
                write!(f, "entry {number} is not what was written there: it was changed or moved")
            }
            Self::Missing { from, to } if from == to => write!(f, "entry {from} is missing"),
            Self::Missing { from, to } => write!(f, "entries {from} to {to} are missing"),
            Self::CutOff { from, to } => {
                write!(f, "entries {from} to {to}, which the journal knows of, are cut off at the end")
            }
            Self::NotAnchored { number } => {
                write!(f, "entry {number} is another than the journal knows: the log was written anew")
            }
            Self::OutOfOrder { number } => write!(f, "entry {number} is out of order"),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many entries there are.
    pub entries: u64,
    /// The number and the hash of the last one.
    pub head: Option<(u64, Vec<u8>)>,
    /// What is wrong, at most the first hundred.
    pub faults: Vec<Fault>,
    /// How much is wrong in all.
    pub fault_count: u64,
    /// How many entries the journal has anchored.
    pub anchors: u64,
    /// The newest of them.
    pub anchored: Option<u64>,
    /// How many entries were cut off at the beginning, by an entry that says so.
    pub cut: u64,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.fault_count == 0
    }
}

/// A log that is being judged.
#[derive(Debug, Default)]
pub struct Judge {
    verdict: Verdict,
    /// What the journal says of entries, by number.
    anchors: BTreeMap<u64, [u8; 32]>,
    /// How many entries were cut off, as the journal knows it.
    cut_known: Option<u64>,
    /// The first entry, if it is not entry 1 and nothing has told yet why.
    headless: Option<Recorded>,
    next: u64,
    hash: Vec<u8>,
}

impl Judge {
    /// For a log that begins with entry 1, with what is known of it from elsewhere.
    #[must_use]
    pub fn new(anchors: BTreeMap<u64, [u8; 32]>) -> Self {
        let newest = anchors.keys().next_back().copied();
        let verdict = Verdict { anchors: anchors.len() as u64, anchored: newest, ..Verdict::default() };
        Self { verdict, anchors, cut_known: None, headless: None, next: 1, hash: vec![0; 32] }
    }

    /// With how many entries were cut off at the beginning by Godwit itself; a longer cut is a fault.
    #[must_use]
    pub fn cut_at_most(mut self, cut: Option<u64>) -> Self {
        self.cut_known = cut;
        self
    }

    /// Judges the next entry.
    pub fn see(&mut self, entry: &Recorded) {
        self.verdict.entries += 1;
        if entry.number < self.next {
            self.fault(Fault::OutOfOrder { number: entry.number });
            return;
        }
        let is_behind_a_hole = entry.number > self.next;
        if is_behind_a_hole && self.verdict.entries == 1 {
            self.headless = Some(entry.clone());
        } else if is_behind_a_hole {
            self.fault(Fault::Missing { from: self.next, to: entry.number - 1 });
        } else if self.chained(entry).as_slice() != entry.hash {
            self.fault(Fault::Changed { number: entry.number });
        }
        if self.anchors.get(&entry.number).is_some_and(|anchor| anchor.as_slice() != entry.hash) {
            self.fault(Fault::NotAnchored { number: entry.number });
        }
        self.hash.clone_from(&entry.hash);
        self.next = entry.number + 1;
        self.hear_of_cut(entry);
    }

    /// Whether this entry tells of the cut at which the log begins, so that the first entry can be judged.
    fn hear_of_cut(&mut self, entry: &Recorded) {
        let Some(first) = &self.headless else { return };
        let Some(cut) = cut::told(entry).filter(|cut| cut.to + 1 == first.number) else { return };
        let is_ours = self.cut_known.is_none_or(|known| cut.to <= known);
        if is_ours && let Some(first) = self.headless.take() {
            self.verdict.cut = cut.to;
            if chained_to(&cut.hash, &first).as_slice() != first.hash {
                self.fault(Fault::Changed { number: first.number });
            }
        }
    }

    fn chained(&self, entry: &Recorded) -> [u8; 32] {
        chained_to(&self.hash, entry)
    }

    fn fault(&mut self, fault: Fault) {
        self.verdict.fault_count += 1;
        if self.verdict.faults.len() < FAULTS_MAX {
            self.verdict.faults.push(fault);
        }
    }

    /// What was found, now that there are no more.
    #[must_use]
    pub fn judged(mut self) -> Verdict {
        if let Some(first) = self.headless.take() {
            self.fault(Fault::Missing { from: 1, to: first.number - 1 });
        }
        if let Some(newest) = self.verdict.anchored.filter(|newest| *newest >= self.next) {
            self.fault(Fault::CutOff { from: self.next, to: newest });
        }
        self.verdict.head = (self.next > 1).then(|| (self.next - 1, self.hash));
        self.verdict
    }
}

/// The hash of an entry behind one of this hash.
fn chained_to(last: &[u8], entry: &Recorded) -> [u8; 32] {
    let texts = [
        Some(entry.actor.as_str()),
        entry.address.as_deref(),
        Some(&entry.action),
        Some(&entry.object),
        entry.before.as_deref(),
        entry.after.as_deref(),
        Some(&entry.outcome),
    ];
    match <&[u8; 32]>::try_from(last) {
        Ok(last) => chained(last, entry.number, entry.at, texts),
        // What is before it is no hash at all: nothing follows from it.
        Err(_) => [0; 32],
    }
}
