//! From the journal to subscribers: what became durable is delivered, in the order of `seq`.
//!
//! Two ways into a session's outbox start here: [`run`] follows the journal's tail for everybody; [`refill`] reads again,
//! for one session, what it left in the journal when its memory was full. QoS 0 from our own connections is not
//! delivered here: it was delivered at once (see [`is_delivered_at_once`]).

use std::sync::Arc;
use std::time::Duration;

use identity::Action;
use journal::{Chains, Consumer, ReadError, Reader, SkipReason};
use model::{Door, Message, Qos};
use tokio::task::JoinHandle;

use crate::fanout::{self, Touched};
use crate::group::Group;
use crate::link::OUTBOX;
use crate::prepared::Variants;
use crate::restore;
use crate::session::Session;
use crate::shared::Shared;
use crate::store;
use crate::tally::{self, Drop};

/// How often sessions that changed are saved: so much of QoS 1 may come again after a crash.
const SAVE_WITHIN: Duration = Duration::from_secs(2);

/// How long delivery waits after the journal could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Records between two wanted ones beyond which reading on costs more than to begin anew at the next.
const JUMP: u64 = 4_096;

/// Whether a message is delivered when it is received, before it is durable: QoS 0 that came by a connection of ours.
/// One with an id waits for the journal, which alone knows whether it is a repeat.
pub(crate) fn is_delivered_at_once(message: &Message) -> bool {
    message.qos == Qos::AtMostOnce && message.message_id.is_none() && message.origin.door == Door::Mqtt
}

/// Delivers what becomes durable, until the journal closes or the door does.
pub(crate) async fn run(shared: Arc<Shared>, mut reader: Reader, consumer: Consumer) {
    let consumer = Arc::new(consumer);
    let mut save = tokio::time::interval(SAVE_WITHIN);
    save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut saving: Option<JoinHandle<()>> = None;
    loop {
        let batch = tokio::select! {
            biased;
            _ = save.tick() => {
                if saving.as_ref().is_none_or(JoinHandle::is_finished) {
                    saving = Some(save_sessions(&shared, reader.position(), &consumer));
                }
                continue;
            }
            batch = reader.next() => batch,
            () = shared.stop.stopping() => break,
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(ReadError::Closed) => break,
            Err(error) => {
                tracing::error!(%error, "delivery cannot read the journal; it tries again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        take(&shared, &batch);
        shared.delivered.send_replace(reader.position());
        // A reader that is always ready would keep its thread from the connections.
        tokio::task::yield_now().await;
    }
    // What became durable while the door closed, and then everything as it stands.
    while let Ok(Some(batch)) = reader.try_next() {
        take(&shared, &batch);
    }
    if let Some(saving) = saving {
        let _ = saving.await;
    }
    let _ = save_sessions(&shared, reader.position(), &consumer).await;
    let waiting = shared.sessions.all().into_iter().filter_map(|session| {
        let state = session.state();
        Some((state.will.as_ref()?.row, shared.moment(state.will_due?)))
    });
    if let Err(error) = store::settle_wills(&shared, waiting.collect()).await {
        tracing::warn!(%error, "wills may be published at the next start");
    }
}

/// Saves the sessions that changed, as of `position`: everything up to there was delivered by the caller, and nothing after.
fn save_sessions(shared: &Arc<Shared>, position: u64, consumer: &Arc<Consumer>) -> JoinHandle<()> {
    let (now, now_mono) = (shared.host.clock.now(), shared.host.clock.mono_micros());
    // What moves between groups and their members stands still meanwhile.
    let moving = shared.groups.moving.write();
    let groups: Vec<_> = shared.groups.all().iter().filter_map(Group::snapshot).collect();
    let sessions: Vec<_> =
        shared.sessions.dirty().iter().map(|session| session.snapshot(now, now_mono, position)).collect();
    drop(moving);
    let (shared, consumer) = (Arc::clone(shared), Arc::clone(consumer));
    tokio::spawn(async move {
        match store::save(&shared, &sessions, &groups, position).await {
            Ok(()) => consumer.report(position),
            Err(error) => {
                tracing::error!(%error, "sessions cannot be saved; they are tried again");
                for snapshot in &sessions {
                    snapshot.session.not_saved(snapshot);
                }
                for snapshot in &groups {
                    snapshot.group.not_saved(snapshot);
                }
            }
        }
    })
}

/// Delivers a batch.
fn take(shared: &Shared, batch: &journal::Batch) {
    for skipped in &batch.skipped {
        shared.tallies.dropped(Drop::JournalSkipped).add(skipped.to - skipped.from + 1);
        tracing::error!(from = skipped.from, to = skipped.to, reason = ?skipped.reason, "not delivered");
    }
    for record in batch.records.iter().filter(|record| record.message.qos == Qos::ExactlyOnce) {
        restore::took(shared, record, false);
    }
    if shared.tallies.subscriptions.get() > 0 {
        let now_mono = shared.host.clock.mono_micros();
        let mut touched = Touched::default();
        for record in batch.records.iter().filter(|record| !is_delivered_at_once(&record.message)) {
            let limits = shared.limits();
            let subscriptions = &shared.subscriptions;
            fanout::deliver(subscriptions, &record.message, record.seq, now_mono, &limits, &mut touched);
        }
        if let Some(last) = batch.records.last().map(|record| record.message.received_mono) {
            shared.tallies.delivery_seconds.record(tally::seconds(last, shared.host.clock.mono_micros()));
        }
    }
}

/// Brings a group what waits for it in the journal, until no member has room or nothing waits. One at a time per group: the
/// caller has said that it is fed.
pub(crate) async fn feed(shared: Arc<Shared>, group: Arc<Group>) {
    let mut reader: Option<Reader> = None;
    while let Some(wanted) = group.wanted() {
        let is_near =
            |reader: &Reader| (reader.position()..=reader.position() + JUMP).contains(&(wanted - 1));
        let mut at = match reader.take().filter(is_near) {
            Some(reader) => reader,
            None => shared.journal.reader(wanted, Chains::Both),
        };
        let batch = match at.next().await {
            Ok(batch) => batch,
            Err(error) => {
                group.stop();
                tracing::error!(%error, name = ?group.name.as_str(), "cannot bring a group what waits for it in the journal");
                return;
            }
        };
        let mut links = Vec::new();
        let goes_on = group.feed(&shared, &batch, &mut links);
        for link in links {
            link.signal.wake();
        }
        if !goes_on {
            return;
        }
        reader = Some(at);
        tokio::task::yield_now().await;
    }
}

/// Brings back what `session` left in the journal, until its memory is full again or nothing is left. `from`: the
/// first record it wants. One at a time per session: the caller has set `is_refilling`.
pub(crate) async fn refill(shared: Arc<Shared>, session: Arc<Session>, from: u64) {
    let mut reader = shared.journal.reader(from, Chains::Both);
    let mut position = from;
    loop {
        let batch = match reader.next().await {
            Ok(batch) => batch,
            Err(error) => {
                session.state().is_refilling = false;
                tracing::error!(%error, client_id = ?session.client_id, "cannot bring back what a session left in the journal");
                return;
            }
        };
        let Some(wanted) = take_back(&shared, &session, &batch) else { return };
        position = batch.records.last().map_or(position, |record| record.seq);
        if wanted > position + JUMP {
            reader = shared.journal.reader(wanted, Chains::Both);
        }
        tokio::task::yield_now().await;
    }
}

/// Moves what of `batch` the session wants into its memory. Returns what it wants next, if it has room for it.
fn take_back(shared: &Shared, session: &Session, batch: &journal::Batch) -> Option<u64> {
    let mut state = session.state();
    let state = &mut *state;
    let trimmed = |gone: usize| {
        shared.tallies.left_messages.down(gone as u64);
        shared.tallies.dropped(Drop::Trimmed).add(gone as u64);
    };
    for skipped in &batch.skipped {
        debug_assert!(skipped.reason != SkipReason::Unknown || skipped.from <= skipped.to);
        trimmed(state.outbox.forget_left_before(skipped.to + 1));
    }
    let now_mono = shared.host.clock.mono_micros();
    let mut records = batch.records.iter().peekable();
    let wanted = loop {
        let Some(wanted) = state.outbox.wanted(&shared.bounds) else { break None };
        // Records are in order, and so is what was left: what the reader has passed is not there any more.
        while records.next_if(|record| record.seq < wanted).is_some() {}
        let Some(record) = records.peek() else { break Some(wanted) };
        if record.seq > wanted {
            trimmed(state.outbox.forget_left_before(record.seq));
            continue;
        }
        if !state.permissions.may(Action::Receive, &record.message.topic).is_permitted() {
            let gone = state.outbox.forget_left_before(record.seq + 1);
            shared.tallies.left_messages.down(gone as u64);
            shared.tallies.dropped(Drop::NotReceivable).add(gone as u64);
            continue;
        }
        let left = state.outbox.left_front().expect("one is wanted");
        let (ids, qos_max) = (left.ids.as_deref().unwrap_or_default(), left.qos_max);
        let mut variants = Variants::new(&record.message, record.seq, now_mono);
        match variants.get(state.version, qos_max, left.retain, ids) {
            Some(prepared) => {
                shared.tallies.left_messages.down(1);
                shared.tallies.queued_messages.up(1);
                shared.tallies.queued_bytes.up(prepared.bytes() as u64);
                state.outbox.refill(prepared);
            }
            None => trimmed(state.outbox.forget_left_before(record.seq + 1)),
        }
    };
    if wanted.is_none() || state.is_ended {
        state.is_refilling = false;
    }
    if let Some(link) = &state.link {
        link.signal.raise(OUTBOX);
    }
    wanted.filter(|_| !state.is_ended)
}
