//! Topics, texts and payloads share the buffer they were read into; what is empty pins nothing.

use bytes::BytesMut;
use mqtt::{Decoder, Packet, Side, Version};

use crate::malformed::hex;

#[test]
fn topic_and_payload_share_the_buffer() {
    let mut src = hex("32 0f 'dt/a/b' 0001 00 68656c6c");
    let range = src.as_ptr() as usize..src.as_ptr() as usize + src.len();
    let mut decoder = Decoder::new(Side::Server, 1000);
    decoder.set_version(Version::V5);
    let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut src) else { panic!("a PUBLISH") };
    let topic = publish.topic.expect("a topic");
    assert_eq!((&*topic, &publish.payload[..]), ("dt/a/b", &b"hell"[..]));
    assert!(range.contains(&(topic.as_ptr() as usize)), "the topic was copied");
    assert!(range.contains(&(publish.payload.as_ptr() as usize)), "the payload was copied");
}

#[test]
fn a_packet_without_texts_pins_no_buffer() {
    let mut src = BytesMut::with_capacity(1000);
    src.extend_from_slice(&hex("30 04 't' 00"));
    let start = src.as_ptr();
    let mut decoder = Decoder::new(Side::Server, 1000);
    decoder.set_version(Version::V5);
    let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut src) else { panic!("a PUBLISH") };
    let payload = publish.payload;
    drop(publish.topic);
    src.reserve(1000);
    assert_eq!(src.as_ptr(), start, "an empty payload holds on to the buffer");
    assert!(payload.is_empty());
}
