//! One turn of a connection's task: whatever woke it, everything that can be done now is done, in one order.
//!
//! ```text
//! notes from others → answers that are durable → messages to send → write → read → decode → to the journal
//! ```
//!
//! Not here: what packets mean. The laws: no lock is held across a wait; a turn ends after a bounded amount of work, so
//! that a busy connection leaves its thread to the others; nothing is read while its own bounds are reached.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use model::Kind;
use mqtt::{Ack, AckType, Packet, Reason, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::batches::Answer;
use super::explain;
use super::{Connection, Goodbye, Moment, handshake};
use crate::link::{APPLIED, DONE, END, OUTBOX, RIGHTS};
use crate::tally::{self, End};
use crate::{delivery, scratch};

/// Beyond so many bytes of output, no further messages are taken from the session until some are written.
const OUTPUT_HIGH: usize = 64 * 1024;

/// Beyond so many bytes of output a client does not take its answers: it is read no further.
const OUTPUT_MAX: usize = 256 * 1024;

/// An output buffer that has grown beyond this is given back once it is empty: idle connections hold none.
const OUTPUT_KEPT: usize = 4 * 1024;

/// Answers that may wait for the catalog: each holds a task and what it writes.
const UNSAVED_MAX: usize = 1_024;

/// Reads in one turn.
const READS_MAX: usize = 4;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Does what can be done; ready when the connection is to end.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Goodbye> {
        match self.try_turn(cx) {
            Ok(()) => Poll::Pending,
            Err(goodbye) => {
                // What came before the fault was received all the same.
                self.submit();
                Poll::Ready(goodbye)
            }
        }
    }

    fn try_turn(&mut self, cx: &mut Context<'_>) -> Result<(), Goodbye> {
        self.take_notes(cx)?;
        let mut reads = 0;
        loop {
            self.answer()?;
            let mono = self.shared().host.clock.mono_micros();
            self.feed_due(mono);
            self.take_outgoing(mono);
            if self.poll_flush(cx)? && self.has_outgoing {
                continue;
            }
            self.poll_waiting(cx);
            if self.slowed.as_mut().is_some_and(|slowed| slowed.as_mut().poll(cx).is_ready()) {
                self.slowed = None;
            }
            if self.is_closed(cx) {
                return Err(Goodbye::new(End::Shutdown, Reason::ServerShuttingDown));
            }
            if !self.may_read() {
                break;
            }
            if reads == READS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
            // What an earlier turn had to leave undecoded comes first.
            if self.input.is_empty() || !self.decode(mono)? {
                match scratch::poll_read(Pin::new(&mut self.stream), cx, &mut self.input) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Goodbye::silent(End::Lost)),
                    Poll::Ready(Ok(bytes)) => {
                        reads += 1;
                        self.heard_mono = mono;
                        self.shared().tallies.received_bytes.add(bytes as u64);
                        self.decode(mono)?;
                    }
                }
            }
        }
        self.poll_keep_alive(cx)
    }

    /// What others left: fates of batches, an end, changed rights.
    fn take_notes(&mut self, cx: &Context<'_>) -> Result<(), Goodbye> {
        let flags = self.held.link.signal.take(cx);
        if flags & END != 0 {
            match self.held.link.asked_to_end() {
                Some(End::Shutdown) if self.closing.is_none() => {
                    let wait = self.shared().settings.close_wait;
                    self.closing = Some(Box::pin(tokio::time::sleep(wait)));
                }
                Some(End::Shutdown) | None => {}
                Some(End::TakenOver) => {
                    return Err(Goodbye::new(End::TakenOver, Reason::SessionTakenOver));
                }
                Some(why) => return Err(Goodbye::new(why, Reason::AdministrativeAction)),
            }
        }
        if flags & RIGHTS != 0 {
            self.look_at_rights()?;
        }
        if flags & DONE != 0 {
            let mut done = std::mem::take(&mut self.done);
            self.held.link.take_done(&mut done);
            for fate in done.drain(..) {
                self.batches.done(fate.number, fate.failed);
            }
            self.done = done;
            for answer in self.held.link.take_answers() {
                self.unsaved -= 1;
                self.send(&answer)?;
            }
            self.unreleased = self.held.session.state().incoming.len();
            // The time until it is acknowledged is no silence of a bridge's.
            if let Some(bridge) = &mut self.bridge {
                bridge.hears(self.held.shared.host.clock.mono_micros());
            }
        }
        if flags & APPLIED != 0
            && let Some(due) = &mut self.due
        {
            due.woken();
        }
        self.has_outgoing |= flags & OUTBOX != 0;
        Ok(())
    }

    /// Puts the answers of batches whose fate is known into the output.
    fn answer(&mut self) -> Result<(), Goodbye> {
        while let Some((answers, failed)) = self.batches.next_answers() {
            if answers.is_empty() {
                continue;
            }
            let Some(failure) = failed else {
                for answer in answers {
                    self.send_answer(answer)?;
                }
                continue;
            };
            let hint = failure.hint.unwrap_or_default();
            let refusal = match failure.kind {
                Kind::TooMuch => crate::Refusal::JournalFull,
                _ => crate::Refusal::JournalFailed,
            };
            self.log_refusal(refusal, || (failure.text.to_string(), hint.to_owned()));
            if self.version() == Version::V311 || self.bridge.is_some() {
                // A bridge may have said the same again meanwhile, and must not be told that we have it. MQTT 3.1.1 has no refusal: without an acknowledgement the client keeps the message and comes again.
                return Err(Goodbye::silent(End::Journal));
            }
            let failed = match failure.kind {
                Kind::TooMuch => Reason::QuotaExceeded,
                _ => Reason::ImplementationSpecific,
            };
            for mut answer in answers {
                if answer.reason == Reason::Success {
                    answer.reason = failed;
                    let text = explain::text(self.link(), || failure.text.to_string());
                    self.refusals.extend(text.map(|text| (answer.packet_id, text)));
                }
                self.send_answer(answer)?;
            }
            self.unreleased = self.held.session.state().incoming.len();
        }
        Ok(())
    }

    fn send_answer(&mut self, Answer { packet_id, reason, is_rec, .. }: Answer) -> Result<(), Goodbye> {
        if reason.is_failure()
            && let Some(at) = self.refusals.iter().position(|(id, _)| *id == packet_id)
        {
            let (_, text) = self.refusals.remove(at);
            let ack = Ack { packet_id, reason, properties: explain::properties(Some(text)) };
            return self.send(&if is_rec { Packet::PubRec(ack) } else { Packet::PubAck(ack) });
        }
        let ack = if is_rec { AckType::PubRec } else { AckType::PubAck };
        self.packets_sent += 1;
        mqtt::encode_ack(ack, packet_id, reason, self.version(), &mut self.output)
            .map_err(|_| Goodbye::new(End::Protocol, Reason::ImplementationSpecific))
    }

    /// Puts messages of the session into the output.
    fn take_outgoing(&mut self, mono: u64) {
        if !self.has_outgoing || self.output.len() >= OUTPUT_HIGH {
            return;
        }
        let held = &self.held;
        let shared = &held.shared;
        let taken = held.session.take(&held.link, mono, OUTPUT_HIGH, &shared.limits(), &mut self.output);
        for (tally, n) in shared.tallies.sent.iter().zip(taken.sent) {
            tally.add(n);
        }
        shared.tallies.resent.add(taken.resent);
        shared.tallies.publish_bytes_sent.add(taken.bytes);
        if let Some(oldest_mono) = taken.oldest_mono {
            shared.tallies.written_seconds.record(tally::seconds(oldest_mono, mono));
        }
        self.packets_sent += taken.sent.iter().sum::<u64>();
        if !taken.steps.is_empty() {
            self.put_on_record(taken.steps, Vec::new(), 0);
        }
        for group in taken.behind {
            group.wake(shared);
        }
        if let Some(from) = taken.refill {
            tokio::spawn(delivery::refill(Arc::clone(shared), Arc::clone(&held.session), from));
        }
        // Below the mark nothing is left to take, or the window is full: a push or an acknowledgement says when to look.
        self.has_outgoing = self.output.len() >= OUTPUT_HIGH;
    }

    /// Writes what it can. `true`: all of it is written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<bool, Goodbye> {
        let packets_sent = std::mem::take(&mut self.packets_sent);
        self.shared().tallies.packets_sent.add(packets_sent);
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0) | Err(_)) => return Err(Goodbye::silent(End::Lost)),
                Poll::Ready(Ok(bytes)) => {
                    self.output.advance(bytes);
                    self.shared().tallies.sent_bytes.add(bytes as u64);
                }
            }
        }
        if self.output.capacity() > OUTPUT_KEPT {
            self.output = BytesMut::new();
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(Goodbye::silent(End::Lost)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(true),
        }
    }

    /// A batch that waits tries again when the journal has room.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) {
        while let Some(mut waiting) = self.waiting.take() {
            if waiting.room.as_mut().poll(cx).is_pending() {
                self.waiting = Some(waiting);
                return;
            }
            self.hand_over(waiting.number, waiting.batch, waiting.twos);
        }
    }

    /// Whether the door closes and everything that was read is answered, or has taken too long.
    fn is_closed(&mut self, cx: &mut Context<'_>) -> bool {
        let is_answered =
            self.batches.is_empty() && self.waiting.is_none() && self.unsaved == 0 && self.output.is_empty();
        self.closing.as_mut().is_some_and(|wait| is_answered || wait.as_mut().poll(cx).is_ready())
    }

    /// Whether there is room for what may come.
    fn may_read(&self) -> bool {
        let settings = &self.shared().settings;
        // In MQTT 5 the client knows the bound, and exceeding it is its fault (section 4.9); in 3.1.1 it does not.
        let has_window = self.version() == Version::V5
            || self.batches.unanswered() + self.pubacks < usize::from(settings.receive_maximum);
        has_window
            && self.waiting.is_none()
            && self.slowed.is_none()
            && self.closing.is_none()
            && self.output.len() < OUTPUT_MAX
            && self.unsaved < UNSAVED_MAX
            && self.batches.bytes() + self.batch_bytes < settings.bytes_in_flight_max
    }

    /// Does what the packets in the input ask for, as far as the bounds allow, and hands what they brought to the
    /// journal. `true`: there may be more to do before the next read.
    fn decode(&mut self, mono: u64) -> Result<bool, Goodbye> {
        let moment = Moment { now: self.shared().host.clock.now(), mono };
        let mut packets = 0;
        while self.may_read() {
            match self.decoder.decode(&mut self.input) {
                Ok(None) => break,
                Ok(Some(packet)) => {
                    packets += 1;
                    self.handle(packet, moment)?;
                }
                Err(error) => {
                    let link = self.link();
                    handshake::count(self.shared(), error.rule);
                    tracing::info!(client_id = ?link.client_id, peer = %link.peer, %error, "protocol error");
                    return Err(Goodbye { why: End::Protocol, packet: error.answer() });
                }
            }
        }
        self.shared().tallies.packets_received.add(packets);
        self.submit();
        Ok(packets > 0)
    }

    /// One timer, looked at when it rings: a packet costs a number, not a timer.
    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), Goodbye> {
        while self.keep_alive.as_mut().poll(cx).is_ready() {
            let now_mono = self.shared().host.clock.mono_micros();
            if !self.may_read() {
                // It is we who do not listen.
                self.heard_mono = now_mono;
            }
            let silent = now_mono.saturating_sub(self.heard_mono);
            if silent >= self.keep_alive_micros {
                return Err(Goodbye::new(End::KeepAlive, Reason::KeepAliveTimeout));
            }
            let left = Duration::from_micros(self.keep_alive_micros - silent);
            self.keep_alive.set(tokio::time::sleep(left));
        }
        Ok(())
    }
}
