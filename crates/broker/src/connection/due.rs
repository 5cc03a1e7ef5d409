//! Retained messages that new subscriptions are to be sent, fed into the outbox as it has room.
//!
//! The laws: a subscriber finds what its own connection published before it subscribed, and everything that was
//! acknowledged to anybody by then (so it waits for its own batches, and for the archive to have come so far); a
//! subscription to everything fills no queue: the list holds shared messages, and goes on as the client reads. The
//! connection is read meanwhile: the acknowledgements that make room come by it.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Qos, TopicFilter, TopicName};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::retained::Kept;
use crate::session::{Owed, Terms};

/// A subscription that wants its retained messages.
pub(crate) struct DueFilter {
    pub(crate) filter: TopicFilter,
    pub(crate) qos_max: Qos,
    pub(crate) id: u32,
    /// See [`Owed`].
    pub(crate) upto: Option<u64>,
    pub(crate) after: Option<TopicName>,
}

impl DueFilter {
    /// As the session has it.
    pub(crate) fn owed(&self) -> Owed {
        let Self { filter, qos_max, id, upto, after } = self;
        Owed { filter: filter.clone(), qos_max: *qos_max, id: *id, upto: *upto, after: after.clone() }
    }

    /// Whether a retained message is one of those that are to be sent.
    fn wants(&self, kept: &Kept) -> bool {
        // In the order of the levels: that is how they are found.
        let is_behind = |after: &TopicName| kept.message.topic.split('/').gt(after.split('/'));
        self.upto.is_none_or(|upto| kept.seq <= upto) && self.after.as_ref().is_none_or(is_behind)
    }
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

impl Due {
    /// What a session is still owed from before.
    pub(crate) fn of(owed: &[Owed]) -> Self {
        let filter = |owed: &Owed| {
            let Owed { filter, qos_max, id, upto, after } = owed.clone();
            // Nothing of this connection comes before it.
            (DueFilter { filter, qos_max, id, upto, after }, 0)
        };
        Self { filters: owed.iter().map(filter).collect(), ..Self::default() }
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
            if due.found.is_none() {
                let found = shared.kept(&filter.filter, now_mono).into_iter();
                let found: VecDeque<_> = found.filter(|kept| filter.wants(kept)).collect();
                let newest = found.iter().map(|kept| kept.seq).max().unwrap_or(0);
                let upto = filter.upto.unwrap_or_else(|| newest.max(due.barrier.unwrap_or(0)));
                if self.session().is_durable {
                    let mut state = self.session().state();
                    if let Some(owed) = state.owed.iter_mut().find(|owed| owed.filter == filter.filter) {
                        owed.upto = Some(upto);
                    }
                }
                due.found = Some(found);
            }
            let found = due.found.get_or_insert_default();
            let ids = [filter.id];
            let terms = Terms {
                qos_max: filter.qos_max,
                retain_as_published: true,
                ids: if filter.id == 0 { &[] } else { &ids },
            };
            while let Some(kept) = found.front() {
                if !self.session().deliver_retained(kept, &filter.filter, &terms, now_mono, &shared.limits())
                {
                    return false;
                }
                self.has_outgoing = true;
                found.pop_front();
            }
            due.found = None;
            due.barrier = None;
            if self.session().is_durable {
                let mut state = self.session().state();
                state.owed.retain(|owed| owed.filter != filter.filter);
                // Whoever subscribes anew is sent all of it anew.
                if state.owed.is_empty() {
                    state.outbox.settle(true);
                }
                drop(state);
                self.session().touch();
            }
            due.filters.pop_front();
        }
        true
    }
}
