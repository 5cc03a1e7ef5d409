//! Messages on their way: many in flight, counted when the server has acknowledged them, told of when the connection
//! is gone.
//!
//! Not here: what is sent. The laws: the progress that is kept covers acknowledged messages only; who stops waits for
//! what is on its way; a refusal is told before what it led to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use client::{Acknowledged, Client, Options, Outgoing, PublishError, State, Ticket};
use hdrhistogram::Histogram;
use host::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::meter::Meter;
use super::progress::Progress;
use crate::command::target::connect;
use crate::fault::{hinted, with_hint};

/// Longest acknowledgement that is told apart, in microseconds: ten minutes.
const WAIT_MICROS_MAX: u64 = 600_000_000;

/// How the sending ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How {
    Finished,
    Interrupted,
}

/// A connection on which messages go out in order.
pub(crate) struct Delivery {
    client: Client,
    publisher: client::Publisher,
    /// Tickets, and how many rows are done when each resolves (0: as many as before).
    tickets: mpsc::UnboundedSender<(u64, Ticket)>,
    collecting: JoinHandle<anyhow::Result<Collected>>,
    watching: JoinHandle<()>,
    meter: Meter,
    clock: Arc<dyn Clock>,
    started_micros: u64,
}

/// What the server has acknowledged.
pub(crate) struct Collected {
    pub(crate) messages: u64,
    /// Microseconds from sending to acknowledgement.
    pub(crate) waits: Histogram<u64>,
    pub(crate) progress: Progress,
    /// From the first message to the last acknowledgement.
    pub(crate) elapsed: Duration,
}

impl Delivery {
    /// Connects.
    pub(crate) async fn open(
        options: Options,
        progress: Progress,
        meter: Meter,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (client, messages) = connect(options).await?;
        drop(messages);
        let watching = tokio::spawn(watch_connection(client.state(), meter.clone()));
        let (tickets, tickets_in) = mpsc::unbounded_channel();
        let collecting = tokio::spawn(collect(tickets_in, progress, meter.clone()));
        let started_micros = clock.mono_micros();
        let publisher = client.publisher();
        Ok(Self { client, publisher, tickets, collecting, watching, meter, clock, started_micros })
    }

    /// Sends a message: with its acknowledgement `done` rows are done (0: as many as before). Waits for room in the
    /// window only. False when nobody counts any more: the error comes with [`Self::finish`].
    pub(crate) async fn send(&self, message: Outgoing, done: u64) -> anyhow::Result<bool> {
        let ticket = match self.publisher.publish(message).await {
            Ok(ticket) => ticket,
            // Those on their way have met the same, and are told of first.
            Err(PublishError::Ended(_)) if self.tickets.is_closed() => return Ok(false),
            Err(error) => return Err(publish_failed(error)),
        };
        Ok(self.tickets.send((done, ticket)).is_ok())
    }

    /// Waits for what is on its way, and closes the connection. What was acknowledged is remembered.
    pub(crate) async fn finish(self, sent: anyhow::Result<How>) -> anyhow::Result<Collected> {
        let Self { client, publisher, tickets, collecting, watching, meter, clock, started_micros } = self;
        drop((tickets, publisher));
        let collected = tokio::select! {
            collected = collecting => collected.context("the count of acknowledgements broke off")?,
            // Who interrupts twice does not wait for the last acknowledgements.
            _ = tokio::signal::ctrl_c(), if matches!(sent, Ok(How::Interrupted)) => Err(anyhow!("interrupted")),
        };
        watching.abort();
        meter.finish();
        let elapsed = Duration::from_micros(clock.mono_micros().saturating_sub(started_micros));
        match conclude(sent, collected) {
            Ok(collected) => {
                client.close().await.map_err(hinted(client::EndError::hint))?;
                Ok(Collected { elapsed, ..collected })
            }
            Err(error) => {
                client.abandon();
                Err(error.context("stopped; what was acknowledged is remembered: the same command goes on"))
            }
        }
    }
}

/// What was acknowledged, when everything was sent. A refusal is told before what it led to.
fn conclude(sent: anyhow::Result<How>, collected: anyhow::Result<Collected>) -> anyhow::Result<Collected> {
    let collected = collected?;
    match sent? {
        How::Finished => Ok(collected),
        How::Interrupted => bail!("interrupted after {} acknowledged messages", collected.messages),
    }
}

/// Waits for each ticket in the order of sending, and counts.
async fn collect(
    mut tickets: mpsc::UnboundedReceiver<(u64, Ticket)>,
    progress: Progress,
    meter: Meter,
) -> anyhow::Result<Collected> {
    let waits = Histogram::new_with_bounds(1, WAIT_MICROS_MAX, 3).expect("the bounds are in order");
    let mut collected = Collected { messages: 0, waits, progress, elapsed: Duration::ZERO };
    while let Some((done, ticket)) = tickets.recv().await {
        match ticket.await {
            Ok(Acknowledged { waited_micros, .. }) => collected.waits.saturating_record(waited_micros.max(1)),
            Err(error) => {
                collected.progress.save()?;
                return Err(publish_failed(error));
            }
        }
        collected.messages += 1;
        if done > 0 {
            collected.progress.advance(done)?;
            meter.at(done);
        }
    }
    collected.progress.save()?;
    Ok(collected)
}

async fn watch_connection(mut state: watch::Receiver<State>, meter: Meter) {
    let mut was_lost = false;
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            State::Lost { why, attempts, .. } => {
                if !was_lost {
                    meter.note(&format!("connection lost ({why}); trying again"));
                }
                meter.state(&format!("connection lost, attempt {}", attempts + 1));
                was_lost = true;
            }
            State::Connected { address, .. } => {
                if was_lost {
                    meter.note(&format!(
                        "connected to {address} again; what was not acknowledged is sent again"
                    ));
                }
                meter.state("");
                was_lost = false;
            }
            State::Ended => return,
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

fn publish_failed(error: PublishError) -> anyhow::Error {
    let hint = error.hint();
    with_hint(error, hint)
}

/// Where programs keep what they want to remember of their last run (XDG Base Directory Specification).
pub(crate) fn state_dir(named: Option<&std::path::Path>) -> anyhow::Result<std::path::PathBuf> {
    if let Some(dir) = named {
        return Ok(dir.to_owned());
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(std::path::PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    Ok(base.context("nowhere to keep progress: name a directory with --state")?.join("godwit"))
}
