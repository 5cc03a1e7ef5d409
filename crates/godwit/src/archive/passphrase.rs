//! The passphrase of a backup or of an exported key: where it comes from, and the key it becomes.
//!
//! Argon2id with the second recommended option of RFC 9106, section 4: 64 MiB of memory, three passes, four lanes, a
//! random salt of 16 bytes. What an archive says is obeyed when it is read, within bounds, so that the parameters can
//! be raised later and a hostile archive cannot take all memory.
//!
//! The law: a passphrase stays in the process that was given it. What goes to a server is the key made of it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use argon2::{Algorithm, Argon2, Params, Version};
use host::{DataKey, Disk, Random, SystemDisk};
use zeroize::Zeroizing;

use super::error::{hex, unhex};
use super::form::Derivation;
use crate::fault::with_hint;

/// Shortest passphrase that is taken for a new backup, in bytes.
const PASSPHRASE_BYTES_MIN: usize = 8;
/// Largest file a passphrase is read from: its first line counts.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The variable that may hold it.
pub(crate) const VARIABLE: &str = "GODWIT_PASSPHRASE";

const KDF: &str = "argon2id";
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
const SALT_BYTES: usize = 16;

/// Most that an archive may ask for: 1 GiB, so that a hostile one cannot take all memory.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;
const SALT_BYTES_MAX: usize = 64;

/// A passphrase, wiped from memory when dropped.
pub(crate) type Passphrase = Zeroizing<String>;

/// Where a passphrase comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct PassphraseArgs {
    /// File whose first line is the passphrase [default: GODWIT_PASSPHRASE, else it is asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// A new passphrase for `what`, such as `the key in this backup`: asked for twice, and not a short one.
    pub(crate) fn new_one(&self, what: &str) -> anyhow::Result<Passphrase> {
        let passphrase = match self.given()? {
            Some(given) => given,
            None => {
                let first = ask(&format!("Passphrase for {what}: "))?;
                let second = ask("Once more: ")?;
                anyhow::ensure!(*first == *second, "the two passphrases differ");
                first
            }
        };
        if passphrase.len() < PASSPHRASE_BYTES_MIN {
            return Err(with_hint(
                anyhow::anyhow!(
                    "the passphrase has {} bytes; at least {PASSPHRASE_BYTES_MIN} are needed",
                    passphrase.len()
                ),
                Some("whoever has the file can try as many as they like: take four words or more"),
            ));
        }
        Ok(passphrase)
    }

    /// The passphrase of `what`, which is there.
    pub(crate) fn known_one(&self, what: &str) -> anyhow::Result<Passphrase> {
        match self.given()? {
            Some(given) => Ok(given),
            None => ask(&format!("Passphrase of {what}: ")),
        }
    }

    fn given(&self) -> anyhow::Result<Option<Passphrase>> {
        if let Some(path) = &self.passphrase_file {
            return read_first_line(path).map(Some);
        }
        Ok(std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()).map(Zeroizing::new))
    }
}

fn read_first_line(path: &Path) -> anyhow::Result<Passphrase> {
    let bytes = SystemDisk
        .read(path, FILE_BYTES_MAX)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read the passphrase from `{}`", path.display()))?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let text = str::from_utf8(line).with_context(|| format!("`{}` is not UTF-8", path.display()))?;
    let text = text.strip_suffix('\r').unwrap_or(text);
    anyhow::ensure!(!text.is_empty(), "the first line of `{}` is empty", path.display());
    Ok(Zeroizing::new(text.to_owned()))
}

/// Asks on the terminal, without showing what is typed.
fn ask(prompt: &str) -> anyhow::Result<Passphrase> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        with_hint(
            anyhow::Error::new(error).context("there is no terminal to ask for the passphrase on"),
            Some("name a file with --passphrase-file, or set GODWIT_PASSPHRASE"),
        )
    })
}

/// The parameters of a new one.
pub(crate) fn new_derivation(random: &dyn Random) -> Derivation {
    let mut salt = [0; SALT_BYTES];
    random.fill(&mut salt);
    Derivation { kdf: KDF.to_owned(), memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: hex(&salt) }
}

/// The key that a passphrase becomes. Takes a good part of a second, and 64 MiB: that is its purpose.
pub(crate) fn derive(passphrase: &Passphrase, how: &Derivation) -> anyhow::Result<DataKey> {
    let salt = unhex(&how.salt).filter(|salt| (8..=SALT_BYTES_MAX).contains(&salt.len()));
    let fits = how.kdf == KDF
        && how.memory_kib <= MEMORY_KIB_MAX
        && how.passes <= PASSES_MAX
        && how.lanes <= LANES_MAX;
    let params = Params::new(how.memory_kib, how.passes, how.lanes, Some(32));
    let (Some(salt), Ok(params), true) = (salt, params, fits) else {
        anyhow::bail!("the file asks for a key derivation that this version does not do: {how:?}");
    };
    let mut key = DataKey::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &salt, &mut *key)
        .map_err(|error| anyhow::anyhow!("the passphrase cannot become a key: {error}"))?;
    Ok(key)
}
