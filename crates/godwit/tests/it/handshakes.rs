//! Handshakes that go wrong, with real OpenSSL at the other end: certificates that are none, that another authority of the
//! same name made, or that ended; and clients that begin and say nothing more.
//!
//! Not here: certificates that are whole and may not be used (`certificates`). The law: nobody is let in by what only looks
//! right, the log says why, and whoever stalls or lies is in nobody's way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::server::{Home, Server};
use crate::tls::{
    Client, PATIENCE, Pair, SETTINGS, add, answer, connect_packet, home, openssl, secure, wait_for,
};

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// How many connections were refused for `reason`.
fn refused(server: &Server, reason: &str) -> u64 {
    let metrics = server.get("/metrics");
    let of_reason = format!("godwit_broker_refusals_total{{reason=\"{reason}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&of_reason));
    count.map_or(0, |count| count.parse().expect("a count"))
}

/// The DER form of a certificate.
fn der(dir: &Path, pair: &Pair) -> Vec<u8> {
    openssl(dir, &format!("x509 -in {} -outform DER -out shown.der", pair.certificate.display()));
    std::fs::read(dir.join("shown.der")).expect("read")
}

/// What is done to the bytes of a certificate.
type Change = fn(&mut [u8]);

/// Somebody on the way to the server, for one connection: what passes of `shown` towards it is changed. Before TLS 1.3 a
/// client's certificate passes in the clear.
fn meddler(to: SocketAddr, shown: Vec<u8>, change: impl FnOnce(&mut [u8]) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(to).expect("connected");
        let (mut from, mut back) =
            (server.try_clone().expect("one more"), client.try_clone().expect("one more"));
        std::thread::spawn(move || std::io::copy(&mut from, &mut back));
        let mut change = Some(change);
        let mut head = [0; 5];
        // Record by record (RFC 5246, section 6.2.1).
        while client.read_exact(&mut head).is_ok() {
            let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            client.read_exact(&mut record).expect("a whole record");
            if let Some(at) = record.windows(shown.len()).position(|part| part == shown)
                && let Some(change) = change.take()
            {
                change(&mut record[at..at + shown.len()]);
            }
            if server.write_all(&[&head[..], &record].concat()).is_err() {
                break;
            }
        }
    });
    address
}

#[test]
fn bytes_that_are_no_certificate_end_the_handshake_and_the_log_says_so() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    let pair = add(&home, &server, "pump-1");
    let shown = der(dir, &pair);
    assert_eq!(shown[..2], [0x30, 0x82], "a SEQUENCE whose length has two bytes");
    let through = |change: Change| {
        let address = meddler(address, shown.clone(), change);
        answer(&home, address, Some(&pair), 5, "-tls1_2")
    };
    assert_eq!(through(|_| ()).map(|(code, _)| code), Some(0), "whoever changes nothing is not noticed");
    let wrong: [(&str, Change); 4] = [
        ("garbage", |der| der.fill(0xa5)),
        ("it says that it is longer than it is", |der| der[2] += 1),
        ("it says that it is shorter: something follows", |der| der[3] = der[3].wrapping_sub(9)),
        // Whole and readable, but not what the client has signed for.
        ("one bit of its authority's signature", |der| *der.last_mut().expect("bytes") ^= 1),
    ];
    for (done, (what, change)) in (1..).zip(wrong) {
        assert_eq!(through(change), None, "{what}: no handshake");
        wait_for("it is counted", || refused(&server, "handshake") == done);
    }
    assert!(home.log().contains("the client's certificate is not right"), "{}", home.log());
    let (code, _) = answer(&home, address, Some(&pair), 5, "").expect("an answer");
    assert_eq!(code, 0, "and the door serves as before");
}

#[test]
fn an_authority_that_only_has_the_name_of_ours_lets_nobody_in() {
    let home = home();
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    let true_one = add(&home, &server, "pump-1");
    let said = |what: &str| {
        let output = Command::new("openssl")
            .args(["x509", "-noout", what, "-nameopt", "compat", "-in"])
            .arg(&true_one.certificate)
            .output()
            .expect("OpenSSL runs");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim_end().split_once('=').expect("what it is, and the value").1.trim().to_owned()
    };
    let (issuer, serial) = (said("-issuer"), said("-serial"));
    let subject = if issuer.starts_with('/') { issuer } else { format!("/{}", issuer.replace(", ", "/")) };
    let made = Command::new("openssl")
        .args("req -x509 -days 30 -keyout ca.key.pem -out ca.cert.pem -subj".split(' '))
        .arg(&subject)
        .args(EC.split(' '))
        .current_dir(dir)
        .output()
        .expect("OpenSSL runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    openssl(dir, &format!("req -new {EC} -keyout fake.key.pem -out fake.csr -subj /CN=pump-1"));
    openssl(
        dir,
        &format!(
            "x509 -req -in fake.csr -CA ca.cert.pem -CAkey ca.key.pem -set_serial 0x{serial} -days 30 -out fake.cert.pem"
        ),
    );
    let fake = Pair::named(dir, "fake");
    for version in ["-tls1_2", "-tls1_3"] {
        let with_chain = format!("{version} -cert_chain ca.cert.pem");
        let (code, why) = answer(&home, address, Some(&fake), 5, &with_chain).expect("an answer");
        assert_eq!(code, 0x87, "{version}");
        assert!(why.contains("not registered"), "{version}: {why}");
        assert_eq!(answer(&home, address, Some(&true_one), 5, version).expect("an answer").0, 0, "{version}");
    }
    assert!(home.log().contains("is not registered here"), "{}", home.log());

    // A chain without end costs nobody anything.
    let one = std::fs::read_to_string(dir.join("ca.cert.pem")).expect("read");
    std::fs::write(dir.join("long.pem"), one.repeat(8)).expect("written");
    assert_eq!(answer(&home, address, Some(&true_one), 5, "-cert_chain long.pem"), None, "nine certificates");
    wait_for("it is counted", || refused(&server, "handshake") == 1);
}

/// What `openssl s_client` says first, as it says it to somebody who only listens.
fn first_message(home: &Home) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let _client = Client::connect(home, listener.local_addr().expect("an address"), None, "");
    let (mut socket, _) = listener.accept().expect("a client");
    let mut head = [0; 5];
    socket.read_exact(&mut head).expect("a record");
    let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    socket.read_exact(&mut record).expect("a whole record");
    [&head[..], &record].concat()
}

#[test]
fn a_hundred_stalled_handshakes_delay_no_honest_device_and_end_by_themselves() {
    let home = home();
    let server = home.start();
    let address = secure(&home)[0];
    let pair = add(&home, &server, "pump-1");
    let hello = first_message(&home);
    // Half of them say nothing; half begin, make the server work, and leave it alone with its answer.
    let mut stalled = Vec::new();
    for number in 0..100 {
        let mut socket = TcpStream::connect(address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        if number % 2 == 0 {
            socket.write_all(&hello).expect("sent");
            let mut answer = [0; 1];
            socket.read_exact(&mut answer).expect("the server's part of the handshake");
        }
        stalled.push(socket);
    }
    let open = || server.metric("godwit_broker_connections");
    wait_for("all are there", || open() >= 100.0);

    let since = Instant::now();
    let mut honest = Client::connect(&home, address, Some(&pair), "");
    honest.send(&connect_packet(4, "pump-1"));
    assert_eq!(honest.packet().expect("CONNACK")[2], 0);
    // PUBLISH at QoS 1, packet 1: `{}` to dt/pump-1/s.
    honest.send(b"\x32\x11\x00\x0bdt/pump-1/s\x00\x01{}");
    assert_eq!(honest.packet().expect("PUBACK"), [0x40, 0, 1]);
    let took = since.elapsed();
    assert_eq!(
        (open(), refused(&server, "connect_timeout")),
        (101.0, 0),
        "all hang while it is served ({took:?})"
    );

    for mut socket in stalled {
        let mut rest = Vec::new();
        // An end is an end, in order or not; only that none comes is wrong.
        if let Err(error) = socket.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it is not ended");
        }
    }
    wait_for("they are counted", || refused(&server, "connect_timeout") == 100);
    wait_for("only the honest one is left", || open() == 1.0);
}

#[test]
fn a_certificate_that_ended_lets_its_device_renew_for_as_long_as_the_operator_said() {
    let home = Home::new();
    home.settings(&format!("{SETTINGS}[devices]\nrenew_after_expiry = \"0s\"\n"));
    let server = home.start();
    let (dir, address) = (home.path(), secure(&home)[0]);
    openssl(dir, &format!("req -new {EC} -keyout brief.key.pem -out brief.csr -subj /CN=pump-1"));
    for (file, text) in [
        ("index.txt", ""),
        ("serial", "01\n"),
        (
            "ca.cnf",
            "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
        ),
    ] {
        std::fs::write(dir.join(file), text).expect("written");
    }
    let end =
        Command::new("date").args(["-u", "-d", "+5 seconds", "+%Y%m%d%H%M%SZ"]).output().expect("date runs");
    let end = String::from_utf8(end.stdout).expect("text");
    openssl(
        dir,
        &format!(
            "ca -batch -config ca.cnf -selfsign -keyfile brief.key.pem -in brief.csr -out brief.cert.pem -notext -startdate 20200101000000Z -enddate {}",
            end.trim_end()
        ),
    );
    let brief = Pair::named(dir, "brief");
    server.ok(&["device", "add", "pump-1", "--password"]);
    let file = brief.certificate.to_str().expect("UTF-8");
    server.ok(&["device", "certificate", "register", file, "--device", "pump-1"]);
    wait_for("it has ended", || answer(&home, address, Some(&brief), 5, "").expect("an answer").0 == 0x87);
    let (_, why) = answer(&home, address, Some(&brief), 5, "").expect("an answer");
    assert!(why.contains("expired at"), "{why}");
    assert!(home.log().contains("godwit device certificate add pump-1"), "what to do: {}", home.log());
    server.stop();

    // By default there is a way back, and it leads nowhere else.
    home.settings(SETTINGS);
    let server = home.start();
    let mut client = Client::connect(&home, secure(&home)[0], Some(&brief), "");
    client.send(&connect_packet(5, "pump-1"));
    assert_eq!(client.packet().expect("CONNACK")[2], 0);
    client.send(b"\x32\x12\x00\x0bdt/pump-1/s\x00\x01\x00{}");
    assert_eq!(client.packet().expect("PUBACK")[..4], [0x40, 0, 1, 0x87], "not authorized");
    assert_eq!(server.value("SELECT count(*) FROM messages"), "0");
    assert!(server.ok(&["audit", "list"]).contains("certificate.late"));
}
