//! A server that speaks Vault's Transit API, as far as a master key needs it: encrypt, decrypt and rotate of one key, with
//! associated data, behind a token. What it encrypts it remembers: the ciphertext is a number.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Who may ask.
pub(crate) const TOKEN: &str = "hvs.a-token-of-vault";

/// A running server; it ends with the test's process.
pub(crate) struct Vault {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Plaintext and associated data by number.
    secrets: Vec<(String, String)>,
    version: u32,
    is_sealed: bool,
}

impl Vault {
    pub(crate) fn start() -> Self {
        Self::serve(None)
    }

    /// Over TLS, with a certificate for `127.0.0.1`; returned is the certificate (PEM) that it comes from: its own.
    pub(crate) fn start_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate with its key");
        (Self::serve(Some(Arc::new(config))), made.cert.pem())
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let kept = Arc::new(Mutex::new(Kept { version: 1, ..Kept::default() }));
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                match &tls {
                    None => answer(socket, &shared),
                    Some(tls) => {
                        let session = rustls::ServerConnection::new(Arc::clone(tls)).expect("a session");
                        answer(rustls::StreamOwned::new(session, socket), &shared);
                    }
                }
            }
        });
        Self { address, kept }
    }

    /// As after a restart that nobody has unsealed.
    pub(crate) fn seal(&self, sealed: bool) {
        self.kept.lock().expect("no panic").is_sealed = sealed;
    }

    pub(crate) fn version(&self) -> u32 {
        self.kept.lock().expect("no panic").version
    }
}

/// One request a connection. A client that does not trust the certificate asks nothing.
fn answer(socket: impl Read + Write, kept: &Mutex<Kept>) {
    let mut reader = BufReader::new(socket);
    let (mut line, mut length, mut has_token) = (String::new(), 0, false);
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).expect("a header") <= 2 {
            break;
        }
        let (name, value) = header.split_once(':').expect("a header");
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "x-vault-token" => has_token = value.trim() == TOKEN,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let (status, said) = said(&path, &body, has_token, &mut kept.lock().expect("no panic"));
    let said = said.to_string();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", said.len());
    let _ = reader.get_mut().write_all((head + &said).as_bytes()).and_then(|()| reader.get_mut().flush());
}

fn said(path: &str, body: &Value, has_token: bool, kept: &mut Kept) -> (&'static str, Value) {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    if kept.is_sealed {
        return ("503 Service Unavailable", json!({ "errors": ["Vault is sealed"] }));
    }
    if !has_token {
        return ("403 Forbidden", json!({ "errors": ["permission denied"] }));
    }
    match path {
        "/v1/transit/encrypt/godwit" => {
            kept.secrets.push((text("plaintext"), text("associated_data")));
            let ciphertext = format!("vault:v{}:{}", kept.version, kept.secrets.len() - 1);
            ("200 OK", json!({ "data": { "ciphertext": ciphertext } }))
        }
        "/v1/transit/decrypt/godwit" => {
            let number =
                text("ciphertext").rsplit(':').next().and_then(|number| number.parse::<usize>().ok());
            match number.and_then(|number| kept.secrets.get(number)) {
                Some((plaintext, bound)) if *bound == text("associated_data") => {
                    ("200 OK", json!({ "data": { "plaintext": plaintext } }))
                }
                _ => ("400 Bad Request", json!({ "errors": ["cipher: message authentication failed"] })),
            }
        }
        "/v1/transit/keys/godwit/rotate" => {
            kept.version += 1;
            ("200 OK", json!({ "data": {} }))
        }
        _ => ("404 Not Found", json!({ "errors": [] })),
    }
}
