//! Shared subscriptions: a group of sessions of which each message goes to one (MQTT 5.0, section 4.8.2).
//!
//! ```text
//! message ─→ a member whose window has room, in turn ─→ its outbox
//!    └─────→ nobody has room, or nobody is there: waits, as a `seq` ─→ feed, as soon as one has
//! ```
//!
//! A group is one share name with one filter. Not here: what a member does with its message (`outbox`), saving (`store`). The
//! laws:
//!
//! - **One member each.** What was begun with a member stays with it; what it had not begun when it left, and QoS 1 that it had
//!   not acknowledged when its session ended, goes to another one. QoS 2 that was begun goes to nobody else (MQTT-4.8.2-4, -5).
//! - **Nobody waits for a slow member**: one without room is passed over.
//! - **Nothing is lost while a member's session lives**: QoS 1 and 2 wait in the journal, bounded as a session's queue is, and
//!   counted when they do not fit. QoS 0 waits for nobody.
//!
//! Lock order: the map of groups, a group, a session, the trie.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use model::{Qos, TopicFilter};
use mqtt::SubscriptionFilter;
use parking_lot::{Mutex, RwLock};

use crate::backlog::{Changes, Ledger};
use crate::delivery;
use crate::fanout::{Subscriber, Subscriptions};
use crate::link::Link;
use crate::outbox::{Left, Source};
use crate::prepared::Variants;
use crate::session::{Filter, Limits, Offered, Session, Terms};
use crate::shared::Shared;
use crate::store;
use crate::tally::Drop;
use crate::trie::Key;

/// Groups have keys of their own: sessions count up from 0.
const KEY_OF_GROUP: Key = 1 << 63;

/// One shared subscription.
pub(crate) struct Group {
    /// Unique among groups and sessions, and the same after a restart.
    pub(crate) key: Key,
    /// As it is subscribed to: `$share/name/filter`.
    pub(crate) name: TopicFilter,
    filter: TopicFilter,
    /// The journal's end when it began.
    pub(crate) since: u64,
    /// Something waits: a member that gets room is to say so.
    is_behind: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
    /// Given back by members, and older than what waits.
    returned: BTreeSet<u64>,
    waiting: VecDeque<u64>,
    ledger: Ledger,
    /// Somebody reads what waits from the journal.
    is_fed: bool,
    /// While the process starts: what members had begun when it ended.
    known: HashSet<u64>,
    /// It changed since it was saved.
    is_dirty: bool,
}

struct Member {
    session: Arc<Session>,
    filter: Filter,
}

/// What became of a message that was offered to everybody in turn.
enum Handed {
    /// A member has it. The link is to be woken.
    Taken(Option<Arc<Link>>),
    /// Somebody could take it later.
    NoRoom(Drop),
    /// Nobody can.
    Nobody(Drop),
}

/// What of a group is to be saved.
pub(crate) struct Snapshot {
    pub(crate) group: Arc<Group>,
    pub(crate) returned: Vec<u64>,
    pub(crate) backlog: Changes,
}

/// What of a group was saved.
#[derive(Debug, Default)]
pub(crate) struct Back {
    pub(crate) returned: Vec<u64>,
    pub(crate) head: u64,
    pub(crate) waiting: Vec<u64>,
}

impl State {
    fn first(&self) -> Option<u64> {
        self.returned.first().or(self.waiting.front()).copied()
    }

    fn drop_first(&mut self) {
        if self.returned.pop_first().is_none() && self.waiting.pop_front().is_some() {
            self.ledger.pop_front(true);
        }
        self.is_dirty = true;
    }

    fn len(&self) -> usize {
        self.returned.len() + self.waiting.len()
    }
}

impl Group {
    /// Whether something waits for a member with room.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::SeqCst)
    }

    /// Gives a message to a member. The link is given back when its task is to be woken.
    pub(crate) fn deliver(&self, variants: &mut Variants<'_>, limits: &Limits<'_>) -> Option<Arc<Link>> {
        let mut state = self.state.lock();
        let (seq, can_wait) =
            (variants.seq(), variants.seq() > 0 && variants.message().qos != Qos::AtMostOnce);
        if !state.known.is_empty() && state.known.contains(&seq) {
            return None;
        }
        let dropped = |why: Drop| {
            limits.tallies.dropped(why).one();
            None
        };
        if !(can_wait && state.first().is_some()) {
            match self.hand(&mut state, variants, limits) {
                Handed::Taken(link) => return link,
                Handed::NoRoom(_) if can_wait => {}
                Handed::NoRoom(why) | Handed::Nobody(why) => return dropped(why),
            }
        }
        let is_full = state.len() >= limits.bounds.left_max
            || limits.tallies.left_messages.get() >= limits.left_total_max as u64;
        if is_full {
            return dropped(Drop::QueueFull);
        }
        state.waiting.push_back(seq);
        state.ledger.push(true);
        state.is_dirty = true;
        limits.tallies.left_messages.up(1);
        if self.is_behind.swap(true, Ordering::SeqCst) {
            return None;
        }
        // A member may have got room since it was asked, and has not seen that something waits.
        match self.hand(&mut state, variants, limits) {
            Handed::Taken(link) => {
                state.waiting.pop_back();
                state.ledger.pop_back(1);
                limits.tallies.left_messages.down(1);
                self.is_behind.store(false, Ordering::SeqCst);
                link
            }
            Handed::NoRoom(_) | Handed::Nobody(_) => None,
        }
    }

    /// Offers a message to the members in turn.
    fn hand(&self, state: &mut State, variants: &mut Variants<'_>, limits: &Limits<'_>) -> Handed {
        let members = state.members.len();
        let mut why_not = Handed::Nobody(Drop::Away);
        for step in 0..members {
            let at = (state.turn + step) % members;
            let Member { session, filter } = &state.members[at];
            let ids = [filter.id];
            let terms = Terms {
                qos_max: filter.qos_max,
                retain_as_published: filter.retain_as_published,
                ids: if filter.id == 0 { &[] } else { &ids },
            };
            match session.offer(variants, &terms, self.key, limits) {
                Offered::Taken(link) => {
                    state.turn = at + 1;
                    return Handed::Taken(link);
                }
                Offered::NoRoom => why_not = Handed::NoRoom(Drop::Slow),
                Offered::Away if matches!(why_not, Handed::Nobody(_)) => why_not = Handed::NoRoom(Drop::Away),
                Offered::Away => {}
                Offered::Never(why) if matches!(why_not, Handed::Nobody(_)) => why_not = Handed::Nobody(why),
                Offered::Never(_) => {}
            }
        }
        why_not
    }

    /// A member has room, or may have: what waits is brought, if somebody does not bring it already.
    pub(crate) fn wake(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut state = self.state.lock();
        if state.first().is_none() {
            return;
        }
        if !state.is_fed {
            state.is_fed = true;
            tokio::spawn(delivery::feed(Arc::clone(shared), Arc::clone(self)));
        }
    }

    /// The record that is wanted next; `None`: nothing waits, and who asks brings no more.
    pub(crate) fn wanted(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let first = state.first();
        if first.is_none() {
            self.is_behind.store(false, Ordering::SeqCst);
            state.is_fed = false;
        }
        first
    }

    /// Nothing can be brought: the journal cannot be read.
    pub(crate) fn stop(&self) {
        self.state.lock().is_fed = false;
    }

    /// Gives members what they have room for of `batch`. `false`: nobody has room, and who asks brings no more.
    pub(crate) fn feed(&self, shared: &Shared, batch: &journal::Batch, links: &mut Vec<Arc<Link>>) -> bool {
        // What moves from the group to a member is in one of them whenever they are saved.
        let _moving = shared.groups.moving.read();
        let mut state = self.state.lock();
        let (limits, now_mono) = (shared.limits(), shared.host.clock.mono_micros());
        let to = batch.records.last().map_or(0, |record| record.seq);
        let to = batch.skipped.last().map_or(0, |skipped| skipped.to).max(to);
        while let Some(seq) = state.first().filter(|seq| *seq <= to) {
            let Ok(at) = batch.records.binary_search_by_key(&seq, |record| record.seq) else {
                shared.tallies.dropped(Drop::Trimmed).one();
                shared.tallies.left_messages.down(1);
                state.drop_first();
                continue;
            };
            let mut variants = Variants::new(&batch.records[at].message, seq, now_mono);
            match self.hand(&mut state, &mut variants, &limits) {
                Handed::Taken(link) => links.extend(link),
                Handed::Nobody(why) if !state.members.is_empty() => {
                    shared.tallies.dropped(why).one();
                }
                Handed::NoRoom(_) | Handed::Nobody(_) => {
                    state.is_fed = false;
                    return false;
                }
            }
            shared.tallies.left_messages.down(1);
            state.drop_first();
        }
        true
    }

    /// What of it is to be saved, if it changed.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Option<Snapshot> {
        let mut state = self.state.lock();
        let State { members, waiting, ledger, returned, is_dirty, .. } = &mut *state;
        if !members.iter().any(|member| member.session.is_durable) || !std::mem::take(is_dirty) {
            return None;
        }
        let backlog = ledger.save(|skip| {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(waiting.len());
            waiting.range(skip..).map(|&seq| left(seq))
        });
        Some(Snapshot { group: Arc::clone(self), returned: returned.iter().copied().collect(), backlog })
    }

    /// It could not be saved.
    pub(crate) fn not_saved(&self, snapshot: &Snapshot) {
        let mut state = self.state.lock();
        state.ledger.not_saved(&snapshot.backlog);
        state.is_dirty = true;
    }

    /// While the process starts: a member had begun with these.
    pub(crate) fn know(&self, seqs: impl IntoIterator<Item = u64>) {
        self.state.lock().known.extend(seqs);
    }

    /// Everything is matched again.
    pub(crate) fn settle(&self) {
        self.state.lock().known = HashSet::new();
    }

    /// Its row in the catalog.
    pub(crate) fn id(&self) -> u64 {
        id_of(self.key)
    }

    /// Takes in what waited when the process ended, and was not begun by a member since.
    pub(crate) fn restore(&self, back: Back) -> usize {
        let mut state = self.state.lock();
        let Back { mut returned, head, mut waiting } = back;
        let before = waiting.len();
        waiting.retain(|seq| !state.known.contains(seq));
        // What a member held when it was saved may be saved in the group as well.
        returned.retain(|seq| !state.known.contains(seq) && waiting.binary_search(seq).is_err());
        state.ledger = Ledger::of(head, waiting.len() as u64, waiting.len() == before);
        state.waiting = waiting.into();
        state.returned = returned.into_iter().collect();
        state.is_dirty = true;
        self.is_behind.store(state.len() > 0, Ordering::SeqCst);
        state.len()
    }
}

/// A message of a group's, as a chunk of a backlog has it: how it is delivered is its member's.
fn left(seq: u64) -> Left {
    Left { seq, source: Source::Own, qos_max: Qos::ExactlyOnce, retain: false, ids: None }
}

/// Every group, by name.
#[derive(Default)]
pub(crate) struct Groups {
    by_name: Mutex<HashMap<TopicFilter, Arc<Group>>>,
    /// Held by whoever moves messages between groups and sessions; alone by whoever saves both.
    pub(crate) moving: RwLock<()>,
}

/// The row of the group with this key.
pub(crate) fn id_of(key: Key) -> u64 {
    key & !KEY_OF_GROUP
}

/// The key of the group with this row.
pub(crate) fn key_of(id: u64) -> Key {
    id | KEY_OF_GROUP
}

/// The group and the filter of a subscription, if it is a shared one.
pub(crate) fn shared(name: &TopicFilter) -> Option<SubscriptionFilter> {
    // Most are not, and are known by their first letter.
    let name = name.starts_with('$').then(|| SubscriptionFilter::parse(name.as_str().to_owned()).ok())??;
    name.group().is_some().then_some(name)
}

/// What a subscription is to: of a shared one, the filter behind the group.
pub(crate) fn topics(name: &TopicFilter) -> TopicFilter {
    shared(name).map_or_else(|| name.clone(), |shared| shared.filter().clone())
}

impl Groups {
    /// Makes `session` a member of the group `name`, or changes how it is one. A new group gets the row `id`, and is since `since`.
    /// `agree` decides, and is shown the group: it runs before anybody else can join or leave.
    pub(crate) fn join<E>(
        &self,
        subscriptions: &Subscriptions,
        session: &Arc<Session>,
        name: &TopicFilter,
        (id, since): (u64, u64),
        agree: impl FnOnce(&Arc<Group>) -> Result<Filter, E>,
    ) -> Result<bool, E> {
        let mut table = self.by_name.lock();
        let known = table.get(name).cloned();
        let is_new_group = known.is_none();
        let group = known.unwrap_or_else(|| {
            Arc::new(Group {
                key: key_of(id),
                name: name.clone(),
                filter: topics(name),
                since,
                is_behind: AtomicBool::new(false),
                state: Mutex::default(),
            })
        });
        let mut state = group.state.lock();
        let filter = agree(&group)?;
        let member = Member { session: Arc::clone(session), filter };
        let known = state.members.iter_mut().find(|member| Arc::ptr_eq(&member.session, session));
        let is_new = known.is_none();
        match known {
            Some(known) => *known = member,
            None => state.members.push(member),
        }
        // Saved at once, so that what waits has a row to wait in.
        state.is_dirty = true;
        drop(state);
        if is_new_group {
            subscriptions.write().insert(&group.filter, group.key, Subscriber::Group(Arc::clone(&group)));
            table.insert(name.clone(), group);
        }
        Ok(is_new)
    }

    /// `session` is no member of the group `name` any more. The last one takes the group with it; what waited is counted.
    pub(crate) fn leave(&self, shared: &Arc<Shared>, session: &Session, name: &TopicFilter) {
        let mut table = self.by_name.lock();
        let Some(group) = table.get(name).cloned() else { return };
        let mut state = group.state.lock();
        state.members.retain(|member| member.session.key != session.key);
        state.is_dirty = true;
        if !state.members.is_empty() {
            return;
        }
        table.remove(name);
        let lost = state.len() as u64;
        state.waiting.clear();
        state.returned.clear();
        drop(state);
        group.is_behind.store(false, Ordering::SeqCst);
        shared.tallies.left_messages.down(lost);
        shared.tallies.dropped(Drop::SessionEnded).add(lost);
        shared.subscriptions.write().remove(&group.filter, group.key);
        if session.is_durable {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                if let Err(error) = store::remove_group(&shared, group.id()).await {
                    tracing::warn!(%error, "a shared subscription that ended stays in the catalog until the next start");
                }
            });
        }
    }

    /// Members gave these back: others get them.
    pub(crate) fn take_back(&self, shared: &Arc<Shared>, given: Vec<(Key, u64)>) {
        if given.is_empty() {
            return;
        }
        let groups: HashMap<Key, Arc<Group>> =
            self.by_name.lock().values().map(|group| (group.key, Arc::clone(group))).collect();
        for (key, seq) in &given {
            let Some(group) = groups.get(key) else {
                shared.tallies.dropped(Drop::SessionEnded).one();
                continue;
            };
            let mut state = group.state.lock();
            if state.members.is_empty() {
                shared.tallies.dropped(Drop::SessionEnded).one();
                continue;
            }
            state.is_dirty = true;
            let is_new = state.returned.insert(*seq);
            group.is_behind.store(true, Ordering::SeqCst);
            shared.tallies.left_messages.up(u64::from(is_new));
        }
        for group in groups.values().filter(|group| given.iter().any(|(key, _)| *key == group.key)) {
            group.wake(shared);
        }
    }

    /// Every group.
    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        self.by_name.lock().values().cloned().collect()
    }

    /// The group of this name.
    pub(crate) fn find(&self, name: &TopicFilter) -> Option<Arc<Group>> {
        self.by_name.lock().get(name).cloned()
    }
}
