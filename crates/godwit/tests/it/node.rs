//! The Node modules that tests meet as strangers.
//!
//! `make test` installs them first and names their folder in `GODWIT_TEST_NODE`; where nobody did, `tests/node.py` makes the
//! same one here, once per build folder. Not here: what is asked of them. The law: no test is skipped for want of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::python::printed;

/// The folder with `node_modules`.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os("GODWIT_TEST_NODE") {
        Some(folder) => PathBuf::from(folder),
        None => make(),
    })
}

fn make() -> PathBuf {
    // Asked when it runs, as in `python.rs`.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let root = Path::new(&here).ancestors().nth(2).expect("a crate is two below the root");
    let test = std::env::current_exe().expect("a test is a program");
    let target = test.ancestors().nth(3).expect("it is in a build folder");
    let output = Command::new("python3").arg(root.join("tests/node.py")).arg(target.join("node")).output();
    PathBuf::from(printed(&output.expect("python3 starts; Debian has it in the package python3")).trim_end())
}
