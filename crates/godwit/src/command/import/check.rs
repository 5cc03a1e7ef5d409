//! Whether a row will come in: tried with the decoder that the server has, for a message is taken whole or not at all,
//! and one bad row must not take a thousand good ones with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use host::Clock;
use model::device_time::NOT_BEFORE_DEFAULT;
use model::limit::CLOCK_AHEAD_MICROS_MAX;
use model::{ChannelName, DeviceName, Message, Names, Origin, Routes, Timestamp, TopicName};

use super::row::Row;
use crate::command::recording::times::millis;

/// Largest message in bytes: under the packet that servers take by default, with room for the topic.
const MESSAGE_BYTES_MAX: usize = 240 * 1024;
/// Most devices and channels that are remembered by name; beyond it the summary says "at least".
const NAMES_MAX: usize = 100_000;

/// What was found in order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: u64,
    pub(super) readings: u64,
    /// Readings of each.
    pub(super) devices: BTreeMap<DeviceName, u64>,
    pub(super) channels: BTreeSet<ChannelName>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

/// Tries rows.
pub(super) struct Check {
    routes: Routes,
    names: Names,
    origin: Arc<Origin>,
    clock: Arc<dyn Clock>,
    /// What follows the device in the topic.
    topic: String,
    topics: HashMap<DeviceName, TopicName>,
    pub(super) found: Found,
}

impl Check {
    pub(super) fn new(clock: Arc<dyn Clock>, topic: &str) -> Self {
        let origin = Arc::new(Origin::inside(0));
        let topic = topic.to_owned();
        let (routes, names) = (Routes::default(), Names::new());
        Self { routes, names, origin, clock, topic, topics: HashMap::new(), found: Found::default() }
    }

    /// Where messages of `device` go.
    pub(super) fn topic(&mut self, device: &DeviceName) -> Result<TopicName, String> {
        if let Some(topic) = self.topics.get(device) {
            return Ok(topic.clone());
        }
        let topic =
            TopicName::parse(format!("dt/{device}/{}", self.topic)).map_err(|error| error.to_string())?;
        if self.topics.len() == NAMES_MAX {
            self.topics.clear();
        }
        self.topics.insert(device.clone(), topic.clone());
        Ok(topic)
    }

    /// How many readings the row makes at most; or why it cannot come in.
    pub(super) fn row(&mut self, row: &Row) -> Result<usize, String> {
        let payload = format!("{{\"ts\":{},{}}}", millis(row.time), row.fields);
        if payload.len() > MESSAGE_BYTES_MAX {
            let bytes = payload.len();
            return Err(format!("it is {bytes} bytes as a message; the most is {MESSAGE_BYTES_MAX}"));
        }
        // Commas in texts count too: at most.
        let readings_max = payload.bytes().filter(|byte| *byte == b',').count();
        let topic = self.topic(&row.device)?;
        let message = self.message(topic, payload);
        let route = self.routes.find(&message.topic).ok_or("its topic has no route")?;
        let decoded = route.decode(&message, &mut self.names).map_err(|error| error.to_string())?;
        if decoded.objects_skipped > 0 {
            return Err("it has a list of objects inside, which has no place in a row".to_owned());
        }
        let [sample] = decoded.samples.as_slice() else {
            return Err("it carries no reading".to_owned());
        };
        if sample.time != row.time {
            let minutes = CLOCK_AHEAD_MICROS_MAX / Timestamp::SECOND / 60;
            return Err(format!(
                "the server would not believe its time, {}: it is before {NOT_BEFORE_DEFAULT} or more than {minutes} \
                 minutes ahead",
                row.time
            ));
        }
        let found = &mut self.found;
        found.rows += 1;
        found.readings += sample.readings.len() as u64;
        found.first = Some(found.first.map_or(row.time, |first| first.min(row.time)));
        found.last = Some(found.last.map_or(row.time, |last| last.max(row.time)));
        if let Some(count) = found.devices.get_mut(&row.device) {
            *count += sample.readings.len() as u64;
        } else if found.devices.len() < NAMES_MAX {
            found.devices.insert(row.device.clone(), sample.readings.len() as u64);
        }
        for reading in &sample.readings {
            if !found.channels.contains(&reading.channel) && found.channels.len() < NAMES_MAX {
                found.channels.insert(reading.channel.clone());
            }
        }
        Ok(readings_max)
    }

    fn message(&self, topic: TopicName, payload: String) -> Message {
        let received_at = self.clock.now();
        Message { received_at, ..Message::new(topic, payload, Arc::clone(&self.origin)) }
    }
}
