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
        self.by_policies(self.policies_that_judge(who), who, circumstances)
    }

    /// What `who` may do once it is let in as before, quarantine and a certificate that is expired left aside: what is kept for a
    /// client that is not connected is judged by it. Compiled.
    #[must_use]
    pub fn standing_permissions(&self, who: &Who, circumstances: &Circumstances) -> Permissions {
        if !self.is_by_policies(who) {
            return self.permissions_of(who, circumstances);
        }
        let policies = self.standing_policies(who.device.as_ref(), certificate(who));
        self.by_policies(policies, who, circumstances)
    }

    /// As [`Identity::standing_permissions`], for a session that was given `permissions` before: `None` when nothing that
    /// concerns it changed.
    #[must_use]
    pub fn standing_permissions_again(
        &self,
        who: &Who,
        circumstances: &Circumstances,
        permissions: &Permissions,
    ) -> Option<Permissions> {
        if !self.is_by_policies(who) {
            return self.permissions_again(who, circumstances, permissions);
        }
        let policies = self.standing_policies(who.device.as_ref(), certificate(who));
        let is_same = match policies.is_empty() {
            true => permissions.compiled().is_none(),
            false => permissions.is_of(&policies, &self.context(who, circumstances)),
        };
        (!is_same).then(|| self.by_policies(policies, who, circumstances))
    }

    /// Whether policies say what `who` may do, and not its nature or its role.
    fn is_by_policies(&self, who: &Who) -> bool {
        !self.is_person(who) && Permissions::by_nature(who).is_none()
    }

    /// Whether `client_id` is the name of another device that is registered, and `who` no gateway of it. Policies may look at
    /// client ids (`${iot:ClientId}`), and people do when they read a log: a name is its device's.
    #[must_use]
    pub fn names_another(&self, who: &Who, client_id: &str) -> bool {
        if !matches!(who.principal, Principal::DevicePassword(_) | Principal::Certificate(_)) {
            return false;
        }
        let Ok(name) = DeviceName::parse(client_id) else { return false };
        let is_registered = matches!(self.state(&name), Some(DeviceState::Active | DeviceState::Quarantined));
        let is_child = || who.device.as_ref().is_some_and(|device| self.children(device).contains(&name));
        is_registered && who.device.as_ref() != Some(&name) && !is_child()
    }

    fn by_policies(
        &self,
        policies: Arc<[Arc<Policy>]>,
        who: &Who,
        circumstances: &Circumstances,
    ) -> Permissions {
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
        match device.and_then(|device| self.state(device)) {
            Some(DeviceState::Quarantined) => Arc::clone(&self.parts.policies.quarantine_only),
            _ => self.standing_policies(device, certificate),
        }
    }

    /// The same, whether or not the device is in quarantine.
    fn standing_policies(
        &self,
        device: Option<&DeviceName>,
        certificate: Option<[u8; 32]>,
    ) -> Arc<[Arc<Policy>]> {
        if let Some(only) = certificate.and_then(|certificate| self.parts.claims.policies(&certificate)) {
            return only;
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
        }
    }
}

fn certificate(who: &Who) -> Option<[u8; 32]> {
    match &who.principal {
        Principal::Certificate(id) => Some(*id),
        _ => None,
    }
}
