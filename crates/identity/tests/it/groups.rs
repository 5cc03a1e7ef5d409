//! Groups, and who is in them.

use identity::{
    Actor, AttributeChange, Attributes, ChangeError, DeviceFilter, Identity, MEMBERSHIPS_MAX, NewDevice, Page,
};
use model::{DeviceName, GroupPath, Kind};

use crate::{fresh, name, open, path};

async fn with_groups(identity: &Identity, groups: &[&str]) {
    for group in groups {
        identity.add_group(&Actor::inside(), &path(group)).await.expect("made");
    }
}

fn texts(groups: &[GroupPath]) -> Vec<&str> {
    groups.iter().map(GroupPath::as_str).collect()
}

fn new(text: &str, group: &str) -> NewDevice {
    NewDevice { group: Some(path(group)), ..NewDevice::from(&name(text)) }
}

#[tokio::test]
async fn a_group_is_made_with_all_it_is_in_and_once() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let made = identity.add_group(&by, &path("hq/floor-17/room-3")).await.expect("made");
    assert_eq!(texts(&made), ["hq", "hq/floor-17", "hq/floor-17/room-3"]);
    let made = identity.add_group(&by, &path("hq/floor-17/room-4")).await.expect("made");
    assert_eq!(texts(&made), ["hq/floor-17/room-4"]);
    let again = identity.add_group(&by, &path("hq")).await.expect_err("made before");
    assert_eq!((again.kind(), again.to_string().as_str()), (Kind::Conflict, "group `hq` exists already"));
}

#[tokio::test]
async fn a_device_is_in_its_home_and_its_memberships_and_all_they_are_in() {
    let (fixture, dir) = fresh();
    let (identity, by, pump) = (&fixture.identity, Actor::inside(), name("pump-1"));
    with_groups(identity, &["hq/floor-17/room-3", "trial/a", "hq/roof"]).await;
    identity.add_device(&by, new("pump-1", "hq/floor-17/room-3")).await.expect("added");
    identity.join_group(&by, &pump, &path("trial/a"), None).await.expect("joined");
    identity.join_group(&by, &pump, &path("hq/roof"), None).await.expect("joined");
    let change = AttributeChange { set: Attributes::new([("model", "TX")]).expect("some"), remove: vec![] };
    identity.set_attributes(&by, &pump, change, None).await.expect("set");
    let check = |identity: &Identity| {
        let expect = ["hq/floor-17/room-3", "hq/floor-17", "hq", "hq/roof", "trial/a", "trial"];
        assert_eq!(texts(&identity.groups_of(&pump)), expect);
        assert_eq!(identity.attributes(&pump).get("model"), Some("TX"));
    };
    check(identity);
    assert!(identity.groups_of(&name("nobody")).is_empty());
    fixture.catalog.close().await;
    let again = open(dir.path());
    check(&again.identity);

    // What ends is not there any more, at once.
    let identity = &again.identity;
    identity.leave_group(&by, &pump, &path("trial/a"), None).await.expect("left");
    let remove = AttributeChange { remove: vec!["model".to_owned()], ..AttributeChange::default() };
    identity.set_attributes(&by, &pump, remove, None).await.expect("set");
    identity.move_device(&by, &pump, None, None).await.expect("moved");
    assert_eq!(texts(&identity.groups_of(&pump)), ["hq/roof", "hq"]);
    assert!(identity.attributes(&pump).is_empty());
    let error = identity.leave_group(&by, &pump, &path("trial/a"), None).await.expect_err("left before");
    assert_eq!(error.to_string(), "device `pump-1` is no member of `trial/a`");
}

#[tokio::test]
async fn every_change_of_a_device_moves_changes_and_raises_its_version_by_one() {
    let (fixture, _dir) = fresh();
    let (identity, by, pump) = (&fixture.identity, Actor::inside(), name("pump-1"));
    with_groups(identity, &["a", "b"]).await;
    let added = identity.add_device(&by, new("pump-1", "a")).await.expect("added");
    assert_eq!(added.version, 1);
    let mut changes = identity.changes();
    let set = || AttributeChange { set: Attributes::new([("k", "v")]).expect("one"), remove: vec![] };
    let mut version = 1;
    macro_rules! moves {
        ($change:expr) => {
            changes.mark_unchanged();
            version += 1;
            let changed = $change.await.expect("changed");
            assert_eq!(changed.version, version, stringify!($change));
            assert!(changes.has_changed().expect("alive"), stringify!($change));
        };
    }
    moves!(identity.set_attributes(&by, &pump, set(), None));
    moves!(identity.move_device(&by, &pump, Some(path("b")), Some(2)));
    moves!(identity.join_group(&by, &pump, &path("a"), None));
    moves!(identity.leave_group(&by, &pump, &path("a"), None));
    moves!(identity.quarantine_device(&by, &pump, "odd", None));
    moves!(identity.release_device(&by, &pump, None));

    let same = identity.move_device(&by, &pump, Some(path("b")), None).await.expect("there already");
    assert_eq!(same.version, version, "what changes nothing raises nothing");
    let stale = identity.move_device(&by, &pump, None, Some(3)).await.expect_err("changed meanwhile");
    assert_eq!(
        (stale.kind(), stale.to_string().as_str()),
        (Kind::Conflict, "device `pump-1` was changed meanwhile: it has version 7, not 3")
    );
    assert_eq!(identity.device(&pump).await.expect("read").expect("there").group, Some(path("b")));
    moves!(identity.remove_device(&by, &pump, Some(7)));
}

#[tokio::test]
async fn a_group_that_is_used_is_not_removed() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    with_groups(identity, &["hq/a", "hq-2"]).await;
    identity.add_device(&by, new("d1", "hq/a")).await.expect("added");
    identity.add_device(&by, &name("d2")).await.expect("added");
    identity.join_group(&by, &name("d2"), &path("hq/a"), None).await.expect("joined");
    let error = identity.remove_group(&by, &path("hq")).await.expect_err("in use");
    assert_eq!(
        error.to_string(),
        "group `hq` is in use: 1 devices, 1 members, 1 groups below it",
        "`hq-2` is not below `hq`"
    );
    identity.remove_device(&by, &name("d1"), None).await.expect("removed");
    identity.remove_device(&by, &name("d2"), None).await.expect("removed");
    identity.remove_group(&by, &path("hq/a")).await.expect("nobody is in it");
    identity.remove_group(&by, &path("hq")).await.expect("nobody is in it");
    assert_eq!(
        identity.remove_group(&by, &path("hq")).await,
        Err(ChangeError::UnknownGroup(path("hq"))),
        "gone"
    );
    let left = identity.groups(None, None, 10).await.expect("read");
    assert_eq!(left.groups.iter().map(|group| group.path.as_str()).collect::<Vec<_>>(), ["hq-2"]);
}

#[tokio::test]
async fn an_unknown_group_takes_nobody_in_and_changes_nothing() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let unknown = || Some(ChangeError::UnknownGroup(path("hq/flor-17")));
    assert_eq!(identity.add_device(&by, new("d1", "hq/flor-17")).await.err(), unknown());
    assert_eq!(identity.device(&name("d1")).await, Ok(None));
    assert_eq!(identity.add_device_with_password(&by, new("d1", "hq/flor-17")).await.err(), unknown());
    assert_eq!(identity.device(&name("d1")).await, Ok(None));
    identity.add_device(&by, &name("d1")).await.expect("added");
    assert_eq!(identity.move_device(&by, &name("d1"), Some(path("hq/flor-17")), None).await.err(), unknown());
    assert_eq!(identity.join_group(&by, &name("d1"), &path("hq/flor-17"), None).await.err(), unknown());
    let error = identity.move_device(&by, &name("ghost"), None, None).await.err();
    assert_eq!(error, Some(ChangeError::Unknown(name("ghost"))));
}

#[tokio::test]
async fn memberships_are_bounded() {
    let (fixture, _dir) = fresh();
    let (identity, by, d1) = (&fixture.identity, Actor::inside(), name("d1"));
    identity.add_device(&by, &d1).await.expect("added");
    for n in 0..MEMBERSHIPS_MAX {
        let group = path(&format!("g{n}"));
        identity.add_group(&by, &group).await.expect("made");
        identity.join_group(&by, &d1, &group, None).await.expect("joined");
    }
    identity.add_group(&by, &path("more")).await.expect("made");
    let error = identity.join_group(&by, &d1, &path("more"), None).await.err();
    assert_eq!(error, Some(ChangeError::TooManyMemberships(d1.clone())));
    identity.join_group(&by, &d1, &path("g0"), None).await.expect("it is a member already");
}

#[tokio::test]
async fn a_page_is_of_those_that_every_filter_wants() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    with_groups(identity, &["hq/a", "hq/b", "trial"]).await;
    for n in 0..30 {
        let group = path(if n % 2 == 0 { "hq/a" } else { "hq/b" });
        let attributes = Attributes::new([("third", (n % 3 == 0).to_string())]).expect("one");
        let name = name(&format!("d-{n:02}"));
        identity
            .add_device(&by, NewDevice { name, group: Some(group), attributes, if_version: None })
            .await
            .expect("added");
    }
    identity.join_group(&by, &name("d-01"), &path("trial"), None).await.expect("joined");
    identity.quarantine_device(&by, &name("d-03"), "odd", None).await.expect("quarantined");
    identity.remove_device(&by, &name("d-05"), None).await.expect("removed");
    let ask = async |filter: DeviceFilter| {
        let page = Page { limit: 1000, ..Page::default() };
        let found = identity.devices(filter, page).await.expect("read");
        found.devices.into_iter().map(|device| device.name).collect::<Vec<DeviceName>>()
    };
    let all = DeviceFilter::default;
    assert_eq!(ask(all()).await.len(), 29, "removed ones are not listed");
    assert_eq!(ask(DeviceFilter { group: Some(path("hq")), ..all() }).await.len(), 29);
    assert_eq!(ask(DeviceFilter { group: Some(path("hq/b")), ..all() }).await.len(), 14);
    assert_eq!(ask(DeviceFilter { group: Some(path("trial")), ..all() }).await, [name("d-01")]);
    let state = identity::DeviceState::from_name;
    assert_eq!(ask(DeviceFilter { state: state("quarantined"), ..all() }).await, [name("d-03")]);
    assert_eq!(ask(DeviceFilter { state: state("removed"), ..all() }).await, [name("d-05")]);
    let pattern = |text: &str| DeviceFilter { name_pattern: Some(text.to_owned()), ..all() };
    assert_eq!(ask(pattern("d-1*")).await.len(), 10);
    assert_eq!(ask(pattern("*7")).await.len(), 3);
    assert_eq!(ask(pattern("d-07")).await.len(), 1);
    let third = vec![("third".to_owned(), "true".to_owned())];
    let filter = DeviceFilter { attributes: third, group: Some(path("hq/a")), ..pattern("d-?[0-9]") };
    assert_eq!(ask(filter.clone()).await.len(), 0, "a bracket is a bracket");
    let filter = DeviceFilter { name_pattern: Some("d-0*".to_owned()), ..filter };
    assert_eq!(ask(filter).await, [name("d-00"), name("d-06")]);
}
