//! Where policies are kept: by name, in versions, attached to devices, groups and certificates.
//!
//! Not here: what they say (`document`), what a session may do (`compiled`). The laws: the copy in memory changes after the
//! catalog's commit; a policy that is attached is not removed; a document that cannot be opened at the start stops it, because
//! without it somebody might do what it denies.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Connection, Migration, Place, ReadError, params};
use hashbrown::HashMap;
use host::Host;
use model::{DeviceName, Timestamp};
use parking_lot::RwLock;

use super::shipped::{quarantine_policy, renewal_policy};
use super::{DEFAULT_POLICY, Document, Policy, PolicyName, Target, default_policy};
use crate::OpenError;

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
    pub(super) active: HashMap<PolicyName, Arc<Policy>>,
    pub(super) attached: HashMap<Target, Vec<PolicyName>>,
    pub(super) children: HashMap<DeviceName, Arc<[DeviceName]>>,
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
}

pub(super) fn row_of(name: &str, version: u32) -> String {
    format!("{name}/{version}")
}

pub(super) fn opened(host: &Host, name: &str, version: u32, sealed: &[u8]) -> Result<String, OpenError> {
    let damaged = |what: String| OpenError::Policy { name: name.to_owned(), what };
    let row = row_of(name, version);
    let place = Place { table: "policy_versions", column: "sealed_document", row: &row };
    let text = catalog::unseal(host, place, sealed).map_err(|error| damaged(error.to_string()))?;
    String::from_utf8(text.to_vec()).map_err(|error| damaged(error.to_string()))
}
