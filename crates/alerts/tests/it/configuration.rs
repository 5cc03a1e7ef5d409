//! What `alerts.yaml` takes, and what it says of what it does not take.

use std::path::PathBuf;

use alerts::{Config, ConfigError, SHIPPED};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("alerts.yaml", text, PathBuf::from("/nowhere"), &|_| {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
    })
}

#[test]
fn an_alertmanager_file_is_taken_for_what_is_supported() {
    let config = parse(
        r#"
global:
  resolve_timeout: 5m
  smtp_smarthost: 'mail.example.org:587'
  smtp_from: 'godwit@example.org'
  smtp_auth_username: godwit
  smtp_auth_password: quokka
route:
  receiver: team
  group_by: ['alertname', 'site']
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 3h
  routes:
  - match_re: {service: '^(foo1|foo2|baz)$'}
    receiver: team
    routes:
    - match: {severity: critical}
      receiver: pager
      continue: true
  - matchers: [ 'severity="critical"', site=~"hq.*" ]
    receiver: pager
    mute_time_intervals: [holidays]
    active_time_intervals: [office]
inhibit_rules:
- source_matchers: [severity="critical"]
  target_matchers: [severity="warning"]
  equal: [alertname, device]
time_intervals:
- name: holidays
  time_intervals: [{months: [december], days_of_month: ['24:26']}]
- name: office
  time_intervals: [{weekdays: ['monday:friday'], times: [{start_time: '08:00', end_time: '18:00'}], location: Europe/Berlin}]
receivers:
- name: team
  email_configs: [{to: 'team@example.org, other@example.org', send_resolved: true}]
- name: pager
  webhook_configs: [{url: 'https://hooks.example.org/x', send_resolved: false, http_config: {basic_auth: {username: u, password: p}}}]
  slack_configs: [{api_url: 'https://hooks.slack.example/x', channel: '#alerts'}]
"#,
    );
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.receivers(), ["team", "pager", "inbox"]);
    assert_eq!(config.urgent_within_micros(), 900_000_000);
    assert!(!format!("{config:?}").contains("quokka"), "secrets are not shown");
    assert_eq!(Config::shipped().receivers(), ["inbox"]);
    assert!(parse(SHIPPED).is_ok());
}

#[test]
fn every_fault_is_said_at_once_with_its_line_and_what_to_do() {
    let error = parse(
        "global:
  pagerduty_url: https://x
route:
  reciever: team
  group_wait: 5
  routes:
  - receiver: nobody
    matchers: ['severity=~(']
    mute_time_intervals: [never]
receivers:
- name: team
  pagerduty_configs: [{}]
  email_configs:
  - to: nobody
  webhook_configs:
  - url: ftp://x
    http_config: {oauth2: {}}
  mqtt_configs:
  - topic: $SYS/x
  - topic: a/#
- name: team
heartbeat: {url_file: secret.txt}
templates: ['*.tmpl']
colour: red
",
    )
    .expect_err("many faults");
    let text = error.to_string();
    for said in [
        "line 2, column 3: `global.pagerduty_url` is not supported (remove it",
        "line 4, column 3: `route.reciever` is unknown (did you mean `receiver`?)",
        "`route` has no `receiver`",
        "line 5, column 15: `route.group_wait`: `5` is no duration; it must read like `30s`",
        "line 8, column 16: `route.routes[0].matchers`: `(` is no regular expression",
        "names receiver `nobody`, which is not there",
        "names interval `never`, which is not there (define it under `time_intervals`)",
        "line 12, column 3: `receivers[0].pagerduty_configs` is not supported (use `webhook_configs`",
        "`receivers[0].email_configs[0]` has no `from`",
        "`receivers[0].email_configs[0]` has no `smarthost`",
        "`receivers[0].webhook_configs[0].url` must be an address that starts with",
        "`receivers[0].webhook_configs[0].http_config.oauth2` is not supported",
        "`$SYS/x` begins with `$`",
        "line 20",
        "line 21, column 3: receiver `team` is there twice",
        "`heartbeat.url_file` names `/nowhere/secret.txt`, which cannot be read",
        "line 23, column 13: `templates` is not supported",
        "line 24, column 1: `colour` is unknown",
    ] {
        assert!(text.contains(said), "missing: {said}\n{text}");
    }
    let lines: Vec<u64> = error.problems.iter().map(|problem| problem.place.line).collect();
    assert!(lines.is_sorted(), "in the order of the file: {lines:?}");
}

#[test]
fn a_password_in_the_clear_and_an_authority_that_is_none_are_refused_when_the_file_is_read() {
    let file = |more: &str| {
        format!(
            "route: {{receiver: ops}}
receivers:
- name: ops
  email_configs: [{{to: a@example.org, from: b@example.org, smarthost: 'mail:25'{more}}}]
"
        )
    };
    let parse = |text: &str| Config::parse("alerts.yaml", text, PathBuf::new(), &|_| Ok(b"no PEM".to_vec()));
    let clear =
        parse(&file(", require_tls: false, auth_username: u, auth_password: p")).expect_err("refused");
    assert!(clear.to_string().contains("would send a password in the clear"), "{clear}");
    let none = parse(&file(", tls_config: {ca_file: ca.pem}")).expect_err("refused");
    assert!(none.to_string().contains("tls_config.ca_file` holds no certificate in PEM"), "{none}");
    assert!(parse(&file("")).is_ok());
}

#[test]
fn what_is_no_yaml_or_too_large_is_refused() {
    let said = |text: &str| parse(text).expect_err("refused").to_string();
    assert!(said("route: [").contains("it is not YAML"), "{}", said("route: ["));
    assert!(said("- a\n- b\n").contains("must be a map"));
    assert!(said("").contains("there is no `route`"));
    assert!(said("route: {receiver: a, receiver: b}").contains("line 1"));
    assert!(said(&"#".repeat(2 * 1024 * 1024)).contains("it must be at most 1048576"));
    // A billion laughs.
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in
        [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f"), ("h", "g"), ("i", "h")]
    {
        bomb.push_str(&format!(
            "{name}: &{name} [*{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}]\n"
        ));
    }
    assert!(said(&bomb).contains("it is not YAML"));
}

#[test]
fn the_file_of_the_manual_is_right() {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs");
    let page = std::fs::read_to_string(PathBuf::from(here).join("../../docs/alerts.md")).expect("the page");
    let file = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a file");
    let config = Config::parse("docs/alerts.md", file, PathBuf::new(), &|_| Ok(b"a secret".to_vec()));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.receivers(), ["team", "pager", "inbox"]);
}
