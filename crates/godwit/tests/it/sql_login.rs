//! Logging in by the PostgreSQL protocol: how often a password can be tried, who keeps whom out, and how long
//! a login is worth something.

use serde_json::json;

use crate::people::{add_token, add_user, curl, psql};
use crate::python;
use crate::server::Home;

/// Logs in with so many wrong passwords, some at a time, and counts which of them were judged.
const GUESS: &str = r#"
import sys, psycopg
from concurrent.futures import ThreadPoolExecutor
def guess(n):
    try:
        psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} user=vera dbname=godwit password=guess-{n} sslmode=disable")
        return "in"
    except psycopg.OperationalError as error:
        return "judged" if "password authentication failed" in str(error) else "waits" if "wait" in str(error) else str(error)
with ThreadPoolExecutor(12) as pool:
    said = list(pool.map(guess, range(36)))
print(said.count("judged"), said.count("waits"), len(said), set(said))
"#;

#[test]
fn a_password_is_guessed_by_sql_no_faster_than_by_http_and_tokens_are_not_held_up() {
    let home = Home::new();
    let server = home.start();
    add_user(&server, "vera", &["viewer"]);
    let token = add_token(&server, "vera", "grafana", &["readings:read"]);
    let port = server.postgres.expect("served").port().to_string();
    let said = python::run(GUESS, &[&port]);
    let counts: Vec<u32> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    // Ten at once, and one more for every six seconds that the test takes.
    assert!((10..=20).contains(&counts[0]) && counts[0] + counts[1] == counts[2], "{said}");
    // A bucket that was not touched has ten tries.
    let wrong = json!({ "name": "vera", "password": "a wrong password" });
    let log_in = |_| curl(&server, "POST", "/api/v1/login", &[], Some(&wrong)).status;
    assert!((0..6).map(log_in).any(|status| status == 429), "the doors count together");
    assert_eq!(psql(&server, "vera:grafana", &token, "SELECT 1").as_deref(), Ok("1\n"));
    assert_eq!(psql(&server, "local", &server.token, "SELECT 1").as_deref(), Ok("1\n"));
    assert!(home.log().contains("throttled"), "{}", home.log());
}

#[test]
fn a_pool_that_opens_all_its_connections_at_once_is_let_in() {
    let home = Home::new();
    let server = home.start();
    let password = add_user(&server, "vera", &["viewer"]);
    let port = server.postgres.expect("served").port().to_string();
    let pool = "import sys, psycopg\n\
        from concurrent.futures import ThreadPoolExecutor\n\
        where = f'host=127.0.0.1 port={sys.argv[1]} user=vera dbname=godwit password={sys.argv[2]} sslmode=disable'\n\
        with ThreadPoolExecutor(20) as pool:\n    \
            print(len(list(pool.map(lambda _: psycopg.connect(where), range(20)))))";
    assert_eq!(python::run(pool, &[&port, &password]), "20\n");
}

/// Opens connections that say nothing, then one from another address, which is answered.
const SILENT: &str = r#"
import socket, struct, sys
port = int(sys.argv[1])
def connect(source):
    return socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
def is_answered(one):
    one.settimeout(5)
    try:
        one.sendall(struct.pack("!ii", 8, 80877103))
        return one.recv(1) in (b"S", b"N")
    except ConnectionError:
        return False
silent = [connect("127.0.0.1") for _ in range(200)]
print(is_answered(connect("127.0.0.2")), is_answered(connect("127.0.0.1")))
silent.clear()
"#;

#[test]
fn who_connects_and_says_nothing_keeps_nobody_else_out() {
    let home = Home::new();
    let server = home.start();
    let port = server.postgres.expect("served").port().to_string();
    assert_eq!(python::run(SILENT, &[&port]), "True False\n");
}

/// Logs in by password and by token, waits and runs something long; then the password is another, and the token is removed.
const OUTLIVED: &str = r#"
import json, select, sys, threading, urllib.request, psycopg
http, port, local, password, token, token_id = sys.argv[1:]
def connect(user, secret):
    return psycopg.connect(f"host=127.0.0.1 port={port} user={user} dbname=godwit password={secret} sslmode=disable", autocommit=True)
def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {local}", "content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"http://{http}{path}", data, headers, method=method)).read()
def ends(idle):
    assert select.select([idle.fileno()], [], [], 10)[0], "it goes on"
    try:
        idle.execute("SELECT 1")
    except psycopg.OperationalError as error:
        return "another password" in str(error)
def works(conn):
    return conn.execute("SELECT 1").fetchone() == (1,)
idle, busy, by_token, local_one = connect("vera", password), connect("vera", password), connect("vera:grafana", token), connect("local", local)
assert all(map(works, [idle, busy, by_token, local_one]))
said = []
def run():
    try:
        busy.execute("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
        said.append("answered")
    except psycopg.Error as error:
        said.append("another password" in str(error))
thread = threading.Thread(target=run)
thread.start()
ask("POST", "/api/v1/users/vera/password", {"password": "quite-another-one"})
thread.join(30)
print(ends(idle), said, works(by_token), works(local_one), works(connect("vera", "quite-another-one")))
ask("DELETE", f"/api/v1/tokens/{token_id}")
print(ends(by_token), works(local_one))
"#;

#[test]
fn a_connection_does_not_outlive_the_password_or_the_token_that_opened_it() {
    let home = Home::new();
    let server = home.start();
    let password = add_user(&server, "vera", &["viewer"]);
    let token = add_token(&server, "vera", "grafana", &["readings:read"]);
    let listed = server.ok(&["token", "list"]);
    let line = listed.lines().find(|line| line.contains("grafana")).expect("listed");
    let id = line.split_whitespace().next().expect("an id");
    let port = server.postgres.expect("served").port().to_string();
    let http = server.http.to_string();
    let said = python::run(OUTLIVED, &[&http, &port, &server.token, &password, &token, id]);
    assert_eq!(said, "True [True] True True True\nTrue True\n");
}

#[test]
fn what_is_nobodys_name_is_in_no_log() {
    let home = Home::new();
    let server = home.start();
    // A password that was typed where the name belongs.
    let slip = "Correct Horse 17";
    let refused = psql(&server, slip, "x", "SELECT 1").expect_err("refused");
    assert!(refused.contains("password authentication failed"), "{refused}");
    let credentials = json!({ "name": slip, "password": "x" });
    assert_eq!(curl(&server, "POST", "/api/v1/login", &[], Some(&credentials)).status, 401);
    let log = home.log();
    assert!(
        log.contains("refused a PostgreSQL client") && log.contains("the user name or the password"),
        "{log}"
    );
    assert!(!log.contains(slip), "{log}");
    assert!(!server.ok(&["audit", "list"]).contains(slip));
}
