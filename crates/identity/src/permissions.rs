//! What one session may do, compiled when it is opened.
//!
//! Not here: reserved topics (doors ask `model::reserved` first; a publish on `$SYS/` is acknowledged, counted and
//! dropped whoever sends it). The laws: a decision takes no lock, no memory and under a microsecond; a subscription is
//! permitted only if everything its filter can match is permitted, so that whatever a permitted filter matches may
//! also be received.

use std::fmt;
use std::sync::Arc;

use model::{DeviceName, Principal, TopicFilter};

use crate::Who;
use crate::filter::permits;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open a session; the topic is the client id.
    Connect,
    /// Publish to a topic, or leave a will there.
    Publish,
    /// Publish with the retain flag.
    RetainPublish,
    /// Subscribe with a filter.
    Subscribe,
    /// Be sent a message of a topic.
    Receive,
}

/// Whether somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Permitted,
    /// No, and why.
    Refused(Reason),
}

impl Decision {
    /// Whether it is a yes.
    #[must_use]
    pub fn is_permitted(self) -> bool {
        self == Self::Permitted
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `$aws/` is for devices that proved who they are.
    Reserved,
    /// A device publishes elsewhere than under its own name.
    NotOwnTopic,
    /// A device asks for more than what is sent to it.
    NotOwnCommands,
    /// Nobody has given this principal any right.
    NoRights,
}

impl Reason {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Reserved => "connect as the device itself. Run: godwit device add NAME --password",
            Self::NotOwnTopic => {
                "set the device's topic to `dt/` and its name, or let a gateway connect as user `local`"
            }
            Self::NotOwnCommands => {
                "set the device's subscription to `cmd/` and its name, or let an application connect as user `local`"
            }
            Self::NoRights => "connect as a device. Run: godwit device add NAME --password",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "topics under `$aws/` are for the devices they name",
            Self::NotOwnTopic => "a device publishes under `dt/{device}/` and `$aws/things/{device}/` only",
            Self::NotOwnCommands => {
                "a device subscribes under `cmd/{device}/` and `$aws/things/{device}/` only"
            }
            Self::NoRights => "this user has no rights",
        })
    }
}

/// What one session may do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permissions {
    rights: Rights,
}

#[derive(Debug, Clone)]
enum Rights {
    /// Godwit itself.
    All,
    /// Everything but `$aws/`.
    AllOrdinary,
    /// What filters grant.
    Granted(Arc<Grants>),
    /// Nothing.
    None,
}

#[derive(Debug)]
struct Grants {
    publish: Box<[TopicFilter]>,
    subscribe: Box<[TopicFilter]>,
}

impl Permissions {
    /// What `who` may do.
    pub(crate) fn of(who: &Who) -> Self {
        let rights = match (&who.principal, &who.device) {
            (Principal::Inside, _) => Rights::All,
            (Principal::DevicePassword(_) | Principal::Certificate(_), Some(device)) => {
                Rights::Granted(Arc::new(Grants::of_device(device)))
            }
            (Principal::Anonymous, _) => Rights::AllOrdinary,
            (Principal::User(name), _) if *name == crate::LOCAL_USER => Rights::AllOrdinary,
            (Principal::User(_) | Principal::DevicePassword(_) | Principal::Certificate(_), _) => {
                Rights::None
            }
        };
        Self { rights }
    }

    /// Whether the session may do this on `topic`: a checked topic name, for [`Action::Subscribe`] a checked filter
    /// (of a shared subscription the filter inside counts), for [`Action::Connect`] the client id.
    #[must_use]
    pub fn may(&self, action: Action, topic: &str) -> Decision {
        match &self.rights {
            Rights::All => Decision::Permitted,
            Rights::None => Decision::Refused(Reason::NoRights),
            // A client id names no device here: who speaks was proven by other means.
            _ if action == Action::Connect => Decision::Permitted,
            Rights::AllOrdinary => match is_reserved(unshared(action, topic)) {
                true => Decision::Refused(Reason::Reserved),
                false => Decision::Permitted,
            },
            Rights::Granted(grants) => grants.may(action, topic),
        }
    }
}

impl Grants {
    /// The default policy: a device speaks under its own name and hears what is sent to it; one that is named
    /// `{group}:{node}` does so under Sparkplug's topics too.
    fn of_device(device: &DeviceName) -> Self {
        let own = |text: String| TopicFilter::parse(text).expect("a device name has no `+`, `#` or `/`");
        let things = own(format!("$aws/things/{device}/#"));
        let mut publish = vec![own(format!("dt/{device}/#")), things.clone()];
        let mut subscribe = vec![own(format!("cmd/{device}/#")), things];
        // An edge node of Sparkplug speaks for itself and for the devices behind it (Sparkplug 3.0, section 4).
        if let Some((group, node)) = device.split_once(':').filter(|(_, node)| !node.contains(':')) {
            let of_node = ["NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA"];
            publish.extend(of_node.map(|kind| own(format!("spBv1.0/{group}/{kind}/{node}/#"))));
            subscribe.extend(["NCMD", "DCMD"].map(|kind| own(format!("spBv1.0/{group}/{kind}/{node}/#"))));
            subscribe.push(own("spBv1.0/STATE/+".to_owned()));
        }
        Self { publish: publish.into(), subscribe: subscribe.into() }
    }

    fn may(&self, action: Action, topic: &str) -> Decision {
        let (granted, reason) = match action {
            Action::Connect => (true, Reason::NoRights),
            Action::Publish | Action::RetainPublish => {
                (self.publish.iter().any(|own| own.matches(topic)), Reason::NotOwnTopic)
            }
            Action::Receive => (self.subscribe.iter().any(|own| own.matches(topic)), Reason::NotOwnCommands),
            Action::Subscribe => {
                let asked = unshared(action, topic);
                (self.subscribe.iter().any(|own| permits(own, asked)), Reason::NotOwnCommands)
            }
        };
        if granted { Decision::Permitted } else { Decision::Refused(reason) }
    }
}

/// The filter inside a shared subscription, `$share/{group}/{filter}` (MQTT 5.0, section 4.8.2); else the topic.
fn unshared(action: Action, topic: &str) -> &str {
    if action != Action::Subscribe {
        return topic;
    }
    topic.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(topic, |(_, inside)| inside)
}

/// A filter reaches `$aws/` only by naming it: a leading wildcard does not match `$` (MQTT 5.0, section 4.7.2).
fn is_reserved(topic: &str) -> bool {
    topic.strip_prefix("$aws").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
