//! Alerts as operators meet them at the command line: who is told is configured, silenced, listed.
//!
//! Not here: how rules make them. The law: a fault of alerts.yaml stops the start and says its line.

use std::process::Command;

use crate::server::{GODWIT, Home};

const DOORS: &str = "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n";

#[test]
fn silences_are_made_listed_and_ended_and_outlive_a_restart() {
    let home = Home::new();
    let server = home.start();
    for empty in [&["alert", "list", "--json"][..], &["alert", "inbox"], &["alert", "dead-letters"]] {
        assert_eq!(server.ok(empty), "");
    }
    assert_eq!(server.value("SELECT count(*) FROM alerts"), "0");
    let made =
        server.ok(&["alert", "silence", "device=\"pump-7\"", "--for", "2h", "--reason", "new bearing"]);
    let id = made.split_whitespace().nth(1).expect("an id").to_owned();
    server.stop();

    let server = home.start();
    let listed = server.ok(&["alert", "silences", "--json"]);
    let silence: serde_json::Value = serde_json::from_str(listed.trim()).expect("one line of JSON");
    assert_eq!((&silence["id"], &silence["reason"]), (&id.as_str().into(), &"new bearing".into()));
    assert_eq!(silence["matchers"], serde_json::json!(["device=\"pump-7\""]));
    server.ok(&["alert", "expire", &id]);
    assert_eq!(server.ok(&["alert", "silences"]), "");
    assert!(server.ok(&["alert", "silences", "--all"]).contains(&id));
    // What leaves something out, or means a group, is somebody's wish.
    server.ok(&["group", "add", "hq"]);
    server.ok(&["alert", "silence", "device=~.+", "severity!=critical", "--reason", "move"]);
    server.ok(&["alert", "silence", "alertname=~.+", "--group", "hq", "--reason", "move"]);
    let audit = server.ok(&["audit", "list", "--action", "silence."]);
    assert!(audit.contains("silence.add") && audit.contains("silence.expire"), "{audit}");

    for (refused, said) in [
        (&["alert", "silence", "device=~.*", "--reason", "x"][..], "all"),
        (&["alert", "silence", "device=~.+", "--reason", "x"], "whatever their labels say: all"),
        (
            &["alert", "silence", "alertname!=", "device=~.*.", "--reason", "x"],
            "whatever their labels say: all",
        ),
        (&["alert", "silence", "device", "--reason", "x"], "is no matcher"),
        (&["alert", "show", "bd195309-cc15-8bd6-ae41-1de745baca7a"], "there is no alert"),
        (&["alert", "ack", "7"], "it is a UUID"),
        (&["alert", "list", "--state", "burning"], "it is `firing`"),
        (&["alert", "retry"], "there is no dead letter"),
    ] {
        let output = server.run(refused);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{refused:?}: {text}");
    }
}

#[test]
fn a_change_of_alerts_yaml_counts_while_the_server_runs_and_a_wrong_one_changes_nothing() {
    let home = Home::new();
    let file = home.path().join("alerts.yaml");
    home.settings(&format!("{DOORS}[alerts]\nconfig = \"{}\"\n", file.display()));
    let write = |receiver: &str| {
        let text =
            format!("route: {{receiver: {receiver}}}\nreceivers: [{{name: {receiver}, inbox: true}}]\n");
        std::fs::write(&file, text).expect("written");
    };
    write("day");
    let server = home.start();
    let until = |wanted: &dyn Fn(&str) -> bool| {
        let begun = std::time::Instant::now();
        loop {
            let said = server.ok(&["alert", "status"]);
            if wanted(&said) {
                return said;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{said}");
        }
    };
    until(&|said| said.contains("day/inbox/0"));
    write("night");
    let said = until(&|said| said.contains("night/inbox/0"));
    assert!(!said.contains("day/inbox/0") && !said.contains("not right"), "{said}");
    std::fs::write(&file, "route: {reciever: night}\n").expect("written");
    let said = until(&|said| said.contains("not right"));
    assert!(said.contains("night/inbox/0") && said.contains("did you mean `receiver`"), "{said}");
    write("dawn");
    let said = until(&|said| said.contains("dawn/inbox/0"));
    assert!(!said.contains("not right"), "{said}");
}

#[test]
fn a_fault_of_alerts_yaml_stops_the_start_with_its_line() {
    let home = Home::new();
    let file = home.path().join("alerts.yaml");
    home.settings(&format!("{DOORS}[alerts]\nconfig = \"{}\"\n", file.display()));
    std::fs::write(&file, "route:\n  reciever: team\n  receiver: team\n").expect("written");
    let said = home.start_refused();
    assert!(
        said.contains("line 2, column 3: `route.reciever` is unknown (did you mean `receiver`?)"),
        "{said}"
    );
    assert!(said.contains("names receiver `team`, which is not there"), "all at once: {said}");

    std::fs::write(&file, "route: {receiver: team}\nreceivers: [{name: team, inbox: true}]\n")
        .expect("written");
    drop(home.start());
    let said = Command::new(GODWIT).args(["alert", "check"]).arg(&file).output().expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("receivers: team, inbox"), "{text}");
}
