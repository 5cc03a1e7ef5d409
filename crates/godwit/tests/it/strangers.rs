//! Clients that are not ours, as people run them: `mosquitto_pub`, `_sub` and `_rr`, paho-mqtt, aiomqtt, mqtt.js.
//!
//! Each over TCP, TLS and WebSocket (as far as it speaks it), in MQTT 3.1.1 and 5, at QoS 0, 1 and 2, with retained messages,
//! wills and sessions, and with `kill -9` of the server in the middle. What a client asks is in its own language, in
//! `strangers/`. The law: what a stranger was promised by the standard holds, restart or not.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::mosquitto::free_port;
use crate::node;
use crate::python::{printed, python};
use crate::server::{Home, Server};

/// A server with one listener for each transport, on ports that it keeps over restarts.
struct Doors {
    home: Home,
    server: Option<Server>,
    /// By transport: `tcp`, `tls`, `ws`, `wss`.
    ports: Vec<(&'static str, u16)>,
}

impl Doors {
    fn open() -> Self {
        let home = Home::new();
        let mut settings = String::from("[http]\nbind = \"127.0.0.1:0\"\n");
        let mut ports = Vec::new();
        for transport in ["tcp", "tls", "ws", "wss"] {
            let port = free_port();
            let door = if transport.starts_with("ws") { "websocket" } else { "mqtt" };
            let tls = matches!(transport, "tls" | "wss");
            settings.push_str(&format!(
                "[[listener]]\ndoor = \"{door}\"\nbind = \"127.0.0.1:{port}\"\nauth = \"anonymous\"\ntls = {tls}\n"
            ));
            ports.push((transport, port));
        }
        home.settings(&settings);
        let server = Some(home.start());
        Self { home, server, ports }
    }

    fn port(&self, transport: &str) -> String {
        let (_, port) = self.ports.iter().find(|(name, _)| *name == transport).expect("a transport");
        port.to_string()
    }

    fn ca(&self) -> PathBuf {
        self.home.data().join("ca.pem")
    }

    /// `kill -9`, and a start on the same ports.
    fn restart(&mut self) {
        self.server.take().expect("a server").kill();
        self.server = Some(self.home.start());
    }

    /// Runs a stranger that says `RESTART` when it wants one, and returns what else it printed.
    fn meet(&mut self, mut stranger: Command) -> String {
        stranger
            .arg(self.ca())
            .args(self.ports.iter().map(|(transport, port)| format!("{transport}={port}")));
        let mut child = stranger.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        out.read_line(&mut said).expect("it speaks");
        if said == "RESTART\n" {
            self.restart();
            let mut input = child.stdin.take().expect("piped");
            writeln!(input, "go").expect("it listens");
            said.clear();
            std::io::Read::read_to_string(&mut out, &mut said).expect("text");
        }
        assert!(child.wait().expect("it ends").success(), "it failed: {said}\n{}", self.home.log());
        said
    }
}

/// A program in a stranger's language.
pub(crate) fn script(name: &str) -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    Path::new(&here).join("tests/it/strangers").join(name)
}

/// A Python that finds today's MQTT clients.
pub(crate) fn python_with_mqtt(name: &str) -> Command {
    let modules = python().ancestors().nth(2).expect("an environment").join("mqtt");
    let mut command = Command::new(python());
    command.arg(script(name)).env("PYTHONPATH", modules);
    command
}

#[test]
fn paho_mqtt_is_served_on_every_transport_in_both_versions_over_a_restart() {
    assert_eq!(Doors::open().meet(python_with_mqtt("paho_mqtt.py")), "8 runs\n");
}

#[test]
fn aiomqtt_is_served_on_every_transport_in_both_versions_over_a_restart() {
    assert_eq!(Doors::open().meet(python_with_mqtt("aiomqtt_asks.py")), "8 runs\n");
}

#[test]
fn mqtt_js_is_served_on_every_transport_in_both_versions_over_a_restart() {
    let mut node = Command::new("node");
    node.arg(script("mqtt_js.js")).env("NODE_PATH", node::folder().join("node_modules"));
    assert_eq!(Doors::open().meet(node), "8 runs\n");
}

/// A client of Mosquitto, in one version over one transport.
struct Tool<'a> {
    doors: &'a Doors,
    transport: &'static str,
    version: &'static str,
}

impl Tool<'_> {
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.doors.port(self.transport), "-V", self.version]);
        if self.transport == "tls" {
            command.arg("--cafile").arg(self.doors.ca());
        }
        command.args(arguments);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output: Output = self.command(program, arguments).output().unwrap_or_else(|error| {
            panic!("{program}: {error}; Debian has it in the package mosquitto-clients")
        });
        printed(&output)
    }

    fn id(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.transport, self.version)
    }

    fn topic(&self, name: &str) -> String {
        format!("tools/{}/{}/{name}", self.transport, self.version)
    }

    /// Begins a session that stays, with one subscription.
    fn begin(&self, id: &str, topic: &str) {
        self.run("mosquitto_sub", &self.kept(id, &["-E", "-q", "2", "-t", topic]));
    }

    /// Goes on with it until so many messages came.
    fn go_on(&self, id: &str, topic: &str, count: &str) -> Vec<String> {
        let arguments = ["-q", "2", "-t", topic, "-C", count, "-W", "60", "-F", "%q %p"];
        self.run("mosquitto_sub", &self.kept(id, &arguments)).lines().map(str::to_owned).collect()
    }

    fn kept<'b>(&self, id: &'b str, more: &[&'b str]) -> Vec<&'b str> {
        let mut arguments = vec!["-c", "-i", id];
        if self.version == "5" {
            arguments.extend(["-x", "3600"]);
        }
        arguments.extend(more);
        arguments
    }

    fn publish(&self, topic: &str, payload: &str, qos: &str, more: &[&str]) {
        self.run("mosquitto_pub", &[&["-t", topic, "-m", payload, "-q", qos][..], more].concat());
    }
}

const WAYS: [(&str, &str); 4] = [("tcp", "311"), ("tcp", "5"), ("tls", "311"), ("tls", "5")];

#[test]
fn the_tools_of_mosquitto_publish_and_subscribe_over_a_restart() {
    let mut doors = Doors::open();
    for (transport, version) in WAYS {
        let tool = Tool { doors: &doors, transport, version };
        let (id, topic) = (tool.id("keeper"), tool.topic("live"));
        tool.begin(&id, &topic);
        for n in 0..6 {
            tool.publish(&topic, &n.to_string(), ["0", "1", "2"][n % 3], &[]);
        }
        tool.publish(&tool.topic("kept"), "kept", "1", &["-r"]);
    }
    doors.restart();
    for (transport, version) in WAYS {
        let tool = Tool { doors: &doors, transport, version };
        let (id, topic) = (tool.id("keeper"), tool.topic("live"));
        // What was published at QoS 0 while nobody was connected is not kept. A client shows QoS 2 when it is released.
        let mut got = tool.go_on(&id, &topic, "4");
        got.sort_unstable();
        assert_eq!(got, ["1 1", "1 4", "2 2", "2 5"], "{transport} {version}");
        let kept =
            tool.run("mosquitto_sub", &["-t", &tool.topic("kept"), "-C", "1", "-W", "60", "-F", "%r %p"]);
        assert_eq!(kept, "1 kept\n");
        tool.publish(&tool.topic("kept"), "", "1", &["-r"]);
    }
}

#[test]
fn a_request_of_mosquitto_rr_is_answered() {
    let doors = Doors::open();
    for (transport, version) in WAYS {
        let tool = Tool { doors: &doors, transport, version };
        let (asked, answered, begin) = (tool.topic("asked"), tool.topic("answered"), tool.topic("begin"));
        tool.publish(&begin, "begin", "1", &["-r"]);
        let mut answerer = tool
            .command(
                "mosquitto_sub",
                &["-t", &asked, "-t", &begin, "-q", "1", "-C", "2", "-W", "60", "-F", "%R|%p"],
            )
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines =
            BufReader::new(answerer.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
        // It hears this once it is subscribed.
        assert_eq!(lines.next().as_deref(), Some("|begin"));
        let asking = tool
            .command(
                "mosquitto_rr",
                &["-t", &asked, "-e", &answered, "-m", "how warm?", "-q", "1", "-W", "60"],
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // MQTT 3.1.1 has no properties: there the topic of the answer is agreed on beforehand.
        let reply_to = if version == "5" { answered.as_str() } else { "" };
        assert_eq!(lines.next(), Some(format!("{reply_to}|how warm?")), "{transport} {version}");
        answerer.wait().expect("it ends");
        tool.publish(&answered, "21.5", "1", &[]);
        assert_eq!(printed(&asking.wait_with_output().expect("it ends")), "21.5\n", "{transport} {version}");
    }
}

#[test]
fn a_will_that_mosquitto_left_is_published_when_it_is_killed() {
    let doors = Doors::open();
    for (transport, version) in WAYS {
        let tool = Tool { doors: &doors, transport, version };
        let (presence, work) = (tool.topic("presence"), tool.topic("work"));
        let will = ["--will-topic", &presence, "--will-payload", "gone", "--will-qos", "1", "--will-retain"];
        let mut device = tool
            .command("mosquitto_sub", &[&["-t", &work, "-q", "1", "-F", "%p"][..], &will].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        // It hears this once it is subscribed, so by then its will is known.
        tool.publish(&work, "begin", "1", &["-r"]);
        let mut line = String::new();
        BufReader::new(device.stdout.take().expect("piped")).read_line(&mut line).expect("it speaks");
        assert_eq!(line, "begin\n");
        device.kill().expect("it runs");
        device.wait().expect("it ends");
        let said = tool.run("mosquitto_sub", &["-t", &presence, "-C", "1", "-W", "60", "-F", "%p"]);
        assert_eq!(said, "gone\n", "{transport} {version}");
    }
}
