//! `godwit rule test`: unit tests of rules.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use rules::TestFile;

use super::{files, say};

/// The fleet of a test is small: what windows need for a large one is asked by `check`.
const DEVICES: u64 = 1;

pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let name = file.display().to_string();
    let tests = TestFile::parse(&files::text(file)?).map_err(|faults| {
        let faults: Vec<_> = faults.into_iter().map(|fault| fault.of(name.as_str())).collect();
        files::tell(&faults)
    })?;
    let beside = file.parent().unwrap_or(Path::new(""));
    let rule_files: Vec<PathBuf> = tests.rule_files().iter().map(|named| beside.join(named)).collect();
    let rules = files::load(&rule_files, DEVICES)?;
    let (mut text, mut failed) = (String::new(), 0);
    let results = tests.run(&rules);
    for result in &results {
        let verdict = if result.failures.is_empty() { "ok" } else { "FAILED" };
        writeln!(text, "{verdict:6} {}", result.name)?;
        failed += usize::from(!result.failures.is_empty());
        for failure in &result.failures {
            writeln!(text, "       {name}:{failure}")?;
        }
    }
    writeln!(text, "{} of {} tests passed", results.len() - failed, results.len())?;
    say(&text)?;
    if failed == 0 { Ok(()) } else { Err(anyhow!("{failed} of {} tests failed", results.len())) }
}
