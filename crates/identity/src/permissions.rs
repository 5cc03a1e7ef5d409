//! What one session may do, compiled when it is opened.
//!
//! Devices are judged by policies ([`policy`](crate::policy)), everybody else by who they are. Not here: reserved topics (doors
//! ask `model::reserved` first; a publish on `$SYS/` is acknowledged, counted and dropped whoever sends it). The laws: a
//! decision takes no lock, no memory and under a microsecond; under the default policy a subscription is permitted only if
//! everything its filter can match is permitted, so that whatever a permitted filter matches may also be received.

use std::fmt;
use std::sync::Arc;

use model::Principal;

use crate::policy::{AwsSettings, By, Compiled, Context, DEFAULT_POLICY, Judgement, Policy, Statement};
use crate::{Role, Who};

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

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] =
        [Self::Connect, Self::Publish, Self::RetainPublish, Self::Subscribe, Self::Receive];

    /// Its name on the command line and in metrics: `publish`, `retain-publish`, …
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::RetainPublish => "retain-publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
        }
    }

    /// Its name in policies: `iot:Publish`, …
    #[must_use]
    pub fn policy_name(self) -> &'static str {
        match self {
            Self::Connect => "iot:Connect",
            Self::Publish => "iot:Publish",
            Self::RetainPublish => "iot:RetainPublish",
            Self::Subscribe => "iot:Subscribe",
            Self::Receive => "iot:Receive",
        }
    }

    /// The action called so, by either name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |action: &Self| {
            let bare = &action.policy_name()["iot:".len()..];
            [action.name(), action.policy_name(), bare].iter().any(|own| own.eq_ignore_ascii_case(name))
        };
        Self::ALL.into_iter().find(is)
    }

    /// The resource that policies are asked for.
    #[must_use]
    pub fn resource(self, topic: &str) -> String {
        match self {
            Self::Connect => format!("client/{topic}"),
            Self::Publish | Self::RetainPublish | Self::Receive => format!("topic/{topic}"),
            Self::Subscribe => format!("topicfilter/{}", unshared(self, topic)),
        }
    }
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
    /// A user's role does not hold everywhere, or the scopes of the token do not hold `mqtt`.
    NoRole,
    /// A user's role hears, and says less than this.
    RoleTooLow,
    /// The scopes of a user's token hold `mqtt:read` or `mqtt:write`, and this needs the other.
    NoScope,
    /// The device is in quarantine.
    Quarantined,
    /// The certificate's time is over: it reaches as far as the topics by which the device gets a new one.
    Expired,
    /// A statement of a policy denies it.
    Denied(By),
    /// Policies are attached, and none of them allows it.
    NotAllowed,
}

impl Reason {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Reserved => {
                "connect as the device itself. Run: godwit device add NAME --out DIR (or --password)"
            }
            Self::NotOwnTopic => {
                "set the device's topic to `dt/` and its name, attach a policy that allows it, or let a gateway connect as user \
                 `local`"
            }
            Self::NotOwnCommands => {
                "set the device's subscription to `cmd/` and its name, attach a policy that allows it, or let an application \
                 connect as user `local`"
            }
            Self::NoRights => "connect as a device. Run: godwit device add NAME --out DIR (or --password)",
            Self::NoRole => {
                "give the user a role everywhere, or the token scope `mqtt`. Run: godwit user role NAME viewer"
            }
            Self::RoleTooLow => {
                "commands below `cmd/` need role operator, everything else admin. Run: godwit user role NAME ROLE"
            }
            Self::NoScope => {
                "a token hears with the scope `mqtt:read` and publishes with `mqtt:write`. Run: godwit token add USER NAME --scope mqtt"
            }
            Self::Quarantined => {
                "see why, then let it go: godwit device show NAME, godwit device release NAME; until then it may publish below \
                 `dt/NAME/diag/`"
            }
            Self::Expired => {
                "it renews over this connection; or: godwit device certificate add NAME --out DIR"
            }
            Self::Denied(_) => "change or detach the policy that denies it, or connect as who may",
            Self::NotAllowed => "allow it in one of the device's policies, or connect as who may",
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
            Self::NoRole => "this user's roles do not reach MQTT",
            Self::RoleTooLow => "this user's role may not publish there",
            Self::NoScope => "the scopes of this token do not reach so far",
            Self::Quarantined => "the device is in quarantine",
            Self::Expired => "the certificate is expired, and good for its renewal alone",
            Self::Denied(_) => "a policy denies it",
            Self::NotAllowed => "no policy allows it",
        })
    }
}

/// What one session may do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Permissions {
    rights: Rights,
}

/// What a user has over MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverMqtt {
    /// The highest role that he holds everywhere.
    pub(crate) role: Role,
    /// His token lets him hear.
    pub(crate) hears: bool,
    /// His token lets him publish.
    pub(crate) says: bool,
}

#[derive(Debug, Clone)]
enum Rights {
    /// Godwit itself.
    All,
    /// Everything but `$aws/`.
    AllOrdinary,
    /// What the role of a user says, as far as the scopes of his token go.
    Role(OverMqtt),
    /// What policies say.
    Policies(Arc<Compiled>),
    /// A user whose roles do not reach MQTT.
    NoRole,
    /// Nothing.
    None,
}

impl Permissions {
    /// What policies permit, compiled for a session.
    #[must_use]
    pub fn by_policies(policies: Arc<[Arc<Policy>]>, context: Context, aws: &AwsSettings) -> Self {
        Self { rights: Rights::Policies(Arc::new(Compiled::of(policies, context, aws))) }
    }

    /// What `who` may do whose rights do not come from policies; `None` for devices and certificates.
    pub(crate) fn by_nature(who: &Who) -> Option<Self> {
        let rights = match &who.principal {
            Principal::Inside => Rights::All,
            Principal::Anonymous => Rights::AllOrdinary,
            Principal::User(name) if *name == crate::LOCAL_USER => Rights::AllOrdinary,
            Principal::User(_) => Rights::None,
            Principal::DevicePassword(_) | Principal::Certificate(_) => return None,
        };
        Some(Self { rights })
    }

    /// What a user of this role may: everything but `$aws/` as an admin; publish commands, and hear everything, as an
    /// operator; hear everything as a viewer. A token's scopes may take away hearing or publishing.
    pub(crate) fn by_role(has: Option<OverMqtt>) -> Self {
        Self { rights: has.map_or(Rights::NoRole, Rights::Role) }
    }

    /// Nothing at all.
    pub(crate) fn none() -> Self {
        Self { rights: Rights::None }
    }

    /// Whether these are what policies, compiled for this session, would be again.
    pub(crate) fn is_of(&self, policies: &[Arc<Policy>], context: &Context) -> bool {
        self.compiled().is_some_and(|compiled| compiled.is_of(policies, context))
    }

    /// What it was compiled to, if policies rule it.
    #[must_use]
    pub fn compiled(&self) -> Option<&Compiled> {
        match &self.rights {
            Rights::Policies(compiled) => Some(compiled),
            _ => None,
        }
    }

    /// Whether the session may do this on `topic`: a checked topic name, for [`Action::Subscribe`] a checked filter
    /// (of a shared subscription the filter inside counts), for [`Action::Connect`] the client id.
    #[must_use]
    pub fn may(&self, action: Action, topic: &str) -> Decision {
        match &self.rights {
            Rights::All => Decision::Permitted,
            Rights::None => Decision::Refused(Reason::NoRights),
            Rights::NoRole => Decision::Refused(Reason::NoRole),
            Rights::Role(has) => by_role(*has, action, unshared(action, topic)),
            Rights::AllOrdinary => {
                // A client id names no device here: who speaks was proven by other means.
                match action != Action::Connect && is_reserved(unshared(action, topic)) {
                    true => Decision::Refused(Reason::Reserved),
                    false => Decision::Permitted,
                }
            }
            Rights::Policies(compiled) => match compiled.judge(action, unshared(action, topic)) {
                Judgement::Allowed(_) => Decision::Permitted,
                judgement => Decision::Refused(refusal(compiled, action, judgement)),
            },
        }
    }

    /// Which policy, and which of its statements (from 1), said so.
    #[must_use]
    pub fn statement(&self, by: By) -> Option<(&Policy, usize, &Statement)> {
        let policy = self.compiled()?.policies().get(usize::from(by.policy))?;
        let statement = policy.document.statements().get(usize::from(by.statement))?;
        Some((policy, usize::from(by.statement) + 1, statement))
    }

    /// What the log says of a refusal: who decided, and what an operator can do about it.
    #[must_use]
    pub fn advice(&self, reason: Reason, action: Action, topic: &str) -> String {
        let mut advice = String::new();
        if let Reason::Denied(by) = reason
            && let Some((policy, number, statement)) = self.statement(by)
        {
            let sid = statement.sid().map(|sid| format!(" (`{sid}`)")).unwrap_or_default();
            advice =
                format!("policy `{}`, version {}, statement {number}{sid}: ", policy.name, policy.version);
        }
        advice += reason.hint();
        if let Some(device) = self.compiled().and_then(|compiled| compiled.context().device.as_ref()) {
            let topic = typed(topic);
            advice += &format!(". Run: godwit policy why {device} {} {topic}", action.name());
        }
        advice
    }
}

/// Why policies do not permit something. Those that come with Godwit have words of their own.
fn refusal(compiled: &Compiled, action: Action, judgement: Judgement) -> Reason {
    let only = match compiled.policies() {
        [only] => Some(&**only),
        _ => None,
    };
    let is_default = only.is_some_and(|only| only.name.as_str() == DEFAULT_POLICY);
    match (judgement, action) {
        _ if only.is_some_and(Policy::is_quarantine) => Reason::Quarantined,
        _ if only.is_some_and(Policy::is_renewal) => Reason::Expired,
        (_, Action::Publish | Action::RetainPublish) if is_default => Reason::NotOwnTopic,
        (_, Action::Subscribe | Action::Receive) if is_default => Reason::NotOwnCommands,
        (Judgement::Denied(by), _) => Reason::Denied(by),
        _ => Reason::NotAllowed,
    }
}

/// A topic to type: quoted where a shell would take a part of it for something else; `TOPIC` where that is not enough.
fn typed(topic: &str) -> String {
    const LONGEST: usize = 256;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/_-.:+,=@%".contains(c);
    let is_shown = topic.len() <= LONGEST && !topic.is_empty() && !topic.starts_with('-');
    if is_shown && topic.chars().all(is_plain) {
        topic.to_owned()
    } else if is_shown
        && topic.chars().all(|c| c != '\'' && !c.is_control() && (c.is_ascii() || c.is_alphanumeric()))
    {
        format!("'{topic}'")
    } else {
        "TOPIC".to_owned()
    }
}

/// What a user of this role may; where a role may connect at all, it may hear everything that is no device's own.
fn by_role(has: OverMqtt, action: Action, topic: &str) -> Decision {
    let may_publish = || match has.role {
        Role::Viewer => false,
        Role::Operator => topic.starts_with("cmd/"),
        Role::Admin => true,
    };
    match action {
        Action::Connect => Decision::Permitted,
        _ if is_reserved(topic) => Decision::Refused(Reason::Reserved),
        Action::Subscribe | Action::Receive if has.hears => Decision::Permitted,
        Action::Publish | Action::RetainPublish if has.says && may_publish() => Decision::Permitted,
        Action::Publish | Action::RetainPublish if has.says => Decision::Refused(Reason::RoleTooLow),
        _ => Decision::Refused(Reason::NoScope),
    }
}

/// The filter inside a shared subscription, `$share/{group}/{filter}` (MQTT 5.0, section 4.8.2); else the topic.
pub(crate) fn unshared(action: Action, topic: &str) -> &str {
    if action != Action::Subscribe {
        return topic;
    }
    topic.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(topic, |(_, inside)| inside)
}

/// A filter reaches `$aws/` only by naming it: a leading wildcard does not match `$` (MQTT 5.0, section 4.7.2).
fn is_reserved(topic: &str) -> bool {
    topic.strip_prefix("$aws").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
