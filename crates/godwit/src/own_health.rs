//! How the server itself is, once a minute, as the readings of a device named `godwit`: rules, SQL and dashboards see it like
//! everything else.
//!
//! Not here: what is to be made of it (the shipped rules, `rulebook/shipped.yaml`). The laws: what is said is what was found, and
//! counts are those of the minute before; a journal that takes nothing is left alone until the next minute.

use std::path::PathBuf;
use std::time::Duration;

use host::Host;
use identity::Identity;
use journal::Journal;
use model::{Lane, Message, Origin, Qos, TopicName};
use serde_json::json;
use series::Series;

/// Where it is said.
pub(crate) const TOPIC: &str = "dt/godwit/health";

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// Fewer messages in a minute than this say nothing about how many of them cannot be decoded.
const MESSAGES_MIN: u64 = 20;

/// What it is found from.
pub(crate) struct OwnHealth {
    pub(crate) data: PathBuf,
    pub(crate) host: Host,
    pub(crate) journal: Journal,
    pub(crate) series: Series,
    pub(crate) identity: Identity,
}

/// Counts that only grow, as they were a minute ago.
#[derive(Clone, Copy, Default)]
struct Before {
    messages: u64,
    undecodable: u64,
    clock_steps: u64,
}

impl OwnHealth {
    /// Says it until aborted; first after a minute.
    pub(crate) async fn say(self) {
        let mut before = self.counts();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.counts();
            let payload = self.found(before, now).to_string();
            before = now;
            let topic = TopicName::parse(TOPIC).expect("a topic of ours");
            let message = Message {
                qos: Qos::AtLeastOnce,
                lane: Lane::Telemetry,
                received_at: self.host.clock.now(),
                received_mono: self.host.clock.mono_micros(),
                ..Message::new(topic, payload.into_bytes(), Origin::inside(self.host.boot))
            };
            if let Err(error) = self.journal.append(vec![message]).await {
                tracing::warn!(error = model::in_one_line(&error), "the server's own health is not said");
            }
        }
    }

    fn counts(&self) -> Before {
        let tally = self.series.stats().tally;
        let clock_steps = tally.clock_steps.values().sum();
        Before { messages: tally.messages, undecodable: tally.undecodable, clock_steps }
    }

    #[expect(clippy::cast_precision_loss, reason = "shares, in percent")]
    fn found(&self, before: Before, now: Before) -> serde_json::Value {
        let percent = |part: u64, whole: u64| (part as f64 / whole.max(1) as f64 * 1_000.0).round() / 10.0;
        let messages = now.messages.saturating_sub(before.messages);
        let undecodable = now.undecodable.saturating_sub(before.undecodable);
        let journal = self.journal.status();
        let overdue: u64 = self.identity.expiring_certificates(1).iter().sum();
        let mut found = json!({
            "ts": self.host.clock.now().micros() / 1_000,
            "consumer": { "lag": journal.consumers.iter().map(|consumer| consumer.lag_records).max().unwrap_or(0) },
            "clock": { "steps": now.clock_steps.saturating_sub(before.clock_steps) },
            "certificates": { "overdue": overdue },
            "messages": messages,
            "undecodable": { "percent": if messages < MESSAGES_MIN { 0.0 } else { percent(undecodable, messages) } },
        });
        if let Ok(space) = self.host.disk.space(&self.data) {
            found["disk"] = json!({ "used": percent(space.total.saturating_sub(space.free), space.total) });
        }
        found
    }
}
