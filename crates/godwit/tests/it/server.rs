//! A server of the test's own: the real binary in a directory of its own, on free ports.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// The binary under test.
pub(crate) const GODWIT: &str = env!("CARGO_BIN_EXE_godwit");

const SETTINGS: &str = r#"
[[listener]]
door = "mqtt"
bind = "127.0.0.1:0"
auth = "anonymous"
[http]
bind = "127.0.0.1:0"
[postgres]
bind = "127.0.0.1:0"
"#;

/// Settings with two doors: the first for anybody, the second for those with a password.
pub(crate) const BOTH_DOORS: &str = r#"
[[listener]]
door = "mqtt"
bind = "127.0.0.1:0"
auth = "anonymous"
[[listener]]
door = "mqtt"
bind = "127.0.0.1:0"
auth = "password"
[http]
bind = "127.0.0.1:0"
"#;

/// A directory with room for a data directory, its key and its settings; removed at the end.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().expect("a directory") };
        home.settings(SETTINGS);
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Puts another settings file in place.
    pub(crate) fn settings(&self, text: &str) {
        std::fs::write(self.path().join("godwit.toml"), text).expect("written");
    }

    /// With [`BOTH_DOORS`], while a server runs: the second of them.
    pub(crate) fn door_with_passwords(&self) -> SocketAddr {
        let about = std::fs::read(self.data().join("server.json")).expect("a server runs");
        let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
        about["mqtt"][1].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(GODWIT);
        command.arg("serve").arg("--data").arg(self.data()).arg("--config");
        command.arg(self.path().join("godwit.toml"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Starts a server and waits until it says that it serves.
    pub(crate) fn start(&self) -> Server {
        self.start_as(self.serve())
    }

    /// As [`start`](Self::start), by a command of the test's own.
    pub(crate) fn start_as(&self, mut serve: Command) -> Server {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join("log"))
            .expect("a log file");
        let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        out.read_line(&mut first).expect("readable");
        if first.is_empty() {
            let _ = child.wait();
            panic!("the server did not start:\n{}", self.log());
        }
        let about = std::fs::read(self.data().join("server.json")).expect("server.json is there");
        let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
        let mqtt = about["mqtt"][0].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let http = about["http"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let postgres = about["postgres"].as_str().and_then(|text| text.parse().ok());
        let token = about["token"].as_str().expect("a token").to_owned();
        Server { child, _out: out, data: self.data(), mqtt, http, postgres, token }
    }

    /// Starts a server that is expected to refuse, and returns what it said.
    pub(crate) fn start_refused(&self) -> String {
        let output = self.serve().output().expect("the binary starts");
        assert!(!output.status.success(), "it must not start");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What every server of this home logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    _out: BufReader<ChildStdout>,
    data: PathBuf,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    /// Where PostgreSQL clients are served, if they are.
    pub(crate) postgres: Option<SocketAddr>,
    pub(crate) token: String,
}

impl Server {
    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// SIGTERM, and the graceful end.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("gone");
        assert!(status.success(), "a graceful stop ends well: {status}");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command of the binary against this server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// The command, to be changed before it runs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(GODWIT);
        command.args(arguments).arg("--data").arg(&self.data).env_clear().stdin(Stdio::null());
        // `replay` keeps its progress below it.
        command.env("HOME", self.data.parent().expect("a home"));
        command
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Asks with SQL, everything acknowledged before included; the rows without their header.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let text = self.ok(&["query", "--csv", "--wait", "120s", sql]);
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// Asks for one value.
    pub(crate) fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
        rows[0][0].clone()
    }

    /// A counter of `/metrics`, summed over its labels; 0 when it never counted.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// A page of the HTTP API, with a client of the test's own.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut socket = std::net::TcpStream::connect(self.http).expect("connected");
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            self.token
        );
        std::io::Write::write_all(&mut socket, request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
