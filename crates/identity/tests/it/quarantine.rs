//! Quarantine, as the register has it.

use identity::policy::Question;
use identity::{Action, Actor, ChangeError, Decision, DeviceState, Reason, Seen};

use crate::{fresh, name, open};

#[tokio::test]
async fn quarantine_lies_over_what_a_device_is_and_its_end_leaves_it_so() {
    let (fixture, dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    identity.add_device(&by, &name("added")).await.expect("added");
    assert_eq!(identity.seen(&name("spoken-of")), Seen::New);
    fixture.catalog.write(|_| Ok(())).await.expect("the writer has done what came before");
    for device in ["added", "spoken-of"] {
        identity.quarantine_device(&by, &name(device), "sends nonsense", None).await.expect("quarantined");
    }
    let first = identity.device(&name("added")).await.expect("read").expect("there");
    assert_eq!(first.state(), DeviceState::Quarantined);
    let again = identity.quarantine_device(&by, &name("added"), "worse", None).await.expect("said again");
    let (was, is) = (first.quarantine.expect("in it"), again.quarantine.expect("in it"));
    assert_eq!((was.since, is.reason.as_str()), (is.since, "worse"));
    fixture.catalog.close().await;

    let identity = &open(dir.path()).identity;
    assert_eq!(identity.state(&name("added")), Some(DeviceState::Quarantined));
    for (device, expect) in [("added", DeviceState::Active), ("spoken-of", DeviceState::Seen)] {
        identity.release_device(&by, &name(device), None).await.expect("released");
        assert_eq!(identity.state(&name(device)), Some(expect));
        let error = identity.release_device(&by, &name(device), None).await.err();
        assert_eq!(error, Some(ChangeError::NotQuarantined(name(device))));
    }
}

#[tokio::test]
async fn a_quarantine_has_a_reason() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    identity.add_device(&by, &name("d")).await.expect("added");
    for reason in ["", "  ", "two\nlines", &"x".repeat(1001)] {
        let error = identity.quarantine_device(&by, &name("d"), reason, None).await.err();
        assert!(matches!(error, Some(ChangeError::Reason { .. })), "{reason:?}");
    }
    assert_eq!(identity.state(&name("d")), Some(DeviceState::Active));
}

#[tokio::test]
async fn a_device_in_quarantine_still_proves_who_it_is() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let password = identity.add_device_with_password(&by, &name("d")).await.expect("added");
    identity.quarantine_device(&by, &name("d"), "odd", None).await.expect("quarantined");
    let who = identity.authenticate(Some("d"), Some(password.reveal().as_bytes())).expect("it may come back");
    assert!(identity.stands(&who), "what it may do is another question");
}

#[tokio::test]
async fn what_is_refused_in_quarantine_says_so_and_who_ends_it() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let password = identity.add_device_with_password(&by, &name("d")).await.expect("added");
    identity.quarantine_device(&by, &name("d"), "sends nonsense", None).await.expect("quarantined");
    let who = identity.authenticate(Some("d"), Some(password.reveal().as_bytes())).expect("it may come back");
    let heard = identity.permissions(&who, "d").may(Action::Publish, "dt/d/x");
    assert_eq!(heard, Decision::Refused(Reason::Quarantined));
    assert_eq!(identity.permissions(&who, "d").may(Action::Publish, "dt/d/diag/x"), Decision::Permitted);
    let question = |topic: &str| Question {
        device: name("d"),
        certificate: None,
        action: Action::Publish,
        topic: topic.to_owned(),
        client_id: None,
        address: None,
        policy: None,
    };
    let answer = identity.why(&question("dt/d/x")).await;
    assert!(!answer.is_permitted);
    assert!(answer.reason.starts_with("`d` is in quarantine since 20"), "{}", answer.reason);
    assert!(answer.reason.ends_with("Z: sends nonsense"), "{}", answer.reason);
    assert!(answer.advice.contains("godwit device release d"), "{}", answer.advice);
    assert!(identity.why(&question("dt/d/diag/x")).await.is_permitted);
    identity.release_device(&by, &name("d"), None).await.expect("released");
    assert!(identity.why(&question("dt/d/x")).await.is_permitted);
}
