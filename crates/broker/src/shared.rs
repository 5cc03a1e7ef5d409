//! What all tasks of the door share.
//!
//! Rooms it was given, and its own tables. Not here: any of their rules. Locks are held for a moment each and never
//! across a wait.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use catalog::Catalog;
use hashbrown::HashMap;
use host::{Host, Shutdown, Turns};
use identity::Identity;
use journal::Journal;
use model::{ConnectionId, Routes, Timestamp, TopicFilter};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::Settings;
use crate::admission::Admission;
use crate::archive::Applied;
use crate::bridge;
use crate::fanout::Subscriptions;
use crate::group::{self, Groups};
use crate::link::Link;
use crate::logbook::Logbook;
use crate::outbox;
use crate::retained::{self, Kept, Retained};
use crate::session::{Limits, Session};
use crate::sessions::{After, Ended, Sessions};
use crate::store;
use crate::sys::Sys;
use crate::tally::{End, Tallies};
use crate::timetable::Timetable;
use crate::trie::Trie;
use crate::will;

/// What all tasks of the door share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) host: Host,
    pub(crate) journal: Journal,
    pub(crate) catalog: Catalog,
    pub(crate) identity: Identity,
    pub(crate) routes: Arc<Routes>,
    pub(crate) tallies: Tallies,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) sessions: Sessions,
    pub(crate) groups: Groups,
    pub(crate) retained: Retained,
    pub(crate) sys: Sys,
    pub(crate) applied: Applied,
    pub(crate) timetable: Timetable,
    pub(crate) admission: Admission,
    /// Turns of TLS and WebSocket handshakes.
    pub(crate) handshakes: Turns,
    pub(crate) logbook: Logbook,
    pub(crate) refused_bridges: bridge::Refused,
    pub(crate) bounds: outbox::Bounds,
    pub(crate) links: Mutex<HashMap<ConnectionId, Arc<Link>>>,
    pub(crate) connection_next: AtomicU64,
    /// Nobody new is let in.
    pub(crate) closing: Shutdown,
    /// Records up to here are with the sessions that subscribe to them.
    pub(crate) delivered: watch::Sender<u64>,
    /// The door's helpers are to end; connections are told one by one.
    pub(crate) stop: Shutdown,
}

impl Shared {
    pub(crate) fn new(settings: Settings, parts: crate::Parts) -> Self {
        let crate::Parts { host, journal, catalog, identity, routes, tls: _ } = parts;
        Self {
            tallies: Tallies::new(),
            subscriptions: RwLock::new(Trie::default()),
            sessions: Sessions::default(),
            groups: Groups::default(),
            retained: Retained::new(retained::Bounds {
                messages_max: settings.retained_messages_max,
                bytes_max: settings.retained_bytes_max,
                per_device_max: settings.retained_messages_per_device_max,
            }),
            sys: Sys::default(),
            applied: Applied::default(),
            timetable: Timetable::default(),
            handshakes: Turns::new(settings.handshakes_per_address_max, settings.connect_timeout / 2),
            admission: Admission::new(
                settings.connections_max,
                settings.connections_per_address_max,
                settings.connects_per_second_max,
            ),
            logbook: Logbook::default(),
            refused_bridges: bridge::Refused::default(),
            bounds: outbox::Bounds {
                messages_max: settings.queue_messages_max,
                // A packet that may come in must fit on its way out.
                bytes_max: settings.queue_bytes_max.max(settings.packet_bytes_max),
                left_max: settings.left_messages_max,
            },
            links: Mutex::default(),
            connection_next: AtomicU64::new(1),
            closing: Shutdown::new(),
            delivered: watch::Sender::new(0),
            stop: Shutdown::new(),
            settings,
            host,
            journal,
            catalog,
            identity,
            routes,
        }
    }

    /// What a new subscription to `filter` is to be sent.
    pub(crate) fn kept(&self, filter: &TopicFilter, now_mono: u64) -> Vec<Arc<Kept>> {
        if Sys::has(filter) { self.sys.matches(filter) } else { self.retained.matches(filter, now_mono) }
    }

    /// The bounds of sessions.
    pub(crate) fn limits(&self) -> Limits<'_> {
        Limits {
            bounds: &self.bounds,
            queues_bytes_max: self.settings.queues_bytes_max,
            left_total_max: self.settings.left_total_max,
            tallies: &self.tallies,
        }
    }

    /// The time of day at a moment of the monotonic clock.
    pub(crate) fn moment(&self, mono: u64) -> Timestamp {
        let (now, now_mono) = (self.host.clock.now(), self.host.clock.mono_micros());
        now.plus_micros(i64::try_from(mono.saturating_sub(now_mono)).unwrap_or(i64::MAX))
    }

    /// Lets `link` go of its session, for `why`.
    pub(crate) fn detach(self: &Arc<Self>, session: &Arc<Session>, link: &Link, why: End) {
        // MQTT 5.0, section 3.1.2.5: a will goes with every end but the client's own goodbye. A server that stops is no
        // fault of the client's: its devices come back, and nobody is to be alarmed.
        let keeps_will = !matches!(why, End::Client | End::Shutdown);
        let now_mono = self.host.clock.mono_micros();
        let _moving = self.groups.moving.read();
        let after = self.sessions.detach(session, link, keeps_will, now_mono, &self.tallies);
        self.timetable.set(session, after.dues);
        self.carry_out(after);
    }

    /// Does what the end of a connection or of a session brings about. Whoever has what is given back holds
    /// [`moving`](Groups::moving) meanwhile.
    pub(crate) fn carry_out(self: &Arc<Self>, after: After) {
        if let Some(Ended { session, filters }) = after.ended {
            let (in_groups, own): (Vec<_>, Vec<_>) =
                filters.keys().partition(|filter| group::shared(filter).is_some());
            let mut trie = self.subscriptions.write();
            let removed = own.iter().filter(|filter| trie.remove(filter, session.key).is_some()).count();
            drop(trie);
            for name in &in_groups {
                self.groups.leave(self, &session, name);
            }
            self.tallies.subscriptions.down((removed + in_groups.len()) as u64);
            self.tallies.shared_subscriptions.down(in_groups.len() as u64);
            if session.is_durable {
                let (shared, id) = (Arc::clone(self), session.id);
                tokio::spawn(async move {
                    if let Err(error) = store::remove(&shared, id).await {
                        tracing::warn!(%error, "a session that ended stays in the catalog until the next start");
                    }
                });
            }
        }
        self.groups.take_back(self, after.given);
        if let Some(row) = after.will_over {
            will::settle(self, row, None);
        }
        if let Some((row, due_mono)) = after.will_waits {
            will::settle(self, row, Some(due_mono));
        }
        if let Some(will) = after.will {
            will.publish(self);
        }
    }

    /// Does what is due for sessions without a connection.
    pub(crate) fn look_at_the_time(self: &Arc<Self>) {
        let now_mono = self.host.clock.mono_micros();
        for session in self.timetable.take_due(now_mono) {
            let _moving = self.groups.moving.read();
            let after = self.sessions.due(&session, now_mono, &self.tallies);
            self.carry_out(after);
        }
    }
}
