//! Files on stable storage, as a seam: the machine's disk, and in tests one that lies (`sim`).
//!
//! Only what Godwit's own formats need: whole files replaced atomically, and files that grow at the end.
//! A file is made with mode 0600: what Godwit stores is nobody else's to read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// How much room a volume has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The volume's size.
    pub total: u64,
    /// What this process may still write.
    pub free: u64,
}

/// Keeps files.
pub trait Disk: Send + Sync {
    /// Makes a directory and those above it, mode 0700. One that exists is fine.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The files of a directory, sorted by name. Directories in it are not listed.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a new file for appending; the directory entry is durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists` when there is one; else what the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Reads a whole file of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` when it is larger; else what the operating system says.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Puts `bytes` in place of the file's content: after a crash either the old content or the new is there.
    ///
    /// # Errors
    /// What the operating system says; the old content then still stands.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How much room the volume of `path` has.
    ///
    /// # Errors
    /// What the operating system says.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Writes all of `bytes` behind what was appended before.
    ///
    /// # Errors
    /// What the operating system says. Part of `bytes` may have been written; the next append goes over it.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes `bytes` zeros behind what was appended; later appends go over them. A sync of what lies on blocks that
    /// the file already has need not wait for the file system's own journal: it is quicker and writes less. A disk
    /// on which it makes no difference need not do it.
    ///
    /// # Errors
    /// What the operating system says; appends go on as before.
    fn prepare(&mut self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Waits until what was written is on stable storage, with the metadata needed to read it back.
    ///
    /// # Errors
    /// What the operating system says. What was written since the last sync is then in doubt for ever: the
    /// system may report the next sync as done although nothing was written.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to its first `bytes` bytes: takes back a write that failed half way, or what was prepared and
    /// not used. Durable after [`File::sync`].
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;

    /// Reads up to `into.len()` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn bytes(&self) -> io::Result<u64>;
}

/// The machine's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() {
                entries.push(Entry {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    bytes: about.len(),
                });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(SystemFile { file, end: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::File::open(path)?;
        let end = file.metadata()?.len();
        Ok(Box::new(SystemFile { file, end }))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = fs::metadata(path)?.len();
        if bytes > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("`{}` has {bytes} bytes; the most is {bytes_max}", path.display()),
            ));
        }
        fs::read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let aside = aside(path);
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // An empty parent is the working directory (`--data godwit`).
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let about = rustix::fs::statvfs(path)?;
        Ok(Space { total: about.f_blocks * about.f_frsize, free: about.f_bavail * about.f_frsize })
    }
}

/// Where [`Disk::replace`] prepares the new content: beside the file, so that the rename stays on one volume.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// What [`File::prepare`] writes at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

struct SystemFile {
    file: fs::File,
    /// Where the next append goes.
    end: u64,
}

impl File for SystemFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn prepare(&mut self, bytes: u64) -> io::Result<()> {
        let mut at = self.end;
        let until = self.end + bytes;
        while at < until {
            let zeros = &ZEROS[..ZEROS.len().min(usize::try_from(until - at).unwrap_or(usize::MAX))];
            self.file.write_all_at(zeros, at)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.end = self.end.min(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_0600() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("manifest");
        SystemDisk.replace(&path, b"old").expect("written");
        SystemDisk.replace(&path, b"new").expect("written");
        assert_eq!(SystemDisk.read(&path, 10).expect("read"), b"new");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(SystemDisk.list(dir.path()).expect("listed").len(), 1, "nothing is left aside");
        let refused = SystemDisk.read(&path, 2).expect_err("too large").to_string();
        assert!(refused.contains("has 3 bytes; the most is 2"), "{refused}");
    }

    #[test]
    fn what_is_appended_goes_over_what_was_prepared() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = SystemDisk.create(&dir.path().join("segment")).expect("made");
        file.append(b"one").expect("written");
        file.prepare(200_000).expect("written");
        file.append(b"two").expect("written");
        assert_eq!(file.bytes().expect("known"), 200_003);
        let mut bytes = [1; 8];
        assert_eq!(file.read_at(0, &mut bytes).expect("read"), 8);
        assert_eq!(&bytes, b"onetwo\0\0");
        file.truncate(6).expect("cut");
        file.append(b"!").expect("written");
        assert_eq!(file.bytes().expect("known"), 7);
    }

    #[test]
    fn what_is_appended_is_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("segment");
        let mut file = SystemDisk.create(&path).expect("made");
        file.append(b"one").expect("written");
        file.append(b"two").expect("written");
        file.sync().expect("synced");
        let mut bytes = [0; 10];
        assert_eq!(file.read_at(1, &mut bytes).expect("read"), 5);
        assert_eq!(&bytes[..5], b"netwo");
        assert_eq!(SystemDisk.create(&path).err().map(|e| e.kind()), Some(io::ErrorKind::AlreadyExists));
    }
}
