//! What a client may send beside PUBLISH, and what is done with it.
//!
//! Not here: packets that are malformed or that only a server sends; the decoder refuses them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytestring::ByteString;
use identity::policy::Circumstances;
use identity::{Action, Decision};
use model::TopicFilter;
use model::limit::TOPIC_LEVELS_MAX;
use model::reserved::{self, SubscribeVerdict};
use mqtt::{
    Ack, AckType, Disconnect, Packet, Reason, RetainHandling, SubAck, Subscribe, SubscribeOptions,
    SubscriptionFilter, UnsubAck, Unsubscribe, Version,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::batches::withdraw_repeats;
use super::due::DueFilter;
use super::explain;
use super::{Connection, Goodbye, Moment};
use crate::fanout::Subscriber;
use crate::group;
use crate::logbook::shown;
use crate::outbox::{Received, Steps};
use crate::session::{self, Filter};
use crate::store::{self, Subscribed};
use crate::tally::{End, Refusal};

/// Why a subscription is not made.
enum Not {
    /// Another connection holds the session.
    Held,
    /// There are as many as there may be.
    Room,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Does what one packet asks for.
    pub(super) fn handle(&mut self, packet: Packet, moment: Moment) -> Result<(), Goodbye> {
        match packet {
            Packet::Publish(publish) => self.publish(publish, moment),
            Packet::PubAck(ack) => {
                // An id that is not known was acknowledged twice, or before a takeover: nothing is lost by it.
                self.acknowledged(AckType::PubAck, ack.packet_id);
                Ok(())
            }
            Packet::PubComp(ack) => {
                self.acknowledged(AckType::PubComp, ack.packet_id);
                Ok(())
            }
            Packet::PubRec(ack) => self.received_twice(&ack),
            Packet::PubRel(ack) => self.release(ack.packet_id),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::PingReq => self.send(&Packet::PingResp),
            Packet::Disconnect(disconnect) => Err(self.disconnect(&disconnect)),
            // AUTH without a method agreed at CONNECT (MQTT 5.0, section 4.12).
            Packet::Auth(_) => Err(Goodbye::new(End::Protocol, Reason::ProtocolError)),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => unreachable!("the decoder refuses it on this side"),
        }
    }

    fn acknowledged(&mut self, ack: AckType, packet_id: u16) {
        self.session().acknowledge(self.link(), ack, packet_id, &self.shared().tallies);
        self.has_outgoing = true;
    }

    /// PUBREC: the client has a QoS 2 message; its id is to be released, when that is durable.
    fn received_twice(&mut self, ack: &Ack) -> Result<(), Goodbye> {
        let is_refused = ack.reason.is_failure();
        let received = self.session().receive(self.link(), ack.packet_id, is_refused, &self.shared().tallies);
        let reason = match (received, self.version()) {
            (Received::Refused, _) => {
                self.has_outgoing = true;
                return Ok(());
            }
            (Received::Record(serial), _) => {
                self.received_ids.push((serial, ack.packet_id));
                return Ok(());
            }
            (Received::Awaited, _) => return Ok(()),
            // MQTT 5.0, section 4.3.3: what was refused is over, and has no PUBREL.
            (Received::Unknown, _) if is_refused => return Ok(()),
            (Received::Unknown, Version::V5) => Reason::PacketIdentifierNotFound,
            (Received::Release, _) | (Received::Unknown, Version::V311) => Reason::Success,
        };
        self.send(&Packet::PubRel(explain::unknown(self.link(), ack.packet_id, reason)))
    }

    /// PUBREL: a packet id of the client's is free (MQTT 5.0, section 4.3.3).
    fn release(&mut self, packet_id: u16) -> Result<(), Goodbye> {
        self.batches.withdraw(packet_id);
        withdraw_repeats(&mut self.answers, packet_id);
        let is_known = {
            let mut state = self.held.session.state();
            if !state.is_held_by(&self.held.link) {
                return Err(Goodbye::new(End::TakenOver, Reason::SessionTakenOver));
            }
            let record = state.incoming.find(packet_id);
            if let Some(seq @ 1..) = record
                && self.held.session.is_durable
            {
                // Forgotten when that is durable: the id may then be another message's.
                self.releases.push((packet_id, seq));
                return Ok(());
            }
            state.incoming.release(packet_id);
            self.unreleased = state.incoming.len();
            record.is_some()
        };
        let reason = match (is_known, self.version()) {
            (false, Version::V5) => Reason::PacketIdentifierNotFound,
            _ => Reason::Success,
        };
        self.send(&Packet::PubComp(explain::unknown(self.link(), packet_id, reason)))
    }

    /// Puts on record that the client has the messages of this read's PUBRECs, and releases their ids then.
    pub(super) fn save_received(&mut self) {
        if !self.received_ids.is_empty() {
            let received = std::mem::take(&mut self.received_ids);
            self.unsaved += received.len();
            let (serials, ids): (Vec<_>, Vec<_>) = received.into_iter().unzip();
            let turn = self.next_turn();
            self.put_on_record(Steps { begun: Vec::new(), received: serials }, ids, turn);
        }
    }

    /// The turn of answers that wait for the catalog.
    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns - 1
    }

    /// Puts steps of QoS 2 on their way out on record: their packets leave then, and PUBREL of these ids in this turn.
    pub(super) fn put_on_record(&self, steps: Steps, ids: Vec<u16>, turn: u64) {
        let (shared, session, link) =
            (Arc::clone(self.shared()), Arc::clone(self.session()), Arc::clone(self.link()));
        tokio::spawn(async move {
            let begun = steps.begun.iter().map(|(serial, _)| *serial);
            let serials: Vec<u64> = begun.chain(steps.received.iter().copied()).collect();
            let recorded = store::record(&shared, session.id, steps).await;
            session.recorded(&serials, recorded.is_ok());
            match recorded {
                Ok(()) if ids.is_empty() => {}
                Ok(()) => {
                    let released = ids.into_iter().map(|id| Packet::PubRel(Ack::new(id, Reason::Success)));
                    link.answer(turn, released);
                }
                Err(error) => {
                    tracing::error!(%error, client_id = ?session.client_id, "QoS 2 cannot go on");
                    link.end(End::Catalog);
                }
            }
        });
    }

    /// Makes the releases of this read durable, and answers them then.
    pub(super) fn save_releases(&mut self) {
        if self.releases.is_empty() {
            return;
        }
        let releases = std::mem::take(&mut self.releases);
        self.unsaved += releases.len();
        let turn = self.next_turn();
        let (shared, session, link) =
            (Arc::clone(self.shared()), Arc::clone(self.session()), Arc::clone(self.link()));
        tokio::spawn(async move {
            if let Err(error) = store::release(&shared, session.id, releases.clone()).await {
                tracing::error!(%error, client_id = ?session.client_id, "QoS 2 ids cannot be released");
                return link.end(End::Catalog);
            }
            {
                let mut state = session.state();
                for &(packet_id, seq) in &releases {
                    if state.incoming.find(packet_id) == Some(seq) {
                        state.incoming.release(packet_id);
                        state.released.push((packet_id, seq));
                    }
                }
            }
            session.touch();
            let ids = releases.into_iter().map(|(packet_id, _)| packet_id);
            link.answer(turn, ids.map(|packet_id| Packet::PubComp(Ack::new(packet_id, Reason::Success))));
        });
    }

    /// Answers when the subscriptions are durable, if the session outlives its connection; else at once.
    fn answer_saved(&mut self, answer: Packet) -> Result<(), Goodbye> {
        if !self.session().is_durable {
            return self.send(&answer);
        }
        self.unsaved += 1;
        let turn = self.next_turn();
        let (shared, session, link) =
            (Arc::clone(self.shared()), Arc::clone(self.session()), Arc::clone(self.link()));
        let subscribed = Subscribed::of(&mut session.state());
        tokio::spawn(async move {
            match store::save_filters(&shared, session.id, subscribed).await {
                Ok(()) => link.answer(turn, [answer]),
                Err(error) => {
                    tracing::error!(%error, client_id = ?session.client_id, "subscriptions cannot be saved");
                    link.end(End::Catalog);
                }
            }
        });
        Ok(())
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Goodbye> {
        let id = subscribe.subscription_id.map_or(0, std::num::NonZeroU32::get);
        let mut due = VecDeque::new();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        // Of the first one that is refused: there is one place for all.
        let mut why = None;
        for (filter, options) in &subscribe.filters {
            let subscribed = match self.may_subscribe(filter) {
                Ok(()) => self.subscribe_one(filter, *options, id, &mut due)?,
                Err(refused) => Err(refused),
            };
            reasons.push(subscribed.unwrap_or_else(|(reason, text)| {
                if why.is_none() {
                    why = explain::text(self.link(), || format!("`{}`: {text}", shown(&filter.to_string())));
                }
                reason
            }));
        }
        let properties = explain::properties(why);
        let answer = SubAck { packet_id: subscribe.packet_id, reasons, properties };
        self.answer_saved(Packet::SubAck(answer))?;
        if !due.is_empty() {
            // What this read has brought so far was published before the subscription was asked for.
            self.submit();
            let after = self.batches.next_number();
            self.due.get_or_insert_default().add(due, after);
        }
        Ok(())
    }

    fn may_subscribe(&mut self, filter: &SubscriptionFilter) -> Result<(), (Reason, String)> {
        let (refusal, reason, why, hint) = if !self.shared().settings.fits(filter.filter()) {
            let (why, hint) = self.shared().settings.misfit();
            (Refusal::Subscription, Reason::QuotaExceeded, why, hint)
        } else if let SubscribeVerdict::Refuse(why) = reserved::subscribe(filter.filter()) {
            (Refusal::Subscription, Reason::TopicFilterInvalid, why.to_owned(), String::new())
        } else if let Decision::Refused(why) = self.permissions.may(Action::Subscribe, filter.filter()) {
            let filter = filter.filter();
            self.shared().identity.refused(&self.who, Action::Subscribe, filter);
            let advice = self.permissions.advice(why, Action::Subscribe, filter);
            (Refusal::Subscribe, Reason::NotAuthorized, why.to_string(), advice)
        } else {
            return Ok(());
        };
        self.shared().tallies.refused(refusal).one();
        self.log_refusal(refusal, || {
            (format!("subscription to `{}`: {why}", shown(&filter.to_string())), hint)
        });
        Err((reason, why))
    }

    fn subscribe_one(
        &mut self,
        asked: &SubscriptionFilter,
        options: SubscribeOptions,
        id: u32,
        due: &mut VecDeque<DueFilter>,
    ) -> Result<Result<Reason, (Reason, String)>, Goodbye> {
        let qos_max = options.qos_max;
        let is_shared = asked.group().is_some();
        // The packet's buffer is not to be held for as long as the subscription lives.
        let Ok(name) = TopicFilter::parse(ByteString::from(asked.to_string())) else {
            // With its group it has more levels than a filter may have.
            self.shared().tallies.refused(Refusal::Subscription).one();
            let why = format!("with its group it has more than {TOPIC_LEVELS_MAX} levels");
            return Ok(Err((Reason::TopicFilterInvalid, why)));
        };
        let wanted = Filter {
            qos_max,
            // As another Mosquitto would: a bridge knows what it published, and passes on what is retained as such.
            no_local: options.no_local || (self.bridge.is_some() && !is_shared),
            retain_as_published: options.retain_as_published || self.bridge.is_some(),
            id,
            since: self.shared().journal.durable_seq(),
        };
        let (shared, session) = (Arc::clone(self.shared()), Arc::clone(self.session()));
        let most = shared.settings.filters_per_session_max;
        // Subscribing again and again, and reading nothing, must not pile up retained messages to send either.
        let owed = due.len() + self.due.as_ref().map_or(0, |due| due.filters());
        let may = |state: &session::State| {
            if !state.is_held_by(self.link()) {
                return Err(Not::Held);
            }
            let is_one_more = state.filters.len() >= most && !state.filters.contains_key(&name);
            if is_one_more || owed >= most { Err(Not::Room) } else { Ok(()) }
        };
        let subscribed = if is_shared {
            let row = (shared.host.random.number() >> 1, wanted.since);
            shared.groups.join(&shared.subscriptions, &session, &name, row, |group| {
                let mut state = session.state();
                may(&state)?;
                // What the group still has is older than this member.
                let filter = Filter { since: group.since, ..wanted };
                if state.filters.insert(name.clone(), filter).is_none() {
                    state.groups.push(Arc::clone(group));
                }
                Ok(filter)
            })
        } else {
            let mut state = session.state();
            may(&state).map(|()| {
                let subscriber = Subscriber::new(Arc::clone(&session), wanted);
                // Under the session's lock: a session that ends meanwhile finds everything it has to take away.
                let is_new = shared.subscriptions.write().insert(&name, session.key, subscriber).is_none();
                state.filters.insert(name.clone(), wanted);
                is_new
            })
        };
        let is_new = match subscribed {
            Ok(is_new) => is_new,
            Err(Not::Held) => return Err(Goodbye::new(End::TakenOver, Reason::SessionTakenOver)),
            Err(Not::Room) => {
                shared.tallies.refused(Refusal::Subscription).one();
                let why = format!("it has {most} subscriptions already");
                self.log_refusal(Refusal::Subscription, || {
                    (why.clone(), "Use wildcards, or raise `mqtt.filters_per_session_max`".to_owned())
                });
                return Ok(Err((Reason::QuotaExceeded, why)));
            }
        };
        if is_new {
            shared.tallies.subscriptions.up(1);
            shared.tallies.shared_subscriptions.up(is_shared.into());
        }
        let wants_retained = match options.retain_handling {
            // MQTT 5.0, section 4.8.2: a shared subscription is sent no retained messages.
            _ if is_shared => false,
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if is_shared {
            // It may be the one that others waited for.
            self.has_outgoing = true;
        }
        if wants_retained {
            let filter = DueFilter { filter: name, qos_max, id, upto: None, after: None };
            if session.is_durable {
                session.state().owe(filter.owed());
            }
            due.push_back(filter);
        }
        Ok(Ok(Reason::granted(qos_max)))
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), Goodbye> {
        let is_ended = |filter: &SubscriptionFilter| {
            TopicFilter::parse(filter.to_string()).is_ok_and(|name| self.unsubscribe_one(&name))
        };
        let reasons = unsubscribe
            .filters
            .iter()
            .map(|filter| if is_ended(filter) { Reason::Success } else { Reason::NoSubscriptionExisted })
            .collect();
        let packet_id = unsubscribe.packet_id;
        self.answer_saved(Packet::UnsubAck(UnsubAck { packet_id, reasons, properties: None }))
    }

    fn unsubscribe_one(&self, name: &TopicFilter) -> bool {
        let (shared, session) = (self.shared(), self.session());
        {
            let mut state = session.state();
            if !state.is_held_by(self.link()) || state.filters.remove(name).is_none() {
                return false;
            }
            state.owed.retain(|owed| owed.filter != *name);
            state.groups.retain(|group| group.name != *name);
            if group::shared(name).is_none() {
                shared.subscriptions.write().remove(name, session.key);
            }
        }
        if group::shared(name).is_some() {
            shared.tallies.shared_subscriptions.down(1);
            shared.groups.leave(shared, session, name);
        }
        shared.tallies.subscriptions.down(1);
        true
    }

    /// The client says goodbye (MQTT 5.0, section 3.14).
    fn disconnect(&mut self, disconnect: &Disconnect) -> Goodbye {
        let expiry_s = disconnect.properties.as_ref().and_then(|properties| properties.session_expiry_s);
        if let Some(expiry_s) = expiry_s {
            let mut state = self.session().state();
            // MQTT 5.0, section 3.14.2.2.2: a session that was to end cannot be made to stay.
            if state.expiry_s == 0 && expiry_s != 0 {
                drop(state);
                return Goodbye::new(End::Protocol, Reason::ProtocolError);
            }
            if state.is_held_by(self.link()) {
                state.expiry_s = expiry_s.min(super::handshake::expiry_max_s(&self.shared().settings));
            }
        }
        match disconnect.reason {
            Reason::Success => Goodbye::silent(End::Client),
            _ => Goodbye::silent(End::ClientWithWill),
        }
    }

    /// Somebody's rights or proof changed: looks whether they are this client's.
    pub(super) fn look_at_rights(&mut self) -> Result<(), Goodbye> {
        let shared = Arc::clone(self.shared());
        let client_id = self.link().client_id.clone();
        let circumstances = self.permissions.compiled().map_or_else(
            || Circumstances { address: Some(self.link().peer.ip()), ..Circumstances::of(client_id.clone()) },
            |compiled| compiled.context().circumstances.clone(),
        );
        // Most changes are somebody else's.
        let changed = shared.identity.permissions_again(&self.who, &circumstances, &self.permissions);
        let is_changed = changed.is_some();
        if let Some(permissions) = changed {
            self.permissions = permissions;
            self.known.forget();
        }
        let may_stay = shared.identity.stands(&self.who)
            && self.permissions.may(Action::Connect, &circumstances.client_id).is_permitted();
        if !may_stay {
            tracing::warn!(client_id = ?client_id, "disconnected: what it proved is not accepted any more");
            return Err(Goodbye::new(End::Withdrawn, Reason::NotAuthorized));
        }
        if is_changed {
            self.drop_withdrawn();
        }
        Ok(())
    }

    /// Takes away subscriptions that are not permitted any more (CVE-2021-34434 kept them), and what waits and may not be
    /// received any more.
    pub(super) fn drop_withdrawn(&mut self) {
        let shared = Arc::clone(self.shared());
        let moving = shared.groups.moving.read();
        let (withdrawn, given): (Vec<TopicFilter>, _) = {
            let mut state = self.session().state();
            if !state.is_held_by(self.link()) {
                return;
            }
            state.permissions = self.permissions.clone();
            let may = |name: &&TopicFilter| {
                self.permissions.may(Action::Subscribe, &group::topics(name)).is_permitted()
            };
            let withdrawn = state.filters.keys().filter(|filter| !may(filter)).cloned().collect();
            (withdrawn, state.withdraw(&shared.tallies))
        };
        self.session().touch();
        shared.groups.take_back(&shared, given);
        drop(moving);
        for filter in withdrawn {
            if self.unsubscribe_one(&filter) {
                self.shared().tallies.refused(Refusal::Subscribe).one();
                tracing::warn!(
                    client_id = ?self.link().client_id, filter = ?filter.as_str(),
                    "subscription ended: it is not permitted any more"
                );
            }
        }
    }
}
