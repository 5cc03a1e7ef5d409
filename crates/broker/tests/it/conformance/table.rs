//! `docs/mqtt-conformance.md` and the tests say the same: every statement of the standard has its row, every row that
//! names a test names one that is there, every test named by a statement has its row.

#![expect(clippy::disallowed_methods, reason = "it reads the sources and the document of this house")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The statements of appendix B of MQTT 5.0: section, and the number of the last one. Every number below it is a
/// statement too, but for those of [`UNUSED`].
const STATEMENTS: &[(&str, u32)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

/// Numbers that the standard leaves out.
const UNUSED: &[&str] = &["2.2.1-1"];

/// What a row may say.
const STATES: &[&str] = &["held", "clients only", "never arises", "missing"];

fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    Path::new(&here).ancestors().nth(2).expect("a crate is two below the root").to_owned()
}

/// Every statement, in the order of the standard.
fn statements() -> Vec<String> {
    let all =
        STATEMENTS.iter().flat_map(|(section, last)| (1..=*last).map(move |n| format!("{section}-{n}")));
    all.filter(|statement| !UNUSED.contains(&&**statement)).collect()
}

/// The names of all tests below a folder of sources.
fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                match function.and_then(|rest| rest.split('(').next()) {
                    Some(name) if is_test => {
                        names.insert(name.to_owned());
                        is_test = false;
                    }
                    _ => is_test |= line.starts_with("#[test") || line.starts_with("#[tokio::test"),
                }
            }
        }
    }
}

fn all_tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["broker/tests", "broker/src", "mqtt/tests", "godwit/tests"] {
        tests(&root().join("crates").join(folder), &mut names);
    }
    names
}

/// The rows of the document whose first cell is a statement of this version: statement → test, state.
fn rows(prefix: &str) -> BTreeMap<String, (String, String)> {
    let text = std::fs::read_to_string(root().join("docs/mqtt-conformance.md")).expect("the document");
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [statement, test, state] = cells[..]
            && let Some(statement) = statement.strip_prefix(prefix)
        {
            let is_new = rows.insert(statement.to_owned(), (test.to_owned(), state.to_owned())).is_none();
            assert!(is_new, "{statement} has two rows");
        }
    }
    rows
}

/// The tests that a cell names.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_statement_has_its_row_and_every_row_its_test() {
    let (rows, tests) = (rows("MQTT-"), all_tests());
    let statements = statements();
    let missing: Vec<_> = statements.iter().filter(|statement| !rows.contains_key(*statement)).collect();
    assert!(missing.is_empty(), "statements without a row: {missing:?}");
    let unknown: Vec<_> = rows.keys().filter(|statement| !statements.contains(statement)).collect();
    assert!(unknown.is_empty(), "rows of no statement: {unknown:?}");
    for (statement, (test, state)) in &rows {
        let word = STATES.iter().find(|word| state.starts_with(**word));
        let word = word.unwrap_or_else(|| panic!("{statement} is `{state}`; it must be one of {STATES:?}"));
        assert_eq!(*word == "held", state == "held", "{statement}: what is held needs no more words");
        assert!(*word != "held" || named(test).count() > 0, "{statement} is held by no test");
        assert!(*word == "held" || state.len() > word.len(), "{statement} is {word}, and nobody says why");
        for name in named(test) {
            assert!(tests.contains(name), "{statement} is held by `{name}`, and there is no such test");
        }
    }
}

#[test]
fn every_test_named_by_a_statement_has_its_row() {
    let named_somewhere: BTreeSet<String> = rows("MQTT-")
        .values()
        .chain(rows("3.1.1 MQTT-").values())
        .flat_map(|(cell, _)| named(cell).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let of_statements = |name: &&String| name.starts_with("mqtt5_") || name.starts_with("mqtt311_");
    let left_out: Vec<_> = all_tests()
        .iter()
        .filter(of_statements)
        .filter(|name| !named_somewhere.contains(*name))
        .cloned()
        .collect();
    assert!(left_out.is_empty(), "tests without a row: {left_out:?}");
}

#[test]
fn where_3_1_1_differs_every_row_has_its_test() {
    let (rows, tests) = (rows("3.1.1 MQTT-"), all_tests());
    assert!(rows.len() >= 10, "{} rows", rows.len());
    for (statement, (test, _)) in rows {
        assert!(
            named(&test).next().is_some() && named(&test).all(|name| tests.contains(name)),
            "{statement}: {test}"
        );
    }
}
