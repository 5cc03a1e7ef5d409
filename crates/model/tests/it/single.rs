//! Payloads that are one value, and payloads that are none of Godwit's business.

use model::{Names, Notes, limit};

use crate::{decode_by, message, routes, told};

#[test]
fn a_number_is_a_reading_named_by_the_last_level() {
    let check = |payload: &str, expect: &str| {
        assert_eq!(told(decode_by(r#"decode = "number""#, payload)), expect, "{payload}");
    };
    check("23.18", "meter-7 - 17 climate=23.18");
    check(" -5\r\n", "meter-7 - 17 climate=-5");
    check("1e3", "meter-7 - 17 climate=1000");
    check("true", "meter-7 - 17 climate=1");
    check("false", "meter-7 - 17 climate=0");
    check("9007199254740992", "meter-7 - 17 climate=9007199254740992");
    check("9007199254740993", "meter-7 - 17 climate=9.007199254740992e15~9007199254740993");
    check("-123456789012345678901", "meter-7 - 17 climate=-1.2345678901234568e20~-123456789012345678901");
    for nothing in ["nan", "NaN", "None", "unavailable", "null", "", "  "] {
        check(nothing, "");
    }
    check("21,5", "decode.not_a_number: payload `21,5` is not a number");
    check("{\"a\":1}", "decode.not_a_number: payload `{\"a\":1}` is not a number");
    check("1e999", "decode.not_finite: field `climate` is not a finite number");
    check("-inf", "decode.not_finite: field `climate` is not a finite number");
    check(
        &"1".repeat(129),
        "decode.too_large: payload is 129 bytes; `decode = \"number\"` takes at most 128",
    );
}

#[test]
fn a_text_is_a_reading_named_by_the_last_level() {
    let check = |payload: &str, expect: &str| {
        assert_eq!(told(decode_by(r#"decode = "text""#, payload)), expect, "{payload}");
    };
    check("open", r#"meter-7 - 17 climate="open""#);
    check(" two words ", r#"meter-7 - 17 climate=" two words ""#);
    check("23.18", r#"meter-7 - 17 climate="23.18""#);
    check("unavailable", "");
    let long = "x".repeat(limit::TEXT_BYTES_MAX + 1);
    check(&long, "decode.text_too_long: field `climate` is a text of 65537 bytes; the most is 65536");
}

#[test]
fn a_single_value_needs_a_channel_and_a_device() {
    let check = |toml: &str, topic: &str, expect: &str| {
        let message = message(topic, b"1");
        let routes = routes(toml);
        let route = routes.find(topic).expect("the route");
        assert_eq!(told(route.decode(&message, &mut Names::new())), expect, "{toml} {topic}");
    };
    check(
        "decode = \"number\"\ndevice = \"topic(2)\"",
        "home/kitchen/temperature",
        "kitchen - 17 temperature=1",
    );
    check(
        "decode = \"number\"\ndevice = \"topic(4)\"",
        "a/b/c",
        "decode.no_device: no device: `topic(4)` finds none here",
    );
    check(r#"decode = "number""#, "a/b/", "decode.channel_name: field `` cannot name a channel");
    check(r#"decode = "text""#, "a/b/", "decode.channel_name: field `` cannot name a channel");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for decoder in ["number", "text", "json"] {
        let message = message("a/b", b"12\xff");
        let routes = routes(&format!("decode = \"{decoder}\""));
        let error = routes.find("a/b").expect("the route").decode(&message, &mut Names::new()).unwrap_err();
        assert_eq!(error.to_string(), "payload is not UTF-8 at byte 2");
    }
}

#[test]
fn raw_bytes_and_what_only_the_journal_keeps_have_no_readings() {
    for toml in [r#"decode = "raw""#, r#"keep = "journal""#, r#"keep = "none""#] {
        let decoded = decode_by(toml, "\u{0}{").expect("nothing is read");
        assert_eq!((decoded.samples.len(), decoded.notes), (0, Notes::empty()), "{toml}");
    }
}
