//! Where devices were, and are.

use identity::{
    Actor, AttributeChange, Attributes, ChangeError, DeviceState, Identity, NewDevice, Placement, Seen,
};
use model::{DeviceName, GroupPath, Kind, Timestamp};
use proptest::prelude::*;

use crate::{fresh, name, open, path};

async fn history(identity: &Identity, device: &str) -> Vec<Placement> {
    identity.placements(&name(device)).await.expect("read")
}

/// Placements of one device follow each other without overlap; the last is open if the device is somewhere.
fn assert_is_history(placements: &[Placement], home: Option<&GroupPath>) {
    for (at, placement) in placements.iter().enumerate() {
        let next = placements.get(at + 1);
        assert!(placement.to.is_none_or(|to| to >= placement.from), "{placements:?}");
        assert_eq!(placement.to.is_none(), next.is_none() && home.is_some(), "{placements:?}");
        if let (Some(to), Some(next)) = (placement.to, next) {
            assert!(to <= next.from && placement.from < next.from, "{placements:?}");
        }
    }
    let last = placements.last().filter(|last| last.to.is_none()).map(|last| &last.group);
    assert_eq!(last, home);
}

#[tokio::test]
async fn a_move_ends_one_placement_and_begins_the_next_in_the_same_moment() {
    let (fixture, _dir) = fresh();
    let (identity, by, pump) = (&fixture.identity, Actor::inside(), name("pump-1"));
    for group in ["a", "b"] {
        identity.add_group(&by, &path(group)).await.expect("made");
    }
    identity.add_device(&by, &pump).await.expect("added");
    assert!(history(identity, "pump-1").await.is_empty(), "it is nowhere yet");
    for to in ["a", "b", "b", "a"] {
        identity.move_device(&by, &pump, Some(path(to)), None).await.expect("moved");
    }
    let there = history(identity, "pump-1").await;
    assert_eq!(there.iter().map(|one| one.group.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
    assert!(there.windows(2).all(|two| two[0].to == Some(two[1].from)), "{there:?}");
    assert_is_history(&there, Some(&path("a")));
    identity.move_device(&by, &pump, None, None).await.expect("moved");
    assert_is_history(&history(identity, "pump-1").await, None);
}

#[tokio::test]
async fn a_device_that_replaces_another_is_where_that_was_from_the_same_moment_on() {
    let (fixture, dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    for group in ["hq/room", "store", "trial"] {
        identity.add_group(&by, &path(group)).await.expect("made");
    }
    let attributes = Attributes::new([("serial", "1"), ("floor", "3")]).expect("two");
    let old = NewDevice { name: name("old"), group: Some(path("hq/room")), attributes, if_version: None };
    let password = identity.add_device_with_password(&by, old).await.expect("added");
    identity.join_group(&by, &name("old"), &path("trial"), None).await.expect("joined");
    let attributes = Attributes::new([("serial", "2")]).expect("one");
    let new = NewDevice { name: name("new"), group: Some(path("store")), attributes, if_version: None };
    identity.add_device(&by, new).await.expect("added");

    let who = identity.authenticate(Some("old"), Some(password.reveal().as_bytes())).expect("right");
    let mut changes = identity.changes();
    changes.mark_unchanged();
    let now = identity.replace_device(&by, &name("old"), &name("new"), None, None).await.expect("replaced");
    assert!(changes.has_changed().expect("alive"));
    assert!(!identity.stands(&who), "its session is cut");
    assert!(identity.authenticate(Some("old"), Some(password.reveal().as_bytes())).is_err());
    assert_eq!((now.name.as_str(), now.group.as_deref()), ("new", Some("hq/room")));
    assert_eq!(now.memberships, [path("trial")]);
    let attributes: Vec<_> = now.attributes.iter().collect();
    assert_eq!(attributes, [("floor", "3"), ("serial", "2")], "its own serial number is its own");

    let check = async |identity: &Identity| {
        let old = identity.device(&name("old")).await.expect("read").expect("its name stays");
        assert_eq!((old.state(), old.has_password), (DeviceState::Removed, false));
        assert_eq!(old.removal.and_then(|removal| removal.successor), Some(name("new")));
        let (before, after) = (history(identity, "old").await, history(identity, "new").await);
        let of_place: Vec<_> =
            before.iter().chain(&after).filter(|one| one.group == path("hq/room")).collect();
        assert_eq!(of_place.len(), 2);
        assert_eq!(of_place[0].to, Some(of_place[1].from), "the place was never empty");
        assert_is_history(&before, None);
        assert_is_history(&after, Some(&path("hq/room")));
    };
    check(identity).await;
    fixture.catalog.close().await;
    check(&open(dir.path()).identity).await;
}

#[tokio::test]
async fn what_cannot_be_replaced_is_said_and_nothing_changes() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    identity.add_device(&by, &name("a")).await.expect("added");
    let replace = async |old: &str, new: &str| {
        identity.replace_device(&by, &name(old), &name(new), None, None).await.err()
    };
    assert_eq!(replace("a", "a").await, Some(ChangeError::Itself(name("a"))));
    assert_eq!(replace("ghost", "b").await, Some(ChangeError::Unknown(name("ghost"))));
    for own in ["local", "godwit"] {
        assert_eq!(replace("a", own).await, Some(ChangeError::Reserved(name(own))));
    }
    assert_eq!(identity.device(&name("b")).await, Ok(None));
    assert_eq!(replace("a", "b").await, None, "a new one is added");
    assert_eq!(replace("a", "c").await, Some(ChangeError::Removed(name("a"))), "it is replaced once");
    assert_eq!(identity.device(&name("c")).await, Ok(None));
}

#[tokio::test]
async fn a_device_that_was_removed_keeps_its_history_and_can_come_back() {
    let (fixture, _dir) = fresh();
    let (identity, by, pump) = (&fixture.identity, Actor::inside(), name("pump-1"));
    identity.add_group(&by, &path("a")).await.expect("made");
    let new = NewDevice { group: Some(path("a")), ..NewDevice::from(&pump) };
    let password = identity.add_device_with_password(&by, new.clone()).await.expect("added");
    identity.remove_device(&by, &pump, None).await.expect("removed");
    assert!(identity.authenticate(Some("pump-1"), Some(password.reveal().as_bytes())).is_err());
    let error = identity.set_password(&by, &pump, None).await.expect_err("it was removed");
    assert_eq!((error.kind(), error), (Kind::Conflict, ChangeError::Removed(pump.clone())));
    assert_is_history(&history(identity, "pump-1").await, None);
    assert!(identity.groups_of(&pump).is_empty());

    // Spoken of again it was seen again; added again it is active again, and where it was stays known.
    assert_eq!(identity.seen(&pump), Seen::New);
    fixture.catalog.write(|_| Ok(())).await.expect("the writer has done what came before");
    assert_eq!(identity.state(&pump), Some(DeviceState::Seen));
    let again = identity.add_device_with_password(&by, new).await.expect("added again");
    assert_ne!(again.reveal(), password.reveal());
    assert_eq!(identity.state(&pump), Some(DeviceState::Active));
    assert_eq!(history(identity, "pump-1").await.len(), 2);
}

/// A step of a life.
#[derive(Debug, Clone)]
enum Step {
    Add(u8, Option<u8>),
    Move(u8, Option<u8>),
    Replace(u8, u8),
    Remove(u8),
    Set(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (device, group) = (0..4_u8, proptest::option::of(0..3_u8));
    prop_oneof![
        (device.clone(), group.clone()).prop_map(|(device, group)| Step::Add(device, group)),
        (device.clone(), group).prop_map(|(device, group)| Step::Move(device, group)),
        (device.clone(), device.clone()).prop_map(|(old, new)| Step::Replace(old, new)),
        device.clone().prop_map(Step::Remove),
        device.prop_map(Step::Set),
    ]
}

async fn walk(steps: Vec<Step>) {
    let (fixture, dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let device = |n: u8| name(&format!("d{n}"));
    let group = |n: Option<u8>| n.map(|n| path(&format!("g{n}")));
    for n in 0..3 {
        identity.add_group(&by, &path(&format!("g{n}"))).await.expect("made");
    }
    for step in steps {
        // A refusal is an answer too.
        let _ = match step {
            Step::Add(n, to) => {
                let new = NewDevice { group: group(to), ..NewDevice::from(&device(n)) };
                identity.add_device(&by, new).await
            }
            Step::Move(n, to) => identity.move_device(&by, &device(n), group(to), None).await,
            Step::Replace(old, new) => {
                identity.replace_device(&by, &device(old), &device(new), None, None).await
            }
            Step::Remove(n) => identity.remove_device(&by, &device(n), None).await,
            Step::Set(n) => {
                let set = Attributes::new([("k", n.to_string())]).expect("one");
                let change = AttributeChange { set, remove: vec![] };
                identity.set_attributes(&by, &device(n), change, None).await
            }
        };
    }
    let shown = async |identity: &Identity| {
        let mut shown = Vec::new();
        for n in 0..4 {
            let device: DeviceName = device(n);
            let row = identity.device(&device).await.expect("read");
            assert_eq!(
                identity.state(&device),
                row.as_ref().map(identity::Device::state),
                "memory is the catalog"
            );
            let home = row.as_ref().and_then(|row| row.group.clone());
            assert_eq!(identity.groups_of(&device), home.iter().cloned().collect::<Vec<_>>());
            let placements = identity.placements(&device).await.expect("read");
            assert_is_history(&placements, home.as_ref());
            shown.push((row, identity.attributes(&device), placements));
        }
        shown
    };
    let live = shown(identity).await;
    fixture.catalog.close().await;
    assert_eq!(live, shown(&open(dir.path()).identity).await, "as after a restart");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_done_memory_is_the_catalog_and_placements_do_not_overlap(
        steps in proptest::collection::vec(step(), 0..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(walk(steps));
    }
}

#[tokio::test]
async fn the_clock_may_be_set_back() {
    let machine = host::sim::Machine::new(1);
    let dir = tempfile::tempdir().expect("a directory");
    let host = machine.host();
    let real = crate::host();
    // Time is simulated; SQLite's own file is on the disk.
    let host = host::Host { disk: real.disk.clone(), ..host };
    let catalog = catalog::Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host)
        .expect("opened");
    let identity = Identity::open(catalog, host).expect("read");
    let (by, pump) = (Actor::inside(), name("pump-1"));
    for group in ["a", "b"] {
        identity.add_group(&by, &path(group)).await.expect("made");
    }
    identity.add_device(&by, &pump).await.expect("added");
    for (at, group) in [(5_000_000, "a"), (1_000_000, "b"), (1_000_000, "a")] {
        machine.clock.set(Timestamp::from_micros(at));
        identity.move_device(&by, &pump, Some(path(group)), None).await.expect("moved");
    }
    let there = identity.placements(&pump).await.expect("read");
    assert_eq!(there.len(), 3);
    assert_is_history(&there, Some(&path("a")));
}

#[tokio::test]
async fn what_was_not_there_when_it_was_judged_is_neither_added_nor_put_in_a_place() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    identity.add_group(&by, &path("a")).await.expect("made");
    let old = NewDevice { group: Some(path("a")), ..NewDevice::from(&name("old")) };
    identity.add_device(&by, old).await.expect("added");
    let expecting = |if_version| NewDevice { if_version, ..NewDevice::from(&name("new")) };
    let early = identity.add_device(&by, expecting(Some(3))).await;
    assert!(matches!(early, Err(ChangeError::Stale { expected: 3, .. })), "{early:?}");
    let new = identity.add_device(&by, expecting(Some(0))).await.expect("nobody knew it");
    let stale = identity.add_device_with_password(&by, expecting(Some(0))).await;
    assert!(matches!(stale, Err(ChangeError::Stale { expected: 0, .. })), "it came in between");
    let replace = async |if_new| identity.replace_device(&by, &name("old"), &name("new"), None, if_new).await;
    for seen in [0, new.version + 1] {
        assert!(matches!(replace(Some(seen)).await, Err(ChangeError::Stale { .. })), "{seen}");
    }
    let password = identity.set_password(&by, &name("new"), Some(new.version + 1)).await;
    assert!(matches!(password, Err(ChangeError::Stale { .. })));
    let done = replace(Some(new.version)).await.expect("as it was seen");
    assert_eq!(done.group, Some(path("a")));
}
