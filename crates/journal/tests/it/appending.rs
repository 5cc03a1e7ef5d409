//! What appending promises.

use host::sim::Machine;
use journal::{Chains, Outcome, Settings};

use crate::machine::{alarm, message, open, read, texts};

#[tokio::test]
async fn what_is_appended_is_read_back_from_memory_and_from_the_disk() {
    let mut machine = Machine::new(1);
    let settings = Settings::default();
    let (journal, recovery) = open(&machine, &settings);
    assert!(recovery.clean);
    let batch = vec![message("a", "one"), alarm("a", "fire"), message("b", "two")];
    let outcomes = journal.append(batch.clone()).await.expect("durable");
    // The alarm of a group comes first; the outcomes are in the order of the batch.
    assert_eq!(outcomes, [2, 1, 3].map(Outcome::Appended));
    let expected = vec![(1, "fire".to_owned()), (2, "one".to_owned()), (3, "two".to_owned())];
    assert_eq!(texts(&read(&journal, Chains::Both)), expected);
    journal.close().await;

    machine.restart();
    let (journal, recovery) = open(&machine, &settings);
    assert!(recovery.clean);
    assert_eq!(recovery.last_seq, 3);
    let batches = read(&journal, Chains::Both);
    assert_eq!(texts(&batches), expected);
    let read: Vec<_> = batches.iter().flat_map(|b| b.records.iter()).map(|r| r.message.clone()).collect();
    assert_eq!(read, [batch[1].clone(), batch[0].clone(), batch[2].clone()]);
    assert_eq!(journal.append(vec![message("a", "next")]).await.expect("durable"), [Outcome::Appended(4)]);
}
