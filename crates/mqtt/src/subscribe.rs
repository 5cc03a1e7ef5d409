//! SUBSCRIBE and UNSUBSCRIBE, and the filters they carry (sections 3.8 and 3.10 of both standards).

use std::fmt;
use std::num::NonZeroU32;

use bytestring::ByteString;
use model::{Qos, TopicError, TopicFilter};

use crate::UserProperties;

/// A client asks for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The id that the SUBACK repeats; never 0.
    pub packet_id: u16,
    /// Which messages, in the order of the codes of the SUBACK; at least one, at most
    /// [`Limits::filters_max`](crate::Limits::filters_max).
    pub filters: Vec<(SubscriptionFilter, SubscribeOptions)>,
    /// A number the server repeats with each message of these subscriptions (MQTT 5); at most 268,435,455.
    pub subscription_id: Option<NonZeroU32>,
    /// Names and values (MQTT 5).
    pub user: UserProperties,
}

/// A client no longer asks for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The id that the UNSUBACK repeats; never 0.
    pub packet_id: u16,
    /// Which subscriptions end; at least one, at most [`Limits::filters_max`](crate::Limits::filters_max).
    pub filters: Vec<SubscriptionFilter>,
    /// Names and values (MQTT 5).
    pub user: UserProperties,
}

/// What a subscription is to: a filter, and the group that shares its messages, if one does
/// (MQTT 5.0, section 4.8.2: `$share/group/filter`).
///
/// MQTT 3.1.1 does not know sharing; its clients may ask for it in the same words, as they do elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscriptionFilter {
    /// The group; `None`: not shared. At least one character, without `/`, `+` and `#`.
    pub group: Option<ByteString>,
    /// Which topics.
    pub filter: TopicFilter,
}

/// Why a text is no filter of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The filter, or the part behind the group, is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// It starts with `$share/`, and no group and filter follow.
    #[error("`{0}` is no shared subscription; it must be `$share/group/filter` with no `+` or `#` in the group")]
    Share(String),
}

const SHARE: &str = "$share/";

impl SubscriptionFilter {
    /// Reads `filter` or `$share/group/filter`.
    ///
    /// # Errors
    /// [`FilterError`] names what is wrong.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, FilterError> {
        let text = text.into();
        let Some(shared) = text.strip_prefix(SHARE) else {
            return Ok(Self { group: None, filter: TopicFilter::parse(text)? });
        };
        match shared.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !filter.is_empty() && !group.contains(['+', '#', '\0']) => {
                Ok(Self { group: Some(text.slice_ref(group)), filter: TopicFilter::parse(text.slice_ref(filter))? })
            }
            _ => Err(FilterError::Share(text.to_string())),
        }
    }
}

/// As it is written in a SUBSCRIBE.
impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            None => f.write_str(&self.filter),
            Some(group) => write!(f, "{SHARE}{group}/{}", self.filter),
        }
    }
}

/// How a subscription is served (MQTT 5.0, section 3.8.3.1). MQTT 3.1.1 has the QoS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscribeOptions {
    /// The highest QoS of a delivery.
    pub qos_max: Qos,
    /// The client does not want back what it published itself. Never with a shared subscription.
    pub no_local: bool,
    /// The retain flag is passed on as it was published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent to a subscriber (MQTT 5.0, section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At each SUBSCRIBE.
    #[default]
    Always = 0,
    /// At the SUBSCRIBE that makes the subscription.
    IfNew = 1,
    /// Never.
    Never = 2,
}
