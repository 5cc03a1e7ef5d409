//! One action at work: reads the journal from its position, delivers, stores where it stands, reports.
//!
//! Not here: delivering (`deliver`). The laws: the position is stored after the effect and with what was given up; it never passes a message
//! whose fate is not known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use catalog::Catalog;
use journal::{Batch, Chains, Consumer, Hold, ReadError, Reader, Record, SkipReason, Skipped};
use metrics::Counter;
use tokio::sync::watch;

use crate::deliver::{Courier, Fate};
use crate::job::{Job, Judged, judge};
use crate::letter::{Failure, Reason};
use crate::status::Gauge;
use crate::store::{self, Step};

/// Records that are looked at between two looks at the others who share the thread.
const RECORDS_AT_ONCE: usize = 256;

/// Jobs that are under way together: after a crash so many are sent again at most, and the journal's window of ids knows them.
const JOBS_AT_ONCE: usize = 64;

/// How often the position of an action is stored that has nothing to do.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// The wait after a journal or catalog that could not be read or written.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

pub(crate) struct Sink {
    courier: Arc<Courier>,
    catalog: Catalog,
    consumer: Consumer,
    /// Up to here everything is known, in memory.
    position: u64,
    /// What is stored of it.
    stored: u64,
    stored_at: u64,
    /// The letter that a further failure continues.
    open: Option<i64>,
    /// What became of jobs behind the position: they are not done again with the one that is open before them. As many as are under
    /// way together at most.
    decided: BTreeMap<u64, Fate>,
    delivered: Counter,
    undefined: Counter,
}

impl Sink {
    pub(crate) fn new(courier: Arc<Courier>, catalog: Catalog, position: u64) -> Self {
        let means = &courier.means;
        let consumer =
            means.journal.consumer(&format!("sink.{}", courier.name), Hold::Sink(means.settings.hold));
        consumer.report(position);
        courier.gauge.position.store(position, Ordering::Relaxed);
        let stored_at = means.host.clock.mono_micros();
        let delivered = metrics::counter!("godwit_sinks_delivered_total", "sink" => courier.name.clone());
        let undefined =
            metrics::counter!("godwit_rules_undefined_total", "rule" => courier.rule.name.clone());
        Self {
            courier,
            catalog,
            consumer,
            position,
            stored: position,
            stored_at,
            open: None,
            decided: BTreeMap::new(),
            delivered,
            undefined,
        }
    }

    /// Works until told to stop.
    pub(crate) async fn run(mut self) {
        let mut stop = self.courier.stop.clone();
        let mut reader = self.courier.means.journal.reader(self.position + 1, Chains::Both);
        while !self.courier.is_stopping() {
            let next = tokio::select! {
                biased;
                () = told(&mut stop) => break,
                next = reader.next() => Some(next),
                () = tokio::time::sleep(SAVE_EVERY) => None,
            };
            match next {
                None => self.save_if_due().await,
                Some(Ok(batch)) => {
                    let before = self.position;
                    if self.take(batch, &mut reader).await {
                        self.cut_what_was_held().await;
                        if self.position == before {
                            self.pause(&mut stop).await;
                        }
                        // Where it stands now, which may be before the end of the batch, or far behind it.
                        if self.position != reader.position() {
                            reader = self.courier.means.journal.reader(self.position + 1, Chains::Both);
                        }
                    }
                }
                Some(Err(ReadError::Closed)) => break,
                Some(Err(error)) => {
                    let text = model::in_one_line(&error);
                    tracing::error!(
                        sink = self.courier.name,
                        error = text,
                        "cannot read the journal; trying again"
                    );
                    self.pause(&mut stop).await;
                }
            }
        }
        self.save(Vec::new()).await;
    }

    /// Waits a moment, or for the word to stop.
    async fn pause(&self, stop: &mut watch::Receiver<bool>) {
        tokio::select! {
            () = told(stop) => {}
            () = tokio::time::sleep(AFTER_TROUBLE) => {}
        }
    }

    /// Takes a batch in, and what is there behind it already: what came one by one is delivered side by side. Whether the reader must
    /// look again where it goes on.
    async fn take(&mut self, first: Batch, reader: &mut Reader) -> bool {
        let mut next = Some(first);
        let mut waiting = Judgement::default();
        let mut looked_at = 0;
        while let Some(batch) = next {
            if !batch.skipped.is_empty() {
                if !self.step(std::mem::take(&mut waiting)).await {
                    return true;
                }
                self.pass_over(&batch.skipped).await;
            }
            for record in &batch.records {
                self.judge(record, &mut waiting);
                looked_at += 1;
                if waiting.is_full() && !self.step(std::mem::take(&mut waiting)).await {
                    return true;
                }
                if looked_at % RECORDS_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
            if self.courier.is_stopping() {
                break;
            }
            // What cannot be read is met again by the next wait for it.
            next = reader.try_next().unwrap_or_default();
        }
        let is_whole = self.step(waiting).await;
        self.save_if_due().await;
        !is_whole
    }

    /// What the journal lost is given up by name.
    async fn pass_over(&mut self, skipped: &[Skipped]) {
        let lost: Vec<Failure> = skipped.iter().filter_map(lost).collect();
        self.position = skipped.iter().map(|gap| gap.to).fold(self.position, u64::max);
        if !lost.is_empty() {
            self.tell_of_loss(&lost);
            self.save(lost).await;
        }
    }

    /// What a record is to this action.
    fn judge(&self, record: &Record, waiting: &mut Judgement) {
        let courier = &self.courier;
        let mut undefined = 0;
        let account = &courier.means.account_id;
        match judge(&courier.rule, &courier.name, courier.action(), account, record, &mut undefined) {
            Judged::NotForUs => {}
            Judged::Job(job) => waiting.jobs.push(*job),
            Judged::Failed(failure) => waiting.failures.push((record.clone(), failure)),
        }
        waiting.last = record.seq;
        if undefined > 0 {
            Gauge::count(&courier.gauge.undefined, undefined);
            self.undefined.increment(undefined);
        }
    }

    /// Delivers, tells of what failed, and stores. `false` when the fate of some is open, or messages were held too long.
    async fn step(&mut self, step: Judgement) -> bool {
        let last = step.last.max(self.position);
        if step.jobs.is_empty() && step.failures.is_empty() {
            self.position = last;
            self.courier.gauge.position.store(last, Ordering::Relaxed);
            return true;
        }
        let count = step.jobs.len();
        let messages: Vec<_> = step.jobs.iter().map(|job| (job.seq, job.message.clone())).collect();
        let mut fates = std::mem::take(&mut self.decided);
        let jobs = step.jobs.into_iter().filter(|job| !fates.contains_key(&job.seq)).collect();
        fates.extend(self.courier.deliver(jobs).await);
        Gauge::count(&self.courier.gauge.failed, step.failures.len() as u64);
        let mut failures: Vec<(model::Message, Failure)> =
            step.failures.into_iter().map(|(record, failure)| (record.message, failure)).collect();
        let (mut delivered, mut until) = (Vec::new(), last);
        for (seq, message) in messages {
            match fates.get(&seq) {
                Some(Fate::Delivered) => delivered.push(seq),
                Some(Fate::Failed(failure)) => failures.push((message, failure.clone())),
                // The first whose fate is open: everything from it on is done again.
                Some(Fate::Open) | None => until = until.min(seq - 1),
            }
        }
        delivered.retain(|seq| *seq <= until);
        self.delivered.increment(delivered.len() as u64);
        fates.retain(|seq, fate| *seq > until && !matches!(fate, Fate::Open));
        self.decided = fates;
        failures.retain(|(_, failure)| failure.from <= until);
        failures.sort_by_key(|(_, failure)| failure.from);
        for (message, failure) in &failures {
            self.courier.tell(message, failure).await;
        }
        let was_held = failures.iter().any(|(_, failure)| failure.reason == Reason::Held);
        let joined = self.joined(failures.into_iter().map(|(_, failure)| failure), &delivered);
        self.position = until;
        self.save(joined).await;
        tracing::trace!(sink = self.courier.name, jobs = count, until, "delivered");
        until == last && !was_held
    }

    /// Neighbours that failed for the same reason as one, unless something between them was delivered.
    fn joined(&mut self, failures: impl Iterator<Item = Failure>, delivered: &[u64]) -> Vec<Failure> {
        let between = |from: u64, to: u64| delivered.iter().any(|seq| (from..to).contains(seq));
        let mut joined: Vec<Failure> = Vec::new();
        for failure in failures {
            let before = joined.last_mut().filter(|last| !between(last.to, failure.from));
            if !before.is_some_and(|last| last.takes(&failure)) {
                joined.push(failure);
            }
        }
        // What was delivered before the first of them ends the letter that is open.
        let first = joined.first().map_or(u64::MAX, |failure| failure.from);
        if delivered.iter().any(|seq| *seq < first) {
            self.open = None;
        }
        joined
    }

    /// When a message was held too long, all that wait behind it for as long are given up with it, not one attempt each later.
    async fn cut_what_was_held(&mut self) {
        let means = &self.courier.means;
        let oldest = means.host.clock.now().minus(means.settings.hold);
        let until = means.journal.seq_at(oldest).saturating_sub(1).min(means.journal.durable_seq());
        if self.courier.is_stopping() || self.open.is_none() || until <= self.position {
            return;
        }
        let failure = Failure {
            from: self.position + 1,
            to: until,
            messages: None,
            reason: Reason::Held,
            detail: "waited behind a message that the receiver did not take".to_owned(),
        };
        tracing::warn!(
            sink = self.courier.name,
            from = failure.from,
            to = until,
            "messages were held too long and are cut"
        );
        self.position = until;
        self.save(vec![failure]).await;
    }

    fn tell_of_loss(&self, lost: &[Failure]) {
        for failure in lost {
            let (from, to, reason) = (failure.from, failure.to, failure.reason.name());
            tracing::warn!(sink = self.courier.name, from, to, reason, "messages were lost to an action");
        }
    }

    async fn save_if_due(&mut self) {
        let since = self.courier.means.host.clock.mono_micros().saturating_sub(self.stored_at);
        if self.position > self.stored && Duration::from_micros(since) >= SAVE_EVERY {
            self.save(Vec::new()).await;
        }
    }

    /// Stores where it stands with what was given up; tries until the catalog takes it or everything stops.
    async fn save(&mut self, failures: Vec<Failure>) {
        if failures.is_empty() && self.position == self.stored {
            return;
        }
        let lost = failures.iter().map(|failure| failure.messages.unwrap_or(0)).sum::<u64>();
        loop {
            let step = Step {
                sink: self.courier.name.clone(),
                target: self.courier.action().target().to_owned(),
                position: self.position,
                failures: failures.clone(),
                open: self.open,
                now: self.courier.means.host.clock.now(),
            };
            match store::advance(&self.catalog, step).await {
                Ok((open, dropped)) => {
                    self.open = open;
                    if lost > 0 {
                        metrics::counter!("godwit_sinks_dead_letters_total", "sink" => self.courier.name.clone()).increment(lost);
                    }
                    if dropped > 0 {
                        tracing::warn!(
                            dropped,
                            most = store::LETTERS_MAX,
                            "the list of dead letters is full: the oldest were dropped"
                        );
                        metrics::counter!("godwit_sinks_dead_letters_dropped_total").increment(dropped);
                    }
                    break;
                }
                Err(error) => {
                    tracing::error!(
                        sink = self.courier.name,
                        error = model::in_one_line(&error),
                        hint = error.hint(),
                        "cannot store where an action stands"
                    );
                    if self.courier.is_stopping() {
                        return;
                    }
                    tokio::time::sleep(AFTER_TROUBLE).await;
                }
            }
        }
        self.stored = self.position;
        self.stored_at = self.courier.means.host.clock.mono_micros();
        self.courier.gauge.position.store(self.position, Ordering::Relaxed);
        self.consumer.report(self.position);
    }
}

/// Waits for the word to stop; its sender gone is that word too.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What is to be done of some records.
#[derive(Default)]
struct Judgement {
    jobs: Vec<Job>,
    failures: Vec<(Record, Failure)>,
    /// The last record that was looked at.
    last: u64,
}

impl Judgement {
    fn is_full(&self) -> bool {
        self.jobs.len() + self.failures.len() >= JOBS_AT_ONCE
    }
}

/// What a gap in the journal lost.
fn lost(skipped: &Skipped) -> Option<Failure> {
    let reason = match skipped.reason {
        SkipReason::Trimmed => Reason::Trimmed,
        SkipReason::Damaged | SkipReason::Missing => Reason::Damaged,
        // A kind of record that this version does not know is no message.
        SkipReason::Unknown => return None,
    };
    let (from, to) = (skipped.from, skipped.to);
    Some(Failure { from, to, messages: None, reason, detail: skipped.reason.to_string() })
}
