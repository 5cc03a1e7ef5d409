//! Says at intervals that Godwit lives. That it is missing is the other side's alarm.
//!
//! Not here: any queue: a beat that came too late would say nothing. The law: a beat is sent by the one who also looks at
//! the groups, so it stops when that one does.

use std::time::Duration;

use host::{Host, Shutdown};
use serde_json::json;

use super::webhook::Poster;
use crate::NoticeId;
use crate::config::Heartbeat;

/// How long one beat may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long after the start the machine may need for its first turn, in microseconds: until then that it does not turn yet is no
/// error, and no beat is missed that was promised.
const START_MICROS: u64 = 60_000_000;

/// How often it is looked for the first turn.
const LOOK: Duration = Duration::from_secs(1);

/// Beats until the shutdown. `is_alive` tells whether the machine still turns.
pub(crate) async fn run(
    heartbeat: Heartbeat,
    host: Host,
    shutdown: Shutdown,
    is_alive: impl Fn() -> bool + Send + 'static,
) {
    let interval = Duration::from_micros(u64::try_from(heartbeat.interval).unwrap_or(1_000_000));
    let poster = match Poster::open(&heartbeat.http, TIMEOUT.min(interval)) {
        Ok(poster) => poster,
        Err(error) => {
            tracing::error!(error, "there is no heartbeat");
            return;
        }
    };
    let mut number: u64 = 0;
    let started = host.clock.mono_micros();
    loop {
        let mut pause = interval;
        let now = host.clock.now();
        if is_alive() {
            number += 1;
            let id = NoticeId::of("heartbeat", number, now);
            let beat = json!({
                "godwit": "alive",
                "at": now.to_string(),
                "boot": host.boot,
                "number": number,
                "interval_s": interval.as_secs(),
            });
            let outcome = match poster.post(id, beat, now).await {
                Ok(()) => "sent",
                Err(failure) => {
                    tracing::warn!(error = failure.text, "the heartbeat was not taken");
                    "failed"
                }
            };
            metrics::counter!("godwit_alerts_heartbeats_total", "outcome" => outcome).increment(1);
        } else if is_missed(number, host.clock.mono_micros().saturating_sub(started)) {
            tracing::error!("no heartbeat is sent: what decides over notices does not turn");
        } else {
            pause = interval.min(LOOK);
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether a beat is missed while the machine does not turn, after so many beats and so long after the start.
fn is_missed(beats: u64, since_start_micros: u64) -> bool {
    beats > 0 || since_start_micros >= START_MICROS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_has_just_started_misses_no_beat_and_one_that_stopped_does() {
        assert!(!is_missed(0, 0));
        assert!(!is_missed(0, START_MICROS - 1));
        assert!(is_missed(0, START_MICROS), "it never began");
        assert!(is_missed(1, 1), "it has stopped");
    }
}
