//! What is dropped, and what is held.

use std::time::Duration;

use host::sim::Machine;
use journal::{AppendError, Chain, Chains, Cut, Hold, Journal, Settings, SkipReason};
use model::{Kind, Message, Timestamp};

use crate::machine::{message, open, read, texts};

/// A message received now by the machine's clock.
fn now(machine: &Machine, text: &str) -> Message {
    Message { received_at: machine.host().clock.now(), ..message("a", text) }
}

/// Four messages a segment, an hour apart.
fn small() -> Settings {
    Settings {
        segment_bytes: 1_100,
        keep: Duration::from_secs(8 * 86_400),
        tap_bytes: 100,
        ..Settings::default()
    }
}

async fn append(machine: &Machine, journal: &Journal, count: usize) {
    for n in 0..count {
        journal.append(vec![now(machine, &n.to_string())]).await.expect("durable");
        machine.clock.advance(Duration::from_secs(3_600));
    }
}

#[tokio::test]
async fn segments_older_than_keep_are_dropped_whole_and_readers_are_told() {
    let machine = Machine::new(1);
    let (journal, _) = open(&machine, &small());
    append(&machine, &journal, 20).await;
    assert_eq!(journal.first_seq(), 1);
    machine.clock.advance(Duration::from_secs(8 * 86_400 - 10 * 3_600));
    journal.trim().await;
    let first = journal.first_seq();
    assert!((2..=11).contains(&first), "about half is old enough: {first}");
    let batches = read(&journal, Chains::Both);
    let skipped = batches[0].skipped[0];
    assert_eq!((skipped.from, skipped.to, skipped.reason), (1, first - 1, SkipReason::Trimmed));
    assert_eq!(texts(&batches).len() as u64, 21 - first);
    machine.clock.advance(Duration::from_secs(30 * 86_400));
    journal.trim().await;
    assert_eq!(
        journal.status().segments,
        [0, 1],
        "the newest segment stays: it knows where the chain stands"
    );
}

#[tokio::test]
async fn a_builtin_consumer_holds_without_end_and_a_sink_until_its_time() {
    let machine = Machine::new(2);
    let (journal, _) = open(&machine, &small());
    let series = journal.consumer("series", Hold::Builtin);
    let webhook = journal.consumer("webhook", Hold::Sink(Duration::from_secs(20 * 86_400)));
    append(&machine, &journal, 20).await;
    machine.clock.advance(Duration::from_secs(10 * 86_400));
    journal.trim().await;
    assert_eq!(journal.first_seq(), 1, "both hold");
    series.report(20);
    journal.trim().await;
    assert_eq!(journal.first_seq(), 1, "the sink holds");
    let status = journal.status().consumers;
    assert_eq!(
        status.iter().map(|c| (c.name.as_str(), c.lag_records)).collect::<Vec<_>>(),
        [("series", 0), ("webhook", 20)]
    );
    assert_eq!(status[0].lag_micros, 0);
    assert!(status[1].lag_micros >= 10 * 86_400 * 1_000_000);

    // What is seen and not stored is no lag, and is held all the same.
    webhook.report(2);
    webhook.applied(20);
    let status = journal.status().consumers;
    assert_eq!((status[1].position, status[1].lag_records, status[1].lag_micros), (2, 0, 0));
    assert!(status[1].held_micros >= 10 * 86_400 * 1_000_000);
    machine.clock.advance(Duration::from_secs(20 * 86_400));
    journal.trim().await;
    let first = journal.first_seq();
    assert!(first > 10);
    assert_eq!(
        webhook.cuts(),
        [Cut { chain: Chain::Regular, from: 3, to: first - 1 }],
        "exactly what it missed"
    );
    assert_eq!(webhook.cuts(), []);
    assert_eq!(series.cuts(), []);
}

#[tokio::test]
async fn a_full_journal_drops_what_nobody_holds_and_else_refuses() {
    let machine = Machine::new(3);
    let settings = Settings { bytes_max: Some(6_000), ..small() };
    let (journal, _) = open(&machine, &settings);
    append(&machine, &journal, 60).await;
    assert!(journal.status().bytes <= 5_400);
    let first = journal.first_seq();
    assert!((25..=55).contains(&first), "the oldest went although they are young: {first}");

    let held = journal.consumer("series", Hold::Builtin);
    held.report(journal.durable_seq());
    let refused = loop {
        match journal.append(vec![now(&machine, "more")]).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let AppendError::Full { used_bytes, limit_bytes } = refused else { panic!("{refused}") };
    assert!(used_bytes <= 5_400 && limit_bytes == 5_400, "{used_bytes} of {limit_bytes}");
    assert_eq!(refused.kind(), Kind::TooMuch);
    assert!(journal.status().full);

    held.report(journal.durable_seq());
    journal.append(vec![now(&machine, "again")]).await.expect("there is room again");
    assert!(!journal.status().full);
}

#[tokio::test]
async fn a_time_leads_to_the_frame_that_has_it_before_and_after_a_restart() {
    let mut machine = Machine::new(4);
    let settings = small();
    let (journal, _) = open(&machine, &settings);
    let begin = machine.host().clock.now();
    append(&machine, &journal, 20).await;
    let check = |journal: &Journal| {
        let hour = |n: i64| begin.plus_micros(n * 3_600 * Timestamp::SECOND);
        for n in 0..20 {
            assert_eq!(journal.seq_at(hour(n)), n as u64 + 1, "hour {n}");
            assert_eq!(journal.seq_at(hour(n).plus_micros(1)), n as u64 + 2, "after hour {n}");
        }
        assert_eq!(journal.seq_at(hour(-100)), 1);
        assert_eq!(journal.seq_at(hour(100)), 21);
    };
    check(&journal);
    journal.close().await;
    machine.restart();
    check(&open(&machine, &settings).0);
}
