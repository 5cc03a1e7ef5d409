//! The file as bytes: read in order, unpacked when it is gzip'd, known by its hash.

use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use host::Disk;

use crate::command::recording::file::{FileReader, survey};
use crate::command::recording::without_bom;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How gzip'd files begin (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What one look through the whole file tells.
#[derive(Debug)]
pub(super) struct About {
    /// SHA-256 of the file, in hexadecimal digits.
    pub(super) hash: String,
    /// Lines of what is in it, for a progress bar.
    pub(super) lines: u64,
    /// The first bytes of what is in it.
    pub(super) head: Vec<u8>,
    is_packed: bool,
}

impl About {
    /// Looks through the whole file.
    pub(super) fn of(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = survey(disk, path)?;
        if !file.head.starts_with(&GZIP) {
            return Ok(Self { hash: file.hash, lines: file.lines, head: file.head, is_packed: false });
        }
        let mut about = Self { hash: file.hash, lines: 0, head: Vec::new(), is_packed: true };
        let mut input = about.unpacked(disk, path)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut last = b'\n';
        loop {
            let bytes = input.read(&mut chunk)?;
            let Some(&end) = chunk[..bytes].last() else { break };
            if about.head.is_empty() {
                about.head = chunk[..bytes].to_vec();
            }
            about.lines += chunk[..bytes].iter().filter(|&&byte| byte == b'\n').count() as u64;
            last = end;
        }
        about.lines += u64::from(last != b'\n');
        Ok(about)
    }

    /// What is in the file, from its start, without a byte order mark.
    pub(super) fn open(&self, disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn Read>> {
        let mut input = self.unpacked(disk, path)?;
        let mark = self.head.len() - without_bom(&self.head).len();
        io::copy(&mut input.by_ref().take(mark as u64), &mut io::sink())?;
        Ok(input)
    }

    fn unpacked(&self, disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn Read>> {
        let file = FileReader::open(disk, path, 0)?;
        Ok(if self.is_packed {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, file)))
        } else {
            Box::new(file)
        })
    }
}
