//! The one thread that writes: takes what waits, numbers it, writes it, syncs it, tells everybody.
//!
//! A group commit, in order: judge message ids; make room; open segments; give out seqs, urgent first, so that the
//! seqs of every frame follow each other; write both chains; sync and publish the urgent chain, then the regular
//! one; call who waits. A write that fails is taken back and fails its group alone; a sync that fails poisons
//! the journal for good, because nobody can know what the disk then holds.

use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::checkpoint::{self, Checkpoint};
use crate::ids::{Fingerprint, Ids, Verdict};
use crate::log::{ChainLog, Fault, Run};
use crate::meters::Meters;
use crate::queue::{ChainGroup, Group, WaitingBatch};
use crate::record;
use crate::recovery::Opened;
use crate::retention;
use crate::shared::Shared;
use crate::{AppendError, Outcome};

/// How often an idle writer looks for segments that are old enough to be dropped.
const IDLE: Duration = Duration::from_secs(60);

/// The writer's own state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    logs: [ChainLog; 2],
    next_seq: u64,
    ids: Ids,
    ids_changed: bool,
    poisoned: Option<AppendError>,
    meters: Meters,
    last_sync_micros: u64,
    last_end: u64,
    last_messages: usize,
}

/// What became of a group's records.
struct Verdicts {
    /// Per chain: the first `seq`.
    first: [u64; 2],
    /// Per chain and place; `None`: all were appended, in a row.
    each: Option<[Vec<Outcome>; 2]>,
}

impl Verdicts {
    fn outcome(&self, chain: usize, place: u32) -> Outcome {
        match &self.each {
            Some(each) => each[chain][place as usize],
            None => Outcome::Appended(self.first[chain] + u64::from(place)),
        }
    }

    fn outcomes(&self, batch: &WaitingBatch) -> Vec<Outcome> {
        let mut next = batch.parts.map(|(begin, _)| begin);
        let mut take = |chain: usize| {
            let place = next[chain];
            next[chain] += 1;
            self.outcome(chain, place)
        };
        match &batch.mixed {
            Some(chains) => chains.iter().map(|chain| take(chain.index())).collect(),
            None => {
                let chain = usize::from(batch.parts[0].1 == 0);
                (0..batch.parts[chain].1).map(|_| take(chain)).collect()
            }
        }
    }
}

impl Writer {
    /// Takes over what opening found.
    pub(crate) fn new(shared: Arc<Shared>, opened: &Opened, ids: Ids) -> Self {
        let run = Run {
            journal: opened.journal,
            boot: shared.host.boot,
            first: opened.next_seq,
            before: opened.last_seq,
        };
        let logs = Chain::ALL.map(|chain| ChainLog::new(chain, opened.chains[chain.index()], run));
        Self {
            shared,
            logs,
            next_seq: opened.next_seq,
            ids,
            ids_changed: false,
            poisoned: None,
            meters: Meters::new(),
            last_sync_micros: 0,
            last_end: 0,
            last_messages: 0,
        }
    }

    /// Works until the journal is closed.
    pub(crate) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        let mut group = Group::default();
        loop {
            let wake = self.shared.queue.take(&mut group, IDLE, self.gather(), self.last_messages);
            let idle = group.batches.is_empty();
            if !idle {
                self.last_messages = group.messages();
                self.commit(&mut group);
                self.last_end = self.shared.host.clock.mono_micros();
            }
            group.clear();
            if wake.close {
                break;
            }
            if idle || !wake.trims.is_empty() {
                retention::trim(&self.shared, 0);
            }
            // Who asked for a trim waits for it by this.
            drop(wake.trims);
        }
        self.close();
    }

    /// How long others may still join what waits: until as much time has passed since the last group as its sync
    /// took, at most `sync_wait_ms`. Nothing when the journal was idle for longer.
    fn gather(&self) -> Duration {
        let since = self.shared.host.clock.mono_micros().saturating_sub(self.last_end);
        let most = u64::from(self.shared.settings.sync_wait_ms) * 1_000;
        Duration::from_micros(self.last_sync_micros.min(most).saturating_sub(since))
    }

    fn commit(&mut self, group: &mut Group) {
        if let Some(error) = &self.poisoned {
            let error = error.clone();
            self.fail(group, &error);
            return;
        }
        let begun = match self.make_ready(group) {
            Ok(begun) => begun,
            Err(error) => return self.fail(group, &error),
        };
        let verdicts = self.number(group);
        if let Err(fault) = self.append(group, &verdicts) {
            let error = self.take_back(fault, verdicts.first[0]);
            return self.fail(group, &error);
        }
        if let Err(fault) = self.sync_and_publish(group, &verdicts) {
            let error = self.poison(fault);
            return self.fail(group, &error);
        }
        for batch in group.batches.drain(..) {
            let outcomes = verdicts.outcomes(&batch);
            answer(batch, Ok(outcomes));
        }
        if begun {
            retention::trim(&self.shared, 0);
            self.save_ids();
        }
    }

    /// Sees to room below the bound and to open segments. True when a segment was begun.
    fn make_ready(&mut self, group: &Group) -> Result<bool, AppendError> {
        let shared = &self.shared;
        let needed = group.bytes() as u64;
        let limit_bytes = retention::limit(shared.bytes_max);
        if shared.bytes().saturating_add(needed) > limit_bytes {
            retention::trim(shared, needed);
            let used_bytes = shared.bytes();
            if used_bytes.saturating_add(needed) > limit_bytes {
                return Err(AppendError::Full { used_bytes, limit_bytes });
            }
        }
        let mut begun = false;
        for (log, chain) in self.logs.iter_mut().zip(&group.chains) {
            if chain.records.is_empty() {
                continue;
            }
            match log.ready(&self.shared, chain.frames.bytes() as u64, self.next_seq) {
                Ok(new) => begun |= new,
                Err(Fault::Write(path, source)) => {
                    return Err(AppendError::Write { path, source: Arc::new(source) });
                }
                Err(fault) => return Err(self.poison(fault)),
            }
        }
        Ok(begun)
    }

    /// Gives out seqs, urgent first, and takes out what is a repeat.
    fn number(&mut self, group: &mut Group) -> Verdicts {
        let begin = self.next_seq;
        let each = if group.has_ids { self.judge(group) } else { None };
        let mut first = [begin; 2];
        let mut seq = begin;
        for (at, chain) in group.chains.iter_mut().enumerate() {
            first[at] = seq;
            for record in &mut chain.records {
                record.seq = seq;
                seq += 1;
            }
        }
        self.next_seq = seq;
        Verdicts { first, each }
    }

    /// Looks every id up in the window, and remembers it under the `seq` that its message is about to get.
    fn judge(&mut self, group: &mut Group) -> Option<[Vec<Outcome>; 2]> {
        let mut seq = self.next_seq;
        let mut unusual = false;
        let each = group.chains.each_mut().map(|chain| {
            let mut outcomes = Vec::with_capacity(chain.records.len());
            for record in &mut chain.records {
                if let Some(print) = Fingerprint::of(&record.message) {
                    match self.ids.judge(&print) {
                        Verdict::Repeat(first) => {
                            unusual = true;
                            outcomes.push(Outcome::Repeated(first));
                            continue;
                        }
                        Verdict::Reused => {
                            unusual = true;
                            record.id_reused = true;
                        }
                        Verdict::New => {}
                    }
                    self.ids.remember(print, seq);
                    self.ids_changed = true;
                }
                outcomes.push(Outcome::Appended(seq));
                seq += 1;
            }
            outcomes
        });
        if !unusual {
            return None;
        }
        for (chain, outcomes) in group.chains.iter_mut().zip(&each) {
            rebuild(chain, outcomes);
        }
        let repeated =
            each.iter().flatten().filter(|outcome| matches!(outcome, Outcome::Repeated(_))).count();
        self.meters.repeated.increment(repeated as u64);
        Some(each)
    }

    fn append(&mut self, group: &mut Group, verdicts: &Verdicts) -> Result<(), Fault> {
        for ((log, chain), &first) in self.logs.iter_mut().zip(&mut group.chains).zip(&verdicts.first) {
            if let Some(last) = chain.records.last() {
                log.append(&self.shared, &mut chain.frames, first, last.seq)?;
            }
        }
        Ok(())
    }

    fn sync_and_publish(&mut self, group: &mut Group, verdicts: &Verdicts) -> Result<(), Fault> {
        for at in [0, 1] {
            if group.chains[at].records.is_empty() {
                continue;
            }
            let begin = self.shared.host.clock.mono_micros();
            self.logs[at].sync()?;
            self.last_sync_micros = self.shared.host.clock.mono_micros().saturating_sub(begin);
            self.publish(at, &mut group.chains[at]);
            if at == 0 && !group.chains[1].records.is_empty() {
                // An alarm is not kept waiting for the sync of the backlog. What repeats something waits for all.
                let of_this_chain_alone = |batch: &mut WaitingBatch| batch.parts[1].1 == 0;
                if verdicts.each.is_none() {
                    for batch in group.batches.extract_if(.., of_this_chain_alone) {
                        let outcomes = verdicts.outcomes(&batch);
                        answer(batch, Ok(outcomes));
                    }
                }
            }
        }
        Ok(())
    }

    /// Shows everybody what became durable.
    fn publish(&mut self, at: usize, chain: &mut ChainGroup) {
        let bytes = self.logs[at].publish();
        let records = std::mem::take(&mut chain.records);
        let count = records.len();
        let durable = records.last().expect("not empty").seq;
        let gone = self.shared.tap.lock().push(self.logs[at].chain, bytes as usize, Arc::new(records));
        self.shared.progress.send_modify(|progress| progress.durable = durable);
        drop(gone);
        // Told to the next group as the capacity to begin with.
        chain.records = Vec::with_capacity(count.min(4_096));
        let mut health = self.shared.health.lock();
        health.sync.record(self.last_sync_micros);
        health.full = false;
        health.ids = self.ids.len();
        drop(health);
        self.meters.records.increment(count as u64);
        self.meters.bytes.increment(bytes);
        self.meters.syncs.increment(1);
        self.meters.sync_seconds.record(Duration::from_micros(self.last_sync_micros));
    }

    /// Takes a group back whose write failed. Its seqs are not given out again.
    fn take_back(&mut self, fault: Fault, first: u64) -> AppendError {
        self.ids.forget_from(first);
        if self.next_seq > first {
            self.shared.holes.lock().push((first, self.next_seq - 1));
        }
        let taken_back = self.logs.iter_mut().try_for_each(ChainLog::take_back);
        match (taken_back, fault) {
            (Ok(()), Fault::Write(path, source)) => AppendError::Write { path, source: Arc::new(source) },
            (Err(fault), _) | (Ok(()), fault) => self.poison(fault),
        }
    }

    /// Nothing is written any more.
    fn poison(&mut self, fault: Fault) -> AppendError {
        let (Fault::Write(path, error) | Fault::Sync(path, error)) = fault;
        let reason: Arc<str> = format!("`{}`: {error}", path.display()).into();
        tracing::error!(path = %path.display(), %error, "journal poisoned: a sync failed, nothing more is written");
        self.shared.health.lock().poisoned = Some(Arc::clone(&reason));
        let error = AppendError::Poisoned { reason };
        self.shared.queue.refuse(error.clone());
        self.poisoned = Some(error.clone());
        error
    }

    fn fail(&mut self, group: &mut Group, error: &AppendError) {
        if error.kind() == model::Kind::TooMuch {
            let mut health = self.shared.health.lock();
            let first = !std::mem::replace(&mut health.full, true);
            drop(health);
            if first {
                tracing::error!(%error, "journal refuses messages");
            }
        }
        self.meters.refused.increment(group.messages() as u64);
        for batch in group.batches.drain(..) {
            answer(batch, Err(error.clone()));
        }
    }

    /// Saves the window when a segment was begun: a start after a crash then reads no more than that segment.
    fn save_ids(&mut self) {
        if std::mem::take(&mut self.ids_changed) {
            self.save(false);
        }
    }

    fn save(&self, clean: bool) {
        let chains = {
            let segments = self.shared.segments.lock();
            Chain::ALL.map(|chain| checkpoint::ChainEnd::of(segments[chain.index()].last()))
        };
        let checkpoint = Checkpoint {
            clean,
            journal: self.logs[0].journal(),
            next_seq: self.next_seq,
            ids_to: self.shared.durable(),
            chains,
        };
        let bytes = checkpoint.to_bytes(&self.ids, &self.shared.host);
        let path = self.shared.dir.join(checkpoint::NAME);
        if let Err(error) = self.shared.host.disk.replace(&path, &bytes) {
            // Nothing is lost: the next start reads the segments.
            tracing::warn!(path = %path.display(), %error, "journal checkpoint cannot be written");
        }
    }

    fn close(mut self) {
        if self.poisoned.is_none() {
            self.logs.iter_mut().for_each(ChainLog::seal);
            self.save(true);
        }
    }
}

/// The end of the writer, however it comes: nothing is taken any more, and nobody waits for ever.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason: Arc<str> = "the journal's writer panicked".into();
            self.0.health.lock().poisoned = Some(Arc::clone(&reason));
            self.0.queue.refuse(AppendError::Poisoned { reason });
        }
        self.0.progress.send_modify(|progress| progress.closed = true);
    }
}

/// Encodes a chain's records anew, without the repeats and with the flags that the window gave.
fn rebuild(chain: &mut ChainGroup, outcomes: &[Outcome]) {
    let mut outcomes = outcomes.iter();
    chain.records.retain(|_| matches!(outcomes.next(), Some(Outcome::Appended(_))));
    chain.frames.clear();
    for record in &chain.records {
        let time = record.message.received_at.micros();
        chain.frames.push(time, |out| record::encode(&record.message, record.id_reused, out));
    }
}

/// Calls who waits. A panic there is not the journal's: the other batches must get their answer too.
fn answer(batch: WaitingBatch, outcomes: Result<Vec<Outcome>, AppendError>) {
    let done = batch.done;
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(outcomes))).is_err() {
        tracing::error!("a callback of a journal batch panicked");
    }
}
