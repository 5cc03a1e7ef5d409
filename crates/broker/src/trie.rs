//! Subscriptions by topic level: finds the filters that match a topic by walking down, not by asking each filter.
//!
//! ```text
//! dt ──┬── office-1 ── climate ●        `dt/office-1/climate`
//!      ├── + ── climate ●               `dt/+/climate`
//!      └── # ●                          `dt/#`
//! ```
//!
//! Not here: sessions, options, delivery; a subscription is any value. The laws:
//!
//! - **Cost grows with matches.** A topic of n levels walks at most the nodes that match a part of it; a hundred
//!   thousand other filters cost nothing. Level texts are interned: a level that no filter has ends the walk.
//! - **Same answer as [`TopicFilter::matches`](model::TopicFilter::matches)**, `$` topics included.
//! - **Nothing stays behind.** A node and a level text live as long as a subscription needs them.

use hashbrown::HashMap;
use smallvec::SmallVec;

/// Who subscribes: one value per session, never reused.
pub(crate) type Key = u64;

/// A node's place in [`Trie::nodes`].
type NodeId = u32;
/// A level text's number.
type LevelId = u32;

const ROOT: NodeId = 0;
const PLUS: LevelId = 0;
const HASH: LevelId = 1;

/// Beyond so many subscribers a node keeps an index of them, so that one of a hundred thousand can leave quickly.
const SCAN_MAX: usize = 32;

/// Subscriptions of type `S`, by filter and session.
#[derive(Debug)]
pub(crate) struct Trie<S> {
    nodes: Vec<Node<S>>,
    free: Vec<NodeId>,
    /// The one child of a node by a level; `+` and `#` are in the node itself.
    edges: HashMap<(NodeId, LevelId), NodeId>,
    levels: HashMap<Box<str>, (LevelId, u32)>,
    level_next: LevelId,
    level_free: Vec<LevelId>,
    subscriptions: usize,
}

#[derive(Debug)]
struct Node<S> {
    parent: NodeId,
    level: LevelId,
    plus: Option<NodeId>,
    hash: Option<NodeId>,
    /// Children by a text; `+` and `#` not counted.
    children: u32,
    subscribers: Subscribers<S>,
}

impl<S> Node<S> {
    fn new(parent: NodeId, level: LevelId) -> Self {
        Self { parent, level, plus: None, hash: None, children: 0, subscribers: Subscribers::default() }
    }

    fn is_needless(&self) -> bool {
        self.children == 0
            && self.plus.is_none()
            && self.hash.is_none()
            && self.subscribers.entries.is_empty()
    }
}

impl<S> Default for Trie<S> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(ROOT, PLUS)],
            free: Vec::new(),
            edges: HashMap::new(),
            levels: HashMap::new(),
            level_next: HASH + 1,
            level_free: Vec::new(),
            subscriptions: 0,
        }
    }
}

impl<S> Trie<S> {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.subscriptions
    }

    /// Subscribes `key` to `filter`, which is a valid topic filter. Gives back what it replaces (MQTT 5.0, section
    /// 3.8.4: the same filter again replaces the subscription).
    pub(crate) fn insert(&mut self, filter: &str, key: Key, subscription: S) -> Option<S> {
        let mut at = ROOT;
        for text in filter.split('/') {
            at = self.child_or_new(at, text);
        }
        let replaced = self.nodes[at as usize].subscribers.insert(key, subscription);
        if replaced.is_none() {
            self.subscriptions += 1;
        }
        replaced
    }

    /// Ends the subscription of `key` to `filter`, if there is one.
    pub(crate) fn remove(&mut self, filter: &str, key: Key) -> Option<S> {
        let mut at = ROOT;
        for text in filter.split('/') {
            at = self.child(at, text)?;
        }
        let removed = self.nodes[at as usize].subscribers.remove(key)?;
        self.subscriptions -= 1;
        self.prune(at, filter);
        Some(removed)
    }

    /// Shows every subscription whose filter matches `topic` to `visit`. One session is shown once per filter of
    /// its own that matches.
    pub(crate) fn matches<'t>(&'t self, topic: &str, mut visit: impl FnMut(Key, &'t S)) {
        if self.subscriptions == 0 {
            return;
        }
        // A level that no filter names can only be matched by a wildcard: `None`.
        let levels: SmallVec<[Option<LevelId>; 16]> =
            topic.split('/').map(|text| self.levels.get(text).map(|&(id, _)| id)).collect();
        let mut open: SmallVec<[(NodeId, u16); 32]> = SmallVec::new();
        open.push((ROOT, 0));
        // MQTT 5.0, section 4.7.2: a filter that starts with a wildcard does not match a topic that starts with `$`.
        let reserved = topic.starts_with('$');
        while let Some((at, depth)) = open.pop() {
            let node = &self.nodes[at as usize];
            let wildcards = !(reserved && at == ROOT);
            // `a/#` matches `a` too: `#` is asked for at the end of the topic as well (section 4.7.1.2).
            if wildcards && let Some(hash) = node.hash {
                self.nodes[hash as usize].subscribers.each(&mut visit);
            }
            let Some(&level) = levels.get(usize::from(depth)) else {
                node.subscribers.each(&mut visit);
                continue;
            };
            if wildcards && let Some(plus) = node.plus {
                open.push((plus, depth + 1));
            }
            if let Some(level) = level
                && node.children > 0
                && let Some(&child) = self.edges.get(&(at, level))
            {
                open.push((child, depth + 1));
            }
        }
    }

    fn child(&self, at: NodeId, text: &str) -> Option<NodeId> {
        let node = &self.nodes[at as usize];
        match text {
            "+" => node.plus,
            "#" => node.hash,
            _ => self.levels.get(text).and_then(|&(level, _)| self.edges.get(&(at, level)).copied()),
        }
    }

    fn child_or_new(&mut self, at: NodeId, text: &str) -> NodeId {
        if let Some(child) = self.child(at, text) {
            return child;
        }
        let level = match text {
            "+" => PLUS,
            "#" => HASH,
            _ => self.level(text),
        };
        let made = Node::new(at, level);
        let child = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = made;
                id
            }
            None => {
                self.nodes.push(made);
                // Every node is reached by a subscription, and these are bounded far below 2^32 by memory alone.
                NodeId::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
            }
        };
        let node = &mut self.nodes[at as usize];
        match level {
            PLUS => node.plus = Some(child),
            HASH => node.hash = Some(child),
            _ => {
                node.children += 1;
                self.edges.insert((at, level), child);
            }
        }
        child
    }

    /// The number of a level text, made when it is new; its uses are counted.
    fn level(&mut self, text: &str) -> LevelId {
        if let Some((level, uses)) = self.levels.get_mut(text) {
            *uses += 1;
            return *level;
        }
        let level = self.level_free.pop().unwrap_or_else(|| {
            let level = self.level_next;
            self.level_next += 1;
            level
        });
        self.levels.insert(text.into(), (level, 1));
        level
    }

    /// Takes away the nodes that nobody needs, from `at` upwards; `filter` is the way to `at`.
    fn prune(&mut self, mut at: NodeId, filter: &str) {
        for text in filter.rsplit('/') {
            if at == ROOT || !self.nodes[at as usize].is_needless() {
                return;
            }
            let (parent, level) = (self.nodes[at as usize].parent, self.nodes[at as usize].level);
            let above = &mut self.nodes[parent as usize];
            match level {
                PLUS => above.plus = None,
                HASH => above.hash = None,
                _ => {
                    above.children -= 1;
                    self.edges.remove(&(parent, level));
                    if let Some((_, uses)) = self.levels.get_mut(text) {
                        *uses -= 1;
                        if *uses == 0 {
                            self.levels.remove(text);
                            self.level_free.push(level);
                        }
                    }
                }
            }
            self.free.push(at);
            at = parent;
        }
    }

    #[cfg(test)]
    fn is_bare(&self) -> bool {
        self.nodes.len() == self.free.len() + 1 && self.edges.is_empty() && self.levels.is_empty()
    }
}

/// The subscribers of one filter: a list to walk quickly, and an index of it once it is long.
#[derive(Debug)]
struct Subscribers<S> {
    entries: Vec<(Key, S)>,
    index: Option<Box<HashMap<Key, u32>>>,
}

impl<S> Default for Subscribers<S> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: None }
    }
}

impl<S> Subscribers<S> {
    fn each<'t>(&'t self, visit: &mut impl FnMut(Key, &'t S)) {
        for (key, subscription) in &self.entries {
            visit(*key, subscription);
        }
    }

    fn position(&self, key: Key) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&key).map(|&at| at as usize),
            None => self.entries.iter().position(|&(known, _)| known == key),
        }
    }

    fn insert(&mut self, key: Key, subscription: S) -> Option<S> {
        if let Some(at) = self.position(key) {
            return Some(std::mem::replace(&mut self.entries[at].1, subscription));
        }
        // Most filters have one subscriber: room for four, as a Vec would take, is room for three too many.
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(1);
        }
        self.entries.push((key, subscription));
        let at = self.entries.len() - 1;
        match &mut self.index {
            Some(index) => {
                index.insert(key, at as u32);
            }
            None if self.entries.len() > SCAN_MAX => {
                let index = self.entries.iter().enumerate().map(|(at, &(key, _))| (key, at as u32)).collect();
                self.index = Some(Box::new(index));
            }
            None => {}
        }
        None
    }

    fn remove(&mut self, key: Key) -> Option<S> {
        let at = self.position(key)?;
        let (_, removed) = self.entries.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(&key);
            if let Some(&(moved, _)) = self.entries.get(at) {
                index.insert(moved, at as u32);
            }
            if self.entries.len() <= SCAN_MAX / 2 {
                self.index = None;
                self.entries.shrink_to_fit();
            }
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::TopicFilter;
    use proptest::prelude::*;

    use super::*;

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "c", "", "$SYS", "é"])
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic has a character", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let inner = prop_oneof![3 => level(), 2 => Just("+")];
        (prop::collection::vec(inner, 0..5), any::<bool>())
            .prop_map(|(mut levels, hash)| {
                if hash || levels.is_empty() {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter("a filter has a character", |filter| !filter.is_empty())
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(String, Key),
        Remove(String, Key),
        Match(String),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (filter(), 0..4_u64).prop_map(|(filter, key)| Step::Insert(filter, key)),
            2 => (filter(), 0..4_u64).prop_map(|(filter, key)| Step::Remove(filter, key)),
            4 => topic().prop_map(Step::Match),
        ]
    }

    proptest! {
        #[test]
        fn the_trie_matches_what_each_filter_matches(steps in prop::collection::vec(step(), 0..120)) {
            let mut trie = Trie::default();
            let mut model = BTreeMap::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(filter, key) => {
                        let parsed = TopicFilter::parse(filter.clone()).expect("a filter");
                        let replaced = model.insert((filter.clone(), key), (parsed, n)).map(|(_, n)| n);
                        prop_assert_eq!(trie.insert(&filter, key, n), replaced);
                    }
                    Step::Remove(filter, key) => {
                        let removed = model.remove(&(filter.clone(), key)).map(|(_, n)| n);
                        prop_assert_eq!(trie.remove(&filter, key), removed);
                    }
                    Step::Match(topic) => {
                        let mut found = Vec::new();
                        trie.matches(&topic, |key, &n| found.push((key, n)));
                        let mut expect: Vec<_> = model
                            .iter()
                            .filter(|(_, (filter, _))| filter.matches(&topic))
                            .map(|((_, key), (_, n))| (*key, *n))
                            .collect();
                        found.sort_unstable();
                        expect.sort_unstable();
                        prop_assert_eq!(found, expect, "{}", topic);
                    }
                }
                prop_assert_eq!(trie.len(), model.len());
            }
            for (filter, key) in model.keys() {
                trie.remove(filter, *key);
            }
            prop_assert!(trie.is_bare(), "nodes or levels stayed behind");
        }
    }

    #[test]
    fn one_of_many_subscribers_of_a_filter_leaves_and_the_others_stay() {
        let mut trie = Trie::default();
        for key in 0..1_000 {
            trie.insert("news/#", key, key);
        }
        for key in (0..1_000).filter(|key| key % 3 != 0) {
            assert_eq!(trie.remove("news/#", key), Some(key));
        }
        let mut left = Vec::new();
        trie.matches("news/today", |_, &key| left.push(key));
        left.sort_unstable();
        assert_eq!(left, (0..1_000).filter(|key| key % 3 == 0).collect::<Vec<_>>());
    }
}
