//! A simulated machine with a journal on it, and messages for it.

use std::path::PathBuf;
use std::sync::Arc;

use bytestring::ByteString;
use host::sim::Machine;
use journal::{Batch, Chains, Journal, Recovery, Settings};
use model::{ConnectionId, DeviceName, Door, Lane, Message, Origin, Principal, Qos, Timestamp, TopicName};

/// Where the journal is.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data/journal")
}

/// The path of a segment.
pub(crate) fn segment(chain: &str, number: u64) -> PathBuf {
    dir().join(format!("{chain}-{number:020}.segment"))
}

/// Opens the journal of a machine.
pub(crate) fn open(machine: &Machine, settings: &Settings) -> (Journal, Recovery) {
    Journal::open(&dir(), settings, &machine.host()).expect("a journal")
}

/// A message of `device` with this text.
pub(crate) fn message(device: &str, text: &str) -> Message {
    let name = DeviceName::parse(device.to_owned()).expect("a name");
    let topic = TopicName::parse(format!("dt/{device}/telemetry")).expect("a topic");
    Message {
        qos: Qos::AtLeastOnce,
        packet_id: 7,
        received_at: Timestamp::from_micros(1_767_225_600_000_000),
        received_mono: 5,
        ..Message::new(topic, text.to_owned(), origin(&name, 3))
    }
}

fn origin(device: &DeviceName, connection: ConnectionId) -> Arc<Origin> {
    Arc::new(Origin {
        door: Door::Mqtt,
        principal: Principal::DevicePassword(device.clone()),
        device: Some(device.clone()),
        client_id: ByteString::from(device.as_str()),
        connection,
        boot: 1,
        partition: model::partition(Some(device), ""),
    })
}

/// The same message as an alarm.
pub(crate) fn alarm(device: &str, text: &str) -> Message {
    Message { lane: Lane::Alarm, ..message(device, text) }
}

/// The same message with an id.
pub(crate) fn with_id(message: Message, id: &str) -> Message {
    Message { message_id: Some(ByteString::from(id)), ..message }
}

/// Everything a fresh reader finds.
pub(crate) fn read(journal: &Journal, chains: Chains) -> Vec<Batch> {
    let mut reader = journal.reader(1, chains);
    let mut batches = Vec::new();
    while let Some(batch) = reader.try_next().expect("readable") {
        batches.push(batch);
    }
    batches
}

/// The seqs and payloads of all records.
pub(crate) fn texts(batches: &[Batch]) -> Vec<(u64, String)> {
    batches
        .iter()
        .flat_map(|batch| batch.records.iter())
        .map(|record| (record.seq, String::from_utf8_lossy(&record.message.payload).into_owned()))
        .collect()
}
