//! Requests for births on their way to edge nodes of Sparkplug: a short queue between the fold and the journal.
//!
//! Not here: when a birth is wanted (`model::sparkplug`). The laws: what is of the past is asked by nobody; a request waits
//! for messages that were overtaken, and leaves only when they did not come; nothing here waits for the journal.

use std::collections::VecDeque;
use std::time::Duration;

use host::Host;
use journal::Journal;
use metrics::Counter;
use model::sparkplug::{self, EdgeNode, REORDER_MICROS};
use model::{Lane, Message, Origin, Timestamp};

/// A record older than this when it is applied is a replay, or a backlog: whom it is of may have been born long since.
const LIVE_MICROS: i64 = 60 * Timestamp::SECOND;

/// Most requests that wait.
const WAITING_MAX: usize = 1_000;

/// Nodes to be asked, the next first.
pub(crate) struct Rebirths {
    /// When by the monotonic clock, and whom.
    waiting: VecDeque<(u64, EdgeNode)>,
    asked: Counter,
    dropped: Counter,
}

impl Default for Rebirths {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            asked: metrics::counter!("godwit_series_rebirths_asked_total"),
            dropped: metrics::counter!("godwit_series_rebirths_dropped_total"),
        }
    }
}

impl Rebirths {
    /// Takes in nodes that want to be asked, with the receipt of what made that necessary.
    pub(crate) fn take(&mut self, nodes: Vec<(EdgeNode, Timestamp)>, host: &Host) {
        if nodes.is_empty() {
            return;
        }
        let (now, mono) = (host.clock.now(), host.clock.mono_micros());
        let live = nodes.into_iter().filter(|(_, received_at)| now.micros_since(*received_at) <= LIVE_MICROS);
        for (node, _) in live {
            if self.waiting.len() >= WAITING_MAX {
                self.dropped.increment(1);
                continue;
            }
            self.waiting.push_back((mono + REORDER_MICROS.unsigned_abs(), node));
        }
    }

    /// Resolves when the next request may leave; never when there is none.
    pub(crate) async fn due(&self, host: &Host) {
        match self.waiting.front() {
            Some((due, _)) => {
                let wait = due.saturating_sub(host.clock.mono_micros());
                tokio::time::sleep(Duration::from_micros(wait)).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Sends what is due to nodes of which `wants_birth` still holds. One that the journal has no room for is dropped: its
    /// node is asked again when it is heard in a minute or more.
    pub(crate) fn send(&mut self, journal: &Journal, host: &Host, wants_birth: impl Fn(&EdgeNode) -> bool) {
        let mono = host.clock.mono_micros();
        while let Some((_, node)) = self.waiting.pop_front_if(|(due, _)| *due <= mono) {
            let Some(message) = request(&node, host).filter(|_| wants_birth(&node)) else { continue };
            tracing::info!(node = %node, "asking a Sparkplug node for its births");
            let failed = self.dropped.clone();
            let submitted = journal.submit(vec![message], move |result| {
                if result.is_err() {
                    failed.increment(1);
                }
            });
            match submitted {
                Ok(()) => self.asked.increment(1),
                Err(_) => self.dropped.increment(1),
            }
        }
    }
}

/// The command by which `node` is asked: QoS 0 and not retained, as the standard wants it (Sparkplug 3.0, section 4,
/// "NCMD").
fn request(node: &EdgeNode, host: &Host) -> Option<Message> {
    let now = host.clock.now();
    Some(Message {
        lane: Lane::Control,
        received_at: now,
        received_mono: host.clock.mono_micros(),
        ..Message::new(node.command_topic()?, sparkplug::rebirth_request(now), Origin::inside(host.boot))
    })
}
