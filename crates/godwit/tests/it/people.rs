//! People, end to end: roles, tokens and logins with curl, as a stranger's programs use them.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::raw::Raw;
use crate::server::{Home, Server};

/// What curl brought back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["type"].as_str().and_then(|text| text.strip_prefix("/problems/")).unwrap_or("none")
    }
}

/// Asks with curl; `headers` as it takes them.
pub(crate) fn curl(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[&str],
    body: Option<&Value>,
) -> Answer {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "-X", method, &format!("http://{}{path}", server.http)]);
    for header in headers {
        command.args(["-H", header]);
    }
    if let Some(body) = body {
        command.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
    }
    let output = command.stdin(Stdio::null()).output().expect("curl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    Answer { status, head: head.to_owned(), body }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// A user with a password that was made.
pub(crate) fn add_user(server: &Server, name: &str, roles: &[&str]) -> String {
    let mut arguments = vec!["user", "add", name];
    for role in roles {
        arguments.extend(["--role", role]);
    }
    second_word(&server.ok(&arguments), "password")
}

pub(crate) fn add_token(server: &Server, user: &str, name: &str, scopes: &[&str]) -> String {
    let mut arguments = vec!["token", "add", user, name];
    for scope in scopes {
        arguments.extend(["--scope", scope]);
    }
    second_word(&server.ok(&arguments), "token")
}

fn second_word(text: &str, first: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(first)).expect("the line is there");
    line.split_whitespace().nth(1).expect("two words").to_owned()
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found
}

#[test]
fn a_role_and_a_scope_open_what_they_name_and_nothing_else() {
    let home = Home::new();
    let server = home.start();
    add_user(&server, "root", &["admin"]);
    add_user(&server, "vera", &["viewer"]);
    add_user(&server, "otto", &["operator"]);
    add_user(&server, "gina", &["viewer@hq/floor-17"]);
    let tokens = [
        ("nobody", String::new()),
        ("vera", add_token(&server, "vera", "all", &["*"])),
        ("otto", add_token(&server, "otto", "all", &["*"])),
        ("root", add_token(&server, "root", "all", &["*"])),
        ("gina", add_token(&server, "gina", "all", &["*"])),
        ("root, reading only", add_token(&server, "root", "read", &["*:read"])),
        ("root, readings", add_token(&server, "root", "sql", &["readings:read"])),
    ];
    let sql = json!({ "sql": "SELECT 1" });
    let device = json!({ "name": "pump-1", "password": true, "replace": true });
    let user = json!({ "name": "root" });
    // Who may: in the order of `tokens`.
    let table: [(&str, &str, Option<&Value>, [bool; 7]); 6] = [
        ("GET", "/healthz", None, [true; 7]),
        ("GET", "/api/v1/status", None, [false, true, true, true, false, true, false]),
        ("POST", "/api/v1/query", Some(&sql), [false, true, true, true, false, true, true]),
        ("DELETE", "/api/v1/retained?filter=x", None, [false, false, true, true, false, false, false]),
        ("GET", "/api/v1/users", None, [false, false, false, true, false, true, false]),
        ("POST", "/api/v1/users", Some(&user), [false, false, false, true, false, false, false]),
    ];
    for (method, path, body, expect) in table {
        for ((who, token), expect) in tokens.iter().zip(expect) {
            let answer = curl(&server, method, path, &[&bearer(token)], body);
            let is_let = !matches!(answer.status, 401 | 403);
            assert_eq!(is_let, expect, "{who}: {method} {path}: {} {}", answer.head, answer.body);
        }
    }
    let refused = curl(&server, "POST", "/api/v1/devices", &[&bearer(&tokens[1].1)], Some(&device));
    let said = refused.body["detail"].as_str().expect("a reason");
    assert!(said.contains("`operator`") && said.contains("`viewer`"), "it says what would be needed: {said}");
    let refused = curl(&server, "DELETE", "/api/v1/retained?filter=x", &[&bearer(&tokens[5].1)], None);
    assert_eq!((refused.status, refused.code()), (403, "api.scope"));
    let refused = curl(&server, "POST", "/api/v1/query", &[&bearer(&tokens[4].1)], Some(&sql));
    assert!(refused.body["detail"].as_str().expect("a reason").contains("viewer@hq/floor-17"));
    assert_eq!(curl(&server, "POST", "/healthz", &[], None).status, 405);
}

#[test]
fn a_browser_logs_in_and_another_sites_page_changes_nothing_in_its_name() {
    let home = Home::new();
    let server = home.start();
    let password = add_user(&server, "alice", &["admin"]);
    let credentials = json!({ "name": "alice", "password": password });
    let login = curl(&server, "POST", "/api/v1/login", &[], Some(&credentials));
    assert_eq!(login.status, 200, "{}", login.body);
    let set = login.header("set-cookie").expect("a cookie");
    assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains("Secure"), "{set}");
    let cookie = format!("cookie: {}", set.split(';').next().expect("a pair"));
    let csrf = format!("x-godwit-csrf: {}", login.body["csrf"].as_str().expect("a secret"));

    let me = curl(&server, "GET", "/api/v1/me", &[&cookie], None);
    assert_eq!((&me.body["name"], &me.body["roles"]), (&json!("user:alice"), &json!(["admin"])));
    assert_eq!(me.body["csrf"], login.body["csrf"]);
    let order = json!({ "name": "bob" });
    for headers in
        [vec![cookie.as_str()], vec![&cookie, "x-godwit-csrf: 0123"], vec![&cookie, "x-godwit-csrf:"]]
    {
        let refused = curl(&server, "POST", "/api/v1/users", &headers, Some(&order));
        assert_eq!((refused.status, refused.code()), (403, "api.csrf"));
    }
    assert_eq!(
        curl(&server, "POST", "/api/v1/users", &[&csrf], Some(&order)).status,
        401,
        "the cookie counts"
    );
    assert_eq!(curl(&server, "POST", "/api/v1/users", &[&cookie, &csrf], Some(&order)).status, 201);

    assert!(server.ok(&["user", "logins"]).contains("alice"));
    let out = curl(&server, "POST", "/api/v1/logout", &[&cookie, &csrf], None);
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").expect("taken away").contains("Max-Age=0"));
    let over = curl(&server, "GET", "/api/v1/me", &[&cookie], None);
    assert_eq!((over.status, over.code()), (401, "api.login"));

    let wrong = json!({ "name": "alice", "password": "a wrong password" });
    let answers: Vec<Answer> =
        (0..12).map(|_| curl(&server, "POST", "/api/v1/login", &[], Some(&wrong))).collect();
    assert_eq!((answers[0].status, answers[0].code()), (401, "identity.login"));
    let last = answers.last().expect("twelve");
    assert_eq!((last.status, last.code()), (429, "identity.login_throttled"));
    assert!(last.header("retry-after").is_some_and(|text| text.parse::<u64>().is_ok_and(|s| s <= 6)));
}

#[test]
fn everybody_changes_his_own_password_and_nobody_without_the_old_one() {
    let home = Home::new();
    home.settings(crate::server::BOTH_DOORS);
    let server = home.start();
    let first = add_user(&server, "alice", &["viewer"]);
    let log_in = |password: &str| {
        let credentials = json!({ "name": "alice", "password": password });
        let login = curl(&server, "POST", "/api/v1/login", &[], Some(&credentials));
        let cookie = login.header("set-cookie").and_then(|set| set.split(';').next()).unwrap_or_default();
        let csrf = login.body["csrf"].as_str().unwrap_or_default();
        (login.status, format!("cookie: {cookie}"), format!("x-godwit-csrf: {csrf}"))
    };
    let ((_, cookie, csrf), (_, other, _)) = (log_in(&first), log_in(&first));
    let change = |headers: &[&str], old: &str, new: &str| {
        let body = json!({ "password": old, "new": new });
        let answer = curl(&server, "POST", "/api/v1/me/password", headers, Some(&body));
        (answer.status, answer.code().to_owned())
    };
    let second = "a long password of her own";
    let own = [cookie.as_str(), csrf.as_str()];
    assert_eq!(change(&own, "not the old one", second), (403, "identity.old_password".to_owned()));
    assert_eq!(change(&own, &first, "short"), (400, "identity.password".to_owned()));
    assert_eq!(change(&[&cookie], &first, second), (403, "api.csrf".to_owned()));
    assert_eq!(change(&[&bearer(&server.token)], &first, second), (400, "api.no_login".to_owned()));
    assert_eq!(change(&[], &first, second).0, 401);
    assert_eq!(change(&own, &first, second).0, 204);
    assert_eq!(log_in(&first).0, 401);
    let me = |cookie: &str| curl(&server, "GET", "/api/v1/me", &[cookie], None).status;
    assert_eq!((me(&cookie), me(&other)), (200, 401), "the login that asked stays, and no other");

    // The command needs no admin's token: only what she knows.
    let third = "and another one, by the command";
    let command = |lines: &str| {
        let url = format!("http://{}", server.http);
        let mut command = Command::new(crate::server::GODWIT);
        command.args(["user", "password", "alice", "--own", "--server", &url]).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), lines.as_bytes())
            .expect("written");
        child.wait_with_output().expect("it ends")
    };
    let wrong = command(&format!("{first}\n{third}\n"));
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("password is wrong"));
    let done = command(&format!("{second}\n{third}\n"));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(me(&cookie), 401);
    assert!(!server.ok(&["user", "logins"]).contains("alice"), "the command leaves no login behind");
    let log = server.ok(&["audit", "list", "--action", "user.password"]);
    assert_eq!(
        log.lines()
            .filter(|line| line.contains("user:alice from 127.0.0.1  user.password user:alice"))
            .count(),
        2,
        "{log}"
    );

    // Who is in over MQTT is in the audit log too.
    assert_eq!(Raw::open(home.door_with_passwords()).say_connect("panel", Some(("alice", third))), 0);
    crate::tls::wait_for("it is written down", || {
        let log = server.ok(&["audit", "list", "--action", "user.login", "--actor", "user:alice"]);
        log.lines().any(|line| line.contains("\"by\":\"password\"") && line.contains("\"door\":\"mqtt\""))
    });
}

#[test]
fn behind_a_trusted_proxy_everybody_is_himself_and_his_cookie_is_for_tls_alone() {
    let home = Home::new();
    let settings = std::fs::read_to_string(home.path().join("godwit.toml")).expect("settings");
    home.settings(&settings.replace("[http]\n", "[http]\ntrusted_proxies = [\"127.0.0.1\"]\n"));
    let server = home.start();
    let right = json!({ "name": "alice", "password": add_user(&server, "alice", &["admin"]) });
    let log_in = |from: &str, by: &Value| {
        let from = format!("x-forwarded-for: 198.51.100.9, {from}");
        curl(&server, "POST", "/api/v1/login", &[&from, "x-forwarded-proto: https"], Some(by))
    };
    let wrong = json!({ "name": "alice", "password": "a wrong password" });
    let last =
        (0..12).map(|_| log_in("192.0.2.1", &wrong)).fold(None, |_, answer| Some(answer)).expect("twelve");
    assert_eq!(last.status, 429, "{}", last.body);
    let login = log_in("192.0.2.2", &right);
    assert_eq!(login.status, 200, "a stranger locks out nobody but himself: {}", login.body);
    let set = login.header("set-cookie").expect("a cookie");
    assert!(set.starts_with("__Host-godwit=") && set.contains("; Secure"), "{set}");
    let cookie = format!("cookie: {}", set.split(';').next().expect("a pair"));
    let me = curl(&server, "GET", "/api/v1/me", &[&cookie, "x-forwarded-proto: https"], None);
    assert_eq!(me.status, 200);
    let log = server.ok(&["audit", "list", "--action", "user.login"]);
    assert!(log.contains("192.0.2.1") && log.contains("192.0.2.2") && !log.contains("198.51.100.9"), "{log}");
    let plain = curl(&server, "POST", "/api/v1/login", &["x-forwarded-for: 192.0.2.3"], Some(&right));
    assert_eq!((plain.status, plain.code()), (403, "api.plain"), "he reached the proxy without TLS");
}

#[test]
fn a_change_whose_client_hangs_up_is_done_to_its_end() {
    use std::io::{Read, Write};
    let home = Home::new();
    let server = home.start();
    let by = [bearer(&server.token)];
    let keys =
        || curl(&server, "GET", "/api/v1/keys", &[&by[0]], None).body["ring"].as_array().map_or(0, Vec::len);
    let before = keys();
    // Two requests at once, and gone with the first answer: the server has the second one then. Whoever was not heard even so
    // has changed nothing, and that is right: the promise is that no change is left without its entry.
    let question =
        |what: &str| format!("{what} HTTP/1.1\r\nhost: x\r\n{}\r\ncontent-length: 0\r\n\r\n", by[0]);
    let asked = question("GET /api/v1/keys") + &question("POST /api/v1/keys/rotate");
    crate::mosquitto::wait_for("three changes whose clients have hung up", || {
        let mut client = std::net::TcpStream::connect(server.http).expect("connected");
        client.write_all(asked.as_bytes()).expect("written");
        client.read_exact(&mut [0]).expect("the first answer");
        drop(client);
        keys() >= before + 3
    });
    let entries = || server.ok(&["audit", "list", "--action", "keys.rotate"]).matches("keys.rotate").count();
    crate::mosquitto::wait_for("each has its entry", || entries() == keys() - before);
}

#[test]
fn a_change_is_done_to_the_revision_that_was_seen() {
    let home = Home::new();
    let server = home.start();
    add_user(&server, "alice", &["viewer"]);
    let token = bearer(&server.token);
    let seen = curl(&server, "GET", "/api/v1/users/alice", &[&token], None);
    assert_eq!(seen.header("etag"), Some("\"1\""));
    let roles = json!({ "roles": ["operator"] });
    let put = |tag: &str| {
        let tag = format!("if-match: {tag}");
        curl(&server, "PUT", "/api/v1/users/alice/roles", &[&token, &tag], Some(&roles))
    };
    let done = put("\"1\"");
    assert_eq!((done.status, done.header("etag")), (204, Some("\"2\"")));
    let stale = put("\"1\"");
    assert_eq!((stale.status, stale.code()), (412, "identity.user_revision"));
    assert_eq!(put("nonsense").status, 400);
    let tag = "if-match: \"1\"";
    assert_eq!(curl(&server, "DELETE", "/api/v1/users/alice", &[&token, tag], None).status, 412);
    assert!(server.ok(&["user", "show", "alice"]).contains("operator"));
}

#[test]
fn a_policy_is_changed_in_the_version_that_was_seen() {
    let home = Home::new();
    let server = home.start();
    let token = bearer(&server.token);
    let put = |condition: &str, topic: &str| {
        let resource = format!("arn:aws:iot:*:*:topic/{topic}");
        let statement = json!({ "Effect": "Allow", "Action": "iot:Publish", "Resource": resource });
        let document = json!({ "Version": "2012-10-17", "Statement": [statement] });
        curl(&server, "PUT", "/api/v1/policies/site", &[&token, condition], Some(&document))
    };
    let made = put("If-None-Match: *", "a");
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(put("If-Match: \"1\"", "b").status, 200);
    let late = put("If-Match: \"1\"", "c");
    assert_eq!(late.status, 412, "{}", late.body);
    let shown = curl(&server, "GET", "/api/v1/policies/site", &[&token], None);
    assert!(shown.body.to_string().contains("topic/b"), "it is as it was: {}", shown.body);
    server.stop();
}

#[test]
fn the_first_user_comes_by_the_link_and_a_lost_password_is_reset_on_the_servers_machine() {
    let home = Home::new();
    let server = home.start();
    let link = home.data().join("setup-link");
    let text = std::fs::read_to_string(&link).expect("there is no terminal: a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&link).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let (page, code) = text.trim().split_once('#').expect("a code behind `#`");
    assert_eq!(page, format!("http://{}/setup", server.http));
    let page = curl(&server, "GET", "/setup", &[], None);
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").is_some());

    let first = |code: &str| {
        let order = json!({ "code": code, "name": "root", "password": "a password of mine" });
        curl(&server, "POST", "/api/v1/setup", &[], Some(&order))
    };
    assert_eq!(first("0000000000").code(), "identity.setup");
    assert_eq!(first(code).status, 201);
    assert_eq!(first(code).code(), "identity.setup", "it is good once");
    let login = |password: &str| {
        let credentials = json!({ "name": "root", "password": password });
        curl(&server, "POST", "/api/v1/login", &[], Some(&credentials)).status
    };
    assert_eq!(login("a password of mine"), 200);
    let made = second_word(&server.ok(&["user", "reset", "root"]), "password");
    assert_eq!((login("a password of mine"), login(&made)), (401, 200));
    let refused = server.run(&["user", "remove", "root"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("last admin"), "{said}");
    server.stop();
    assert!(!link.exists(), "a link is not left behind");
    home.start();
    assert!(!link.exists(), "there is a user: no link");
}

#[test]
fn no_password_token_or_cookie_is_in_the_data_directory_or_the_log() {
    let home = Home::new();
    let server = home.start();
    let password = add_user(&server, "alice", &["admin"]);
    let token = add_token(&server, "alice", "all", &["*"]);
    let credentials = json!({ "name": "alice", "password": password });
    let login = curl(&server, "POST", "/api/v1/login", &[], Some(&credentials));
    let cookie =
        login.header("set-cookie").and_then(|set| set.split(['=', ';']).nth(1)).expect("it").to_owned();
    let csrf = login.body["csrf"].as_str().expect("it").to_owned();
    let me = curl(&server, "GET", "/api/v1/me", &[&bearer(&token)], None);
    assert_eq!(me.status, 200);
    curl(&server, "GET", "/api/v1/me", &[&bearer("gdw_a_token_that_is_wrong")], None);
    let wrong = json!({ "name": "password in the wrong field", "password": "x" });
    curl(&server, "POST", "/api/v1/login", &[], Some(&wrong));
    let data = home.data();
    server.stop();
    let mut all = files(&data);
    all.push(("log".to_owned(), home.log().into_bytes()));
    let secrets = [password.as_str(), &token, &token[12..38], &cookie, &csrf, "gdw_a_token_that_is_wrong"];
    for (name, bytes) in &all {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {name}");
        }
    }
    let catalog = all.iter().find(|(name, _)| name.ends_with("catalog.db")).expect("the catalog");
    assert!(catalog.1.windows(10).any(|part| part == b"user:alice"), "the search finds what is there");
}

/// Asks with psql: what it printed, or what it said.
pub(crate) fn psql(server: &Server, user: &str, password: &str, sql: &str) -> Result<String, String> {
    let address = server.postgres.expect("SQL is served");
    let output = Command::new("psql")
        .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "-U", user])
        .args(["-d", "godwit", "-w", "-At", "-c", sql])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PGPASSWORD", password)
        .env("PGSSLMODE", "disable")
        .output()
        .expect("psql is there");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn users_and_tokens_ask_by_sql_and_a_role_of_a_group_does_not_reach_it() {
    let home = Home::new();
    let server = home.start();
    let vera = add_user(&server, "vera", &["viewer"]);
    let gina = add_user(&server, "gina", &["admin@hq"]);
    let token = add_token(&server, "vera", "grafana", &["readings:read"]);
    let other = add_token(&server, "vera", "other", &["devices"]);
    let one = |user: &str, password: &str| psql(&server, user, password, "SELECT 1");
    assert_eq!(one("vera", &vera).as_deref(), Ok("1\n"));
    assert_eq!(one("vera:grafana", &token).as_deref(), Ok("1\n"));
    let refused = one("gina", &gina).expect_err("refused");
    assert!(refused.contains("SQL knows no groups") && refused.contains("godwit user role"), "{refused}");
    let refused = one("vera:other", &other).expect_err("refused");
    assert!(refused.contains("readings:read"), "{refused}");
    for (user, password) in
        [("vera", "wrong password"), ("vera:grafana", &vera), ("nobody", &vera), ("vera", &token)]
    {
        let refused = one(user, password).expect_err("refused");
        assert!(refused.contains("password authentication failed"), "{refused}");
    }
    server.ok(&["user", "remove", "vera"]);
    assert!(one("vera", &vera).is_err() && one("vera:grafana", &token).is_err());
    let log = server.ok(&["audit", "list", "--action", "user.login"]);
    assert!(
        log.contains("user:vera token:grafana")
            && log.contains("\"door\":\"sql\"")
            && log.contains("refused"),
        "{log}"
    );
}

#[test]
fn who_reads_classified_channels_is_written_down() {
    let home = Home::new();
    let settings = std::fs::read_to_string(home.path().join("godwit.toml")).expect("settings");
    home.settings(&format!("{settings}\n[[channel]]\nname = \"heart_rate\"\nclassified = true\n"));
    let server = home.start();
    add_user(&server, "vera", &["viewer"]);
    let token = add_token(&server, "vera", "grafana", &["readings:read"]);
    let sql = "SELECT value FROM readings WHERE channel = 'heart_rate'";
    curl(&server, "POST", "/api/v1/query", &[&bearer(&token)], Some(&json!({ "sql": sql })));
    curl(&server, "POST", "/api/v1/query", &[&bearer(&token)], Some(&json!({ "sql": "SELECT 1" })));
    psql(&server, "vera:grafana", &token, "SELECT count(*) FROM latest").expect("asked");
    server.ok(&["send", "lamp/7", "{\"heart_rate\": 4711}", "--retain", "--qos", "1"]);
    assert_eq!(
        server.value("SELECT count(*) FROM readings"),
        "0",
        "no route matches it, and it was looked at"
    );
    let all = add_token(&server, "vera", "all", &["*"]);
    for (path, shows) in [("/api/v1/retained", true), ("/api/v1/unrouted", true), ("/api/v1/status", false)] {
        let shown = curl(&server, "GET", path, &[&bearer(&all)], None).body.to_string();
        assert!(shown.contains("lamp/"), "{path} {shown}");
        assert_eq!(shown.contains("4711"), shows, "{path}: {shown}");
    }
    let log = server.ok(&["audit", "list", "--action", "readings.read", "--actor", "user:vera", "--json"]);
    let objects: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said: Vec<_> = objects.iter().rev().map(|entry| entry["object"].as_str().expect("text")).collect();
    assert_eq!(
        said,
        [&format!("sql:{sql}"), "sql:SELECT count(*) FROM latest", "retained:#", "unrouted"],
        "{log}"
    );
    assert!(objects[2..].iter().all(|entry| entry["actor"] == "user:vera token:grafana"), "{log}");
}

#[test]
fn what_operators_do_to_the_server_is_written_down_with_who_and_what() {
    let home = Home::new();
    let server = home.start();
    let mut client = Raw::connect(server.mqtt, "site/7 door");
    server.ok(&["send", "plant/a/state", "on", "--retain", "--qos", "1"]);
    add_user(&server, "otto", &["operator"]);
    add_user(&server, "root", &["admin"]);
    let otto = add_token(&server, "otto", "ops", &["*"]);
    let root = add_token(&server, "root", "ops", &["*"]);
    let kick = "/api/v1/sessions/site%2F7%20door/kick";
    assert_eq!(curl(&server, "POST", kick, &[&bearer(&otto)], None).status, 204);
    assert!(client.packet().is_none());
    assert_eq!(curl(&server, "POST", kick, &[&bearer(&otto)], None).status, 404, "which is no kick");
    let cleared = curl(&server, "DELETE", "/api/v1/retained?filter=plant/%23", &[&bearer(&otto)], None);
    assert_eq!(cleared.body, json!({ "cleared": 1 }));
    let order = json!({ "since": "2026-01-01T00:00:00Z", "dry_run": true });
    assert_eq!(curl(&server, "POST", "/api/v1/reprocess", &[&bearer(&otto)], Some(&order)).status, 202);
    let archive = home.path().join("backup.tar");
    let mut backup = Command::new("curl");
    backup.args(["-sS", "-f", "-X", "POST", "-d", "{\"without_key\": true}", "-H", &bearer(&root), "-o"]);
    backup.arg(&archive).args(["-H", "content-type: application/json"]);
    let done = backup.arg(format!("http://{}/api/v1/backup", server.http)).status().expect("curl is there");
    assert!(done.success() && std::fs::metadata(&archive).is_ok_and(|file| file.len() > 0));

    let log = server.ok(&["audit", "list", "--json", "--count", "1000"]);
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of =
        |action: &str| -> Vec<&Value> { entries.iter().filter(|entry| entry["action"] == action).collect() };
    for (action, actor, object, after) in [
        ("session.kick", "user:otto token:ops", "session:site/7 door", None),
        ("retained.clear", "user:otto token:ops", "retained:plant/#", Some("\"cleared\":1")),
        ("reprocess.start", "user:otto token:ops", "messages", Some("2026-01-01T00:00:00Z")),
        ("backup.begin", "user:root token:ops", "data", Some("\"with_key\":false")),
    ] {
        let [entry] = of(action)[..] else { panic!("{action} is there once: {log}") };
        assert_eq!((&entry["actor"], &entry["object"]), (&json!(actor), &json!(object)), "{log}");
        assert_eq!((&entry["address"], &entry["outcome"]), (&json!("127.0.0.1"), &json!("done")));
        let said = entry["after"].to_string().replace("\\\"", "\"");
        assert!(after.is_none_or(|after| said.contains(after)), "{said}");
    }
}

#[test]
fn a_known_device_that_is_refused_is_written_down_once_a_minute_and_a_stranger_not_at_all() {
    let home = Home::new();
    home.settings(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n\
         [[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"password\"\n\
         [http]\nbind = \"127.0.0.1:0\"\n",
    );
    let server = home.start();
    let password = second_word(&server.ok(&["device", "add", "pump-1", "--password"]), "password");
    let door = home.door_with_passwords();
    let say = |name: &str, password: &str| Raw::open(door).say_connect(name, Some((name, password)));
    assert_eq!(say("pump-1", &password), 0);
    for _ in 0..5 {
        assert_ne!(say("pump-1", "wrong"), 0);
        assert_ne!(say("nobody-1", "wrong"), 0);
    }
    server.stop();
    let server = home.start();
    let log = server.ok(&["audit", "list", "--action", "device.refuse", "--json"]);
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(entries.len(), 2, "the first, and at the end those behind it: {log}");
    for entry in &entries {
        assert_eq!((&entry["actor"], &entry["object"]), (&json!("anonymous"), &json!("device:pump-1")));
        assert_eq!((&entry["address"], &entry["outcome"]), (&json!("127.0.0.1"), &json!("refused")));
    }
    assert!(log.contains("more") && log.contains("password") && !log.contains("nobody-1"), "{log}");
}

#[test]
fn the_audit_log_is_exported_verified_without_a_server_and_agrees_with_what_a_crash_left() {
    let home = Home::new();
    let server = home.start();
    for n in 0..20 {
        add_user(&server, &format!("user-{n}"), &["viewer"]);
    }
    // A change and its entry are one: whatever a kill leaves, there is an entry for each user.
    server.kill();
    let server = home.start();
    let users = server.ok(&["user", "list", "--json"]).lines().count();
    let entries = server.ok(&["audit", "list", "--action", "user.add", "--count", "1000", "--json"]);
    assert_eq!((users, entries.lines().count()), (20, 20));
    let sound = server.ok(&["audit", "verify"]);
    assert!(sound.contains("sound"), "{sound}");

    let exported = server.ok(&["audit", "export"]);
    let file = home.path().join("audit.jsonl");
    let judge = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let output = Command::new(crate::server::GODWIT)
            .args(["audit", "verify"])
            .arg(&file)
            .env_clear()
            .output()
            .expect("the binary starts");
        (output.status.success(), String::from_utf8(output.stdout).expect("text"))
    };
    assert!(judge(&exported).0);
    let (_, said) = judge("");
    assert!(said.contains("empty     there is no entry") && !said.contains("sound"), "{said}");
    let edited = exported.replacen("user:user-3", "user:user-4", 1);
    let (is_sound, said) = judge(&edited);
    let number = exported.lines().position(|line| line.contains("user:user-3\"")).expect("there") + 1;
    assert!(!is_sound && said.contains(&format!("entry {number} is not what was written")), "{said}");
    let mut lines: Vec<&str> = exported.lines().collect();
    lines.remove(4);
    let (is_sound, said) = judge(&lines.join("\n"));
    assert!(!is_sound && said.contains("entry 5 is missing"), "{said}");
    server.stop();

    // The end, cut off in the database while nobody serves: the journal knows of it.
    let cut = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM audit WHERE number > 10'); c.commit()";
    let done = Command::new("python3").args(["-c", cut]).arg(home.data().join("catalog.db")).status();
    assert!(done.expect("python3 is there").success());
    let server = home.start();
    let refused = server.run(&["audit", "verify"]);
    let said = String::from_utf8(refused.stdout).expect("text");
    assert!(!refused.status.success() && said.contains("fault"), "{said}");
}
