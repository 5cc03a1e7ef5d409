//! `FILE.rejected`: the rows that did not come in, as they stand, each below a remark with its line and its reason.
//!
//! What is corrected there can be imported as it is: remarks are passed over. The law: a row is either sent or here.

use std::io;
use std::path::{Path, PathBuf};

use host::{Disk, File};

/// How a remark begins.
pub(super) const REMARK: &str = "# refused line ";

/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 64 * 1024;

/// The file, made when the first row is refused.
pub(super) struct Refused<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    file: Option<Box<dyn File>>,
    gathered: Vec<u8>,
    header: Option<Vec<u8>>,
    rows: u64,
}

impl<'a> Refused<'a> {
    /// For rows of a file that begins with `header`.
    pub(super) fn new(disk: &'a dyn Disk, path: PathBuf, header: Option<&[u8]>) -> Self {
        let header = header.map(<[u8]>::to_vec);
        Self { disk, path, file: None, gathered: Vec::new(), header, rows: 0 }
    }

    /// How many.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a row.
    pub(super) fn add(&mut self, line: u64, why: &str, raw: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            // What an earlier import refused of this file is refused again.
            match self.disk.remove(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.file = Some(self.disk.create(&self.path)?);
            if let Some(header) = self.header.take() {
                self.gathered.extend(header);
                self.gathered.push(b'\n');
            }
        }
        // A remark is one line, and one that CSV has no quotes to look for in.
        let why: String = why.chars().map(|c| if c == '"' || c.is_control() { '\'' } else { c }).collect();
        self.gathered.extend(format!("{REMARK}{line}: {why}\n").into_bytes());
        self.gathered.extend(raw);
        self.gathered.push(b'\n');
        self.rows += 1;
        if self.gathered.len() >= GATHERED_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.append(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(())
    }

    /// Writes what is gathered, and makes it durable.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.write()?;
        match &mut self.file {
            Some(file) => file.sync(),
            None => Ok(()),
        }
    }
}
