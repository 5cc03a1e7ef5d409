//! A server of webhooks: it answers as it is told, or not at all, and shows what it took.
//!
//! Not here: any test. The law: what was answered with 200 was recorded before. It ends with the test's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// What it was answered.
    pub(crate) status: u16,
}

impl Request {
    /// The value of a header, named in lower case.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<Vec<Request>>, Condvar)>,
}

/// An address at which nobody listens. `Hook::at` can take it later.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

impl Hook {
    pub(crate) fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), 200)
    }

    /// Answers everything with `status`.
    pub(crate) fn at(address: SocketAddr, status: u16) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let hook = Self { address: listener.local_addr().expect("an address"), shared: Arc::default() };
        let own = hook.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(socket, status));
            }
        });
        hook
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Request> {
        self.shared.0.lock().expect("no panic").clone()
    }

    /// Waits until so many requests came.
    pub(crate) fn wait(&self, count: usize) -> Vec<Request> {
        let (got, news) = &*self.shared;
        let few = |got: &mut Vec<Request>| got.len() < count;
        let (got, timeout) =
            news.wait_timeout_while(got.lock().expect("no panic"), PATIENCE, few).expect("no panic");
        assert!(!timeout.timed_out(), "{} of {count} requests came: {got:#?}", got.len());
        got.clone()
    }

    fn serve(&self, mut socket: TcpStream, status: u16) {
        let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut headers: Vec<(String, String)> = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let Some((name, value)) = line.split_once(':') else { break };
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().expect("a length"))];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            let body = String::from_utf8(body).expect("text");
            self.shared.0.lock().expect("no panic").push(Request { headers, body, status });
            self.shared.1.notify_all();
            let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
            if socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}
