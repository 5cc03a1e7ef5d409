//! How certificates come to be known, and how they are turned off.
//!
//! Not here: what signs them (`authority`). The laws: a key that is made here leaves in [`Issued`] and is kept nowhere;
//! a change, its entry in the audit log and the device that it adds are one transaction.

use std::sync::Arc;

use catalog::{ReadError, Transaction, WriteError, params};
use model::{DeviceName, Kind, Timestamp};
use serde_json::json;
use zeroize::Zeroizing;

use super::material::{self, CertificateFlaw};
use super::register::Kept;
use super::renewal::{followers_of, set_status};
use super::request::{Request, RequestFlaw, der_of};
use super::{Certificate, CertificateFilter, CertificateId, CertificateOrigin, CertificateStatus, one, page};
use crate::audit::{self, Entry};
use crate::authority::Signed;
use crate::device::change::{enlisted, standing, store};
use crate::identity::refuse_reserved;
use crate::{Actor, AuthorityError, ChangeError, Device, Identity, NewDevice};

/// Most certificates of one device that are not revoked: a few generations, and a mistake.
pub(super) const PER_DEVICE_MAX: i64 = 16;

/// Where the key of a new certificate comes from.
#[derive(Debug, Clone, Copy)]
pub enum NewKey<'a> {
    /// Made here (ECDSA on P-256), returned once.
    Made,
    /// The device's own, which never leaves it: a request (CSR) as PEM or DER.
    Request(&'a [u8]),
}

/// A private key that was just made, as PEM (PKCS #8). It cannot be had again. Wiped from memory when dropped.
pub struct PrivateKeyPem(pub(crate) Zeroizing<String>);

impl PrivateKeyPem {
    /// The key, to be given to the one who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKeyPem(…)")
    }
}

/// A certificate that was just made.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key, when it was made here.
    pub private_key: Option<PrivateKeyPem>,
}

/// What becomes of the certificates that were had by one through renewal when it is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followers {
    /// They are revoked with it; of one that retired it has to be said.
    Unsaid,
    /// They are revoked with it.
    Revoke,
    /// They stay as they are.
    Keep,
}

/// What came of turning a certificate on or off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The certificate as it is now.
    pub certificate: Certificate,
    /// Those that were had by it through renewal and were revoked with it, the oldest first.
    pub revoked: Vec<CertificateId>,
    /// Those that were had by it and are not revoked.
    pub standing: Vec<CertificateId>,
}

/// Why a certificate is not made, registered or changed.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no authority to sign with.
    #[error("this server signs no certificates")]
    NoAuthority,
    /// The authority cannot sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The request is not taken.
    #[error(transparent)]
    Request(#[from] RequestFlaw),
    /// The certificate can never be used.
    #[error("the certificate cannot be registered")]
    Flawed(#[from] CertificateFlaw),
    /// Its time is over.
    #[error("the certificate cannot be registered: it expired at {0}")]
    Expired(Timestamp),
    /// It is registered already.
    #[error("certificate {id} is registered already, for {}", device.as_ref().map_or("no device", DeviceName::as_str))]
    Exists {
        /// What it is known by.
        id: CertificateId,
        /// Whose it is.
        device: Option<DeviceName>,
    },
    /// The device has one already.
    #[error("device `{0}` has a certificate already")]
    HasOne(DeviceName),
    /// The device has too many.
    #[error("device `{0}` has {PER_DEVICE_MAX} certificates that are not revoked, which is the most")]
    TooMany(DeviceName),
    /// A certificate is renewed by its holder.
    #[error("only a device that connected with a certificate renews it")]
    NotByCertificate,
    /// It was asked a moment ago.
    #[error("a certificate was made for this device within the last 10 seconds, or 100 within the last day")]
    TooOften,
    /// There is no such certificate.
    #[error("there is no certificate {0}")]
    Unknown(CertificateId),
    /// It was revoked, and stays so.
    #[error("certificate {0} was revoked, which cannot be undone")]
    Revoked(CertificateId),
    /// It retired, and it was not said what becomes of those that followed it.
    #[error("certificate {id} has retired, and {standing} that were had by it through renewal still stand")]
    Followed {
        /// What was to be revoked.
        id: CertificateId,
        /// How many stand.
        standing: usize,
    },
    /// The device is not as it must be.
    #[error(transparent)]
    Device(#[from] ChangeError),
}

impl From<WriteError> for CertificateError {
    fn from(error: WriteError) -> Self {
        Self::Device(ChangeError::Catalog(error))
    }
}

impl CertificateError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoAuthority => Kind::Unavailable,
            Self::Authority(error) => error.kind(),
            Self::Request(_) | Self::Flawed(_) | Self::Expired(_) => Kind::Invalid,
            Self::Exists { .. } | Self::HasOne(_) | Self::Revoked(_) | Self::Followed { .. } => {
                Kind::Conflict
            }
            Self::TooMany(_) | Self::TooOften => Kind::TooMuch,
            Self::NotByCertificate => Kind::Forbidden,
            Self::Unknown(_) => Kind::NotFound,
            Self::Device(error) => error.kind(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAuthority | Self::TooOften | Self::NotByCertificate => None,
            Self::Authority(error) => error.hint(),
            Self::Request(_) => Some(
                "make one with: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout NAME.key.pem -out NAME.csr -subj /CN=NAME",
            ),
            Self::Flawed(_) | Self::Expired(_) => {
                Some("give the device one of this server: godwit device certificate add NAME --out DIR")
            }
            Self::Exists { .. } => Some("each device has certificates of its own; revoke it there first"),
            Self::HasOne(_) => Some(
                "`godwit device certificate add NAME --out DIR` gives it a further one, `godwit device certificate register FILE \
                 --device NAME` registers one made elsewhere",
            ),
            Self::TooMany(_) => Some("revoke those that are not in use: godwit device certificate list NAME"),
            Self::Unknown(_) => Some("see: godwit device certificate list"),
            Self::Revoked(_) => {
                Some("give the device a new one: godwit device certificate add NAME --out DIR")
            }
            Self::Followed { .. } => Some(
                "if it was stolen, revoke them too: godwit device certificate revoke ID --followers revoke; to tidy up behind a device \
                 that renews: --followers keep",
            ),
            Self::Device(error) => error.hint(),
        }
    }
}

/// The device that is to get one.
#[derive(Debug, Clone)]
enum Asked {
    /// It may be new, and has none.
    First(NewDevice),
    /// It is known.
    Further(DeviceName),
}

impl Asked {
    fn name(&self) -> &DeviceName {
        match self {
            Self::First(new) => &new.name,
            Self::Further(name) => name,
        }
    }
}

impl Identity {
    /// Adds a device with a certificate, in one step. One that was only seen, or has none, gets one.
    ///
    /// # Errors
    /// [`CertificateError::HasOne`] when it has one that is active; whatever stands in the way, nothing was changed.
    pub async fn add_device_with_certificate(
        &self,
        by: &Actor,
        new: impl Into<NewDevice>,
        key: NewKey<'_>,
    ) -> Result<Issued, CertificateError> {
        self.issue(by, Asked::First(new.into()), key).await
    }

    /// Gives a device a further certificate.
    ///
    /// # Errors
    /// [`CertificateError`]: nothing was changed.
    pub async fn add_certificate(
        &self,
        by: &Actor,
        name: &DeviceName,
        key: NewKey<'_>,
    ) -> Result<Issued, CertificateError> {
        self.issue(by, Asked::Further(name.clone()), key).await
    }

    async fn issue(&self, by: &Actor, asked: Asked, key: NewKey<'_>) -> Result<Issued, CertificateError> {
        let name = asked.name();
        refuse_reserved(name)?;
        let authority = self.authority.as_ref().ok_or(CertificateError::NoAuthority)?;
        let (signed, private_key) = match key {
            NewKey::Made => {
                let (signed, private_key) = authority.sign_new_key(name)?;
                (signed, Some(private_key))
            }
            NewKey::Request(bytes) => (authority.sign_request(&Request::read(bytes)?, name)?, None),
        };
        let origin = if private_key.is_some() { CertificateOrigin::Key } else { CertificateOrigin::Request };
        let certificate = self.new_certificate(signed, Some(name.clone()), origin);
        self.keep_certificate(by, "certificate.issue", &certificate, asked).await?;
        Ok(Issued { certificate, private_key })
    }

    /// Registers a certificate that was made elsewhere, by another authority or signed by itself, for a device that is
    /// known. `bytes`: PEM (its first certificate) or DER.
    ///
    /// # Errors
    /// [`CertificateError`]: nothing was changed.
    pub async fn register_certificate(
        &self,
        by: &Actor,
        bytes: &[u8],
        device: &DeviceName,
    ) -> Result<Certificate, CertificateError> {
        self.register_own(by, bytes, Asked::Further(device.clone())).await
    }

    /// Adds a device with a certificate that was made elsewhere, in one step. One that was only seen, or has none, gets it.
    ///
    /// # Errors
    /// [`CertificateError::HasOne`] when it has one that is active; whatever stands in the way, nothing was changed.
    pub async fn add_device_with_registered(
        &self,
        by: &Actor,
        new: impl Into<NewDevice>,
        bytes: &[u8],
    ) -> Result<Certificate, CertificateError> {
        self.register_own(by, bytes, Asked::First(new.into())).await
    }

    async fn register_own(
        &self,
        by: &Actor,
        bytes: &[u8],
        asked: Asked,
    ) -> Result<Certificate, CertificateError> {
        refuse_reserved(asked.name())?;
        let der = der_of(bytes, &["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"])
            .map_err(CertificateFlaw::Unreadable)?;
        let material = material::read(&der)?;
        if material.not_after < self.parts.host.clock.now() {
            return Err(CertificateError::Expired(material.not_after));
        }
        let signed = Signed { der, not_before: material.not_before, not_after: material.not_after };
        let device = Some(asked.name().clone());
        let certificate = self.new_certificate(signed, device, CertificateOrigin::Registered);
        self.keep_certificate(by, "certificate.register", &certificate, asked).await?;
        Ok(certificate)
    }

    pub(crate) fn new_certificate(
        &self,
        signed: Signed,
        device: Option<DeviceName>,
        origin: CertificateOrigin,
    ) -> Certificate {
        let Signed { der, not_before, not_after } = signed;
        Certificate {
            id: CertificateId::of(&der),
            subject: material::read(&der).map(|material| material.subject).unwrap_or_default(),
            device,
            status: CertificateStatus::Active,
            origin,
            not_before,
            not_after,
            created: self.parts.host.clock.now(),
            last_seen: None,
            replaces: None,
            retired_by: None,
            der,
        }
    }

    async fn keep_certificate(
        &self,
        by: &Actor,
        action: &'static str,
        certificate: &Certificate,
        asked: Asked,
    ) -> Result<(), CertificateError> {
        let (by, kept, parts) = (by.clone(), certificate.clone(), Arc::clone(&self.parts));
        let in_memory = certificate.clone();
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let judged = judge(transaction, &asked, &kept, &by);
                    let device = match judged {
                        Ok(device) => device,
                        // What failed on the way is undone; what was refused has changed nothing.
                        Err(CertificateError::Device(ChangeError::Catalog(error))) => return Err(error),
                        Err(refused) => return Ok(Err(refused)),
                    };
                    insert(transaction, &kept)?;
                    let entry = Entry::done(&by, action, format!("certificate:{}", kept.id));
                    audit::append(transaction, kept.created, &entry.after(told(&kept)))?;
                    Ok(Ok(device))
                },
                move |judged| {
                    if let Ok(device) = judged {
                        parts.certificate_is_kept(&in_memory);
                        parts.take_over(std::slice::from_ref(device));
                    }
                },
            )
            .await?
            .map(|_| ())
    }

    /// Sets whether a certificate may be used. Sessions that it opened are cut at once when it may not.
    ///
    /// Revoking one revokes also what its holder got by renewing it, and by renewing that, unless `followers` says otherwise:
    /// who stole it may have been that holder. Of one that retired it must be said: it may be a thief's doing, or tidying up
    /// behind a device that renews. Whatever is set, what still stands of them is named; of one that is revoked already they are
    /// revoked when that is said ([`Followers::Revoke`]).
    ///
    /// # Errors
    /// [`CertificateError::Unknown`]; [`CertificateError::Revoked`]: what was revoked stays so; [`CertificateError::Followed`].
    pub async fn set_certificate_status(
        &self,
        by: &Actor,
        id: &CertificateId,
        status: CertificateStatus,
        followers: Followers,
    ) -> Result<StatusChange, CertificateError> {
        let (by, id, parts, now) = (by.clone(), *id, Arc::clone(&self.parts), self.parts.host.clock.now());
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let Some(mut certificate) = one(transaction, &id)? else {
                        return Ok(Err(CertificateError::Unknown(id)));
                    };
                    let before = certificate.status;
                    let mut standing = followers_of(transaction, &id)?;
                    let is_revoked = status == CertificateStatus::Revoked;
                    // They may have been kept when it was revoked.
                    let is_for_them = is_revoked && followers == Followers::Revoke && !standing.is_empty();
                    if before == status && !is_for_them {
                        return Ok(Ok(StatusChange { certificate, revoked: Vec::new(), standing }));
                    }
                    if before == CertificateStatus::Revoked && !is_revoked {
                        return Ok(Err(CertificateError::Revoked(id)));
                    }
                    let has_retired =
                        before == CertificateStatus::Inactive && certificate.retired_by.is_some();
                    if is_revoked && has_retired && followers == Followers::Unsaid && !standing.is_empty() {
                        return Ok(Err(CertificateError::Followed { id, standing: standing.len() }));
                    }
                    if before != status {
                        set_status(transaction, &id, status)?;
                        certificate.status = status;
                        let entry = Entry::done(&by, "certificate.status", format!("certificate:{id}"))
                            .before(json!({ "status": before.name() }))
                            .after(told(&certificate));
                        audit::append(transaction, now, &entry)?;
                    }
                    let mut revoked = Vec::new();
                    if is_revoked && followers != Followers::Keep {
                        revoked.append(&mut standing);
                    }
                    for follower in &revoked {
                        set_status(transaction, follower, CertificateStatus::Revoked)?;
                        let entry = Entry::done(&by, "certificate.status", format!("certificate:{follower}"))
                            .after(json!({ "status": "revoked", "had_by": id.to_string() }));
                        audit::append(transaction, now, &entry)?;
                    }
                    Ok(Ok(StatusChange { certificate, revoked, standing }))
                },
                move |judged| {
                    if let Ok(changed) = judged {
                        parts.certificates.change(&id, |kept| kept.status = status);
                        for follower in &changed.revoked {
                            parts
                                .certificates
                                .change(follower, |kept| kept.status = CertificateStatus::Revoked);
                        }
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?
    }

    /// The certificate of this id.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn certificate(&self, id: &CertificateId) -> Result<Option<Certificate>, ReadError> {
        let id = *id;
        self.parts.catalog.read_async(move |connection| Ok(one(connection, &id)?)).await
    }

    /// When the last certificate of a device that may be used ends. A look into memory.
    #[must_use]
    pub fn certificate_until(&self, device: &DeviceName) -> Option<Timestamp> {
        self.parts.certificates.until(device)
    }

    /// How many certificates that may be used have expired, then how many do so within each of the next `weeks` weeks. A
    /// walk over memory, some milliseconds with a hundred thousand.
    #[must_use]
    pub fn expiring_certificates(&self, weeks: usize) -> Vec<u64> {
        const WEEK_MICROS: i64 = 7 * 86_400 * 1_000_000;
        let now = self.parts.host.clock.now().micros();
        let ends: Vec<_> =
            (0..=weeks as i64).map(|week| Timestamp::from_micros(now + week * WEEK_MICROS)).collect();
        self.parts.certificates.expiring(&ends)
    }

    /// The certificates that `filter` asks for, by id.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn certificates(&self, filter: CertificateFilter) -> Result<Vec<Certificate>, ReadError> {
        self.parts.catalog.read_async(move |connection| Ok(page(connection, &filter)?)).await
    }
}

impl crate::identity::Parts {
    /// Takes a certificate that was stored into the copy in memory.
    pub(crate) fn certificate_is_kept(&self, certificate: &Certificate) {
        let kept = Kept {
            device: certificate.device.clone(),
            status: certificate.status,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            last_seen: None,
            replaces: certificate.replaces,
        };
        self.certificates.put(certificate.id, kept);
    }
}

/// Looks whether the device may get this one, and adds the device when it is new. Writes nothing before it refuses.
fn judge(
    transaction: &Transaction<'_>,
    asked: &Asked,
    certificate: &Certificate,
    by: &Actor,
) -> Result<Device, CertificateError> {
    let name = asked.name();
    if let Some(older) = one(transaction, &certificate.id).map_err(WriteError::from)? {
        return Err(CertificateError::Exists { id: older.id, device: older.device });
    }
    let count = |which: &str| -> Result<i64, WriteError> {
        let sql = format!("SELECT count(*) FROM certificates WHERE device = $1 AND {which}");
        Ok(transaction.query_one(&sql, params![name], |row| row.get(0))?.unwrap_or(0))
    };
    if count("status <> 'revoked'")? >= PER_DEVICE_MAX {
        return Err(CertificateError::TooMany(name.clone()));
    }
    let (before, mut after) = match asked {
        Asked::First(new) => {
            if count("status = 'active'")? > 0 {
                return Err(CertificateError::HasOne(name.clone()));
            }
            enlisted(transaction, new, certificate.created)?
        }
        Asked::Further(name) => {
            let before = standing(transaction, name)?;
            let after = Device { is_added: true, ..before.clone() };
            (Some(before), after)
        }
    };
    store(transaction, by, "device.add", certificate.created, before.as_ref(), &mut after)?;
    Ok(after)
}

pub(crate) fn insert(transaction: &Transaction<'_>, certificate: &Certificate) -> Result<(), WriteError> {
    let replaces = certificate.replaces.map(|id| id.to_string());
    transaction.execute(
        "INSERT INTO certificates (id, der, subject, device, status, origin, not_before, not_after, created, replaces)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            certificate.id.to_string(),
            certificate.der,
            certificate.subject,
            certificate.device.as_ref().map(DeviceName::as_str),
            certificate.status.name(),
            certificate.origin.name(),
            certificate.not_before,
            certificate.not_after,
            certificate.created,
            replaces
        ],
    )?;
    Ok(())
}

/// What the audit log is told of a certificate.
pub(crate) fn told(certificate: &Certificate) -> serde_json::Value {
    json!({
        "device": certificate.device.as_ref().map(DeviceName::as_str),
        "status": certificate.status.name(),
        "origin": certificate.origin.name(),
        "subject": certificate.subject,
        "not_after": certificate.not_after.to_string(),
    })
}
