//! What policies mean: compiled decisions beside a plain reading of the language, and devices that try to be others.

use std::net::IpAddr;
use std::sync::Arc;

use identity::policy::{
    AwsSettings, CertificateFacts, Circumstances, Context, DEFAULT_POLICY_TEXT, Document, Policy, PolicyName,
};
use identity::{Action, Attributes, Permissions};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::name;

fn policy(name: &str, text: &str) -> Arc<Policy> {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Arc::new(Policy { name: PolicyName::parse(name.to_owned()).expect("a name"), version: 1, document })
}

fn compiled(context: Context, texts: &[String]) -> Permissions {
    let policies = texts.iter().enumerate().map(|(n, text)| policy(&format!("p{n}"), text)).collect();
    Permissions::by_policies(policies, context, &AwsSettings::default())
}

fn of(statements: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// The device `d1`, connected as `d1`.
fn d1() -> Context {
    Context {
        device: Some(name("d1")),
        circumstances: Circumstances { client_id: "d1".into(), ..Circumstances::default() },
        ..Context::default()
    }
}

fn attributes(key: &str, value: &str) -> Attributes {
    Attributes::new([(key, value)]).expect("attributes")
}

fn allow(action: &str, resource: &str) -> Value {
    json!({ "Effect": "Allow", "Action": action, "Resource": format!("arn:aws:iot:*:*:{resource}") })
}

fn deny(action: &str, resource: &str) -> Value {
    json!({ "Effect": "Deny", "Action": action, "Resource": format!("arn:aws:iot:*:*:{resource}") })
}

fn check(permissions: &Permissions, action: Action, topic: &str, expect: bool) {
    assert_eq!(permissions.may(action, topic).is_permitted(), expect, "{action:?} {topic}");
}

#[test]
fn any_deny_wins_and_the_order_of_statements_never_matters() {
    let statements = [
        allow("iot:Publish", "topic/a/*"),
        deny("iot:*", "topic/a/secret*"),
        allow("iot:Publish", "topic/a/secret/x"),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let text = of(&Value::from(order.map(|n| statements[n].clone()).to_vec()));
        let one = compiled(d1(), &[text]);
        check(&one, Action::Publish, "a/b", true);
        check(&one, Action::Publish, "a/secret/x", false);
        check(&one, Action::Publish, "b", false);
        // The same in three policies.
        let apart: Vec<String> = order.map(|n| of(&statements[n])).to_vec();
        let apart = compiled(d1(), &apart);
        check(&apart, Action::Publish, "a/b", true);
        check(&apart, Action::Publish, "a/secret/x", false);
    }
}

#[test]
fn the_text_of_a_filter_is_compared_with_the_pattern() {
    let permissions = compiled(
        d1(),
        &[of(&json!([
            allow("iot:Subscribe", "topicfilter/some/+/topic"),
            allow("iot:Subscribe", "topicfilter/any/*/topic"),
            allow("iot:Subscribe", "topicfilter/a/#"),
            deny("iot:Subscribe", "topicfilter/a/restricted/*"),
            deny("iot:Receive", "topic/a/restricted/*"),
            allow("iot:Receive", "topic/a/*"),
            allow("iot:Publish", "topicfilter/wrong"),
            allow("iot:Subscribe", "topic/wrong"),
        ]))],
    );
    check(&permissions, Action::Subscribe, "some/+/topic", true);
    check(&permissions, Action::Subscribe, "some/a/topic", false);
    check(&permissions, Action::Subscribe, "some/#", false);
    for filter in ["any/+/topic", "any/a/topic", "any/a/b/topic"] {
        check(&permissions, Action::Subscribe, filter, true);
    }
    // A denial of a narrower filter does not stop the wider one: that is what denying Receive is for.
    check(&permissions, Action::Subscribe, "a/#", true);
    check(&permissions, Action::Subscribe, "$share/g/a/#", true);
    check(&permissions, Action::Subscribe, "a/restricted/x", false);
    check(&permissions, Action::Receive, "a/restricted/x", false);
    check(&permissions, Action::Receive, "a/x", true);
    // `topicfilter/` never lets publish, `topic/` never subscribe.
    check(&permissions, Action::Publish, "wrong", false);
    check(&permissions, Action::Subscribe, "wrong", false);
}

#[test]
fn actions_are_without_case_and_resources_with_it() {
    let permissions = compiled(
        d1(),
        &[of(&json!([allow("IOT:pub*", "topic/Abc"), allow("iot:Sub?cribe", "topicfilter/x")]))],
    );
    check(&permissions, Action::Publish, "Abc", true);
    check(&permissions, Action::Publish, "abc", false);
    check(&permissions, Action::RetainPublish, "Abc", false);
    check(&permissions, Action::Subscribe, "x", true);
    let all = compiled(d1(), &[of(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }))]);
    for action in Action::ALL {
        check(&all, action, "anything/at/all", true);
    }
}

#[test]
fn region_and_account_are_ours_or_a_star() {
    let statement = |place: &str| {
        of(&json!({ "Effect": "Allow", "Action": "iot:Publish", "Resource": format!("arn:{place}:topic/x") }))
    };
    for (place, expect) in [
        ("aws:iot:local:000000000000", true),
        ("aws:iot:*:*", true),
        ("*:*:*:*", true),
        ("aws:iot:lo*:0000?0000000", true),
        ("aws:iot:eu-west-1:000000000000", false),
        ("aws:iot:local:123456789012", false),
        ("aws:s3:local:000000000000", false),
        ("aws-cn:iot:*:*", false),
    ] {
        check(&compiled(d1(), &[statement(place)]), Action::Publish, "x", expect);
    }
    // A star in front of the last part does not reach into it.
    let tricked = compiled(d1(), &[statement("aws:iot:*:*")]);
    check(&tricked, Action::Publish, "y:topic/x", false);
}

#[test]
fn what_a_variable_stands_for_is_text() {
    let texts = [of(&json!([
        allow("iot:Publish", "topic/c/${iot:ClientId}/*"),
        allow("iot:Publish", "topic/t/${iot:Connection.Thing.ThingName}/*"),
        allow("iot:Publish", "topic/a/${iot:Connection.Thing.Attributes[Site]}/*"),
        allow("iot:Publish", "topic/d/${GODWIT:device}/*"),
        allow("iot:Publish", "topic/cn/${iot:Certificate.Subject.CommonName.1}"),
        allow("iot:Publish", "topic/id/${iot:CertificateId}"),
        allow("iot:Publish", "topic/ip/${aws:SourceIp}"),
        allow("iot:Publish", "topic/literal/${*}${?}${$}"),
        allow("iot:Connect", "client/${iot:ClientId}"),
    ]))];
    let certificate = CertificateFacts {
        id: [0xab; 32],
        subject: vec![("CommonName".into(), "first".into()), ("CommonName".into(), "second".into())],
        ..CertificateFacts::default()
    };
    let mut context = d1();
    context.attributes = attributes("Site", "hq");
    context.certificate = Some(Arc::new(certificate));
    context.circumstances.address = Some("192.0.2.7".parse::<IpAddr>().expect("an address"));
    let own = compiled(context.clone(), &texts);
    for topic in [
        "c/d1/x",
        "t/d1/x",
        "a/hq/x",
        "d/d1/x",
        "cn/second",
        "ip/192.0.2.7",
        "literal/*?$",
        &format!("id/{}", "ab".repeat(32)),
    ] {
        check(&own, Action::Publish, topic, true);
    }
    for topic in ["c/d2/x", "t/d2/x", "a/HQ/x", "d/d2/x", "cn/first", "literal/abc", "c/${iot:ClientId}/x"] {
        check(&own, Action::Publish, topic, false);
    }
    // As another client id the thing is not attached; the device is still the device.
    context.circumstances.client_id = "other".into();
    let other = compiled(context.clone(), &texts);
    check(&other, Action::Publish, "t/d1/x", false);
    check(&other, Action::Publish, "a/hq/x", false);
    check(&other, Action::Publish, "t/${iot:Connection.Thing.ThingName}/x", true);
    check(&other, Action::Publish, "d/d1/x", true);
    check(&other, Action::Connect, "other", true);
    // A value that would be a pattern is not put in (CVE-2017-7650 is what happens otherwise).
    for wild in ["*", "+", "#", "?", "d*", "${iot:ClientId}", "a?b"] {
        context.circumstances.client_id = wild.into();
        let tricked = compiled(context.clone(), &texts);
        for topic in ["c/d2/x", "c/+/x", "c/*/x", "c/#/x", &format!("c/{wild}/x")] {
            let is_text = topic == "c/${iot:ClientId}/x";
            check(&tricked, Action::Publish, topic, is_text);
        }
    }
    context.circumstances.client_id = "x".repeat(1025).into();
    check(&compiled(context, &texts), Action::Publish, &format!("c/{}/x", "x".repeat(1025)), false);
}

#[test]
fn conditions_are_judged_by_what_is_known_of_the_session() {
    let may = |condition: Value, context: &Context| {
        let statement =
            json!({ "Effect": "Allow", "Action": "iot:Publish", "Resource": "*", "Condition": condition });
        compiled(context.clone(), &[of(&statement)]).may(Action::Publish, "x").is_permitted()
    };
    let mut known = d1();
    known.circumstances.address = Some("10.1.2.3".parse().expect("an address"));
    known.circumstances.has_will = true;
    known.attributes = Attributes::new([("site", "Hq"), ("type", "Pump")]).expect("attributes");
    known.certificate = Some(Arc::new(CertificateFacts {
        subject: ["a", "b"].map(|unit| ("OrganizationalUnit".to_owned(), unit.to_owned())).into(),
        ..CertificateFacts::default()
    }));
    let site = "iot:Connection.Thing.Attributes[site]";
    let none = "iot:Connection.Thing.Attributes[none]";
    let units = "iot:Certificate.Subject.OrganizationalUnit.List";
    let flags = "iot:ConnectAttributes";
    let cases = [
        (json!({ "StringEquals": { site: "Hq" } }), true),
        (json!({ "StringEquals": { site: ["x", "Hq"] } }), true),
        (json!({ "StringEquals": { site: "hq" } }), false),
        (json!({ "StringEquals": { site: "H*" } }), false),
        (json!({ "StringEquals": { none: "Hq" } }), false),
        (json!({ "StringEqualsIfExists": { none: "Hq" } }), true),
        (json!({ "StringEqualsIgnoreCase": { site: "hQ" } }), true),
        (json!({ "StringNotEquals": { site: "Hq" } }), false),
        (json!({ "StringNotEquals": { site: ["x", "y"] } }), true),
        (json!({ "StringNotEquals": { none: "Hq" } }), true),
        (json!({ "StringLike": { site: "?q" } }), true),
        (json!({ "StringLike": { site: "${*}" } }), false),
        (json!({ "StringNotLike": { site: "H*" } }), false),
        (json!({ "Bool": { "iot:Connection.Thing.IsAttached": "true" } }), true),
        (json!({ "Bool": { "iot:Connection.Thing.IsAttached": false } }), false),
        (json!({ "Null": { none: true } }), true),
        (json!({ "Null": { site: "true" } }), false),
        (json!({ "Null": { site: "false" } }), true),
        (json!({ "IpAddress": { "aws:SourceIp": ["192.0.2.0/24", "10.0.0.0/8"] } }), true),
        (json!({ "NotIpAddress": { "aws:SourceIp": "10.0.0.0/8" } }), false),
        (json!({ "StringEquals": { "iot:Connection.Thing.ThingTypeName": "Pump" } }), true),
        (json!({ "StringEquals": { "iot:Connection.Thing.ThingTypeName": "Valve" } }), false),
        (json!({ "StringEquals": { "iot:ClientId": "${godwit:Device}" } }), true),
        (json!({ "ForAnyValue:StringEquals": { units: ["b", "c"] } }), true),
        (json!({ "ForAllValues:StringEquals": { units: ["b", "c"] } }), false),
        (json!({ "ForAllValues:StringEquals": { units: ["a", "b", "c"] } }), true),
        (json!({ "ForAllValues:StringEquals": { none: "x" } }), true),
        (json!({ "ForAnyValue:StringEquals": { none: "x" } }), false),
        (json!({ "ForAnyValue:StringNotEquals": { units: "a" } }), true),
        (json!({ "ForAllValues:StringNotEquals": { units: "a" } }), false),
        (json!({ "StringEquals": { flags: "LastWill" } }), true),
        (json!({ "StringEquals": { flags: "PersistentConnect" } }), false),
        (json!({ "StringNotEquals": { flags: "LastWill" } }), false),
        // All operators and all keys must hold.
        (
            json!({ "StringEquals": { site: "Hq", "iot:ClientId": "d1" }, "Bool": { "iot:Connection.Thing.IsAttached": "true" } }),
            true,
        ),
        (json!({ "StringEquals": { site: "Hq", "iot:ClientId": "d2" } }), false),
        (json!({ "StringEquals": { site: "Hq" }, "Null": { site: "true" } }), false),
    ];
    for (condition, expect) in cases {
        assert_eq!(may(condition.clone(), &known), expect, "{condition}");
    }
    assert!(!may(json!({ "IpAddress": { "aws:SourceIp": "0.0.0.0/0" } }), &d1()), "no address is known");
}

#[test]
fn a_gateway_speaks_for_its_children_and_for_nobody_else() {
    let mut gateway = d1();
    gateway.children = Arc::from([name("c1"), name("c2")]);
    let permissions = compiled(gateway, &[DEFAULT_POLICY_TEXT.to_owned()]);
    for topic in ["dt/d1/x", "dt/c1/x", "dt/c2", "$aws/things/c2/shadow/update"] {
        check(&permissions, Action::Publish, topic, true);
    }
    for topic in ["dt/c3/x", "dt/c11/x", "cmd/c1/x", "dt/${godwit:Child}/x"] {
        check(&permissions, Action::Publish, topic, false);
    }
    check(&permissions, Action::Subscribe, "cmd/c1/#", true);
    check(&permissions, Action::Receive, "cmd/c2/x", true);
    check(&permissions, Action::Subscribe, "cmd/+/#", false);
    let alone = compiled(d1(), &[DEFAULT_POLICY_TEXT.to_owned()]);
    check(&alone, Action::Publish, "dt/c1/x", false);
    check(&alone, Action::Publish, "dt/${godwit:Child}/x", false);
}

/// What somebody with a valid proof tries, to be taken for somebody else: each is another text than what is permitted.
#[test]
fn no_way_of_writing_a_name_is_the_way_to_another_device() {
    let permissions = compiled(d1(), &[DEFAULT_POLICY_TEXT.to_owned()]);
    let written = [
        "d2",
        "+",
        "#",
        "D1",
        "d1%2f",
        "d%31",
        "d1 ",
        " d1",
        "d1\u{200b}",
        "\u{ff44}1",
        "d\u{0661}",
        "d1\u{0301}",
        "d1.",
        "d1:",
        "d1\u{2215}",
        "*",
        "?",
        "d?",
        "..",
        "d1/../d2",
        "./d1",
        "${godwit:Device}",
        "$d1",
        "d1\u{1}",
        "\u{202e}1d",
        "",
    ];
    for other in written.iter().filter(|other| !other.starts_with("d1/")) {
        for topic in
            [format!("dt/{other}/x"), format!("$aws/things/{other}/shadow/update"), format!("cmd/{other}/x")]
        {
            for action in [Action::Publish, Action::RetainPublish, Action::Subscribe, Action::Receive] {
                check(&permissions, action, &topic, false);
            }
            check(&permissions, Action::Subscribe, &format!("$share/g/{topic}"), false);
            check(&permissions, Action::Subscribe, &format!("$share/cmd/d1/{topic}"), false);
        }
    }
    // There is no way up in a topic: this is below its own name.
    check(&permissions, Action::Publish, "dt/d1/../d2", true);
    for prefix in ["/dt/d1/x", "dt//d1/x", "DT/d1/x", "dt/d1x/y", "xdt/d1/y", "dt", "dt/"] {
        check(&permissions, Action::Publish, prefix, false);
    }
}

// A plain reading of the language, beside which what is compiled must decide the same.

/// `*` any run, `?` one character.
fn reads(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], text) => (0..=text.len()).any(|n| reads(rest, &text[n..])),
        (['?', rest @ ..], [_, text @ ..]) => reads(rest, text),
        ([letter, rest @ ..], [first, text @ ..]) => letter == first && reads(rest, text),
        (_, []) => false,
    }
}

fn listed(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn resource_reads(resource: &str, kind: &str, topic: &str) -> bool {
    if resource == "*" {
        return true;
    }
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    let own = ["arn", "aws", "iot", "local", "000000000000"];
    let rest = parts[5].replace("${iot:ClientId}", "d1").replace("${godwit:Device}", "d1");
    parts.iter().zip(own).all(|(part, own)| reads(&chars(part), &chars(own)))
        && reads(&chars(&rest), &chars(&format!("{kind}/{topic}")))
}

/// Allowed, denied, or neither.
fn by_the_book(policies: &[Value], action: Action, topic: &str) -> &'static str {
    let kind = match action {
        Action::Connect => "client",
        Action::Subscribe => "topicfilter",
        _ => "topic",
    };
    let mut verdict = "neither";
    for statement in policies.iter().flat_map(|policy| policy["Statement"].as_array().expect("a list")) {
        let name = action.policy_name().to_lowercase();
        let acts =
            |list: &Value| listed(list).iter().any(|one| reads(&chars(&one.to_lowercase()), &chars(&name)));
        let is_action = match statement.get("Action") {
            Some(actions) => acts(actions),
            None => !acts(&statement["NotAction"]),
        };
        let on = |list: &Value| listed(list).iter().any(|one| resource_reads(one, kind, topic));
        let is_resource = match statement.get("Resource") {
            Some(resources) => on(resources),
            None => !on(&statement["NotResource"]),
        };
        let holds = statement
            .get("Condition")
            .is_none_or(|condition| listed(&condition["StringEquals"]["iot:ClientId"]).contains(&"d1"));
        if is_action && is_resource && holds {
            match statement["Effect"].as_str() {
                Some("Deny") => return "denied",
                _ => verdict = "allowed",
            }
        }
    }
    verdict
}

fn few<T: std::fmt::Debug + Clone + 'static>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 1..4)
}

fn statement() -> impl Strategy<Value = Value> {
    let action = prop::sample::select(
        &[
            "iot:Publish",
            "iot:Subscribe",
            "iot:*",
            "*",
            "IOT:RECEIVE",
            "iot:*Publish",
            "iot:Connect",
            "iot:?ublish",
        ][..],
    );
    let place = prop::sample::select(&["*:*", "local:000000000000", "local:*", "eu:*"][..]);
    let kind = prop::sample::select(&["topic/", "topicfilter/", "client/", "topic*/", "*", "t?pic/"][..]);
    let piece = prop::sample::select(
        &["a", "b", "/", "*", "?", "+", "#", "d1", "${iot:ClientId}", "${godwit:Device}", "é"][..],
    );
    let path = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let arn = (place, kind, path).prop_map(|(place, kind, path)| format!("arn:aws:iot:{place}:{kind}{path}"));
    let resource = prop_oneof![9 => arn, 1 => Just("*".to_owned())];
    (
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.8),
        few(action),
        prop::bool::weighted(0.8),
        few(resource),
        prop::option::weighted(0.2, prop::sample::select(&["d1", "d2"][..])),
    )
        .prop_map(|(allows, is_action, actions, is_resource, resources, condition)| {
            let mut statement = json!({
                "Effect": if allows { "Allow" } else { "Deny" },
                if is_action { "Action" } else { "NotAction" }: actions,
                if is_resource { "Resource" } else { "NotResource" }: resources,
            });
            if let Some(client_id) = condition {
                statement["Condition"] = json!({ "StringEquals": { "iot:ClientId": client_id } });
            }
            statement
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3_000)
    ))]
    #[test]
    fn a_compiled_decision_is_what_a_plain_reading_of_the_policies_says(
        policies in prop::collection::vec(prop::collection::vec(statement(), 0..5), 1..4),
        topics in prop::collection::vec("[ab/+#é]{0,5}|(a|b|d1|/){1,5}", 1..12),
    ) {
        let policies: Vec<Value> =
            policies.into_iter().map(|list| json!({ "Version": "2012-10-17", "Statement": list })).collect();
        let texts: Vec<String> = policies.iter().map(Value::to_string).collect();
        let permissions = compiled(d1(), &texts);
        let judged = permissions.compiled().expect("by policies");
        for topic in &topics {
            for action in Action::ALL {
                let ours = match judged.judge(action, topic) {
                    identity::policy::Judgement::Allowed(_) => "allowed",
                    identity::policy::Judgement::Denied(_) => "denied",
                    identity::policy::Judgement::Implicit => "neither",
                };
                prop_assert_eq!(ours, by_the_book(&policies, action, topic), "{:?} {}", action, topic);
            }
        }
    }

    /// The statement that is said to have decided would have decided alone.
    #[test]
    fn the_statement_that_is_named_decides_by_itself(
        statements in prop::collection::vec(statement(), 1..8), topic in "(a|b|d1|/){1,4}",
    ) {
        let permissions = compiled(d1(), &[of(&Value::from(statements.clone()))]);
        let judged = permissions.compiled().expect("by policies");
        for action in Action::ALL {
            let (by, verdict) = match judged.judge(action, &topic) {
                identity::policy::Judgement::Allowed(by) => (by, "allowed"),
                identity::policy::Judgement::Denied(by) => (by, "denied"),
                identity::policy::Judgement::Implicit => continue,
            };
            let alone = json!({ "Statement": [statements[usize::from(by.statement)]] });
            prop_assert_eq!(by_the_book(&[alone], action, &topic), verdict);
        }
    }
}
