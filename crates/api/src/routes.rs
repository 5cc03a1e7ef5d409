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
use crate::openapi::told::{Arguments, Gives, Takes};
use crate::{
    Parts, actions, alerts, audit, backtest, backup, ca, certificates, devices, export, grounds, groups,
    health, keys, login, me, openapi, policies, provisioning, query, reprocess, rules, sessions, silences,
    status, tokens, unrouted, users,
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

/// A row, and what the document of the API (`openapi`) says of it.
#[derive(Debug)]
pub(crate) struct Route {
    /// The rule.
    pub(crate) row: Row,
    /// By the types of the handler.
    pub(crate) takes: Takes,
    /// By status.
    pub(crate) gives: Vec<Gives>,
    /// It looks at `If-Match`.
    pub(crate) if_match: bool,
}

/// Routes being gathered.
struct Table {
    rows: Vec<Route>,
    router: Router<Arc<Parts>>,
}

impl Table {
    fn on<H, T>(mut self, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Arc<Parts>>,
        T: Arguments + 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that HTTP has");
        let row = Row { method, path, access };
        let judge = row.clone();
        let gate = from_fn(move |request, next| judged(judge.clone(), request, next));
        let handler: MethodRouter<Arc<Parts>> = on(filter, handler).route_layer(gate);
        self.router = self.router.route(path, handler);
        self.rows.push(Route { row, takes: T::takes(), gives: Vec::new(), if_match: false });
        self
    }

    /// What the last one gives.
    fn gives(mut self, gives: Gives) -> Self {
        self.rows.last_mut().expect("behind a route").gives.push(gives);
        self
    }

    /// The last one looks at `If-Match`.
    fn if_match(mut self) -> Self {
        self.rows.last_mut().expect("behind a route").if_match = true;
        self
    }
}

/// Every route.
pub(crate) fn all() -> (Vec<Route>, Router<Arc<Parts>>) {
    use Area::{Alerts, Audit, Certificates, Devices, Keys, Policies, Readings, Sessions, Status, Users};
    use Role::{Admin, Operator, Viewer};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const PATCH: Method = Method::PATCH;
    const DELETE: Method = Method::DELETE;

    let table = Table { rows: Vec::new(), router: Router::new() }
        .on(GET, "/healthz", Access::Public, health::health)
        .gives(Gives::media(200, &["text/plain"]))
        .on(GET, "/metrics", Access::Public, health::metrics)
        .gives(Gives::media(200, &["text/plain"]))
        .on(GET, "/setup", Access::Public, login::setup_page)
        .gives(Gives::media(200, &["text/html"]))
        .on(POST, "/api/v1/setup", Access::Public, login::set_up)
        .gives(Gives::none(201))
        .on(POST, "/api/v1/login", Access::Public, login::log_in)
        .gives(Gives::one::<login::LoggedIn>(200))
        .on(POST, "/api/v1/logout", Access::Anybody, login::log_out)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/me", Access::Anybody, me::show)
        .gives(Gives::one::<me::Me>(200))
        .on(POST, "/api/v1/me/password", Access::Anybody, login::change_password)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/openapi.json", Access::Anybody, openapi::show)
        .gives(Gives::media(200, &["application/json"]))
        .on(GET, "/api/v1/users", least(Admin, Users), users::list)
        .gives(Gives::one::<users::Users>(200))
        .on(POST, "/api/v1/users", least(Admin, Users), users::add)
        .gives(Gives::one::<users::Made>(201))
        .on(GET, "/api/v1/users/{name}", least(Admin, Users), users::show)
        .gives(Gives::one::<users::User>(200))
        .on(DELETE, "/api/v1/users/{name}", least(Admin, Users), users::remove)
        .gives(Gives::none(204))
        .if_match()
        .on(PUT, "/api/v1/users/{name}/roles", least(Admin, Users), users::set_roles)
        .gives(Gives::none(204))
        .if_match()
        .on(POST, "/api/v1/users/{name}/password", least(Admin, Users), users::set_password)
        .gives(Gives::one::<users::Made>(200))
        .on(GET, "/api/v1/logins", least(Admin, Users), users::logins)
        .gives(Gives::one::<users::Logins>(200))
        .on(DELETE, "/api/v1/logins/{id}", least(Admin, Users), users::end_login)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/audit", least(Admin, Audit), audit::list)
        .gives(Gives::one::<audit::AuditEntries>(200))
        .on(GET, "/api/v1/audit/verify", least(Admin, Audit), audit::verify)
        .gives(Gives::one::<audit::AuditVerdict>(200))
        .on(GET, "/api/v1/tokens", least(Admin, Users), tokens::list)
        .gives(Gives::one::<tokens::Tokens>(200))
        .on(POST, "/api/v1/tokens", least(Admin, Users), tokens::add)
        .gives(Gives::one::<tokens::Token>(201))
        .on(DELETE, "/api/v1/tokens/{id}", least(Admin, Users), tokens::remove)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/status", least(Viewer, Status), status::status)
        .gives(Gives::one::<status::Status>(200))
        .on(POST, "/api/v1/query", least(Viewer, Readings), query::query)
        .gives(Gives::media(200, &["application/json", "text/csv", "text/plain"]))
        .on(POST, "/api/v1/export/days", least(Viewer, Readings), export::days)
        .gives(Gives::one::<export::Days>(200))
        .on(POST, "/api/v1/export", least(Viewer, Readings), export::export)
        .gives(Gives::media(200, export::MEDIA))
        .on(GET, "/api/v1/unrouted", least(Viewer, Readings), unrouted::unrouted)
        .gives(Gives::one::<unrouted::Unrouted>(200))
        .on(GET, "/api/v1/reprocess", least(Viewer, Readings), reprocess::how_far)
        .gives(Gives::one::<reprocess::Reprocessed>(200).or_null())
        .on(POST, "/api/v1/reprocess", least(Operator, Readings), reprocess::start)
        .gives(Gives::one::<reprocess::Reprocessed>(202).or_null())
        .on(GET, "/api/v1/sessions", in_group(Viewer, Sessions), sessions::list)
        .gives(Gives::one::<sessions::Sessions>(200))
        .on(GET, "/api/v1/sessions/{client_id}", in_group(Viewer, Sessions), sessions::show)
        .gives(Gives::one::<sessions::Session>(200))
        .on(POST, "/api/v1/sessions/{client_id}/kick", in_group(Operator, Sessions), sessions::kick)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/alerts", in_group(Viewer, Alerts), alerts::list)
        .gives(Gives::one::<alerts::Alerts>(200))
        .on(GET, "/api/v1/alerts/{id}", in_group(Viewer, Alerts), alerts::show)
        .gives(Gives::one::<alerts::Explained>(200))
        .on(GET, "/api/v1/alerts/{id}/readings", in_group(Viewer, Alerts), grounds::show)
        .gives(Gives::one::<grounds::AlertReadings>(200))
        .on(POST, "/api/v1/alerts/{id}/acknowledge", in_group(Operator, Alerts), alerts::acknowledge)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/silences", in_group(Viewer, Alerts), silences::list)
        .gives(Gives::one::<silences::Silences>(200))
        .on(POST, "/api/v1/silences", in_group(Operator, Alerts), silences::make)
        .gives(Gives::one::<silences::Silence>(201))
        .on(DELETE, "/api/v1/silences/{id}", in_group(Operator, Alerts), silences::expire)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/inbox", in_group(Viewer, Alerts), alerts::inbox)
        .gives(Gives::one::<alerts::Inbox>(200))
        .on(GET, "/api/v1/receivers", least(Viewer, Alerts), alerts::receivers)
        .gives(Gives::one::<alerts::Receivers>(200))
        .on(GET, "/api/v1/dead-letters", least(Viewer, Alerts), alerts::dead_letters)
        .gives(Gives::one::<alerts::DeadLetters>(200))
        .on(POST, "/api/v1/dead-letters/retry", least(Operator, Alerts), alerts::retry)
        .gives(Gives::one::<alerts::Retried>(200))
        .on(GET, "/api/v1/retained", least(Viewer, Sessions), sessions::retained)
        .gives(Gives::one::<sessions::RetainedPage>(200))
        .on(DELETE, "/api/v1/retained", least(Operator, Sessions), sessions::clear)
        .gives(Gives::one::<sessions::Cleared>(200))
        .on(GET, "/api/v1/devices", in_group(Viewer, Devices), devices::list::list)
        .gives(Gives::one::<devices::list::Devices>(200))
        .on(POST, "/api/v1/devices", in_group(Operator, Devices), devices::add)
        .gives(
            Gives::one::<devices::Added>(201)
                .or(Gives::both::<certificates::Shown, certificates::Beside>(201)),
        )
        .on(GET, "/api/v1/devices/{name}/certificates", in_group(Viewer, Certificates), certificates::list_of)
        .gives(Gives::one::<certificates::Page>(200))
        .on(POST, "/api/v1/devices/{name}/certificates", in_group(Operator, Certificates), certificates::add)
        .gives(Gives::both::<certificates::Shown, certificates::Beside>(201))
        .on(GET, "/api/v1/ca", least(Viewer, Certificates), ca::show)
        .gives(Gives::one::<ca::Shown>(200))
        .on(POST, "/api/v1/ca/root/export", least(Admin, Keys), ca::export)
        .gives(Gives::one::<ca::Exported>(200))
        .on(POST, "/api/v1/ca/root/import", least(Admin, Keys), ca::import)
        .gives(Gives::one::<ca::Imported>(200))
        .on(GET, "/api/v1/certificates", in_group(Viewer, Certificates), certificates::list)
        .gives(Gives::one::<certificates::Page>(200))
        .on(GET, "/api/v1/certificates/{id}", in_group(Viewer, Certificates), certificates::show)
        .gives(Gives::one::<certificates::Shown>(200))
        .on(PATCH, "/api/v1/certificates/{id}", in_group(Operator, Certificates), certificates::change)
        .gives(Gives::both::<certificates::Shown, certificates::Followers>(200))
        .on(POST, "/api/v1/devices/import", least(Operator, Devices), devices::import::import)
        .gives(Gives::one::<devices::import::Told>(200))
        .on(GET, "/api/v1/devices/{name}", in_group(Viewer, Devices), one::show)
        .gives(Gives::both::<devices::shown::Device, one::Beside>(200))
        .on(PATCH, "/api/v1/devices/{name}", in_group(Operator, Devices), one::change)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(DELETE, "/api/v1/devices/{name}", in_group(Operator, Devices), one::remove)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(POST, "/api/v1/devices/{name}/replace", in_group(Operator, Devices), one::replace)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(PUT, "/api/v1/devices/{name}/quarantine", in_group(Operator, Devices), one::quarantine)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(DELETE, "/api/v1/devices/{name}/quarantine", in_group(Operator, Devices), one::release)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(DELETE, "/api/v1/devices/{name}/flags", in_group(Operator, Devices), one::clear)
        .gives(Gives::one::<one::Cleared>(200))
        .on(PUT, "/api/v1/devices/{name}/groups/{*path}", in_group(Operator, Devices), one::join)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(DELETE, "/api/v1/devices/{name}/groups/{*path}", in_group(Operator, Devices), one::leave)
        .gives(Gives::one::<devices::shown::Device>(200))
        .if_match()
        .on(GET, "/api/v1/groups", in_group(Viewer, Devices), groups::list)
        .gives(Gives::one::<groups::Groups>(200))
        .on(POST, "/api/v1/groups", in_group(Operator, Devices), groups::add)
        .gives(Gives::one::<groups::Made>(201))
        .on(GET, "/api/v1/groups/{*path}", in_group(Viewer, Devices), groups::show)
        .gives(Gives::one::<groups::Group>(200))
        .on(DELETE, "/api/v1/groups/{*path}", in_group(Operator, Devices), groups::remove)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/keys", least(Admin, Keys), keys::show)
        .gives(Gives::one::<keys::Status>(200))
        .on(POST, "/api/v1/keys/rotate", least(Admin, Keys), keys::rotate)
        .gives(Gives::one::<keys::Rotated>(200))
        .on(POST, "/api/v1/keys/recovery", least(Admin, Keys), keys::recovery)
        .gives(Gives::one::<keys::Recovery>(200))
        .on(GET, "/api/v1/devices/{name}/children", least(Viewer, Devices), policies::children)
        .gives(Gives::one::<policies::Children>(200))
        .on(PUT, "/api/v1/devices/{name}/children", least(Admin, Policies), policies::set_children)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/policies", least(Viewer, Policies), policies::list)
        .gives(Gives::one::<policies::Listed>(200))
        .on(GET, "/api/v1/policies/{name}", least(Viewer, Policies), policies::show)
        .gives(Gives::both::<policies::About, policies::Beside>(200))
        .on(PUT, "/api/v1/policies/{name}", least(Admin, Policies), policies::put)
        .gives(Gives::one::<policies::Put>(200))
        .gives(Gives::one::<policies::Put>(201))
        .if_match()
        .on(DELETE, "/api/v1/policies/{name}", least(Admin, Policies), policies::remove)
        .gives(Gives::none(204))
        .if_match()
        .on(POST, "/api/v1/policies/{name}/activate", least(Admin, Policies), policies::activate)
        .gives(Gives::none(204))
        .if_match()
        .on(PUT, "/api/v1/policies/{name}/targets/{target}", least(Admin, Policies), policies::attach)
        .gives(Gives::none(201))
        .gives(Gives::none(204))
        .on(DELETE, "/api/v1/policies/{name}/targets/{target}", least(Admin, Policies), policies::detach)
        .gives(Gives::none(204))
        .on(GET, "/api/v1/provisioning-templates", least(Admin, Policies), provisioning::list)
        .gives(Gives::one::<provisioning::Listed>(200))
        .on(GET, "/api/v1/provisioning-templates/{name}", least(Admin, Policies), provisioning::show)
        .gives(Gives::one::<provisioning::Shown>(200))
        .on(PUT, "/api/v1/provisioning-templates/{name}", least(Admin, Policies), provisioning::put)
        .gives(Gives::one::<provisioning::Put>(200))
        .gives(Gives::one::<provisioning::Put>(201))
        .on(DELETE, "/api/v1/provisioning-templates/{name}", least(Admin, Policies), provisioning::remove)
        .gives(Gives::one::<provisioning::Removed>(200))
        .on(POST, "/api/v1/provisioning-templates/{name}/claims", least(Admin, Policies), provisioning::claim)
        .gives(Gives::one::<provisioning::Made>(201))
        .on(POST, "/api/v1/decisions", least(Viewer, Policies), policies::decide)
        .gives(Gives::one::<policies::Decided>(200))
        .on(GET, "/api/v1/rules", least(Viewer, Alerts), rules::list)
        .gives(Gives::one::<rules::Rules>(200))
        .on(GET, "/api/v1/rules/{name}", least(Viewer, Alerts), rules::one)
        .gives(Gives::one::<rules::RuleHistory>(200))
        .on(POST, "/api/v1/backtest", least(Viewer, Readings), backtest::run)
        .gives(Gives::lines::<backtest::BacktestLine>(200))
        .on(GET, "/api/v1/actions", least(Viewer, Alerts), actions::list)
        .gives(Gives::one::<actions::Actions>(200))
        .on(GET, "/api/v1/actions/dead-letters", least(Viewer, Alerts), actions::letters)
        .gives(Gives::one::<actions::ActionLetters>(200))
        .on(DELETE, "/api/v1/actions/dead-letters/{id}", least(Operator, Alerts), actions::discard)
        .gives(Gives::none(204))
        .on(POST, "/api/v1/actions/dead-letters/{id}/retry", least(Operator, Alerts), actions::retry)
        .gives(Gives::one::<actions::ActionRetried>(200))
        .on(POST, "/api/v1/backup", least(Admin, Keys), backup::backup)
        .gives(Gives::media(200, &["application/x-tar"]));
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
        for Route { row, .. } in &rows {
            assert!(seen.insert((row.method.clone(), row.path)), "{row:?} twice");
            match row.access {
                Access::Public => assert!(PUBLIC.contains(&row.path), "{row:?} is open to everybody"),
                Access::Anybody => {}
                Access::Least { role, area, .. } => {
                    // What asks by POST and changes nothing.
                    let asks = [
                        "/api/v1/query",
                        "/api/v1/export",
                        "/api/v1/export/days",
                        "/api/v1/decisions",
                        "/api/v1/backtest",
                    ]
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
