//! Changes under way: each is done to its end, also when whoever asked for it has hung up, and at a stop they are waited for.
//!
//! Not here: what a change is (`auth`). The law: the server's stop does not cut a change between the deed and what belongs to it,
//! within the patience that the stop has.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Where changes begin. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deeds(mpsc::Sender<Infallible>);

/// A change under way, until it is dropped.
pub(crate) struct Deed {
    _under_way: mpsc::Sender<Infallible>,
}

/// Knows when all of them are done.
pub(crate) struct Done(mpsc::Receiver<Infallible>);

impl Deeds {
    pub(crate) fn new() -> (Self, Done) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), Done(receiver))
    }

    /// One begins.
    pub(crate) fn begin(&self) -> Deed {
        Deed { _under_way: self.0.clone() }
    }
}

impl Done {
    /// Waits until none is under way and none can begin: every [`Deeds`] is gone.
    pub(crate) async fn all(mut self) {
        // Nothing is ever sent: this ends when the last sender does.
        let _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_waited_for_though_nobody_waits_for_its_answer() {
        let (deeds, done) = Deeds::new();
        let mut done = pin!(done.all());
        let (go_on, told) = oneshot::channel::<()>();
        let deed = deeds.begin();
        // Whoever asked hangs up: nobody holds the task.
        drop(tokio::spawn(async move {
            let _deed = deed;
            let _ = told.await;
        }));
        drop(deeds);
        assert_eq!((&mut done).now_or_never(), None, "it is under way");
        go_on.send(()).expect("it waits");
        done.await;
    }
}
