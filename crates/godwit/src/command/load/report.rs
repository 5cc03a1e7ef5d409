//! What a scenario found: printed as a table or as JSON, and judged against limits.
//!
//! Not here: measuring. The law: one figure has one name, in the table's JSON, in `--expect` and in a file of limits.

use std::fmt::Write as _;

use anyhow::bail;
use hdrhistogram::Histogram;
use indicatif::HumanCount;
use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::expect::Expectations;
use super::usage::Used;

/// Longest latency that is told apart, in microseconds: a minute.
const MICROS_MAX: u64 = 60_000_000;

/// What is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

/// One number that was found.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: f64,
    /// What a limit on it means; `None`: a setting or a count that is neither good nor bad.
    pub(super) better: Option<Better>,
}

/// What one run of a scenario found.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) figures: Vec<Figure>,
    lines: Vec<(&'static str, String)>,
}

impl Report {
    /// Nothing is found yet; `about` says what was asked for.
    pub(super) fn new(scenario: &'static str, about: String) -> Self {
        Self { scenario, figures: Vec::new(), lines: vec![("load", about)] }
    }

    /// Adds a line of the table.
    pub(super) fn line(&mut self, what: &'static str, said: impl Into<String>) {
        self.lines.push((what, said.into()));
    }

    /// Adds a setting or a count.
    pub(super) fn count(&mut self, name: &'static str, value: impl Into<f64>) {
        self.figures.push(Figure { name, value: value.into(), better: None });
    }

    /// Adds a figure that can be good or bad.
    pub(super) fn figure(&mut self, name: &'static str, value: f64, better: Better) {
        self.figures.push(Figure { name, value, better: Some(better) });
    }

    /// Adds a line with the quantiles of `waits`, and its figures under `names` (p50, p99, p99.9, max).
    pub(super) fn latency(&mut self, what: &'static str, names: [&'static str; 4], waits: &Histogram<u64>) {
        if waits.is_empty() {
            return;
        }
        let ms = |micros: u64| micros as f64 / 1000.0;
        let found = [0.5, 0.99, 0.999].map(|quantile| ms(waits.value_at_quantile(quantile)));
        let [p50, p99, p999] = found;
        let max = ms(waits.max());
        self.line(what, format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms"));
        for (name, value) in names.into_iter().zip([p50, p99, p999, max]) {
            self.figure(name, value, Better::Less);
        }
    }

    /// Adds what the processors of the server and of this generator did for `units` of `what`.
    pub(super) fn processors(&mut self, used: &Used, units: u64, what: &str) {
        match (used.server, used.pid) {
            (Some(server), Some(pid)) => {
                let per_million = server * 1e6 / units.max(1) as f64;
                self.line(
                    "server's processor",
                    format!("{per_million:.2} core-s per million {what} ({server:.2} core-s, pid {pid})"),
                );
                self.figure("server_core_seconds", server, Better::Less);
                self.figure("server_core_seconds_per_million", per_million, Better::Less);
            }
            _ => self.line("server's processor", "unknown: name its process with --pid"),
        }
        let per_million = used.generator * 1e6 / units.max(1) as f64;
        self.line(
            "generator's processor",
            format!("{per_million:.2} core-s per million {what} ({:.2} core-s)", used.generator),
        );
        self.figure("generator_core_seconds", used.generator, Better::Less);
    }

    /// The value of a figure.
    pub(super) fn find(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Prints it, and fails when it misses a limit.
    ///
    /// # Errors
    /// Says how many limits were missed; the verdicts are printed beside the figures.
    pub(super) fn print(self, as_json: bool, expectations: &Expectations) -> anyhow::Result<()> {
        let verdicts = expectations.judge(&self)?;
        let text = if as_json {
            serde_json::to_string(&Judged { report: &self, verdicts: &verdicts })? + "\n"
        } else {
            let mut text = self.table();
            for verdict in &verdicts {
                let _ = writeln!(text, "{:<22}{verdict}", "expected");
            }
            text
        };
        std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
        let missed = verdicts.iter().filter(|verdict| !verdict.is_met).count();
        if missed > 0 {
            bail!("{missed} of {} limits missed", verdicts.len());
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (what, said) in &self.lines {
            let _ = writeln!(text, "{what:<22}{said}");
        }
        text
    }
}

struct Judged<'a> {
    report: &'a Report,
    verdicts: &'a [super::expect::Verdict],
}

impl Serialize for Judged<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("scenario", self.report.scenario)?;
        for figure in &self.report.figures {
            if figure.value.fract() == 0.0 && figure.value.abs() < 9e15 {
                map.serialize_entry(figure.name, &(figure.value as i64))?;
            } else {
                map.serialize_entry(figure.name, &figure.value)?;
            }
        }
        if !self.verdicts.is_empty() {
            map.serialize_entry("expected", self.verdicts)?;
        }
        map.end()
    }
}

/// An empty histogram of microseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, 2).expect("the bounds are in order")
}

/// A count as people read it.
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// Microseconds in seconds.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// So many a second.
pub(super) fn per_second(number: u64, micros: u64) -> f64 {
    number as f64 / seconds(micros).max(1e-6)
}
