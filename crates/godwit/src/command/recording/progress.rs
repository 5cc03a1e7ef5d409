//! How far a replay or an import came, kept so that an interrupted one goes on where the server's acknowledgements
//! ended.
//!
//! One small file per (command, file hash, target, how it is sent), removed when everything is sent. The law: it
//! counts acknowledged rows only, so at worst a few rows are sent twice, and none is left out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use host::{Clock, Disk};
use serde::{Deserialize, Serialize};

use super::file::hash_of;

/// How long progress may be unsaved: a crash repeats the rows of this time, and each save waits for the disk.
const UNSAVED_MICROS_MAX: u64 = 500_000;
/// Far above what the few fields take.
const BYTES_MAX: u64 = 64 * 1024;

/// Which work it is: another file, target or way of sending is another work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Which {
    /// The command: `replay` or `import`.
    pub(crate) command: String,
    /// SHA-256 of the file.
    pub(crate) file_sha256: String,
    /// The server's address, or the identity of its data directory.
    pub(crate) target: String,
    /// What else decides what is sent, and in which order.
    pub(crate) how: Vec<String>,
}

impl Which {
    fn file_name(&self) -> String {
        let how: Vec<&str> = self.how.iter().map(String::as_str).collect();
        let hash = hash_of(&[&[self.file_sha256.as_str(), &self.target], how.as_slice()].concat());
        format!("{}-{}.json", self.command, &hash[..32])
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    #[serde(flatten)]
    which: Which,
    /// Rows from the start that are acknowledged or were left out.
    rows: u64,
}

/// The progress of one such work.
pub(crate) struct Progress {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    saved: Saved,
    saved_at_micros: u64,
    is_unsaved: bool,
}

impl Progress {
    /// Finds how far `which` came before, in `dir`. A file that cannot be understood counts for nothing.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        dir: &Path,
        which: Which,
    ) -> anyhow::Result<Self> {
        disk.create_dir(dir).with_context(|| keeping(dir))?;
        let path = dir.join(which.file_name());
        let known = match disk.read(&path, BYTES_MAX) {
            Ok(text) => serde_json::from_slice::<Saved>(&text).ok().filter(|saved| saved.which == which),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| keeping(dir)),
        };
        let saved = known.unwrap_or(Saved { which, rows: 0 });
        let saved_at_micros = clock.mono_micros();
        Ok(Self { disk, clock, path, saved, saved_at_micros, is_unsaved: false })
    }

    /// Rows that are done.
    pub(crate) fn rows(&self) -> u64 {
        self.saved.rows
    }

    /// All rows up to `rows` are done now. Saved soon.
    pub(crate) fn advance(&mut self, rows: u64) -> anyhow::Result<()> {
        self.saved.rows = rows;
        self.is_unsaved = true;
        if self.clock.mono_micros().saturating_sub(self.saved_at_micros) < UNSAVED_MICROS_MAX {
            return Ok(());
        }
        self.save()
    }

    /// Saves now what is unsaved.
    pub(crate) fn save(&mut self) -> anyhow::Result<()> {
        if self.is_unsaved {
            let text = serde_json::to_vec_pretty(&self.saved).expect("texts and numbers become JSON");
            self.disk.replace(&self.path, &text).with_context(|| self.keeping())?;
            self.is_unsaved = false;
            self.saved_at_micros = self.clock.mono_micros();
        }
        Ok(())
    }

    /// Forgets it: the work is finished, or starts over.
    pub(crate) fn forget(&mut self) -> anyhow::Result<()> {
        self.saved.rows = 0;
        self.is_unsaved = false;
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.keeping())
            }
            _ => Ok(()),
        }
    }

    fn keeping(&self) -> String {
        keeping(self.path.parent().unwrap_or(&self.path))
    }
}

fn keeping(dir: &Path) -> String {
    format!("cannot keep progress in `{}`: name another directory with --state", dir.display())
}

#[cfg(test)]
mod tests {
    use host::{SystemClock, SystemDisk};

    use super::*;

    fn which(device: &str, shuffle: Option<u64>) -> Which {
        let text = |text: &str| text.to_owned();
        let how = vec![text(device), format!("{shuffle:?}")];
        Which { command: text("replay"), file_sha256: text("f"), target: text("a:1"), how }
    }

    fn open(dir: &Path, which: Which) -> Progress {
        Progress::open(Arc::new(SystemDisk), Arc::new(SystemClock::start()), dir, which).expect("opened")
    }

    #[test]
    fn an_interrupted_replay_goes_on_and_a_finished_one_starts_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut first = open(dir.path(), which("d", None));
        assert_eq!(first.rows(), 0);
        first.advance(41).expect("advanced");
        first.advance(42).expect("advanced");
        first.save().expect("saved");
        let mut second = open(dir.path(), which("d", None));
        assert_eq!(second.rows(), 42);
        second.forget().expect("forgotten");
        assert_eq!(open(dir.path(), which("d", None)).rows(), 0);
        assert_eq!(SystemDisk.list(dir.path()).expect("listed"), [], "nothing is left behind");
        second.forget().expect("forgetting twice is fine");
    }

    #[test]
    fn another_device_target_or_order_is_another_replay() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut progress = open(dir.path(), which("d", None));
        progress.advance(7).expect("advanced");
        progress.save().expect("saved");
        for other in [
            which("e", None),
            which("d", Some(1)),
            Which { target: "b:1".to_owned(), ..which("d", None) },
            Which { file_sha256: "g".to_owned(), ..which("d", None) },
            Which { command: "import".to_owned(), ..which("d", None) },
            Which { how: vec!["d".to_owned()], ..which("d", None) },
        ] {
            assert_eq!(open(dir.path(), other.clone()).rows(), 0, "{other:?}");
        }
    }

    #[test]
    fn a_damaged_file_counts_for_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let progress = open(dir.path(), which("d", None));
        SystemDisk.replace(&progress.path, b"{\"rows\": 9").expect("written");
        assert_eq!(open(dir.path(), which("d", None)).rows(), 0);
    }
}
