//! The cells of a CSV file, read leniently: any of three separators, rows of any length, what is in them trimmed.
//!
//! Not here: what a column means (`replay`, `import`).

use std::io::{self, Read};

use csv::{ByteRecord, Reader, ReaderBuilder, Trim};

/// Reads cells; `head` is the start of the file.
pub(crate) fn reader<R: Read>(input: R, head: &[u8]) -> Reader<R> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(head))
        .trim(Trim::All)
        .from_reader(input)
}

/// The separator that the first line has most of.
pub(crate) fn delimiter(head: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut in_quotes = false;
    for &byte in head.iter().take_while(|byte| **byte != b'\n') {
        in_quotes ^= byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(separator, _)| *separator == byte && !in_quotes) {
            *count += 1;
        }
    }
    // The comma stands first, and wins where nothing stands more often.
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts.iter().find(|(_, count)| *count == most).map_or(b',', |(separator, _)| *separator)
}

/// Lower case; every character but letters, digits and `_` becomes `_`.
pub(crate) fn channel_name(header: &str) -> String {
    header.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Reads a record; false at the end.
pub(crate) fn read<R: Read>(reader: &mut Reader<R>, into: &mut ByteRecord) -> io::Result<bool> {
    // A flexible reader of bytes has nothing to refuse but what the file itself refuses.
    reader.read_byte_record(into).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })
}

pub(crate) fn cell(record: &ByteRecord, at: usize) -> String {
    String::from_utf8_lossy(record.get(at).unwrap_or_default()).into_owned()
}

/// As much of a text as belongs in a message to a person.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
