//! What somebody whose role is bound to a group sees and does of alerts: those of his devices, and nothing of others.

use serde_json::{Value, json};

use crate::people::{add_token, add_user, bearer, curl};
use crate::server::{BOTH_DOORS, Home, Server};

/// How long an alert may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

const HOT: &str = r#"
groups:
- name: g
  rules:
  - alert: Hot
    from: dt/+/climate
    expr: temperature > 30
    labels: {severity: critical, secret: "{{device}}"}
  - alert: GroupHot
    from: dt/+/climate
    by: [group]
    expr: temperature > 40
  - alert: SiteHot
    from: dt/+/climate
    by: [site]
    expr: temperature > 40
"#;

/// Everything is told to the inbox, in one notice a group of all.
const CONFIG: &str =
    "route: {receiver: inbox, group_by: [everything], group_wait: 0s, group_interval: 1s}\nrefire: 0s\n";

/// A server with a hot device in two groups and nowhere, and the headers of an operator of one group and of everything.
fn served() -> (Home, Server, [String; 2]) {
    let home = Home::new();
    let dir = home.path().join("rules");
    std::fs::create_dir(&dir).expect("made");
    std::fs::write(dir.join("hot.yaml"), HOT).expect("written");
    let alerts = home.path().join("alerts.yaml");
    std::fs::write(&alerts, CONFIG).expect("written");
    let (rules, alerts) = (dir.display(), alerts.display());
    home.settings(&format!(
        "{BOTH_DOORS}[rules]\ndir = \"{rules}\"\nshipped = false\n[alerts]\nconfig = \"{alerts}\"\n"
    ));
    let server = home.start();
    server.ok(&["group", "add", "hq/a/x"]);
    server.ok(&["group", "add", "hq/b"]);
    for (device, group) in [("own", "hq/a/x"), ("foreign", "hq/b")] {
        let out = home.path().join(device).display().to_string();
        server.ok(&["device", "add", device, "--out", &out, "--group", group]);
    }
    server.ok(&["device", "add", "nowhere", "--password"]);
    add_user(&server, "gina", &["operator@hq/a"]);
    let gina = bearer(&add_token(&server, "gina", "all", &["*"]));
    for device in ["own", "foreign", "nowhere"] {
        server.ok(&["send", &format!("dt/{device}/climate"), r#"{"temperature": 45}"#]);
    }
    let root = bearer(&server.token);
    // Each of the three by its device, two groups (`nowhere` has none), one site.
    until(|| alerts_of(&server, &root, "").len() == 6 && inbox(&server, &root).contains("nowhere"));
    (home, server, [gina, root])
}

fn until(mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never became so");
    }
}

fn alerts_of(server: &Server, who: &str, query: &str) -> Vec<Value> {
    let page = curl(server, "GET", &format!("/api/v1/alerts{query}"), &[who], None);
    assert_eq!(page.status, 200, "{}", page.body);
    page.body["alerts"].as_array().expect("a list").clone()
}

fn inbox(server: &Server, who: &str) -> String {
    curl(server, "GET", "/api/v1/inbox", &[who], None).body.to_string()
}

fn keys(alerts: &[Value]) -> Vec<String> {
    let mut keys: Vec<String> = alerts.iter().map(|alert| alert["key"].to_string()).collect();
    keys.sort();
    keys
}

#[test]
fn a_bound_operator_sees_and_takes_on_the_alerts_of_his_devices_and_no_others() {
    let (_home, server, [gina, root]) = served();
    let own = [r#"{"device":"own"}"#, r#"{"group":"hq/a/x"}"#];
    assert_eq!(
        keys(&alerts_of(&server, &gina, "")),
        own,
        "his device, his group; no site, nothing of others"
    );
    assert!(alerts_of(&server, &gina, "?device=foreign").is_empty());
    // Page after page, no cursor names an alert of others.
    let (mut after, mut seen, ids) = (String::new(), Vec::new(), alerts_of(&server, &gina, ""));
    loop {
        let page = curl(&server, "GET", &format!("/api/v1/alerts?limit=1{after}"), &[&gina], None).body;
        seen.extend(page["alerts"].as_array().expect("a list").clone());
        let Some(next) = page["next"].as_str() else { break };
        assert!(ids.iter().any(|alert| next.contains(alert["id"].as_str().expect("an id"))), "{next}");
        after = format!("&after={next}");
    }
    assert_eq!(keys(&seen), own);

    let none = "00000000-0000-8000-8000-000000000000";
    let of = |device: &str| {
        let found = alerts_of(&server, &root, &format!("?device={device}"));
        found[0]["id"].as_str().expect("an id").to_owned()
    };
    for foreign in [of("foreign"), of("nowhere"), none.to_owned()] {
        for (method, below) in [("GET", ""), ("POST", "/acknowledge")] {
            let path = format!("/api/v1/alerts/{foreign}{below}");
            let refused = curl(&server, method, &path, &[&gina], None);
            assert_eq!((refused.status, refused.code()), (404, "alerts.none"), "{method} {path}");
        }
    }
    let path = format!("/api/v1/alerts/{}", of("own"));
    assert_eq!(curl(&server, "GET", &path, &[&gina], None).status, 200);
    assert_eq!(curl(&server, "POST", &format!("{path}/acknowledge"), &[&gina], None).status, 204);
    assert_eq!(alerts_of(&server, &root, "?device=own")[0]["acknowledged_by"], "user:gina token:all");

    let (mine, all) = (inbox(&server, &gina), inbox(&server, &root));
    assert!(mine.contains("own") && !mine.contains("foreign") && !mine.contains("nowhere"), "{mine}");
    assert!(all.contains("foreign"), "{all}");

    // SQL is cut by group no more than that of readings: it needs the role everywhere.
    let sql = json!({ "sql": "SELECT count(*) FROM alerts" });
    assert_eq!(curl(&server, "POST", "/api/v1/query", &[&gina], Some(&sql)).status, 403);
    assert_eq!(server.value("SELECT count(*) FROM alerts"), "6");

    // Who only looks there takes nothing on, and is told what is lacking.
    add_user(&server, "vera", &["viewer@hq/b", "operator@hq/a"]);
    let vera = bearer(&add_token(&server, "vera", "all", &["*"]));
    let path = format!("/api/v1/alerts/{}/acknowledge", of("foreign"));
    let refused = curl(&server, "POST", &path, &[&vera], None);
    assert_eq!((refused.status, refused.code()), (403, "api.role"), "{}", refused.body);

    // A device that is moved takes its alerts along.
    server.ok(&["device", "move", "own", "hq/b"]);
    assert_eq!(keys(&alerts_of(&server, &gina, "")), [r#"{"group":"hq/a/x"}"#]);
    assert!(keys(&alerts_of(&server, &vera, "")).contains(&r#"{"device":"own"}"#.to_owned()));
}

#[test]
fn a_silence_of_a_bound_operator_hushes_nothing_of_others() {
    let (_home, server, [gina, root]) = served();
    let silence = |who: &str, groups: &[&str]| {
        let body =
            json!({ "matchers": ["alertname=~[A-Z].*"], "groups": groups, "reason": "work", "for_s": 3600 });
        curl(&server, "POST", "/api/v1/silences", &[who], Some(&body))
    };
    let made = silence(&gina, &[]);
    assert_eq!((made.status, &made.body["groups"]), (201, &json!(["hq/a"])));
    let wide = silence(&root, &[]);
    assert_eq!((wide.status, &wide.body["groups"]), (201, &json!([])));
    let path = |answer: &crate::people::Answer| {
        format!("/api/v1/silences/{}", answer.body["id"].as_str().expect("an id"))
    };
    assert_eq!(curl(&server, "DELETE", &path(&wide), &[&gina], None).status, 404, "it is not his");
    assert_eq!(curl(&server, "DELETE", &path(&wide), &[&root], None).status, 204);
    for (groups, status) in
        [(&["hq/a/x"][..], 201), (&["hq/b"], 403), (&["hq/a", "hq"], 403), (&["hq/a/none"], 404)]
    {
        let answer = silence(&gina, groups);
        assert_eq!(answer.status, status, "{groups:?}: {}", answer.body);
    }
    let listed = curl(&server, "GET", "/api/v1/silences?all=true", &[&gina], None).body;
    assert_eq!(listed["silences"].as_array().expect("a list").len(), 2, "his own two: {listed}");

    // What is cold and hot again is a new alert: his is hushed, that of the others is told.
    for device in ["own", "foreign"] {
        for celsius in [20, 46] {
            server.ok(&["send", &format!("dt/{device}/climate"), &format!("{{\"temperature\": {celsius}}}")]);
        }
    }
    let newest = |device: &str| {
        until(|| alerts_of(&server, &root, &format!("?device={device}")).len() == 2);
        let newest = alerts_of(&server, &root, &format!("?device={device}")).remove(0);
        format!("/api/v1/alerts/{}", newest["id"].as_str().expect("an id"))
    };
    let words = |path: &str, list: &str, field: &str| {
        let shown = curl(&server, "GET", path, &[&root], None).body;
        let list = shown[list].as_array().expect("a list").clone();
        list.iter().map(|one| one[field].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let (own, foreign) = (newest("own"), newest("foreign"));
    until(|| {
        !words(&own, "suppressed", "reason").is_empty() && !words(&foreign, "said", "transition").is_empty()
    });
    assert_eq!(words(&own, "suppressed", "reason"), ["silenced"]);
    assert_eq!(words(&own, "said", "transition"), Vec::<String>::new());
    assert_eq!(words(&foreign, "said", "transition"), ["firing"], "hushed by nobody");
    assert_eq!(curl(&server, "DELETE", &path(&made), &[&gina], None).status, 204);
}
