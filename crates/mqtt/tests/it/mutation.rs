//! Bytes of strangers: whatever they are, the decoder answers, and what it accepts it can write again.

use bytes::BytesMut;
use mqtt::{Decoder, Limits, Side, Version, encode};
use proptest::prelude::*;

use crate::arbitrary::{config, sent};

/// Decodes what is there, and holds each accepted packet against what it is written as.
fn drain(mut decoder: Decoder, bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut src = BytesMut::from(bytes);
    loop {
        let version = decoder.version();
        match decoder.decode(&mut src) {
            Ok(None) => return Ok(()),
            Err(error) => {
                prop_assert_eq!(decoder.decode(&mut src), Err(error.clone()), "a refusal is final");
                prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
                if let Some(answer) = error.answer() {
                    let version = error.version.expect("an answer has a version");
                    // Only servers answer CONNECT; the reasons of both sides' DISCONNECT are written.
                    encode(&answer, version, &mut BytesMut::new()).expect("the answer can be written");
                }
                return Ok(());
            }
            Ok(Some(packet)) => {
                let now = decoder.version().expect("a packet was accepted");
                let mut written = BytesMut::new();
                let result = encode(&packet, now, &mut written);
                prop_assert_eq!(result, Ok(()), "{:?}", packet);
                let mut again = Decoder::with_limits(decoder.side(), Limits::default());
                match version {
                    Some(version) => again.set_version(version),
                    None => prop_assert!(again.version().is_none()),
                }
                prop_assert_eq!(again.decode(&mut written), Ok(Some(packet)));
            }
        }
    }
}

fn decoders() -> impl Strategy<Value = Decoder> {
    let side = prop_oneof![Just(Side::Server), Just(Side::Client)];
    let version = prop_oneof![Just(None), Just(Some(Version::V311)), Just(Some(Version::V5))];
    (side, version).prop_map(|(side, version)| {
        let mut decoder = Decoder::with_limits(side, Limits::default());
        if let Some(version) = version {
            decoder.set_version(version);
        }
        decoder
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_never_panic(decoder in decoders(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drain(decoder, &bytes)?;
    }

    #[test]
    fn a_plausible_header_with_arbitrary_bytes_never_panics(
        decoder in decoders(),
        first in any::<u8>(),
        body in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..8], 0..120),
    ) {
        let mut bytes = vec![first, u8::try_from(body.len()).expect("below 128")];
        bytes.extend_from_slice(&body);
        drain(decoder, &bytes)?;
    }

    #[test]
    fn a_mutated_packet_is_refused_or_is_another_valid_packet(
        sent in sent(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = sent.bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        drain(sent.decoder(), &bytes)?;
    }
}
