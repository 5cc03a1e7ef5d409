//! One message, read: bounded, and without a look at what came before.
//!
//! Not here: what aliases mean (`table`) and what the message leads to (`node`). The law: a message is read whole or
//! refused whole; what it costs is bounded by its length and by the bounds of [`limit`](crate::limit).

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use prost::Message as _;

use super::topic::{Address, EdgeNode, MessageType, Topic};
use super::value::Sent;
use super::{BD_SEQ, REBIRTH, wire};
use crate::channel::ucum;
use crate::decode::{self, DecodeError, Decoded, Notes, Unit};
use crate::device_time::{JudgedTime, SentTime};
use crate::limit::{SPARKPLUG_BYTES_MAX, SPARKPLUG_METRICS_MAX};
use crate::route::Route;
use crate::{ChannelName, DeviceName, Flags, Message, Names, Timestamp};

/// Names of the property that is a metric's unit. The standard names none: the first is what most gateways write.
const UNIT_PROPERTIES: [&str; 4] = ["engUnit", "engUnits", "unit", "units"];

/// What a node said, before it is known what its aliases mean. [`Sparkplug::take`](super::Sparkplug::take) makes
/// samples of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub(super) node: EdgeNode,
    pub(super) message_type: MessageType,
    /// Which device behind the node.
    pub(super) device_id: Option<ByteString>,
    /// Whose readings these are.
    pub(super) device: DeviceName,
    pub(super) received_at: Timestamp,
    pub(super) seq: Option<u8>,
    /// When it was sent, in milliseconds since 1970 by the sender's clock.
    pub(super) sent_ms: Option<u64>,
    pub(super) bd_seq: Option<u64>,
    pub(super) metrics: Vec<HeardMetric>,
    /// Of a birth: the units that come with its metrics.
    pub(super) units: Vec<Unit>,
    /// Whether there were values that their sender does not want stored.
    pub(super) has_transient: bool,
    /// Whether there were metrics whose names cannot be channels.
    pub(super) has_unnameable: bool,
}

/// A metric that may be a reading.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeardMetric {
    pub(super) channel: Option<ChannelName>,
    pub(super) alias: Option<u64>,
    pub(super) datatype: Option<u32>,
    pub(super) time: Timestamp,
    pub(super) flags: Flags,
    pub(super) is_historical: bool,
    /// Whether the route ignores its name.
    pub(super) is_ignored: bool,
    pub(super) value: Sent,
}

/// Reads `message` by `route`. What says nothing of a node (commands, the state of hosts) is no reading.
pub(crate) fn decode(route: &Route, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
    let Some(topic) = Topic::parse(&message.topic) else {
        return Err(DecodeError::SparkplugTopic { topic: decode::shown(&message.topic) });
    };
    match topic {
        Topic::Of(address) if !address.message_type.is_command() => {
            let heard = Heard::read(address, route, message, names)?;
            Ok(Decoded { sparkplug: Some(Box::new(heard)), ..Decoded::default() })
        }
        Topic::Of(_) | Topic::State { .. } => Ok(Decoded { notes: Notes::NO_READINGS, ..Decoded::default() }),
    }
}

impl Heard {
    /// Whose message it is: a node's, or that of a device behind it.
    #[must_use]
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// The edge node that sent it.
    #[must_use]
    pub fn node(&self) -> &EdgeNode {
        &self.node
    }

    /// Whether it begins or ends the life of its node, and so says something of every device behind it.
    #[must_use]
    pub fn tells_of_all_devices(&self) -> bool {
        matches!(self.message_type, MessageType::NodeBirth | MessageType::NodeDeath)
    }

    /// The oldest and the newest time of which it may say something; presence is of the time of its receipt.
    #[must_use]
    pub fn span(&self) -> [Timestamp; 2] {
        let times = || self.metrics.iter().map(|metric| metric.time).chain([self.received_at]);
        [times().min().unwrap_or(self.received_at), times().max().unwrap_or(self.received_at)]
    }

    fn read(
        address: Address<'_>,
        route: &Route,
        message: &Message,
        names: &mut Names,
    ) -> Result<Self, DecodeError> {
        let bytes = message.payload.len();
        if bytes > SPARKPLUG_BYTES_MAX {
            return Err(DecodeError::TooLarge {
                decoder: "sparkplug",
                bytes,
                bytes_max: SPARKPLUG_BYTES_MAX,
            });
        }
        let payload = wire::Payload::decode(message.payload.clone()).map_err(not_sparkplug)?;
        if payload.metrics.len() > SPARKPLUG_METRICS_MAX {
            return Err(DecodeError::TooManyMetrics { metrics: payload.metrics.len() });
        }
        let device = route
            .device_of(&message.topic, &message.origin, names)
            .ok_or_else(|| DecodeError::NoDevice { rule: route.device_rule().to_string() })?;
        let mut heard = Self {
            node: EdgeNode::new(address.group, address.node),
            message_type: address.message_type,
            // Copied: what is remembered must not hold the network buffer.
            device_id: address.device.map(ByteString::from),
            device,
            received_at: message.received_at,
            seq: payload.seq.and_then(|seq| u8::try_from(seq).ok()),
            sent_ms: payload.timestamp,
            bd_seq: None,
            metrics: Vec::with_capacity(payload.metrics.len()),
            units: Vec::new(),
            has_transient: false,
            has_unnameable: false,
        };
        for bytes in payload.metrics {
            let metric = wire::Metric::decode(bytes).map_err(not_sparkplug)?;
            heard.metric(metric, route, message, names);
        }
        Ok(heard)
    }

    fn metric(&mut self, mut metric: wire::Metric, route: &Route, message: &Message, names: &mut Names) {
        let value = Sent::of(&mut metric);
        let name = metric.name.as_deref().filter(|name| !name.is_empty());
        match name {
            Some(BD_SEQ) => {
                self.bd_seq = value.unsigned();
                return;
            }
            Some(REBIRTH) => return,
            _ => {}
        }
        let naming = route.naming();
        let renamed = name.zip(naming).map(|(name, naming)| naming.channel(name));
        // What is ignored keeps its name, so that its alias is known as that of something to be ignored.
        let is_ignored = matches!(renamed, Some(None));
        let name = renamed.flatten().or_else(|| name.map(Cow::Borrowed));
        let Ok(channel) = name.map(|name| names.channel(&name)).transpose() else {
            self.has_unnameable = true;
            return;
        };
        let is_birth = matches!(self.message_type, MessageType::NodeBirth | MessageType::DeviceBirth);
        if let (Some(channel), true, false) = (&channel, is_birth, is_ignored)
            && let Some(unit) = metric.properties.take().and_then(unit)
        {
            self.units.push(Unit { channel: channel.clone(), unit });
        }
        let value = if metric.is_transient == Some(true) {
            // Its alias is still to be known.
            self.has_transient |= value != Sent::Null;
            Sent::Null
        } else {
            value
        };
        let judged = self.judge(metric.timestamp, route);
        self.metrics.push(HeardMetric {
            channel,
            alias: metric.alias,
            datatype: metric.datatype,
            time: judged.time,
            flags: decode::flags(judged.flags, message, false),
            is_historical: metric.is_historical == Some(true),
            is_ignored,
            value,
        });
    }

    /// The time of a metric: its own, else that of the payload, else that of receipt.
    fn judge(&self, metric_ms: Option<u64>, route: &Route) -> JudgedTime {
        // A number of no meaning is as implausible as one far in the future.
        let sent =
            metric_ms.or(self.sent_ms).map(|ms| SentTime::Integer(i64::try_from(ms).unwrap_or(i64::MAX)));
        route.time().judge(sent, self.received_at)
    }
}

/// The unit among the properties of a metric. What cannot be read of them is no reason to refuse its value.
fn unit(properties: Bytes) -> Option<ByteString> {
    let properties = wire::PropertySet::decode(properties).ok()?;
    let is_unit = |key: &String| UNIT_PROPERTIES.iter().any(|name| name.eq_ignore_ascii_case(key));
    let place = properties.keys.iter().position(is_unit)?;
    let value = wire::PropertyValue::decode(properties.values.get(place)?.clone()).ok()?;
    ucum(value.text?.as_str()).map(ByteString::from)
}

fn not_sparkplug(error: prost::DecodeError) -> DecodeError {
    DecodeError::NotSparkplug { reason: decode::shown(&error.to_string()) }
}
