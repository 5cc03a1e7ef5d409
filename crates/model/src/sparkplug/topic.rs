//! The topics of Sparkplug (3.0, section 4): who speaks, and what kind of message it is.
//!
//! ```text
//! spBv1.0/{group}/{NBIRTH|NDEATH|NDATA|NCMD}/{node}
//! spBv1.0/{group}/{DBIRTH|DDEATH|DDATA|DCMD}/{node}/{device}
//! spBv1.0/STATE/{host}
//! ```
//!
//! Not here: payloads. The law: what is not one of these is none.

use std::fmt;

use bytestring::ByteString;

use crate::limit::DEVICE_NAME_BYTES_MAX;
use crate::{DeviceName, TopicName};

/// The first level of every topic.
pub const NAMESPACE: &str = "spBv1.0";

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// `NBIRTH`: an edge node is there, with all its metrics.
    NodeBirth,
    /// `NDEATH`: it is gone, and its devices with it.
    NodeDeath,
    /// `NDATA`: metrics of the node itself.
    NodeData,
    /// `NCMD`: somebody asks something of a node.
    NodeCommand,
    /// `DBIRTH`: a device of a node is there, with all its metrics.
    DeviceBirth,
    /// `DDEATH`: it is gone.
    DeviceDeath,
    /// `DDATA`: metrics of a device.
    DeviceData,
    /// `DCMD`: somebody asks something of a device.
    DeviceCommand,
}

impl MessageType {
    fn parse(level: &str) -> Option<Self> {
        Some(match level {
            "NBIRTH" => Self::NodeBirth,
            "NDEATH" => Self::NodeDeath,
            "NDATA" => Self::NodeData,
            "NCMD" => Self::NodeCommand,
            "DBIRTH" => Self::DeviceBirth,
            "DDEATH" => Self::DeviceDeath,
            "DDATA" => Self::DeviceData,
            "DCMD" => Self::DeviceCommand,
            _ => return None,
        })
    }

    fn is_of_device(self) -> bool {
        matches!(self, Self::DeviceBirth | Self::DeviceDeath | Self::DeviceData | Self::DeviceCommand)
    }

    /// Whether it goes to a node rather than comes from one.
    #[must_use]
    pub fn is_command(self) -> bool {
        matches!(self, Self::NodeCommand | Self::DeviceCommand)
    }
}

/// A topic taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic<'a> {
    /// Whether a host is there: JSON, not protobuf.
    State {
        /// The host.
        host: &'a str,
    },
    /// Of a node or a device.
    Of(Address<'a>),
}

/// Of whom a message is, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// Group of the node.
    pub group: &'a str,
    /// Kind of message.
    pub message_type: MessageType,
    /// The node.
    pub node: &'a str,
    /// The device behind it, where the message is a device's.
    pub device: Option<&'a str>,
}

impl<'a> Topic<'a> {
    /// Takes `topic` apart; `None` when it is none of Sparkplug's.
    #[must_use]
    pub fn parse(topic: &'a str) -> Option<Self> {
        let mut levels = topic.strip_prefix(NAMESPACE)?.strip_prefix('/')?.split('/');
        let group = levels.next()?;
        let second = levels.next()?;
        if group == "STATE" && levels.clone().next().is_none() && !second.is_empty() {
            return Some(Self::State { host: second });
        }
        let message_type = MessageType::parse(second)?;
        let node = levels.next()?;
        let device = if message_type.is_of_device() { Some(levels.next()?) } else { None };
        let is_whole = levels.next().is_none();
        let is_named = !group.is_empty() && !node.is_empty() && device != Some("");
        (is_whole && is_named).then_some(Self::Of(Address { group, message_type, node, device }))
    }
}

/// An edge node: its group and its name, as it writes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeNode {
    /// `{group}/{node}`: neither has a `/`.
    path: ByteString,
}

impl EdgeNode {
    /// The node of `group` called `node`.
    #[must_use]
    pub fn new(group: &str, node: &str) -> Self {
        Self { path: format!("{group}/{node}").into() }
    }

    pub(super) fn from_path(path: &str) -> Option<Self> {
        let is_one = path.split_once('/').is_some_and(|(_, node)| !node.contains('/'));
        is_one.then(|| Self { path: path.into() })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where commands for it go; `None` when its name is too long for that.
    #[must_use]
    pub fn command_topic(&self) -> Option<TopicName> {
        let (group, node) = self.path.split_once('/')?;
        TopicName::parse(format!("{NAMESPACE}/{group}/NCMD/{node}")).ok()
    }
}

impl fmt::Display for EdgeNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// The device that a message on `topic` is of: [`device_name`]; `None` for commands, hosts and other topics.
#[must_use]
pub fn of_topic(topic: &str) -> Option<DeviceName> {
    match Topic::parse(topic)? {
        Topic::Of(address) if !address.message_type.is_command() => {
            Some(device_name(address.group, address.node, address.device))
        }
        _ => None,
    }
}

/// The name of a node, `{group}:{node}`, or of a device behind it, `{group}:{node}:{device}`.
///
/// A node's name is its own within its group only, and a device's within its node: all three make it one in the house.
/// What a device name may not have becomes `_`, the `:` inside the three too. A name that would be longer than
/// [`DEVICE_NAME_BYTES_MAX`] ends with a hash of the whole instead: cut names would be one name.
#[must_use]
pub fn device_name(group: &str, node: &str, device: Option<&str>) -> DeviceName {
    let parts = [Some(group), Some(node), device];
    let mut name = String::new();
    for part in parts.into_iter().flatten() {
        if !name.is_empty() {
            name.push(':');
        }
        name.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }));
    }
    if name.len() > DEVICE_NAME_BYTES_MAX {
        let hash = fnv1a(parts.into_iter().flatten());
        name.truncate(DEVICE_NAME_BYTES_MAX - 17);
        name.push_str(&format!("-{hash:016x}"));
    }
    DeviceName::parse(name).expect("made of what is allowed, and not too long")
}

/// FNV-1a over the parts, each ended by a byte that no text has: part of names, so it never changes.
fn fnv1a<'a>(parts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = parts.flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_taken_apart_as_the_standard_says() {
        let check = |topic: &str, expect: Option<(MessageType, &str, &str, Option<&str>)>| {
            let found = match Topic::parse(topic) {
                Some(Topic::Of(of)) => Some((of.message_type, of.group, of.node, of.device)),
                Some(Topic::State { host }) => panic!("{topic}: host {host}"),
                None => None,
            };
            assert_eq!(found, expect, "{topic}");
        };
        check("spBv1.0/plant/NBIRTH/line 1", Some((MessageType::NodeBirth, "plant", "line 1", None)));
        check(
            "spBv1.0/plant/DDATA/line/oven",
            Some((MessageType::DeviceData, "plant", "line", Some("oven"))),
        );
        check("spBv1.0/STATE/NBIRTH/line", Some((MessageType::NodeBirth, "STATE", "line", None)));
        for none in [
            "spBv1.0",
            "spBv1.0/",
            "spBv1.0/plant",
            "spBv1.0/plant/NBIRTH",
            "spBv1.0/plant/NBIRTH/",
            "spBv1.0/plant/NBIRTH/line/oven",
            "spBv1.0/plant/DDATA/line",
            "spBv1.0/plant/DDATA/line/",
            "spBv1.0/plant/DDATA/line/a/b",
            "spBv1.0//NBIRTH/line",
            "spBv1.0/plant/nbirth/line",
            "spAv1.0/plant/NBIRTH/line",
            "spBv1.0/STATE/",
            "STATE/host",
        ] {
            check(none, None);
        }
        assert_eq!(Topic::parse("spBv1.0/STATE/scada"), Some(Topic::State { host: "scada" }));
    }

    #[test]
    fn names_are_valid_and_their_own() {
        let named = |group, node, device| device_name(group, node, device).to_string();
        assert_eq!(named("plant", "line 1", None), "plant:line_1");
        assert_eq!(named("plant", "line", Some("öl.ofen")), "plant:line:_l_ofen");
        assert_ne!(named("a", "b:c", None), named("a", "b", Some("c")));
        let long = "x".repeat(200);
        let (one, other) = (named("g", &long, Some("1")), named("g", &long, Some("2")));
        assert_eq!((one.len(), other.len()), (DEVICE_NAME_BYTES_MAX, DEVICE_NAME_BYTES_MAX));
        assert_ne!(one, other);
        assert_eq!(of_topic("spBv1.0/g/DDATA/n/d").as_deref(), Some("g:n:d"));
        assert_eq!(of_topic("spBv1.0/g/NCMD/n"), None);
        assert_eq!(of_topic("spBv1.0/STATE/h"), None);
    }

    #[test]
    fn a_node_is_asked_on_its_own_topic() {
        let node = EdgeNode::new("plant", "line 1");
        assert_eq!(node.command_topic().as_deref(), Some("spBv1.0/plant/NCMD/line 1"));
        assert_eq!(EdgeNode::from_path(node.path()), Some(node));
        assert_eq!(EdgeNode::from_path("plant"), None);
    }
}
