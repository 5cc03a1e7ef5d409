//! An S3 server of somebody else's make (moto, from `tests/requirements.txt`) as the remote store.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use host::sim::Machine;
use model::Timestamp;
use series::{Offline, QueryError, RemoteSettings, Settings};

use crate::python::python;
use crate::support::{START, ask, csv, open_with, records, stored, telemetry};

const DAY: i64 = 86_400_000_000;

/// Serves S3 with one bucket; takes orders on its input.
const SERVER: &str = r#"
import boto3, logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
say = lambda *words: print("said", *words, flush=True)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}", aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
s3.create_bucket(Bucket="cold")
say(port)
for order in sys.stdin:
    order = order.strip()
    if order == "list":
        say(*(entry["Key"] for entry in s3.list_objects_v2(Bucket="cold").get("Contents", [])))
    elif order == "stop":
        server.stop()
        say("stopped")
    elif order == "start":
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port)
        server.start()
        say("started")
"#;

struct Server {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(python())
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut server = Self { process, orders, answers, port: 0 };
        server.port = server.answer().parse().expect("a port");
        server
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("an answer");
            assert!(read > 0, "the server has ended");
            if let Some(said) = line.strip_prefix("said") {
                return said.trim().to_owned();
            }
        }
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("heard");
        self.answer()
    }

    fn settings(&self) -> Settings {
        remote(self.port, Duration::from_secs(20))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn remote(port: u16, timeout: Duration) -> Settings {
    let remote = RemoteSettings {
        url: Some("s3://cold/site-1/readings".to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: Some("us-east-1".to_owned()),
        access_key: Some("a".to_owned()),
        secret_key: Some("b".into()),
        timeout,
        ..RemoteSettings::default()
    };
    Settings { remote, ..Settings::default() }
}

fn day(machine: &Machine, days: i64) {
    machine.clock.set(Timestamp::from_micros(START + days * DAY));
}

fn fill(machine: &Machine, store: &Offline) {
    day(machine, 0);
    let messages = (0..8).map(|n| telemetry("a", START + n * DAY / 2, &format!(r#""t":{n}"#)));
    store.apply(&records(1, messages));
    store.flush().expect("written");
}

#[test]
fn an_s3_server_keeps_what_is_old_and_may_fail_for_a_while() {
    let mut server = Server::start();
    let machine = Machine::new(1);
    let store = open_with(&machine.host(), &server.settings());
    fill(&machine, &store);
    let expect = stored(&store);
    day(&machine, 32);
    assert_eq!(store.tier().expect("moved"), 2, "days 0 and 1 are older than 30 days");
    assert_eq!(stored(&store), expect);
    let listed = server.order("list");
    let names: Vec<&str> = listed.split(' ').collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.starts_with("site-1/readings/2026-11-2")), "{listed}");
    assert!(names.iter().all(|name| name.ends_with(".parquet.sealed")), "{listed}");
    drop(store);

    assert_eq!(server.order("stop"), "stopped");
    let store = open_with(&machine.host(), &server.settings());
    let error = ask(&store, "SELECT value FROM readings").expect_err("half of it is away");
    assert!(matches!(error, QueryError::Away { .. }), "{error:?}");
    assert!(error.to_string().contains("s3://cold/site-1/readings"), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    let hot = format!(
        "SELECT count(*) AS n FROM readings WHERE time >= '{}'",
        Timestamp::from_micros(START + 2 * DAY)
    );
    assert_eq!(csv(&store, &hot), "n\n4\n");
    day(&machine, 40);
    store.apply(&records(100, [telemetry("b", START + 40 * DAY, r#""t":9"#)]));
    store.flush().expect("ingest goes on");
    assert!(store.tier().is_err());

    assert_eq!(server.order("start"), "started");
    assert_eq!(store.tier().expect("moved"), 2);
    let mut expect = expect;
    expect.insert(("b".to_owned(), "t".to_owned(), START + 40 * DAY), 9_f64.to_bits());
    assert_eq!(stored(&store), expect);
    assert_eq!(server.order("list").split(' ').count(), 4, "what was begun and failed left nothing");
    drop(store);

    // What is live no more leaves the bucket.
    let keep = Some(Duration::from_secs(38 * 86_400 + 43_200));
    let store = open_with(&machine.host(), &Settings { keep, ..server.settings() });
    store.retain(0).expect("dropped");
    assert_eq!(store.tier().expect("removed"), 0);
    assert_eq!(server.order("list").split(' ').count(), 3);
}

#[test]
fn a_wrong_bucket_is_told_with_what_the_server_says() {
    let server = Server::start();
    let machine = Machine::new(1);
    let mut settings = server.settings();
    settings.remote.url = Some("s3://warm".to_owned());
    let store = open_with(&machine.host(), &settings);
    fill(&machine, &store);
    day(&machine, 32);
    let error = store.tier().expect_err("there is no such bucket").to_string();
    assert!(error.contains("s3://warm"), "{error}");
    assert!(error.contains("NoSuchBucket") || error.contains("missing in"), "{error}");
    assert_eq!(stored(&store).len(), 8, "nothing has gone");
}

/// A server that takes connections and never says a word.
#[test]
fn a_store_that_hangs_holds_a_query_for_a_bounded_time() {
    let mut server = Server::start();
    let machine = Machine::new(1);
    let store = open_with(&machine.host(), &server.settings());
    fill(&machine, &store);
    day(&machine, 60);
    assert_eq!(store.tier().expect("moved"), 4);
    drop(store);
    assert_eq!(server.order("list").split(' ').count(), 4);
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = silent.local_addr().expect("known").port();
    let store = open_with(&machine.host(), &remote(port, Duration::from_millis(300)));
    let started = now();
    let error = ask(&store, "SELECT value FROM readings").expect_err("nothing comes");
    assert!(matches!(error, QueryError::Away { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_url_that_is_none_is_refused_with_what_would_be_right() {
    for url in ["cold", "s3://", "http://bucket", "file://relative"] {
        let remote = RemoteSettings { url: Some(url.to_owned()), ..RemoteSettings::default() };
        let settings = Settings { remote, ..Settings::default() };
        let opened = Offline::open(
            std::path::Path::new("data/series"),
            &settings,
            std::sync::Arc::default(),
            std::sync::Arc::default(),
            &Machine::new(1).host(),
        );
        let error = opened.err().expect("refused").to_string();
        assert!(error.contains(url) && error.contains("write `s3://bucket/prefix`"), "{error}");
    }
    let settings = Settings {
        remote: RemoteSettings { secret_key: Some("very secret".into()), ..RemoteSettings::default() },
        ..Settings::default()
    };
    assert!(!format!("{settings:?}").contains("very secret"));
}
