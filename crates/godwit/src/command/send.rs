//! `godwit send` (also `pub`): publishes messages and waits until the server has acknowledged them.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use client::{Outgoing, Publisher, Ticket};
use host::{Disk as _, SystemDisk};
use model::limit::{MESSAGE_ID_BYTES_MAX, PACKET_BYTES_MAX};
use model::{Properties, Qos, TopicName};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::target::{TargetArgs, connect, duration, qos};
use crate::fault::{hinted, with_hint};

/// Tickets that wait for their answer before the oldest is looked at.
const TICKETS_MAX: usize = 4_096;

/// What `--help` says behind the flags: the command line's own text for a command is one line.
const HELP: &str = r#"Publishes a message, or each line of standard input as one. With QoS 1 (the default) it returns
when the server has acknowledged: the message is durable then.

Examples:
  godwit send dt/office-1/climate '{"temperature": 21.5, "co2": 640}'
  godwit send dt/office-1/climate '{"temperature": 21.5}' --message-id 4711   # known again
  godwit send --to 192.168.1.10:1883 --user door-7 dt/door-7/state open --retain
  tail -f readings.jsonl | godwit send dt/office-1/climate --lines
  godwit send firmware/blob - < image.bin   # all of standard input as one message"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Where to publish; without wildcards
    topic: String,
    /// What to publish; `-` is all of standard input. With --retain it may be left out: an empty message removes
    /// the one that was kept
    #[arg(conflicts_with = "lines")]
    payload: Option<String>,
    /// Publish each line of standard input as a message
    #[arg(short, long)]
    lines: bool,
    /// Publish a file's content as one message
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["payload", "lines"])]
    file: Option<std::path::PathBuf>,
    /// 0: nobody waits; 1: acknowledged when durable; 2: exactly once, durable when this returns
    #[arg(short, long, default_value = "1", value_parser = qos)]
    qos: Qos,
    /// Keep it for those who subscribe later
    #[arg(short, long)]
    retain: bool,
    /// An id by which the server recognises a repeat (MQTT 5 user property `message-id`)
    #[arg(long, value_name = "ID", conflicts_with_all = ["lines", "count"])]
    message_id: Option<String>,
    /// Attach a name and value (MQTT 5 user property); may be given more than once
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// After how long it must no longer be delivered, such as 30s (MQTT 5)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expiry: Option<Duration>,
    /// Publish it so many times
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, conflicts_with = "lines")]
    count: u64,
    /// Wait so long between two of them, such as 500ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    every: Option<Duration>,
    #[command(flatten)]
    target: TargetArgs,
}

/// Publishes, and waits for every acknowledgement.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let topic = TopicName::parse(args.topic.as_str())?;
    let message = Outgoing {
        qos: args.qos,
        retain: args.retain,
        expiry_s: args.expiry.map(whole_seconds),
        attached: attached(&args)?,
        ..Outgoing::new(topic, Bytes::new())
    };
    let whole = if args.lines { None } else { Some(whole_payload(&args).await?) };
    let target = args.target.find()?;
    let (client, messages) = connect(args.target.options(&target, "send")).await?;
    drop(messages);
    let mut sending = Sending { publisher: client.publisher(), tickets: VecDeque::new(), acknowledged: 0 };
    match whole {
        Some(payload) => {
            for n in 0..args.count {
                if let Some(pause) = args.every.filter(|_| n > 0) {
                    tokio::time::sleep(pause).await;
                }
                sending.send(Outgoing { payload: payload.clone(), ..message.clone() }).await?;
            }
        }
        None => {
            let mut lines = BufReader::new(tokio::io::stdin());
            while let Some(payload) = next_line(&mut lines).await? {
                sending.send(Outgoing { payload, ..message.clone() }).await?;
                if let Some(pause) = args.every {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
    sending.finish().await?;
    client.close().await.map_err(hinted(client::EndError::hint))
}

/// Messages on their way, in order.
struct Sending {
    publisher: Publisher,
    tickets: VecDeque<Ticket>,
    acknowledged: u64,
}

impl Sending {
    async fn send(&mut self, message: Outgoing) -> anyhow::Result<()> {
        let publishing = self.publisher.publish(message);
        let ticket = publishing.await.map_err(|error| self.failed(error))?;
        self.tickets.push_back(ticket);
        while self.tickets.len() > TICKETS_MAX {
            self.settle().await?;
        }
        // Whoever feeds lines slowly learns of a refusal with the next line, not at the end.
        while self.settle_if_answered().await? {}
        Ok(())
    }

    /// Settles the oldest ticket if its answer is there already.
    async fn settle_if_answered(&mut self) -> anyhow::Result<bool> {
        let Some(ticket) = self.tickets.front_mut() else { return Ok(false) };
        let answer = tokio::select! {
            biased;
            answer = ticket => answer,
            () = std::future::ready(()) => return Ok(false),
        };
        self.tickets.pop_front();
        answer.map_err(|error| self.failed(error))?;
        self.acknowledged += 1;
        Ok(true)
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(ticket) = self.tickets.pop_front() {
            ticket.await.map_err(|error| self.failed(error))?;
            self.acknowledged += 1;
        }
        Ok(())
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        while !self.tickets.is_empty() {
            self.settle().await?;
        }
        tracing::debug!(messages = self.acknowledged, "acknowledged");
        Ok(())
    }

    fn failed(&self, error: client::PublishError) -> anyhow::Error {
        let hint = error.hint();
        let error = anyhow::Error::new(error);
        let error = match self.acknowledged {
            0 => error,
            before => error.context(format!("stopped after {before} acknowledged messages")),
        };
        with_hint(error, hint)
    }
}

async fn whole_payload(args: &Args) -> anyhow::Result<Bytes> {
    if let Some(path) = &args.file {
        let read = SystemDisk.read(path, PACKET_BYTES_MAX as u64);
        return Ok(read.with_context(|| format!("cannot read `{}`", path.display()))?.into());
    }
    match args.payload.as_deref() {
        Some("-") => bounded(&mut tokio::io::stdin(), "standard input").await,
        Some(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        None if args.retain => Ok(Bytes::new()),
        None => bail!(
            "no payload: give one ('' is an empty message), or --lines to publish each line of standard input, \
             or - to publish all of it as one message"
        ),
    }
}

/// Reads to the end, but no more than a packet can hold.
async fn bounded(input: &mut (impl tokio::io::AsyncRead + Unpin), what: &str) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    input
        .take(PACKET_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .await
        .with_context(|| format!("cannot read {what}"))?;
    ensure!(
        bytes.len() <= PACKET_BYTES_MAX,
        "{what} has more than {PACKET_BYTES_MAX} bytes, the most of a message"
    );
    Ok(bytes.into())
}

/// The next line without its end; `None` at the end of the input.
async fn next_line(lines: &mut BufReader<tokio::io::Stdin>) -> anyhow::Result<Option<Bytes>> {
    let mut line = Vec::new();
    let read = lines.take(PACKET_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).await;
    if read.context("cannot read standard input")? == 0 {
        return Ok(None);
    }
    ensure!(
        line.len() <= PACKET_BYTES_MAX,
        "a line has more than {PACKET_BYTES_MAX} bytes, the most of a message"
    );
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line.into()))
}

fn attached(args: &Args) -> anyhow::Result<Properties> {
    let mut user: Vec<_> =
        args.properties.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    if let Some(id) = &args.message_id {
        let bytes = id.len();
        ensure!(
            (1..=MESSAGE_ID_BYTES_MAX).contains(&bytes),
            "--message-id is {bytes} bytes; it must be 1 to {MESSAGE_ID_BYTES_MAX} bytes"
        );
        user.push(("message-id".into(), id.as_str().into()));
    }
    Ok(Properties { user, ..Properties::default() })
}

/// MQTT counts whole seconds; a part of one is a whole one, never none.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

fn property(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as NAME=VALUE".to_owned())
}
