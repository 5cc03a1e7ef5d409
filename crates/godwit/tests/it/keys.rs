//! The keys of a data directory, through the real binary: rotated while messages come, kept in a file, a variable or Vault,
//! lost and recovered.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::raw::Raw;
use crate::server::{BOTH_DOORS, GODWIT, Home, Server};
use crate::tls::wait_for;
use crate::vault::{self, Vault};

fn home(keys: &str) -> Home {
    let home = Home::new();
    home.settings(&format!("{BOTH_DOORS}{keys}"));
    home
}

/// A second settings file.
fn other_settings(home: &Home, keys: &str) -> PathBuf {
    let path = home.path().join("other.toml");
    std::fs::write(&path, format!("{BOTH_DOORS}{keys}")).expect("written");
    path
}

/// `serve` with these settings and variables.
fn serve(home: &Home, settings: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(GODWIT);
    command.arg("serve").arg("--data").arg(home.data()).arg("--config").arg(settings);
    command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

fn settings(home: &Home) -> PathBuf {
    home.path().join("godwit.toml")
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "it must be refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn send(server: &Server, number: u32) {
    let payload = format!(r#"{{"ts":{},"n":{number}}}"#, 1_767_225_600_000_u64 + u64::from(number) * 1000);
    Raw::connect(server.mqtt, "sender").publish_acked("dt/d/x", payload.as_bytes());
}

fn sent(server: &Server) -> String {
    server.value("SELECT count(*) FROM readings WHERE channel = 'n'")
}

fn key_file(home: &Home) -> PathBuf {
    home.path().join("data.key")
}

/// Every file of a data directory but the lock, which holds the number of the last process.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            files.insert(path.clone(), std::fs::read(&path).expect("read"));
        }
    }
    files
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn keys_are_rotated_while_messages_come_and_a_kill_at_any_moment_loses_nothing() {
    let home = home("");
    let mut number = 0;
    let mut keys = vec![std::fs::read_to_string(key_file(&home)).unwrap_or_default()];
    for round in 0..6_u64 {
        let server = home.start();
        assert_eq!(sent(&server), number.to_string(), "round {round}");
        send(&server, number);
        number += 1;
        let ring = || std::fs::read(home.data().join("KEYRING")).expect("a ring");
        let key = || std::fs::read(key_file(&home)).expect("a key");
        let (ring_before, key_before) = (ring(), key());
        let mut rotating = server.command(&["keys", "rotate"]).spawn().expect("it starts");
        // Its three steps on the disk: a ring for both keys, the new key, a ring for that one alone. What a kill leaves
        // after each is what the next start finds.
        match round {
            1 => wait_for("the ring opens by both keys", || ring() != ring_before),
            3 => wait_for("the new key is in place", || key() != key_before),
            5 => {
                wait_for("the ring opens by both keys", || ring() != ring_before);
                let by_both = ring();
                wait_for("the ring opens by the new key alone", || {
                    ring() != by_both || rotating.try_wait().expect("asked").is_some()
                });
            }
            _ => {
                assert!(rotating.wait().expect("waited").success());
                send(&server, number);
                number += 1;
            }
        }
        server.kill();
        let _ = rotating.wait();
        keys.push(std::fs::read_to_string(key_file(&home)).expect("a key"));
    }
    let server = home.start();
    assert_eq!(sent(&server), number.to_string());
    let shown = server.ok(&["keys", "show"]);
    let ring = shown.lines().filter(|line| line.starts_with("ring key")).count();
    assert!(ring >= 4, "each rotation that was answered made one:\n{shown}");
    assert!(shown.contains("data.key"), "{shown}");
    keys.dedup();
    assert!(keys.len() >= 4, "and another master key: {}", keys.len());
    server.stop();
    // What was thrown away opens nothing.
    std::fs::write(key_file(&home), &keys[1]).expect("written");
    assert!(home.start_refused().contains("the data needs master key"), "{}", home.log());
}

#[test]
fn a_wrong_or_missing_key_is_refused_before_anything_is_touched() {
    let home = home("");
    let server = home.start();
    send(&server, 1);
    server.stop();
    let before = files(&home.data());
    let key = std::fs::read(key_file(&home)).expect("a key");

    std::fs::write(key_file(&home), "77".repeat(32)).expect("written");
    let said = home.start_refused();
    assert!(said.contains("the data needs master key key:") && said.contains("hint: "), "{said}");
    std::fs::write(key_file(&home), "not a key").expect("written");
    let said = home.start_refused();
    assert!(said.contains("must hold 64 hexadecimal digits"), "{said}");
    std::fs::remove_file(key_file(&home)).expect("removed");
    let said = home.start_refused();
    assert!(said.contains("is missing") && said.contains("godwit keys recover"), "{said}");
    assert!(!key_file(&home).exists(), "no new one is made over data");
    std::fs::write(key_file(&home), &key).expect("written");
    std::fs::rename(home.data().join("KEYRING"), home.path().join("KEYRING")).expect("moved");
    let said = home.start_refused();
    assert!(said.contains("KEYRING` is missing"), "{said}");
    std::fs::rename(home.path().join("KEYRING"), home.data().join("KEYRING")).expect("moved");

    assert!(files(&home.data()) == before, "every file is as it was");
    assert_eq!(sent(&home.start()), "1");
}

#[test]
fn the_recovery_code_opens_what_a_lost_key_closed() {
    let home = home("");
    let server = home.start();
    send(&server, 1);
    let answer = server.ok(&["keys", "recovery"]);
    let code = answer.lines().next().expect("a code").to_owned();
    server.ok(&["keys", "rotate"]);
    send(&server, 2);
    let data = home.data();
    let recover = |code: &str| {
        let mut command = Command::new(GODWIT);
        command.args(["keys", "recover", "--data"]).arg(&data).env_clear();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("piped").write_all(code.as_bytes()).expect("written");
        child.wait_with_output().expect("it ends")
    };
    assert!(refused(&recover(&code)).contains("is served by another process"));
    server.stop();
    for (path, bytes) in files(&data) {
        assert!(!contains(&bytes, code.as_bytes()), "{}", path.display());
    }

    std::fs::remove_file(key_file(&home)).expect("removed");
    assert!(refused(&recover("abc")).contains("this is no recovery code"));
    let other = code.replace(['0', '1', '2'], "3");
    assert!(refused(&recover(&format!("{}9", &other[..other.len() - 1]))).contains("is not the one of this"));
    assert!(!key_file(&home).exists(), "a wrong code makes no key");
    let output = recover(&code.to_uppercase());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sent(&home.start()), "2");
}

#[test]
fn a_key_in_a_variable_is_rotated_in_two_steps() {
    let home = home("[keys]\nvariable = \"MASTER\"\n");
    let first = "5a".repeat(32);
    let unset = serve(&home, &settings(&home), &[]).output().expect("it starts");
    assert!(refused(&unset).contains("openssl rand -hex 32"));
    let server = home.start_as(serve(&home, &settings(&home), &[("MASTER", &first)]));
    send(&server, 1);
    let answer = server.ok(&["keys", "rotate"]);
    let second = answer.lines().find(|line| line.trim().len() == 64).expect("the new key").trim().to_owned();
    send(&server, 2);
    server.stop();
    assert!(!key_file(&home).exists(), "it is nowhere but in the environment");
    for (path, bytes) in files(&home.data()) {
        for key in [&first, &second] {
            let raw: Vec<u8> = (0..32)
                .map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).expect("hexadecimal"))
                .collect();
            assert!(!contains(&bytes, key.as_bytes()) && !contains(&bytes, &raw), "{}", path.display());
        }
    }
    let server = home.start_as(serve(&home, &settings(&home), &[("MASTER", &first)]));
    assert!(home.log().contains("put the new one in place"), "{}", home.log());
    assert_eq!(sent(&server), "2");
    server.stop();
    let server = home.start_as(serve(&home, &settings(&home), &[("MASTER", &second)]));
    assert_eq!(sent(&server), "2");
    server.stop();
    let late = serve(&home, &settings(&home), &[("MASTER", &first)]).output().expect("it starts");
    assert!(refused(&late).contains("the data needs master key"));
}

#[test]
fn a_master_key_in_vault_never_leaves_it() {
    let vault = Vault::start();
    let keys = format!("[keys.vault]\nurl = \"http://{}\"\nkey = \"godwit\"\n", vault.address);
    let home = home(&keys);
    let serve = |token: &str| serve(&home, &settings(&home), &[("VAULT_TOKEN", token)]);
    let said = refused(&serve("hvs.another").output().expect("it starts"));
    assert!(said.contains("403 Forbidden") && said.contains("permission denied"), "{said}");
    assert!(!said.contains("hvs.another"), "a token is never shown: {said}");

    let clear = other_settings(&home, &keys.replace(&vault.address.to_string(), "192.0.2.1:8200"));
    let said =
        refused(&self::serve(&home, &clear, &[("VAULT_TOKEN", vault::TOKEN)]).output().expect("it starts"));
    assert!(said.contains("over the wire in the clear") && said.contains("hint: write `https://`"), "{said}");

    let server = home.start_as(serve(vault::TOKEN));
    send(&server, 1);
    assert!(server.ok(&["keys", "show"]).contains("vault:transit/godwit"));
    let answer = server.ok(&["keys", "rotate"]);
    assert!(answer.contains("rotated: master key vault:transit/godwit"), "{answer}");
    assert_eq!(vault.version(), 2, "Vault made a new version");
    let ring = std::fs::read_to_string(home.data().join("KEYRING")).expect("read");
    assert!(ring.contains("vault:v2:") && !ring.contains("vault:v1:"), "{ring}");
    send(&server, 2);
    // Vault is asked for nothing while messages come.
    vault.seal(true);
    send(&server, 3);
    let failed = server.run(&["keys", "rotate"]);
    assert!(refused(&failed).contains("Vault is sealed"));
    send(&server, 4);
    server.stop();
    let said = refused(&serve(vault::TOKEN).output().expect("it starts"));
    assert!(said.contains("503") && said.contains("Vault is sealed") && said.contains("hint: "), "{said}");
    vault.seal(false);
    let server = home.start_as(serve(vault::TOKEN));
    assert_eq!(sent(&server), "4");
    for (path, bytes) in files(&home.data()) {
        assert!(!contains(&bytes, vault::TOKEN.as_bytes()), "{}", path.display());
    }
}

#[test]
fn vault_over_tls_is_trusted_by_its_ca_alone() {
    let (vault, ca) = Vault::start_tls();
    let home = home("");
    let file = home.data().with_extension("vault-ca.pem");
    std::fs::write(&file, ca).expect("written");
    let keys = format!("[keys.vault]\nurl = \"https://{}\"\nkey = \"godwit\"\n", vault.address);
    let start = |keys: &str| serve(&home, &other_settings(&home, keys), &[("VAULT_TOKEN", vault::TOKEN)]);
    let said = refused(&start(&keys).output().expect("it starts"));
    assert!(said.contains("certificate"), "{said}");

    let server = home.start_as(start(&format!("{keys}ca = \"{}\"\n", file.display())));
    send(&server, 1);
    assert!(server.ok(&["keys", "show"]).contains("vault:transit/godwit"));
}

#[test]
fn a_master_key_moves_from_a_file_to_a_variable_and_back() {
    let home = home("");
    let server = home.start();
    send(&server, 1);
    server.stop();
    let to = other_settings(&home, "[keys]\nvariable = \"MASTER\"\n");
    let key = "c3".repeat(32);
    let data = home.data();
    let move_master = |from: &Path, to: &Path| {
        let mut command = Command::new(GODWIT);
        command.args(["keys", "move", "--data"]).arg(&data).arg("--config").arg(from).arg("--to").arg(to);
        command.env_clear().env("MASTER", &key).output().expect("it starts")
    };
    let output = move_master(&settings(&home), &to);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(home.start_refused().contains("the data needs master key"), "the file is worth nothing any more");
    let server = home.start_as(serve(&home, &to, &[("MASTER", &key)]));
    assert_eq!(sent(&server), "1");
    server.stop();
    std::fs::remove_file(key_file(&home)).expect("removed");
    assert!(move_master(&to, &settings(&home)).status.success());
    assert_eq!(sent(&home.start()), "1");
    let two = other_settings(&home, "[keys]\nvariable = \"MASTER\"\nfile = \"x\"\n");
    assert!(refused(&move_master(&two, &settings(&home))).contains("more than one place"));
}
