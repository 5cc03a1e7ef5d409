//! Files as they come, and the rows that must come of them.

use jiff::tz::TimeZone;

use super::row::{Channels, Format, Precision, Reading, Rows};
use crate::command::recording::unreadable::Unreadable;

fn reading() -> Reading {
    Reading {
        device: None,
        zone: TimeZone::UTC,
        time: None,
        device_column: None,
        channel_column: None,
        value_column: None,
        precision: Precision::Ns,
        channels: Channels::MeasurementField,
        device_tags: Vec::new(),
        channel_tags: Vec::new(),
    }
}

fn one(name: &str) -> Reading {
    Reading { device: Some(model::DeviceName::parse(name.to_owned()).expect("a name")), ..reading() }
}

/// Each line of `expect` is `device time fields`, or `line N: why`.
fn check(format: Format, text: &str, reading: &Reading, expect: &[&str]) {
    let got: Vec<String> = match Rows::open(format, text.as_bytes(), text.as_bytes(), reading) {
        Err(error) => vec![error.to_string()],
        Ok(rows) => rows
            .map(|row| match row.expect("memory can be read") {
                Ok(row) => format!("{} {} {}", row.device, row.time, row.fields),
                Err(bad) => format!("line {}: {}", bad.line, bad.why),
            })
            .collect(),
    };
    assert_eq!(got, expect, "{text}");
}

#[test]
fn wide_csv() {
    check(
        Format::Csv,
        "time,device,Temp C,CO2,note\n2015-02-04 17:51:00,a b,21.5,,open\n2015-02-04T17:52:00Z,c,007,400,\n",
        &reading(),
        &[
            r#"a_b 2015-02-04T17:51:00Z "temp_c":21.5,"note":"open""#,
            r#"c 2015-02-04T17:52:00Z "temp_c":7,"co2":400"#,
        ],
    );
    check(
        Format::Csv,
        ",ts,x\n0,1423072260,1\n1,never,2\n2,1423072320\n3,1423072320,\n",
        &one("d"),
        &[
            r#"d 2015-02-04T17:51:00Z "x":1"#,
            "line 3: `never` in column `ts` is no time",
            "line 4: it has 2 cells; the header names 3",
            "line 5: it has no value beside its time",
        ],
    );
    check(
        Format::Csv,
        "time,x\n1423072260,1\n",
        &reading(),
        &["no column names the device; the columns are `time`, `x`"],
    );
    check(
        Format::Csv,
        "device,x\na,b\n",
        &reading(),
        &["no column holds times; the columns are `device`, `x`, the first row is `a`, `b`"],
    );
    check(
        Format::Csv,
        "time,device\n1423072260,a\n",
        &reading(),
        &["no column is left for values; the columns are `time`, `device`"],
    );
    check(
        Format::Csv,
        "time,T C,T_C\n1423072260,1,2\n",
        &one("d"),
        &["columns `T C` and `T_C` would both become `t_c`"],
    );
    check(
        Format::Csv,
        "time,x\nnever,1\n1423072260,2\n",
        &one("d"),
        &["line 2: `never` in column `time` is no time", r#"d 2015-02-04T17:51:00Z "x":2"#],
    );
    check(Format::Csv, "time,x\n", &one("d"), &["it has no rows"]);
}

#[test]
fn long_csv_is_what_a_query_prints() {
    check(
        Format::Csv,
        "time,device,channel,value,text,flags,topic,received_at\n\
         2015-02-04T17:51:00Z,a,switch:0.apower,1.5,,0,dt/a/x,2026-01-01T00:00:00Z\n\
         2015-02-04T17:51:00Z,a,state,,\"on, 007\",0,dt/a/x,2026-01-01T00:00:00Z\n\
         2015-02-04T17:51:00Z,a,code,,007,0,dt/a/x,2026-01-01T00:00:00Z\n\
         2015-02-04T17:51:00Z,a,big,9007199254740992,9007199254740993,0,dt/a/x,2026-01-01T00:00:00Z\n\
         2015-02-04T17:51:00Z,a,,1,,0,dt/a/x,2026-01-01T00:00:00Z\n",
        &reading(),
        &[
            r#"a 2015-02-04T17:51:00Z "switch:0.apower":1.5"#,
            r#"a 2015-02-04T17:51:00Z "state":"on, 007""#,
            r#"a 2015-02-04T17:51:00Z "code":"007""#,
            r#"a 2015-02-04T17:51:00Z "big":9007199254740993"#,
            "line 6: it names no channel",
        ],
    );
    let named = Reading {
        device_column: Some("Machine".to_owned()),
        channel_column: Some("sensor".to_owned()),
        value_column: Some("reading".to_owned()),
        ..reading()
    };
    check(
        Format::Csv,
        "machine;sensor;reading;at;text\nm1;temp;1,5;1423072260;x\nm1;temp;1.5;1423072260;x\n",
        &named,
        &[r#"m1 2015-02-04T17:51:00Z "temp":"1,5""#, r#"m1 2015-02-04T17:51:00Z "temp":1.5"#],
    );
    let absent = Reading { value_column: Some("v".to_owned()), ..reading() };
    check(
        Format::Csv,
        "time,device,channel,value\n1423072260,a,b,1\n",
        &absent,
        &["there is no column `v`; the columns are `time`, `device`, `channel`, `value`"],
    );
}

#[test]
fn json_lines() {
    check(
        Format::Jsonl,
        "{\"ts\":1423072260,\"device\":\"a\",\"t\":21.10,\"in\":{\"x\":[1,2]}}\n\nnonsense\n{\"device\":\"a\",\"t\":1}\n\
         {\"ts\":1423072260,\"t\":1}\n{\"ts\":1423072260,\"device\":\"a\"}\n",
        &reading(),
        &[
            r#"a 2015-02-04T17:51:00Z "t":21.10,"in":{"x":[1,2]}"#,
            "line 3: it is no JSON object: expected ident at line 1 column 2",
            "line 4: no field holds a time: name it with --time",
            "line 5: no field names the device: name it with --device, or the one device with --as",
            "line 6: it has no value beside its time",
        ],
    );
    // What a query and an export write.
    check(
        Format::Jsonl,
        "[\n{\"time\":\"2015-02-04T17:51:00Z\",\"device\":\"a\",\"channel\":\"t\",\"value\":1.5,\"text\":null},\n\
         {\"time\":\"2015-02-04T17:51:00Z\",\"device\":\"a\",\"channel\":\"s\",\"value\":null,\"text\":\"7\"}\n]\n",
        &reading(),
        &[r#"a 2015-02-04T17:51:00Z "t":1.5"#, r#"a 2015-02-04T17:51:00Z "s":"7""#],
    );
}

#[test]
fn line_protocol_becomes_devices_and_channels() {
    let text = "# from a server\n\
        weather,device=north\\ hall,room=7 temp=21.5,ok=t 1423072260000000000\n\
        weather,room=7 temp=1 1423072260000000000\n\
        weather,device=a temp=1\n\
        weather,device=a note=\"two\nlines\",temp=2 1423072260000000000\n\
        weather,device=a note=\"open,temp=2 1423072260000000000\n\
        weather,device=a temp=\"x\" 1423072260000000000\n";
    check(
        Format::Line,
        text,
        &reading(),
        &[
            r#"north_hall 2015-02-04T17:51:00Z "weather.temp":21.5,"weather.ok":true"#,
            "line 3: it has no tag `device`: name its tag with --device-tag, or the device with --as",
            "line 4: it has no time: only what has one can be imported",
            r#"a 2015-02-04T17:51:00Z "weather.note":"two\nlines","weather.temp":2"#,
            "line 7: column 23: the text that begins here has no end",
            r#"a 2015-02-04T17:51:00Z "weather.temp":"x""#,
        ],
    );
    let named = Reading {
        precision: Precision::S,
        channels: Channels::Field,
        device_tags: vec!["site".to_owned(), "unit".to_owned()],
        channel_tags: vec!["cpu".to_owned()],
        ..reading()
    };
    check(
        Format::Line,
        "load,site=x,unit=1,cpu=0 idle=1i,busy=2u 1423072260\nload,site=x,cpu=0 idle=1 1423072260\n",
        &named,
        &[
            r#"x-1 2015-02-04T17:51:00Z "0.idle":1,"0.busy":2"#,
            "line 2: it has no tag `unit`, which names its device",
        ],
    );
    let mut rows = Rows::open(Format::Line, text.as_bytes(), text.as_bytes(), &reading()).expect("opened");
    assert_eq!(rows.by_ref().count(), 6);
    assert!(rows.remark().is_some_and(|remark| remark.starts_with("tags that were left out: room;")));
}

#[test]
fn what_was_refused_and_corrected_is_read_and_its_remarks_are_passed_over() {
    let remark = "# refused line 3: `never', in column `time` is no time\n";
    check(
        Format::Csv,
        &format!("time,device,x\n{remark}2015-02-04 17:51:00,a,1\n{remark}2015-02-04 17:52:00,a,2\n"),
        &reading(),
        &[r#"a 2015-02-04T17:51:00Z "x":1"#, r#"a 2015-02-04T17:52:00Z "x":2"#],
    );
    check(
        Format::Jsonl,
        &format!("{remark}{{\"ts\":1423072260,\"device\":\"a\",\"t\":1}}\n"),
        &reading(),
        &[r#"a 2015-02-04T17:51:00Z "t":1"#],
    );
    // A device may be called so.
    check(Format::Csv, "device,time,x\n#1,1423072260,1\n", &reading(), &[r#"_1 2015-02-04T17:51:00Z "x":1"#]);
}

#[test]
fn the_format_is_told_by_the_name_then_by_the_first_character() {
    let of = |name: &str, head: &[u8]| Format::detect(name, head);
    assert_eq!(of("a.csv", b"{"), Format::Csv);
    assert_eq!(of("a.csv.gz", b"{"), Format::Csv);
    assert_eq!(of("a.NDJSON", b""), Format::Jsonl);
    assert_eq!(of("a.lp.gz.rejected", b""), Format::Line);
    assert_eq!(of("export", b"\xEF\xBB\xBF [\n"), Format::Jsonl);
    assert_eq!(of("export", b"a,b\n"), Format::Csv);
}

#[test]
fn an_error_says_what_would_be_right() {
    let error = Unreadable::NoDevice { columns: "`a`".to_owned() };
    assert!(error.hint().is_some_and(|hint| hint.contains("--as")));
}
