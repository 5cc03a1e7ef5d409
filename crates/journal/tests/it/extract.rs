//! What a backup takes: one moment of the journal, whatever is written meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host::{Disk, Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use journal::{Chains, Extract, Journal, Settings};

use crate::machine::{alarm, message, read, texts};

fn host() -> Host {
    Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    }
}

fn small() -> Settings {
    // The messages are old, and nothing is to be dropped.
    let keep = std::time::Duration::from_secs(36_500 * 86_400);
    Settings { segment_bytes: 8 * 1024, keep, ..Settings::default() }
}

/// Copies an extract into a directory of its own.
fn copy(extract: &Extract, to: &Path) {
    SystemDisk.create_dir(to).expect("made");
    for segment in &extract.segments {
        let from = segment.open(&SystemDisk).expect("there");
        let mut bytes = vec![0; usize::try_from(segment.bytes()).expect("small")];
        assert_eq!(from.read_at(0, &mut bytes).expect("read"), bytes.len());
        SystemDisk
            .create(&to.join(segment.name()))
            .and_then(|mut file| file.append(&bytes))
            .expect("written");
    }
}

/// The seqs that a journal opened on a copy gives.
fn seqs(dir: &Path) -> Vec<u64> {
    let (journal, recovery) = Journal::open(dir, &small(), &host()).expect("opened");
    assert!(recovery.damage.is_empty() && recovery.torn.is_empty(), "{recovery:?}");
    let batches = read(&journal, Chains::Both);
    let skipped: Vec<_> = batches.iter().flat_map(|batch| batch.skipped.clone()).collect();
    assert!(skipped.is_empty(), "nothing is missing: {skipped:?}");
    texts(&batches).into_iter().map(|(seq, _)| seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extract_is_one_moment_of_both_chains() {
    let home = tempfile::tempdir().expect("a directory");
    let (journal, _) = Journal::open(&home.path().join("journal"), &small(), &host()).expect("a journal");
    let is_done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (journal, is_done) = (journal.clone(), Arc::clone(&is_done));
        tokio::spawn(async move {
            while !is_done.load(Ordering::Relaxed) {
                // Both chains in one group: shown one after the other.
                let batch = vec![alarm("a", "fire"), message("a", "21.5"), message("b", "22.5")];
                journal.append(batch).await.expect("durable");
            }
        })
    };
    for round in 0..20 {
        // A group is half shown for microseconds only: looked for often, it is met.
        for _ in 0..10_000 {
            let extract = journal.extract().expect("a moment");
            let beyond = extract.segments.iter().find(|segment| segment.last_seq() > extract.durable_seq);
            assert!(beyond.is_none(), "nothing beyond {} is in it", extract.durable_seq);
        }
        let before = journal.durable_seq();
        let extract = journal.extract().expect("a moment");
        let to = home.path().join(format!("copy-{round}"));
        copy(&extract, &to);
        assert!(extract.durable_seq >= before, "what was durable before is in it");
        assert_eq!(seqs(&to), (1..=extract.durable_seq).collect::<Vec<_>>(), "all up to it, none beyond");
        tokio::task::yield_now().await;
    }
    is_done.store(true, Ordering::Relaxed);
    writer.await.expect("no panic");
    journal.close().await;

    // The same from the directory alone.
    let at_rest = Extract::at_rest(&home.path().join("journal"), &small(), &host()).expect("readable");
    let to = home.path().join("copy-at-rest");
    copy(&at_rest, &to);
    assert_eq!(seqs(&to), (1..=journal.durable_seq()).collect::<Vec<_>>());
}
