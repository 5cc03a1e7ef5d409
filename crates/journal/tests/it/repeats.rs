//! The message-id window.

use std::time::Duration;

use host::sim::Machine;
use journal::{Chains, Journal, Outcome, Settings};
use model::Message;

use crate::machine::{alarm, message, open, read, texts, with_id};

async fn one(journal: &Journal, message: Message) -> Outcome {
    journal.append(vec![message]).await.expect("durable")[0]
}

#[tokio::test]
async fn a_repeat_is_neither_stored_nor_delivered_and_is_told_the_first_seq() {
    let machine = Machine::new(1);
    let (journal, _) = open(&machine, &Settings::default());
    let first = with_id(message("a", "21.5"), "m1");
    // In one batch, in the next, and as an alarm: the payload and topic decide, not the lane.
    let batch = vec![message("a", "no id"), first.clone(), first.clone(), message("a", "no id")];
    let outcomes = journal.append(batch).await.expect("durable");
    assert_eq!(
        outcomes,
        [Outcome::Appended(1), Outcome::Appended(2), Outcome::Repeated(2), Outcome::Appended(3)]
    );
    assert_eq!(one(&journal, first.clone()).await, Outcome::Repeated(2));
    assert_eq!(one(&journal, with_id(alarm("a", "21.5"), "m1")).await, Outcome::Repeated(2));
    // Another device may use the same id.
    assert_eq!(one(&journal, with_id(message("b", "21.5"), "m1")).await, Outcome::Appended(4));
    assert_eq!(texts(&read(&journal, Chains::Both)).len(), 4);
}

#[tokio::test]
async fn an_id_used_for_another_payload_is_a_new_message_and_flagged() {
    let mut machine = Machine::new(2);
    let (journal, _) = open(&machine, &Settings::default());
    one(&journal, with_id(message("a", "1"), "m1")).await;
    assert_eq!(one(&journal, with_id(message("a", "2"), "m1")).await, Outcome::Appended(2));
    assert_eq!(one(&journal, with_id(message("a", "2"), "m1")).await, Outcome::Repeated(2));
    assert_eq!(one(&journal, with_id(message("a", "1"), "m1")).await, Outcome::Repeated(1));
    let flags = |journal: &Journal| -> Vec<bool> {
        read(journal, Chains::Both)
            .iter()
            .flat_map(|batch| batch.records.to_vec())
            .map(|r| r.id_reused)
            .collect()
    };
    assert_eq!(flags(&journal), [false, true]);
    journal.close().await;
    machine.restart();
    assert_eq!(flags(&open(&machine, &Settings::default()).0), [false, true], "from the disk too");
}

#[tokio::test]
async fn the_window_survives_a_good_end_a_crash_and_a_lost_checkpoint() {
    let mut machine = Machine::new(3);
    let settings = Settings { segment_bytes: 2_000, ..Settings::default() };
    let (mut journal, _) = open(&machine, &settings);
    let nth = |n: u64| with_id(message("a", &n.to_string()), &format!("m{n}"));
    for n in 1..=30 {
        assert_eq!(one(&journal, nth(n)).await, Outcome::Appended(n));
    }
    for ending in ["crash", "good end", "lost checkpoint"] {
        if ending != "crash" {
            journal.close().await;
        }
        machine.crash();
        if ending == "lost checkpoint" {
            machine.host().disk.remove(&crate::machine::dir().join("checkpoint")).expect("was there");
        }
        journal = open(&machine, &settings).0;
        assert_eq!(journal.status().ids, 30, "{ending}");
        for n in 1..=30 {
            assert_eq!(one(&journal, nth(n)).await, Outcome::Repeated(n), "{ending}");
        }
    }
}

#[tokio::test]
async fn the_window_is_bounded_per_device_over_all_and_by_age() {
    let machine = Machine::new(4);
    let hour = Duration::from_secs(3_600);
    let settings = Settings { ids_per_device: 3, ids_max: 5, ids_keep: hour, ..Settings::default() };
    let (journal, _) = open(&machine, &settings);
    let sent = |device: &str, id: u64| {
        let received_at = machine.host().clock.now();
        Message { received_at, ..with_id(message(device, "x"), &id.to_string()) }
    };
    for id in 1..=4 {
        one(&journal, sent("a", id)).await;
    }
    assert_eq!(one(&journal, sent("a", 2)).await, Outcome::Repeated(2));
    assert_eq!(one(&journal, sent("a", 1)).await, Outcome::Appended(5), "the fourth pushed it out");
    for id in 1..=3 {
        one(&journal, sent("b", id)).await;
    }
    assert_eq!(journal.status().ids, 5);
    assert_eq!(one(&journal, sent("b", 1)).await, Outcome::Repeated(6));
    machine.clock.advance(hour + Duration::from_secs(1));
    assert_eq!(one(&journal, sent("b", 1)).await, Outcome::Appended(9), "too long ago");
    assert_eq!(journal.status().ids, 1);
}
