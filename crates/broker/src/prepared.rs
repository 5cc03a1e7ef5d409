//! One message made ready for many receivers: encoded once per kind of delivery, shared by all of them.
//!
//! Not here: which receivers, packet ids, sockets. The laws: a waiting message pins no network buffer much larger
//! than itself; a message that waited says so in its expiry (MQTT 5.0, section 3.3.2.3.3).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use model::{Message, Qos, TopicName};
use mqtt::{Decoder, Delivery, Packet, Publish, PublishTemplate, Side, Version};

use crate::outbox::{Left, Outgoing, Source};

const SECOND_MICROS: u64 = 1_000_000;

/// Payloads up to this size are copied out of the buffer they were read into: a larger one is at least a quarter
/// of that buffer and may pin it.
const COPIED_BYTES_MAX: usize = crate::scratch::READ_BYTES / 4;

/// A message encoded for receivers of one kind.
#[derive(Debug)]
pub(crate) struct Prepared {
    template: PublishTemplate,
    version: Version,
    qos: Qos,
    /// By the monotonic clock, in microseconds: when it was encoded, and when it must no longer be sent.
    made_mono: u64,
    expires_mono: Option<u64>,
    /// Its record, or 0: by it and by what follows the delivery can be made again.
    seq: u64,
    retain: bool,
    ids: Option<Box<[u32]>>,
}

impl Prepared {
    /// How it is found again in the journal, if it is there.
    pub(crate) fn left(&self, source: Source) -> Option<Left> {
        let Self { seq, qos, retain, ref ids, .. } = *self;
        (seq > 0).then(|| Left { seq, source, qos_max: qos, retain, ids: ids.clone() })
    }

    /// Its record, or 0.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// When it was made, by the monotonic clock.
    pub(crate) fn made_mono(&self) -> u64 {
        self.made_mono
    }

    /// The QoS of the delivery.
    pub(crate) fn qos(&self) -> Qos {
        self.qos
    }

    /// Its topic. Taken from the packet: it is asked for when rights change, and otherwise never.
    pub(crate) fn topic(&self) -> TopicName {
        self.taken_apart(0).topic.expect("a template names its topic")
    }

    fn taken_apart(&self, packet_id: u16) -> Publish {
        let mut bytes = BytesMut::new();
        // Any id makes a packet of QoS 1 or 2; QoS 0 has none.
        self.template.write(if self.qos == Qos::AtMostOnce { 0 } else { packet_id.max(1) }, &mut bytes);
        let mut decoder = Decoder::new(Side::Client, usize::MAX);
        decoder.set_version(self.version);
        match decoder.decode(&mut bytes) {
            Ok(Some(Packet::Publish(publish))) => publish,
            other => unreachable!("what a template writes is a PUBLISH: {other:?}"),
        }
    }

    /// Size of the packet.
    pub(crate) fn bytes(&self) -> usize {
        self.template.packet_bytes()
    }

    /// Whether it must no longer be sent.
    pub(crate) fn is_expired(&self, now_mono: u64) -> bool {
        self.expires_mono.is_some_and(|at| at <= now_mono)
    }
}

/// The ways in which one message is delivered, each encoded when it is first needed.
pub(crate) struct Variants<'a> {
    message: &'a Message,
    payload: Option<Bytes>,
    seq: u64,
    now_mono: u64,
    made: [Option<Arc<Prepared>>; 12],
}

impl<'a> Variants<'a> {
    /// Nothing is encoded yet. `seq` is 0 for a message that is not durable.
    pub(crate) fn new(message: &'a Message, seq: u64, now_mono: u64) -> Self {
        Self { message, payload: None, seq, now_mono, made: [const { None }; 12] }
    }

    /// The message.
    pub(crate) fn message(&self) -> &'a Message {
        self.message
    }

    /// Its record, or 0.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// The message as it goes to receivers of `version`, at most at `qos`.
    ///
    /// `None` when it cannot be encoded: the attached texts passed the decoder, so only a message made inside can
    /// be so, and it is counted by the caller.
    pub(crate) fn get(
        &mut self,
        version: Version,
        qos_max: Qos,
        retain: bool,
        ids: &[u32],
    ) -> Option<Arc<Prepared>> {
        let qos = self.message.qos.min(qos_max);
        let slot = (usize::from(version == Version::V5) * 3 + qos as usize) * 2 + usize::from(retain);
        if ids.is_empty()
            && let Some(made) = &self.made[slot]
        {
            return Some(Arc::clone(made));
        }
        let made = Arc::new(self.make(version, qos, retain, ids)?);
        if ids.is_empty() {
            self.made[slot] = Some(Arc::clone(&made));
        }
        Some(made)
    }

    fn make(&mut self, version: Version, qos: Qos, retain: bool, ids: &[u32]) -> Option<Prepared> {
        let message = self.message;
        let payload = match message.payload.len() {
            // The template itself makes the copy.
            bytes if PublishTemplate::copies(bytes) => &message.payload,
            bytes => self.payload.get_or_insert_with(|| match bytes {
                ..=COPIED_BYTES_MAX => Bytes::copy_from_slice(&message.payload),
                _ => message.payload.clone(),
            }),
        };
        let expires_mono =
            message.expiry_s.map(|seconds| message.received_mono + u64::from(seconds) * SECOND_MICROS);
        let delivery = Delivery {
            topic: &message.topic,
            qos,
            retain,
            expiry_s: expires_mono.map(|at| seconds_left(at, self.now_mono)),
            subscription_ids: ids,
            attached: message.properties.as_deref(),
            payload,
        };
        let template = PublishTemplate::new(&delivery, version).ok()?;
        Some(Prepared {
            template,
            version,
            qos,
            made_mono: self.now_mono,
            expires_mono,
            seq: self.seq,
            retain,
            ids: (!ids.is_empty()).then(|| ids.into()),
        })
    }
}

/// Whole seconds until `expires_mono`, begun ones counted: what is left of a second is still a second.
fn seconds_left(expires_mono: u64, now_mono: u64) -> u32 {
    u32::try_from(expires_mono.saturating_sub(now_mono).div_ceil(SECOND_MICROS)).unwrap_or(u32::MAX)
}

/// Appends the packet to `out`.
///
/// Nearly always the template is written as it is. Only what is sent again, what waited a second of its expiry, and
/// what a client of another version left behind is taken apart and encoded anew.
pub(crate) fn write(outgoing: &Outgoing, version: Version, now_mono: u64, out: &mut BytesMut) {
    let prepared = &*outgoing.prepared;
    let has_waited =
        prepared.expires_mono.is_some() && now_mono.saturating_sub(prepared.made_mono) >= SECOND_MICROS;
    if !outgoing.dup && !has_waited && prepared.version == version {
        prepared.template.write(outgoing.packet_id, out);
        return;
    }
    let mut publish = prepared.taken_apart(outgoing.packet_id);
    publish.dup = outgoing.dup;
    if version == Version::V311 {
        publish.properties = None;
    } else if let (Some(at), Some(properties)) = (prepared.expires_mono, &mut publish.properties) {
        // A message whose delivery has begun is sent again even when its time is over.
        properties.expiry_s = Some(seconds_left(at, now_mono).max(1));
    }
    mqtt::encode(&Packet::Publish(publish), version, out).expect("a decoded PUBLISH can be encoded");
}

#[cfg(test)]
pub(crate) mod tests {
    use bytestring::ByteString;
    use model::{Lane, Origin, Properties, Timestamp, TopicName};

    use super::*;

    pub(crate) fn message(topic: &str, qos: Qos) -> Message {
        Message {
            topic: TopicName::parse(topic.to_owned()).expect("a topic"),
            payload: Bytes::from_static(b"21.5"),
            qos,
            retain: false,
            dup: false,
            lane: Lane::Telemetry,
            packet_id: 0,
            expiry_s: None,
            received_at: Timestamp::from_micros(0),
            received_mono: 0,
            properties: None,
            message_id: None,
            trace_id: None,
            to: None,
            origin: Arc::new(Origin::inside(1)),
        }
    }

    pub(crate) fn prepared(seq: u64, qos: Qos) -> Arc<Prepared> {
        let message = Message { payload: seq.to_string().into(), ..message("dt/a/t", qos) };
        Variants::new(&message, seq, 0).get(Version::V311, qos, false, &[]).expect("encodes")
    }

    /// The number that [`prepared`] was given.
    pub(crate) fn number(prepared: &Prepared) -> u64 {
        str::from_utf8(&prepared.template.payload())
            .ok()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    }

    pub(crate) fn expiring(seq: u64, expires_mono: u64) -> Arc<Prepared> {
        let mut message = message("dt/a/t", Qos::AtLeastOnce);
        message.expiry_s = Some((expires_mono / SECOND_MICROS) as u32);
        Variants::new(&message, seq, 0).get(Version::V5, Qos::AtLeastOnce, false, &[]).expect("encodes")
    }

    fn written(outgoing: &Outgoing, version: Version, now_mono: u64) -> mqtt::Publish {
        let mut out = BytesMut::new();
        write(outgoing, version, now_mono, &mut out);
        let mut decoder = Decoder::new(Side::Client, 1 << 20);
        decoder.set_version(version);
        match decoder.decode(&mut out) {
            Ok(Some(Packet::Publish(publish))) if out.is_empty() => publish,
            other => panic!("not one PUBLISH: {other:?}"),
        }
    }

    #[test]
    fn one_kind_of_delivery_is_encoded_once() {
        let message = message("a", Qos::AtLeastOnce);
        let mut variants = Variants::new(&message, 7, 0);
        let one = variants.get(Version::V5, Qos::ExactlyOnce, false, &[]).expect("encodes");
        let two = variants.get(Version::V5, Qos::AtLeastOnce, false, &[]).expect("encodes");
        assert!(Arc::ptr_eq(&one, &two), "at most at the QoS it was published");
        let other = variants.get(Version::V311, Qos::AtMostOnce, true, &[]).expect("encodes");
        assert!(!Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn a_message_that_waited_says_so_and_a_repeat_says_so_too() {
        let mut message = message("a/b", Qos::AtLeastOnce);
        message.expiry_s = Some(60);
        message.properties = Some(Arc::new(Properties {
            content_type: Some(ByteString::from_static("text/plain")),
            ..Properties::default()
        }));
        let prepared = Variants::new(&message, 7, 0)
            .get(Version::V5, Qos::AtLeastOnce, false, &[5, 9])
            .expect("encodes");
        let outgoing = |dup| Outgoing { prepared: Arc::clone(&prepared), packet_id: 3, dup };
        let expiry = |publish: &mqtt::Publish| publish.properties.as_ref().and_then(|all| all.expiry_s);
        assert_eq!(expiry(&written(&outgoing(false), Version::V5, 10)), Some(60));
        assert_eq!(expiry(&written(&outgoing(false), Version::V5, 12_500_000)), Some(48));
        let again = written(&outgoing(true), Version::V5, 99_000_000);
        assert_eq!((again.dup, again.packet_id, expiry(&again)), (true, 3, Some(1)));
        assert_eq!(again.properties.expect("properties").subscription_ids, [5, 9]);
        // The client came back with the other version.
        let old = written(&outgoing(true), Version::V311, 0);
        assert_eq!((old.dup, old.properties, &old.payload[..]), (true, None, &b"21.5"[..]));
    }

    #[test]
    fn a_small_payload_is_copied_out_of_its_network_buffer() {
        let buffer = Bytes::from(vec![7; crate::scratch::READ_BYTES]);
        let mut message = message("a", Qos::AtLeastOnce);
        message.payload = buffer.slice(10..20);
        let prepared =
            Variants::new(&message, 1, 0).get(Version::V5, Qos::AtLeastOnce, false, &[]).expect("encodes");
        assert_ne!(prepared.template.payload().as_ptr(), message.payload.as_ptr());
        message.payload = buffer.slice(..COPIED_BYTES_MAX + 1);
        let prepared =
            Variants::new(&message, 1, 0).get(Version::V5, Qos::AtLeastOnce, false, &[]).expect("encodes");
        assert_eq!(prepared.template.payload().as_ptr(), message.payload.as_ptr());
    }
}
