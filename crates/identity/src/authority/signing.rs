//! How the authority makes its own certificates: keys, names, lifetimes, extensions.
//!
//! Not here: where they are kept (`pair`). The law: nothing is made while the clock is obviously wrong.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use host::Host;
use model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use zeroize::Zeroizing;

use super::pair::Pair;
use super::{AuthorityError, CLOCK_EARLIEST, DAY};

/// Makes a key and its certificate, signed by `by` or by itself.
pub(super) fn make(
    host: &Host,
    name: &'static str,
    by: Option<&Pair>,
    names: BTreeSet<String>,
    life: Duration,
) -> Result<Pair, AuthorityError> {
    let wrong =
        |error: &dyn std::fmt::Display| AuthorityError::Certificate { name, reason: error.to_string() };
    let now = host.clock.now();
    let mut params = draft(host, now, life)?;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| wrong(&error))?;
    let serial = params.serial_number.iter().flat_map(SerialNumber::to_bytes);
    let short: String = serial.skip(1).take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::OrganizationName, "Godwit");
    params.distinguished_name.push(
        DnType::CommonName,
        match name {
            "server" => host::machine::name(),
            authority => format!("Godwit {authority} {short}"),
        },
    );
    let is_authority = name != "server";
    if is_authority {
        let below = if by.is_none() { 1 } else { 0 };
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in &names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(|error| wrong(&error))?),
            });
        }
    }
    params.use_authority_key_identifier_extension = by.is_some();
    let certificate = match by {
        None => params.self_signed(&key).map_err(|error| wrong(&error))?,
        Some(by) => params.signed_by(&key, &issuer(by)?).map_err(|error| wrong(&error))?,
    };
    let not_after = now.micros() + life.as_micros() as i64;
    Ok(Pair {
        name,
        certificate: certificate.der().clone(),
        key: Zeroizing::new(key.serialize_der()),
        names,
        not_after: Timestamp::from_micros(not_after),
    })
}

/// A certificate with a serial number of its own, good from yesterday for `life`.
pub(super) fn draft(
    host: &Host,
    now: Timestamp,
    life: Duration,
) -> Result<CertificateParams, AuthorityError> {
    if now < CLOCK_EARLIEST {
        return Err(AuthorityError::Clock { now });
    }
    let mut serial = [0; 16];
    host.random.fill(&mut serial);
    // Positive (RFC 5280, section 4.1.2.2).
    serial[0] &= 0x7f;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now_since = Duration::from_micros(now.micros().unsigned_abs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Backdated: one side's clock may be behind the other's.
    params.not_before = epoch + (now_since - DAY);
    params.not_after = epoch + (now_since + life);
    Ok(params)
}

/// The authority of this pair, ready to sign.
pub(super) fn issuer(by: &Pair) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let wrong = |error: &dyn std::fmt::Display| AuthorityError::Certificate {
        name: by.name,
        reason: error.to_string(),
    };
    if !by.has_key() {
        return Err(AuthorityError::RootOffline);
    }
    let signer = KeyPair::try_from(by.key.as_slice()).map_err(|error| wrong(&error))?;
    Issuer::from_ca_cert_der(&by.certificate, signer).map_err(|error| wrong(&error))
}
