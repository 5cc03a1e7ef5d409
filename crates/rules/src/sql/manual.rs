//! The tables of functions in the manual, run: what `docs/rules-sql.md` says is what the language does.

use bytestring::ByteString;
use model::Properties;

use super::{Context, EvaluateError, Statement, function};

const MANUAL: &str = include_str!("../../../../docs/rules-sql.md");

/// A row of a table of functions.
struct Row<'m> {
    function: &'m str,
    example: &'m str,
    result: &'m str,
}

fn rows() -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    let mut is_functions = false;
    for line in MANUAL.lines() {
        if !line.starts_with('|') {
            is_functions = false;
        } else if line.starts_with("| function |") {
            is_functions = true;
        } else if is_functions && !line.starts_with("|--") {
            let codes: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let &[_, function, _, example, result, _] = codes.as_slice() else {
                panic!("four cells: {line}")
            };
            rows.push(Row { function, example, result });
        }
    }
    rows
}

#[test]
fn every_example_of_the_manual_gives_the_result_beside_it() {
    let (_, functions) = MANUAL.split_once("\n## Functions\n").expect("functions are in the manual");
    let (_, after) = functions.split_once("```json\n").expect("the message is in the manual");
    let (payload, _) = after.split_once("```").expect("it ends");
    let properties = Properties {
        content_type: Some(ByteString::from_static("application/json")),
        user: vec![(ByteString::from_static("site"), ByteString::from_static("north"))],
        ..Properties::default()
    };
    let context = Context {
        time_ms: 1_700_000_000_000,
        client_id: Some("gateway-7"),
        principal: Some("local"),
        properties: Some(&properties),
        ..Context::of_topic("dt/office-1/climate")
    };
    for Row { example, result, .. } in rows() {
        let statement = Statement::parse(&format!("SELECT VALUE {example} FROM '#'"));
        let statement = statement.unwrap_or_else(|faults| panic!("{example}: {faults:?}"));
        let made = match statement.evaluate(payload.as_bytes(), &context) {
            Ok(outcome) => outcome.selection.expect("no condition").into_payload(),
            Err(EvaluateError::UndefinedValue) => b"Undefined".to_vec(),
            Err(other) => panic!("{example}: {other}"),
        };
        assert_eq!(String::from_utf8(made).expect("text"), result, "{example}");
    }
}

#[test]
fn the_rule_of_the_manual_is_a_rule() {
    let (_, after) = MANUAL.split_once("```yaml\n").expect("a rule is in the manual");
    let (text, _) = after.split_once("```").expect("it ends");
    let set = crate::RuleSet::load([("manual.yaml", text)], &crate::Limits::default()).expect("rules");
    assert_eq!(set.actions[0].actions.len(), 4);
}

#[test]
fn every_function_has_a_row_in_the_manual_that_calls_it() {
    let rows = rows();
    for name in function::names() {
        let called = rows.iter().any(|row| row.function == name && row.example.contains(&format!("{name}(")));
        assert!(called, "docs/rules-sql.md has no row that calls `{name}`");
    }
    for row in &rows {
        assert!(function::names().any(|name| name == row.function), "there is no `{}`", row.function);
    }
    for (name, _) in function::REFUSED {
        assert!(MANUAL.contains(&format!("`{name}`")), "the manual does not say that `{name}` is refused");
    }
}
