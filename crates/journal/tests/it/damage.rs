//! Segments that are not what was written: each is told by what is lost, and stops nobody.

use host::sim::Machine;
use journal::{Batch, Chains, Journal, OpenError, Settings, SkipReason, Skipped};

use crate::machine::{alarm, dir, message, open, read, segment, texts};

/// Ten messages, each in a frame of its own, then a good end.
async fn ten(machine: &mut Machine, settings: &Settings) {
    let (journal, _) = open(machine, settings);
    for text in 1..=10 {
        journal.append(vec![message("a", &text.to_string())]).await.expect("durable");
    }
    journal.close().await;
    machine.restart();
}

/// Where the frames begin.
fn frames(machine: &Machine) -> Vec<usize> {
    let content = machine.disk.content(&segment("regular", 1)).expect("there");
    content.windows(4).enumerate().filter(|(_, window)| window == b"GwF1").map(|(at, _)| at).collect()
}

fn skipped(batches: &[Batch]) -> Vec<(u64, u64, SkipReason)> {
    batches.iter().flat_map(|batch| &batch.skipped).map(|s: &Skipped| (s.from, s.to, s.reason)).collect()
}

fn seqs(batches: &[Batch]) -> Vec<u64> {
    texts(batches).into_iter().map(|(seq, _)| seq).collect()
}

async fn check(at: impl Fn(&[usize]) -> usize, lost: (u64, u64)) {
    let mut machine = Machine::new(2);
    let settings = Settings::default();
    ten(&mut machine, &settings).await;
    machine.disk.flip_bit(&segment("regular", 1), at(&frames(&machine)) as u64, 5);
    let (journal, _) = open(&machine, &settings);
    let batches = read(&journal, Chains::Both);
    assert_eq!(skipped(&batches), [(lost.0, lost.1, SkipReason::Damaged)]);
    assert_eq!(seqs(&batches), (1..=10).filter(|seq| !(lost.0..=lost.1).contains(seq)).collect::<Vec<_>>());
    let damage = journal.status().damage;
    assert_eq!((damage.len(), damage[0].from, damage[0].to), (1, lost.0, lost.1));
    // Life goes on behind it.
    assert_eq!(journal.append(vec![message("a", "next")]).await.expect("durable")[0].seq(), 11);
}

#[tokio::test]
async fn a_damaged_head_loses_the_segment_and_says_so() {
    check(|_| 100, (1, 10)).await;
}

#[tokio::test]
async fn a_damaged_frame_in_the_middle_is_passed_over_by_name() {
    check(|frames| frames[4] + 60, (5, 5)).await;
}

#[tokio::test]
async fn a_damaged_frame_header_is_passed_over_up_to_the_next_whole_one() {
    check(|frames| frames[4] + 9, (5, 5)).await;
    check(|frames| frames[4] + 1, (5, 5)).await;
}

#[tokio::test]
async fn a_damaged_tail_after_a_good_end_is_damage_and_not_a_torn_tail() {
    check(|frames| frames[9] + 70, (10, 10)).await;
    check(|frames| frames[9], (10, 10)).await;
}

#[tokio::test]
async fn a_damaged_tail_of_a_sealed_segment_is_noticed_without_a_good_end() {
    let mut machine = Machine::new(2);
    let settings = Settings { segment_bytes: 500, ..Settings::default() };
    let (journal, _) = open(&machine, &settings);
    for text in 1..=10 {
        journal.append(vec![message("a", &text.to_string())]).await.expect("durable");
    }
    assert!(journal.status().segments[1] > 2);
    let last = *frames(&machine).last().expect("frames") as u64;
    machine.restart();
    machine.disk.flip_bit(&segment("regular", 1), last + 70, 1);
    let (journal, _) = open(&machine, &settings);
    let batches = read(&journal, Chains::Both);
    let lost = skipped(&batches);
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].0, lost[0].2), (lost[0].1, SkipReason::Damaged), "one record was in that frame");
    assert_eq!(seqs(&batches).len(), 9);
}

#[tokio::test]
async fn a_torn_tail_is_no_damage() {
    let mut machine = Machine::new(3);
    let settings = Settings::default();
    let (journal, _) = open(&machine, &settings);
    journal.append(vec![message("a", "one")]).await.expect("durable");
    // The append arrives half, and nothing after it.
    machine.disk.cut_power_after(1);
    journal.append(vec![message("a", &"two".repeat(1_000))]).await.expect_err("the power is off");
    machine.crash();
    let (journal, recovery) = open(&machine, &settings);
    assert!(!recovery.clean);
    assert!(recovery.damage.is_empty());
    assert_eq!(recovery.last_seq, 1);
    let batches = read(&journal, Chains::Both);
    assert_eq!((seqs(&batches), skipped(&batches)), (vec![1], vec![]));
    let next = journal.append(vec![message("a", "three")]).await.expect("durable")[0].seq();
    assert!(next > 1 << 20, "what had been given out and is not found is not given out again: {next}");
}

#[tokio::test]
async fn what_one_chain_lost_is_told_without_the_records_of_the_other() {
    let mut machine = Machine::new(4);
    let settings = Settings::default();
    let (journal, _) = open(&machine, &settings);
    for text in 1..=3 {
        journal.append(vec![message("a", &text.to_string()), alarm("a", "fire")]).await.expect("durable");
    }
    journal.close().await;
    machine.restart();
    machine.disk.flip_bit(&segment("regular", 1), 20, 0);
    let (journal, _) = open(&machine, &settings);
    let batches = read(&journal, Chains::Both);
    assert_eq!(seqs(&batches), [1, 3, 5]);
    let damaged = SkipReason::Damaged;
    assert_eq!(skipped(&batches), [(2, 2, damaged), (4, 4, damaged), (6, 6, damaged)]);
}

#[tokio::test]
async fn a_newer_version_another_key_and_another_journal_are_refused_by_name() {
    let mut machine = Machine::new(5);
    let settings = Settings::default();
    ten(&mut machine, &settings).await;
    let path = segment("regular", 1);
    let content = machine.disk.content(&path).expect("there");
    let refusal =
        |machine: &Machine| Journal::open(&dir(), &settings, &machine.host()).err().expect("refused");

    let mut newer = content.clone();
    newer[8] = 2;
    newer.truncate(40);
    machine.disk.put(&path, &newer);
    let error = refusal(&machine);
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("regular-00000000000000000001.segment"), "{error}");

    machine.disk.put(&path, &content);
    let mut host = machine.host();
    host.keys = std::sync::Arc::new(host::KeyRing::new(&[1; 32]));
    let error = Journal::open(&dir(), &settings, &host).err().expect("refused");
    assert!(matches!(error, OpenError::Key { .. }), "{error}");

    let mut other = Machine::new(6);
    ten(&mut other, &settings).await;
    let checkpoint = machine.disk.content(&dir().join("checkpoint")).expect("there");
    machine.disk.put(&path, &other.disk.content(&path).expect("there"));
    let error = refusal(&machine);
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    machine.disk.put(&path, &content);
    machine.disk.put(&dir().join("checkpoint"), &checkpoint);
    assert_eq!(seqs(&read(&open(&machine, &settings).0, Chains::Both)).len(), 10);
}

#[tokio::test]
async fn a_damaged_checkpoint_loses_nothing() {
    let mut machine = Machine::new(7);
    let settings = Settings::default();
    ten(&mut machine, &settings).await;
    machine.disk.flip_bit(&dir().join("checkpoint"), 60, 2);
    let (journal, recovery) = open(&machine, &settings);
    assert!(!recovery.clean);
    assert_eq!(seqs(&read(&journal, Chains::Both)).len(), 10);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    /// The scanner never panics, never invents, and always comes to an end.
    #[test]
    fn any_bytes_in_a_segment_are_read_to_the_end(
        head in proptest::prelude::any::<bool>(),
        pieces in proptest::collection::vec((0_usize..11, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120)), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut machine = Machine::new(8);
        let settings = Settings::default();
        runtime.block_on(ten(&mut machine, &settings));
        let content = machine.disk.content(&segment("regular", 1)).expect("there");
        let starts = frames(&machine);
        // Whole frames in any order, cut short and mixed with anything.
        let mut made = if head { content[..160].to_vec() } else { Vec::new() };
        for (frame, noise) in pieces {
            if let Some(&start) = starts.get(frame) {
                let end = starts.get(frame + 1).copied().unwrap_or(content.len());
                made.extend_from_slice(&content[start..end - noise.len() % 3]);
            }
            made.extend_from_slice(&noise);
        }
        machine.disk.put(&segment("regular", 1), &made);
        let (journal, _) = open(&machine, &settings);
        let mut last = 0;
        for (seq, text) in texts(&read(&journal, Chains::Both)) {
            proptest::prop_assert!(seq > last);
            proptest::prop_assert_eq!(text, seq.to_string());
            last = seq;
        }
    }
}
