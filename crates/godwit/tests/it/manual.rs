//! The manual as a person follows it: every worked example of docs/devices.md prints what stands below it, and every
//! statement of the manual is one that is answered.
//!
//! Read from the Markdown as it is: settings are `toml` blocks, `mosquitto_pub` and `godwit query` are typed as they stand
//! there, a `text` block is what the query before it prints.

use std::path::Path;

use crate::raw::Raw;
use crate::server::{Home, Server};

/// What every server of these tests listens on, in place of the manual's own addresses.
const DOORS: &str = "[[listener]]\ndoor = \"mqtt\"\nbind = \"127.0.0.1:0\"\nauth = \"anonymous\"\n[http]\nbind = \"127.0.0.1:0\"\n";

/// A page of the manual, asked when it runs: checkouts may share what one of them built.
pub(crate) fn page(name: &str) -> String {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    std::fs::read_to_string(Path::new(&here).join("../../docs").join(name)).expect("a page")
}

/// Headings, and the blocks of code below each as language and text.
pub(crate) fn sections(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut sections = vec![(String::new(), Vec::new())];
    let mut block: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut block) {
            (Some(language), None) => block = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (_, blocks) = sections.last_mut().expect("at least one");
                blocks.extend(block.take());
            }
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    sections.push((heading.to_owned(), Vec::new()));
                }
            }
        }
    }
    assert!(block.is_none(), "a block that does not end");
    sections
}

/// A command line as a shell splits it: quotes of both kinds, no expansion.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (_, Option<String>, Option<char>) = (Vec::new(), None, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote that does not end: {line}");
    words.extend(word);
    words
}

/// The settings that a script writes with `cat > godwit.toml <<'EOF'`, without its listener; and its other lines.
fn script(text: &str) -> (String, Vec<Vec<String>>) {
    let (mut settings, mut rest) = (String::new(), String::new());
    let mut is_settings = false;
    for line in text.lines() {
        match line {
            "EOF" => is_settings = false,
            _ if line.ends_with("<<'EOF'") => is_settings = true,
            _ if is_settings => settings += &format!("{line}\n"),
            _ => rest += &format!("{line}\n"),
        }
    }
    let settings = settings.find("[[route]]").map(|at| settings[at..].to_owned()).unwrap_or_default();
    let lines = rest.replace("\\\n", " ");
    (settings, lines.lines().map(words).filter(|words| !words.is_empty()).collect())
}

fn publish(server: &Server, words: &[String]) {
    let flag = |name: &str| {
        let at = words.iter().position(|word| word == name).expect("a flag of mosquitto_pub");
        words[at + 1].clone()
    };
    assert_eq!(flag("-q"), "1", "examples are acknowledged");
    Raw::connect(server.mqtt, "reader").publish_acked(&flag("-t"), flag("-m").as_bytes());
}

#[test]
fn every_worked_example_of_the_devices_page_prints_what_stands_below_it() {
    let mut presets = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for (heading, blocks) in sections(&page("devices.md")) {
        let settings: String = blocks
            .iter()
            .filter_map(|(language, text)| match language.as_str() {
                "toml" => Some(text.clone()),
                "sh" => Some(script(text).0),
                _ => None,
            })
            .collect();
        if !blocks.iter().any(|(language, _)| language == "text") {
            continue;
        }
        let home = Home::new();
        home.settings(&format!("{DOORS}{settings}"));
        let server = home.start();
        let (mut printed, mut statements) = (String::new(), Vec::new());
        for (language, text) in &blocks {
            match language.as_str() {
                "sh" => {
                    printed.clear();
                    for command in script(text).1 {
                        match [command[0].as_str(), command.get(1).map_or("", String::as_str)] {
                            ["mosquitto_pub", _] => publish(&server, &command),
                            ["godwit", "query"] => {
                                printed += &server.ok(&["query", "--wait", "120s", &command[2]]);
                            }
                            ["godwit", "serve"] => {}
                            _ => panic!("{heading}: what is {command:?}?"),
                        }
                    }
                }
                "text" if printed != *text => {
                    wrong.push(format!("{heading} prints\n{printed}and the manual says\n{text}"));
                }
                "sql" => statements.push(text.trim().to_owned()),
                _ => {}
            }
        }
        for sql in statements {
            server.ok(&["query", &sql]);
        }
        presets.extend(settings.lines().filter_map(|line| line.strip_prefix("preset = ")).map(str::to_owned));
        server.stop();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = ["chirpstack", "esphome", "shelly", "tasmota", "ttn", "zigbee2mqtt"];
    assert_eq!(presets, all.iter().map(|name| format!("{name:?}")).collect(), "each has an example");
}

#[test]
fn every_statement_of_the_manual_is_answered() {
    let home = Home::new();
    home.settings(&format!(
        "{DOORS}[[route]]\nfilter = \"spBv1.0/#\"\ndecode = \"sparkplug\"\n[[route]]\npreset = \"tasmota\"\nzone = \"Europe/Berlin\"\n"
    ));
    let server = home.start();
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let day = Path::new(&here).join("../../demo/office-day.csv");
    server.ok(&["replay", day.to_str().expect("text"), "--as", "office-1", "--quiet"]);
    let mut raw = Raw::connect(server.mqtt, "reader");
    for hour in 0..3 {
        let payload = format!(
            r#"{{"ts":{},"energy":{{"total":{}}}}}"#,
            1_795_348_800_000_u64 + hour * 3_600_000,
            hour * 2
        );
        raw.publish_acked("dt/meter-1/energy", payload.as_bytes());
    }
    server.rows("SELECT 1");
    let mut asked = 0;
    for name in [
        "readings.md",
        "sql.md",
        "devices.md",
        "fleet.md",
        "sparkplug.md",
        "import-export.md",
        "storage.md",
        "backup.md",
    ] {
        for (heading, blocks) in sections(&page(name)) {
            for (_, sql) in blocks.iter().filter(|(language, _)| language == "sql") {
                // `current_setting` belongs to a connection of the PostgreSQL protocol.
                if sql.contains("current_setting") {
                    continue;
                }
                let output = server.run(&["query", "--csv", sql.trim()]);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{name}, {heading}: {sql}{said}");
                let rows = String::from_utf8_lossy(&output.stdout).lines().count().saturating_sub(1);
                let is_there = sql.contains("office-1") || sql.contains("meter-1");
                assert!(rows > 0 || !is_there, "{name}, {heading} answers with nothing: {sql}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 15, "{asked} statements");
    let used = "SELECT increase(time, value) FROM readings WHERE device = 'meter-1'";
    assert_eq!(server.value(used), "4");
}
