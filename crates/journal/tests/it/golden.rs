//! A journal of version 1, kept for ever: it is read, and the same inputs still write the same bytes.
//!
//! `GODWIT_MAKE_GOLDEN=1` writes the files anew; that is right only before the first release.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use host::sim::{SimClock, SimDisk, SimRandom};
use host::{Disk, Host, KeyRing, SystemDisk};
use journal::{Chains, Journal, Settings};
use model::{Lane, Message, Principal, Properties, TopicName};

use crate::machine::{alarm, dir, message, read, segment, with_id};

const REGULAR: &[u8] = include_bytes!("../golden/v1-regular.segment");
const URGENT: &[u8] = include_bytes!("../golden/v1-urgent.segment");

/// Everything that the bytes depend on, written out: not even the simulator's own key may change them.
fn host(disk: SimDisk) -> Host {
    Host {
        clock: Arc::new(SimClock::new()),
        disk: Arc::new(disk),
        random: Arc::new(SimRandom::new(1)),
        keys: Arc::new(KeyRing::new(b"a key that is known to everybody")),
        boot: 3,
    }
}

/// Three groups: one field set each way, something large enough for two frames, an id used twice.
fn groups() -> Vec<Vec<Message>> {
    let mut full = message("office-1", "{\"temperature\":21.5}");
    full.retain = true;
    full.dup = true;
    full.expiry_s = Some(0);
    full.trace_id = Some([9; 16]);
    full.to = Some(17);
    full.message_id = Some(ByteString::from_static("id-1"));
    full.properties = Some(Arc::new(Properties {
        payload_is_utf8: true,
        content_type: Some(ByteString::from_static("application/json")),
        response_topic: Some(TopicName::parse("answers/1").expect("a topic")),
        correlation_data: Some(Bytes::from_static(&[0, 255])),
        user: vec![(ByteString::from_static("unit"), ByteString::from_static("°C")); 2],
    }));
    let mut bare = message("b", "");
    bare.origin = Arc::new(model::Origin::inside(3));
    bare.lane = Lane::Bulk;
    let mut by_certificate = alarm("c", "smoke");
    let origin =
        model::Origin { principal: Principal::Certificate([7; 32]), ..(*by_certificate.origin).clone() };
    by_certificate.origin = Arc::new(origin);
    let large = |fill: &str| message("d", &fill.repeat(40_000));
    vec![
        vec![full, bare, by_certificate],
        vec![large("x"), large("y")],
        vec![with_id(message("office-1", "another"), "id-1"), alarm("c", "clear")],
    ]
}

/// The records as they must be read, urgent first in each group.
fn expected() -> Vec<Message> {
    let mut expected = Vec::new();
    for group in groups() {
        let (urgent, regular): (Vec<_>, Vec<_>) = group.into_iter().partition(|m| m.lane.is_urgent());
        expected.extend(urgent);
        expected.extend(regular);
    }
    expected
}

#[test]
fn a_journal_of_version_1_is_read() {
    let disk = SimDisk::new();
    disk.put(&segment("regular", 1), REGULAR);
    disk.put(&segment("urgent", 1), URGENT);
    let (journal, recovery) = Journal::open(&dir(), &Settings::default(), &host(disk)).expect("a journal");
    assert!(recovery.damage.is_empty() && recovery.torn.is_empty(), "{recovery:?}");
    assert_eq!(recovery.last_seq, 7);
    let batches = read(&journal, Chains::Both);
    assert!(batches.iter().all(|batch| batch.skipped.is_empty()));
    let records: Vec<_> = batches.iter().flat_map(|batch| batch.records.to_vec()).collect();
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(
        records.iter().map(|record| record.id_reused).collect::<Vec<_>>(),
        [[false; 6].as_slice(), &[true]].concat()
    );
    for (record, expected) in records.iter().zip(expected()) {
        assert_eq!(record.message, expected);
    }
}

#[tokio::test]
async fn the_same_inputs_write_the_same_bytes_as_version_1_did() {
    let disk = SimDisk::new();
    let host = host(disk.clone());
    let (journal, _) = Journal::open(&dir(), &Settings::default(), &host).expect("a journal");
    for group in groups() {
        journal.append(group).await.expect("durable");
    }
    journal.close().await;
    let written = ["regular", "urgent"].map(|chain| disk.content(&segment(chain, 1)).expect("written"));
    if std::env::var("GODWIT_MAKE_GOLDEN").is_ok() {
        let golden: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        SystemDisk.replace(&golden.join("v1-regular.segment"), &written[0]).expect("written");
        SystemDisk.replace(&golden.join("v1-urgent.segment"), &written[1]).expect("written");
        return;
    }
    assert!(written[0] == REGULAR, "the regular segment is written otherwise than version 1 was");
    assert!(written[1] == URGENT, "the urgent segment is written otherwise than version 1 was");
}
