//! Rules at work: the consumer of the journal that feeds samples to rules and stores the episodes they tell.
//!
//! ```text
//! evaluate   the room's face: start, other rules, status, close
//! work       the thread: journal ─> samples ─> rules ─> transitions ─> catalog
//! book       rules in force and their states by key
//! look       second looks at what is stored, when a sample came late
//! nodes      edge nodes of Sparkplug: whose births were read by another
//! grounds    the readings that an episode rests on, for whoever asks
//! trial      rules tried on what is stored, before they are in force
//! told       from the fold's words to the stored episode
//! keep       states and positions in the catalog
//! ```
//!
//! Not here: conditions and episodes as such (`rules`), who hears of them (`machine`). The laws: evaluation never waits for
//! the past; the episodes of a key are those of its samples in the order of their times, whenever each arrived; after a crash
//! the same episodes come out, once.

mod book;
mod grounds;
mod keep;
mod look;
mod nodes;
mod status;
mod told;
mod trial;
mod waiting;
mod work;

pub use book::Tally;
pub use grounds::{GROUNDS_SHOWN, Ground, Grounds, GroundsError, Picture, Says};
pub use keep::{EVALUATION_MIGRATIONS, RuleVersion};
pub use status::{RuleStatus, Status};
pub use trial::{Against, Compared, TRIALS_MAX, Trial, TrialError, Tried, TriedRule};

use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, ReadError, WriteError};
use hashbrown::HashMap;
use host::Host;
use identity::Identity;
use journal::{Hold, Journal};
use model::{DeviceName, Routes, Timestamp};
use parking_lot::Mutex;
use rules::Rule;
use series::Series;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::book::Book;
use self::grounds::WALKS_MAX;
use self::work::{Order, Work};
use crate::Wake;

/// Name of the consumer in the journal.
const CONSUMER: &str = "rules";

/// An alert whose newest sample is older than this when it is learnt pages nobody.
pub const URGENT_WITHIN: Duration = Duration::from_secs(15 * 60);

/// The devices that are connected now, and since when. Asked every some seconds when a rule wants to know; may block shortly.
pub type ConnectedFunction = Arc<dyn Fn() -> HashMap<DeviceName, Timestamp> + Send + Sync>;

/// What the evaluation stands on.
#[derive(Clone)]
pub struct EvaluateParts {
    /// Clock, randomness, keys.
    pub host: Host,
    /// Where episodes and states are stored.
    pub catalog: Catalog,
    /// What is read.
    pub journal: Journal,
    /// What is looked back on.
    pub series: Series,
    /// Groups and attributes of devices.
    pub identity: Identity,
    /// What topics mean.
    pub routes: Arc<Routes>,
    /// Rung when there is something to tell.
    pub wake: Wake,
    /// Who is connected: the doors know.
    pub connected: ConnectedFunction,
    /// An alert whose newest sample is older than this when it is learnt is late. Default: [`URGENT_WITHIN`].
    pub urgent_within: Duration,
}

struct Shared {
    status: Mutex<Status>,
    /// Everything up to this `seq` is judged, second looks too.
    judged: watch::Sender<u64>,
}

/// Why the evaluation does not start.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// What it has stored cannot be read.
    #[error("the states of rules cannot be read")]
    Read(#[from] ReadError),
    /// Nothing can be stored.
    #[error("the beginning of the evaluation cannot be stored")]
    Write(#[from] WriteError),
    /// The machine gives no thread.
    #[error("cannot start the thread of rules")]
    Thread(#[source] std::io::Error),
}

/// The evaluation at work. Cheap to clone; [`Self::close`] ends it.
#[derive(Clone)]
pub struct Evaluation {
    parts: EvaluateParts,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    stopping: watch::Sender<bool>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
    in_force: Arc<Mutex<Vec<Arc<Rule>>>>,
    /// Room for trials.
    trials: Arc<Semaphore>,
    /// Room for walks through what episodes rest on.
    walks: Arc<Semaphore>,
}

impl Evaluation {
    /// Starts where it was when it was stopped, with `rules` in force.
    ///
    /// # Errors
    /// [`EvaluateError`].
    pub async fn start(parts: EvaluateParts, rules: Vec<Arc<Rule>>) -> Result<Self, EvaluateError> {
        let host = parts.host.clone();
        let read = parts.catalog.read_async(move |connection| {
            let marks = keep::marks(connection)?;
            let states = keep::states(connection, &host)?;
            Ok::<_, ReadError>((marks, states, keep::firing(connection)?, keep::last_versions(connection)?))
        });
        let (mut marks, states, firing, known) = read.await?;
        if marks.alive_at.is_none() {
            // It has never run: what lies in the journal from before was nobody's alarm. Rules look back on what is stored.
            let end = parts.journal.durable_seq();
            (marks.urgent, marks.regular, marks.alive_at) = (end, end, Some(parts.host.clock.now()));
            let first = marks.clone();
            parts.catalog.write(move |tx| Ok(keep::save_marks(tx, &first)?)).await?;
        }
        let in_force = Arc::new(Mutex::new(rules.clone()));
        let mut book = Book::new(parts.urgent_within);
        let mut entries = work::restored(rules, states, &firing, &known);
        if parts.series.stats().devices == 0 {
            // Nothing is stored: there is nothing to look back on, and a fleet that comes for the first time is not asked about one by one.
            entries.iter_mut().for_each(|entry| entry.is_new = false);
        }
        book.put(entries);
        let shared = Arc::new(Shared { status: Mutex::default(), judged: watch::Sender::new(0) });
        let change = work::put_in_force(&book, parts.host.clone());
        parts.catalog.write(move |tx| Ok(change(tx)?)).await?;
        parts.wake.wake();
        let stopping = watch::Sender::new(false);
        let work = Work::new(parts.clone(), Arc::clone(&shared), marks, book, stopping.subscribe());
        let consumer = parts.journal.consumer(CONSUMER, Hold::Builtin);
        let (orders, asked) = mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(EvaluateError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("rules".to_owned())
            .spawn(move || runtime.block_on(work.run(asked, consumer)))
            .map_err(EvaluateError::Thread)?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        let (trials, walks) = (Arc::new(Semaphore::new(TRIALS_MAX)), Arc::new(Semaphore::new(WALKS_MAX)));
        Ok(Self { parts, shared, orders, stopping, thread, in_force, trials, walks })
    }

    /// Puts `rules` in force instead of those that are; waits until they are. A rule whose text is the same goes on where it
    /// is; of one whose text changed the open episodes end, and the new text looks back on what is stored.
    pub async fn replace(&self, rules: Vec<Arc<Rule>>) {
        self.in_force.lock().clone_from(&rules);
        let (done, told) = oneshot::channel();
        if self.orders.send(Order::Rules(rules, done)).await.is_ok() {
            let _ = told.await;
        }
    }

    /// From now on an alert is late whose newest sample is older than this when it is learnt.
    pub async fn set_urgent_within(&self, urgent_within: Duration) {
        // A thread that has ended judges nothing.
        let _ = self.orders.send(Order::UrgentWithin(urgent_within)).await;
    }

    /// Waits until every record up to `at_least` is judged, and its episodes are stored. For ever, when the journal never comes
    /// so far.
    pub async fn caught_up(&self, at_least: u64) {
        let mut judged = self.shared.judged.subscribe();
        // The sender lives as long as `self`.
        let _ = judged.wait_for(|judged| *judged >= at_least).await;
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.lock().clone()
    }

    /// Every text of a rule that was ever in force, the last one first.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn versions(&self, rule: &str) -> Result<Vec<RuleVersion>, ReadError> {
        let rule = rule.to_owned();
        self.parts.catalog.read_async(move |connection| Ok(keep::versions(connection, &rule)?)).await
    }

    /// Stops, and stores where it is.
    pub async fn close(&self) {
        self.stopping.send_replace(true);
        let Some(thread) = self.thread.lock().take() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        let _ = joined.await;
    }
}
