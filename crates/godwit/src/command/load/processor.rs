//! How much processor time a process has used, from `/proc/PID/stat` (proc(5)).

use std::path::PathBuf;

use anyhow::Context as _;
use host::{Disk as _, SystemDisk};

/// Linux counts in hundredths of a second here on every architecture it still runs on (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;
/// A line of some 50 numbers and a name of at most 16 bytes.
const STAT_BYTES_MAX: u64 = 4 * 1024;

/// Processor time of process `pid` since its start, all threads, in core-seconds.
pub(super) fn core_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = SystemDisk
        .read(&path, STAT_BYTES_MAX)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&String::from_utf8_lossy(&text)).with_context(|| format!("`{}` is malformed", path.display()))
}

/// The fields utime and stime: 14th and 15th. The second is the name in parentheses, which may hold anything.
fn parse(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 1 0 100 1 1";
        assert_eq!(parse(stat), Some(3.0));
        assert_eq!(parse("7 (a) S 1"), None);
        assert!(core_seconds(std::process::id()).is_ok_and(|seconds| seconds >= 0.0));
    }
}
