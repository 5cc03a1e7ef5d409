//! Real OpenSSL against a server of the test's own: keys, requests, certificates, and a CONNECT through `s_client`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{Home, Server};

/// A plain door for the local user, and one for certificates.
pub(crate) const SETTINGS: &str = "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"password\"\n\
    [[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\ntls = true\nclient_certificates = \"required\"\n\
    [[listener]]\ndoor = \"https\"\nbind = \"127.0.0.1:0\"\n[http]\nbind = \"127.0.0.1:0\"\n";

/// Longest wait for anything that is to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A home whose server has a door for certificates.
pub(crate) fn home() -> Home {
    let home = Home::new();
    home.settings(SETTINGS);
    home
}

/// The addresses of the listeners with TLS, in their order.
pub(crate) fn secure(home: &Home) -> Vec<SocketAddr> {
    let about = std::fs::read(home.data().join("server.json")).expect("a server runs");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    let urls = about["listeners"].as_array().expect("listeners").iter();
    urls.filter_map(|url| url.as_str()?.strip_prefix("mqtts://")?.parse().ok()).collect()
}

/// The address of the HTTPS door.
pub(crate) fn https(home: &Home) -> SocketAddr {
    let about = std::fs::read(home.data().join("server.json")).expect("a server runs");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    let mut urls = about["listeners"].as_array().expect("listeners").iter();
    urls.find_map(|url| url.as_str()?.strip_prefix("https://")?.parse().ok()).expect("an HTTPS door")
}

/// Runs OpenSSL in `dir`; its words on one line, parted by spaces.
pub(crate) fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output();
    let output = output.expect("OpenSSL is on this machine");
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate and its key, as files.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// Those of a name in a directory.
    pub(crate) fn named(dir: &Path, name: &str) -> Self {
        Self { certificate: dir.join(format!("{name}.cert.pem")), key: dir.join(format!("{name}.key.pem")) }
    }

    /// A self-signed one by OpenSSL; `more` words for `openssl req`.
    pub(crate) fn self_signed(dir: &Path, name: &str, more: &str) -> Self {
        openssl(
            dir,
            &format!("req -x509 {more} -nodes -subj /CN={name} -keyout {name}.key.pem -out {name}.cert.pem"),
        );
        Self::named(dir, name)
    }
}

/// A device that Godwit makes a key for.
pub(crate) fn add(home: &Home, server: &Server, name: &str) -> Pair {
    let out = home.path().join(name);
    server.ok(&["device", "add", name, "--out", out.to_str().expect("UTF-8")]);
    Pair::named(&out, name)
}

/// A running `openssl s_client`; killed when dropped.
pub(crate) struct Client {
    child: Child,
}

impl Client {
    /// Connects by TLS; `more` words for `s_client`.
    pub(crate) fn connect(home: &Home, address: SocketAddr, pair: Option<&Pair>, more: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-connect"]).arg(address.to_string());
        command.arg("-CAfile").arg(home.data().join("ca.pem"));
        if let Some(pair) = pair {
            command.arg("-cert").arg(&pair.certificate).arg("-key").arg(&pair.key);
        }
        command.args(more.split(' ').filter(|word| !word.is_empty())).current_dir(home.path());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { child: child.expect("OpenSSL is on this machine") }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A server that has hung up is told of by what is read.
        let stdin = self.child.stdin.as_mut().expect("piped");
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    /// All that comes until the server hangs up, as text.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.child.stdout.as_mut().expect("piped").read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The next packet; `None` when the server hung up.
    pub(crate) fn packet(&mut self) -> Option<Vec<u8>> {
        let stdout = self.child.stdout.as_mut().expect("piped");
        let mut head = [0; 2];
        stdout.read_exact(&mut head).ok()?;
        // A remaining length of up to two bytes (MQTT 5.0, section 1.5.5).
        let mut length = usize::from(head[1] & 0x7f);
        if head[1] & 0x80 != 0 {
            let mut more = [0; 1];
            stdout.read_exact(&mut more).ok()?;
            length += usize::from(more[0]) << 7;
        }
        let mut body = vec![0; length];
        stdout.read_exact(&mut body).ok()?;
        body.insert(0, head[0]);
        Some(body)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A CONNECT of MQTT 3.1.1 (level 4) or 5, with the user name that AWS's SDKs send.
pub(crate) fn connect_packet(level: u8, client_id: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = u16::try_from(text.len()).expect("short").to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    };
    let mut body = text("MQTT");
    // User name, clean start; a keep-alive of a minute.
    body.extend([level, 0x82, 0, 60]);
    if level == 5 {
        body.push(0);
    }
    body.extend(text(client_id));
    body.extend(text(
        "?SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=(CRTVersion=0.36.1;IoTSDKVersion=1.31.0;Language=Python-3.13)",
    ));
    // A remaining length of one byte or two (MQTT 5.0, section 1.5.5).
    let (low, high) = (u8::try_from(body.len() & 0x7f), u8::try_from(body.len() >> 7));
    let (low, high) = (low.expect("7 bits"), high.expect("short"));
    let mut packet = if high == 0 { vec![0x10, low] } else { vec![0x10, low | 0x80, high] };
    packet.extend(body);
    packet
}

/// What a CONNECT is answered: its reason code and what else is in the packet, as text. `None`: there was no answer.
pub(crate) fn answer(
    home: &Home,
    address: SocketAddr,
    pair: Option<&Pair>,
    level: u8,
    more: &str,
) -> Option<(u8, String)> {
    let mut client = Client::connect(home, address, pair, more);
    client.send(&connect_packet(level, "c1"));
    let packet = client.packet()?;
    assert_eq!(packet[0], 0x20, "CONNACK");
    Some((packet[2], String::from_utf8_lossy(&packet[3..]).into_owned()))
}

/// Waits until it is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        std::thread::yield_now();
    }
}
