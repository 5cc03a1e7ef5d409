//! What one packet costs, in time and in allocations, beside the two codecs that the tests are held against.
//!
//! `cargo bench -p mqtt`. The shape is a reading on its way: QoS 1, 100 bytes of payload, a topic of 22 bytes.

use bytes::{Bytes, BytesMut};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use model::{Qos, TopicName};
use mqtt::*;
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// Packets of one read of a busy socket.
const BATCH: usize = 256;

/// Subscribers of one message.
const SUBSCRIBERS: u16 = 500;

fn main() {
    divan::main();
}

fn publish() -> Publish {
    Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: Some(TopicName::parse("dt/sensor-17/telemetry").expect("a topic")),
        packet_id: 17,
        properties: None,
        payload: vec![b'7'; 100].into(),
    }
}

fn bytes(version: Version, packets: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    for _ in 0..packets {
        encode(&Packet::Publish(publish()), version, &mut bytes).expect("a valid packet");
    }
    bytes
}

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(Side::Server, 1 << 18);
    decoder.set_version(version);
    decoder
}

/// Decodes each packet of a buffer.
fn drain<T>(
    bencher: Bencher<'_, '_>,
    version: Version,
    packets: usize,
    mut take: impl FnMut(&mut BytesMut) -> T,
) {
    bencher.counter(ItemsCount::new(packets)).with_inputs(|| bytes(version, packets)).bench_local_refs(
        |src| {
            for _ in 0..packets {
                black_box(take(src));
            }
        },
    );
}

/// One PUBLISH in a buffer of its own: the worst case, in which the buffer becomes a shared one.
mod decode_one {
    use super::*;

    #[divan::bench(args = [Version::V311, Version::V5])]
    fn godwit(bencher: Bencher<'_, '_>, version: Version) {
        let mut decoder = decoder(version);
        drain(bencher, version, 1, |src| decoder.decode(src).expect("a packet"));
    }

    #[divan::bench]
    fn rumqttc_v311(bencher: Bencher<'_, '_>) {
        drain(bencher, Version::V311, 1, |src| v4::Packet::read(src, 1 << 18).expect("a packet"));
    }

    #[divan::bench]
    fn rumqttc_v5(bencher: Bencher<'_, '_>) {
        drain(bencher, Version::V5, 1, |src| v5::Packet::read(src, Some(1 << 18)).expect("a packet"));
    }

    /// It is given the body in the form it wants, with the two bytes of the fixed header taken off by us.
    #[divan::bench]
    fn protocol_core_v311(bencher: Bencher<'_, '_>) {
        drain(bencher, Version::V311, 1, |src| v3_1_1::Publish::parse(2, src[2..].into()).expect("a packet"));
    }

    #[divan::bench]
    fn protocol_core_v5(bencher: Bencher<'_, '_>) {
        drain(bencher, Version::V5, 1, |src| v5_0::Publish::parse(2, src[2..].into()).expect("a packet"));
    }
}

/// Many PUBLISHes in one buffer: what a busy connection reads at once. Per item.
mod decode_many {
    use super::*;

    #[divan::bench(args = [Version::V311, Version::V5])]
    fn godwit(bencher: Bencher<'_, '_>, version: Version) {
        let mut decoder = decoder(version);
        drain(bencher, version, BATCH, |src| decoder.decode(src).expect("a packet"));
    }

    #[divan::bench]
    fn rumqttc_v311(bencher: Bencher<'_, '_>) {
        drain(bencher, Version::V311, BATCH, |src| v4::Packet::read(src, 1 << 18).expect("a packet"));
    }

    #[divan::bench]
    fn rumqttc_v5(bencher: Bencher<'_, '_>) {
        drain(bencher, Version::V5, BATCH, |src| v5::Packet::read(src, Some(1 << 18)).expect("a packet"));
    }
}

/// One PUBACK into a buffer with room.
mod encode_puback {
    use super::*;

    fn write(bencher: Bencher<'_, '_>, mut write: impl FnMut(&mut BytesMut)) {
        let mut dst = BytesMut::with_capacity(64);
        bencher.counter(ItemsCount::new(1_u8)).bench_local(|| {
            dst.clear();
            write(black_box(&mut dst));
        });
    }

    #[divan::bench]
    fn godwit(bencher: Bencher<'_, '_>) {
        write(bencher, |dst| {
            encode_ack(AckType::PubAck, black_box(17), Reason::Success, Version::V5, dst)
                .expect("a valid ack");
        });
    }

    #[divan::bench]
    fn godwit_by_packet(bencher: Bencher<'_, '_>) {
        let packet = Packet::PubAck(Ack::new(17, Reason::Success));
        write(bencher, |dst| encode(black_box(&packet), Version::V5, dst).expect("a valid ack"));
    }

    #[divan::bench]
    fn rumqttc(bencher: Bencher<'_, '_>) {
        let packet = v4::Packet::PubAck(v4::PubAck::new(17));
        write(bencher, |dst| {
            packet.write(dst, 1 << 18).expect("a valid ack");
        });
    }

    #[divan::bench]
    fn protocol_core(bencher: Bencher<'_, '_>) {
        let packet = v5_0::Puback::builder().packet_id(17_u16).build().expect("a valid ack");
        write(bencher, |dst| dst.extend_from_slice(&packet.to_continuous_buffer()));
    }
}

/// One PUBLISH into a buffer with room.
mod encode_publish {
    use super::*;

    fn write(bencher: Bencher<'_, '_>, mut write: impl FnMut(&mut BytesMut)) {
        let mut dst = BytesMut::with_capacity(256);
        bencher.counter(ItemsCount::new(1_u8)).bench_local(|| {
            dst.clear();
            write(black_box(&mut dst));
        });
    }

    #[divan::bench(args = [Version::V311, Version::V5])]
    fn godwit(bencher: Bencher<'_, '_>, version: Version) {
        let packet = Packet::Publish(publish());
        write(bencher, |dst| encode(black_box(&packet), version, dst).expect("a valid packet"));
    }

    #[divan::bench]
    fn rumqttc_v311(bencher: Bencher<'_, '_>) {
        let mut publish =
            v4::Publish::new("dt/sensor-17/telemetry", rumqttc::QoS::AtLeastOnce, vec![b'7'; 100]);
        publish.pkid = 17;
        let packet = v4::Packet::Publish(publish);
        write(bencher, |dst| {
            packet.write(dst, 1 << 18).expect("a valid packet");
        });
    }

    #[divan::bench]
    fn protocol_core_v5(bencher: Bencher<'_, '_>) {
        let body = bytes(Version::V5, 1);
        let (packet, _) = v5_0::Publish::parse(2, body[2..].into()).expect("a packet");
        write(bencher, |dst| dst.extend_from_slice(&packet.to_continuous_buffer()));
    }
}

/// One message to many subscribers, each with a buffer with room. Per delivery.
mod fan_out {
    use super::*;

    fn template(publish: &Publish) -> PublishTemplate {
        let delivery = Delivery {
            topic: publish.topic.as_ref().expect("a topic"),
            qos: publish.qos,
            retain: false,
            expiry_s: None,
            subscription_ids: &[],
            attached: None,
            payload: &publish.payload,
        };
        PublishTemplate::new(&delivery, Version::V5).expect("a valid delivery")
    }

    #[divan::bench]
    fn template_made(bencher: Bencher<'_, '_>) {
        let publish = publish();
        bencher.bench_local(|| template(black_box(&publish)));
    }

    fn deliver(bencher: Bencher<'_, '_>, mut deliver: impl FnMut(&mut BytesMut, u16)) {
        let mut dst = BytesMut::with_capacity(256);
        bencher.counter(ItemsCount::new(SUBSCRIBERS)).bench_local(|| {
            for packet_id in 1..=SUBSCRIBERS {
                dst.clear();
                deliver(black_box(&mut dst), packet_id);
            }
        });
    }

    #[divan::bench]
    fn with_the_payload_copied(bencher: Bencher<'_, '_>) {
        let template = template(&publish());
        deliver(bencher, |dst, packet_id| template.write(packet_id, dst));
    }

    #[divan::bench]
    fn with_the_payload_shared(bencher: Bencher<'_, '_>) {
        let template = template(&publish());
        deliver(bencher, |dst, packet_id| {
            template.write_head(packet_id, dst);
            black_box::<Bytes>(template.payload());
        });
    }

    #[divan::bench]
    fn by_packet(bencher: Bencher<'_, '_>) {
        let mut packet = publish();
        deliver(bencher, |dst, packet_id| {
            packet.packet_id = packet_id;
            encode(&Packet::Publish(packet.clone()), Version::V5, dst).expect("a valid packet");
        });
    }
}
