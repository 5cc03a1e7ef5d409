//! Sessions come back when the process starts: what the catalog saved, then one scan of the journal's tail for all.
//!
//! Not here: saving ([`store`](crate::store)). The laws: no message that was queued is lost by a crash, some of QoS 1 may
//! come again; a packet id of QoS 2 that was not released is still known; a session that ended meanwhile does not come back.

use std::sync::Arc;

use hashbrown::HashMap;
use journal::{Chains, Consumer, Hold};
use model::{Door, Qos};

use crate::StartError;
use crate::delivery::is_delivered_at_once;
use crate::fanout::{self, Subscriber, Touched};
use crate::prepared::Variants;
use crate::session::{Filter, Session};
use crate::sessions::Dues;
use crate::shared::Shared;
use crate::store::{self, Released, Row};
use crate::tally::Drop;

/// Records between two wanted ones beyond which reading on costs more than to begin anew at the next.
const JUMP: u64 = 4_096;

const SECOND_MICROS: u64 = 1_000_000;

/// A subscription that counts from a record on.
struct Since {
    seq: u64,
    session: Arc<Session>,
    name: model::TopicFilter,
    filter: Filter,
}

/// Brings the sessions back, and says up to which record the journal was matched. The consumer holds the rest.
///
/// # Errors
/// [`StartError::Sessions`] when the catalog or the journal cannot be read.
pub(crate) fn open(shared: &Arc<Shared>) -> Result<(u64, Consumer), StartError> {
    let (position, rows, released) =
        shared.catalog.read(store::load).map_err(|error| StartError::Sessions(Box::new(error)))?;
    let durable = shared.journal.durable_seq();
    let consumer = shared.journal.consumer(store::CONSUMER, Hold::Builtin);
    consumer.report(position);
    let mut subscriptions = Vec::new();
    let mut sessions = Vec::new();
    for row in rows {
        sessions.extend(bring_back(shared, row, &mut subscriptions));
    }
    if !sessions.is_empty() {
        fly_again(shared, &sessions)?;
        subscriptions.sort_unstable_by_key(|since| since.seq);
        match_again(shared, position, durable, subscriptions)?;
        release(&sessions, &released);
        tracing::info!(sessions = sessions.len(), position, durable, "sessions are back");
    }
    Ok((durable.max(position), consumer))
}

/// Makes a session of its row; `None`: its time is over.
fn bring_back(shared: &Arc<Shared>, row: Row, subscriptions: &mut Vec<Since>) -> Option<Arc<Session>> {
    let (now, now_mono) = (shared.host.clock.now(), shared.host.clock.mono_micros());
    let left_micros = row.ends_at.map_or_else(
        || u64::from(row.expiry_s) * SECOND_MICROS,
        |at| u64::try_from(at.micros_since(now)).unwrap_or(0),
    );
    if left_micros == 0 {
        let (shared, id) = (Arc::clone(shared), row.id);
        tokio::spawn(async move {
            if let Err(error) = store::remove(&shared, id).await {
                tracing::warn!(%error, "a session that is over stays in the catalog until the next start");
            }
        });
        return None;
    }
    let who = shared.identity.recall(&row.principal);
    let permissions = shared.identity.permissions(&who, &row.client_id);
    let session = shared.sessions.bring_back(|key| {
        let session = Session::new(
            key,
            row.client_id,
            row.principal,
            row.version,
            permissions,
            row.id,
            row.since,
            true,
        );
        let mut state = session.state();
        state.expiry_s = row.expiry_s;
        state.filters_revision = row.filters_revision;
        state.ends_due = Some(now_mono + left_micros);
        for (packet_id, seq) in &row.queue.incoming {
            state.incoming.recover(*packet_id, *seq);
        }
        let saved = state.outbox.restore(row.queue.outbox);
        shared.tallies.left_messages.up(saved.waiting as u64);
        shared.tallies.inflight.up(saved.flights as u64);
        drop(state);
        // What is matched again stands in no row yet.
        session.touch();
        session
    });
    shared.tallies.sessions.up(1);
    shared.timetable.set(&session, Dues { will: None, end: Some(now_mono + left_micros) });
    for (name, filter) in row.filters {
        subscriptions.push(Since { seq: filter.since, session: Arc::clone(&session), name, filter });
    }
    Some(session)
}

/// Reads the messages that were on their way again, each record once, whatever the number of sessions.
fn fly_again(shared: &Arc<Shared>, sessions: &[Arc<Session>]) -> Result<(), StartError> {
    let mut wanted: Vec<(u64, &Arc<Session>)> = Vec::new();
    for session in sessions {
        wanted.extend(session.state().outbox.lost_flights().map(|seq| (seq, session)));
    }
    wanted.sort_unstable_by_key(|(seq, _)| *seq);
    let mut wanted = wanted.into_iter().peekable();
    let now_mono = shared.host.clock.mono_micros();
    let Some(&(first, _)) = wanted.peek() else { return Ok(()) };
    let mut reader = shared.journal.reader(first, Chains::Both);
    let gone = |session: &Session, seq| {
        let gone = session.state().outbox.give_up_flight(seq);
        shared.tallies.inflight.down(gone as u64);
        shared.tallies.dropped(Drop::Trimmed).add(gone as u64);
    };
    loop {
        let batch = reader.try_next().map_err(|error| StartError::Sessions(Box::new(error)))?;
        let Some(batch) = batch else { break };
        for record in &batch.records {
            while let Some((seq, session)) = wanted.next_if(|(seq, _)| *seq < record.seq) {
                gone(session, seq);
            }
            while let Some((seq, session)) = wanted.next_if(|(seq, _)| *seq == record.seq) {
                let mut variants = Variants::new(&record.message, seq, now_mono);
                session.state().fly_again(seq, &mut variants);
            }
        }
        match wanted.peek() {
            None => return Ok(()),
            Some(&(seq, _)) if seq > reader.position() + JUMP => {
                reader = shared.journal.reader(seq, Chains::Both);
            }
            Some(_) => {}
        }
    }
    wanted.for_each(|(seq, session)| gone(session, seq));
    Ok(())
}

/// Matches what became durable after `position` with every subscription that there was then.
fn match_again(
    shared: &Arc<Shared>,
    position: u64,
    durable: u64,
    subscriptions: Vec<Since>,
) -> Result<(), StartError> {
    let mut subscriptions = subscriptions.into_iter().peekable();
    let mut reader = shared.journal.reader(position + 1, Chains::Both);
    let now_mono = shared.host.clock.mono_micros();
    let mut touched = Touched::default();
    while reader.position() < durable {
        let batch = reader.try_next().map_err(|error| StartError::Sessions(Box::new(error)))?;
        let Some(batch) = batch else { break };
        for skipped in &batch.skipped {
            tracing::error!(from = skipped.from, to = skipped.to, reason = ?skipped.reason, "not delivered");
        }
        for record in &batch.records {
            while let Some(since) = subscriptions.next_if(|since| since.seq < record.seq) {
                subscribe(shared, since);
            }
            took(shared, record, true);
            let message = &record.message;
            if message.qos != Qos::AtMostOnce && !is_delivered_at_once(message) {
                let limits = shared.limits();
                fanout::deliver(&shared.subscriptions, message, record.seq, now_mono, &limits, &mut touched);
            }
        }
    }
    subscriptions.for_each(|since| subscribe(shared, since));
    Ok(())
}

fn subscribe(shared: &Shared, since: Since) {
    let Since { session, name, filter, .. } = since;
    let key = session.key;
    session.state().filters.insert(name.clone(), filter);
    shared.subscriptions.write().insert(&name, key, Subscriber::new(session, filter));
    shared.tallies.subscriptions.up(1);
}

/// A QoS 2 message became durable: its packet id is known until it is released. As the delivery meets it, so that what is
/// saved with a position has every id up to there. `is_start`: nobody is connected, and it comes back.
pub(crate) fn took(shared: &Shared, record: &journal::Record, is_start: bool) {
    let message = &record.message;
    if message.qos != Qos::ExactlyOnce || message.packet_id == 0 || message.origin.door != Door::Mqtt {
        return;
    }
    let session = shared.sessions.find(&message.origin.client_id);
    if let Some(session) = session.filter(|session| session.is_durable && record.seq > session.since) {
        let mut state = session.state();
        if is_start {
            state.incoming.recover(message.packet_id, record.seq);
        } else {
            state.incoming.journalled(message.packet_id, record.seq);
        }
        drop(state);
        session.touch();
    }
}

fn release(sessions: &[Arc<Session>], released: &[Released]) {
    let by_id: HashMap<u64, &Arc<Session>> = sessions.iter().map(|session| (session.id, session)).collect();
    for (id, packet_id, seq) in released {
        if let Some(session) = by_id.get(id) {
            let mut state = session.state();
            state.incoming.release_record(*packet_id, *seq);
            state.released.push((*packet_id, *seq));
            drop(state);
            session.touch();
        }
    }
}
