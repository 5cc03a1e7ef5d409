//! Many devices at once.

use identity::{
    Actor, Attributes, ChangeError, DeviceFilter, IMPORT_ROWS_MAX, ImportOptions, ImportRow, NewDevice, Page,
};

use crate::{fresh, name, open, path};

fn row(text: &str, group: Option<&str>, password: bool) -> ImportRow {
    let attributes = Attributes::new([("model", "TX")]).expect("one");
    let new = NewDevice { name: name(text), group: group.map(path), attributes, if_version: None };
    ImportRow { new, memberships: vec![], password }
}

const MAKING: ImportOptions = ImportOptions { make_groups: true, update: false };

#[tokio::test]
async fn a_row_comes_in_as_a_whole_or_not_at_all_and_takes_no_other_with_it() {
    let (fixture, dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    identity.add_device(&by, &name("there")).await.expect("added");
    let rows = vec![
        row("a", Some("hq/a"), true),
        row("there", Some("hq/b"), true),
        row("godwit", Some("hq/c"), false),
        row("a", Some("hq/d"), false),
        ImportRow { memberships: (0..33).map(|n| path(&format!("g{n}"))).collect(), ..row("m", None, true) },
        row("b", None, false),
    ];
    let foretold = identity.judge_import(rows.clone(), MAKING).await.expect("judged");
    assert!(identity.device(&name("a")).await.expect("read").is_none(), "nothing was done");
    let done = identity.import_devices(&by, rows, MAKING).await.expect("taken");
    let kinds = |refused: Option<&ChangeError>| refused.map(ToString::to_string);
    let expect = [
        None,
        Some(ChangeError::Exists(name("there"))),
        Some(ChangeError::Reserved(name("godwit"))),
        Some(ChangeError::Exists(name("a"))),
        Some(ChangeError::TooManyMemberships(name("m"))),
        None,
    ];
    assert_eq!(done.iter().map(|one| one.as_ref().err().cloned()).collect::<Vec<_>>(), expect);
    let foretold: Vec<_> = foretold.iter().map(|one| kinds(one.as_ref().err())).collect();
    assert_eq!(foretold, done.iter().map(|one| kinds(one.as_ref().err())).collect::<Vec<_>>());

    let password = done[0].as_ref().expect("in").password.as_ref().expect("made").reveal().to_owned();
    assert!(done[5].as_ref().expect("in").password.is_none());
    let groups = identity.groups(None, None, 100).await.expect("read").groups;
    let groups: Vec<_> = groups.iter().map(|group| group.path.as_str()).collect();
    assert_eq!(groups, ["hq", "hq/a"], "no group is made for a row that is refused");
    assert_eq!(identity.device(&name("m")).await, Ok(None));
    fixture.catalog.close().await;
    let identity = &open(dir.path()).identity;
    assert!(identity.authenticate(Some("a"), Some(password.as_bytes())).is_ok());
    assert_eq!(identity.groups_of(&name("a")), [path("hq/a"), path("hq")]);
}

#[tokio::test]
async fn an_update_changes_what_the_row_says_and_keeps_the_rest() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    let first =
        identity.import_devices(&by, vec![row("a", Some("hq/a"), true)], MAKING).await.expect("taken");
    let password = first[0].as_ref().expect("in").password.as_ref().expect("made").reveal().to_owned();
    let options = ImportOptions { update: true, ..MAKING };
    let mut changes = identity.changes();
    changes.mark_unchanged();
    let again = identity.import_devices(&by, vec![row("a", None, true)], options).await.expect("taken");
    let again = again[0].as_ref().expect("in");
    assert!(!again.is_new && again.password.is_none(), "a password that works is kept");
    assert!(identity.authenticate(Some("a"), Some(password.as_bytes())).is_ok());
    let device = identity.device(&name("a")).await.expect("read").expect("there");
    assert_eq!((device.group, device.version), (Some(path("hq/a")), 1), "nothing changed");
    identity.import_devices(&by, vec![row("a", Some("hq/b"), false)], options).await.expect("taken");
    assert_eq!(identity.groups_of(&name("a")), [path("hq/b"), path("hq")]);
    assert!(changes.has_changed().expect("alive"));
}

#[tokio::test]
async fn devices_that_nobody_knew_concern_no_session() {
    let (fixture, _dir) = fresh();
    let changes = fixture.identity.changes();
    fixture
        .identity
        .import_devices(&Actor::inside(), vec![row("a", None, true)], MAKING)
        .await
        .expect("taken");
    assert!(!changes.has_changed().expect("alive"), "ten thousand sessions are not looked at for it");
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let (fixture, _dir) = fresh();
    let rows = |count: usize| (0..count).map(|n| row(&format!("d{n}"), None, false)).collect::<Vec<_>>();
    let by = Actor::inside();
    let error = fixture.identity.import_devices(&by, rows(IMPORT_ROWS_MAX + 1), MAKING).await.err();
    assert_eq!(error, Some(ChangeError::TooManyRows { rows: IMPORT_ROWS_MAX + 1 }));
    let done = fixture.identity.import_devices(&by, rows(IMPORT_ROWS_MAX), MAKING).await.expect("taken");
    assert!(done.iter().all(Result::is_ok));
    let page = fixture.identity.devices(DeviceFilter::default(), Page::default()).await.expect("read");
    assert!(page.next.is_some());
}
