//! Backup and restore, through the real binary: what is in a backup, what a restore refuses, what is left when either
//! is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::raw::{Raw, flood};
use crate::server::{BOTH_DOORS, GODWIT, Home, Server};

/// Both doors, and segments small enough that there are many.
fn settings() -> String {
    format!("{BOTH_DOORS}[journal]\nsegment_bytes = 1048576\n")
}

const PASSPHRASE: &str = "correct horse battery staple";

fn home() -> Home {
    let home = Home::new();
    home.settings(&settings());
    std::fs::write(home.path().join("passphrase"), format!("{PASSPHRASE}\n")).expect("written");
    home
}

/// The binary with these arguments and no server of its own.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(GODWIT);
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary starts")
}

fn ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// What a command that must fail said.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} must fail: {}", said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Where a home keeps its backup.
fn archive(home: &Home) -> PathBuf {
    home.path().join("backup.tar")
}

fn passphrase(home: &Home) -> PathBuf {
    home.path().join("passphrase")
}

/// Backs up a home's data directory, served or not.
fn back_up(home: &Home) -> String {
    let (data, to, passphrase) = (home.data(), archive(home), passphrase(home));
    ok(&["backup", "--data", text(&data), "--to", text(&to), "--passphrase-file", text(&passphrase)])
}

/// Restores a home's backup into another's data directory.
fn restore(from: &Home, to: &Home) -> Output {
    let (data, archive, passphrase) = (to.data(), archive(from), passphrase(from));
    run(&["restore", text(&archive), "--data", text(&data), "--passphrase-file", text(&passphrase)])
}

fn restored(from: &Home) -> Home {
    let to = home();
    let output = restore(from, &to);
    assert!(output.status.success(), "{}", said(&output));
    to
}

/// The first `count` retained messages that a subscriber of everything gets.
fn retained(mqtt: SocketAddr, count: usize) -> BTreeMap<String, String> {
    let mut raw = Raw::connect(mqtt, "collector");
    raw.send(0x82, b"\x00\x01\x00\x01#\x00");
    let mut found = BTreeMap::new();
    while found.len() < count {
        let (head, body) = raw.packet().expect("a packet");
        if head & 0xf1 != 0x31 {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("text");
        found.insert(topic, String::from_utf8_lossy(&body[2 + length..]).into_owned());
    }
    found
}

fn numbered(number: u64) -> (String, String) {
    (
        format!("dt/flood-{}/count", number % 7),
        format!(r#"{{"ts":{},"n":{number}}}"#, 1_700_000_000_000 + number),
    )
}

const QUESTIONS: [&str; 4] = [
    "SELECT time, device, channel, value, text, flags, topic, received_at FROM readings ORDER BY device, channel, time",
    "SELECT * FROM latest ORDER BY device, channel",
    "SELECT seq, received_at, device, topic, payload, error FROM messages ORDER BY seq",
    "SELECT channel, count(*), avg(value) FROM readings GROUP BY channel ORDER BY channel",
];

fn answers(server: &Server) -> Vec<String> {
    QUESTIONS.iter().map(|sql| server.ok(&["query", "--csv", "--wait", "120s", sql])).collect()
}

/// A little of everything, part of it in column files.
fn fill(home: &Home) -> (Server, String) {
    let server = home.start();
    let password = server.ok(&["device", "add", "boiler", "--password"]);
    let password = password.lines().find_map(|line| line.strip_prefix("password")).expect("a password");
    let password = password.split_whitespace().next().expect("a password").to_owned();
    let mut raw = Raw::connect(server.mqtt, "sender");
    for n in 0..40 {
        let reading =
            format!(r#"{{"ts":{},"flow":{n}.5,"state":"open {n}"}}"#, 1_700_000_000_000 + n * 60_000_i64);
        raw.publish_acked("dt/boiler/telemetry", reading.as_bytes());
    }
    raw.publish_acked("dt/boiler/telemetry", b"this is no JSON");
    raw.publish_acked("tele/x/SENSOR", b"{}");
    server.ok(&["send", "lamp/1", "on", "--retain"]);
    server.ok(&["send", "dt/boiler/state", "{\"valve\": 3}", "--retain"]);
    // A stop writes column files; what comes after it is in the journal only.
    server.stop();
    let server = home.start();
    let mut raw = Raw::connect(server.mqtt, "sender");
    raw.publish_acked("dt/boiler/telemetry", br#"{"ts":1700000000000,"flow":99.25}"#);
    raw.publish_acked("dt/late/telemetry", br#"{"ts":1600000000000,"t":1}"#);
    (server, password)
}

#[test]
fn a_backup_under_load_has_every_message_that_was_acknowledged_before_it() {
    let home = home();
    let (server, password) = fill(&home);
    let acknowledged = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let mqtt = server.mqtt;
    let mut before = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            flood(mqtt, "flood", 100, numbered, 0, |number| {
                acknowledged.store(number, Ordering::Release);
                !is_over.load(Ordering::Acquire)
            });
        });
        while acknowledged.load(Ordering::Acquire) < 2_000 {
            std::thread::yield_now();
        }
        before = acknowledged.load(Ordering::Acquire);
        let told = back_up(&home);
        assert!(told.contains("under its passphrase"), "{told}");
        let meanwhile = acknowledged.load(Ordering::Acquire);
        assert!(meanwhile > before, "devices go on publishing");
        is_over.store(true, Ordering::Release);
    });

    let elsewhere = restored(&home);
    let copy = elsewhere.start();
    let numbers = "SELECT cast(value AS bigint) FROM readings WHERE device LIKE 'flood-%'";
    let found: BTreeSet<u64> =
        copy.rows(numbers).iter().map(|row| row[0].parse().expect("a number")).collect();
    let lost: Vec<u64> = (0..=before).filter(|number| !found.contains(number)).collect();
    assert!(
        lost.is_empty(),
        "{} were acknowledged before the backup and are not in it: {:?}",
        lost.len(),
        lost[0]
    );
    let twice = "SELECT count(*) FROM (SELECT payload FROM messages WHERE topic LIKE 'dt/flood-%' GROUP BY payload HAVING count(*) > 1)";
    assert_eq!(copy.value(twice), "0", "none is in it twice");
    let whole = copy
        .value("SELECT max(cast(value AS bigint)) + 1 - count(*) FROM readings WHERE device LIKE 'flood-%'");
    assert_eq!(whole, "0", "what is in it is the beginning of what was sent, without a hole");

    let kept = retained(copy.mqtt, 2);
    assert_eq!((kept["lamp/1"].as_str(), kept["dt/boiler/state"].as_str()), ("on", "{\"valve\": 3}"));
    let mut device = Raw::open(elsewhere.door_with_passwords());
    assert_eq!(device.say_connect("boiler", Some(("boiler", &password))), 0, "its password is known");
    let mut thief = Raw::open(elsewhere.door_with_passwords());
    assert_ne!(thief.say_connect("boiler", Some(("boiler", "wrong"))), 0);
    // Both go on for themselves.
    Raw::connect(copy.mqtt, "again")
        .publish_acked("dt/boiler/telemetry", br#"{"ts":1800000000000,"flow":1}"#);
    assert_eq!(copy.value("SELECT value FROM latest WHERE device = 'boiler' AND channel = 'flow'"), "1");
    copy.stop();
    assert!(!elsewhere.log().contains("are lost"), "{}", elsewhere.log());
}

#[test]
fn a_restored_directory_answers_as_the_original() {
    let home = home();
    let (server, _) = fill(&home);
    let expected = answers(&server);
    back_up(&home);
    // Of the same directory at rest, after a stop and after a kill.
    let rest = |server: Server, kill: bool| {
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        back_up(&home)
    };
    assert_eq!(answers(&restored(&home).start()), expected, "from a server");
    rest(server, true);
    assert_eq!(answers(&restored(&home).start()), expected, "from a directory whose server was killed");
    rest(home.start(), false);
    let elsewhere = restored(&home);
    assert_eq!(answers(&elsewhere.start()), expected, "from a directory at rest");

    // A backup of a restored directory is one like any other; it is another directory than the first.
    let first = std::fs::read(home.data().join("FORMAT")).expect("read");
    back_up(&elsewhere);
    let third = restored(&elsewhere);
    assert_eq!(answers(&third.start()), expected);
    let id = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON")["id"].clone();
    assert_ne!(id(&std::fs::read(third.data().join("FORMAT")).expect("read")), id(&first));
}

#[test]
fn a_column_file_that_is_lost_costs_no_other() {
    let home = home();
    let (server, _) = fill(&home);
    server.stop();
    let series = home.data().join("series");
    let mut files: Vec<_> =
        std::fs::read_dir(&series).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    // A column file, not the rollups of its day, which are there or not yet.
    files
        .retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("2023-11-14")));
    std::fs::remove_file(files.first().expect("a column file")).expect("removed");
    let told = back_up(&home);
    assert!(told.contains("left out  series/2023-11-14"), "{told}");
    let elsewhere = restored(&home);
    let copy = elsewhere.start();
    assert_eq!(copy.value("SELECT value FROM latest WHERE device = 'late'"), "1");
}

#[test]
fn everything_of_a_data_directory_is_in_its_backup() {
    // Who adds a file to the data directory adds it to the backup (`archive::collect`), or here to what is left out.
    const LEFT_OUT: [&str; 7] =
        ["FORMAT", "ca.pem", "lock", "server.json", "setup-link", "temp", "catalog.db-shm"];
    let home = home();
    let (server, _) = fill(&home);
    back_up(&home);
    let elsewhere = restored(&home);
    let names = |of: &Home| -> BTreeSet<String> {
        let found = std::fs::read_dir(of.data()).expect("listed");
        found.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    let mut expected = names(&home);
    expected.retain(|name| !LEFT_OUT.contains(&name.as_str()) && name != "catalog.db-wal");
    assert!(names(&elsewhere).is_superset(&expected), "{:?} of {expected:?}", names(&elsewhere));
    assert!(expected.contains("series") && expected.contains("journal"));
    for name in names(&elsewhere) {
        let mode = std::fs::metadata(elsewhere.data().join(&name)).expect("there");
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
        assert_eq!(mode & 0o077, 0, "{name} is nobody else's to read");
    }
    server.stop();
    let temp = std::fs::read_dir(home.data().join("temp")).expect("listed").count();
    assert_eq!(temp, 0, "nothing of the backup is left behind");
}

#[test]
fn a_key_is_in_it_only_under_its_passphrase() {
    let home = home();
    let (server, _) = fill(&home);
    let told = back_up(&home);
    let key = std::fs::read_to_string(home.path().join("data.key")).expect("a key");
    let bytes = std::fs::read(archive(&home)).expect("a backup");
    let raw: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).expect("hex")).collect();
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!has(key.trim().as_bytes()) && !has(&raw), "never in the clear");
    assert!(!has(b"boiler") && !has(b"this is no JSON"), "nor is anything of the data");
    assert!(told.contains("messages  up to seq"), "{told}");

    // Another passphrase.
    let elsewhere = self::home();
    std::fs::write(elsewhere.path().join("passphrase"), "another passphrase").expect("written");
    let (data, wrong, from) = (elsewhere.data(), passphrase(&elsewhere), archive(&home));
    let wrongly = ["restore", text(&from), "--data", text(&data), "--passphrase-file", text(&wrong)];
    let said = refused(&wrongly);
    assert!(said.contains("the passphrase is not the one of this backup"), "{said}");
    assert!(!data.exists() && !elsewhere.path().join("data.key").exists(), "nothing was made");

    // Without a terminal, a file or a variable nobody is asked.
    let said = refused(&["restore", text(&from), "--data", text(&data)]);
    assert!(said.contains("--passphrase-file"), "{said}");
    let mut with_variable = command(&["restore", text(&from), "--data", text(&data)]);
    let output = with_variable.env("GODWIT_PASSPHRASE", PASSPHRASE).output().expect("the binary starts");
    assert!(output.status.success(), "{}", self::said(&output));
    let placed = std::fs::read_to_string(elsewhere.path().join("data.key")).expect("a key");
    assert_ne!(placed, key, "another directory has a master key of its own");
    elsewhere.start().stop();

    // The key's place is taken by another one.
    let third = self::home();
    std::fs::write(third.path().join("data.key"), "00".repeat(32)).expect("written");
    let (data, passphrase) = (third.data(), passphrase(&home));
    let mut arguments =
        vec!["restore", text(&from), "--data", text(&data), "--passphrase-file", text(&passphrase)];
    let said = refused(&arguments);
    assert!(said.contains("holds another key") && said.contains("--key"), "{said}");
    let other = third.path().join("other/place.key");
    arguments.extend(["--key", text(&other)]);
    let told = ok(&arguments);
    assert!(told.contains("`[keys] file`"), "{told}");
    assert_eq!(std::fs::read_to_string(&other).expect("a key").trim().len(), 64);

    // Verified with it, and with the wrong one.
    let told = ok(&["backup", "verify", text(&from), "--with-key", "--passphrase-file", text(&passphrase)]);
    assert!(told.contains("all of it opens"), "{told}");
    refused(&["backup", "verify", text(&from), "--with-key", "--passphrase-file", text(&wrong)]);

    // A short one is not taken for a new backup.
    std::fs::write(elsewhere.path().join("passphrase"), "short").expect("written");
    let (data, to) = (home.data(), home.path().join("other.tar"));
    let said =
        refused(&["backup", "--data", text(&data), "--to", text(&to), "--passphrase-file", text(&wrong)]);
    assert!(said.contains("has 5 bytes; at least 8"), "{said}");
    assert!(!to.exists());
    server.stop();
}

#[test]
fn a_backup_without_its_key_needs_the_key_file() {
    let home = home();
    let (server, _) = fill(&home);
    let (data, to) = (home.data(), archive(&home));
    let told = ok(&["backup", "--data", text(&data), "--to", text(&to), "--without-key"]);
    assert!(told.contains("not in it: keep the key file"), "{told}");
    let expected = answers(&server);
    server.stop();

    let elsewhere = self::home();
    let data = elsewhere.data();
    let said = refused(&["restore", text(&to), "--data", text(&data)]);
    assert!(said.contains("made without its key") && said.contains("data.key"), "{said}");
    std::fs::copy(home.path().join("data.key"), elsewhere.path().join("data.key")).expect("copied");
    ok(&["restore", text(&to), "--data", text(&data)]);
    assert_eq!(answers(&elsewhere.start()), expected);
}

#[test]
fn a_restore_never_writes_over_anything() {
    let home = home();
    let (server, _) = fill(&home);
    back_up(&home);
    let said = self::said(&restore(&home, &home));
    assert!(said.contains("is not empty"), "{said}");
    server.stop();
    let said = self::said(&restore(&home, &home));
    assert!(said.contains("is not empty") && said.contains("hint: name a directory that is empty"), "{said}");

    let photos = self::home();
    std::fs::create_dir(photos.data()).expect("made");
    std::fs::write(photos.data().join("holiday.jpg"), "").expect("written");
    let said = self::said(&restore(&home, &photos));
    assert!(said.contains("holds `holiday.jpg`"), "{said}");
    assert_eq!(std::fs::read_dir(photos.data()).expect("listed").count(), 1);

    let empty = self::home();
    std::fs::create_dir(empty.data()).expect("made");
    let output = restore(&home, &empty);
    assert!(output.status.success(), "an empty one is fine: {}", self::said(&output));
}

#[test]
fn a_damaged_backup_is_named_and_makes_no_directory_that_is_served() {
    let home = home();
    let (server, _) = fill(&home);
    back_up(&home);
    server.stop();
    let whole = std::fs::read(archive(&home)).expect("a backup");
    ok(&["backup", "verify", text(&archive(&home))]);
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 0x10;
    let evil = {
        // Behind the header: a file that would lie beside the data directory.
        let header = 512
            + usize::from_str_radix(str::from_utf8(&whole[124..135]).expect("octal"), 8)
                .expect("octal")
                .next_multiple_of(512);
        [&whole[..header], &tar_block("series/../../evil", 600), &[0; 1024], &whole[header..]].concat()
    };
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("cut off", whole[..middle].to_vec(), "cut off"),
        ("without its manifest", whole[..whole.len() - 2048].to_vec(), "cut off"),
        ("flipped", flipped, "damaged"),
        ("with a file elsewhere", evil, "no backup of Godwit does"),
        ("something else", b"GIF89a".repeat(1000), "no backup of Godwit"),
    ];
    for (what, bytes, expected) in cases {
        std::fs::write(archive(&home), bytes).expect("written");
        let verified = refused(&["backup", "verify", text(&archive(&home))]);
        assert!(verified.contains(expected), "{what}: {verified}");
        assert!(verified.contains("hint:"), "{what}: {verified}");
        let elsewhere = self::home();
        let output = restore(&home, &elsewhere);
        assert!(!output.status.success(), "{what}");
        assert!(said(&output).contains(expected), "{what}: {}", said(&output));
        assert!(!elsewhere.path().join("evil").exists(), "nothing leaves the directory");
        if elsewhere.data().join("journal").exists() || elsewhere.data().join("catalog.db").exists() {
            let said = elsewhere.start_refused();
            assert!(
                said.contains("a restore was cut off") && said.contains("godwit restore"),
                "{what}: {said}"
            );
        }
        // It starts over with a whole one.
        std::fs::write(archive(&home), &whole).expect("written");
        assert!(restore(&home, &elsewhere).status.success(), "{what}");
        elsewhere.start().stop();
    }
}

/// The block before a file in a tar.
fn tar_block(name: &str, bytes: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000600\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn a_restore_that_is_killed_is_refused_by_serve_and_starts_over() {
    let home = home();
    let (server, _) = fill(&home);
    let expected = answers(&server);
    back_up(&home);
    server.stop();
    let whole = std::fs::read(archive(&home)).expect("a backup");
    let elsewhere = self::home();
    let (data, passphrase) = (elsewhere.data(), passphrase(&home));
    // Killed when these parts of the archive have come, and it waits for more.
    for part in [1, 5, 9] {
        let mut child =
            command(&["restore", "-", "--data", text(&data), "--passphrase-file", text(&passphrase)])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(&whole[..whole.len() * part / 10]).expect("taken");
        // It has read the header when there is a directory, and some of the rest.
        while !data.join("RESTORING").exists() {
            assert!(child.try_wait().expect("looked at").is_none(), "it waits for the rest");
            std::thread::yield_now();
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        let said = elsewhere.start_refused();
        assert!(said.contains("holds half of a backup: a restore was cut off"), "{said}");
        assert!(said.contains("hint: run `godwit restore` on it again"), "{said}");
    }
    let output = restore(&home, &elsewhere);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(answers(&elsewhere.start()), expected);
}

#[test]
fn a_backup_that_is_cut_off_leaves_no_file_of_its_name() {
    let home = home();
    let server = home.start();
    let wide = |number: u64| ("plain/wide".to_owned(), format!("{number:08192}"));
    // More than fits between server and reader.
    flood(server.mqtt, "wide", 50, wide, 0, |number| number < 4_000);
    let data = home.data();
    let mut child = server
        .command(&["backup", "--to", "-", "--without-key"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut out = child.stdout.take().expect("piped");
    let mut begun = vec![0; 100_000];
    out.read_exact(&mut begun).expect("it has begun");
    // A second one waits its turn.
    let to = archive(&home);
    let second = refused(&["backup", "--data", text(&data), "--to", text(&to), "--without-key"]);
    assert!(second.contains("a backup is under way already"), "{second}");
    server.kill();
    out.read_to_end(&mut begun).expect("read");
    let output = child.wait_with_output().expect("gone");
    assert!(!output.status.success(), "it says that it failed: {}", said(&output));
    std::fs::write(home.path().join("cut.tar"), &begun).expect("written");
    let verified = refused(&["backup", "verify", text(&home.path().join("cut.tar"))]);
    assert!(verified.contains("cut off"), "{verified}");

    // Into a file: nothing of the name, and nothing of another.
    let server = home.start();
    let limited = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "-", GODWIT])
        .args(["backup", "--data", text(&data), "--to", text(&to), "--without-key"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("bash starts");
    let said = said(&limited);
    assert!(!limited.status.success() && said.contains("cannot write"), "{said}");
    assert!(said.contains("backup.tar"), "{said}");
    assert!(!to.exists() && !home.path().join("backup.tar.part").exists());
    // The server is rid of it, and the next one is whole.
    let again = || server.run(&["backup", "--to", text(&to), "--without-key"]);
    let mut output = again();
    // It hears of the lost reader when it next writes to it.
    while self::said(&output).contains("a backup is under way already") {
        output = again();
    }
    assert!(output.status.success(), "{}", self::said(&output));
    ok(&["backup", "verify", text(&to)]);
}

#[test]
fn a_backup_that_nobody_can_make_says_what_to_do() {
    let home = home();
    let (nowhere, to) = (home.path().join("nowhere"), archive(&home));
    let said = refused(&["backup", "--data", text(&nowhere), "--to", text(&to), "--without-key"]);
    assert!(said.contains("there is no Godwit data directory at") && said.contains("hint:"), "{said}");
    assert!(!nowhere.exists() && !to.exists());
    let dir = home.path().to_owned();
    let said = refused(&["backup", "--data", text(&nowhere), "--to", text(&dir), "--without-key"]);
    assert!(said.contains("is a directory") && said.contains("hint: name a file in it"), "{said}");
    let said = refused(&["backup", "--server", "http://127.0.0.1:1", "--to", text(&to), "--without-key"]);
    assert!(said.contains("cannot reach"), "{said}");
    let said = refused(&["backup"]);
    assert!(said.contains("--to"), "{said}");
    let said = refused(&["backup", "verify", text(&home.path().join("none.tar"))]);
    assert!(said.contains("none.tar"), "{said}");
}
