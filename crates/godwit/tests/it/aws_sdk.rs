//! AWS's device SDK for Python as people have it in their devices: in service, and out of the box.
//!
//! It checks the server's name, sends its metrics in the user name, keeps its session and comes back by itself. What it does
//! is in its own language, in `strangers/aws_*.py`. The law: a device that left AWS IoT changes its endpoint and its files,
//! and no line of its program.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::mosquitto::free_port;
use crate::provisioning::TEMPLATE;
use crate::python::{printed, python};
use crate::server::Home;
use crate::strangers::script;
use crate::tls::{Pair, SETTINGS, add, home, openssl, secure};

/// Starts one of the SDK's programs as `pair` against the listener at `port`; `way` is `3`, `5` or `alpn`.
fn sdk(program: &str, way: &str, home: &Home, port: u16, pair: &Pair) -> Command {
    let mut command = Command::new(python());
    command.arg(script(program)).arg(way).arg(home.data().join("ca.pem")).arg(port.to_string());
    command.arg(&pair.certificate).arg(&pair.key);
    command
}

#[test]
fn a_device_with_awss_sdk_is_served_in_both_versions_and_with_alpn_over_kill_9_and_absence() {
    let home = Home::new();
    let port = free_port();
    // The SDK comes back to where it was: this listener keeps its port over the restart.
    let kept = format!("bind = \"127.0.0.1:{port}\"\ntls = true");
    home.settings(&SETTINGS.replace("bind = \"127.0.0.1:0\"\ntls = true", &kept));
    let mut server = home.start();
    for way in ["3", "5", "alpn"] {
        let name = format!("pump-{way}");
        let pair = add(&home, &server, &name);
        let mut device = sdk("aws_device.py", way, &home, port, &pair)
            .arg(&name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let mut input = device.stdin.take().expect("piped");
        let mut lines = BufReader::new(device.stdout.take().expect("piped")).lines();
        let mut next = || match lines.next() {
            Some(line) => line.expect("text"),
            None => panic!("{way}: it ended; the server says:\n{}", home.log()),
        };
        let topic = format!("cmd/{name}/go");
        let latest = format!("SELECT value FROM latest WHERE device = '{name}'");

        assert_eq!(next(), "ready");
        server.ok(&["send", &topic, r#"{"step": 1}"#]);
        assert_eq!(next(), "obeyed 1");
        server.kill();
        server = home.start();
        assert_eq!(server.value(&latest), "1", "{way}: what the SDK heard acknowledged is durable");
        assert_eq!(next(), "resumed");
        server.ok(&["send", &topic, r#"{"step": 2}"#]);
        assert_eq!(next(), "obeyed 2");
        assert_eq!(next(), "away");
        server.ok(&["send", &topic, r#"{"step": 3}"#]);
        writeln!(input, "go").expect("it listens");
        assert_eq!(next(), "obeyed 3");
        assert_eq!(next(), "revoke me");
        assert_eq!(server.value(&latest), "3", "{way}");
        server.ok(&["device", "certificate", "revoke", &name]);
        let refused = next();
        assert!(refused.starts_with("refused "), "{way}: {refused}");
        assert!(way != "5" || refused.contains("was revoked"), "MQTT 5 has words for it: {refused}");
        assert!(device.wait().expect("it ends").success(), "{way}");
    }
}

#[test]
fn a_device_out_of_the_box_gets_its_identity_by_both_of_awss_clients_of_fleet_provisioning() {
    let home = home();
    let server = home.start();
    let dir = home.path();
    server.ok(&["group", "add", "hq"]);
    std::fs::write(dir.join("pumps.json"), TEMPLATE).expect("written");
    server.ok(&["provision", "template", "put", "pumps", text(&dir.join("pumps.json"))]);
    server.ok(&["provision", "claim", "pumps", "--out", text(&dir.join("claim"))]);
    let claim = Pair::named(&dir.join("claim"), "claim");
    for (serial, way, client, by_request) in
        [(1, "3", "1", false), (2, "5", "1", true), (3, "3", "2", true), (4, "5", "2", false)]
    {
        let mut how = "key".to_owned();
        if by_request {
            openssl(
                dir,
                &format!(
                    "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {serial}.key.pem -out {serial}.csr -subj /CN=box"
                ),
            );
            how = text(&dir.join(format!("{serial}.csr"))).to_owned();
        }
        let mut device = sdk("aws_provision.py", way, &home, secure(&home)[0].port(), &claim);
        device.arg(serial.to_string()).arg(dir.join(serial.to_string())).args([client, &how]);
        assert_eq!(printed(&device.output().expect("python starts")), format!("pump-{serial}\n"));
        let sql = format!("SELECT value FROM latest WHERE device = 'pump-{serial}'");
        assert_eq!(server.value(&sql), serial.to_string());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
