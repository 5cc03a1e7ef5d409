//! Policy variables: names for what is known of a session.
//!
//! | variable | stands for |
//! |---|---|
//! | `iot:ClientId` | the client id |
//! | `aws:SourceIp` | the address it connects from |
//! | `iot:Connection.Thing.ThingName`, `…Attributes[name]` | the device, when the client id is its name |
//! | `iot:Connection.Thing.ThingTypeName` | its attribute `type`, where provisioning keeps it |
//! | `iot:Connection.Thing.IsAttached` | `true` when the client id is the device's name, else `false` |
//! | `iot:CertificateId`, `iot:Certificate.SerialNumber` | the certificate |
//! | `iot:Certificate.Subject.CommonName`, `….1`, `….List`, `iot:Certificate.Issuer.…` | parts of its names: first, second, all |
//! | `iot:ConnectAttributes` | `PersistentConnect`, `LastWill`: in conditions alone |
//! | `godwit:Device` | the device as proven, whatever the client id |
//! | `godwit:Child` | each device that this gateway speaks for |
//! | `godwit:Sparkplug.Group`, `godwit:Sparkplug.Node` | the parts of a device named `{group}:{node}` |
//!
//! Not here: putting values in. The law: what is not known has no value; names are compared without case, those of attributes
//! with it.

use std::borrow::Cow;

use super::context::{CertificateFacts, Context};

/// A name for something that is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    ClientId,
    SourceIp,
    ThingName,
    ThingTypeName,
    ThingAttribute(String),
    ThingIsAttached,
    CertificateId,
    CertificateSerial,
    Subject(Part),
    Issuer(Part),
    ConnectAttributes,
    Device,
    Child,
    SparkplugGroup,
    SparkplugNode,
}

/// A part of a certificate's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// `CommonName`, `AlternativeName.DNSName`, …
    name: String,
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Nth(usize),
    All,
}

/// Longest value that is put in, in characters.
const VALUE_CHARACTERS_MAX: usize = 1024;

/// Characters that would make a value something else than text; it is not put in then.
const NO_TEXT: [char; 5] = ['*', '$', '+', '?', '#'];

impl Variable {
    /// The variable of this name, without its braces.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        const ATTRIBUTES: &str = "iot:connection.thing.attributes[";
        let lower = name.to_ascii_lowercase();
        if lower.starts_with(ATTRIBUTES) {
            let attribute = name[ATTRIBUTES.len()..].strip_suffix(']')?;
            return (!attribute.is_empty()).then(|| Self::ThingAttribute(attribute.to_owned()));
        }
        let part = |of: &str| lower.strip_prefix(of).map(|_| Part::parse(&name[of.len()..]));
        if let Some(part) = part("iot:certificate.subject.") {
            return part.map(Self::Subject);
        }
        if let Some(part) = part("iot:certificate.issuer.") {
            return part.map(Self::Issuer);
        }
        Some(match lower.as_str() {
            "iot:clientid" => Self::ClientId,
            "aws:sourceip" => Self::SourceIp,
            "iot:connection.thing.thingname" => Self::ThingName,
            "iot:connection.thing.thingtypename" => Self::ThingTypeName,
            "iot:connection.thing.isattached" => Self::ThingIsAttached,
            "iot:certificateid" => Self::CertificateId,
            "iot:certificate.serialnumber" => Self::CertificateSerial,
            "iot:connectattributes" => Self::ConnectAttributes,
            "godwit:device" => Self::Device,
            "godwit:child" => Self::Child,
            "godwit:sparkplug.group" => Self::SparkplugGroup,
            "godwit:sparkplug.node" => Self::SparkplugNode,
            _ => return None,
        })
    }

    /// Whether it may stand for more than one text.
    pub(crate) fn is_many(&self) -> bool {
        match self {
            Self::ConnectAttributes | Self::Child => true,
            Self::Subject(part) | Self::Issuer(part) => part.which == Which::All,
            _ => false,
        }
    }

    /// What it stands for; nothing when it is not known.
    pub(crate) fn values<'a>(&self, context: &'a Context) -> Vec<Cow<'a, str>> {
        let one = |value: Option<&'a str>| value.map(Cow::Borrowed).into_iter().collect();
        let circumstances = &context.circumstances;
        match self {
            Self::ClientId => one(Some(&circumstances.client_id)),
            Self::SourceIp => circumstances
                .address
                .map(|address| Cow::Owned(address.to_canonical().to_string()))
                .into_iter()
                .collect(),
            Self::ThingName => one(context.thing().map(model::DeviceName::as_str)),
            Self::ThingTypeName => one(context.thing().and_then(|_| context.attributes.get("type"))),
            Self::ThingAttribute(name) => one(context.thing().and_then(|_| context.attributes.get(name))),
            Self::ThingIsAttached => one(Some(if context.thing().is_some() { "true" } else { "false" })),
            Self::CertificateId => {
                context.certificate.iter().map(|facts| Cow::Owned(hex(&facts.id))).collect()
            }
            Self::CertificateSerial => {
                one(context.certificate.as_ref().and_then(|facts| facts.serial.as_deref()))
            }
            Self::Subject(part) => part.values(context, |facts| &facts.subject),
            Self::Issuer(part) => part.values(context, |facts| &facts.issuer),
            Self::ConnectAttributes => [
                circumstances.is_persistent.then_some("PersistentConnect"),
                circumstances.has_will.then_some("LastWill"),
            ]
            .into_iter()
            .flatten()
            .map(Cow::Borrowed)
            .collect(),
            Self::Device => one(context.device.as_ref().map(model::DeviceName::as_str)),
            Self::Child => context.children.iter().map(|child| Cow::Borrowed(child.as_str())).collect(),
            Self::SparkplugGroup => one(sparkplug(context).map(|(group, _)| group)),
            Self::SparkplugNode => one(sparkplug(context).map(|(_, node)| node)),
        }
    }

    /// What it stands for, as far as that may be put into a pattern.
    pub(crate) fn texts<'a>(&self, context: &'a Context) -> Vec<Cow<'a, str>> {
        // `.List` and connect attributes are for conditions.
        if self.is_many() && *self != Self::Child {
            return Vec::new();
        }
        let mut values = self.values(context);
        values.retain(|value| {
            !value.contains(NO_TEXT) && !value.contains('\0') && value.chars().count() <= VALUE_CHARACTERS_MAX
        });
        values
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let (name, which) = match text.rsplit_once('.') {
            Some((name, "List")) => (name, Which::All),
            Some((name, number)) if number.parse::<usize>().is_ok() => {
                (name, Which::Nth(number.parse().ok()?))
            }
            _ => (text, Which::Nth(0)),
        };
        (!name.is_empty()).then(|| Self { name: name.to_owned(), which })
    }

    fn values<'a>(
        &self,
        context: &'a Context,
        of: fn(&CertificateFacts) -> &[(String, String)],
    ) -> Vec<Cow<'a, str>> {
        let Some(facts) = &context.certificate else { return Vec::new() };
        let named = of(facts).iter().filter(|(name, _)| name.eq_ignore_ascii_case(&self.name));
        let values = named.map(|(_, value)| Cow::Borrowed(value.as_str()));
        match self.which {
            Which::All => values.collect(),
            Which::Nth(n) => values.skip(n).take(1).collect(),
        }
    }
}

/// The group and the node of a device that is an edge node of Sparkplug.
fn sparkplug(context: &Context) -> Option<(&str, &str)> {
    let (group, node) = context.device.as_ref()?.split_once(':')?;
    (!group.is_empty() && !node.is_empty() && !node.contains(':')).then_some((group, node))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
