//! Every golden payload of `demo/payloads`: what real devices send, and exactly what comes out of it.

#![expect(clippy::disallowed_methods, reason = "golden files are read as they stand")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::sparkplug::Sparkplug;
use model::{
    DeviceName, Flags, Message, Names, Notes, Origin, Repeats, RouteSettings, Routes, Timestamp, Value,
};
use serde::Deserialize;

use crate::{at, edge, message};

/// One file; demo/payloads/README.md says what its fields mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    about: String,
    topic: String,
    payload: Option<serde_json::Value>,
    payload_hex: Option<String>,
    /// Of a Sparkplug payload: the same in words.
    payload_says: Option<Vec<String>>,
    received_at: String,
    #[serde(default)]
    origin: Sender,
    message_id: Option<String>,
    expect: Expect,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Sender {
    device: Option<String>,
    #[serde(default)]
    client_id: String,
}

#[derive(Deserialize, PartialEq, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    samples: Vec<ExpectedSample>,
    notes: Vec<String>,
    units: BTreeMap<String, String>,
    repeats: Option<String>,
    objects_skipped: u32,
    error: Option<String>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct ExpectedSample {
    device: String,
    time: String,
    flags: Vec<String>,
    readings: BTreeMap<String, Scalar>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Scalar {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
struct Config {
    route: Vec<RouteSettings>,
}

/// The folder, asked when it runs: checkouts may share what one of them built.
fn folder() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    Path::new(&here).join("../../demo/payloads")
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

fn bytes(golden: &Golden) -> Vec<u8> {
    match (&golden.payload, &golden.payload_hex) {
        (None, Some(digits)) => hex(digits),
        (Some(serde_json::Value::String(text)), None) => text.clone().into_bytes(),
        (Some(json), None) => json.to_string().into_bytes(),
        _ => panic!("one of `payload` and `payload_hex`"),
    }
}

fn lower(names: impl Iterator<Item = (&'static str, impl Sized)>) -> Vec<String> {
    names.map(|(name, _)| name.to_lowercase()).collect()
}

/// What a message comes to, as a golden file writes it; `nodes` is what the messages before it told of edge nodes.
fn comes_to(routes: &Routes, nodes: &mut Sparkplug, message: &Message) -> Expect {
    let Some(route) = routes.find(&message.topic) else { return Expect::default() };
    let mut decoded = match route.decode(message, &mut Names::new()) {
        Ok(decoded) => decoded,
        Err(error) => return Expect { error: Some(error.slug().to_owned()), ..Expect::default() },
    };
    let mut notes = lower(decoded.notes.iter_names());
    if let Some(heard) = decoded.sparkplug.take() {
        let told = nodes.take(*heard);
        notes.extend(lower(told.noted.iter_names()).iter().map(|name| format!("sparkplug_{name}")));
        (decoded.samples, decoded.units) = (told.samples, told.units);
    }
    let sample = |sample: model::Sample| ExpectedSample {
        device: sample.device.to_string(),
        time: sample.time.to_string(),
        flags: lower(sample.flags.iter_names()),
        readings: sample
            .readings
            .into_iter()
            .map(|reading| {
                let value = match reading.value {
                    Value::Number(number) => Scalar::Number(number),
                    Value::Text(text) | Value::BigInteger(_, text) => Scalar::Text(text.to_string()),
                };
                (reading.channel.to_string(), value)
            })
            .collect(),
    };
    Expect {
        samples: decoded.samples.into_iter().map(sample).collect(),
        notes,
        units: decoded.units.iter().map(|unit| (unit.channel.to_string(), unit.unit.to_string())).collect(),
        repeats: (decoded.repeats == Repeats::NotNewer).then(|| "not_newer".to_owned()),
        objects_skipped: decoded.objects_skipped,
        error: None,
    }
}

#[test]
fn every_golden_payload_comes_to_what_it_expects() {
    let folder = folder();
    let text = std::fs::read_to_string(folder.join("routes.toml")).expect("routes.toml is there");
    let config: Config = toml::from_str(&text).expect("routes");
    let routes = Routes::new(&config.route).expect("routes");
    let mut wrong = Vec::new();
    let mut counts = BTreeMap::new();
    for kind in std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path()) {
        if !kind.is_dir() {
            continue;
        }
        let mut nodes = Sparkplug::default();
        for path in files(&kind) {
            let text = std::fs::read_to_string(&path).expect("readable");
            let golden: Golden =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(!golden.about.is_empty(), "{}: say what it shows", path.display());
            *counts.entry(kind.file_name().expect("a name").to_string_lossy().into_owned()).or_insert(0) += 1;

            if let Some(says) = &golden.payload_says {
                assert_eq!(edge::says(&bytes(&golden)).as_ref(), Some(says), "{}", path.display());
            }
            let mut message = message(&golden.topic, &bytes(&golden));
            let device = golden.origin.device.as_deref().map(|name| DeviceName::parse(name).expect("a name"));
            let client_id = golden.origin.client_id.as_str().into();
            message.origin = Origin { device, client_id, ..Origin::inside(1) }.into();
            message.received_at = Timestamp::parse(&golden.received_at).expect("a time");
            // As the door does.
            let id = routes.find(&golden.topic).and_then(|route| route.message_id(&message.payload));
            message.message_id = id;

            let got = comes_to(&routes, &mut nodes, &message);
            if got != golden.expect {
                wrong.push(format!("{}\n  got  {got:?}\n  want {:?}", path.display(), golden.expect));
            }
            if message.message_id.as_deref() != golden.message_id.as_deref() {
                wrong.push(format!("{}: message id {:?}", path.display(), message.message_id));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {counts:?}:\n{}", wrong.len(), wrong.join("\n"));
    for preset in ["tasmota", "zigbee2mqtt", "shelly", "esphome", "ttn", "chirpstack"] {
        assert!(counts.get(preset).is_some_and(|count| *count >= 6), "{preset}: {counts:?}");
    }
    for decoder in ["senml", "cbor", "cayenne", "log", "sparkplug"] {
        assert!(counts.contains_key(decoder), "{decoder}: {counts:?}");
    }
}

/// Payloads cut and changed anywhere are refused or read, and never more than that.
#[test]
fn every_golden_payload_cut_or_changed_anywhere_is_refused_or_read() {
    let text = std::fs::read_to_string(folder().join("routes.toml")).expect("routes.toml is there");
    let config: Config = toml::from_str(&text).expect("routes");
    let routes = Routes::new(&config.route).expect("routes");
    let (mut names, mut nodes) = (Names::new(), Sparkplug::default());
    let mut tried = 0;
    for path in files(&folder()) {
        let golden: Golden =
            serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON");
        let whole = bytes(&golden);
        let Some(route) = routes.find(&golden.topic) else { continue };
        let mut check = |payload: Vec<u8>| {
            let mut message = message(&golden.topic, b"");
            message.payload = Bytes::from(payload);
            drop(route.message_id(&message.payload));
            let Ok(mut decoded) = route.decode(&message, &mut names) else { return tried += 1 };
            if let Some(heard) = decoded.sparkplug.take() {
                decoded.samples = nodes.take(*heard).samples;
            }
            for sample in decoded.samples {
                assert!(!sample.readings.is_empty());
                assert!(
                    sample.flags.contains(Flags::RECEIPT_TIME) || sample.time >= at("2000-01-08T00:00:00Z")
                );
            }
            tried += 1;
        };
        for at in 0..whole.len() {
            check(whole[..at].to_vec());
            for change in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                check(changed);
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

/// Every golden file, in the order in which they are sent.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => files(&path),
            Some(extension) if extension == "json" => vec![path],
            _ => Vec::new(),
        })
        .collect();
    files.sort();
    files
}

/// What an operator hears of, by the names that are stored.
#[test]
fn notes_have_the_names_that_doctor_knows() {
    assert_eq!(lower(Notes::NOT_FORMATTED.iter_names()), ["not_formatted"]);
    assert_eq!(lower(Notes::ZONE_MISSING.iter_names()), ["zone_missing"]);
}
