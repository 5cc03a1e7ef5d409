//! Policies through the real binary: put, attached, changed while devices are connected, asked about; and devices that try to
//! be others.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::manual::{page, sections, words};
use crate::mosquitto::wait_for;
use crate::people::{bearer, curl};
use crate::raw::Raw;
use crate::server::{BOTH_DOORS, Home, Server};

/// A home with a server that has both doors, and the second of them.
fn served() -> (Home, Server, SocketAddr) {
    let home = Home::new();
    home.settings(BOTH_DOORS);
    let server = home.start();
    let door = home.door_with_passwords();
    (home, server, door)
}

/// Adds a device and returns its password.
fn device(server: &Server, name: &str) -> String {
    let said = server.ok(&["device", "add", name, "--password"]);
    let line = said.lines().find_map(|line| line.strip_prefix("password  ")).expect("a password");
    line.split_whitespace().next().expect("a password").to_owned()
}

fn statement(effect: &str, actions: &[&str], resources: &[&str]) -> Value {
    let resources: Vec<String> = resources.iter().map(|one| format!("arn:aws:iot:*:*:{one}")).collect();
    json!({ "Effect": effect, "Action": actions, "Resource": resources })
}

fn put(home: &Home, server: &Server, name: &str, statements: &Value) {
    let file = home.path().join(format!("{name}.json"));
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    std::fs::write(&file, policy.to_string()).expect("written");
    server.ok(&["policy", "put", name, file.to_str().expect("text")]);
}

/// `mosquitto_pub` of MQTT 5 as a device; what it says of a refusal.
fn publish(door: SocketAddr, name: &str, password: &str, topic: &str, payload: &str) -> String {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "mqttv5", "-h", "127.0.0.1", "-q", "1", "-t", topic, "-m", payload, "-u", name]);
    command.args(["-P", password, "-p", &door.port().to_string()]);
    let output = command.output().expect("mosquitto_pub is here: `make mosquitto` installs it");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_policy_that_changes_is_obeyed_at_once_by_those_who_are_connected() {
    let (home, server, door) = served();
    let password = device(&server, "pump-1");
    // By the default policy.
    assert_eq!(publish(door, "pump-1", &password, "dt/pump-1/flow", "1"), "");
    let refused = publish(door, "pump-1", &password, "site/all", "1");
    assert!(refused.contains("Not authorized"), "{refused}");
    let everything = ["client/*", "topic/site/*", "topic/cmd/*", "topicfilter/cmd/*"];
    put(&home, &server, "site", &json!([statement("Allow", &["iot:*"], &everything)]));
    server.ok(&["policy", "attach", "site", "--device", "pump-1"]);
    assert_eq!(publish(door, "pump-1", &password, "site/all", "2"), "");
    let refused = publish(door, "pump-1", &password, "dt/pump-1/flow", "2");
    assert!(refused.contains("Not authorized"), "it takes the place of the default policy: {refused}");

    // One that listens, and one that has a connection on which it publishes.
    let mut sub = Command::new("mosquitto_sub")
        .args(["-V", "mqttv5", "-h", "127.0.0.1", "-q", "1", "-t", "cmd/all/#", "-v", "-i", "listener"])
        .args(["-u", "pump-1", "-P", &password, "-p", &door.port().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub is here");
    let mut heard = BufReader::new(sub.stdout.take().expect("piped"));
    let filters = || {
        let shown: Value = serde_json::from_str(&server.get("/api/v1/sessions/listener")).unwrap_or_default();
        shown["subscriptions"].as_u64()
    };
    wait_for("it subscribed", || filters() == Some(1));
    let mut speaker = Raw::open(door);
    assert_eq!(speaker.say_connect("speaker", Some(("pump-1", &password))), 0);
    speaker.publish_acked("site/x", b"1");
    let mut operator = Raw::connect(server.mqtt, "operator");
    // Another connection: on one's own the message may come before its acknowledgement.
    let mut witness = Raw::connect(server.mqtt, "witness");
    witness.subscribe("cmd/all/#");
    operator.publish_acked("cmd/all/go", b"first");
    let mut line = String::new();
    heard.read_line(&mut line).expect("readable");
    assert_eq!(line, "cmd/all/go first\n");
    assert_eq!(witness.message().1, b"first");

    // Another version: neither any more.
    put(&home, &server, "site", &json!([statement("Allow", &["iot:Connect"], &["client/*"])]));
    wait_for("the subscription ended", || filters() == Some(0));
    operator.publish_acked("cmd/all/go", b"second");
    assert_eq!(witness.message().1, b"second", "it is delivered to whoever may");
    speaker.publish("site/x", b"2", 9);
    assert!(speaker.packet().is_none(), "a publish that is refused ends a connection of MQTT 3.1.1");
    sub.kill().expect("killed");
    sub.wait().expect("gone");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut heard, &mut rest).expect("readable");
    assert_eq!(rest, "", "nothing after the subscription ended");
    let log = home.log();
    assert!(log.contains("Run: godwit policy why pump-1 publish site/x"), "{log}");

    // Back to the version before, by its number.
    server.ok(&["policy", "activate", "site", "1"]);
    assert_eq!(publish(door, "pump-1", &password, "site/all", "3"), "");
    // One that may not connect any more is cut.
    let mut speaker = Raw::open(door);
    assert_eq!(speaker.say_connect("speaker", Some(("pump-1", &password))), 0);
    put(&home, &server, "site", &json!([statement("Deny", &["iot:Connect"], &["client/*"])]));
    assert!(speaker.packet().is_none(), "it is cut");
    let mut again = Raw::open(door);
    assert_ne!(again.say_connect("speaker", Some(("pump-1", &password))), 0, "and not let in again");
    let status: Value = serde_json::from_str(&server.get("/api/v1/status")).expect("JSON");
    let refused = &status["permissions"]["refused"][0];
    assert_eq!((refused["device"].as_str(), refused["action"].as_str()), (Some("pump-1"), Some("connect")));
    assert!(refused["count"].as_u64() >= Some(4), "{refused}");
    assert!(server.metric("godwit_identity_refusals_total") >= 4.0);
    server.stop();
}

/// CONNECT with a will, written by hand.
fn connect_with_will(door: SocketAddr, login: (&str, &str), topic: &str, retain: bool) -> Raw {
    let mut raw = Raw::open(door);
    let flags = 0xc2 | 0x04 | 0x08 | if retain { 0x20 } else { 0 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60];
    for text in ["willing", topic, "gone", login.0, login.1] {
        body.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
        body.extend(text.as_bytes());
    }
    raw.send(0x10, &body);
    let (head, body) = raw.packet().expect("an answer");
    assert_eq!((head, body[1]), (0x20, 0), "accepted");
    raw
}

#[test]
fn a_device_with_a_right_proof_reaches_no_other_device_whatever_it_writes() {
    let (_home, server, door) = served();
    let password = device(&server, "pump-1");
    device(&server, "pump-2");
    let login = ("pump-1", password.as_str());
    let mut watcher = Raw::connect(server.mqtt, "watcher");
    watcher.subscribe("#");
    let others = [
        "pump-2",
        "PUMP-1",
        "+",
        "#",
        "pump-1%2f",
        "pump%2d1",
        "pump-1 ",
        "pump\u{2010}1",
        "\u{ff50}ump-1",
        "pump-1\u{200b}",
        "*",
        "?",
        "${godwit:Device}",
        "pump-?",
        "..",
        "pump-1\u{301}",
    ];
    for (at, other) in others.iter().enumerate() {
        for topic in
            [format!("dt/{other}/flow"), format!("cmd/{other}/open"), format!("$aws/things/{other}/x")]
        {
            // With a client id like that of the one that it would be.
            for retained in [false, true] {
                let mut raw = Raw::open(door);
                assert_eq!(raw.say_connect(&format!("pump-2-{at}"), Some(login)), 0);
                match retained {
                    false => raw.publish(&topic, b"forged", 7),
                    true => {
                        let mut body = u16::try_from(topic.len()).expect("short").to_be_bytes().to_vec();
                        body.extend(topic.as_bytes());
                        body.extend(b"\0\x07forged");
                        raw.send(0x33, &body);
                    }
                }
                assert!(raw.packet().is_none(), "{topic} is refused");
            }
            // With the client id of the one that it would be it is not even let in.
            let mut raw = Raw::open(door);
            assert_eq!(raw.say_connect("pump-2", Some(login)), 2);
            let mut raw = Raw::open(door);
            assert_eq!(raw.say_connect("pump-2x", Some(login)), 0);
            for filter in [
                format!("cmd/{other}/#"),
                format!("$share/g/cmd/{other}/#"),
                format!("$share/cmd/pump-1/{topic}"),
            ] {
                let mut body = vec![0, 5];
                body.extend(u16::try_from(filter.len()).expect("short").to_be_bytes());
                body.extend(filter.as_bytes());
                body.push(1);
                raw.send(0x82, &body);
                match raw.packet() {
                    Some((head, body)) => assert_eq!((head, body[2]), (0x90, 0x80), "{filter} is refused"),
                    // What is no filter ends the connection.
                    None => {
                        raw = Raw::open(door);
                        assert_eq!(raw.say_connect("pump-2x", Some(login)), 0);
                    }
                }
            }
        }
    }
    let before = server.metric("godwit_broker_dropped_messages_total");
    for retain in [false, true] {
        drop(connect_with_will(door, login, "dt/pump-2/will", retain));
    }
    wait_for("the wills were judged", || {
        server.metric("godwit_broker_dropped_messages_total") >= before + 2.0
    });
    let mut own = Raw::open(door);
    assert_eq!(own.say_connect("pump-1", Some(login)), 0);
    own.publish_acked("dt/pump-1/flow", b"true");
    assert_eq!(
        watcher.message(),
        ("dt/pump-1/flow".to_owned(), b"true".to_vec()),
        "nothing was forged before"
    );
    let retained = server.ok(&["retained", "list"]);
    assert!(!retained.contains("pump-2"), "{retained}");
    server.stop();
}

#[test]
fn a_gateway_speaks_for_the_devices_that_are_listed() {
    let (_home, server, door) = served();
    let password = device(&server, "gw-1");
    device(&server, "meter-1");
    let refused = publish(door, "gw-1", &password, "dt/meter-1/energy", "1");
    assert!(refused.contains("Not authorized"), "{refused}");
    assert_eq!(server.ok(&["device", "gateway", "gw-1", "--child", "meter-1"]), "meter-1\n");
    assert_eq!(publish(door, "gw-1", &password, "dt/meter-1/energy", "1"), "");
    let refused = publish(door, "gw-1", &password, "dt/meter-2/energy", "1");
    assert!(refused.contains("Not authorized"), "{refused}");
    server.ok(&["device", "gateway", "gw-1", "--none"]);
    let refused = publish(door, "gw-1", &password, "dt/meter-1/energy", "1");
    assert!(refused.contains("Not authorized"), "{refused}");
    server.stop();
}

#[test]
fn the_command_line_says_which_statement_decides_and_what_is_wrong() {
    let (home, server, _) = served();
    device(&server, "pump-1");
    let why = server.ok(&["policy", "why", "pump-1", "publish", "dt/pump-1/flow"]);
    assert!(
        why.starts_with(
            "permitted: a policy allows it\nby       policy default, version 1, statement 2 (SpeakAsItself)\n"
        ),
        "{why}"
    );
    let why = server.ok(&["policy", "why", "pump-1", "publish", "dt/pump-2/flow"]);
    assert!(why.starts_with("refused: a device publishes under"), "{why}");
    assert!(
        why.contains("asked    default, version 1\n") && why.contains("change   allow `iot:Publish`"),
        "{why}"
    );
    // The default policy can be put under a name of one's own, and decides the same.
    let file = home.path().join("own.json");
    std::fs::write(&file, server.ok(&["policy", "show", "default"])).expect("written");
    let file = file.to_str().expect("text");
    assert_eq!(server.ok(&["policy", "put", "own", file]), "policy own, version 1: counts now\n");
    server.ok(&["policy", "attach", "own", "--device", "pump-1"]);
    let why = server.ok(&["policy", "why", "pump-1", "iot:Publish", "dt/pump-1/flow"]);
    assert!(why.contains("policy own, version 1, statement 2"), "{why}");
    assert_eq!(
        server.ok(&["policy", "list"]).lines().nth(1).map(|line| line.split_whitespace().collect::<Vec<_>>()),
        Some(vec!["own", "1", "1", "device:pump-1"])
    );
    let failed = |arguments: &[&str]| {
        let output = server.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = failed(&["policy", "remove", "own"]);
    assert!(
        said.contains("attached to 1 targets, `device:pump-1` among them")
            && said.contains("hint: Run: godwit policy detach"),
        "{said}"
    );
    let said = failed(&["policy", "put", "default", file]);
    assert!(said.contains("belongs to Godwit"), "{said}");
    let said = failed(&["policy", "put", "own", file, "--if-version", "7"]);
    assert!(said.contains("version 7 of policy `own` was expected to count; it is version 1"), "{said}");
    let wrong = home.path().join("wrong.json");
    std::fs::write(&wrong, "{\"Version\": \"2012-10-17\",\n \"Statement\": [{\"Effect\": \"allow\"}]}")
        .expect("written");
    let said = failed(&["policy", "put", "own", wrong.to_str().expect("text")]);
    assert!(said.contains("statement 1: `Effect` is \"allow\"; it must be \"Allow\" or \"Deny\""), "{said}");
    let said = failed(&["policy", "attach", "own", "--device", "nobody"]);
    assert!(said.contains("there is no `device:nobody`"), "{said}");
    server.ok(&["policy", "detach", "own", "--device", "pump-1"]);
    server.ok(&["policy", "remove", "own"]);
    server.stop();
}

#[test]
fn every_example_of_the_policies_page_decides_what_stands_below_it() {
    let (home, server, _) = served();
    device(&server, "pump-1");
    let (mut printed, mut asked) = (String::new(), 0);
    for (heading, blocks) in sections(&page("policies.md")) {
        for (language, text) in blocks {
            match language.as_str() {
                "json" => {
                    std::fs::write(home.path().join("policy.json"), &text).expect("written");
                    let put = server
                        .command(&["policy", "put", "example", "policy.json"])
                        .current_dir(home.path())
                        .output();
                    let put = put.expect("the binary starts");
                    assert!(put.status.success(), "{heading}: {}", String::from_utf8_lossy(&put.stderr));
                    assert!(!String::from_utf8_lossy(&put.stdout).contains("warning"), "{heading}");
                }
                "sh" => {
                    printed.clear();
                    for line in text.lines() {
                        let words = words(line);
                        let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
                        let output = server.command(&arguments).current_dir(home.path()).output();
                        let output = output.expect("the binary starts");
                        let said = String::from_utf8_lossy(&output.stdout).into_owned();
                        assert!(
                            output.status.success(),
                            "{line}: {}",
                            String::from_utf8_lossy(&output.stderr)
                        );
                        printed += &format!("{}\n", said.lines().next().unwrap_or_default());
                        asked += 1;
                    }
                }
                "text" if !printed.is_empty() => {
                    assert_eq!(printed, text, "{heading}");
                    printed.clear();
                }
                _ => {}
            }
        }
    }
    assert!(asked >= 15, "{asked} questions");
    server.stop();
}

#[test]
fn a_question_that_is_dear_to_answer_holds_up_nobody_else() {
    let home = Home::new();
    let server = home.start();
    let by = [bearer(&server.token)];
    let ask = |topic: &str, resource: &str| {
        let document = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "iot:Publish", "Resource": format!("arn:aws:iot:*:*:topic/*{resource}b") }] });
        let asked = json!({
            "device": "pump-1", "action": "publish", "topic": topic, "document": document.to_string() });
        curl(&server, "POST", "/api/v1/decisions", &[&by[0]], Some(&asked))
    };
    // A topic as long as topics are over a pattern as long as patterns are: each letter of it is a new beginning.
    let (topic, resource) = ("a".repeat(16_000), "a".repeat(16_000 / 2));
    let (began, (say, said)) = (Instant::now(), std::sync::mpsc::channel());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (say, ask, topic, resource) = (say.clone(), &ask, &topic, &resource);
            scope.spawn(move || {
                let answer = ask(topic, resource);
                let _ = say.send((began.elapsed(), answer.status, answer.body["permitted"].clone()));
            });
        }
        let mut longest = Duration::ZERO;
        let first = loop {
            let asked = Instant::now();
            assert_eq!(curl(&server, "GET", "/healthz", &[], None).status, 200);
            longest = longest.max(asked.elapsed());
            if let Ok(first) = said.try_recv() {
                break first;
            }
        };
        assert_eq!((first.1, &first.2), (200, &json!(false)));
        assert!(longest < first.0 / 2, "{longest:?} of {:?}", first.0);
    });
    let refused = ask(&"a".repeat(70_000), "x");
    assert_eq!((refused.status, refused.code()), (400, "api.topic"), "{}", refused.body);
    let refused = ask("a/+", "x");
    assert!(
        refused.body["detail"].as_str().is_some_and(|said| said.contains("wildcard")),
        "{}",
        refused.body
    );
}
