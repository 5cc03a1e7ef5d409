//! The Python that tests meet as a stranger: its clients and readers are not ours.
//!
//! `make test` makes it first and names it in `GODWIT_TEST_PYTHON`; where nobody did, `tests/venv.py` makes the same
//! one here, once per build folder. Not here: what is asked of it. The law: no test is skipped for want of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The interpreter, with `tests/requirements.txt` installed.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| match std::env::var_os("GODWIT_TEST_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => make(),
    })
}

/// What a command printed.
///
/// # Panics
/// When it failed, with all it said.
pub(crate) fn printed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it failed:\n{out}\n{err}");
    out.into_owned()
}

fn make() -> PathBuf {
    // Asked when it runs: a build folder that several checkouts share may hand one the program of another.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let root = Path::new(&here).ancestors().nth(2).expect("a crate is two below the root");
    // The test runs as `<target>/debug/deps/it-…`.
    let test = std::env::current_exe().expect("a test is a program");
    let target = test.ancestors().nth(3).expect("it is in a build folder");
    let output = Command::new("python3").arg(root.join("tests/venv.py")).arg(target.join("venv")).output();
    PathBuf::from(printed(&output.expect("python3 starts; Debian has it in the package python3")).trim_end())
}
