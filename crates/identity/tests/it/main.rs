//! Laws of identity, seen from outside.

mod audit;
mod certificates;
mod credentials;
mod devices;
mod flags;
mod groups;
mod house;
mod import;
mod people;
mod permissions;
mod placements;
mod policies;
mod policy_store;
mod provisioning;
mod quarantine;
mod seen;

use std::path::Path;
use std::sync::Arc;

use catalog::Catalog;
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use identity::{Identity, LocalToken};
use model::{DeviceName, GroupPath};

/// A register and what it stands on.
struct Fixture {
    identity: Identity,
    catalog: Catalog,
    token: LocalToken,
}

fn open(dir: &Path) -> Fixture {
    let host = host();
    let catalog = Catalog::open(&dir.join("catalog.db"), Identity::migrations(), &host).expect("opened");
    let token = LocalToken::generate(&*host.random);
    let identity = Identity::open(catalog.clone(), host).expect("read").with_local_token(&token);
    Fixture { identity, catalog, token }
}

fn fresh() -> (Fixture, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (open(dir.path()), dir)
}

fn name(text: &str) -> DeviceName {
    DeviceName::parse(text.to_owned()).expect("a device name")
}

fn path(text: &str) -> GroupPath {
    GroupPath::parse(text.to_owned()).expect("a path")
}

fn host() -> Host {
    Host {
        clock: Arc::new(SystemClock::start()),
        disk: Arc::new(SystemDisk),
        random: Arc::new(SystemRandom),
        keys: Arc::new(KeyRing::new(&[7; 32])),
        boot: 1,
    }
}
