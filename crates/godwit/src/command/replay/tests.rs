//! Recordings as they come, and the messages that must come of them.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::rows::{BadRow, Format, Reading, Row, Rows};
use crate::command::recording::unreadable::Unreadable;

fn open(format: Format, text: &str, time: Option<&str>) -> Result<Vec<Result<Row, BadRow>>, Unreadable> {
    let reading = Reading { zone: TimeZone::UTC, time: time.map(str::to_owned) };
    let rows = Rows::open(format, text.as_bytes(), text.as_bytes(), &reading)?;
    Ok(rows.map(|item| item.expect("memory can be read")).collect())
}

/// Each line of `expect` is a payload, or `line N: why`.
fn check(format: Format, text: &str, time: Option<&str>, expect: &[&str]) {
    let got: Vec<String> = match open(format, text, time) {
        Err(error) => vec![error.to_string()],
        Ok(rows) => rows
            .into_iter()
            .map(|row| match row {
                Ok(row) => String::from_utf8(row.payload).expect("text"),
                Err(bad) => format!("line {}: {}", bad.line, bad.why),
            })
            .collect(),
    };
    assert_eq!(got, expect, "{text}");
}

fn csv(text: &str, expect: &[&str]) {
    check(Format::Csv, text, None, expect);
}

fn jsonl(text: &str, expect: &[&str]) {
    check(Format::Jsonl, text, None, expect);
}

#[test]
fn the_shape_of_the_office_recording_is_understood() {
    csv(
        "\"date\",\"Temperature\",\"Humidity\",\"Light\",\"CO2\",\"HumidityRatio\",\"Occupancy\"\n\
         \"1\",\"2015-02-04 17:51:00\",23.18,27.272,426,721.25,0.00479298817650529,1\n\
         \"2\",\"2015-02-04 17:51:59\",23.15,27.2675,429.5,714,0.00478344094931065,1\n",
        &[
            r#"{"ts":1423072260000,"temperature":23.18,"humidity":27.272,"light":426,"co2":721.25,"humidityratio":0.00479298817650529,"occupancy":1}"#,
            r#"{"ts":1423072319000,"temperature":23.15,"humidity":27.2675,"light":429.5,"co2":714,"humidityratio":0.00478344094931065,"occupancy":1}"#,
        ],
    );
}

#[test]
fn csv_as_it_comes() {
    csv(
        "timestamp,value\n2013-07-04 00:00:00,69.88083514\n",
        &[r#"{"ts":1372896000000,"value":69.88083514}"#],
    );
    // Pandas names its row number with nothing.
    csv(",ts,T\n0,1423072260,1\n", &[r#"{"ts":1423072260000,"t":1}"#]);
    csv("T (°C);Zeit;time\n1;x;2015-02-04\n", &[r#"{"ts":1423008000000,"t___c_":1,"zeit":"x"}"#]);
    csv("time\ta.b\r\n1423072260\t1\r\n", &[r#"{"ts":1423072260000,"a_b":1}"#]);
    csv("Date,Time,v\n2015-02-04,17:51:00,1\n", &[r#"{"ts":1423072260000,"v":1}"#]);
    // The first column that holds times, when none is named so.
    csv("v,when\n3,2015-02-04T17:51:00Z\n", &[r#"{"ts":1423072260000,"v":3}"#]);
    // A column that is named so and holds none is a channel like others.
    csv("date,when,v\nmonday,2015-02-04,3\n", &[r#"{"ts":1423008000000,"date":"monday","v":3}"#]);
    csv("ts,a,,b\n1423072260,1,2,3\n", &[r#"{"ts":1423072260000,"a":1,"column_3":2,"b":3}"#]);
    csv("ts,a,b\n1423072260,,x y\n", &[r#"{"ts":1423072260000,"b":"x y"}"#]);
    csv(
        "ts,a\n1423072260,\"x\n\"\"y\"\"\"\n1423072261,2\n",
        &[r#"{"ts":1423072260000,"a":"x\n\"y\""}"#, r#"{"ts":1423072261000,"a":2}"#],
    );
    // No line end at the end of the file.
    csv("ts,a\n1423072260,1", &[r#"{"ts":1423072260000,"a":1}"#]);
}

#[test]
fn bad_rows_are_named_and_stop_no_other() {
    csv(
        "ts,a\n1423072260,1\nsoon,2\n1423072262\n1423072263,4,5\n1423072264,\n\n1423072265,6\n",
        &[
            r#"{"ts":1423072260000,"a":1}"#,
            "line 3: `soon` in column `ts` is no time",
            "line 4: it has 1 cells; the header names 2",
            "line 5: it has 3 cells; the header names 2",
            "line 6: it has no value beside its time",
            r#"{"ts":1423072265000,"a":6}"#,
        ],
    );
    jsonl(
        "{\"ts\":1423072260,\"a\":1}\nnonsense\n[1]\n{\"a\":1}\n{\"ts\":1423072260}\n\n{\"time\":\"2015-02-04\",\"TS\":\"x\"}\n",
        &[
            r#"{"ts":1423072260000,"a":1}"#,
            "line 2: it is no JSON object: expected ident at line 1 column 2",
            "line 3: it is no JSON object: invalid type: sequence, expected an object at line 1 column 0",
            "line 4: no field holds a time: name it with --time",
            "line 5: it has no value beside its time",
            "line 7: it has a field `TS` beside its time: name the one that counts with --time",
        ],
    );
}

#[test]
fn what_is_no_recording_is_refused_with_its_reason() {
    csv("", &["it has no rows"]);
    csv("ts,a\n", &["it has no rows"]);
    csv("a,b\n1,x\n", &["no column holds times; the columns are `a`, `b`, the first row is `1`, `x`"]);
    csv("ts,a b,a-b\n1423072260,1,2\n", &["columns `a b` and `a-b` would both become `a_b`"]);
    csv("date,ts\n2015-02-04,7\n", &["columns `the time` and `ts` would both become `ts`"]);
    check(
        Format::Csv,
        "ts,a\n1423072260,1\n",
        Some("when"),
        &["there is no column `when`; the columns are `ts`, `a`"],
    );
    check(
        Format::Csv,
        "T1,T2\n2015-02-04,2015-02-05\n",
        Some("t2"),
        &[r#"{"ts":1423094400000,"t1":"2015-02-04"}"#],
    );
}

#[test]
fn json_lines_stay_as_they_are_but_for_their_time() {
    jsonl(
        "{\"Time\":\"2015-02-04T17:51:00Z\",\"B\":1.0,\"a\":{\"x\":[1, 2]},\"n\":null,\"é\":\"\\u00e9\"}\n",
        &[r#"{"ts":1423072260000,"B":1.0,"a":{"x":[1, 2]},"n":null,"é":"\u00e9"}"#],
    );
    jsonl("{\"v\":2,\"at\":1423072260123}\r\n", &[r#"{"ts":1423072260123,"v":2}"#]);
    check(
        Format::Jsonl,
        "{\"v\":2,\"ts\":1,\"at\":1423072260}\n{\"v\":2,\"at\":1423072260}",
        Some("at"),
        &[
            "line 1: it has a field `ts` beside its time: name the one that counts with --time",
            r#"{"ts":1423072260000,"v":2}"#,
        ],
    );
}

#[test]
fn the_format_is_known_by_the_name_or_the_first_character() {
    assert_eq!(Format::detect("a.CSV", b"{"), Format::Csv);
    assert_eq!(Format::detect("a.ndjson", b""), Format::Jsonl);
    assert_eq!(Format::detect("recording", b"\xEF\xBB\xBF \n{\"a\":1}"), Format::Jsonl);
    assert_eq!(Format::detect("recording", b"a,b\n"), Format::Csv);
}

proptest! {
    #[test]
    fn every_row_becomes_exactly_its_json(
        rows in prop::collection::vec((0_i64..4_000_000_000_000, prop::collection::vec(cell(), 3)), 1..40),
    ) {
        let start = 950_000_000_000_000_i64;
        let mut text = String::from("\"ts\",\"Temp\",\"open\",\"note\"\n");
        let mut expect = Vec::new();
        for (offset, cells) in &rows {
            let micros = start + offset;
            let time = model::Timestamp::from_micros(micros).to_string();
            let quoted: Vec<String> = cells.iter().map(|(cell, _)| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            text += &format!("{time},{}\n", quoted.join(","));
            let mut object = serde_json::Map::new();
            for (name, (_, value)) in ["temp", "open", "note"].into_iter().zip(cells) {
                if let Some(value) = value {
                    object.insert(name.to_owned(), value.clone());
                }
            }
            expect.push((micros, object));
        }
        let got = open(Format::Csv, &text, None).expect("a recording");
        prop_assert_eq!(got.len(), expect.len());
        for (row, (micros, object)) in got.into_iter().zip(expect) {
            match row {
                Err(bad) => prop_assert!(object.is_empty(), "line {}: {}", bad.line, bad.why),
                Ok(row) => {
                    prop_assert_eq!(row.time.micros(), micros);
                    let mut sent: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&row.payload).expect("JSON");
                    let ts = sent.remove("ts").and_then(|ts| ts.as_f64()).expect("a time");
                    prop_assert_eq!((ts * 1000.0).round() as i64, micros);
                    prop_assert_eq!(sent, object);
                }
            }
        }
    }
}

/// A cell and the JSON it must become.
fn cell() -> impl Strategy<Value = (String, Option<serde_json::Value>)> {
    prop_oneof![
        Just((String::new(), None)),
        any::<i64>().prop_map(|number| (number.to_string(), Some(number.into()))),
        (-1e9_f64..1e9).prop_map(|number| (
            format!("{number:.6}"),
            format!("{number:.6}").parse::<f64>().ok().map(Into::into)
        )),
        "[a-z\" ,;\n]{0,8}x".prop_map(|text| (text.clone(), Some(text.trim().into()))),
    ]
}
