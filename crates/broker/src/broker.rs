//! The door as a whole: opened, looked at, closed.
//!
//! Not here: what is said at it. The order of closing is the law: nobody new, then what was read becomes durable and is
//! acknowledged, then the connections, then the helpers that follow the journal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, Migration};
use host::Host;
use identity::Identity;
use identity::policy::Circumstances;
use journal::{Chains, Journal};
use model::Routes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use crate::admission::Place;
use crate::archive::{self, Archive};
use crate::entry::Entry;
use crate::link::RIGHTS;
use crate::listener::Listener;
use crate::sessions::Dues;
use crate::shared::Shared;
use crate::tally::{End, Stats};
use crate::view::{FilterView, RetainedView, SessionView};
use crate::{Auth, ListenerSettings, Settings, StartError, connection, delivery, listener, restore, sys};

/// How often sums go to the metrics and sessions without a connection are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Sessions that are looked at before others have their turn.
const ABSENT_AT_ONCE: usize = 256;

/// Retained messages that are taken away in one batch of the journal.
const CLEARED_AT_ONCE: usize = 1_000;

/// The rooms that the door works with.
pub struct Parts {
    /// The machine.
    pub host: Host,
    /// Where messages become durable.
    pub journal: Journal,
    /// Where the retained messages are kept.
    pub catalog: Catalog,
    /// Who may what.
    pub identity: Identity,
    /// What topics mean.
    pub routes: Arc<Routes>,
    /// Whose certificate listeners with TLS show.
    pub tls: Option<identity::Authority>,
}

/// The MQTT door. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    addresses: Arc<[SocketAddr]>,
    urls: Arc<[String]>,
    tasks: Arc<Mutex<Tasks>>,
}

#[derive(Default)]
struct Tasks {
    listeners: Vec<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
}

impl Broker {
    /// The tables of this room, for [`Catalog::open`].
    #[must_use]
    pub fn migrations() -> &'static [Migration] {
        archive::MIGRATIONS
    }

    /// Opens the door: brings the retained messages back, then binds every listener, then serves. Nobody is let in when
    /// one listener cannot be bound. Must be called inside a tokio runtime; reads the catalog and the journal's newest
    /// part on the calling thread.
    ///
    /// # Errors
    /// [`StartError`] names the listener or the setting that stands in the way.
    pub async fn start(
        settings: &Settings,
        listeners: Vec<ListenerSettings>,
        parts: Parts,
    ) -> Result<Self, StartError> {
        settings.check()?;
        let mut bound = Vec::with_capacity(listeners.len());
        for settings in &listeners {
            bound.push(Listener::bind(settings, parts.tls.as_ref()).await?);
        }
        let addresses = bound.iter().map(Listener::address).collect();
        let urls = bound.iter().map(Listener::url).collect();
        let shared = Arc::new(Shared::new(settings.clone(), parts));
        let archive = Archive::open(&shared)?;
        let (matched, consumer) = restore::open(&shared)?;
        // Wills of before may be durable by now, and are for everybody.
        let reader = shared.journal.reader(matched + 1, Chains::Both);
        let tasks = Tasks {
            helpers: vec![
                tokio::spawn(archive.run()),
                tokio::spawn(delivery::run(Arc::clone(&shared), reader, consumer)),
                tokio::spawn(housekeeping(Arc::clone(&shared))),
                tokio::spawn(sys::run(Arc::clone(&shared))),
                tokio::spawn(watch_rights(Arc::clone(&shared))),
            ],
            listeners: bound
                .into_iter()
                .map(|listener| tokio::spawn(listener.run(Arc::clone(&shared))))
                .collect(),
        };
        Ok(Self { shared, addresses, urls, tasks: Arc::new(Mutex::new(tasks)) })
    }

    /// Where it listens, in the order of the listeners: with port 0 in the settings, the port it got.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.to_vec()
    }

    /// Where it listens and what it speaks there, in the order of the listeners: `mqtt://127.0.0.1:1883`, `mqtts://…`,
    /// `ws://…/mqtt`, `wss://…/mqtt`.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.urls.to_vec()
    }

    /// Serves a connection that somebody else accepted, from its first byte to its end, as one of a listener with this
    /// `auth` is served: for transports that bring their own handshake, and for tests without a socket. Counts against
    /// the bounds on connections.
    pub async fn serve<S>(&self, stream: S, peer: SocketAddr, auth: Auth)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match Place::take(&self.shared, peer.ip()) {
            Ok(place) => {
                connection::serve(Arc::clone(&self.shared), stream, peer, Entry::plain(auth), place).await;
            }
            Err(why) => listener::refuse(&self.shared, peer, why),
        }
    }

    /// Its numbers as they stand; the metrics are brought up to them.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.tallies.publish();
        self.shared.tallies.stats()
    }

    /// The sessions, by client id. Walks all of them: for people and dashboards, not for every message.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut views: Vec<_> = self.shared.sessions.all().iter().map(|session| session.view()).collect();
        views.sort_unstable_by(|a, b| a.client_id.cmp(&b.client_id));
        views
    }

    /// The sessions of a client id and their subscriptions: one, unless several principals use the same.
    #[must_use]
    pub fn sessions_of(&self, client_id: &str) -> Vec<(SessionView, Vec<FilterView>)> {
        let sessions = self.shared.sessions.of_client(client_id);
        sessions.iter().map(|session| (session.view(), session.filters())).collect()
    }

    /// The retained messages that `filter` matches, by topic; those of `$SYS/` when it names them.
    #[must_use]
    pub fn retained(&self, filter: &model::TopicFilter) -> Vec<RetainedView> {
        let now_mono = self.shared.host.clock.mono_micros();
        self.shared.kept(filter, now_mono).iter().map(|kept| kept.view()).collect()
    }

    /// Takes the retained messages of these topics away, as an empty retained message of a client does: durable when
    /// this returns, and seen by who subscribes. Gives their number.
    ///
    /// # Errors
    /// [`journal::AppendError`]: nothing was taken away.
    pub async fn clear_retained(&self, topics: Vec<model::TopicName>) -> Result<usize, journal::AppendError> {
        let shared = &self.shared;
        let origin = Arc::new(model::Origin::inside(shared.host.boot));
        let empty = |topic| model::Message {
            qos: model::Qos::AtLeastOnce,
            retain: true,
            received_at: shared.host.clock.now(),
            received_mono: shared.host.clock.mono_micros(),
            ..model::Message::new(topic, bytes::Bytes::new(), Arc::clone(&origin))
        };
        let mut cleared = 0;
        for topics in topics.chunks(CLEARED_AT_ONCE) {
            let own = topics.iter().filter(|topic| !sys::Sys::has(topic));
            let messages: Vec<_> = own.cloned().map(empty).collect();
            let outcomes = shared.journal.append(messages.clone()).await?;
            // Gone for whoever asks next; the archive finds it so when it comes to these records.
            for (message, outcome) in messages.iter().zip(&outcomes) {
                let (journal::Outcome::Appended(seq) | journal::Outcome::Repeated(seq)) = *outcome;
                shared.retained.apply(message, seq, &shared.tallies);
            }
            cleared += outcomes.len();
        }
        Ok(cleared)
    }

    /// Ends the connections of a client id (MQTT 5: 0x98, Administrative action) of those devices, or of no device, that
    /// `is_meant` says. Its sessions stay. `false`: they have none.
    pub fn kick(&self, client_id: &str, is_meant: impl Fn(Option<&model::DeviceName>) -> bool) -> bool {
        let sessions = self.shared.sessions.of_client(client_id);
        let meant = sessions.iter().filter(|session| is_meant(session.owner.device()));
        let links = meant.filter_map(|session| session.state().link.clone());
        links.inspect(|link| link.end(End::Kicked)).count() > 0
    }

    /// Ends the sessions of a device that is no more: its subscriptions and what waits for it. One that is connected ends
    /// with its connection, which the register has cut; one that is not ends when the timetable is looked at next.
    pub fn end_sessions_of(&self, device: &model::DeviceName) {
        let now = self.shared.host.clock.mono_micros();
        for session in self.shared.sessions.all() {
            if session.owner.device() != Some(device) {
                continue;
            }
            let mut state = session.state();
            state.expiry_s = 0;
            if state.link.is_some() || state.is_ended {
                continue;
            }
            let before = Dues { will: None, end: state.ends_due.replace(now) };
            drop(state);
            self.shared.timetable.forget(session.key, before);
            self.shared.timetable.set(&session, Dues { will: None, end: Some(now) });
        }
    }

    /// Waits until the record `seq` is with the sessions that subscribe to it: what is said before the door closes is
    /// then sent before it does. Waits at most [`Settings::close_wait`].
    pub async fn delivered(&self, seq: u64) {
        let mut delivered = self.shared.delivered.subscribe();
        let reached = delivered.wait_for(|delivered| *delivered >= seq);
        if tokio::time::timeout(self.shared.settings.close_wait, reached).await.is_err() {
            tracing::warn!(seq, "not delivered in time");
        }
    }

    /// Closes the door: accepts nobody, reads no further, lets what was read become durable and be acknowledged, says
    /// goodbye, and waits for all of that at most [`Settings::close_wait`]. No will is published for it. Close it before
    /// the journal and the catalog. Calling it again changes nothing.
    pub async fn close(&self) {
        self.shared.closing.stop();
        let (listeners, helpers) = {
            let mut tasks = self.tasks.lock();
            (std::mem::take(&mut tasks.listeners), std::mem::take(&mut tasks.helpers))
        };
        for listener in listeners {
            // One that panicked listens no more either.
            let _ = listener.await;
        }
        let everybody_left = async {
            while self.shared.admission.taken() > 0 {
                let links: Vec<_> = self.shared.links.lock().values().cloned().collect();
                for link in links {
                    link.end(End::Shutdown);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Connections bound their own wait by the same setting; a little more is for their goodbyes.
        let wait = self.shared.settings.close_wait + Duration::from_secs(2);
        if tokio::time::timeout(wait, everybody_left).await.is_err() {
            let left = self.shared.admission.taken();
            tracing::warn!(left, "connections did not end in time");
        }
        self.shared.stop.stop();
        for helper in helpers {
            let _ = helper.await;
        }
        self.shared.tallies.publish();
    }
}

/// Hands sums to the metrics, and looks at sessions whose time has come.
async fn housekeeping(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                shared.look_at_the_time();
                shared.tallies.publish();
            }
            () = shared.stop.stopping() => return,
        }
    }
}

/// Tells every connection when somebody's rights or proof changed: each looks at its own.
async fn watch_rights(shared: Arc<Shared>) {
    let mut changes = shared.identity.changes();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shared.stop.stopping() => return,
        }
        let links: Vec<_> = shared.links.lock().values().cloned().collect();
        for link in links {
            link.signal.raise(RIGHTS);
        }
        look_at_the_absent(&shared).await;
    }
}

/// Sessions without a connection are judged by what their clients may do once they are let in as before: what they may not
/// receive any more is not queued for them, and what comes while a device is in quarantine waits for its end. Their
/// subscriptions, and what is queued, are looked at when they come back.
async fn look_at_the_absent(shared: &Shared) {
    for (at, session) in shared.sessions.all().into_iter().enumerate() {
        if at % ABSENT_AT_ONCE == ABSENT_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let mut state = session.state();
        if state.link.is_some() {
            continue;
        }
        let circumstances = state.permissions.compiled().map_or_else(
            || Circumstances::of(session.client_id.clone()),
            |compiled| compiled.context().circumstances.clone(),
        );
        let changed =
            shared.identity.standing_permissions_again(&state.who, &circumstances, &state.permissions);
        if let Some(permissions) = changed {
            state.permissions = permissions;
        }
    }
}
