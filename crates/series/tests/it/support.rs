//! What the tests share: messages as a door makes them, a plain model of what must come out, and questions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::executor::block_on;
use host::Host;
use journal::Record;
use model::{ChannelSettings, Channels, Message, Origin, Qos, Timestamp, TopicName};
use series::{Cell, Format, Offline, QueryError, QueryLimits, Settings};

/// 2026-11-22T00:00:00Z.
pub(crate) const START: i64 = 1_795_305_600_000_000;

/// Where the simulated disk keeps it.
pub(crate) const DIR: &str = "data/series";

pub(crate) fn message(topic: &str, payload: impl Into<Vec<u8>>, received_at: i64) -> Message {
    Message {
        qos: Qos::AtLeastOnce,
        packet_id: 1,
        received_at: Timestamp::from_micros(received_at),
        ..Message::new(TopicName::parse(topic).expect("a topic"), payload.into(), Origin::inside(1))
    }
}

/// A message of `device` with device time `at` (microseconds) and the fields `fields` as JSON.
pub(crate) fn telemetry(device: &str, at: i64, fields: &str) -> Message {
    message(&format!("dt/{device}/telemetry"), format!("{{\"ts\":{at},{fields}}}"), at + 250_000)
}

/// Records `from`, `from + 1`, …
pub(crate) fn records(from: u64, messages: impl IntoIterator<Item = Message>) -> Vec<Record> {
    (from..).zip(messages).map(|(seq, message)| Record { seq, message, id_reused: false }).collect()
}

pub(crate) fn open(host: &Host) -> Offline {
    open_with(host, &Settings::default())
}

pub(crate) fn open_with(host: &Host, settings: &Settings) -> Offline {
    let settings = Settings { query_threads: Some(1), ..settings.clone() };
    Offline::open(Path::new(DIR), &settings, Arc::default(), Arc::default(), host).expect("opened")
}

/// With these `[[channel]]`.
pub(crate) fn open_channels(host: &Host, channels: &[ChannelSettings]) -> Offline {
    let settings = Settings { query_threads: Some(1), ..Settings::default() };
    let channels = Arc::new(Channels::new(channels).expect("channels"));
    Offline::open(Path::new(DIR), &settings, Arc::default(), channels, host).expect("opened")
}

pub(crate) fn ask(store: &Offline, sql: &str) -> Result<Vec<Vec<Cell>>, QueryError> {
    block_on(async {
        let answer = store.series().query(sql, &QueryLimits::default()).await?;
        answer.cells().await
    })
}

pub(crate) fn csv(store: &Offline, sql: &str) -> String {
    written(store, sql, Format::Csv)
}

pub(crate) fn written(store: &Offline, sql: &str, format: Format) -> String {
    block_on(async {
        let answer = store.series().query(sql, &QueryLimits::default()).await.expect("a query");
        answer.whole(format).await.expect("an answer")
    })
}

/// What must come out: the last write of each (device, channel, time) by `seq`.
pub(crate) type Model = BTreeMap<(String, String, i64), u64>;

/// What comes out, with the bits of the number.
pub(crate) fn stored(store: &Offline) -> Model {
    let rows = ask(store, "SELECT device, channel, time, value FROM readings").expect("an answer");
    let count = rows.len();
    let model: Model = rows.iter().map(|row| keyed(row)).collect();
    assert_eq!(model.len(), count, "no reading is answered twice");
    model
}

fn keyed(row: &[Cell]) -> ((String, String, i64), u64) {
    match row {
        [Cell::Text(device), Cell::Text(channel), Cell::Time(time), Cell::Number(value)] => {
            ((device.clone(), channel.clone(), time.micros()), value.to_bits())
        }
        other => panic!("not a reading: {other:?}"),
    }
}

/// What `latest` must say, from a model.
pub(crate) fn newest(model: &Model) -> Model {
    let mut newest: BTreeMap<(String, String), (i64, u64)> = BTreeMap::new();
    for ((device, channel, time), value) in model {
        newest.insert((device.clone(), channel.clone()), (*time, *value));
    }
    newest.into_iter().map(|((device, channel), (time, value))| ((device, channel, time), value)).collect()
}

pub(crate) fn latest(store: &Offline) -> Model {
    let rows = ask(store, "SELECT device, channel, time, value FROM latest").expect("an answer");
    rows.iter().map(|row| keyed(row)).collect()
}
