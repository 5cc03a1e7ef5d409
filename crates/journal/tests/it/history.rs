//! Random histories on a disk that loses, refuses and lies, against a model in memory.
//!
//! The model is a list: what was acknowledged, under which `seq`. After every step and every start: all of it is
//! there once, in order; nothing is there that was refused or never sent; what damage took is told by ranges that
//! name it and nothing that is still there; no `seq` means two messages; no nonce is used twice under a key.
//!
//! `GODWIT_HISTORIES` sets the number of histories (default 64).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc;

use host::Random;
use host::sim::Machine;
use journal::{AppendError, Chains, Journal, Outcome, Settings};
use proptest::prelude::*;

use crate::machine::{alarm, dir, message, open};

#[derive(Debug, Clone)]
enum Step {
    /// Batches handed over one after the other, each a row of (urgent?, payload bytes); then all are awaited.
    Append(Vec<Vec<(bool, usize)>>),
    /// The process ends in good order and starts again.
    Restart,
    /// The process is killed and starts again; the machine goes on.
    Kill,
    /// The power fails in the middle of the next appends, after so many changes to the disk.
    PowerCut(u64, Vec<Vec<(bool, usize)>>),
    /// A write fails, after so many good ones.
    FailWrite(u64),
    /// The disk is full in so many bytes.
    Full(u64),
    /// A sync fails, after so many good ones.
    FailSync(u64),
    /// Faults end.
    Mend,
    /// After an end in good order one bit of a segment flips: (file, place, bit), each as a part of what there is.
    Flip(u16, u16, u8),
    /// A file vanishes while the process is down.
    Lose(u16),
}

fn batches() -> impl Strategy<Value = Vec<Vec<(bool, usize)>>> {
    let bytes = prop_oneof![8 => 1_usize..300, 1 => 3_000_usize..9_000, 1 => 60_000_usize..70_000];
    prop::collection::vec(prop::collection::vec((prop::bool::weighted(0.3), bytes), 1..5), 1..5)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => batches().prop_map(Step::Append),
        2 => Just(Step::Restart),
        2 => Just(Step::Kill),
        4 => (0_u64..14, batches()).prop_map(|(changes, batches)| Step::PowerCut(changes, batches)),
        1 => (0_u64..3).prop_map(Step::FailWrite),
        1 => (0_u64..20_000).prop_map(Step::Full),
        1 => (0_u64..3).prop_map(Step::FailSync),
        2 => Just(Step::Mend),
        1 => (any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(file, at, bit)| Step::Flip(file, at, bit)),
        1 => any::<u16>().prop_map(Step::Lose),
    ]
}

/// What must be, and what may be.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<u64, String>,
    /// Sent and neither acknowledged nor surely refused.
    in_doubt: BTreeSet<String>,
    /// Every `seq` that was ever seen, and what it meant.
    meant: HashMap<u64, String>,
    nonces: HashMap<(Vec<u8>, u64), Vec<u8>>,
    keys: HashMap<std::path::PathBuf, Vec<u8>>,
    sent: u64,
    damaged: bool,
    /// A segment's header or a whole file was damaged: which seqs never existed may no longer be known.
    headless: bool,
    /// A write failed.
    burned: bool,
}

struct World {
    machine: Machine,
    journal: Option<Journal>,
    settings: Settings,
    model: Model,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(seed: u64) -> Self {
        let machine = Machine::new(seed);
        machine.disk.remember_appends();
        let settings = Settings { segment_bytes: 20_000, tap_bytes: 8_000, ..Settings::default() };
        let journal = Some(open(&machine, &settings).0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { machine, journal, settings, model: Model::default(), runtime }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("open between steps")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(batches) => self.append(batches),
            Step::Restart => {
                self.close();
                self.machine.restart();
                self.start();
            }
            Step::Kill => {
                self.machine.restart();
                self.start();
            }
            Step::PowerCut(changes, batches) => {
                self.machine.disk.cut_power_after(changes);
                self.append(batches);
                self.machine.crash();
                self.start();
            }
            Step::FailWrite(after) => self.machine.disk.fail_append_after(after, std::io::ErrorKind::Other),
            Step::Full(bytes) => {
                let used: usize = self.files().iter().map(|(_, content)| content.len()).sum();
                self.machine.disk.limit_bytes(Some(used as u64 + bytes));
            }
            Step::FailSync(after) => self.machine.disk.fail_sync_after(after),
            Step::Mend => self.machine.disk.mend(),
            Step::Flip(file, at, bit) => self.flip(file, at, bit),
            Step::Lose(file) => self.lose(file),
        }
        self.check();
    }

    fn start(&mut self) {
        self.machine.disk.mend();
        // The old process is gone, or its disk no longer answers it.
        self.journal = None;
        self.journal = Some(open(&self.machine, &self.settings).0);
    }

    fn close(&mut self) {
        self.machine.disk.mend();
        let journal = self.journal.take().expect("open between steps");
        self.runtime.block_on(journal.close());
    }

    fn append(&mut self, batches: Vec<Vec<(bool, usize)>>) {
        let (told, answers) = mpsc::channel();
        let mut texts = Vec::new();
        for (at, batch) in batches.into_iter().enumerate() {
            let mut messages = Vec::new();
            let mut of_batch = Vec::new();
            for (urgent, bytes) in batch {
                self.model.sent += 1;
                let text = format!("{:.<bytes$}", self.model.sent, bytes = bytes.min(300))
                    + &"-".repeat(bytes.saturating_sub(300));
                messages.push(if urgent { alarm("a", &text) } else { message("a", &text) });
                of_batch.push(text);
            }
            texts.push(of_batch);
            let told = told.clone();
            self.journal()
                .submit(messages, move |outcome| told.send((at, outcome)).expect("somebody listens"))
                .expect("far below the queue's bound");
        }
        drop(told);
        for (at, outcome) in answers {
            self.take_in(&texts[at], outcome);
        }
    }

    fn take_in(&mut self, texts: &[String], outcome: Result<Vec<Outcome>, AppendError>) {
        match outcome {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), texts.len());
                for (outcome, text) in outcomes.into_iter().zip(texts) {
                    let Outcome::Appended(seq) = outcome else { panic!("no message has an id") };
                    self.means(seq, text);
                    self.model.acknowledged.insert(seq, text.clone());
                }
            }
            Err(AppendError::Poisoned { .. }) => self.model.in_doubt.extend(texts.iter().cloned()),
            // The seqs that it had are not given out again: they never existed, which damage beside them hides.
            Err(AppendError::Write { .. } | AppendError::Full { .. }) => self.model.burned = true,
            Err(other) => panic!("{other}"),
        }
    }

    fn means(&mut self, seq: u64, text: &String) {
        let before = self.model.meant.insert(seq, text.clone());
        assert!(before.is_none_or(|before| before == *text), "seq {seq} means two messages");
    }

    fn files(&self) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let host = self.machine.host();
        let entries = host.disk.list(&dir()).expect("listed");
        entries
            .into_iter()
            .filter(|entry| entry.name.ends_with(".segment"))
            .filter_map(|entry| {
                let path = dir().join(entry.name);
                self.machine.disk.content(&path).map(|content| (path, content))
            })
            .collect()
    }

    /// Ends in good order, after which it is known what was durable; a poisoned journal must start anew for that.
    fn end(&mut self) {
        self.close();
        self.machine.restart();
        self.start();
        self.close();
        self.machine.restart();
    }

    fn flip(&mut self, file: u16, at: u16, bit: u8) {
        self.end();
        let files = self.files();
        if let Some((path, content)) = files.get(usize::from(file) % files.len().max(1)) {
            let place = usize::from(at) * content.len() / (usize::from(u16::MAX) + 1);
            self.machine.disk.flip_bit(path, place as u64, bit);
            self.model.headless |= place < 160;
            self.model.damaged = true;
        }
        self.start();
    }

    fn lose(&mut self, file: u16) {
        self.end();
        let files = self.files();
        // A chain's oldest file may as well have been dropped by retention: it would not be called damage.
        let later: Vec<_> =
            files.iter().filter(|(path, _)| !path.to_string_lossy().contains("01.segment")).collect();
        if let Some((path, _)) = later.get(usize::from(file) % later.len().max(1)) {
            self.machine.host().disk.remove(path).expect("removed");
            self.machine.host().disk.sync_dir(&dir()).expect("synced");
            self.model.headless = true;
            self.model.damaged = true;
        }
        self.start();
    }

    fn check(&mut self) {
        self.check_nonces();
        let mut reader = self.journal().reader(1, Chains::Both);
        let mut read = BTreeMap::new();
        let mut skipped = Vec::new();
        let mut last = 0;
        while let Some(batch) = reader.try_next().expect("readable") {
            skipped.extend(batch.skipped);
            for record in &batch.records {
                assert!(record.seq > last, "{} after {last}", record.seq);
                last = record.seq;
                let text = String::from_utf8(record.message.payload.to_vec()).expect("text");
                read.insert(record.seq, text);
            }
        }
        for (seq, text) in &read {
            let known = self.model.acknowledged.get(seq) == Some(text) || self.model.in_doubt.contains(text);
            assert!(known, "seq {seq} holds {:?}, which is not to be there", &text[..text.len().min(12)]);
            self.means(*seq, text);
        }
        let told = |seq: u64| skipped.iter().any(|range| (range.from..=range.to).contains(&seq));
        for seq in self.model.acknowledged.keys() {
            assert!(read.contains_key(seq) || told(*seq), "seq {seq} is neither there nor told as lost");
        }
        for range in &skipped {
            assert!(self.model.damaged, "{range:?} is told as lost, but nothing was damaged");
            let there = read.range(range.from..=range.to).next().map(|(seq, _)| seq);
            assert!(there.is_none(), "{range:?} is told as lost, but {there:?} is there");
            if self.model.headless || self.model.burned || !self.model.in_doubt.is_empty() {
                continue;
            }
            for seq in range.from..=range.to {
                assert!(self.model.meant.contains_key(&seq), "seq {seq} never was, but {range:?} is told");
            }
        }
        let urgent_and_regular: usize = [Chains::Urgent, Chains::Regular]
            .into_iter()
            .map(|chains| crate::machine::texts(&crate::machine::read(self.journal(), chains)).len())
            .sum();
        assert_eq!(urgent_and_regular, read.len(), "the chains together are the journal");
    }

    /// Follows every byte that was ever handed to the disk.
    fn check_nonces(&mut self) {
        for (path, bytes) in self.machine.disk.history() {
            if bytes.starts_with(b"GODWITJ\0") {
                self.model.keys.insert(path, bytes[88..156].to_vec());
                continue;
            }
            let key = &self.model.keys[&path];
            let mut at = 0;
            while at < bytes.len() {
                assert_eq!(&bytes[at..at + 4], b"GwF1");
                let content = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("four")) as usize;
                let number = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().expect("eight"));
                let frame = bytes[at..at + 56 + content + 16].to_vec();
                at += frame.len();
                let before = self.model.nonces.insert((key.clone(), number), frame);
                assert!(before.is_none(), "frame number {number} is used twice in {}", path.display());
            }
        }
    }
}

fn cases() -> u32 {
    std::env::var("GODWIT_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_once_in_order_and_nothing_else_is(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let mut world = World::new(seed);
        for step in steps {
            world.step(step);
        }
        world.step(Step::Restart);
        let _ = world.machine.random.number();
    }
}
