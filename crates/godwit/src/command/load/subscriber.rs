//! One connection that subscribes, takes what comes, acknowledges it, and tells the publishers' accounts.

use std::sync::Arc;

use anyhow::{bail, ensure};
use bytes::BytesMut;
use client::Plain;
use hdrhistogram::Histogram;
use host::{Clock, Shutdown};
use model::Qos;
use mqtt::{Ack, Packet, Reason, Subscribe, SubscribeOptions, SubscriptionFilter, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::credit::Account;
use super::payload::stamp;
use super::report::histogram;

/// How much is read at once: some hundred small messages.
const READ_BYTES: usize = 64 * 1024;

/// One connection that subscribes.
pub(super) struct Subscriber {
    pub(super) plain: Plain,
    pub(super) version: Version,
    pub(super) clock: Arc<dyn Clock>,
    /// By publisher, from 1.
    pub(super) accounts: Arc<[Arc<Account>]>,
}

/// What one subscriber got.
pub(super) struct Got {
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    /// From the stamp to here.
    pub(super) waits: Histogram<u64>,
}

impl Subscriber {
    /// Subscribes to `filter`, and returns when the server has said yes.
    pub(super) async fn subscribe(&mut self, filter: &str, qos: Qos) -> anyhow::Result<()> {
        let options = SubscribeOptions { qos_max: qos, ..SubscribeOptions::default() };
        let subscribe = Subscribe {
            packet_id: 1,
            filters: vec![(SubscriptionFilter::parse(filter.to_owned())?, options)],
            subscription_id: None,
            user: Vec::new(),
        };
        let mut output = BytesMut::new();
        mqtt::encode(&Packet::Subscribe(subscribe), self.version, &mut output)?;
        self.plain.stream.write_all(&output).await?;
        loop {
            match self.plain.next_packet()? {
                Some(Packet::SubAck(answer)) => match answer.reasons.first() {
                    Some(reason) if !reason.is_failure() => return Ok(()),
                    reason => bail!("the server refused the subscription to `{filter}`: {reason:?}"),
                },
                Some(_) => {}
                None => {
                    let read = self.plain.stream.read_buf(&mut self.plain.input).await.unwrap_or(0);
                    ensure!(read > 0, "the server closed a connection instead of subscribing it");
                }
            }
        }
    }

    /// Takes what comes until it is told to stop.
    pub(super) async fn run(mut self, stop: Shutdown) -> anyhow::Result<Got> {
        let mut got = Got { deliveries: 0, bytes: 0, waits: histogram() };
        let mut output = BytesMut::new();
        let mut credits: Vec<(u32, u64)> = Vec::new();
        loop {
            self.plain.input.reserve(READ_BYTES);
            let read = tokio::select! {
                biased;
                read = self.plain.stream.read_buf(&mut self.plain.input) => read.unwrap_or(0),
                () = stop.stopping() => return Ok(got),
            };
            ensure!(read > 0, "the server closed the connection of a subscriber");
            got.bytes += read as u64;
            let now = self.clock.mono_micros();
            while let Some(packet) = self.plain.next_packet()? {
                let answer = match packet {
                    Packet::Publish(publish) => {
                        got.deliveries += 1;
                        if let Some((publisher, sent)) = stamp(&publish.payload) {
                            got.waits.saturating_record(now.saturating_sub(sent).max(1));
                            match credits.last_mut() {
                                Some((last, count)) if *last == publisher => *count += 1,
                                _ => credits.push((publisher, 1)),
                            }
                        }
                        match publish.qos {
                            Qos::AtMostOnce => continue,
                            Qos::AtLeastOnce => Packet::PubAck(Ack::new(publish.packet_id, Reason::Success)),
                            Qos::ExactlyOnce => Packet::PubRec(Ack::new(publish.packet_id, Reason::Success)),
                        }
                    }
                    Packet::PubRel(ack) => Packet::PubComp(Ack::new(ack.packet_id, Reason::Success)),
                    _ => continue,
                };
                mqtt::encode(&answer, self.version, &mut output)?;
            }
            for (publisher, count) in credits.drain(..) {
                if let Some(account) =
                    (publisher as usize).checked_sub(1).and_then(|at| self.accounts.get(at))
                {
                    account.deliver(count);
                }
            }
            if !output.is_empty() {
                self.plain.stream.write_all(&output).await?;
                output.clear();
            }
        }
    }
}
