//! An edge node of Sparkplug B, written from the standard alone.
//!
//! That the fields of the payload stand here once more, beside `model::sparkplug`'s own, is on purpose: a field number that is
//! wrong there must not be wrong here too, so nothing of it is shared with what is under test.
//!
//! The fields of the payload are those of the standard's schema (Sparkplug 3.0, section 6.4). Used by the tests of other
//! rooms too.
#![allow(dead_code, reason = "each room's tests use their part of it")]

use prost::Message as _;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payload {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) seq: Option<u64>,
    #[prost(string, optional, tag = "4")]
    pub(crate) uuid: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(crate) body: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(crate) datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) is_historical: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(crate) is_transient: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub(crate) properties: Option<PropertySet>,
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(crate) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) values: Vec<PropertyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PropertyValue {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) datatype: Option<u32>,
    #[prost(string, optional, tag = "8")]
    pub(crate) text: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DataSet {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) num_of_columns: Option<u64>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) columns: Vec<String>,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) types: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Template {
    #[prost(string, optional, tag = "1")]
    pub(crate) version: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Value {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    Text(String),
    #[prost(bytes = "vec", tag = "16")]
    Bytes(Vec<u8>),
    #[prost(message, tag = "17")]
    DataSet(DataSet),
    #[prost(message, tag = "18")]
    Template(Template),
}

/// The types of the standard that the tests use.
pub(crate) const INT8: u32 = 1;
pub(crate) const INT16: u32 = 2;
pub(crate) const INT32: u32 = 3;
pub(crate) const INT64: u32 = 4;
pub(crate) const UINT32: u32 = 7;
pub(crate) const UINT64: u32 = 8;
pub(crate) const FLOAT: u32 = 9;
pub(crate) const DOUBLE: u32 = 10;
pub(crate) const BOOLEAN: u32 = 11;
pub(crate) const STRING: u32 = 12;
pub(crate) const DATE_TIME: u32 = 13;
pub(crate) const DATA_SET: u32 = 16;
pub(crate) const BYTES: u32 = 17;
pub(crate) const TEMPLATE: u32 = 19;

/// A metric of a birth: with name, type and, where there is one, alias.
pub(crate) fn born(name: &str, alias: impl Into<Option<u64>>, datatype: u32, value: Value) -> Metric {
    Metric {
        name: Some(name.to_owned()),
        alias: alias.into(),
        datatype: Some(datatype),
        value: Some(value),
        ..Metric::default()
    }
}

/// A metric of data: by its alias alone.
pub(crate) fn aliased(alias: u64, value: Value) -> Metric {
    Metric { alias: Some(alias), value: Some(value), ..Metric::default() }
}

/// A metric of data, by its name.
pub(crate) fn named(name: &str, value: Value) -> Metric {
    Metric { name: Some(name.to_owned()), value: Some(value), ..Metric::default() }
}

impl Metric {
    /// Measured then, in milliseconds since 1970.
    pub(crate) fn at(self, ms: u64) -> Self {
        Self { timestamp: Some(ms), ..self }
    }

    /// Measured before the connection was there.
    pub(crate) fn historical(self, ms: u64) -> Self {
        Self { timestamp: Some(ms), is_historical: Some(true), ..self }
    }

    /// With the property by which most gateways tell the unit.
    pub(crate) fn in_unit(self, unit: &str) -> Self {
        let text = PropertyValue { datatype: Some(STRING), text: Some(unit.to_owned()) };
        let properties = PropertySet { keys: vec!["engUnit".to_owned()], values: vec![text] };
        Self { properties: Some(properties), ..self }
    }

    pub(crate) fn null(self) -> Self {
        Self { value: None, is_null: Some(true), ..self }
    }
}

/// A publish: topic and payload.
pub(crate) type Publish = (String, Vec<u8>);

/// An edge node with the counters that the standard wants of it.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) group: String,
    pub(crate) node: String,
    pub(crate) bd_seq: u64,
    pub(crate) seq: u8,
    /// Its clock, in milliseconds since 1970.
    pub(crate) now_ms: u64,
}

impl Edge {
    pub(crate) fn new(group: &str, node: &str, now_ms: u64) -> Self {
        Self { group: group.to_owned(), node: node.to_owned(), bd_seq: 0, seq: 0, now_ms }
    }

    fn topic(&self, message_type: &str, device: Option<&str>) -> String {
        let device = device.map(|device| format!("/{device}")).unwrap_or_default();
        format!("spBv1.0/{}/{message_type}/{}{device}", self.group, self.node)
    }

    fn bd_seq_metric(&self) -> Metric {
        born("bdSeq", None, INT64, Value::Long(self.bd_seq))
    }

    /// The will of the connection: NDEATH with bdSeq, and no seq.
    pub(crate) fn death(&self) -> Publish {
        let payload = Payload {
            timestamp: Some(self.now_ms),
            metrics: vec![self.bd_seq_metric()],
            ..Payload::default()
        };
        (self.topic("NDEATH", None), payload.encode_to_vec())
    }

    /// NBIRTH: seq begins at 0; bdSeq and the rebirth control come with it.
    pub(crate) fn birth(&mut self, metrics: Vec<Metric>) -> Publish {
        let control = born("Node Control/Rebirth", None, BOOLEAN, Value::Boolean(false));
        let metrics = [vec![self.bd_seq_metric(), control], metrics].concat();
        self.seq = 0;
        let payload = Payload { timestamp: Some(self.now_ms), metrics, seq: Some(0), ..Payload::default() };
        (self.topic("NBIRTH", None), payload.encode_to_vec())
    }

    fn next(&mut self, message_type: &str, device: Option<&str>, metrics: Vec<Metric>) -> Publish {
        self.seq = self.seq.wrapping_add(1);
        let seq = Some(u64::from(self.seq));
        let payload = Payload { timestamp: Some(self.now_ms), metrics, seq, ..Payload::default() };
        (self.topic(message_type, device), payload.encode_to_vec())
    }

    pub(crate) fn data(&mut self, metrics: Vec<Metric>) -> Publish {
        self.next("NDATA", None, metrics)
    }

    pub(crate) fn device_birth(&mut self, device: &str, metrics: Vec<Metric>) -> Publish {
        self.next("DBIRTH", Some(device), metrics)
    }

    pub(crate) fn device_data(&mut self, device: &str, metrics: Vec<Metric>) -> Publish {
        self.next("DDATA", Some(device), metrics)
    }

    pub(crate) fn device_death(&mut self, device: &str) -> Publish {
        self.next("DDEATH", Some(device), Vec::new())
    }
}

/// The payload in words, a metric a line.
pub(crate) fn says(payload: &[u8]) -> Option<Vec<String>> {
    let payload = Payload::decode(payload).ok()?;
    let time =
        |ms: u64| model::Timestamp::from_micros(i64::try_from(ms).expect("a time") * 1_000).to_string();
    let metric = |metric: Metric| {
        let value = metric.value.map(|value| match value {
            Value::Int(number) => format!("= {number}"),
            Value::Long(number) => format!("= {number}"),
            Value::Float(number) => format!("= {number}"),
            Value::Double(number) => format!("= {number}"),
            Value::Boolean(is) => format!("= {is}"),
            Value::Text(text) => format!("= {text}"),
            other => format!("= {other:?}"),
        });
        let properties = metric.properties.unwrap_or_default();
        let properties = properties.keys.iter().zip(properties.values);
        let properties: Vec<String> =
            properties.map(|(key, value)| format!("{key} {}", value.text.unwrap_or_default())).collect();
        let words = [
            metric.name,
            metric.alias.map(|alias| format!("alias {alias}")),
            metric.timestamp.map(|ms| format!("at {}", time(ms))),
            metric.datatype.map(|datatype| format!("type {datatype}")),
            metric.is_historical.map(|_| "historical".to_owned()),
            metric.is_transient.map(|_| "transient".to_owned()),
            metric.is_null.map(|_| "null".to_owned()),
        ];
        let words: Vec<String> = words.into_iter().flatten().chain(properties).chain(value).collect();
        words.join(" ")
    };
    let sent = payload.timestamp.map(|ms| format!("sent {}", time(ms)));
    let seq = payload.seq.map(|seq| format!("seq {seq}"));
    Some(sent.into_iter().chain(payload.metrics.into_iter().map(metric)).chain(seq).collect())
}

/// Whether `payload`, on an NCMD topic, asks for the births.
pub(crate) fn asks_for_births(payload: &[u8]) -> bool {
    let payload = Payload::decode(payload).expect("a Sparkplug payload");
    let is_control = |metric: &Metric| {
        metric.name.as_deref() == Some("Node Control/Rebirth") && metric.value == Some(Value::Boolean(true))
    };
    payload.timestamp.is_some() && payload.metrics.iter().any(is_control)
}
