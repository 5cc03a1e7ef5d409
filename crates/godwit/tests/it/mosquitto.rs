//! A real Mosquitto of the test's own: Debian's, on a free port, with its store in the test's directory.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for it to start or to write.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Mosquitto; killed when dropped.
pub(crate) struct Mosquitto {
    child: Child,
    dir: PathBuf,
    pub(crate) address: SocketAddr,
}

/// Where Debian puts it, or where the path leads.
fn binary() -> &'static str {
    let debian = "/usr/sbin/mosquitto";
    if Path::new(debian).exists() { debian } else { "mosquitto" }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}

impl Mosquitto {
    /// Starts one that keeps its store in `dir`, with `more` lines of settings.
    ///
    /// # Panics
    /// When there is no Mosquitto on this machine: `make mosquitto` installs it, and `make test` does so first.
    pub(crate) fn start(dir: &Path, port: u16, more: &str) -> Self {
        let settings = dir.join("mosquitto.conf");
        let store = format!("{}/", dir.display());
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {store}\n\
             autosave_interval 0\nlog_dest file {store}mosquitto.log\n{more}\n"
        );
        std::fs::write(&settings, text).expect("written");
        let child = Command::new(binary())
            .arg("-c")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is no Mosquitto here: `make mosquitto` installs it");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mosquitto = Self { child, dir: dir.to_owned(), address };
        wait_for("Mosquitto accepts", || TcpStream::connect(address).is_ok());
        mosquitto
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("mosquitto.log")).unwrap_or_default()
    }

    /// `kill -9`, after it wrote its store: what it retains is there when it starts again.
    pub(crate) fn kill_with_store(mut self) {
        let store = self.dir.join("mosquitto.db");
        let _ = std::fs::remove_file(&store);
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-USR1", &pid]).status().expect("kill runs").success());
        wait_for("Mosquitto writes its store", || store.exists());
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "Mosquitto said:\n{}", self.log());
        }
    }
}

/// Waits for what must happen, looking again and again.
///
/// # Panics
/// When it does not.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
