//! What callers hand to the writer, and how they hear of it.
//!
//! Not here: the thread that runs it (`writer`). The law: every operation that was taken is answered exactly once,
//! after its group's commit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::Catalog;
use crate::error::{QueueFull, SqlError, WriteError};
use crate::statement::Transaction;
use crate::writer::Order;

/// An operation whose types are forgotten, so that unlike ones wait in one queue.
pub(crate) trait Operation: Send {
    /// Runs it; `false` when its changes are to be undone.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;

    /// Tells the caller, once it is known whether the group was committed.
    fn answer(self: Box<Self>, group: Result<(), SqlError>);
}

struct Write<T, Op, Done> {
    op: Option<Op>,
    /// `None` until it ran.
    result: Option<Result<T, WriteError>>,
    done: Done,
}

impl<T, Op, Done> Operation for Write<T, Op, Done>
where
    T: Send,
    Op: FnOnce(&Transaction<'_>) -> Result<T, WriteError> + Send,
    Done: FnOnce(Result<T, WriteError>) + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let op = self.op.take().expect("an operation runs once");
        // What the operation saw is undone with its savepoint and nobody looks at what it captured again.
        let result = catch_unwind(AssertUnwindSafe(|| op(transaction)))
            .unwrap_or_else(|panic| Err(WriteError::Panicked { message: message(&*panic) }));
        self.result.insert(result).is_ok()
    }

    fn answer(self: Box<Self>, group: Result<(), SqlError>) {
        (self.done)(match (self.result, group) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            // What it did itself is nearer to the cause than what befell its group.
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared.into()),
            (None, Ok(())) => unreachable!("a group is committed when all of it ran"),
        });
    }
}

impl Catalog {
    /// Runs `op` on the writer's thread and returns what it returns, once that is on stable storage. What waits is
    /// committed together; if `op` fails or panics, its changes alone are undone. Operations of one caller that
    /// awaits each keep their order. `op` should touch a few rows and must not block.
    ///
    /// A caller that is dropped while it waits does not take its operation back: it may still happen.
    ///
    /// # Errors
    /// [`WriteError`]. An operation with refusals of its own returns them inside `T`.
    pub async fn write<T: Send + 'static>(
        &self,
        op: impl FnOnce(&Transaction<'_>) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, WriteError> {
        self.write_then(op, |_| {}).await
    }

    /// As [`Catalog::write`]; `committed` runs on the writer's thread after the commit and before anybody hears of
    /// it, in the order of the operations, whether or not the caller still waits. For keeping a copy in memory true:
    /// keep it short.
    ///
    /// # Errors
    /// [`WriteError`]; `committed` did not run then.
    pub async fn write_then<T: Send + 'static>(
        &self,
        op: impl FnOnce(&Transaction<'_>) -> Result<T, WriteError> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        let done = move |result: Result<T, WriteError>| {
            if let Ok(value) = &result {
                // It is committed, and the caller is told so, whatever follows.
                guarded(|| committed(value));
            }
            // A caller that went away does not want to know.
            let _ = reply.send(result);
        };
        let write = Write { op: Some(op), result: None, done };
        self.parts.queue.send(Order::Write(Box::new(write))).await.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Hands `op` over without waiting; `done` runs on the writer's thread when its fate is known: keep it short.
    ///
    /// # Errors
    /// [`QueueFull`] when the queue takes no more; neither `op` nor `done` runs then.
    pub fn submit<T: Send + 'static>(
        &self,
        op: impl FnOnce(&Transaction<'_>) -> Result<T, WriteError> + Send + 'static,
        done: impl FnOnce(Result<T, WriteError>) + Send + 'static,
    ) -> Result<(), QueueFull> {
        let write = Write { op: Some(op), result: None, done };
        match self.parts.queue.try_send(Order::Write(Box::new(write))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Err(QueueFull),
        }
    }
}

/// Runs what follows a commit; a panic there is logged and ends nothing.
pub(crate) fn guarded(follow: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(follow)) {
        tracing::error!(message = message(&*panic), "what follows a catalog write panicked");
    }
}

/// What a panic said.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it said nothing".to_owned())
}
