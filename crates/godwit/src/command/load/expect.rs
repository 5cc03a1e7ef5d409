//! `--expect`: limits that a run is held against.
//!
//! ```toml
//! server_core_seconds_per_million = 4.0   # of every scenario that has this figure
//! [ingest]
//! messages_per_second = 300000            # at least, for more is better
//! ack_p99_ms = 20                         # at most
//! ```
//!
//! The law: a limit that a scenario has no figure for is an error when it was given on the command line or in the
//! scenario's own table, never a limit that is met.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};
use host::{Disk as _, SystemDisk};
use indicatif::HumanFloatCount;
use serde::Serialize;

use super::report::{Better, Report};

/// A file of limits is a few lines.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// One limit, as it was given.
#[derive(Debug, Clone)]
pub(super) enum Expectation {
    /// `name=number`.
    Limit(String, f64),
    /// A TOML file of them.
    File(toml::Table),
}

/// The limits of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Expectations(pub(super) Vec<Expectation>);

/// How a figure stands against its limit.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    name: &'static str,
    limit: f64,
    value: f64,
    #[serde(rename = "met")]
    pub(super) is_met: bool,
    #[serde(skip)]
    better: Better,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.better {
            Better::More => "at least",
            Better::Less => "at most",
        };
        let verdict = if self.is_met { "met" } else { "MISSED" };
        let [limit, value] = [self.limit, self.value].map(|number| match number.abs() {
            ..1000.0 => format!("{number:.2}"),
            _ => HumanFloatCount(number.round()).to_string(),
        });
        write!(f, "{} {word} {limit}: {value}, {verdict}", self.name)
    }
}

/// Reads one `--expect`: `name=number`, or a file of limits.
pub(super) fn parse(text: &str) -> Result<Expectation, String> {
    if let Some((name, limit)) = text.split_once('=') {
        let limit = limit.trim().replace('_', "").parse::<f64>().ok().filter(|limit| limit.is_finite());
        let limit = limit.ok_or_else(|| format!("`{text}` is no limit; write it as NAME=NUMBER"))?;
        return Ok(Expectation::Limit(name.trim().to_owned(), limit));
    }
    let read = || {
        let bytes = SystemDisk.read(Path::new(text), FILE_BYTES_MAX).context("it cannot be read")?;
        let table: toml::Table = String::from_utf8(bytes)?.parse()?;
        anyhow::Ok(table)
    };
    read().map(Expectation::File).map_err(|error| format!("`{text}` is no file of limits: {error:#}"))
}

impl Expectations {
    /// Holds a run against them.
    pub(super) fn judge(&self, report: &Report) -> anyhow::Result<Vec<Verdict>> {
        let mut verdicts = Vec::new();
        for expectation in &self.0 {
            match expectation {
                Expectation::Limit(name, limit) => verdicts.push(judge(report, name, *limit)?),
                Expectation::File(table) => judge_file(table, report, &mut verdicts)?,
            }
        }
        Ok(verdicts)
    }
}

fn judge_file(table: &toml::Table, report: &Report, verdicts: &mut Vec<Verdict>) -> anyhow::Result<()> {
    for (name, value) in table {
        match value.as_table() {
            Some(own) if name == report.scenario => {
                for (name, value) in own {
                    verdicts.push(judge(report, name, number(name, value)?)?);
                }
            }
            Some(_) => {}
            // What stands above all tables counts for the scenarios that have such a figure.
            None if report.find(name).is_some() => {
                verdicts.push(judge(report, name, number(name, value)?)?);
            }
            None => {}
        }
    }
    Ok(())
}

fn number(name: &str, value: &toml::Value) -> anyhow::Result<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
    number.with_context(|| format!("the limit of `{name}` is no number"))
}

fn judge(report: &Report, name: &str, limit: f64) -> anyhow::Result<Verdict> {
    let judged = || report.figures.iter().filter(|figure| figure.better.is_some());
    let Some((figure, better)) =
        report.find(name).and_then(|figure| figure.better.map(|better| (figure, better)))
    else {
        let names: Vec<_> = judged().map(|figure| figure.name).collect();
        bail!("`{}` has no figure `{name}` that can be judged; it has {}", report.scenario, names.join(", "));
    };
    let is_met = match better {
        Better::More => figure.value >= limit,
        Better::Less => figure.value <= limit,
    };
    Ok(Verdict { name: figure.name, limit, value: figure.value, is_met, better })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("ingest", String::new());
        report.figure("messages_per_second", 250_000.0, Better::More);
        report.figure("ack_p99_ms", 4.0, Better::Less);
        report.count("connections", 100);
        report
    }

    fn verdicts(expectation: Expectation) -> Result<Vec<(&'static str, bool)>, String> {
        let judged = Expectations(vec![expectation]).judge(&report()).map_err(|error| error.to_string())?;
        Ok(judged.into_iter().map(|verdict| (verdict.name, verdict.is_met)).collect())
    }

    #[test]
    fn more_is_better_for_a_rate_and_less_for_a_latency() {
        let check = |text: &str, is_met| {
            let parsed = parse(text).expect("a limit");
            assert!(verdicts(parsed).is_ok_and(|list| list.len() == 1 && list[0].1 == is_met), "{text}");
        };
        check("messages_per_second=250_000", true);
        check("messages_per_second=250001", false);
        check("ack_p99_ms=4", true);
        check("ack_p99_ms=3.9", false);
    }

    #[test]
    fn a_limit_without_a_figure_is_an_error_and_not_met() {
        for text in ["connects_per_second=1", "connections=100"] {
            let refused = verdicts(parse(text).expect("a limit")).expect_err("refused");
            assert!(refused.contains("messages_per_second"), "{refused}");
        }
        for text in ["ack_p99_ms=fast", "ack_p99_ms=NaN", "no-such-file.toml"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_holds_limits_of_every_scenario() {
        let table =
            "ack_p99_ms = 3\nhold = 1\n[ingest]\nmessages_per_second = 1\n[connect]\nconnects_per_second = 9";
        let judged = verdicts(Expectation::File(table.parse().expect("TOML"))).expect("judged");
        assert_eq!(judged, [("ack_p99_ms", false), ("messages_per_second", true)]);
        let wrong = "[ingest]\nconnects_per_second = 9".parse().expect("TOML");
        assert!(verdicts(Expectation::File(wrong)).is_err());
    }
}
