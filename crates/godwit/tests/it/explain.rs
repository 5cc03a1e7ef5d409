//! An alert explains itself: the rule's text, the readings that made it, who was told.

use serde_json::Value;

use crate::office::{OFFICE, Recording};
use crate::rules::{judged, until};
use crate::server::{BOTH_DOORS, Home, Server};

fn home(rules: &str) -> Home {
    let home = Home::new();
    let dir = home.path().join("rules");
    std::fs::create_dir(&dir).expect("made");
    std::fs::write(dir.join("office.yaml"), rules).expect("written");
    home.settings(&format!("{BOTH_DOORS}[rules]\ndir = \"{}\"\nshipped = false\n", dir.display()));
    home
}

/// The id of the alert of this rule that fired then.
fn id(server: &Server, rule: &str, fired_at: &str) -> String {
    let listed = server.ok(&["alert", "list", "--rule", rule, "--json"]);
    let alerts = listed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let found = alerts.into_iter().find(|alert| alert["fired_at"] == fired_at).expect("it fired");
    found["id"].as_str().expect("text").to_owned()
}

/// The lines of samples: time, what it said, and the rest.
fn samples(explained: &str) -> Vec<&str> {
    explained
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with("20"))
        .collect()
}

#[test]
fn an_alert_is_explained_by_the_readings_around_it_and_by_the_text_it_was_made_by() {
    let recording = Recording::office();
    let home = home(OFFICE);
    let server = home.start();
    server.ok(&["replay", recording.text(), "--as", "office-1"]);
    judged(&server);
    let first = id(&server, "StaleAir", "2015-02-05T09:45:00Z");
    let said = server.ok(&["rule", "explain", &first]);
    // What `alert show` says comes first.
    assert!(said.starts_with(&server.ok(&["alert", "show", &first])), "{said}");
    assert!(said.contains("co2 > 1000") && said.contains("\"for\":\"10m\""), "{said}");
    assert!(said.contains("picture   co2 from "), "{said}");
    assert!(said.contains("^ fired\n"), "{said}");
    let lines = samples(&said);
    let starting = lines.iter().position(|line| line.starts_with("2015-02-05T09:35:00Z")).expect("the start");
    assert_eq!(starting, 5, "five samples before the start: {said}");
    assert!(lines[starting - 1].contains("  clear      co2=998"), "{said}");
    assert!(lines[starting].contains("  met        co2=") && lines[starting].contains("  START, "), "{said}");
    let at = |time: &str| lines.iter().find(|line| line.starts_with(time)).copied().unwrap_or_default();
    assert!(at("2015-02-05T09:45:00Z").contains("  FIRED, received 20"), "{said}");
    assert!(
        at("2015-02-05T10:37:00Z").contains("  clear      co2=")
            && at("2015-02-05T10:37:00Z").contains("  RESOLVED"),
        "{said}"
    );
    assert_eq!(lines.len(), 5 + 63, "a sample a minute: {said}");

    // Ten hours: the first, the last, and how many lie between.
    let long = id(&server, "StaleAir", "2015-02-09T10:04:00Z");
    let said = server.ok(&["rule", "explain", &long]);
    assert_eq!(samples(&said).len(), 5 + 50 + 50, "{said}");
    assert!(said.contains("\n  … 507 more …\n"), "{said}");
    let json: Value = serde_json::from_str(&server.ok(&["rule", "explain", &long, "--json"])).expect("JSON");
    assert_eq!(json["alert"]["id"], long.as_str());
    let readings = &json["readings"];
    assert_eq!(
        (&readings["left_out"], readings["last"][49]["marks"][0].as_str()),
        (&507.into(), Some("resolved"))
    );
    assert_eq!(readings["picture"]["means"].as_array().map(Vec::len), Some(60));

    // Another text is in force: the old alert is explained by the old one.
    std::fs::write(home.path().join("rules/office.yaml"), OFFICE.replace("co2 > 1000", "co2 > 1500"))
        .expect("written");
    until("the new text is in force", || server.ok(&["rule", "show", "StaleAir"]).contains("co2 > 1500"));
    let later = server.ok(&["rule", "explain", &first]);
    assert!(later.contains("co2 > 1000") && !later.contains("co2 > 1500"), "{later}");
    assert_eq!(samples(&later), lines);

    let none = server.run(&["rule", "explain", "bd195309-cc15-8bd6-ae41-1de745baca7a"]);
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(told.contains("there is no alert `bd195309-cc15-8bd6-ae41-1de745baca7a`"), "{told}");
}

const MEAN: &str = "
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/climate
    expr: avg(temperature, last 2) > 30 and humidity < 50
    for: 2m
    max_gap: 5m
";

#[test]
fn an_explanation_says_what_was_undefined_what_was_missing_and_where_a_hole_broke_the_run() {
    let home = home(MEAN);
    let server = home.start();
    let send = |minute: u32, readings: &str| {
        server.ok(&[
            "send",
            "dt/a/climate",
            &format!("{{\"ts\":\"2026-01-02T03:{minute:02}:00Z\",{readings}}}"),
        ]);
    };
    send(0, "\"temperature\":31,\"humidity\":40");
    send(1, "\"temperature\":31,\"humidity\":40");
    send(20, "\"temperature\":32,\"humidity\":40");
    send(21, "\"temperature\":33");
    send(22, "\"temperature\":34,\"humidity\":40");
    judged(&server);
    let said = server.ok(&["rule", "explain", &id(&server, "Hot", "2026-01-02T03:22:00Z")]);
    let lines = samples(&said);
    let parts: Vec<(&str, Vec<&str>)> = lines
        .iter()
        .map(|line| {
            let (time, rest) = line.split_once("  ").expect("a time");
            let rest = rest.split("  ").map(str::trim).filter(|part| !part.is_empty()).collect();
            (time.strip_prefix("2026-01-02T").unwrap_or_default(), rest)
        })
        .collect();
    let notes = |at: usize| parts[at].1.last().copied().unwrap_or_default();
    assert_eq!(parts[0].1[0], "undefined", "the window has one: {said}");
    assert_eq!((parts[1].0, parts[1].1[0]), ("03:01:00Z", "met"), "{said}");
    assert!(parts[2].1[0] == "met" && notes(2).starts_with("START, after a gap, "), "{said}");
    assert!(parts[3].1[0] == "undefined" && notes(3).starts_with("without humidity, "), "{said}");
    assert!(parts[4].1[0] == "met" && notes(4).starts_with("FIRED, "), "{said}");
    assert_eq!(parts.len(), 5, "{said}");
}
