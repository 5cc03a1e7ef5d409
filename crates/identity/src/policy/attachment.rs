//! What policies are attached to, and the devices that gateways speak for.
//!
//! Not here: what policies say. The laws: a policy is attached to what exists; what is attached goes with its target, or over to
//! the device that replaces it.

use std::sync::Arc;

use catalog::{Connection, SqlError, Transaction, params};
use model::DeviceName;
use serde_json::json;

use super::change::PolicyError;
use super::store::Policies;
use super::versions::head;
use super::{CHILDREN_MAX, DEFAULT_POLICY, POLICIES_PER_TARGET_MAX, Policy, PolicyName, Target};
use crate::audit::{self, Entry};
use crate::{Actor, Identity};

impl Identity {
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
                let after: Vec<&str> = children.iter().map(DeviceName::as_str).collect();
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
}

impl Policies {
    /// Policies were made and attached to one target.
    pub(crate) fn keep(&self, made: &[Arc<Policy>], target: &Target, attached: &[PolicyName]) {
        let mut tables = self.tables.write();
        for policy in made {
            tables.active.insert(policy.name.clone(), Arc::clone(policy));
        }
        if !attached.is_empty() {
            tables.attached.entry(target.clone()).or_default().extend_from_slice(attached);
        }
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

pub(super) fn targets(connection: &Connection<'_>, name: &str) -> Result<Vec<Target>, SqlError> {
    let rows = connection.query(
        "SELECT target FROM policy_attachments WHERE policy = $1 ORDER BY target",
        params![name],
        |row| row.get::<String>(0),
    )?;
    Ok(rows.iter().filter_map(|text| text.parse().ok()).collect())
}

pub(crate) fn attached_names(connection: &Connection<'_>, target: &str) -> Result<Vec<String>, SqlError> {
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
        Target::Certificate(id) => {
            let id = super::variable::hex(id);
            connection.query_one("SELECT 1 FROM certificates WHERE id = $1", params![id], |row| row.get(0))?
        }
    };
    Ok(found.is_some())
}
