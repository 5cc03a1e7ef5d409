//! The streaming decoder against a plain one over `serde_json::Value`, and against garbage.

use model::{DecodeError, Decoder, Flags, Names, Reading, RouteSettings, Routes, Timestamp, Value, limit};
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::{RECEIVED, at, message, routes};

/// What the rules of `model::decode` say, over a tree. Only for payloads whose fields are no time.
#[derive(Default)]
struct Plain {
    readings: Vec<(String, Value)>,
    skipped: u32,
}

impl Plain {
    fn walk(&mut self, path: &str, json: &Json, depth: usize, in_list: bool) -> Result<(), &'static str> {
        if depth > limit::JSON_DEPTH_MAX && (json.is_array() || (json.is_object() && !in_list)) {
            return Err("decode.too_deep");
        }
        let value = match json {
            Json::Null => return Ok(()),
            Json::Object(_) if in_list => {
                self.skipped += 1;
                return Ok(());
            }
            Json::Object(fields) => {
                for (name, json) in fields {
                    self.walk(&format!("{path}.{name}"), json, depth + 1, false)?;
                }
                return Ok(());
            }
            Json::Array(elements) => {
                for (n, json) in elements.iter().enumerate() {
                    self.walk(&format!("{path}.{n}"), json, depth + 1, true)?;
                }
                return Ok(());
            }
            Json::Bool(flag) => Value::Number(f64::from(u8::from(*flag))),
            Json::Number(number) => {
                let nearest = number.as_f64().expect("a number");
                let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
                match whole.filter(|whole| whole.abs() > 1 << 53) {
                    Some(whole) => Value::BigInteger(nearest, whole.to_string().into()),
                    None => Value::Number(nearest),
                }
            }
            Json::String(text) => match text.to_ascii_lowercase().as_str() {
                "nan" | "none" | "unavailable" => return Ok(()),
                _ => Value::Text(text.as_str().into()),
            },
        };
        if path.is_empty() || path.len() > limit::CHANNEL_NAME_BYTES_MAX || path.chars().any(char::is_control)
        {
            return Err("decode.channel_name");
        }
        self.readings.retain(|(name, _)| name != path);
        self.readings.push((path.to_owned(), value));
        Ok(())
    }

    fn object(json: &Json, depth: usize) -> Result<Self, &'static str> {
        let mut plain = Self::default();
        for (name, json) in json.as_object().ok_or("decode.not_an_object")? {
            plain.walk(name, json, depth + 1, false)?;
        }
        Ok(plain)
    }
}

/// Samples and the objects skipped, or the code of the error.
type Said = Result<(Vec<Vec<(String, Value)>>, u32), &'static str>;

fn plain(json: &Json) -> Said {
    let objects = match json {
        Json::Array(elements) => {
            elements.iter().map(|json| Plain::object(json, 2)).collect::<Result<Vec<_>, _>>()?
        }
        json => vec![Plain::object(json, 1)?],
    };
    let skipped = objects.iter().map(|plain| plain.skipped).sum();
    let samples = objects.into_iter().map(|plain| plain.readings).filter(|readings| !readings.is_empty());
    Ok((samples.collect(), skipped))
}

fn streamed(payload: &[u8]) -> Said {
    let message = message("dt/office-1/climate", payload);
    let routes = Routes::default();
    let route = routes.find(&message.topic).expect("the route");
    let decoded = route.decode(&message, &mut Names::new()).map_err(|e| e.slug())?;
    let pair = |reading: Reading| (reading.channel.to_string(), reading.value);
    let samples = decoded.samples.into_iter().map(|sample| sample.readings.into_iter().map(pair).collect());
    Ok((samples.collect(), decoded.objects_skipped))
}

/// Arbitrary JSON; names that are dotted or digits make channels meet.
fn json() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        (-100_i64..100).prop_map(Json::from),
        any::<f64>().prop_filter("JSON has finite numbers", |n| n.is_finite()).prop_map(Json::from),
        "[a-z]{0,3}|nan|None|\\PC{0,6}|[\"\\\\\n\u{1F600}]{1,3}".prop_map(Json::from),
    ];
    let name = || "[a-c]|[a-c]\\.[a-c0]|[01]|\\PC{1,4}|[\"\\\\\u{1}]?";
    scalar.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((name(), inner), 0..6)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

fn payload() -> impl Strategy<Value = Json> {
    let object = || {
        prop::collection::vec(("[a-c]|[a-c]\\.[a-c]|x{250}|\\PC{1,4}", json()), 0..6)
            .prop_map(|fields| Json::Object(fields.into_iter().collect()))
    };
    prop_oneof![4 => object(), 2 => prop::collection::vec(object(), 0..4).prop_map(Json::from), 1 => json()]
}

/// A topic that the decoder may have.
fn topic_for(decoder: &str) -> &'static str {
    if decoder == "sparkplug" { "spBv1.0/g/NDATA/n" } else { "a/b" }
}

/// Every decoder and every part of every preset, each with a topic it is for.
fn every_decoder() -> &'static [(Routes, &'static str)] {
    static ALL: std::sync::LazyLock<Vec<(Routes, &'static str)>> = std::sync::LazyLock::new(|| {
        let mut all: Vec<_> = Decoder::NAMED
            .iter()
            .map(|(name, _)| (routes(&format!("decode = \"{name}\"")), topic_for(name)))
            .collect();
        for toml in [
            "device = \"payload(a)\"",
            "decode = \"cbor\"\nchannels = \"a\"",
            "decode = \"senml\"\ndevice = \"payload(bn)\"",
            "channels = \"a\"\nignore = [\"b*\"]\nrename = { c = \"d\" }",
        ] {
            all.push((routes(toml), "a/b"));
        }
        for (preset, topics) in [
            ("tasmota", ["tele/a/SENSOR", "tele/a/STATE", "tele/a/LWT", "tele/a/INFO1"].as_slice()),
            ("zigbee2mqtt", &["zigbee2mqtt/a", "zigbee2mqtt/a/availability"]),
            (
                "shelly",
                &["a/events/rpc", "shellies/a/relay/0/energy", "shellies/a/announce", "shellies/a/info"],
            ),
            ("esphome", &["a/sensor/b/state", "a/light/b/state", "a/text_sensor/b/state"]),
            ("ttn", &["v3/a/devices/b/up"]),
            ("chirpstack", &["application/a/device/b/event/up", "application/a/device/b/event/status"]),
        ] {
            let settings = RouteSettings { preset: Some(preset.to_owned()), ..RouteSettings::default() };
            let routes = Routes::new(&[settings]).expect("a preset");
            all.extend(topics.iter().map(|topic| (routes.clone(), *topic)));
        }
        all
    });
    &ALL
}

/// Bytes that start like CBOR: heads of every kind with lengths that may lie.
fn cbor_like() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        0xa0_u8..0xa4,
        0x80_u8..0x84,
        0x60_u8..0x64,
        0_u8..0x18,
        0x20_u8..0x38,
        0xf4_u8..0xfc,
        prop::sample::select(vec![
            0x9f_u8, 0xbf, 0xff, 0x7f, 0x5f, 0x9b, 0xbb, 0x7b, 0x5b, 0xc0, 0xc1, 0xd9, 0x1b, 0x3b, 0x61, 0x62
        ])
    ];
    prop::collection::vec(head, 0..60)
}

proptest! {
    #[test]
    fn streaming_says_what_a_tree_says(json in payload(), is_pretty in any::<bool>()) {
        let text = if is_pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
        prop_assert_eq!(streamed(text.expect("JSON").as_bytes()), plain(&json));
    }

    #[test]
    fn the_second_pass_for_digits_says_the_same(json in payload()) {
        // One number beyond 64 bits sends the whole payload through the second pass.
        let Json::Object(_) = json else { return Ok(()) };
        let text = json.to_string();
        let more = if text == "{}" { "{" } else { &format!("{},", &text[..text.len() - 1]) };
        let with_big = format!("{more}\"zz\":100000000000000000000}}");
        let expect = plain(&json).map(|(samples, skipped)| {
            let mut readings = samples.into_iter().next().unwrap_or_default();
            readings.push(("zz".to_owned(), Value::BigInteger(1e20, "100000000000000000000".into())));
            (vec![readings], skipped)
        });
        prop_assert_eq!(streamed(with_big.as_bytes()), expect);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        payload in prop_oneof![
            any::<Vec<u8>>(),
            cbor_like(),
            json().prop_map(|json| json.to_string().into_bytes()),
            "[\\[\\]{}:,\"a0-9.eE+ \\\\nultrfsp-]{0,60}".prop_map(String::into_bytes),
        ],
    ) {
        for (routes, topic) in every_decoder() {
            let route = routes.find(topic).expect("the route");
            let result = route.decode(&message(topic, &payload), &mut Names::new());
            prop_assert!(result.as_ref().err().is_none_or(|e| DecodeError::SLUGS.contains(&e.slug())));
            for sample in result.into_iter().flat_map(|decoded| decoded.samples) {
                prop_assert!(!sample.readings.is_empty());
                prop_assert!(sample.readings.iter().all(|r| r.value.number().is_none_or(f64::is_finite)));
                prop_assert!(sample.readings.len() <= limit::MESSAGE_READINGS_MAX);
            }
        }
        for decode in ["json", "cbor"] {
            let routes = crate::routes(&format!("id = \"a.b\"\ndecode = \"{decode}\""));
            drop(routes.find("a").expect("the route").message_id(&payload));
        }
    }

    #[test]
    fn a_payload_cut_anywhere_is_refused_or_empty(cut in 0_usize..130) {
        let whole = r#"{"ts":1423072260000,"temperature":23.18,"humidity":27.272,"light":426,"co2":721.25,"x":{"y":[1,"é"]},"occupancy":true}"#;
        let payload = &whole.as_bytes()[..cut.min(whole.len() - 1)];
        prop_assert_eq!(streamed(payload).is_ok(), payload.is_empty());
    }

    #[test]
    fn every_sample_has_its_own_time_or_says_so(ts in any::<i64>()) {
        let message = message("dt/office-1/climate", format!(r#"{{"ts":{ts},"a":1}}"#).as_bytes());
        let routes = Routes::default();
        let decoded = routes.find(&message.topic).expect("the route").decode(&message, &mut Names::new());
        let sample = decoded.expect("it decodes").samples.remove(0);
        let is_receipt = sample.flags.contains(Flags::RECEIPT_TIME);
        prop_assert_eq!(is_receipt, sample.flags.contains(Flags::IMPLAUSIBLE_TIME));
        prop_assert!(sample.time <= at(RECEIVED).plus_micros(limit::CLOCK_AHEAD_MICROS_MAX));
        prop_assert!(sample.time >= Timestamp::parse("2000-01-08T00:00:00Z").expect("a time"));
    }
}
