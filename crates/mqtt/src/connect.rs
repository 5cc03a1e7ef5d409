//! CONNECT: the first packet of a connection (section 3.1 of both standards).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use bytestring::ByteString;
use model::{Qos, TopicName};

use crate::error::{DecodeError, EncodeError};
use crate::fields::Fields;
use crate::out::Out;
use crate::property::{self, Property, PropertyId};
use crate::publish::{attach, write_attached};
use crate::rule::Rule;
use crate::{UserProperties, Version};

/// A client asks to connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version it speaks from now on.
    pub version: Version,
    /// Whether an older session is to be forgotten. In MQTT 3.1.1 also: whether this one is, at its end.
    pub clean_start: bool,
    /// The longest silence of the client in seconds; 0: no bound.
    pub keep_alive_s: u16,
    /// Empty: the server chooses one.
    pub client_id: ByteString,
    /// What to publish when the client goes without a word.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<ByteString>,
    /// Password. Never shown by `Debug`.
    pub password: Option<Bytes>,
    /// The rest; the defaults in MQTT 3.1.1.
    pub properties: ConnectProperties,
}

/// Whatever is shown of a secret: that there is one.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| Hidden))
            .field("properties", &self.properties)
            .finish()
    }
}

/// What a client says of itself at CONNECT (MQTT 5.0, section 3.1.2.11). Absent properties have the value that
/// the standard gives them.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectProperties {
    /// How long the session outlives the connection, in seconds; `u32::MAX`: for ever. Default 0.
    pub session_expiry_s: u32,
    /// How many QoS 1 and 2 messages the client takes before it acknowledges. Default 65,535.
    pub receive_maximum: NonZeroU16,
    /// The largest packet the client takes, in bytes, fixed header included. Default: no bound.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// How many topic aliases the server may use. Default 0.
    pub topic_alias_max: u16,
    /// Whether the client asks for [`response_information`](crate::ConnAckProperties::response_information).
    pub request_response_information: bool,
    /// Whether reason strings and user properties may come with any answer. Default true.
    pub request_problem_information: bool,
    /// Names and values.
    pub user: UserProperties,
    /// Method of an extended authentication.
    pub auth_method: Option<ByteString>,
    /// Its first data; only with a method. Never shown by `Debug`.
    pub auth_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        Self {
            session_expiry_s: 0,
            receive_maximum: NonZeroU16::MAX,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response_information: false,
            request_problem_information: true,
            user: Vec::new(),
            auth_method: None,
            auth_data: None,
        }
    }
}

impl fmt::Debug for ConnectProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry_s", &self.session_expiry_s)
            .field("receive_maximum", &self.receive_maximum)
            .field("packet_bytes_max", &self.packet_bytes_max)
            .field("topic_alias_max", &self.topic_alias_max)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("user", &self.user)
            .field("auth_method", &self.auth_method)
            .field("auth_data", &self.auth_data.as_ref().map(|_| Hidden))
            .finish()
    }
}

/// What the server publishes when a client goes without a word (MQTT 5.0, section 3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub payload: Bytes,
    /// How sure.
    pub qos: Qos,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// How long to wait for the client to come back, in seconds (MQTT 5).
    pub delay_s: u32,
    /// Seconds after its publication when it must no longer be delivered (MQTT 5).
    pub expiry_s: Option<u32>,
    /// What is attached to it (MQTT 5).
    pub attached: model::Properties,
}

// The connect flags (section 3.1.2.3).
const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// The level that a bridge of Mosquitto tries first: MQTT 3.1.1, and a bit that says what it is.
const BRIDGE_LEVEL: u8 = 0x80 | 4;

impl Connect {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let version = protocol(&mut fields)?;
        fields.version = version;
        let flags = fields.u8()?;
        let will_qos = check_flags(flags, &fields)?;
        let keep_alive_s = fields.u16()?;
        let properties = match version {
            Version::V311 => ConnectProperties::default(),
            Version::V5 => ConnectProperties::read(&mut fields)?,
        };
        let client_id = fields.text()?;
        let clean_start = flags & CLEAN_START != 0;
        if version == Version::V311 && client_id.is_empty() && !clean_start {
            return Err(fields.error(Rule::ClientIdEmpty));
        }
        let will = match flags & WILL {
            0 => None,
            _ => Some(Will::read(&mut fields, will_qos, flags & WILL_RETAIN != 0)?),
        };
        let username = if flags & USER_NAME != 0 { Some(fields.text()?) } else { None };
        let password = if flags & PASSWORD != 0 { Some(fields.binary()?) } else { None };
        fields.finish()?;
        Ok(Self { version, clean_start, keep_alive_s, client_id, will, username, password, properties })
    }

    pub(crate) fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let is_v311 = self.version == Version::V311;
        out.refuse_if(self.version != out.version, "another version than its connection")?;
        out.refuse_if(
            is_v311 && self.password.is_some() && self.username.is_none(),
            "a password without a user name in MQTT 3.1.1",
        )?;
        out.refuse_if(
            is_v311 && self.client_id.is_empty() && !self.clean_start,
            "an empty client id without a clean session in MQTT 3.1.1",
        )?;
        out.needs_v5(self.properties != ConnectProperties::default(), "properties")?;
        out.text("protocol name", "MQTT")?;
        out.u8(self.version.level());
        out.u8(self.flags());
        out.u16(self.keep_alive_s);
        if !is_v311 {
            out.properties(|out| self.properties.write(out))?;
        }
        out.text("client id", &self.client_id)?;
        if let Some(will) = &self.will {
            will.write(out)?;
        }
        if let Some(username) = &self.username {
            out.text("user name", username)?;
        }
        self.password.as_ref().map_or(Ok(()), |password| out.binary("password", password))
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.clean_start, CLEAN_START)
            | self
                .will
                .as_ref()
                .map_or(0, |will| WILL | (will.qos as u8) << 3 | flag(will.retain, WILL_RETAIN))
            | flag(self.password.is_some(), PASSWORD)
            | flag(self.username.is_some(), USER_NAME)
    }
}

/// Reads protocol name and level (sections 3.1.2.1 and 3.1.2.2). The version of an error is the one in which the
/// refusal can be told; `None` when the sender may not speak MQTT at all.
fn protocol(fields: &mut Fields<'_>) -> Result<Version, DecodeError> {
    let refuse = |error: DecodeError, version| DecodeError { version, ..error };
    let name = fields.text().map_err(|error| refuse(error, None))?;
    let level = fields.u8().map_err(|error| refuse(error, None))?;
    match (&*name, level) {
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        // A bridge of Mosquitto sets the upper bit and asks again without it when that is refused.
        ("MQTT", _) => {
            let nearest = if level & 0x7F > 5 { Version::V5 } else { Version::V311 };
            let error = fields.error_with(Rule::ProtocolLevel, format!("level {level}"));
            let bridge = if level == BRIDGE_LEVEL { bridge(fields) } else { None };
            Err(refuse(DecodeError { bridge, ..error }, Some(nearest)))
        }
        ("MQIsdp", _) => {
            let error = fields.error_with(Rule::ProtocolLevel, "MQTT 3.1 (`MQIsdp`)".into());
            Err(refuse(error, Some(Version::V311)))
        }
        _ => Err(refuse(fields.error_with(Rule::ProtocolName, format!("`{name}`")), None)),
    }
}

/// The client id of a bridge whose level is about to be refused: the rest of its CONNECT is that of MQTT 3.1.1.
fn bridge(fields: &mut Fields<'_>) -> Option<ByteString> {
    fields.u8().ok()?;
    fields.u16().ok()?;
    fields.text().ok()
}

/// Checks that the flags agree with each other, and returns the QoS of the will.
fn check_flags(flags: u8, fields: &Fields<'_>) -> Result<Qos, DecodeError> {
    let Some(will_qos) = Qos::from_u8(flags >> 3 & 0b11) else {
        return Err(fields.error(Rule::WillQos));
    };
    let has = |flag: u8| flags & flag != 0;
    let broken = [
        (has(RESERVED), Rule::ConnectFlagReserved),
        (!has(WILL) && will_qos != Qos::AtMostOnce, Rule::WillQosWithoutWill),
        (!has(WILL) && has(WILL_RETAIN), Rule::WillRetainWithoutWill),
        (fields.version == Version::V311 && has(PASSWORD) && !has(USER_NAME), Rule::PasswordWithoutUserName),
    ];
    match broken.into_iter().find(|(is_broken, _)| *is_broken) {
        Some((_, rule)) => Err(fields.error(rule)),
        None => Ok(will_qos),
    }
}

impl ConnectProperties {
    fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        property::read(fields, |property| {
            match property {
                Property::SessionExpiryInterval(seconds) => read.session_expiry_s = seconds,
                Property::ReceiveMaximum(most) => read.receive_maximum = most,
                Property::MaximumPacketSize(bytes) => read.packet_bytes_max = Some(bytes),
                Property::TopicAliasMaximum(most) => read.topic_alias_max = most,
                Property::RequestResponseInformation(wanted) => read.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => read.request_problem_information = wanted,
                Property::User(name, value) => read.user.push((name, value)),
                Property::AuthenticationMethod(text) => read.auth_method = Some(text),
                Property::AuthenticationData(data) => read.auth_data = Some(data),
                _ => return None,
            }
            Some(Ok(()))
        })?;
        if read.auth_data.is_some() && read.auth_method.is_none() {
            return Err(fields.error(Rule::AuthMethodMissing));
        }
        Ok(read)
    }

    fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        out.refuse_if(
            self.auth_data.is_some() && self.auth_method.is_none(),
            "authentication data without its method",
        )?;
        if self.session_expiry_s != 0 {
            out.property_u32(PropertyId::SessionExpiryInterval, self.session_expiry_s);
        }
        if self.receive_maximum != NonZeroU16::MAX {
            out.property_u16(PropertyId::ReceiveMaximum, self.receive_maximum.get());
        }
        if let Some(bytes) = self.packet_bytes_max {
            out.property_u32(PropertyId::MaximumPacketSize, bytes.get());
        }
        if self.topic_alias_max != 0 {
            out.property_u16(PropertyId::TopicAliasMaximum, self.topic_alias_max);
        }
        if self.request_response_information {
            out.property_u8(PropertyId::RequestResponseInformation, 1);
        }
        if !self.request_problem_information {
            out.property_u8(PropertyId::RequestProblemInformation, 0);
        }
        out.property_text(PropertyId::AuthenticationMethod, self.auth_method.as_ref())?;
        out.property_binary(PropertyId::AuthenticationData, self.auth_data.as_ref())?;
        out.user_properties(&self.user)
    }
}

impl Will {
    fn read(fields: &mut Fields<'_>, qos: Qos, retain: bool) -> Result<Self, DecodeError> {
        let mut delay_s = 0;
        let mut expiry_s = None;
        let mut attached = model::Properties::default();
        if fields.version == Version::V5 {
            property::read(fields, |property| {
                match property {
                    Property::WillDelayInterval(seconds) => delay_s = seconds,
                    Property::MessageExpiryInterval(seconds) => expiry_s = Some(seconds),
                    other => return attach(&mut attached, other).map(Ok),
                }
                Some(Ok(()))
            })?;
        }
        let topic = fields.text_unchecked_for_nul()?;
        let topic = fields.topic(topic)?;
        let payload = fields.binary()?;
        Ok(Self { topic, payload, qos, retain, delay_s, expiry_s, attached })
    }

    fn write(&self, out: &mut Out<'_>) -> Result<(), EncodeError> {
        let is_plain = self.delay_s == 0 && self.expiry_s.is_none() && self.attached.is_empty();
        out.needs_v5(!is_plain, "properties of a will")?;
        if out.version == Version::V5 {
            out.properties(|out| {
                if self.delay_s != 0 {
                    out.property_u32(PropertyId::WillDelayInterval, self.delay_s);
                }
                if let Some(seconds) = self.expiry_s {
                    out.property_u32(PropertyId::MessageExpiryInterval, seconds);
                }
                write_attached(out, &self.attached)
            })?;
        }
        out.binary("will topic", self.topic.as_bytes())?;
        out.binary("will payload", &self.payload)
    }
}
