//! Devices, groups and placements, from the command line and over HTTP: the real binary.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::raw::Raw;
use crate::server::{BOTH_DOORS, Home, Server};

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn shown(server: &Server, device: &str) -> Value {
    serde_json::from_str(&server.ok(&["device", "show", device, "--json"])).expect("JSON")
}

/// A request with a client of the test's own: status, the head's lines, the body.
fn ask(server: &Server, method: &str, path: &str, head: &str, body: &str) -> (u16, String, Value) {
    let mut socket = std::net::TcpStream::connect(server.http).expect("connected");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n{head}\r\n{body}",
        server.token,
        body.len()
    );
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|digits| digits.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn a_device_is_placed_described_listed_and_removed_by_commands() {
    let home = Home::new();
    home.settings(BOTH_DOORS);
    let server = home.start();
    assert_eq!(
        server.ok(&["group", "add", "hq/floor-17/room-3"]),
        "made hq\nmade hq/floor-17\nmade hq/floor-17/room-3\n"
    );
    server.ok(&["group", "add", "trial"]);
    let added = server.ok(&["device", "add", "pump-1", "--password"]);
    let password = added.lines().find_map(|line| line.strip_prefix("password  ")).expect("a password");
    let password = password.split(' ').next().expect("a word").to_owned();
    assert!(
        server.ok(&["device", "move", "pump-1", "hq/floor-17/room-3"]).contains("is in hq/floor-17/room-3")
    );
    server.ok(&["device", "set", "pump-1", "model=TX-2", "note=north, by the door"]);
    server.ok(&["device", "set", "pump-1", "--remove", "nothing", "model=TX-3"]);
    server.ok(&["group", "join", "trial", "pump-1"]);
    let typo = server.run(&["device", "move", "pump-1", "hq/flor-17"]);
    assert!(!typo.status.success() && said(&typo).1.contains("godwit group add"), "{typo:?}");

    let device = shown(&server, "pump-1");
    assert_eq!(
        (&device["group"], &device["groups"]),
        (&"hq/floor-17/room-3".into(), &serde_json::json!(["trial"]))
    );
    assert_eq!(device["attributes"], serde_json::json!({ "model": "TX-3", "note": "north, by the door" }));
    assert_eq!((&device["state"], &device["password"]), (&"active".into(), &true.into()));
    let names = |filters: &[&str]| -> Vec<String> {
        let arguments = [&["device", "list", "--json"], filters].concat();
        let lines = server.ok(&arguments);
        let name = |line: &str| {
            serde_json::from_str::<Value>(line).expect("JSON")["name"].as_str().map(str::to_owned)
        };
        lines.lines().map(|line| name(line).expect("a name")).collect()
    };
    server.ok(&["device", "add", "valve-1", "--password", "--group", "trial", "--attribute", "model=V"]);
    assert_eq!(shown(&server, "valve-1")["attributes"]["model"], "V");
    server.ok(&["device", "move", "valve-1", "--nowhere"]);
    assert_eq!(names(&[]), ["pump-1", "valve-1"]);
    assert_eq!(names(&["--group", "hq"]), ["pump-1"]);
    assert_eq!(names(&["--group", "trial"]), ["pump-1"]);
    assert_eq!(names(&["--name", "valve-*"]), ["valve-1"]);
    assert_eq!(names(&["--attribute", "model=TX-3", "--attribute", "note=north, by the door"]), ["pump-1"]);
    assert_eq!(names(&["--attribute", "model=TX-2"]), [""; 0]);
    let odd = server.run(&["device", "list", "--state", "broken"]);
    assert!(said(&odd).1.contains("`seen`, `active`, `quarantined` or `removed`"), "{odd:?}");
    let groups = server.ok(&["group", "list", "--within", "hq"]);
    assert!(groups.contains("hq/floor-17 ") && !groups.contains("trial"), "{groups}");
    let used = server.run(&["group", "remove", "hq"]);
    assert!(said(&used).1.contains("1 devices, 0 members, 2 groups below it"), "{used:?}");

    assert!(shown(&server, "valve-1")["last_reading"].is_null());
    server.ok(&["send", "dt/valve-1/state", r#"{"ts": 1700000000, "open": true}"#]);
    server.ok(&["send", "dt/valve-1/state", r#"{"ts": 1700000060, "flow": 2}"#]);
    assert_eq!(server.value("SELECT count(*) FROM latest WHERE device = 'valve-1'"), "2");
    assert_eq!(shown(&server, "valve-1")["last_reading"], "2023-11-14T22:14:20Z");

    // Quarantine is written down; removal ends the session at once and the next one too.
    server.ok(&["device", "quarantine", "valve-1", "sends nonsense"]);
    assert_eq!(shown(&server, "valve-1")["quarantine"]["reason"], "sends nonsense");
    let why = server.ok(&["policy", "why", "valve-1", "publish", "dt/valve-1/state"]);
    assert!(why.starts_with("refused: `valve-1` is in quarantine since 20"), "{why}");
    assert!(why.contains("godwit device release valve-1"), "{why}");
    assert_eq!(server.ok(&["device", "release", "valve-1"]), "valve-1 is active again\n");
    let door = home.door_with_passwords();
    let mut away = Raw::open(door);
    assert_eq!(away.say_connect_as("pump-1-away", Some(("pump-1", &password)), 0xc0), 0, "accepted");
    // DISCONNECT; the session waits.
    away.send(0xe0, &[]);
    assert!(away.packet().is_none());
    assert!(server.ok(&["session", "list", "--json", "--away"]).contains("pump-1-away"));
    let mut client = Raw::open(door);
    assert_eq!(client.say_connect("pump-1", Some(("pump-1", &password))), 0, "accepted");
    assert_eq!(shown(&server, "pump-1")["sessions"][0]["client_id"], "pump-1");
    server.ok(&["device", "remove", "pump-1"]);
    assert!(client.packet().is_none(), "its session is cut");
    // And what was kept for it goes, connected or not.
    while server.ok(&["session", "list", "--json"]).contains("pump-1") {}
    assert_eq!(Raw::open(door).say_connect("pump-1", Some(("pump-1", &password))), 4, "refused");
    assert_eq!(names(&[]), ["valve-1"]);
    assert_eq!(names(&["--state", "removed"]), ["pump-1"]);
    let refused = server.run(&["device", "show", "valve-1"]);
    assert!(said(&refused).0.contains("password      yes"), "{refused:?}");
    let device = shown(&server, "pump-1");
    assert!(device["group"].is_null() && device["placements"][0]["to"].is_string(), "{device}");
}

#[test]
fn readings_of_a_place_are_one_line_across_a_replacement() {
    let home = Home::new();
    let server = home.start();
    server.ok(&["group", "add", "hq/room-3"]);
    let mut raw = Raw::connect(server.mqtt, "bridge");
    // Spoken of, not yet anywhere: not of the place.
    raw.publish_acked("dt/old/climate", br#"{"temperature": 20}"#);
    assert_eq!(server.value("SELECT count(*) FROM readings"), "1");
    server.ok(&["device", "move", "old", "hq/room-3"]);
    raw.publish_acked("dt/old/climate", br#"{"temperature": 21}"#);
    assert_eq!(server.value("SELECT count(*) FROM readings"), "2");
    server.ok(&["device", "set", "old", "floor=17"]);
    let said = server.ok(&["device", "replace", "old", "new"]);
    assert_eq!(said, "new takes the place of old, in hq/room-3; old is removed\n");
    raw.publish_acked("dt/new/climate", br#"{"temperature": 22}"#);
    // Whoever still speaks as the old one is of no place.
    raw.publish_acked("dt/old/climate", br#"{"temperature": 99}"#);

    let of_place = "SELECT r.device, r.value FROM readings r JOIN placements p ON r.device = p.device
        AND r.time >= p.from_time AND (p.to_time IS NULL OR r.time < p.to_time)
        WHERE p.group_path = 'hq/room-3' ORDER BY r.time";
    let line = [["old", "21"], ["new", "22"]];
    assert_eq!(server.rows(of_place), line);
    let row = server.rows("SELECT name, group_path, state, successor FROM devices ORDER BY name");
    assert_eq!(row[0], ["new", "hq/room-3", "active", ""]);
    assert_eq!((row[1][1].as_str(), row[1][2].as_str()), ("", "seen"), "it was spoken of again");
    assert_eq!(shown(&server, "new")["attributes"]["floor"], "17");
    let joined = "SELECT DISTINCT d.group_path FROM latest l JOIN devices d ON l.device = d.name WHERE d.group_path IS NOT NULL";
    assert_eq!(server.value(joined), "hq/room-3");
    server.stop();

    // As after a restart, and by the PostgreSQL protocol.
    let server = home.start();
    assert_eq!(server.rows(of_place), line);
    let psql = crate::sql::rows(&server, of_place);
    assert_eq!(psql, ["old|21.0", "new|22.0"]);
    server.ok(&["group", "add", "trial"]);
    server.ok(&["group", "join", "trial", "new"]);
    assert_eq!(server.rows("SELECT device, group_path FROM memberships"), [["new", "trial"]]);
}

#[test]
fn a_change_of_what_somebody_else_changed_meanwhile_is_refused() {
    let home = Home::new();
    let server = home.start();
    server.ok(&["device", "add", "d1", "--password"]);
    let (status, head, device) = ask(&server, "GET", "/api/v1/devices/d1", "", "");
    assert_eq!((status, head.contains("etag: \"1\"")), (200, true), "{head}");
    assert_eq!(device["version"], 1);
    let set = r#"{"attributes": {"a": "1"}}"#;
    let (status, head, device) = ask(&server, "PATCH", "/api/v1/devices/d1", "if-match: \"1\"\r\n", set);
    assert_eq!((status, head.contains("etag: \"2\"")), (200, true), "{head} {device}");
    let (status, _, problem) = ask(
        &server,
        "PATCH",
        "/api/v1/devices/d1",
        "if-match: \"1\"\r\n",
        r#"{"group": null, "attributes": {"a": null}}"#,
    );
    assert_eq!((status, problem["type"].as_str()), (412, Some("/problems/identity.stale")), "{problem}");
    assert_eq!(problem["detail"], "device `d1` was changed meanwhile: it has version 2, not 1");
    let (status, _, _) = ask(&server, "DELETE", "/api/v1/devices/d1", "if-match: \"1\"\r\n", "");
    assert_eq!(status, 412);
    assert_eq!(shown(&server, "d1")["attributes"]["a"], "1", "nothing was changed");
    for (method, path, body, expect) in [
        ("GET", "/api/v1/devices/ghost", "", 404),
        ("GET", "/api/v1/devices/room%203", "", 400),
        ("PATCH", "/api/v1/devices/d1", r#"{"attributes": {"a b": "1"}}"#, 400),
        ("PATCH", "/api/v1/devices/d1", r#"{"groupe": "x"}"#, 400),
        ("PATCH", "/api/v1/devices/d1", r#"{"group": "nowhere"}"#, 404),
        ("POST", "/api/v1/devices/d1/replace", r#"{"by": "d1"}"#, 400),
        ("DELETE", "/api/v1/devices/d1/quarantine", "", 409),
        ("POST", "/api/v1/groups", r#"{"path": "a//b"}"#, 400),
        ("GET", "/api/v1/groups/none", "", 404),
    ] {
        let (status, _, problem) = ask(&server, method, path, "", body);
        assert_eq!(status, expect, "{method} {path} {body}: {problem}");
        assert!(problem["detail"].is_string() && problem["type"].is_string(), "{problem}");
    }
}

#[test]
fn a_file_of_devices_comes_in_and_what_is_refused_is_said_by_line() {
    let home = Home::new();
    home.settings(BOTH_DOORS);
    let server = home.start();
    server.ok(&["device", "add", "there", "--password"]);
    let file = home.path().join("devices.csv");
    let (file, out) = (file.to_str().expect("text"), home.path().join("passwords.csv"));
    let out_text = out.to_str().expect("text");
    std::fs::write(
        file,
        "name,group,groups,password,attr.model\n\
         pump-1,hq/a,trial;spare,yes,TX-2\n\
         room 3,hq/a,,no,\n\
         there,hq/a,,no,\n\
         pump-2,hq//a,,no,\n\
         pump-3,hq/b,,no,\"Zürich, Süd\"\n\
         pump-1,hq/b,,no,\n\
         pump-4,hq/b,,perhaps,\n\
         local,,,no,\n\
         pump-5,,,,,,\n\
         pump-6,,,,\n",
    )
    .expect("written");
    let dry = server.run(&["device", "import", file, "--dry-run"]);
    let expect = "3 added, 0 updated, 7 refused (nothing was done)";
    assert!(said(&dry).1.contains(expect), "{dry:?}");
    assert_eq!(server.ok(&["device", "list", "--json"]).lines().count(), 1);
    let nowhere = server.run(&["device", "import", file]);
    assert!(!nowhere.status.success() && said(&nowhere).1.contains("--out"), "{nowhere:?}");

    let done = server.run(&["device", "import", file, "--out", out_text]);
    let (refused, told) = said(&done);
    assert!(!done.status.success() && told.contains("3 added, 0 updated, 7 refused"), "{told}");
    assert_eq!(said(&dry).0, refused, "what was foretold came");
    for line in [
        "line,name,reason",
        "3,room 3,",
        "4,there,device `there` exists already",
        "5,pump-2,",
        "7,pump-1,`pump-1` is in line 2 already",
        "8,pump-4,password `perhaps` is neither yes nor no",
        "9,local,",
        "10,pump-5,",
    ] {
        assert!(refused.contains(line), "{line}: {refused}");
    }
    assert_eq!(refused.lines().count(), 8, "{refused}");
    let pump = shown(&server, "pump-1");
    assert_eq!((&pump["group"], &pump["attributes"]["model"]), (&"hq/a".into(), &"TX-2".into()));
    assert_eq!(pump["groups"], serde_json::json!(["spare", "trial"]));
    assert_eq!(shown(&server, "pump-3")["attributes"]["model"], "Zürich, Süd");

    let mode = std::fs::metadata(&out).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let made = std::fs::read_to_string(&out).expect("text");
    let password = made.lines().find_map(|line| line.strip_prefix("pump-1,")).expect("its password");
    assert_eq!(made.lines().count(), 2, "{made}");
    let mut client = Raw::open(home.door_with_passwords());
    assert_eq!(client.say_connect("pump-1", Some(("pump-1", password))), 0, "it is let in by it");
    assert!(!home.log().contains(password));
    let again = server.run(&["device", "import", file, "--out", out_text]);
    assert!(said(&again).1.contains("name another file"), "passwords are not written over: {again:?}");

    // What is written out can be read in.
    let written = server.ok(&["device", "export"]);
    let other = Home::new();
    let empty = other.start();
    std::fs::write(file, &written).expect("written");
    std::fs::remove_file(&out).expect("removed");
    empty.ok(&["device", "import", file, "--out", out_text]);
    assert_eq!(empty.ok(&["device", "export"]), written);
    let again = empty.run(&["device", "import", file, "--dry-run"]);
    assert!(said(&again).1.contains("0 added, 0 updated, 4 refused"), "{again:?}");
    let again = empty.run(&["device", "import", file, "--update", "--dry-run"]);
    assert!(again.status.success() && said(&again).1.contains("0 added, 4 updated, 0 refused"), "{again:?}");
}

#[test]
fn kill_9_in_the_middle_of_an_import_leaves_whole_rows() {
    let home = Home::new();
    let server = home.start();
    let file = home.path().join("devices.csv");
    let mut text = "name,group,groups,password,attr.n\n".to_owned();
    for n in 0..20_000 {
        text += &format!("d{n},hq/room-{},trial,yes,{n}\n", n % 50);
    }
    std::fs::write(&file, text).expect("written");
    let out = home.path().join("passwords.csv");
    let mut import = server
        .command(&["device", "import", file.to_str().expect("text"), "--out", out.to_str().expect("text")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    // The third batch is under way.
    while !server.get("/api/v1/devices?name=d1000").contains("\"d1000\"") {}
    server.kill();
    assert!(!import.wait().expect("ended").success(), "it says that it was cut off");

    let server = home.start();
    let lines = server.ok(&["device", "list", "--json"]);
    let count = lines.lines().count();
    assert!((1_001..20_000).contains(&count), "{count}");
    assert_eq!(count % 500, 0, "batches are whole");
    for line in lines.lines() {
        let device: Value = serde_json::from_str(line).expect("JSON");
        let n: u32 = device["name"].as_str().and_then(|name| name[1..].parse().ok()).expect("a number");
        let expect =
            serde_json::json!([format!("hq/room-{}", n % 50), ["trial"], { "n": n.to_string() }, true]);
        let got =
            serde_json::json!([device["group"], device["groups"], device["attributes"], device["password"]]);
        assert_eq!(got, expect, "a row is there as a whole or not at all");
    }
    let whole = "SELECT count(*) FROM devices d JOIN placements p ON p.device = d.name AND p.group_path = d.group_path";
    assert_eq!(server.value(whole), count.to_string());
    // The rest comes in by the same file.
    let rest = server.run(&[
        "device",
        "import",
        file.to_str().expect("text"),
        "--update",
        "--out",
        &format!("{}-2", out.display()),
    ]);
    assert!(rest.status.success(), "{rest:?}");
    assert!(
        said(&rest).1.contains(&format!("{} added, {count} updated, 0 refused", 20_000 - count)),
        "{rest:?}"
    );
}

/// A connection from an address of its own; all of 127.0.0.0/8 is this machine.
fn connect_from(address: &str, to: std::net::SocketAddr, login: (&str, &str)) -> Raw {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let socket = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{address}:0").parse().expect("an address")).expect("bound");
        socket.connect(to).await.expect("connected").into_std().expect("a socket")
    });
    socket.set_nonblocking(false).expect("set");
    let mut raw = Raw { socket };
    assert_eq!(raw.say_connect("pump-1", Some(login)), 0, "accepted");
    raw
}

#[test]
fn two_hosts_with_one_identity_and_a_device_that_overdoes_it_are_shown_everywhere() {
    let home = Home::new();
    home.settings(&format!("{BOTH_DOORS}[devices]\nquarantine_over_rate = true\n"));
    let server = home.start();
    let added = server.ok(&["device", "add", "pump-1", "--password"]);
    let password = added.lines().find_map(|line| line.strip_prefix("password  ")).expect("a password");
    let password = password.split(' ').next().expect("a word").to_owned();
    let door = home.door_with_passwords();
    let _hosts: Vec<Raw> = ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3", "127.0.0.2"]
        .map(|address| connect_from(address, door, ("pump-1", &password)))
        .into();
    let mut raw = Raw::connect(server.mqtt, "bridge");
    let said = |minute: i64| format!("{{\"ts\": {}, \"t\": 1}}", (1_700_000_040_i64 + minute * 60) * 1000);
    for minute in 0..60 {
        raw.publish_acked("dt/meter-1/x", said(minute).as_bytes());
    }
    for n in 0..80 {
        let said = format!("{{\"ts\": {}, \"t\": 1}}", (1_700_000_040_i64 + 61 * 60) * 1000 + n);
        raw.publish_acked("dt/meter-1/x", said.as_bytes());
    }
    assert_eq!(server.value("SELECT count(*) FROM readings"), "140");
    // What was flagged on the way is written down when the writer comes to it.
    while !server.get("/api/v1/devices/meter-1").contains("unusual_rate") {}
    let flag = shown(&server, "pump-1")["flags"][0].clone();
    assert_eq!(flag["flag"], "cloned_identity");
    let hosts = [&flag["detail"]["hosts"][0]["address"], &flag["detail"]["hosts"][1]["address"]];
    assert_eq!(hosts, ["127.0.0.2", "127.0.0.3"]);
    let meter = shown(&server, "meter-1");
    assert_eq!(
        (&meter["state"], &meter["flags"][0]["detail"]["usual_per_minute"]),
        (&"quarantined".into(), &1.0.into())
    );
    let doctor = server.ok(&["doctor"]);
    assert!(doctor.contains("pump-1") && doctor.contains("meter-1"), "{doctor}");
    for flag in ["cloned_identity", "unusual_rate"] {
        let flagged = format!("godwit_identity_flagged_devices{{flag=\"{flag}\"}} 1");
        assert!(server.get("/metrics").contains(&flagged), "{flagged}");
    }
    assert_eq!(server.ok(&["device", "clear", "pump-1"]), "pump-1: 1 flags cleared\n");
    assert_eq!(shown(&server, "pump-1")["flags"], serde_json::json!([]));
    assert!(!server.ok(&["doctor"]).contains("pump-1"));
}
