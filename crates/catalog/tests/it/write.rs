//! What is written is durable, together, and fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use catalog::{Catalog, GROUP_MAX, QUEUE_MAX, SqlError, WriteError, params};
use futures::FutureExt as _;
use futures::future::join_all;
use model::Kind;

use crate::{PUT, fresh, hold_writer, open, pairs};

async fn put(catalog: &Catalog, key: &str, value: i64) -> Result<usize, WriteError> {
    let key = key.to_owned();
    catalog.write(move |transaction| Ok(transaction.execute(PUT, params![key, value])?)).await
}

#[tokio::test]
async fn a_write_that_was_answered_is_there_when_the_catalog_opens_again() {
    let (catalog, dir) = fresh();
    put(&catalog, "a", 1).await.expect("written");
    // A copy of the files as they are now is what a crash would leave.
    let crashed = tempfile::tempdir().expect("a directory");
    for name in ["catalog.db", "catalog.db-wal"] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).expect("copied");
    }
    assert_eq!(pairs(&open(crashed.path())), [("a".to_owned(), 1)]);
}

#[tokio::test]
async fn a_thousand_waiting_writes_are_one_commit() {
    let (catalog, _dir) = fresh();
    let ran = Arc::new(AtomicUsize::new(0));
    let (answers, answered) = mpsc::channel();
    let held = hold_writer(&catalog);
    const WAITING: usize = 1000;
    const { assert!(WAITING <= GROUP_MAX) };
    for n in 0..WAITING {
        let (ran, seen, answers) = (Arc::clone(&ran), Arc::clone(&ran), answers.clone());
        let op = move |transaction: &catalog::Transaction<'_>| {
            transaction.execute(PUT, params![format!("{n:04}"), n])?;
            ran.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let done = move |result: Result<(), WriteError>| {
            answers.send((n, result, seen.load(Ordering::Relaxed))).expect("the test waits");
        };
        catalog.submit(op, done).expect("taken");
    }
    drop((held, answers));
    let answered: Vec<_> = answered.iter().collect();
    assert_eq!(answered.len(), WAITING);
    for (at, (n, result, ran)) in answered.into_iter().enumerate() {
        assert_eq!((at, result), (n, Ok(())), "answers leave in the order of the operations");
        assert_eq!(ran, WAITING, "nobody is answered before all of the group ran");
    }
    assert_eq!(pairs(&catalog).len(), WAITING);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_many_tasks_at_once_are_all_there() {
    let (catalog, _dir) = fresh();
    let tasks = (0..1000).map(|n| {
        let catalog = catalog.clone();
        tokio::spawn(async move { put(&catalog, &format!("{n:04}"), n).await })
    });
    for task in join_all(tasks).await {
        assert_eq!(task.expect("ends"), Ok(1));
    }
    assert_eq!(pairs(&catalog).iter().map(|(_, value)| value).sum::<i64>(), 999 * 1000 / 2);
}

#[tokio::test]
async fn a_failed_write_fails_alone_and_wholly() {
    let (catalog, _dir) = fresh();
    let held = hold_writer(&catalog);
    let bad = catalog.write(|transaction| {
        transaction.execute(PUT, params!["half", 1])?;
        Ok(transaction.execute(PUT, params!["bad", -1])?)
    });
    let release = async { drop(held) };
    let (before, bad, after, ()) =
        tokio::join!(put(&catalog, "before", 1), bad, put(&catalog, "z", 2), release);
    assert_eq!((before, after), (Ok(1), Ok(1)));
    let error = bad.expect_err("the check forbids it");
    assert!(matches!(error, WriteError::Sql(SqlError::Constraint { .. })), "{error:?}");
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(pairs(&catalog), [("before".to_owned(), 1), ("z".to_owned(), 2)]);
}

#[tokio::test]
async fn an_operation_may_go_on_after_a_statement_that_failed() {
    let (catalog, _dir) = fresh();
    let put = catalog.write(|transaction| {
        assert!(transaction.execute(PUT, params!["a", -1]).is_err());
        Ok(transaction.execute(PUT, params!["a", 1])?)
    });
    assert_eq!(put.await, Ok(1));
}

#[tokio::test]
async fn a_reference_to_nothing_is_refused() {
    let (catalog, _dir) = fresh();
    let orphan =
        catalog.write(|tx| Ok(tx.execute("INSERT INTO notes (key, note) VALUES ('none', 'x')", params![])?));
    assert_eq!(orphan.await.map_err(|error| error.kind()), Err(Kind::Conflict));
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_operation_and_the_writer_goes_on() {
    let (catalog, _dir) = fresh();
    let held = hold_writer(&catalog);
    let panics = catalog.write(|transaction| -> Result<(), WriteError> {
        transaction.execute(PUT, params!["half", 1])?;
        panic!("a bug in a room")
    });
    let (panicked, beside, ()) = tokio::join!(panics, put(&catalog, "beside", 1), async { drop(held) });
    assert_eq!(panicked, Err(WriteError::Panicked { message: "a bug in a room".to_owned() }));
    assert_eq!(beside, Ok(1));

    let after = catalog.write_then(|tx| Ok(tx.execute(PUT, params!["c", 3])?), |_| panic!("a bug after"));
    assert_eq!(after.await, Ok(1), "it is committed, whatever follows");
    put(&catalog, "d", 4).await.expect("the writer goes on");
    let keys: Vec<_> = pairs(&catalog).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["beside", "c", "d"]);
}

#[tokio::test]
async fn a_full_database_refuses_and_takes_again_when_there_is_room() {
    let (catalog, _dir) = fresh();
    put(&catalog, "a", 1).await.expect("written");
    let limit = |pages: u32| {
        catalog.write(move |tx| {
            Ok(tx.query_one(&format!("PRAGMA max_page_count = {pages}"), &[], |_| Ok(()))?)
        })
    };
    limit(1).await.expect("set to what is used");
    let big = |key: &'static str| {
        catalog.write(move |transaction| {
            let insert = "INSERT INTO pairs (key, value, bytes) VALUES ($1, 0, $2)";
            Ok(transaction.execute(insert, params![key, vec![7_u8; 100_000]])?)
        })
    };
    let error = big("b").await.expect_err("full");
    assert!(matches!(error, WriteError::Sql(SqlError::Full { .. })), "{error:?}");
    assert_eq!(error.kind(), Kind::TooMuch);
    assert!(error.hint().is_some_and(|hint| hint.starts_with("make room")));
    assert_eq!(pairs(&catalog), [("a".to_owned(), 1)], "what is there can still be read");
    limit(10_000).await.expect("set");
    assert_eq!(big("b").await, Ok(1));
}

#[tokio::test]
async fn a_read_only_database_says_so() {
    let (catalog, _dir) = fresh();
    catalog.write(|tx| Ok(tx.query_one("PRAGMA query_only = 1", &[], |_| Ok(()))?)).await.expect("set");
    let error = put(&catalog, "a", 1).await.expect_err("read-only");
    assert!(matches!(error, WriteError::Sql(SqlError::ReadOnly { .. })), "{error:?}");
    assert_eq!(error.kind(), Kind::Broken);
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_transaction_that_is_lost_as_a_whole_is_told_to_all_of_it_and_spares_the_rest() {
    let (catalog, _dir) = fresh();
    let held = hold_writer(&catalog);
    // The engine ends a transaction by itself only when the disk fails: here an operation does.
    let ends = catalog.write(|tx| Ok(tx.execute("ROLLBACK", params![])?));
    let release = async { drop(held) };
    let (before, ends, after, ()) = tokio::join!(put(&catalog, "a", 1), ends, put(&catalog, "b", 2), release);
    for lost in [before, ends] {
        assert!(matches!(lost, Err(WriteError::Sql(SqlError::Disk { .. }))), "{lost:?}");
    }
    assert_eq!(after, Ok(1), "it had not run, so it runs in a transaction of its own");
    assert_eq!(pairs(&catalog), [("b".to_owned(), 2)]);
}

#[tokio::test]
async fn what_follows_a_commit_runs_in_order_even_if_the_caller_went_away() {
    let (catalog, _dir) = fresh();
    let (followed, follows) = mpsc::channel();
    let held = hold_writer(&catalog);
    let write = |value: i64| {
        let followed = followed.clone();
        catalog.write_then(
            move |tx| {
                tx.execute(PUT, params!["a", value])?;
                Ok(value)
            },
            move |value| followed.send(*value).expect("the test waits"),
        )
    };
    let mut first = Box::pin(write(1));
    assert!(first.as_mut().now_or_never().is_none(), "handed over, not done");
    drop(first);
    let second = write(2);
    let (second, ()) = tokio::join!(second, async { drop(held) });
    assert_eq!(second, Ok(2));
    assert_eq!(follows.try_iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(pairs(&catalog), [("a".to_owned(), 2)]);
}

#[tokio::test]
async fn the_queue_is_bounded_and_what_it_took_is_answered() {
    let (catalog, _dir) = fresh();
    let answered = Arc::new(AtomicUsize::new(0));
    let held = hold_writer(&catalog);
    let hand_over = || {
        let answered = Arc::clone(&answered);
        catalog.submit(|_| Ok(()), move |_| _ = answered.fetch_add(1, Ordering::Relaxed))
    };
    for _ in 0..QUEUE_MAX {
        hand_over().expect("taken");
    }
    let refused = hand_over().expect_err("full");
    assert_eq!(refused.kind(), Kind::TooMuch);
    drop(held);
    // Waits for room instead of being refused; runs after all who came before.
    put(&catalog, "last", 1).await.expect("written");
    assert_eq!(answered.load(Ordering::Relaxed), QUEUE_MAX);
}

#[tokio::test]
async fn closing_commits_what_waits_refuses_what_comes_and_leaves_one_file() {
    let (catalog, dir) = fresh();
    let held = hold_writer(&catalog);
    let waiting = put(&catalog, "waiting", 1);
    let (waiting, (), ()) = tokio::join!(waiting, catalog.close(), async { drop(held) });
    assert_eq!(waiting, Ok(1));
    let late = put(&catalog, "late", 1).await.expect_err("closed");
    assert_eq!((late.kind(), late), (Kind::Unavailable, WriteError::Closed));
    assert!(catalog.read::<(), catalog::ReadError>(|_| Ok(())).is_err());
    catalog.close().await;
    let files: Vec<_> = std::fs::read_dir(dir.path()).expect("listed").collect();
    assert_eq!(files.len(), 1, "the log is folded in: {files:?}");
    assert_eq!(pairs(&open(dir.path())), [("waiting".to_owned(), 1)]);
}
