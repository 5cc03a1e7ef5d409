//! What people and their tokens may do: roles, the groups they are bound to, and the scopes of tokens.
//!
//! Not here: who somebody is (`identity`), what a session may do over MQTT (`permissions`), which request needs what
//! (the API's table). The laws: roles are ordered, a higher one may all that a lower one may; a role of a group
//! reaches the groups below it and nothing beside it; a token never may more than its owner may now.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use model::{GroupPath, GroupPathError};

/// What somebody is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// May look.
    Viewer,
    /// May also change what devices do and what is known of them, and by which passwords and certificates they prove
    /// themselves: whoever replaces a device in the field gives it these.
    Operator,
    /// May also decide who may: users, tokens, policies, provisioning, keys, the certificate authority.
    Admin,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name in the catalog, in the API and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is no role, group or scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightsError {
    /// No role is called so.
    #[error(
        "`{0}` is no role: it is `viewer`, `operator` or `admin`, and `@` with a group, such as `operator@hq/floor-17`"
    )]
    Role(String),
    /// No group can be called so.
    #[error("`{0}` names no group: {1}")]
    Group(String, GroupPathError),
    /// No scope is called so.
    #[error("`{0}` is no scope: it is `*` or one of {areas}, and `:read` or `:write` where only that is meant", areas = areas())]
    Scope(String),
}

fn areas() -> String {
    let names: Vec<String> = Area::ALL.iter().map(|area| format!("`{}`", area.name())).collect();
    names.join(", ")
}

/// A role, in a group and those below it or everywhere. Written `viewer` or `operator@hq/floor-17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    role: Role,
    /// Empty: everywhere.
    group: Arc<str>,
}

impl Grant {
    /// A role everywhere.
    #[must_use]
    pub fn everywhere(role: Role) -> Self {
        Self { role, group: Arc::from("") }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The path of its group; empty for everywhere.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    fn reaches(&self, group: &str) -> bool {
        match group.strip_prefix(&*self.group) {
            Some(rest) => self.group.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => write!(f, "{}", self.role),
            group => write!(f, "{}@{group}", self.role),
        }
    }
}

impl FromStr for Grant {
    type Err = RightsError;

    fn from_str(text: &str) -> Result<Self, RightsError> {
        let (role, group) = text.split_once('@').map_or((text, None), |(role, group)| (role, Some(group)));
        let role = Role::ALL
            .into_iter()
            .find(|known| known.name() == role)
            .ok_or_else(|| RightsError::Role(text.to_owned()))?;
        let Some(group) = group else { return Ok(Self::everywhere(role)) };
        // `operator@` is more likely a variable that was empty than a wish for everything: no path is empty.
        let group = GroupPath::parse(group).map_err(|error| RightsError::Group(text.to_owned(), error))?;
        Ok(Self { role, group: Arc::from(group.as_str()) })
    }
}

/// A part of the API that the scope of a token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Numbers of the server itself.
    Status,
    /// Readings and messages: SQL, exports, reprocessing, routes.
    Readings,
    /// Devices, groups, placements.
    Devices,
    /// Certificates of devices, the certificate authority.
    Certificates,
    /// Policies and provisioning templates.
    Policies,
    /// MQTT sessions and retained messages.
    Sessions,
    /// MQTT itself: to log in there.
    Mqtt,
    /// Alerts, silences, notices.
    Alerts,
    /// Users, their roles, sessions and tokens.
    Users,
    /// The audit log.
    Audit,
    /// The key ring and backups.
    Keys,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Status,
        Self::Readings,
        Self::Devices,
        Self::Certificates,
        Self::Policies,
        Self::Sessions,
        Self::Mqtt,
        Self::Alerts,
        Self::Users,
        Self::Audit,
        Self::Keys,
    ];

    /// Its name in scopes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Readings => "readings",
            Self::Devices => "devices",
            Self::Certificates => "certificates",
            Self::Policies => "policies",
            Self::Sessions => "sessions",
            Self::Mqtt => "mqtt",
            Self::Alerts => "alerts",
            Self::Users => "users",
            Self::Audit => "audit",
            Self::Keys => "keys",
        }
    }
}

/// To look or to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// To look.
    Read,
    /// To change.
    Write,
}

impl Verb {
    /// Its name in scopes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What a token is for: `*`, `*:read`, `devices`, `devices:read`, `readings:read`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// `None`: every area.
    area: Option<Area>,
    /// `None`: both.
    verb: Option<Verb>,
}

impl Scope {
    /// Everything its owner may.
    pub const EVERYTHING: Self = Self { area: None, verb: None };

    fn holds(self, area: Area, verb: Verb) -> bool {
        self.area.is_none_or(|own| own == area) && self.verb.is_none_or(|own| own == verb)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.area.map_or("*", Area::name))?;
        self.verb.map_or(Ok(()), |verb| write!(f, ":{}", verb.name()))
    }
}

impl FromStr for Scope {
    type Err = RightsError;

    fn from_str(text: &str) -> Result<Self, RightsError> {
        let unknown = || RightsError::Scope(text.to_owned());
        let (area, verb) = text.split_once(':').map_or((text, None), |(area, verb)| (area, Some(verb)));
        let area = match area {
            "*" => None,
            name => Some(Area::ALL.into_iter().find(|area| area.name() == name).ok_or_else(unknown)?),
        };
        let verb = match verb {
            None => None,
            Some("read") => Some(Verb::Read),
            Some("write") => Some(Verb::Write),
            Some(_) => return Err(unknown()),
        };
        Ok(Self { area, verb })
    }
}

/// Where somebody holds a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere.
    Everywhere,
    /// In these groups and those below them; nowhere when there is none.
    Groups(Vec<String>),
}

/// What a caller may do, as of now. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    grants: Arc<[Grant]>,
    /// Of a token; `None`: the caller is there himself.
    scopes: Option<Arc<[Scope]>>,
}

impl Rights {
    /// Of somebody who holds these roles himself.
    #[must_use]
    pub fn of(grants: impl Into<Arc<[Grant]>>) -> Self {
        Self { grants: grants.into(), scopes: None }
    }

    /// The same through a token of these scopes.
    #[must_use]
    pub fn within(mut self, scopes: impl Into<Arc<[Scope]>>) -> Self {
        self.scopes = Some(scopes.into());
        self
    }

    /// Everything, everywhere.
    #[must_use]
    pub fn all() -> Self {
        Self::of([Grant::everywhere(Role::Admin)])
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::of([])
    }

    /// Whether the role is held in `group`; everywhere for an empty one.
    #[must_use]
    pub fn holds(&self, role: Role, group: &str) -> bool {
        self.grants.iter().any(|grant| grant.role >= role && grant.reaches(group))
    }

    /// Whether the role is held anywhere at all.
    #[must_use]
    pub fn holds_somewhere(&self, role: Role) -> bool {
        self.grants.iter().any(|grant| grant.role >= role)
    }

    /// Where the role is held.
    #[must_use]
    pub fn reach(&self, role: Role) -> Reach {
        if self.holds(role, "") {
            return Reach::Everywhere;
        }
        let held = self.grants.iter().filter(|grant| grant.role >= role);
        Reach::Groups(held.map(|grant| grant.group.to_string()).collect())
    }

    /// Whether a token's scopes, if it is one, hold this.
    #[must_use]
    pub fn in_scope(&self, area: Area, verb: Verb) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|scope| scope.holds(area, verb)))
    }

    /// The roles held.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The scopes of the token; `None` for one who is there himself.
    #[must_use]
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.scopes.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(grants: &[&str]) -> Rights {
        let grants: Vec<Grant> = grants.iter().map(|text| text.parse().expect("a grant")).collect();
        Rights::of(grants)
    }

    #[test]
    fn a_role_of_a_group_reaches_what_is_below_it_and_nothing_beside_it() {
        let check = |grants: &[&str], role: Role, group: &str, expect: bool| {
            assert_eq!(rights(grants).holds(role, group), expect, "{grants:?} {role} in `{group}`");
        };
        check(&["operator@hq/floor-17"], Role::Operator, "hq/floor-17", true);
        check(&["operator@hq/floor-17"], Role::Viewer, "hq/floor-17/room-3", true);
        check(&["operator@hq/floor-17"], Role::Admin, "hq/floor-17", false);
        check(&["operator@hq/floor-17"], Role::Operator, "hq/floor-170", false);
        check(&["operator@hq/floor-17"], Role::Operator, "hq", false);
        check(&["operator@hq/floor-17"], Role::Viewer, "", false);
        check(&["operator@hq/floor-17"], Role::Viewer, "HQ/floor-17", false);
        check(&["viewer", "admin@hq"], Role::Viewer, "elsewhere", true);
        check(&["viewer", "admin@hq"], Role::Operator, "elsewhere", false);
        check(&["viewer", "admin@hq"], Role::Operator, "hq/floor-1", true);
        check(&[], Role::Viewer, "hq", false);
    }

    #[test]
    fn the_reach_of_a_role_is_everywhere_or_named() {
        assert_eq!(rights(&["admin"]).reach(Role::Viewer), Reach::Everywhere);
        let two = rights(&["viewer@a", "operator@b/c"]);
        assert_eq!(two.reach(Role::Viewer), Reach::Groups(vec!["a".to_owned(), "b/c".to_owned()]));
        assert_eq!(two.reach(Role::Operator), Reach::Groups(vec!["b/c".to_owned()]));
        assert_eq!(two.reach(Role::Admin), Reach::Groups(Vec::new()));
        assert!(two.holds_somewhere(Role::Operator) && !two.holds_somewhere(Role::Admin));
    }

    #[test]
    fn a_scope_holds_what_it_names_and_a_person_needs_none() {
        let check = |scopes: &[&str], area: Area, verb: Verb, expect: bool| {
            let parsed: Vec<Scope> = scopes.iter().map(|text| text.parse().expect("a scope")).collect();
            assert_eq!(Rights::all().within(parsed).in_scope(area, verb), expect, "{scopes:?}");
        };
        check(&["*"], Area::Users, Verb::Write, true);
        check(&["*:read"], Area::Users, Verb::Read, true);
        check(&["*:read"], Area::Devices, Verb::Write, false);
        check(&["devices"], Area::Devices, Verb::Write, true);
        check(&["devices:write"], Area::Devices, Verb::Read, false);
        check(&["readings:read", "devices"], Area::Users, Verb::Read, false);
        check(&[], Area::Status, Verb::Read, false);
        assert!(Rights::all().in_scope(Area::Keys, Verb::Write));
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_malformed_is_refused() {
        for text in ["viewer", "admin", "operator@hq/floor-17", "viewer@Werk:Sued/a"] {
            assert_eq!(text.parse::<Grant>().expect("a grant").to_string(), text);
        }
        for text in [
            "",
            "root",
            "Admin",
            "admin@",
            "admin@/a",
            "admin@a//b",
            "admin@a/",
            "admin@a@b",
            "admin@a\nb",
            "admin@a b",
        ] {
            assert!(text.parse::<Grant>().is_err(), "{text:?}");
        }
        for text in ["*", "*:read", "devices", "readings:read", "keys:write"] {
            assert_eq!(text.parse::<Scope>().expect("a scope").to_string(), text);
        }
        for text in ["", "device", "devices:", "devices:all", ":read", "**"] {
            let refused = text.parse::<Scope>().expect_err(text).to_string();
            assert!(refused.contains("`readings`"), "it says what would be right: {refused}");
        }
    }
}
