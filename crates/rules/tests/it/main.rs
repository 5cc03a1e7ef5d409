//! The integration tests of `rules`: one binary, a module per promise.

#![allow(clippy::disallowed_methods, reason = "tests read files of the checkout")]

mod answers;
mod arrival;
mod consumer;
mod faults;
mod language;
mod recording;
mod texts;
mod trial;

use std::path::PathBuf;

use rules::{Limits, Rule, RuleSet};

/// The one rule of alerts whose keys are `body`, in a file of its own.
fn rule(body: &str) -> Rule {
    let mut set = load(body).unwrap_or_else(|faults| panic!("{body}: {faults:?}"));
    set.alerts.remove(0)
}

/// Loads a file with one rule whose keys, beside `alert` and `from`, are `body`.
fn load(body: &str) -> Result<RuleSet, Vec<rules::FileFault>> {
    let lines: String = body.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("groups:\n- name: test\n  rules:\n  - alert: Test\n    from: dt/#\n{lines}");
    RuleSet::load([("test.yaml", text.as_str())], &Limits::default())
}

/// The folder of this crate, asked when it runs: checkouts may share what one of them built.
fn here() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs"))
}

/// The manual of rules.
fn manual() -> String {
    std::fs::read_to_string(here().join("../../docs/rules.md")).expect("the manual reads")
}
