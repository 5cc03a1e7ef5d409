//! TLS for a client: whom it trusts, and by which certificate it proves itself.
//!
//! Not here: files; whoever has them hands in what they hold. The laws: a server is trusted when its certificate leads to
//! one of the given authorities and carries the name that was asked for, and not otherwise; a private key is never shown.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::ConnectError;

/// Why TLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// What is to be trusted is no certificate.
    #[error("the CA file holds no certificate: {0}")]
    Ca(String),
    /// The client's certificate cannot be read.
    #[error("the client's certificate file holds none: {0}")]
    Certificate(String),
    /// The client's key cannot be read.
    #[error("the client's key file holds none: {0}")]
    Key(String),
    /// The key is not the certificate's.
    #[error("the client's key does not go with its certificate: {0}")]
    Pair(String),
}

/// How to speak TLS. Cheap to clone; clones share what is resumed.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the authorities of `ca` and proves itself by `pair`, a certificate (with those above it) and its key; all
    /// as PEM.
    ///
    /// # Errors
    /// [`TlsError`] says which of the three is not right.
    pub fn new(ca: &[u8], pair: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca).map_err(TlsError::Ca)? {
            roots.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions")
            .with_root_certificates(roots);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate).map_err(TlsError::Certificate)?;
                let key =
                    PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsError::Pair(error.to_string()))?
            }
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// The same, making every handshake in full: for measuring them.
    #[must_use]
    pub fn without_resumption(&self) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = rustls::client::Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// Speaks TLS with the server of `address`, `HOST:PORT`.
    pub(crate) async fn over(
        &self,
        stream: TcpStream,
        address: &str,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Address { address: address.to_owned() })?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector
            .connect(name, stream)
            .await
            .map_err(|source| ConnectError::Tls { address: address.to_owned(), source })
    }
}

/// Every certificate of a PEM file; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no `-----BEGIN CERTIFICATE-----`".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a handshake failed for what the client is, so that trying again is useless.
pub(crate) fn is_final(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}
