//! Small questions to the operating system: its name and addresses, its bounds, whether two paths share a volume.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The name of this machine.
#[must_use]
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Every address of this machine, loopback too, in order; those that only mean something together with an interface
/// (`fe80::…`) are left out. Empty where the operating system does not tell.
#[must_use]
pub fn addresses() -> BTreeSet<IpAddr> {
    let v4 = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let of_v4 = local_v4(&v4).into_iter().map(IpAddr::V4);
    of_v4.chain(local_v6(&v6).into_iter().map(IpAddr::V6)).collect()
}

/// The routing table's leaves that are this machine: a line with the address, the next says `/32 host LOCAL`.
fn local_v4(fib_trie: &str) -> Vec<Ipv4Addr> {
    let lines: Vec<&str> = fib_trie.lines().map(str::trim).collect();
    let of_pair = |pair: &[&str]| {
        (pair[1] == "/32 host LOCAL").then(|| pair[0].strip_prefix("|-- ")?.parse().ok()).flatten()
    };
    lines.windows(2).filter_map(of_pair).collect()
}

/// One interface address a line: 32 hexadecimal digits first.
fn local_v6(if_inet6: &str) -> Vec<Ipv6Addr> {
    let of_line = |line: &str| {
        let digits = line.split_whitespace().next()?;
        let address = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        (!address.is_unicast_link_local()).then_some(address)
    };
    if_inet6.lines().filter_map(of_line).collect()
}

/// Whether two paths are on one volume.
///
/// # Errors
/// What the operating system says of the path that it cannot look at.
pub fn same_volume(a: &Path, b: &Path) -> io::Result<bool> {
    Ok(rustix::fs::stat(a)?.st_dev == rustix::fs::stat(b)?.st_dev)
}

/// Raises the number of files and sockets that this process may have open as far as the system lets it, and gives what
/// holds then. Servers and load generators have a socket per client; the usual bound of 1,024 is for programs that
/// would not expect more.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let held = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: held.maximum, maximum: held.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => held.maximum.unwrap_or(u64::MAX),
        Err(_) => held.current.unwrap_or(u64::MAX),
    }
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

    #[test]
    fn addresses_are_those_of_this_machine_alone() {
        let table = "Local:
  +-- 0.0.0.0/0 3 0 5
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
           |-- 192.0.2.2
              /32 host LOCAL";
        assert_eq!(local_v4(table), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 2)]);
        let interfaces = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
";
        assert_eq!(local_v6(interfaces), ["fd00::2".parse().expect("an address"), Ipv6Addr::LOCALHOST]);
        assert!(local_v4("not a table").is_empty());
        assert!(local_v6("not a table\n\n").is_empty());
        assert!(addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
