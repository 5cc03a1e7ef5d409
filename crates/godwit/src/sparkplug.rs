//! `[sparkplug]`: whether this server is a Sparkplug host, and says so (Sparkplug 3.0, section 5.10, "Sparkplug Host
//! Application Session Establishment").
//!
//! Not here: what edge nodes say (`model::sparkplug`, `series`). The law: `online` is said before anybody can connect, and
//! `offline` before the door closes; both are retained, each with its time.

use anyhow::Context;
use host::Host;
use journal::Journal;
use model::sparkplug::{NAMESPACE, host_state};
use model::{Lane, Message, Origin, Qos, TopicName};
use serde::Deserialize;

use crate::fault::with_hint;

/// The `[sparkplug]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The name under which edge nodes know this host: it is told by `spBv1.0/STATE/{host_id}` whether it is there.
    /// Default: none, and nothing is told.
    pub(crate) host_id: Option<String>,
}

/// A host with a name.
pub(crate) struct SparkplugHost {
    topic: TopicName,
}

impl SparkplugHost {
    /// The host that the settings name.
    pub(crate) fn of(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(host_id) = &settings.host_id else { return Ok(None) };
        let topic = TopicName::parse(format!("{NAMESPACE}/STATE/{host_id}"));
        match topic {
            Ok(topic) if !host_id.is_empty() && !host_id.contains('/') => Ok(Some(Self { topic })),
            _ => Err(with_hint(
                anyhow::anyhow!("`sparkplug.host_id` is `{host_id}`, which cannot be a level of a topic"),
                Some("use a word without `+`, `#` and `/`, such as `godwit`"),
            )),
        }
    }

    /// As [`Self::try_say`]; a journal that takes nothing is no reason not to start or stop.
    pub(crate) async fn say(&self, is_online: bool, journal: &Journal, host: &Host) -> Option<u64> {
        match self.try_say(is_online, journal, host).await {
            Ok(seq) => Some(seq),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(is_online, error, "Sparkplug edge nodes are not told of this host");
                None
            }
        }
    }

    /// Says whether the host is there; returns the record that says it, durable.
    async fn try_say(&self, is_online: bool, journal: &Journal, host: &Host) -> anyhow::Result<u64> {
        let now = host.clock.now();
        let message = Message {
            qos: Qos::AtLeastOnce,
            retain: true,
            lane: Lane::Control,
            received_at: now,
            received_mono: host.clock.mono_micros(),
            ..Message::new(self.topic.clone(), host_state(is_online, now), Origin::inside(host.boot))
        };
        let outcomes = journal.append(vec![message]).await;
        let outcomes = outcomes.with_context(|| format!("cannot publish `{}`", self.topic))?;
        Ok(outcomes.first().map_or(0, |outcome| outcome.seq()))
    }
}
