//! JSON, rule by rule.

use std::fmt::Write as _;

use model::{Names, Notes, Qos, Routes, Value, limit};

use crate::{decode, decode_by, message, told};

/// The readings of one sample without time: `a=1 b=2`.
fn check(payload: &str, expect: &str) {
    let told = told(decode(payload));
    let told = told.strip_prefix("office-1 - 17 ").unwrap_or(&told);
    assert_eq!(told, expect, "{payload}");
}

#[test]
fn scalars_become_readings() {
    check(r#"{"a":1}"#, "a=1");
    check(r#"{"a":-0.5e3}"#, "a=-500");
    check(
        r#"{"a":0.1,"b":0.30000000000000004,"c":5e-324}"#,
        &format!("a=0.1 b=0.30000000000000004 c={}", 5e-324),
    );
    check(r#"{"on":true,"off":false}"#, "on=1 off=0");
    check(r#"{"mode":"auto","n":"23.5","e":""}"#, r#"mode="auto" n="23.5" e="""#);
    check(r#"{"mode":"S\u00fcd \ud83d\ude00"}"#, r#"mode="Süd 😀""#);
}

#[test]
fn words_for_no_value_are_no_reading() {
    check(r#"{"a":null,"b":"nan","c":"NaN","d":"None","e":"unavailable","f":1}"#, "f=1");
}

#[test]
fn whole_numbers_beyond_2_to_the_53_keep_their_digits() {
    check(r#"{"a":9007199254740992}"#, "a=9007199254740992");
    check(r#"{"a":-9007199254740992}"#, "a=-9007199254740992");
    check(r#"{"a":9007199254740993}"#, "a=9.007199254740992e15~9007199254740993");
    check(r#"{"a":-9007199254740993}"#, "a=-9.007199254740992e15~-9007199254740993");
    check(r#"{"a":18446744073709551615}"#, "a=1.8446744073709552e19~18446744073709551615");
    check(r#"{"a":18446744073709551616}"#, "a=1.8446744073709552e19~18446744073709551616");
    check(r#"{"a":-9223372036854775809}"#, "a=-9.223372036854776e18~-9223372036854775809");
    check(
        r#"{"s":"x","a": [1, 123456789012345678901234567890 ],"b":{"c":0.5},"n":null}"#,
        r#"s="x" a.0=1 a.1=1.2345678901234568e29~123456789012345678901234567890 b.c=0.5"#,
    );
    check(r#"{"a":1e30}"#, &format!("a={}", 1e30));
}

#[test]
fn nested_names_are_joined() {
    check(r#"{"a":{"b":{"c":1},"d":2},"e":3}"#, "a.b.c=1 a.d=2 e=3");
    check(r#"{"a":[1,true,"x",null,5]}"#, r#"a.0=1 a.1=1 a.2="x" a.4=5"#);
    check(r#"{"a":[[1,2],[3]],"b":4}"#, "a.0.0=1 a.0.1=2 a.1.0=3 b=4");
    check(r#"{"a":{},"b":[],"c":1}"#, "c=1");
    check(r#"{"":{"a":1}}"#, ".a=1");
}

#[test]
fn a_list_of_objects_at_the_top_is_several_samples() {
    assert_eq!(
        told(decode(r#"[{"ts":1423072260,"a":1},{"a":2},{},{"ts":1423072320,"a":3,"b":4}]"#)),
        "office-1 2015-02-04T17:51:00Z 0 a=1\noffice-1 - 17 a=2\noffice-1 2015-02-04T17:52:00Z 0 a=3 b=4"
    );
}

#[test]
fn objects_in_lists_further_inside_are_skipped_and_counted() {
    let decoded = decode(r#"{"a":[1,{"b":2},[{"c":{"d":3}}],4],"e":5}"#).expect("it decodes");
    assert_eq!((decoded.objects_skipped, decoded.notes), (2, Notes::OBJECTS_SKIPPED));
    assert_eq!(told(Ok(decoded)), "office-1 - 17 a.0=1 a.3=4 e=5");
}

#[test]
fn of_one_channel_twice_the_last_wins() {
    check(r#"{"a":1,"b":2,"a":3}"#, "b=2 a=3");
    check(r#"{"a":{"b":1},"a.b":2}"#, "a.b=2");
    check(r#"{"a":1,"a":null}"#, "a=1");
    let mut many = String::from("{");
    for n in 0..100 {
        write!(many, r#""c{}":{n},"#, n % 50).expect("text");
    }
    many.push_str(r#""z":0}"#);
    let decoded = decode(&many).expect("it decodes");
    assert_eq!(decoded.readings(), 51);
    assert_eq!(decoded.samples[0].readings[0].value, Value::Number(50.0));
}

#[test]
fn the_time_is_taken_out_of_the_readings() {
    let check = |payload, expect| assert_eq!(told(decode(payload)), expect, "{payload}");
    check(r#"{"ts":1423072260000,"a":1}"#, "office-1 2015-02-04T17:51:00Z 0 a=1");
    check(r#"{"a":1,"TIME":"2015-02-04T17:51:00Z"}"#, "office-1 2015-02-04T17:51:00Z 0 a=1");
    check(r#"{"a":1,"Timestamp":"1423072260.5"}"#, "office-1 2015-02-04T17:51:00.5Z 0 a=1");
    // The best name wins, wherever it stands; the others are readings.
    check(r#"{"time":7,"ts":1423072260,"a":1}"#, "office-1 2015-02-04T17:51:00Z 0 time=7 a=1");
    check(r#"{"ts":1423072260,"time":"x"}"#, r#"office-1 2015-02-04T17:51:00Z 0 time="x""#);
    check(r#"{"timestamp":1,"time":1423072260,"a":1}"#, "office-1 2015-02-04T17:51:00Z 0 timestamp=1 a=1");
    // Null is no time, and a boolean is none either.
    check(r#"{"ts":null,"time":1423072260,"a":1}"#, "office-1 2015-02-04T17:51:00Z 0 a=1");
    check(r#"{"ts":true,"a":1}"#, "office-1 - 17 ts=1 a=1");
    // Only at the top.
    check(r#"{"s":{"ts":1423072260},"a":1}"#, "office-1 - 17 s.ts=1423072260 a=1");
    // What cannot be true: time of receipt (1), implausible (2), and so no identity (16).
    check(r#"{"ts":"9999-12-31T23:59:59Z","a":1}"#, "office-1 - 19 a=1");
    check(r#"{"ts":12345,"a":1}"#, "office-1 - 19 a=1");
}

#[test]
fn a_route_names_the_time_its_unit_and_its_zone() {
    let check =
        |toml, payload, expect| assert_eq!(told(decode_by(toml, payload)), expect, "{toml} {payload}");
    let at_field = r#"time = { field = "m.at", unit = "s" }"#;
    check(at_field, r#"{"m":{"at":1423072260},"ts":5,"a":1}"#, "meter-7 2015-02-04T17:51:00Z 0 ts=5 a=1");
    check(at_field, r#"{"ts":1423072260,"a":1}"#, "meter-7 - 17 ts=1423072260 a=1");
    check(r#"time = { unit = "ms" }"#, r#"{"ts":1423072260,"a":1}"#, "meter-7 - 19 a=1");
    check(r#"time = { not_before = "2020-01-01" }"#, r#"{"ts":1423072260,"a":1}"#, "meter-7 - 19 a=1");
    check(
        r#"time = { zone = "UTC" }"#,
        r#"{"ts":"2015-02-04 17:51:00","a":1}"#,
        "meter-7 2015-02-04T17:51:00Z 0 a=1",
    );

    let without = decode(r#"{"ts":"2015-02-04 17:51:00","a":1}"#).expect("it decodes");
    assert_eq!(without.notes, Notes::ZONE_MISSING);
    assert_eq!(told(Ok(without)), "office-1 - 17 a=1");
}

#[test]
fn the_id_and_the_device_are_taken_out_of_the_readings() {
    let check =
        |toml, payload, expect| assert_eq!(told(decode_by(toml, payload)), expect, "{toml} {payload}");
    check(r#"id = "msg.id""#, r#"{"msg":{"id":17,"n":2},"a":1}"#, "meter-7 - 1 msg.n=2 a=1");
    check(r#"id = "msg.id""#, r#"{"a":1}"#, "meter-7 - 17 a=1");
    check(r#"device = "payload(dev.eui)""#, r#"{"dev":{"eui":"A8 40"},"a":1}"#, "A8_40 - 17 a=1");
    check(
        r#"device = "payload(n)""#,
        r#"[{"n":1,"a":1},{"n":18446744073709551616,"a":2}]"#,
        "1 - 17 a=1\n18446744073709551616 - 17 a=2",
    );
    check(
        r#"device = "payload(n)""#,
        r#"[{"n":1,"a":1},{"a":2}]"#,
        "decode.no_device: no device: `payload(n)` finds none here",
    );
    let routes = crate::routes(r#"id = "msg.id""#);
    let route = routes.find("a").expect("the route");
    assert_eq!(route.message_id(br#"{"msg":{"id":17}}"#).as_deref(), Some("17"));
    assert_eq!(route.message_id(format!(r#"{{"msg.id":"{}"}}"#, "x".repeat(257)).as_bytes()), None);
    assert_eq!(Routes::default().find("dt/a").expect("the route").message_id(br#"{"id":1}"#), None);
}

#[test]
fn a_message_that_a_retry_would_double_is_flagged() {
    let flags = |change: fn(&mut model::Message)| {
        let mut message = message("dt/office-1/climate", br#"{"a":1}"#);
        change(&mut message);
        let routes = Routes::default();
        let decoded = routes.find(&message.topic).expect("the route").decode(&message, &mut Names::new());
        decoded.expect("it decodes").samples[0].flags.bits()
    };
    assert_eq!(flags(|_| ()), 17);
    assert_eq!(flags(|m| m.qos = Qos::AtMostOnce), 17);
    assert_eq!(flags(|m| m.qos = Qos::ExactlyOnce), 1);
    assert_eq!(flags(|m| m.message_id = Some("x".into())), 1);
}

#[test]
fn a_message_without_readings_is_no_error() {
    for payload in ["", "{}", "[]", "[{}]", r#"{"ts":1423072260}"#, r#"{"a":null,"b":{}}"#] {
        let decoded = decode(payload).expect(payload);
        assert_eq!((decoded.samples.len(), decoded.notes), (0, Notes::NO_READINGS), "{payload}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let check = |payload: &[u8], expect: &str| {
        let message = message("dt/office-1/climate", payload);
        let routes = Routes::default();
        let route = routes.find(&message.topic).expect("the route");
        assert_eq!(told(route.decode(&message, &mut Names::new())), expect);
    };
    check(b"{\"a\" 1}", "decode.not_json: payload is not JSON at line 1 column 6 near `a`: expected `:`");
    check(
        b"{\"a\":\n{\"b\":NaN}}",
        "decode.not_json: payload is not JSON at line 2 column 6 near `a.b`: expected value",
    );
    check(
        b"{\"a\":1",
        "decode.not_json: payload is not JSON at line 1 column 6: EOF while parsing an object",
    );
    check(b"{\"a\":1} x", "decode.not_json: payload is not JSON at line 1 column 9: trailing characters");
    check(b"hello", "decode.not_json: payload is not JSON at line 1 column 1: expected value");
    check(b" ", "decode.not_json: payload is not JSON at line 1 column 1: EOF while parsing a value");
    check(b"{\"a\":\"\xff\"}", "decode.not_utf8: payload is not UTF-8 at byte 6");
    check(
        b"23.18",
        "decode.not_an_object: payload is a number; readings come as an object or a list of objects",
    );
    check(
        b"\"on\"",
        "decode.not_an_object: payload is a text; readings come as an object or a list of objects",
    );
    check(b"null", "decode.not_an_object: payload is null; readings come as an object or a list of objects");
    check(
        b"[1,2]",
        "decode.not_an_object: payload is a list of something else; readings come as an object or a list of objects",
    );
    check(
        b"[{\"a\":1},[]]",
        "decode.not_an_object: payload is a list of something else; readings come as an object or a list of objects",
    );
    assert!(decode("23.18").unwrap_err().hint().is_some_and(|hint| hint.contains("number")));
}

#[test]
fn a_number_that_is_not_finite_is_refused_by_name() {
    check(r#"{"b":1,"a":{"x":1e999}}"#, "decode.not_finite: field `a.x` is not a finite number");
    check(r#"{"a":[0,-1e400]}"#, "decode.not_finite: field `a.1` is not a finite number");
    let digits = "9".repeat(400);
    check(&format!(r#"{{"a":{digits}}}"#), "decode.not_finite: field `a` is not a finite number");
}

#[test]
fn every_bound_is_kept() {
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    assert_eq!(decode(&nested(16)).expect("16 levels").readings(), 1);
    assert_eq!(decode(&nested(17)).unwrap_err().slug(), "decode.too_deep");
    assert_eq!(decode(&nested(100_000)).unwrap_err().slug(), "decode.too_deep");
    assert_eq!(decode(&format!(r#"{{"a":{}"#, "[".repeat(100_000))).unwrap_err().slug(), "decode.too_deep");

    let many = |n: usize| format!(r#"{{"a":[{}]}}"#, vec!["1"; n].join(","));
    assert_eq!(decode(&many(1_000)).expect("a thousand").readings(), 1_000);
    let said = told(decode(&many(1_001)));
    assert_eq!(said, "decode.too_many_readings: more than 1000 readings; field `a.1000` is one too many");
    let spread = format!("[{}]", vec![r#"{"a":1,"b":2}"#; 501].join(","));
    assert_eq!(decode(&spread).unwrap_err().slug(), "decode.too_many_readings");

    let text = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
    assert_eq!(decode(&text(limit::TEXT_BYTES_MAX)).expect("a text").readings(), 1);
    assert_eq!(decode(&text(limit::TEXT_BYTES_MAX + 1)).unwrap_err().slug(), "decode.text_too_long");

    let name = |bytes: usize| format!(r#"{{"{}":1}}"#, "x".repeat(bytes));
    assert_eq!(decode(&name(256)).expect("a name").readings(), 1);
    assert_eq!(decode(&name(257)).unwrap_err().slug(), "decode.channel_name");
    assert_eq!(decode(r#"{"":1}"#).unwrap_err().slug(), "decode.channel_name");
    assert_eq!(decode(r#"{"a\u0000":1}"#).unwrap_err().slug(), "decode.channel_name");

    let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000_000));
    assert_eq!(
        told(decode(&huge)),
        "decode.too_large: payload is 10000008 bytes; `decode = \"json\"` takes at most 1048576"
    );
}

#[test]
fn a_route_says_where_readings_are_and_what_they_are_called() {
    let check =
        |toml, payload, expect| assert_eq!(told(decode_by(toml, payload)), expect, "{toml} {payload}");
    let data = r#"channels = "m.data""#;
    check(
        data,
        r#"{"m":{"data":{"t":1,"x":{"y":2}},"id":7},"ts":1423072260,"o":3}"#,
        "meter-7 2015-02-04T17:51:00Z 0 t=1 x.y=2",
    );
    // A time beside the readings goes before one outside.
    check(
        data,
        r#"{"m":{"data":{"ts":1423072320,"t":1}},"ts":1423072260}"#,
        "meter-7 2015-02-04T17:52:00Z 0 t=1",
    );
    check(
        data,
        r#"{"ts":1423072260,"m":{"data":{"t":1,"time":1423072320}}}"#,
        "meter-7 2015-02-04T17:52:00Z 0 t=1",
    );
    check(data, r#"{"m":{"dat":{"t":1}},"t":2}"#, "");
    check(
        r#"rename = { "a.*" = "b.*", "a.x" = "whole", "c" = "b.y" }
        ignore = ["n*", "a.z"]"#,
        r#"{"a":{"x":1,"y":2,"z":3},"n":4,"noise":5,"c":6}"#,
        // Of two that become one channel the last wins.
        "meter-7 - 17 whole=1 b.y=6",
    );
    check("decode = \"number\"\nrename = { climate = \"temperature\" }", "21", "meter-7 - 17 temperature=21");
    check("decode = \"text\"\nignore = [\"cli*\"]", "on", "");
}

#[test]
fn a_list_where_the_route_says_is_one_sample_per_object() {
    let check =
        |toml: &str, payload, expect| assert_eq!(told(decode_by(toml, payload)), expect, "{toml} {payload}");
    let toml = "channels = \"data\"\ndevice = \"payload(gw)\"";
    // Each with its own time, or with the one outside, wherever that stands.
    check(
        toml,
        r#"{"data":[{"ts":1423072260,"t":1},{"t":2,"x":{"y":3}},{}],"gw":"g1","ts":1423072320}"#,
        "g1 2015-02-04T17:51:00Z 0 t=1\ng1 2015-02-04T17:52:00Z 0 t=2 x.y=3",
    );
    check(
        "channels = \"data\"\ndevice = \"payload(data.id)\"",
        r#"{"data":[{"id":"a","t":1},{"id":"b","t":2}]}"#,
        "a - 17 t=1\nb - 17 t=2",
    );
    check(
        "channels = \"data\"\ntime = { field = \"data.at\" }",
        r#"{"data":[{"at":1423072260,"t":1}]}"#,
        "meter-7 2015-02-04T17:51:00Z 0 t=1",
    );
    // Lists elsewhere are no samples.
    let decoded =
        decode_by(toml, r#"{"gw":"g","data":[{"t":1,"l":[{"a":1}]}],"more":[{"t":2}]}"#).expect("it decodes");
    assert_eq!(decoded.objects_skipped, 2);
    assert_eq!(told(Ok(decoded)), "g - 17 t=1");
    let many = format!(r#"{{"gw":"g","data":[{}]}}"#, vec![r#"{"a":1,"b":2}"#; 501].join(","));
    assert_eq!(decode_by(toml, &many).unwrap_err().slug(), "decode.too_many_readings");
}
