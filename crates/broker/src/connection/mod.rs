//! One connection: one task that reads, writes and waits for everything that concerns it.
//!
//! [`handshake`] opens it, [`turn`] is what happens whenever its task wakes, [`publish`] and [`packets`] do what packets
//! ask for. Generic over its stream: TLS and WebSocket bring theirs. The laws: a fault here ends this connection and no
//! other; however it ends, its session is let go and its place given back.

mod ask;
mod batches;
mod due;
mod explain;
mod handshake;
mod packets;
mod publish;
mod rate;
mod topics;
mod turn;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use host::Turn;
use identity::{Permissions, Who};
use model::{Message, Origin, Timestamp};
use mqtt::{Decoder, Disconnect, DisconnectProperties, Packet, Reason, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;

use crate::admission::Place;
use crate::bridge::Bridge;
use crate::entry::{Entry, Failure};
use crate::link::{Done, Link};
use crate::session::Session;
use crate::shared::Shared;
use crate::tally::{Drop as Dropped, End, Refusal};

use self::batches::{Answers, Batches};
use self::due::Due;
use self::publish::Twos;
pub(crate) use self::rate::Bucket;
use self::rate::Rate;
use self::topics::{Aliases, Known};
use crate::fanout::Touched;

/// How long the last bytes may take on their way out.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// A connection whose client was let in.
pub(crate) struct Connection<S> {
    stream: S,
    held: Held,
    who: Who,
    permissions: Permissions,
    origin: Arc<Origin>,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// What this read has brought so far: messages for the journal, answers in their order.
    batch: Vec<Message>,
    batch_bytes: usize,
    answers: Answers,
    /// Why publishes are refused, by packet id: what is told with their answers.
    refusals: Vec<(u16, ByteString)>,
    /// How many of `answers` are PUBACK.
    pubacks: usize,
    /// QoS 2 packet ids that are not released, as of the last look.
    unreleased: usize,
    received: [u64; 3],
    touched: Touched,
    /// What earlier reads brought.
    batches: Batches,
    /// A batch that the journal had no room for.
    waiting: Option<Box<Waiting>>,
    aliases: Aliases,
    known: Known,
    due: Option<Box<Due>>,
    /// Releases of QoS 2 ids that this read has brought and that are to be durable.
    releases: Vec<(u16, u64)>,
    /// QoS 2 messages that this read said the client has, by serial, and their packet ids.
    received_ids: Vec<(u64, u16)>,
    /// Answers that wait for the catalog.
    unsaved: usize,
    /// How many turns of such answers there were.
    turns: u64,
    /// The other side is another broker.
    bridge: Option<Box<Bridge>>,
    done: Vec<Done>,
    has_outgoing: bool,
    rate: Rate,
    /// A question of this connection is being answered.
    is_asking: Arc<AtomicBool>,
    /// It published more than it may: nothing is read until this is over.
    slowed: Option<Pin<Box<Sleep>>>,
    /// Control packets that were not counted yet.
    packets_sent: u64,
    keep_alive: Pin<Box<Sleep>>,
    keep_alive_micros: u64,
    heard_mono: u64,
    /// The door closes: nothing more is read, and this is how long what was read may take.
    closing: Option<Pin<Box<Sleep>>>,
}

/// A batch that waits for the journal.
struct Waiting {
    number: u64,
    batch: Vec<Message>,
    twos: Twos,
    room: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// One moment by both clocks, taken once per read.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Timestamp,
    mono: u64,
}

/// The end of a connection, and what its client is told in MQTT 5.
#[derive(Debug)]
struct Goodbye {
    why: End,
    packet: Option<Packet>,
}

impl Goodbye {
    /// An end with a DISCONNECT of this reason, and what it means. That may be told whatever the client wants to be told
    /// (MQTT-3.1.2-29).
    fn new(why: End, reason: Reason) -> Self {
        let mut disconnect = Disconnect::new(reason);
        disconnect.properties = explain::end(why, reason).map(|text| {
            Box::new(DisconnectProperties {
                reason_string: Some(text.into()),
                ..DisconnectProperties::default()
            })
        });
        Self { why, packet: Some(Packet::Disconnect(disconnect)) }
    }

    /// An end without a word.
    fn silent(why: End) -> Self {
        Self { why, packet: None }
    }
}

/// The session that a connection holds, let go of when this is dropped, by a panic too.
struct Held {
    shared: Arc<Shared>,
    session: Arc<Session>,
    link: Arc<Link>,
    why: End,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.links.lock().remove(&self.link.id);
        self.shared.detach(&self.session, &self.link, self.why);
        self.shared.tallies.ended(self.why).one();
        self.link.mark_closed();
        if self.why == End::Panic {
            tracing::error!(
                client_id = ?self.link.client_id, peer = %self.link.peer,
                "a fault of ours ended a connection; the others go on"
            );
        }
    }
}

/// Serves one connection from its first byte to its end.
pub(crate) async fn serve<S>(shared: Arc<Shared>, mut stream: S, peer: SocketAddr, entry: Entry, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The way in needs more memory than the stay: it is given back before the connection settles.
    let opened = Box::pin(async {
        let opening = tokio::select! {
            opening = tokio::time::timeout(
                shared.settings.connect_timeout,
                handshake::read(&shared.settings, &mut stream),
            ) => opening,
            () = given_way(entry.turn.as_ref()) => {
                Failure::gave_way(&shared).tell(&shared, peer, Refusal::Handshake);
                return None;
            }
            () = shared.closing.stopping() => return None,
        };
        let refused = match opening {
            Ok(Ok(Some(opening))) => match handshake::admit(&shared, stream, peer, entry, opening).await {
                // In one place from now on: every hand it passes through would keep room for it.
                Ok(connection) => return Some(Box::new(connection)),
                Err((given_back, refused)) => {
                    stream = given_back;
                    refused
                }
            },
            Ok(Ok(None)) => return None,
            Ok(Err(refused)) => refused,
            Err(_) => {
                shared.tallies.refused(Refusal::ConnectTimeout).one();
                return None;
            }
        };
        let out = refused.tell(&shared, peer);
        goodbye(&mut stream, &out).await;
        None
    })
    .await;
    if let Some(connection) = opened {
        connection.run().await;
    }
    drop(place);
}

/// Waits until the turn of its handshake is taken back, if it has one: others of its address wait.
async fn given_way(turn: Option<&Turn>) {
    match turn {
        Some(turn) => turn.over().await,
        None => std::future::pending().await,
    }
}

/// Sends the last bytes and closes. A client that does not take them is not waited for.
async fn goodbye<S: AsyncWrite + Unpin>(stream: &mut S, out: &[u8]) {
    let _ = tokio::time::timeout(GOODBYE_WAIT, async {
        if !out.is_empty() {
            stream.write_all(out).await?;
        }
        stream.shutdown().await
    })
    .await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    #[allow(clippy::too_many_arguments)]
    fn new(
        stream: S,
        held: Held,
        who: Who,
        permissions: Permissions,
        origin: Arc<Origin>,
        decoder: Decoder,
        input: BytesMut,
        keep_alive_s: u16,
    ) -> Self {
        // MQTT 5.0, section 3.1.2.10: one and a half times the keep-alive.
        let keep_alive_micros = u64::from(keep_alive_s) * 1_500_000;
        Self {
            heard_mono: held.shared.host.clock.mono_micros(),
            keep_alive: Box::pin(tokio::time::sleep(Duration::from_micros(keep_alive_micros))),
            keep_alive_micros,
            stream,
            held,
            who,
            permissions,
            origin,
            decoder,
            input,
            output: BytesMut::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            answers: Answers::new(),
            refusals: Vec::new(),
            pubacks: 0,
            unreleased: 0,
            received: [0; 3],
            touched: Touched::default(),
            batches: Batches::default(),
            waiting: None,
            aliases: Aliases::default(),
            known: Known::default(),
            due: None,
            releases: Vec::new(),
            received_ids: Vec::new(),
            unsaved: 0,
            turns: 0,
            bridge: None,
            done: Vec::new(),
            has_outgoing: false,
            rate: Rate::default(),
            is_asking: Arc::default(),
            slowed: None,
            packets_sent: 0,
            closing: None,
        }
    }

    async fn run(mut self: Box<Self>) {
        let Goodbye { why, packet } = std::future::poll_fn(|cx| self.turn(cx)).await;
        self.held.why = why;
        let lost = self.waiting.take().map_or(0, |waiting| {
            self.forget_unjournalled(&waiting.batch);
            waiting.batch.len()
        });
        // What a session that goes on is owed, it still has.
        let is_over = !self.session().is_durable;
        let unfed = self.due.take().filter(|_| is_over).map_or(0, |due| due.found());
        self.shared().tallies.dropped(Dropped::ConnectionEnded).add((lost + unfed) as u64);
        let Self { mut stream, held, mut output, .. } = *self;
        if let Some(packet) = packet
            && held.link.version == Version::V5
        {
            // A DISCONNECT that is too large for the client goes without its explanation, or not at all.
            let most = held.link.packet_bytes_max.map_or(usize::MAX, |most| most.get() as usize);
            let _ = mqtt::encode_within(&packet, Version::V5, most, &mut output);
        }
        tracing::debug!(client_id = ?held.link.client_id, why = why.name(), "disconnected");
        // The session is free from here on, whether or not the client takes its last bytes.
        drop(held);
        goodbye(&mut stream, &output).await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.held.shared
    }

    fn session(&self) -> &Arc<Session> {
        &self.held.session
    }

    fn link(&self) -> &Arc<Link> {
        &self.held.link
    }

    fn version(&self) -> Version {
        self.held.link.version
    }

    /// The client has shown itself to be a bridge of another broker.
    fn becomes_bridge(&mut self) {
        if self.bridge.is_none() {
            let link = self.link();
            tracing::info!(client_id = ?link.client_id, peer = %link.peer, "a bridge of another broker connected");
            link.mark_bridge();
            let topics_max = self.shared().settings.retained_messages_max;
            self.bridge = Some(Box::new(Bridge::new(topics_max)));
        }
    }

    /// Appends a packet to the output.
    fn send(&mut self, packet: &Packet) -> Result<(), Goodbye> {
        let most = self.held.link.packet_bytes_max.map_or(usize::MAX, |most| most.get() as usize);
        self.packets_sent += 1;
        // MQTT 5.0, section 3.1.2.11.4: what is too large for the client is not sent; without its answer it cannot go on.
        mqtt::encode_within(packet, self.version(), most, &mut self.output)
            .map_err(|_| Goodbye::new(End::Protocol, Reason::PacketTooLarge))
    }

    /// Writes a refusal to the log: what happened, and what to do.
    fn log_refusal(&self, refusal: Refusal, why: impl FnOnce() -> (String, String)) {
        let (link, shared) = (self.link(), self.shared());
        let (ip, now_mono) = (link.peer.ip(), shared.host.clock.mono_micros());
        if let Some(left_out) = shared.logbook.may_write(ip, &link.client_id, refusal.name(), now_mono) {
            let (reason, hint) = why();
            let dot = if hint.is_empty() { "" } else { ". " };
            let client_id = crate::logbook::shown(&link.client_id);
            tracing::warn!(left_out, "refused {ip} \"{client_id}\": {reason}{dot}{hint}");
        }
    }
}
