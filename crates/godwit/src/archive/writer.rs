//! Writes an archive, front to back, to anything that takes bytes.
//!
//! Not here: what goes into it (`collect`). The law: a member has the length that was announced, and what was announced
//! is known before its first byte.

use std::io::{self, Write};

use aws_lc_rs::digest::{Context, SHA256, digest};
use host::File;

use super::error::hex;
use super::form::{self, Header, Manifest, Member};
use super::seal::{CHUNK_BYTES, Place, Seal, TAG_BYTES, sealed_bytes};

/// Tar is made of blocks of this size.
pub(crate) const BLOCK_BYTES: usize = 512;

/// An archive that is being written.
pub(crate) struct ArchiveWriter<W> {
    out: W,
    seal: Seal,
    header: Vec<u8>,
    members: Vec<Member>,
    /// Seconds since 1970: the time of every member.
    time: u64,
    chunk: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes the header.
    pub(crate) fn begin(out: W, header: &Header, seal: Seal, time: u64) -> io::Result<Self> {
        let chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
        let mut archive = Self { out, seal, header: header.to_bytes(), members: Vec::new(), time, chunk };
        let bytes = archive.header.clone();
        archive.plain(form::HEADER, &bytes)?;
        Ok(archive)
    }

    /// Adds the first `bytes` bytes of a file as member `name`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file has fewer; else what reading or writing says. The archive is then spoilt.
    pub(crate) fn file(&mut self, name: &str, bytes: u64, file: &dyn File) -> io::Result<()> {
        self.sealed(name, bytes, |at, chunk| {
            let read = file.read_at(at, chunk)?;
            if read < chunk.len() {
                let end = at + read as u64;
                let text = format!("`{name}` ends at byte {end}; it should have {bytes}");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            Ok(())
        })
    }

    /// Adds bytes as member `name`.
    pub(crate) fn bytes(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.sealed(name, content.len() as u64, |at, chunk| {
            let at = usize::try_from(at).expect("within what is in memory");
            chunk.copy_from_slice(&content[at..at + chunk.len()]);
            Ok(())
        })
    }

    fn sealed(
        &mut self,
        name: &str,
        bytes: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        debug_assert!(form::is_member_name(name), "{name}");
        let stored = sealed_bytes(bytes);
        let member = u32::try_from(self.members.len()).map_err(io::Error::other)?;
        self.out.write_all(&tar_header(name, stored, self.time)?)?;
        let mut sha256 = Context::new(&SHA256);
        let mut at = 0;
        let mut number = 0;
        loop {
            let length = (bytes - at).min(CHUNK_BYTES as u64);
            self.chunk.resize(usize::try_from(length).expect("a chunk"), 0);
            read(at, &mut self.chunk)?;
            at += length;
            let is_last = at == bytes;
            self.seal.close(&Place { member, name, chunk: number, is_last }, &mut self.chunk);
            sha256.update(&self.chunk);
            self.out.write_all(&self.chunk)?;
            number += 1;
            if is_last {
                break;
            }
        }
        self.pad(stored)?;
        let sha256 = hex(sha256.finish().as_ref());
        self.members.push(Member { name: name.to_owned(), bytes: stored, sha256 });
        Ok(())
    }

    /// Ends it with its manifest; `manifest` says everything but the members.
    pub(crate) fn finish(mut self, manifest: Manifest) -> io::Result<W> {
        let header_sha256 = hex(digest(&SHA256, &self.header).as_ref());
        let manifest = Manifest { header_sha256, members: std::mem::take(&mut self.members), ..manifest };
        let body = manifest.body();
        let tag = self.seal.tag(&self.header, &body);
        self.plain(form::MANIFEST, &Manifest::to_bytes(&body, &tag))?;
        self.end()
    }

    /// Ends it without one, saying why.
    pub(crate) fn fail(mut out: W, reason: &str, time: u64) -> io::Result<()> {
        // After a member that was cut short this is not found; the archive is then cut off, which says enough.
        let reason = &reason.as_bytes()[..reason.len().min(form::FAILED_BYTES_MAX as usize)];
        out.write_all(&tar_header(form::FAILED, reason.len() as u64, time)?)?;
        out.write_all(reason)?;
        out.write_all(&vec![0; padding(reason.len() as u64) + 2 * BLOCK_BYTES])?;
        out.flush()
    }

    fn plain(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.out.write_all(&tar_header(name, content.len() as u64, self.time)?)?;
        self.out.write_all(content)?;
        self.pad(content.len() as u64)
    }

    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK_BYTES][..padding(bytes)])
    }

    fn end(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Zeros behind a member of this length.
pub(crate) fn padding(bytes: u64) -> usize {
    (BLOCK_BYTES - (bytes % BLOCK_BYTES as u64) as usize) % BLOCK_BYTES
}

/// The block before a member.
pub(crate) fn tar_header(name: &str, bytes: u64, time: u64) -> io::Result<[u8; BLOCK_BYTES]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(time);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}
