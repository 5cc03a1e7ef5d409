//! Disks that fail, queues that are full, and the end.

use std::io;
use std::sync::mpsc;

use host::sim::Machine;
use journal::{AppendError, Chains, ReadError, Settings};
use model::Kind;

use crate::machine::{message, open, read, segment, texts};

#[tokio::test]
async fn a_failed_sync_poisons_the_journal_for_good() {
    let mut machine = Machine::new(1);
    let (journal, _) = open(&machine, &Settings::default());
    journal.append(vec![message("a", "safe")]).await.expect("durable");
    machine.disk.fail_sync_after(0);
    let refused = journal.append(vec![message("a", "in doubt")]).await.expect_err("the sync failed");
    assert!(matches!(refused, AppendError::Poisoned { .. }), "{refused}");
    assert_eq!(refused.kind(), Kind::Broken);
    // The disk is well again; what it holds is in doubt all the same.
    let refused = journal.append(vec![message("a", "late")]).await.expect_err("poisoned");
    assert!(matches!(refused, AppendError::Poisoned { .. }), "{refused}");
    assert!(journal.status().poisoned.expect("said").contains("regular-00000000000000000001.segment"));
    assert_eq!(texts(&read(&journal, Chains::Both)), [(1, "safe".to_owned())], "reading goes on");
    journal.close().await;

    machine.crash();
    let (journal, recovery) = open(&machine, &Settings::default());
    assert!(!recovery.clean);
    let found = texts(&read(&journal, Chains::Both));
    assert!(found.contains(&(1, "safe".to_owned())));
    assert!(found.iter().all(|(_, text)| text != "late"));
}

#[tokio::test]
async fn a_failed_write_fails_its_batch_alone_and_nothing_of_it_appears_later() {
    let mut machine = Machine::new(2);
    let (journal, _) = open(&machine, &Settings::default());
    journal.append(vec![message("a", "one")]).await.expect("durable");
    machine.disk.fail_append_after(0, io::ErrorKind::Other);
    let failed = journal.append(vec![message("a", "two")]).await.expect_err("the write failed");
    assert!(matches!(failed, AppendError::Write { .. }), "{failed}");
    let next = journal.append(vec![message("a", "three")]).await.expect("durable")[0].seq();
    assert_eq!(next, 3, "the seq of what failed is not given out again");
    assert_eq!(journal.status().segments, [0, 2], "a new segment");
    let expected = [(1, "one".to_owned()), (3, "three".to_owned())];
    assert_eq!(texts(&read(&journal, Chains::Both)), expected);
    machine.crash();
    assert_eq!(texts(&read(&open(&machine, &Settings::default()).0, Chains::Both)), expected);
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room_and_loses_nothing() {
    let machine = Machine::new(3);
    let (journal, _) = open(&machine, &Settings { segment_bytes: 100_000, ..Settings::default() });
    journal.append(vec![message("a", "one")]).await.expect("durable");
    let used = machine.disk.content(&segment("regular", 1)).expect("there").len() as u64;
    machine.disk.limit_bytes(Some(used));
    // What was prepared is used up first.
    while journal.append(vec![message("a", "filler")]).await.is_ok() {}
    for _ in 0..3 {
        let full = journal.append(vec![message("a", "two")]).await.expect_err("no room");
        assert_eq!(full.kind(), Kind::TooMuch, "{full}");
        assert!(full.hint().expect("a hint").contains("make room"));
    }
    assert!(journal.status().full);
    assert_eq!(journal.status().poisoned, None);
    machine.disk.limit_bytes(None);
    journal.append(vec![message("a", "three")]).await.expect("room again");
    let mut found: Vec<_> = texts(&read(&journal, Chains::Both)).into_iter().map(|(_, text)| text).collect();
    found.retain(|text| text != "filler");
    assert_eq!(found, ["one", "three"]);
}

#[tokio::test]
async fn a_full_queue_gives_the_batch_back_and_room_is_told() {
    let machine = Machine::new(4);
    let settings = Settings { queue_bytes: 1_000, ..Settings::default() };
    let (journal, _) = open(&machine, &settings);
    // The writer is held in the first callback while the queue fills.
    let (go_on, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    journal
        .submit(vec![message("a", "first")], move |_| {
            begun.send(()).expect("awaited");
            let _ = wait.recv();
        })
        .expect("room");
    has_begun.recv().expect("the writer is held");
    let (told, answers) = mpsc::channel();
    let mut sent = 1;
    let busy = loop {
        let told = told.clone();
        let batch = vec![message("a", &sent.to_string())];
        match journal.submit(batch, move |outcome| told.send(outcome.is_ok()).expect("awaited")) {
            Ok(()) => sent += 1,
            Err(busy) => break busy,
        }
    };
    assert!((5..30).contains(&sent), "{sent} messages are about a thousand bytes");
    assert_eq!(busy.batch.len(), 1, "the batch comes back");
    go_on.send(()).expect("the writer waits");
    journal.room().await;
    journal.submit(busy.batch, busy.done).expect("room again");
    drop(told);
    assert!(answers.iter().all(|durable| durable));
    assert_eq!(journal.durable_seq(), sent + 1);
}

#[tokio::test]
async fn a_message_too_large_is_refused_before_anything_is_written() {
    let machine = Machine::new(5);
    let (journal, _) = open(&machine, &Settings::default());
    let refused = journal.append(vec![message("a", &"x".repeat(17 << 20))]).await.expect_err("too large");
    assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");
    let largest = message("a", &"x".repeat(16 << 20));
    journal.append(vec![largest]).await.expect("the largest packet fits");
    assert_eq!(journal.durable_seq(), 1);
}

#[tokio::test]
async fn a_good_end_writes_what_waits_and_ends_the_readers() {
    let machine = Machine::new(6);
    let (journal, _) = open(&machine, &Settings::default());
    let mut reader = journal.reader(1, Chains::Both);
    let waiting = tokio::spawn(async move {
        let mut count = 0;
        loop {
            match reader.next().await {
                Ok(batch) => count += batch.records.len(),
                Err(ReadError::Closed) => return count,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let (told, answers) = mpsc::channel();
    for n in 0..100 {
        let told = told.clone();
        journal
            .submit(vec![message("a", &n.to_string())], move |outcome| {
                told.send(outcome.is_ok()).expect("awaited");
            })
            .expect("room");
    }
    journal.close().await;
    assert_eq!(answers.try_iter().filter(|durable| *durable).count(), 100);
    assert_eq!(waiting.await.expect("ends"), 100);
    let refused = journal.append(vec![message("a", "late")]).await.expect_err("closed");
    assert!(matches!(refused, AppendError::Closed));
}

#[tokio::test]
async fn a_disk_that_lies_about_its_syncs_cannot_make_two_messages_share_a_seq() {
    let mut machine = Machine::new(7);
    let (journal, _) = open(&machine, &Settings::default());
    let first = journal.append(vec![message("a", "one")]).await.expect("durable")[0].seq();
    machine.disk.let_syncs_lie(true);
    let mut lied = Vec::new();
    for n in 0..50 {
        lied.push(journal.append(vec![message("a", &n.to_string())]).await.expect("so it says")[0].seq());
    }
    machine.crash();
    let (journal, _) = open(&machine, &Settings::default());
    let next = journal.append(vec![message("a", "after")]).await.expect("durable")[0].seq();
    assert!(next > first && lied.iter().all(|seq| *seq < next), "{next}");
}
