//! The tasks of the room, and how another configuration takes the place of the one in force.
//!
//! ```text
//! at work ─┬─ dispatcher   owns the machine
//!          ├─ lanes        one per way to a receiver
//!          └─ heartbeat
//! ```
//!
//! Not here: what each of them does, and where a configuration comes from. The laws: who decides over notices stands where the
//! one before stood, as after a restart, so nobody is told twice and nothing is forgotten; a way ends the attempt that is
//! under way before another takes its place; a way that hangs holds up no other.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Shutdown;
use journal::Journal;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::receiver::WayKind;
use crate::delivery::{Lane, heartbeat};
use crate::dispatcher::{Dispatcher, TurnError};
use crate::{Alerts, Config};

/// The pause before what the catalog refused is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Another configuration is to be in force.
pub(crate) struct Order {
    pub(crate) config: Config,
    /// Told when it is.
    pub(crate) done: oneshot::Sender<()>,
}

/// Resolves, with an error, when the task that holds the other end has ended.
type End = oneshot::Receiver<()>;

/// What is at work. Dropped, all of it is cut off.
pub(crate) struct AtWork {
    alerts: Alerts,
    journal: Journal,
    /// The end of everything, at once.
    shutdown: Shutdown,
    /// The end of those of one configuration, when each has done what it is at.
    leave: Shutdown,
    tasks: JoinSet<()>,
    dispatcher: Option<End>,
    /// By the keys of their ways.
    lanes: BTreeMap<String, End>,
}

impl AtWork {
    /// Starts all of it.
    pub(crate) async fn start(
        alerts: Alerts,
        journal: Journal,
        shutdown: Shutdown,
    ) -> Result<Self, TurnError> {
        let dispatcher = Dispatcher::open(alerts.clone()).await?;
        let mut at_work = Self {
            alerts,
            journal,
            shutdown,
            leave: Shutdown::new(),
            tasks: JoinSet::new(),
            dispatcher: None,
            lanes: BTreeMap::new(),
        };
        at_work.spawn(dispatcher);
        Ok(at_work)
    }

    /// Works until the shutdown.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                () = self.shutdown.stopping() => break,
                Some(order) = orders.recv() => self.replace(order).await,
                Some(_) = self.tasks.join_next() => {}
            }
        }
        self.leave.stop();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn replace(&mut self, order: Order) {
        self.leave.stop();
        if let Some(end) = self.dispatcher.take() {
            let _ = end.await;
        }
        self.alerts.put_in_force(order.config);
        let dispatcher = loop {
            match Dispatcher::open(self.alerts.clone()).await {
                Ok(dispatcher) => break dispatcher,
                Err(error) => tracing::error!(%error, "notices wait: what was told before cannot be read"),
            }
            tokio::select! {
                () = self.shutdown.stopping() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        };
        self.spawn(dispatcher);
        // Whoever asked may be gone.
        let _ = order.done.send(());
    }

    /// Those of the configuration in force. A lane begins when the one before it on the same way has ended.
    fn spawn(&mut self, dispatcher: Dispatcher) {
        self.leave = Shutdown::new();
        let (alive, end) = oneshot::channel::<()>();
        let leave = self.leave.clone();
        self.tasks.spawn(async move {
            dispatcher.run(leave).await;
            drop(alive);
        });
        self.dispatcher = Some(end);
        let config = self.alerts.config();
        let mut before = std::mem::take(&mut self.lanes);
        for way in config.ways().filter(|way| !matches!(way.kind, WayKind::Inbox)) {
            let lane = Lane {
                way: way.clone(),
                catalog: self.alerts.catalog().clone(),
                host: self.alerts.host().clone(),
                bell: self.alerts.bell_of(&way.key),
                journal: self.journal.clone(),
            };
            let before = before.remove(&way.key);
            let (alive, end) = oneshot::channel::<()>();
            let (shutdown, leave) = (self.shutdown.clone(), self.leave.clone());
            self.tasks.spawn(async move {
                if let Some(before) = before {
                    let _ = before.await;
                }
                lane.run(&shutdown, &leave).await;
                drop(alive);
            });
            self.lanes.insert(way.key.clone(), end);
        }
        // A way that this configuration lacks may still be at an attempt when a later one has it again.
        before.retain(|_, end| matches!(end.try_recv(), Err(TryRecvError::Empty)));
        self.lanes.append(&mut before);
        if let Some(heartbeat) = config.heartbeat() {
            let (pulse, host) = (self.alerts.pulse().clone(), self.alerts.host().clone());
            let beating = host.clone();
            let is_alive = move || pulse.is_alive(&host);
            self.tasks.spawn(heartbeat::run(heartbeat.clone(), beating, self.leave.clone(), is_alive));
        }
    }
}
