//! Certificates of devices, by strangers' tools: OpenSSL, Mosquitto's clients.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::server::Home;
use crate::tls::{Client, Pair, add, answer, connect_packet, home, https, openssl, secure, wait_for};

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 30";

#[test]
fn a_device_with_a_certificate_is_in_with_what_device_add_wrote() {
    let home = home();
    let server = home.start();
    let pair = add(&home, &server, "pump-1");
    let mode = std::fs::metadata(&pair.key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a private key is its owner's alone");

    let address = secure(&home)[0];
    let published = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-q", "1", "-i", "any-client-id"])
        .arg("--cafile")
        .arg(home.path().join("pump-1/ca.pem"))
        .arg("--cert")
        .arg(&pair.certificate)
        .arg("--key")
        .arg(&pair.key)
        .args(["-t", "dt/pump-1/state", "-m", r#"{"pressure": 2.5}"#])
        .output()
        .expect("mosquitto_pub runs");
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert_eq!(server.value("SELECT value FROM latest WHERE device = 'pump-1'"), "2.5");

    for (version, level) in [("-tls1_2", 4), ("-tls1_2", 5), ("-tls1_3", 4), ("-tls1_3", 5)] {
        let (code, _) = answer(&home, address, Some(&pair), level, version).expect("an answer");
        assert_eq!(code, 0, "{version} level {level}");
    }
    let again =
        server.run(&["device", "add", "pump-1", "--out", home.path().join("x").to_str().expect("UTF-8")]);
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("has a certificate already") && said.contains("certificate add"), "{said}");
}

#[test]
fn the_data_directory_holds_no_private_key_that_was_made_for_a_device() {
    let home = home();
    let server = home.start();
    let pair = add(&home, &server, "pump-1");
    let pem = std::fs::read_to_string(&pair.key).expect("a key");
    server.stop();
    openssl(home.path(), "ec -in pump-1/pump-1.key.pem -outform DER -out key.der");
    let der = std::fs::read(home.path().join("key.der")).expect("DER");
    // RFC 5915: the private number is an octet string of 32 bytes.
    let at = der.windows(2).position(|tag| tag == [0x04, 0x20]).expect("a private number");
    let secret = &der[at + 2..at + 34];
    let line = pem.lines().nth(1).expect("base 64").as_bytes();
    let mut searched = 0;
    let mut waiting = vec![home.data()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path).expect("listed").map(|entry| entry.expect("an entry").path()),
            );
            continue;
        }
        let bytes = std::fs::read(&path).expect("read");
        searched += bytes.len();
        for needle in [secret, line] {
            assert!(!bytes.windows(needle.len()).any(|part| part == needle), "{}", path.display());
        }
    }
    assert!(searched > 10_000, "there was something to search");
}

#[test]
fn a_request_keeps_its_key_and_subject_and_a_weak_or_forged_one_is_refused() {
    let home = home();
    let server = home.start();
    let dir = home.path();
    openssl(
        dir,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout a.key.pem -out a.csr -subj /O=Works/CN=pump-a",
    );
    server.ok(&["device", "add", "pump-a", "--csr", path(dir, "a.csr"), "--out", path(dir, ".")]);
    let pair = Pair { certificate: dir.join("pump-a.cert.pem"), key: dir.join("a.key.pem") };
    assert_eq!(answer(&home, secure(&home)[0], Some(&pair), 5, "").expect("an answer").0, 0);
    let subject = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-purpose", "-in"])
        .arg(&pair.certificate)
        .output()
        .expect("OpenSSL runs");
    let subject = String::from_utf8_lossy(&subject.stdout).into_owned();
    assert!(subject.contains("O = Works, CN = pump-a"), "{subject}");
    assert!(subject.contains("SSL client : Yes") && subject.contains("SSL server : No"), "{subject}");

    // The same request twice gives two certificates.
    let further = server.ok(&["device", "certificate", "add", "pump-a", "--csr", path(dir, "a.csr")]);
    assert!(further.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(further, std::fs::read_to_string(&pair.certificate).expect("the first"));

    let refused = |csr: &str| {
        let output =
            server.run(&["device", "add", "pump-b", "--csr", path(dir, csr), "--out", path(dir, "b")]);
        assert!(!output.status.success(), "{csr}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    openssl(dir, "req -new -newkey rsa:1024 -nodes -keyout w.key.pem -out w.csr -subj /CN=w");
    let said = refused("w.csr");
    assert!(said.contains("RSA of 1024 bits") && said.contains("2048"), "what would be right: {said}");
    openssl(dir, "req -new -newkey ed25519 -nodes -keyout e.key.pem -out e.csr -subj /CN=e");
    assert!(refused("e.csr").contains("P-256"));
    // One letter of the subject is another: the signature is not its own any more.
    openssl(dir, "req -in a.csr -outform DER -out a.der");
    let mut der = std::fs::read(dir.join("a.der")).expect("DER");
    let at = der.windows(6).position(|part| part == b"pump-a").expect("its name");
    der[at] = b'j';
    std::fs::write(dir.join("f.der"), der).expect("written");
    openssl(dir, "req -inform DER -in f.der -out f.csr");
    assert!(refused("f.csr").contains("signature"));
    std::fs::write(dir.join("t.csr"), &std::fs::read(dir.join("a.csr")).expect("read")[..200])
        .expect("written");
    assert!(refused("t.csr").contains("request"));
    let listed = server.ok(&["device", "list"]);
    assert!(!listed.contains("pump-b"), "a refusal adds nothing: {listed}");

    // The list says until when each may come.
    let shown = server.ok(&["device", "show", "pump-a", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let until = shown["certificate_until"].as_str().expect("a time");
    assert!(
        shown["certificates"].as_array().expect("both").iter().any(|one| one["not_after"] == until),
        "{shown}"
    );
    let day = &until[..10];
    assert!(listed.lines().any(|line| line.starts_with("pump-a ") && line.contains(day)), "{day}: {listed}");
    for one in shown["certificates"].as_array().expect("both") {
        server.ok(&["device", "certificate", "revoke", one["id"].as_str().expect("an id")]);
    }
    assert!(!server.ok(&["device", "list"]).contains(day), "what is revoked is of no use on any day");
}

#[test]
fn whoever_signed_it_a_registered_certificate_is_in_and_an_unregistered_one_is_told_why() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    let own = Pair::self_signed(dir, "pump-s", EC);
    let refused = answer(&home, address, Some(&own), 5, "").expect("an answer");
    assert_eq!(refused.0, 0x87);
    assert!(refused.1.contains("not registered") && refused.1.contains("CN=pump-s"), "{}", refused.1);
    assert_eq!(
        answer(&home, address, Some(&own), 4, "").expect("an answer").0,
        5,
        "MQTT 3.1.1: not authorized"
    );
    assert!(home.log().contains("godwit device add pump-s --out DIR"), "{}", home.log());

    server.ok(&["device", "add", "pump-s", "--password"]);
    server.ok(&["device", "certificate", "register", path(dir, "pump-s.cert.pem"), "--device", "pump-s"]);
    assert_eq!(answer(&home, address, Some(&own), 5, "").expect("an answer").0, 0);
    let twice = server.run(&[
        "device",
        "certificate",
        "register",
        path(dir, "pump-s.cert.pem"),
        "--device",
        "pump-s",
    ]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("registered already, for pump-s"));

    // Version 1, as `openssl x509 -req` makes it without extensions.
    openssl(dir, "req -new -newkey rsa:2048 -nodes -keyout old.key.pem -out old.csr -subj /CN=old");
    openssl(
        dir,
        "x509 -req -in old.csr -CA pump-s.cert.pem -CAkey pump-s.key.pem -CAcreateserial -days 30 -out old.cert.pem",
    );
    server.ok(&["device", "certificate", "register", path(dir, "old.cert.pem"), "--device", "pump-s"]);
    let old = Pair::named(dir, "old");
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(answer(&home, address, Some(&old), 5, version).expect("an answer").0, 0, "{version}");
    }
    // Its certificate, and the key of another.
    let thief = Pair { certificate: own.certificate, key: old.key };
    assert_eq!(answer(&home, address, Some(&thief), 5, ""), None, "no proof, no handshake");
}

#[test]
fn a_certificate_from_elsewhere_adds_its_device_in_one_step() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    let own = Pair::self_signed(dir, "pump-3", EC);
    let add = |file: &str| server.run(&["device", "add", "pump-3", "--certificate", path(dir, file)]);
    std::fs::write(dir.join("none.pem"), "no certificate").expect("written");
    let refused = add("none.pem");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("cannot be registered"), "{said}");
    let unknown = server.run(&["device", "show", "pump-3"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && said.contains("--certificate FILE"), "nothing was added: {said}");

    let (file, trust) = (path(dir, "pump-3.cert.pem"), path(dir, "trust"));
    server.ok(&["device", "add", "pump-3", "--certificate", file, "--out", trust]);
    assert!(dir.join("trust/ca.pem").exists());
    assert_eq!(answer(&home, address, Some(&own), 5, "").expect("an answer").0, 0);
    Pair::self_signed(dir, "other", EC);
    let second = add("other.cert.pem");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("register FILE --device NAME"), "{said}");
}

#[test]
fn a_request_is_signed_beside_the_key_that_it_was_made_of() {
    let home = home();
    let server = home.start();
    let dir = home.path();
    openssl(
        dir,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout pump-2.key.pem -out pump-2.csr -subj /CN=pump-2",
    );
    let key = std::fs::read(dir.join("pump-2.key.pem")).expect("there");
    let out = dir.to_str().expect("text");
    server.ok(&["device", "add", "pump-2", "--csr", path(dir, "pump-2.csr"), "--out", out]);
    assert_eq!(std::fs::read(dir.join("pump-2.key.pem")).expect("there"), key, "it is the device's");
    let pair = Pair::named(dir, "pump-2");
    assert_eq!(answer(&home, secure(&home)[0], Some(&pair), 5, "").expect("an answer").0, 0);
    // A certificate that is there is not written over, nor is a key without a request.
    for more in [&["--csr", path(dir, "pump-2.csr")][..], &[]] {
        let again = [&["device", "certificate", "add", "pump-2", "--out", out], more].concat();
        let refused = server.run(&again);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is there already"), "{again:?}");
    }
}

#[test]
fn a_certificate_that_is_withdrawn_is_cut_within_a_second_and_refused_with_a_reason() {
    let home = home();
    let server = home.start();
    let address = secure(&home)[0];
    for (verb, reason, pair) in [
        ("revoke", "was revoked", add(&home, &server, "pump-1")),
        ("deactivate", "is inactive", add(&home, &server, "pump-2")),
    ] {
        let name = if verb == "revoke" { "pump-1" } else { "pump-2" };
        let mut client = Client::connect(&home, address, Some(&pair), "");
        client.send(&connect_packet(5, name));
        assert_eq!(client.packet().expect("CONNACK")[2], 0);
        server.ok(&["device", "certificate", verb, name]);
        let since = Instant::now();
        let goodbye = client.packet().expect("DISCONNECT");
        assert_eq!((goodbye[0], goodbye[1]), (0xe0, 0x87));
        assert_eq!(client.packet(), None, "the connection is closed");
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        let refused = answer(&home, address, Some(&pair), 5, "").expect("an answer");
        assert_eq!(refused.0, 0x87);
        assert!(refused.1.contains(reason), "{}", refused.1);
    }
    let back = server.run(&["device", "certificate", "activate", "pump-1"]);
    assert!(!back.status.success(), "revoked for ever");
    server.ok(&["device", "certificate", "activate", "pump-2"]);
    let pair = Pair::named(&home.path().join("pump-2"), "pump-2");
    assert_eq!(answer(&home, address, Some(&pair), 5, "").expect("an answer").0, 0);
}

#[test]
fn a_resumed_session_is_its_certificates_and_is_judged_by_the_register_of_today() {
    let home = home();
    let server = home.start();
    let address = secure(&home)[0];
    for (version, name) in [("-tls1_2", "pump-1"), ("-tls1_3", "pump-2")] {
        let pair = add(&home, &server, name);
        let ticket = home.path().join(name).join("session");
        let first =
            answer(&home, address, Some(&pair), 5, &format!("{version} -sess_out {}", ticket.display()));
        assert_eq!(first.expect("an answer").0, 0);
        wait_for("the ticket is written", || ticket.exists());
        // Without a certificate of its own: what it says is in the ticket.
        let resume = format!("{version} -sess_in {}", ticket.display());
        assert_eq!(answer(&home, address, None, 5, &resume).expect("an answer").0, 0, "{version}");
        server.ok(&["device", "certificate", "revoke", name]);
        let refused = answer(&home, address, None, 5, &resume).expect("an answer");
        assert_eq!(refused.0, 0x87, "{version}");
        assert!(refused.1.contains("was revoked"), "{}", refused.1);
    }
}

#[test]
fn what_can_never_be_used_is_refused_with_what_is_wrong() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    server.ok(&["device", "add", "pump-1", "--password"]);
    let refused = |name: &str, more: &str, what: &str| {
        let pair = Pair::self_signed(dir, name, more);
        let (code, said) =
            answer(&home, address, Some(&pair), 5, "-cipher DEFAULT@SECLEVEL=0").expect("an answer");
        assert_eq!(code, 0x87, "{name}");
        assert!(said.contains(what), "{name}: {said}");
        let file = format!("{name}.cert.pem");
        let output =
            server.run(&["device", "certificate", "register", path(dir, &file), "--device", "pump-1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.matches(what).count() == 1, "{name}, once: {said}");
    };
    refused("server-only", &format!("{EC} -addext extendedKeyUsage=serverAuth"), "clientAuth");
    refused("signs-only", &format!("{EC} -addext keyUsage=keyCertSign"), "digitalSignature");
    refused("weak", "-newkey rsa:1024 -days 30", "RSA of 1024 bits");

    let whole = std::fs::read(add(&home, &server, "pump-2").certificate).expect("read");
    std::fs::write(dir.join("half.pem"), &whole[..whole.len() / 2]).expect("written");
    let output =
        server.run(&["device", "certificate", "register", path(dir, "half.pem"), "--device", "pump-1"]);
    assert!(!output.status.success(), "half a certificate");
    assert_eq!(answer(&home, address, None, 5, ""), None, "without a certificate there is no handshake");
    assert!(home.log().contains("needs a client certificate"), "{}", home.log());
}

#[test]
fn a_certificate_is_good_within_its_time_and_a_name_of_the_protocol_is_no_hindrance() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    server.ok(&["device", "add", "pump-1", "--password"]);
    let signed = |name: &str, times: &str| {
        openssl(
            dir,
            &format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key.pem -out {name}.csr -subj /CN={name}"
            ),
        );
        std::fs::write(dir.join("index.txt"), "").expect("written");
        std::fs::write(dir.join("serial"), "01\n").expect("written");
        let settings = "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n";
        std::fs::write(dir.join("ca.cnf"), settings).expect("written");
        openssl(
            dir,
            &format!(
                "ca -batch -config ca.cnf -selfsign -keyfile {name}.key.pem -in {name}.csr -out {name}.cert.pem -notext {times}"
            ),
        );
        Pair::named(dir, name)
    };
    let future = signed("future", "-startdate 20900101000000Z -enddate 20950101000000Z");
    server.ok(&["device", "certificate", "register", path(dir, "future.cert.pem"), "--device", "pump-1"]);
    let refused = answer(&home, address, Some(&future), 5, "").expect("an answer");
    assert_eq!(refused.0, 0x87);
    assert!(refused.1.contains("is good from 2090"), "{}", refused.1);
    let past = signed("past", "-startdate 20200101000000Z -enddate 20210101000000Z");
    let output =
        server.run(&["device", "certificate", "register", path(dir, "past.cert.pem"), "--device", "pump-1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("expired"));
    assert_eq!(answer(&home, address, Some(&past), 5, "").expect("an answer").0, 0x87);

    let pair = add(&home, &server, "pump-2");
    for names in ["x-amzn-mqtt-ca", "mqtt", "h2,x-amzn-mqtt-ca", "something-else", "http/1.1"] {
        let code = answer(&home, address, Some(&pair), 5, &format!("-alpn {names}"));
        assert_eq!(code.expect("an answer").0, 0, "{names}");
    }
}

/// A file of this directory, as an argument.
fn path(dir: &Path, file: &str) -> &'static str {
    // Tests end with their process.
    Box::leak(dir.join(file).to_str().expect("UTF-8").to_owned().into_boxed_str())
}

#[test]
fn a_crash_during_device_add_leaves_the_device_with_its_certificate_or_nothing() {
    let home = Home::new();
    home.settings(crate::tls::SETTINGS);
    for round in 0..4 {
        let server = home.start();
        let name = format!("pump-{round}");
        let out = home.path().join(&name);
        let mut adding = server
            .command(&["device", "add", &name, "--out", out.to_str().expect("UTF-8")])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the binary starts");
        // Each round at another moment of it: before, in the midst, when it has answered.
        let listed = |server: &crate::server::Server| server.ok(&["device", "list"]).contains(&name);
        if round % 2 == 1 {
            wait_for("the device is there", || listed(&server));
        }
        server.kill();
        let _ = adding.wait();
        let server = home.start();
        let certificates = server.ok(&["device", "certificate", "list", &name]).lines().count() - 1;
        assert_eq!(certificates, usize::from(listed(&server)), "one state or the other");
        let _ = std::fs::remove_dir_all(&out);
        let mut again = vec!["device", "add", &name, "--out", out.to_str().expect("UTF-8")];
        if certificates == 1 {
            server.ok(&["device", "certificate", "revoke", &name]);
            again.splice(1..2, ["certificate", "add"]);
        }
        server.ok(&again);
        let pair = Pair::named(&out, &name);
        assert_eq!(answer(&home, secure(&home)[0], Some(&pair), 5, "").expect("an answer").0, 0);
        server.stop();
    }
}

#[test]
fn the_commands_speak_tls_with_a_certificate() {
    let home = home();
    let server = home.start();
    let pair = add(&home, &server, "pump-1");
    let send = |ca: &Path| {
        let port = secure(&home)[0].port();
        let mut command = Command::new(crate::server::GODWIT);
        command.args(["send", "--to", &format!("localhost:{port}"), "--ca"]).arg(ca);
        command.arg("--cert").arg(&pair.certificate).arg("--key").arg(&pair.key);
        command.args(["dt/pump-1/state", r#"{"pressure": 3.5}"#]).output().expect("the binary starts")
    };
    let sent = send(&home.path().join("pump-1/ca.pem"));
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(server.value("SELECT value FROM latest WHERE device = 'pump-1'"), "3.5");
    let stranger = Pair::self_signed(home.path(), "stranger", EC);
    let refused = send(&stranger.certificate);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("no TLS with") && said.contains("--ca"), "{said}");
}

/// Publishes by HTTPS; the status and the body.
fn post(home: &Home, pair: &Pair, target: &str, headers: &str, body: &str, more: &str) -> (u16, String) {
    let mut client = Client::connect(home, https(home), Some(pair), more);
    let length = body.len();
    client.send(
        format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        )
        .as_bytes(),
    );
    let answer = client.rest();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), answer)
}

#[test]
fn a_publish_by_https_is_durable_when_it_is_answered_and_stored_once() {
    let home = home();
    let server = home.start();
    let pair = add(&home, &server, "pump-1");
    let own = "/topics/dt/pump-1/state?qos=1";
    for (names, id) in
        [("", "0001"), ("-alpn x-amzn-http-ca", "0002"), ("-alpn h2", "0003"), ("-tls1_2", "0001")]
    {
        let key = format!("idempotency-key: {id}\r\n");
        let (status, answer) = post(&home, &pair, own, &key, r#"{"pressure": 1.5}"#, names);
        assert_eq!(status, 200, "{names}: {answer}");
    }
    server.kill();
    let server = home.start();
    assert_eq!(
        server.value("SELECT count(*) FROM messages WHERE topic = 'dt/pump-1/state'"),
        "3",
        "0001 came twice"
    );
    assert_eq!(
        server.value("SELECT DISTINCT device FROM messages WHERE topic = 'dt/pump-1/state'"),
        "pump-1"
    );

    let refused = |target: &str, headers: &str, body: &str, expect: u16, says: &str| {
        let (status, answer) = post(&home, &pair, target, headers, body, "");
        assert_eq!(status, expect, "{target}: {answer}");
        assert!(answer.contains(says), "{target}: {answer}");
    };
    refused("/topics/dt/pump-2/state", "", "{}", 403, "dt/{device}/");
    refused("/topics/dt/pump-1%2f..%2fpump-2", "idempotency-key: \r\n", "{}", 400, "Idempotency-Key");
    refused("/topics/$aws/things/pump-1/certificates/renew", "", "{}", 400, "MQTT");
    refused("/topics/dt/pump-1/+", "", "{}", 400, "+");
    refused("/topics/dt/pump-1/state?qos=2", "", "{}", 400, "0 or 1");
    refused(own, "", &"x".repeat(300_000), 413, "");

    server.ok(&["device", "certificate", "revoke", "pump-1"]);
    refused(own, "", "{}", 403, "was revoked");
    server.ok(&["device", "add", "pump-3", "--password"]);
    let stranger = Pair::self_signed(home.path(), "pump-3", EC);
    let (status, answer) = post(&home, &stranger, own, "", "{}", "");
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("not registered"), "{answer}");
}

#[test]
fn the_roots_key_is_taken_away_under_a_passphrase_and_devices_are_added_as_before() {
    let home = home();
    let server = home.start();
    let file = path(home.path(), "root.key.json");
    let with = |passphrase: &str, arguments: &[&str]| {
        server.command(arguments).env("GODWIT_PASSPHRASE", passphrase).output().expect("the binary starts")
    };
    let secret = "correct horse battery staple";
    let taken = with(secret, &["ca", "export-root", "--out", file, "--remove"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let twice = with(secret, &["ca", "export-root", "--out", path(home.path(), "again.json"), "--remove"]);
    let said = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(!twice.status.success() && said.contains("not on this machine"), "{said}");
    let shown = server.ok(&["ca", "show"]);
    assert!(shown.lines().any(|line| line.starts_with("root") && line.contains("taken away")), "{shown}");
    server.stop();

    let server = home.start();
    let pair = add(&home, &server, "pump-1");
    assert_eq!(answer(&home, secure(&home)[0], Some(&pair), 5, "").expect("an answer").0, 0);
    let with = |passphrase: &str, arguments: &[&str]| {
        server.command(arguments).env("GODWIT_PASSPHRASE", passphrase).output().expect("the binary starts")
    };
    let wrong = with("another passphrase", &["ca", "import-root", file]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("error: the passphrase is wrong"), "{said}");
    let back = with(secret, &["ca", "import-root", file]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    let shown = server.ok(&["ca", "show"]);
    assert!(!shown.contains("taken away"), "{shown}");
    assert!(server.ok(&["ca", "expiry"]).lines().count() > 13, "a line for each week of a quarter");
}

#[test]
fn an_import_makes_a_certificate_for_each_device_that_has_none() {
    let home = home();
    let server = home.start();
    let dir = home.path();
    let file = path(dir, "devices.csv");
    std::fs::write(file, "name,group\npump-1,hq\npump-2,hq\npump 3,hq\n").expect("written");
    let keys = path(dir, "keys");
    let import = |more: &[&str]| {
        let output = server.run(&[&["device", "import", file, "--certificates", keys], more].concat());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = import(&["--dry-run"]);
    assert!(said.contains("2 added") && !dir.join("keys").exists(), "{said}");
    let said = import(&[]);
    assert!(said.contains("2 added, 0 updated, 1 refused; 2 certificates are in"), "{said}");
    let into = |name: &str| {
        let pair = Pair::named(&dir.join("keys"), name);
        assert_eq!(std::fs::metadata(&pair.key).expect("a key").permissions().mode() & 0o777, 0o600);
        answer(&home, secure(&home)[0], Some(&pair), 5, "").expect("an answer").0
    };
    assert_eq!((into("pump-1"), into("pump-2")), (0, 0));

    // One that was cut short is finished by the same one: here pump-2 has come without, and pump-1 has a good one.
    for one in ["cert", "key"] {
        std::fs::remove_file(dir.join(format!("keys/pump-2.{one}.pem"))).expect("removed");
    }
    server.ok(&["device", "certificate", "revoke", "pump-2"]);
    let said = import(&["--update"]);
    assert!(said.contains("0 added, 2 updated, 1 refused; 1 certificates are in"), "{said}");
    assert_eq!((into("pump-1"), into("pump-2")), (0, 0));
}
