//! What a channel's settings do to its readings.

use host::sim::Machine;
use model::ChannelSettings;
use proptest::prelude::*;

use crate::support::{START, csv, open, open_channels, records, telemetry};

const SQL: &str = "SELECT channel, value, text FROM readings ORDER BY channel, time, value, text";

#[test]
fn events_of_one_moment_stay_side_by_side_and_repeats_do_not() {
    let store = open(&Machine::new(1).host());
    let log = |text: &str| telemetry("a", START, &format!(r#""log":"{text}","t":"{text}""#));
    store.apply(&records(1, ["boot", "wifi up", "boot"].map(log)));
    let expect = "channel,value,text\nlog,,boot\nlog,,wifi up\nt,,boot\n";
    assert_eq!(csv(&store, SQL), expect);
    store.flush().expect("written");
    assert_eq!(csv(&store, SQL), expect);
    store.apply(&records(4, ["wifi up", "mqtt up"].map(log)));
    let expect = "channel,value,text\nlog,,boot\nlog,,mqtt up\nlog,,wifi up\nt,,mqtt up\n";
    assert_eq!(csv(&store, SQL), expect);
    store.flush().expect("written");
    assert_eq!(csv(&store, SQL), expect);
    assert_eq!(csv(&store, "SELECT count(*) AS n FROM readings"), "n\n4\n");
    assert_eq!(csv(&store, "SELECT time FROM readings WHERE text = 'boot'"), "time\n2026-11-22T00:00:00Z\n");
    store.compact().expect("merged");
    assert_eq!((store.series().stats().files, csv(&store, SQL).as_str()), (1, expect));
    let tally = store.series().stats().tally;
    assert_eq!((tally.readings, tally.stored()), (10, 4), "{tally:?}");
    assert_eq!(csv(&store, "SELECT text FROM latest WHERE channel = 'log'"), "text\nwifi up\n");
}

#[test]
fn a_value_that_cannot_be_true_is_stored_flagged_and_counted() {
    let bounds = ChannelSettings {
        name: "temperature".to_owned(),
        min: Some(-40.0),
        max: Some(85.0),
        ..ChannelSettings::default()
    };
    let store = open_channels(&Machine::new(1).host(), &[bounds]);
    let sent =
        [r#""temperature":85,"co2":127"#, r#""temperature":127.5,"co2":400"#, r#""temperature":"hot""#];
    store.apply(&records(1, (0..).zip(sent).map(|(n, fields)| telemetry("a", START + n, fields))));
    let sql = "SELECT channel, value, flags FROM readings ORDER BY channel, time";
    let expect =
        "channel,value,flags\nco2,127,0\nco2,400,0\ntemperature,85,0\ntemperature,127.5,64\ntemperature,,0\n";
    assert_eq!(csv(&store, sql), expect);
    store.flush().expect("written");
    assert_eq!(csv(&store, sql), expect);
    let tally = store.series().stats().tally;
    assert_eq!(tally.out_of_range.into_iter().collect::<Vec<_>>(), [("temperature".to_owned(), 1)]);
    assert_eq!(tally.readings, 5);
}

#[test]
fn what_is_known_of_channels_is_a_table() {
    let paced = ChannelSettings {
        name: "door".to_owned(),
        kind: Some("event".to_owned()),
        interval: Some(std::time::Duration::from_secs(90)),
        ..ChannelSettings::default()
    };
    let store = open_channels(&Machine::new(1).host(), &[paced]);
    let minute = 60_000_000;
    // A minute apart, with an outage, and one that comes late.
    let times = [0, 1, 2, 60, 61, 62, 63, 30];
    let sent =
        times.map(|n| telemetry("a", START + n * minute, r#""temperature":21,"energy":1,"door":"open""#));
    store.apply(&records(1, sent));
    assert_eq!(
        csv(&store, "SELECT * FROM channels WHERE device = 'a'"),
        "device,channel,unit,kind,min,max,hold_s,interval_s,rollover,type\n\
         a,door,,event,,,0,90,,text\n\
         a,energy,kW.h,counter,,,,60,,number\n\
         a,temperature,Cel,gauge,,,,60,,number\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever comes first, and wherever memory is written out or files are merged.
    #[test]
    fn what_is_appended_is_a_set(
        sent in prop::collection::vec((0..4_i64, 0..4_u8, any::<bool>()), 1..60),
        cuts in prop::collection::vec(0..60_usize, 0..5),
    ) {
        let store = open(&Machine::new(1).host());
        let mut expect = std::collections::BTreeSet::new();
        for (n, (minute, value, is_text)) in sent.iter().enumerate() {
            let at = START + minute * 60_000_000;
            let value = if *is_text { format!("\"w{value}\"") } else { format!("{value}") };
            let message = telemetry("a", at, &format!(r#""log":{value}"#));
            store.apply(&records(n as u64 + 1, [message]));
            expect.insert((at, value.trim_matches('"').to_owned()));
            if cuts.contains(&n) {
                store.flush().expect("written");
                if n % 2 == 0 {
                    store.compact().expect("merged");
                }
            }
        }
        let sql = "SELECT time, value, text FROM readings ORDER BY time, value, text";
        let expect: String = "time,value,text\n".to_owned() + &expect.iter().map(|(at, said)| {
            let time = model::Timestamp::from_micros(*at);
            if said.starts_with('w') { format!("{time},,{said}\n") } else { format!("{time},{said},\n") }
        }).collect::<String>();
        prop_assert_eq!(csv(&store, sql), expect.clone());
        store.flush().expect("written");
        prop_assert_eq!(csv(&store, sql), expect.clone());
        store.compact().expect("merged");
        prop_assert_eq!(csv(&store, sql), expect);
    }
}
