//! `$SYS/broker/...`: the door's numbers as topics, in Mosquitto's names, so that the tools made for it work here.
//!
//! Retained in memory and nowhere else: neither journalled nor restored, and no wildcard at the first level matches
//! them (MQTT 5.0, section 4.7.2). Who may subscribe is a permission like any other: devices may not, operators and the
//! anonymous listener may. The laws: a topic is said again only when its value changed; numbers are those of
//! [`Stats`].
//!
//! Averages are Mosquitto's: exponentially weighted over 1, 5 and 15 minutes, per minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::{Message, Origin, Qos, TopicFilter, TopicName};
use parking_lot::RwLock;

use crate::fanout::{self, Touched};
use crate::retained::Kept;
use crate::shared::Shared;
use crate::tally::Stats;

/// The first level of these topics.
const ROOT: &str = "$SYS";

/// The averages: their names, and over how many seconds they go.
const AVERAGES: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// What is summed up since the start.
type Sum = fn(&Stats) -> u64;

/// The numbers of which averages are told.
const LOADS: [(&str, Sum); 9] = [
    ("messages/received", |stats| stats.packets_received),
    ("messages/sent", |stats| stats.packets_sent),
    ("publish/received", |stats| stats.received.iter().sum()),
    ("publish/sent", |stats| stats.sent.iter().sum()),
    ("publish/dropped", dropped),
    ("bytes/received", |stats| stats.received_bytes),
    ("bytes/sent", |stats| stats.sent_bytes),
    ("sockets", |stats| stats.accepted),
    ("connections", |stats| stats.connected),
];

/// What is retained on these topics.
#[derive(Default)]
pub(crate) struct Sys(RwLock<BTreeMap<TopicName, Arc<Kept>>>);

impl Sys {
    /// Whether a subscription to `filter` is one to these topics.
    pub(crate) fn has(filter: &str) -> bool {
        filter.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What a new subscription is to be sent.
    pub(crate) fn matches(&self, filter: &TopicFilter) -> Vec<Arc<Kept>> {
        let kept = self.0.read();
        kept.iter().filter(|(topic, _)| filter.matches(topic)).map(|(_, kept)| Arc::clone(kept)).collect()
    }
}

/// Brings the topics up to date until the door stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let every = shared.settings.sys_interval;
    if every.is_zero() {
        return;
    }
    let started_mono = shared.host.clock.mono_micros();
    let origin = Arc::new(Origin::inside(shared.host.boot));
    let mut averages = Averages::default();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.stop.stopping() => return,
        }
        let now_mono = shared.host.clock.mono_micros();
        let stats = shared.tallies.stats();
        averages.add(&stats, now_mono);
        let here = Here {
            uptime_s: now_mono.saturating_sub(started_mono) / 1_000_000,
            clients: shared.links.lock().len() as u64,
            clients_max: shared.tallies.connected_max.load(Ordering::Relaxed),
        };
        say(&shared, &values(&stats, &here, &averages), &origin, now_mono);
    }
}

/// Keeps what changed, and delivers it.
fn say(shared: &Shared, values: &[(String, String)], origin: &Arc<Origin>, now_mono: u64) {
    let mut touched = Touched::default();
    for (name, value) in values {
        let Ok(topic) = TopicName::parse(format!("{ROOT}/broker/{name}")) else { continue };
        let is_known =
            shared.sys.0.read().get(&topic).is_some_and(|kept| *kept.message.payload == *value.as_bytes());
        if is_known {
            continue;
        }
        let message = Message {
            qos: Qos::AtMostOnce,
            retain: true,
            received_at: shared.host.clock.now(),
            received_mono: now_mono,
            ..Message::new(topic.clone(), Bytes::from(value.clone()), Arc::clone(origin))
        };
        fanout::deliver(&shared.subscriptions, &message, 0, now_mono, &shared.limits(), &mut touched);
        shared.sys.0.write().insert(topic, Arc::new(Kept { message, seq: 0 }));
    }
}

/// What is no sum of events.
struct Here {
    uptime_s: u64,
    clients: u64,
    clients_max: u64,
}

fn dropped(stats: &Stats) -> u64 {
    stats.dropped.iter().map(|(_, count)| count).sum()
}

/// The topics below `$SYS/broker/`, and their values.
fn values(stats: &Stats, here: &Here, averages: &Averages) -> Vec<(String, String)> {
    let Here { uptime_s, clients, clients_max } = *here;
    let away = stats.sessions.saturating_sub(clients);
    let stored = stats.retained_messages + stats.queued_messages + stats.left_messages;
    let numbers = [
        ("clients/connected", clients),
        ("clients/active", clients),
        ("clients/disconnected", away),
        ("clients/inactive", away),
        ("clients/total", clients + away),
        ("clients/maximum", clients_max),
        ("clients/expired", stats.sessions_expired),
        ("messages/received", stats.packets_received),
        ("messages/sent", stats.packets_sent),
        ("messages/inflight", stats.inflight),
        ("messages/stored", stored),
        ("store/messages/count", stored),
        ("store/messages/bytes", stats.retained_bytes + stats.queued_bytes),
        ("publish/messages/received", stats.received.iter().sum()),
        ("publish/messages/sent", stats.sent.iter().sum()),
        ("publish/messages/dropped", dropped(stats)),
        ("publish/bytes/received", stats.publish_bytes_received),
        ("publish/bytes/sent", stats.publish_bytes_sent),
        ("bytes/received", stats.received_bytes),
        ("bytes/sent", stats.sent_bytes),
        ("subscriptions/count", stats.subscriptions),
        ("shared_subscriptions/count", stats.shared_subscriptions),
        ("retained messages/count", stats.retained_messages),
    ];
    let mut values: Vec<_> = vec![
        ("version".to_owned(), format!("godwit version {}", env!("CARGO_PKG_VERSION"))),
        ("uptime".to_owned(), format!("{uptime_s} seconds")),
    ];
    values.extend(numbers.into_iter().map(|(name, number)| (name.to_owned(), number.to_string())));
    for ((name, _), of_one) in LOADS.iter().zip(&averages.per_minute) {
        for ((minutes, _), average) in AVERAGES.iter().zip(of_one) {
            values.push((format!("load/{name}/{minutes}"), format!("{average:.2}")));
        }
    }
    values
}

/// How much happens a minute, by number and by average.
#[derive(Default)]
struct Averages {
    last: Option<(u64, [u64; LOADS.len()])>,
    per_minute: [[f64; AVERAGES.len()]; LOADS.len()],
}

impl Averages {
    /// Takes in the sums as they stand at `now_mono`.
    fn add(&mut self, stats: &Stats, now_mono: u64) {
        let sums = LOADS.map(|(_, sum)| sum(stats));
        let Some((last_mono, last)) = self.last.replace((now_mono, sums)) else { return };
        let passed = Duration::from_micros(now_mono.saturating_sub(last_mono)).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        for ((of_one, sum), last) in self.per_minute.iter_mut().zip(sums).zip(last) {
            let now = sum.saturating_sub(last) as f64 * 60.0 / passed;
            for (average, (_, seconds)) in of_one.iter_mut().zip(AVERAGES) {
                *average = now + (-passed / seconds).exp() * (*average - now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tallies;

    #[test]
    fn a_steady_load_is_its_own_average_at_last() {
        let tallies = Tallies::new();
        let mut averages = Averages::default();
        for tick in 0..=1_000_u64 {
            averages.add(&tallies.stats(), tick * 10_000_000);
            tallies.packets_received.add(20);
        }
        let [one, five, fifteen] = averages.per_minute[0];
        for (average, name) in [(one, "1"), (five, "5"), (fifteen, "15")] {
            assert!((average - 120.0).abs() < 0.01, "{name} min: {average}");
        }
        averages.add(&Tallies::new().stats(), 1_001 * 10_000_000);
        assert!(averages.per_minute[0][0] < 120.0, "nothing came since");
    }

    #[test]
    fn every_name_is_a_topic_and_occurs_once() {
        let here = Here { uptime_s: 1, clients: 2, clients_max: 3 };
        let values = values(&Tallies::new().stats(), &here, &Averages::default());
        let mut names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["version", "uptime", "retained messages/count", "load/publish/dropped/15min"] {
            assert!(names.contains(&name), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), values.len());
        assert!(values.iter().all(|(name, _)| TopicName::parse(format!("$SYS/broker/{name}")).is_ok()));
        assert!(Sys::has("$SYS/#") && Sys::has("$SYS") && !Sys::has("$SYSTEM/#") && !Sys::has("#"));
    }
}
