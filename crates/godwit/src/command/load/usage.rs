//! What processes use: processor time from `/proc/PID/stat`, memory from `/proc/PID/status` (proc(5)).

use std::path::PathBuf;

use anyhow::Context as _;
use host::{Disk as _, SystemDisk};

/// Linux counts in hundredths of a second here on every architecture it still runs on (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;
/// A line of some 50 numbers and a name of at most 16 bytes.
const STAT_BYTES_MAX: u64 = 4 * 1024;
/// Some sixty lines.
const STATUS_BYTES_MAX: u64 = 16 * 1024;

/// Which processes are measured, and what they had used when it began.
#[derive(Debug)]
pub(super) struct Usage {
    pid: Option<u32>,
    server_before: Option<f64>,
    generator_before: f64,
}

/// What was used, in core-seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    pub(super) pid: Option<u32>,
    pub(super) server: Option<f64>,
    pub(super) generator: f64,
}

impl Usage {
    /// Begins to measure this process, and the server's if it is known.
    pub(super) fn begin(pid: Option<u32>) -> anyhow::Result<Self> {
        let server_before = pid.map(core_seconds).transpose()?;
        Ok(Self { pid, server_before, generator_before: core_seconds(std::process::id())? })
    }

    /// What was used since.
    pub(super) fn end(&self) -> anyhow::Result<Used> {
        let server = self.pid.map(core_seconds).transpose()?;
        Ok(Used {
            pid: self.pid,
            server: server.zip(self.server_before).map(|(after, before)| after - before),
            generator: core_seconds(std::process::id())? - self.generator_before,
        })
    }
}

/// Memory of process `pid` that is resident, in bytes.
pub(super) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = SystemDisk
        .read(&path, STATUS_BYTES_MAX)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
    kib.map(|kib: u64| kib * 1024).with_context(|| format!("`{}` has no VmRSS", path.display()))
}

/// Processor time of process `pid` since its start, all threads, in core-seconds.
fn core_seconds(pid: u32) -> anyhow::Result<f64> {
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
        assert!(resident_bytes(std::process::id()).is_ok_and(|bytes| bytes > 100_000));
    }
}
