//! The promises of routes, decoders and device time, from outside.

mod channels;
mod edge;
mod golden;
mod json;
mod office;
mod reference;
mod routes;
mod single;
mod sparkplug;
mod suggestions;

use model::{
    DecodeError, Decoded, DeviceName, Flags, Message, Names, Origin, Qos, RouteSettings, Routes, Sample,
    Timestamp, TopicName, Value,
};

/// When every message of these tests was received.
const RECEIVED: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

/// A QoS 1 message of the device `meter-7`.
fn message(topic: &str, payload: &[u8]) -> Message {
    let device = Some(DeviceName::parse("meter-7").expect("a name"));
    let topic = TopicName::parse(topic).expect("a topic");
    Message {
        qos: Qos::AtLeastOnce,
        packet_id: 1,
        received_at: at(RECEIVED),
        ..Message::new(topic, payload.to_vec(), Origin { device, ..Origin::inside(1) })
    }
}

/// The route that `toml` writes, for every topic.
fn routes(toml: &str) -> Routes {
    let filter = if toml.contains("\"sparkplug\"") { "spBv1.0/#" } else { "#" };
    let settings: RouteSettings =
        toml::from_str(&format!("filter = \"{filter}\"\n{toml}")).expect("settings");
    Routes::new(&[settings]).expect("a route")
}

/// What `payload` on `dt/office-1/climate` decodes to by the route that `toml` writes.
fn decode_by(toml: &str, payload: &str) -> Result<Decoded, DecodeError> {
    let message = message("dt/office-1/climate", payload.as_bytes());
    routes(toml).find(&message.topic).expect("the route").decode(&message, &mut Names::new())
}

/// What `payload` decodes to by the default route.
fn decode(payload: &str) -> Result<Decoded, DecodeError> {
    let message = message("dt/office-1/climate", payload.as_bytes());
    Routes::default().find(&message.topic).expect("the route").decode(&message, &mut Names::new())
}

/// A sample as one line: `device time flags channel=value …`; a receipt's time is written `-`.
fn line(sample: &Sample) -> String {
    let time = if sample.flags.contains(Flags::RECEIPT_TIME) {
        assert_eq!(sample.time, at(RECEIVED));
        "-".to_owned()
    } else {
        sample.time.to_string()
    };
    let readings = sample.readings.iter().map(|reading| match &reading.value {
        Value::Number(number) => format!(" {}={number}", reading.channel),
        Value::Text(text) => format!(" {}={text:?}", reading.channel),
        Value::BigInteger(number, digits) => format!(" {}={number:e}~{digits}", reading.channel),
    });
    format!("{} {time} {}", sample.device, sample.flags.bits()) + &readings.collect::<String>()
}

/// The samples as lines, or the error's code and text.
fn told(result: Result<Decoded, DecodeError>) -> String {
    match result {
        Ok(decoded) => decoded.samples.iter().map(line).collect::<Vec<_>>().join("\n"),
        Err(error) => {
            assert!(DecodeError::SLUGS.contains(&error.slug()));
            format!("{}: {error}", error.slug())
        }
    }
}
