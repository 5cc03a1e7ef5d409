//! SUBSCRIBE and UNSUBSCRIBE, and the filters they carry (sections 3.8 and 3.10 of both standards).

use std::fmt;
use std::num::NonZeroU32;

use bytestring::ByteString;
use model::{Qos, TopicError, TopicFilter};

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::limit::VARINT_MAX;
use crate::out::Out;
use crate::property::{self, Property, PropertyId};
use crate::rule::Rule;
use crate::{UserProperties, Version};

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
    group: Option<ByteString>,
    filter: TopicFilter,
}

/// Why a text is no filter of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The filter, or the part behind the group, is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// It starts with `$share/`, and no group and filter follow.
    #[error(
        "`{0}` is no shared subscription; it must be `$share/group/filter` with no `+` or `#` in the group"
    )]
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
            Some((group, filter))
                if !group.is_empty() && !filter.is_empty() && !group.contains(['+', '#', '\0']) =>
            {
                Ok(Self {
                    group: Some(text.slice_ref(group)),
                    filter: TopicFilter::parse(text.slice_ref(filter))?,
                })
            }
            _ => Err(FilterError::Share(text.to_string())),
        }
    }

    /// The group; `None`: not shared. At least one character, without `/`, `+` and `#`.
    #[must_use]
    pub fn group(&self) -> Option<&ByteString> {
        self.group.as_ref()
    }

    /// Which topics.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

/// A filter that is not shared.
impl From<TopicFilter> for SubscriptionFilter {
    fn from(filter: TopicFilter) -> Self {
        Self { group: None, filter }
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

impl Subscribe {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let packet_id = fields.packet_id()?;
        let mut subscription_id = None;
        let mut user = Vec::new();
        if fields.version == Version::V5 {
            property::read(&mut fields, |property| {
                match property {
                    Property::SubscriptionIdentifier(_) if subscription_id.is_some() => {
                        return Some(Err(Rule::PropertyTwice));
                    }
                    Property::SubscriptionIdentifier(id) => subscription_id = Some(id),
                    Property::User(name, value) => user.push((name, value)),
                    _ => return None,
                }
                Some(Ok(()))
            })?;
        }
        let filters = read_filters(fields, |filter, fields| {
            let options = SubscribeOptions::read(fields)?;
            if options.no_local && filter.group.is_some() {
                return Err(fields.error(Rule::NoLocalOnShared));
            }
            Ok((filter, options))
        })?;
        Ok(Self { packet_id, filters, subscription_id, user })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.needs_v5(self.subscription_id.is_some() || !self.user.is_empty(), "properties")?;
        out.refuse_if(self.filters.is_empty(), "no filter")?;
        out.packet_id(self.packet_id)?;
        if out.version == Version::V5 {
            out.properties(|out| {
                if let Some(id) = self.subscription_id {
                    let id = id.get() as usize;
                    out.refuse_if(id > VARINT_MAX, "a subscription identifier outside 1 to 268435455")?;
                    out.u8(PropertyId::SubscriptionIdentifier as u8);
                    out.varint(id);
                }
                out.user_properties(&self.user)
            })?;
        }
        for (filter, options) in &self.filters {
            out.refuse_if(options.no_local && filter.group.is_some(), "no-local on a shared subscription")?;
            filter.write(out)?;
            options.write(out)?;
        }
        Ok(())
    }
}

impl Unsubscribe {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let packet_id = fields.packet_id()?;
        let mut user = Vec::new();
        if fields.version == Version::V5 {
            property::read(&mut fields, |property| match property {
                Property::User(name, value) => {
                    user.push((name, value));
                    Some(Ok(()))
                }
                _ => None,
            })?;
        }
        let filters = read_filters(fields, |filter, _| Ok(filter))?;
        Ok(Self { packet_id, filters, user })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.needs_v5(!self.user.is_empty(), "properties")?;
        out.refuse_if(self.filters.is_empty(), "no filter")?;
        out.packet_id(self.packet_id)?;
        if out.version == Version::V5 {
            out.properties(|out| out.user_properties(&self.user))?;
        }
        self.filters.iter().try_for_each(|filter| filter.write(out))
    }
}

/// Reads filters, each with what `with` reads behind it, to the end of the packet.
fn read_filters<T>(
    mut fields: Fields<'_>,
    mut with: impl FnMut(SubscriptionFilter, &mut Fields<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut filters = Vec::new();
    while !fields.is_empty() {
        let most = fields.limits.filters_max;
        if filters.len() == most {
            return Err(fields.error_with(Rule::FiltersTooMany, format!("the most is {most}")));
        }
        let text = fields.text_unchecked_for_nul()?;
        let filter = SubscriptionFilter::parse(text).map_err(|error| {
            let rule = match error {
                FilterError::Share(_) => Rule::SharedFilterMalformed,
                FilterError::Topic(TopicError::Empty) => Rule::FilterEmpty,
                FilterError::Topic(TopicError::Nul) => Rule::TextNul,
                FilterError::Topic(TopicError::TooDeep { .. } | TopicError::TooLong { .. }) => {
                    Rule::FilterTooDeep
                }
                FilterError::Topic(TopicError::MalformedFilter(_) | TopicError::WildcardInName(_)) => {
                    Rule::FilterMalformed
                }
            };
            fields.error_with(rule, error.to_string())
        })?;
        filters.push(with(filter, &mut fields)?);
    }
    if filters.is_empty() { Err(fields.error(Rule::FiltersMissing)) } else { Ok(filters) }
}

impl SubscriptionFilter {
    fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        match &self.group {
            None => out.binary("filter", self.filter.as_bytes()),
            Some(_) => out.text("filter", &self.to_string()),
        }
    }
}

impl SubscribeOptions {
    fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let byte = fields.u8()?;
        let reserved = if fields.version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
        if byte & reserved != 0 {
            return Err(fields.error(Rule::SubscribeOptionsReserved));
        }
        let Some(qos_max) = Qos::from_u8(byte & 0b11) else {
            return Err(fields.error(Rule::SubscribeQos));
        };
        let retain_handling = match byte >> 4 & 0b11 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(fields.error(Rule::RetainHandlingUnknown)),
        };
        let no_local = byte & 0b0100 != 0;
        let retain_as_published = byte & 0b1000 != 0;
        Ok(Self { qos_max, no_local, retain_as_published, retain_handling })
    }

    fn write(self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let plain = Self { qos_max: self.qos_max, ..Self::default() };
        out.needs_v5(self != plain, "subscription options")?;
        out.u8(self.qos_max as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_filter_is_taken_apart_and_put_together_again() {
        let check = |text: &str, group: Option<&str>, filter: &str| {
            let got = SubscriptionFilter::parse(text).expect("a filter");
            assert_eq!((got.group().map(|group| &**group), &**got.filter()), (group, filter), "{text}");
            assert_eq!(got.to_string(), text);
        };
        check("a/+/#", None, "a/+/#");
        check("$share/team/a/+", Some("team"), "a/+");
        check("$share/team//a", Some("team"), "/a");
        check("$shared/team/a", None, "$shared/team/a");
        check("$share", None, "$share");
        for text in ["", "$share/", "$share/team", "$share/team/", "$share//a", "$share/t+/a", "$share/t/a#"]
        {
            assert!(SubscriptionFilter::parse(text).is_err(), "{text:?}");
        }
    }
}
