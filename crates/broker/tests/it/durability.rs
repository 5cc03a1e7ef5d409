//! Acknowledged means durable; what cannot be durable is refused; what was read is answered.

use broker::{Drop, End, Refusal};
use bytes::Bytes;
use model::Qos;
use mqtt::{Ack, Packet, Reason, Version};

use crate::client::{Client, connect, publish, with_user};
use crate::house::{House, Plan};

#[tokio::test]
async fn puback_only_after_durable_and_in_order() {
    let house = House::open().await;
    for version in [Version::V311, Version::V5] {
        let mut client = Client::open(house.anonymous(), version, "me").await;
        let before = house.journal.durable_seq();
        house.disk.hold_syncs();
        // In several writes, so that several batches are in flight at once.
        for id in 1..=50 {
            client.publish(publish("dt/a/b", id, format!("{id}"))).await;
            if id % 10 == 0 {
                client.expect_nothing().await;
            }
        }
        assert_eq!(house.journal.durable_seq(), before);
        house.disk.release_syncs();
        for id in 1..=50 {
            client.expect_puback(id, Reason::Success).await;
            assert!(house.journal.durable_seq() >= before + u64::from(id));
        }
        client.leave().await;
    }
}

#[tokio::test]
async fn a_refused_publish_is_answered_in_its_place() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    house.disk.hold_syncs();
    let packets = [("a", 1), ("$aws/x", 2), ("$SYS/state", 3), ("b", 4)];
    client.send_all(&packets.map(|(topic, id)| Packet::Publish(publish(topic, id, "x")))).await;
    client.expect_nothing().await;
    house.disk.release_syncs();
    let reasons = [Reason::Success, Reason::TopicNameInvalid, Reason::Success, Reason::Success];
    for ((_, id), reason) in packets.into_iter().zip(reasons) {
        client.expect_puback(id, reason).await;
    }
    let stats = house.broker.stats();
    assert_eq!((stats.refused(Refusal::Topic), stats.dropped(Drop::Reserved)), (1, 1));
    assert_eq!(house.journal.durable_seq(), 2);
}

#[tokio::test]
async fn a_full_journal_refuses_and_takes_again_when_there_is_room() {
    let house = House::open().await;
    let mut new = Client::open(house.anonymous(), Version::V5, "new").await;
    new.publish_durably("a", 1, "x").await;
    house.disk.limit_bytes(Some(0));
    // What the journal had prepared of the disk is still to be had; it is less than all of these.
    let large = "x".repeat(200 * 1024);
    let mut id = 2;
    loop {
        new.publish(publish("a", id, large.clone())).await;
        let Some(Packet::PubAck(ack)) = new.receive().await else { panic!("no PUBACK") };
        assert_eq!(ack.packet_id, id);
        if ack.reason == Reason::QuotaExceeded {
            break;
        }
        assert_eq!(ack.reason, Reason::Success);
        assert!(id < 20, "the disk has no end");
        id += 1;
    }
    new.publish(publish("a", 0, large.clone())).await;
    let mut old = Client::open(house.anonymous(), Version::V311, "old").await;
    old.publish(publish("a", 3, large)).await;
    old.expect_end(Reason::QuotaExceeded).await;
    let stats = house
        .until("all counted", |stats| {
            stats.refused(Refusal::JournalFull) == 2 && stats.dropped(Drop::NotJournalled) == 1
        })
        .await;
    assert_eq!(stats.ended(End::Journal), 1);
    house.disk.limit_bytes(None);
    new.publish_durably("a", 40, "x").await;
}

#[tokio::test]
async fn a_poisoned_journal_acknowledges_nothing() {
    let house = House::open().await;
    let mut new = Client::open(house.anonymous(), Version::V5, "new").await;
    let mut old = Client::open(house.anonymous(), Version::V311, "old").await;
    house.disk.fail_sync_after(0);
    new.publish(publish("a", 1, "x")).await;
    new.expect_puback(1, Reason::ImplementationSpecific).await;
    new.publish(publish("a", 2, "x")).await;
    new.expect_puback(2, Reason::ImplementationSpecific).await;
    old.publish(publish("a", 3, "x")).await;
    old.expect_end(Reason::ImplementationSpecific).await;
    house.until("counted", |stats| stats.refused(Refusal::JournalFailed) == 3).await;
    new.expect_nothing().await;
}

#[tokio::test]
async fn a_journal_that_is_slow_stops_the_reading_and_loses_nothing() {
    let mut plan = Plan::default();
    plan.journal.queue_bytes = 64 * 1024;
    plan.settings.packet_bytes_max = 64 * 1024;
    plan.settings.receive_maximum = 60_000;
    let house = House::with(plan).await;
    house.disk.hold_syncs();
    let client = Client::open(house.anonymous(), Version::V311, "me").await;
    let (mut reading, mut writing) = tokio::io::split(client.stream);
    // 40 MB do not fit into any socket's buffers: the writer stands still when nobody reads.
    let count = 20_000_u32;
    let sender = tokio::spawn(async move {
        let payload = Bytes::from(vec![7; 2_000]);
        let mut out = bytes::BytesMut::new();
        for n in 0..count {
            out.clear();
            let id = u16::try_from(n % 60_000).expect("small") + 1;
            let packet = Packet::Publish(publish("dt/a/b", id, payload.clone()));
            mqtt::encode(&packet, Version::V311, &mut out).expect("a packet");
            tokio::io::AsyncWriteExt::write_all(&mut writing, &out).await.expect("written");
        }
        writing
    });
    let stats = house.until("it waits", |stats| stats.waited > 0).await;
    assert!(stats.received[1] < 500, "it reads on: {}", stats.received[1]);
    assert!(!sender.is_finished());
    house.disk.release_syncs();
    let mut acknowledged = vec![0; 4 * count as usize];
    let reads = tokio::io::AsyncReadExt::read_exact(&mut reading, &mut acknowledged);
    tokio::time::timeout(crate::house::PATIENCE, reads).await.expect("in time").expect("acknowledged");
    for (n, ack) in acknowledged.chunks_exact(4).enumerate() {
        assert_eq!(u16::from_be_bytes([ack[2], ack[3]]), (n % 60_000) as u16 + 1);
    }
    assert_eq!(house.journal.durable_seq(), u64::from(count));
    sender.await.expect("all sent");
}

#[tokio::test]
async fn a_repeat_is_acknowledged_and_neither_stored_nor_delivered_again() {
    let house = House::open().await;
    let mut watcher = Client::open(house.anonymous(), Version::V5, "watcher").await;
    watcher.subscribe("dt/#", Qos::AtLeastOnce).await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    for packet_id in [1, 2, 0] {
        client.publish(with_user(publish("dt/a/b", packet_id, "x"), "message-id", "42")).await;
        if packet_id != 0 {
            client.expect_puback(packet_id, Reason::Success).await;
        }
    }
    client.publish_durably("dt/a/end", 3, "end").await;
    assert_eq!(watcher.take().await.payload, "x");
    assert_eq!(watcher.take().await.payload, "end");
    assert_eq!((house.journal.durable_seq(), house.broker.stats().repeated), (2, 2));
}

#[tokio::test]
async fn the_end_of_the_server_lets_what_was_read_be_acknowledged_and_says_goodbye() {
    let house = House::open().await;
    let mut client = Client::open(house.anonymous(), Version::V5, "me").await;
    let mut old = Client::open(house.anonymous(), Version::V311, "old").await;
    let mut unconnected = Client::socket(house.anonymous(), Version::V5).await;
    house.disk.hold_syncs();
    for id in 1..=5 {
        client.publish(publish("a", id, "x")).await;
    }
    client.expect_nothing().await;
    let closing = tokio::spawn({
        let broker = house.broker.clone();
        async move { broker.close().await }
    });
    assert_eq!(unconnected.receive().await, None, "who has not connected is not waited for");
    assert_eq!(old.receive().await, None);
    assert!(!closing.is_finished(), "the disk still holds what was read");
    house.disk.release_syncs();
    for id in 1..=5 {
        client.expect(Packet::PubAck(Ack::new(id, Reason::Success))).await;
    }
    client.expect_end(Reason::ServerShuttingDown).await;
    closing.await.expect("closed");
    let address = house.anonymous();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let stats = house.broker.stats();
    assert_eq!((stats.connections, stats.ended(End::Shutdown)), (0, 2));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let house = House::open().await;
    let taken = house.anonymous();
    let other = House::open().await;
    let parts = broker::Parts {
        host: host::Host {
            clock: std::sync::Arc::new(host::SystemClock::start()),
            disk: std::sync::Arc::new(host::SystemDisk),
            random: std::sync::Arc::new(host::SystemRandom),
            keys: std::sync::Arc::new(host::KeyRing::new(&[1; 32])),
            boot: 1,
        },
        journal: other.journal.clone(),
        catalog: other.catalog(),
        identity: other.identity.clone(),
        routes: std::sync::Arc::default(),
        tls: None,
    };
    let listeners = vec![broker::ListenerSettings::password(taken)];
    let refused = broker::Broker::start(&broker::Settings::default(), listeners, parts).await;
    let error = refused.err().expect("refused");
    assert_eq!(error.to_string(), format!("cannot listen on `{taken}`"));
    assert!(error.hint().is_some_and(|hint| hint.contains("another port")));
    Client::ask(taken, connect(Version::V5, "me")).await.1.expect("the first still serves");
}
