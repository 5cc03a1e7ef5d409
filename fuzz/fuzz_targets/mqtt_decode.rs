//! Bytes of strangers against the MQTT decoder.
//!
//! The laws: nothing panics; a refusal is final; what is accepted can be written, and reads as the same packet; how
//! the bytes are cut into reads changes nothing.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mqtt::{DecodeError, Decoder, Packet, Side, Version, encode};

/// Small enough that the fuzzer finds the bound.
const PACKET_BYTES_MAX: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((&how, bytes)) = data.split_first() else { return };
    let decoder = decoder(how);
    let at_once = drain(decoder.clone(), bytes, bytes.len().max(1));
    let in_parts = drain(decoder.clone(), bytes, usize::from(how >> 3) + 1);
    assert_eq!(at_once, in_parts);

    for (packet, version) in &at_once.0 {
        let mut written = BytesMut::new();
        encode(packet, *version, &mut written).expect("what is read can be written");
        let mut again = Decoder::new(decoder.side(), PACKET_BYTES_MAX * 2);
        if !matches!(packet, Packet::Connect(_)) {
            again.set_version(*version);
        }
        assert_eq!(again.decode(&mut written).as_ref(), Ok(&Some(packet.clone())));
        assert!(written.is_empty());
    }
});

/// The first byte of the input: who reads, and in which version.
fn decoder(how: u8) -> Decoder {
    let side = if how & 1 == 0 { Side::Server } else { Side::Client };
    let mut decoder = Decoder::new(side, PACKET_BYTES_MAX);
    match how >> 1 & 3 {
        0 => {}
        1 => decoder.set_version(Version::V311),
        _ => decoder.set_version(Version::V5),
    }
    decoder
}

/// Decodes what is there, as it arrives in reads of `read_bytes`.
fn drain(
    mut decoder: Decoder,
    bytes: &[u8],
    read_bytes: usize,
) -> (Vec<(Packet, Version)>, Option<DecodeError>) {
    let mut packets = Vec::new();
    let mut src = BytesMut::new();
    for read in bytes.chunks(read_bytes) {
        src.extend_from_slice(read);
        loop {
            match decoder.decode(&mut src) {
                Ok(None) => break,
                Ok(Some(packet)) => packets.push((packet, decoder.version().expect("a packet was read"))),
                Err(error) => {
                    assert_eq!(decoder.decode(&mut src), Err(error.clone()), "a refusal is final");
                    if let (Some(answer), Some(version)) = (error.answer(), error.version) {
                        encode(&answer, version, &mut BytesMut::new()).expect("the answer can be written");
                    }
                    return (packets, Some(error));
                }
            }
        }
    }
    (packets, None)
}
