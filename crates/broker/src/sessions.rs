//! Which session a client id has: made, taken over, left, ended.
//!
//! Not here: what is in a session, sockets, waiting. Decisions are made under one lock and carried out after it: what
//! is to be done (a connection to end, a will to publish, subscriptions to take away) is handed to the caller. The
//! laws:
//!
//! - One owner and client id, one session, one connection (MQTT 5.0, section 3.1.4, MQTT-3.1.4-3).
//! - A session is gone on with by the device that it belongs to, whichever of its certificates or passwords it shows; by the
//!   same principal when that has no device. The same client id of anybody else is another session: whoever takes a name that
//!   is not his ends, hears and holds up nothing.
//! - It is judged by who connected last, not by who made it.
//! - Whoever is confined has a session of its own, that ends with its connection; the other one waits as it is.
//! - Sessions are bounded in number, and each ends at last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytestring::ByteString;
use hashbrown::HashMap;
use identity::{Permissions, Who};
use model::TopicFilter;
use parking_lot::Mutex;

use crate::link::Link;
use crate::owner::Owner;
use crate::session::{Filter, Session};
use crate::tally::Tallies;
use crate::trie::Key;
use crate::will::Will;

const SECOND_MICROS: u64 = 1_000_000;

/// Every session, by owner and then by client id.
#[derive(Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
    key_next: AtomicU64,
}

#[derive(Default)]
struct Table {
    by_owner: HashMap<Owner, HashMap<Name, Arc<Session>>>,
    count: usize,
}

/// How an owner's sessions are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    /// Of a client that is confined (`Who::is_confined`): what it had before waits in its other session until it is not.
    is_confined: bool,
    client_id: ByteString,
}

impl Name {
    fn of(session: &Session) -> Self {
        Self { is_confined: session.is_confined, client_id: session.client_id.clone() }
    }
}

impl Table {
    fn find(&self, owner: &Owner, name: &Name) -> Option<&Arc<Session>> {
        self.by_owner.get(owner)?.get(name)
    }

    fn put(&mut self, session: &Arc<Session>) {
        let of_owner = self.by_owner.entry(session.owner.clone()).or_default();
        self.count += usize::from(of_owner.insert(Name::of(session), Arc::clone(session)).is_none());
    }

    /// The session that is to end when this owner gets another one: it is away, and has been for the longest.
    fn crowded_out(&self, owner: &Owner, most: usize) -> Result<Option<Arc<Session>>, NoSession> {
        let Some(of_owner) = self.by_owner.get(owner).filter(|of_owner| of_owner.len() >= most) else {
            return Ok(None);
        };
        // A claim is of a whole batch of devices, a user of many programs.
        if owner.device().is_none() {
            return Ok(None);
        }
        let away = of_owner.values().filter_map(|session| {
            let state = session.state();
            // The clock began with the process: who went before it did so at a negative time.
            let ends = i128::from(state.ends_due?);
            let since = ends - i128::from(state.expiry_s) * i128::from(SECOND_MICROS);
            state.link.is_none().then_some((since, session))
        });
        let longest = away.min_by_key(|(since, _)| *since);
        longest.map(|(_, session)| Some(Arc::clone(session))).ok_or(NoSession::DeviceFull)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_owner.values().flat_map(HashMap::values)
    }

    fn remove(&mut self, session: &Arc<Session>, tallies: &Tallies) {
        let name = Name::of(session);
        let Some(of_owner) = self.by_owner.get_mut(&session.owner) else { return };
        if of_owner.get(&name).is_some_and(|known| Arc::ptr_eq(known, session)) {
            of_owner.remove(&name);
            if of_owner.is_empty() {
                self.by_owner.remove(&session.owner);
            }
            self.count -= 1;
            tallies.sessions.down(1);
        }
    }
}

/// What a new connection asks for.
pub(crate) struct Ask {
    pub(crate) link: Arc<Link>,
    pub(crate) who: Who,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) permissions: Permissions,
    /// The row of a new session that outlives its connection, and the journal's end.
    pub(crate) id: u64,
    pub(crate) since: u64,
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) all: usize,
    /// Of one device.
    pub(crate) per_device: usize,
}

/// What it got, and what is to be done for it.
pub(crate) struct Attached {
    pub(crate) session: Arc<Session>,
    /// An older session goes on.
    pub(crate) is_present: bool,
    /// … by another proof than before: its row is to say so.
    pub(crate) is_proved_anew: bool,
    /// The connection that held the client id until now: it is to end.
    pub(crate) taken_over: Option<Arc<Link>>,
    /// The will that its end, or the end of the older session, brings about.
    pub(crate) will: Option<Box<Will>>,
    /// The older session ended, or one of the same device that is away for longer than all others: its subscriptions are to go.
    pub(crate) ended: Option<Ended>,
    /// What it had of its groups.
    pub(crate) given: Given,
    /// The times that were set for it and no longer count.
    pub(crate) dues: Dues,
    /// The row of a will that is not to be published any more.
    pub(crate) will_over: Option<u64>,
}

/// A session that ended.
pub(crate) struct Ended {
    pub(crate) session: Arc<Session>,
    pub(crate) filters: HashMap<TopicFilter, Filter>,
}

/// Messages that members give back to their groups: of each the group and the record.
pub(crate) type Given = Vec<(Key, u64)>;

/// When a session without a connection is to be looked at, by the monotonic clock in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dues {
    pub(crate) will: Option<u64>,
    pub(crate) end: Option<u64>,
}

/// Why a new connection got no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// There are as many as there may be.
    Full,
    /// There are as many of this device as there may be, and all are connected.
    DeviceFull,
}

/// What is to be done after a connection let go of its session, or a time came.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) will: Option<Box<Will>>,
    pub(crate) ended: Option<Ended>,
    pub(crate) given: Given,
    pub(crate) dues: Dues,
    /// The row of a will that is not to be published any more.
    pub(crate) will_over: Option<u64>,
    /// The row of one that is to be published, and when, by the monotonic clock.
    pub(crate) will_waits: Option<(u64, u64)>,
}

impl Sessions {
    /// Gives `ask.link` the session of its client id: the older one when there is one that may go on, else a new one.
    pub(crate) fn attach(&self, ask: Ask, most: Most, tallies: &Tallies) -> Result<Attached, NoSession> {
        let mut table = self.table.lock();
        let name = Name { is_confined: ask.who.is_confined(), client_id: ask.link.client_id.clone() };
        let Some(older) = table.find(&Owner::of(&ask.who), &name).cloned() else {
            let over = table.crowded_out(&Owner::of(&ask.who), most.per_device)?;
            if table.count - usize::from(over.is_some()) >= most.all {
                return Err(NoSession::Full);
            }
            let over = over.map(|over| {
                let mut state = over.state();
                let dues = Dues { will: state.will_due.take(), end: state.ends_due.take() };
                let will = state.will.take();
                let (filters, given) = state.end(tallies);
                drop(state);
                table.remove(&over, tallies);
                (dues, will, given, Ended { session: over, filters })
            });
            tallies.sessions.up(1);
            let made = self.make(&mut table, ask);
            return Ok(match over {
                None => made,
                Some((dues, will, given, ended)) => {
                    Attached { will, ended: Some(ended), given, dues, ..made }
                }
            });
        };
        let mut state = older.state();
        let taken_over = state.link.take();
        let dues = Dues { will: state.will_due.take(), end: state.ends_due.take() };
        let will = state.will.take();
        if !ask.clean_start && state.expiry_s > 0 {
            // MQTT 5.0, section 3.1.3.2.2: a will that would have waited is not sent to a session that goes on; one
            // that would not have waited was due when the older connection went.
            let (will, over) = match will {
                Some(will) if taken_over.is_some() && will.will.delay_s == 0 => (Some(will), None),
                will => (None, will),
            };
            let will_over = over.map(|will| will.row);
            let is_proved_anew = state.who.principal != ask.who.principal;
            state.who = ask.who;
            state.version = ask.link.version;
            state.permissions = ask.permissions;
            state.expiry_s = ask.expiry_s;
            state.will = ask.will;
            state.outbox.resume();
            state.link = Some(ask.link);
            drop(state);
            older.touch();
            let (ended, given) = (None, Given::new());
            return Ok(Attached {
                session: older,
                is_present: true,
                is_proved_anew,
                taken_over,
                will,
                ended,
                given,
                dues,
                will_over,
            });
        }
        let (filters, given) = state.end(tallies);
        drop(state);
        let made = self.make(&mut table, ask);
        Ok(Attached { taken_over, will, ended: Some(Ended { session: older, filters }), given, dues, ..made })
    }

    fn make(&self, table: &mut Table, ask: Ask) -> Attached {
        let key = self.key_next.fetch_add(1, Ordering::Relaxed);
        let client_id = ask.link.client_id.clone();
        let session = Session::new(
            key,
            client_id,
            Owner::of(&ask.who),
            ask.who,
            ask.link.version,
            ask.permissions,
            ask.id,
            ask.since,
            ask.expiry_s > 0,
        );
        {
            let mut state = session.state();
            state.expiry_s = ask.expiry_s;
            state.will = ask.will;
            state.link = Some(ask.link);
        }
        let session = Arc::new(session);
        table.put(&session);
        Attached {
            session,
            is_present: false,
            is_proved_anew: false,
            taken_over: None,
            will: None,
            ended: None,
            given: Given::new(),
            dues: Dues::default(),
            will_over: None,
        }
    }

    /// `link` lets go of `session`. `keeps_will`: the client did not say goodbye, its will counts. Nothing happens when
    /// another connection holds the session by now.
    pub(crate) fn detach(
        &self,
        session: &Arc<Session>,
        link: &Link,
        keeps_will: bool,
        now_mono: u64,
        tallies: &Tallies,
    ) -> After {
        let mut table = self.table.lock();
        let mut state = session.state();
        if !state.is_held_by(link) {
            return After::default();
        }
        let will_over = if keeps_will { None } else { state.will.take().map(|will| will.row) };
        let mut given = state.away(tallies);
        session.touch();
        let due = |seconds: u32| now_mono + u64::from(seconds) * SECOND_MICROS;
        if state.expiry_s == 0 {
            let will = state.will.take();
            let (filters, more) = state.end(tallies);
            drop(state);
            given.extend(more);
            table.remove(session, tallies);
            let ended = Some(Ended { session: Arc::clone(session), filters });
            return After { will, ended, given, will_over, ..After::default() };
        }
        // MQTT 5.0, section 3.1.3.2.2: at the end of its delay or of the session, whichever comes first.
        let delay_s = state.will.as_ref().map_or(0, |will| will.will.delay_s.min(state.expiry_s));
        let will = if delay_s == 0 { state.will.take() } else { None };
        state.will_due = state.will.is_some().then(|| due(delay_s));
        state.ends_due = Some(due(state.expiry_s));
        let dues = Dues { will: state.will_due, end: state.ends_due };
        let will_waits = state.will.as_ref().map(|will| will.row).zip(dues.will);
        After { will, ended: None, given, dues, will_over, will_waits }
    }

    /// A time that was set for `session` has come: does what is due at `now_mono`.
    pub(crate) fn due(&self, session: &Arc<Session>, now_mono: u64, tallies: &Tallies) -> After {
        let mut table = self.table.lock();
        let mut state = session.state();
        let mut after = After::default();
        if state.is_ended || state.link.is_some() {
            return after;
        }
        let is_ending = state.ends_due.is_some_and(|due| due <= now_mono);
        if is_ending || state.will_due.is_some_and(|due| due <= now_mono) {
            state.will_due = None;
            after.will = state.will.take();
        }
        if is_ending {
            tallies.sessions_expired.one();
            let (filters, given) = state.end(tallies);
            drop(state);
            after.given = given;
            table.remove(session, tallies);
            after.ended = Some(Ended { session: Arc::clone(session), filters });
        }
        after
    }

    /// Takes in a session of an earlier process, made for the key that it is given.
    pub(crate) fn bring_back(&self, make: impl FnOnce(Key) -> Session) -> Arc<Session> {
        let session = Arc::new(make(self.key_next.fetch_add(1, Ordering::Relaxed)));
        self.table.lock().put(&session);
        session
    }

    /// The sessions that changed since they were saved.
    pub(crate) fn dirty(&self) -> Vec<Arc<Session>> {
        self.table.lock().all().filter(|session| session.is_dirty()).cloned().collect()
    }

    /// Every session, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.table.lock().all().cloned().collect()
    }

    /// The session that outlives the connections of this owner's client.
    pub(crate) fn find(&self, owner: &Owner, client_id: &ByteString) -> Option<Arc<Session>> {
        let name = Name { is_confined: false, client_id: client_id.clone() };
        self.table.lock().find(owner, &name).cloned()
    }

    /// The sessions of a client id, of whichever owners. Walks all of them: for operators.
    pub(crate) fn of_client(&self, client_id: &str) -> Vec<Arc<Session>> {
        self.table.lock().all().filter(|session| *session.client_id == *client_id).cloned().collect()
    }
}
