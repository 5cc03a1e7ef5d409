//! What `rumqttc` 0.25 reads in our bytes, and what we read in its bytes.
//!
//! It is held against valid packets only: it checks little, and may panic on malformed ones. Each difference that
//! is known is named below with its reason; whatever else differs fails.

use bytes::BytesMut;
use mqtt::{Connect, Packet, Reason, Version};
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use crate::arbitrary::{Sent, config, sent};

/// What the peer writes of what it reads.
fn through(version: Version, bytes: &BytesMut) -> Result<BytesMut, String> {
    let (mut src, mut dst) = (bytes.clone(), BytesMut::new());
    let most = 1 << 20;
    match version {
        Version::V311 => {
            let packet = v4::Packet::read(&mut src, most).map_err(|error| format!("{error:?}"))?;
            packet.write(&mut dst, most).map_err(|error| format!("{error:?}"))?;
        }
        Version::V5 => {
            let most = Some(1 << 20);
            let packet = v5::Packet::read(&mut src, most).map_err(|error| format!("{error:?}"))?;
            packet.write(&mut dst, most).map_err(|error| format!("{error:?}"))?;
        }
    }
    Ok(dst)
}

/// Where `rumqttc` is known to differ, and why.
fn known_difference(sent: &Sent) -> Option<&'static str> {
    match &sent.packet {
        Packet::Auth(_) => Some("it does not read AUTH"),
        Packet::Disconnect(disconnect) if sent.version == Version::V5 && disconnect.properties.is_none() => {
            Some("it wants the length of the properties, which section 3.14.2.2.1 lets a sender leave out")
        }
        Packet::Disconnect(disconnect) if disconnect.reason == Reason::BadAuthenticationMethod => {
            Some("it does not know 0x8C in DISCONNECT, which stands in the table of section 2.4")
        }
        Packet::Connect(connect) if has_binary_secret(connect) => {
            Some("it reads passwords as text; they are binary (section 3.1.3.6)")
        }
        Packet::Connect(connect) if has_empty_login(connect) => {
            Some("it forgets an empty user name and an empty password")
        }
        Packet::Connect(connect) if connect.username.is_none() && connect.password.is_some() => {
            Some("it gives a password without a user name an empty one; MQTT 5 allows it (section 3.1.2.9)")
        }
        Packet::Publish(publish)
            if publish
                .properties
                .as_ref()
                .is_some_and(|properties| properties.subscription_ids.len() > 1) =>
        {
            Some(
                "it counts each subscription identifier one byte too long, and may take the last for payload",
            )
        }
        _ => None,
    }
}

fn has_empty_login(connect: &Connect) -> bool {
    connect.username.as_ref().is_some_and(|name| name.is_empty())
        || connect.password.as_ref().is_some_and(bytes::Bytes::is_empty)
}

fn has_binary_secret(connect: &Connect) -> bool {
    connect.password.as_ref().is_some_and(|password| std::str::from_utf8(password).is_err())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rumqttc_reads_what_we_write_and_we_read_what_it_writes(sent in sent()) {
        if known_difference(&sent).is_some() {
            return Ok(());
        }
        let theirs = through(sent.version, &sent.bytes());
        prop_assert!(theirs.is_ok(), "{:?}", theirs);
        let read = sent.decoder().decode(&mut theirs.expect("is ok"));
        prop_assert_eq!(read, Ok(Some(sent.packet)));
    }
}
