//! Edge nodes of Sparkplug: how their messages become samples here.
//!
//! ```text
//! first message that a rule listens to ─→ series' state, up to seq A ─→ behind A: read here, message by message, as series does
//!                                                                 └→ up to A: looked up in what series has stored
//! ```
//!
//! A message can be read only by the birth before it, which may lie long before the position of this consumer, or travel in
//! the other chain. `series` reads both chains in order and keeps what births told over crashes; nothing is kept twice. Not
//! here: what births mean (`model::sparkplug`), second looks (`look`). The law: no message is read by a birth that came after
//! it: what cannot be read here in order is looked up.

use std::collections::VecDeque;
use std::time::Duration;

use model::route::Decoder;
use model::sparkplug::{Heard, Sparkplug};
use model::{DeviceName, Routes, Sample, Timestamp, TopicName};
use series::Series;

use super::EvaluateParts;

/// Messages that wait for the columns at most.
const PUT_OFF_MAX: usize = 10_000;

/// How long the columns are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// When they were waited for in vain, they are waited for again after this.
const AGAIN_MICROS: u64 = 10_000_000;

/// What is known of edge nodes.
pub(super) struct Nodes {
    /// Since a rule listened to one.
    known: Option<Known>,
    /// Whether all of their messages travel in one chain: then they are read in the order in which they were sent.
    is_one_chain: bool,
    /// The columns are not waited for before this moment of the steady clock, in microseconds.
    not_before: u64,
    put_off: VecDeque<PutOff>,
}

struct Known {
    nodes: Sparkplug,
    /// What has been learnt of everything up to here, and read by `series`.
    up_to: u64,
}

/// What became of a message.
pub(super) enum Understood {
    /// It says this.
    Said(Vec<Sample>),
    /// What it said is stored: of these devices, of no other time than from the first to the last.
    Stored(Vec<DeviceName>, [Timestamp; 2]),
    /// Of whom it tells is known when the columns have it.
    Later(Box<Heard>),
}

/// A message of which it is not known yet of whom it tells.
struct PutOff {
    topic: TopicName,
    heard: Heard,
    received_at: Timestamp,
    seq: u64,
}

impl Nodes {
    pub(super) fn new(routes: &Routes) -> Self {
        let lanes = routes.iter().filter(|route| route.decoder() == Decoder::Sparkplug);
        let mut urgent = lanes.map(|route| route.lane().is_urgent());
        let first = urgent.next();
        Self {
            known: None,
            is_one_chain: urgent.all(|urgent| Some(urgent) == first),
            not_before: 0,
            put_off: VecDeque::new(),
        }
    }

    /// Whether messages are to be learnt from though no rule listens to their topic.
    pub(super) fn is_learning(&self) -> bool {
        self.known.is_some()
    }

    /// Takes in a message that a rule listens to, or one of those that follow such a one. Waits, where it must, until `series`
    /// has applied it.
    pub(super) async fn take(&mut self, heard: Heard, seq: u64, parts: &EvaluateParts) -> Understood {
        let series = &parts.series;
        if !self.is_one_chain {
            return stored(heard, seq, series);
        }
        if self.known.is_none() && self.has_applied(seq.saturating_sub(1), parts).await {
            let (nodes, up_to) = series.edge_nodes();
            self.known = Some(Known { nodes, up_to });
        }
        match &mut self.known {
            Some(known) if seq > known.up_to => Understood::Said(known.nodes.take(heard).samples),
            _ => stored(heard, seq, series),
        }
    }

    /// Keeps a message until the columns have it. Beyond the most that wait the oldest tells of its node alone, and that is said.
    pub(super) fn put_off(&mut self, topic: TopicName, heard: Heard, received_at: Timestamp, seq: u64) {
        self.put_off.push_back(PutOff { topic, heard, received_at, seq });
    }

    /// The next that the columns have: its topic, of whom it tells and of when, when it was received and its `seq`.
    pub(super) fn next_put_off(&mut self, series: &Series) -> Option<(TopicName, Told, (Timestamp, u64))> {
        let first = self.put_off.front()?;
        let is_beyond = self.put_off.len() > PUT_OFF_MAX;
        if !is_beyond && series.applied() < first.seq {
            return None;
        }
        let PutOff { topic, heard, received_at, seq } = self.put_off.pop_front()?;
        if is_beyond {
            metrics::counter!("godwit_rules_births_cut_total").increment(1);
            tracing::error!(
                node = %heard.device(),
                most = PUT_OFF_MAX,
                "too many edge nodes wait for columns that stand still: rules see what this one says of its devices no more"
            );
        }
        Some((topic, all_of(&heard, series), (received_at, seq)))
    }

    /// The first that waits.
    pub(super) fn first_put_off(&self) -> Option<u64> {
        self.put_off.iter().map(|waiting| waiting.seq).min()
    }

    /// Whether the columns have everything up to `seq`, soon. While they stand still nobody waits for them but now and then.
    async fn has_applied(&mut self, seq: u64, parts: &EvaluateParts) -> bool {
        let (series, mono) = (&parts.series, parts.host.clock.mono_micros());
        if series.applied() >= seq {
            return true;
        }
        if mono < self.not_before {
            return false;
        }
        let is_applied = tokio::time::timeout(PATIENCE, series.caught_up(seq)).await.is_ok();
        if !is_applied {
            self.not_before = mono.saturating_add(AGAIN_MICROS);
            tracing::warn!(
                seq,
                applied = series.applied(),
                "edge nodes of Sparkplug wait for columns that stand still"
            );
        }
        is_applied
    }
}

/// What is told of whom: looked up once it is applied. Who is behind a node is known when its message is.
fn stored(heard: Heard, seq: u64, series: &Series) -> Understood {
    if heard.tells_of_all_devices() && series.applied() < seq {
        return Understood::Later(Box::new(heard));
    }
    let (devices, times) = all_of(&heard, series);
    Understood::Stored(devices, times)
}

/// Devices, and the oldest and the newest time.
type Told = (Vec<DeviceName>, [Timestamp; 2]);

fn all_of(heard: &Heard, series: &Series) -> Told {
    let mut devices = vec![heard.device().clone()];
    if heard.tells_of_all_devices() {
        devices.extend(series.devices_behind(heard.node()));
        devices.sort_unstable();
        devices.dedup();
    }
    (devices, heard.span())
}
