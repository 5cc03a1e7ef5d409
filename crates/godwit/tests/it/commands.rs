//! The commands as a person uses them, and a client that is not ours.

use std::io::Write;
use std::process::Stdio;

use crate::raw::Raw;
use crate::server::Home;

#[test]
fn a_device_with_a_password_may_do_its_own_and_nothing_else() {
    let home = Home::new();
    home.settings(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"password\"\n[http]\nbind = \"127.0.0.1:0\"\n",
    );
    let server = home.start();
    let said = server.ok(&["device", "add", "office-1", "--password"]);
    let password = said.lines().find_map(|line| line.strip_prefix("password")).expect("a password");
    let password = password.split_whitespace().next().expect("a password");

    let mut nobody = Raw::open(server.mqtt);
    assert_ne!(nobody.say_connect("x", None), 0, "no password is refused");
    assert!(home.log().contains("godwit device add"), "the log says what to do: {}", home.log());
    let mut stranger = Raw::open(server.mqtt);
    assert_ne!(stranger.say_connect("x", Some(("office-1", "wrong"))), 0, "a wrong password is refused");

    let mut device = Raw::open(server.mqtt);
    assert_eq!(device.say_connect("any-client-id", Some(("office-1", password))), 0);
    device.publish_acked("dt/office-1/climate", br#"{"temperature": 21.5}"#);
    assert_eq!(
        server.rows("SELECT device, channel, value FROM latest"),
        [["office-1", "temperature", "21.5"]]
    );
    // Somebody else's topic: refused in the one way 3.1.1 has, and nothing of it is stored.
    device.publish("dt/office-2/climate", br#"{"temperature": 99}"#, 7);
    drop(device.packet());
    assert_eq!(server.value("SELECT count(*) FROM messages WHERE topic = 'dt/office-2/climate'"), "0");

    let again = server.run(&["device", "add", "office-1", "--password"]);
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("--replace"), "{said}");
    let list = server.ok(&["device", "list"]);
    assert!(list.contains("office-1"), "{list}");
}

#[test]
fn what_is_sent_is_seen_by_tail_and_by_a_stranger_s_client() {
    let home = Home::new();
    let server = home.start();
    let mut stranger = Raw::connect(server.mqtt, "stranger");
    // SUBSCRIBE to ops/# with QoS 1.
    stranger.send(0x82, &[0, 9, 0, 5, b'o', b'p', b's', b'/', b'#', 1]);
    assert_eq!(stranger.packet().expect("SUBACK"), (0x90, vec![0, 9, 1]));
    let mut send = server
        .command(&["send", "ops/hot", "--lines", "--qos", "1"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    send.stdin.take().expect("piped").write_all(b"one\ntwo\n").expect("written");
    assert!(send.wait().expect("ended").success());
    for expected in ["one", "two"] {
        let (head, body) = stranger.packet().expect("PUBLISH");
        assert_eq!(head, 0x32, "QoS 1");
        assert_eq!(&body[..9], b"\x00\x07ops/hot");
        assert_eq!(&body[11..], expected.as_bytes());
    }

    server.ok(&["send", "ops/state", "kept", "--retain"]);
    let seen = server.ok(&["tail", "ops/#", "--count", "1"]);
    assert!(seen.contains("ops/state") && seen.contains("kept"), "{seen}");
}

#[test]
fn query_answers_as_table_csv_and_json_and_explains_its_errors() {
    let home = Home::new();
    let server = home.start();
    server.ok(&["send", "dt/d/x", r#"{"ts":1700000000500,"t":0.1,"state":"on, \"quoted\""}"#]);
    let sql = "SELECT time, channel, value, text FROM readings ORDER BY channel";
    assert_eq!(
        server.ok(&["query", "--csv", "--wait", "60s", sql]),
        "time,channel,value,text\n2023-11-14T22:13:20.5Z,state,,\"on, \"\"quoted\"\"\"\n2023-11-14T22:13:20.5Z,t,0.1,\n"
    );
    let json: serde_json::Value = serde_json::from_str(&server.ok(&["query", "--json", sql])).expect("JSON");
    assert_eq!(json[1]["value"], 0.1);
    assert_eq!(json[1]["text"], serde_json::Value::Null);
    assert!(server.ok(&["query", sql]).contains("2023-11-14T22:13:20.5"));
    for (sql, expected) in [
        ("SELECT valu FROM readings", "valu"),
        ("SELECT * FROM reading", "reading"),
        ("DROP TABLE readings", "read"),
        ("SELEC 1", "SELEC"),
    ] {
        let output = server.run(&["query", sql]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{sql}: {said}");
        assert!(said.lines().count() <= 6, "short: {said}");
    }
}

#[test]
fn without_a_server_every_command_says_so() {
    let home = Home::new();
    let data = home.data();
    let data = data.to_str().expect("text");
    for arguments in [
        ["query", "SELECT 1", "--data", data].as_slice(),
        &["send", "a", "b", "--data", data],
        &["tail", "a", "--data", data],
        &["device", "list", "--data", data],
    ] {
        let output =
            std::process::Command::new(crate::server::GODWIT).args(arguments).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(data) && said.contains("godwit serve"), "{arguments:?}: {said}");
    }
}

#[test]
fn the_api_asks_for_its_token_and_health_does_not() {
    let home = Home::new();
    let mut server = home.start();
    assert!(server.get("/healthz").contains("ok"));
    assert!(server.get("/api/v1/status").contains("journal"));
    server.token = "0".repeat(64);
    let refused = server.get("/api/v1/status");
    assert!(refused.contains("token"), "{refused}");
    assert!(server.get("/healthz").contains("ok"));
}

#[test]
fn a_command_whose_output_nobody_reads_any_more_ends_quietly() {
    let home = Home::new();
    let server = home.start();
    server.ok(&["device", "add", "pump-1", "--password"]);
    for arguments in [&["device", "list"][..], &["device", "export"], &["audit", "list"], &["group", "list"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = server.command(arguments).stdout(writer).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(141), ""), "{arguments:?}");
    }
}

#[test]
fn a_list_that_is_refused_has_no_columns() {
    let home = Home::new();
    let server = home.start();
    for list in [
        &["user", "list"][..],
        &["user", "logins"],
        &["token", "list"],
        &["device", "list"],
        &["device", "certificate", "list"],
        &["group", "list"],
        &["policy", "list"],
        &["session", "list"],
        &["retained", "list"],
    ] {
        let refused = server.command(list).env("GODWIT_TOKEN", "gdw_wrong").output().expect("starts");
        let printed = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert_eq!((refused.status.success(), printed.as_str()), (false, ""), "{list:?}");
        assert!(server.ok(list).contains("  "), "{list:?}: who may list sees the columns of nothing");
    }
}
