//! The link by which the first user is made: printed on a terminal, else put into a file that only its owner reads.
//!
//! Not here: the code in it and how long it is good (`identity`). The law: it is shown in one place, once.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use host::Disk;
use identity::Identity;

/// The file's name in the data directory.
const NAME: &str = "setup-link";

/// Where the link is.
pub(crate) struct SetupLink {
    path: PathBuf,
}

impl SetupLink {
    /// Makes a link if there is no user yet, and says in `text` where it is.
    pub(crate) fn make(
        identity: &Identity,
        http: SocketAddr,
        data: &Path,
        disk: &dyn Disk,
        text: &mut String,
    ) -> anyhow::Result<Self> {
        let path = data.join(NAME);
        // One of before is worth nothing.
        let _ = disk.remove(&path);
        if let Some(code) = identity.begin_setup() {
            let link = format!("http://{}/setup#{}", reachable(http), code.reveal());
            let here = if std::io::stdout().is_terminal() {
                link
            } else {
                disk.replace(&path, format!("{link}\n").as_bytes()).context("cannot write the setup link")?;
                format!("in {}", path.display())
            };
            *text += &format!(
                "Make the first user, within an hour: {here}\n  or: godwit user add NAME --role admin --data {}\n",
                data.display()
            );
        }
        Ok(Self { path })
    }

    /// Takes the file away once its link is worth nothing.
    pub(crate) fn look(&self, identity: &Identity, disk: &dyn Disk) {
        if !identity.is_setup_open() {
            self.remove(disk);
        }
    }

    /// Takes the file away.
    pub(crate) fn remove(&self, disk: &dyn Disk) {
        let _ = disk.remove(&self.path);
    }
}

/// A listener on every address is reached on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here: std::net::IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if address.ip().is_unspecified() { SocketAddr::new(here, address.port()) } else { address }
}
