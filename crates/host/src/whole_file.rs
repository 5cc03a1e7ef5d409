//! A file that appears under its name only when it is whole.
//!
//! Until then it is `NAME.part` beside it. Not here: what is in it. The law: whatever ends the writing, a file under the
//! name itself was finished and is on stable storage.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{Disk, SystemDisk};

/// A file that is being written. Dropped before [`Self::finish`] it is removed.
pub struct WholeFile {
    path: PathBuf,
    part: PathBuf,
    file: fs::File,
    is_finished: bool,
}

impl WholeFile {
    /// Begins `path`, mode 0600. What an earlier attempt left is written over.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        Ok(Self { path: path.to_owned(), part, file, is_finished: false })
    }

    /// Puts it in place of what stands under its name.
    ///
    /// # Errors
    /// What the operating system says; what stands under the name is then as it was.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        self.is_finished = true;
        SystemDisk.sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // It is no use to anybody, and its name says so if it cannot be removed.
            let _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("backup.tar");
        fs::write(&path, "old").expect("written");
        let mut cut = WholeFile::begin(&path).expect("begun");
        cut.write_all(b"half").expect("written");
        assert!(dir.path().join("backup.tar.part").exists());
        drop(cut);
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left aside");
        let mut whole = WholeFile::begin(&path).expect("begun");
        whole.write_all(b"new").expect("written");
        whole.finish().expect("finished");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left aside");
    }
}
