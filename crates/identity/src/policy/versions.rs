//! Policies in their versions: put, activated, removed, shown.
//!
//! Not here: what they are attached to (`attachment`). The laws: numbers are not used again while a policy is there; one version
//! counts; what a caller expects is looked at in the transaction that changes it.

use std::sync::Arc;

use catalog::{Connection, Place, ReadError, SqlError, Transaction, WriteError, params};
use host::Host;
use model::Timestamp;
use serde_json::json;

use super::attachment::targets;
use super::change::{Expected, PolicyError};
use super::store::{opened, row_of};
use super::{
    DEFAULT_POLICY, Document, POLICIES_MAX, POLICY_VERSIONS_MAX, PoliciesPage, Policy, PolicyAbout,
    PolicyName, PolicyPut,
};
use crate::audit::{self, Entry};
use crate::{Actor, Identity, OpenError};

impl Identity {
    /// Puts a new version of a policy, made when it is not there. With `activates` it counts at once for every session that it
    /// is attached to. When there are [`POLICY_VERSIONS_MAX`] already, the oldest that does not count goes.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing was changed.
    pub async fn put_policy(
        &self,
        by: &Actor,
        name: &PolicyName,
        text: &str,
        expected: Expected,
        activates: bool,
    ) -> Result<PolicyPut, PolicyError> {
        refuse_default(name)?;
        let document = Document::parse(text)?;
        let warnings = document.warnings(&self.aws);
        let (by, text, host, now) =
            (by.clone(), text.to_owned(), self.parts.host.clone(), self.parts.host.clock.now());
        let (name, kept, parts) = (name.clone(), name.clone(), Arc::clone(&self.parts));
        let put = self.parts.catalog.write_then(
            move |transaction| {
                let before = head(transaction, &name)?;
                if let Err(refused) = expected.judge(&name, before.map(|(active, _)| active)) {
                    return Ok(Err(refused));
                }
                if before.is_none() {
                    let policies: u64 = transaction
                        .query_one("SELECT count(*) FROM policies", params![], |row| row.get(0))?
                        .unwrap_or_default();
                    if policies >= POLICIES_MAX as u64 {
                        return Ok(Err(PolicyError::Full));
                    }
                }
                let version = before.map_or(0, |(_, newest)| newest) + 1;
                // A policy has a version that counts from its beginning.
                let is_active = activates || before.is_none();
                let active = before.filter(|_| !is_active).map_or(version, |(active, _)| active);
                transaction.execute(
                    "INSERT INTO policies (name, active, newest, created) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (name) DO UPDATE SET active = excluded.active, newest = excluded.newest",
                    params![name.as_str(), active, version, now],
                )?;
                let known = versions(transaction, &name)?;
                let mut dropped = None;
                if known.len() >= POLICY_VERSIONS_MAX {
                    dropped = known.iter().map(|(version, _)| *version).find(|version| *version != active);
                    transaction.execute(
                        "DELETE FROM policy_versions WHERE policy = $1 AND version = $2",
                        params![name.as_str(), dropped],
                    )?;
                }
                transaction.execute(
                    "INSERT INTO policy_versions (policy, version, sealed_document, created) VALUES ($1, $2, $3, $4)",
                    params![name.as_str(), version, sealed(&host, &name, version, &text), now],
                )?;
                let mut entry = Entry::done(&by, "policy.put", format!("policy:{name}")).after(json!({
                    "version": version, "active": active, "dropped": dropped, "sha256": digest(&text),
                }));
                if let Some((active, newest)) = before {
                    entry = entry.before(json!({ "version": newest, "active": active }));
                }
                audit::append(transaction, now, &entry)?;
                Ok(Ok((version, is_active, dropped)))
            },
            move |put| {
                if let Ok((version, true, _)) = put {
                    let policy = Arc::new(Policy { name: kept.clone(), version: *version, document });
                    parts.policies.tables.write().active.insert(kept, policy);
                    parts.changes.send_modify(|changes| *changes += 1);
                }
            },
        );
        let (version, is_active, dropped) = put.await??;
        Ok(PolicyPut { version, is_active, dropped, warnings })
    }

    /// Lets another version of a policy count, at once, for every session that it is attached to.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing was changed.
    pub async fn activate_policy(
        &self,
        by: &Actor,
        name: &PolicyName,
        version: u32,
        expected: Expected,
    ) -> Result<(), PolicyError> {
        refuse_default(name)?;
        let (by, now, host) = (by.clone(), self.parts.host.clock.now(), self.parts.host.clone());
        let (name, parts) = (name.clone(), Arc::clone(&self.parts));
        let done = self.parts.catalog.write_then(
            move |transaction| {
                let before = head(transaction, &name)?;
                if let Err(refused) = expected.judge(&name, before.map(|(active, _)| active)) {
                    return Ok(Err(refused));
                }
                let text = version_text(transaction, &host, &name, version)?;
                let (Some((active, _)), Some(text)) = (before, text) else {
                    return Ok(Err(PolicyError::UnknownVersion { name, version }));
                };
                let document = match text.map(|text| Document::parse(&text)) {
                    Ok(Ok(document)) => document,
                    Ok(Err(error)) => return Ok(Err(error.into())),
                    Err(error) => return Ok(Err(PolicyError::Damaged(error.to_string()))),
                };
                transaction.execute(
                    "UPDATE policies SET active = $2 WHERE name = $1",
                    params![name.as_str(), version],
                )?;
                let entry = Entry::done(&by, "policy.activate", format!("policy:{name}"))
                    .before(json!({ "active": active }))
                    .after(json!({ "active": version }));
                audit::append(transaction, now, &entry)?;
                Ok(Ok(Arc::new(Policy { name, version, document })))
            },
            move |done| {
                if let Ok(policy) = done {
                    let mut tables = parts.policies.tables.write();
                    tables.active.insert(policy.name.clone(), Arc::clone(policy));
                    drop(tables);
                    parts.changes.send_modify(|changes| *changes += 1);
                }
            },
        );
        done.await?.map(drop)
    }

    /// Removes a policy with all its versions, if it is attached to nothing.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing was changed.
    pub async fn remove_policy(
        &self,
        by: &Actor,
        name: &PolicyName,
        expected: Expected,
    ) -> Result<(), PolicyError> {
        refuse_default(name)?;
        let (by, now) = (by.clone(), self.parts.host.clock.now());
        let (name, kept, parts) = (name.clone(), name.clone(), Arc::clone(&self.parts));
        let done = self.parts.catalog.write_then(
            move |transaction| {
                let before = head(transaction, &name)?;
                if let Err(refused) = expected.judge(&name, before.map(|(active, _)| active)) {
                    return Ok(Err(refused));
                }
                let Some((active, newest)) = before else { return Ok(Err(PolicyError::Unknown(name))) };
                let attached = targets(transaction, &name)?;
                if let Some(first) = attached.first() {
                    return Ok(Err(PolicyError::Attached {
                        name,
                        targets: attached.len(),
                        first: first.clone(),
                    }));
                }
                transaction
                    .execute("DELETE FROM policy_versions WHERE policy = $1", params![name.as_str()])?;
                transaction.execute("DELETE FROM policies WHERE name = $1", params![name.as_str()])?;
                let entry = Entry::done(&by, "policy.remove", format!("policy:{name}"))
                    .before(json!({ "active": active, "version": newest }));
                audit::append(transaction, now, &entry)?;
                Ok(Ok(()))
            },
            move |done| {
                if done.is_ok() {
                    parts.policies.tables.write().active.remove(kept.as_str());
                }
            },
        );
        done.await?
    }

    /// What is known of a policy.
    ///
    /// # Errors
    /// [`PolicyError::Unknown`], or what the catalog says.
    pub async fn policy(&self, name: &PolicyName) -> Result<PolicyAbout, PolicyError> {
        let name = name.clone();
        self.parts
            .catalog
            .read_async(move |connection| {
                let about = about(connection, &name).map_err(ReadError::from)?;
                about.ok_or(PolicyError::Unknown(name))
            })
            .await
    }

    /// The text of a version of a policy, or of the one that counts, with its number.
    ///
    /// # Errors
    /// [`PolicyError::Unknown`], [`PolicyError::UnknownVersion`], or what the catalog says.
    pub async fn policy_text(
        &self,
        name: &PolicyName,
        version: Option<u32>,
    ) -> Result<(u32, String), PolicyError> {
        if name.as_str() == DEFAULT_POLICY {
            return Ok((1, super::DEFAULT_POLICY_TEXT.to_owned()));
        }
        let (name, host) = (name.clone(), self.parts.host.clone());
        self.parts
            .catalog
            .read_async(move |connection| {
                let Some((active, _)) = head(connection, &name).map_err(ReadError::from)? else {
                    return Err(PolicyError::Unknown(name));
                };
                let version = version.unwrap_or(active);
                match version_text(connection, &host, &name, version).map_err(ReadError::from)? {
                    None => Err(PolicyError::UnknownVersion { name, version }),
                    Some(Ok(text)) => Ok((version, text)),
                    Some(Err(error)) => Err(PolicyError::Damaged(error.to_string())),
                }
            })
            .await
    }

    /// A page of the policies behind `after`, by name; the default policy is not among them.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn policies(
        &self,
        after: Option<PolicyName>,
        limit: usize,
    ) -> Result<PoliciesPage, PolicyError> {
        let limit = limit.clamp(1, crate::PAGE_DEVICES_MAX);
        self.parts
            .catalog
            .read_async(move |connection| -> Result<PoliciesPage, PolicyError> {
                let read = || -> Result<PoliciesPage, SqlError> {
                    let after = after.as_ref().map_or("", PolicyName::as_str);
                    let mut names: Vec<String> = connection.query(
                        "SELECT name FROM policies WHERE name > $1 ORDER BY name LIMIT $2",
                        params![after, limit + 1],
                        |row| row.get(0),
                    )?;
                    let has_more = names.len() > limit;
                    names.truncate(limit);
                    let mut policies = Vec::new();
                    for name in names {
                        let name = PolicyName::parse(name).expect("only such are put");
                        policies.extend(about(connection, &name)?);
                    }
                    let next =
                        policies.last().filter(|_| has_more).map(|last: &PolicyAbout| last.name.clone());
                    Ok(PoliciesPage { policies, next })
                };
                Ok(read().map_err(ReadError::from)?)
            })
            .await
    }
}

/// Makes a policy with its first version, which counts, unless there is one of this name; whether it was made. For changes that
/// make more than a policy, and that have asked [`room`] before.
pub(crate) fn keep_first(
    transaction: &Transaction<'_>,
    host: &Host,
    by: &Actor,
    name: &PolicyName,
    text: &str,
    now: Timestamp,
) -> Result<bool, WriteError> {
    if is_known(transaction, name)? {
        return Ok(false);
    }
    transaction.execute(
        "INSERT INTO policies (name, active, newest, created) VALUES ($1, 1, 1, $2)",
        params![name.as_str(), now],
    )?;
    transaction.execute(
        "INSERT INTO policy_versions (policy, version, sealed_document, created) VALUES ($1, 1, $2, $3)",
        params![name.as_str(), sealed(host, name, 1, text), now],
    )?;
    let entry = Entry::done(by, "policy.put", format!("policy:{name}"))
        .after(json!({ "version": 1, "active": 1, "sha256": digest(text) }));
    audit::append(transaction, now, &entry)?;
    Ok(true)
}

/// Whether there is a policy of this name.
pub(crate) fn is_known(connection: &Connection<'_>, name: &PolicyName) -> Result<bool, SqlError> {
    Ok(name.as_str() == DEFAULT_POLICY || head(connection, name)?.is_some())
}

/// How many policies may still be made.
pub(crate) fn room(connection: &Connection<'_>) -> Result<u64, SqlError> {
    let sql = "SELECT count(*) FROM policies";
    let count: u64 = connection.query_one(sql, params![], |row| row.get(0))?.unwrap_or_default();
    Ok((POLICIES_MAX as u64).saturating_sub(count))
}

fn about(connection: &Connection<'_>, name: &PolicyName) -> Result<Option<PolicyAbout>, SqlError> {
    if name.as_str() == DEFAULT_POLICY {
        let targets = targets(connection, name)?;
        let versions = vec![(1, Timestamp::from_micros(0))];
        return Ok(Some(PolicyAbout { name: name.clone(), active: 1, versions, targets }));
    }
    let Some((active, _)) = head(connection, name)? else { return Ok(None) };
    let (versions, targets) = (versions(connection, name)?, targets(connection, name)?);
    Ok(Some(PolicyAbout { name: name.clone(), active, versions, targets }))
}

fn refuse_default(name: &PolicyName) -> Result<(), PolicyError> {
    if name.as_str() == DEFAULT_POLICY { Err(PolicyError::Default) } else { Ok(()) }
}

/// What a document is known by in the audit log, which says which one it was and not what it says.
fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    super::variable::hex(digest.as_ref())
}

/// What a policy's row says.
pub(super) fn head(connection: &Connection<'_>, name: &str) -> Result<Option<(u32, u32)>, SqlError> {
    connection.query_one("SELECT active, newest FROM policies WHERE name = $1", params![name], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The text of a version, opened; `None` when there is none.
fn version_text(
    connection: &Connection<'_>,
    host: &Host,
    name: &str,
    version: u32,
) -> Result<Option<Result<String, OpenError>>, SqlError> {
    let sealed: Option<Vec<u8>> = connection.query_one(
        "SELECT sealed_document FROM policy_versions WHERE policy = $1 AND version = $2",
        params![name, version],
        |row| row.get(0),
    )?;
    Ok(sealed.map(|sealed| opened(host, name, version, &sealed)))
}

fn versions(connection: &Connection<'_>, name: &str) -> Result<Vec<(u32, Timestamp)>, SqlError> {
    connection.query(
        "SELECT version, created FROM policy_versions WHERE policy = $1 ORDER BY version",
        params![name],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

fn sealed(host: &Host, name: &str, version: u32, text: &str) -> Vec<u8> {
    let row = row_of(name, version);
    let place = Place { table: "policy_versions", column: "sealed_document", row: &row };
    catalog::seal(host, place, text.as_bytes())
}
