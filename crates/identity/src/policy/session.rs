//! Which policies judge a session: those of its certificate, its device, and the groups of that device.
//!
//! Attached policies take the place of the default one, they do not add to it. Not here: what they say. The law: a session
//! is compiled anew only when a policy of its own, or something that is known of it, changed.

use std::sync::Arc;

use model::{DeviceName, Principal};

use super::{Circumstances, Context, Policy, Target};
use crate::who::Scope;
use crate::{DeviceState, Identity, Permissions, Who};

impl Identity {
    /// What `who` may do, where nothing but the client id is known of the session.
    #[must_use]
    pub fn permissions(&self, who: &Who, client_id: &str) -> Permissions {
        self.permissions_of(who, &Circumstances::of(client_id))
    }

    /// What `who` may do in these circumstances, compiled once per session.
    #[must_use]
    pub fn permissions_of(&self, who: &Who, circumstances: &Circumstances) -> Permissions {
        if self.is_person(who) {
            return Permissions::by_role(self.over_mqtt(who));
        }
        if let Some(permissions) = Permissions::by_nature(who) {
            return permissions;
        }
        let policies = self.policies_that_judge(who);
        if policies.is_empty() {
            return Permissions::none();
        }
        Permissions::by_policies(policies, self.context(who, circumstances), &self.aws)
    }

    /// As [`Identity::permissions_of`], for a session that was given `permissions` before: `None` when nothing that concerns it
    /// changed. Doors ask it for every session when [`Identity::changes`] moves; it compiles only for those concerned.
    #[must_use]
    pub fn permissions_again(
        &self,
        who: &Who,
        circumstances: &Circumstances,
        permissions: &Permissions,
    ) -> Option<Permissions> {
        if self.is_person(who) {
            // Roles and tokens change seldom, and it costs no more to say them again than to compare.
            return Some(Permissions::by_role(self.over_mqtt(who)));
        }
        if Permissions::by_nature(who).is_some() {
            return None;
        }
        let policies = self.policies_that_judge(who);
        if policies.is_empty() {
            return permissions.compiled().map(|_| Permissions::none());
        }
        let context = self.context(who, circumstances);
        let is_same = permissions.is_of(&policies, &context);
        (!is_same).then(|| Permissions::by_policies(policies, context, &self.aws))
    }

    fn policies_that_judge(&self, who: &Who) -> Arc<[Arc<Policy>]> {
        match who.scope {
            Scope::Renewal => Arc::clone(&self.parts.policies.renewal_only),
            Scope::Full | Scope::Quarantine => self.policies_for(who.device.as_ref(), certificate(who)),
        }
    }

    /// The policies that count for a device, a certificate, or both; none for a certificate of no device to which none is
    /// attached.
    pub(super) fn policies_for(
        &self,
        device: Option<&DeviceName>,
        certificate: Option<[u8; 32]>,
    ) -> Arc<[Arc<Policy>]> {
        if let Some(only) = certificate.and_then(|certificate| self.parts.claims.policies(&certificate)) {
            return only;
        }
        if device.and_then(|device| self.state(device)) == Some(DeviceState::Quarantined) {
            return Arc::clone(&self.parts.policies.quarantine_only);
        }
        let own = device.cloned().map(Target::Device);
        let groups = device.map(|device| self.groups_of(device)).unwrap_or_default();
        let groups = groups.into_iter().map(Target::Group);
        let targets = own.into_iter().chain(certificate.map(Target::Certificate)).chain(groups);
        let attached = self.parts.policies.of_targets(targets);
        match (attached.is_empty(), device) {
            (true, Some(_)) => Arc::clone(&self.parts.policies.default_only),
            _ => attached.into(),
        }
    }

    /// What is known of a session.
    pub(super) fn context(&self, who: &Who, circumstances: &Circumstances) -> Context {
        Context {
            circumstances: circumstances.clone(),
            device: who.device.clone(),
            attributes: who.device.as_ref().map(|device| self.attributes(device)).unwrap_or_default(),
            children: who
                .device
                .as_ref()
                .map(|device| self.parts.policies.children(device))
                .unwrap_or_default(),
            certificate: who.certificate.clone(),
            ..Context::default()
        }
    }
}

fn certificate(who: &Who) -> Option<[u8; 32]> {
    match &who.principal {
        Principal::Certificate(id) => Some(*id),
        _ => None,
    }
}
