//! All edge nodes: a fold over what they said, in the order of the journal.
//!
//! Not here: what one node's messages mean (`node`), and durability ([`Sparkplug::to_bytes`] gives what is to be kept).
//! The law: [`Sparkplug::take`] is a function of the state and the message, so that a replay from any kept state leads
//! to the same. A clone is cheap: nodes are copied only when they change.

use std::collections::HashMap;
use std::sync::Arc;

use super::heard::Heard;
use super::node::Node;
use super::topic::{EdgeNode, MessageType};
use super::{Noted, Told};
use crate::DeviceName;
use crate::limit::{SPARKPLUG_ENTRIES_MAX, SPARKPLUG_NODES_MAX};

/// What is remembered of all edge nodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sparkplug {
    pub(super) nodes: HashMap<EdgeNode, Arc<Node>>,
    /// The sizes of all nodes together.
    pub(super) entries: usize,
}

impl Sparkplug {
    /// Takes in a message, in the order of the journal, and says what it leads to.
    pub fn take(&mut self, heard: Heard) -> Told {
        let received_at = heard.received_at;
        let path = heard.node.clone();
        if !self.nodes.contains_key(&path) {
            if heard.message_type == MessageType::NodeDeath {
                return Told { noted: Noted::STALE_DEATH, ..Told::default() };
            }
            if !self.make_room() {
                // As if it were heard for the first time, every time.
                let mut told = Node::new(heard.device.clone(), received_at).take(heard, 0);
                told.noted |= Noted::NO_ROOM;
                return told;
            }
            // The name is that of the message until a birth tells it.
            let node = Node::new(heard.device.clone(), received_at);
            self.entries += node.size();
            self.nodes.insert(path.clone(), Arc::new(node));
        }
        let room = SPARKPLUG_ENTRIES_MAX.saturating_sub(self.entries);
        let node = Arc::make_mut(self.nodes.get_mut(&path).expect("there or just made"));
        let is_birth = matches!(heard.message_type, MessageType::NodeBirth | MessageType::DeviceBirth);
        let before = if is_birth { node.size() } else { 0 };
        let mut told = node.take(heard, room);
        if is_birth {
            self.entries = self.entries + node.size() - before;
        }
        if node.wants_birth() && node.asked.ask(received_at) {
            told.noted |= Noted::REBIRTH_WANTED;
            told.rebirth = Some(path);
        }
        told
    }

    /// Whether a birth of this node would help to understand what it says.
    #[must_use]
    pub fn wants_birth(&self, node: &EdgeNode) -> bool {
        self.nodes.get(node).is_some_and(|node| node.wants_birth())
    }

    /// The names of the devices behind a node, born or not.
    pub fn devices_behind(&self, node: &EdgeNode) -> impl Iterator<Item = &DeviceName> {
        self.nodes.get(node).into_iter().flat_map(|node| node.devices.values().map(|device| &device.name))
    }

    /// How many nodes are remembered.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many of them are born and not dead.
    #[must_use]
    pub fn online(&self) -> usize {
        self.nodes.values().filter(|node| node.is_online).count()
    }

    /// Forgets the node that is offline and was heard longest ago, when there is no room for one more.
    fn make_room(&mut self) -> bool {
        if self.nodes.len() < SPARKPLUG_NODES_MAX && self.entries < SPARKPLUG_ENTRIES_MAX {
            return true;
        }
        let offline = self.nodes.iter().filter(|(_, node)| !node.is_online);
        let Some(path) =
            offline.min_by_key(|(path, node)| (node.heard_at, *path)).map(|(path, _)| path.clone())
        else {
            return false;
        };
        if let Some(gone) = self.nodes.remove(&path) {
            self.entries -= gone.size();
        }
        self.nodes.len() < SPARKPLUG_NODES_MAX && self.entries < SPARKPLUG_ENTRIES_MAX
    }
}
