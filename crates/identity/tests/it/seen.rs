//! Devices that are merely spoken of.

use identity::{Actor, DeviceState, SEEN_DEVICES_MAX, SEEN_WAITING_MAX, Seen};

use crate::{fresh, name, open};

/// Waits until the writer has done what was handed to it before.
async fn settle(catalog: &catalog::Catalog) {
    catalog.write(|_| Ok(())).await.expect("written");
}

#[tokio::test]
async fn a_device_that_is_spoken_of_is_registered_once_and_known_from_then_on() {
    let (fixture, dir) = fresh();
    let device = name("meter-1");
    assert_eq!(fixture.identity.seen(&device), Seen::New);
    settle(&fixture.catalog).await;
    assert_eq!(fixture.identity.seen(&device), Seen::Known);
    let shown = fixture.identity.device(&device).await.expect("read").expect("there");
    assert_eq!((shown.state(), shown.has_password), (DeviceState::Seen, false));

    fixture.catalog.close().await;
    assert_eq!(open(dir.path()).identity.seen(&device), Seen::Known);
}

#[tokio::test]
async fn a_seen_device_that_is_added_stays_added_and_keeps_its_age() {
    let (fixture, _dir) = fresh();
    let (identity, device) = (&fixture.identity, name("meter-1"));
    identity.seen(&device);
    settle(&fixture.catalog).await;
    let seen = identity.device(&device).await.expect("read").expect("there");
    identity.add_device_with_password(&Actor::inside(), &device).await.expect("added");
    assert_eq!(identity.seen(&device), Seen::Known);
    settle(&fixture.catalog).await;
    let added = identity.device(&device).await.expect("read").expect("there");
    assert_eq!((added.state(), added.created), (DeviceState::Active, seen.created));
}

#[tokio::test]
async fn being_seen_changes_nobodys_rights() {
    let (fixture, _dir) = fresh();
    let changes = fixture.identity.changes();
    fixture.identity.seen(&name("meter-1"));
    settle(&fixture.catalog).await;
    assert!(!changes.has_changed().expect("the register lives"));
}

#[tokio::test]
async fn names_that_wait_are_bounded_taken_together_and_come_again() {
    let (fixture, _dir) = fresh();
    let (release, released) = std::sync::mpsc::channel::<()>();
    fixture
        .catalog
        .submit(
            move |_| {
                // Ends when the sender is dropped.
                let _ = released.recv();
                Ok(())
            },
            |_| {},
        )
        .expect("taken");
    const { assert!(SEEN_WAITING_MAX < SEEN_DEVICES_MAX) };
    let devices: Vec<_> = (0..=SEEN_WAITING_MAX).map(|n| name(&format!("d{n}"))).collect();
    let (last, fit) = devices.split_last().expect("many");
    assert!(fit.iter().all(|device| fixture.identity.seen(device) == Seen::New));
    assert!(
        fit.iter().all(|device| fixture.identity.seen(device) == Seen::New),
        "waiting, not counted twice"
    );
    assert_eq!(fixture.identity.seen(last), Seen::Full);
    drop(release);
    settle(&fixture.catalog).await;
    assert!(fit.iter().all(|device| fixture.identity.seen(device) == Seen::Known));
    assert_eq!(fixture.identity.seen(last), Seen::New);
}

#[tokio::test]
async fn a_name_that_could_not_be_stored_is_not_taken_for_known() {
    let (fixture, _dir) = fresh();
    let only = |on: u8| {
        let sql = format!("PRAGMA query_only = {on}");
        fixture.catalog.write(move |tx| Ok(tx.query_one(&sql, &[], |_| Ok(()))?))
    };
    only(1).await.expect("set");
    let (stored, wait) = tokio::sync::oneshot::channel();
    assert_eq!(fixture.identity.seen(&name("meter-1")), Seen::New);
    fixture.catalog.submit(|_| Ok(()), |_| stored.send(()).expect("waits")).expect("taken");
    wait.await.expect("answered");
    only(0).await.ok();
    assert_eq!(fixture.identity.seen(&name("meter-1")), Seen::New, "it is offered again");
}
