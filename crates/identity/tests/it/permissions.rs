//! What a session may do.

use identity::Action::{self, Connect, Publish, Receive, RetainPublish, Subscribe};
use identity::{Actor, Decision, Permissions, Reason, Who};
use model::{TopicFilter, TopicName};
use proptest::prelude::*;

use crate::{fresh, name};

/// What a device called `d1` may do, whatever its client id.
fn of_device(client_id: &str) -> Permissions {
    named("d1", client_id)
}

fn named(device: &str, client_id: &str) -> Permissions {
    let (fixture, _dir) = fresh();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let password = runtime
        .block_on(fixture.identity.add_device_with_password(&Actor::inside(), &name(device)))
        .expect("added");
    let who =
        fixture.identity.authenticate(Some(device), Some(password.reveal().as_bytes())).expect("let in");
    fixture.identity.permissions(&who, client_id)
}

fn of_anonymous() -> Permissions {
    let (fixture, _dir) = fresh();
    fixture.identity.permissions(&Who::anonymous(), "laptop")
}

fn of_local() -> Permissions {
    let (fixture, _dir) = fresh();
    let who = fixture.identity.authenticate_token(fixture.token.reveal()).expect("let in");
    fixture.identity.permissions(&who, "cli")
}

fn check(permissions: &Permissions, action: Action, topic: &str, expect: Result<(), Reason>) {
    let expect = expect.map_or_else(Decision::Refused, |()| Decision::Permitted);
    assert_eq!(permissions.may(action, topic), expect, "{action:?} {topic}");
}

#[test]
fn a_device_speaks_under_its_own_name_and_hears_what_is_sent_to_it() {
    let d1 = of_device("d1");
    for publish in [Publish, RetainPublish] {
        for own in ["dt/d1", "dt/d1/climate", "dt/d1/a/b/c", "$aws/things/d1/shadow/update"] {
            check(&d1, publish, own, Ok(()));
        }
        for other in
            ["dt/d2/climate", "dt/d11", "dt", "dt/", "cmd/d1/x", "x", "/dt/d1/x", "DT/d1/x", "$SYS/x"]
        {
            check(&d1, publish, other, Err(Reason::NotOwnTopic));
        }
    }
    for own in ["cmd/d1/#", "cmd/d1/+", "cmd/d1", "cmd/d1/+/set", "$aws/things/d1/#", "$share/g/cmd/d1/#"] {
        check(&d1, Subscribe, own, Ok(()));
    }
    for more in [
        "#",
        "+/#",
        "cmd/#",
        "cmd/+/#",
        "cmd/+/x",
        "+/d1/x",
        "cmd/d2/#",
        "dt/d1/#",
        "$aws/#",
        "$aws/things/+/#",
        "$SYS/#",
        "$share/g/#",
        "$share/cmd/d1/#",
        "$share/g",
    ] {
        check(&d1, Subscribe, more, Err(Reason::NotOwnCommands));
    }
    check(&d1, Receive, "cmd/d1/relay", Ok(()));
    check(&d1, Receive, "cmd/d2/relay", Err(Reason::NotOwnCommands));
    check(&d1, Connect, "d1", Ok(()));
    check(&d1, Connect, "something else", Ok(()));
}

#[test]
fn an_edge_node_of_sparkplug_speaks_for_itself_and_for_what_is_behind_it() {
    let node = named("plant:line-1", "x");
    for own in
        ["spBv1.0/plant/NBIRTH/line-1", "spBv1.0/plant/NDEATH/line-1", "spBv1.0/plant/DDATA/line-1/oven"]
    {
        check(&node, Publish, own, Ok(()));
    }
    for other in [
        "spBv1.0/plant/NBIRTH/line-2",
        "spBv1.0/other/NDATA/line-1",
        "spBv1.0/plant/NCMD/line-1",
        "spBv1.0/STATE/godwit",
    ] {
        check(&node, Publish, other, Err(Reason::NotOwnTopic));
    }
    for own in [
        "spBv1.0/plant/NCMD/line-1",
        "spBv1.0/plant/DCMD/line-1/#",
        "spBv1.0/STATE/godwit",
        "spBv1.0/STATE/+",
    ] {
        check(&node, Subscribe, own, Ok(()));
    }
    for more in ["spBv1.0/#", "spBv1.0/plant/NCMD/+", "spBv1.0/plant/NDATA/line-1", "spBv1.0/STATE/#"] {
        check(&node, Subscribe, more, Err(Reason::NotOwnCommands));
    }
    check(&named("AA:BB:CC", "x"), Publish, "spBv1.0/AA/NDATA/BB", Err(Reason::NotOwnTopic));
}

/// CVE-2017-7650: in Mosquitto before 1.4.12 a client id or user name of `#` or `+` matched everybody's topics.
#[test]
fn cve_2017_7650_a_wildcard_in_a_client_id_or_name_widens_nothing() {
    for client_id in ["#", "+", "+/#", "d2", "d1/../d2", "d2/#", "", "$aws"] {
        let d1 = of_device(client_id);
        check(&d1, Publish, "dt/d2/x", Err(Reason::NotOwnTopic));
        check(&d1, Publish, "dt/d1/x", Ok(()));
        check(&d1, Subscribe, "cmd/+/x", Err(Reason::NotOwnCommands));
        check(&d1, Receive, "cmd/d2/x", Err(Reason::NotOwnCommands));
    }
    for text in ["#", "+", "a/b", "a/#", "d1/+"] {
        assert!(model::DeviceName::parse(text).is_err(), "{text}");
        assert!(
            model::DeviceName::sanitize(text).is_some_and(|name| !name.contains(['#', '+', '/'])),
            "{text}"
        );
    }
}

#[test]
fn the_local_user_and_anonymous_may_do_everything_but_what_belongs_to_devices() {
    for permissions in [of_local(), of_anonymous()] {
        for action in [Publish, RetainPublish, Receive] {
            for topic in ["dt/d1/x", "anything", "cmd/d1/x", "$SYS/broker/x", "$awsome", "a/$aws/b", "/"] {
                check(&permissions, action, topic, Ok(()));
            }
            for reserved in ["$aws", "$aws/", "$aws/things/d1/shadow/update"] {
                check(&permissions, action, reserved, Err(Reason::Reserved));
            }
        }
        for filter in ["#", "+/#", "cmd/+/#", "$SYS/#", "$share/g/#", "+"] {
            check(&permissions, Subscribe, filter, Ok(()));
        }
        for filter in ["$aws/#", "$aws/+/d1", "$aws", "$share/g/$aws/#"] {
            check(&permissions, Subscribe, filter, Err(Reason::Reserved));
        }
        check(&permissions, Connect, "#", Ok(()));
        check(&permissions, Connect, "$aws/x", Ok(()));
    }
}

#[test]
fn every_refusal_says_why_and_what_to_do() {
    for reason in [Reason::Reserved, Reason::NotOwnTopic, Reason::NotOwnCommands, Reason::NoRights] {
        assert!(!reason.to_string().is_empty());
        assert!(reason.hint().contains("connect"), "{reason}: {}", reason.hint());
    }
}

/// Levels of which names are made; few, so that filters and topics meet often.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["cmd", "dt", "d1", "d2", "d11", "$aws", "things", "", "x", "$share"][..])
}

fn topic() -> impl Strategy<Value = String> {
    let any = || prop::collection::vec(level(), 1..6);
    let near =
        (prop::sample::select(&["cmd/d1", "dt/d1", "$aws/things/d1", "cmd/d2", "$aws/things/d2"][..]), any())
            .prop_map(|(head, rest)| format!("{head}/{}", rest.join("/")));
    prop_oneof![any().prop_map(|levels| levels.join("/")), near]
        .prop_filter("a topic", |topic| !topic.is_empty())
}

/// A filter that matches `topic`: some levels become `+`, the end perhaps `#`.
fn filter_over(topic: &str, wild: &[bool], cut: Option<usize>) -> String {
    let mut levels: Vec<&str> = topic.split('/').collect();
    for (level, wild) in levels.iter_mut().zip(wild) {
        if *wild {
            *level = "+";
        }
    }
    if let Some(cut) = cut.filter(|cut| *cut <= levels.len()) {
        levels.truncate(cut);
        levels.push("#");
    }
    levels.join("/")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(5_000)
    ))]
    #[test]
    fn what_a_permitted_filter_matches_may_be_received(
        base in topic(),
        wild in prop::collection::vec(prop::bool::weighted(0.3), 8),
        cut in prop::option::weighted(0.4, 0..6_usize),
        others in prop::collection::vec(topic(), 20),
    ) {
        thread_local!(static SUBJECTS: [Permissions; 3] = [of_device("d1"), of_anonymous(), of_local()]);
        let filter = filter_over(&base, &wild, cut);
        let parsed = TopicFilter::parse(filter.clone()).expect("a filter");
        SUBJECTS.with(|subjects| {
            for permissions in subjects {
                let permitted = permissions.may(Subscribe, &filter).is_permitted();
                for topic in others.iter().chain([&base]) {
                    TopicName::parse(topic.clone()).expect("a topic");
                    if filter.starts_with("$share/") || !parsed.matches(topic) {
                        continue;
                    }
                    let receives = permissions.may(Receive, topic).is_permitted();
                    prop_assert!(!permitted || receives, "{filter} was permitted and matches {topic}");
                }
            }
            Ok(())
        })?;
    }

    /// The other way round: a filter that names one topic is permitted exactly when the topic may be received.
    #[test]
    fn a_filter_without_wildcards_is_its_topic(topic in topic()) {
        thread_local!(static SUBJECTS: [Permissions; 3] = [of_device("d1"), of_anonymous(), of_local()]);
        prop_assume!(!topic.starts_with("$share/"));
        SUBJECTS.with(|subjects| {
            for permissions in subjects {
                let (subscribe, receive) = (permissions.may(Subscribe, &topic), permissions.may(Receive, &topic));
                prop_assert_eq!(subscribe, receive, "{}", topic);
            }
            Ok(())
        })?;
    }
}
