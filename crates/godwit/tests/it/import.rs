//! Imports through the real binary: twice, interrupted, with bad lines among the good ones.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{GODWIT, Home, Server};

const READINGS: &str =
    "SELECT time, device, channel, value, text FROM readings ORDER BY device, channel, time";

fn write(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("text").to_owned()
}

/// `good` rows of `device` from 2015-02-04, and a row that is none before every `every`th.
fn recording(device: &str, good: u64, every: u64) -> String {
    let mut text = String::from("time,device,temperature,state\n");
    for n in 0..good {
        if every > 0 && n % every == 0 {
            text += &format!("never,{device},1,bad-{n}\n");
        }
        text += &format!(
            "{},{device},{}.{},{}\n",
            1_423_008_000 + n,
            n % 50,
            n % 10,
            if n % 3 == 0 { "on" } else { "" }
        );
    }
    text
}

#[test]
fn importing_twice_changes_nothing() {
    let home = Home::new();
    let server = home.start();
    let wide = write(&home, "wide.csv", &recording("a", 1_500, 0));
    let lines = "weather,device=b temp=21.5,n=3i,ok=t,note=\"x, \\\"y\\\"\" 1423008000000000000\n\
        weather,device=b temp=22 1423008060123456789\n";
    let lines = write(&home, "influx.lp", lines);
    let packed = home.path().join("more.jsonl.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"{\"ts\":1423008000,\"device\":\"c\",\"in\":{\"x\":[1,2]}}\n").expect("packed");
    std::fs::write(&packed, gzip.finish().expect("packed")).expect("written");
    let packed = packed.to_str().expect("text");

    let dry = server.ok(&["import", &wide, "--dry-run"]);
    assert!(dry.contains("1500 rows, 2000 readings") && dry.contains("nothing was sent"), "{dry}");
    assert_eq!(server.value("SELECT count(*) FROM messages"), "0");

    let all = ["import", &wide, &lines, packed];
    let said = server.ok(&all);
    assert!(said.contains("1500 rows, 2000 readings"), "{said}");
    let first = server.rows(READINGS);
    assert_eq!(first.len(), 2_000 + 5 + 2);
    let of_b = "SELECT time, channel, value, text FROM readings WHERE device = 'b' ORDER BY channel, time";
    assert_eq!(
        server.ok(&["query", "--csv", of_b]),
        "time,channel,value,text\n2015-02-04T00:00:00Z,weather.n,3,\n\
         2015-02-04T00:00:00Z,weather.note,,\"x, \"\"y\"\"\"\n2015-02-04T00:00:00Z,weather.ok,1,\n\
         2015-02-04T00:00:00Z,weather.temp,21.5,\n2015-02-04T00:01:00.123456Z,weather.temp,22,\n"
    );
    server.ok(&all);
    assert_eq!(server.rows(READINGS), first, "from memory");
    // What was imported once is in files now, and what comes again is in memory.
    server.stop();
    let server = home.start();
    server.ok(&all);
    assert_eq!(server.rows(READINGS), first, "over files");
}

#[test]
fn malformed_lines_are_refused_by_name_and_cost_no_good_one() {
    // A million with GODWIT_SOAK: a debug build takes its time.
    let good = if std::env::var_os("GODWIT_SOAK").is_some() { 1_000_000 } else { 30_000 };
    let home = Home::new();
    let server = home.start();
    let file = write(&home, "many.csv", &recording("a", good, good / 1_000));
    let said = server.ok(&["import", &file, "--quiet"]);
    assert!(said.contains("1000 rows refused"), "{said}");
    assert_eq!(server.value("SELECT count(*) FROM readings WHERE channel = 'temperature'"), good.to_string());
    let rejected = std::fs::read_to_string(format!("{file}.rejected")).expect("written");
    let mut lines = rejected.lines();
    assert_eq!(lines.next(), Some("time,device,temperature,state"));
    assert_eq!(lines.next(), Some("# refused line 2: `never` in column `time` is no time"));
    assert_eq!(lines.next(), Some("never,a,1,bad-0"));
    assert_eq!(lines.count(), 2 * 999);

    // Corrected there, they come in.
    let corrected = write(&home, "many.csv.rejected", &rejected.replace("never", "2016-01-01"));
    server.ok(&["import", &corrected, "--quiet"]);
    assert_eq!(
        server.value("SELECT text FROM readings WHERE time = '2016-01-01' AND channel = 'state'").len(),
        9
    );

    let strict = server.run(&["import", &file, "--strict"]);
    let said = String::from_utf8_lossy(&strict.stderr).into_owned();
    assert!(!strict.status.success() && said.contains("line 2: `never`"), "{said}");
}

#[test]
fn what_the_server_would_not_take_as_it_is_is_refused_here() {
    let home = Home::new();
    let server = home.start();
    let text = format!(
        "{{\"ts\":\"1999-05-01T00:00:00Z\",\"device\":\"a\",\"t\":1}}\n\
         {{\"ts\":\"2090-01-01T00:00:00Z\",\"device\":\"a\",\"t\":2}}\n\
         {{\"ts\":1423008000,\"device\":\"a\",\"t\":\"{}\"}}\n\
         {{\"ts\":1423008000,\"device\":\"a\",\"t\":null}}\n\
         {{\"ts\":1423008000,\"device\":\"a\",\"list\":[{{\"x\":1}}]}}\n\
         {{\"ts\":1423008000,\"device\":\"a\",\"t\":5}}\n",
        "x".repeat(70_000)
    );
    let file = write(&home, "odd.jsonl", &text);
    let said = server.ok(&["import", &file]);
    assert!(said.contains("1 rows, 1 readings") && said.contains("5 rows refused"), "{said}");
    assert_eq!(
        server.rows("SELECT time, channel, value FROM readings"),
        [["2015-02-04T00:00:00Z", "t", "5"]]
    );
    assert_eq!(server.value("SELECT count(*) FROM messages WHERE error IS NOT NULL"), "0");
    let rejected = std::fs::read_to_string(format!("{file}.rejected")).expect("written");
    for why in ["would not believe its time", "text of 70000 bytes", "no reading", "list of objects"] {
        assert!(rejected.contains(why), "{why}");
    }
}

/// An import on its way.
fn start(home: &Home, file: &str, to: &str) -> std::process::Child {
    Command::new(GODWIT)
        .args(["import", file, "--to", to, "--window", "2", "--patience", "120s"])
        .current_dir(home.path())
        .env("XDG_STATE_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

fn received(server: &Server) -> f64 {
    server.metric("godwit_broker_received_messages_total")
}

fn progress_is_kept(dir: &Path) -> bool {
    let kept = std::fs::read_dir(dir.join("godwit")).into_iter().flatten().flatten();
    kept.into_iter().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("import-") && name.ends_with(".json")
    })
}

#[test]
fn an_import_that_is_killed_and_whose_server_is_killed_ends_whole() {
    let home = Home::new();
    // A port that stays, so that the import finds the server again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    home.settings(&format!(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"{port}\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n"
    ));
    let rows = 40_000;
    let file = write(&home, "long.csv", &recording("a", rows, 0));
    let server = home.start();
    let mut first = start(&home, &file, &port.to_string());
    // In the middle: some are acknowledged and known to be, not all.
    while received(&server) < 5.0 || !progress_is_kept(home.path()) {
        assert!(first.try_wait().expect("known").is_none(), "the import is still on its way");
    }
    first.kill().expect("killed");
    first.wait().expect("gone");
    let before = received(&server);
    let mut second = start(&home, &file, &port.to_string());
    while received(&server) < before + 5.0 {
        assert!(second.try_wait().expect("known").is_none(), "the import is still on its way");
    }
    server.kill();
    let server = home.start();
    let mut said = String::new();
    second.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    let output = second.wait_with_output().expect("ended");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("goes on after line"), "{said}");
    assert!(!progress_is_kept(home.path()), "nothing is left behind");
    assert_eq!(
        server.rows("SELECT channel, count(*), min(time), max(time) FROM readings GROUP BY 1 ORDER BY 1"),
        [
            ["state", "13334", "2015-02-04T00:00:00Z", "2015-02-04T11:06:39Z"],
            ["temperature", "40000", "2015-02-04T00:00:00Z", "2015-02-04T11:06:39Z"]
        ]
    );
}
