//! A PUBLISH comes in: judged, made a message, gathered into the batch of this read.
//!
//! The order of judgement: QoS, topic, window, reserved topics, permission, bounds. Not here: durability (the journal)
//! and the answer's way out (`turn`). The law: whatever does not go on is counted, and a sender of QoS 1 is told where
//! its version has a word for it.

use std::cell::RefCell;
use std::sync::Arc;

use bytestring::ByteString;
use identity::{Action, Decision};
use journal::{AppendError, Busy, Outcome};
use model::limit::MESSAGE_ID_BYTES_MAX;
use model::reserved::{self, PublishVerdict};
use model::{Keep, Kind, Message, Names, Properties, Qos, Route, TopicName};
use mqtt::{Publish, Reason, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::batches::Answer;
use super::explain;
use super::rate::Taken;
use super::topics::Verdict;
use super::{Connection, Goodbye, Moment, Waiting};
use crate::bridge::{self, Held};
use crate::delivery::is_delivered_at_once;
use crate::fanout;
use crate::incoming::Begun;
use crate::link::Failure;
use crate::logbook::shown;
use crate::session::Session;
use crate::tally::{self, Drop, End, Refusal};

/// The user property by which a repeat is known.
const MESSAGE_ID: &str = "message-id";

/// The user property of W3C Trace Context: `00-{trace id}-{span id}-{flags}`.
const TRACE_PARENT: &str = "traceparent";

/// What a message costs beside its bytes while it is on its way, roughly: so that a flood of empty ones is bounded.
const MESSAGE_BYTES: usize = 256;

thread_local! {
    /// Names of devices met by this thread, for the register of devices.
    static NAMES: RefCell<Names> = RefCell::new(Names::new());
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes one PUBLISH into the batch.
    pub(super) fn publish(&mut self, publish: Publish, moment: Moment) -> Result<(), Goodbye> {
        let Publish { dup, qos, retain, topic, packet_id, properties, payload } = publish;
        if let Some(bridge) = &mut self.bridge {
            bridge.hears(moment.mono);
        }
        let properties = properties.map(|properties| *properties);
        let alias = properties.as_ref().and_then(|properties| properties.topic_alias);
        let most = self.shared().settings.topic_aliases_max;
        let topic =
            self.aliases.resolve(topic, alias, most).map_err(|reason| Goodbye::new(End::Protocol, reason))?;
        self.received[qos as usize] += 1;
        let bytes = topic.len() + payload.len();
        self.shared().tallies.publish_bytes_received.add(bytes as u64);
        if !self.is_within_rate(qos, bytes, moment.mono) {
            return Ok(());
        }
        if qos == Qos::ExactlyOnce && !self.begin_exactly_once(packet_id)? {
            return Ok(());
        }
        if qos == Qos::AtLeastOnce
            && self.version() == Version::V5
            && self.batches.unanswered() + self.pubacks + self.unreleased
                >= usize::from(self.shared().settings.receive_maximum)
        {
            return Err(Goodbye::new(End::Protocol, Reason::ReceiveMaximumExceeded));
        }
        let verdict = reserved::publish(&topic);
        match verdict {
            PublishVerdict::Ordinary | PublishVerdict::Question => {}
            PublishVerdict::Drop => {
                if self.bridge.is_none() && bridge::is_state(&topic) {
                    self.becomes_bridge();
                }
                self.shared().tallies.dropped(Drop::Reserved).one();
                self.promise_unrecorded(qos, packet_id);
                return Ok(());
            }
            PublishVerdict::Refuse(why) => {
                let hint = || (format!("publish to `{}`: {why}", shown(&topic)), String::new());
                return self.refuse(qos, packet_id, Reason::TopicNameInvalid, hint);
            }
        }
        let is_question = verdict == PublishVerdict::Question;
        let verdict = self.known.get(&topic).unwrap_or_else(|| self.judge(&topic));
        if !verdict.fits {
            let (why, hint) = self.shared().settings.misfit();
            let why = || (format!("publish to `{}`: {why}", shown(&topic)), hint);
            return self.refuse(qos, packet_id, Reason::TopicNameInvalid, why);
        }
        let decision = match (verdict.publish, retain) {
            (Decision::Permitted, true) => verdict.retain,
            (decision, _) => decision,
        };
        if let Decision::Refused(reason) = decision {
            let action = if verdict.publish.is_permitted() { Action::RetainPublish } else { Action::Publish };
            self.shared().identity.refused(&self.who, action, &topic);
            let permissions = self.permissions.clone();
            let hint = || {
                let why = format!("publish to `{}`: {reason}", shown(&topic));
                (why, permissions.advice(reason, action, &topic))
            };
            return self.refuse(qos, packet_id, Reason::NotAuthorized, hint);
        }
        if is_question {
            self.ask(topic, payload);
            self.promise_unrecorded(qos, packet_id);
            return Ok(());
        }
        let (expiry_s, attached) =
            properties.map_or((None, None), |properties| (properties.expiry_s, Some(properties.attached)));
        let attached = attached.filter(|attached| !attached.is_empty());
        if retain
            && verdict.keep != Keep::None
            && let Some(bridge) = &mut self.bridge
        {
            let kept = self.held.shared.retained.find(&topic);
            let held = Held::of(kept.as_deref(), &payload, attached.as_ref(), expiry_s);
            if bridge.is_repeat(&topic, &payload, held) {
                self.shared().tallies.bridge_repeats.one();
                self.promise_unrecorded(qos, packet_id);
                return Ok(());
            }
        }
        let message_id = attached.as_ref().and_then(message_id).or_else(|| {
            let route = if verdict.has_id { self.shared().routes.find(&topic) } else { None };
            route.and_then(|route| route.message_id(&payload))
        });
        let message = Message {
            topic,
            payload,
            qos,
            retain,
            dup,
            lane: verdict.lane,
            packet_id,
            expiry_s,
            received_at: moment.now,
            received_mono: moment.mono,
            message_id,
            trace_id: attached.as_ref().and_then(trace_id),
            properties: attached.map(Arc::new),
            to: None,
            origin: Arc::clone(&self.origin),
        };
        self.accept(message, verdict.keep, moment)
    }

    /// Takes a message that may go on: to the journal, or to those who subscribe now, or both.
    fn accept(&mut self, message: Message, keep: Keep, moment: Moment) -> Result<(), Goodbye> {
        let (qos, packet_id) = (message.qos, message.packet_id);
        let shared = Arc::clone(self.shared());
        if message.retain && (keep == Keep::None || shared.retained.is_full_for(&message)) {
            if qos != Qos::AtMostOnce && keep != Keep::None && self.version() == Version::V5 {
                shared.tallies.refused(Refusal::Retained).one();
                let why = format!("retained message on `{}` exceeds the bounds", shown(&message.topic));
                let text = explain::text(self.link(), || why.clone());
                self.refusals.extend(text.map(|text| (packet_id, text)));
                self.log_refusal(Refusal::Retained, || {
                    let hint = "Raise `mqtt.retained_messages_max`, `mqtt.retained_messages_per_device_max` or `mqtt.retained_bytes_max`, or clear \
                                topics with an empty payload";
                    (why, hint.to_owned())
                });
                self.promise_refusal(qos, packet_id, Reason::QuotaExceeded);
                return Ok(());
            }
            if keep == Keep::None {
                shared.tallies.dropped(Drop::NotRetained).one();
            }
        }
        if keep == Keep::None || is_delivered_at_once(&message) {
            let limits = shared.limits();
            if shared.tallies.subscriptions.get() > 0 {
                fanout::deliver(&shared.subscriptions, &message, 0, moment.mono, &limits, &mut self.touched);
            }
        }
        if keep == Keep::None {
            self.promise_unrecorded(qos, packet_id);
            return Ok(());
        }
        self.promise(qos, packet_id, Reason::Success);
        self.batch_bytes += MESSAGE_BYTES + message.topic.len() + message.payload.len();
        self.batch.push(message);
        Ok(())
    }

    /// Decides of a topic that is not the last one: rights, route, and whether its device is known.
    fn judge(&mut self, topic: &TopicName) -> Verdict {
        let shared = Arc::clone(self.shared());
        let route = shared.routes.find(topic);
        let verdict = Verdict {
            publish: self.permissions.may(Action::Publish, topic),
            retain: self.permissions.may(Action::RetainPublish, topic),
            lane: route.map_or_else(Default::default, Route::lane),
            keep: route.map_or_else(Default::default, Route::keep),
            fits: shared.settings.fits(topic),
            has_id: route.is_some_and(Route::has_id),
        };
        if verdict.publish.is_permitted()
            && verdict.fits
            && let Some(route) = route
        {
            let device = NAMES.with_borrow_mut(|names| route.device_of(topic, &self.origin, names));
            if let Some(device) = device {
                // New or known: the register counts what it cannot take.
                let _ = shared.identity.seen(&device);
            }
        }
        self.known.set(topic, verdict);
        verdict
    }

    /// Whether a publish is taken: QoS 0 beyond the rate is not, QoS 1 and 2 beyond it hold up what comes after them.
    fn is_within_rate(&mut self, qos: Qos, bytes: usize, mono: u64) -> bool {
        let settings = &self.held.shared.settings;
        let (messages_most, bytes_most) =
            (settings.publish_messages_per_second_max, settings.publish_bytes_per_second_max);
        let taken = self.rate.take(qos, bytes, messages_most, bytes_most, mono);
        if taken == Taken::Within {
            return true;
        }
        let tallies = &self.held.shared.tallies;
        let (link, ip) = (self.link(), self.link().peer.ip());
        if let Some(left_out) = self.shared().logbook.may_write(ip, &link.client_id, "publish_rate", mono) {
            let client_id = shown(&link.client_id);
            let what = if taken == Taken::Dropped { "QoS 0 is dropped" } else { "it is read more slowly" };
            tracing::warn!(
                left_out,
                "{ip} \"{client_id}\" publishes more than {messages_most} messages or {bytes_most} bytes a second: {what}. Raise \
                 `mqtt.publish_messages_per_second_max` or `mqtt.publish_bytes_per_second_max`"
            );
        }
        if let Taken::Slowly(wait) = taken {
            tallies.publish_slowed.one();
            self.slowed = Some(Box::pin(tokio::time::sleep(wait)));
            return true;
        }
        tallies.dropped(Drop::OverRate).one();
        false
    }

    /// Keeps an answer's place in the order; QoS 0 has none.
    fn promise(&mut self, qos: Qos, packet_id: u16, reason: Reason) {
        if qos != Qos::AtMostOnce {
            let is_rec = qos == Qos::ExactlyOnce;
            self.pubacks += usize::from(!is_rec);
            self.answers.push(Answer { packet_id, reason, is_rec, is_repeat: false });
        }
    }

    /// As [`promise`](Self::promise), for what needs no record.
    fn promise_unrecorded(&mut self, qos: Qos, packet_id: u16) {
        if qos == Qos::ExactlyOnce {
            self.session().state().incoming.unrecorded(packet_id);
        }
        self.promise(qos, packet_id, Reason::Success);
    }

    /// As [`promise`](Self::promise), for what is not taken: a QoS 2 packet id is free again (MQTT 5.0, section 4.3.3).
    fn promise_refusal(&mut self, qos: Qos, packet_id: u16, reason: Reason) {
        self.forget(qos, packet_id);
        self.promise(qos, packet_id, reason);
    }

    fn forget(&mut self, qos: Qos, packet_id: u16) {
        if qos == Qos::ExactlyOnce {
            let mut state = self.held.session.state();
            state.incoming.refused(packet_id);
            self.unreleased = state.incoming.len();
        }
    }

    /// Messages that never went to the journal: their packet ids are free, for the client sends them again.
    pub(super) fn forget_unjournalled(&mut self, batch: &[Message]) {
        for message in batch {
            self.forget(message.qos, message.packet_id);
        }
    }

    /// Begins a QoS 2 message. `false`: it was taken before, and is answered again.
    fn begin_exactly_once(&mut self, packet_id: u16) -> Result<bool, Goodbye> {
        let most = usize::from(self.shared().settings.receive_maximum);
        let after = self.shared().journal.durable_seq();
        let begun = {
            let mut state = self.held.session.state();
            if !state.is_held_by(&self.held.link) {
                return Err(Goodbye::new(End::TakenOver, Reason::SessionTakenOver));
            }
            let begun = state.incoming.begin(packet_id, most, after);
            self.unreleased = state.incoming.len();
            begun
        };
        match begun {
            Begun::New => Ok(true),
            Begun::Again => {
                let reason = Reason::Success;
                self.answers.push(Answer { packet_id, reason, is_rec: true, is_repeat: true });
                Ok(false)
            }
            Begun::TooMany => {
                self.shared().tallies.refused(Refusal::TooManyInFlight).one();
                self.log_refusal(Refusal::TooManyInFlight, || {
                    let why = format!("{most} QoS 2 messages are not released");
                    (
                        why,
                        "Let the client send PUBREL, lower its window, or raise `mqtt.receive_maximum`"
                            .to_owned(),
                    )
                });
                Err(Goodbye::new(End::Protocol, Reason::ReceiveMaximumExceeded))
            }
        }
    }

    /// Does not take a publish: tells the sender where its version can be told, ends the connection where it cannot.
    fn refuse(
        &mut self,
        qos: Qos,
        packet_id: u16,
        reason: Reason,
        why: impl FnOnce() -> (String, String),
    ) -> Result<(), Goodbye> {
        let is_topic = reason == Reason::TopicNameInvalid;
        let refusal = if is_topic { Refusal::Topic } else { Refusal::Publish };
        let tallies = &self.shared().tallies;
        match qos {
            Qos::AtMostOnce => {
                tallies.dropped(if is_topic { Drop::TopicNotAccepted } else { Drop::NotPermitted }).one();
            }
            _ => {
                tallies.refused(refusal).one();
            }
        }
        let (why, hint) = why();
        if qos != Qos::AtMostOnce {
            let text = explain::text(self.link(), || why.clone());
            self.refusals.extend(text.map(|text| (packet_id, text)));
        }
        self.log_refusal(refusal, || (why, hint));
        match (qos, self.version()) {
            (Qos::AtMostOnce, _) => Ok(()),
            (_, Version::V5) => {
                self.promise_refusal(qos, packet_id, reason);
                Ok(())
            }
            // MQTT-3.3.5-2: acknowledge or close. What is not durable is not acknowledged.
            (_, Version::V311) => {
                self.forget(qos, packet_id);
                Err(Goodbye::silent(End::Refused))
            }
        }
    }

    /// Hands the batch of this read to the journal.
    pub(super) fn submit(&mut self) {
        let received = std::mem::take(&mut self.received);
        for (tally, n) in self.shared().tallies.received.iter().zip(received) {
            tally.add(n);
        }
        self.touched.wake();
        self.save_releases();
        self.save_received();
        if self.batch.is_empty() && self.answers.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let twos = Twos::of(&batch, self.session());
        if !self.session().is_durable {
            // Ids of a session that ends with its connection are nobody's in the journal, least of all another session's of
            // this client id.
            batch.iter_mut().for_each(|message| message.packet_id = 0);
        }
        let answers = std::mem::take(&mut self.answers);
        self.pubacks = 0;
        let number = self.batches.open(answers, std::mem::take(&mut self.batch_bytes), batch.is_empty());
        if !batch.is_empty() {
            self.hand_over(number, batch, twos);
        }
    }

    /// Gives a batch to the journal, or keeps it until the journal has room: meanwhile nothing more is read.
    pub(super) fn hand_over(&mut self, number: u64, batch: Vec<Message>, twos: Twos) {
        let link = Arc::clone(self.link());
        let shared = Arc::clone(self.shared());
        let acknowledged = batch.iter().filter(|message| message.qos != Qos::AtMostOnce).count() as u64;
        let zeros = batch.len() as u64 - acknowledged;
        let settled = twos.clone();
        let received_mono = batch.first().map_or(0, |message| message.received_mono);
        let done = move |result: Result<Vec<Outcome>, AppendError>| {
            settled.settle(result.as_deref().ok());
            let failed = match result {
                Ok(outcomes) => {
                    let now_mono = shared.host.clock.mono_micros();
                    shared.tallies.durable_seconds.record(tally::seconds(received_mono, now_mono));
                    let repeated = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Repeated(_)));
                    shared.tallies.repeated.add(repeated.count() as u64);
                    None
                }
                Err(error) => {
                    let is_full = error.kind() == Kind::TooMuch;
                    shared.tallies.dropped(Drop::NotJournalled).add(zeros);
                    let refusal = if is_full { Refusal::JournalFull } else { Refusal::JournalFailed };
                    shared.tallies.refused(refusal).add(acknowledged);
                    Some(Failure { kind: error.kind(), text: error.to_string().into(), hint: error.hint() })
                }
            };
            link.done(number, failed);
        };
        if let Err(Busy { batch, .. }) = self.shared().journal.submit(batch, done) {
            self.shared().tallies.waited.one();
            let journal = self.shared().journal.clone();
            let room = Box::pin(async move { journal.room().await });
            self.waiting = Some(Box::new(Waiting { number, batch, twos, room }));
        }
    }
}

/// The QoS 2 messages of a batch: their places in it and their packet ids.
#[derive(Clone)]
pub(super) struct Twos {
    session: Arc<Session>,
    ids: Vec<(usize, u16)>,
}

impl Twos {
    fn of(batch: &[Message], session: &Arc<Session>) -> Self {
        let twos = batch.iter().enumerate().filter(|(_, message)| message.qos == Qos::ExactlyOnce);
        let ids = twos.map(|(at, message)| (at, message.packet_id)).collect();
        Self { session: Arc::clone(session), ids }
    }

    /// They are durable as these outcomes say, or will never be.
    fn settle(self, outcomes: Option<&[Outcome]>) {
        if self.ids.is_empty() {
            return;
        }
        let mut state = self.session.state();
        for (at, packet_id) in self.ids {
            match outcomes.map(|outcomes| outcomes[at]) {
                Some(Outcome::Appended(seq) | Outcome::Repeated(seq)) => {
                    state.incoming.durable(packet_id, seq);
                }
                None => state.incoming.refused(packet_id),
            }
        }
        drop(state);
        self.session.touch();
    }
}

/// The id by which a repeat is known. One that is too long is none: it could not be remembered.
fn message_id(attached: &Properties) -> Option<ByteString> {
    let (_, value) = attached.user.iter().find(|(name, _)| *name == MESSAGE_ID)?;
    (1..=MESSAGE_ID_BYTES_MAX).contains(&value.len()).then(|| value.clone())
}

/// The id by which a message is followed, from W3C Trace Context.
fn trace_id(attached: &Properties) -> Option<[u8; 16]> {
    let (_, value) = attached.user.iter().find(|(name, _)| *name == TRACE_PARENT)?;
    let digits = value.split('-').nth(1).filter(|digits| digits.len() == 32)?;
    let id = u128::from_str_radix(digits, 16).ok().filter(|&id| id != 0)?;
    Some(id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &'static str, value: &str) -> Properties {
        Properties { user: vec![(name.into(), value.into())], ..Properties::default() }
    }

    #[test]
    fn ids_are_taken_from_user_properties_and_bounded() {
        assert_eq!(message_id(&user("message-id", "42")).as_deref(), Some("42"));
        assert_eq!(message_id(&user("message-id", "")), None);
        assert_eq!(message_id(&user("message-id", &"x".repeat(257))), None);
        assert_eq!(message_id(&user("other", "42")), None);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(&user("traceparent", parent)).map(|id| id[0]), Some(0x0a));
        for wrong in ["", "00-xyz-1-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(trace_id(&user("traceparent", wrong)), None, "{wrong}");
        }
    }
}
