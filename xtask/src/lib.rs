//! Reads the house as text: its crates, their manifests, their modules. The laws themselves are `tests/tidy.rs`.
//!
//! Nothing here is part of the product, so it may read files as it likes.
#![expect(clippy::disallowed_methods, reason = "a check of the source tree reads the source tree")]

use std::fs;
use std::path::{Path, PathBuf};

/// A crate of the house.
pub struct Room {
    /// Its name, which is the name of its folder too.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its `Cargo.toml`.
    pub manifest: toml::Table,
}

impl Room {
    /// The names in one of its dependency tables, such as `dependencies`.
    #[must_use]
    pub fn dependencies(&self, table: &str) -> Vec<&str> {
        let table = self.manifest.get(table).and_then(toml::Value::as_table);
        table.map(|table| table.keys().map(String::as_str).collect()).unwrap_or_default()
    }
}

/// The root of the checkout. Asked when it runs: a build folder that several checkouts share may hand one the
/// program that another built.
///
/// # Panics
/// When it is not run by cargo.
#[must_use]
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    Path::new(&here).parent().expect("xtask is in the root").to_owned()
}

/// Every crate under `crates/`, by name.
///
/// # Panics
/// When the tree cannot be read or a manifest is malformed: there is nothing to check then.
#[must_use]
pub fn rooms() -> Vec<Room> {
    let mut rooms: Vec<Room> = entries(&root().join("crates"))
        .into_iter()
        .map(|dir| {
            let text = read(&dir.join("Cargo.toml"));
            let manifest: toml::Table = text.parse().expect("a manifest is TOML");
            let name = manifest["package"]["name"].as_str().expect("a package has a name").to_owned();
            Room { name, dir, manifest }
        })
        .collect();
    rooms.sort_by(|a, b| a.name.cmp(&b.name));
    rooms
}

/// Every file below `dir` whose name ends with `suffix`, build output left out.
#[must_use]
pub fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(dir) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | ".git" | "node_modules") {
            found.extend(files(&path, suffix));
        } else if name.ends_with(suffix) {
            found.push(path);
        }
    }
    found
}

/// The text of a file.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}
