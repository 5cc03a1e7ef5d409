//! SQL by the PostgreSQL protocol, asked by strangers: psql, psycopg, and bytes that no client sends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use crate::python;
use crate::server::{Home, Server};

/// 100 samples of two devices, a minute apart from 2025-11-22T00:00:00Z, `co2` from 400 and `temperature` from 20.
pub(crate) fn office(server: &Server) {
    let lines: Vec<String> = (0..100)
        .map(|n| {
            let at = 1_763_769_600_000_i64 + n * 60_000;
            format!("{{\"ts\":{at},\"co2\":{},\"temperature\":{}}}", 400 + n, 20.0 + n as f64 / 10.0)
        })
        .collect();
    for (n, device) in ["d0", "d1"].iter().enumerate() {
        let mine: Vec<String> = lines.iter().skip(n).step_by(2).cloned().collect();
        send(server, &format!("dt/{device}/climate"), &mine);
    }
    assert_eq!(server.value("SELECT count(*) FROM readings"), "200");
}

/// Sends each line as a message.
pub(crate) fn send(server: &Server, topic: &str, lines: &[String]) {
    let mut send = server
        .command(&["send", topic, "--lines", "--qos", "1"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = send.stdin.take().expect("piped");
    stdin.write_all((lines.join("\n") + "\n").as_bytes()).expect("written");
    drop(stdin);
    assert!(send.wait().expect("ended").success());
}

fn psql(server: &Server) -> Command {
    let address = server.postgres.expect("served");
    let mut command = Command::new("psql");
    command.args(["-X", "-w", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-U", "local", "-d", "godwit", "-v", "ON_ERROR_STOP=1"]);
    command.env("PGPASSWORD", &server.token).env("PGCONNECT_TIMEOUT", "60");
    command
}

/// Runs statements and commands of psql, one after the other, and returns what it printed.
fn ask(server: &Server, all: &[&str]) -> String {
    let mut command = psql(server);
    for one in all {
        command.args(["-c", one]);
    }
    python::printed(&command.output().expect("psql is there; Debian has it in postgresql-client"))
}

/// The rows of a question, values parted by `|`.
pub(crate) fn rows(server: &Server, sql: &str) -> Vec<String> {
    let output = psql(server).args(["-A", "-t", "-c", sql]).output().expect("psql is there");
    python::printed(&output).lines().map(str::to_owned).collect()
}

#[test]
fn psql_asks_and_its_commands_are_answered() {
    let home = Home::new();
    let server = home.start();
    office(&server);
    let one = "SELECT time, device, value FROM readings WHERE channel = 'co2' ORDER BY time LIMIT 1";
    assert_eq!(rows(&server, one), ["2025-11-22 00:00:00.000000+00|d0|400.0"]);
    assert_eq!(rows(&server, "SHOW server_version"), ["16.6"]);
    for (command, expected) in [
        ("\\d readings", "timestamp with time zone"),
        ("\\d+ latest", "timestamp with time zone"),
        ("\\d", "readings"),
        ("\\dt", "messages"),
        ("\\dt+", "latest"),
        ("\\df", "List of functions"),
        ("\\du", "local"),
        ("\\dn", "public"),
        ("\\l", "godwit"),
        ("\\dv", ""),
        ("\\di", ""),
        ("\\conninfo", "local"),
        ("\\encoding", "UTF8"),
    ] {
        let said = ask(&server, &[command]);
        assert!(said.contains(expected), "{command}: {said}");
    }
    let several = ask(&server, &["SELECT 1 AS a; SELECT 2 AS b", "BEGIN; SELECT 3 AS c; COMMIT"]);
    assert!(several.contains('2') && several.contains("COMMIT"), "{several}");
    let mut refused = psql(&server);
    let refused =
        refused.args(["-c", "SELECT 7 AS seven; DROP TABLE readings; SELECT 8"]).output().expect("psql");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("`DROP` is not allowed") && said.contains("HINT"),
        "{said}"
    );
    assert!(server.metric("godwit_postgres_logins_total") > 5.0);
    assert!(server.metric("godwit_postgres_errors_total") >= 1.0);
    assert_eq!(server.metric("godwit_postgres_connections"), 0.0);
}

/// By `godwit query` (HTTP), by the simple protocol (psql) and by the extended one (psycopg).
#[test]
fn a_query_of_more_operators_than_1000_is_refused_on_every_way_in_and_nobody_falls() {
    let home = Home::new();
    let server = home.start();
    office(&server);
    let too_many = [format!("SELECT {}", ["1"; 5_000].join("+")), {
        format!("SELECT count(*) FROM readings WHERE {}", ["value = 7"; 2_000].join(" OR "))
    }];
    let port = server.postgres.expect("served").port().to_string();
    for (sql, operators) in too_many.iter().zip(["4999", "4000"]) {
        let expect = format!("query has {operators} operators; the most are 1000");
        let by_http = server.run(&["query", sql]);
        let said = String::from_utf8_lossy(&by_http.stderr).into_owned();
        assert!(!by_http.status.success() && said.contains(&expect) && said.contains("hint:"), "{said}");
        let by_psql = psql(&server).args(["-c", sql]).output().expect("psql is there");
        let said = String::from_utf8_lossy(&by_psql.stderr).into_owned();
        assert!(!by_psql.status.success() && said.contains(&expect) && said.contains("HINT"), "{said}");
        let prepared = "import sys, psycopg\n\
            where = f'host=127.0.0.1 port={sys.argv[1]} user=local dbname=godwit password={sys.argv[2]}'\n\
            with psycopg.connect(where, autocommit=True) as c:\n    \
                try:\n        c.execute(sys.argv[3], prepare=True)\n    \
                except psycopg.Error as error:\n        print(error.sqlstate, error.diag.message_primary)\n    \
                print(c.execute('SELECT 1+1', prepare=True).fetchone()[0])";
        let said = python::run(prepared, &[&port, &server.token, sql]);
        assert_eq!(said, format!("54001 {expect}\n2\n"), "the connection lives on");
    }
    assert_eq!(server.value("SELECT count(*) FROM readings"), "200");
}

#[test]
fn psycopg_prepares_binds_cancels_and_is_refused_properly() {
    let home = Home::new();
    let server = home.start();
    office(&server);
    let port = server.postgres.expect("served").port().to_string();
    assert_eq!(python::run(include_str!("sql/asks.py"), &[&port, &server.token]), "done\n");
    let log = home.log();
    assert!(log.contains("refused a PostgreSQL client") && log.contains("server.json"), "{log}");
    assert!(!log.contains(&server.token));
    assert!(server.metric("godwit_postgres_logins_refused_total") >= 3.0);
}

/// A raw connection: what comes until the server hangs up.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("connected");
    // A server that has hung up already says so by refusing what is written.
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    answer
}

fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    [&u32::try_from(body.len() + 4).expect("short").to_be_bytes(), body.as_slice()].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &u32::try_from(body.len() + 4).expect("short").to_be_bytes()[..], body].concat()
}

fn contains(answer: &[u8], text: &str) -> bool {
    answer.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn nobody_is_heard_before_he_is_in_and_every_wait_is_bounded() {
    let home = Home::new();
    home.settings(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n\
         [postgres]\nbind = \"127.0.0.1:0\"\nstartup_timeout = \"1s\"\nidle_timeout = \"1s\"\nconnections_max = 1\n\
         message_bytes_max = 20000\nstatements_max = 3\nportals_max = 2\n",
    );
    let server = home.start();
    let address = server.postgres.expect("served");
    let hello = startup(&[("user", "local")]);
    // A question instead of a password; a second startup; a startup without a name.
    let early = answer_to(address, &[hello.clone(), message(b'Q', b"SELECT 1\0")].concat());
    assert!(
        contains(&early, "SCRAM-SHA-256") && contains(&early, "08P01"),
        "{}",
        String::from_utf8_lossy(&early)
    );
    assert!(!contains(&early, "\u{0}\u{0}\u{0}\u{5}I"), "no word that it is ready");
    assert!(contains(&answer_to(address, &startup(&[])), "08P01"));
    // A startup that is too long, and one that never ends.
    assert!(
        answer_to(
            address,
            &[&40_000_u32.to_be_bytes()[..], &196_608_u32.to_be_bytes(), &[b'x'; 30_000]].concat()
        )
        .len()
            < 200
    );
    assert!(
        contains(&answer_to(address, &hello[..10]), "took too long")
            || answer_to(address, &hello[..10]).is_empty()
    );
    assert!(contains(&answer_to(address, &hello), "took too long"), "logging in is bounded");
    // What follows a request for TLS in the clear is no startup message.
    let stuffed =
        answer_to(address, &[&8_u32.to_be_bytes()[..], &80_877_103_u32.to_be_bytes(), &hello].concat());
    assert!(
        stuffed.starts_with(b"S") && !contains(&stuffed, "SCRAM"),
        "{}",
        String::from_utf8_lossy(&stuffed)
    );
    // Somebody else's statement cannot be cancelled by guessing; noise is no request.
    let cancel = [16_u32, 80_877_102, 1, 0].map(u32::to_be_bytes).concat();
    assert!(answer_to(address, &cancel).is_empty());
    assert!(answer_to(address, b"GET / HTTP/1.1\r\n\r\n").len() < 200);

    let bounds = r#"
import sys, psycopg
from psycopg import errors
port, token = sys.argv[1:]
where = f"host=127.0.0.1 port={port} user=local password={token}"
def refused(kind, work):
    try:
        work()
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} was expected")
c = psycopg.connect(where, autocommit=True, prepare_threshold=0)
assert "connections" in refused(psycopg.OperationalError, lambda: psycopg.connect(where))
for n in range(3):
    c.execute(f"SELECT {n}", prepare=True)
assert "statements_max" in refused(errors.ProgramLimitExceeded, lambda: c.execute("SELECT 9", prepare=True))
c.execute("DEALLOCATE ALL", prepare=False)
with c.transaction():
    c.execute("DECLARE a CURSOR FOR SELECT 1", prepare=False)
    c.execute("DECLARE b CURSOR FOR SELECT 1", prepare=False)
    def third():
        with c.transaction():
            c.execute("DECLARE c CURSOR FOR SELECT 1", prepare=False)
    refused(errors.ProgramLimitExceeded, third)
    raise psycopg.Rollback()
long = "SELECT '" + "x" * 30000 + "'"
refused(psycopg.OperationalError, lambda: c.execute(long, prepare=False))
c = psycopg.connect(where, autocommit=True)
import select
assert select.select([c.pgconn.socket], [], [], 60)[0], "the server hangs up on who says nothing"
refused(psycopg.OperationalError, lambda: c.execute("SELECT 1"))
print("done")
"#;
    let port = address.port().to_string();
    assert_eq!(python::run(bounds, &[&port, &server.token]), "done\n");
}

#[test]
fn a_named_address_must_be_had_and_a_plain_one_of_the_network_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    let home = Home::new();
    let settings = |postgres: &str| {
        format!(
            "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n[postgres]\n{postgres}\n"
        )
    };
    home.settings(&settings(&format!("bind = \"{address}\"")));
    let said = home.start_refused();
    assert!(said.contains(&address.to_string()) && said.contains("enabled = false"), "{said}");
    home.settings(&settings("enabled = false"));
    let server = home.start();
    assert_eq!(server.postgres, None);
    drop(server);
    home.settings(&settings("[site]\nzone = \"Europe/Berlni\""));
    let said = home.start_refused();
    assert!(said.contains("Europe/Berlin"), "{said}");
}
