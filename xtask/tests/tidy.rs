//! The laws of the house (ARCHITECTURE.md). Each fails with the place and what would be right.

use std::collections::BTreeMap;

use xtask::{files, read, rooms, root};

/// What a crate may import of the house: the rows of the picture in ARCHITECTURE.md.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("host", &["model"]),
    ("mqtt", &["model"]),
    ("catalog", &["model", "host"]),
    ("journal", &["model", "host"]),
    ("client", &["model", "host", "mqtt"]),
    ("identity", &["model", "host", "catalog", "journal"]),
    ("series", &["model", "host", "journal"]),
    ("rules", &["model"]),
    ("alerts", &["model", "host", "catalog", "journal", "identity", "rules", "series"]),
    ("sinks", &["model", "host", "catalog", "journal", "rules"]),
    ("broker", &["model", "host", "mqtt", "catalog", "journal", "identity"]),
    ("ingress", &["model", "host", "journal", "identity"]),
    ("api", &["model", "host", "journal", "identity", "rules", "series", "alerts", "sinks"]),
    (
        "godwit",
        &[
            "model", "host", "mqtt", "catalog", "journal", "client", "identity", "rules", "series", "alerts",
            "sinks", "broker", "ingress", "api",
        ],
    ),
];

/// Outside crates that have one home, so that what they know is known in one place.
const ONE_HOME: &[(&str, &[&str])] = &[
    ("arrow", &["series"]),
    ("datafusion", &["series"]),
    ("parquet", &["series"]),
    ("object_store", &["series"]),
    ("rusqlite", &["catalog"]),
    ("lettre", &["alerts"]),
    ("sqlparser", &["rules"]),
    ("axum", &["api", "ingress"]),
    ("getrandom", &["host"]),
    ("anyhow", &["godwit"]),
    ("clap", &["godwit"]),
];

/// Names that say nothing about what is inside.
const NO_ROOM: &[&str] = &["common", "core", "util", "utils", "helper", "helpers", "misc"];

#[test]
fn a_crate_imports_only_what_its_row_allows() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let rooms = rooms();
    let mut wrong = Vec::new();
    for room in &rooms {
        let Some(row) = allowed.get(room.name.as_str()) else {
            wrong.push(format!("`{}` has no row: give it one here and in ARCHITECTURE.md", room.name));
            continue;
        };
        for name in room.dependencies("dependencies") {
            if rooms.iter().any(|other| other.name == name) && !row.contains(&name) {
                wrong.push(format!("`{}` imports `{name}`; it may import {row:?}", room.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_has_one_home_is_imported_only_there() {
    let mut wrong = Vec::new();
    for room in rooms() {
        for name in room.dependencies("dependencies") {
            let homes = ONE_HOME.iter().find(|(outside, _)| *outside == name).map(|(_, homes)| *homes);
            if let Some(homes) = homes.filter(|homes| !homes.contains(&room.name.as_str())) {
                wrong.push(format!("`{}` imports `{name}`, whose home is {homes:?}", room.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn versions_and_lints_are_written_once() {
    let mut wrong = Vec::new();
    for room in rooms() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in room.dependencies(table) {
                let line = &room.manifest[table][name];
                if line.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    wrong.push(format!("`{}`: `{name}` must say `workspace = true`", room.name));
                }
            }
        }
        let lints = room.manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            wrong.push(format!("`{}` must have `[lints] workspace = true`", room.name));
        }
        if room.manifest["package"].get("description").and_then(toml::Value::as_str).unwrap_or("").is_empty()
        {
            wrong.push(format!("`{}` must say in `description` what it owns", room.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_of_the_house_is_used_by_a_room() {
    let workspace: toml::Table = read(&root().join("Cargo.toml")).parse().expect("TOML");
    let listed = workspace["workspace"]["dependencies"].as_table().expect("a table");
    let rooms = rooms();
    let used = |name: &str| {
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        name == "toml"
            || rooms.iter().any(|room| tables.iter().any(|table| room.dependencies(table).contains(&name)))
    };
    let unused: Vec<&String> = listed.keys().filter(|name| !used(name)).collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}");
}

#[test]
fn every_module_says_what_it_is() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        if !read(&path).starts_with("//!") {
            wrong.push(format!("{} must open with `//!`: what it is, what it is not", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let wrong: Vec<String> = rust_files()
        .iter()
        .filter(|path| {
            // As seen from the root: the path above it is not ours to judge.
            let inside = path.strip_prefix(root()).unwrap_or(path);
            let mut words = inside.iter().map(|part| part.to_string_lossy());
            words.any(|word| NO_ROOM.contains(&word.trim_end_matches(".rs")))
        })
        .map(|path| format!("{}: name it after what it holds", path.display()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_is_skipped_and_nothing_is_left_to_do() {
    // Put together here, so that this file does not find itself.
    let banned = ["#[ig", "nore", "to", "do!(", "unimple", "mented!(", "FIX", "ME"];
    let banned: Vec<String> = banned.chunks(2).map(<[&str]>::concat).collect();
    let mut wrong = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word.as_str())) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_mqtt_knows_packet_bytes_and_only_catalog_knows_its_database() {
    // Imports are checked above; this finds what needs no import: SQL of one database, JSON of the API.
    let mut wrong = Vec::new();
    for room in rooms() {
        for path in files(&room.dir.join("src"), ".rs") {
            let text = read(&path);
            if room.name != "catalog" && text.contains("PRAGMA ") {
                wrong.push(format!(
                    "{}: `PRAGMA` is SQLite's; only `catalog` knows the database",
                    path.display()
                ));
            }
            if room.name != "api" && text.contains("application/problem+json") && room.name != "godwit" {
                wrong.push(format!("{}: only `api` writes public JSON", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pages_a_newcomer_needs_are_there() {
    let pages =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", ".ci/run"];
    let missing: Vec<&str> = pages.into_iter().filter(|page| !root().join(page).exists()).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let picture = read(&root().join("ARCHITECTURE.md"));
    let absent: Vec<&str> =
        MAY_IMPORT.iter().map(|row| row.0).filter(|name| !picture.contains(&format!("`{name}`"))).collect();
    assert!(absent.is_empty(), "ARCHITECTURE.md does not name {absent:?}");
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let text = read(&root().join("docs/security.md"));
    let tests: Vec<String> = rust_files().iter().map(|path| read(path)).collect();
    let mut threats = 0;
    for (number, section) in text.split("\n## ").enumerate().skip(2) {
        let (_, shown) =
            section.split_once("Shown by ").unwrap_or_else(|| panic!("section {number} shows nothing"));
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(named.len() >= 3, "section {number} names {named:?}");
        for name in named {
            let written = format!("fn {name}(");
            assert!(
                tests.iter().any(|text| text.contains(&written)),
                "docs/security.md: there is no test `{name}`"
            );
        }
        threats += 1;
    }
    assert!(threats >= 6, "{threats} threats");
}

fn rust_files() -> Vec<std::path::PathBuf> {
    let mut found = files(&root().join("crates"), ".rs");
    found.extend(files(&root().join("xtask"), ".rs"));
    assert!(found.len() > 40, "the house has rooms");
    found
}
