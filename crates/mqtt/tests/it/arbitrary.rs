//! Any valid packet, of either version, as either side may send it.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use model::{Qos, TopicName};
use mqtt::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Cases of each property: 256, or `GODWIT_PROPTEST_CASES`.
pub(crate) fn config() -> ProptestConfig {
    let cases =
        std::env::var("GODWIT_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// A packet, the version it is written in, and the side that may receive it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) packet: Packet,
    pub(crate) version: Version,
    pub(crate) receiver: Side,
}

impl Sent {
    pub(crate) fn bytes(&self) -> BytesMut {
        let mut bytes = BytesMut::new();
        encode(&self.packet, self.version, &mut bytes).expect("a valid packet");
        bytes
    }

    /// A decoder that may receive it now.
    pub(crate) fn decoder(&self) -> Decoder {
        decoder(&self.packet, self.version, self.receiver)
    }
}

pub(crate) fn decoder(packet: &Packet, version: Version, receiver: Side) -> Decoder {
    let mut decoder = Decoder::new(receiver, 1 << 20);
    if !matches!(packet, Packet::Connect(_)) {
        decoder.set_version(version);
    }
    decoder
}

pub(crate) fn sent() -> impl Strategy<Value = Sent> {
    (select(vec![Version::V311, Version::V5]), select(vec![Side::Server, Side::Client])).prop_flat_map(
        |(version, receiver)| {
            packet(version, receiver).prop_map(move |packet| Sent { packet, version, receiver })
        },
    )
}

/// A packet of `version` that `receiver` may receive.
pub(crate) fn packet(version: Version, receiver: Side) -> BoxedStrategy<Packet> {
    let v5 = version == Version::V5;
    let both = prop_oneof![
        4 => publish(v5, receiver).prop_map(Packet::Publish),
        1 => ack(v5, PacketType::PubAck).prop_map(Packet::PubAck),
        1 => ack(v5, PacketType::PubRec).prop_map(Packet::PubRec),
        1 => ack(v5, PacketType::PubRel).prop_map(Packet::PubRel),
        1 => ack(v5, PacketType::PubComp).prop_map(Packet::PubComp),
    ];
    let one_sided = match receiver {
        Side::Server => prop_oneof![
            connect(version).prop_map(|connect| Packet::Connect(Box::new(connect))),
            subscribe(v5).prop_map(Packet::Subscribe),
            unsubscribe(v5).prop_map(Packet::Unsubscribe),
            Just(Packet::PingReq),
            disconnect(v5, receiver).prop_map(Packet::Disconnect),
        ]
        .boxed(),
        Side::Client => prop_oneof![
            connack(v5).prop_map(|connack| Packet::ConnAck(Box::new(connack))),
            suback(v5).prop_map(Packet::SubAck),
            unsuback(v5).prop_map(Packet::UnsubAck),
            Just(Packet::PingResp),
        ]
        .boxed(),
    };
    match (v5, receiver) {
        (false, _) => prop_oneof![both, one_sided].boxed(),
        (true, Side::Server) => {
            prop_oneof![4 => both, 4 => one_sided, 1 => auth(receiver).prop_map(Packet::Auth)].boxed()
        }
        (true, Side::Client) => prop_oneof![
            4 => both,
            4 => one_sided,
            1 => auth(receiver).prop_map(Packet::Auth),
            1 => disconnect(v5, receiver).prop_map(Packet::Disconnect),
        ]
        .boxed(),
    }
}

fn text() -> impl Strategy<Value = ByteString> {
    prop_oneof![4 => "[a-zA-Z0-9 /€😀-]{0,12}", 1 => "[^\u{0}]{0,40}"].prop_map(ByteString::from)
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![8 => vec(any::<u8>(), 0..200), 1 => vec(any::<u8>(), 16_000..17_000)].prop_map(Bytes::from)
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[a-zé$ /]{1,20}".prop_map(|text| TopicName::parse(text).expect("a topic"))
}

fn filter() -> impl Strategy<Value = SubscriptionFilter> {
    let level = prop_oneof![2 => "[a-zé ]{1,6}", 1 => Just("+".to_owned())];
    let group =
        prop_oneof![3 => Just(String::new()), 1 => "[a-z]{1,5}".prop_map(|group| format!("$share/{group}/"))];
    (group, vec(level, 1..5), any::<bool>()).prop_map(|(group, levels, all)| {
        let text = format!("{group}{}{}", levels.join("/"), if all { "/#" } else { "" });
        SubscriptionFilter::parse(text).expect("a filter")
    })
}

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn packet_id() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn user(v5: bool) -> BoxedStrategy<UserProperties> {
    if v5 { vec((text(), text()), 0..4).boxed() } else { Just(Vec::new()).boxed() }
}

/// `strategy` in MQTT 5, the default in MQTT 3.1.1.
fn only<T: Default + Clone + std::fmt::Debug + 'static>(
    v5: bool,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if v5 { strategy.boxed() } else { Just(T::default()).boxed() }
}

/// The properties, if they say anything: what reading gives for an empty section.
fn said<T: Default + PartialEq>(properties: T) -> Option<Box<T>> {
    (properties != T::default()).then(|| Box::new(properties))
}

fn attached() -> impl Strategy<Value = model::Properties> {
    (any::<bool>(), option::of(text()), option::of(topic()), option::of(binary()), user(true)).prop_map(
        |(payload_is_utf8, content_type, response_topic, correlation_data, user)| model::Properties {
            payload_is_utf8,
            content_type,
            response_topic,
            correlation_data,
            user,
        },
    )
}

fn publish(v5: bool, receiver: Side) -> impl Strategy<Value = Publish> {
    let ids = match receiver {
        Side::Server => Just(Vec::new()).boxed(),
        Side::Client => vec(1_u32..=268_435_455, 0..3).boxed(),
    };
    let properties = only(
        v5,
        (option::of(any::<NonZeroU16>()), option::of(any::<u32>()), ids, attached()).prop_map(
            |(topic_alias, expiry_s, subscription_ids, attached)| PublishProperties {
                topic_alias,
                expiry_s,
                subscription_ids,
                attached,
            },
        ),
    );
    (
        any::<bool>(),
        qos(),
        any::<bool>(),
        option::weighted(0.8, topic()),
        topic(),
        packet_id(),
        properties,
        payload(),
    )
        .prop_map(|(dup, qos, retain, topic, otherwise, packet_id, properties, payload)| Publish {
            dup: dup && qos != Qos::AtMostOnce,
            qos,
            retain,
            topic: if properties.topic_alias.is_some() { topic } else { topic.or(Some(otherwise)) },
            packet_id: if qos == Qos::AtMostOnce { 0 } else { packet_id },
            properties: said(properties),
            payload,
        })
}

fn reasons(packet: PacketType, sender: Side) -> Vec<Reason> {
    Reason::ALL.iter().copied().filter(|reason| reason.is_allowed_in(packet, sender)).collect()
}

fn ack_properties(v5: bool) -> impl Strategy<Value = Option<Box<AckProperties>>> {
    let properties = (option::of(text()), user(true))
        .prop_map(|(reason_string, user)| AckProperties { reason_string, user });
    only(v5, prop_oneof![2 => Just(AckProperties::default()), 1 => properties]).prop_map(said)
}

fn ack(v5: bool, packet: PacketType) -> impl Strategy<Value = Ack> {
    let reasons = if v5 { reasons(packet, Side::Server) } else { vec![Reason::Success] };
    (packet_id(), select(reasons), ack_properties(v5)).prop_map(|(packet_id, reason, properties)| Ack {
        packet_id,
        reason,
        properties,
    })
}

fn authentication() -> impl Strategy<Value = (Option<ByteString>, Option<Bytes>)> {
    option::of((text(), option::of(binary()))).prop_map(|both| match both {
        None => (None, None),
        Some((method, data)) => (Some(method), data),
    })
}

prop_compose! {
    fn connect_properties()(
        session_expiry_s in any::<u32>(),
        receive_maximum in any::<NonZeroU16>(),
        packet_bytes_max in option::of(any::<NonZeroU32>()),
        topic_alias_max in any::<u16>(),
        request_response_information in any::<bool>(),
        request_problem_information in any::<bool>(),
        user in user(true),
        (auth_method, auth_data) in authentication(),
    ) -> ConnectProperties {
        ConnectProperties {
            session_expiry_s, receive_maximum, packet_bytes_max, topic_alias_max, request_response_information,
            request_problem_information, user, auth_method, auth_data,
        }
    }
}

fn will(v5: bool) -> impl Strategy<Value = Will> {
    let more = only(v5, (any::<u32>(), option::of(any::<u32>()), attached()));
    (topic(), binary(), qos(), any::<bool>(), more).prop_map(
        |(topic, payload, qos, retain, (delay_s, expiry_s, attached))| Will {
            topic,
            payload,
            qos,
            retain,
            delay_s,
            expiry_s,
            attached,
        },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Connect> {
    let v5 = version == Version::V5;
    let login = (option::of(text()), option::of(binary()));
    let properties = only(v5, prop_oneof![Just(ConnectProperties::default()), connect_properties()]);
    (any::<bool>(), any::<u16>(), text(), option::of(will(v5)), login, properties).prop_map(
        move |(clean, keep_alive_s, client_id, will, (username, password), properties)| Connect {
            version,
            clean_start: clean || (!v5 && client_id.is_empty()),
            keep_alive_s,
            client_id,
            will,
            password: password.filter(|_| v5 || username.is_some()),
            username,
            properties,
        },
    )
}

prop_compose! {
    fn connack_properties()(
        session_expiry_s in option::of(any::<u32>()),
        receive_maximum in any::<NonZeroU16>(),
        (qos_max, topic_alias_max) in (qos(), any::<u16>()),
        (retain_available, wildcards_available) in any::<(bool, bool)>(),
        (subscription_ids_available, shared_available) in any::<(bool, bool)>(),
        packet_bytes_max in option::of(any::<NonZeroU32>()),
        (assigned_client_id, reason_string) in (option::of(text()), option::of(text())),
        user in user(true),
        server_keep_alive_s in option::of(any::<u16>()),
        (response_information, server_reference) in (option::of(text()), option::of(text())),
        (auth_method, auth_data) in authentication(),
    ) -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_s, receive_maximum, qos_max, retain_available, packet_bytes_max, assigned_client_id,
            topic_alias_max, reason_string, user, wildcards_available, subscription_ids_available,
            shared_available, server_keep_alive_s, response_information, server_reference, auth_method, auth_data,
        }
    }
}

fn connack(v5: bool) -> impl Strategy<Value = ConnAck> {
    let reasons = match v5 {
        true => reasons(PacketType::ConnAck, Side::Server),
        false => (0..=5).filter_map(Reason::from_connack_v311).collect(),
    };
    let properties = only(v5, prop_oneof![Just(ConnAckProperties::default()), connack_properties()]);
    (any::<bool>(), select(reasons), properties).prop_map(|(present, reason, properties)| ConnAck {
        session_present: present && reason == Reason::Success,
        reason,
        properties,
    })
}

fn options(v5: bool) -> impl Strategy<Value = SubscribeOptions> {
    let handling = select(vec![RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]);
    (qos(), only(v5, (any::<bool>(), any::<bool>(), handling))).prop_map(
        |(qos_max, (no_local, retain_as_published, retain_handling))| SubscribeOptions {
            qos_max,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn subscribe(v5: bool) -> impl Strategy<Value = Subscribe> {
    let id = only(v5, option::of((1_u32..=268_435_455).prop_map(|id| NonZeroU32::new(id).expect("not 0"))));
    (packet_id(), vec((filter(), options(v5)), 1..6), id, user(v5)).prop_map(
        |(packet_id, mut filters, subscription_id, user)| {
            for (filter, options) in &mut filters {
                options.no_local &= filter.group().is_none();
            }
            Subscribe { packet_id, filters, subscription_id, user }
        },
    )
}

fn unsubscribe(v5: bool) -> impl Strategy<Value = Unsubscribe> {
    (packet_id(), vec(filter(), 1..6), user(v5)).prop_map(|(packet_id, filters, user)| Unsubscribe {
        packet_id,
        filters,
        user,
    })
}

fn suback(v5: bool) -> impl Strategy<Value = SubAck> {
    let mut reasons = reasons(PacketType::SubAck, Side::Server);
    reasons.retain(|reason| v5 || reason.code() <= 0x80);
    (packet_id(), vec(select(reasons), 1..6), ack_properties(v5))
        .prop_map(|(packet_id, reasons, properties)| SubAck { packet_id, reasons, properties })
}

fn unsuback(v5: bool) -> impl Strategy<Value = UnsubAck> {
    let reasons = match v5 {
        true => vec(select(reasons(PacketType::UnsubAck, Side::Server)), 1..6).boxed(),
        false => Just(Vec::new()).boxed(),
    };
    (packet_id(), reasons, ack_properties(v5)).prop_map(|(packet_id, reasons, properties)| UnsubAck {
        packet_id,
        reasons,
        properties,
    })
}

fn disconnect(v5: bool, receiver: Side) -> impl Strategy<Value = Disconnect> {
    let (sender, expiry) = match receiver {
        Side::Server => (Side::Client, option::of(any::<u32>()).boxed()),
        Side::Client => (Side::Server, Just(None).boxed()),
    };
    let reasons = if v5 { reasons(PacketType::Disconnect, sender) } else { vec![Reason::Success] };
    let properties = (expiry, option::of(text()), user(true), option::of(text())).prop_map(
        |(session_expiry_s, reason_string, user, server_reference)| DisconnectProperties {
            session_expiry_s,
            reason_string,
            user,
            server_reference,
        },
    );
    (select(reasons), only(v5, prop_oneof![Just(DisconnectProperties::default()), properties]))
        .prop_map(|(reason, properties)| Disconnect { reason, properties: said(properties) })
}

fn auth(receiver: Side) -> impl Strategy<Value = Auth> {
    let sender = if receiver == Side::Server { Side::Client } else { Side::Server };
    let properties = (text(), option::of(binary()), option::of(text()), user(true)).prop_map(
        |(method, data, reason_string, user)| {
            Some(Box::new(AuthProperties { method: Some(method), data, reason_string, user }))
        },
    );
    (select(reasons(PacketType::Auth, sender)), properties)
        .prop_map(|(reason, properties)| Auth { reason, properties })
}
