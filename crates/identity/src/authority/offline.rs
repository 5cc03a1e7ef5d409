//! The root's private key, taken away from this machine and brought back for an hour.
//!
//! What devices trust is the root. As long as its key lies here, whoever takes the machine can make authorities that they
//! trust; without it he can make certificates for as long as the issuing authority is good. Not here: the passphrase (it
//! stays with whoever types it; what comes is the key that it became). The laws: the key leaves sealed, never in the clear;
//! it is taken away here only in the transaction that follows its leaving; what is brought back must be the key of the
//! root that is trusted.

use std::sync::Arc;

use catalog::{Place, WriteError, params};
use host::{Host, KeyError, KeyRing};
use model::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use serde_json::json;

use super::pair::{Pair, place};
use super::{Authority, AuthorityError};
use crate::audit::{self, Entry};
use crate::{Actor, CertificateId};

/// One certificate of the authority, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityView {
    /// `root`, `issuing` or `server`.
    pub name: &'static str,
    /// SHA-256 of the certificate.
    pub id: CertificateId,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// Whether its private key is on this machine.
    pub has_key: bool,
}

impl Authority {
    /// The root and the issuing authority, and the server's own certificate.
    #[must_use]
    pub fn views(&self) -> Vec<AuthorityView> {
        let view = |pair: &Pair| AuthorityView {
            name: pair.name,
            id: CertificateId::of(&pair.certificate),
            not_after: pair.not_after,
            has_key: pair.has_key(),
        };
        let (root, issuing) = (self.root(), self.issuing());
        let server = AuthorityView {
            name: "server",
            id: self.server_id(),
            not_after: self.server_not_after(),
            has_key: true,
        };
        vec![view(&root), view(&issuing), server]
    }

    /// The root's private key, sealed under `key`; with `remove` it is taken away here. Issuing goes on without it; a new
    /// issuing authority needs it back.
    ///
    /// # Errors
    /// [`AuthorityError::RootOffline`] when it is not here; [`AuthorityError`] when it cannot be taken away.
    pub async fn export_root(
        &self,
        by: &Actor,
        key: &[u8; 32],
        remove: bool,
    ) -> Result<Vec<u8>, AuthorityError> {
        let root = self.root();
        if !root.has_key() {
            return Err(AuthorityError::RootOffline);
        }
        let id = CertificateId::of(&root.certificate).to_string();
        let sealed = catalog::seal(&self.under(key), exported(&id), &root.key);
        let action = if remove { "ca.remove_root_key" } else { "ca.export_root_key" };
        self.store_root_key(by, action, remove.then(Vec::new)).await?;
        if remove {
            *self.parts.root.write() = Arc::new(root.without_key());
        }
        Ok(sealed)
    }

    /// Brings the root's private key back.
    ///
    /// # Errors
    /// [`AuthorityError::Passphrase`] when `key` is not the one it was sealed under; [`AuthorityError::Key`] when it is damaged;
    /// [`AuthorityError::NotTheRoot`] when it is another's.
    pub async fn import_root(&self, by: &Actor, key: &[u8; 32], sealed: &[u8]) -> Result<(), AuthorityError> {
        let root = self.root();
        let id = CertificateId::of(&root.certificate).to_string();
        let opened =
            catalog::unseal(&self.under(key), exported(&id), sealed).map_err(|source| match source {
                KeyError::OtherKey { .. } => AuthorityError::Passphrase,
                source => AuthorityError::Key { name: "root", source },
            })?;
        let own = crate::certificate::public_key(&root.certificate);
        let is_its =
            KeyPair::try_from(opened.as_slice()).is_ok_and(|pair| Some(pair.der_bytes()) == own.as_deref());
        if !is_its {
            return Err(AuthorityError::NotTheRoot);
        }
        let stored = catalog::seal(&self.parts.host, place("root"), &opened);
        self.store_root_key(by, "ca.import_root_key", Some(stored)).await?;
        *self.parts.root.write() = Arc::new(root.with_key(opened));
        Ok(())
    }

    /// Writes what happens to the key to the audit log, and what is stored of it from now on.
    async fn store_root_key(
        &self,
        by: &Actor,
        action: &'static str,
        sealed: Option<Vec<u8>>,
    ) -> Result<(), AuthorityError> {
        let (by, clock) = (by.clone(), Arc::clone(&self.parts.host.clock));
        let written = self.parts.catalog.write(move |transaction| {
            if let Some(sealed) = &sealed {
                transaction
                    .execute("UPDATE authorities SET sealed_key = $1 WHERE name = 'root'", params![sealed])?;
            }
            let has_key = sealed.as_ref().is_none_or(|sealed| !sealed.is_empty());
            let entry =
                Entry::done(&by, action, "ca:root".to_owned()).after(json!({ "key_is_here": has_key }));
            audit::append(transaction, clock.now(), &entry)?;
            Ok::<_, WriteError>(())
        });
        Ok(written.await?)
    }

    /// This machine, with another key to seal under.
    fn under(&self, key: &[u8; 32]) -> Host {
        Host { keys: Arc::new(KeyRing::new(key)), ..self.parts.host.clone() }
    }
}

fn exported(id: &str) -> Place<'_> {
    Place { table: "authorities", column: "exported_root", row: id }
}
