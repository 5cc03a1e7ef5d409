//! The record, version 1: one message in protobuf's wire format.
//!
//! Frozen. New fields get new numbers; a reader passes over numbers that it does not know; a field is never given
//! another meaning. A field with its default (0, false, empty) is absent, save where the table says *when there*:
//! these are written whenever the message has one, so that an empty one is not the same as none.
//!
//! | number | type | meaning |
//! |---|---|---|
//! | 1 | string | topic |
//! | 2 | bytes | payload |
//! | 3 | sfixed64 | received at, microseconds since 1970 UTC; always |
//! | 4 | uint64 | the same moment by the monotonic clock, microseconds since the process started |
//! | 5 | uint32 | which start of the process |
//! | 6 | enum | door: 0 inside, 1 MQTT, 2 HTTP, 3 CoAP, 4 LoRaWAN, 5 edge |
//! | 7 | enum | lane: 0 alarm, 1 control, 2 telemetry, 3 bulk |
//! | 8 | uint32 | partition |
//! | 9 | string | device of the connection, when there |
//! | 10 | enum | principal: 0 anonymous, 1 user, 2 device by password, 3 certificate, 4 inside |
//! | 11 | bytes | the principal's name, or the SHA-256 of the certificate |
//! | 12 | string | client id |
//! | 13 | uint64 | connection |
//! | 14 | uint32 | packet id |
//! | 15 | enum | QoS |
//! | 16 | enum | kind: 0 message |
//! | 17 | bool | retain |
//! | 18 | bool | dup |
//! | 19 | uint32 | expiry in seconds, when there |
//! | 20 | string | message id, when there |
//! | 21 | bytes | trace id, 16 bytes, when there |
//! | 22 | uint64 | `to`: the connection that alone gets it, when there |
//! | 23 | bool | message id reused |
//! | 24 | bool | payload is UTF-8 |
//! | 25 | string | content type, when there |
//! | 26 | string | response topic, when there |
//! | 27 | bytes | correlation data, when there |
//! | 28 | message | a user property, repeated: 1 name, 2 value; both always |
//!
//! The `seq` is not in it: it is the frame's first `seq` plus the record's place in the frame. Records stand in
//! a frame as field 1 of one message (`repeated Record record = 1`).

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use model::{DeviceName, Door, Lane, Message, Origin, Principal, Properties, Qos, Timestamp, TopicName};

use crate::Record;
use crate::wire::{
    FIXED64, Fields, Malformed, Value, put_bytes, put_nested, put_number, put_tag, put_varint,
};

/// Largest record in bytes: the largest packet, and what the record says beside it.
pub(crate) const RECORD_BYTES_MAX: usize = model::limit::PACKET_BYTES_MAX + 256 * 1024;

/// More than the fixed-size fields of a record take, tags included.
const FIXED_FIELDS_BYTES_MAX: usize = 192;

/// An upper bound of what a message takes as a record.
pub(crate) fn bytes_bound(message: &Message) -> usize {
    // A tag and a length before each text: at most seven bytes.
    let properties = message.properties.as_ref().map_or(0, |properties| {
        let user: usize = properties.user.iter().map(|(name, value)| name.len() + value.len() + 24).sum();
        user + properties.content_type.as_ref().map_or(0, |text| text.len() + 8)
            + properties.response_topic.as_ref().map_or(0, |topic| topic.len() + 8)
            + properties.correlation_data.as_ref().map_or(0, |data| data.len() + 8)
    });
    let origin = &message.origin;
    let principal = match &origin.principal {
        Principal::User(name) => name.len(),
        Principal::DevicePassword(name) => name.len(),
        Principal::Certificate(_) => 32,
        Principal::Anonymous | Principal::Inside => 0,
    };
    FIXED_FIELDS_BYTES_MAX
        + message.topic.len()
        + message.payload.len()
        + message.message_id.as_ref().map_or(0, |id| id.len())
        + origin.client_id.len()
        + origin.device.as_ref().map_or(0, |name| name.len())
        + principal
        + properties
}

/// Appends `message` as field 1 of a frame's content.
pub(crate) fn encode(message: &Message, id_reused: bool, out: &mut Vec<u8>) {
    out.reserve(bytes_bound(message));
    put_nested(out, 1, |out| encode_fields(message, id_reused, out));
}

fn encode_fields(message: &Message, id_reused: bool, out: &mut Vec<u8>) {
    let origin = &*message.origin;
    put_bytes(out, 1, message.topic.as_bytes());
    if !message.payload.is_empty() {
        put_bytes(out, 2, &message.payload);
    }
    put_tag(out, 3, FIXED64);
    out.extend_from_slice(&message.received_at.micros().to_le_bytes());
    put_number(out, 4, message.received_mono);
    put_number(out, 5, u64::from(origin.boot));
    put_number(out, 6, origin.door as u64);
    put_number(out, 7, message.lane as u64);
    put_number(out, 8, u64::from(origin.partition));
    if let Some(device) = &origin.device {
        put_bytes(out, 9, device.as_bytes());
    }
    let (principal, name): (u64, &[u8]) = match &origin.principal {
        Principal::Anonymous => (0, &[]),
        Principal::User(name) => (1, name.as_bytes()),
        Principal::DevicePassword(name) => (2, name.as_bytes()),
        Principal::Certificate(digest) => (3, digest),
        Principal::Inside => (4, &[]),
    };
    put_number(out, 10, principal);
    if !name.is_empty() {
        put_bytes(out, 11, name);
    }
    if !origin.client_id.is_empty() {
        put_bytes(out, 12, origin.client_id.as_bytes());
    }
    put_number(out, 13, origin.connection);
    put_number(out, 14, u64::from(message.packet_id));
    put_number(out, 15, message.qos as u64);
    put_number(out, 17, u64::from(message.retain));
    put_number(out, 18, u64::from(message.dup));
    if let Some(expiry_s) = message.expiry_s {
        put_tag(out, 19, crate::wire::VARINT);
        put_varint(out, u64::from(expiry_s));
    }
    if let Some(id) = &message.message_id {
        put_bytes(out, 20, id.as_bytes());
    }
    if let Some(id) = &message.trace_id {
        put_bytes(out, 21, id);
    }
    if let Some(to) = message.to {
        put_tag(out, 22, crate::wire::VARINT);
        put_varint(out, to);
    }
    put_number(out, 23, u64::from(id_reused));
    if let Some(properties) = &message.properties {
        encode_properties(properties, out);
    }
}

fn encode_properties(properties: &Properties, out: &mut Vec<u8>) {
    put_number(out, 24, u64::from(properties.payload_is_utf8));
    if let Some(text) = &properties.content_type {
        put_bytes(out, 25, text.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        put_bytes(out, 26, topic.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        put_bytes(out, 27, data);
    }
    for (name, value) in &properties.user {
        put_nested(out, 28, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_bytes(out, 2, value.as_bytes());
        });
    }
}

/// Decodes the records of frames. Keeps the last origin, which most neighbours share.
#[derive(Default)]
pub(crate) struct Decoder {
    last_origin: Option<Arc<Origin>>,
}

impl Decoder {
    /// The records of a frame's content, the first of which has the `seq` `first`. A record that is malformed or
    /// of an unknown kind is in `unknown` by its `seq`.
    ///
    /// Texts and payloads are slices of `content`: it stays in memory as long as one of them.
    ///
    /// # Errors
    /// [`Malformed`] when the content is no row of records.
    pub(crate) fn frame(
        &mut self,
        content: &Bytes,
        first: u64,
        count: usize,
        unknown: &mut Vec<u64>,
    ) -> Result<Vec<Record>, Malformed> {
        let mut records = Vec::with_capacity(count.min(content.len()));
        let mut fields = Fields::of(content);
        let mut seq = first;
        while let Some((field, value)) = fields.next()? {
            if field != 1 {
                continue;
            }
            match self.record(content, value.bytes()?, seq) {
                Ok(record) => records.push(record),
                Err(Malformed) => unknown.push(seq),
            }
            seq += 1;
        }
        if seq - first == count as u64 { Ok(records) } else { Err(Malformed) }
    }

    fn record(&mut self, content: &Bytes, bytes: &[u8], seq: u64) -> Result<Record, Malformed> {
        let text = |bytes: &[u8]| ByteString::try_from(content.slice_ref(bytes)).map_err(|_| Malformed);
        let mut raw = RawOrigin::default();
        let mut topic = None;
        let mut properties = Properties::default();
        let mut id_reused = false;
        let mut message = Message {
            // Replaced below: a record without a topic is malformed.
            topic: placeholder(),
            payload: Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            lane: Lane::Alarm,
            packet_id: 0,
            expiry_s: None,
            received_at: Timestamp::default(),
            received_mono: 0,
            properties: None,
            message_id: None,
            trace_id: None,
            to: None,
            origin: raw_inside(),
        };
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => topic = Some(TopicName::parse(text(value.bytes()?)?).map_err(|_| Malformed)?),
                2 => message.payload = content.slice_ref(value.bytes()?),
                3 => message.received_at = Timestamp::from_micros(value.number()?.cast_signed()),
                4 => message.received_mono = value.number()?,
                7 => message.lane = Lane::from_u8(small(value)?).ok_or(Malformed)?,
                14 => message.packet_id = small(value)?,
                15 => message.qos = Qos::from_u8(small(value)?).ok_or(Malformed)?,
                16 if value.number()? != 0 => return Err(Malformed),
                17 => message.retain = value.number()? != 0,
                18 => message.dup = value.number()? != 0,
                19 => message.expiry_s = Some(small(value)?),
                20 => message.message_id = Some(text(value.bytes()?)?),
                21 => message.trace_id = Some(value.bytes()?.try_into().map_err(|_| Malformed)?),
                22 => message.to = Some(value.number()?),
                23 => id_reused = value.number()? != 0,
                24 => properties.payload_is_utf8 = value.number()? != 0,
                25 => properties.content_type = Some(text(value.bytes()?)?),
                26 => {
                    let topic = TopicName::parse(text(value.bytes()?)?).map_err(|_| Malformed)?;
                    properties.response_topic = Some(topic);
                }
                27 => properties.correlation_data = Some(content.slice_ref(value.bytes()?)),
                28 => properties.user.push(user_property(value.bytes()?, &text)?),
                _ => raw.field(field, value)?,
            }
        }
        message.topic = topic.ok_or(Malformed)?;
        message.origin = self.origin(&raw, &text)?;
        message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
        Ok(Record { seq, message, id_reused })
    }

    fn origin(
        &mut self,
        raw: &RawOrigin<'_>,
        text: &dyn Fn(&[u8]) -> Result<ByteString, Malformed>,
    ) -> Result<Arc<Origin>, Malformed> {
        if let Some(last) = &self.last_origin
            && raw.is(last)
        {
            return Ok(Arc::clone(last));
        }
        let device = |bytes| DeviceName::parse(text(bytes)?).map_err(|_| Malformed);
        let origin = Arc::new(Origin {
            door: Door::from_u8(raw.door).ok_or(Malformed)?,
            principal: match raw.principal {
                0 => Principal::Anonymous,
                1 => Principal::User(text(raw.principal_name)?),
                2 => Principal::DevicePassword(device(raw.principal_name)?),
                3 => Principal::Certificate(raw.principal_name.try_into().map_err(|_| Malformed)?),
                4 => Principal::Inside,
                _ => return Err(Malformed),
            },
            device: raw.device.map(device).transpose()?,
            client_id: text(raw.client_id)?,
            connection: raw.connection,
            boot: raw.boot,
            partition: raw.partition,
        });
        self.last_origin = Some(Arc::clone(&origin));
        Ok(origin)
    }
}

/// What an origin is made of, as it stands in the record.
#[derive(Default)]
struct RawOrigin<'a> {
    boot: u32,
    door: u8,
    partition: u8,
    device: Option<&'a [u8]>,
    principal: u8,
    principal_name: &'a [u8],
    client_id: &'a [u8],
    connection: u64,
}

impl<'a> RawOrigin<'a> {
    fn field(&mut self, field: u64, value: Value<'a>) -> Result<(), Malformed> {
        match field {
            5 => self.boot = small(value)?,
            6 => self.door = small(value)?,
            8 => self.partition = small(value)?,
            9 => self.device = Some(value.bytes()?),
            10 => self.principal = small(value)?,
            11 => self.principal_name = value.bytes()?,
            12 => self.client_id = value.bytes()?,
            13 => self.connection = value.number()?,
            // A field that a later version added.
            _ => {}
        }
        Ok(())
    }

    fn is(&self, origin: &Origin) -> bool {
        let principal: (u8, &[u8]) = match &origin.principal {
            Principal::Anonymous => (0, &[]),
            Principal::User(name) => (1, name.as_bytes()),
            Principal::DevicePassword(name) => (2, name.as_bytes()),
            Principal::Certificate(digest) => (3, digest),
            Principal::Inside => (4, &[]),
        };
        self.connection == origin.connection
            && self.boot == origin.boot
            && self.door == origin.door as u8
            && self.partition == origin.partition
            && self.client_id == origin.client_id.as_bytes()
            && self.device == origin.device.as_ref().map(|name| name.as_bytes())
            && (self.principal, self.principal_name) == principal
    }
}

fn small<T: TryFrom<u64>>(value: Value<'_>) -> Result<T, Malformed> {
    T::try_from(value.number()?).map_err(|_| Malformed)
}

fn user_property(
    bytes: &[u8],
    text: &dyn Fn(&[u8]) -> Result<ByteString, Malformed>,
) -> Result<(ByteString, ByteString), Malformed> {
    let mut property = (ByteString::new(), ByteString::new());
    let mut fields = Fields::of(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => property.0 = text(value.bytes()?)?,
            2 => property.1 = text(value.bytes()?)?,
            _ => {}
        }
    }
    Ok(property)
}

fn placeholder() -> TopicName {
    TopicName::parse(ByteString::from_static("-")).expect("a topic")
}

fn raw_inside() -> Arc<Origin> {
    static INSIDE: std::sync::LazyLock<Arc<Origin>> =
        std::sync::LazyLock::new(|| Arc::new(Origin::inside(0)));
    Arc::clone(&INSIDE)
}

#[cfg(test)]
mod tests;
