//! The lines of a file, each of bounded length.

use std::io::{self, BufRead, BufReader, Read};

use model::limit::JSON_BYTES_MAX;

/// Longest line in bytes: what is longer no decoder takes.
const LINE_BYTES_MAX: usize = JSON_BYTES_MAX;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads lines into one buffer.
pub(crate) struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    text: Vec<u8>,
    is_too_long: bool,
}

impl<R: Read> Lines<R> {
    pub(crate) fn open(input: R) -> Self {
        let input = BufReader::with_capacity(CHUNK_BYTES, input);
        Self { input, number: 0, text: Vec::new(), is_too_long: false }
    }

    /// Reads the next line; false at the end of the file.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        self.text.clear();
        let bytes_max = LINE_BYTES_MAX as u64 + 1;
        if self.input.by_ref().take(bytes_max).read_until(b'\n', &mut self.text)? == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.is_too_long = self.text.len() as u64 == bytes_max && self.text.last() != Some(&b'\n');
        if self.is_too_long {
            self.input.skip_until(b'\n')?;
        }
        if self.text.last() == Some(&b'\n') {
            self.text.pop();
        }
        if self.text.last() == Some(&b'\r') {
            self.text.pop();
        }
        Ok(true)
    }

    /// The line that was read, counted from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Its text, without its end; of a line that is too long the start.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the line was longer than is read.
    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long
    }
}

/// What is wrong with a line that is too long.
pub(crate) fn too_long() -> String {
    format!("it has more than {LINE_BYTES_MAX} bytes, the most that is decoded")
}
