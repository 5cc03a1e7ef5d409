//! Who is let in, and what the others learn.

use host::{Disk, SystemDisk};
use identity::{Actor, ChangeError, LOCAL_USER, Refusal, Who};
use model::{Kind, Principal};

use crate::{fresh, host, name, open};

#[tokio::test]
async fn a_device_is_let_in_by_its_password_and_by_nothing_else() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    let password =
        identity.add_device_with_password(&Actor::inside(), &name("office-1")).await.expect("added");
    let password = password.reveal().as_bytes();
    let who = identity.authenticate(Some("office-1"), Some(password)).expect("let in");
    assert_eq!(who.principal, Principal::DevicePassword(name("office-1")));
    assert_eq!(who.device, Some(name("office-1")));

    let changed: Vec<u8> = password.iter().map(|byte| byte ^ 1).collect();
    let longer = [password, b"x"].concat();
    let too_long = [password, &[b'x'; 1000]].concat();
    for wrong in [b"", &password[..25], &changed, &longer, &too_long, b"%"] {
        assert!(identity.authenticate(Some("office-1"), Some(wrong)).is_err(), "{wrong:?}");
    }
    for wrong in ["office-2", "OFFICE-1", "", "#", "+", "office-1/", "office-1\0", LOCAL_USER] {
        assert!(identity.authenticate(Some(wrong), Some(password)).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn one_who_is_unknown_and_one_whose_password_is_wrong_get_the_same_answer() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    identity.add_device_with_password(&Actor::inside(), &name("office-1")).await.expect("added");
    identity.add_device(&Actor::inside(), &name("no-password")).await.expect("added");
    let refused = |user: &str| identity.authenticate(Some(user), Some(b"guess")).expect_err("refused");
    let known = refused("office-1");
    for user in ["nobody", "no-password", LOCAL_USER, "room 3"] {
        assert_eq!(refused(user).to_string(), known.to_string(), "{user}");
        assert_eq!(refused(user).kind(), Kind::Unauthenticated);
    }
    assert_eq!(known.reason(), "wrong password for `office-1`");
    assert_eq!(refused("nobody").reason(), "no device `nobody` with a password");
}

#[test]
fn a_refusal_says_in_the_log_what_to_type() {
    let (fixture, _dir) = fresh();
    let check = |username: Option<&str>, password: Option<&[u8]>, client_id: &str, hint: &str| {
        let refusal = fixture.identity.authenticate(username, password).expect_err("refused");
        assert_eq!(refusal.hint(client_id), hint);
    };
    check(None, None, "tasmota_4F2A10", "Run: godwit device add tasmota_4F2A10 --password");
    check(Some("x"), None, "", "Run: godwit device add NAME --password");
    check(None, Some(b"x"), "--help", "Run: godwit device add NAME --password");
    check(Some("nobody"), Some(b"x"), "other", "Run: godwit device add nobody --password");
    check(Some("$(rm -rf ~)\n"), Some(b"x"), "", "Run: godwit device add __rm_-rf____n --password");
}

#[test]
fn what_is_logged_of_a_stranger_is_escaped_and_cut() {
    let (fixture, _dir) = fresh();
    let stranger = format!("a\nrefused 10.0.0.1\u{1b}[2J{}", "x".repeat(60_000));
    let reason = fixture.identity.authenticate(Some(&stranger), Some(b"x")).expect_err("refused").reason();
    assert!(reason.starts_with("no device `a\\nrefused 10.0.0.1\\u{1b}[2Jxxx"), "{reason}");
    assert!(reason.chars().all(|c| !c.is_control()), "{reason}");
    assert!(reason.len() < 250, "{}", reason.len());
}

#[test]
fn the_local_user_is_let_in_by_the_token_of_this_start_alone() {
    let (fixture, dir) = fresh();
    let token = fixture.token.reveal();
    assert_eq!(token.len(), 64);
    assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let who = fixture.identity.authenticate(Some(LOCAL_USER), Some(token.as_bytes())).expect("let in");
    assert_eq!((who.principal, who.device), (Principal::User(LOCAL_USER.into()), None));
    assert!(fixture.identity.authenticate_token(token).is_ok());
    assert_eq!(fixture.identity.authenticate_token(&token[..63]), Err(Refusal::WrongToken));
    assert_eq!(fixture.identity.authenticate_token(""), Err(Refusal::WrongToken));
    assert_eq!(format!("{:?}", fixture.token), "LocalToken(…)");

    let next_start = open(dir.path());
    assert!(next_start.identity.authenticate_token(token).is_err());
    let without = identity::Identity::open(next_start.catalog, host()).expect("read");
    assert!(without.authenticate_token("").is_err(), "no token lets nobody in");
}

#[tokio::test]
async fn no_device_takes_a_name_of_godwits_own() {
    let (fixture, _dir) = fresh();
    let (identity, by) = (&fixture.identity, Actor::inside());
    // `godwit`: as which the server says how it is itself, and rules judge that.
    for own in [LOCAL_USER, "godwit", "anonymous"] {
        let own = name(own);
        let reserved = ChangeError::Reserved(own.clone());
        assert_eq!(identity.add_device(&by, &own).await, Err(reserved.clone()));
        assert_eq!(identity.add_device_with_password(&by, &own).await.err(), Some(reserved.clone()));
        assert_eq!(identity.set_password(&by, &own, None).await.err(), Some(reserved.clone()));
        let made = identity.add_device_with_certificate(&by, &own, identity::NewKey::Made).await;
        assert_eq!(made.err().map(|error| error.to_string()), Some(reserved.to_string()));
    }
    identity.add_device(&by, &name("godwit-1")).await.expect("another");
}

#[tokio::test]
async fn a_new_password_ends_the_old_one_and_the_sessions_opened_with_it() {
    let (fixture, dir) = fresh();
    let identity = &fixture.identity;
    let device = name("office-1");
    let old = identity.add_device_with_password(&Actor::inside(), &device).await.expect("added");
    let who = identity.authenticate(Some(&device), Some(old.reveal().as_bytes())).expect("let in");
    assert!(identity.stands(&who));

    let mut changes = identity.changes();
    changes.borrow_and_update();
    let new = identity.set_password(&Actor::inside(), &device, None).await.expect("known");
    assert!(changes.has_changed().expect("the register lives"));
    assert!(!identity.stands(&who));
    assert!(identity.authenticate(Some(&device), Some(old.reveal().as_bytes())).is_err());
    let again = identity.authenticate(Some(&device), Some(new.reveal().as_bytes())).expect("let in");
    assert!(identity.stands(&again));
    assert!(identity.stands(&Who::anonymous()));

    fixture.catalog.close().await;
    let next_start = open(dir.path()).identity;
    assert!(next_start.authenticate(Some(&device), Some(old.reveal().as_bytes())).is_err());
    assert!(next_start.authenticate(Some(&device), Some(new.reveal().as_bytes())).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_new_passwords_at_once_memory_and_disk_keep_the_same_one() {
    let (fixture, dir) = fresh();
    let device = name("office-1");
    fixture.identity.add_device(&Actor::inside(), &device).await.expect("added");
    let rotations = (0..50).map(|_| {
        let (identity, device) = (fixture.identity.clone(), device.clone());
        tokio::spawn(
            async move { identity.set_password(&Actor::inside(), &device, None).await.expect("known") },
        )
    });
    let passwords: Vec<_> =
        futures::future::join_all(rotations).await.into_iter().map(|made| made.expect("ends")).collect();
    let accepted = |identity: &identity::Identity| -> Vec<usize> {
        let lets_in =
            |n: &usize| identity.authenticate(Some(&device), Some(passwords[*n].reveal().as_bytes())).is_ok();
        (0..passwords.len()).filter(lets_in).collect()
    };
    let in_memory = accepted(&fixture.identity);
    assert_eq!(in_memory.len(), 1, "exactly the last one");
    fixture.catalog.close().await;
    assert_eq!(accepted(&open(dir.path()).identity), in_memory);
}

#[tokio::test]
async fn no_password_is_in_the_files() {
    let (fixture, dir) = fresh();
    let password =
        fixture.identity.add_device_with_password(&Actor::inside(), &name("office-1")).await.expect("added");
    fixture.catalog.close().await;
    for file in Disk::list(&SystemDisk, dir.path()).expect("listed") {
        let bytes = Disk::read(&SystemDisk, &dir.path().join(&file.name), 1 << 30).expect("read");
        let secrets = [password.reveal().as_bytes(), fixture.token.reveal().as_bytes()];
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", file.name);
        }
        assert!(bytes.windows(8).any(|window| window == b"office-1"), "the search finds what is there");
    }
}
