//! Mail, at a mail server that is not ours.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use alerts::Transition;

use crate::delivery::Running;
use crate::house::{House, firing};
use crate::python::python;

/// A mail server, until it is dropped.
struct MailServer {
    process: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl MailServer {
    fn start(folder: &Path, manner: &str) -> Self {
        let mut process = Command::new(python())
            .arg("-c")
            .arg(include_str!("smtp_server.py"))
            .arg(folder)
            .arg(manner)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped"));
        let mut port = String::new();
        lines.read_line(&mut port).expect("a port");
        let port = port.trim().parse().unwrap_or_else(|_| panic!("`{port}` is no port"));
        Self { process, lines, port }
    }

    /// The next message that it took.
    fn message(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`"))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(port: u16, more: &str) -> String {
    format!(
        "route: {{receiver: ops, group_by: [site, cause], group_wait: 0s, group_interval: 100ms}}
receivers:
- name: ops
  email_configs:
  - {{to: 'ops@example.org, night@example.org', from: 'Godwit <godwit@example.org>', smarthost: 'localhost:{port}'{more}}}
"
    )
}

const LOGIN: &str = ", auth_username: godwit, auth_password: right";
const AUTHORITY: &str = ", tls_config: {ca_file: ca.pem}";

/// Waits until an attempt failed; what it said.
async fn failure(running: &Running) -> String {
    let failed = async {
        loop {
            let waiting = running.alerts.waiting().await.expect("read");
            if let Some(error) = waiting.into_iter().find_map(|one| one.error) {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), failed).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_over_starttls_with_a_login_to_a_server_of_the_named_authority() {
    let house = House::new();
    let mut server = MailServer::start(house.dir.path(), "starttls");
    let running = Running::start(&house, &config(server.port, &format!("{LOGIN}{AUTHORITY}"))).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    running.until(&house, "sent", 1).await;
    let (message, notice) = (server.message(), running.alerts.explain(firing("Hot", "a", 0).id()).await);
    let notice = notice.expect("read").expect("there").said[0].notice.expect("told");
    assert_eq!(message["tls"], true);
    assert_eq!(message["login"], "godwit");
    assert_eq!(message["from"], "godwit@example.org");
    assert_eq!(message["to"], serde_json::json!(["ops@example.org", "night@example.org"]));
    let content = message["content"].as_str().expect("text");
    assert!(content.contains("Subject: [FIRING:1] Hot (site hq)"), "{content}");
    assert!(content.contains(&format!("Message-ID: <{notice}@example.org>")), "{content}");
    assert!(content.contains("FIRING: it is too hot; since "), "{content}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_over_tls_from_the_first_byte() {
    let house = House::new();
    let mut server = MailServer::start(house.dir.path(), "wrapped");
    let more = format!("{LOGIN}{AUTHORITY}, force_implicit_tls: true");
    let running = Running::start(&house, &config(server.port, &more)).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    running.until(&house, "sent", 1).await;
    assert_eq!(server.message()["login"], "godwit");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mail_leaves_in_the_clear_or_to_a_server_that_nobody_vouches_for() {
    for (manner, more, said) in [
        ("starttls", LOGIN.to_owned(), "certificate"),
        ("plain", AUTHORITY.to_owned(), "STARTTLS"),
        ("starttls", format!(", auth_username: godwit, auth_password: wrong{AUTHORITY}"), "535"),
    ] {
        let house = House::new();
        let server = MailServer::start(house.dir.path(), manner);
        let running = Running::start(&house, &config(server.port, &more)).await;
        running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
        // It waits: an operator may set that right.
        let error = failure(&running).await;
        assert!(error.contains(said), "{manner}: {error}");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_server_refuses_for_good_is_a_dead_letter() {
    let house = House::new();
    let server = MailServer::start(house.dir.path(), "refusing");
    let running = Running::start(&house, &config(server.port, ", require_tls: false")).await;
    running.store(&house, &[Transition::Fired(firing("Hot", "a", 0))]).await;
    running.until(&house, "dead", 1).await;
    let dead = running.alerts.dead_letters().await.expect("read");
    assert!(dead[0].error.as_deref().is_some_and(|error| error.contains("550")), "{dead:?}");
    running.stop().await;
}
