//! Reads an archive, front to back, and believes nothing in it.
//!
//! Not here: what is done with the members. The laws: what is given out is bounded before it is read; a member that the
//! manifest does not name, that is not what the manifest says, or that stands elsewhere is an error; until
//! [`ArchiveReader::finish`] has said so, nothing of an archive is known to be right.

use std::io::Read;

use aws_lc_rs::digest::{Context, SHA256, digest};

use super::ArchiveError;
use super::error::hex;
use super::form::{self, Header, Manifest, Member};
use super::seal::{CHUNK_BYTES, Place, Seal, TAG_BYTES};
use super::writer::{BLOCK_BYTES, padding, tar_header};

/// Most members: the catalog, the journal's segments, the column files.
const MEMBERS_MAX: usize = 2_000_000;
/// Most zeros behind the end: some programs fill up to a tape's record.
const ENDING_BYTES_MAX: u64 = 64 * 1024;

/// An archive that is being read.
pub(crate) struct ArchiveReader<R> {
    input: R,
    at: u64,
    header: Header,
    header_bytes: Vec<u8>,
    members: Vec<Member>,
    current: Option<Current>,
    manifest: Option<Vec<u8>>,
    chunk: Vec<u8>,
}

struct Current {
    name: String,
    bytes: u64,
    left: u64,
    chunks: u64,
    sha256: Context,
}

/// What stands next in an archive.
struct Found {
    name: String,
    bytes: u64,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the header.
    pub(crate) fn open(input: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            input,
            at: 0,
            header: Header::default(),
            header_bytes: Vec::new(),
            members: Vec::new(),
            current: None,
            manifest: None,
            chunk: Vec::with_capacity(CHUNK_BYTES + TAG_BYTES),
        };
        match reader.found() {
            Ok(Some(found)) if found.name == form::HEADER => {
                reader.header_bytes = reader.plain(&found, form::HEADER_BYTES_MAX)?;
            }
            // A file of a few bytes, or of other ones, is none; one that cannot be read is not.
            Err(error @ ArchiveError::Io { .. }) => return Err(error),
            _ => return Err(ArchiveError::Foreign),
        }
        reader.header = Header::parse(&reader.header_bytes)?;
        Ok(reader)
    }

    /// What it says of itself.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// Goes on to the next member and gives its name; `None` when the manifest was reached.
    pub(crate) fn next(&mut self) -> Result<Option<String>, ArchiveError> {
        debug_assert!(self.current.is_none(), "a member is read to its end");
        let cut = ArchiveError::Cut { at: self.at };
        let Some(found) = self.found()? else { return Err(cut) };
        match found.name.as_str() {
            form::MANIFEST => {
                self.manifest = Some(self.plain(&found, form::MANIFEST_BYTES_MAX)?);
                return Ok(None);
            }
            form::FAILED => {
                let reason = self.plain(&found, form::FAILED_BYTES_MAX)?;
                let reason = String::from_utf8_lossy(&reason).into_owned();
                return Err(ArchiveError::Unfinished { reason });
            }
            name if !form::is_member_name(name) => {
                return Err(ArchiveError::Hostile {
                    what: format!("a file named `{}`", name.escape_debug()),
                });
            }
            name if found.bytes < TAG_BYTES as u64 => {
                return Err(ArchiveError::Damaged { what: format!("`{name}` is too short") });
            }
            _ => {}
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(ArchiveError::Hostile { what: format!("more than {MEMBERS_MAX} files") });
        }
        let sha256 = Context::new(&SHA256);
        let Found { name, bytes } = found;
        self.current = Some(Current { name: name.clone(), bytes, left: bytes, chunks: 0, sha256 });
        Ok(Some(name))
    }

    /// The next chunk of the member, opened when there is a seal; `None` at the member's end.
    pub(crate) fn chunk(&mut self, seal: Option<&Seal>) -> Result<Option<&[u8]>, ArchiveError> {
        let Some(mut current) = self.current.take() else { return Ok(None) };
        if current.left == 0 {
            self.skip_padding(current.bytes)?;
            let sha256 = hex(current.sha256.finish().as_ref());
            self.members.push(Member { name: current.name, bytes: current.bytes, sha256 });
            return Ok(None);
        }
        let length = current.left.min((CHUNK_BYTES + TAG_BYTES) as u64);
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(usize::try_from(length).expect("a chunk"), 0);
        self.read(&mut chunk)?;
        current.sha256.update(&chunk);
        current.left -= length;
        if let Some(seal) = seal {
            let member = u32::try_from(self.members.len()).expect("bounded");
            let is_last = current.left == 0;
            let place = Place { member, name: &current.name, chunk: current.chunks, is_last };
            if !seal.open(&place, &mut chunk) {
                let what = format!("`{}` is not what was sealed, near byte {}", current.name, self.at);
                return Err(ArchiveError::Damaged { what });
            }
        }
        current.chunks += 1;
        self.current = Some(current);
        self.chunk = chunk;
        Ok(Some(&self.chunk))
    }

    /// Reads the rest and compares everything that was found with the manifest. With a seal the manifest itself is
    /// checked too.
    pub(crate) fn finish(mut self, seal: Option<&Seal>) -> Result<Manifest, ArchiveError> {
        self.read_ending()?;
        let Some(bytes) = self.manifest.take() else { return Err(ArchiveError::Cut { at: self.at }) };
        let (manifest, body, tag) = Manifest::parse(&bytes)?;
        let damaged = |what: String| Err(ArchiveError::Damaged { what });
        if manifest.header_sha256 != hex(digest(&SHA256, &self.header_bytes).as_ref()) {
            return damaged("its header is not what was written".to_owned());
        }
        for (place, named) in manifest.members.iter().enumerate() {
            match self.members.get(place) {
                Some(found) if found == named => {}
                Some(found) if found.name == named.name => {
                    return damaged(format!("`{}` is not what was written", named.name));
                }
                Some(found) => {
                    return damaged(format!("`{}` stands where `{}` should", found.name, named.name));
                }
                None => return damaged(format!("`{}` is missing", named.name)),
            }
        }
        if let Some(more) = self.members.get(manifest.members.len()) {
            return damaged(format!("its manifest does not name `{}`", more.name));
        }
        let mut names: Vec<&str> = manifest.members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ArchiveError::Hostile { what: format!("`{}` twice", pair[0]) });
        }
        if seal.is_some_and(|seal| !seal.is_tag_of(tag, &self.header_bytes, body)) {
            return Err(ArchiveError::Forged);
        }
        Ok(manifest)
    }

    /// The next block that stands before a member; `None` at the end of the archive.
    fn found(&mut self) -> Result<Option<Found>, ArchiveError> {
        let at = self.at;
        let mut block = [0; BLOCK_BYTES];
        self.read(&mut block)?;
        if block == [0; BLOCK_BYTES] {
            return Ok(None);
        }
        let header = tar::Header::from_byte_slice(&block);
        // The sum of all bytes, those of the sum itself as blanks (POSIX.1-2017, pax, ustar).
        let sum =
            |range: std::ops::Range<usize>| block[range].iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let expected = sum(0..148) + 8 * u32::from(b' ') + sum(156..BLOCK_BYTES);
        let damaged = || ArchiveError::Damaged { what: format!("no file begins at byte {at}") };
        if header.cksum().ok() != Some(expected) {
            return Err(damaged());
        }
        if header.entry_type() != tar::EntryType::Regular {
            let what = format!("something that is no regular file, at byte {at}");
            return Err(ArchiveError::Hostile { what });
        }
        let bytes = header.size().map_err(|_| damaged())?;
        // As text, not as a path: nothing is normalised away before it is looked at.
        let name = String::from_utf8(header.path_bytes().into_owned()).map_err(|_| damaged())?;
        // Nothing but what our own writer makes: no owner, no link, no other way to write the same.
        let ours = header.mtime().and_then(|time| tar_header(&name, bytes, time));
        match ours {
            Ok(ours) if ours == block => Ok(Some(Found { name, bytes })),
            _ if !form::is_known_name(&name) => Ok(Some(Found { name, bytes })),
            _ => Err(damaged()),
        }
    }

    /// A member that is read at once.
    fn plain(&mut self, found: &Found, bytes_max: u64) -> Result<Vec<u8>, ArchiveError> {
        if found.bytes > bytes_max {
            let what = format!("`{}` of {} bytes; the most is {bytes_max}", found.name, found.bytes);
            return Err(ArchiveError::Hostile { what });
        }
        // It grows with what comes, not with what was announced.
        let mut content = Vec::new();
        let read = (&mut self.input).take(found.bytes).read_to_end(&mut content);
        self.at += content.len() as u64;
        read.map_err(|source| ArchiveError::Io { at: self.at, source })?;
        if (content.len() as u64) < found.bytes {
            return Err(ArchiveError::Cut { at: self.at });
        }
        self.skip_padding(found.bytes)?;
        Ok(content)
    }

    fn skip_padding(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let mut zeros = [0; BLOCK_BYTES];
        let zeros = &mut zeros[..padding(bytes)];
        self.read(zeros)?;
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(ArchiveError::Damaged {
                what: format!("bytes before byte {} are not zero", self.at),
            });
        }
        Ok(())
    }

    /// Behind the manifest there are zeros, and then nothing.
    fn read_ending(&mut self) -> Result<(), ArchiveError> {
        let mut rest = Vec::new();
        let at = self.at;
        let read = (&mut self.input).take(ENDING_BYTES_MAX + 1).read_to_end(&mut rest);
        self.at += rest.len() as u64;
        read.map_err(|source| ArchiveError::Io { at: self.at, source })?;
        if rest.len() < 2 * BLOCK_BYTES {
            return Err(ArchiveError::Cut { at: self.at });
        }
        if rest.len() as u64 > ENDING_BYTES_MAX || rest.iter().any(|&byte| byte != 0) {
            return Err(ArchiveError::Damaged { what: format!("bytes follow its end, from byte {at} on") });
        }
        Ok(())
    }

    fn read(&mut self, mut into: &mut [u8]) -> Result<(), ArchiveError> {
        while !into.is_empty() {
            match self.input.read(into) {
                Ok(0) => return Err(ArchiveError::Cut { at: self.at }),
                Ok(read) => {
                    self.at += read as u64;
                    into = &mut into[read..];
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ArchiveError::Io { at: self.at, source }),
            }
        }
        Ok(())
    }
}

/// Reads a whole archive and checks everything that can be checked; with a seal its content too. `progress` hears of
/// every chunk how many bytes were read.
pub(crate) fn verify<R: Read>(
    mut reader: ArchiveReader<R>,
    seal: Option<&Seal>,
    mut progress: impl FnMut(u64),
) -> Result<(Header, Manifest), ArchiveError> {
    while reader.next()?.is_some() {
        while reader.chunk(seal)?.is_some() {
            progress(reader.position());
        }
    }
    let header = reader.header().clone();
    Ok((header, reader.finish(seal)?))
}
