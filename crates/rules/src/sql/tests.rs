//! The laws of the language: what statements make of payloads, and which texts are refused with what.

use proptest::prelude::*;

use super::{Context, EvaluateError, Statement, Template, Value};

const TOPIC: &str = "dt/office-1/climate";

/// What `sql` makes of `payload`: JSON, `dropped`, or the error.
fn made(sql: &str, payload: &str) -> String {
    let statement = Statement::parse(sql).unwrap_or_else(|faults| panic!("{sql}: {faults:?}"));
    match statement.evaluate(payload.as_bytes(), &Context::of_topic(TOPIC)) {
        Ok(outcome) => match outcome.selection {
            Some(selection) => String::from_utf8(selection.into_payload()).expect("text"),
            None => "dropped".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

/// What `expression` is of a payload; `Undefined` when it is.
fn value(expression: &str, payload: &str) -> String {
    let made = made(&format!("SELECT VALUE ({expression}) FROM '#'"), payload);
    if made == EvaluateError::UndefinedValue.to_string() { "Undefined".to_owned() } else { made }
}

/// The faults of a text, as an editor shows them.
fn faults(sql: &str) -> Vec<String> {
    match Statement::parse(sql) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_statement_selects_names_and_leaves_out() {
    let check = |sql: &str, payload: &str, expect: &str| assert_eq!(made(sql, payload), expect, "{sql}");
    check("SELECT * FROM '#'", "{ \"a\" : 1 }", "{ \"a\" : 1 }");
    check("select color as rgb from '#' where t > 50", r#"{"color":"red","t":100}"#, r#"{"rgb":"red"}"#);
    check("SELECT color AS rgb FROM '#' WHERE t > 50", r#"{"color":"red","t":50}"#, "dropped");
    check("SELECT a, wifi.rssi, b FROM '#'", r#"{"wifi":{"rssi":-61},"a":null}"#, r#"{"a":null,"rssi":-61}"#);
    check("SELECT *, topic(2) AS device FROM '#'", r#"{"a":1}"#, r#"{"a":1,"device":"office-1"}"#);
    check("SELECT *, 2 AS a FROM '#'", r#"{"a":1,"b":3}"#, r#"{"a":2,"b":3}"#);
    check("SELECT a AS x.y, b AS x.z FROM '#'", r#"{"a":1,"b":2}"#, r#"{"x":{"y":1,"z":2}}"#);
    check("SELECT VALUE list FROM '#'", r#"{"list":[1,2]}"#, "[1,2]");
    check("SELECT value FROM '#'", r#"{"value":7}"#, r#"{"value":7}"#);
    check("SELECT value - 1 AS x, value FROM '#'", r#"{"value":7}"#, r#"{"x":6,"value":7}"#);
    check("SELECT value * 2 AS x FROM '#'", r#"{"value":7}"#, r#"{"x":14}"#);
    check("SELECT VALUE * FROM '#'", "[1, 2]", "[1, 2]");
    check("SELECT [lat, long] AS at FROM '#'", r#"{"lat":47.6,"long":-122.3}"#, r#"{"at":[47.6,-122.3]}"#);
    check(
        "SELECT {'latitude': get(l, 0), 'longitude': get(l, 1)} AS at FROM '#'",
        r#"{"l":[47.606,-122.332]}"#,
        r#"{"at":{"latitude":47.606,"longitude":-122.332}}"#,
    );
    check(
        "SELECT \"switch:0.apower\" AS w, `from` FROM '#'",
        r#"{"switch:0.apower":5,"from":1}"#,
        r#"{"w":5,"from":1}"#,
    );
    check(
        "SELECT *, 1 AS a FROM '#'",
        "[1]",
        "`*` with other items needs a payload that is a JSON object; this one is an array",
    );
    // The alias is not seen by the condition.
    check("SELECT a AS b FROM '#' WHERE b = 1", r#"{"a":1}"#, "dropped");
}

#[test]
fn a_nested_query_sees_the_elements_of_an_array() {
    let senml = r#"{"e":[{"n":"temperature","u":"Cel","v":22.5},{"n":"light","v":135},{"n":"acidity","v":7}],"min":100}"#;
    let check = |sql: &str, expect: &str| assert_eq!(made(sql, senml), expect, "{sql}");
    check("SELECT (SELECT v FROM e WHERE n = 'temperature') AS t FROM '#'", r#"{"t":[{"v":22.5}]}"#);
    check(
        "SELECT (SELECT VALUE n FROM e) AS names FROM '#'",
        r#"{"names":["temperature","light","acidity"]}"#,
    );
    check("SELECT get((SELECT v FROM e WHERE n = 'light'), 0).v AS light FROM '#'", r#"{"light":135}"#);
    check("SELECT (SELECT * FROM e WHERE v > 100) AS x FROM '#'", r#"{"x":[{"n":"light","v":135}]}"#);
    check("SELECT (SELECT VALUE v FROM e WHERE n IN ['light', 'acidity']) AS x FROM '#'", r#"{"x":[135,7]}"#);
    check("SELECT (SELECT v FROM missing) AS x, min FROM '#'", r#"{"min":100}"#);
    check("SELECT VALUE (SELECT VALUE v FROM e WHERE v < 10) FROM '#' WHERE get(e, 0).v > 22", "[7]");
}

#[test]
fn operators_convert_as_the_contract_says() {
    let payload = r#"{"i":7,"d":2.5,"t":"12","w":"word","b":true,"n":null,"a":[1],"o":{"x":1,"y":2},"o2":{"y":2,"x":1},"yes":"true"}"#;
    let check =
        |expression: &str, expect: &str| assert_eq!(value(expression, payload), expect, "{expression}");
    check("i + 1", "8");
    check("i / 2", "3");
    check("i % 4", "3");
    check("i / (i - 7)", "Undefined");
    check("d / (i - 7)", "Undefined");
    check("i + d", "9.5");
    check("i + t", "\"712\"");
    check("t - 2", "10");
    check("t * d", "30");
    check("w - 1", "Undefined");
    check("w + n", "Undefined");
    check("w + a", "\"word[1]\"");
    check("b + 1", "Undefined");
    check("-t", "-12");
    check("t = 12", "false");
    check("t = '12'", "true");
    check("2.5 = d", "true");
    check("i <> t", "true");
    check("missing = 1", "Undefined");
    check("missing <> 1", "Undefined");
    check("n = null", "true");
    check("o = o2", "true");
    check("o <> o2", "false");
    check("t > 11", "true");
    check("w > 11", "Undefined");
    check("b > 0", "Undefined");
    check("b AND yes", "true");
    check("b OR i", "Undefined");
    check("NOT yes", "false");
    check("NOT i", "Undefined");
    check("NOT i = 8 AND b", "true");
    check("i IN (1, 7)", "true");
    check("i NOT IN (1, 7)", "false");
    check("i IN a", "false");
    check("w LIKE 'w_r%'", "true");
    check("w NOT LIKE '%x%'", "true");
    check("i BETWEEN 7 AND 8", "true");
    check("i NOT BETWEEN 7 AND 8", "false");
    check("n IS NULL", "true");
    check("missing IS NULL", "true");
    check("i IS NOT NULL", "true");
    check("CASE i WHEN 7 THEN 'seven' WHEN 8 THEN 'eight' ELSE 'other' END", "\"seven\"");
    check("CASE i WHEN 1 THEN 'one' END", "Undefined");
    check("CASE WHEN i > 5 THEN 'many' ELSE 'few' END", "\"many\"");
    check("1 + 2 * 3 - 4", "3");
    check("99999999999999999 * 99999999999999999", "9999999999999999800000000000000001");
    check("power(10, 34)", "1e34");
    check("sqrt(-1)", "Undefined");
    check("cast('x' AS Int)", "Undefined");
    check("cast(b AS Int)", "1");
    check("cast(i AS String)", "\"7\"");
    check("cast(0 AS Boolean)", "false");
    check("d * 2", "5");
    check("substring(w, -50, 50)", "\"word\"");
    check("substring(w, 3, 1)", "\"\"");
    check("abs(a)", "Undefined");
    check("concat(w, n)", "Undefined");
    check("topic(9)", "Undefined");
    check("topic(1 - 1)", "Undefined");
    check("decode('?', 'base64')", "Undefined");
    check("time_to_epoch(w, 'yyyy')", "Undefined");
    check("time_to_epoch('31.12.1999 11:05 PM +0100', 'dd.MM.yyyy hh:mm a Z')", "946677900000");
    check("time_to_epoch('20151231T235959', 'yyyyMMdd''T''HHmmss')", "1451606399000");
    check("parse_time('EEE, d MMM yy h a Z', 0, '-05:00')", "\"Wed, 31 Dec 69 7 PM -0500\"");
}

#[test]
fn a_payload_that_is_not_json_has_no_members_and_can_be_forwarded() {
    let check = |sql: &str, expect: &str| assert_eq!(made(sql, "\u{1}raw"), expect, "{sql}");
    check("SELECT * FROM '#'", "\u{1}raw");
    check("SELECT * FROM '#' WHERE topic(1) = 'dt'", "\u{1}raw");
    check("SELECT * FROM '#' WHERE temperature > 30", "dropped");
    check(
        "SELECT encode(*, 'base64') AS raw, topic(2) AS d FROM '#'",
        r#"{"raw":"AXJhdw==","d":"office-1"}"#,
    );
    check(
        "SELECT *, 1 AS x FROM '#'",
        "`*` with other items needs a payload that is a JSON object; this one is not JSON",
    );
    // JSON with something behind it is not JSON.
    assert_eq!(made("SELECT a FROM '#'", "{\"a\":1} x"), "{}");
}

#[test]
fn what_comes_to_nothing_is_counted() {
    let check = |sql: &str, payload: &str, expect: u32| {
        let statement = Statement::parse(sql).expect("a statement");
        let outcome = statement.evaluate(payload.as_bytes(), &Context::of_topic(TOPIC)).expect("an outcome");
        assert_eq!(outcome.undefined, expect, "{sql} of {payload}");
    };
    check("SELECT a, b, c FROM '#'", r#"{"a":1}"#, 2);
    check("SELECT * FROM '#' WHERE t > 30", r#"{"t":31}"#, 0);
    check("SELECT * FROM '#' WHERE t > 30", r#"{"t":"hot"}"#, 1);
    check("SELECT * FROM '#' WHERE 100 / t > 30", r#"{"t":0}"#, 1);
}

#[test]
fn the_same_message_gives_the_same_random_numbers_and_another_others() {
    let statement =
        Statement::parse("SELECT newuuid() AS a, newuuid() AS b, rand() AS c FROM '#'").expect("a statement");
    let of = |seed: u8| {
        let context = Context { seed: [seed; 16], ..Context::of_topic(TOPIC) };
        statement.evaluate(b"{}", &context).expect("an outcome").selection.expect("passes")
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let first = of(1);
    let object = first.value().expect("made");
    assert_ne!(object.member("a"), object.member("b"));
    let Some(Value::Text(uuid)) = object.member("a") else { panic!("a UUID") };
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_would_be_right() {
    let check = |sql: &str, expect: &[&str]| assert_eq!(faults(sql), expect, "{sql}");
    check("SELECT * FROM '#' WHERE a != 1", &["1:27: `!=` is no operator of this language; write `<>`"]);
    check("SELECT * FROM '#' WHERE a == 1", &["1:27: `==` is no operator of this language; write `=`"]);
    check(
        "SELECT * FROM dt",
        &[
            "1:15: `FROM` needs a topic filter; here is `dt`; write it in single quotes: `FROM 'dt/+/climate'`",
        ],
    );
    check(
        "SELECT *",
        &[
            "1:9: `FROM` is expected; here is the end of the statement; add `FROM 'dt/+/climate'`: the topics that the rule is about",
        ],
    );
    check(
        "SELECT * FROM 'a+'",
        &["1:15: filter `a+` is malformed: `+` must be a whole level and `#` the whole last level"],
    );
    check("UPDATE x", &["1:1: `SELECT` is expected; here is `UPDATE`; begin with `SELECT * FROM 'a/topic'`"]);
    check("SELECT a + 1 FROM '#'", &["1:8: this item has no name; add `AS` and a name"]);
    check("SELECT lenght(a) AS x FROM '#'", &["1:8: there is no function `lenght`; did you mean `length`?"]);
    check("SELECT abs(a, b) AS x FROM '#'", &["1:8: `abs` takes 1 argument; here are 2"]);
    check("SELECT substring(a) AS x FROM '#'", &["1:8: `substring` takes 2 to 3 arguments; here are 1"]);
    check("SELECT abs([1]) AS x FROM '#'", &["1:12: `abs` takes a number here; this is an array"]);
    check("SELECT abs('warm') AS x FROM '#'", &["1:12: `abs` takes a number here; this is text"]);
    check(
        "SELECT * FROM '#' WHERE t > 'warm'",
        &["1:29: text is neither more nor less than anything; compare with a number"],
    );
    check(
        "SELECT * FROM '#' WHERE 5",
        &["1:25: the condition is always a number; only true lets a message through"],
    );
    check("SELECT a / 0 AS x FROM '#'", &["1:12: this divides by zero, whatever comes"]);
    check(
        "SELECT * FROM '#' GROUP BY a",
        &[
            "1:19: `GROUP` is not part of rules SQL; a rule sees one message at a time; what needs many is an `alert:` or a query",
        ],
    );
    check(
        "SELECT get_thing_shadow('a', 'b') AS x FROM '#'",
        &[
            "1:8: `get_thing_shadow` is not supported: shadows are not part of this version; store what you need in the payload",
        ],
    );
    check("SELECT cast(a AS Itn) AS x FROM '#'", &["1:18: there is no type `Itn`; did you mean `int`?"]);
    check(
        "SELECT regexp_matches(a, b) AS x FROM '#'",
        &[
            "1:26: the pattern of `regexp_matches` must be written as text, in single quotes; it is read when the rule is loaded, not for each message",
        ],
    );
    check(
        "SELECT regexp_matches(a, '(') AS x FROM '#'",
        &["1:26: the pattern is no regular expression: unclosed group"],
    );
    check("SELECT a FROM '#' WHERE b = 'open", &["1:29: unterminated string literal"]);
    check(
        "SELECT parse_time('yyyy-QQ', 0) AS x FROM '#'",
        &[
            "1:19: `Q` is no letter of a time pattern; use yMdDEaHhmsSZz, and quote text: `''T''` within a statement's quotes",
        ],
    );
    check(
        "SELECT parse_time('yyyy', 0, 'Mars/North') AS x FROM '#'",
        &["1:30: there is no time zone `Mars/North`; write it as `Europe/Berlin`, or as `+01:00`"],
    );
    check(
        "SELECT select FROM '#'",
        &["1:8: `select` stands where a value is expected; a member of that name is written `\"select\"`"],
    );
    // All at once, also after one that ends its clause.
    check(
        "SELECT lenght(a) AS x,\n  abs() AS y, )\nFROM 'a/#/b'\nWHERE uper(b) = 'X'",
        &[
            "1:8: there is no function `lenght`; did you mean `length`?",
            "2:3: `abs` takes 1 argument; here are 0",
            "2:15: `)` stands where a value is expected",
            "3:6: filter `a/#/b` is malformed: `+` must be a whole level and `#` the whole last level",
            "4:7: there is no function `uper`; did you mean `upper`?",
        ],
    );
}

#[test]
fn a_pattern_that_would_explode_is_refused_and_one_that_is_tried_takes_little_time() {
    let sql = "SELECT * FROM '#' WHERE regexp_matches(a, '((a{1000}){1000}){1000}')";
    assert_eq!(faults(sql).len(), 1);
    assert!(faults(sql)[0].contains("would take more than"), "{:?}", faults(sql));
    let long = format!(r#"{{"a":"{}!"}}"#, "a".repeat(20_000));
    // A backtracking engine would need 2^20000 steps.
    assert_eq!(made("SELECT * FROM '#' WHERE regexp_matches(a, '^(a+)+$')", &long), "dropped");
}

#[test]
fn what_is_too_deep_is_refused_and_does_not_end_the_stack() {
    let nested = |open: &str, close: &str, times: usize| {
        format!("SELECT {}1{} AS x FROM '#'", open.repeat(times), close.repeat(times))
    };
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("- ", ""),
        ("not ", ""),
        ("abs(", ")"),
        ("(SELECT VALUE ", " FROM a)"),
        ("case when ", " then 1 end"),
    ] {
        let times = 1_000.min(12_000 / (open.len() + close.len()));
        let told = faults(&nested(open, close, times));
        assert!(told.iter().any(|fault| fault.contains("levels deep")), "{open}: {told:?}");
        assert!(faults(&nested(open, close, 10)).iter().all(|fault| !fault.contains("deep")), "{open}");
    }
    let row = |operator: &str, times: usize| {
        format!("SELECT a{} AS x FROM '#'", format!(" {operator} a").repeat(times))
    };
    assert!(faults(&row("+", 2_000))[0].contains("levels deep"));
    assert!(faults(&format!("SELECT a{} FROM '#'", ".a".repeat(2_000)))[0].contains("levels deep"));
    // Rows within nested queries count together.
    let inner = format!("a{}", " + a".repeat(40));
    let nested = format!(
        "SELECT (SELECT VALUE (SELECT VALUE {inner} FROM b){} FROM b) AS x FROM '#'",
        " + a".repeat(40)
    );
    assert!(faults(&nested)[0].contains("levels deep"));
    // A row of conditions is no depth.
    assert_eq!(faults(&row("OR", 1_000)), Vec::<String>::new());
    assert!(
        faults(&format!("SELECT * FROM '#' WHERE '{}'", "x".repeat(20_000)))[0].contains("the most is 16384")
    );
}

#[test]
fn templates_are_filled_from_the_payload_the_context_and_the_selection() {
    let statement = Statement::parse("SELECT topic(2) AS device, t FROM '#'").expect("a statement");
    let context = Context::of_topic(TOPIC);
    let payload = br#"{"t":30.5,"site":"hq","o":{"x":1},"t2":null}"#;
    let selection = statement.evaluate(payload, &context).expect("an outcome").selection;
    let check = |template: &str, expect: Result<&str, &str>| {
        let template = Template::parse(template).expect("a template");
        let rendered =
            template.render(payload, &context, selection.as_ref()).map_err(|error| error.to_string());
        assert_eq!(rendered, expect.map(str::to_owned).map_err(str::to_owned), "{}", template.text());
    };
    check("ops/hot/${device}", Ok("ops/hot/office-1"));
    check("ops/${site}/${topic(2)}/${o.x + 1}", Ok("ops/hq/office-1/2"));
    check("${t}", Ok("30.5"));
    check("plain", Ok("plain"));
    check("$$aws/things/${device}", Ok("$$aws/things/office-1"));
    check("${get({'a}': 'x'}, 'a}')}", Ok("x"));
    check(
        "a/${missing}",
        Err("`${missing}` is undefined for this message; it must be text, a number or a boolean"),
    );
    check("a/${o}", Err("`${o}` is an object for this message; it must be text, a number or a boolean"));
    check("a/${t2}", Err("`${t2}` is null for this message; it must be text, a number or a boolean"));

    let told = |text: &str| Template::parse(text).map(|_| ()).unwrap_err()[0].to_string();
    assert_eq!(told("a/${lenght(b)}"), "1:5: there is no function `lenght`; did you mean `length`?");
    assert_eq!(told("a/${b"), "1:3: `${` has no `}` after it");
    assert_eq!(Template::parse("a/${b}/c").expect("a template").with_holes("+"), "a/+/c");
}

proptest! {
    /// Random text, and text of the words of the language, is read or refused.
    #[test]
    fn no_text_and_no_payload_makes_it_panic(
        text in ".{0,200}",
        words in prop::collection::vec(
            prop::sample::select(vec![
                "SELECT", "VALUE", "FROM", "WHERE", "AS", "*", ",", "(", ")", "[", "]", "{", "}", ":", "'#'", "'a'", "a", "b", ".",
                "1", "2.5", "+", "-", "/", "%", "=", "<>", "<", "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "CASE",
                "WHEN", "THEN", "ELSE", "END", "topic", "get", "cast", "Int", "substring", "concat", "regexp_matches", "trunc",
                "lpad", "chr", "power", "parse_time", "time_to_epoch", "nanvl", "encode", "'base64'", "${", "undefined", "true",
            ]),
            0..40,
        ),
        payload in prop::sample::select(vec!["{}", "[1]", "x", r#"{"a":1,"b":"2"}"#, r#"{"a":[{"b":1e308}],"b":-1}"#, r#"{"a":"é€","b":{"a":null}}"#]),
    ) {
        let sentence = words.join(" ");
        for text in [text.as_str(), &sentence, &format!("SELECT {sentence} FROM '#'"), &format!("SELECT * FROM '#' WHERE {sentence}"), &format!("SELECT VALUE ({sentence}) FROM '#'")] {
            if let Ok(statement) = Statement::parse(text) {
                let _ = statement.evaluate(payload.as_bytes(), &Context::of_topic(TOPIC));
            }
            if let Ok(template) = Template::parse(text) {
                let _ = template.render(payload.as_bytes(), &Context::of_topic(TOPIC), None);
            }
        }
    }

    /// What is made is JSON again, and the same values.
    #[test]
    fn members_come_through_as_they_were(a in any::<i64>(), b in any::<f64>().prop_filter("JSON", |b| b.is_finite()), c in ".{0,20}") {
        let payload = serde_json::json!({ "a": a, "b": b, "c": c }).to_string();
        let through = made("SELECT a, b, c FROM '#'", &payload);
        let (through, payload): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&through).expect("JSON"), serde_json::from_str(&payload).expect("JSON"));
        prop_assert_eq!(&through["a"], &payload["a"]);
        prop_assert_eq!(through["b"].as_f64(), payload["b"].as_f64());
        prop_assert_eq!(&through["c"], &payload["c"]);
    }
}
