//! A certificate is followed by another: asked for over the connection that the old one opened, and the old one retires.
//!
//! ```text
//! request over a live session ─> new one, active for a year ─> two connections by it, or 7 days after its first ─> old one inactive
//! ```
//!
//! Not here: the topics (`answer`). The laws: the old one is good until the new one has been used, so that an answer that
//! is lost locks nobody out; a device that repeats its request, or holds a stolen certificate, gathers a bounded number.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Transaction, WriteError, params};
use model::{DeviceName, Principal, Timestamp};
use serde_json::json;

use super::change::{PER_DEVICE_MAX, insert, told};
use super::request::Request;
use super::{Certificate, CertificateError, CertificateId, CertificateOrigin, CertificateStatus, one};
use crate::audit::{self, Entry};
use crate::{Actor, Identity, Who};

/// Connections by the new one after which the old one retires.
const SESSIONS_UNTIL_RETIRED: u64 = 2;
/// How long after the first connection by the new one the old one retires at the latest.
const OVERLAP: Duration = Duration::from_secs(7 * 86_400);
/// How often a device may ask: what is asked for more often is a fault, and each answer is a signature and a sync.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How many a device is given by renewal within a day: what retired and what was superseded stays in the register.
const A_DAY_MAX: i64 = 100;
const A_DAY: Duration = Duration::from_secs(86_400);

impl Identity {
    /// Signs a request of a device for a certificate that takes the place of the one by which `who` speaks. One that it was
    /// given for the same before, and never used, is revoked.
    ///
    /// # Errors
    /// [`CertificateError`]: nothing was changed.
    pub async fn renew_certificate(
        &self,
        who: &Who,
        request: &[u8],
    ) -> Result<Certificate, CertificateError> {
        let (Principal::Certificate(digest), Some(device)) = (&who.principal, &who.device) else {
            return Err(CertificateError::NotByCertificate);
        };
        let old = CertificateId::from_bytes(*digest);
        let authority = self.authority.as_ref().ok_or(CertificateError::NoAuthority)?;
        let signed = authority.sign_renewal(&Request::read(request)?, device)?;
        let mut new = self.new_certificate(signed, Some(device.clone()), CertificateOrigin::Request);
        new.replaces = Some(old);
        let (by, parts) = (Actor::of(who, None), Arc::clone(&self.parts));
        let (kept, in_memory, device) = (new.clone(), new.clone(), device.clone());
        let superseded = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    let now = kept.created;
                    let stands = one(transaction, &old)?.is_some_and(|old| {
                        old.status == CertificateStatus::Active && old.device.as_ref() == Some(&device)
                    });
                    if !stands {
                        return Ok(Err(CertificateError::Unknown(old)));
                    }
                    let asked = |within: Duration| {
                        let since = Timestamp::from_micros(now.micros() - within.as_micros() as i64);
                        renewed_since(transaction, &device, since)
                    };
                    if asked(ASKED_EVERY)? > 0 || asked(A_DAY)? >= A_DAY_MAX {
                        return Ok(Err(CertificateError::TooOften));
                    }
                    let unused = unused_successors(transaction, &old)?;
                    if usable(transaction, &device)? - unused.len() as i64 >= PER_DEVICE_MAX {
                        return Ok(Err(CertificateError::TooMany(device)));
                    }
                    for id in &unused {
                        set_status(transaction, id, CertificateStatus::Revoked)?;
                    }
                    insert(transaction, &kept)?;
                    let entry = Entry::done(&by, "certificate.renew", format!("certificate:{}", kept.id))
                        .before(json!({ "certificate": old.to_string() }))
                        .after(told(&kept));
                    audit::append(transaction, now, &entry)?;
                    Ok(Ok(unused))
                },
                move |judged| {
                    if let Ok(superseded) = judged {
                        for id in superseded {
                            parts.certificates.change(id, |kept| kept.status = CertificateStatus::Revoked);
                        }
                        parts.certificate_is_kept(&in_memory);
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await??;
        tracing::info!(device = ?new.device, certificate = %new.id, %old, superseded = superseded.len(), "a certificate was renewed");
        Ok(new)
    }

    /// Counts a connection by a certificate that takes the place of another, and retires that one when it is time.
    pub(super) fn successor_was_used(&self, id: CertificateId, old: CertificateId, now: Timestamp) {
        let parts = Arc::clone(&self.parts);
        // A catalog that is busy is not made busier: the next connection counts.
        let _ = self.parts.catalog.submit(
            move |transaction| {
                let sessions = transaction.query_one(
                    "UPDATE certificates SET sessions = sessions + 1, last_seen = $2 WHERE id = $1
                     RETURNING sessions",
                    params![id.to_string(), now],
                    |row| row.get::<u64>(0),
                )?;
                let is_time = sessions.is_some_and(|sessions| sessions >= SESSIONS_UNTIL_RETIRED);
                if is_time {
                    retire(transaction, &old, &id, now)?;
                }
                Ok(is_time)
            },
            move |retired| {
                if retired.is_ok_and(|retired| retired) {
                    parts.certificates.retire(&old, &id);
                    parts.changes.send_modify(|changes| *changes += 1);
                }
            },
        );
    }

    /// Retires every certificate whose successor has been in use for a week. For an hourly look.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn retire_certificates(&self) -> Result<usize, WriteError> {
        let (parts, clock) = (Arc::clone(&self.parts), Arc::clone(&self.parts.host.clock));
        let retired = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    let now = clock.now();
                    let before = Timestamp::from_micros(now.micros() - OVERLAP.as_micros() as i64);
                    let due = transaction.query(RETIRING, params![before], |row| {
                        Ok((row.get::<String>(0)?, row.get::<String>(1)?))
                    })?;
                    let due: Vec<_> = due.iter().map(|(old, new)| (written(old), written(new))).collect();
                    for (old, new) in &due {
                        retire(transaction, old, new, now)?;
                    }
                    Ok(due)
                },
                move |due: &Vec<(CertificateId, CertificateId)>| {
                    for (old, new) in due {
                        parts.certificates.retire(old, new);
                    }
                    if !due.is_empty() {
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?;
        Ok(retired.len())
    }
}

/// $1: a certificate. The unused ones that were had by it.
const UNUSED_SUCCESSORS: &str =
    "SELECT id FROM certificates WHERE replaces = $1 AND status = 'active' AND sessions = 0";

/// $1: a certificate. Those that were had by it, and by those, that are not revoked.
const FOLLOWERS: &str = "
    WITH RECURSIVE had (id) AS (
        SELECT id FROM certificates WHERE replaces = $1
        UNION SELECT next.id FROM certificates next JOIN had ON next.replaces = had.id
    )
    SELECT c.id FROM certificates c JOIN had ON c.id = had.id WHERE c.status <> 'revoked' ORDER BY c.created, c.id";

/// $1: since when the last connection by the new one must not have been.
const RETIRING: &str = "
    SELECT old.id, new.id FROM certificates old JOIN certificates new ON new.replaces = old.id
    WHERE old.status = 'active' AND new.status = 'active' AND new.sessions > 0 AND new.last_seen < $1";

/// Those that were given for `old` and opened no connection.
fn unused_successors(
    transaction: &Transaction<'_>,
    old: &CertificateId,
) -> Result<Vec<CertificateId>, WriteError> {
    let rows = transaction.query(UNUSED_SUCCESSORS, params![old.to_string()], |row| row.get::<String>(0))?;
    Ok(rows.iter().map(|text| written(text)).collect())
}

/// How many the device was given by renewal since then, whichever it held and whatever became of them.
fn renewed_since(
    transaction: &Transaction<'_>,
    device: &DeviceName,
    since: Timestamp,
) -> Result<i64, WriteError> {
    let sql = "SELECT count(*) FROM certificates WHERE device = $1 AND replaces IS NOT NULL AND created > $2";
    Ok(transaction.query_one(sql, params![device, since], |row| row.get(0))?.unwrap_or(0))
}

/// How many the device has that are used or could be. Those that others followed do not count: whoever renews for decades
/// has that many behind him.
fn usable(transaction: &Transaction<'_>, device: &DeviceName) -> Result<i64, WriteError> {
    let sql = "SELECT count(*) FROM certificates WHERE device = $1 AND status <> 'revoked'
               AND NOT (status = 'inactive' AND retired_by IS NOT NULL)";
    Ok(transaction.query_one(sql, params![device], |row| row.get(0))?.unwrap_or(0))
}

/// Every certificate that was had by `first`, and by those, that is not revoked.
pub(super) fn followers_of(
    transaction: &Transaction<'_>,
    first: &CertificateId,
) -> Result<Vec<CertificateId>, WriteError> {
    let rows = transaction.query(FOLLOWERS, params![first.to_string()], |row| row.get::<String>(0))?;
    Ok(rows.iter().map(|text| written(text)).collect())
}

fn written(text: &str) -> CertificateId {
    CertificateId::parse(text).expect("ids are written by this crate")
}

pub(super) fn set_status(
    transaction: &Transaction<'_>,
    id: &CertificateId,
    status: CertificateStatus,
) -> Result<(), WriteError> {
    let sql = "UPDATE certificates SET status = $2 WHERE id = $1";
    transaction.execute(sql, params![id.to_string(), status.name()])?;
    Ok(())
}

/// The old one has done its service: it opens no further connection.
fn retire(
    transaction: &Transaction<'_>,
    old: &CertificateId,
    new: &CertificateId,
    now: Timestamp,
) -> Result<(), WriteError> {
    let retired = transaction.execute(
        "UPDATE certificates SET status = 'inactive', retired_by = $2 WHERE id = $1 AND status = 'active'",
        params![old.to_string(), new.to_string()],
    )?;
    if retired > 0 {
        let by = Actor::inside();
        let entry = Entry::done(&by, "certificate.retire", format!("certificate:{old}"))
            .before(json!({ "status": "active" }))
            .after(json!({ "status": "inactive", "retired_by": new.to_string() }));
        audit::append(transaction, now, &entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use catalog::{Catalog, ReadError};

    use super::*;

    #[test]
    fn whoever_was_had_by_a_certificate_is_found_without_a_walk_over_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = host::sim::Machine::new(1).host();
        let host = host::Host { disk: Arc::new(host::SystemDisk), ..host };
        let catalog = Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host);
        let steps = |sql: &str| -> Vec<String> {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let read = |connection: &catalog::Connection<'_>| {
                Ok::<_, ReadError>(connection.query(&sql, params!["of whom"], |row| row.get(3))?)
            };
            catalog.as_ref().expect("opened").read(read).expect("a plan")
        };
        for sql in [UNUSED_SUCCESSORS, FOLLOWERS] {
            let steps = steps(sql);
            let walks = steps.iter().filter(|step| step.starts_with("SCAN") && *step != "SCAN had");
            assert_eq!(walks.count(), 0, "{steps:?}");
            assert!(steps.iter().any(|step| step.contains("certificates_replaces")), "{steps:?}");
        }
    }
}
