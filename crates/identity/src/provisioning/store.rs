//! Provisioning templates in the catalog, sealed: put, listed, shown, removed.
//!
//! Not here: what a template means (`template`, `plan`). The law: a template that is removed takes its claims with it.

use std::sync::Arc;

use catalog::{Connection, Place, ReadError, SqlError, params};
use host::Host;
use model::{GroupPath, Timestamp};
use serde_json::json;

use super::template::Template;
use super::{Claim, ProvisionError, TemplateName, claim};
use crate::audit::{self, Entry};
use crate::{Actor, CertificateId, CertificateStatus, Identity, group};

/// Most templates: one for each model of a product, and its trials.
pub const TEMPLATES_MAX: u64 = 1_000;

/// What is known of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateAbout {
    /// Its name.
    pub name: TemplateName,
    /// Counts how often it was put.
    pub version: u64,
    /// When it was first put.
    pub created: Timestamp,
    /// When it was last put.
    pub changed: Timestamp,
    /// Its claims, the newest first.
    pub claims: Vec<Claim>,
}

/// A template that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatePut {
    /// Counts how often it was put.
    pub version: u64,
    /// What is probably not as it was meant.
    pub warnings: Vec<String>,
}

fn place(row: &str) -> Place<'_> {
    Place { table: "provisioning_templates", column: "sealed_body", row }
}

pub(super) fn exists(connection: &Connection<'_>, name: &TemplateName) -> Result<bool, SqlError> {
    let sql = "SELECT 1 FROM provisioning_templates WHERE name = $1";
    Ok(connection.query_one(sql, params![name.as_str()], |row| row.get::<i64>(0))?.is_some())
}

fn about(connection: &Connection<'_>, name: &TemplateName) -> Result<Option<TemplateAbout>, SqlError> {
    let row: Option<(u64, Timestamp, Timestamp)> = connection.query_one(
        "SELECT version, created, changed FROM provisioning_templates WHERE name = $1",
        params![name.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let Some((version, created, changed)) = row else { return Ok(None) };
    let claims = claim::of_template(connection, name.as_str())?;
    Ok(Some(TemplateAbout { name: name.clone(), version, created, changed, claims }))
}

/// The text of a template; `None` when there is none.
fn text(
    connection: &Connection<'_>,
    host: &Host,
    name: &TemplateName,
) -> Result<Option<Result<String, ProvisionError>>, SqlError> {
    let sql = "SELECT sealed_body FROM provisioning_templates WHERE name = $1";
    let sealed: Option<Vec<u8>> = connection.query_one(sql, params![name.as_str()], |row| row.get(0))?;
    let damaged = |what: String| ProvisionError::Damaged { name: name.clone(), what };
    Ok(sealed.map(|sealed| {
        let text = catalog::unseal(host, place(name.as_str()), &sealed);
        let text = text.map_err(|error| damaged(error.to_string()))?;
        String::from_utf8(text.to_vec()).map_err(|error| damaged(error.to_string()))
    }))
}

/// What is to be said of a group that is not there.
fn missing(connection: &Connection<'_>, named: &str) -> Result<Option<String>, SqlError> {
    let is_there = match GroupPath::parse(named.to_owned()) {
        Ok(path) => group::exists(connection, &path)?,
        Err(error) => return Ok(Some(format!("`ThingGroups` names `{named}`: {error}"))),
    };
    let said = format!(
        "there is no group `{named}`, and no device is provisioned before there is. Run: godwit group add {named}"
    );
    Ok((!is_there).then_some(said))
}

impl Identity {
    /// Puts a template, in place of the one of this name. A group of it that is not there is warned of: it may be made before the
    /// first device comes.
    ///
    /// # Errors
    /// [`ProvisionError`]: nothing was changed.
    pub async fn put_template(
        &self,
        by: &Actor,
        name: &TemplateName,
        body: &str,
    ) -> Result<TemplatePut, ProvisionError> {
        let groups: Vec<String> = Template::parse(body)?.groups().into_iter().map(str::to_owned).collect();
        let (by, name, body) = (by.clone(), name.clone(), body.to_owned());
        let (host, now) = (self.parts.host.clone(), self.parts.host.clock.now());
        let put = self.parts.catalog.write(move |transaction| {
            let before = about(transaction, &name)?.map(|before| before.version);
            if before.is_none() {
                let sql = "SELECT count(*) FROM provisioning_templates";
                let count: u64 = transaction.query_one(sql, params![], |row| row.get(0))?.unwrap_or(0);
                if count >= TEMPLATES_MAX {
                    return Ok(Err(ProvisionError::TooManyTemplates));
                }
            }
            let version = before.unwrap_or(0) + 1;
            let warnings = groups.iter().filter_map(|group| missing(transaction, group).transpose());
            let warnings = warnings.collect::<Result<Vec<_>, SqlError>>()?;
            transaction.execute(
                "INSERT INTO provisioning_templates (name, sealed_body, version, created, changed)
                 VALUES ($1, $2, $3, $4, $4)
                 ON CONFLICT (name) DO UPDATE SET sealed_body = excluded.sealed_body,
                   version = excluded.version, changed = excluded.changed",
                params![
                    name.as_str(),
                    catalog::seal(&host, place(name.as_str()), body.as_bytes()),
                    version,
                    now
                ],
            )?;
            let mut entry = Entry::done(&by, "provisioning.put", format!("template:{name}"))
                .after(json!({ "version": version }));
            if let Some(before) = before {
                entry = entry.before(json!({ "version": before }));
            }
            audit::append(transaction, now, &entry)?;
            Ok(Ok(TemplatePut { version, warnings }))
        });
        put.await?
    }

    /// Every template, by name.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn templates(&self) -> Result<Vec<TemplateAbout>, ProvisionError> {
        let read = self.parts.catalog.read_async::<_, ReadError>(|connection| {
            let sql = "SELECT name FROM provisioning_templates ORDER BY name";
            let names: Vec<String> = connection.query(sql, params![], |row| row.get(0))?;
            let mut templates = Vec::with_capacity(names.len());
            for name in names {
                let name = TemplateName::parse(&name).expect("only such are put");
                templates.extend(about(connection, &name)?);
            }
            Ok(templates)
        });
        Ok(read.await?)
    }

    /// A template, and its text as it was put.
    ///
    /// # Errors
    /// [`ProvisionError::Unknown`].
    pub async fn template(&self, name: &TemplateName) -> Result<(TemplateAbout, String), ProvisionError> {
        let (host, wanted) = (self.parts.host.clone(), name.clone());
        let read = self.parts.catalog.read_async::<_, ReadError>(move |connection| {
            Ok((about(connection, &wanted)?, text(connection, &host, &wanted)?))
        });
        match read.await? {
            (Some(about), Some(text)) => Ok((about, text?)),
            _ => Err(ProvisionError::Unknown(name.clone())),
        }
    }

    /// Removes a template and revokes its claims; how many those were.
    ///
    /// # Errors
    /// [`ProvisionError::Unknown`].
    pub async fn remove_template(&self, by: &Actor, name: &TemplateName) -> Result<usize, ProvisionError> {
        let (by, name, now) = (by.clone(), name.clone(), self.parts.host.clock.now());
        let parts = Arc::clone(&self.parts);
        let removed = self.parts.catalog.write_then(
            move |transaction| {
                if !exists(transaction, &name)? {
                    return Ok(Err(ProvisionError::Unknown(name)));
                }
                let claims: Vec<String> = transaction.query(
                    "SELECT p.certificate FROM provisioning_claims p JOIN certificates c ON c.id = p.certificate
                     WHERE p.template = $1 AND c.status <> 'revoked' ORDER BY p.certificate",
                    params![name.as_str()],
                    |row| row.get(0),
                )?;
                for claim in &claims {
                    transaction
                        .execute("UPDATE certificates SET status = 'revoked' WHERE id = $1", params![claim])?;
                }
                transaction
                    .execute("DELETE FROM provisioning_templates WHERE name = $1", params![name.as_str()])?;
                let entry = Entry::done(&by, "provisioning.remove", format!("template:{name}"))
                    .after(json!({ "claims_revoked": claims }));
                audit::append(transaction, now, &entry)?;
                let parsed = claims.iter().filter_map(|claim| CertificateId::parse(claim));
                Ok(Ok(parsed.collect::<Vec<_>>()))
            },
            move |removed| {
                if let Ok(claims) = removed {
                    for claim in claims {
                        parts
                            .certificates
                            .change(claim, |kept| kept.status = CertificateStatus::Revoked);
                    }
                    parts.changes.send_modify(|changes| *changes += 1);
                }
            },
        );
        Ok(removed.await??.len())
    }
}
