//! Messages that came before their route, and what becomes of them; routes that are tried without a device.

use crate::server::{Home, Server};

const LISTEN: &str = "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n";
const ROUTE: &str = "[[route]]\nfilter = \"plant/+/state\"\ndevice = \"topic(2)\"\ndecode = \"json\"\n";

const READINGS: &str =
    "SELECT device, channel, time, value, text FROM readings ORDER BY device, channel, time";

/// Sends `count` messages that no route is for.
fn send(server: &Server, count: u64) {
    let mut client = crate::raw::Raw::connect(server.mqtt, "sender");
    for n in 0..count {
        let payload = format!(r#"{{"ts":{},"t":{n},"on":"yes"}}"#, 1_423_008_000 + n);
        client.publish_acked(&format!("plant/m{}/state", n % 3), payload.as_bytes());
    }
}

#[test]
fn what_came_before_its_route_comes_to_life_and_again_changes_nothing() {
    let home = Home::new();
    home.settings(LISTEN);
    let server = home.start();
    send(&server, 30);
    // What cannot be decoded by the route to come.
    server.ok(&["send", "plant/m0/state", "nonsense"]);
    assert_eq!(server.value("SELECT count(*) FROM readings"), "0");
    let unrouted = server.ok(&["route", "unrouted"]);
    assert!(unrouted.contains("31 messages came without a route"), "{unrouted}");
    assert!(unrouted.contains("filter = "), "{unrouted}");
    let listed: serde_json::Value = serde_json::from_str(&server.get("/api/v1/unrouted")).expect("JSON");
    let of_m = |listed: &serde_json::Value| {
        let patterns = listed["patterns"].as_array().expect("a list").clone();
        patterns.iter().map(|pattern| pattern["count"].as_u64().expect("a count")).sum::<u64>()
    };
    assert_eq!(of_m(&listed), 31);
    server.stop();

    home.settings(&format!("{LISTEN}{ROUTE}"));
    let server = home.start();
    assert!(server.ok(&["route", "unrouted"]).contains("a route matches them by now"));
    // One of the readings was corrected since.
    server.ok(&["send", "dt/m1/fix", r#"{"ts":1423008001,"t":99}"#]);
    assert_eq!(server.value("SELECT count(*) FROM readings"), "1");

    let dry = server.ok(&["reprocess", "--since", "1h", "--dry-run"]);
    assert!(dry.contains("plant/+/state: 31 messages, 60 readings: 59 would be new"), "{dry}");
    assert!(dry.contains("1 messages cannot be decoded") && dry.contains("decode.not_json"), "{dry}");
    assert_eq!(server.value("SELECT count(*) FROM readings"), "1", "a dry run stores nothing");

    let said = server.ok(&["reprocess", "--since", "1h"]);
    assert!(said.contains("59 new, 0 replaced, 0 there already, 1 gave way to newer ones"), "{said}");
    assert!(said.contains("SELECT topic, device, channel"), "{said}");
    let first = server.rows(READINGS);
    assert_eq!(first.len(), 60);
    assert_eq!(
        server.value("SELECT value FROM readings WHERE time = '2015-02-04T00:00:01Z' AND channel = 't'"),
        "99"
    );
    assert_eq!(
        server.rows("SELECT value FROM latest WHERE device = 'm2' AND channel = 't'"),
        [["29"]],
        "the newest are known too"
    );
    let listed: serde_json::Value = serde_json::from_str(&server.get("/api/v1/unrouted")).expect("JSON");
    assert_eq!(of_m(&listed), 0, "nothing of it is listed any more");

    let again = server.ok(&["reprocess", "--since", "1h"]);
    assert!(again.contains("0 new, 0 replaced, 59 there already, 1 gave way to newer ones"), "{again}");
    assert_eq!(server.rows(READINGS), first);
    // It is on disk when it is done.
    server.kill();
    let server = home.start();
    assert_eq!(server.rows(READINGS), first);

    let filtered = server.ok(&["reprocess", "--since", "1h", "--filter", "plant/m0/#"]);
    assert!(filtered.contains("11 messages, 20 readings"), "{filtered}");
    let later = server.ok(&["reprocess", "--since", "2090-01-01"]);
    assert!(later.starts_with("0 messages"), "{later}");
}

#[test]
fn a_route_that_was_wrong_is_corrected_and_its_newer_readings_stay() {
    let home = Home::new();
    let texts = ROUTE.replace("json", "text");
    home.settings(&format!("{LISTEN}{texts}"));
    let server = home.start();
    send(&server, 6);
    assert_eq!(server.value("SELECT count(*) FROM readings WHERE channel = 'state'"), "6");
    server.stop();
    home.settings(&format!("{LISTEN}{ROUTE}"));
    let server = home.start();
    server.ok(&["reprocess", "--since", "1h"]);
    assert_eq!(
        server.rows("SELECT channel, count(*) FROM readings GROUP BY 1 ORDER BY 1"),
        [["on", "6"], ["state", "6"], ["t", "6"]],
        "what was made under another name stays"
    );
}

#[test]
fn killed_in_the_middle_of_a_reprocessing_it_is_asked_for_again_and_is_whole() {
    let home = Home::new();
    home.settings(LISTEN);
    let server = home.start();
    send(&server, 600);
    server.stop();
    home.settings(&format!("{LISTEN}{ROUTE}"));
    for moments in [0, 1, 3, 9] {
        let server = home.start();
        let mut command = server.command(&["reprocess", "--since", "1h"]).spawn().expect("the binary starts");
        for _ in 0..moments {
            server.get("/healthz");
        }
        server.kill();
        let _ = command.wait();
    }
    let server = home.start();
    server.ok(&["reprocess", "--since", "1h"]);
    assert_eq!(
        server.rows("SELECT channel, count(*), count(DISTINCT time) FROM readings GROUP BY 1 ORDER BY 1"),
        [["on", "600", "600"], ["t", "600", "600"]]
    );
}

#[test]
fn routes_are_tried_without_a_server() {
    let home = Home::new();
    home.settings(&format!("{LISTEN}{ROUTE}"));
    let file = home.path().join("godwit.toml");
    let file = file.to_str().expect("text");
    let run = |arguments: &[&str]| {
        let output =
            std::process::Command::new(crate::server::GODWIT).args(arguments).output().expect("starts");
        let said = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(said).expect("text"))
    };
    let (ok, said) = run(&["route", "check", file]);
    assert!(ok && said.contains("1. plant/+/state") && said.contains("2. dt/+/#"), "{said}");
    let payload = r#"{"ts":1423008000,"t":21.5,"in":{"mode":"auto"}}"#;
    let (ok, said) = run(&["route", "test", file, "--topic", "plant/m1/state", "--payload", payload]);
    assert!(ok, "{said}");
    assert_eq!(
        said,
        "route 1 matches: plant/+/state\ndevice m1 at 2015-02-04T00:00:00Z\n  t        21.5\n  in.mode  \"auto\"\n"
    );
    let (ok, said) = run(&["route", "test", file, "--topic", "plant/m1/state", "--payload", "nonsense"]);
    assert!(!ok && said.contains("route 1 (`plant/+/state`) cannot decode it"), "{said}");
    let (ok, said) = run(&["route", "test", file, "--topic", "elsewhere/17", "--payload", "5"]);
    assert!(ok && said.contains("no route matches") && said.contains("filter = \"elsewhere/+\""), "{said}");
    home.settings("[[route]]\nfilter = \"a/#/b\"\n");
    let (ok, said) = run(&["route", "check", file]);
    assert!(!ok && said.contains("route 1"), "{said}");
}
