//! What the journal counts for the metrics. Handles are looked up once: a name is never looked up per message.

use metrics::{Counter, Histogram};

/// The journal's handles.
pub(crate) struct Meters {
    pub(crate) records: Counter,
    pub(crate) repeated: Counter,
    pub(crate) bytes: Counter,
    pub(crate) refused: Counter,
    pub(crate) syncs: Counter,
    pub(crate) sync_seconds: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!("godwit_journal_records_total", "Messages made durable.");
        metrics::describe_counter!("godwit_journal_repeated_total", "Messages known as repeats by their id.");
        metrics::describe_counter!("godwit_journal_bytes_total", "Bytes written to segments.");
        metrics::describe_counter!(
            "godwit_journal_refused_total",
            "Messages refused: full, failed or closed."
        );
        metrics::describe_counter!("godwit_journal_syncs_total", "Syncs of segment files.");
        metrics::describe_histogram!("godwit_journal_sync_seconds", "How long a sync took.");
        Self {
            records: metrics::counter!("godwit_journal_records_total"),
            repeated: metrics::counter!("godwit_journal_repeated_total"),
            bytes: metrics::counter!("godwit_journal_bytes_total"),
            refused: metrics::counter!("godwit_journal_refused_total"),
            syncs: metrics::counter!("godwit_journal_syncs_total"),
            sync_seconds: metrics::histogram!("godwit_journal_sync_seconds"),
        }
    }
}
