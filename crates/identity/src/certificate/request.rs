//! Requests for certificates (CSR; PKCS #10, RFC 2986): a device asks for a certificate for a key that it keeps.
//!
//! Not here: signing (`authority`). The laws: a request is taken only if its own signature shows that its sender has
//! the private key; of what it asks for, the subject and the public key are kept and nothing else.

use rcgen::{DistinguishedName, DnType, DnValue};
use rustls::pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::material::{self, CertificateFlaw, encoded, shown};

/// Largest request in bytes: those of OpenSSL with an RSA key of 4096 bits have 1,700.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Most parts of a subject, and the longest of each in characters (RFC 5280, appendix A.1, allows 64 of most).
const SUBJECT_PARTS_MAX: usize = 16;
const SUBJECT_PART_CHARS_MAX: usize = 128;

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFlaw {
    /// It is no request, or not the whole of one.
    #[error("it is not a certificate request (PKCS #10): {0}")]
    Unreadable(String),
    /// It is too large.
    #[error("the request has {bytes} bytes; the most is {REQUEST_BYTES_MAX}")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// Its key is too weak, or of a kind that is not taken.
    #[error("the request cannot be signed: {0}")]
    Key(CertificateFlaw),
    /// Its signature is not by its key.
    #[error(
        "the request's signature is not by its own key, or of a kind that is not taken (SHA-256 or longer is)"
    )]
    Signature,
    /// Its subject has too many or too long parts.
    #[error(
        "the request's subject has {parts} parts, the longest of {chars} characters; the most are {SUBJECT_PARTS_MAX} and {SUBJECT_PART_CHARS_MAX}"
    )]
    Subject {
        /// How many.
        parts: usize,
        /// Of the longest.
        chars: usize,
    },
}

/// What is kept of a request.
pub(crate) struct Request {
    pub(crate) subject: DistinguishedName,
    pub(crate) key: rcgen::SubjectPublicKeyInfo,
}

impl Request {
    /// Reads a request, as PEM or DER.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RequestFlaw> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(RequestFlaw::TooLarge { bytes: bytes.len() });
        }
        let der = der_of(bytes, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
            .map_err(RequestFlaw::Unreadable)?;
        let (rest, request) = X509CertificationRequest::from_der(&der)
            .map_err(|error| RequestFlaw::Unreadable(shown(error.to_string().chars())))?;
        if !rest.is_empty() {
            return Err(RequestFlaw::Unreadable(format!("{} bytes follow it", rest.len())));
        }
        let info = &request.certification_request_info;
        material::key(&info.subject_pki).map_err(RequestFlaw::Key)?;
        if !is_signed(&request) {
            return Err(RequestFlaw::Signature);
        }
        let key = rcgen::SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|error| RequestFlaw::Unreadable(shown(error.to_string().chars())))?;
        Ok(Self { subject: subject(&info.subject)?, key })
    }
}

/// The DER of PEM with one of these tags, or of DER.
pub(super) fn der_of(bytes: &[u8], tags: &[&str]) -> Result<Vec<u8>, String> {
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Ok(bytes.to_vec());
    }
    let parts = pem::parse_many(bytes).map_err(|error| error.to_string())?;
    match parts.into_iter().find(|part| tags.contains(&part.tag())) {
        Some(part) => Ok(part.into_contents()),
        None => Err(format!("there is no `-----BEGIN {}-----`", tags[0])),
    }
}

fn is_signed(request: &X509CertificationRequest<'_>) -> bool {
    let info = &request.certification_request_info;
    let (Some(key), Some(signature)) =
        (encoded(&info.subject_pki.algorithm), encoded(&request.signature_algorithm))
    else {
        return false;
    };
    let is = |id: AlgorithmIdentifier, bytes: &[u8]| *id == *bytes;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
        is(algorithm.public_key_alg_id(), &key) && is(algorithm.signature_alg_id(), &signature)
    };
    provider.signature_verification_algorithms.all.iter().find(fits).is_some_and(|algorithm| {
        let key = &info.subject_pki.subject_public_key.data;
        algorithm.verify_signature(key, info.raw, &request.signature_value.data).is_ok()
    })
}

/// The subject, as texts. Of a kind of part that is there twice, the last is kept.
fn subject(name: &X509Name<'_>) -> Result<DistinguishedName, RequestFlaw> {
    let (mut kept, mut parts, mut chars) = (DistinguishedName::new(), 0, 0);
    for part in name.iter_attributes() {
        let text = part.as_str().map_err(|error| RequestFlaw::Unreadable(error.to_string()))?;
        let id: Option<Vec<u64>> = part.attr_type().iter().map(Iterator::collect);
        let id = id.ok_or_else(|| RequestFlaw::Unreadable("a part of its subject has no kind".to_owned()))?;
        (parts, chars) = (parts + 1, chars.max(text.chars().count()));
        kept.push(DnType::from_oid(&id), DnValue::Utf8String(text.to_owned()));
    }
    if parts > SUBJECT_PARTS_MAX || chars > SUBJECT_PART_CHARS_MAX {
        return Err(RequestFlaw::Subject { parts, chars });
    }
    Ok(kept)
}
