//! The one table of the API: every route, the least role it needs, and the area that a token's scope must name.
//!
//! Not here: what the routes do. The law: a route and its rule are one row, so there is no route without a rule, and
//! what has no rule is refused.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, MethodRouter, on};
use identity::{Area, Role, Verb};

use crate::auth::judged;
use crate::devices::one;
use crate::{
    Parts, audit, backup, ca, certificates, devices, export, groups, health, keys, login, me, policies,
    query, reprocess, sessions, status, tokens, unrouted, users,
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever reaches the address.
    Public,
    /// Whoever proved who they are.
    Anybody,
    /// Whoever holds the role.
    Least {
        /// The role.
        role: Role,
        /// Where it must be held.
        place: Place,
        /// What the scope of a token must name.
        area: Area,
    },
}

/// Where a role must be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Everywhere: the route knows no groups.
    Everywhere,
    /// In the group that is meant: the handler asks `Caller::require` for it, lists go by `Caller::reach`.
    Group,
}

/// A role that must be held everywhere.
const fn least(role: Role, area: Area) -> Access {
    Access::Least { role, place: Place::Everywhere, area }
}

/// A role that must be held in the group that is meant, which the handler finds out.
const fn in_group(role: Role, area: Area) -> Access {
    Access::Least { role, place: Place::Group, area }
}

/// A route without its handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// GET answers HEAD too.
    pub(crate) method: Method,
    /// As axum writes it: `/api/v1/sessions/{client_id}`.
    pub(crate) path: &'static str,
    /// Who may.
    pub(crate) access: Access,
}

impl Row {
    /// What a token's scope must hold: a viewer's route only looks, whatever its method (a query is a POST).
    pub(crate) fn verb(&self) -> Verb {
        match self.access {
            Access::Least { role: Role::Viewer, .. } => Verb::Read,
            _ if self.method == Method::GET => Verb::Read,
            _ => Verb::Write,
        }
    }
}

/// Routes being gathered.
struct Table {
    rows: Vec<Row>,
    router: Router<Arc<Parts>>,
}

impl Table {
    fn on<H, T>(mut self, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Arc<Parts>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that HTTP has");
        let row = Row { method, path, access };
        let judge = row.clone();
        let gate = from_fn(move |request, next| judged(judge.clone(), request, next));
        let handler: MethodRouter<Arc<Parts>> = on(filter, handler).route_layer(gate);
        self.router = self.router.route(path, handler);
        self.rows.push(row);
        self
    }
}

/// Every route.
pub(crate) fn all() -> (Vec<Row>, Router<Arc<Parts>>) {
    use Area::{Audit, Certificates, Devices, Keys, Policies, Readings, Sessions, Status, Users};
    use Role::{Admin, Operator, Viewer};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const PATCH: Method = Method::PATCH;
    const DELETE: Method = Method::DELETE;

    let table = Table { rows: Vec::new(), router: Router::new() }
        .on(GET, "/healthz", Access::Public, health::health)
        .on(GET, "/metrics", Access::Public, health::metrics)
        .on(GET, "/setup", Access::Public, login::setup_page)
        .on(POST, "/api/v1/setup", Access::Public, login::set_up)
        .on(POST, "/api/v1/login", Access::Public, login::log_in)
        .on(POST, "/api/v1/logout", Access::Anybody, login::log_out)
        .on(GET, "/api/v1/me", Access::Anybody, me::show)
        .on(GET, "/api/v1/users", least(Admin, Users), users::list)
        .on(POST, "/api/v1/users", least(Admin, Users), users::add)
        .on(GET, "/api/v1/users/{name}", least(Admin, Users), users::show)
        .on(DELETE, "/api/v1/users/{name}", least(Admin, Users), users::remove)
        .on(PUT, "/api/v1/users/{name}/roles", least(Admin, Users), users::set_roles)
        .on(POST, "/api/v1/users/{name}/password", least(Admin, Users), users::set_password)
        .on(GET, "/api/v1/logins", least(Admin, Users), users::logins)
        .on(DELETE, "/api/v1/logins/{id}", least(Admin, Users), users::end_login)
        .on(GET, "/api/v1/audit", least(Admin, Audit), audit::list)
        .on(GET, "/api/v1/audit/verify", least(Admin, Audit), audit::verify)
        .on(GET, "/api/v1/tokens", least(Admin, Users), tokens::list)
        .on(POST, "/api/v1/tokens", least(Admin, Users), tokens::add)
        .on(DELETE, "/api/v1/tokens/{id}", least(Admin, Users), tokens::remove)
        .on(GET, "/api/v1/status", least(Viewer, Status), status::status)
        .on(POST, "/api/v1/query", least(Viewer, Readings), query::query)
        .on(POST, "/api/v1/export/days", least(Viewer, Readings), export::days)
        .on(POST, "/api/v1/export", least(Viewer, Readings), export::export)
        .on(GET, "/api/v1/unrouted", least(Viewer, Readings), unrouted::unrouted)
        .on(GET, "/api/v1/reprocess", least(Viewer, Readings), reprocess::how_far)
        .on(POST, "/api/v1/reprocess", least(Operator, Readings), reprocess::start)
        .on(GET, "/api/v1/sessions", least(Viewer, Sessions), sessions::list)
        .on(GET, "/api/v1/sessions/{client_id}", least(Viewer, Sessions), sessions::show)
        .on(POST, "/api/v1/sessions/{client_id}/kick", least(Operator, Sessions), sessions::kick)
        .on(GET, "/api/v1/retained", least(Viewer, Sessions), sessions::retained)
        .on(DELETE, "/api/v1/retained", least(Operator, Sessions), sessions::clear)
        .on(GET, "/api/v1/devices", in_group(Viewer, Devices), devices::list::list)
        .on(POST, "/api/v1/devices", least(Operator, Devices), devices::add)
        .on(GET, "/api/v1/devices/{name}/certificates", least(Viewer, Certificates), certificates::list_of)
        .on(POST, "/api/v1/devices/{name}/certificates", least(Operator, Certificates), certificates::add)
        .on(GET, "/api/v1/ca", least(Viewer, Certificates), ca::show)
        .on(POST, "/api/v1/ca/root/export", least(Admin, Keys), ca::export)
        .on(POST, "/api/v1/ca/root/import", least(Admin, Keys), ca::import)
        .on(GET, "/api/v1/certificates", least(Viewer, Certificates), certificates::list)
        .on(GET, "/api/v1/certificates/{id}", least(Viewer, Certificates), certificates::show)
        .on(PATCH, "/api/v1/certificates/{id}", least(Operator, Certificates), certificates::change)
        .on(POST, "/api/v1/devices/import", least(Operator, Devices), devices::import::import)
        .on(GET, "/api/v1/devices/{name}", in_group(Viewer, Devices), one::show)
        .on(PATCH, "/api/v1/devices/{name}", in_group(Operator, Devices), one::change)
        .on(DELETE, "/api/v1/devices/{name}", in_group(Operator, Devices), one::remove)
        .on(POST, "/api/v1/devices/{name}/replace", in_group(Operator, Devices), one::replace)
        .on(PUT, "/api/v1/devices/{name}/quarantine", in_group(Operator, Devices), one::quarantine)
        .on(DELETE, "/api/v1/devices/{name}/quarantine", in_group(Operator, Devices), one::release)
        .on(DELETE, "/api/v1/devices/{name}/flags", in_group(Operator, Devices), one::clear)
        .on(PUT, "/api/v1/devices/{name}/groups/{*path}", in_group(Operator, Devices), one::join)
        .on(DELETE, "/api/v1/devices/{name}/groups/{*path}", in_group(Operator, Devices), one::leave)
        .on(GET, "/api/v1/groups", in_group(Viewer, Devices), groups::list)
        .on(POST, "/api/v1/groups", in_group(Operator, Devices), groups::add)
        .on(GET, "/api/v1/groups/{*path}", in_group(Viewer, Devices), groups::show)
        .on(DELETE, "/api/v1/groups/{*path}", in_group(Operator, Devices), groups::remove)
        .on(GET, "/api/v1/keys", least(Admin, Keys), keys::show)
        .on(POST, "/api/v1/keys/rotate", least(Admin, Keys), keys::rotate)
        .on(POST, "/api/v1/keys/recovery", least(Admin, Keys), keys::recovery)
        .on(GET, "/api/v1/devices/{name}/children", least(Viewer, Devices), policies::children)
        .on(PUT, "/api/v1/devices/{name}/children", least(Admin, Policies), policies::set_children)
        .on(GET, "/api/v1/policies", least(Viewer, Policies), policies::list)
        .on(GET, "/api/v1/policies/{name}", least(Viewer, Policies), policies::show)
        .on(PUT, "/api/v1/policies/{name}", least(Admin, Policies), policies::put)
        .on(DELETE, "/api/v1/policies/{name}", least(Admin, Policies), policies::remove)
        .on(POST, "/api/v1/policies/{name}/activate", least(Admin, Policies), policies::activate)
        .on(PUT, "/api/v1/policies/{name}/targets/{target}", least(Admin, Policies), policies::attach)
        .on(DELETE, "/api/v1/policies/{name}/targets/{target}", least(Admin, Policies), policies::detach)
        .on(POST, "/api/v1/decisions", least(Viewer, Policies), policies::decide)
        .on(POST, "/api/v1/backup", least(Admin, Keys), backup::backup);
    (table.rows, table.router)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// What everybody may reach without a proof. Written here once more, so that a route does not become public by a
    /// slip of the table.
    const PUBLIC: &[&str] = &["/healthz", "/metrics", "/setup", "/api/v1/setup", "/api/v1/login"];

    #[test]
    fn every_route_has_one_rule_and_no_change_is_a_viewers() {
        let (rows, _) = all();
        let mut seen = HashSet::new();
        for row in &rows {
            assert!(seen.insert((row.method.clone(), row.path)), "{row:?} twice");
            match row.access {
                Access::Public => assert!(PUBLIC.contains(&row.path), "{row:?} is open to everybody"),
                Access::Anybody => {}
                Access::Least { role, area, .. } => {
                    // What asks by POST and changes nothing.
                    let asks =
                        ["/api/v1/query", "/api/v1/export", "/api/v1/export/days", "/api/v1/decisions"]
                            .contains(&row.path);
                    let is_change = row.method != Method::GET && !asks;
                    assert!(!is_change || role >= Role::Operator, "{row:?} changes something");
                    let for_admins = matches!(area, Area::Users | Area::Policies | Area::Keys);
                    assert!(!(is_change && for_admins) || role == Role::Admin, "{row:?} decides who may");
                }
            }
        }
    }

    #[test]
    fn no_route_is_made_beside_the_table() {
        for (name, text) in [("lib.rs", include_str!("lib.rs")), ("auth.rs", include_str!("auth.rs"))] {
            assert!(!text.contains(".route("), "{name}: a route belongs into `routes::all`");
        }
    }
}
