//! `godwit tail` (also `sub`): prints messages as they come.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use client::{Messages, Options, Received};
use model::Qos;
use mqtt::{RetainHandling, SubscribeOptions, SubscriptionFilter};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::target::{TargetArgs, connect, duration, qos};
use crate::fault::hinted;

/// How long the server keeps the session of a `tail` whose connection was lost, in seconds: as long as it tries to
/// come back, so that nothing is missed meanwhile.
const SESSION_EXPIRY_S: u32 = 60;

/// What `--help` says behind the flags: the command line's own text for a command is one line.
const HELP: &str = r#"Prints topic and payload of every message that matches, until it is interrupted.

Examples:
  godwit tail '#'   # everything
  godwit tail 'dt/+/climate' 'alerts/#'   # `+` is one level, `#` the rest
  godwit tail 'dt/#' --json | jq .payload   # one JSON object a line
  godwit tail 'dt/office-1/#' --count 1 --timeout 10s   # one message, or fail"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Which topics; quote them, the shell knows `#` and `*` too
    #[arg(required = true, value_name = "FILTER", value_parser = filter)]
    filters: Vec<SubscriptionFilter>,
    /// One JSON object a line: topic, payload, qos, retain, and what the publisher attached
    #[arg(long)]
    json: bool,
    /// Print the payload only
    #[arg(long, conflicts_with = "json")]
    payload_only: bool,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// End after so long; with --count it is a failure when fewer came
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// The highest QoS of deliveries: with 1 nothing is missed when the connection is lost for a while
    #[arg(short, long, default_value = "1", value_parser = qos)]
    qos: Qos,
    /// Leave out what was kept from before
    #[arg(long)]
    no_retained: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Subscribes and prints.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let target = args.target.find()?;
    let session_expiry_s = if args.qos == Qos::AtMostOnce { 0 } else { SESSION_EXPIRY_S };
    let options = Options { session_expiry_s, ..args.target.options(&target, "tail") };
    let (client, mut messages) = connect(options).await?;
    let retain_handling = if args.no_retained { RetainHandling::Never } else { RetainHandling::Always };
    let how = SubscribeOptions { qos_max: args.qos, retain_handling, ..SubscribeOptions::default() };
    let filters = args.filters.iter().map(|filter| (filter.clone(), how)).collect();
    client.subscribe(filters).await.map_err(hinted(client::SubscribeError::hint))?;
    let printing = print(&args, &mut messages);
    let printed = match args.timeout {
        None => printing.await,
        Some(timeout) => match tokio::time::timeout(timeout, printing).await {
            Ok(printed) => printed,
            Err(_) if args.count.is_none() => Ok(()),
            Err(_) => {
                bail!("fewer than {} messages came in {} s", args.count.unwrap_or(0), timeout.as_secs_f64())
            }
        },
    };
    printed?;
    drop(messages);
    client.close().await.map_err(hinted(client::EndError::hint))
}

async fn print(args: &Args, messages: &mut Messages) -> anyhow::Result<()> {
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let next = messages.next().await.map_err(hinted(client::EndError::hint))?;
        let Some(message) = next else { break };
        if args.no_retained && message.retain {
            continue;
        }
        let mut line = if args.json { as_json(&message) } else { as_text(&message, args.payload_only) };
        line.push(b'\n');
        let mut out = io::stdout().lock();
        match out.write_all(&line).and_then(|()| out.flush()) {
            // `| head` has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
        left -= 1;
    }
    Ok(())
}

/// `topic payload`; what is no text is shown as its size, so that a terminal survives it.
fn as_text(message: &Received, payload_only: bool) -> Vec<u8> {
    if payload_only {
        return message.payload.to_vec();
    }
    let retained = if message.retain { " (retained)" } else { "" };
    let payload = match std::str::from_utf8(&message.payload) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) => {
            text.to_owned()
        }
        _ => format!("<{} bytes>", message.payload.len()),
    };
    format!("{}{retained} {payload}", message.topic).into_bytes()
}

fn as_json(message: &Received) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        topic: &'a str,
        payload: Box<RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload_encoding: Option<&'static str>,
        qos: u8,
        retain: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        properties: Map<String, Value>,
    }
    let (payload, payload_encoding) = payload_as_json(&message.payload);
    let line = Line {
        topic: &message.topic,
        payload,
        payload_encoding,
        qos: message.qos as u8,
        retain: message.retain,
        properties: properties(message),
    };
    serde_json::to_vec(&line).expect("text and numbers become JSON")
}

/// JSON as it is (its digits kept), other text as a string, the rest as hexadecimal digits with the word `hex`.
fn payload_as_json(payload: &Bytes) -> (Box<RawValue>, Option<&'static str>) {
    let string = |text: &str| {
        let quoted = serde_json::to_string(text).expect("text becomes JSON");
        RawValue::from_string(quoted).expect("that is JSON")
    };
    match std::str::from_utf8(payload) {
        // A line stays a line: JSON that spreads over several is read and written anew.
        Ok(text) => match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(raw) if !text.contains(['\n', '\r']) => (raw, None),
            Ok(raw) => {
                let one_line = raw.get().replace(['\n', '\r'], " ");
                (RawValue::from_string(one_line).unwrap_or_else(|_| string(text)), None)
            }
            Err(_) => (string(text), None),
        },
        Err(_) => {
            let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            (string(&hex), Some("hex"))
        }
    }
}

fn properties(message: &Received) -> Map<String, Value> {
    let mut map = Map::new();
    let attached = &message.attached;
    for (name, value) in &attached.user {
        map.insert(name.to_string(), Value::from(value.to_string()));
    }
    if let Some(content_type) = &attached.content_type {
        map.insert("content_type".to_owned(), Value::from(content_type.to_string()));
    }
    if let Some(response_topic) = &attached.response_topic {
        map.insert("response_topic".to_owned(), Value::from(response_topic.to_string()));
    }
    if let Some(expiry_s) = message.expiry_s {
        map.insert("expiry_s".to_owned(), Value::from(expiry_s));
    }
    map
}

fn filter(text: &str) -> Result<SubscriptionFilter, String> {
    SubscriptionFilter::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use model::{Properties, TopicName};

    use super::*;

    fn received(payload: &'static [u8], retain: bool) -> Received {
        Received {
            topic: TopicName::parse("dt/a/t").expect("a topic"),
            payload: Bytes::from_static(payload),
            qos: Qos::AtLeastOnce,
            retain,
            dup: false,
            expiry_s: None,
            attached: Properties::default(),
        }
    }

    #[test]
    fn a_line_of_text_survives_any_payload() {
        let check = |payload, retain, expect: &str| {
            let line = String::from_utf8(as_text(&received(payload, retain), false)).expect("text");
            assert_eq!(line, expect);
        };
        check(b"21.5", false, "dt/a/t 21.5");
        check(b"open", true, "dt/a/t (retained) open");
        check(b"", false, "dt/a/t ");
        check(b"\xff\xfe", false, "dt/a/t <2 bytes>");
        check(b"\x1b[2J", false, "dt/a/t <4 bytes>");
    }

    #[test]
    fn a_line_of_json_keeps_digits_and_stays_one_line() {
        let check = |payload, expect: &str| {
            let line = String::from_utf8(as_json(&received(payload, true))).expect("text");
            assert_eq!(line, format!(r#"{{"topic":"dt/a/t","payload":{expect},"qos":1,"retain":true}}"#));
        };
        check(br#"{"h":0.00479298817650529,"n":1.0}"#, r#"{"h":0.00479298817650529,"n":1.0}"#);
        check(b"21.50", "21.50");
        check(b"open", r#""open""#);
        check(b"", r#""""#);
        check(b"{\n\"a\": 1}", r#"{ "a": 1}"#);
        check(b"\xff\x00", r#""ff00","payload_encoding":"hex""#);
    }
}
