//! An archive against everything that can happen to a file, and against somebody who means ill.

use host::{DataKey, SystemDisk, WholeFile};
use std::io::Write as _;

use super::form::{Header, Manifest, Member};
use super::reader::verify;
use super::seal::{Seal, sealed_bytes};
use super::writer::{BLOCK_BYTES, padding, tar_header};
use super::{ArchiveError, ArchiveReader, ArchiveWriter, form};

const TIME: u64 = 1_767_225_600;

fn seal(key: u8) -> Seal {
    Seal::new(&DataKey::new([key; 32]))
}

fn header() -> Header {
    Header {
        godwit_backup: form::VERSION,
        version: "0.1.0".to_owned(),
        begun_at: "2026-01-01T00:00:00Z".to_owned(),
        data_format: 2,
        data_id: "a1".to_owned(),
        boot: 3,
        key_id: "0011".to_owned(),
        data_key: "00".to_owned(),
        key: None,
        ring: None,
        bytes: 1_000,
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 % 251) as u8).collect()
}

/// Members of every length that matters.
fn members() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("catalog.db", content(100)),
        ("series/2026-01-01-00000001.parquet", content(0)),
        ("series/MANIFEST", content(512)),
        ("journal/checkpoint", content(1)),
        ("journal/regular-00000000000000000001.segment", content(300)),
    ]
}

fn write(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ArchiveWriter::begin(Vec::new(), &header(), seal(7), TIME).expect("begun");
    for (name, content) in members {
        archive.bytes(name, content).expect("written");
    }
    archive.finish(Manifest { durable_seq: 9, ..Manifest::default() }).expect("finished")
}

fn read(bytes: &[u8], seal: Option<&Seal>) -> Result<(Header, Manifest), ArchiveError> {
    verify(ArchiveReader::open(bytes)?, seal, |_| ())
}

/// The archive in parts: each header block with its content and padding; the end last.
fn parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while bytes[at] != 0 {
        let block: &[u8] = &bytes[at..at + BLOCK_BYTES];
        let size = tar::Header::from_byte_slice(block).size().expect("a size");
        let end = at + BLOCK_BYTES + usize::try_from(size).expect("small") + padding(size);
        parts.push(bytes[at..end].to_vec());
        at = end;
    }
    parts.push(bytes[at..].to_vec());
    parts
}

#[test]
fn an_archive_reads_as_it_was_written() {
    let mut members = members();
    for bytes in [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_000] {
        members.push(("journal/urgent-00000000000000000001.segment", content(bytes)));
        let archive = write(&members);
        let mut reader = ArchiveReader::open(archive.as_slice()).expect("one of ours");
        assert_eq!(reader.header(), &header());
        let seal = seal(7);
        for (name, content) in &members {
            assert_eq!(reader.next().expect("whole").as_deref(), Some(*name));
            let mut found = Vec::new();
            while let Some(chunk) = reader.chunk(Some(&seal)).expect("whole") {
                found.extend_from_slice(chunk);
            }
            assert_eq!(&found, content, "{name}");
        }
        assert_eq!(reader.next().expect("whole"), None);
        let manifest = reader.finish(Some(&seal)).expect("whole");
        assert_eq!((manifest.durable_seq, manifest.members.len()), (9, members.len()));
        let stored = manifest.members.last().map(|member| member.bytes);
        assert_eq!(stored, Some(sealed_bytes(bytes as u64)));
        members.pop();
    }
    let archive = write(&members);
    let secret = &members[0].1[..32];
    assert!(!archive.windows(32).any(|window| window == secret), "nothing is readable without the key");
}

#[test]
fn any_flipped_bit_is_noticed_without_the_key() {
    let archive = write(&members());
    read(&archive, None).expect("whole");
    for at in 0..archive.len() {
        let mut damaged = archive.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged, None).is_err(), "byte {at} of {}", archive.len());
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_none() {
    let archive = write(&members());
    for end in 0..archive.len() {
        let error = read(&archive[..end], None).expect_err("cut off");
        assert!(matches!(error, ArchiveError::Cut { .. } | ArchiveError::Foreign), "{end}: {error}");
    }
    let longer = [archive.as_slice(), b"more"].concat();
    assert!(matches!(read(&longer, None), Err(ArchiveError::Damaged { .. })));
    let padded = [archive.as_slice(), &[0; 8 * 1024]].concat();
    read(&padded, None).expect("filled up with zeros it is the same");
}

#[test]
fn members_that_change_places_are_missing_or_more_are_noticed() {
    let archive = write(&members());
    let parts = parts(&archive);
    let joined = |order: &[usize]| order.iter().flat_map(|&at| parts[at].clone()).collect::<Vec<u8>>();
    let said = |order: &[usize]| read(&joined(order), None).expect_err("noticed").to_string();
    assert_eq!(joined(&[0, 1, 2, 3, 4, 5, 6, 7]), archive);
    assert!(said(&[0, 2, 1, 3, 4, 5, 6, 7]).contains("stands where `catalog.db` should"));
    assert!(said(&[0, 1, 2, 3, 4, 6, 7]).contains("is missing"));
    assert!(said(&[0, 1, 2, 3, 4, 5, 5, 6, 7]).contains("does not name"));
    assert!(said(&[1, 0, 2, 3, 4, 5, 6, 7]).contains("no backup of Godwit"));
    assert!(said(&[0, 1, 2, 3, 4, 5, 7]).contains("cut off"));
    // A manifest of another archive.
    let other = write(&[("catalog.db", content(101))]);
    let other = self::parts(&other);
    let mixed: Vec<u8> = [&parts[..6], &[other[2].clone(), other[3].clone()]].concat().concat();
    assert!(matches!(read(&mixed, None), Err(ArchiveError::Damaged { .. })));
}

/// An archive by somebody who has read the format but has no key, with these members as they are.
fn forged(members: &[(&str, &[u8], tar::EntryType)]) -> Vec<u8> {
    let sha256 = |bytes: &[u8]| {
        super::error::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
    };
    let mut archive = Vec::new();
    let mut add = |name: &str, bytes: &[u8], kind: tar::EntryType| {
        let mut block = tar::Header::new_ustar();
        block.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        block.set_size(bytes.len() as u64);
        block.set_mode(0o600);
        block.set_mtime(TIME);
        block.set_entry_type(kind);
        block.set_cksum();
        archive.extend_from_slice(block.as_bytes());
        archive.extend_from_slice(bytes);
        archive.resize(archive.len() + padding(bytes.len() as u64), 0);
    };
    let header = header().to_bytes();
    add(form::HEADER, &header, tar::EntryType::Regular);
    let mut manifest = Manifest { header_sha256: sha256(&header), ..Manifest::default() };
    for (name, bytes, kind) in members {
        add(name, bytes, *kind);
        let (name, bytes, sha256) = ((*name).to_owned(), bytes.len() as u64, sha256(bytes));
        manifest.members.push(Member { name, bytes, sha256 });
    }
    let body = manifest.body();
    let tag = seal(8).tag(&header, &body);
    add(form::MANIFEST, &Manifest::to_bytes(&body, &tag), tar::EntryType::Regular);
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    archive
}

#[test]
fn names_and_kinds_that_no_backup_has_are_refused() {
    use tar::EntryType as Kind;
    let bytes = [0; 20].as_slice();
    for name in [
        "../evil",
        "/etc/passwd",
        "series/../../evil",
        "series/..",
        "series//x",
        "series/.hidden",
        "series",
        "journal/a/b",
        "series/a/b/c/d",
        "catalog.db/x",
        "lock",
        "FORMAT",
        "RESTORING",
        "journal/a b",
        "journal/a\\b",
        "journal/\u{e9}",
        "C:/x",
    ] {
        let error = read(&forged(&[(name, bytes, Kind::Regular)]), None).expect_err("refused");
        assert!(matches!(error, ArchiveError::Hostile { .. }), "{name}: {error}");
    }
    for kind in
        [Kind::Symlink, Kind::Link, Kind::Directory, Kind::Char, Kind::Fifo, Kind::GNULongName, Kind::XHeader]
    {
        let error = read(&forged(&[("catalog.db", bytes, kind)]), None).expect_err("refused");
        assert!(matches!(error, ArchiveError::Hostile { .. }), "{kind:?}: {error}");
    }
    let twice = [("catalog.db", bytes, Kind::Regular), ("catalog.db", bytes, Kind::Regular)];
    assert!(matches!(read(&forged(&twice), None), Err(ArchiveError::Hostile { .. })));
}

#[test]
fn what_somebody_without_the_key_put_together_does_not_open() {
    let sound = forged(&[("catalog.db", &[0; 20], tar::EntryType::Regular)]);
    read(&sound, None).expect("its sums are right");
    assert!(matches!(read(&sound, Some(&seal(7))), Err(ArchiveError::Damaged { .. })));
    let empty = forged(&[]);
    assert!(matches!(read(&empty, Some(&seal(7))), Err(ArchiveError::Forged)));
    // A member that was sealed under another name: its sums are right, its place is not.
    let stored = parts(&write(&members()))[1][BLOCK_BYTES..][..116].to_vec();
    let moved = forged(&[("series/MANIFEST", &stored, tar::EntryType::Regular)]);
    assert!(matches!(read(&moved, Some(&seal(7))), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn what_is_announced_takes_no_memory_before_it_is_there() {
    let mut archive = parts(&write(&members()))[0].clone();
    archive.extend_from_slice(&tar_header("catalog.db", 1 << 60, TIME).expect("a header"));
    assert!(matches!(read(&archive, None), Err(ArchiveError::Cut { .. })));
    for (name, bytes) in [(form::MANIFEST, form::MANIFEST_BYTES_MAX + 1), (form::FAILED, 1 << 40)] {
        let mut archive = parts(&write(&members()))[0].clone();
        archive.extend_from_slice(&tar_header(name, bytes, TIME).expect("a header"));
        assert!(matches!(read(&archive, None), Err(ArchiveError::Hostile { .. })), "{name}");
    }
    let first = tar_header(form::HEADER, 1 << 40, TIME).expect("a header");
    assert!(read(&first, None).is_err());
}

#[test]
fn an_archive_that_could_not_be_finished_says_why() {
    let mut archive = parts(&write(&members()))[0].clone();
    ArchiveWriter::fail(&mut archive, "cannot read `series/x`: it is gone", TIME).expect("written");
    let error = read(&archive, None).expect_err("not finished").to_string();
    assert_eq!(error, "the backup was not finished: cannot read `series/x`: it is gone");
}

#[test]
fn a_newer_archive_is_refused_by_name() {
    let newer = Header { godwit_backup: form::VERSION + 1, ..header() };
    let archive = ArchiveWriter::begin(Vec::new(), &newer, seal(7), TIME).expect("begun");
    let archive = archive.finish(Manifest::default()).expect("finished");
    let error = read(&archive, None).expect_err("refused").to_string();
    assert_eq!(error, "the backup has version 3; this version of Godwit knows versions up to 2");
}

#[test]
fn a_file_that_is_shorter_than_announced_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("x");
    let mut file = WholeFile::begin(&path).expect("begun");
    file.write_all(&content(70_000)).expect("written");
    file.finish().expect("finished");
    let file = host::Disk::open(&SystemDisk, &path).expect("opened");
    let mut archive = ArchiveWriter::begin(Vec::new(), &header(), seal(7), TIME).expect("begun");
    archive.file("journal/checkpoint", 70_000, &*file).expect("all of it");
    archive.file("series/MANIFEST", 65_536, &*file).expect("its beginning");
    let short = archive.file("series/x", 70_001, &*file).expect_err("shorter");
    assert_eq!(short.to_string(), "`series/x` ends at byte 70000; it should have 70001");
}
