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
use model::{Lane, Message, Origin, Qos, Timestamp, TopicName};
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
            let payload = self.found(before, now).payload().to_string();
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

    fn found(&self, before: Before, now: Before) -> Found {
        Found {
            at: self.host.clock.now(),
            lag: self
                .journal
                .status()
                .consumers
                .iter()
                .map(|consumer| consumer.lag_records)
                .max()
                .unwrap_or(0),
            clock_steps: now.clock_steps.saturating_sub(before.clock_steps),
            overdue: self.identity.expiring_certificates(1).iter().sum(),
            messages: now.messages.saturating_sub(before.messages),
            undecodable: now.undecodable.saturating_sub(before.undecodable),
            disk: self.host.disk.space(&self.data).ok(),
        }
    }
}

/// How the server is.
struct Found {
    at: Timestamp,
    /// Records that the slowest consumer has before it.
    lag: u64,
    /// In the last minute, as the next two.
    clock_steps: u64,
    messages: u64,
    undecodable: u64,
    /// Certificates that have ended or end within a week.
    overdue: u64,
    /// The volume of the data directory, if it tells.
    disk: Option<host::Space>,
}

impl Found {
    #[expect(clippy::cast_precision_loss, reason = "shares, in percent")]
    fn payload(&self) -> serde_json::Value {
        let percent = |part: u64, whole: u64| (part as f64 / whole.max(1) as f64 * 1_000.0).round() / 10.0;
        let few = self.messages < MESSAGES_MIN;
        let mut payload = json!({
            "ts": self.at.micros() / 1_000,
            "consumer": { "lag": self.lag },
            "clock": { "steps": self.clock_steps },
            "certificates": { "overdue": self.overdue },
            "messages": self.messages,
            "undecodable": { "percent": if few { 0.0 } else { percent(self.undecodable, self.messages) } },
        });
        if let Some(space) = &self.disk {
            payload["disk"] = json!({ "used": percent(space.total.saturating_sub(space.free), space.total) });
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use host::sim::Machine;
    use model::{Names, Routes};
    use rules::{Limits, RuleSet};

    use super::*;
    use crate::rulebook::{SHIPPED, SHIPPED_FILE};

    #[test]
    fn the_shipped_rules_about_the_server_read_what_it_says_of_itself() {
        let found = Found {
            at: Timestamp::from_micros(1_700_000_000_000_000),
            lag: 1,
            clock_steps: 2,
            messages: 200,
            undecodable: 3,
            overdue: 4,
            disk: Some(host::Space { total: 1_000, free: 45 }),
        };
        let topic = TopicName::parse(TOPIC).expect("a topic of ours");
        let payload = found.payload().to_string().into_bytes();
        let origin = Origin::inside(Machine::new(1).host().boot);
        let message = Message { received_at: found.at, ..Message::new(topic, payload, origin) };
        let routes = Routes::new(&[]).expect("the shipped ones");
        let decoded = routes.find(TOPIC).expect("a route").decode(&message, &mut Names::new());
        let samples = decoded.expect("readings").samples;
        assert!(samples.iter().all(|sample| sample.device.as_str() == "godwit" && sample.time == found.at));
        let said: BTreeSet<&str> = samples
            .iter()
            .flat_map(|sample| &sample.readings)
            .map(|reading| reading.channel.as_str())
            .collect();
        assert_eq!(
            said,
            BTreeSet::from([
                "certificates.overdue",
                "clock.steps",
                "consumer.lag",
                "disk.used",
                "messages",
                "undecodable.percent"
            ])
        );

        let shipped = RuleSet::load([(SHIPPED_FILE, SHIPPED)], &Limits::default()).expect("right");
        let about_us: Vec<_> = shipped.alerts.iter().filter(|rule| rule.from().as_str() == TOPIC).collect();
        assert_eq!(about_us.len(), 5, "as docs/rules.md lists them");
        for rule in about_us {
            let asked: Vec<&str> = rule.channels().iter().map(model::ChannelName::as_str).collect();
            assert!(!asked.is_empty() && asked.iter().all(|channel| said.contains(channel)), "{asked:?}");
        }
    }

    #[test]
    fn a_volume_that_tells_nothing_and_few_messages_are_not_made_up() {
        let found = Found {
            at: Timestamp::default(),
            lag: 0,
            clock_steps: 0,
            messages: MESSAGES_MIN - 1,
            undecodable: MESSAGES_MIN - 1,
            overdue: 0,
            disk: None,
        };
        let payload = found.payload();
        assert_eq!((&payload["undecodable"]["percent"], payload.get("disk")), (&json!(0.0), None));
    }
}
