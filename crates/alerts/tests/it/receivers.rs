//! Receivers of the tests: an HTTP server that answers as it is told, hangs or fails, and shows what it got.
//!
//! Not here: any test. The law: what was answered with 200 was recorded before.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    /// The value of a header, named in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// With this status.
    Answers(u16),
    /// Never.
    Hangs,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Request>>>,
    manner: Arc<Mutex<Manner>>,
    news: Arc<Notify>,
}

impl Receiver {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let receiver =
            Self { url, got: Arc::default(), manner: Arc::new(Mutex::new(manner)), news: Arc::default() };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        receiver
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock() = manner;
    }

    pub(crate) fn got(&self) -> Vec<Request> {
        self.got.lock().clone()
    }

    /// Waits until so many requests came.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Request> {
        let came = async {
            loop {
                let news = self.news.notified();
                if self.got.lock().len() >= count {
                    return self.got();
                }
                news.await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), came).await;
        in_time.unwrap_or_else(|_| panic!("{} of {count} requests came", self.got().len()))
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let head = loop {
            let mut part = [0; 65_536];
            let read = stream.read(&mut part).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            bytes.extend_from_slice(&part[..read]);
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.unwrap_or(0);
        while bytes.len() < head + length {
            let mut part = [0; 65_536];
            let read = stream.read(&mut part).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            bytes.extend_from_slice(&part[..read]);
        }
        let body = String::from_utf8_lossy(&bytes[head..]).into_owned();
        self.got.lock().push(Request { head: text, body });
        self.news.notify_waiters();
        let manner = *self.manner.lock();
        match manner {
            Manner::Answers(status) => {
                let answer =
                    format!("HTTP/1.1 {status} Said\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsaid\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            Manner::Hangs => std::future::pending::<()>().await,
        }
    }
}
