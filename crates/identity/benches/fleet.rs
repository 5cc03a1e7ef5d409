//! A register of 100,000 devices: reading it at start, a page by any filter, a batch of an import.
//!
//! `cargo bench -p identity --bench fleet`. Time is the machine's own.

use std::sync::{Arc, LazyLock};

use catalog::Catalog;
use divan::Bencher;
use host::{Host, KeyRing, SystemClock, SystemDisk, SystemRandom};
use identity::{
    Actor, Attributes, DeviceFilter, DeviceState, Identity, ImportOptions, ImportRow, NewDevice, Page,
};
use model::{DeviceName, GroupPath};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

const DEVICES: usize = 100_000;
const BATCH: usize = 500;

struct Register {
    runtime: Runtime,
    catalog: Catalog,
    identity: Identity,
    _dir: tempfile::TempDir,
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

fn row(n: usize) -> ImportRow {
    let path = |text: String| GroupPath::parse(text).expect("a path");
    let attributes = [("model", format!("TX-{}", n % 10)), ("serial", n.to_string())];
    ImportRow {
        new: NewDevice {
            name: DeviceName::parse(format!("device-{n:06}")).expect("a name"),
            group: Some(path(format!("hq/floor-{}/room-{}", n / 2_000, n / 50 % 40))),
            attributes: Attributes::new(attributes).expect("two"),
            if_version: None,
        },
        memberships: vec![path(format!("trial-{}", n % 7))],
        password: true,
    }
}

impl Register {
    fn of(count: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let catalog =
            Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host()).expect("opened");
        let identity = Identity::open(catalog.clone(), host()).expect("read");
        let runtime = Runtime::new().expect("a runtime");
        let register = Self { runtime, catalog, identity, _dir: dir };
        (0..count).step_by(BATCH).for_each(|from| register.import(from));
        register
    }

    fn import(&self, from: usize) {
        let rows = (from..from + BATCH).map(row).collect();
        let options = ImportOptions { make_groups: true, update: false };
        let done = self.runtime.block_on(self.identity.import_devices(&Actor::inside(), rows, options));
        assert!(done.expect("taken").iter().all(Result::is_ok));
    }
}

static FULL: LazyLock<Register> = LazyLock::new(|| Register::of(DEVICES));

/// What a start reads.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn open(bencher: Bencher<'_, '_>) {
    let register = &*FULL;
    bencher.bench_local(|| Identity::open(register.catalog.clone(), host()).expect("read"));
}

/// 500 rows with groups, attributes and passwords, durable.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn import(bencher: Bencher<'_, '_>) {
    let register = Register::of(0);
    let mut from = 0;
    bencher.bench_local(|| {
        register.import(from);
        from += BATCH;
    });
}

/// A page of a hundred by each filter; what finds nothing looks at all of them.
#[divan::bench(args = ["all", "group", "pattern", "attribute", "state"], sample_count = 20)]
fn page(bencher: Bencher<'_, '_>, by: &str) {
    let register = &*FULL;
    let all = DeviceFilter::default();
    let filter = match by {
        "group" => {
            DeviceFilter { group: Some(GroupPath::parse("hq/floor-49/room-39").expect("a path")), ..all }
        }
        "pattern" => DeviceFilter { name_pattern: Some("*99999".to_owned()), ..all },
        "attribute" => DeviceFilter { attributes: vec![("serial".to_owned(), "99999".to_owned())], ..all },
        "state" => DeviceFilter { state: Some(DeviceState::Quarantined), ..all },
        _ => all,
    };
    bencher.bench_local(|| {
        let page = register.identity.devices(filter.clone(), Page::default());
        register.runtime.block_on(page).expect("read")
    });
}
