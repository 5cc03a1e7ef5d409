//! Certificates that were asked for over MQTT and wait for a device, each with a token that shows whose it is.
//!
//! Not here: what a token buys (`register`). The laws: of a token its hash is kept; one that is an hour old is worth nothing,
//! and its certificate is removed; who asks for many is told to wait.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use catalog::{Transaction, WriteError, params};
use model::Timestamp;

use super::{ProvisionError, claim};
use crate::audit::{self, Entry};
use crate::certificate::{Request, insert, told};
use crate::{
    Actor, Certificate, CertificateError, CertificateId, CertificateOrigin, CertificateStatus, Identity,
    NewKey, PrivateKeyPem, Who,
};

/// How long a token is good, as AWS's.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Most certificates that wait, of one who asks.
pub const PENDING_MAX: u64 = 256;

/// Most certificates in a minute, for one who asks: each is a signature and a sync, and a production line makes fewer.
pub const PENDING_PER_MINUTE_MAX: u64 = 60;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// A certificate that waits.
#[derive(Debug)]
pub struct PendingCertificate {
    /// The certificate; it opens no connection yet.
    pub certificate: Certificate,
    /// Its private key, when it was made here.
    pub private_key: Option<PrivateKeyPem>,
    /// What shows whose it is, for an hour. A secret.
    pub token: String,
}

/// What is kept of a token.
pub(super) fn hash(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

/// Before when a token must have been made to be worth nothing at `now`.
pub(super) fn oldest(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros() - TOKEN_LIFE.as_micros() as i64)
}

impl Identity {
    /// Signs a certificate that waits for a device, for a key made here or the one of a request.
    ///
    /// # Errors
    /// [`ProvisionError`]: nothing was made.
    pub async fn create_pending_certificate(
        &self,
        who: &Who,
        key: NewKey<'_>,
    ) -> Result<PendingCertificate, ProvisionError> {
        let authority = self.authority.as_ref().ok_or(CertificateError::NoAuthority)?;
        let (signed, private_key) = match key {
            NewKey::Made => {
                let (signed, private_key) = authority.sign_waiting_key().map_err(CertificateError::from)?;
                (signed, Some(private_key))
            }
            NewKey::Request(bytes) => {
                let request = Request::read(bytes).map_err(CertificateError::from)?;
                (authority.sign_waiting_request(&request).map_err(CertificateError::from)?, None)
            }
        };
        let origin = if private_key.is_some() { CertificateOrigin::Key } else { CertificateOrigin::Request };
        let mut certificate = self.new_certificate(signed, None, origin);
        certificate.status = CertificateStatus::Pending;
        let mut secret = [0; TOKEN_BYTES];
        self.parts.host.random.fill(&mut secret);
        let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let (by, parts, token_hash) = (Actor::of(who, None), Arc::clone(&self.parts), hash(&token));
        let (kept, in_memory) = (certificate.clone(), certificate.clone());
        let made = self.parts.catalog.write_then(
            move |transaction| {
                let now = kept.created;
                let forgotten = forget(transaction, now)?;
                if let Err(refused) = judge(transaction, by.name(), now)? {
                    return Ok((forgotten, Err(refused)));
                }
                insert(transaction, &kept)?;
                transaction.execute(
                    "INSERT INTO provisioning_certificates (certificate, token_hash, asker, created)
                     VALUES ($1, $2, $3, $4)",
                    params![kept.id.to_string(), token_hash, by.name(), now],
                )?;
                let entry = Entry::done(&by, "certificate.create", format!("certificate:{}", kept.id));
                audit::append(transaction, now, &entry.after(told(&kept)))?;
                Ok((forgotten, Ok(())))
            },
            move |(forgotten, made)| {
                forgotten.iter().for_each(|id| parts.certificates.forget(id));
                if made.is_ok() {
                    parts.certificate_is_kept(&in_memory);
                }
            },
        );
        made.await?.1?;
        Ok(PendingCertificate { certificate, private_key, token })
    }

    /// Removes certificates whose hour is over. For an hourly look; asking for a certificate does it too.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn forget_pending_certificates(&self) -> Result<usize, WriteError> {
        let (parts, clock) = (Arc::clone(&self.parts), Arc::clone(&self.parts.host.clock));
        let forgotten = self.parts.catalog.write_then(
            move |transaction| forget(transaction, clock.now()),
            move |forgotten: &Vec<CertificateId>| {
                forgotten.iter().for_each(|id| parts.certificates.forget(id));
            },
        );
        Ok(forgotten.await?.len())
    }
}

/// Removes those whose hour is over.
fn forget(transaction: &Transaction<'_>, now: Timestamp) -> Result<Vec<CertificateId>, WriteError> {
    let over: Vec<String> = transaction.query(
        "SELECT certificate FROM provisioning_certificates WHERE used IS NULL AND created <= $1",
        params![oldest(now)],
        |row| row.get(0),
    )?;
    let mut forgotten = Vec::with_capacity(over.len());
    for id in &over {
        transaction.execute("DELETE FROM provisioning_certificates WHERE certificate = $1", params![id])?;
        // One that an operator activated or revoked meanwhile is his.
        let gone = transaction
            .execute("DELETE FROM certificates WHERE id = $1 AND status = 'pending'", params![id])?;
        if gone == 0 {
            continue;
        }
        forgotten.extend(CertificateId::parse(id));
        let by = Actor::inside();
        let entry = Entry::done(&by, "certificate.forget", format!("certificate:{id}"));
        audit::append(transaction, now, &entry)?;
    }
    Ok(forgotten)
}

/// Whether one more may be made for this asker.
fn judge(
    transaction: &Transaction<'_>,
    asker: &str,
    now: Timestamp,
) -> Result<Result<(), ProvisionError>, WriteError> {
    let count = |which: &str, after: Timestamp| -> Result<u64, WriteError> {
        let sql = format!(
            "SELECT count(*) FROM provisioning_certificates WHERE asker = $1 AND created > $2 AND {which}"
        );
        Ok(transaction.query_one(&sql, params![asker, after], |row| row.get(0))?.unwrap_or(0))
    };
    let minute = Timestamp::from_micros(now.micros() - 60_000_000);
    let waiting = count("used IS NULL", oldest(now))?;
    if count("TRUE", minute)? >= PENDING_PER_MINUTE_MAX || waiting >= PENDING_MAX {
        return Ok(Err(ProvisionError::TooOften));
    }
    Ok(match claim::left(transaction, asker)? {
        Some((0, most)) => Err(ProvisionError::Spent(most)),
        _ => Ok(()),
    })
}
