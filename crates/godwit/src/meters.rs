//! Everything that counts, as Prometheus text. The rooms count for themselves; what they only tell when asked
//! (how full, how far behind) is asked here, when somebody looks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Bounds of the latency histograms, in seconds: from a quick disk's sync to a stuck one. Close together from 1 to 50 ms, where
/// the targets lie.
const SECONDS: &[f64] = &[
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05,
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// How often what the histograms gathered is folded away, so that it does not grow when nobody looks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts the metrics. Before any room is opened: rooms hold their counters from the start.
pub(crate) fn start() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot start the metrics")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// The text of `/metrics`.
pub(crate) fn text(
    handle: &PrometheusHandle,
    journal: &journal::Journal,
    series: &series::Series,
    broker: &broker::Broker,
) -> String {
    // Asked for its numbers, the door brings its metrics up to date.
    let _ = broker.stats();
    ask_journal(&journal.status());
    ask_series(&series.stats());
    handle.render()
}

fn ask_journal(status: &journal::Status) {
    gauge!("godwit_journal_bytes").set(status.bytes as f64);
    gauge!("godwit_journal_bytes_max").set(status.bytes_max as f64);
    gauge!("godwit_journal_durable_seq").set(status.durable_seq as f64);
    gauge!("godwit_journal_queue_bytes").set(status.queue_bytes as f64);
    gauge!("godwit_journal_poisoned").set(if status.poisoned.is_some() { 1.0 } else { 0.0 });
    gauge!("godwit_journal_damaged_ranges").set(status.damage.len() as f64);
    for consumer in &status.consumers {
        let name = consumer.name.clone();
        gauge!("godwit_journal_consumer_lag_records", "consumer" => name.clone())
            .set(consumer.lag_records as f64);
        gauge!("godwit_journal_consumer_lag_seconds", "consumer" => name.clone())
            .set(consumer.lag_micros as f64 / 1e6);
        gauge!("godwit_journal_consumer_held_seconds", "consumer" => name)
            .set(consumer.held_micros as f64 / 1e6);
    }
}

fn ask_series(stats: &series::Stats) {
    gauge!("godwit_series_applied_seq").set(stats.applied as f64);
    gauge!("godwit_series_memory_readings").set(stats.memory_readings as f64);
    gauge!("godwit_series_files").set(stats.files as f64);
    gauge!("godwit_series_file_bytes").set(stats.file_bytes as f64);
    gauge!("godwit_series_faulty_files").set(stats.faulty.len() as f64);
    gauge!("godwit_series_disk_nearly_full").set(if stats.disk.is_nearly_full { 1.0 } else { 0.0 });
    if let Some(remote) = &stats.remote {
        gauge!("godwit_series_remote_files").set(remote.files as f64);
        gauge!("godwit_series_remote_bytes").set(remote.bytes as f64);
        gauge!("godwit_series_remote_away").set(if remote.last_error.is_some() { 1.0 } else { 0.0 });
        counter!("godwit_series_remote_reads_total").absolute(remote.reads);
    }
    let tally = &stats.tally;
    counter!("godwit_series_readings_total").absolute(tally.readings);
    counter!("godwit_series_repeated_total").absolute(tally.repeated);
    counter!("godwit_series_replaced_total").absolute(tally.replaced);
    counter!("godwit_series_undecodable_total").absolute(tally.undecodable);
    counter!("godwit_series_unrouted_total").absolute(tally.unrouted);
    counter!("godwit_series_cached_repeats_total").absolute(tally.cached_repeats);
    counter!("godwit_series_channels_beyond_readings_total").absolute(tally.channels_beyond.values().sum());
    counter!("godwit_series_type_changed_readings_total")
        .absolute(tally.type_changed.values().flat_map(|channels| channels.values()).sum());
    counter!("godwit_series_lost_total").absolute(tally.lost);
}

/// The MQTT door's numbers as the API shows them.
pub(crate) fn door(broker: &Arc<broker::Broker>) -> serde_json::Value {
    let stats = broker.stats();
    let reasons = |list: &[(&'static str, u64)]| {
        let counted = list.iter().filter(|(_, count)| *count > 0);
        counted
            .map(|(reason, count)| ((*reason).to_owned(), (*count).into()))
            .collect::<serde_json::Map<_, _>>()
    };
    serde_json::json!({
        "connections": stats.connections,
        "sessions": stats.sessions,
        "subscriptions": stats.subscriptions,
        "queued_messages": stats.queued_messages,
        "retained_messages": stats.retained_messages,
        "received": stats.received,
        "sent": stats.sent,
        "dropped": reasons(&stats.dropped),
        "refused": reasons(&stats.refused),
        "ended": reasons(&stats.ended),
    })
}
