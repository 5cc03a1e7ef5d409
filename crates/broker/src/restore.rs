//! Sessions come back when the process starts: what the catalog saved, then one scan of the journal's tail for all.
//!
//! Not here: saving ([`store`](crate::store)). The laws: no message that was queued is lost by a crash, some of QoS 1 may
//! come again, and nothing of QoS 2; a packet id of QoS 2 that was not released is still known; a session that ended meanwhile
//! does not come back, and its will is published; so is that of a client that was connected, when its delay is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use identity::policy::Circumstances;
use journal::{Chains, Consumer, Hold};
use model::{Door, Origin, Qos, TopicFilter, partition};

use crate::StartError;
use crate::delivery::is_delivered_at_once;
use crate::fanout::{self, Subscriber, Touched};
use crate::group;
use crate::outbox::Source;
use crate::owner::Owner;
use crate::prepared::Variants;
use crate::session::{Filter, Session};
use crate::sessions::Dues;
use crate::shared::Shared;
use crate::store::{self, GroupRow, Loaded, Released, Row, WillRow};
use crate::tally::Drop;
use crate::trie::Key;
use crate::will::{self, Will};

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
    let Loaded { position, sessions: rows, released, groups, wills, clear } = shared
        .catalog
        .read(|connection| store::load(&shared.host, connection))
        .map_err(|error| StartError::Sessions(Box::new(error)))?;
    let durable = shared.journal.durable_seq();
    let consumer = shared.journal.consumer(store::CONSUMER, Hold::Builtin);
    consumer.report(position);
    let mut subscriptions = Vec::new();
    let mut sessions = Vec::new();
    let mut known = Known::default();
    for GroupRow { id, name, since, back } in groups {
        known.returned.insert(group::key_of(id), Vec::new());
        known.rows.insert(name, (id, since, back));
    }
    for row in rows {
        sessions.extend(bring_back(shared, row, &mut subscriptions, &mut known));
    }
    if !sessions.is_empty() {
        fly_again(shared, &sessions)?;
        subscriptions.sort_unstable_by_key(|since| since.seq);
        match_again(shared, position, durable, subscriptions, &mut known)?;
        release(&sessions, &released);
        for session in &sessions {
            let mut state = session.state();
            let is_over = state.owed.is_empty();
            state.outbox.settle(is_over);
        }
        tracing::info!(sessions = sessions.len(), position, durable, "sessions are back");
    }
    for group in shared.groups.all() {
        group.settle();
    }
    bring_back_wills(shared, &sessions, wills);
    let of_nobody: Vec<u64> = known.rows.into_values().map(|(id, ..)| id).collect();
    let tidying = Arc::clone(shared);
    tokio::spawn(async move {
        for id in of_nobody {
            if store::remove_group(&tidying, id).await.is_err() {
                break;
            }
        }
        if let Err(error) = store::seal_wills(&tidying, clear).await {
            tracing::warn!(%error, "wills stay in the clear in the catalog until the next start");
        }
        if let Err(error) = store::tidy(&tidying).await {
            tracing::warn!(%error, "rows of sessions that are over stay in the catalog until the next start");
        }
    });
    Ok((durable.max(position), consumer))
}

/// What is known of groups before their members are back.
#[derive(Default)]
struct Known {
    /// Those with a row, until the first member is back: row, beginning, what waited.
    rows: HashMap<TopicFilter, (u64, u64, group::Back)>,
    /// What members had been given and had not begun.
    returned: HashMap<Key, Vec<u64>>,
    /// What members had begun.
    begun: HashMap<Key, Vec<u64>>,
}

/// Wills go back to their sessions, with their moment; those whose moment has come, or whose session is over, are published.
fn bring_back_wills(shared: &Arc<Shared>, sessions: &[Arc<Session>], wills: Vec<WillRow>) {
    let by_id: HashMap<u64, &Arc<Session>> = sessions.iter().map(|session| (session.id, session)).collect();
    let (now, now_mono) = (shared.host.clock.now(), shared.host.clock.mono_micros());
    for WillRow { id, client_id, principal, secret, session, due, will } in wills {
        let who = match secret {
            Some(secret) => shared.identity.recall_by(&principal, secret),
            None => shared.identity.recall(&principal),
        };
        let origin = Arc::new(Origin {
            door: Door::Mqtt,
            principal,
            device: who.device.clone(),
            partition: partition(who.device.as_ref(), &client_id),
            client_id,
            connection: shared.connection_next.fetch_add(1, Ordering::Relaxed),
            boot: shared.host.boot,
        });
        let delay_s = will.delay_s;
        let circumstances = Circumstances::of(origin.client_id.clone());
        let will = Box::new(Will { will, who, origin, circumstances, row: id });
        let Some(session) = by_id.get(&session) else {
            will.publish(shared);
            continue;
        };
        let mut state = session.state();
        // MQTT 5.0, section 3.1.3.2.2. Its client was connected: the end of the process was the end of the connection.
        let left_micros = match due {
            None => u64::from(delay_s.min(state.expiry_s)) * SECOND_MICROS,
            Some(due) => u64::try_from(due.micros_since(now)).unwrap_or(0),
        };
        if left_micros == 0 {
            drop(state);
            will.publish(shared);
            continue;
        }
        let due_mono = now_mono + left_micros;
        state.will = Some(will);
        state.will_due = Some(due_mono);
        drop(state);
        shared.timetable.set(session, Dues { will: Some(due_mono), end: None });
        will::settle(shared, id, Some(due_mono));
    }
}

/// Makes a session of its row; `None`: its time is over.
fn bring_back(
    shared: &Arc<Shared>,
    mut row: Row,
    subscriptions: &mut Vec<Since>,
    known: &mut Known,
) -> Option<Arc<Session>> {
    // What was given and not begun goes back to its group; what was begun stays with its member.
    row.back.aside.retain(|left| match left.source {
        Source::Group(key) => {
            known.returned.entry(key).or_default().push(left.seq);
            false
        }
        _ => true,
    });
    let flights = row.back.flights.iter().map(|(_, left)| left);
    for left in row.back.on_record.iter().map(|flight| &flight.left).chain(flights) {
        if let Source::Group(key) = left.source {
            known.begun.entry(key).or_default().push(left.seq);
        }
    }
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
    let owner = row.device.map_or_else(|| Owner::of(&who), Owner::Device);
    let circumstances = Circumstances::of(row.client_id.clone());
    let permissions = shared.identity.standing_permissions(&who, &circumstances);
    let session = shared.sessions.bring_back(|key| {
        let session =
            Session::new(key, row.client_id, owner, who, row.version, permissions, row.id, row.since, true);
        let mut state = session.state();
        state.expiry_s = row.expiry_s;
        state.filters_revision = row.filters_revision;
        state.ends_due = Some(now_mono + left_micros);
        for (packet_id, seq) in &row.incoming {
            state.incoming.recover(*packet_id, *seq);
        }
        state.owed = row.owed;
        let saved = state.outbox.restore(row.back);
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

/// Reads the messages that were on their way again, each record once, whatever the number of sessions. Retained messages are
/// looked for among those that are retained first: the journal may have let go of them.
fn fly_again(shared: &Arc<Shared>, sessions: &[Arc<Session>]) -> Result<(), StartError> {
    let mut wanted: Vec<(u64, Source, &Arc<Session>)> = Vec::new();
    for session in sessions {
        wanted.extend(session.state().outbox.lost_flights().map(|(seq, source)| (seq, source, session)));
    }
    let now_mono = shared.host.clock.mono_micros();
    if wanted.iter().any(|(_, source, _)| *source == Source::Retained) {
        let retained: HashMap<u64, _> =
            shared.retained.matches("#", now_mono).into_iter().map(|kept| (kept.seq, kept)).collect();
        wanted.retain(|(seq, source, session)| {
            let kept = retained.get(seq).filter(|_| *source == Source::Retained);
            if let Some(kept) = kept {
                let mut variants = Variants::new(&kept.message, *seq, now_mono);
                session.state().fly_again(*seq, *source, &mut variants);
            }
            kept.is_none()
        });
    }
    wanted.sort_unstable_by_key(|(seq, ..)| *seq);
    let mut wanted = wanted.into_iter().peekable();
    if let Some(&(first, ..)) = wanted.peek() {
        let mut reader = shared.journal.reader(first, Chains::Both);
        loop {
            let batch = reader.try_next().map_err(|error| StartError::Sessions(Box::new(error)))?;
            let Some(batch) = batch else { break };
            for record in &batch.records {
                while wanted.next_if(|(seq, ..)| *seq < record.seq).is_some() {}
                while let Some((seq, source, session)) = wanted.next_if(|(seq, ..)| *seq == record.seq) {
                    let mut variants = Variants::new(&record.message, seq, now_mono);
                    session.state().fly_again(seq, source, &mut variants);
                }
            }
            match wanted.peek() {
                None => break,
                Some(&(seq, ..)) if seq > reader.position() + JUMP => {
                    reader = shared.journal.reader(seq, Chains::Both);
                }
                Some(_) => {}
            }
        }
    }
    for session in sessions {
        let gone = session.state().outbox.give_up_lost();
        shared.tallies.inflight.down(gone as u64);
        shared.tallies.dropped(Drop::Trimmed).add(gone as u64);
    }
    Ok(())
}

/// Matches what became durable after `position` with every subscription that there was then.
fn match_again(
    shared: &Arc<Shared>,
    position: u64,
    durable: u64,
    subscriptions: Vec<Since>,
    known: &mut Known,
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
                subscribe(shared, since, known);
            }
            took(shared, record, true);
            let message = &record.message;
            if message.qos != Qos::AtMostOnce && !is_delivered_at_once(message) {
                let limits = shared.limits();
                fanout::deliver(&shared.subscriptions, message, record.seq, now_mono, &limits, &mut touched);
            }
        }
    }
    subscriptions.for_each(|since| subscribe(shared, since, known));
    Ok(())
}

fn subscribe(shared: &Shared, since: Since, known: &mut Known) {
    let Since { session, name, filter, seq } = since;
    shared.tallies.subscriptions.up(1);
    shared.tallies.shared_subscriptions.up(group::shared(&name).is_some().into());
    if group::shared(&name).is_none() {
        let key = session.key;
        session.state().filters.insert(name.clone(), filter);
        shared.subscriptions.write().insert(&name, key, Subscriber::new(session, filter));
        return;
    }
    // Without a row there is nothing that waited.
    let row = known.rows.remove(&name);
    let (id, since) =
        row.as_ref().map_or((shared.host.random.number() >> 1, seq), |(id, since, _)| (*id, *since));
    let joined: Result<bool, Infallible> =
        shared.groups.join(&shared.subscriptions, &session, &name, (id, since), |group| {
            let mut state = session.state();
            state.filters.insert(name.clone(), filter);
            state.groups.push(Arc::clone(group));
            Ok(filter)
        });
    debug_assert_eq!(joined, Ok(true));
    if let (Some((id, _, mut back)), Some(group)) = (row, shared.groups.find(&name)) {
        let key = group::key_of(id);
        group.know(known.begun.remove(&key).unwrap_or_default());
        back.returned.extend(known.returned.remove(&key).unwrap_or_default());
        shared.tallies.left_messages.up(group.restore(back) as u64);
    }
}

/// A QoS 2 message became durable: its packet id is known until it is released. As the delivery meets it, so that what is
/// saved with a position has every id up to there. `is_start`: nobody is connected, and it comes back.
pub(crate) fn took(shared: &Shared, record: &journal::Record, is_start: bool) {
    let message = &record.message;
    if message.qos != Qos::ExactlyOnce || message.packet_id == 0 || message.origin.door != Door::Mqtt {
        return;
    }
    let session = shared.sessions.find(&Owner::of_origin(&message.origin), &message.origin.client_id);
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
