//! The server's status by HTTP: how far the journal is durable, and how far `series` has applied it.
//!
//! One GET over a fresh connection, in HTTP/1.0 so that the answer ends with the connection: the build without the
//! platform needs no HTTP client for it.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server_file::ServerFile;

/// A status is a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A server under load answers late, but answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `series` has applied all that is durable now; gives up when it makes no progress for `PATIENCE`.
pub(super) async fn caught_up(file: &ServerFile) -> anyhow::Result<()> {
    let (durable, mut applied) = positions(file).await?;
    let looks_max = PATIENCE.as_millis() / PAUSE.as_millis();
    let mut looks_without_progress = 0;
    while applied < durable {
        tokio::time::sleep(PAUSE).await;
        let (_, now) = positions(file).await?;
        looks_without_progress = if now > applied { 0 } else { looks_without_progress + 1 };
        applied = now;
        ensure!(
            looks_without_progress < looks_max,
            "series stands at seq {applied} of {durable} and makes no progress"
        );
    }
    Ok(())
}

async fn positions(file: &ServerFile) -> anyhow::Result<(u64, u64)> {
    let status = tokio::time::timeout(PATIENCE, get(&file.http, &file.token, "/api/v1/status"))
        .await
        .with_context(|| format!("no status from `{}` within {} s", file.http, PATIENCE.as_secs()))??;
    let number = |pointer: &str| {
        status
            .pointer(pointer)
            .and_then(Value::as_u64)
            .with_context(|| format!("the status has no `{pointer}`"))
    };
    Ok((number("/journal/durable")?, number("/series/applied")?))
}

async fn get(address: &str, token: &str, path: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot reach the HTTP API at `{address}`"))?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    body(&answer).with_context(|| format!("`{path}` of `{address}` cannot be read"))
}

fn body(answer: &[u8]) -> anyhow::Result<Value> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer has no head")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let first = head.lines().next().unwrap_or_default();
    match first.split_ascii_whitespace().nth(1) {
        Some("200") => Ok(serde_json::from_slice(&answer[end + 4..])?),
        _ => bail!("the answer was `{first}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let value = body(b"HTTP/1.0 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}").expect("an answer");
        assert_eq!(value.pointer("/a").and_then(Value::as_u64), Some(1));
        let refused = body(b"HTTP/1.1 401 Unauthorized\r\n\r\n").expect_err("refused").to_string();
        assert_eq!(refused, "the answer was `HTTP/1.1 401 Unauthorized`");
        assert!(body(b"nonsense").is_err());
    }
}
