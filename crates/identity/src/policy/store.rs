//! Where policies are kept: by name, in versions, attached to devices, groups and certificates.
//!
//! Not here: what they say (`document`), what a session may do (`compiled`). The laws: the copy in memory changes after the
//! catalog's commit; a policy that is attached is not removed; a document that cannot be opened at the start stops it, because
//! without it somebody might do what it denies.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Connection, Migration, Place, ReadError, SqlError, Transaction, params};
use hashbrown::HashMap;
use host::Host;
use model::{DeviceName, Timestamp};
use parking_lot::RwLock;
use serde_json::json;

use super::change::{Expected, PolicyError};
use super::shipped::{quarantine_policy, renewal_policy};
use super::{DEFAULT_POLICY, Document, Policy, PolicyName, Target, default_policy};
use crate::audit::{self, Entry};
use crate::{Actor, Identity, OpenError};

/// Most versions that are kept of a policy, as AWS's.
pub const POLICY_VERSIONS_MAX: usize = 5;

/// Most policies attached to one target, as AWS's.
pub const POLICIES_PER_TARGET_MAX: usize = 10;

/// Most policies in all: each may be compiled into any session.
pub const POLICIES_MAX: usize = 10_000;

/// Most devices that a gateway speaks for.
pub const CHILDREN_MAX: usize = 1_000;

/// The tables of this file.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 6,
    sql: "
        CREATE TABLE policies (
            name TEXT PRIMARY KEY,
            active BIGINT NOT NULL,
            -- The last number that was given: numbers are not used again.
            newest BIGINT NOT NULL,
            created BIGINT NOT NULL
        );
        CREATE TABLE policy_versions (
            policy TEXT NOT NULL REFERENCES policies (name) ON DELETE CASCADE,
            version BIGINT NOT NULL,
            sealed_document BYTEA NOT NULL,
            created BIGINT NOT NULL,
            PRIMARY KEY (policy, version)
        );
        CREATE TABLE policy_attachments (
            -- `device:NAME`, `group:PATH`, `certificate:HEX`.
            target TEXT NOT NULL,
            -- A name of `policies`, or `default`.
            policy TEXT NOT NULL,
            created BIGINT NOT NULL,
            PRIMARY KEY (target, policy)
        );
        CREATE INDEX policy_attachments_by_policy ON policy_attachments (policy);
        CREATE TABLE gateway_children (
            gateway TEXT NOT NULL,
            child TEXT NOT NULL,
            PRIMARY KEY (gateway, child)
        );
    ",
};

/// The copy in memory.
pub(crate) struct Policies {
    pub(super) default: Arc<Policy>,
    /// The default policy alone: what nearly every device is judged by, shared by all.
    pub(super) default_only: Arc<[Arc<Policy>]>,
    /// All that counts for a device in quarantine.
    pub(super) quarantine_only: Arc<[Arc<Policy>]>,
    /// All that counts for an expired certificate.
    pub(super) renewal_only: Arc<[Arc<Policy>]>,
    /// Lock order: never held together with another.
    pub(super) tables: RwLock<Tables>,
}

#[derive(Default)]
pub(super) struct Tables {
    /// By name, the active version.
    active: HashMap<PolicyName, Arc<Policy>>,
    attached: HashMap<Target, Vec<PolicyName>>,
    children: HashMap<DeviceName, Arc<[DeviceName]>>,
}

/// What is known of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyAbout {
    /// Its name.
    pub name: PolicyName,
    /// The version that counts.
    pub active: u32,
    /// The versions there are and when each was put, the oldest first.
    pub versions: Vec<(u32, Timestamp)>,
    /// What it is attached to.
    pub targets: Vec<Target>,
}

/// A page of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoliciesPage {
    /// The policies, by name.
    pub policies: Vec<PolicyAbout>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<PolicyName>,
}

/// What became of a policy that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPut {
    /// The number of the new version.
    pub version: u32,
    /// Whether it counts now.
    pub is_active: bool,
    /// The version that had to go for it.
    pub dropped: Option<u32>,
    /// What is probably not as it was meant.
    pub warnings: Vec<String>,
}

impl Policies {
    /// Reads what is kept.
    pub(crate) fn open(connection: &Connection<'_>, host: &Host) -> Result<Self, OpenError> {
        let mut tables = Tables::default();
        let rows = connection
            .query(
                "SELECT v.policy, v.version, v.sealed_document FROM policies p
                 JOIN policy_versions v ON v.policy = p.name AND v.version = p.active",
                params![],
                |row| Ok((row.get::<String>(0)?, row.get::<u32>(1)?, row.get::<Vec<u8>>(2)?)),
            )
            .map_err(ReadError::from)?;
        for (name, version, sealed) in rows {
            let text = opened(host, &name, version, &sealed)?;
            let damaged = |what: String| OpenError::Policy { name: name.clone(), what };
            let document = Document::parse(&text).map_err(|error| damaged(error.to_string()))?;
            let name = PolicyName::parse(name.clone()).map_err(|error| damaged(error.to_string()))?;
            tables.active.insert(name.clone(), Arc::new(Policy { name, version, document }));
        }
        let attached = connection
            .query(
                "SELECT target, policy FROM policy_attachments ORDER BY target, policy",
                params![],
                |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)),
            )
            .map_err(ReadError::from)?;
        for (target, policy) in attached {
            let damaged = |what: String| OpenError::Policy { name: policy.clone(), what };
            let target = target.parse::<Target>().map_err(|error| damaged(error.to_string()))?;
            let name = PolicyName::parse(policy.clone()).map_err(|error| damaged(error.to_string()))?;
            tables.attached.entry(target).or_default().push(name);
        }
        let children = connection
            .query("SELECT gateway, child FROM gateway_children ORDER BY gateway, child", params![], |row| {
                Ok((row.get::<DeviceName>(0)?, row.get::<DeviceName>(1)?))
            })
            .map_err(ReadError::from)?;
        let mut families: BTreeMap<DeviceName, Vec<DeviceName>> = BTreeMap::new();
        for (gateway, child) in children {
            families.entry(gateway).or_default().push(child);
        }
        tables.children =
            families.into_iter().map(|(gateway, children)| (gateway, children.into())).collect();
        let default = Arc::new(default_policy());
        let default_only = Arc::from([Arc::clone(&default)]);
        let only = |policy| Arc::from([Arc::new(policy)]);
        Ok(Self {
            default,
            default_only,
            quarantine_only: only(quarantine_policy()),
            renewal_only: only(renewal_policy()),
            tables: RwLock::new(tables),
        })
    }

    /// The policies that count for whoever is these: each once, in the order of their names.
    pub(crate) fn of_targets(&self, targets: impl Iterator<Item = Target>) -> Vec<Arc<Policy>> {
        let tables = self.tables.read();
        if tables.attached.is_empty() {
            return Vec::new();
        }
        let mut found: BTreeMap<&PolicyName, &Arc<Policy>> = BTreeMap::new();
        for target in targets {
            for name in tables.attached.get(&target).into_iter().flatten() {
                let policy = match name.as_str() {
                    DEFAULT_POLICY => Some(&self.default),
                    name => tables.active.get(name),
                };
                found.extend(policy.map(|policy| (&policy.name, policy)));
            }
        }
        found.into_values().cloned().collect()
    }

    /// The names of the policies attached to one target.
    pub(crate) fn attached_to(&self, target: &Target) -> Vec<PolicyName> {
        self.tables.read().attached.get(target).cloned().unwrap_or_default()
    }

    /// The active version of a policy.
    pub(crate) fn active(&self, name: &str) -> Option<Arc<Policy>> {
        if name == DEFAULT_POLICY {
            return Some(Arc::clone(&self.default));
        }
        self.tables.read().active.get(name).cloned()
    }

    /// The devices that `gateway` speaks for.
    pub(crate) fn children(&self, gateway: &DeviceName) -> Arc<[DeviceName]> {
        let tables = self.tables.read();
        if tables.children.is_empty() {
            return Arc::default();
        }
        tables.children.get(gateway).cloned().unwrap_or_default()
    }

    /// What was attached to a target that is gone goes too; what was attached to a device that another one replaces goes over.
    pub(crate) fn forget(&self, target: &Target, successor: Option<&DeviceName>) {
        let mut tables = self.tables.write();
        let names = tables.attached.remove(target).unwrap_or_default();
        let Target::Device(device) = target else { return };
        let own = tables.children.remove(device);
        for children in tables.children.values_mut().filter(|children| children.contains(device)) {
            let mut list: Vec<DeviceName> = children
                .iter()
                .filter_map(|child| if child == device { successor } else { Some(child) })
                .cloned()
                .collect();
            list.sort();
            list.dedup();
            *children = list.into();
        }
        let Some(successor) = successor else { return };
        let attached = tables.attached.entry(Target::Device(successor.clone())).or_default();
        for name in names {
            if !attached.contains(&name) {
                attached.push(name);
            }
        }
        if attached.is_empty() {
            tables.attached.remove(&Target::Device(successor.clone()));
        }
        if let Some(own) = own {
            tables
                .children
                .insert(successor.clone(), own.iter().filter(|child| *child != successor).cloned().collect());
        }
    }
}

/// As [`Policies::forget`], in the transaction in which the target goes.
pub(crate) fn forget_target(
    transaction: &Transaction<'_>,
    target: &Target,
    successor: Option<&DeviceName>,
) -> Result<(), SqlError> {
    let row = target.to_string();
    if let (Target::Device(device), Some(successor)) = (target, successor) {
        let heir = Target::Device(successor.clone()).to_string();
        transaction.execute(
            "INSERT INTO policy_attachments (target, policy, created)
             SELECT $2, policy, created FROM policy_attachments WHERE target = $1
             ON CONFLICT (target, policy) DO NOTHING",
            params![row, heir],
        )?;
        transaction.execute("DELETE FROM gateway_children WHERE gateway = $1", params![successor])?;
        transaction.execute(
            "INSERT INTO gateway_children (gateway, child)
             SELECT $2, child FROM gateway_children WHERE gateway = $1 AND child <> $2
             ON CONFLICT (gateway, child) DO NOTHING",
            params![device, successor],
        )?;
        transaction.execute(
            "INSERT INTO gateway_children (gateway, child)
             SELECT gateway, $2 FROM gateway_children WHERE child = $1 AND gateway <> $1
             ON CONFLICT (gateway, child) DO NOTHING",
            params![device, successor],
        )?;
    }
    transaction.execute("DELETE FROM policy_attachments WHERE target = $1", params![row])?;
    if let Target::Device(device) = target {
        transaction
            .execute("DELETE FROM gateway_children WHERE gateway = $1 OR child = $1", params![device])?;
    }
    Ok(())
}

fn row_of(name: &str, version: u32) -> String {
    format!("{name}/{version}")
}

fn sealed(host: &Host, name: &str, version: u32, text: &str) -> Vec<u8> {
    let row = row_of(name, version);
    let place = Place { table: "policy_versions", column: "sealed_document", row: &row };
    catalog::seal(host, place, text.as_bytes())
}

fn opened(host: &Host, name: &str, version: u32, sealed: &[u8]) -> Result<String, OpenError> {
    let damaged = |what: String| OpenError::Policy { name: name.to_owned(), what };
    let row = row_of(name, version);
    let place = Place { table: "policy_versions", column: "sealed_document", row: &row };
    let text = catalog::unseal(host, place, sealed).map_err(|error| damaged(error.to_string()))?;
    String::from_utf8(text.to_vec()).map_err(|error| damaged(error.to_string()))
}

/// What a policy's row says.
fn head(connection: &Connection<'_>, name: &str) -> Result<Option<(u32, u32)>, SqlError> {
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

    /// Attaches a policy; `false` when it was attached already.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing was changed.
    pub async fn attach_policy(
        &self,
        by: &Actor,
        name: &PolicyName,
        target: &Target,
    ) -> Result<bool, PolicyError> {
        self.set_attached(by, name, target, true).await
    }

    /// Detaches a policy; `false` when it was not attached.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing was changed.
    pub async fn detach_policy(
        &self,
        by: &Actor,
        name: &PolicyName,
        target: &Target,
    ) -> Result<bool, PolicyError> {
        self.set_attached(by, name, target, false).await
    }

    async fn set_attached(
        &self,
        by: &Actor,
        name: &PolicyName,
        target: &Target,
        attaches: bool,
    ) -> Result<bool, PolicyError> {
        let (by, now) = (by.clone(), self.parts.host.clock.now());
        let (name, target) = (name.clone(), target.clone());
        let (kept, kept_target, parts) = (name.clone(), target.clone(), Arc::clone(&self.parts));
        let done = self.parts.catalog.write_then(
            move |transaction| {
                let row = target.to_string();
                let before = attached_names(transaction, &row)?;
                let is_attached = before.iter().any(|known| known == name.as_str());
                if attaches {
                    if name.as_str() != DEFAULT_POLICY && head(transaction, &name)?.is_none() {
                        return Ok(Err(PolicyError::Unknown(name)));
                    }
                    if !exists(transaction, &target)? {
                        return Ok(Err(PolicyError::UnknownTarget(target)));
                    }
                    if !is_attached && before.len() >= POLICIES_PER_TARGET_MAX {
                        return Ok(Err(PolicyError::TooMany { target }));
                    }
                }
                if is_attached == attaches {
                    return Ok(Ok(false));
                }
                if attaches {
                    transaction.execute(
                        "INSERT INTO policy_attachments (target, policy, created) VALUES ($1, $2, $3)",
                        params![row, name.as_str(), now],
                    )?;
                } else {
                    transaction.execute(
                        "DELETE FROM policy_attachments WHERE target = $1 AND policy = $2",
                        params![row, name.as_str()],
                    )?;
                }
                let after = attached_names(transaction, &row)?;
                let action = if attaches { "policy.attach" } else { "policy.detach" };
                let entry = Entry::done(&by, action, row)
                    .before(json!({ "policies": before }))
                    .after(json!({ "policies": after }));
                audit::append(transaction, now, &entry)?;
                Ok(Ok(true))
            },
            move |done| {
                if let Ok(true) = done {
                    let mut tables = parts.policies.tables.write();
                    if attaches {
                        tables.attached.entry(kept_target).or_default().push(kept);
                    } else if let Some(names) = tables.attached.get_mut(&kept_target) {
                        names.retain(|name| *name != kept);
                        if names.is_empty() {
                            tables.attached.remove(&kept_target);
                        }
                    }
                    drop(tables);
                    parts.changes.send_modify(|changes| *changes += 1);
                }
            },
        );
        done.await?
    }

    /// Lists the devices that `gateway` speaks for, in place of those listed before. None: it is no gateway any more.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing was changed.
    pub async fn set_children(
        &self,
        by: &Actor,
        gateway: &DeviceName,
        children: &[DeviceName],
    ) -> Result<(), PolicyError> {
        let mut children = children.to_vec();
        children.sort();
        children.dedup();
        if children.len() > CHILDREN_MAX {
            return Err(PolicyError::TooManyChildren { children: children.len() });
        }
        if children.contains(gateway) {
            return Err(PolicyError::OwnChild(gateway.clone()));
        }
        let (by, now, gateway) = (by.clone(), self.parts.host.clock.now(), gateway.clone());
        let (kept, parts) = ((gateway.clone(), children.clone()), Arc::clone(&self.parts));
        let done = self.parts.catalog.write_then(
            move |transaction| {
                for device in children.iter().chain([&gateway]) {
                    let target = Target::Device(device.clone());
                    if !exists(transaction, &target)? {
                        return Ok(Err(PolicyError::UnknownTarget(target)));
                    }
                }
                let before: Vec<String> = transaction.query(
                    "SELECT child FROM gateway_children WHERE gateway = $1 ORDER BY child",
                    params![gateway],
                    |row| row.get(0),
                )?;
                transaction.execute("DELETE FROM gateway_children WHERE gateway = $1", params![gateway])?;
                for child in &children {
                    transaction.execute(
                        "INSERT INTO gateway_children (gateway, child) VALUES ($1, $2)",
                        params![gateway, child],
                    )?;
                }
                let after: Vec<&str> = children.iter().map(|child| child.as_str()).collect();
                let entry = Entry::done(&by, "device.children", format!("device:{gateway}"))
                    .before(json!({ "children": before }))
                    .after(json!({ "children": after }));
                audit::append(transaction, now, &entry)?;
                Ok(Ok(()))
            },
            move |done| {
                if done.is_ok() {
                    let (gateway, children) = kept;
                    let mut tables = parts.policies.tables.write();
                    match children.is_empty() {
                        true => tables.children.remove(&gateway),
                        false => tables.children.insert(gateway, children.into()),
                    };
                    drop(tables);
                    parts.changes.send_modify(|changes| *changes += 1);
                }
            },
        );
        done.await?
    }

    /// The devices that `gateway` speaks for.
    #[must_use]
    pub fn children(&self, gateway: &DeviceName) -> Arc<[DeviceName]> {
        self.parts.policies.children(gateway)
    }

    /// The names of the policies attached to one target.
    #[must_use]
    pub fn policies_of(&self, target: &Target) -> Vec<PolicyName> {
        self.parts.policies.attached_to(target)
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

fn targets(connection: &Connection<'_>, name: &str) -> Result<Vec<Target>, SqlError> {
    let rows = connection.query(
        "SELECT target FROM policy_attachments WHERE policy = $1 ORDER BY target",
        params![name],
        |row| row.get::<String>(0),
    )?;
    Ok(rows.iter().filter_map(|text| text.parse().ok()).collect())
}

fn attached_names(connection: &Connection<'_>, target: &str) -> Result<Vec<String>, SqlError> {
    connection.query(
        "SELECT policy FROM policy_attachments WHERE target = $1 ORDER BY policy",
        params![target],
        |row| row.get(0),
    )
}

/// Whether there is such a target.
fn exists(connection: &Connection<'_>, target: &Target) -> Result<bool, SqlError> {
    let found: Option<i64> = match target {
        Target::Device(device) => connection.query_one(
            "SELECT 1 FROM devices WHERE name = $1 AND removed IS NULL",
            params![device],
            |row| row.get(0),
        )?,
        Target::Group(path) => {
            connection
                .query_one("SELECT 1 FROM device_groups WHERE path = $1", params![path], |row| row.get(0))?
        }
        Target::Certificate(_) => Some(1),
    };
    Ok(found.is_some())
}

fn refuse_default(name: &PolicyName) -> Result<(), PolicyError> {
    if name.as_str() == DEFAULT_POLICY { Err(PolicyError::Default) } else { Ok(()) }
}

/// What a document is known by in the audit log, which says which one it was and not what it says.
fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    super::variable::hex(digest.as_ref())
}
