//! A receiver of webhooks on a port of its own: it answers as the test says and keeps what came.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How it answers a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With this status, further header lines and body.
    Status(u16, &'static str, &'static str),
    /// Never.
    Hang,
}

pub(crate) const OK: Answer = Answer::Status(200, "", "");

/// A request that came in whole.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Whether it was answered with 2xx.
    pub(crate) taken: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }
}

struct Shared {
    /// The next answers, then `standing` for ever.
    next: Mutex<VecDeque<Answer>>,
    standing: Mutex<Answer>,
    /// By path, before all others.
    paths: Mutex<HashMap<&'static str, Answer>>,
    requests: watch::Sender<Vec<Request>>,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(crate) async fn start(standing: Answer) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), standing).await
    }

    pub(crate) async fn at(address: SocketAddr, standing: Answer) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            next: Mutex::default(),
            standing: Mutex::new(standing),
            paths: Mutex::default(),
            requests: watch::Sender::new(Vec::new()),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests so, before it goes on as it stands.
    pub(crate) fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.next.lock().expect("whole").extend(answers);
    }

    pub(crate) fn stand(&self, answer: Answer) {
        *self.shared.standing.lock().expect("whole") = answer;
    }

    /// Answers every request for a path so.
    pub(crate) fn stand_at(&self, path: &'static str, answer: Answer) {
        self.shared.paths.lock().expect("whole").insert(path, answer);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until what came is as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let mut requests = self.shared.requests.subscribe();
        let waited = tokio::time::timeout(crate::house::PATIENCE, requests.wait_for(|all| is_so(all)));
        match waited.await {
            Ok(found) => found.expect("the receiver lives").clone(),
            Err(_) => panic!("{what}: {:#?}", self.requests()),
        }
    }

    /// The bodies that were taken, in their order.
    pub(crate) async fn taken(&self, count: usize) -> Vec<String> {
        let is_taken = |all: &[Request]| all.iter().filter(|request| request.taken).count() >= count;
        let all = self.until("messages are taken", is_taken).await;
        all.into_iter().filter(|request| request.taken).map(|request| request.body).collect()
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    while let Some(mut request) = read(&mut stream, &mut bytes).await {
        let standing = shared.standing.lock().expect("whole").clone();
        let at_path = shared.paths.lock().expect("whole").get(request.path.as_str()).cloned();
        let next = || shared.next.lock().expect("whole").pop_front();
        let answer = at_path.or_else(next).unwrap_or(standing);
        request.taken = matches!(answer, Answer::Status(200..300, ..));
        shared.requests.send_modify(|all| all.push(request));
        match answer {
            Answer::Status(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{headers}\r\n");
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Hang => std::future::pending().await,
        }
    }
}

/// One request; what follows it stays in `bytes`.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        more(stream, bytes).await?;
    };
    let text = String::from_utf8(bytes[..head].to_vec()).expect("a head is text");
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let length = headers.iter().find(|header| header.0 == "content-length");
    let length: usize = length.map_or(0, |header| header.1.parse().expect("a number"));
    while bytes.len() < head + 4 + length {
        more(stream, bytes).await?;
    }
    let body = String::from_utf8(bytes[head + 4..head + 4 + length].to_vec()).expect("text");
    bytes.drain(..head + 4 + length);
    Some(Request { path, headers, body, taken: false })
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk).await {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            bytes.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}
