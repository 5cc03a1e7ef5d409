//! One attempt to send something by HTTP, and what its outcome means.
//!
//! | answer | means |
//! |---|---|
//! | 2xx | delivered |
//! | 408, 425, 429, 5xx, none in time, no connection | try again; a `Retry-After` is heeded, up to an hour |
//! | anything else | refused: it would be refused again |
//!
//! ```text
//! POST /hook
//! content-type: application/json
//! godwit-id: hot-to-maintenance/webhook-1:1041         the same for every attempt; also `idempotency-key`
//! godwit-topic: dt/office-1/climate                    percent-encoded where it is not visible ASCII
//! godwit-timestamp: 1700000000                         of this attempt, in seconds
//! godwit-signature: v1=HEX                             HMAC-SHA256 by the secret over `timestamp.body`
//! ```
//!
//! Not here: when to try again (`sink`). The law: an attempt ends within `sinks.timeout`, and reads at most [`SHOWN_BYTES`] of an answer.

use std::fmt::Write;
use std::time::Duration;

use aws_lc_rs::hmac;
use host::Host;
use model::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use rules::Secret;

use crate::job::Post;
use crate::letter::Reason;
use crate::pace::ASKED_MAX;

/// How much of an answer is read and shown.
const SHOWN_BYTES: usize = 256;

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Delivered,
    /// It will pass.
    Later {
        reason: String,
        asked: Option<Duration>,
    },
    /// It will not.
    Never {
        reason: Reason,
        detail: String,
    },
}

/// Sends once.
pub(crate) async fn send(
    http: &reqwest::Client,
    host: &Host,
    post: &Post,
    topic: &str,
    secret: Option<&Secret>,
) -> Attempt {
    let never = |detail: String| Attempt::Never { reason: Reason::Target, detail };
    let now = host.clock.now();
    let headers = match headers(post, topic, secret, now) {
        Ok(headers) => headers,
        Err(detail) => return never(detail),
    };
    let request = match http.post(&post.url).headers(headers).body(post.body.clone()).build() {
        Ok(request) => request,
        Err(_) => return never("the address is none".to_owned()),
    };
    match http.execute(request).await {
        Ok(response) => judge(response, now).await,
        Err(error) => Attempt::Later { reason: told(&error), asked: None },
    }
}

/// What went wrong, without the address: it may hold a token.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("no connection: {cause}")
}

fn headers(post: &Post, topic: &str, secret: Option<&Secret>, now: Timestamp) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| {
        let name = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
        let value =
            HeaderValue::try_from(value).map_err(|_| format!("what header `{name}` came to is none"))?;
        headers.insert(name, value);
        Ok::<_, String>(())
    };
    let timestamp = now.micros().div_euclid(Timestamp::SECOND).to_string();
    put("content-type", &post.content_type)?;
    put("idempotency-key", &post.id)?;
    put("godwit-id", &post.id)?;
    put("godwit-topic", &visible(topic))?;
    put("godwit-timestamp", &timestamp)?;
    for (name, value) in &post.headers {
        put(name, value)?;
    }
    // Last: no rule can put another in its place.
    if let Some(secret) = secret {
        put("godwit-signature", &signature(secret, &timestamp, &post.body))?;
    }
    Ok(headers)
}

fn signature(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    let mut text = String::from("v1=");
    for byte in context.sign().as_ref() {
        write!(text, "{byte:02x}").expect("text grows");
    }
    text
}

/// Text as a header can carry it.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            shown.push(char::from(byte));
        } else {
            write!(shown, "%{byte:02X}").expect("text grows");
        }
    }
    shown
}

async fn judge(response: Response, now: Timestamp) -> Attempt {
    let status = response.status();
    if status.is_success() {
        return Attempt::Delivered;
    }
    let asked = response.headers().get("retry-after").and_then(|value| asked(value.to_str().ok()?, now));
    let said = beginning(response).await;
    let reason = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let passes = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
    if passes {
        Attempt::Later { reason, asked }
    } else {
        Attempt::Never { reason: Reason::Refused, detail: reason }
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn asked(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
            Duration::from_micros(u64::try_from(date.as_microsecond() - now.micros()).unwrap_or(0))
        }
    };
    Some(wait.min(ASKED_MAX))
}

/// The first line of an answer, for people.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(SHOWN_BYTES - bytes.len())]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_a_wait_in_seconds_or_by_date_and_for_an_hour_at_most() {
        let now = Timestamp::parse("2015-10-21T07:27:00Z").expect("a time");
        let check = |value: &str, expect: Option<u64>| {
            assert_eq!(asked(value, now), expect.map(Duration::from_secs), "{value}");
        };
        check("30", Some(30));
        check(" 0 ", Some(0));
        check("86400", Some(3_600));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(60));
        check("Wed, 21 Oct 2015 07:26:00 GMT", Some(0));
        check("soon", None);
    }

    #[test]
    fn a_topic_is_visible_in_a_header_whatever_it_is() {
        assert_eq!(visible("dt/Büro 1/a%"), "dt/B%C3%BCro%201/a%25");
    }
}
