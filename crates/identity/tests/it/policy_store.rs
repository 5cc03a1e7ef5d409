//! Policies as they are kept: versions, attachments, what a change does to sessions.

use host::{Disk as _, SystemDisk};
use identity::policy::{Circumstances, Expected, PolicyError, PolicyName, Question, Target};
use identity::{Action, Actor, Decision, Identity, Reason, Who};
use model::GroupPath;
use serde_json::json;

use crate::{fresh, name, open};

fn policy(text: &str) -> PolicyName {
    PolicyName::parse(text.to_owned()).expect("a name")
}

fn allow(resource: &str) -> String {
    let statement = json!({
        "Sid": "Own", "Effect": "Allow", "Action": ["iot:Publish", "iot:Connect"],
        "Resource": [format!("arn:aws:iot:*:*:{resource}"), "arn:aws:iot:*:*:client/*"],
    });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

async fn put(identity: &Identity, name: &str, text: &str) -> u32 {
    let put = identity.put_policy(&Actor::inside(), &policy(name), text, Expected::Anything, true).await;
    put.expect("put").version
}

/// A device with a password, as it speaks.
async fn device(identity: &Identity, device: &str) -> Who {
    let password = identity.add_device_with_password(&Actor::inside(), &name(device)).await.expect("added");
    identity.authenticate(Some(device), Some(password.reveal().as_bytes())).expect("let in")
}

fn may(identity: &Identity, who: &Who, topic: &str) -> Decision {
    identity.permissions(who, "c").may(Action::Publish, topic)
}

#[tokio::test]
async fn an_attached_policy_takes_the_place_of_the_default_one_until_it_is_detached() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let who = device(identity, "d1").await;
    let mut changes = identity.changes();
    changes.mark_unchanged();
    assert_eq!(put(identity, "own", &allow("topic/site/*")).await, 1);
    let target = Target::Device(name("d1"));
    assert!(identity.attach_policy(&by, &policy("own"), &target).await.expect("attached"));
    assert!(!identity.attach_policy(&by, &policy("own"), &target).await.expect("known"), "once is enough");
    assert!(changes.has_changed().expect("open"), "sessions are told");
    assert_eq!(may(identity, &who, "site/x"), Decision::Permitted);
    assert_eq!(may(identity, &who, "dt/d1/x"), Decision::Refused(Reason::NotAllowed));
    // `default` is attached like any other, and then both count.
    identity.attach_policy(&by, &policy("default"), &target).await.expect("attached");
    assert_eq!(may(identity, &who, "site/x"), Decision::Permitted);
    assert_eq!(may(identity, &who, "dt/d1/x"), Decision::Permitted);
    for attached in ["own", "default"] {
        assert!(identity.detach_policy(&by, &policy(attached), &target).await.expect("detached"));
    }
    assert_eq!(may(identity, &who, "site/x"), Decision::Refused(Reason::NotOwnTopic));
    assert_eq!(may(identity, &who, "dt/d1/x"), Decision::Permitted);
}

#[tokio::test]
async fn a_policy_has_five_versions_and_one_that_counts() {
    let (fixture, _dir) = fresh();
    let (identity, by, own) = (&fixture.identity, Actor::inside(), policy("own"));
    let who = device(identity, "d1").await;
    for n in 1..=5 {
        assert_eq!(put(identity, "own", &allow(&format!("topic/v{n}"))).await, n);
    }
    identity.attach_policy(&by, &own, &Target::Device(name("d1"))).await.expect("attached");
    identity.activate_policy(&by, &own, 1, Expected::Active(5)).await.expect("activated");
    assert_eq!(may(identity, &who, "v1"), Decision::Permitted);
    assert_eq!(may(identity, &who, "v5"), Decision::Refused(Reason::NotAllowed));
    // A sixth: the oldest that does not count goes; without activation nothing else changes.
    let sixth =
        identity.put_policy(&by, &own, &allow("topic/v6"), Expected::Active(1), false).await.expect("put");
    assert_eq!((sixth.version, sixth.is_active, sixth.dropped), (6, false, Some(2)));
    assert_eq!(may(identity, &who, "v1"), Decision::Permitted);
    let about = identity.policy(&own).await.expect("known");
    let versions: Vec<u32> = about.versions.iter().map(|(version, _)| *version).collect();
    assert_eq!((about.active, versions), (1, vec![1, 3, 4, 5, 6]));
    let gone = identity.activate_policy(&by, &own, 2, Expected::Anything).await.expect_err("gone");
    assert_eq!(gone.to_string(), "policy `own` has no version 2");
    // Whoever expects something else is told.
    let stale = identity
        .put_policy(&by, &own, &allow("topic/x"), Expected::Active(5), true)
        .await
        .expect_err("stale");
    assert_eq!(stale.to_string(), "version 5 of policy `own` was expected to count; it is version 1");
    let exists =
        identity.put_policy(&by, &own, &allow("topic/x"), Expected::Nothing, true).await.expect_err("exists");
    assert_eq!(exists, PolicyError::Exists(own.clone()));
    assert!(identity.policy_text(&own, Some(3)).await.expect("there").1.contains("topic/v3"));
}

#[tokio::test]
async fn policies_outlive_a_restart_and_lie_sealed_in_the_catalog() {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = open(dir.path());
    let (identity, by) = (&fixture.identity, Actor::inside());
    let password = identity.add_device_with_password(&by, &name("d1")).await.expect("added");
    device(identity, "c1").await;
    put(identity, "own", &allow("topic/hidden-topic/*")).await;
    identity.attach_policy(&by, &policy("own"), &Target::Device(name("d1"))).await.expect("attached");
    identity.set_children(&by, &name("d1"), &[name("c1")]).await.expect("listed");
    fixture.catalog.close().await;
    for file in SystemDisk.list(dir.path()).expect("listed") {
        let bytes = SystemDisk.read(&dir.path().join(&file.name), 1 << 30).expect("read");
        assert!(!bytes.windows(12).any(|part| part == b"hidden-topic"), "a document is not to be found");
    }
    let again = open(dir.path());
    let who = again.identity.authenticate(Some("d1"), Some(password.reveal().as_bytes())).expect("let in");
    assert_eq!(may(&again.identity, &who, "hidden-topic/x"), Decision::Permitted);
    assert_eq!(again.identity.children(&name("d1")).as_ref(), [name("c1")]);
}

#[tokio::test]
async fn what_is_attached_is_not_removed_and_what_is_not_known_not_attached() {
    let (fixture, _dir) = fresh();
    let (identity, by, own) = (&fixture.identity, Actor::inside(), policy("own"));
    device(identity, "d1").await;
    let target = Target::Device(name("d1"));
    let unknown = identity.attach_policy(&by, &own, &target).await.expect_err("unknown");
    assert_eq!(unknown, PolicyError::Unknown(own.clone()));
    put(identity, "own", &allow("topic/x")).await;
    let stranger = Target::Device(name("d9"));
    let unknown = identity.attach_policy(&by, &own, &stranger).await.expect_err("unknown");
    assert_eq!(unknown.to_string(), "there is no `device:d9`");
    identity.attach_policy(&by, &own, &target).await.expect("attached");
    let attached = identity.remove_policy(&by, &own, Expected::Anything).await.expect_err("attached");
    assert_eq!(attached.to_string(), "policy `own` is attached to 1 targets, `device:d1` among them");
    identity.detach_policy(&by, &own, &target).await.expect("detached");
    identity.remove_policy(&by, &own, Expected::Anything).await.expect("removed");
    assert!(identity.policies(None, 10).await.expect("listed").policies.is_empty());
    for n in 0..10 {
        put(identity, &format!("p{n}"), "{}").await;
        identity.attach_policy(&by, &policy(&format!("p{n}")), &target).await.expect("attached");
    }
    put(identity, "p10", "{}").await;
    let full = identity.attach_policy(&by, &policy("p10"), &target).await.expect_err("full");
    assert_eq!(full.to_string(), "`device:d1` has 10 policies; that is the most");
    let default = identity.put_policy(&by, &policy("default"), "{}", Expected::Anything, true).await;
    assert_eq!(default.expect_err("ours"), PolicyError::Default);
}

#[tokio::test]
async fn only_sessions_that_a_change_concerns_are_compiled_again() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let (d1, d2) = (device(identity, "d1").await, device(identity, "d2").await);
    let here = Circumstances::of("c");
    let (of_d1, of_d2) = (identity.permissions_of(&d1, &here), identity.permissions_of(&d2, &here));
    assert!(identity.permissions_again(&d1, &here, &of_d1).is_none(), "nothing changed");
    put(identity, "own", &allow("topic/x")).await;
    identity.attach_policy(&by, &policy("own"), &Target::Device(name("d1"))).await.expect("attached");
    let of_d1 = identity.permissions_again(&d1, &here, &of_d1).expect("it has another policy");
    assert!(of_d1.may(Action::Publish, "x").is_permitted());
    assert!(identity.permissions_again(&d2, &here, &of_d2).is_none(), "it is another's");
    put(identity, "own", &allow("topic/y")).await;
    let of_d1 = identity.permissions_again(&d1, &here, &of_d1).expect("another version");
    assert!(!of_d1.may(Action::Publish, "x").is_permitted());
    identity.set_children(&by, &name("d2"), &[name("d1")]).await.expect("listed");
    assert!(identity.permissions_again(&d1, &here, &of_d1).is_none());
    let of_d2 = identity.permissions_again(&d2, &here, &of_d2).expect("it is a gateway now");
    assert!(of_d2.may(Action::Publish, "dt/d1/x").is_permitted());
    assert!(identity.permissions_again(&Who::anonymous(), &here, &of_d2).is_none());
}

#[tokio::test]
async fn why_names_the_statement_and_what_would_change_it() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    device(identity, "d1").await;
    let ask = |action, topic: &str| Question {
        device: name("d1"),
        certificate: None,
        action,
        topic: topic.to_owned(),
        client_id: None,
        address: None,
        policy: None,
    };
    let answer = identity.why(&ask(Action::Publish, "dt/d1/x")).await;
    let decided = answer.by.expect("a statement");
    assert_eq!(
        (decided.policy.as_str(), decided.statement, decided.sid.as_deref()),
        ("default", 2, Some("SpeakAsItself"))
    );
    assert!(answer.is_permitted && decided.text.contains("dt/${godwit:Device}/*"), "{}", decided.text);
    let answer = identity.why(&ask(Action::Publish, "dt/d2/x")).await;
    assert!(!answer.is_permitted && answer.by.is_none());
    assert!(
        answer.advice.contains("allow `iot:Publish` on `arn:aws:iot:*:*:topic/dt/d2/x`"),
        "{}",
        answer.advice
    );
    let denial = r#"{"Version":"2012-10-17","Statement":{"Sid":"No","Effect":"Deny","Action":"iot:*","Resource":"*"}}"#;
    put(identity, "no", denial).await;
    identity.attach_policy(&by, &policy("no"), &Target::Device(name("d1"))).await.expect("attached");
    let answer = identity.why(&ask(Action::Publish, "dt/d1/x")).await;
    assert_eq!(answer.reason, "a policy denies it");
    assert!(answer.advice.contains("godwit policy detach no --device d1"), "{}", answer.advice);
    let answer = identity.why(&ask(Action::Subscribe, "$aws/unknown/#")).await;
    assert!(answer.reason.contains("reserved"), "{}", answer.reason);
    // A draft is asked about before it is put.
    let (draft, warnings) = identity.draft_policy(&policy("draft"), &allow("topic/new")).expect("a policy");
    assert!(warnings.is_empty());
    let question = Question { policy: Some(draft), ..ask(Action::Publish, "new") };
    assert!(identity.why(&question).await.is_permitted);
}

#[tokio::test]
async fn refusals_are_counted_for_each_device_and_bounded() {
    let (fixture, _dir) = fresh();
    let who = device(&fixture.identity, "d1").await;
    let identity = &fixture.identity;
    assert!(identity.refusals(&name("d1")).is_none());
    identity.refused(&who, Action::Publish, "dt/d2/x");
    identity.refused(&who, Action::Subscribe, &"é".repeat(1_000));
    identity.refused(&Who::anonymous(), Action::Publish, "$aws/x");
    let refused = identity.refusals(&name("d1")).expect("counted");
    assert_eq!(
        (refused.counts.of(Action::Publish), refused.counts.sum(), refused.action),
        (1, 2, Action::Subscribe)
    );
    assert_eq!(refused.topic.chars().count(), 128, "cut");
    assert_eq!(identity.most_refused(5).1, 1);
}

#[tokio::test]
async fn a_policy_of_a_group_counts_for_all_groups_below_it_and_goes_with_whoever_leaves() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let group = |path: &str| GroupPath::parse(path.to_owned()).expect("a path");
    let (room, floor) = (group("hq/floor-17/room-3"), group("hq/floor-17"));
    let who = device(identity, "d1").await;
    identity.add_group(&by, &room).await.expect("made");
    put(identity, "own", &allow("topic/site/*")).await;
    let nowhere = Target::Group(group("hq/floor-18"));
    assert!(identity.attach_policy(&by, &policy("own"), &nowhere).await.is_err(), "no such group");
    identity.attach_policy(&by, &policy("own"), &Target::Group(floor)).await.expect("attached");
    assert_eq!(may(identity, &who, "site/x"), Decision::Refused(Reason::NotOwnTopic));
    identity.move_device(&by, &name("d1"), Some(room.clone()), None).await.expect("moved");
    assert_eq!(may(identity, &who, "site/x"), Decision::Permitted);
    identity.move_device(&by, &name("d1"), Some(group("hq")), None).await.expect("moved");
    assert_eq!(may(identity, &who, "site/x"), Decision::Refused(Reason::NotOwnTopic));
    identity.join_group(&by, &name("d1"), &room, None).await.expect("joined");
    assert_eq!(may(identity, &who, "site/x"), Decision::Permitted);
}

#[tokio::test]
async fn what_was_attached_goes_with_a_device_that_is_removed_and_over_to_one_that_replaces_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = open(dir.path());
    let (identity, by) = (&fixture.identity, Actor::inside());
    for known in ["d1", "d2", "child", "gateway"] {
        device(identity, known).await;
    }
    put(identity, "own", &allow("topic/site/*")).await;
    let target = |device: &str| Target::Device(name(device));
    identity.attach_policy(&by, &policy("own"), &target("d1")).await.expect("attached");
    identity.set_children(&by, &name("d1"), &[name("child")]).await.expect("listed");
    identity.set_children(&by, &name("gateway"), &[name("d1")]).await.expect("listed");
    identity.replace_device(&by, &name("d1"), &name("d2"), None, None).await.expect("replaced");
    let check = |identity: &Identity| {
        assert_eq!(identity.policies_of(&target("d1")), []);
        assert_eq!(identity.policies_of(&target("d2")), [policy("own")]);
        assert_eq!(identity.children(&name("d2")).as_ref(), [name("child")]);
        assert_eq!(identity.children(&name("gateway")).as_ref(), [name("d2")]);
        assert!(identity.children(&name("d1")).is_empty());
    };
    check(identity);
    fixture.catalog.close().await;
    let fixture = open(dir.path());
    let identity = &fixture.identity;
    check(identity);
    identity.remove_device(&by, &name("d2"), None).await.expect("removed");
    assert_eq!(identity.policies_of(&target("d2")), []);
    device(identity, "d2").await;
    assert_eq!(identity.policies_of(&target("d2")), [], "who comes again begins anew");
    assert!(identity.children(&name("gateway")).is_empty());
}
