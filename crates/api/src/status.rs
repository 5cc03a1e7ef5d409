//! `GET /api/v1/status`: every room's numbers, and what needs somebody's eye.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::Parts;

/// Most devices that are listed by name for one finding.
const NAMES_MAX: usize = 20;

/// What is well and what is not.
#[derive(Serialize, Deserialize)]
pub(crate) struct Status {
    version: String,
    journal: Journal,
    series: Series,
    exports: Vec<Export>,
    permissions: Permissions,
    door: serde_json::Value,
    devices: Vec<Flagged>,
}

/// A flag that devices have.
#[derive(Serialize, Deserialize)]
struct Flagged {
    flag: String,
    count: usize,
    /// Some of them, by name.
    names: Vec<String>,
}

/// What devices were refused since the start.
#[derive(Serialize, Deserialize)]
struct Permissions {
    refused_devices: usize,
    /// Those that were refused most.
    refused: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    device: String,
    count: u64,
    /// The last that was refused.
    action: String,
    topic: String,
    at: String,
}

/// A lake that is kept up to date by `[[export]]`.
#[derive(Serialize, Deserialize)]
struct Export {
    to: String,
    tried_at: Option<String>,
    done_at: Option<String>,
    /// Seconds since it was up to date, or since the start.
    lag_s: u64,
    /// Seconds since it fails.
    failing_s: Option<u64>,
    error: Option<String>,
    days: u64,
    readings: u64,
}

#[derive(Serialize, Deserialize)]
struct Journal {
    first: u64,
    durable: u64,
    bytes: u64,
    bytes_max: u64,
    segments: usize,
    queue_bytes: usize,
    poisoned: Option<String>,
    full: bool,
    sync_p50_ms: f64,
    sync_p99_ms: f64,
    damage: Vec<Damage>,
    consumers: Vec<Consumer>,
}

#[derive(Serialize, Deserialize)]
struct Damage {
    segment: String,
    from: u64,
    to: u64,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Consumer {
    name: String,
    position: u64,
    /// Records that have not had their effect yet, and the age of the oldest.
    lag_records: u64,
    lag_s: f64,
    /// The age of the oldest record whose effect is not stored.
    held_s: f64,
}

#[derive(Serialize, Deserialize)]
struct Series {
    applied: u64,
    durable: u64,
    messages: u64,
    readings: u64,
    repeated: u64,
    replaced: u64,
    files: u64,
    file_bytes: u64,
    memory_readings: u64,
    /// The longest time that they are in memory alone, by the settings.
    flush_after_s: f64,
    /// Files that cannot be read, with why.
    faulty: BTreeMap<String, String>,
    disk: Disk,
    remote: Option<Remote>,
    dropped: u64,
    undecodable_count: u64,
    unrouted_count: u64,
    undecodable: Vec<Undecodable>,
    unrouted: Vec<Unrouted>,
    no_identity: Vec<String>,
    cached_repeats: u64,
    channels_beyond: Vec<String>,
    type_changed: Vec<String>,
    notes: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct Disk {
    used: u64,
    budget: u64,
    nearly_full: bool,
    growth_per_day: u64,
    days_left: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Remote {
    url: String,
    files: u64,
    bytes: u64,
    reads: u64,
    failures: u64,
    last_error: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Undecodable {
    reason: String,
    count: u64,
    topic: String,
    detail: String,
}

#[derive(Serialize, Deserialize)]
struct Unrouted {
    pattern: String,
    count: u64,
    topic: String,
    suggestion: String,
}

/// Everything, as of now.
pub(crate) async fn status(State(parts): State<Arc<Parts>>) -> Json<Status> {
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        journal: journal(parts.journal.status()),
        series: series(parts.series.stats(), parts.series.flush_after()),
        exports: parts.series.exports().into_iter().map(export).collect(),
        permissions: permissions(&parts.identity),
        door: (parts.door)(),
        devices: identity::FlagKind::ALL.into_iter().map(|kind| flagged(&parts, kind)).collect(),
    })
}

fn permissions(identity: &identity::Identity) -> Permissions {
    let (most, refused_devices) = identity.most_refused(NAMES_MAX);
    let refused = |(device, refused): (model::DeviceName, identity::Refused)| Refused {
        device: device.to_string(),
        count: refused.counts.sum(),
        action: refused.action.name().to_owned(),
        topic: refused.topic.to_string(),
        at: refused.at.to_string(),
    };
    Permissions { refused_devices, refused: most.into_iter().map(refused).collect() }
}

fn flagged(parts: &Parts, kind: identity::FlagKind) -> Flagged {
    let names = parts.identity.flagged_some(kind, NAMES_MAX);
    let names = names.iter().map(ToString::to_string).collect();
    Flagged { flag: kind.name().to_owned(), count: parts.identity.flagged(kind), names }
}

fn export(status: series::ExportStatus) -> Export {
    let text = |time: model::Timestamp| time.to_string();
    Export {
        tried_at: status.tried_at.map(text),
        done_at: status.done_at.map(text),
        to: status.to,
        lag_s: status.lag_s,
        failing_s: status.failing_s,
        error: status.error,
        days: status.days,
        readings: status.readings,
    }
}

fn journal(status: journal::Status) -> Journal {
    let ms = |part| status.sync.quantile_micros(part) as f64 / 1e3;
    Journal {
        first: status.first_seq,
        durable: status.durable_seq,
        bytes: status.bytes,
        bytes_max: status.bytes_max,
        segments: status.segments.iter().sum(),
        queue_bytes: status.queue_bytes,
        full: status.full,
        sync_p50_ms: ms(0.5),
        sync_p99_ms: ms(0.99),
        damage: status
            .damage
            .iter()
            .map(|damage| Damage {
                segment: damage.chain.segment_name(damage.segment),
                from: damage.from,
                to: damage.to,
                reason: damage.reason.to_string(),
            })
            .collect(),
        consumers: status
            .consumers
            .iter()
            .map(|consumer| Consumer {
                name: consumer.name.clone(),
                position: consumer.position,
                lag_records: consumer.lag_records,
                lag_s: consumer.lag_micros as f64 / 1e6,
                held_s: consumer.held_micros as f64 / 1e6,
            })
            .collect(),
        poisoned: status.poisoned,
    }
}

fn series(stats: series::Stats, flush_after: Duration) -> Series {
    let tally = stats.tally;
    Series {
        applied: stats.applied,
        durable: stats.durable,
        messages: tally.messages,
        readings: tally.readings,
        repeated: tally.repeated,
        replaced: tally.replaced,
        files: stats.files,
        file_bytes: stats.file_bytes,
        memory_readings: stats.memory_readings,
        flush_after_s: flush_after.as_secs_f64(),
        faulty: stats.faulty,
        disk: Disk {
            used: stats.disk.used,
            budget: stats.disk.budget,
            nearly_full: stats.disk.is_nearly_full,
            growth_per_day: stats.disk.growth_per_day,
            days_left: stats.disk.days_left,
        },
        remote: stats.remote.map(|remote| Remote {
            url: remote.url,
            files: remote.files,
            bytes: remote.bytes,
            reads: remote.reads,
            failures: remote.failures,
            last_error: remote.last_error,
        }),
        dropped: tally.dropped,
        undecodable_count: tally.undecodable,
        unrouted_count: tally.unrouted,
        notes: tally.notes,
        cached_repeats: tally.cached_repeats,
        channels_beyond: tally.channels_beyond.keys().take(NAMES_MAX).cloned().collect(),
        type_changed: tally
            .type_changed
            .iter()
            .flat_map(|(device, channels)| channels.keys().map(move |channel| format!("{device} {channel}")))
            .take(NAMES_MAX)
            .collect(),
        no_identity: tally.no_identity.keys().take(NAMES_MAX).cloned().collect(),
        undecodable: tally
            .undecodable_kinds
            .into_iter()
            .map(|kind| Undecodable {
                reason: kind.reason,
                count: kind.count,
                topic: kind.sample.topic,
                detail: kind.error,
            })
            .collect(),
        unrouted: tally
            .unrouted_kinds
            .into_iter()
            .map(|kind| Unrouted {
                pattern: kind.pattern,
                count: kind.count,
                topic: kind.sample.topic,
                suggestion: kind.suggestion,
            })
            .collect(),
    }
}
