//! `GET /api/v1/openapi.json`: the API by OpenAPI 3.1, made of the one table of routes.
//!
//! Paths, the role and the scope that each needs, parameters, bodies and answers. The shapes of bodies and queries come from
//! the types that the handlers read, those of answers from the types that their rows name; all are asked of serde (`shape`).
//! There is no generator behind it: the one that is common turns on a feature of a crate that the query engine uses too, and
//! wants every route written a second time. The law: a route is in it because it is in the table; nobody writes it twice.

pub(crate) mod shape;
pub(crate) mod told;

use std::collections::BTreeMap;

use axum::Extension;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::cookie::CSRF_HEADER;
use crate::routes::{Access, Place, Route};
use told::{Gives, Named, Takes};

/// The document, made once.
#[derive(Clone)]
pub(crate) struct Document(Bytes);

impl Document {
    /// Of these routes.
    pub(crate) fn of(routes: &[Route]) -> Self {
        Self(Bytes::from(document(routes).to_string()))
    }
}

/// Shows it.
pub(crate) async fn show(Extension(Document(text)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The schemas that have names.
#[derive(Default)]
struct Schemas(BTreeMap<String, (&'static str, Value)>);

impl Schemas {
    /// A reference to one.
    fn refer(&mut self, named: Named) -> Value {
        let name = named.name();
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        // A test walks every row: there is no type here that serde does not tell.
        self.0
            .entry(name)
            .or_insert_with(|| ((named.path)(), (named.schema)().unwrap_or_else(|_| json!({}))));
        reference
    }
}

fn document(routes: &[Route]) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = paths.entry(written(route.row.path)).or_insert_with(|| json!({}));
        path[route.row.method.as_str().to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    let mut components: Map<String, Value> =
        schemas.0.into_iter().map(|(name, (_, schema))| (name, schema)).collect();
    components.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Godwit",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Lists are pages: `limit` and `after` ask, `next` in the answer is the `after` of the next one. What has an \
                 `ETag` takes `If-Match`: a change of another version than that is refused. A change that comes by the \
                 cookie of a login needs the header `{CSRF_HEADER}`. Refusals are problem documents (RFC 9457). Times are \
                 RFC 3339."
            ),
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "made by `godwit token add`" },
                "login": { "type": "apiKey", "in": "cookie", "name": "godwit", "description": "set by POST /api/v1/login" },
            },
            "schemas": components,
            "responses": { "Refused": {
                "description": "it is refused; nothing was changed",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            } },
        },
    })
}

/// A path as OpenAPI writes it: it does not know that a parameter may hold `/`.
fn written(path: &str) -> String {
    path.replace("{*", "{")
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "description": "a slug that is never reused: `/problems/api.role`" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "what is wrong" },
            "hint": { "type": "string", "description": "what can be done" },
        },
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let row = &route.row;
    let method = row.method.as_str().to_ascii_lowercase();
    let words = row.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: Vec<&str> = std::iter::once(method.as_str()).chain(words).collect();
    let mut responses: Map<String, Value> =
        route.gives.iter().map(|gives| (gives.status.to_string(), response(gives, schemas))).collect();
    responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Refused" }));
    let mut operation = json!({
        "operationId": name.join("_"),
        "parameters": parameters(route),
        "responses": responses,
    });
    if let Some(body) = body(&route.takes, schemas) {
        operation["requestBody"] = body;
    }
    let proofs = json!([{ "token": [] }, { "login": [] }]);
    (operation["description"], operation["security"]) = match row.access {
        Access::Public => (json!("Open to everybody."), json!([])),
        Access::Anybody => (json!("For everybody who proved who they are."), proofs),
        Access::Least { role, place, area } => {
            let held = match place {
                Place::Everywhere => "everywhere",
                Place::Group => "in the group that is meant",
            };
            let scope = format!("{}:{}", area.name(), row.verb().name());
            operation["tags"] = json!([area.name()]);
            operation["x-godwit-role"] = json!(role.to_string());
            operation["x-godwit-scope"] = json!(scope);
            (json!(format!("Needs role `{role}` {held}; of a token, the scope `{scope}`.")), proofs)
        }
    };
    operation
}

fn parameters(route: &Route) -> Value {
    let row = &route.row;
    let names = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| match name.strip_prefix('*') {
            None => json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
            Some(name) => json!({
                "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                "description": "the rest of the path; `/` in it stays as it is",
            }),
        })
        .collect();
    if let Some(query) = route.takes.query {
        let schema = (query.schema)().unwrap_or_default();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What is not there is absent: a query has no `null`.
            let mut schema = schema.clone();
            if let Some(kind) = schema["type"].as_array().and_then(|kinds| kinds.first()).cloned() {
                schema["type"] = kind;
            }
            let required = required.contains(&json!(name));
            parameters.push(json!({ "name": name, "in": "query", "required": required, "schema": schema }));
        }
    }
    if route.if_match {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "the `ETag` that was read: what was changed meanwhile is not changed",
        }));
    }
    // Of a login, and of a change: a token needs none.
    if row.access != Access::Public && row.method != Method::GET {
        parameters.push(json!({
            "name": CSRF_HEADER, "in": "header", "required": false, "schema": { "type": "string" },
            "description": "with the cookie of a login: `csrf` of GET /api/v1/me",
        }));
    }
    json!(parameters)
}

fn body(takes: &Takes, schemas: &mut Schemas) -> Option<Value> {
    let schema = match (takes.body, takes.text) {
        (Some(named), _) => schemas.refer(named),
        (None, true) => json!({ "type": "object" }),
        (None, false) => return None,
    };
    Some(json!({ "required": true, "content": { "application/json": { "schema": schema } } }))
}

fn response(gives: &Gives, schemas: &mut Schemas) -> Value {
    let mut forms: Vec<Value> = Vec::new();
    for parts in &gives.json {
        let mut parts: Vec<Value> = parts.iter().map(|part| schemas.refer(*part)).collect();
        forms.push(if parts.len() == 1 { parts.remove(0) } else { json!({ "allOf": parts }) });
    }
    if gives.or_null {
        forms.push(json!({ "type": "null" }));
    }
    let mut content: Map<String, Value> =
        gives.media.iter().map(|&media| (media.to_owned(), json!({}))).collect();
    if !forms.is_empty() {
        let schema = if forms.len() == 1 { forms.remove(0) } else { json!({ "anyOf": forms }) };
        let media = if gives.lines { crate::backtest::LINES } else { "application/json" };
        content.insert(media.to_owned(), json!({ "schema": schema }));
    }
    let mut response = json!({ "description": "it is done" });
    if !content.is_empty() {
        response["content"] = Value::Object(content);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn read() -> (Vec<Route>, Value) {
        let (routes, _) = crate::routes::all();
        let Document(text) = Document::of(&routes);
        let document = serde_json::from_slice(&text).expect("it is JSON");
        (routes, document)
    }

    #[test]
    fn every_route_is_in_it_with_its_role_its_parameters_and_a_name_of_its_own() {
        let (routes, document) = read();
        let mut names = HashSet::new();
        for Route { row, .. } in &routes {
            let operation = &document["paths"][written(row.path)][row.method.as_str().to_ascii_lowercase()];
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{row:?} is not in it"));
            assert!(names.insert(name.to_owned()), "{name} twice");
            match row.access {
                Access::Public => assert_eq!(operation["security"], json!([]), "{row:?}"),
                Access::Anybody => assert_eq!(operation["security"][0], json!({ "token": [] }), "{row:?}"),
                Access::Least { role, area, .. } => {
                    assert_eq!(operation["x-godwit-role"], json!(role.to_string()), "{row:?}");
                    let said = operation["description"].as_str().expect("a text");
                    let scope = format!("`{}:{}`", area.name(), row.verb().name());
                    assert!(said.contains(&format!("`{role}`")) && said.contains(&scope), "{said}");
                    assert_eq!(operation["security"].as_array().map(Vec::len), Some(2), "{row:?}");
                }
            }
            let in_path: Vec<&str> = operation["parameters"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            assert_eq!(in_path.len(), row.path.matches('{').count(), "{row:?}");
            assert!(in_path.iter().all(|name| written(row.path).contains(&format!("{{{name}}}"))), "{row:?}");
        }
        let paths = document["paths"].as_object().expect("paths").values();
        let told: usize = paths.map(|path| path.as_object().map_or(0, Map::len)).sum();
        assert_eq!(told, routes.len(), "and nothing else");
    }

    #[test]
    fn every_type_is_told_by_serde_and_has_a_name_of_its_own() {
        let (routes, _) = read();
        let mut paths: HashMap<String, &str> = HashMap::new();
        for Route { row, takes, gives, .. } in &routes {
            let given = gives.iter().flat_map(|gives| gives.json.iter().flatten());
            for named in takes.query.iter().chain(&takes.body).chain(given) {
                let path = (named.path)();
                let schema = (named.schema)();
                assert!(schema.as_ref().is_ok_and(|schema| schema["type"] == "object"), "{path}: {schema:?}");
                assert_ne!(named.name(), "Problem");
                let known = paths.entry(named.name()).or_insert(path);
                assert_eq!(*known, path, "{row:?}: both are `{}`", named.name());
            }
        }
        assert!(paths.len() > 50, "{}", paths.len());
    }

    #[test]
    fn every_row_says_what_it_gives_and_what_takes_a_version_says_so() {
        let (routes, _) = read();
        for Route { row, takes, gives, if_match } in &routes {
            assert!(!gives.is_empty(), "{row:?}: say it in `routes::all` with `.gives(…)`");
            let changes_one = [Method::PUT, Method::PATCH, Method::DELETE].contains(&row.method);
            assert!(!(changes_one && takes.headers) || *if_match, "{row:?}: say it with `.if_match()`");
            assert!(!if_match || takes.headers, "{row:?} does not look at it");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value, seen: &mut usize) {
            match value {
                Value::Object(map) => {
                    if let Some(reference) = map.get("$ref") {
                        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
                        let found = pointer.and_then(|pointer| document.pointer(pointer));
                        assert!(found.is_some_and(|found| found != &json!({})), "{reference} leads nowhere");
                        *seen += 1;
                    }
                    map.values().for_each(|value| walk(value, document, seen));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, document, seen)),
                _ => {}
            }
        }
        let (routes, document) = read();
        let mut seen = 0;
        walk(&document, &document, &mut seen);
        assert!(seen > routes.len(), "{seen}");
    }

    #[test]
    fn bodies_queries_and_answers_are_those_of_the_code() {
        let (_, document) = read();
        let schema = |name: &str| &document["components"]["schemas"][name];
        assert_eq!(schema("UsersNew")["required"], json!(["name"]));
        assert_eq!(schema("UsersNew")["properties"]["roles"]["items"], json!({ "type": "string" }));
        let limit = document["paths"]["/api/v1/audit"]["get"]["parameters"]
            .as_array()
            .and_then(|list| list.iter().find(|parameter| parameter["name"] == "limit"));
        assert_eq!(limit.expect("a page")["schema"], json!({ "type": "integer", "minimum": 0 }));
        let one = &document["paths"]["/api/v1/users/{name}"]["get"]["responses"]["200"];
        let reference = &one["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(reference, "#/components/schemas/User");
        assert_eq!(schema("User")["required"], json!(["name", "roles", "revision", "created", "tokens"]));
    }
}
