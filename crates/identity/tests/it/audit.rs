//! Laws of the audit log: nothing is changed, removed, moved or cut off without being named.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use identity::{Actor, AuditFilter, AuditPage, Fault, Outcome, Verdict, Who};
use journal::Journal;

use crate::house::House;
use crate::{Fixture, host, name, open};

/// A log of ten entries, anchored at the sixth and the tenth, in a directory that was closed well.
async fn log_of_ten() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = open(dir.path());
    let journal = open_journal(dir.path());
    for n in 1..=10 {
        fixture.identity.add_device(&Actor::inside(), &name(&format!("pump-{n}"))).await.expect("added");
        if n == 6 || n == 10 {
            fixture.identity.anchor_audit(&journal).await.expect("anchored");
        }
    }
    let verdict = fixture.identity.verify_audit(&journal).await.expect("read");
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!((verdict.entries, verdict.anchors, verdict.anchored), (10, 2, Some(10)));
    fixture.catalog.close().await;
    journal.close().await;
    dir
}

fn open_journal(dir: &Path) -> Journal {
    Journal::open(&dir.join("journal"), &journal::Settings::default(), &host()).expect("a journal").0
}

/// What somebody with the database file and another program can do.
fn by_hand(dir: &Path, sql: &str) {
    let python =
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()";
    let done = Command::new("python3").args(["-c", python]).arg(dir.join("catalog.db")).arg(sql).output();
    let done = done.expect("python3 is there");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn verify(dir: &Path) -> Verdict {
    let fixture = open(dir);
    let journal = open_journal(dir);
    let verdict = fixture.identity.verify_audit(&journal).await.expect("read");
    fixture.catalog.close().await;
    journal.close().await;
    verdict
}

#[tokio::test]
async fn any_edit_of_an_entry_is_named_by_its_number() {
    for (column, value) in [
        ("at", "at + 1"),
        ("actor", "'user:somebody-else'"),
        ("address", "'10.0.0.9'"),
        ("action", "'device.remove'"),
        ("object", "'device:pump-11'"),
        ("before", "'{}'"),
        ("after", "'{\"state\":\"seen\"}'"),
        ("outcome", "'refused'"),
    ] {
        let dir = log_of_ten().await;
        by_hand(dir.path(), &format!("UPDATE audit SET {column} = {value} WHERE number = 4"));
        assert_eq!(verify(dir.path()).await.faults, [Fault::Changed { number: 4 }], "{column}");
    }
    let dir = log_of_ten().await;
    by_hand(dir.path(), "UPDATE audit SET hash = zeroblob(32) WHERE number = 6");
    let faults = verify(dir.path()).await.faults;
    let named =
        [Fault::Changed { number: 6 }, Fault::NotAnchored { number: 6 }, Fault::Changed { number: 7 }];
    assert_eq!(faults, named, "what follows hangs on it");
}

#[tokio::test]
async fn an_entry_that_is_removed_moved_or_put_in_is_named() {
    let dir = log_of_ten().await;
    by_hand(dir.path(), "DELETE FROM audit WHERE number IN (3, 7, 8)");
    let faults = verify(dir.path()).await.faults;
    assert_eq!(faults, [Fault::Missing { from: 3, to: 3 }, Fault::Missing { from: 7, to: 8 }]);

    let dir = log_of_ten().await;
    let swap = "UPDATE audit SET number = -1 WHERE number = 4; UPDATE audit SET number = 4 WHERE number = 5;
        UPDATE audit SET number = 5 WHERE number = -1;";
    by_hand(dir.path(), swap);
    let faults = verify(dir.path()).await.faults;
    assert_eq!(faults[..2], [Fault::Changed { number: 4 }, Fault::Changed { number: 5 }]);

    let dir = log_of_ten().await;
    by_hand(dir.path(), "DELETE FROM audit WHERE number = 1");
    assert_eq!(verify(dir.path()).await.faults, [Fault::Missing { from: 1, to: 1 }]);

    let dir = log_of_ten().await;
    let forged = "INSERT INTO audit SELECT 11, at, actor, address, action, 'device:forged', before, after, outcome, hash
        FROM audit WHERE number = 10";
    by_hand(dir.path(), forged);
    assert_eq!(verify(dir.path()).await.faults, [Fault::Changed { number: 11 }]);
}

#[tokio::test]
async fn a_tail_that_is_cut_off_is_missed_by_the_journal() {
    let dir = log_of_ten().await;
    by_hand(dir.path(), "DELETE FROM audit WHERE number > 8");
    assert_eq!(verify(dir.path()).await.faults, [Fault::CutOff { from: 9, to: 10 }]);

    // Even when the log goes on, and its chain is right in itself.
    let fixture = open(dir.path());
    for n in 9..=12 {
        fixture.identity.add_device(&Actor::inside(), &name(&format!("other-{n}"))).await.expect("added");
    }
    fixture.catalog.close().await;
    let faults = verify(dir.path()).await.faults;
    assert_eq!(faults, [Fault::NotAnchored { number: 10 }]);

    let dir = log_of_ten().await;
    by_hand(dir.path(), "DELETE FROM audit");
    assert_eq!(verify(dir.path()).await.faults, [Fault::CutOff { from: 1, to: 10 }]);
}

#[tokio::test]
async fn what_a_client_says_on_the_anchors_topic_is_no_anchor() {
    let dir = log_of_ten().await;
    let journal = open_journal(dir.path());
    let topic = model::TopicName::parse("$godwit/audit").expect("a topic");
    let payload = format!("{{\"number\": 99, \"hash\": \"{}\"}}", "0".repeat(64));
    let mut stranger = model::Origin::inside(1);
    stranger.principal = model::Principal::Anonymous;
    let said = model::Message { lane: model::Lane::Control, ..model::Message::new(topic, payload, stranger) };
    journal.append(vec![said]).await.expect("appended");
    journal.close().await;
    assert!(verify(dir.path()).await.is_sound());
}

#[tokio::test]
async fn pages_and_filters_show_every_entry_once() {
    let dir = log_of_ten().await;
    let Fixture { identity, .. } = open(dir.path());
    let page = |after, limit, is_oldest_first| AuditPage { is_oldest_first, after, limit };
    for is_oldest_first in [true, false] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let asked = identity.audit(AuditFilter::default(), page(after, 3, is_oldest_first)).await;
            let (entries, next) = asked.expect("read");
            seen.extend(entries.iter().map(|entry| entry.number));
            after = next;
            if next.is_none() {
                break;
            }
        }
        if !is_oldest_first {
            seen.reverse();
        }
        assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    }
    let filter = AuditFilter { object: "device:pump-1".to_owned(), ..AuditFilter::default() };
    let (found, _) = identity.audit(filter, page(None, 100, true)).await.expect("read");
    let objects: Vec<&str> = found.iter().map(|entry| entry.object.as_str()).collect();
    assert_eq!(objects, ["device:pump-1", "device:pump-10"], "names that begin so");
    let filter = AuditFilter { outcome: Some(Outcome::Refused), ..AuditFilter::default() };
    assert!(identity.audit(filter, page(None, 100, true)).await.expect("read").0.is_empty());
}

#[tokio::test]
async fn a_flood_of_refusals_is_some_entries_with_counts_and_none_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = open(dir.path());
    let stranger = Actor::of(&Who::anonymous(), "192.0.2.1".parse().ok());
    for n in 0..10_000 {
        let object = format!("user:u{}", n % 1_000);
        fixture.identity.notice(&stranger, "user.login", object, Outcome::Refused, None);
    }
    fixture.identity.close();
    let page = AuditPage { is_oldest_first: true, after: None, limit: 1_000 };
    fixture.catalog.close().await;
    let (entries, _) = open(dir.path()).identity.audit(AuditFilter::default(), page).await.expect("read");
    assert!(entries.len() <= 70, "{} entries", entries.len());
    let told: u64 = entries
        .iter()
        .map(|entry| {
            let after: Option<serde_json::Value> =
                entry.after.as_deref().and_then(|text| serde_json::from_str(text).ok());
            after.and_then(|after| after["more"].as_u64()).unwrap_or(1)
        })
        .sum();
    assert_eq!(told, 10_000);
    assert!(entries.iter().all(|entry| entry.outcome == "refused"));
}

const DAY: Duration = Duration::from_secs(86_400);

/// Changes the log by hand.
async fn meddle(house: &House, sql: String) {
    let write =
        move |transaction: &catalog::Transaction<'_>| Ok(transaction.execute(&sql, catalog::params![])?);
    house.catalog.write(write).await.expect("written");
}

#[tokio::test]
async fn what_is_too_old_is_cut_off_and_the_rest_hangs_on_the_entry_that_says_so() {
    let house = House::open().await;
    let (journal, _) =
        Journal::open(&house.path().join("journal"), &journal::Settings::default(), &house.host)
            .expect("opened");
    let identity = &house.identity;
    let grow = async |of: &str| {
        for n in 1..=5 {
            identity.add_device(&Actor::inside(), &name(&format!("{of}-{n}"))).await.expect("added");
        }
        identity.anchor_audit(&journal).await.expect("anchored");
        identity.audit_head().await.expect("read").0
    };
    let old = grow("old").await;
    let cut = async |days: u32| identity.cut_audit(days * DAY, &journal).await.expect("cut");
    assert_eq!(cut(30).await, None, "nothing is old");
    house.pass(20 * DAY);
    let young = grow("young").await;
    house.pass(20 * DAY);
    assert_eq!(cut(41).await, None);
    assert_eq!(cut(30).await, Some((1, old)));
    assert_eq!(cut(30).await, None, "what is left is young");

    let verify = async |identity: &identity::Identity| identity.verify_audit(&journal).await.expect("read");
    let verdict = verify(identity).await;
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!(
        (verdict.cut, verdict.entries),
        (old, young - old + 1),
        "what is left, and the entry of the cut"
    );
    let page = AuditPage { is_oldest_first: false, after: None, limit: 1 };
    let (newest, _) = identity.audit(AuditFilter::default(), page).await.expect("read");
    let told: serde_json::Value =
        serde_json::from_str(newest[0].after.as_deref().expect("said")).expect("JSON");
    assert_eq!(
        (newest[0].action.as_str(), &told["from"], &told["to"]),
        ("audit.cut", &1.into(), &old.into())
    );

    // A second cut follows the first, and one that takes everything leaves the last entry.
    house.pass(60 * DAY);
    assert_eq!(cut(30).await, Some((old + 1, young)));
    assert!(verify(identity).await.is_sound());
    grow("third").await;

    // After a restart it is known what was cut.
    let again = identity::Identity::open(house.catalog.clone(), house.host.clone()).expect("read");
    again.anchor_audit(&journal).await.expect("anchored");
    assert!(verify(&again).await.is_sound());

    // Somebody takes more away, and says that it was a cut of ours: the journal knows better, and the next start too.
    let hash = {
        let page = AuditPage { is_oldest_first: true, after: None, limit: 1 };
        let (oldest, _) = identity.audit(AuditFilter::default(), page).await.expect("read");
        assert_eq!(oldest[0].number, young + 1);
        oldest[0].hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    meddle(&house, format!("DELETE FROM audit WHERE number = {}", young + 1)).await;
    let missing = [Fault::Missing { from: 1, to: young + 1 }];
    assert_eq!(verify(identity).await.faults, missing);
    let forged = serde_json::json!({ "from": young + 1, "to": young + 1, "hash": hash });
    let inside = Actor::inside();
    identity.note(&inside, "audit.cut", "audit".to_owned(), Some(forged)).await.expect("written");
    assert_eq!(verify(identity).await.faults, missing);
    let again = identity::Identity::open(house.catalog.clone(), house.host.clone()).expect("read");
    again.anchor_audit(&journal).await.expect("anchored");
    assert_eq!(verify(&again).await.faults, missing, "a start makes nothing good");
}

#[tokio::test]
async fn a_cut_that_was_changed_is_named() {
    let house = House::open().await;
    let (journal, _) =
        Journal::open(&house.path().join("journal"), &journal::Settings::default(), &house.host)
            .expect("opened");
    for of in ["old", "young"] {
        house.identity.add_device(&Actor::inside(), &name(of)).await.expect("added");
        house.pass(20 * DAY);
    }
    let (from, to) =
        house.identity.cut_audit(30 * DAY, &journal).await.expect("cut").expect("something is old");
    assert_eq!((from, to + 1), (1, house.identity.audit_head().await.expect("read").0 - 1));
    meddle(
        &house,
        "UPDATE audit SET after = replace(after, '\"hash\":\"', '\"hash\":\"00') WHERE action = 'audit.cut'"
            .to_owned(),
    )
    .await;
    let verdict = house.identity.verify_audit(&journal).await.expect("read");
    assert_eq!(verdict.faults, [Fault::Changed { number: to + 2 }, Fault::Missing { from: 1, to }]);
}
