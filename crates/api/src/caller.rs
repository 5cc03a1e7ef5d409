//! Who asks, and what they may: what every handler can find beside its request.
//!
//! Not here: the proof (`auth`), the least role of each route (`routes`). The law: a refusal says what would be
//! needed, and what the caller has.

use identity::{Actor, Area, Identity, Reach, Rights, Role, Scope, Verb};
use model::{DeviceName, Kind};

use crate::problem::Problem;

/// Who asks. Handlers take it as `Extension(caller): Extension<Caller>`.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    by: Actor,
    rights: Rights,
}

impl Caller {
    pub(crate) fn new(by: Actor, rights: Rights) -> Self {
        Self { by, rights }
    }

    /// As the audit log names him.
    pub(crate) fn name(&self) -> &str {
        self.by.name()
    }

    /// What he may.
    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Where the caller holds `role`: what a list shows him.
    pub(crate) fn reach(&self, role: Role) -> Reach {
        self.rights.reach(role)
    }

    /// Lets through whoever holds `role` in `group`; everywhere for an empty one.
    ///
    /// # Errors
    /// 403 `api.role`.
    pub(crate) fn require(&self, role: Role, group: &str) -> Result<(), Problem> {
        if self.rights.holds(role, group) {
            return Ok(());
        }
        Err(self.lacks(role, &place(group)))
    }

    /// Lets through whoever holds `role` anywhere: the handler asks [`Caller::require`] once it knows the group.
    ///
    /// # Errors
    /// 403 `api.role`.
    pub(crate) fn require_somewhere(&self, role: Role) -> Result<(), Problem> {
        if self.rights.holds_somewhere(role) { Ok(()) } else { Err(self.lacks(role, "in some group")) }
    }

    /// Lets through whoever holds `role` where a device is: `home` is its group, empty for nowhere, `None` for a device that
    /// nobody knows. Whoever may not even look gets one answer, whether there is such a device or not.
    ///
    /// # Errors
    /// 403 `api.role`.
    pub(crate) fn require_at(
        &self,
        role: Role,
        device: &DeviceName,
        home: Option<&str>,
    ) -> Result<(), Problem> {
        let group = home.unwrap_or_default();
        if self.rights.holds(role, group) {
            return Ok(());
        }
        Err(match home {
            Some(home) if self.rights.holds(Role::Viewer, home) => self.lacks(role, &place(home)),
            _ => self.lacks(role, &format!("where device `{device}` is, or everywhere")),
        })
    }

    /// Whether he holds the role where the device is now; everywhere, when it is nowhere or there is none.
    pub(crate) fn holds_at(&self, identity: &Identity, role: Role, device: Option<&DeviceName>) -> bool {
        self.rights.holds(role, &home(identity, device))
    }

    /// Whether he holds the role in groups alone.
    pub(crate) fn is_bound(&self, role: Role) -> bool {
        !self.rights.holds(role, "")
    }

    /// Lets through whoever came himself, and tokens whose scopes hold this.
    ///
    /// # Errors
    /// 403 `api.scope`.
    pub(crate) fn require_scope(&self, area: Area, verb: Verb) -> Result<(), Problem> {
        if self.rights.in_scope(area, verb) {
            return Ok(());
        }
        let scopes: Vec<String> =
            self.rights.scopes().unwrap_or_default().iter().map(Scope::to_string).collect();
        let (area, verb, scopes) = (area.name(), verb.name(), scopes.join(" "));
        let detail = format!("this needs a token with scope `{area}:{verb}`; this one has `{scopes}`");
        Err(Problem::new(Kind::Forbidden, "api.scope", detail)
            .hint(Some(format!("Run: godwit token add NAME --scope {area}:{verb}"))))
    }

    /// 403: this role would be needed, there.
    pub(crate) fn lacks(&self, role: Role, place: &str) -> Problem {
        let held: Vec<String> = self.rights.grants().iter().map(|grant| format!("`{grant}`")).collect();
        let held = if held.is_empty() { "no role".to_owned() } else { held.join(", ") };
        let who = self.by.name();
        let detail = format!("this needs role `{role}` {place}; `{who}` has {held}");
        Problem::new(Kind::Forbidden, "api.role", detail)
            .hint(Some("an admin gives roles with `godwit user role NAME ROLE`"))
    }
}

/// The group where a device is now; empty for nowhere, and for none.
pub(crate) fn home(identity: &Identity, device: Option<&DeviceName>) -> String {
    let home = device.and_then(|device| identity.home(device));
    home.map(|home| home.to_string()).unwrap_or_default()
}

fn place(group: &str) -> String {
    if group.is_empty() { "everywhere".to_owned() } else { format!("in group `{group}`") }
}
