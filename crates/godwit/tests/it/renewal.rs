//! A certificate is followed by another over the session that it opened, in MQTT packets by hand through real OpenSSL.
//!
//! The laws: the old one is good until the new one has been used twice; whenever the server is killed, one of the two lets the
//! device in.

use crate::server::Home;
use crate::tls::{Client, Pair, add, answer, connect_packet, home, openssl, secure, wait_for};

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// A packet of type `head` with this body, below 16 KiB.
fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let (low, high) = (u8::try_from(body.len() & 0x7f), u8::try_from(body.len() >> 7));
    let (low, high) = (low.expect("7 bits"), high.expect("short"));
    let mut packet = if high == 0 { vec![head, low] } else { vec![head, low | 0x80, high] };
    packet.extend(body);
    packet
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}

/// Asks for a new certificate over a live session, by MQTT 3.1.1.
fn ask_to_renew(home: &Home, pair: &Pair, device: &str, csr: &str) -> Client {
    let mut client = Client::connect(home, secure(home)[0], Some(pair), "");
    client.send(&connect_packet(4, device));
    assert_eq!(client.packet().expect("CONNACK")[2], 0);
    let topic = format!("$aws/things/{device}/certificates/renew");
    client.send(&packet(0x82, &[&[0, 1][..], &text(&format!("{topic}/+")), &[1]].concat()));
    assert_eq!(client.packet().expect("SUBACK")[3], 1, "permitted by the default policy");
    let question = serde_json::json!({ "certificateSigningRequest": csr, "clientToken": "t-1" }).to_string();
    client.send(&packet(0x32, &[&text(&topic), &[0, 2][..], question.as_bytes()].concat()));
    client
}

/// The topic of the answer, and its JSON.
fn renewed(client: &mut Client) -> (String, serde_json::Value) {
    let mut answer = client.packet().expect("PUBACK or the answer");
    if answer[0] == 0x40 {
        answer = client.packet().expect("the answer");
    }
    assert_eq!(answer[0] & 0xf0, 0x30, "PUBLISH");
    let length = usize::from(u16::from_be_bytes([answer[1], answer[2]]));
    let topic = String::from_utf8(answer[3..3 + length].to_vec()).expect("UTF-8");
    (topic, serde_json::from_slice(&answer[3 + length..]).expect("JSON"))
}

fn renew(home: &Home, pair: &Pair, device: &str, csr: &str) -> (String, serde_json::Value) {
    renewed(&mut ask_to_renew(home, pair, device, csr))
}

#[test]
fn a_device_renews_over_its_session_and_the_old_one_retires_when_the_new_one_was_used_twice() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    let old = add(&home, &server, "pump-1");
    openssl(dir, &format!("req -new {NEW_KEY} -keyout new.key.pem -out new.csr -subj /CN=pump-1"));
    let csr = std::fs::read_to_string(dir.join("new.csr")).expect("a request");

    let (topic, answer_to_junk) = renew(&home, &old, "pump-1", "junk");
    assert!(topic.ends_with("/rejected"), "{topic}");
    assert_eq!((&answer_to_junk["statusCode"], &answer_to_junk["clientToken"]), (&400.into(), &"t-1".into()));

    let (topic, made) = renew(&home, &old, "pump-1", &csr);
    assert_eq!(topic, "$aws/things/pump-1/certificates/renew/accepted", "{made}");
    std::fs::write(dir.join("new.cert.pem"), made["certificatePem"].as_str().expect("PEM")).expect("written");
    let (topic, again) = renew(&home, &old, "pump-1", &csr);
    assert!(topic.ends_with("/rejected") && again["statusCode"] == 429, "too often: {again}");
    let new = Pair::named(dir, "new");
    let into = |pair: &Pair| answer(&home, address, Some(pair), 5, "").expect("an answer");
    assert_eq!(into(&new).0, 0);
    assert_eq!(into(&old).0, 0, "an answer that was lost would lock nobody out");
    assert_eq!(into(&new).0, 0);
    wait_for("the old one has retired", || into(&old).0 == 0x87);
    assert!(into(&old).1.contains("is inactive"));
    let listed = server.ok(&["device", "certificate", "list", "pump-1"]);
    assert_eq!(listed.lines().filter(|line| line.contains(" active ")).count(), 1, "{listed}");

    // Nobody else's, and nothing of it in the journal.
    let other = add(&home, &server, "pump-2");
    let mut client = Client::connect(&home, address, Some(&other), "");
    client.send(&connect_packet(5, "pump-2"));
    assert_eq!(client.packet().expect("CONNACK")[2], 0);
    let question =
        packet(0x32, &[&text("$aws/things/pump-1/certificates/renew"), &[0, 2, 0][..], b"{}"].concat());
    client.send(&question);
    assert_eq!(client.packet().expect("PUBACK")[3..4], [0x87], "not authorized");
    assert_eq!(server.value("SELECT count(*) FROM messages WHERE topic LIKE '$aws/%'"), "0");
}

/// When the server is killed while a device renews.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// The question is on its way.
    Asked,
    /// The new certificate is on its way to the device, which never heard of it.
    Made,
    /// The device has the new one.
    Answered,
    /// It has been in by the new one, once.
    Used,
    /// Twice: the old one is about to retire.
    UsedTwice,
}

#[test]
fn a_crash_at_any_moment_of_a_renewal_leaves_the_old_certificate_or_the_new_one() {
    let home = home();
    let mut server = home.start();
    let dir = home.path().to_owned();
    openssl(&dir, &format!("req -new {NEW_KEY} -keyout new.key.pem -out new.csr -subj /CN=pump"));
    let csr = std::fs::read_to_string(dir.join("new.csr")).expect("a request");
    let new = Pair::named(&dir, "new");
    for moment in [Moment::Asked, Moment::Made, Moment::Answered, Moment::Used, Moment::UsedTwice] {
        let name = format!("pump-{moment:?}");
        let old = add(&home, &server, &name);
        let into =
            |pair: &Pair| answer(&home, secure(&home)[0], Some(pair), 5, "").expect("an answer").0 == 0;
        let mut client = ask_to_renew(&home, &old, &name, &csr);
        if moment == Moment::Made {
            wait_for("it is made", || {
                server.ok(&["device", "certificate", "list", &name]).lines().count() == 3
            });
        } else if moment != Moment::Asked {
            let (topic, made) = renewed(&mut client);
            assert!(topic.ends_with("/accepted"), "{made}");
            let pem = made["certificatePem"].as_str().expect("PEM");
            std::fs::write(&new.certificate, pem).expect("written");
        }
        for _ in 0..(moment as usize).saturating_sub(Moment::Answered as usize) {
            assert!(into(&new), "{moment:?}");
        }
        server.kill();
        drop(client);
        server = home.start();

        if matches!(moment, Moment::Asked | Moment::Made) {
            assert!(into(&old), "{moment:?}: it knows no other");
            // It asks again, at its pace, and nobody is in the way of what it is given then.
            wait_for("it is given another", || {
                let (topic, made) = renew(&home, &old, &name, &csr);
                if let Some(pem) = made["certificatePem"].as_str() {
                    std::fs::write(&new.certificate, pem).expect("written");
                }
                topic.ends_with("/accepted")
            });
        } else {
            // Before its second connection by the new one nothing has become of the old one.
            assert!(moment == Moment::UsedTwice || into(&old), "{moment:?}");
        }
        assert!(into(&new), "{moment:?}");
        // Wherever it stood, it ends as it would have ended: with the new one alone.
        wait_for("the old one has retired", || into(&new) && !into(&old));
        assert!(into(&new), "{moment:?}");
        let listed = server.ok(&["device", "certificate", "list", &name]);
        assert_eq!(
            listed.lines().filter(|line| line.contains(" active ")).count(),
            1,
            "{moment:?}: {listed}"
        );
    }
}
