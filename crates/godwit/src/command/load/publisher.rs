//! One connection that publishes as fast as it may.
//!
//! A closed loop: an acknowledgement (and with a [`Credit`] a delivery) makes room for the next message, so the server is
//! never flooded and the figures say what it sustains. Packets are encoded once and only given their id and digits anew; the
//! clock is read once per read of the socket. The law: a message counts when it is acknowledged, and every message sent
//! is waited for.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::BytesMut;
use client::Plain;
use hdrhistogram::Histogram;
use host::Clock;
use model::Qos;
use mqtt::{Ack, Packet, Reason, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::credit::Credit;
use super::payload::{Payload, Templates};
use super::report::histogram;

/// How much is read at once: the acknowledgements of a large window.
const READ_BYTES: usize = 16 * 1024;

/// One connection that publishes.
pub(super) struct Publisher {
    pub(super) plain: Plain,
    pub(super) version: Version,
    pub(super) templates: Templates,
    pub(super) payload: Payload,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) window: usize,
    pub(super) qos: Qos,
    /// Bounds what is on its way to subscribers; none: acknowledgements alone do.
    pub(super) credit: Option<Credit>,
}

impl Publisher {
    /// Publishes until `until` by the monotonic clock, and waits for what is still out.
    pub(super) async fn run(mut self, until: u64) -> anyhow::Result<Tally> {
        match self.qos {
            Qos::AtMostOnce => self.flood(until).await,
            _ => self.converse(until).await,
        }
    }

    async fn converse(&mut self, until: u64) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        let mut output = BytesMut::new();
        let mut now = self.clock.mono_micros();
        let window = self.window.min(self.plain.receive_maximum);
        // By packet id, which goes from 1 to the window.
        let mut sent_at = vec![now; window + 1];
        let mut free: Vec<u16> = (1..=u16::try_from(window)?).rev().collect();
        loop {
            while now < until
                && self.credit.as_ref().is_none_or(|credit| credit.room() > 0)
                && let Some(id) = free.pop()
            {
                sent_at[usize::from(id)] = now;
                self.put(id, now, &mut output);
                tally.sent += 1;
            }
            if !output.is_empty() {
                self.plain.stream.write_all(&output).await.context("the server closed a connection")?;
                output.clear();
            }
            let out = window - free.len();
            if out == 0 && now >= until {
                return Ok(tally);
            }
            self.plain.input.reserve(READ_BYTES);
            let may_send = now < until && !free.is_empty();
            let read = match &mut self.credit {
                Some(credit) if may_send => tokio::select! {
                    read = self.plain.stream.read_buf(&mut self.plain.input), if out > 0 => Some(read),
                    () = credit.more() => None,
                },
                _ => Some(self.plain.stream.read_buf(&mut self.plain.input).await),
            };
            now = self.clock.mono_micros();
            if let Some(read) = read {
                let bytes = read.unwrap_or(0);
                ensure!(bytes > 0, "the server closed a connection with {out} messages unacknowledged");
            }
            while let Some(packet) = self.plain.next_packet()? {
                let Some(ack) = self.answer(packet, &mut output)? else { continue };
                let since = sent_at.get(usize::from(ack.packet_id)).with_context(|| {
                    format!("acknowledgement of id {}, which was never sent", ack.packet_id)
                })?;
                tally.answered(now.saturating_sub(*since), ack.reason);
                free.push(ack.packet_id);
            }
        }
    }

    /// What ends a message; QoS 2 is released on the way to its end.
    fn answer(&self, packet: Packet, output: &mut BytesMut) -> anyhow::Result<Option<Ack>> {
        Ok(match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => Some(ack),
            Packet::PubRec(ack) if ack.reason.is_failure() => Some(ack),
            Packet::PubRec(ack) => {
                let release = Packet::PubRel(Ack::new(ack.packet_id, Reason::Success));
                mqtt::encode(&release, self.version, output)?;
                None
            }
            _ => None,
        })
    }

    async fn flood(&mut self, until: u64) -> anyhow::Result<Tally> {
        let mut tally = Tally::new();
        let mut output = BytesMut::new();
        loop {
            let now = self.clock.mono_micros();
            if now >= until {
                break;
            }
            let room = match &self.credit {
                Some(credit) => credit.room(),
                None => self.window as u64,
            };
            if room == 0
                && let Some(credit) = &mut self.credit
            {
                credit.more().await;
                continue;
            }
            for _ in 0..room {
                self.put(0, now, &mut output);
            }
            tally.sent += room;
            tally.messages += room;
            self.plain.stream.write_all(&output).await.context("the server closed a connection")?;
            output.clear();
        }
        // With a credit the deliveries themselves say that everything was read.
        if self.credit.is_none() {
            self.templates.last.write_head(1, &mut output);
            output.extend_from_slice(&self.payload.bytes);
            self.plain.stream.write_all(&output).await.context("the server closed a connection")?;
            while !matches!(self.plain.next_packet()?, Some(Packet::PubAck(_))) {
                let read = self.plain.stream.read_buf(&mut self.plain.input).await.unwrap_or(0);
                ensure!(read > 0, "the server closed a connection before it had read everything");
            }
        }
        Ok(tally)
    }

    fn put(&mut self, id: u16, now: u64, output: &mut BytesMut) {
        if let Some(credit) = &mut self.credit {
            credit.spend();
        }
        self.payload.advance(now);
        self.templates.each.write_head(id, output);
        output.extend_from_slice(&self.payload.bytes);
    }
}

/// What was acknowledged, and how long it took.
pub(super) struct Tally {
    pub(super) sent: u64,
    /// Acknowledged; of QoS 0: sent.
    pub(super) messages: u64,
    pub(super) refused: u64,
    pub(super) first_refusal: Option<Reason>,
    pub(super) waits: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { sent: 0, messages: 0, refused: 0, first_refusal: None, waits: histogram() }
    }

    pub(super) fn answered(&mut self, waited_micros: u64, reason: Reason) {
        if reason.is_failure() {
            self.refused += 1;
            self.first_refusal.get_or_insert(reason);
        } else {
            self.messages += 1;
            self.waits.saturating_record(waited_micros.max(1));
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.messages += other.messages;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.or(other.first_refusal);
        self.waits.add(&other.waits).expect("both have the same bounds");
    }
}
