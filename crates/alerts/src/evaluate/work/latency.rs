//! How long it took from the receipt of a message to the verdict of every rule that listens to its topic; where one said
//! something, until that was stored.
//!
//! Not here: what follows (`dispatcher`, `delivery`). The law: every message that a rule looked at counts once, so that what
//! waited behind others shows.

use metrics::Histogram;

pub(super) struct Latency {
    urgent: Histogram,
    regular: Histogram,
}

impl Latency {
    pub(super) fn new() -> Self {
        let of = |chain: &'static str| metrics::histogram!("godwit_rules_verdict_seconds", "chain" => chain);
        Self { urgent: of("urgent"), regular: of("regular") }
    }

    pub(super) fn record(&self, micros: i64, is_urgent: bool) {
        let histogram = if is_urgent { &self.urgent } else { &self.regular };
        #[expect(clippy::cast_precision_loss, reason = "a latency")]
        histogram.record(micros.max(0) as f64 / 1e6);
    }
}
