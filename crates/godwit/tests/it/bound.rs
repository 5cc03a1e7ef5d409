//! What somebody whose role is bound to a group reaches by the API, and what he is not told.

use serde_json::{Value, json};

use crate::people::{add_token, add_user, bearer, curl};
use crate::raw::Raw;
use crate::server::{BOTH_DOORS, Home, Server};

/// A server with devices in two groups and nowhere, and the header of an operator of one of the groups.
fn served() -> (Home, Server, String) {
    let home = Home::new();
    home.settings(BOTH_DOORS);
    let server = home.start();
    server.ok(&["group", "add", "hq/a/x"]);
    server.ok(&["group", "add", "hq/b"]);
    server.ok(&[
        "device",
        "add",
        "own",
        "--out",
        &home.path().join("own").display().to_string(),
        "--group",
        "hq/a",
    ]);
    server.ok(&[
        "device",
        "add",
        "foreign",
        "--out",
        &home.path().join("foreign").display().to_string(),
        "--group",
        "hq/b",
    ]);
    server.ok(&["device", "add", "nowhere", "--password"]);
    add_user(&server, "gina", &["operator@hq/a"]);
    let token = bearer(&add_token(&server, "gina", "all", &["*"]));
    (home, server, token)
}

fn texts(of: &Value, key: &str) -> Vec<String> {
    let all = of.as_array().expect("a list").iter();
    all.map(|one| one[key].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn a_bound_role_is_not_told_whether_a_device_elsewhere_is_there() {
    let (_home, server, gina) = served();
    for (method, below, body) in [
        ("GET", "", None),
        ("GET", "/certificates", None),
        ("PATCH", "", Some(json!({ "attributes": { "a": "b" } }))),
        ("DELETE", "", None),
        ("PUT", "/quarantine", Some(json!({ "reason": "odd" }))),
    ] {
        let said = |name: &str| {
            let path = format!("/api/v1/devices/{name}{below}");
            let answer = curl(&server, method, &path, &[&gina], body.as_ref());
            let detail = answer.body["detail"].as_str().expect("a reason").replace(name, "NAME");
            (answer.status, answer.code().to_owned(), detail)
        };
        let foreign = said("foreign");
        assert_eq!((foreign.0, foreign.1.as_str()), (403, "api.role"), "{method} {below}");
        assert!(!foreign.2.contains("hq/b"), "it names no home: {}", foreign.2);
        assert_eq!(foreign, said("unknown"), "{method} {below}");
        assert_eq!(foreign, said("nowhere"), "{method} {below}");
    }
    let unknown = curl(&server, "GET", "/api/v1/devices/unknown", &[&bearer(&server.token)], None);
    assert_eq!(unknown.status, 404, "who looks everywhere is told");
    // Page after page, no group of others is named.
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let path = format!("/api/v1/groups?limit=1&after={after}");
        let page = curl(&server, "GET", &path, &[&gina], None).body;
        seen.extend(texts(&page["groups"], "path"));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
        assert!(after.starts_with("hq/a"), "{after}");
    }
    assert_eq!(seen, ["hq/a", "hq/a/x"]);
}

#[test]
fn a_bound_operator_adds_devices_into_his_groups_and_no_others() {
    let (_home, server, gina) = served();
    let add = |body: Value| curl(&server, "POST", "/api/v1/devices", &[&gina], Some(&body));
    for (body, expect) in [
        (json!({ "name": "new-1", "password": true, "group": "hq/a/x" }), 201),
        (json!({ "name": "new-2", "certificate": true, "group": "hq/a" }), 201),
        (json!({ "name": "new-3", "password": true, "group": "hq/b" }), 403),
        (json!({ "name": "new-3", "password": true }), 403),
        // One that is elsewhere is not drawn in, nor given a password.
        (json!({ "name": "foreign", "password": true, "group": "hq/a" }), 403),
        (json!({ "name": "nowhere", "certificate": true, "group": "hq/a" }), 403),
        (json!({ "name": "foreign", "password": true, "replace": true }), 403),
        (json!({ "name": "own", "password": true, "group": "hq/b" }), 403),
        (json!({ "name": "own", "password": true }), 201),
        (json!({ "name": "own", "password": true, "replace": true }), 201),
    ] {
        let answer = add(body.clone());
        assert_eq!(answer.status, expect, "{body}: {}", answer.body);
    }
    let shown = curl(&server, "GET", "/api/v1/devices/own", &[&gina], None);
    assert_eq!(shown.body["group"], "hq/a");
    let replaced = json!({ "by": "foreign" });
    let refused = curl(&server, "POST", "/api/v1/devices/own/replace", &[&gina], Some(&replaced));
    assert_eq!(refused.status, 403, "{}", refused.body);
    let replaced = json!({ "by": "new-4" });
    let done = curl(&server, "POST", "/api/v1/devices/own/replace", &[&gina], Some(&replaced));
    assert_eq!(done.status, 200, "{}", done.body);
}

#[test]
fn a_bound_role_reads_certificates_and_sessions_of_its_devices_alone() {
    let (home, server, gina) = served();
    let root = bearer(&server.token);
    let path = |device: &str| format!("/api/v1/devices/{device}/certificates");
    let id = |device: &str| {
        let page = curl(&server, "GET", &path(device), &[&root], None).body;
        texts(&page["certificates"], "id").remove(0)
    };
    let own = curl(&server, "GET", &path("own"), &[&gina], None);
    assert_eq!(texts(&own.body["certificates"], "id"), [id("own")]);
    let one = |id: &str| curl(&server, "GET", &format!("/api/v1/certificates/{id}"), &[&gina], None).status;
    assert_eq!((one(&id("own")), one(&id("foreign"))), (200, 404));
    let listed = curl(&server, "GET", "/api/v1/certificates", &[&gina], None);
    assert_eq!(texts(&listed.body["certificates"], "id"), [id("own")], "{}", listed.body);
    assert!(listed.body["next"].is_null(), "{}", listed.body);
    // Also where the page is full: what he may not look at is not named by `next`.
    let listed = curl(&server, "GET", "/api/v1/certificates?limit=1", &[&gina], None);
    assert_eq!(texts(&listed.body["certificates"], "id"), [id("own")]);
    assert!(listed.body["next"].is_null(), "{}", listed.body);
    let listed = curl(&server, "GET", "/api/v1/certificates?device=own", &[&gina], None);
    assert_eq!(texts(&listed.body["certificates"], "id"), [id("own")]);

    let password = |name: &str| {
        let body = json!({ "name": name, "password": true });
        let made = curl(&server, "POST", "/api/v1/devices", &[&root], Some(&body)).body;
        made["password"].as_str().expect("a password").to_owned()
    };
    let door = home.door_with_passwords();
    let connected = ["own", "foreign"].map(|name| {
        let mut raw = Raw::open(door);
        assert_eq!(raw.say_connect(name, Some((name, &password(name)))), 0, "accepted");
        raw
    });
    let stranger = Raw::connect(server.mqtt, "stranger");
    let listed = curl(&server, "GET", "/api/v1/sessions", &[&gina], None);
    assert_eq!(texts(&listed.body["sessions"], "client_id"), ["own"]);
    let one = |client: &str| curl(&server, "GET", &format!("/api/v1/sessions/{client}"), &[&gina], None);
    assert_eq!((one("own").status, one("foreign").status, one("stranger").status), (200, 404, 404));
    let kick = |client: &str| {
        curl(&server, "POST", &format!("/api/v1/sessions/{client}/kick"), &[&gina], None).status
    };
    assert_eq!((kick("own"), kick("foreign"), kick("stranger")), (204, 404, 404));
    let left = curl(&server, "GET", "/api/v1/sessions?connected=true", &[&root], None);
    assert_eq!(texts(&left.body["sessions"], "client_id"), ["foreign", "stranger"]);
    drop((connected, stranger));
}

#[test]
fn a_bound_operator_makes_and_revokes_certificates_of_his_devices_alone() {
    let (_home, server, gina) = served();
    let root = bearer(&server.token);
    add_user(&server, "vera", &["viewer@hq/a"]);
    let vera = bearer(&add_token(&server, "vera", "all", &["*"]));
    let add = |device: &str, by: &str| {
        curl(&server, "POST", &format!("/api/v1/devices/{device}/certificates"), &[by], Some(&json!({})))
    };
    let own = add("own", &gina);
    assert_eq!(own.status, 201, "{}", own.body);
    assert_eq!(add("own", &vera).status, 403);
    assert_eq!((add("foreign", &gina).status, add("unknown", &gina).status), (403, 403));
    let foreign = add("foreign", &root);
    let revoke = |made: &Value, by: &str| {
        let path = format!("/api/v1/certificates/{}", made["id"].as_str().expect("an id"));
        curl(&server, "PATCH", &path, &[by], Some(&json!({ "status": "revoked" }))).status
    };
    assert_eq!((revoke(&foreign.body, &gina), revoke(&own.body, &vera)), (404, 403));
    assert_eq!((revoke(&own.body, &gina), revoke(&foreign.body, &root)), (200, 200));
}
