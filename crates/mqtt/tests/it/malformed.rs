//! Every malformed form is refused by its rule, with the number and the reason code of the standard.

use std::collections::BTreeSet;

use bytes::BytesMut;
use mqtt::{DecodeError, Decoder, Limits, Packet, PacketType, Reason, Rule, Side, Version, encode};

const V311: Option<Version> = Some(Version::V311);
const V5: Option<Version> = Some(Version::V5);

/// Reads hexadecimal digits; spaces are for the reader, and `'text'` stands for a text with its two bytes of length.
pub(crate) fn hex(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (n, part) in text.split('\'').enumerate() {
        if n % 2 == 1 {
            bytes.extend_from_slice(&u16::try_from(part.len()).expect("a short text").to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits = part.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert!(digits.len() % 2 == 0, "odd number of digits in {text:?}");
        for at in (0..digits.len()).step_by(2) {
            bytes.extend_from_slice(&[
                u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits")
            ]);
        }
    }
    bytes
}

/// Puts a first byte and a length before a body.
fn packet(first: u8, body: &str) -> BytesMut {
    let body = hex(body);
    let mut bytes = BytesMut::from(&[first, u8::try_from(body.len()).expect("a short body")][..]);
    assert!(body.len() < 128);
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(side: Side, version: Option<Version>, mut bytes: BytesMut) -> Result<Option<Packet>, DecodeError> {
    let limits = Limits { packet_bytes_max: 200, user_properties_max: 2, filters_max: 3 };
    let mut decoder = Decoder::with_limits(side, limits);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    decoder.decode(&mut bytes)
}

type Row = (Side, Option<Version>, u8, &'static str, Rule);

use Rule::*;
use Side::{Client, Server};

/// What the fixed header gives away: whole bytes.
const HEADERS: &[(Side, Option<Version>, &str, Rule)] = &[
    (Server, V5, "00 00", PacketTypeReserved),
    (Server, V5, "00", PacketTypeReserved),
    (Server, V311, "f0 00", PacketTypeReserved),
    (Client, V5, "0f", PacketTypeReserved),
    (Server, V5, "c1 00", FlagsReserved),
    (Server, V311, "e1 00", FlagsReserved),
    (Server, None, "11", FlagsReserved),
    (Server, V5, "60 02 0001", FlagsReserved),
    (Server, V5, "80 02 0001", FlagsReserved),
    (Server, V5, "a0 02 0001", FlagsReserved),
    (Server, V5, "42 02 0001", FlagsReserved),
    (Client, V5, "f1 00", FlagsReserved),
    (Server, V5, "c0 ffffffff", LengthMalformed),
    (Server, V311, "c0 80808080", LengthMalformed),
    (Server, None, "10 ffffffff7f", LengthMalformed),
    (Server, V5, "c0 8000", LengthNotMinimal),
    (Server, V5, "40 828000 0001", LengthNotMinimal),
    (Server, None, "10 8d00 'MQTT' 05 02 0000 00 ''", LengthNotMinimal),
    (Server, V5, "30 c601", PacketTooLarge),
    (Server, None, "10 ffffff7f", PacketTooLarge),
    (Server, V5, "20", WrongSide),
    (Server, V5, "90", WrongSide),
    (Server, V311, "b0", WrongSide),
    (Server, V5, "d0 00", WrongSide),
    (Client, V5, "10", WrongSide),
    (Client, V5, "82", WrongSide),
    (Client, V311, "a2", WrongSide),
    (Client, V5, "c0 00", WrongSide),
    (Client, V311, "e0 00", WrongSide),
    (Server, None, "c0 00", ConnectMissing),
    (Server, None, "20 02 0000", ConnectMissing),
    (Server, None, "47455420", ConnectMissing),
    (Server, V5, "10", ConnectTwice),
    (Server, V311, "10", ConnectTwice),
];

/// Bodies of one packet, after a first byte and a right length.
const BODIES: &[Row] = &[
    // CONNECT.
    (Server, None, 0x10, "", Short),
    (Server, None, 0x10, "'MQTT'", Short),
    (Server, None, 0x10, "0004 4d51", Short),
    (Server, None, 0x10, "'MQTT' 04 02 00", Short),
    (Server, None, 0x10, "'MQTT' 04 02 0000", Short),
    (Server, None, 0x10, "'MQTT' 04 c2 0000 'id' 'user'", Short),
    (Server, None, 0x10, "'MQTT' 04 02 0000 'id' 00", Trailing),
    (Server, None, 0x10, "'MQTX' 04 02 0000 'id'", ProtocolName),
    (Server, None, 0x10, "'mqtt' 05 02 0000 00 'id'", ProtocolName),
    (Server, None, 0x10, "'' 05 02 0000 00 'id'", ProtocolName),
    (Server, None, 0x10, "'MQIsdp' 03 02 0000 'id'", ProtocolLevel),
    (Server, None, 0x10, "'MQTT' 03 02 0000 'id'", ProtocolLevel),
    (Server, None, 0x10, "'MQTT' 06 02 0000 00 'id'", ProtocolLevel),
    (Server, None, 0x10, "'MQTT' 84 02 0000 'id'", ProtocolLevel),
    (Server, None, 0x10, "'MQTT' 04 03 0000 'id'", ConnectFlagReserved),
    (Server, None, 0x10, "'MQTT' 05 03 0000 00 'id'", ConnectFlagReserved),
    (Server, None, 0x10, "'MQTT' 04 0a 0000 'id'", WillQosWithoutWill),
    (Server, None, 0x10, "'MQTT' 05 12 0000 00 'id'", WillQosWithoutWill),
    (Server, None, 0x10, "'MQTT' 04 1e 0000 'id' 't' 'p'", WillQos),
    (Server, None, 0x10, "'MQTT' 04 22 0000 'id'", WillRetainWithoutWill),
    (Server, None, 0x10, "'MQTT' 04 42 0000 'id' 'secret'", PasswordWithoutUserName),
    (Server, None, 0x10, "'MQTT' 04 00 0000 ''", ClientIdEmpty),
    (Server, None, 0x10, "'MQTT' 04 02 0000 0001ff", TextNotUtf8),
    (Server, None, 0x10, "'MQTT' 04 02 0000 0003eda080", TextNotUtf8),
    (Server, None, 0x10, "'MQTT' 04 02 0000 0002c080", TextNotUtf8),
    (Server, None, 0x10, "'MQTT' 04 02 0000 000100", TextNul),
    (Server, None, 0x10, "'MQTT' 04 82 0000 'id' 000100", TextNul),
    (Server, None, 0x10, "'MQTT' 04 06 0000 'id' 'a/#' 'p'", TopicWildcard),
    (Server, None, 0x10, "'MQTT' 04 06 0000 'id' '' 'p'", TopicEmpty),
    (Server, None, 0x10, "'MQTT' 04 06 0000 'id' 000100 'p'", TextNul),
    (Server, None, 0x10, "'MQTT' 05 02 0000 05 'id'", PropertyOverrun),
    (Server, None, 0x10, "'MQTT' 05 02 0000 8000 'id'", LengthNotMinimal),
    (Server, None, 0x10, "'MQTT' 05 02 0000 ffffffff7f 'id'", LengthMalformed),
    (Server, None, 0x10, "'MQTT' 05 02 0000 02 2100 'id'", Short),
    (Server, None, 0x10, "'MQTT' 05 02 0000 03 210000 'id'", PropertyZero),
    (Server, None, 0x10, "'MQTT' 05 02 0000 05 2700000000 'id'", PropertyZero),
    (Server, None, 0x10, "'MQTT' 05 02 0000 02 1902 'id'", PropertyNotBoolean),
    (Server, None, 0x10, "'MQTT' 05 02 0000 02 17ff 'id'", PropertyNotBoolean),
    (Server, None, 0x10, "'MQTT' 05 02 0000 0a 1100000001 1100000001 'id'", PropertyTwice),
    (Server, None, 0x10, "'MQTT' 05 02 0000 05 0200000001 'id'", PropertyNotAllowed),
    (Server, None, 0x10, "'MQTT' 05 02 0000 05 1800000001 'id'", PropertyNotAllowed),
    // Found by the fuzzer: the rule about the value of an alias came before the rule that it has no place here.
    (Server, None, 0x10, "'MQTT' 05 02 0000 03 230000 'id'", PropertyNotAllowed),
    (Server, None, 0x10, "'MQTT' 05 02 0000 02 0401 'id'", PropertyUnknown),
    (Server, None, 0x10, "'MQTT' 05 02 0000 03 ff0101 'id'", PropertyUnknown),
    (Server, None, 0x10, "'MQTT' 05 02 0000 04 16 'x' 'id'", AuthMethodMissing),
    (Server, None, 0x10, "'MQTT' 05 02 0000 15 26'a''b' 26'a''b' 26'a''b' 'id'", UserPropertiesTooMany),
    (Server, None, 0x10, "'MQTT' 05 06 0000 00 'id' 05 1100000001 't' 'p'", PropertyNotAllowed),
    (Server, None, 0x10, "'MQTT' 05 06 0000 00 'id' 04 0102 0102 't' 'p'", PropertyNotBoolean),
    (Server, None, 0x10, "'MQTT' 05 06 0000 00 'id' 04 0101 0101 't' 'p'", PropertyTwice),
    // CONNACK.
    (Client, V5, 0x20, "", Short),
    (Client, V5, 0x20, "00 00", Short),
    (Client, V311, 0x20, "00", Short),
    (Client, V311, 0x20, "00 00 00", Trailing),
    (Client, V5, 0x20, "00 00 00 00", Trailing),
    (Client, V5, 0x20, "02 00 00", ConnAckFlagsReserved),
    (Client, V311, 0x20, "80 00", ConnAckFlagsReserved),
    (Client, V5, 0x20, "01 87 00", SessionPresentOnRefusal),
    (Client, V311, 0x20, "01 05", SessionPresentOnRefusal),
    (Client, V311, 0x20, "00 06", ReasonNotAllowed),
    (Client, V5, 0x20, "00 10 00", ReasonNotAllowed),
    (Client, V5, 0x20, "00 01 00", ReasonNotAllowed),
    (Client, V5, 0x20, "00 00 02 2402", PropertyNotBoolean),
    (Client, V5, 0x20, "00 00 02 2502", PropertyNotBoolean),
    (Client, V5, 0x20, "00 00 02 2802", PropertyNotBoolean),
    (Client, V5, 0x20, "00 00 02 2902", PropertyNotBoolean),
    (Client, V5, 0x20, "00 00 02 2a02", PropertyNotBoolean),
    (Client, V5, 0x20, "00 00 03 210000", PropertyZero),
    (Client, V5, 0x20, "00 00 02 1701", PropertyNotAllowed),
    (Client, V5, 0x20, "00 00 04 16'x'", AuthMethodMissing),
    // PUBLISH.
    (Server, V5, 0x36, "'t' 0001 00", PublishQos),
    (Server, V311, 0x37, "'t' 0001", PublishQos),
    (Server, V5, 0x38, "'t' 00", DupOnQos0),
    (Server, V311, 0x39, "'t'", DupOnQos0),
    (Server, V5, 0x30, "'a/+' 00", TopicWildcard),
    (Server, V311, 0x30, "'#'", TopicWildcard),
    (Server, V5, 0x30, "'' 00", TopicEmpty),
    (Server, V311, 0x30, "''", TopicEmpty),
    (Server, V5, 0x30, "000100 00", TextNul),
    (Server, V5, 0x30, "0001c3 00", TextNotUtf8),
    (Server, V5, 0x30, "0005 61", Short),
    (Server, V5, 0x30, "'t'", Short),
    (Server, V311, 0x32, "'t' 00", Short),
    (Server, V5, 0x32, "'t' 0000 00", PacketIdZero),
    (Server, V311, 0x34, "'t' 0000", PacketIdZero),
    (Server, V5, 0x30, "'t' 03 230000", TopicAliasZero),
    (Server, V5, 0x30, "'t' 02 0b05", SubscriptionIdFromClient),
    (Client, V5, 0x30, "'t' 02 0b00", PropertyZero),
    (Client, V5, 0x30, "'t' 06 0bffffffff7f", LengthMalformed),
    (Server, V5, 0x30, "'t' 02 0102", PropertyNotBoolean),
    (Server, V5, 0x30, "'t' 06 230001 230001", PropertyTwice),
    (Server, V5, 0x30, "'t' 06 08'a/#'", TopicWildcard),
    (Server, V5, 0x30, "'t' 05 1100000000", PropertyNotAllowed),
    (Server, V5, 0x30, "'t' 04 1f'x'", PropertyNotAllowed),
    (Server, V5, 0x30, "'t' 05 0900ff00ff", Short),
    (Server, V5, 0x30, "'t' 7f 01", PropertyOverrun),
    (Server, V5, 0x30, "'t' 04 030001ff", TextNotUtf8),
    (Server, V5, 0x30, "'t' 07 26'a'000100", TextNul),
    // PUBACK, PUBREC, PUBREL, PUBCOMP.
    (Server, V5, 0x40, "", Short),
    (Server, V311, 0x40, "01", Short),
    (Server, V311, 0x40, "0000", PacketIdZero),
    (Server, V5, 0x62, "0000", PacketIdZero),
    (Server, V311, 0x40, "0001 00", Trailing),
    (Server, V5, 0x40, "0001 00 00 00", Trailing),
    (Server, V5, 0x40, "0001 92", ReasonNotAllowed),
    (Server, V5, 0x50, "0001 01", ReasonNotAllowed),
    (Server, V5, 0x62, "0001 10", ReasonNotAllowed),
    (Server, V5, 0x70, "0001 87", ReasonNotAllowed),
    (Server, V5, 0x40, "0001 03", ReasonNotAllowed),
    (Server, V5, 0x40, "0001 00 05 1100000000", PropertyNotAllowed),
    (Server, V5, 0x40, "0001 00 08 1f'a' 1f'a'", PropertyTwice),
    // SUBSCRIBE.
    (Server, V5, 0x82, "0001 00", FiltersMissing),
    (Server, V311, 0x82, "0001", FiltersMissing),
    (Server, V5, 0x82, "0000 00 'a' 00", PacketIdZero),
    (Server, V5, 0x82, "0001 00 'a'", Short),
    (Server, V5, 0x82, "0001 00 'a' 03", SubscribeQos),
    (Server, V311, 0x82, "0001 'a' 03", SubscribeQos),
    (Server, V5, 0x82, "0001 00 'a' 40", SubscribeOptionsReserved),
    (Server, V5, 0x82, "0001 00 'a' 80", SubscribeOptionsReserved),
    (Server, V311, 0x82, "0001 'a' 04", SubscribeOptionsReserved),
    (Server, V5, 0x82, "0001 00 'a' 30", RetainHandlingUnknown),
    (Server, V5, 0x82, "0001 00 '$share/g/a' 04", NoLocalOnShared),
    (Server, V5, 0x82, "0001 00 '' 00", FilterEmpty),
    (Server, V5, 0x82, "0001 00 'a/#/b' 00", FilterMalformed),
    (Server, V311, 0x82, "0001 'a+' 00", FilterMalformed),
    (Server, V5, 0x82, "0001 00 '$share/g' 00", SharedFilterMalformed),
    (Server, V5, 0x82, "0001 00 '$share//a' 00", SharedFilterMalformed),
    (Server, V5, 0x82, "0001 00 '$share/g+/a' 00", SharedFilterMalformed),
    (Server, V5, 0x82, "0001 00 'a' 00 'b' 00 'c' 00 'd' 00", FiltersTooMany),
    (Server, V5, 0x82, "0001 02 0b00 'a' 00", PropertyZero),
    (Server, V5, 0x82, "0001 04 0b01 0b02 'a' 00", PropertyTwice),
    (Server, V5, 0x82, "0001 03 0b8000 'a' 00", LengthNotMinimal),
    (Server, V5, 0x82, "0001 04 1f'x' 'a' 00", PropertyNotAllowed),
    (Server, V5, 0x82, "0001 00 000100 00", TextNul),
    (Server, V5, 0x82, "0001 00 0001ff 00", TextNotUtf8),
    // UNSUBSCRIBE.
    (Server, V5, 0xA2, "0001 00", FiltersMissing),
    (Server, V311, 0xA2, "0001", FiltersMissing),
    (Server, V5, 0xA2, "0001 02 0b01 'a'", PropertyNotAllowed),
    (Server, V5, 0xA2, "0001 00 'a' 00", Short),
    (Server, V5, 0xA2, "0001 00 'a' 'b' 'c' 'd'", FiltersTooMany),
    (Server, V311, 0xA2, "0000 'a'", PacketIdZero),
    // SUBACK and UNSUBACK.
    (Client, V5, 0x90, "0001 00", ReasonsMissing),
    (Client, V311, 0x90, "0001", ReasonsMissing),
    (Client, V5, 0x90, "0001 00 00 00 00 00", FiltersTooMany),
    (Client, V5, 0x90, "0001 00 03", ReasonNotAllowed),
    (Client, V311, 0x90, "0001 87", ReasonNotAllowed),
    (Client, V5, 0xB0, "0001 00 01", ReasonNotAllowed),
    (Client, V5, 0xB0, "0001 00", ReasonsMissing),
    (Client, V311, 0xB0, "0001 00", Trailing),
    // PINGREQ and PINGRESP.
    (Server, V5, 0xC0, "00", Trailing),
    (Client, V311, 0xD0, "00", Trailing),
    // DISCONNECT and AUTH.
    (Server, V311, 0xE0, "00", Trailing),
    (Server, V5, 0xE0, "00 00 00", Trailing),
    (Server, V5, 0xE0, "01", ReasonNotAllowed),
    (Server, V5, 0xE0, "8b", ReasonNotAllowed),
    (Client, V5, 0xE0, "04", ReasonNotAllowed),
    (Client, V5, 0xE0, "00 05 1100000001", SessionExpiryFromServer),
    (Server, V5, 0xE0, "00 03 210001", PropertyNotAllowed),
    (Server, V5, 0xF0, "", ReasonNotAllowed),
    (Server, V5, 0xF0, "00 00", ReasonNotAllowed),
    (Client, V5, 0xF0, "19 00", ReasonNotAllowed),
    (Server, V5, 0xF0, "18", Short),
    (Server, V5, 0xF0, "18 00", AuthMethodMissing),
    (Server, V5, 0xF0, "18 04 16'x'", AuthMethodMissing),
    (Client, V5, 0xF0, "00 04 15'x' 00", Trailing),
];

/// Forms too long to write down.
fn long() -> Vec<(Side, Option<Version>, BytesMut, Rule)> {
    let deep = "/".repeat(128);
    let with = |first: u8, before: &str, after: &str| {
        let body = hex(&format!("{before} '{deep}' {after}"));
        let mut bytes = BytesMut::from(&[first][..]);
        bytes.extend_from_slice(&[u8::try_from(body.len() - 128).expect("below 256") | 0x80, 1]);
        bytes.extend_from_slice(&body);
        bytes
    };
    let ids = "0b01".repeat(257);
    let mut many = BytesMut::from(&[0x30, 0x87, 0x04][..]);
    many.extend_from_slice(&hex(&format!("'t' 8204 {ids}")));
    vec![
        (Server, V311, with(0x30, "", ""), TopicTooDeep),
        (Server, V5, with(0x82, "0001 00", "00"), FilterTooDeep),
        (Client, V5, many, SubscriptionIdsTooMany),
    ]
}

fn rows() -> impl Iterator<Item = (Side, Option<Version>, BytesMut, Rule)> {
    let headers = HEADERS.iter().map(|&(side, version, bytes, rule)| (side, version, hex(bytes), rule));
    let bodies =
        BODIES.iter().map(|&(side, version, first, body, rule)| (side, version, packet(first, body), rule));
    headers.chain(bodies).chain(long())
}

#[test]
fn every_malformed_form_is_refused_by_its_rule() {
    for (side, version, bytes, rule) in rows() {
        let mut decoder = Decoder::with_limits(
            side,
            Limits {
                packet_bytes_max: if bytes.len() > 200 { 1000 } else { 200 },
                user_properties_max: 2,
                filters_max: 3,
            },
        );
        if let Some(version) = version {
            decoder.set_version(version);
        }
        let got = decoder.decode(&mut bytes.clone()).map_err(|error| error.rule);
        assert_eq!(got, Err(rule), "{side:?} {version:?} {bytes:02x?}");
    }
}

#[test]
fn every_answer_to_a_refusal_can_be_written() {
    for packet in PacketType::ALL {
        for &rule in Rule::ALL {
            for version in [Version::V311, Version::V5] {
                let error = DecodeError {
                    packet: Some(packet),
                    rule,
                    version: Some(version),
                    detail: None,
                    bridge: None,
                };
                if let Some(answer) = error.answer() {
                    let written = encode(&answer, version, &mut BytesMut::new());
                    assert_eq!(written, Ok(()), "{error}");
                }
            }
        }
    }
}

#[test]
fn every_rule_of_the_table_is_provoked() {
    let provoked = rows().map(|(.., rule)| rule).collect::<BTreeSet<_>>();
    let missing = Rule::ALL.iter().filter(|rule| !provoked.contains(rule)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "no malformed form for {missing:?}");
}

#[test]
fn an_error_says_what_is_wrong_and_where_the_standard_says_so() {
    let check = |side, version, bytes: BytesMut, expect: &str, reason: Reason| {
        let error = decode(side, version, bytes).expect_err("malformed");
        assert_eq!((error.to_string().as_str(), error.reason()), (expect, reason));
    };
    check(
        Server,
        V5,
        packet(0x36, "'t' 0001 00"),
        "malformed PUBLISH: the QoS is 3 [MQTT-3.3.1-4]",
        Reason::MalformedPacket,
    );
    check(
        Server,
        V311,
        packet(0x30, "'a/\n#'"),
        "malformed PUBLISH: a topic with a wildcard, topic `a/\\n#` has a wildcard; `+` and `#` are for \
         subscriptions only [MQTT-3.3.2-2]",
        Reason::TopicNameInvalid,
    );
    check(
        Server,
        None,
        packet(0x10, "'MQIsdp' 03 02 0000 'id'"),
        "malformed CONNECT: the protocol level is neither 4 nor 5, MQTT 3.1 (`MQIsdp`) [MQTT-3.1.2-2]",
        Reason::UnsupportedProtocolVersion,
    );
    check(
        Server,
        V5,
        packet(0x40, "0001 00 05 1100000000"),
        "malformed PUBACK: this packet cannot carry this property, `Session Expiry Interval` [section 2.2.2.2]",
        Reason::MalformedPacket,
    );
    check(
        Server,
        V5,
        hex("30 ffffff7f"),
        "malformed PUBLISH: the packet is larger than accepted, 268435460 bytes; the most is 200 [MQTT-3.2.2-15]",
        Reason::PacketTooLarge,
    );
    check(
        Server,
        V5,
        packet(0xE0, "01"),
        "malformed DISCONNECT: this packet cannot carry this reason code, 0x01 [MQTT-3.14.2-1]",
        Reason::ProtocolError,
    );
}

#[test]
fn the_answer_to_a_refusal_is_one_that_the_sender_understands() {
    let answer = |version, bytes| {
        decode(Server, version, bytes).expect_err("malformed").answer().map(|answer| match answer {
            Packet::ConnAck(connack) => (PacketType::ConnAck, connack.reason),
            Packet::Disconnect(disconnect) => (PacketType::Disconnect, disconnect.reason),
            other => panic!("{other:?}"),
        })
    };
    let connack = |reason| Some((PacketType::ConnAck, reason));
    // An old version gets the return code 1, a strange protocol gets silence (MQTT 3.1.1, section 3.1.2.1).
    let level_3 = packet(0x10, "'MQIsdp' 03 02 0000 'id'");
    assert_eq!(answer(None, level_3), connack(Reason::UnsupportedProtocolVersion));
    assert_eq!(answer(None, packet(0x10, "'HTTP' 01 02 0000 'id'")), None);
    assert_eq!(answer(None, packet(0x10, "'MQTT' 04 00 0000 ''")), connack(Reason::ClientIdentifierNotValid));
    // MQTT 3.1.1 has no return code for a malformed packet.
    assert_eq!(answer(None, packet(0x10, "'MQTT' 04 03 0000 'id'")), None);
    assert_eq!(answer(None, packet(0x10, "'MQTT' 05 03 0000 00 'id'")), connack(Reason::MalformedPacket));
    assert_eq!(answer(None, hex("c0 00")), None);
    assert_eq!(answer(V311, hex("c1 00")), None);
    assert_eq!(answer(V5, hex("c1 00")), Some((PacketType::Disconnect, Reason::MalformedPacket)));
    assert_eq!(answer(V5, hex("10")), Some((PacketType::Disconnect, Reason::ProtocolError)));
}

#[test]
fn a_server_of_3_1_1_may_refuse_mqtt_5_in_its_own_form() {
    let Ok(Some(Packet::ConnAck(connack))) = decode(Client, V5, packet(0x20, "00 01")) else {
        panic!("a CONNACK");
    };
    assert_eq!(connack.reason, Reason::UnsupportedProtocolVersion);
}

#[test]
fn mqtt_3_1_1_takes_a_padded_length() {
    assert_eq!(decode(Server, V311, hex("c0 808000")), Ok(Some(Packet::PingReq)));
    let connect = decode(Server, None, hex("10 8c80 00 'MQTT' 04 02 0000 ''"));
    assert!(matches!(connect, Ok(Some(Packet::Connect(_)))), "{connect:?}");
}
