//! Small questions to the operating system: its name, its bounds, whether two paths share a volume.

use std::io;
use std::path::Path;

/// The name of this machine.
#[must_use]
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether two paths are on one volume.
///
/// # Errors
/// What the operating system says of the path that it cannot look at.
pub fn same_volume(a: &Path, b: &Path) -> io::Result<bool> {
    Ok(rustix::fs::stat(a)?.st_dev == rustix::fs::stat(b)?.st_dev)
}

/// How many files and sockets the process `pid` may have open, and has.
///
/// # Errors
/// What the operating system says: the process is gone, or is somebody else's.
pub fn open_files(pid: u32) -> io::Result<OpenFiles> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let limit = soft.map_or(u64::MAX, |text| text.parse().unwrap_or(u64::MAX));
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    Ok(OpenFiles { open, limit })
}

/// Files and sockets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// Open now.
    pub open: u64,
    /// The most it may open; `u64::MAX` where there is no bound.
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_files_open_and_a_bound() {
        let files = open_files(std::process::id()).expect("our own");
        assert!(files.open >= 3, "standard input, output and error: {files:?}");
        assert!(files.open <= files.limit);
        assert!(!name().is_empty());
        assert!(same_volume(Path::new("/"), Path::new("/")).expect("there"));
    }
}
