//! A backup: one file that holds a data directory, written while it is served, checked without being unpacked.
//!
//! ```text
//! tar (POSIX ustar), regular files only, in this order:
//!
//! godwit-backup.json     Header: what it is a backup of, when; the data key, wrapped by the key-encryption key;
//!                        the key-encryption key, wrapped by a passphrase (unless left out)
//! catalog.db             ┐
//! series/…               │ consumer stores first …
//! series/MANIFEST        │
//! journal/checkpoint     │
//! journal/….segment      ┘ … the journal last: a restore replays what the stores lack
//! manifest               "godwit-backup-manifest 1 tag=<hex> sha256=<hex>\n", then Manifest as JSON: names, sizes and
//!                        SHA-256 of all; the line's own is of the tag's digits and the JSON
//!
//! in place of the manifest, when a backup failed half way:
//! failed                 why, as text
//! ```
//!
//! Members between header and manifest are sealed (`seal`): AES-256-GCM in chunks of 64 KiB under the archive's data key;
//! the SHA-256 are of the sealed bytes, so that anybody can check them, and the manifest's tag is of that key, so that
//! nobody without it can make another. Nothing is compressed: what is large is encrypted or packed already.
//!
//! Not here: where the bytes come from and go to (`command::backup`, `command::restore`). The laws: an archive
//! without its manifest is no backup, so whatever cuts it off is noticed; a name, size or kind that no backup of ours
//! has is refused before anything is made of it; the key-encryption key is never in it in the clear.

pub(crate) mod collect;
pub(crate) mod error;
pub(crate) mod form;
pub(crate) mod passphrase;
pub(crate) mod pipe;
pub(crate) mod progress;
pub(crate) mod reader;
pub(crate) mod seal;
pub(crate) mod service;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

pub(crate) use error::ArchiveError;
pub(crate) use form::{Header, Manifest};
pub(crate) use reader::ArchiveReader;
pub(crate) use writer::ArchiveWriter;
