//! Retained messages that new subscriptions are to be sent, fed into the outbox as it has room.
//!
//! The laws: a subscriber finds what its own connection published before it subscribed, and everything that was
//! acknowledged to anybody by then (so it waits for its own batches, and for the archive to have come so far); a
//! subscription to everything fills no queue: the list holds shared messages, and goes on as the client reads. The
//! connection is read meanwhile: the acknowledgements that make room come by it.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Qos, TopicFilter};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::retained::Kept;
use crate::session::Terms;

/// A subscription that wants its retained messages.
pub(crate) struct DueFilter {
    pub(crate) filter: TopicFilter,
    pub(crate) qos_max: Qos,
    pub(crate) id: u32,
}

/// What is still to be sent.
#[derive(Default)]
pub(crate) struct Due {
    /// Each with the number of the batch before which its connection's own batches must be answered.
    filters: VecDeque<(DueFilter, u64)>,
    /// The record that the retained messages must have followed for the first filter.
    barrier: Option<u64>,
    /// The archive wakes the connection when it is there.
    is_awaited: bool,
    /// What the first filter found.
    found: Option<VecDeque<Arc<Kept>>>,
}

impl Due {
    /// Adds what a SUBSCRIBE asked for.
    pub(crate) fn add(&mut self, filters: VecDeque<DueFilter>, after: u64) {
        self.filters.extend(filters.into_iter().map(|filter| (filter, after)));
    }

    /// How many filters wait.
    pub(crate) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// How many messages were found and not sent yet.
    pub(crate) fn found(&self) -> usize {
        self.found.as_ref().map_or(0, VecDeque::len)
    }

    /// The archive has come to where it was awaited.
    pub(crate) fn woken(&mut self) {
        self.is_awaited = false;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Feeds what there is room for.
    pub(super) fn feed_due(&mut self, now_mono: u64) {
        // The subscription's own answer comes first.
        if self.unsaved > 0 {
            return;
        }
        let Some(mut due) = self.due.take() else { return };
        if !self.feed(&mut due, now_mono) {
            self.due = Some(due);
        }
    }

    /// `true`: all of it was fed.
    fn feed(&mut self, due: &mut Due, now_mono: u64) -> bool {
        let shared = Arc::clone(self.shared());
        while let Some((filter, after)) = due.filters.front() {
            if due.found.is_none() {
                if due.is_awaited || !self.batches.is_answered_before(*after) {
                    return false;
                }
                let barrier = *due.barrier.get_or_insert_with(|| shared.journal.durable_seq());
                if !shared.applied.has(barrier, self.link()) {
                    due.is_awaited = true;
                    return false;
                }
            }
            let found =
                due.found.get_or_insert_with(|| shared.retained.matches(&filter.filter, now_mono).into());
            let ids = [filter.id];
            let terms = Terms {
                qos_max: filter.qos_max,
                retain_as_published: true,
                ids: if filter.id == 0 { &[] } else { &ids },
            };
            while let Some(kept) = found.front() {
                if !self.session().deliver_retained(kept, &terms, now_mono, &shared.limits()) {
                    return false;
                }
                self.has_outgoing = true;
                found.pop_front();
            }
            due.found = None;
            due.barrier = None;
            due.filters.pop_front();
        }
        true
    }
}
