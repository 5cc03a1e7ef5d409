//! Wakes one task, once, however many things happened since it last looked.
//!
//! Not a channel: it carries no values, only which kinds of things happened. The law it keeps: whoever raises a
//! flag after the task took its flags wakes it again.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

/// Kinds of things that happened, as bits.
pub(crate) type Flags = u8;

/// A set of flags and the task that waits for them.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    flags: AtomicU8,
    waker: AtomicWaker,
}

impl Signal {
    /// Says that `flags` happened. Wakes the task unless it was woken for the same and has not looked yet.
    pub(crate) fn raise(&self, flags: Flags) {
        if self.flags.fetch_or(flags, Ordering::AcqRel) & flags != flags {
            self.waker.wake();
        }
    }

    /// As [`raise`](Self::raise), but leaves the waking to the caller: `true` asks for [`wake`](Self::wake). For
    /// whoever raises the same flag many times before the task could do anything sensible.
    pub(crate) fn mark(&self, flags: Flags) -> bool {
        self.flags.fetch_or(flags, Ordering::AcqRel) & flags != flags
    }

    /// Wakes the task.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Takes what happened, and asks to be woken for what happens next.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Flags {
        // Registered first: a flag raised between the two lines wakes the task once too often, never once too seldom.
        self.waker.register(cx.waker());
        self.flags.swap(0, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_things_wake_once_and_the_next_thing_wakes_again() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let signal = Signal::default();
        assert_eq!(signal.take(&cx), 0);
        for _ in 0..3 {
            signal.raise(1);
        }
        signal.raise(2);
        // The waker is taken by the first wake: the second flag is found by the same look.
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(signal.take(&cx), 3);
        signal.raise(1);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
