//! Bad input gets one clear error that names the thing and what to do; other clients go on; nothing is lost.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::raw::{Raw, flood};
use crate::server::{Home, Server};

/// A server, and another client of it that must never notice anything.
struct Bystander {
    server: Server,
    raw: Raw,
    sent: u64,
}

impl Bystander {
    fn of(home: &Home) -> Self {
        let server = home.start();
        let raw = Raw::connect(server.mqtt, "bystander");
        Self { server, raw, sent: 0 }
    }

    /// The other client goes on, and so do its readings.
    fn goes_on(&mut self) {
        self.sent += 1;
        let payload = format!(r#"{{"n":{}}}"#, self.sent);
        self.raw.publish_acked("dt/bystander/x", payload.as_bytes());
        let sql = "SELECT count(*) FROM readings WHERE device = 'bystander'";
        assert_eq!(self.server.value(sql), self.sent.to_string());
    }
}

/// Sends bytes on a socket of their own and waits until the server closes it.
fn closed_after(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::open(server.mqtt);
    raw.socket.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    // A reset is a close as well.
    let _ = raw.socket.read_to_end(&mut answer);
    answer
}

#[test]
fn garbage_and_half_packets_cost_only_their_own_connection() {
    let home = Home::new();
    home.settings(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n\
         [mqtt]\nconnect_timeout = \"1s\"\n",
    );
    let mut bystander = Bystander::of(&home);
    closed_after(&bystander.server, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    closed_after(&bystander.server, &[0x00, 0xff, 0x12, 0x80, 0x80, 0x80, 0x80, 0x80]);
    // Half a CONNECT, then silence for ever: closed when its time is over.
    closed_after(&bystander.server, &[0x10, 0x20, 0x00, 0x04, b'M', b'Q']);
    bystander.goes_on();
    let log = home.log();
    assert!(log.contains("refused") || log.contains("malformed"), "{log}");
}

#[test]
fn an_announced_length_of_256_mb_is_refused_before_any_memory() {
    let home = Home::new();
    let mut bystander = Bystander::of(&home);
    let before = resident_kb(bystander.server.pid());
    // PUBLISH with the longest length the format can announce, on many connections at once.
    for n in 0..50 {
        let mut raw = Raw::connect(bystander.server.mqtt, &format!("big-{n}"));
        raw.socket.write_all(&[0x32, 0xff, 0xff, 0xff, 0x7f]).expect("sent");
        let mut answer = Vec::new();
        let _ = raw.socket.read_to_end(&mut answer);
    }
    let grown = resident_kb(bystander.server.pid()).saturating_sub(before);
    assert!(grown < 32 * 1024, "grew by {grown} kB");
    bystander.goes_on();
    assert!(home.log().contains("262144"), "the bound is named: {}", home.log());
}

#[test]
fn an_invalid_topic_closes_only_its_own_connection() {
    let home = Home::new();
    let mut bystander = Bystander::of(&home);
    for topic in ["dt/+/x", "dt/#", ""] {
        let mut raw = Raw::connect(bystander.server.mqtt, "wild");
        raw.publish(topic, b"{}", 1);
        assert!(raw.packet().is_none(), "closed for {topic:?}");
    }
    bystander.goes_on();
}

#[test]
fn payloads_that_cannot_be_understood_are_kept_with_their_reason() {
    let home = Home::new();
    home.settings(
        "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n\
         [mqtt]\npacket_bytes_max = 16777216\n",
    );
    let mut bystander = Bystander::of(&home);
    let mut raw = Raw::connect(bystander.server.mqtt, "odd");
    let huge = format!(r#"{{"a":[{}]}}"#, vec!["1"; 5_000_000].join(","));
    assert!(huge.len() > 10_000_000);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let odd: [(&str, &[u8], &str); 5] = [
        ("dt/odd/1", b"hello", "decode.not_json"),
        ("dt/odd/2", huge.as_bytes(), "decode.too_large"),
        ("dt/odd/3", br#"{"t": 1e999}"#, "decode.not_finite"),
        ("dt/odd/4", deep.as_bytes(), "decode.too_deep"),
        ("dt/odd/5", &[0xff, 0xfe, 0x00], "decode.not_utf8"),
    ];
    for (topic, payload, _) in odd {
        raw.publish_acked(topic, payload);
    }
    let rows =
        bystander.server.rows("SELECT topic, error FROM messages WHERE error IS NOT NULL ORDER BY seq");
    assert_eq!(rows.len(), odd.len(), "{rows:?}");
    for (row, (topic, _, reason)) in rows.iter().zip(odd) {
        assert_eq!(row[0], topic);
        assert!(row[1..].join(",").contains(reason), "{row:?} names {reason}");
    }
    bystander.goes_on();
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_recovers() {
    // A journal bound below one segment stands in for the disk here: nothing can be dropped to make room. The disk
    // itself is filled in `journal`'s simulation.
    let home = Home::new();
    let settings = |bound: &str| {
        format!(
            "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n\
             [journal]\nbytes_max = {bound}\n"
        )
    };
    home.settings(&settings("1000000"));
    let server = home.start();
    let mut acknowledged = 0;
    let filler = "x".repeat(20_000);
    let message = |n: u64| ("plain/topic".to_owned(), format!("{n} {filler}"));
    flood(server.mqtt, "filler", 20, message, 0, |_| {
        acknowledged += 1;
        acknowledged < 2_000
    });
    assert!((1..50).contains(&acknowledged), "40 MB do not fit 1 MB: {acknowledged}");
    assert!(server.metric("godwit_journal_refused_total") >= 1.0, "the refusal is counted");
    let stored = |server: &Server| -> u64 {
        server.value("SELECT count(*) FROM messages WHERE topic = 'plain/topic'").parse().expect("a number")
    };
    assert!(stored(&server) >= acknowledged, "what was acknowledged is there and can be asked");
    server.stop();
    home.settings(&settings("400000000"));
    let server = home.start();
    Raw::connect(server.mqtt, "again").publish_acked("dt/d/x", br#"{"t":1}"#);
    assert_eq!(server.value("SELECT count(*) FROM readings"), "1");
    assert!(stored(&server) >= acknowledged, "and still is");
}

#[test]
fn a_read_only_data_directory_is_refused_by_name() {
    let home = Home::new();
    // A file in place of the directory is refused for root too, whom permissions do not stop.
    std::fs::write(home.data(), b"").expect("written");
    let said = home.start_refused();
    assert!(said.contains(home.data().to_str().expect("text")), "{said}");
    std::fs::remove_file(home.data()).expect("removed");

    std::fs::create_dir(home.data()).expect("made");
    let read_only = std::fs::Permissions::from_mode(0o500);
    std::fs::set_permissions(home.data(), read_only).expect("set");
    if std::fs::write(home.data().join("probe"), b"").is_err() {
        let said = home.start_refused();
        assert!(said.contains(home.data().to_str().expect("text")), "{said}");
        assert!(said.contains("hint:"), "{said}");
    }
    std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o700)).expect("set");
}

#[test]
fn a_damaged_segment_costs_what_was_damaged_and_is_named() {
    for place in ["head", "middle", "tail"] {
        let home = Home::new();
        let server = home.start();
        let mut raw = Raw::connect(server.mqtt, "sender");
        let wide = "w".repeat(2_000);
        for n in 0..50 {
            raw.publish_acked("plain/topic", format!("{n} {wide}").as_bytes());
        }
        server.kill();
        let segment = largest(&home.data().join("journal"));
        let mut bytes = std::fs::read(&segment).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
        let at = match place {
            "head" => 5,
            "middle" => used / 2,
            _ => used - 3,
        };
        bytes[at] ^= 0xff;
        std::fs::write(&segment, &bytes).expect("written");

        let server = home.start();
        let left: u64 = server.value("SELECT count(*) FROM messages").parse().expect("a number");
        match place {
            "head" => assert!(left < 50, "{place}: {left}"),
            _ => assert!((45..50).contains(&left), "{place}: only the damaged frame is gone: {left}"),
        }
        let name = segment.file_name().expect("a name").to_str().expect("text");
        assert!(home.log().contains(name), "{place}: the log names {name}: {}", home.log());
        Raw::connect(server.mqtt, "again").publish_acked("dt/d/x", br#"{"t":1}"#);
        assert_eq!(server.value("SELECT count(*) FROM readings"), "1", "{place}: it goes on");
    }
}

#[test]
fn a_newer_data_directory_is_refused() {
    let home = Home::new();
    home.start().stop();
    let format = home.data().join("FORMAT");
    let text = std::fs::read_to_string(&format).expect("readable");
    let newer = text.replace(&format!("\"format\": {}", host::FORMAT_VERSION), "\"format\": 99");
    assert_ne!(newer, text, "the format of today is in it");
    std::fs::write(&format, newer).expect("written");
    let said = home.start_refused();
    assert!(said.contains("has format 99"), "{said}");
    assert!(said.contains("hint: start the version of Godwit that wrote it"), "{said}");
}

#[test]
fn a_missing_key_is_refused_once_there_is_data() {
    let home = Home::new();
    home.start().stop();
    std::fs::remove_file(home.path().join("data.key")).expect("removed");
    let said = home.start_refused();
    assert!(said.contains("data.key") && said.contains("missing"), "{said}");
}

#[test]
fn a_second_start_on_the_same_directory_is_refused() {
    let home = Home::new();
    let server = home.start();
    let said = home.start_refused();
    assert!(said.contains("is served by another process"), "{said}");
    assert!(said.contains(&format!("(pid {})", server.pid())), "{said}");
    Raw::connect(server.mqtt, "c").publish_acked("dt/d/x", br#"{"t":1}"#);
}

#[test]
fn a_port_in_use_is_refused_by_name() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    home.settings(&format!("[[listener]]\ndoor = \"mqtt\"\nbind = \"{address}\"\nauth = \"anonymous\"\n"));
    let said = home.start_refused();
    assert!(said.contains(&address.to_string()), "{said}");
    assert!(said.contains("hint:"), "{said}");
}

#[test]
fn a_settings_file_with_an_unknown_key_names_its_line() {
    let home = Home::new();
    home.settings("data = \"x\"\n[journal]\nkeepp = \"7d\"\n");
    let said = home.start_refused();
    assert!(said.contains("line 3") && said.contains("keepp"), "{said}");
    home.settings("[[route]]\nfilter = \"a/#/b\"\n");
    let said = home.start_refused();
    assert!(said.contains("a/#/b"), "{said}");
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

fn largest(dir: &Path) -> PathBuf {
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("readable") {
            let entry = entry.expect("an entry");
            match entry.metadata().expect("known") {
                about if about.is_dir() => dirs.push(entry.path()),
                about => files.push((about.len(), entry.path())),
            }
        }
    }
    files.sort();
    files.pop().expect("a segment").1
}
