//! The certificate that the server shows: whose names it carries, when it is renewed, and TLS with it.
//!
//! Not here: the authority that signs it. The law: it is renewed before it expires and when the machine's names change,
//! without a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use host::Host;
use model::Timestamp;
use parking_lot::RwLock;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::{Pair, keep};
use super::signing::make;
use super::{Authority, AuthorityError, Parts};

/// How long a server's certificate is good.
pub(super) const SERVER_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// A server's certificate is renewed when this is left of its life.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// An issuing authority is followed by a new one when this is left of its life: time to bring the root's key.
const RENEW_ISSUING_BEFORE: Duration = Duration::from_secs(2 * 365 * 86_400);
/// Most names of one certificate: a machine with more addresses is known by the first of them.
const NAMES_MAX: usize = 64;

/// The server's certificate of now, as TLS listeners take it.
pub(super) struct Shown {
    pub(super) current: RwLock<Current>,
}

pub(super) struct Current {
    certified: Arc<CertifiedKey>,
    names: BTreeSet<String>,
    not_after: Timestamp,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().certified))
    }
}

impl Authority {
    /// Until when the server's certificate is good.
    #[must_use]
    pub fn server_not_after(&self) -> Timestamp {
        self.parts.server.current.read().not_after
    }

    /// What shows the server's certificate of now in a handshake.
    pub(crate) fn server_resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.parts.server) as Arc<dyn ResolvesServerCert>
    }

    /// TLS 1.2 and 1.3 with the server's certificate, always the newest; no client certificates are asked for.
    /// Listeners set their own ALPN.
    #[must_use]
    pub fn server_tls(&self) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions")
            .with_no_client_auth()
            .with_cert_resolver(self.server_resolver())
    }

    /// Makes a new server certificate when the old one has a month left, or the machine has other names. Listeners
    /// use it from the next handshake on. Whether it made one.
    ///
    /// # Errors
    /// [`AuthorityError`]: the old one is used on.
    pub async fn renew(&self) -> Result<bool, AuthorityError> {
        self.renew_for(&names_of_this_machine()).await
    }

    pub(crate) async fn renew_for(&self, names: &BTreeSet<String>) -> Result<bool, AuthorityError> {
        let Parts { catalog, host, server, .. } = &*self.parts;
        let is_new = self.renew_issuing().await?;
        let issuing = &*self.issuing();
        {
            let current = server.current.read();
            if !is_new && !is_due_at(host.clock.now(), current.not_after, &current.names, names) {
                return Ok(false);
            }
        }
        let made =
            keep(catalog, host, make(host, "server", Some(issuing), names.clone(), SERVER_LIFE)?).await?;
        let next = current(&made, issuing)?;
        *server.current.write() = next;
        Ok(true)
    }
}

impl Authority {
    /// Makes a new issuing authority when the old one has two years left. What the old one signed stays good: devices are
    /// known by their own certificates, and the server gets a new one at once. Without the root's key it is said, once a
    /// look, and the old one is used on.
    async fn renew_issuing(&self) -> Result<bool, AuthorityError> {
        let Parts { catalog, host, .. } = &*self.parts;
        let (root, issuing) = (self.root(), self.issuing());
        let left = issuing.not_after.micros() - host.clock.now().micros();
        if left > RENEW_ISSUING_BEFORE.as_micros() as i64 {
            return Ok(false);
        }
        if !root.has_key() {
            tracing::error!(
                not_after = %issuing.not_after,
                "the issuing authority ends and a new one needs the root's private key, which is not here. Run: godwit ca import-root FILE"
            );
            return Ok(false);
        }
        let made = make(host, "issuing", Some(&root), BTreeSet::new(), super::ISSUING_LIFE)?;
        *self.parts.issuing.write() = Arc::new(keep(catalog, host, made).await?);
        Ok(true)
    }

    /// What the server's certificate of now is known by.
    pub(crate) fn server_id(&self) -> crate::CertificateId {
        crate::CertificateId::of(&self.parts.server.current.read().certified.cert[0])
    }
}

/// The host name with and without `.local`, `localhost`, and every address.
pub(super) fn names_of_this_machine() -> BTreeSet<String> {
    let host = host::machine::name().to_ascii_lowercase();
    let addresses = host::machine::addresses().into_iter().take(NAMES_MAX).map(|address| address.to_string());
    let mut names: BTreeSet<String> = addresses.collect();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    if rustls::pki_types::DnsName::try_from(host.as_str()).is_ok() {
        if !host.contains('.') {
            names.insert(format!("{host}.local"));
        }
        names.insert(host);
    }
    names
}

pub(super) fn is_due(host: &Host, server: &Pair, names: &BTreeSet<String>) -> bool {
    is_due_at(host.clock.now(), server.not_after, &server.names, names)
}

fn is_due_at(now: Timestamp, not_after: Timestamp, has: &BTreeSet<String>, names: &BTreeSet<String>) -> bool {
    // More names than needed do no harm: an address that comes and goes makes no new certificate each time.
    !names.is_subset(has) || not_after.micros() - now.micros() < RENEW_BEFORE.as_micros() as i64
}

/// The server's certificate with the chain below the root, ready to sign handshakes.
pub(super) fn current(server: &Pair, issuing: &Pair) -> Result<Current, AuthorityError> {
    let key = PrivatePkcs8KeyDer::from(server.key.as_slice());
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key.into())
        .map_err(|error| AuthorityError::Certificate { name: "server", reason: error.to_string() })?;
    let chain = vec![server.certificate.clone(), issuing.certificate.clone()];
    Ok(Current {
        certified: Arc::new(CertifiedKey::new(chain, key)),
        names: server.names.clone(),
        not_after: server.not_after,
    })
}
