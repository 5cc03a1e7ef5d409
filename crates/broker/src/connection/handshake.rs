//! From the first byte to CONNACK: who speaks, and which session goes on.
//!
//! Not here: everything after it. The laws: nobody holds a connection without a CONNECT for longer than
//! `connect_timeout` (CVE-2020-13849); no memory is set aside for what is announced; every refusal is counted, told
//! where the version has a word for it, and logged with what to do.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use identity::policy::Circumstances;
use identity::{Action, ClientCertificates, Decision, Who};
use model::limit::CLIENT_ID_BYTES_MAX;
use model::{Door, Kind, Origin, partition};
use mqtt::{ConnAck, ConnAckProperties, Connect, Decoder, Limits, Packet, Reason, Rule, Side, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::due::Due;
use super::{Connection, Held};
use crate::Settings;
use crate::bridge;
use crate::entry::Entry;
use crate::link::{Link, RIGHTS};
use crate::logbook::shown;
use crate::scratch;
use crate::session::Session;
use crate::sessions::{After, Ask, Attached, Most, NoSession};
use crate::settings::Auth;
use crate::shared::Shared;
use crate::store::{self, KeptWill};
use crate::tally::{End, Refusal};
use crate::will::{self, Will};

/// Largest CONNECT in bytes, if `packet_bytes_max` is not lower: a will of 64 KiB, and room for names. It is read from
/// people whom nobody knows yet.
const CONNECT_BYTES_MAX: usize = 96 * 1024;

/// How long a new connection waits for the end of the one it takes over.
const TAKEOVER_WAIT: Duration = Duration::from_secs(5);

/// How often it looks whether the journal has what the older connection brought: about a sync of a disk.
const SETTLE_LOOK: Duration = Duration::from_millis(2);

/// A CONNECT, and what came behind it.
pub(super) struct Opening {
    connect: Box<Connect>,
    decoder: Decoder,
    input: BytesMut,
}

/// Why a connection is not opened.
pub(super) struct Refused {
    why: Refusal,
    /// What is sent before it is closed.
    answer: Option<Packet>,
    version: Version,
    /// The largest packet that the client takes, as far as it came to say so.
    packet_bytes_max: Option<NonZeroU32>,
    client_id: ByteString,
    /// For the log: what happened, and what to do.
    reason: String,
    hint: String,
    /// It tried the protocol level of a bridge.
    bridge: Option<ByteString>,
}

/// Reads the CONNECT. `Ok(None)`: the client went before it had said anything of use.
pub(super) async fn read<S: AsyncRead + Unpin>(
    settings: &Settings,
    stream: &mut S,
) -> Result<Option<Opening>, Box<Refused>> {
    let packet_bytes_max = settings.packet_bytes_max.min(CONNECT_BYTES_MAX);
    let limits = Limits {
        packet_bytes_max,
        user_properties_max: settings.user_properties_max,
        filters_max: settings.filters_per_packet_max,
    };
    let mut decoder = Decoder::with_limits(Side::Server, limits);
    let mut input = BytesMut::new();
    loop {
        let read =
            std::future::poll_fn(|cx| scratch::poll_read(Pin::new(&mut *stream), cx, &mut input)).await;
        if !matches!(read, Ok(1..)) {
            return Ok(None);
        }
        match decoder.decode(&mut input) {
            Ok(None) => {}
            Ok(Some(Packet::Connect(connect))) => {
                decoder.set_packet_bytes_max(settings.packet_bytes_max);
                return Ok(Some(Opening { connect, decoder, input }));
            }
            Ok(Some(_)) => unreachable!("the decoder takes a CONNECT first"),
            Err(error) => {
                return Err(Box::new(Refused {
                    why: bound(error.rule).unwrap_or(Refusal::NoConnect),
                    answer: error.answer(),
                    version: error.version.unwrap_or(Version::V311),
                    packet_bytes_max: None,
                    client_id: ByteString::new(),
                    hint: error.hint().unwrap_or_default().to_owned(),
                    reason: error.to_string(),
                    bridge: error.bridge,
                }));
            }
        }
    }
}

/// The bound of ours that a packet exceeds, if it is one of those that break a rule.
fn bound(rule: Rule) -> Option<Refusal> {
    match rule {
        Rule::PacketTooLarge => Some(Refusal::PacketTooLarge),
        Rule::UserPropertiesTooMany => Some(Refusal::TooManyProperties),
        Rule::FiltersTooMany => Some(Refusal::TooManyFilters),
        _ => None,
    }
}

/// Counts a packet that exceeds a bound of ours.
pub(super) fn count(shared: &Shared, rule: Rule) {
    if let Some(refusal) = bound(rule) {
        shared.tallies.refused(refusal).one();
    }
}

/// Lets the client in: proves who speaks, takes the session of its client id, and says so.
pub(super) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    stream: S,
    peer: SocketAddr,
    entry: Entry,
    opening: Opening,
) -> Result<Connection<S>, (S, Box<Refused>)> {
    let Opening { mut connect, decoder, input } = opening;
    let revision = shared.identity.revision();
    let person = person(shared, &entry, &connect, peer).await;
    let (who, permissions) = match authorize(shared, &entry, peer, &connect, person) {
        Ok(known) => known,
        Err(refused) => return Err((stream, refused)),
    };
    let settings = &shared.settings;
    let assigned = connect.client_id.is_empty();
    let client_id = match assigned {
        true => ByteString::from(format!("auto-{:016x}", shared.host.random.number())),
        // In memory of its own: the CONNECT's buffer holds a password.
        false => ByteString::from(&*connect.client_id),
    };
    let id = shared.connection_next.fetch_add(1, Ordering::Relaxed);
    let origin = Arc::new(Origin {
        door: Door::Mqtt,
        principal: who.principal.clone(),
        device: who.device.clone(),
        partition: partition(who.device.as_ref(), &client_id),
        client_id: client_id.clone(),
        connection: id,
        boot: shared.host.boot,
    });
    let now = shared.host.clock.now();
    let link = Arc::new(Link::new(id, peer, &connect, client_id, now, settings.inflight_max));
    let asked_s = match (connect.version, connect.clean_start) {
        (Version::V5, _) => connect.properties.session_expiry_s,
        (Version::V311, true) => 0,
        // MQTT 3.1.1 sets no end to a session that is not clean.
        (Version::V311, false) => u32::MAX,
    };
    // What a confined device has beside this waits in its other session; a claim makes a device and is not heard of again.
    let expiry_s = match who.is_confined() || shared.identity.is_claim(&who) {
        true => 0,
        false => asked_s.min(expiry_max_s(settings)),
    };
    let will = connect.will.take().map(|will| {
        let row = shared.host.random.number() >> 1;
        let circumstances = Circumstances { has_will: true, ..circumstances(&connect, peer) };
        let (will, who, origin) = (unpinned(will), who.clone(), Arc::clone(&origin));
        Box::new(Will { will, who, origin, circumstances, row })
    });
    let kept_will = will.as_deref().map(KeptWill::of);
    let is_bridge = will.as_ref().is_some_and(|will| bridge::is_state(&will.will.topic))
        || shared.refused_bridges.has(peer.ip(), &link.client_id);
    let ask = Ask {
        link: Arc::clone(&link),
        who: who.clone(),
        clean_start: connect.clean_start,
        expiry_s,
        will,
        permissions: permissions.clone(),
        // A whole number of the catalog has a sign.
        id: shared.host.random.number() >> 1,
        since: shared.journal.durable_seq(),
    };
    let most = Most { all: settings.sessions_max, per_device: settings.sessions_per_device_max };
    let attached = {
        let _moving = shared.groups.moving.read();
        let mut attached = shared.sessions.attach(ask, most, &shared.tallies);
        if let Ok(attached) = &mut attached {
            shared.groups.take_back(shared, std::mem::take(&mut attached.given));
        }
        attached
    };
    let attached = match attached {
        Ok(attached) => attached,
        Err(no) => return Err((stream, no_session(no, settings, &connect))),
    };
    let Attached { session, is_present, is_proved_anew, taken_over, will, ended, dues, will_over, given: _ } =
        attached;
    shared.tallies.connected.one();
    shared.identity.connected(&who, peer.ip(), &link.client_id);
    let connected = {
        let mut links = shared.links.lock();
        links.insert(id, Arc::clone(&link));
        links.len() as u64
    };
    shared.tallies.connected_max.fetch_max(connected, Ordering::Relaxed);
    let mut held = Held { shared: Arc::clone(shared), session, link, why: End::Panic };
    // Rights that changed meanwhile were told to those who were connected then.
    if shared.identity.revision() != revision {
        held.link.signal.raise(RIGHTS);
    }
    if let Some(over) = ended.as_ref().filter(|ended| ended.session.client_id != held.link.client_id) {
        tracing::warn!(
            client_id = ?held.link.client_id, ended = ?over.session.client_id,
            "a device has more than {} sessions: the one that was away for the longest ended. Give its client one client id, or \
             raise `mqtt.sessions_per_device_max`",
            settings.sessions_per_device_max
        );
    }
    let old_key = ended.as_ref().map_or(held.session.key, |ended| ended.session.key);
    shared.timetable.forget(old_key, dues);
    if let Some(older) = &taken_over {
        older.end(End::TakenOver);
        // What the older connection has read is on its way to the journal before anything of this one is: the order of
        // a device holds over a takeover. An end that hangs is not waited for.
        let _ = tokio::time::timeout(TAKEOVER_WAIT, older.closed()).await;
    }
    let forgotten = ended.as_ref().filter(|ended| ended.session.is_durable).map(|ended| ended.session.id);
    shared.carry_out(After { will, ended, will_over, ..After::default() });
    // MQTT 5.0, section 4.1: what CONNACK says of the session is true after a crash too.
    let kept = match forgotten {
        _ if !is_present && held.session.is_durable => store::create(shared, &held.session, forgotten).await,
        _ if is_proved_anew && held.session.is_durable => store::save_proof(shared, &held.session).await,
        Some(id) => store::remove(shared, id).await,
        None => Ok(()),
    };
    let kept = match (kept, kept_will) {
        (Ok(()), Some(will)) => {
            let session = if held.session.is_durable { held.session.id } else { 0 };
            let row = will.id;
            let kept = store::keep_will(shared, will, session).await;
            if !held.session.state().is_held_by(&held.link) {
                // Taken over meanwhile, and its will dealt with before it had a row.
                will::settle(shared, row, None);
            }
            kept
        }
        (kept, _) => kept,
    };
    if let Err(error) = kept {
        tracing::error!(%error, "a session cannot be saved");
        held.why = End::Catalog;
        return Err((stream, not_saved(&connect)));
    }
    if is_present && !settled(&held.session).await {
        held.why = End::Journal;
        return Err((stream, journal_behind(&connect)));
    }
    let keep_alive_s = match connect.keep_alive_s {
        0 => settings.keep_alive_s_max,
        asked => asked.min(settings.keep_alive_s_max),
    };
    let answer = ConnAck {
        session_present: is_present,
        reason: Reason::Success,
        properties: match connect.version {
            Version::V311 => ConnAckProperties::default(),
            Version::V5 => ConnAckProperties {
                session_expiry_s: (expiry_s != asked_s).then_some(expiry_s),
                receive_maximum: NonZeroU16::new(settings.receive_maximum).unwrap_or(NonZeroU16::MIN),
                packet_bytes_max: u32::try_from(settings.packet_bytes_max).ok().and_then(NonZeroU32::new),
                assigned_client_id: assigned.then(|| held.link.client_id.clone()),
                topic_alias_max: settings.topic_aliases_max,
                server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
                ..ConnAckProperties::default()
            },
        },
    };
    tracing::debug!(
        %peer, client_id = ?held.link.client_id, version = %connect.version, session = is_present, "connected"
    );
    // Its limits cannot be left out: a client that has no room for them is not let in (MQTT 5.0, section 3.1.2.11.4).
    let most = held.link.packet_bytes_max.map_or(usize::MAX, |most| most.get() as usize);
    let mut output = BytesMut::new();
    if mqtt::encode_within(&Packet::ConnAck(Box::new(answer)), connect.version, most, &mut output).is_err() {
        // It was never in: no will is said for it.
        held.why = End::Client;
        return Err((stream, no_room(&connect, most)));
    }
    let mut connection =
        Connection::new(stream, held, who, permissions, origin, decoder, input, keep_alive_s);
    connection.output = output;
    if is_bridge {
        connection.becomes_bridge();
    }
    if is_present {
        connection.drop_withdrawn();
        connection.has_outgoing = true;
        let state = connection.held.session.state();
        let (unreleased, due) = (state.incoming.len(), Due::of(&state.owed));
        drop(state);
        connection.unreleased = unreleased;
        connection.due = (due.filters() > 0).then(|| Box::new(due));
    }
    Ok(connection)
}

/// Judges the password of a person, which takes a while; `None` for everybody else, who is judged at once.
async fn person(
    shared: &Shared,
    entry: &Entry,
    connect: &Connect,
    peer: SocketAddr,
) -> Option<Result<Who, identity::Refusal>> {
    let (username, password) = (connect.username.as_deref(), connect.password.as_deref());
    let is_by_name = entry.certificate.is_none() && entry.asked != ClientCertificates::Required;
    if !is_by_name || !shared.identity.is_of_person(username, password) {
        return None;
    }
    Some(shared.identity.prove(username, password, peer.ip()).await)
}

/// What policies may look at.
fn circumstances(connect: &Connect, peer: SocketAddr) -> Circumstances {
    Circumstances {
        // In memory of its own: the CONNECT's buffer holds a password.
        client_id: ByteString::from(&*connect.client_id),
        address: Some(peer.ip()),
        is_persistent: !connect.clean_start,
        has_will: connect.will.is_some(),
    }
}

/// Finds out who speaks and whether they may connect.
fn authorize(
    shared: &Shared,
    entry: &Entry,
    peer: SocketAddr,
    connect: &Connect,
    person: Option<Result<Who, identity::Refusal>>,
) -> Result<(Who, identity::Permissions), Box<Refused>> {
    let refused = |why, reason, text: String, hint: String| {
        Err(Box::new(Refused {
            why,
            answer: Some(refusal(reason)),
            version: connect.version,
            packet_bytes_max: connect.properties.packet_bytes_max,
            client_id: connect.client_id.clone(),
            reason: text,
            hint,
            bridge: None,
        }))
    };
    if connect.properties.auth_method.is_some() {
        let text = "extended authentication is not served".to_owned();
        return refused(Refusal::NotServed, Reason::BadAuthenticationMethod, text, String::new());
    }
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        let text =
            format!("client id is {} bytes; the most is {CLIENT_ID_BYTES_MAX}", connect.client_id.len());
        return refused(Refusal::ClientId, Reason::ClientIdentifierNotValid, text, String::new());
    }
    // What a client says beside its certificate is not looked at: the AWS IoT device SDKs put their version there.
    let certified = match (&entry.certificate, entry.asked) {
        (Some(certificate), _) => Some(shared.identity.authenticate_certificate(certificate)),
        (None, ClientCertificates::Required) => Some(Err(identity::Refusal::Certificate {
            why: identity::CertificateRefusal::Absent,
            device: None,
        })),
        (None, _) => None,
    };
    let (username, password) = (connect.username.as_deref(), connect.password.as_deref());
    let by_name = || person.unwrap_or_else(|| shared.identity.authenticate(username, password));
    let who = match (certified.unwrap_or_else(by_name), entry.auth) {
        (Err(refusal @ identity::Refusal::Certificate { .. }), _) => {
            shared.identity.notice_refusal(&refusal, peer.ip());
            let hint = refusal.hint(&connect.client_id);
            return refused(Refusal::Certificate, Reason::NotAuthorized, refusal.reason(), hint);
        }
        (Ok(who), _) => who,
        // Whoever gives a name to a listener that asks for none is taken by it when it is right.
        (Err(_), Auth::Anonymous) => Who::anonymous(),
        (Err(refusal), Auth::Password) => {
            shared.identity.notice_refusal(&refusal, peer.ip());
            let text = match refusal {
                identity::Refusal::NoCredentials if entry.asked == ClientCertificates::Optional => {
                    "this listener needs a client certificate or a password".to_owned()
                }
                identity::Refusal::NoCredentials => "plain listener needs a password".to_owned(),
                _ => refusal.reason(),
            };
            let reason = match refusal.kind() {
                Kind::Unauthenticated => Reason::BadUserNameOrPassword,
                _ => Reason::NotAuthorized,
            };
            return refused(Refusal::Unauthenticated, reason, text, refusal.hint(&connect.client_id));
        }
    };
    let permissions = shared.identity.permissions_of(&who, &circumstances(connect, peer));
    match permissions.may(Action::Connect, &connect.client_id) {
        Decision::Permitted if shared.identity.names_another(&who, &connect.client_id) => {
            let text = "the client id is the name of another device".to_owned();
            let hint = "Give it its own name as client id, or one that is no device's".to_owned();
            refused(Refusal::ClientId, Reason::ClientIdentifierNotValid, text, hint)
        }
        Decision::Permitted => Ok((who, permissions)),
        Decision::Refused(why) => {
            shared.identity.refused(&who, Action::Connect, &connect.client_id);
            shared.identity.notice_no_connect(&who, peer.ip());
            let advice = permissions.advice(why, Action::Connect, &connect.client_id);
            refused(Refusal::Forbidden, Reason::NotAuthorized, why.to_string(), advice)
        }
    }
}

/// Waits until every QoS 2 message that an older connection brought is durable, or will never be: only then a repeat of
/// it has its answer. `false`: the journal does not come to it.
async fn settled(session: &Session) -> bool {
    let wait = async {
        while session.state().incoming.is_pending() {
            tokio::time::sleep(SETTLE_LOOK).await;
        }
    };
    tokio::time::timeout(TAKEOVER_WAIT, wait).await.is_ok()
}

fn not_saved(connect: &Connect) -> Box<Refused> {
    Box::new(Refused {
        why: Refusal::SessionNotSaved,
        answer: Some(refusal(Reason::ServerUnavailable)),
        version: connect.version,
        packet_bytes_max: connect.properties.packet_bytes_max,
        client_id: connect.client_id.clone(),
        reason: "its session cannot be saved".to_owned(),
        hint: "Look at the disk of the data directory".to_owned(),
        bridge: None,
    })
}

fn no_room(connect: &Connect, most: usize) -> Box<Refused> {
    Box::new(Refused {
        why: Refusal::NotServed,
        answer: Some(refusal(Reason::PacketTooLarge)),
        version: connect.version,
        packet_bytes_max: connect.properties.packet_bytes_max,
        client_id: connect.client_id.clone(),
        reason: format!("it takes packets of at most {most} bytes, and the answer to its CONNECT is larger"),
        hint: "Raise the client's maximum packet size".to_owned(),
        bridge: None,
    })
}

fn journal_behind(connect: &Connect) -> Box<Refused> {
    Box::new(Refused {
        why: Refusal::JournalFailed,
        answer: Some(refusal(Reason::ServerBusy)),
        version: connect.version,
        packet_bytes_max: connect.properties.packet_bytes_max,
        client_id: connect.client_id.clone(),
        reason: "the journal has not taken what its last connection brought".to_owned(),
        hint: "Look at the disk of the journal".to_owned(),
        bridge: None,
    })
}

fn no_session(no: NoSession, settings: &Settings, connect: &Connect) -> Box<Refused> {
    let (why, reason, text, hint) = match no {
        NoSession::Full => (
            Refusal::SessionsFull,
            Reason::QuotaExceeded,
            format!("there are {} sessions", settings.sessions_max),
            "Raise `mqtt.sessions_max`, or let clients connect with clean sessions".to_owned(),
        ),
        NoSession::DeviceFull => (
            Refusal::SessionsFull,
            Reason::QuotaExceeded,
            format!("{} clients of this device are connected", settings.sessions_per_device_max),
            "Raise `mqtt.sessions_per_device_max`, or look for who else has its key".to_owned(),
        ),
    };
    Box::new(Refused {
        why,
        answer: Some(refusal(reason)),
        version: connect.version,
        packet_bytes_max: connect.properties.packet_bytes_max,
        client_id: connect.client_id.clone(),
        reason: text,
        hint,
        bridge: None,
    })
}

fn refusal(reason: Reason) -> Packet {
    Packet::ConnAck(Box::new(ConnAck::refusal(reason)))
}

impl Refused {
    /// Counts and logs it, and gives back the bytes to send.
    pub(super) fn tell(self, shared: &Shared, peer: SocketAddr) -> BytesMut {
        let now_mono = shared.host.clock.mono_micros();
        let ip = peer.ip();
        if let Some(client_id) = &self.bridge {
            // It comes again at once, with a level that we speak: nothing is wrong.
            shared.tallies.refused(Refusal::BridgeLevel).one();
            shared.refused_bridges.add(ip, client_id);
            tracing::info!(%peer, client_id = %shown(client_id), "a bridge tries its own protocol level first; it is to try MQTT 3.1.1");
            let mut out = BytesMut::new();
            let _ = self.answer.map(|answer| mqtt::encode(&answer, self.version, &mut out));
            return out;
        }
        shared.tallies.refused(self.why).one();
        if let Some(left_out) = shared.logbook.may_write(ip, &self.client_id, self.why.name(), now_mono) {
            let dot = if self.hint.is_empty() { "" } else { ". " };
            tracing::warn!(
                left_out,
                "refused {ip} \"{}\": {}{dot}{}",
                shown(&self.client_id),
                self.reason,
                self.hint
            );
        }
        let mut out = BytesMut::new();
        if let Some(mut answer) = self.answer {
            if let Packet::ConnAck(connack) = &mut answer
                && self.version == Version::V5
            {
                // Who is not known is not told what is: whether there is such a name is no stranger's business.
                let text = match self.why {
                    Refusal::Unauthenticated => "user name and password are not accepted".to_owned(),
                    _ => self.reason,
                };
                connack.properties.reason_string.get_or_insert_with(|| text.into());
            }
            // MQTT 3.1.1 has no code for some refusals: the connection is closed without a word (section 3.2.2.3).
            let most = self.packet_bytes_max.map_or(usize::MAX, |most| most.get() as usize);
            let _ = mqtt::encode_within(&answer, self.version, most, &mut out);
        }
        out
    }
}

/// The setting, in seconds; `u32::MAX` would mean for ever.
pub(super) fn expiry_max_s(settings: &Settings) -> u32 {
    u32::try_from(settings.session_expiry_max.as_secs()).unwrap_or(u32::MAX - 1)
}

/// A will lives as long as its session: it holds no part of the CONNECT's buffer.
fn unpinned(will: mqtt::Will) -> mqtt::Will {
    let text = |text: &ByteString| ByteString::from(&**text);
    mqtt::Will {
        topic: crate::retained::own(&will.topic),
        payload: bytes::Bytes::copy_from_slice(&will.payload),
        attached: model::Properties {
            content_type: will.attached.content_type.as_ref().map(text),
            response_topic: will.attached.response_topic.as_ref().map(crate::retained::own),
            correlation_data: will
                .attached
                .correlation_data
                .as_ref()
                .map(|data| bytes::Bytes::copy_from_slice(data)),
            user: will.attached.user.iter().map(|(name, value)| (text(name), text(value))).collect(),
            ..will.attached
        },
        ..will
    }
}
