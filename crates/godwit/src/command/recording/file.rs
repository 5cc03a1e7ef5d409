//! The recording as bytes: read in order through `host`, and known by its hash.

use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use host::{Disk, File};

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file read from its start to its end.
pub(crate) struct FileReader {
    file: Box<dyn File>,
    offset: u64,
}

impl FileReader {
    /// Opens `path` at `offset`.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, offset: u64) -> io::Result<Self> {
        Ok(Self { file: disk.open(path)?, offset })
    }
}

impl Read for FileReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read_at(self.offset, into)?;
        self.offset += bytes as u64;
        Ok(bytes)
    }
}

/// What one look through the whole file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Survey {
    /// SHA-256 of the content, in hexadecimal digits.
    pub(crate) hash: String,
    /// Lines, for a progress bar: a quoted cell may hold several.
    pub(crate) lines: u64,
    /// The first bytes, by which the format is known.
    pub(crate) head: Vec<u8>,
}

/// Looks through the whole file.
pub(crate) fn survey(disk: &dyn Disk, path: &Path) -> io::Result<Survey> {
    let mut reader = FileReader::open(disk, path, 0)?;
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut lines, mut head, mut last) = (0, Vec::new(), b'\n');
    loop {
        let bytes = reader.read(&mut chunk)?;
        let read = &chunk[..bytes];
        let Some(&end) = read.last() else { break };
        if head.is_empty() {
            head = read.to_vec();
        }
        hash.update(read);
        lines += read.iter().filter(|&&byte| byte == b'\n').count() as u64;
        last = end;
    }
    lines += u64::from(last != b'\n');
    Ok(Survey { hash: hex(hash.finish().as_ref()), lines, head })
}

/// SHA-256 of a few texts that belong together, in hexadecimal digits; no two lists of texts share one.
pub(crate) fn hash_of(texts: &[&str]) -> String {
    let mut hash = Context::new(&SHA256);
    for text in texts {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex(hash.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
