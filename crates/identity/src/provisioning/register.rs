//! The one transaction in which a certificate that waited becomes a device's.
//!
//! Not here: what the template says (`plan`). The laws: all is judged before anything is written, so that a rejection
//! changes nothing; a device that has a proof of its own, was removed or is in quarantine is not taken over.

use std::sync::Arc;

use catalog::{Transaction, WriteError, params};
use model::{DeviceName, Timestamp};
use serde_json::{Map, Value, json};

use super::pending::{hash, oldest};
use super::plan::{Plan, PlannedPolicy, PlannedThing};
use super::template::{Override, Template};
use super::{ProvisionError, TemplateName, claim};
use crate::audit::{self, Entry};
use crate::certificate::one;
use crate::device::change::{enlisted, store};
use crate::device::{self, Device};
use crate::identity::refuse_reserved;
use crate::policy::{
    POLICIES_PER_TARGET_MAX, Policy, PolicyName, Target, keep_first, policy_names, policy_room,
};
use crate::{
    Actor, Attributes, CertificateId, CertificateStatus, ChangeError, Identity, NewDevice, Who, group,
};

/// A device that has an identity of its own now.
#[derive(Debug, Clone, PartialEq)]
pub struct Provisioned {
    /// Its name, if the template makes a device.
    pub device: Option<DeviceName>,
    /// Its certificate.
    pub certificate: CertificateId,
    /// What the template has for it.
    pub configuration: Map<String, Value>,
}

/// What the transaction did, for the copy in memory.
struct Done {
    certificate: CertificateId,
    status: CertificateStatus,
    device: Option<Device>,
    superseded: Vec<CertificateId>,
    made: Vec<Arc<Policy>>,
    attached: Vec<PolicyName>,
    configuration: Map<String, Value>,
}

impl Done {
    fn target(&self) -> Target {
        match &self.device {
            Some(device) => Target::Device(device.name.clone()),
            None => Target::Certificate(self.certificate.bytes()),
        }
    }
}

impl Identity {
    /// Makes a device of the holder of a token, as a template says, for the parameters that it sends.
    ///
    /// # Errors
    /// [`ProvisionError`]: nothing was changed.
    pub async fn provision(
        &self,
        who: &Who,
        name: &TemplateName,
        token: &str,
        sent: &Map<String, Value>,
    ) -> Result<Provisioned, ProvisionError> {
        if self.parts.claims.template(who).is_some_and(|own| own != *name) {
            return Err(ProvisionError::OtherTemplate);
        }
        let (_, text) = self.template(name).await?;
        let template = Template::parse(&text)?;
        if token.is_empty() {
            return Err(ProvisionError::TokenEmpty);
        }
        let (by, parts, host) = (Actor::of(who, None), Arc::clone(&self.parts), self.parts.host.clone());
        let (token, sent, name) = (hash(token), sent.clone(), name.clone());
        let done = self.parts.catalog.write_then(
            move |transaction| {
                let now = host.clock.now();
                match carry_out(transaction, &host, &by, &name, &template, &token, &sent, now) {
                    // What failed on the way is undone; what was refused has changed nothing.
                    Err(ProvisionError::Write(error)) => Err(error),
                    judged => Ok(judged),
                }
            },
            move |judged| {
                let Ok(done) = judged else { return };
                let device = done.device.as_ref();
                parts.certificates.assign(&done.certificate, device.map(|device| &device.name), done.status);
                for id in &done.superseded {
                    parts.certificates.change(id, |kept| kept.status = CertificateStatus::Revoked);
                }
                parts.policies.keep(&done.made, &done.target(), &done.attached);
                parts.take_over(device.map_or(&[][..], std::slice::from_ref));
            },
        );
        let done = done.await??;
        Ok(Provisioned {
            device: done.device.map(|device| device.name),
            certificate: done.certificate,
            configuration: done.configuration,
        })
    }
}

#[allow(clippy::too_many_arguments, reason = "the one transaction, and what it is given")]
fn carry_out(
    transaction: &Transaction<'_>,
    host: &host::Host,
    by: &Actor,
    name: &TemplateName,
    template: &Template,
    token: &[u8],
    sent: &Map<String, Value>,
    now: Timestamp,
) -> Result<Done, ProvisionError> {
    let certificate = redeemed(transaction, by, token, now)?;
    if let Some((0, most)) = claim::left(transaction, by.name())? {
        return Err(ProvisionError::Spent(most));
    }
    let plan = Plan::of(template, sent, &certificate)?;
    let thing = plan.thing.as_ref();
    let (before, mut after, superseded) = match thing {
        None => (None, None, Vec::new()),
        Some(thing) => {
            let (before, superseded) = taken(transaction, thing, by, plan.status)?;
            let after = judged(transaction, thing, before.as_ref(), now)?;
            (before, Some(after), superseded)
        }
    };
    let target = match thing {
        Some(thing) => Target::Device(thing.name.clone()),
        None => Target::Certificate(certificate.bytes()),
    };
    let attached = attachments(transaction, &plan.policies, &target)?;

    // From here on everything is written.
    if let Some(after) = &mut after {
        store(transaction, by, "device.provision", now, before.as_ref(), after)?;
    }
    for id in &superseded {
        let sql = "UPDATE certificates SET status = 'revoked' WHERE id = $1";
        transaction.execute(sql, params![id.to_string()]).map_err(WriteError::from)?;
    }
    let device = thing.map(|thing| thing.name.as_str());
    let write = || -> Result<Vec<Arc<Policy>>, WriteError> {
        transaction.execute(
            "UPDATE certificates SET device = $2, status = $3 WHERE id = $1",
            params![certificate.to_string(), device, plan.status.name()],
        )?;
        transaction.execute(
            "UPDATE provisioning_certificates SET used = $2, token_hash = NULL WHERE certificate = $1",
            params![certificate.to_string(), now],
        )?;
        if let Some(claim) = by.name().strip_prefix("certificate:") {
            transaction.execute(
                "UPDATE provisioning_claims SET devices = devices + 1 WHERE certificate = $1",
                params![claim],
            )?;
        }
        let mut made = Vec::new();
        for policy in &plan.policies {
            if let Some((text, document)) = &policy.document
                && keep_first(transaction, host, by, &policy.name, text, now)?
            {
                let (name, document) = (policy.name.clone(), document.clone());
                made.push(Arc::new(Policy { name, version: 1, document }));
            }
        }
        for policy in &attached {
            transaction.execute(
                "INSERT INTO policy_attachments (target, policy, created) VALUES ($1, $2, $3)",
                params![target.to_string(), policy.as_str(), now],
            )?;
        }
        let policies: Vec<&str> = plan.policies.iter().map(|policy| policy.name.as_str()).collect();
        let superseded: Vec<String> = superseded.iter().map(ToString::to_string).collect();
        let entry = Entry::done(by, "certificate.provision", format!("certificate:{certificate}"))
            .before(json!({ "status": "pending" }))
            .after(json!({
                "template": name.as_str(), "device": device, "status": plan.status.name(),
                "policies": policies, "superseded": superseded,
            }));
        audit::append(transaction, now, &entry)?;
        Ok(made)
    };
    let made = write()?;
    Ok(Done {
        certificate,
        status: plan.status,
        device: after,
        superseded,
        made,
        attached,
        configuration: plan.configuration,
    })
}

/// The certificate that a token is for, if it was given to the same, is an hour old at most, and was not used.
fn redeemed(
    transaction: &Transaction<'_>,
    by: &Actor,
    token: &[u8],
    now: Timestamp,
) -> Result<CertificateId, ProvisionError> {
    let found: Option<String> = transaction
        .query_one(
            "SELECT certificate FROM provisioning_certificates
             WHERE token_hash = $1 AND asker = $2 AND used IS NULL AND created > $3",
            params![token, by.name(), oldest(now)],
            |row| row.get(0),
        )
        .map_err(WriteError::from)?;
    let id = found.as_deref().and_then(CertificateId::parse).ok_or(ProvisionError::Token)?;
    let certificate = one(transaction, &id).map_err(WriteError::from)?;
    match certificate {
        Some(certificate) if certificate.status == CertificateStatus::Pending => Ok(id),
        _ => Err(ProvisionError::Token),
    }
}

/// The device as it was, if it is one that this asker may make, and its certificates that are superseded.
fn taken(
    transaction: &Transaction<'_>,
    thing: &PlannedThing,
    by: &Actor,
    status: CertificateStatus,
) -> Result<(Option<Device>, Vec<CertificateId>), ProvisionError> {
    refuse_reserved(&thing.name).map_err(said)?;
    let before = device::one(transaction, &thing.name).map_err(WriteError::from)?;
    let refused = |why: &str| Err(ProvisionError::Refused(format!("device `{}` {why}", thing.name)));
    match &before {
        Some(before) if before.removal.is_some() => return refused("was removed"),
        Some(before) if before.quarantine.is_some() => return refused("is in quarantine"),
        _ => {}
    }
    let superseded = proofs(transaction, before.as_ref(), by, status)?;
    Ok((before, superseded))
}

/// The device as it is to be.
fn judged(
    transaction: &Transaction<'_>,
    thing: &PlannedThing,
    before: Option<&Device>,
    now: Timestamp,
) -> Result<Device, ProvisionError> {
    let refused = |why: &str| Err(ProvisionError::Refused(format!("device `{}` {why}", thing.name)));
    let is_new = !before.is_some_and(|before| before.is_added);
    let (_, mut after) = enlisted(transaction, &NewDevice::from(&thing.name), now).map_err(said)?;
    let overrides =
        [(thing.over.attributes, &thing.attributes, "attributes"), (thing.over.kind, &thing.kind, "type")];
    for (over, planned, what) in overrides {
        let merged = after.attributes.changed(planned, &[]).map_err(|error| said(error.into()))?;
        match over {
            _ if is_new => after.attributes = merged,
            Override::Nothing => {}
            Override::Merge => after.attributes = merged,
            Override::Replace if what == "attributes" => {
                let kind = after.attributes.get("type").map(|kind| ("type", kind.to_owned()));
                let kind = Attributes::new(kind).map_err(|error| said(error.into()))?;
                let all = kind.changed(planned, &[]);
                after.attributes = all.map_err(|error| said(error.into()))?;
            }
            Override::Replace => after.attributes = merged,
            Override::Fail if merged == after.attributes => {}
            Override::Fail => return refused(&format!("is there with other {what}")),
        }
    }
    for path in &thing.groups {
        group::must_exist(transaction, path).map_err(said)?;
    }
    place(thing, is_new, &mut after)?;
    Ok(after)
}

/// Puts the device into the groups: the first is its home, unless it has one; the others it is a member of.
fn place(thing: &PlannedThing, is_new: bool, after: &mut Device) -> Result<(), ProvisionError> {
    let mut placed = after.clone();
    if thing.over.groups == Override::Replace && !is_new {
        placed.group = None;
        placed.memberships.clear();
    }
    for path in &thing.groups {
        match &placed.group {
            None => placed.group = Some(path.clone()),
            Some(home) if home == path => {}
            Some(_) => group::join(&mut placed, path).map_err(said)?,
        }
    }
    match thing.over.groups {
        Override::Nothing if !is_new => {}
        Override::Fail if !is_new && placed != *after => {
            let what = format!("device `{}` is there in other groups", thing.name);
            return Err(ProvisionError::Refused(what));
        }
        _ => *after = placed,
    }
    Ok(())
}

/// Looks by what a device proves itself already. Certificates that the same asker had provisioned for it and that never opened
/// a connection are superseded: their device did not hear the answer. One that an operator turned off counts as a proof, and
/// is got around by nobody; one that another one followed does not. A template that makes inactive ones gets around nothing.
fn proofs(
    transaction: &Transaction<'_>,
    before: Option<&Device>,
    by: &Actor,
    status: CertificateStatus,
) -> Result<Vec<CertificateId>, ProvisionError> {
    let Some(before) = before else { return Ok(Vec::new()) };
    let rows: Vec<(String, bool)> = transaction
        .query(
            "SELECT c.id, c.last_seen IS NULL AND p.asker IS NOT NULL AND (c.status <> 'inactive' OR $3 = 'inactive')
             FROM certificates c LEFT JOIN provisioning_certificates p ON p.certificate = c.id AND p.asker = $2
             WHERE c.device = $1 AND c.status <> 'revoked' AND NOT (c.status = 'inactive' AND c.retired_by IS NOT NULL)",
            params![before.name, by.name(), status.name()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(WriteError::from)?;
    if before.has_password || rows.iter().any(|(_, is_unused)| !is_unused) {
        let what = format!(
            "device `{}` proves itself already; revoke its certificate or remove it first",
            before.name
        );
        return Err(ProvisionError::Refused(what));
    }
    Ok(rows.iter().filter_map(|(id, _)| CertificateId::parse(id)).collect())
}

/// The names of the policies that are to be attached and are not.
fn attachments(
    transaction: &Transaction<'_>,
    planned: &[PlannedPolicy],
    target: &Target,
) -> Result<Vec<PolicyName>, ProvisionError> {
    let mut room = policy_room(transaction).map_err(WriteError::from)?;
    for policy in planned {
        let is_there = crate::policy::is_known(transaction, &policy.name).map_err(WriteError::from)?;
        match (&policy.document, is_there) {
            (_, true) => {}
            (None, false) => {
                return Err(ProvisionError::Refused(format!("there is no policy `{}`", policy.name)));
            }
            (Some(_), false) if room == 0 => {
                return Err(ProvisionError::Refused("there are as many policies as may be".to_owned()));
            }
            (Some(_), false) => room -= 1,
        }
    }
    let has = policy_names(transaction, &target.to_string()).map_err(WriteError::from)?;
    let new: Vec<_> = planned.iter().map(|policy| policy.name.clone()).collect();
    let new: Vec<_> = new.into_iter().filter(|name| !has.iter().any(|own| own == name.as_str())).collect();
    if has.len() + new.len() > POLICIES_PER_TARGET_MAX {
        let what = format!("`{target}` would have more than {POLICIES_PER_TARGET_MAX} policies");
        return Err(ProvisionError::Refused(what));
    }
    Ok(new)
}

fn said(error: ChangeError) -> ProvisionError {
    match error {
        ChangeError::Catalog(error) => ProvisionError::Write(error),
        refused => ProvisionError::Refused(refused.to_string()),
    }
}
