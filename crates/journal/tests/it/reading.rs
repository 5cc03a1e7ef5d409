//! Readers, from memory and from the disk.

use host::sim::Machine;
use journal::{Chains, Settings};

use crate::machine::{alarm, message, open, read, texts};

/// Memory for a message or two; everything older is on the disk, in small segments.
fn little() -> Settings {
    Settings { tap_bytes: 500, segment_bytes: 3_000, ..Settings::default() }
}

#[tokio::test]
async fn a_reader_crosses_between_disk_and_memory_without_a_gap_or_a_repeat() {
    let machine = Machine::new(1);
    let (journal, _) = open(&machine, &little());
    let mut slow = journal.reader(1, Chains::Both);
    let mut quick = journal.reader(1, Chains::Both);
    let (mut of_slow, mut of_quick) = (Vec::new(), Vec::new());
    for n in 1..=200_u64 {
        let batch = vec![message("a", &n.to_string()), alarm("a", "!"), message("a", "b")];
        journal.append(batch).await.expect("durable");
        while let Some(batch) = quick.try_next().expect("readable") {
            of_quick.extend(batch.records.iter().map(|record| record.seq));
        }
        if n % 7 == 0
            && let Some(batch) = slow.try_next().expect("readable")
        {
            of_slow.extend(batch.records.iter().map(|record| record.seq));
        }
    }
    while let Some(batch) = slow.try_next().expect("readable") {
        assert!(batch.skipped.is_empty());
        of_slow.extend(batch.records.iter().map(|record| record.seq));
    }
    let all: Vec<u64> = (1..=600).collect();
    assert_eq!(of_slow, all);
    assert_eq!(of_quick, all);
    assert_eq!((slow.position(), quick.position()), (600, 600));
}

#[tokio::test]
async fn each_chain_is_read_alone_and_both_together_are_in_the_order_of_seq() {
    let mut machine = Machine::new(2);
    let (journal, _) = open(&machine, &little());
    for n in 0..50 {
        journal.append(vec![message("a", &n.to_string()), alarm("a", "fire")]).await.expect("durable");
    }
    journal.close().await;
    machine.restart();
    let (journal, _) = open(&machine, &little());
    let urgent: Vec<u64> = texts(&read(&journal, Chains::Urgent)).into_iter().map(|(seq, _)| seq).collect();
    let regular: Vec<u64> = texts(&read(&journal, Chains::Regular)).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(urgent, (1..=100).step_by(2).collect::<Vec<_>>());
    assert_eq!(regular, (2..=100).step_by(2).collect::<Vec<_>>());
    let both: Vec<u64> = texts(&read(&journal, Chains::Both)).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(both, (1..=100).collect::<Vec<_>>());
    // From any place.
    for from in [1, 2, 37, 38, 99, 100, 101] {
        let mut reader = journal.reader(from, Chains::Both);
        let first = reader.try_next().expect("readable").map(|batch| batch.records[0].seq);
        assert_eq!(first, (from <= 100).then_some(from), "from {from}");
    }
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_what_becomes_durable() {
    let machine = Machine::new(3);
    let (journal, _) = open(&machine, &Settings::default());
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = journal.reader(1, Chains::Both);
        readers.push(tokio::spawn(async move { reader.next().await.expect("a batch").records }));
    }
    tokio::task::yield_now().await;
    journal.append(vec![message("a", "one")]).await.expect("durable");
    for reader in readers {
        assert_eq!(reader.await.expect("ends")[0].seq, 1);
    }
}

#[tokio::test]
async fn batches_of_one_caller_keep_their_order() {
    let machine = Machine::new(4);
    let (journal, _) = open(&machine, &Settings::default());
    let (told, answers) = std::sync::mpsc::channel();
    for n in 0..500_u32 {
        let told = told.clone();
        let done = move |outcome: Result<Vec<_>, _>| told.send((n, outcome.is_ok())).expect("awaited");
        journal.submit(vec![message("a", &n.to_string())], done).expect("room");
    }
    drop(told);
    assert_eq!(answers.iter().collect::<Vec<_>>(), (0..500).map(|n| (n, true)).collect::<Vec<_>>());
    let read: Vec<_> = texts(&read(&journal, Chains::Both)).into_iter().map(|(_, text)| text).collect();
    assert_eq!(read, (0..500).map(|n: u32| n.to_string()).collect::<Vec<_>>());
}
