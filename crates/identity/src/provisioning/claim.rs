//! Claims: certificates that a whole batch of devices is delivered with, and that may be used for provisioning alone.
//!
//! Not here: what becomes of their devices (`register`). The laws: whatever policies say, a claim may connect and use the
//! three topic families for its own template; it is bounded in time and in the number of devices that it makes.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Connection, SqlError, Transaction, WriteError, params};
use hashbrown::HashMap;
use model::Timestamp;
use parking_lot::RwLock;
use serde_json::json;

use super::{ProvisionError, TemplateName};
use crate::audit::{self, Entry};
use crate::certificate::insert;
use crate::policy::{Document, Policy, PolicyName};
use crate::{
    Actor, CertificateError, CertificateId, CertificateOrigin, CertificateStatus, Identity, Issued, Who,
};

/// Most claims of one template that are good at a time.
pub const CLAIMS_PER_TEMPLATE_MAX: u64 = 100;

/// Most devices that one claim makes.
pub const CLAIM_DEVICES_MAX: u64 = 100_000;

/// How long a claim is good at most.
pub const CLAIM_LIFE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The template of the claim in the policy below.
const TEMPLATE: &str = "TEMPLATE";

/// A claim as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its certificate.
    pub certificate: CertificateId,
    /// Whether it may be used.
    pub status: CertificateStatus,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// How many devices it has made.
    pub devices: u64,
    /// How many it makes at most.
    pub devices_max: u64,
}

struct Kept {
    template: TemplateName,
    only: Arc<[Arc<Policy>]>,
}

impl Kept {
    fn of(template: TemplateName) -> Self {
        let text = include_str!("claim.json").replace(TEMPLATE, template.as_str());
        let policy = Policy {
            name: PolicyName::parse("claim").expect("a name"),
            version: 1,
            document: Document::parse(&text).expect("a test reads it"),
        };
        Self { template, only: Arc::from([Arc::new(policy)]) }
    }
}

/// Every claim that was made. Lock order: never held together with another.
#[derive(Default)]
pub(crate) struct Claims {
    known: RwLock<HashMap<[u8; 32], Kept>>,
}

impl Claims {
    /// Reads all of them.
    pub(crate) fn open(connection: &Connection<'_>) -> Result<Self, SqlError> {
        let rows =
            connection.query("SELECT certificate, template FROM provisioning_claims", params![], |row| {
                Ok((row.get::<String>(0)?, row.get::<String>(1)?))
            })?;
        let known = rows.iter().map(|(id, template)| {
            let id = CertificateId::parse(id).expect("ids are written by this crate");
            (id.bytes(), Kept::of(TemplateName::parse(template).expect("only such are written")))
        });
        Ok(Self { known: RwLock::new(known.collect()) })
    }

    /// All that counts for a certificate, when it is a claim.
    pub(crate) fn policies(&self, certificate: &[u8; 32]) -> Option<Arc<[Arc<Policy>]>> {
        self.known.read().get(certificate).map(|kept| Arc::clone(&kept.only))
    }

    /// The template of `who`, when that is a claim.
    pub(super) fn template(&self, who: &Who) -> Option<TemplateName> {
        let model::Principal::Certificate(certificate) = &who.principal else { return None };
        self.known.read().get(certificate).map(|kept| kept.template.clone())
    }
}

impl Identity {
    /// Whether `who` is a claim: it provisions devices, and does nothing else.
    #[must_use]
    pub fn is_claim(&self, who: &Who) -> bool {
        self.parts.claims.template(who).is_some()
    }

    /// Makes a claim: a certificate, with a key made here that is kept nowhere, for `days` days and `devices` devices.
    ///
    /// # Errors
    /// [`ProvisionError`]: nothing was made.
    pub async fn make_claim(
        &self,
        by: &Actor,
        template: &TemplateName,
        days: u64,
        devices: u64,
    ) -> Result<Issued, ProvisionError> {
        let life = Duration::from_secs(days.saturating_mul(86_400));
        if days == 0 || life > CLAIM_LIFE_MAX || !(1..=CLAIM_DEVICES_MAX).contains(&devices) {
            return Err(ProvisionError::ClaimBound { days, devices });
        }
        let authority = self.authority.as_ref().ok_or(CertificateError::NoAuthority)?;
        let signed = authority.sign_claim(template.as_str(), life).map_err(CertificateError::from)?;
        let (signed, private_key) = signed;
        let certificate = self.new_certificate(signed, None, CertificateOrigin::Key);
        let (by, parts, template) = (by.clone(), Arc::clone(&self.parts), template.clone());
        let (kept, in_memory, of) = (certificate.clone(), certificate.clone(), template.clone());
        let made = self.parts.catalog.write_then(
            move |transaction| {
                if !super::store::exists(transaction, &template)? {
                    return Ok(Err(ProvisionError::Unknown(template)));
                }
                let good: u64 = transaction
                    .query_one(
                        "SELECT count(*) FROM provisioning_claims p JOIN certificates c ON c.id = p.certificate
                         WHERE p.template = $1 AND c.status = 'active' AND c.not_after > $2",
                        params![template.as_str(), kept.created],
                        |row| row.get(0),
                    )?
                    .unwrap_or(0);
                if good >= CLAIMS_PER_TEMPLATE_MAX {
                    return Ok(Err(ProvisionError::TooManyClaims(template)));
                }
                insert(transaction, &kept)?;
                transaction.execute(
                    "INSERT INTO provisioning_claims (certificate, template, devices_max, created)
                     VALUES ($1, $2, $3, $4)",
                    params![kept.id.to_string(), template.as_str(), devices, kept.created],
                )?;
                let entry = Entry::done(&by, "provisioning.claim", format!("certificate:{}", kept.id)).after(json!({
                    "template": template.as_str(), "devices": devices, "not_after": kept.not_after.to_string(),
                }));
                audit::append(transaction, kept.created, &entry)?;
                Ok(Ok(()))
            },
            move |made| {
                if made.is_ok() {
                    // First what it may, then that it is known.
                    parts.claims.known.write().insert(in_memory.id.bytes(), Kept::of(of));
                    parts.certificate_is_kept(&in_memory);
                }
            },
        );
        made.await??;
        Ok(Issued { certificate, private_key: Some(private_key) })
    }
}

/// How many devices the claim of this name in the audit log may still make, and its most; `None` when it is no claim.
pub(super) fn left(transaction: &Transaction<'_>, asker: &str) -> Result<Option<(u64, u64)>, WriteError> {
    let Some(id) = asker.strip_prefix("certificate:") else { return Ok(None) };
    let row: Option<(u64, u64)> = transaction.query_one(
        "SELECT devices, devices_max FROM provisioning_claims WHERE certificate = $1",
        params![id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(row.map(|(devices, most)| (most.saturating_sub(devices), most)))
}

/// The claims of a template, the newest first.
pub(super) fn of_template(connection: &Connection<'_>, template: &str) -> Result<Vec<Claim>, SqlError> {
    connection.query(
        "SELECT p.certificate, c.status, c.not_after, p.devices, p.devices_max
         FROM provisioning_claims p JOIN certificates c ON c.id = p.certificate
         WHERE p.template = $1 ORDER BY p.created DESC, p.certificate LIMIT 1000",
        params![template],
        |row| {
            let (id, status): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(Claim {
                certificate: CertificateId::parse(&id).expect("ids are written by this crate"),
                status: CertificateStatus::from_name(&status).expect("the table's check allows these"),
                not_after: row.get(2)?,
                devices: row.get(3)?,
                devices_max: row.get(4)?,
            })
        },
    )
}
