//! One session: what a client subscribes to and what it still has to be sent, with or without a connection.
//!
//! Not here: which session a client id has ([`Sessions`](crate::sessions::Sessions)), bytes, sockets. The laws: only
//! the connection that holds the session takes from it; a session that ended takes nothing more; every message that
//! is not kept is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use bytestring::ByteString;
use hashbrown::HashMap;
use identity::{Action, Permissions, Who};
use model::{ConnectionId, Qos, Timestamp, TopicFilter, TopicName};
use mqtt::{AckType, Reason, Version};
use parking_lot::Mutex;

use crate::group::Group;
use crate::incoming::Incoming;
use crate::link::{Link, OUTBOX};
use crate::outbox::{Bounds, Left, Next, Outbox, Pushed, Received, Source, Steps, Withdrawn};
use crate::owner::Owner;
use crate::prepared::{self, Variants};
use crate::retained::Kept;
use crate::store::Snapshot;
use crate::tally::{Drop, Tallies};
use crate::trie::Key;
use crate::view::{ConnectionView, FilterView, SessionView};
use crate::will::Will;

/// One session.
pub(crate) struct Session {
    /// Unique in the process's life.
    pub(crate) key: Key,
    pub(crate) client_id: ByteString,
    /// Whose it is.
    pub(crate) owner: Owner,
    /// Of a client that is confined.
    pub(crate) is_confined: bool,
    /// Its row in the catalog, if [`is_durable`](Self::is_durable).
    pub(crate) id: u64,
    /// The journal's end when it began.
    pub(crate) since: u64,
    /// It may outlive its connection, and so the process.
    pub(crate) is_durable: bool,
    /// It changed since it was saved.
    is_dirty: AtomicBool,
    state: Mutex<State>,
}

/// A subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) qos_max: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// Its identifier, or 0.
    pub(crate) id: u32,
    /// The journal's end when it began.
    pub(crate) since: u64,
}

/// What changes.
pub(crate) struct State {
    /// The connection that holds it.
    pub(crate) link: Option<Arc<Link>>,
    /// Who connected last.
    pub(crate) who: Who,
    /// The version its client speaks, or spoke last.
    pub(crate) version: Version,
    pub(crate) outbox: Outbox,
    /// QoS 2 on its way in.
    pub(crate) incoming: Incoming,
    pub(crate) filters: HashMap<TopicFilter, Filter>,
    /// Counts the changes of `filters`.
    pub(crate) filters_revision: u64,
    /// The shared ones of its subscriptions.
    pub(crate) groups: Vec<Arc<Group>>,
    /// Retained messages that its subscriptions are still to be sent.
    pub(crate) owed: Vec<Owed>,
    /// Releases of QoS 2 ids that are durable and have had their effect, since the last save.
    pub(crate) released: Vec<(u16, u64)>,
    pub(crate) permissions: Permissions,
    /// How long it outlives its connection, in seconds; 0: not at all.
    pub(crate) expiry_s: u32,
    /// What is published when its client goes without a word, or is to be published at `will_due`.
    pub(crate) will: Option<Box<Will>>,
    /// By the monotonic clock, while nobody is connected: when the will is due, and when the session ends.
    pub(crate) will_due: Option<u64>,
    pub(crate) ends_due: Option<u64>,
    /// It is forgotten: whoever still holds it must not use it.
    pub(crate) is_ended: bool,
    /// Somebody reads what was left in the journal.
    pub(crate) is_refilling: bool,
}

/// Retained messages that a subscription is still to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) filter: TopicFilter,
    pub(crate) qos_max: Qos,
    /// Its identifier, or 0.
    pub(crate) id: u32,
    /// Those of records up to here, once that is known: what came later came as it was published.
    pub(crate) upto: Option<u64>,
    /// Those of topics behind this one, in the order in which they are found.
    pub(crate) after: Option<TopicName>,
}

/// What became of a message that a group offers to a member.
pub(crate) enum Offered {
    /// It has it. The link is to be woken.
    Taken(Option<Arc<Link>>),
    /// Its window is full.
    NoRoom,
    /// It is not connected.
    Away,
    /// It cannot have this message.
    Never(Drop),
}

/// How one message is to be delivered to one session: what its matching subscriptions amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms<'a> {
    pub(crate) qos_max: Qos,
    /// The retain flag is passed on as it was published.
    pub(crate) retain_as_published: bool,
    pub(crate) ids: &'a [u32],
}

/// What a connection takes at once.
#[derive(Default)]
pub(crate) struct Taken {
    /// Packets written, by QoS.
    pub(crate) sent: [u64; 3],
    /// Their bytes.
    pub(crate) bytes: u64,
    /// When the first of them was queued, by the monotonic clock.
    pub(crate) oldest_mono: Option<u64>,
    /// Of these, sent again.
    pub(crate) resent: u64,
    /// Memory has room for what was left in the journal: it is to be read from this `seq` on.
    pub(crate) refill: Option<u64>,
    /// What is to be durable before more is sent.
    pub(crate) steps: Steps,
    /// Groups that have something for it: it has room.
    pub(crate) behind: Vec<Arc<Group>>,
}

impl Session {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        key: Key,
        client_id: ByteString,
        owner: Owner,
        who: Who,
        version: Version,
        permissions: Permissions,
        id: u64,
        since: u64,
        is_durable: bool,
    ) -> Self {
        Self {
            key,
            client_id,
            owner,
            is_confined: !is_durable && who.is_confined(),
            id,
            since,
            is_durable,
            is_dirty: AtomicBool::new(false),
            state: Mutex::new(State {
                link: None,
                who,
                version,
                outbox: if is_durable { Outbox::recording() } else { Outbox::default() },
                incoming: Incoming::default(),
                filters: HashMap::new(),
                filters_revision: 0,
                groups: Vec::new(),
                owed: Vec::new(),
                released: Vec::new(),
                permissions,
                expiry_s: 0,
                will: None,
                will_due: None,
                ends_due: None,
                is_ended: false,
                is_refilling: false,
            }),
        }
    }

    /// Its state, for a moment. Lock order: the map of sessions, a session, the trie.
    pub(crate) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// It changed: it is to be saved.
    pub(crate) fn touch(&self) {
        if self.is_durable && !self.is_dirty.load(Ordering::Relaxed) {
            self.is_dirty.store(true, Ordering::Release);
        }
    }

    /// Whether it changed since it was saved.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::Acquire)
    }

    /// What of it is to be saved, as of `position` in the journal. From here on it counts as saved.
    pub(crate) fn snapshot(self: &Arc<Self>, now: Timestamp, now_mono: u64, position: u64) -> Snapshot {
        let mut state = self.state.lock();
        self.is_dirty.store(false, Ordering::Release);
        let ends_at = state
            .ends_due
            .filter(|_| state.link.is_none())
            .map(|due| now.plus_micros(i64::try_from(due.saturating_sub(now_mono)).unwrap_or(i64::MAX)));
        let (outbox, incoming) = (state.outbox.save(), state.incoming.records());
        // A later record is met again by the scan after a crash, and its release must be known then.
        let released = state.released.extract_if(.., |(_, seq)| *seq <= position).collect();
        let (version, expiry_s) = (state.version, state.expiry_s);
        let (owed, filters_revision) = (state.owed.clone(), state.filters_revision);
        drop(state);
        Snapshot {
            session: Arc::clone(self),
            version,
            expiry_s,
            ends_at,
            outbox,
            incoming,
            owed,
            filters_revision,
            released,
        }
    }

    /// It could not be saved.
    pub(crate) fn not_saved(&self, snapshot: &Snapshot) {
        let mut state = self.state.lock();
        state.released.extend_from_slice(&snapshot.released);
        state.outbox.not_saved(&snapshot.outbox);
        drop(state);
        self.touch();
    }

    /// Queues a message. The link is given back when its task is to be woken once the caller has delivered all it
    /// has. `to`: only when this connection holds the session.
    pub(crate) fn deliver(
        &self,
        variants: &mut Variants<'_>,
        terms: &Terms<'_>,
        to: Option<ConnectionId>,
        limits: &Limits<'_>,
    ) -> Option<Arc<Link>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.is_ended || (to.is_some() && state.link.as_ref().map(|link| link.id) != to) {
            return None;
        }
        let message = variants.message();
        if !state.permissions.may(Action::Receive, &message.topic).is_permitted() {
            limits.tallies.dropped(Drop::NotReceivable).one();
            return None;
        }
        let qos = message.qos.min(terms.qos_max);
        let is_away = state.link.is_none();
        if is_away && qos == Qos::AtMostOnce {
            limits.tallies.dropped(Drop::Away).one();
            return None;
        }
        let retain = terms.retain_as_published && message.retain;
        let seq = variants.seq();
        if state.outbox.is_known(seq, Source::Own) {
            return None;
        }
        let left = (seq > 0).then(|| Left {
            seq,
            source: Source::Own,
            qos_max: terms.qos_max,
            retain,
            ids: (!terms.ids.is_empty()).then(|| terms.ids.into()),
        });
        let Some(prepared) = variants.get(state.version, terms.qos_max, retain, terms.ids) else {
            limits.tallies.dropped(Drop::TooLarge).one();
            return None;
        };
        let bytes = prepared.bytes();
        match state.outbox.push(prepared, left, limits.bounds, limits.is_full(), is_away, Source::Own) {
            Pushed::Queued => {
                limits.tallies.queued_messages.up(1);
                limits.tallies.queued_bytes.up(bytes as u64);
            }
            Pushed::Left if limits.tallies.left_messages.get() >= limits.left_total_max as u64 => {
                state.outbox.take_back_left();
                limits.tallies.dropped(Drop::QueueFull).one();
                return None;
            }
            Pushed::Left => limits.tallies.left_messages.up(1),
            Pushed::Dropped(reason) => {
                limits.tallies.dropped(reason).one();
                return None;
            }
        }
        if qos != Qos::AtMostOnce {
            self.touch();
        }
        let link = state.link.as_ref()?;
        link.signal.mark(OUTBOX).then(|| Arc::clone(link))
    }

    /// Takes a message of the group `key`, if its window has room.
    pub(crate) fn offer(
        &self,
        variants: &mut Variants<'_>,
        terms: &Terms<'_>,
        key: Key,
        limits: &Limits<'_>,
    ) -> Offered {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(link) = state.link.as_ref().filter(|_| !state.is_ended) else { return Offered::Away };
        let message = variants.message();
        if !state.permissions.may(Action::Receive, &message.topic).is_permitted() {
            return Offered::Never(Drop::NotReceivable);
        }
        let retain = terms.retain_as_published && message.retain;
        let Some(prepared) = variants.get(state.version, terms.qos_max, retain, terms.ids) else {
            return Offered::Never(Drop::TooLarge);
        };
        let bytes = prepared.bytes();
        // Another member may be able to receive it (MQTT 5.0, section 3.1.2.11.4).
        if link.packet_bytes_max.is_some_and(|most| bytes > most.get() as usize) {
            return Offered::Never(Drop::TooLarge);
        }
        let has_room = state.outbox.fits(bytes, limits.bounds, limits.is_full())
            && (prepared.qos() == Qos::AtMostOnce || state.outbox.has_room(link.window));
        if !has_room {
            return Offered::NoRoom;
        }
        if prepared.qos() != Qos::AtMostOnce {
            self.touch();
        }
        state.outbox.push(prepared, None, limits.bounds, limits.is_full(), false, Source::Group(key));
        limits.tallies.queued_messages.up(1);
        limits.tallies.queued_bytes.up(bytes as u64);
        Offered::Taken(link.signal.mark(OUTBOX).then(|| Arc::clone(link)))
    }

    /// Queues a retained message for the connection that holds the session. `false`: there is no room yet.
    pub(crate) fn deliver_retained(
        &self,
        kept: &Kept,
        filter: &TopicFilter,
        terms: &Terms<'_>,
        now_mono: u64,
        limits: &Limits<'_>,
    ) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let outbox = &mut state.outbox;
        // Half is left to what is published now.
        let has_room = outbox.queued() <= limits.bounds.messages_max / 2
            && outbox.queued_bytes() <= limits.bounds.bytes_max / 2;
        if !has_room {
            return false;
        }
        if !state.permissions.may(Action::Receive, &kept.message.topic).is_permitted() {
            limits.tallies.dropped(Drop::NotReceivable).one();
            return true;
        }
        // After a crash: it was begun before, and goes on as a flight.
        if outbox.is_known(kept.seq, Source::Retained) {
            return true;
        }
        let mut variants = Variants::new(&kept.message, kept.seq, now_mono);
        let Some(prepared) = variants.get(state.version, terms.qos_max, true, terms.ids) else {
            limits.tallies.dropped(Drop::TooLarge).one();
            return true;
        };
        let bytes = prepared.bytes();
        match outbox.push(prepared, None, limits.bounds, false, false, Source::Retained) {
            Pushed::Dropped(reason) => {
                limits.tallies.dropped(reason).one();
            }
            Pushed::Queued | Pushed::Left => {
                limits.tallies.queued_messages.up(1);
                limits.tallies.queued_bytes.up(bytes as u64);
            }
        }
        if let Some(owed) = state.owed.iter_mut().find(|owed| owed.filter == *filter) {
            owed.after = Some(kept.message.topic.clone());
            self.touch();
        }
        true
    }

    /// Steps of QoS 2 are on record, or cannot be put there: what waits for them goes on.
    pub(crate) fn recorded(&self, serials: &[u64], is_so: bool) {
        let mut state = self.state.lock();
        state.outbox.recorded(serials, is_so);
        if let Some(link) = &state.link {
            link.signal.raise(OUTBOX);
        }
    }

    /// Its subscriptions as an operator sees them, by filter.
    pub(crate) fn filters(&self) -> Vec<FilterView> {
        let view = |(name, filter): (&TopicFilter, &Filter)| FilterView {
            filter: name.to_string(),
            qos_max: filter.qos_max,
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            id: filter.id,
        };
        let mut views: Vec<_> = self.state.lock().filters.iter().map(view).collect();
        views.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
        views
    }

    /// The session as an operator sees it.
    pub(crate) fn view(&self) -> SessionView {
        let state = self.state.lock();
        SessionView {
            client_id: self.client_id.clone(),
            principal: state.who.principal.clone(),
            device: self.owner.device().cloned(),
            is_confined: self.is_confined,
            connection: state.link.as_ref().map(|link| ConnectionView {
                id: link.id,
                peer: link.peer,
                version: link.version,
                connected_at: link.connected_at,
                is_bridge: link.is_bridge(),
            }),
            filters: state.filters.len(),
            queued: state.outbox.queued(),
            queued_bytes: state.outbox.queued_bytes(),
            left: state.outbox.left(),
            inflight: state.outbox.inflight(),
            expiry_s: state.expiry_s,
        }
    }

    /// Writes packets to `out` until it holds `bytes_high`, the window is full or nothing is left. Nothing when
    /// another connection holds the session by now.
    pub(crate) fn take(
        &self,
        link: &Link,
        now_mono: u64,
        bytes_high: usize,
        limits: &Limits<'_>,
        out: &mut BytesMut,
    ) -> Taken {
        let mut taken = Taken::default();
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.link.as_ref().is_none_or(|held| held.id != link.id) {
            return taken;
        }
        let outbox = &mut state.outbox;
        let (queued, bytes, inflight) = (outbox.queued(), outbox.queued_bytes(), outbox.inflight());
        while out.len() < bytes_high {
            let dropped = |reason| {
                limits.tallies.dropped(reason).one();
            };
            match outbox.next(link.window, now_mono, link.packet_bytes_max, dropped) {
                None => break,
                Some(Next::Publish(outgoing)) => {
                    prepared::write(&outgoing, link.version, now_mono, out);
                    taken.sent[outgoing.prepared.qos() as usize] += 1;
                    taken.oldest_mono.get_or_insert(outgoing.prepared.made_mono());
                    taken.bytes += outgoing.prepared.bytes() as u64;
                    taken.resent += u64::from(outgoing.dup);
                }
                Some(Next::Release(packet_id)) => release(packet_id, link.version, out),
            }
        }
        limits.tallies.queued_messages.down((queued - outbox.queued()) as u64);
        limits.tallies.queued_bytes.down((bytes - outbox.queued_bytes()) as u64);
        limits.tallies.inflight.up((outbox.inflight() - inflight) as u64);
        taken.steps = outbox.steps();
        if !state.groups.is_empty() && outbox.has_room(link.window) {
            taken.behind = state.groups.iter().filter(|group| group.is_behind()).cloned().collect();
        }
        if outbox.queued() != queued {
            self.touch();
        }
        if !state.is_refilling {
            taken.refill = outbox.wanted(limits.bounds);
            state.is_refilling = taken.refill.is_some();
        }
        taken
    }

    /// PUBACK or PUBCOMP: a message needs nothing more. Nothing happens when no message of this id was on its way so far,
    /// or another connection holds the session by now.
    pub(crate) fn acknowledge(&self, link: &Link, ack: AckType, packet_id: u16, tallies: &Tallies) {
        let mut state = self.state.lock();
        let is_held = state.link.as_ref().is_some_and(|held| held.id == link.id);
        let is_known = is_held
            && match ack {
                AckType::PubComp => state.outbox.complete(packet_id),
                _ => state.outbox.acknowledge(packet_id),
            };
        if is_known {
            tallies.inflight.down(1);
            self.touch();
        }
    }

    /// PUBREC: the client has a QoS 2 message, or does not want it.
    pub(crate) fn receive(
        &self,
        link: &Link,
        packet_id: u16,
        is_refused: bool,
        tallies: &Tallies,
    ) -> Received {
        let mut state = self.state.lock();
        if !state.is_held_by(link) {
            return Received::Unknown;
        }
        let received = state.outbox.receive(packet_id, is_refused);
        self.touch();
        drop(state);
        if received == Received::Refused {
            tallies.inflight.down(1);
            tallies.dropped(Drop::NotWanted).one();
        }
        received
    }
}

/// Appends a PUBREL.
fn release(packet_id: u16, version: Version, out: &mut BytesMut) {
    mqtt::encode_ack(AckType::PubRel, packet_id, Reason::Success, version, out)
        .expect("a flight has a packet id");
}

/// The bounds of sessions, and where what exceeds them is counted.
pub(crate) struct Limits<'a> {
    pub(crate) bounds: &'a Bounds,
    pub(crate) queues_bytes_max: usize,
    pub(crate) left_total_max: usize,
    pub(crate) tallies: &'a Tallies,
}

impl Limits<'_> {
    /// Whether all sessions together have as much in memory as they may.
    fn is_full(&self) -> bool {
        self.tallies.queued_bytes.get() >= self.queues_bytes_max as u64
    }
}

impl State {
    /// Record `seq` was read again for a flight of an earlier process.
    pub(crate) fn fly_again(&mut self, seq: u64, source: Source, variants: &mut Variants<'_>) {
        let version = self.version;
        self.outbox.fly_again(seq, source, |left| {
            variants.get(version, left.qos_max, left.retain, left.ids.as_deref().unwrap_or_default())
        });
    }

    /// A subscription is to be sent retained messages: from the first on, if it was on its way with them already.
    pub(crate) fn owe(&mut self, owed: Owed) {
        self.owed.retain(|known| known.filter != owed.filter);
        self.owed.push(owed);
    }

    /// Whether `link` still holds the session.
    pub(crate) fn is_held_by(&self, link: &Link) -> bool {
        !self.is_ended && self.link.as_ref().is_some_and(|held| held.id == link.id)
    }

    /// The session ends: gives back its filters and what others may have, and counts what else it still had to send.
    pub(crate) fn end(&mut self, tallies: &Tallies) -> (HashMap<TopicFilter, Filter>, Vec<(Key, u64)>) {
        self.is_ended = true;
        let given = self.give_back(true, tallies);
        let outbox = std::mem::take(&mut self.outbox);
        tallies.queued_messages.down(outbox.queued() as u64);
        tallies.queued_bytes.down(outbox.queued_bytes() as u64);
        tallies.left_messages.down(outbox.left() as u64);
        tallies.inflight.down(outbox.inflight() as u64);
        let lost = outbox.queued() + outbox.left() + outbox.inflight();
        tallies.dropped(Drop::SessionEnded).add(lost as u64);
        self.groups = Vec::new();
        self.owed = Vec::new();
        (std::mem::take(&mut self.filters), given)
    }

    /// Takes what other members of its groups may have: what was not begun, and with `is_over` what is on its way at QoS 1.
    pub(crate) fn give_back(&mut self, is_over: bool, tallies: &Tallies) -> Vec<(Key, u64)> {
        if self.groups.is_empty() {
            return Vec::new();
        }
        lighten(&mut self.outbox, tallies, |outbox| outbox.give_back(is_over))
    }

    /// What its client may not be sent any more goes; gives what other members of its groups may have.
    pub(crate) fn withdraw(&mut self, tallies: &Tallies) -> Vec<(Key, u64)> {
        let permissions = &self.permissions;
        let may = |topic: &TopicName| permissions.may(Action::Receive, topic).is_permitted();
        let Withdrawn { dropped, given } = lighten(&mut self.outbox, tallies, |outbox| outbox.withdraw(may));
        tallies.dropped(Drop::NotReceivable).add(dropped as u64);
        given
    }

    /// Nobody holds the session any more: what is QoS 0 goes, and what others may have is given back.
    pub(crate) fn away(&mut self, tallies: &Tallies) -> Vec<(Key, u64)> {
        self.link = None;
        let given = self.give_back(false, tallies);
        let gone = lighten(&mut self.outbox, tallies, Outbox::away);
        tallies.dropped(Drop::Away).add(gone as u64);
        given
    }
}

/// Takes something out of an outbox; the tallies follow.
fn lighten<T>(outbox: &mut Outbox, tallies: &Tallies, take: impl FnOnce(&mut Outbox) -> T) -> T {
    let (queued, bytes, inflight) = (outbox.queued(), outbox.queued_bytes(), outbox.inflight());
    let taken = take(outbox);
    tallies.queued_messages.down((queued - outbox.queued()) as u64);
    tallies.queued_bytes.down((bytes - outbox.queued_bytes()) as u64);
    tallies.inflight.down((inflight - outbox.inflight()) as u64);
    taken
}
