//! TLS with client certificates: whoever shows a certificate must have its private key, and nothing else is asked here.
//!
//! Who signed the certificate, for what and until when is judged at the door's first packet
//! ([`Identity::authenticate_certificate`](crate::Identity::authenticate_certificate)): so that a self-signed one that
//! is registered is let in, so that a resumed handshake is judged by the register of today, and so that the one who is
//! refused hears why. The laws: what is shown is bounded before it is read; a certificate's key is proven to be its
//! holder's, unless it is so weak that nobody is ever let in with it.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig,
    SignatureScheme,
};
use serde::Deserialize;

use super::material;
use crate::{Authority, AuthorityError};

/// Most certificates that a client may show: its own and those above it. Nobody has more than three.
pub const CHAIN_CERTIFICATES_MAX: usize = 8;

/// Most bytes of them together.
pub const CHAIN_BYTES_MAX: usize = 32 * 1024;

/// Whether a listener with TLS asks for client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Each client shows one; without, there is no handshake.
    Required,
    /// Who shows one is judged by it; who shows none, by user name and password.
    Optional,
    /// None is asked for.
    #[default]
    None,
}

impl Authority {
    /// TLS 1.2 and 1.3 with the server's certificate, always the newest, for a listener that asks its clients for theirs
    /// like this. Sessions are resumed by tickets that hold the client's certificate and that no other listener takes:
    /// one that asks for less than this opens no way into it. Listeners set their own ALPN.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`] when this machine gives no randomness.
    pub fn device_tls(&self, asked: ClientCertificates) -> Result<ServerConfig, AuthorityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = AnyHolder {
            is_required: asked == ClientCertificates::Required,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions");
        let builder = match asked {
            ClientCertificates::None => builder.with_no_client_auth(),
            _ => builder.with_client_cert_verifier(Arc::new(verifier)),
        };
        let mut config = builder.with_cert_resolver(self.server_resolver());
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()
            .map_err(|error| AuthorityError::Certificate { name: "server", reason: error.to_string() })?;
        // One is enough for a device that comes back one connection at a time; each carries its certificate.
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// Takes every certificate whose private key the client has.
#[derive(Debug)]
struct AnyHolder {
    is_required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyHolder {
    /// Looks whether `dss` signs `message` with the key of `certificate`. Not by `webpki`, which reads version 3 alone:
    /// `openssl x509 -req` without extensions makes version 1.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
        is_tls13: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let read = material::parse(certificate).map_err(|_| bad())?;
        if material::key(read.public_key()).is_err() {
            // Nobody is let in with such a key, proven or not: he is told so at his first packet.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let scheme = dss.scheme;
        let known = self.algorithms.mapping.iter().find(|(known, _)| *known == scheme);
        // RFC 8446, section 4.2.3: PKCS #1 signs no handshake of TLS 1.3, and a curve goes with its hash alone.
        let (_, fitting) = known
            .filter(|_| !(is_tls13 && is_pkcs1(scheme)))
            .ok_or(Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme))?;
        let fitting = if is_tls13 { &fitting[..1] } else { fitting };
        let key = &read.public_key().subject_public_key.data;
        let is_signed = fitting
            .iter()
            .filter(|algorithm| material::is_of(read.public_key(), &algorithm.public_key_alg_id()))
            .any(|algorithm| algorithm.verify_signature(key, message, dss.signature()).is_ok());
        match is_signed {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }
}

fn is_pkcs1(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    /// None: clients that choose by them would hold back certificates of other authorities.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = end_entity.len() + intermediates.iter().map(|above| above.len()).sum::<usize>();
        if intermediates.len() >= CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(Error::General(format!(
                "the client shows {} certificates of {bytes} bytes; the most are {CHAIN_CERTIFICATES_MAX} of {CHAIN_BYTES_MAX}",
                intermediates.len() + 1
            )));
        }
        material::parse(end_entity)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, dss, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, dss, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
