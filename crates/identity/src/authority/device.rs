//! The certificates that the authority signs for devices.
//!
//! Not here: who may ask for one, and where they are kept (`certificate`). The laws: a key that is made here is given
//! back and not kept; a certificate of a device is for clients and signs nothing.

use std::time::Duration;

use model::{DeviceName, Timestamp};
use rcgen::{
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use zeroize::Zeroizing;

use super::signing::{draft, issuer};
use super::{Authority, AuthorityError, DAY};
use crate::certificate::{PrivateKeyPem, Request};

/// How long a device's certificate is good until it has shown that it renews: longer than most devices are in use.
const FIRST_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

/// How long the ones are good that follow.
const RENEWED_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Whom a certificate names that is to be provisioned: its device has no name yet.
const WAITING: &str = "Godwit device";

/// A certificate that was just signed.
pub(crate) struct Signed {
    pub(crate) der: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Authority {
    /// Makes a key for the device and signs it. The key is given back and kept nowhere.
    pub(crate) fn sign_new_key(
        &self,
        device: &DeviceName,
    ) -> Result<(Signed, PrivateKeyPem), AuthorityError> {
        self.sign_key_for(device.as_str(), FIRST_LIFE)
    }

    /// Signs the key of a request. Its subject is kept; one that says nothing gets the device's name.
    pub(crate) fn sign_request(
        &self,
        request: &Request,
        device: &DeviceName,
    ) -> Result<Signed, AuthorityError> {
        self.sign(subject(request, device.as_str()), &request.key, FIRST_LIFE)
    }

    /// As [`Self::sign_request`], for one that takes the place of another: its device has shown that it renews.
    pub(crate) fn sign_renewal(
        &self,
        request: &Request,
        device: &DeviceName,
    ) -> Result<Signed, AuthorityError> {
        self.sign(subject(request, device.as_str()), &request.key, RENEWED_LIFE)
    }

    /// Makes a key for a certificate that waits for a device, and signs it.
    pub(crate) fn sign_waiting_key(&self) -> Result<(Signed, PrivateKeyPem), AuthorityError> {
        self.sign_key_for(WAITING, FIRST_LIFE)
    }

    /// Signs the key of a request for a certificate that waits for a device.
    pub(crate) fn sign_waiting_request(&self, request: &Request) -> Result<Signed, AuthorityError> {
        self.sign(subject(request, WAITING), &request.key, FIRST_LIFE)
    }

    /// Makes a key for a claim of this template, and signs it.
    pub(crate) fn sign_claim(
        &self,
        template: &str,
        life: Duration,
    ) -> Result<(Signed, PrivateKeyPem), AuthorityError> {
        self.sign_key_for(&format!("claim {template}"), life)
    }

    fn sign_key_for(&self, name: &str, life: Duration) -> Result<(Signed, PrivateKeyPem), AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| wrong(&error))?;
        let signed = self.sign(named(name), &key, life)?;
        Ok((signed, PrivateKeyPem(Zeroizing::new(key.serialize_pem()))))
    }

    fn sign(
        &self,
        subject: DistinguishedName,
        key: &impl PublicKeyData,
        life: Duration,
    ) -> Result<Signed, AuthorityError> {
        let host = &self.parts.host;
        let now = host.clock.now();
        let mut params = draft(host, now, life)?;
        params.distinguished_name = subject;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = issuer(&self.issuing())?;
        let certificate = params.signed_by(key, &issuer).map_err(|error| wrong(&error))?;
        let micros = |duration: Duration| duration.as_micros() as i64;
        // Certificates count whole seconds.
        let second = |micros: i64| Timestamp::from_micros(micros - micros.rem_euclid(1_000_000));
        Ok(Signed {
            der: certificate.der().to_vec(),
            not_before: second(now.micros() - micros(DAY)),
            not_after: second(now.micros() + micros(life)),
        })
    }
}

/// The subject of a request; of one that says nothing, `common` as the common name.
fn subject(request: &Request, common: &str) -> DistinguishedName {
    match request.subject.iter().next() {
        Some(_) => request.subject.clone(),
        None => named(common),
    }
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn wrong(error: &rcgen::Error) -> AuthorityError {
    AuthorityError::Certificate { name: "device", reason: error.to_string() }
}
