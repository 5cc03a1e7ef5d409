//! Laws of people: passwords, roles, logins, tokens.

use std::net::IpAddr;
use std::time::Duration;

use host::{Disk, SystemDisk};
use identity::{
    Action, Actor, Area, AuditFilter, AuditPage, Grant, LoginError, NewPassword, NewToken, Recorded, Role,
    Scope, UserError, UserName, Verb, Who,
};
use model::Principal;
use zeroize::Zeroizing;

use crate::{Fixture, fresh, open};

const PASSWORD: &str = "correct horse battery";
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn user(text: &str) -> UserName {
    UserName::parse(text).expect("a user name")
}

fn chosen(text: &str) -> NewPassword {
    NewPassword::Chosen(Zeroizing::new(text.to_owned()))
}

fn roles(texts: &[&str]) -> Vec<Grant> {
    texts.iter().map(|text| text.parse().expect("a role")).collect()
}

async fn add(fixture: &Fixture, name: &str, given: &[&str]) {
    fixture
        .identity
        .add_user(&Actor::inside(), &user(name), roles(given), chosen(PASSWORD))
        .await
        .expect("added");
}

async fn log_in(fixture: &Fixture, name: &str, password: &str) -> Result<identity::NewLogin, LoginError> {
    fixture.identity.log_in(name, Zeroizing::new(password.to_owned()), HOME).await
}

async fn token(fixture: &Fixture, name: &str, scopes: &[&str]) -> (identity::Token, identity::TokenSecret) {
    let scopes = scopes.iter().map(|text| text.parse().expect("a scope")).collect();
    let new = NewToken { user: user(name), name: "grafana".to_owned(), scopes, life: None };
    fixture.identity.add_token(&Actor::inside(), new).await.expect("made")
}

#[tokio::test]
async fn a_user_logs_in_by_his_password_and_by_nothing_else() {
    let (fixture, dir) = fresh();
    add(&fixture, "alice", &["operator@hq"]).await;
    let login = log_in(&fixture, "alice", PASSWORD).await.expect("in");
    assert_eq!(login.who.principal, Principal::User("alice".into()));
    let presence = fixture.identity.authenticate_login(login.cookie.reveal()).expect("logged in");
    assert_eq!(presence.who, login.who);
    assert!(presence.csrf.is(login.csrf.reveal()) && !presence.csrf.is(login.cookie.reveal()));
    let rights = fixture.identity.rights(&presence.who);
    assert!(rights.holds(Role::Operator, "hq/floor-1") && !rights.holds(Role::Viewer, ""));

    for (name, password) in
        [("alice", "correct horse batterz"), ("alice", ""), ("bob", PASSWORD), ("Alice", PASSWORD), ("", "")]
    {
        let refused = log_in(&fixture, name, password).await.expect_err(name);
        assert!(matches!(refused, LoginError::Wrong), "{name} {password}: {refused}");
    }
    assert!(fixture.identity.authenticate_login("0123").is_err());
    assert!(
        fixture.identity.authenticate(Some("alice"), Some(PASSWORD.as_bytes())).is_err(),
        "that is for devices"
    );

    fixture.catalog.close().await;
    let next = open(dir.path());
    assert!(next.identity.authenticate_login(login.cookie.reveal()).is_ok(), "a login outlives a restart");
    assert!(log_in(&next, "alice", PASSWORD).await.is_ok());
    assert!(next.identity.scram("alice").0.is_known);
}

#[tokio::test]
async fn a_password_that_is_easily_guessed_is_refused_and_says_why() {
    let (fixture, _dir) = fresh();
    let long = "x".repeat(257);
    for (password, why) in [
        ("short", "has 5 characters; the least is 10"),
        (&long, "has 257 bytes; the most is 256"),
        ("aaaaaaaaaaaa", "one character over and over"),
        ("alice-alice", "has the user's name in it"),
        ("tab\tin a password", "no keyboard gives"),
    ] {
        let by = Actor::inside();
        let refused = fixture.identity.add_user(&by, &user("alice"), Vec::new(), chosen(password)).await;
        let text = refused.expect_err(password).to_string();
        assert!(text.contains(why), "{text}");
    }
    assert!(fixture.identity.users().is_empty());
}

#[tokio::test]
async fn a_change_of_a_user_counts_at_once_for_all_he_holds() {
    let (fixture, _dir) = fresh();
    add(&fixture, "root", &["admin"]).await;
    add(&fixture, "alice", &["admin"]).await;
    let identity = &fixture.identity;
    let by = Actor::inside();
    let login = log_in(&fixture, "alice", PASSWORD).await.expect("in");
    let (shown, secret) = token(&fixture, "alice", &["*"]).await;
    let by_token = identity.authenticate_token(secret.reveal()).expect("a token");
    assert_eq!(Actor::of(&by_token, None).name(), "user:alice token:grafana");
    assert!(identity.rights(&by_token).holds(Role::Admin, ""));

    // Roles.
    let mut changes = identity.changes();
    changes.borrow_and_update();
    identity.set_roles(&by, &user("alice"), roles(&["viewer"]), Some(1)).await.expect("set");
    assert!(changes.has_changed().expect("the register lives"), "doors look at their sessions");
    for who in [&login.who, &by_token] {
        assert!(
            !identity.rights(who).holds(Role::Operator, "") && identity.rights(who).holds(Role::Viewer, "")
        );
        assert!(identity.stands(who));
    }
    let stale = identity.set_roles(&by, &user("alice"), roles(&["admin"]), Some(1)).await.expect_err("stale");
    assert!(matches!(stale, UserError::Revision { revision: 2, expected: 1, .. }), "{stale}");

    // A new password ends logins and not tokens.
    identity.set_user_password(&by, &user("alice"), chosen("another long password")).await.expect("set");
    assert!(identity.authenticate_login(login.cookie.reveal()).is_err());
    assert!(!identity.stands(&login.who) && identity.stands(&by_token));
    assert!(matches!(log_in(&fixture, "alice", PASSWORD).await, Err(LoginError::Wrong)));
    let login = log_in(&fixture, "alice", "another long password").await.expect("in");

    // A removed token is nobody's.
    identity.remove_token(&by, &shown.id).await.expect("removed");
    assert!(identity.authenticate_token(secret.reveal()).is_err() && !identity.stands(&by_token));
    assert!(!identity.rights(&by_token).holds_somewhere(Role::Viewer));
    assert!(matches!(identity.remove_token(&by, &shown.id).await, Err(UserError::Gone { .. })));

    // And so is everything of a user who is removed.
    let (_, secret) = token(&fixture, "alice", &["*"]).await;
    identity.remove_user(&by, &user("alice"), None).await.expect("removed");
    assert!(identity.authenticate_login(login.cookie.reveal()).is_err());
    assert!(identity.authenticate_token(secret.reveal()).is_err());
    assert!(!identity.stands(&login.who));
    assert!(!identity.scram("alice").0.is_known && !identity.scram("alice:grafana").0.is_known);

    // A user of the same name is another.
    add(&fixture, "alice", &["admin"]).await;
    assert!(identity.authenticate_login(login.cookie.reveal()).is_err());
    assert!(identity.authenticate_token(secret.reveal()).is_err());
}

#[tokio::test]
async fn the_last_admin_stays_one() {
    let (fixture, _dir) = fresh();
    add(&fixture, "root", &["admin"]).await;
    add(&fixture, "hq-admin", &["admin@hq"]).await;
    let (identity, by) = (&fixture.identity, Actor::inside());
    let refused = identity.set_roles(&by, &user("root"), roles(&["viewer"]), None).await;
    assert!(matches!(refused, Err(UserError::LastAdmin(_))));
    assert!(matches!(identity.remove_user(&by, &user("root"), None).await, Err(UserError::LastAdmin(_))));
    add(&fixture, "second", &["admin"]).await;
    identity.remove_user(&by, &user("root"), None).await.expect("there is another now");
}

#[tokio::test]
async fn a_token_is_worth_its_scopes_and_its_time() {
    let (fixture, dir) = fresh();
    add(&fixture, "alice", &["admin"]).await;
    let identity = &fixture.identity;
    let (_, secret) = token(&fixture, "alice", &["readings:read"]).await;
    let who = identity.authenticate_token(secret.reveal()).expect("a token");
    let rights = identity.rights(&who);
    assert!(rights.in_scope(Area::Readings, Verb::Read) && !rights.in_scope(Area::Devices, Verb::Read));
    assert!(identity.scram("alice:grafana").0.is_known, "SQL clients log in by it");

    let new = |life| NewToken {
        user: user("alice"),
        name: "brief".to_owned(),
        scopes: vec![Scope::EVERYTHING],
        life: Some(life),
    };
    let by = Actor::inside();
    let (_, brief) = identity.add_token(&by, new(Duration::from_micros(1))).await.expect("made");
    assert!(identity.authenticate_token(brief.reveal()).is_err(), "its time is over");
    assert!(!identity.scram("alice:brief").0.is_known);
    let again = identity.add_token(&by, new(Duration::from_secs(60))).await;
    assert!(matches!(again, Err(UserError::TokenExists { .. })));

    fixture.catalog.close().await;
    let next = open(dir.path());
    let who = next.identity.authenticate_token(secret.reveal()).expect("a token outlives a restart");
    assert!(!next.identity.rights(&who).in_scope(Area::Devices, Verb::Read));
}

#[tokio::test]
async fn a_user_proves_himself_over_mqtt_by_password_or_token() {
    let (fixture, _dir) = fresh();
    add(&fixture, "alice", &["viewer"]).await;
    add(&fixture, "bob", &["viewer"]).await;
    let (_, secret) = token(&fixture, "alice", &["mqtt"]).await;
    let prove = async |name: &str, password: &str| {
        fixture.identity.prove(Some(name), Some(password.as_bytes()), HOME).await
    };
    let is_alice =
        |who: Result<Who, _>| who.is_ok_and(|who| who.principal == Principal::User("alice".into()));
    assert!(is_alice(prove("alice", PASSWORD).await));
    assert!(is_alice(prove("alice", secret.reveal()).await));
    assert!(is_alice(prove("alice:grafana", secret.reveal()).await));
    for (name, password) in [
        ("bob", secret.reveal()),
        ("alice:other", secret.reveal()),
        ("alice:grafana", PASSWORD),
        ("alice", "wrong password"),
        ("carol", PASSWORD),
    ] {
        assert!(prove(name, password).await.is_err(), "{name}");
    }
    // Entries are written in their order: one that is waited for comes behind them.
    fixture.identity.note(&Actor::inside(), "test.end", "test:end".to_owned(), None).await.expect("written");
    let filter = AuditFilter { action: "user.login".to_owned(), ..AuditFilter::default() };
    let page = AuditPage { is_oldest_first: true, after: None, limit: 10 };
    let (entries, _) = fixture.identity.audit(filter, page).await.expect("read");
    let done: Vec<_> = entries.iter().filter(|entry| entry.outcome == "done").collect();
    let told = |entry: &Recorded| {
        (entry.actor.clone(), entry.object.clone(), entry.after.clone().unwrap_or_default())
    };
    assert_eq!(
        done.into_iter().map(told).collect::<Vec<_>>(),
        [("user:alice", "password"), ("user:alice token:grafana", "token")].map(|(actor, by)| (
            actor.to_owned(),
            "user:alice".to_owned(),
            format!("{{\"by\":\"{by}\",\"door\":\"mqtt\"}}")
        )),
        "who comes again within a minute is counted"
    );
}

#[tokio::test]
async fn over_mqtt_a_viewer_hears_an_operator_commands_and_an_admin_speaks() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    for (name, given) in [
        ("vera", "viewer"),
        ("otto", "operator"),
        ("root", "admin"),
        ("gina", "admin@hq"),
        ("nobody", "viewer@hq"),
    ] {
        add(&fixture, name, &[given]).await;
    }
    let who = async |name: &str, password: &str| {
        identity.prove(Some(name), Some(password.as_bytes()), HOME).await.expect("proven")
    };
    // Connect, subscribe `#`, publish cmd/a/b, publish dt/a/b, subscribe $aws/#.
    for (name, expect) in [
        ("vera", [true, true, false, false, false]),
        ("otto", [true, true, true, false, false]),
        ("root", [true, true, true, true, false]),
        ("gina", [false; 5]),
        ("nobody", [false; 5]),
    ] {
        let permissions = identity.permissions(&who(name, PASSWORD).await, "any client id");
        let asked = [
            (Action::Connect, "any client id"),
            (Action::Subscribe, "#"),
            (Action::Publish, "cmd/a/b"),
            (Action::RetainPublish, "dt/a/b"),
            (Action::Subscribe, "$share/g/$aws/#"),
        ];
        let may = asked.map(|(action, topic)| permissions.may(action, topic).is_permitted());
        assert_eq!(may, expect, "{name}");
    }
    // A token goes as far as its scopes, and a change of the role counts for the session that is there.
    let (_, secret) = token(&fixture, "root", &["mqtt:read"]).await;
    let by_token = who("root", secret.reveal()).await;
    let hears_only = identity.permissions(&by_token, "x");
    assert!(hears_only.may(Action::Receive, "dt/a/b").is_permitted());
    assert!(!hears_only.may(Action::Publish, "dt/a/b").is_permitted());
    let new = NewToken {
        user: user("root"),
        name: "says".to_owned(),
        scopes: vec!["mqtt:write".parse().expect("a scope")],
        life: None,
    };
    let (_, secret) = identity.add_token(&Actor::inside(), new).await.expect("made");
    let by_token = who("root", secret.reveal()).await;
    let says_only = identity.permissions(&by_token, "x");
    assert!(says_only.may(Action::Publish, "dt/a/b").is_permitted());
    for action in [Action::Subscribe, Action::Receive] {
        assert!(!says_only.may(action, "dt/a/b").is_permitted(), "to publish is not to hear");
    }
    let otto = who("otto", PASSWORD).await;
    let before = identity.permissions(&otto, "x");
    identity.set_roles(&Actor::inside(), &user("otto"), roles(&["viewer"]), None).await.expect("set");
    let after = identity
        .permissions_again(&otto, &identity::policy::Circumstances::of("x"), &before)
        .expect("changed");
    assert!(!after.may(Action::Publish, "cmd/a/b").is_permitted());
}

#[tokio::test]
async fn a_stranger_who_guesses_has_to_wait_and_the_user_has_not() {
    let (fixture, _dir) = fresh();
    add(&fixture, "root", &["admin"]).await;
    log_in(&fixture, "root", PASSWORD).await.expect("in, from home");
    let stranger: IpAddr = "192.0.2.9".parse().expect("an address");
    let guess =
        || fixture.identity.log_in("root", Zeroizing::new("a guess of a stranger".to_owned()), stranger);
    for _ in 0..10 {
        assert!(matches!(guess().await, Err(LoginError::Wrong)));
    }
    let throttled = guess().await;
    assert!(matches!(throttled, Err(LoginError::Throttled { wait_s: 1..=6 })), "{throttled:?}");
    log_in(&fixture, "root", PASSWORD).await.expect("the user gets in from home all the same");
}

#[tokio::test]
async fn the_first_user_is_made_by_a_code_that_is_good_once() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    let by = Actor::inside();
    let finish = async |code: &str, name: &str| {
        identity.finish_setup(&by, code, &user(name), Zeroizing::new(PASSWORD.to_owned())).await
    };
    assert!(matches!(finish("anything", "root").await, Err(UserError::Setup)), "there is no code");
    let old = identity.begin_setup().expect("nobody is there");
    let code = identity.begin_setup().expect("nobody is there");
    assert!(matches!(finish(old.reveal(), "root").await, Err(UserError::Setup)), "an older code");
    assert!(matches!(finish("anything", "root").await, Err(UserError::Setup)));
    assert!(identity.is_setup_open());
    finish(code.reveal(), "root").await.expect("made");
    assert!(!identity.is_setup_open());
    assert!(matches!(finish(code.reveal(), "second").await, Err(UserError::Setup)), "used");
    assert!(identity.begin_setup().is_none());
    assert_eq!(identity.user("root").expect("there").roles, roles(&["admin"]));
}

#[tokio::test]
async fn no_secret_of_people_is_in_the_files() {
    let (fixture, dir) = fresh();
    add(&fixture, "alice", &["admin"]).await;
    let login = log_in(&fixture, "alice", PASSWORD).await.expect("in");
    let (_, secret) = token(&fixture, "alice", &["*"]).await;
    let _ = log_in(&fixture, "alice", "a password that is wrong").await;
    let _ = log_in(&fixture, "typed in the wrong field", "x").await;
    let made = fixture
        .identity
        .add_user(&Actor::inside(), &user("bob"), Vec::new(), NewPassword::Made)
        .await
        .expect("added")
        .expect("made here");
    let (scram, _) = fixture.identity.scram("alice");
    fixture.catalog.close().await;
    let secrets: [&[u8]; 10] = [
        PASSWORD.as_bytes(),
        made.reveal().as_bytes(),
        login.cookie.reveal().as_bytes(),
        login.csrf.reveal().as_bytes(),
        secret.reveal().as_bytes(),
        &secret.reveal().as_bytes()[12..38],
        b"a password that is wrong",
        b"typed in the wrong field",
        &scram.stored_key,
        &scram.server_key,
    ];
    for file in Disk::list(&SystemDisk, dir.path()).expect("listed") {
        let bytes = Disk::read(&SystemDisk, &dir.path().join(&file.name), 1 << 30).expect("read");
        for (which, secret) in secrets.iter().enumerate() {
            assert!(!bytes.windows(secret.len()).any(|part| part == *secret), "{which} in {}", file.name);
        }
        assert!(bytes.windows(5).any(|part| part == b"alice"), "the search finds what is there");
    }
}

#[tokio::test]
async fn a_user_changes_his_own_password_by_the_old_one_and_only_the_login_that_asked_stays() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    add(&fixture, "alice", &["viewer"]).await;
    let [here, elsewhere] =
        [log_in(&fixture, "alice", PASSWORD).await, log_in(&fixture, "alice", PASSWORD).await]
            .map(|login| login.expect("in"));
    let session = identity.prove(Some("alice"), Some(PASSWORD.as_bytes()), HOME).await.expect("in by MQTT");
    const NEW: &str = "another long password";
    let change = async |old: &str, new: &str, address: IpAddr| {
        let [old, new] = [old, new].map(|text| Zeroizing::new(text.to_owned()));
        identity.change_own_password(here.cookie.reveal(), old, new, address).await
    };

    for (old, new, why) in [
        ("correct horse batterz", NEW, "the old password is not right"),
        (PASSWORD, "short", "has 5 characters"),
        (PASSWORD, PASSWORD, "is the one that it was"),
    ] {
        let refused = change(old, new, HOME).await.expect_err(new).to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert!(identity.stands(&session), "a refusal changes nothing");
    change(PASSWORD, NEW, HOME).await.expect("changed");

    assert!(identity.authenticate_login(here.cookie.reveal()).is_ok(), "the one that asked");
    assert!(identity.authenticate_login(elsewhere.cookie.reveal()).is_err());
    assert!(!identity.stands(&session));
    assert!(matches!(log_in(&fixture, "alice", PASSWORD).await, Err(LoginError::Wrong)));
    let filter = AuditFilter { action: "user.password".to_owned(), ..AuditFilter::default() };
    let page = AuditPage { is_oldest_first: true, after: None, limit: 10 };
    let (entries, _) = identity.audit(filter, page).await.expect("read");
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((entries[0].actor.as_str(), entries[0].object.as_str()), ("user:alice", "user:alice"));

    // Somebody at a screen that was left open tries what it may be.
    let tries = async || {
        for tried in 0..50 {
            if let Err(UserError::Throttled { wait_s }) = change("is it this one?", PASSWORD, HOME).await {
                return (tried, wait_s);
            }
        }
        panic!("nobody stopped it");
    };
    let (tried, wait_s) = tries().await;
    assert!(tried <= 10 && wait_s > 0, "{tried} {wait_s}");
    let over = identity
        .change_own_password(elsewhere.cookie.reveal(), Zeroizing::default(), Zeroizing::default(), HOME)
        .await;
    assert!(matches!(over, Err(UserError::Gone { .. })));
}

#[tokio::test]
async fn the_log_says_of_a_user_who_is_refused_what_was_wrong_and_calls_him_no_device() {
    let (fixture, _dir) = fresh();
    add(&fixture, "alice", &["viewer"]).await;
    let (_, secret) = token(&fixture, "alice", &["mqtt"]).await;
    let refused = async |name: &str, password: &str| {
        let refusal =
            fixture.identity.prove(Some(name), Some(password.as_bytes()), HOME).await.expect_err(name);
        assert_eq!(refusal.to_string(), "the user name or the password is wrong", "outside they are one");
        let said = format!("{} | {}", refusal.reason(), refusal.hint("client"));
        assert!(!said.contains("device"), "{said}");
        said
    };
    let wrong = refused("alice", "wrong password").await;
    assert!(wrong.starts_with("wrong password for user `alice` | "), "{wrong}");
    assert!(wrong.ends_with("Run: godwit user reset alice"), "{wrong}");
    let other = refused("alice:\u{7}", secret.reveal()).await;
    assert!(other.starts_with("no such token of `alice:\\u{7}` | "), "{other}");
    let mut said = String::new();
    for _ in 0..12 {
        said = refused("alice", "wrong password").await;
    }
    assert!(said.starts_with("too many wrong passwords for user `alice` or from this address"), "{said}");
}
