//! Exports through the real binary, read back by strangers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::python;
use crate::server::{Home, Server};

/// Three days, with numbers, texts and a whole number beyond what a float holds.
const DAYS: &str = "{\"ts\":\"2015-02-04T00:00:00Z\",\"device\":\"a\",\"t\":21.5,\"state\":\"on, 007\"}\n\
    {\"ts\":\"2015-02-04T23:59:59.999999Z\",\"device\":\"b\",\"t\":-1,\"big\":9007199254740993}\n\
    {\"ts\":\"2015-02-05T12:00:00Z\",\"device\":\"a\",\"t\":22}\n\
    {\"ts\":\"2015-03-01T12:00:00Z\",\"device\":\"c\",\"code\":\"007\"}\n";

const READINGS: &str =
    "SELECT time, device, channel, value, text FROM readings ORDER BY device, channel, time";

fn import(home: &Home, server: &Server, name: &str, text: &str) {
    let path = home.path().join(name);
    std::fs::write(&path, text).expect("written");
    server.ok(&["import", path.to_str().expect("text")]);
    server.rows("SELECT 1");
}

#[test]
fn strangers_read_what_is_exported_and_it_can_be_imported_again() {
    let home = Home::new();
    let server = home.start();
    import(&home, &server, "days.jsonl", DAYS);
    // One day in files, the others in memory.
    let lake = home.path().join("lake");
    let lake = lake.to_str().expect("text");
    let said = server.ok(&["export", "--to", lake]);
    assert!(said.starts_with("3 days"), "{said}");
    let script = r#"
import sys, glob, duckdb, pandas, pyarrow.dataset
lake = sys.argv[1]
print(duckdb.sql(f"""SELECT date, count(*) FROM read_parquet('{lake}/*/*.parquet', hive_partitioning=true)
                 GROUP BY date ORDER BY date""").fetchall().__len__())
print(duckdb.sql(f"""SELECT device, channel, value, text FROM '{lake}/date=2015-02-04/*.parquet' ORDER BY device, channel""").fetchall())
print([(c, t) for c, t, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{lake}/date=2015-02-04/*.parquet', hive_partitioning=false)").fetchall()])
frame = pandas.read_parquet(lake)
print(len(frame), sorted(frame.columns), frame['time'].dt.tz, frame['time'].max())
print(pyarrow.dataset.dataset(lake, format='parquet', partitioning='hive').count_rows())
"#;
    let read = python::run(script, &[lake]);
    let lines: Vec<&str> = read.lines().collect();
    assert_eq!(lines[0], "3");
    assert_eq!(
        lines[1],
        "[('a', 'state', None, 'on, 007'), ('a', 't', 21.5, None), \
         ('b', 'big', 9007199254740992.0, '9007199254740993'), ('b', 't', -1.0, None)]"
    );
    assert_eq!(
        lines[2],
        "[('time', 'TIMESTAMP WITH TIME ZONE'), ('device', 'VARCHAR'), ('channel', 'VARCHAR'), ('value', 'DOUBLE'), \
         ('text', 'VARCHAR'), ('flags', 'INTEGER'), ('topic', 'VARCHAR'), ('received_at', 'TIMESTAMP WITH TIME ZONE')]"
    );
    assert_eq!(
        lines[3],
        "6 ['channel', 'date', 'device', 'flags', 'received_at', 'text', 'time', 'topic', 'value'] UTC \
         2015-03-01 12:00:00+00:00"
    );
    assert_eq!(lines[4], "6");

    let again = server.run(&["export", "--to", lake]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("--overwrite"), "{said}");
    server.ok(&["export", "--to", lake, "--overwrite"]);

    // A selection, and back into another server: the same readings.
    let part = home.path().join("part");
    let part_text = part.to_str().expect("text");
    let said = server.ok(&[
        "export",
        "--to",
        part_text,
        "--format",
        "csv",
        "--since",
        "2015-02-04",
        "--until",
        "2015-02-05",
        "--device",
        "b",
    ]);
    assert!(said.starts_with("1 days"), "{said}");
    let text = std::fs::read_to_string(part.join("date=2015-02-04/readings.csv")).expect("written");
    assert_eq!(text.lines().count(), 3, "{text}");
    for format in ["csv", "jsonl"] {
        let other = Home::new();
        let second = other.start();
        let out = other.path().join("out");
        server.ok(&["export", "--to", out.to_str().expect("text"), "--format", format]);
        let files: Vec<String> = ["2015-02-04", "2015-02-05", "2015-03-01"]
            .iter()
            .map(|day| out.join(format!("date={day}/readings.{format}")).to_str().expect("text").to_owned())
            .collect();
        let mut arguments = vec!["import"];
        arguments.extend(files.iter().map(String::as_str));
        second.ok(&arguments);
        assert_eq!(second.rows(READINGS), server.rows(READINGS), "{format}");
    }
}

/// What `_latest.json` says: rows by the name of the file.
fn listed(lake: &Path) -> BTreeMap<String, u64> {
    let Ok(text) = std::fs::read(lake.join("_latest.json")) else { return BTreeMap::new() };
    let index: serde_json::Value = serde_json::from_slice(&text).expect("it is whole");
    let days = index["partitions"].as_object().expect("an object");
    let files = days.values().flat_map(|day| day["files"].as_array().expect("a list"));
    files
        .map(|file| (file["name"].as_str().expect("a name").to_owned(), file["rows"].as_u64().expect("rows")))
        .collect()
}

/// Waits until the lake lists this.
fn until_listed(server: &Server, lake: &Path, expect: &[(&str, u64)]) {
    let expect: BTreeMap<String, u64> =
        expect.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
    let mut seen = listed(lake);
    for _ in 0..20_000 {
        if seen == expect {
            return;
        }
        // Each question takes its time.
        server.get("/healthz");
        seen = listed(lake);
    }
    panic!("the lake lists {seen:?}, not {expect:?}");
}

/// How many rows a stranger finds, by file; every file must be whole.
fn found(lake: &Path) -> BTreeMap<String, u64> {
    let script = r#"
import sys, glob, os, pyarrow.parquet
for name in sorted(glob.glob(sys.argv[1] + '/date=*/*')):
    print(os.path.relpath(name, sys.argv[1]), pyarrow.parquet.read_table(name).num_rows)
"#;
    let read = python::run(script, &[lake.to_str().expect("text")]);
    let rows = read.lines().filter_map(|line| line.split_once(' '));
    rows.map(|(name, rows)| (name.to_owned(), rows.parse().expect("a number"))).collect()
}

fn scheduled(home: &Home, lake: &Path) {
    home.settings(&format!(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n\
         [[export]]\nto = \"{}\"\nevery = \"100ms\"\nsettle = \"0s\"\n",
        lake.display()
    ));
}

#[test]
fn late_readings_restate_their_day_alone_and_an_unfinished_day_waits() {
    let home = Home::new();
    let lake = home.path().join("lake");
    scheduled(&home, &lake);
    let server = home.start();
    import(&home, &server, "days.jsonl", DAYS);
    // Today is not over.
    server.ok(&["send", "dt/a/x", r#"{"t": 1}"#]);
    let (first, second, third) = (
        "date=2015-02-04/readings.parquet",
        "date=2015-02-05/readings.parquet",
        "date=2015-03-01/readings.parquet",
    );
    until_listed(&server, &lake, &[(first, 4), (second, 1), (third, 1)]);
    let written =
        |name: &str| std::fs::metadata(lake.join(name)).and_then(|about| about.modified()).expect("there");
    let before = [first, second, third].map(written);
    import(&home, &server, "late.jsonl", "{\"ts\":\"2015-02-05T13:00:00Z\",\"device\":\"z\",\"t\":5}\n");
    until_listed(&server, &lake, &[(first, 4), (second, 2), (third, 1)]);
    let after = [first, second, third].map(written);
    assert_eq!((before[0], before[2]), (after[0], after[2]), "the other days are as they were");
    assert_ne!(before[1], after[1]);
    let listed = listed(&lake);
    assert_eq!(found(&lake), listed, "what is listed is there, and nothing else");
    assert!(std::fs::read_dir(lake.join("_unfinished")).map_or(0, Iterator::count) == 0);
}

#[test]
fn killed_at_any_moment_no_torn_file_is_seen_and_the_lake_catches_up() {
    let home = Home::new();
    let lake = home.path().join("lake");
    scheduled(&home, &lake);
    let mut rows = 0;
    for round in 0..4_u64 {
        let server = home.start();
        let mut text = String::from("time,device,t\n");
        for n in 0..2_000 {
            text += &format!("{},d{round},{n}\n", 1_423_008_000 + n * 30);
        }
        rows += 2_000;
        import(&home, &server, &format!("round-{round}.csv"), &text);
        // Somewhere between reading, writing and listing: another moment each round.
        for _ in 0..round * 7 {
            server.get("/healthz");
        }
        server.kill();
        for (name, seen) in found(&lake) {
            assert!(seen > 0 && seen % 1_000 == 0, "round {round}: {name} has {seen} rows");
        }
    }
    let server = home.start();
    until_listed(&server, &lake, &[("date=2015-02-04/readings.parquet", rows)]);
    assert_eq!(found(&lake), listed(&lake));
}

/// What the server says of its first schedule.
fn status(server: &Server) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&server.get("/api/v1/status")).expect("JSON");
    status["exports"][0].clone()
}

/// Asks until the first schedule fits.
fn until_status(server: &Server, what: &str, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let started = std::time::Instant::now();
    loop {
        let status = status(server);
        if fits(&status) {
            return status;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{what}: {status}");
    }
}

/// Waits until so many readings were exported, and listed: until the look after it.
fn until_exported(server: &Server, readings: u64) {
    let seen = until_status(server, "exported", |status| status["readings"].as_u64() >= Some(readings));
    until_status(server, "listed", |status| {
        status["done_at"].is_string() && status["done_at"] != seen["done_at"]
    });
}

#[test]
fn an_export_that_fails_is_seen_and_goes_on_when_it_can() {
    let home = Home::new();
    let lake = home.path().join("lake");
    scheduled(&home, &lake);
    let server = home.start();
    import(&home, &server, "days.jsonl", DAYS);
    until_exported(&server, 6);
    assert!(server.ok(&["doctor"]).contains("fine     export"), "{}", server.ok(&["doctor"]));
    // Something stands where the lake was.
    std::fs::rename(&lake, home.path().join("elsewhere")).expect("moved");
    std::fs::write(&lake, "in the way").expect("written");
    let failing = until_status(&server, "failing", |status| status["error"].is_string());
    assert!(failing["failing_s"].is_u64() && failing["tried_at"].is_string(), "{failing}");
    let said = server.ok(&["doctor"]);
    assert!(said.contains("warning  export") && said.contains("fails for"), "{said}");
    std::fs::remove_file(&lake).expect("removed");
    std::fs::rename(home.path().join("elsewhere"), &lake).expect("moved");
    until_status(&server, "well again", |status| status["error"].is_null() && status["failing_s"].is_null());
    server.stop();
}

/// A bucket of the test's own.
struct Bucket {
    process: Child,
    endpoint: String,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn bucket() -> Bucket {
    let script = r#"
import sys, boto3, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f'http://{host}:{port}'
boto3.client('s3', endpoint_url=endpoint, region_name='us-east-1', aws_access_key_id='k', aws_secret_access_key='s').create_bucket(Bucket='lake')
print(endpoint, flush=True)
threading.Event().wait()
"#;
    let mut process = Command::new(python::python())
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python starts");
    let mut endpoint = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut endpoint).expect("an address");
    let endpoint = endpoint.trim().to_owned();
    assert!(endpoint.starts_with("http://"), "the bucket is there");
    Bucket { process, endpoint }
}

#[test]
fn a_bucket_is_filled_by_the_command_and_by_the_server() {
    let bucket = bucket();
    let home = Home::new();
    home.settings(&format!(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n\
         [[export]]\nto = \"s3://lake/kept\"\nevery = \"100ms\"\naccess = {{ endpoint = \"{}\", region = \"us-east-1\", \
         access_key = \"k\", secret_key = \"s\" }}\n",
        bucket.endpoint
    ));
    let server = home.start();
    import(&home, &server, "days.jsonl", DAYS);
    let output = server
        .command(&["export", "--to", "s3://lake/once"])
        .envs([
            ("AWS_ENDPOINT", bucket.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ])
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until_exported(&server, 6);
    let script = r#"
import os, sys, io, boto3, pyarrow.parquet
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='k', aws_secret_access_key='s')
def names(prefix):
    return sorted(o['Key'] for o in s3.list_objects_v2(Bucket='lake', Prefix=prefix).get('Contents', []))
for prefix in ['once/', 'kept/']:
    for name in names(prefix):
        if name.endswith('.parquet'):
            body = s3.get_object(Bucket='lake', Key=name)['Body'].read()
            print(name, pyarrow.parquet.read_table(io.BytesIO(body)).num_rows)
# pyarrow's own threads sometimes abort the interpreter while it ends.
sys.stdout.flush()
os._exit(0)
"#;
    let days = [("2015-02-04", 4), ("2015-02-05", 1), ("2015-03-01", 1)];
    let expect: String = ["once", "kept"]
        .iter()
        .flat_map(|prefix| days.map(|(day, rows)| format!("{prefix}/date={day}/readings.parquet {rows}\n")))
        .collect();
    assert_eq!(python::run(script, &[&bucket.endpoint]), expect, "{}", home.log());
}
