//! `godwit backup`: one file that holds a data directory, from the server that runs or from the directory at rest.
//!
//! Not here: the archive (`archive`). The laws: what is written is read back and checked on its way, and has its name
//! only when it is whole; the passphrase does not leave this process.

use std::cell::Cell;
use std::io::{IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use host::{DataDir, Disk as _, File, Host, KeySource, SystemClock, SystemDisk, SystemRandom, WholeFile};
use indicatif::{BinaryBytes, HumanCount};
use reqwest::Method;
use tokio::sync::mpsc;

use crate::archive::collect::{About, Rooms, Wrapping, collect};
use crate::archive::error::hex;
use crate::archive::passphrase::{self, PassphraseArgs};
use crate::archive::pipe::{PipeReader, Tee, pipe};
use crate::archive::progress::Progress;
use crate::archive::{ArchiveError, ArchiveReader, Header, Manifest, reader};
use crate::fault::{hinted, with_hint};
use crate::http::ServerArgs;
use crate::server_file::{ServerFile, ServerFileError};
use crate::settings::Settings;

/// What `--help` says behind the flags.
const HELP: &str = "From a server that runs (found through --data or --server) or, when none runs on it, from the data directory
itself. Everything acknowledged before the backup begins is in it. Devices go on publishing meanwhile.

The key that opens the data goes in under a passphrase; without the passphrase the backup is of no use to
anybody. Keep both, and not in one place. --without-key leaves the key out: then keep the key file.

FILE appears only when it is whole and checked; until then it is FILE.part.

Examples:
  godwit backup --to godwit-$(date +%F).tar
  godwit backup --to - --passphrase-file /etc/godwit/passphrase | ssh vault 'cat > godwit.tar'
  godwit backup verify godwit-2026-11-22.tar     # is it whole? needs no passphrase
  godwit restore godwit-2026-11-22.tar --data ./restored";

/// What `verify --help` says behind the flags.
const VERIFY_HELP: &str = "Reads all of it: names, sizes and SHA-256 of every file against the manifest. With --with-key it asks for the
passphrase too, and checks that everything opens and that nobody without the key has put it together.

Examples:
  godwit backup verify godwit-2026-11-22.tar
  ssh vault 'cat godwit.tar' | godwit backup verify -";

/// Most files that are named as left out; the rest is counted.
const LEFT_OUT_SHOWN: usize = 10;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Where to write it; `-` is standard output
    #[arg(long, value_name = "FILE", required = true)]
    to: Option<PathBuf>,
    /// Leave the data's key out: whoever restores it must have the key file
    #[arg(long)]
    without_key: bool,
    /// Key file of a data directory that no server runs on [default: `DATA.key` beside it]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Settings whose `[keys]` says where the master key of such a directory is
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG", conflicts_with = "key")]
    config: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check a backup without restoring it
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = VERIFY_HELP)]
struct VerifyArgs {
    /// The backup; `-` is standard input
    file: PathBuf,
    /// Open everything too: asks for the passphrase
    #[arg(long)]
    with_key: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Backs up, or verifies.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(What::Verify(args)) = args.what {
        return tokio::task::spawn_blocking(move || verify(&args)).await?;
    }
    let to = args.to.clone().context("--to names the file to write")?;
    let output = Output::begin(&to)?;
    // Asked before anything is held for it.
    let wrapping = if args.without_key { None } else { Some(new_wrapping(&args.passphrase)?) };
    let (pieces, made) = match source(&args)? {
        Source::Server => from_server(&args.server, &wrapping).await?,
        Source::Directory(dir) => from_directory(dir, wrapping),
    };
    let taken = tokio::task::spawn_blocking(move || take(pieces, output));
    let (made, taken) = (made.await?, taken.await?);
    let (header, manifest, took) = match (made, taken) {
        (Ok(()), Ok(done)) => done,
        // What was cut off was cut off by this.
        (Err(error), Ok(_)) => return Err(error),
        (Err(error), Err(cut)) if is_cut(&cut) => return Err(error),
        (_, Err(error)) => return Err(error),
    };
    let text = format!("{}\n  {took}, checked as it was written\n", tell(&to, &header, &manifest));
    if to == Path::new("-") {
        // Standard output is the archive.
        std::io::stderr().write_all(text.as_bytes())?;
    } else {
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Where the bytes come from.
enum Source {
    Server,
    Directory(DataDir),
}

fn source(args: &Args) -> anyhow::Result<Source> {
    if args.server.is_remote() {
        return Ok(Source::Server);
    }
    let data = args.server.data_dir();
    match ServerFile::find(&SystemDisk, &data) {
        Ok(_) => Ok(Source::Server),
        Err(ServerFileError::Absent { .. } | ServerFileError::Gone { .. }) => {
            let source = match &args.key {
                Some(file) => KeySource::File(Some(file.clone())),
                None => {
                    Settings::load(args.config.as_deref(), &SystemDisk, std::env::vars())?.keys.source()?
                }
            };
            let dir = DataDir::hold(&data, &source, &SystemDisk, &SystemRandom)
                .map_err(hinted(host::DataDirError::hint))?;
            Ok(Source::Directory(dir))
        }
        Err(error) => {
            let hint = error.hint();
            Err(with_hint(error, hint))
        }
    }
}

/// A passphrase, and the key it becomes.
fn new_wrapping(args: &PassphraseArgs) -> anyhow::Result<(crate::archive::form::Derivation, host::DataKey)> {
    let passphrase = args.new_one("the key in this backup")?;
    let derivation = passphrase::new_derivation(&SystemRandom);
    let key = passphrase::derive(&passphrase, &derivation)?;
    Ok((derivation, key))
}

/// A task that makes an archive; its error says why it could not.
type Making = tokio::task::JoinHandle<anyhow::Result<()>>;

async fn from_server(
    args: &ServerArgs,
    wrapping: &Wrapping,
) -> anyhow::Result<(mpsc::Receiver<Bytes>, Making)> {
    let body = match wrapping {
        None => serde_json::json!({ "without_key": true }),
        Some((derivation, key)) => {
            let mut wanted = serde_json::to_value(derivation)?;
            wanted["key"] = hex(&**key).into();
            serde_json::json!({ "key": wanted })
        }
    };
    let mut answer =
        args.find()?.ask(Method::POST, "/api/v1/backup", "application/x-tar", Some(&body)).await?;
    let (sender, pieces) = mpsc::channel(4);
    let making = tokio::spawn(async move {
        while let Some(piece) = answer.chunk().await.context("the server broke off")? {
            if sender.send(piece).await.is_err() {
                // Whoever writes it has an error of its own.
                break;
            }
        }
        Ok(())
    });
    Ok((pieces, making))
}

fn from_directory(dir: DataDir, wrapping: Wrapping) -> (mpsc::Receiver<Bytes>, Making) {
    let (writer, pieces) = pipe(None);
    let making = tokio::task::spawn_blocking(move || {
        let host = Host {
            clock: Arc::new(SystemClock::start()),
            disk: Arc::new(SystemDisk),
            random: Arc::new(SystemRandom),
            keys: dir.keys(),
            boot: dir.boot(),
        };
        let about = About::of(&dir, dir.found_format());
        let rooms = Rooms::AtRest { data: dir.path() };
        collect(writer, &rooms, &about, &wrapping, &host).context("cannot back up the data directory")
    });
    (pieces, making)
}

/// Where an archive goes.
enum Output {
    File(PathBuf, WholeFile),
    Stdout,
}

impl Output {
    fn begin(to: &Path) -> anyhow::Result<Self> {
        if to == Path::new("-") {
            let is_terminal = std::io::stdout().is_terminal();
            anyhow::ensure!(!is_terminal, "`--to -` writes the backup to standard output: pipe it somewhere");
            return Ok(Self::Stdout);
        }
        if to.is_dir() {
            let hint = format!("name a file in it: {}", to.join("godwit.tar").display());
            return Err(with_hint(anyhow::anyhow!("`{}` is a directory", to.display()), Some(hint)));
        }
        let file = WholeFile::begin(to).with_context(|| format!("cannot write `{}`", to.display()))?;
        Ok(Self::File(to.to_owned(), file))
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(_, file) => file.write_all(bytes),
            Self::Stdout => std::io::stdout().write_all(bytes),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::File(path, file) => {
                file.finish().with_context(|| format!("cannot finish `{}`", path.display()))
            }
            Self::Stdout => Ok(std::io::stdout().flush()?),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path, _) => format!("`{}`", path.display()),
            Self::Stdout => "standard output".to_owned(),
        }
    }
}

/// Writes an archive and checks it on its way.
fn take(pieces: mpsc::Receiver<Bytes>, mut output: Output) -> anyhow::Result<(Header, Manifest, String)> {
    let is_write_failed = Cell::new(false);
    let write = |bytes: &[u8]| output.write(bytes).inspect_err(|_| is_write_failed.set(true));
    let tee = Tee { from: PipeReader::new(pieces), to: write };
    let checked = check(tee);
    let (header, manifest, took) = match checked {
        Err(ArchiveError::Io { source, .. }) if is_write_failed.get() => {
            let hint = (source.kind() == std::io::ErrorKind::StorageFull)
                .then_some("make room there, or write it to another volume with --to");
            return Err(with_hint(
                anyhow::Error::new(source).context(format!("cannot write {}", output.name())),
                hint,
            ));
        }
        checked => checked.map_err(hinted(ArchiveError::hint))?,
    };
    output.finish()?;
    Ok((header, manifest, took))
}

/// Whether an archive ended too early, for a reason that whoever made it knows better.
fn is_cut(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(ArchiveError::Cut { .. })))
}

/// Reads an archive to its end, with a bar.
fn check(input: impl Read) -> Result<(Header, Manifest, String), ArchiveError> {
    let archive = ArchiveReader::open(input)?;
    let mut progress = Progress::start(archive.header().bytes);
    let (header, manifest) = reader::verify(archive, None, |bytes| progress.at(bytes))?;
    Ok((header, manifest, progress.finish()))
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let archive = ArchiveReader::open(input(&args.file)?).map_err(hinted(ArchiveError::hint))?;
    let seal = if args.with_key {
        let header = archive.header();
        Some(super::restore::seal_by_passphrase(header, &args.passphrase)?.2)
    } else {
        None
    };
    let mut progress = Progress::start(archive.header().bytes);
    let (header, manifest) = reader::verify(archive, seal.as_ref(), |bytes| progress.at(bytes))
        .map_err(hinted(ArchiveError::hint))?;
    let took = progress.finish();
    let checked = if seal.is_some() { ", and all of it opens" } else { "" };
    let files = HumanCount(manifest.members.len() as u64);
    let told = tell(&args.file, &header, &manifest);
    writeln!(std::io::stdout(), "{told}\n  whole: {files} files are what was written{checked}; {took}")?;
    Ok(())
}

/// What a backup is and holds, in a few lines.
pub(crate) fn tell(name: &Path, header: &Header, manifest: &Manifest) -> String {
    let name = if name == Path::new("-") { "backup".into() } else { name.display().to_string() };
    let mut text = format!("{name}: as of {}, of data directory {}\n", header.begun_at, header.data_id);
    let behind = manifest.durable_seq.saturating_sub(manifest.position);
    text += &format!("  messages  up to seq {}", manifest.durable_seq);
    if behind > 0 {
        text += &format!("; those behind seq {} become readings at the first start", manifest.position);
    }
    text += &format!("\n  readings  {} in columns", HumanCount(manifest.readings));
    if let Some(devices) = manifest.devices {
        text += &format!(", of {} devices", HumanCount(devices));
    }
    if manifest.remote_files > 0 {
        let (files, bytes) = (HumanCount(manifest.remote_files), BinaryBytes(manifest.remote_bytes));
        text += &format!(
            "\n  cold      {files} files ({bytes}) stay in the remote store; they are named, not copied"
        );
    }
    for left_out in manifest.left_out.iter().take(LEFT_OUT_SHOWN) {
        text += &format!("\n  left out  {left_out}");
    }
    if manifest.left_out.len() > LEFT_OUT_SHOWN {
        text += &format!("\n  left out  {} more", manifest.left_out.len() - LEFT_OUT_SHOWN);
    }
    text += match &header.key {
        Some(_) => "\n  key       in it, under its passphrase",
        None => "\n  key       not in it: keep the key file",
    };
    text
}

/// A backup's bytes.
pub(crate) fn input(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        anyhow::ensure!(
            !std::io::stdin().is_terminal(),
            "`-` reads the backup from standard input: pipe one in"
        );
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = SystemDisk.open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Box::new(std::io::BufReader::with_capacity(1 << 20, FromStart { file, at: 0 })))
}

/// A file, read from its start.
struct FromStart {
    file: Box<dyn File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(self.at, into)?;
        self.at += read as u64;
        Ok(read)
    }
}
