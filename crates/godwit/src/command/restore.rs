//! `godwit restore`: a data directory from a backup.
//!
//! Not here: the archive (`archive`), and what protects a directory that is half made (`host::Restoring`). The laws: only
//! an absent or empty directory is written to, and no other key file is written over; until all of the archive was read
//! and found right the directory is refused by `serve`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use host::{
    DataKey, Disk as _, HeldKey, KeyRing, MasterKey as _, RestoredFrom, Restoring, RingDocument, SystemDisk,
    SystemRandom, WrappedKey,
};
use indicatif::BinaryBytes;

use super::backup::{input, tell};
use crate::archive::error::unhex;
use crate::archive::passphrase::{self, PassphraseArgs};
use crate::archive::progress::Progress;
use crate::archive::seal::Seal;
use crate::archive::{ArchiveError, ArchiveReader, Header, Manifest};
use crate::fault::{hinted, with_hint};

/// What `--help` says behind the flags.
const HELP: &str = "DIR must be absent or empty: a restore never writes over data. It asks for the passphrase of the backup and
puts the key that opens the data beside the directory. Where the right key file is there already, no
passphrase is needed. Everything is checked while it is written; a restore that was cut off is refused by
`godwit serve`, and starts over when it is run again.

At its first start the server takes into the columns what only the backup's journal holds. The restored
directory is another one than the original: do not let both serve the same devices.

Examples:
  godwit restore godwit-2026-11-22.tar --data ./restored && godwit serve --data ./restored
  ssh vault 'cat godwit.tar' | godwit restore - --data /var/lib/godwit --passphrase-file /etc/godwit/passphrase";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The backup; `-` is standard input
    file: PathBuf,
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the key goes, or is [default: `DATA.key` beside it]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Restores.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || restore(&args)).await?
}

fn restore(args: &Args) -> anyhow::Result<()> {
    let mut archive = ArchiveReader::open(input(&args.file)?).map_err(hinted(ArchiveError::hint))?;
    let header = archive.header().clone();
    let key_path = args.key.clone().unwrap_or_else(|| host::default_key_path(&args.data));
    let from = RestoredFrom { format: header.data_format, id: header.data_id.clone(), boot: header.boot };
    // What stands in the way is told before a passphrase is asked for; nothing is made yet.
    Restoring::check(&args.data, &from).map_err(hinted(host::RestoreError::hint))?;
    let Opened { place, ring, seal } = open(&header, &key_path, args)?;
    let dir = Restoring::begin(&args.data, &from, &SystemDisk).map_err(hinted(host::RestoreError::hint))?;
    refuse_without_room(&args.data, header.bytes)?;
    // The ring first: a restore that starts over knows the key file by it.
    if let Some(ring) = &ring {
        ring.write(&args.data, &SystemDisk).map_err(hinted(host::KeyError::hint))?;
    }
    if let Some(key) = &place {
        host::place_key(&key_path, key, &SystemDisk).map_err(hinted(host::KeyError::hint))?;
    }

    let mut progress = Progress::start(header.bytes);
    let half = |error: anyhow::Error| {
        let hint = format!(
            "`{}` is half made and is not served; run the restore again, and it starts over",
            args.data.display()
        );
        with_hint(error, Some(hint))
    };
    let mut dirs = BTreeSet::new();
    while let Some(name) = archive.next().map_err(hinted(ArchiveError::hint))? {
        // The name was found to be one of ours: no part of it leads out of the directory.
        let path = dir.path().join(&name);
        put(&path, &mut archive, &seal, &mut progress, &mut dirs).map_err(half)?;
    }
    let manifest = archive.finish(Some(&seal)).map_err(hinted(ArchiveError::hint))?;
    for made in dirs.iter().rev() {
        SystemDisk
            .sync_dir(made)
            .with_context(|| format!("cannot write `{}`", made.display()))
            .map_err(half)?;
    }
    dir.finish(&from, &SystemDisk, &SystemRandom).map_err(hinted(host::DataDirError::hint))?;
    let took = progress.finish();
    say_what(args, &header, &manifest, &key_path, &took)
}

fn say_what(
    args: &Args,
    header: &Header,
    manifest: &Manifest,
    key_path: &Path,
    took: &str,
) -> anyhow::Result<()> {
    let data = args.data.display();
    let told = tell(&args.file, header, manifest);
    let is_beside = *key_path == host::default_key_path(&args.data);
    let setting = if is_beside { "" } else { ", which `[keys] file` must name" };
    let text = format!(
        "{told}\n  restored to {data} with its key in {}{setting}; {took}\nStart it with:\n  godwit serve --data {data}\n",
        key_path.display()
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// An archive that was opened.
struct Opened {
    /// The master key to put in place, unless it is there.
    place: Option<HeldKey>,
    /// The ring, wrapped by the master key; `None` for a directory from before there were rings.
    ring: Option<RingDocument>,
    seal: Seal,
}

/// Opens the archive by the key file that is there, else by the passphrase.
fn open(header: &Header, key_path: &Path, args: &Args) -> anyhow::Result<Opened> {
    let present = HeldKey::read(key_path, &SystemDisk).map_err(hinted(host::KeyError::hint))?;
    if let Some(key) = present {
        return by_key_file(header, key_path, &key, &args.data);
    }
    if header.key.is_none() {
        let wanted = wanted(header);
        let hint =
            format!("put the key file there, or say with --key where it is; its key has the id {wanted}");
        let error = anyhow::anyhow!(
            "this backup was made without its key, and `{}` is not there",
            key_path.display()
        );
        return Err(with_hint(error, Some(hint)));
    }
    let (under, newest, seal) = seal_by_passphrase(header, &args.passphrase)?;
    let Some(mut document) = header.ring.clone() else {
        return Ok(Opened { place: Some(HeldKey::new(newest)), ring: None, seal });
    };
    let damaged = |_| hinted(ArchiveError::hint)(damaged_header());
    let ring = document.unlock(&under).map_err(damaged)?;
    // The directory is another one than the original, and so is its master key.
    let master = HeldKey::generate(&SystemRandom);
    document.wrap_for(&ring, &master, &SystemRandom).map_err(damaged)?;
    document.keep_only(&master.id());
    Ok(Opened { place: Some(master), ring: Some(document), seal })
}

fn by_key_file(header: &Header, key_path: &Path, key: &HeldKey, data: &Path) -> anyhow::Result<Opened> {
    let mut document = header.ring.clone();
    let mut opened = match &document {
        Some(document) => document.unlock(key).ok(),
        None => Some(key.ring_of_before()).filter(|ring| ring.id() == header.key_id),
    };
    if opened.is_none()
        && let Ok(Some(half)) = RingDocument::read(data, &SystemDisk)
    {
        // The key that a restore made which was cut off.
        opened = half.unlock(key).ok().filter(|ring| ring.id() == header.key_id);
        document = Some(half);
    }
    let Some(ring) = opened else {
        let (path, present, wanted) = (key_path.to_owned(), key.id(), wanted(header));
        let error = host::KeyError::Occupied { path, present, wanted };
        return Err(with_hint(
            error,
            Some("data may depend on the key that is there: name another place with --key"),
        ));
    };
    if let Some(document) = &mut document {
        document.keep_only(&key.id());
    }
    Ok(Opened { place: None, ring: document, seal: seal(header, &ring)? })
}

/// Which master key opens the archive.
fn wanted(header: &Header) -> String {
    match &header.ring {
        Some(document) => document.master().to_owned(),
        None => format!("key:{}", header.key_id),
    }
}

/// What the passphrase becomes, the ring's newest key, and the archive's seal.
pub(crate) fn seal_by_passphrase(
    header: &Header,
    args: &PassphraseArgs,
) -> anyhow::Result<(HeldKey, DataKey, Seal)> {
    let Some(under) = &header.key else {
        anyhow::bail!("this backup was made without its key: there is nothing that a passphrase opens");
    };
    let derived = passphrase::derive(&args.known_one("this backup")?, &under.derivation)?;
    let ring = KeyRing::new(&derived);
    let key = ring.unwrap(&wrapped(&under.wrapped)?, &header.context("key")).map_err(|_| {
        with_hint(
            anyhow::anyhow!("the passphrase is not the one of this backup"),
            Some("it is the one that was given when the backup was made, which may differ from today's"),
        )
    })?;
    let seal = seal(header, &KeyRing::new(&key))?;
    Ok((HeldKey::new(derived), key, seal))
}

fn seal(header: &Header, ring: &KeyRing) -> anyhow::Result<Seal> {
    let key = ring
        .unwrap(&wrapped(&header.data_key)?, &header.context("data"))
        .map_err(|_| hinted(ArchiveError::hint)(damaged_header()))?;
    Ok(Seal::new(&key))
}

fn wrapped(text: &str) -> anyhow::Result<WrappedKey> {
    let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| hinted(ArchiveError::hint)(damaged_header()))
}

fn damaged_header() -> ArchiveError {
    ArchiveError::Damaged { what: "the keys in its header are not what was written".to_owned() }
}

fn refuse_without_room(data: &Path, bytes: u64) -> anyhow::Result<()> {
    let space = SystemDisk
        .space(data)
        .with_context(|| format!("cannot look at the volume of `{}`", data.display()))?;
    if space.free < bytes {
        return Err(with_hint(
            anyhow::anyhow!(
                "the backup needs {}; the volume of `{}` has {} free",
                BinaryBytes(bytes),
                data.display(),
                BinaryBytes(space.free)
            ),
            Some("make room there, or name a directory on another volume with --data"),
        ));
    }
    Ok(())
}

/// Writes one member to its place, and syncs it.
fn put<R: std::io::Read>(
    path: &Path,
    archive: &mut ArchiveReader<R>,
    seal: &Seal,
    progress: &mut Progress,
    dirs: &mut BTreeSet<PathBuf>,
) -> anyhow::Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let parent = path.parent().expect("a member lies in the directory");
    if dirs.insert(parent.to_owned()) {
        SystemDisk.create_dir(parent).with_context(failed)?;
        // The folder's own name is an entry of the one above.
        dirs.extend(parent.parent().map(Path::to_owned));
    }
    let mut file = SystemDisk.create(path).with_context(failed)?;
    while let Some(chunk) = archive.chunk(Some(seal)).map_err(hinted(ArchiveError::hint))? {
        file.append(chunk).with_context(failed)?;
        progress.at(archive.position());
    }
    file.sync().with_context(failed)
}
