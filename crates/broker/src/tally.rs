//! What the door counts: every message in and out, every drop and refusal by its reason.
//!
//! Counted in plain atomics, which the API, `doctor` and the tests read; once a second the door's housekeeper
//! hands the sums to the metrics facade, so that a message costs no look-up and no gauge's arithmetic. The law:
//! **nothing is silently dropped**: whatever the door does not pass on is counted under a [`Drop`] or a [`Refusal`].

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// One number that only grows, here and in the metrics.
pub(crate) struct Tally {
    value: AtomicU64,
    metric: Counter,
}

impl Tally {
    fn new(metric: Counter) -> Self {
        Self { value: AtomicU64::new(0), metric }
    }

    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        if n > 0 {
            self.value.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Adds one and tells what there was before: by it logs are thinned out.
    pub(crate) fn one(&self) -> u64 {
        self.value.fetch_add(1, Ordering::Relaxed)
    }

    /// What was counted.
    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// One number that goes up and down.
pub(crate) struct Level {
    value: AtomicU64,
    metric: Gauge,
}

impl Level {
    fn new(metric: Gauge) -> Self {
        Self { value: AtomicU64::new(0), metric }
    }

    /// Goes up by `n`.
    pub(crate) fn up(&self, n: u64) {
        if n > 0 {
            self.value.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Goes down by `n`, which it went up by before.
    pub(crate) fn down(&self, n: u64) {
        if n > 0 {
            self.value.fetch_sub(n, Ordering::Relaxed);
        }
    }

    /// Where it stands.
    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

macro_rules! reasons {
    ($(#[doc = $about:literal])* $kind:ident: $($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $kind {
            $($(#[doc = $doc])* $name,)*
        }

        impl $kind {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason's name in metrics and in the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a message was not passed on, or a part of it not kept.
    Drop:
    /// QoS 0, for a session whose client is away.
    Away = "away",
    /// QoS 0, for a client that reads more slowly than it is sent.
    Slow = "slow",
    /// QoS 1 or 2, for a session that has as many messages waiting as it may have.
    QueueFull = "queue_full",
    /// QoS 1 or 2, waited in the journal until retention took it.
    Trimmed = "trimmed",
    /// Waited longer than its sender wanted.
    Expired = "expired",
    /// Larger than the receiving client takes.
    TooLarge = "too_large",
    /// QoS 2, refused by the receiving client.
    NotWanted = "not_wanted",
    /// Waited for a session that ended.
    SessionEnded = "session_ended",
    /// Matched a subscription, but the receiver is not permitted to receive it.
    NotReceivable = "not_receivable",
    /// Published on `$SYS/`, which is never delivered.
    Reserved = "reserved",
    /// QoS 0, published on a topic that its sender is not permitted to publish on.
    NotPermitted = "not_permitted",
    /// QoS 0, published by a connection that publishes more in a second than it may.
    OverRate = "over_rate",
    /// QoS 0, published on a topic that begins with `$`, or that is too long or too deep.
    TopicNotAccepted = "topic_not_accepted",
    /// A will on a topic that its client is not permitted to publish on.
    WillNotPermitted = "will_not_permitted",
    /// QoS 0, not taken by the journal: full or failed.
    NotJournalled = "not_journalled",
    /// Received, and its connection ended before the journal had room for it. QoS 1 comes again from the client.
    ConnectionEnded = "connection_ended",
    /// Delivered, but not kept for later subscribers: a bound of the retained messages is reached.
    NotRetained = "not_retained",
    /// Lost or trimmed in the journal before it was delivered.
    JournalSkipped = "journal_skipped",
}

reasons! {
    /// Why a connection or a request was refused.
    Refusal:
    /// As many connections as there may be.
    ConnectionsFull = "connections_full",
    /// As many connections from this address as there may be.
    AddressFull = "address_full",
    /// No CONNECT in time.
    ConnectTimeout = "connect_timeout",
    /// A TLS or WebSocket handshake that failed.
    Handshake = "handshake",
    /// The first bytes are no CONNECT.
    NoConnect = "no_connect",
    /// The protocol level that a bridge of Mosquitto tries first; it comes again with one that is served.
    BridgeLevel = "bridge_level",
    /// A packet larger than accepted.
    PacketTooLarge = "packet_too_large",
    /// A packet with more user properties than accepted.
    TooManyProperties = "too_many_properties",
    /// A SUBSCRIBE or UNSUBSCRIBE with more filters than accepted.
    TooManyFilters = "too_many_filters",
    /// A CONNECT that asks for what is not served.
    NotServed = "not_served",
    /// The client id is not accepted.
    ClientId = "client_id",
    /// Who speaks was not proved.
    Unauthenticated = "unauthenticated",
    /// A question while another one of the connection is being answered.
    Question = "question",
    /// A client certificate that lets nobody in.
    Certificate = "certificate",
    /// Known, and not permitted to connect.
    Forbidden = "forbidden",
    /// As many sessions as there may be.
    SessionsFull = "sessions_full",
    /// A session that outlives its connection, and that the catalog cannot take.
    SessionNotSaved = "session_not_saved",
    /// A publish that is not permitted, QoS 1 or 2.
    Publish = "publish",
    /// A publish on a topic that is not accepted, QoS 1 or 2.
    Topic = "topic",
    /// QoS 2: one more packet id on its way than there may be.
    TooManyInFlight = "too_many_in_flight",
    /// A publish that the journal has no room for, QoS 1 or 2.
    JournalFull = "journal_full",
    /// A publish that the journal cannot take, QoS 1 or 2.
    JournalFailed = "journal_failed",
    /// A subscription that is not permitted.
    Subscribe = "subscribe",
    /// A subscription beyond the bound of its session, or of a kind that is not served.
    Subscription = "subscription",
    /// A retained message beyond the bounds, QoS 1 or 2.
    Retained = "retained",
}

reasons! {
    /// Why a connection ended.
    End:
    /// The client said goodbye.
    Client = "client",
    /// The client said goodbye and wanted its will published.
    ClientWithWill = "client_with_will",
    /// The client or the network closed the connection without a word.
    Lost = "lost",
    /// Nothing came for one and a half keep-alives.
    KeepAlive = "keep_alive",
    /// The client broke the protocol.
    Protocol = "protocol",
    /// The client did what it may not.
    Refused = "refused",
    /// The same client id connected again.
    TakenOver = "taken_over",
    /// An operator ended it.
    Kicked = "kicked",
    /// What its principal may do was withdrawn.
    Withdrawn = "withdrawn",
    /// The journal cannot take messages.
    Journal = "journal",
    /// The catalog cannot take what has to be durable.
    Catalog = "catalog",
    /// The server stops.
    Shutdown = "shutdown",
    /// A fault of ours.
    Panic = "panic",
}

/// Seconds from one moment of the monotonic clock to another.
pub(crate) fn seconds(from_mono: u64, to_mono: u64) -> f64 {
    to_mono.saturating_sub(from_mono) as f64 / 1e6
}

/// Every number of the door.
pub(crate) struct Tallies {
    pub(crate) connections: Level,
    pub(crate) sessions: Level,
    pub(crate) subscriptions: Level,
    /// Of these, the shared ones.
    pub(crate) shared_subscriptions: Level,
    pub(crate) queued_messages: Level,
    pub(crate) queued_bytes: Level,
    pub(crate) left_messages: Level,
    pub(crate) inflight: Level,
    pub(crate) retained_messages: Level,
    pub(crate) retained_bytes: Level,
    pub(crate) accepted: Tally,
    /// Clients that were let in, and the most at one time.
    pub(crate) connected: Tally,
    pub(crate) connected_max: AtomicU64,
    /// How long a read's messages took to become durable, from the read on; one reading a batch.
    pub(crate) durable_seconds: Histogram,
    /// How long a journal batch took to be with its subscribers' sessions, from its last message's receipt on.
    pub(crate) delivery_seconds: Histogram,
    /// How long the oldest of the messages that leave in one write had waited in its session.
    pub(crate) written_seconds: Histogram,
    pub(crate) accept_paused: Tally,
    pub(crate) accept_slowed: Tally,
    pub(crate) publish_slowed: Tally,
    pub(crate) sessions_expired: Tally,
    /// Control packets of every kind.
    pub(crate) packets_received: Tally,
    pub(crate) packets_sent: Tally,
    /// Payloads and topics of PUBLISH.
    pub(crate) publish_bytes_received: Tally,
    pub(crate) publish_bytes_sent: Tally,
    pub(crate) received: [Tally; 3],
    pub(crate) received_bytes: Tally,
    pub(crate) sent: [Tally; 3],
    pub(crate) sent_bytes: Tally,
    pub(crate) resent: Tally,
    pub(crate) repeated: Tally,
    pub(crate) bridge_repeats: Tally,
    pub(crate) waited: Tally,
    drops: Vec<Tally>,
    refusals: Vec<Tally>,
    ends: Vec<Tally>,
}

impl Tallies {
    /// Registers every number with the metrics.
    pub(crate) fn new() -> Self {
        let by_qos = |name: &'static str| ["0", "1", "2"].map(|qos| Tally::new(counter!(name, "qos" => qos)));
        let by_reason = |name: &'static str, reasons: Vec<&'static str>| {
            reasons.into_iter().map(|reason| Tally::new(counter!(name, "reason" => reason))).collect()
        };
        Self {
            connections: Level::new(gauge!("godwit_broker_connections")),
            sessions: Level::new(gauge!("godwit_broker_sessions")),
            subscriptions: Level::new(gauge!("godwit_broker_subscriptions")),
            shared_subscriptions: Level::new(gauge!("godwit_broker_shared_subscriptions")),
            queued_messages: Level::new(gauge!("godwit_broker_queued_messages")),
            queued_bytes: Level::new(gauge!("godwit_broker_queued_bytes")),
            left_messages: Level::new(gauge!("godwit_broker_left_messages")),
            inflight: Level::new(gauge!("godwit_broker_inflight_messages")),
            retained_messages: Level::new(gauge!("godwit_broker_retained_messages")),
            retained_bytes: Level::new(gauge!("godwit_broker_retained_bytes")),
            accepted: Tally::new(counter!("godwit_broker_connections_accepted_total")),
            connected: Tally::new(counter!("godwit_broker_connected_total")),
            connected_max: AtomicU64::new(0),
            durable_seconds: histogram!("godwit_broker_durable_seconds"),
            delivery_seconds: histogram!("godwit_broker_delivery_seconds"),
            written_seconds: histogram!("godwit_broker_written_seconds"),
            accept_paused: Tally::new(counter!("godwit_broker_accept_pauses_total")),
            accept_slowed: Tally::new(counter!("godwit_broker_accept_waits_total")),
            publish_slowed: Tally::new(counter!("godwit_broker_slowed_reads_total")),
            sessions_expired: Tally::new(counter!("godwit_broker_sessions_expired_total")),
            packets_received: Tally::new(counter!("godwit_broker_received_packets_total")),
            packets_sent: Tally::new(counter!("godwit_broker_sent_packets_total")),
            publish_bytes_received: Tally::new(counter!("godwit_broker_received_publish_bytes_total")),
            publish_bytes_sent: Tally::new(counter!("godwit_broker_sent_publish_bytes_total")),
            received: by_qos("godwit_broker_received_messages_total"),
            received_bytes: Tally::new(counter!("godwit_broker_received_bytes_total")),
            sent: by_qos("godwit_broker_sent_messages_total"),
            sent_bytes: Tally::new(counter!("godwit_broker_sent_bytes_total")),
            resent: Tally::new(counter!("godwit_broker_resent_messages_total")),
            repeated: Tally::new(counter!("godwit_broker_repeated_messages_total")),
            bridge_repeats: Tally::new(counter!("godwit_broker_bridge_repeats_total")),
            waited: Tally::new(counter!("godwit_broker_journal_waits_total")),
            drops: by_reason(
                "godwit_broker_dropped_messages_total",
                Drop::ALL.iter().map(|reason| reason.name()).collect(),
            ),
            refusals: by_reason(
                "godwit_broker_refusals_total",
                Refusal::ALL.iter().map(|reason| reason.name()).collect(),
            ),
            ends: by_reason(
                "godwit_broker_connections_ended_total",
                End::ALL.iter().map(|reason| reason.name()).collect(),
            ),
        }
    }

    /// Hands every number to the metrics.
    pub(crate) fn publish(&self) {
        for level in [
            &self.connections,
            &self.sessions,
            &self.subscriptions,
            &self.shared_subscriptions,
            &self.queued_messages,
            &self.queued_bytes,
            &self.left_messages,
            &self.inflight,
            &self.retained_messages,
            &self.retained_bytes,
        ] {
            level.metric.set(level.get() as f64);
        }
        let single = [
            &self.accepted,
            &self.connected,
            &self.accept_paused,
            &self.accept_slowed,
            &self.publish_slowed,
            &self.sessions_expired,
            &self.packets_received,
            &self.packets_sent,
            &self.publish_bytes_received,
            &self.publish_bytes_sent,
            &self.received_bytes,
            &self.sent_bytes,
            &self.resent,
            &self.repeated,
            &self.bridge_repeats,
            &self.waited,
        ];
        let listed = [&self.drops, &self.refusals, &self.ends];
        for tally in
            single.into_iter().chain(&self.received).chain(&self.sent).chain(listed.into_iter().flatten())
        {
            tally.metric.absolute(tally.get());
        }
    }

    /// The number of messages dropped for `reason`.
    pub(crate) fn dropped(&self, reason: Drop) -> &Tally {
        &self.drops[reason as usize]
    }

    /// The number of refusals for `reason`.
    pub(crate) fn refused(&self, reason: Refusal) -> &Tally {
        &self.refusals[reason as usize]
    }

    /// The number of connections that ended for `reason`.
    pub(crate) fn ended(&self, reason: End) -> &Tally {
        &self.ends[reason as usize]
    }

    /// All of them as they stand.
    pub(crate) fn stats(&self) -> Stats {
        fn list<R: Copy>(
            all: &[R],
            name: impl Fn(R) -> &'static str,
            of: &[Tally],
        ) -> Vec<(&'static str, u64)> {
            all.iter().zip(of).map(|(&reason, tally)| (name(reason), tally.get())).collect()
        }
        Stats {
            connections: self.connections.get(),
            sessions: self.sessions.get(),
            subscriptions: self.subscriptions.get(),
            shared_subscriptions: self.shared_subscriptions.get(),
            queued_messages: self.queued_messages.get(),
            queued_bytes: self.queued_bytes.get(),
            left_messages: self.left_messages.get(),
            inflight: self.inflight.get(),
            retained_messages: self.retained_messages.get(),
            retained_bytes: self.retained_bytes.get(),
            accepted: self.accepted.get(),
            connected: self.connected.get(),
            accept_paused: self.accept_paused.get(),
            accept_slowed: self.accept_slowed.get(),
            publish_slowed: self.publish_slowed.get(),
            sessions_expired: self.sessions_expired.get(),
            packets_received: self.packets_received.get(),
            packets_sent: self.packets_sent.get(),
            publish_bytes_received: self.publish_bytes_received.get(),
            publish_bytes_sent: self.publish_bytes_sent.get(),
            received: self.received.each_ref().map(Tally::get),
            received_bytes: self.received_bytes.get(),
            sent: self.sent.each_ref().map(Tally::get),
            sent_bytes: self.sent_bytes.get(),
            resent: self.resent.get(),
            repeated: self.repeated.get(),
            bridge_repeats: self.bridge_repeats.get(),
            waited: self.waited.get(),
            dropped: list(Drop::ALL, Drop::name, &self.drops),
            refused: list(Refusal::ALL, Refusal::name, &self.refusals),
            ended: list(End::ALL, End::name, &self.ends),
        }
    }
}

/// The numbers of the door as they stood at one moment. What is counted per QoS is indexed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Connections now.
    pub connections: u64,
    /// Sessions now, with and without a connection.
    pub sessions: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Of these, the shared ones.
    pub shared_subscriptions: u64,
    /// Messages that wait in memory now, of all sessions.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// QoS 1 messages that wait in the journal only, by `seq`.
    pub left_messages: u64,
    /// QoS 1 messages sent and not yet acknowledged by their receivers.
    pub inflight: u64,
    /// Retained messages now.
    pub retained_messages: u64,
    /// Their bytes, topics included.
    pub retained_bytes: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Clients let in since the start.
    pub connected: u64,
    /// How often accepting paused because the machine had no file descriptor left.
    pub accept_paused: u64,
    /// How often accepting waited because more connections came in a second than may.
    pub accept_slowed: u64,
    /// How often a connection was read later because it published more in a second than it may.
    pub publish_slowed: u64,
    /// Sessions that ended because their time was over.
    pub sessions_expired: u64,
    /// Control packets received, of every kind but CONNECT.
    pub packets_received: u64,
    /// Control packets sent, of every kind.
    pub packets_sent: u64,
    /// Bytes of topics and payloads that clients published.
    pub publish_bytes_received: u64,
    /// Bytes of PUBLISH packets sent.
    pub publish_bytes_sent: u64,
    /// Messages published by clients, by QoS.
    pub received: [u64; 3],
    /// Bytes read.
    pub received_bytes: u64,
    /// Messages sent to clients, by QoS.
    pub sent: [u64; 3],
    /// Bytes written.
    pub sent_bytes: u64,
    /// Messages sent again after a client came back; a part of `sent`.
    pub resent: u64,
    /// Messages whose id the journal knew: acknowledged, neither stored nor delivered again.
    pub repeated: u64,
    /// Retained messages that bridges handed on again when they connected: acknowledged, neither stored nor delivered again.
    pub bridge_repeats: u64,
    /// How often a connection waited for room in the journal's queue.
    pub waited: u64,
    /// Messages dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Requests and connections refused, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Connections ended, by reason.
    pub ended: Vec<(&'static str, u64)>,
}

impl Stats {
    /// Messages dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize].1
    }

    /// Refusals for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].1
    }

    /// Connections that ended for `reason`.
    #[must_use]
    pub fn ended(&self, reason: End) -> u64 {
        self.ended[reason as usize].1
    }
}
