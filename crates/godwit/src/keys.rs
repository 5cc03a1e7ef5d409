//! `[keys]`: where the master key comes from.
//!
//! Not here: what it opens (`host`). The law: exactly one place is named; what is wrong with it is told before the data
//! directory is touched.

mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use host::{HeldKey, KeySource};
use serde::Deserialize;

use crate::fault::{hinted, with_hint};
use vault::{Transit, VaultSettings};

/// `[keys]`: where the master key comes from; at most one of the three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    /// The key file, made on the first start. Default: `<data>.key` beside the data directory.
    pub(crate) file: Option<PathBuf>,
    /// The environment variable that holds the key, 64 hexadecimal digits.
    pub(crate) variable: Option<String>,
    /// A key of Vault's Transit engine: the master key never leaves Vault.
    pub(crate) vault: Option<VaultSettings>,
}

impl Keys {
    /// The place that is named, and what is needed of it.
    pub(crate) fn source(&self) -> anyhow::Result<KeySource> {
        match (&self.file, &self.variable, &self.vault) {
            (file, None, None) => Ok(KeySource::File(file.clone())),
            (None, Some(variable), None) => {
                let text = zeroize::Zeroizing::new(std::env::var(variable).map_err(|_| {
                    with_hint(
                        anyhow::anyhow!(
                            "`[keys] variable` names environment variable `{variable}`, which is not set"
                        ),
                        Some("a new key is made by `openssl rand -hex 32`; data that is there needs the one it was made with"),
                    )
                })?);
                let key = HeldKey::parse(text.as_bytes(), &format!("environment variable `{variable}`"))
                    .map_err(hinted(host::KeyError::hint))?;
                Ok(KeySource::Held(key))
            }
            (None, None, Some(vault)) => Ok(KeySource::Keeper(Arc::new(Transit::open(vault)?))),
            _ => Err(with_hint(
                anyhow::anyhow!("`[keys]` names more than one place of the master key"),
                Some(
                    "keep one of `file`, `variable` and `[keys.vault]`; `godwit keys move` brings data from one to another",
                ),
            )),
        }
    }
}
