//! Rule files from disk.
//!
//! Not here: what is in them. The law: every fault of every file is told before the command fails.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use host::{Disk as _, SystemDisk};
use rules::{FILE_BYTES_MAX, FileFault, Limits, RuleSet};

use crate::fault::with_hint;

/// The text of a file.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read `{}`", path.display());
    // One byte more than is taken: what is longer is refused by its length.
    let bytes = SystemDisk.read(path, FILE_BYTES_MAX as u64 + 1).with_context(cannot)?;
    String::from_utf8(bytes).context("it is not UTF-8").with_context(cannot)
}

/// Loads files for a fleet of `devices`.
pub(super) fn load(paths: &[PathBuf], devices: u64) -> anyhow::Result<RuleSet> {
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| Ok((path.display().to_string(), text(path)?)))
        .collect::<anyhow::Result<_>>()?;
    let limits = Limits { devices, ..Limits::default() };
    let named = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    RuleSet::load(named, &limits).map_err(|faults| tell(&faults))
}

/// Tells faults on stderr, and makes the error that ends the command.
pub(super) fn tell(faults: &[FileFault]) -> anyhow::Error {
    let mut stderr = std::io::stderr().lock();
    for fault in faults {
        // Who closed stderr does not read it.
        let _ = writeln!(stderr, "{fault}");
    }
    let count = faults.len();
    let what = if count == 1 { "fault" } else { "faults" };
    with_hint(anyhow!("{count} {what}"), Some("docs/rules.md teaches the language"))
}
