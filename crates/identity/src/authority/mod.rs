//! Godwit's own certificate authority, and the certificate by which a server is known.
//!
//! ```text
//! root (30 years)          signs nothing but issuing authorities; its certificate is what clients trust (`ca.pem`)
//!   └─ issuing (10 years)  signs
//!        ├─ server (90 days): the host name, `localhost`, `<host>.local` and every address of this machine
//!        └─ device (20 years, until it has shown that it renews)
//! ```
//!
//! All are ECDSA P-256, made at the first start and kept in the catalog, private keys as sealed values. Not here: which
//! certificates of devices are good (`certificate`), and sockets. The laws: a private key is stored sealed and shown nowhere; the server's
//! certificate is renewed before it expires and when the machine's names change, without a restart; nothing is made
//! while the clock is obviously wrong.

mod device;
mod offline;
mod pair;
mod server;
mod signing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, Migration, ReadError, WriteError};
use host::{Host, KeyError};
use model::{Kind, Timestamp};
use parking_lot::RwLock;

pub(crate) use self::device::Signed;
pub use self::offline::AuthorityView;
use self::pair::{Pair, keep, read};
use self::server::{SERVER_LIFE, Shown, current, is_due, names_of_this_machine};
use self::signing::make;

/// The tables of this file.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 2,
    sql: "
        CREATE TABLE authorities (
            -- root, issuing or server.
            name TEXT PRIMARY KEY,
            certificate BYTEA NOT NULL,
            sealed_key BYTEA NOT NULL,
            -- What the certificate is for, one a line; empty for authorities.
            names TEXT NOT NULL,
            not_after BIGINT NOT NULL,
            created BIGINT NOT NULL
        );
    ",
};

const DAY: Duration = Duration::from_secs(86_400);
const ROOT_LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);
const ISSUING_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// No clock that is right says an earlier time: 2026-01-01.
const CLOCK_EARLIEST: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate made now would be wrong for its whole life.
    #[error("the clock says {now}, which cannot be: no certificate is made")]
    Clock {
        /// What it says.
        now: Timestamp,
    },
    /// What is stored cannot be read.
    #[error("cannot read the certificates")]
    Read(#[from] ReadError),
    /// What was made cannot be stored.
    #[error("cannot store the certificates")]
    Write(#[from] WriteError),
    /// A private key cannot be opened.
    #[error("cannot open the private key of `{name}`")]
    Key {
        /// Whose.
        name: &'static str,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The key that was brought to open it is another one than it was sealed under.
    #[error("the passphrase is wrong: it is not the one under which the root's private key was exported")]
    Passphrase,
    /// What needs the root's private key is asked, and it is elsewhere.
    #[error("the root's private key is not on this machine")]
    RootOffline,
    /// What was brought is not the key of the root that is trusted.
    #[error("this is not the private key of this server's root")]
    NotTheRoot,
    /// A certificate cannot be made or read.
    #[error("certificate `{name}` is not right: {reason}")]
    Certificate {
        /// Which.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl AuthorityError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Clock { .. } => Kind::Unavailable,
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::RootOffline => Kind::Conflict,
            Self::NotTheRoot | Self::Passphrase => Kind::Invalid,
            Self::Key { .. } | Self::Certificate { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Clock { .. } => Some("set the clock (or wait for NTP), then start again"),
            Self::Read(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Passphrase => {
                Some("give the passphrase that `godwit ca export-root` was given for this file")
            }
            Self::RootOffline => Some("bring it back with `godwit ca import-root FILE`"),
            Self::NotTheRoot => Some("name the file that `godwit ca export-root` wrote for this server"),
            Self::Key { source, .. } => source.hint(),
            Self::Certificate { .. } => None,
        }
    }
}

/// The certificate authority. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Authority {
    parts: Arc<Parts>,
}

struct Parts {
    catalog: Catalog,
    host: Host,
    /// Lock order: none of the three is held together with another.
    root: RwLock<Arc<Pair>>,
    issuing: RwLock<Arc<Pair>>,
    server: Arc<Shown>,
}

impl Authority {
    /// Reads the authority, or makes what is missing of it. A few milliseconds, and one sync when something was made.
    ///
    /// # Errors
    /// [`AuthorityError`]: nothing was changed then.
    pub async fn open(catalog: &Catalog, host: &Host) -> Result<Self, AuthorityError> {
        Self::open_for(catalog, host, &names_of_this_machine()).await
    }

    /// The same for a server of these names.
    pub(crate) async fn open_for(
        catalog: &Catalog,
        host: &Host,
        names: &BTreeSet<String>,
    ) -> Result<Self, AuthorityError> {
        let root = match read(catalog, host, "root")? {
            Some(root) => root,
            None => keep(catalog, host, make(host, "root", None, BTreeSet::new(), ROOT_LIFE)?).await?,
        };
        let issuing = match read(catalog, host, "issuing")? {
            Some(issuing) => issuing,
            None => {
                let made = make(host, "issuing", Some(&root), BTreeSet::new(), ISSUING_LIFE)?;
                keep(catalog, host, made).await?
            }
        };
        let server = match read(catalog, host, "server")?.filter(|server| !is_due(host, server, names)) {
            Some(server) => server,
            None => {
                let made = make(host, "server", Some(&issuing), names.clone(), SERVER_LIFE)?;
                keep(catalog, host, made).await?
            }
        };
        let server = Arc::new(Shown { current: RwLock::new(current(&server, &issuing)?) });
        let lock = |pair| RwLock::new(Arc::new(pair));
        let (catalog, host) = (catalog.clone(), host.clone());
        let parts = Parts { catalog, host, root: lock(root), issuing: lock(issuing), server };
        Ok(Self { parts: Arc::new(parts) })
    }

    fn root(&self) -> Arc<Pair> {
        Arc::clone(&self.parts.root.read())
    }

    fn issuing(&self) -> Arc<Pair> {
        Arc::clone(&self.parts.issuing.read())
    }

    /// The root certificate, which clients trust, as PEM (RFC 7468).
    #[must_use]
    pub fn root_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.root().certificate.to_vec()))
    }
}

#[cfg(test)]
mod tests;
