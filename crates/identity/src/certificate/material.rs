//! What a certificate says: whose key it is, from when until when, and for what.
//!
//! Not here: whether it is known. The law: whatever comes from outside is bounded, escaped and cut before it is kept or
//! shown, and reading it never panics.

use model::Timestamp;
use rustls::pki_types::alg_id;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use crate::policy::CertificateFacts;

/// Largest certificate in bytes. Those of devices are one or two thousand; a chain of such is bounded beside it.
pub(super) const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Smallest RSA key in bits: below, it is broken today or tomorrow (NIST SP 800-57, part 1, table 4).
const RSA_BITS_MIN: usize = 2048;
/// Largest RSA key in bits: above, a handshake costs a processor's time for nobody's good.
const RSA_BITS_MAX: usize = 8192;
/// Longest part of a subject that is kept and shown.
const SUBJECT_CHARS_MAX: usize = 256;

/// Most parts of a name that policies may ask for.
const PARTS_MAX: usize = 32;

/// Why a certificate can never be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFlaw {
    /// It is no certificate, or not the whole of one.
    #[error("it is not a whole X.509 certificate: {0}")]
    Unreadable(String),
    /// It is too large.
    #[error("it has {bytes} bytes; the most is {CERTIFICATE_BYTES_MAX}")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// Its key is too weak, or of a kind that is not taken.
    #[error(
        "its key is {0}; RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, or EC on P-256, P-384 or P-521, is taken"
    )]
    Key(String),
    /// It is not for clients.
    #[error("it is not for clients: {0}")]
    Usage(&'static str),
    /// It ends before it begins.
    #[error("it ends before it begins")]
    Never,
}

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Material {
    pub(crate) subject: String,
    pub(crate) common_name: Option<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Reads a certificate and looks whether it could be used.
pub(crate) fn read(der: &[u8]) -> Result<Material, CertificateFlaw> {
    let certificate = parse(der)?;
    key(certificate.public_key())?;
    usage(&certificate)?;
    let validity = certificate.validity();
    let time = |at: i64| Timestamp::from_micros(at.saturating_mul(1_000_000));
    let (not_before, not_after) =
        (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    if not_after < not_before {
        return Err(CertificateFlaw::Never);
    }
    Ok(Material {
        subject: shown(certificate.subject().to_string().chars()),
        common_name: common_name(certificate.subject()),
        not_before,
        not_after,
    })
}

/// Reads a certificate, whatever it is for.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFlaw> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateFlaw::TooLarge { bytes: der.len() });
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(CertificateFlaw::Unreadable(format!("{} bytes follow it", rest.len()))),
        Err(error) => Err(CertificateFlaw::Unreadable(shown(error.to_string().chars()))),
    }
}

/// Looks whether a public key is one that is taken.
pub(super) fn key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), CertificateFlaw> {
    let curves = [alg_id::ECDSA_P256, alg_id::ECDSA_P384, alg_id::ECDSA_P521];
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
            RSA_BITS_MIN..=RSA_BITS_MAX => Ok(()),
            bits => Err(CertificateFlaw::Key(format!("RSA of {bits} bits"))),
        },
        Ok(PublicKey::EC(_)) if curves.iter().any(|curve| is_of(key, curve)) => Ok(()),
        Ok(PublicKey::EC(_)) => Err(CertificateFlaw::Key("EC on another curve".to_owned())),
        _ => Err(CertificateFlaw::Key("of another kind".to_owned())),
    }
}

/// Whether the key is of this algorithm and curve. Both are compared as they are encoded: DER has one way to do so.
pub(super) fn is_of(key: &SubjectPublicKeyInfo<'_>, algorithm: &[u8]) -> bool {
    encoded(&key.algorithm).as_deref() == Some(algorithm)
}

/// The inside of an `AlgorithmIdentifier`, as it is encoded.
pub(super) fn encoded(algorithm: &x509_parser::x509::AlgorithmIdentifier<'_>) -> Option<Vec<u8>> {
    use x509_parser::asn1_rs::ToDer;
    let mut bytes = algorithm.algorithm.to_der_vec().ok()?;
    if let Some(parameters) = &algorithm.parameters {
        bytes.extend(parameters.to_der_vec().ok()?);
    }
    Some(bytes)
}

/// Looks whether it says that it is for something else (RFC 5280, sections 4.2.1.3 and 4.2.1.12). One that says
/// nothing is for everything. That it may sign others is no hindrance: OpenSSL's self-signed ones say so.
fn usage(certificate: &X509Certificate<'_>) -> Result<(), CertificateFlaw> {
    let twice = |_| CertificateFlaw::Unreadable("an extension is there twice or is malformed".to_owned());
    if let Some(usage) = certificate.key_usage().map_err(twice)?
        && !usage.value.digital_signature()
    {
        return Err(CertificateFlaw::Usage("its key usage has no `digitalSignature`"));
    }
    if let Some(usage) = certificate.extended_key_usage().map_err(twice)?
        && !usage.value.client_auth
        && !usage.value.any
    {
        return Err(CertificateFlaw::Usage("its extended key usage has no `clientAuth`"));
    }
    Ok(())
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next()?.as_str().ok().map(|text| shown(text.chars()))
}

/// Escaped and cut.
pub(super) fn shown(text: impl Iterator<Item = char>) -> String {
    text.take(SUBJECT_CHARS_MAX).flat_map(char::escape_debug).collect()
}

/// What policies may ask of a certificate.
pub(crate) fn facts(der: &[u8]) -> Option<CertificateFacts> {
    let certificate = parse(der).ok()?;
    let mut subject = parts(certificate.subject());
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        for name in names.value.general_names.iter().take(PARTS_MAX) {
            let (kind, text) = match name {
                GeneralName::DNSName(text) => ("AlternativeName.DNSName", *text),
                GeneralName::RFC822Name(text) => ("AlternativeName.RFC822Name", *text),
                GeneralName::URI(text) => ("AlternativeName.UniformResourceIdentifier", *text),
                _ => continue,
            };
            subject.push((kind.to_owned(), text.to_owned()));
        }
    }
    let serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(CertificateFacts {
        id: super::CertificateId::of(der).bytes(),
        subject,
        issuer: parts(certificate.issuer()),
        serial: Some(serial),
    })
}

/// The parts of a name by what AWS calls them.
fn parts(name: &X509Name<'_>) -> Vec<(String, String)> {
    const CALLED: [(&str, &str); 11] = [
        ("2.5.4.3", "CommonName"),
        ("2.5.4.4", "Surname"),
        ("2.5.4.5", "SerialNumber"),
        ("2.5.4.6", "Country"),
        ("2.5.4.7", "LocalityName"),
        ("2.5.4.8", "State"),
        ("2.5.4.10", "Organization"),
        ("2.5.4.11", "OrganizationalUnit"),
        ("2.5.4.12", "Title"),
        ("2.5.4.42", "GivenName"),
        ("2.5.4.46", "DistinguishedNameQualifier"),
    ];
    let part = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let id = part.attr_type().to_id_string();
        let (_, called) = CALLED.iter().find(|(known, _)| *known == id)?;
        Some(((*called).to_owned(), part.as_str().ok()?.to_owned()))
    };
    name.iter_attributes().take(PARTS_MAX).filter_map(part).collect()
}

/// The public key of a certificate, as it is encoded inside.
pub(crate) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    Some(parse(der).ok()?.public_key().subject_public_key.data.to_vec())
}
