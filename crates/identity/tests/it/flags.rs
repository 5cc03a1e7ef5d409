//! What devices do that somebody should look at.

use std::net::IpAddr;
use std::time::Duration;

use catalog::Catalog;
use host::sim::Machine;
use identity::{Actor, Attributes, DeviceState, FlagKind, Identity, NewDevice, Who};
use model::{DeviceName, Timestamp};

use crate::{name, path};

/// A register whose time is the test's.
struct Fixture {
    identity: Identity,
    catalog: Catalog,
    machine: Machine,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let (machine, dir) = (Machine::new(1), tempfile::tempdir().expect("a directory"));
        let (identity, catalog) = Self::open(&machine, &dir);
        Self { identity, catalog, machine, dir }
    }

    fn open(machine: &Machine, dir: &tempfile::TempDir) -> (Identity, Catalog) {
        // SQLite's own file is on the disk.
        let host = host::Host { disk: crate::host().disk, ..machine.host() };
        let catalog =
            Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host).expect("opened");
        (Identity::open(catalog.clone(), host).expect("read"), catalog)
    }

    /// Waits until the writer has done what was handed to it before.
    async fn settle(&self) {
        self.catalog.write(|_| Ok(())).await.expect("written");
    }

    async fn device(&self, text: &str) -> Who {
        let password =
            self.identity.add_device_with_password(&Actor::inside(), &name(text)).await.expect("added");
        self.identity.authenticate(Some(text), Some(password.reveal().as_bytes())).expect("right")
    }

    /// Sixty minutes of a sample a minute, then a hundred in one.
    fn overdo(&self, device: &DeviceName) {
        let at = |minute: i64, n: i64| Timestamp::from_micros(minute * 60_000_000 + n);
        (0..60).for_each(|minute| self.identity.sampled(device, at(minute, 0), false));
        (0..100).for_each(|n| self.identity.sampled(device, at(60, n), false));
    }
}

#[tokio::test]
async fn two_hosts_that_swap_one_identity_are_flagged_and_both_are_shown() {
    let fixture = Fixture::new();
    let identity = &fixture.identity;
    let (pump, roaming) = (fixture.device("pump-1").await, fixture.device("roaming").await);
    for n in 0..5_u8 {
        let (address, client_id) = (IpAddr::from([10, 0, 0, n % 2]), format!("c{}", n % 2));
        identity.connected(&pump, address, &client_id);
        identity.connected(&roaming, IpAddr::from([10, 0, 1, n / 3]), "roaming");
        identity.connected(&Who::anonymous(), address, "anybody");
        fixture.machine.clock.advance(Duration::from_secs(60));
    }
    fixture.settle().await;
    let check = async |identity: &Identity| {
        let flags = identity.flags(None).await.expect("read");
        assert_eq!(flags.len(), 1, "one that roams once is not flagged: {flags:?}");
        assert_eq!(
            (&flags[0].device, flags[0].kind, flags[0].times),
            (&name("pump-1"), FlagKind::ClonedIdentity, 1)
        );
        let hosts = &flags[0].detail["hosts"];
        assert_eq!((&hosts[0]["address"], &hosts[0]["client_id"]), (&"10.0.0.0".into(), &"c0".into()));
        assert_eq!((&hosts[1]["address"], &hosts[1]["client_id"]), (&"10.0.0.1".into(), &"c1".into()));
        assert_ne!(hosts[0]["at"], hosts[1]["at"]);
        assert_eq!(identity.flagged(FlagKind::ClonedIdentity), 1);
        assert_eq!(identity.flagged_some(FlagKind::ClonedIdentity, 5), [name("pump-1")]);
        assert_eq!(identity.flagged(FlagKind::UnusualRate), 0);
    };
    check(identity).await;
    assert_eq!(identity.state(&name("pump-1")), Some(DeviceState::Active), "a flag is a word, no deed");
    fixture.catalog.close().await;
    let (again, _catalog) = Fixture::open(&fixture.machine, &fixture.dir);
    check(&again).await;
    assert_eq!(again.clear_flags(&Actor::inside(), &name("pump-1")).await, Ok(1));
    assert_eq!(again.flagged(FlagKind::ClonedIdentity), 0);
    assert!(again.flags(Some(name("pump-1"))).await.expect("read").is_empty());
}

#[tokio::test]
async fn what_was_usual_and_what_was_seen_is_told_and_nothing_else_happens_unless_it_was_set() {
    let fixture = Fixture::new();
    fixture.device("meter-1").await;
    fixture.overdo(&name("meter-1"));
    fixture.settle().await;
    let flags = fixture.identity.flags(Some(name("meter-1"))).await.expect("read");
    assert_eq!((flags.len(), flags[0].kind, flags[0].times), (1, FlagKind::UnusualRate, 1));
    assert_eq!(flags[0].detail["usual_per_minute"], 1.0);
    assert_eq!(flags[0].detail["seen_in_minute"], 61, "told as soon as it is so");
    assert_eq!(fixture.identity.state(&name("meter-1")), Some(DeviceState::Active));
}

#[tokio::test]
async fn at_most_one_of_a_hundred_is_quarantined_by_itself_in_an_hour_and_none_that_controls() {
    let fixture = Fixture::new();
    let (identity, by) = (&fixture.identity, Actor::inside());
    identity.quarantine_over_rate(true);
    for group in ["big/a", "big/b", "small"] {
        identity.add_group(&by, &path(group)).await.expect("made");
    }
    let rows = |group: &str, count: usize| -> Vec<identity::ImportRow> {
        let row = |n: usize| identity::ImportRow {
            new: NewDevice {
                name: name(&format!("{}-{n}", group.replace('/', "-"))),
                group: Some(path(group)),
                attributes: Attributes::new([("control", (n == 0).to_string())]).expect("one"),
                if_version: None,
            },
            memberships: vec![],
            password: false,
        };
        (0..count).map(row).collect()
    };
    for (group, count) in [("big/a", 150), ("big/b", 50), ("small", 10)] {
        let imported =
            identity.import_devices(&by, rows(group, count), identity::ImportOptions::default()).await;
        assert!(imported.expect("taken").iter().all(Result::is_ok));
    }
    let quarantined = |identity: &Identity| {
        let state = |text: &str| identity.state(&name(text)) == Some(DeviceState::Quarantined);
        ["big-a-0", "big-a-1", "big-a-2", "big-b-1", "small-1", "small-2"].map(state)
    };
    for device in ["big-a-0", "big-a-1", "big-a-2", "big-b-1", "small-1", "small-2"] {
        let changes = identity.changes();
        fixture.overdo(&name(device));
        fixture.settle().await;
        let is_quarantined = identity.state(&name(device)) == Some(DeviceState::Quarantined);
        assert_eq!(changes.has_changed().expect("alive"), is_quarantined, "sessions are looked at");
    }
    // Two of the 200 below `big`, one of the ten of `small`; the rest is flagged.
    assert_eq!(quarantined(identity), [false, true, true, false, true, false]);
    assert_eq!(identity.flagged(FlagKind::UnusualRate), 6);
    let shown = identity.device(&name("big-a-1")).await.expect("read").expect("there");
    let reason = shown.quarantine.expect("in it").reason;
    assert_eq!(reason, "by itself: 61 messages in a minute, usually at most 1.0");

    // An hour later there is room again.
    fixture.machine.clock.advance(Duration::from_secs(3_601));
    let at = |n: i64| Timestamp::from_micros(61 * 60_000_000 + n);
    (0..100).for_each(|n| identity.sampled(&name("big-b-1"), at(n), false));
    fixture.settle().await;
    assert_eq!(quarantined(identity), [false, true, true, true, true, false]);
}
