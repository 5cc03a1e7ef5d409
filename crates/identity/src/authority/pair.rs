//! A certificate of the authority with its private key, in the catalog.
//!
//! Not here: how one is made (`signing`). The law: the private key is stored sealed.

use std::collections::BTreeSet;

use catalog::{Catalog, Place, ReadError, WriteError, params};
use host::Host;
use model::Timestamp;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::AuthorityError;

/// A certificate and its private key.
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) certificate: CertificateDer<'static>,
    /// PKCS #8.
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) names: BTreeSet<String>,
    pub(super) not_after: Timestamp,
}

impl Pair {
    /// Whether the private key is here: the root's may be elsewhere.
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    pub(super) fn without_key(&self) -> Self {
        self.with_key(Zeroizing::new(Vec::new()))
    }

    pub(super) fn with_key(&self, key: Zeroizing<Vec<u8>>) -> Self {
        let (certificate, names) = (self.certificate.clone(), self.names.clone());
        Self { name: self.name, certificate, key, names, not_after: self.not_after }
    }
}

pub(super) fn place(name: &str) -> Place<'_> {
    Place { table: "authorities", column: "sealed_key", row: name }
}

/// The pair of this name, if it was made.
pub(super) fn read(
    catalog: &Catalog,
    host: &Host,
    name: &'static str,
) -> Result<Option<Pair>, AuthorityError> {
    let rows = catalog.read::<_, ReadError>(|connection| {
        Ok(connection.query(
            "SELECT certificate, sealed_key, names, not_after FROM authorities WHERE name = $1",
            params![name],
            |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?, row.get::<String>(2)?, row.get(3)?)),
        )?)
    })?;
    let Some((certificate, sealed, names, not_after)) = rows.into_iter().next() else { return Ok(None) };
    // Nothing is stored of a key that was taken away.
    let key = match sealed.is_empty() {
        true => Zeroizing::default(),
        false => catalog::unseal(host, place(name), &sealed)
            .map_err(|source| AuthorityError::Key { name, source })?,
    };
    let names = names.lines().map(str::to_owned).collect();
    Ok(Some(Pair { name, certificate: certificate.into(), key, names, not_after }))
}

/// Stores a pair in place of the one of its name.
pub(super) async fn keep(catalog: &Catalog, host: &Host, pair: Pair) -> Result<Pair, AuthorityError> {
    let (name, names) = (pair.name, pair.names.iter().map(|name| format!("{name}\n")).collect::<String>());
    let (certificate, not_after, created) = (pair.certificate.to_vec(), pair.not_after, host.clock.now());
    let sealed = catalog::seal(host, place(name), &pair.key);
    let stored = catalog.write(move |transaction| {
        transaction.execute(
            "INSERT INTO authorities (name, certificate, sealed_key, names, not_after, created)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET certificate = excluded.certificate,
                 sealed_key = excluded.sealed_key, names = excluded.names,
                 not_after = excluded.not_after, created = excluded.created",
            params![name, certificate, sealed, names, not_after, created],
        )?;
        Ok::<_, WriteError>(())
    });
    stored.await?;
    tracing::info!(name, not_after = %pair.not_after, "certificate made");
    Ok(pair)
}
