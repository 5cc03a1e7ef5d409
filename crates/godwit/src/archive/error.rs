//! What is wrong with a backup, in words that say whether another copy of it is worth a try.

use std::io;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// It cannot be read at all.
    #[error("cannot read the backup at byte {at}")]
    Io {
        at: u64,
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("this is no backup of Godwit")]
    Foreign,
    /// A newer version wrote it.
    #[error("the backup has version {found}; this version of Godwit knows versions up to {known}")]
    Newer { found: u32, known: u32 },
    /// It ends before its manifest.
    #[error("the backup is cut off: it ends at byte {at}, before its manifest")]
    Cut { at: u64 },
    /// The server could not finish it.
    #[error("the backup was not finished: {reason}")]
    Unfinished { reason: String },
    /// Bytes are not what was written.
    #[error("the backup is damaged: {what}")]
    Damaged { what: String },
    /// It was put together by somebody who does not have the key.
    #[error("the backup's manifest was not made with the key of this backup")]
    Forged,
    /// Something that no backup has.
    #[error("the backup holds what no backup of Godwit does: {what}")]
    Hostile { what: String },
}

impl ArchiveError {
    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Foreign => Some("name a file that `godwit backup --to FILE` made"),
            Self::Newer { .. } => Some("use the version of Godwit that wrote it, or a newer one"),
            Self::Cut { .. } | Self::Unfinished { .. } => {
                Some("make the backup again; an older one may be whole: `godwit backup verify FILE`")
            }
            Self::Damaged { .. } => Some("use another copy of it, or an older backup"),
            Self::Forged | Self::Hostile { .. } => Some("do not restore it: find out where it comes from"),
            Self::Io { .. } => None,
        }
    }
}

/// A hex text of the bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a hex text.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
