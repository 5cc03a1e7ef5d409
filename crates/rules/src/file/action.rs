//! Reading a rule that acts on messages, from its file.
//!
//! ```yaml
//! - rule: hot-to-maintenance
//!   sql: SELECT temperature, topic(2) AS device FROM 'dt/+/climate' WHERE temperature > 30
//!   actions:
//!   - publish: "ops/hot/${device}"
//!   - publish: {topic: "ops/hot", qos: 1, content_type: application/json, headers: {site: north}}
//!   - webhook: "https://cmms.local/hook"
//!   - webhook: {url: "https://cmms.local/hook", headers: {x-key: "1"}, secret: "shared with the receiver"}
//!   error_action: {publish: "ops/errors"}
//! ```
//!
//! Not here: what a statement means (`sql`). The law: a rule that could publish to its own topic filter is refused.

use model::{Qos, TopicFilter};

use super::Place;
use super::shape::Shape;
use crate::action::{ACTIONS_MAX, Action, ActionRule, Publish, Secret, Webhook};
use crate::document::{Content, Node};
use crate::fault::Fault;
use crate::rule::Version;
use crate::sql::{Statement, Template};

/// The keys of a rule that acts on messages.
const KEYS: [&str; 4] = ["rule", "sql", "actions", "error_action"];

/// Most headers of an action.
const HEADERS_MAX: usize = 32;

/// Headers that the way of a request decides.
const HEADERS_OF_HTTP: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];

pub(super) fn read(
    place: Place<'_>,
    name: String,
    node: &Node,
    faults: &mut Vec<Fault>,
) -> Option<ActionRule> {
    let mut shape = Shape::of(node, "a rule with `rule`", &KEYS, faults);
    let _ = shape.take("rule");
    let sql = shape.needed("sql");
    let actions = shape.needed("actions");
    let error_action = shape.take("error_action");
    shape.finish();
    let statement = sql.and_then(|sql| statement(place, sql, faults));
    let mut reader = Reader { place, filter: statement.as_ref().map(Statement::filter), faults };
    let actions = actions.and_then(|actions| reader.list(actions));
    let error_action = match error_action {
        Some(node) => Some(reader.action(node)?),
        None => None,
    };
    let text = without_secrets(node, false).normalised();
    Some(ActionRule {
        name,
        group: place.group.to_owned(),
        file: place.file.to_owned(),
        version: Version::of(&node.normalised()),
        text,
        statement: statement?,
        actions: actions?,
        error_action,
    })
}

fn statement(place: Place<'_>, node: &Node, faults: &mut Vec<Fault>) -> Option<Statement> {
    let Content::Text(text) = &node.content else {
        faults.push(node.fault(format!("`sql` is a statement, and this is {}", node.kind())));
        return None;
    };
    match Statement::parse(text) {
        Ok(statement) => Some(statement),
        Err(found) => {
            faults.extend(found.into_iter().map(|fault| in_file(place, node, text, fault)));
            None
        }
    }
}

/// A fault within a text, as one of the file that the text stands in.
fn in_file(place: Place<'_>, node: &Node, text: &str, fault: Fault) -> Fault {
    let before: usize = text.split_inclusive('\n').take(fault.line - 1).map(str::len).sum();
    let inside: usize = text[before..].chars().take(fault.column - 1).map(char::len_utf8).sum();
    let (line, column) = node.place_of(place.source, before + inside);
    Fault { line, column, ..fault }
}

struct Reader<'a, 'f> {
    place: Place<'a>,
    filter: Option<&'a TopicFilter>,
    faults: &'f mut Vec<Fault>,
}

impl Reader<'_, '_> {
    fn list(&mut self, node: &Node) -> Option<Vec<Action>> {
        let items = node.list().unwrap_or_default();
        if items.is_empty() {
            let fault = node.fault("`actions` is a list with at least one action");
            self.faults.push(fault.suggesting("write it as `[{publish: \"ops/hot/${device}\"}]`".to_owned()));
            return None;
        }
        if items.len() > ACTIONS_MAX {
            self.faults
                .push(node.fault(format!("here are {} actions; the most is {ACTIONS_MAX}", items.len())));
        }
        // Each is read, so that each tells its faults.
        let actions: Vec<Option<Action>> = items.iter().map(|item| self.action(item)).collect();
        actions.into_iter().collect()
    }

    fn action(&mut self, node: &Node) -> Option<Action> {
        let hint = "write `publish: \"a/topic\"` or `webhook: \"https://…\"`";
        let Some([(key, value)]) = node.map() else {
            let fault = node.fault(format!("an action is a map with one key, and this is {}", node.kind()));
            self.faults.push(fault.suggesting(hint.to_owned()));
            return None;
        };
        match key.text().as_deref() {
            Some("publish" | "republish") => self.publish(value).map(Action::Publish),
            Some("webhook") => self.webhook(value).map(Action::Webhook),
            other => {
                let fault = key.fault(format!("there is no action `{}`", other.unwrap_or_default()));
                self.faults.push(fault.suggesting(hint.to_owned()));
                None
            }
        }
    }

    fn publish(&mut self, node: &Node) -> Option<Publish> {
        if node.text().is_some() {
            let topic = self.topic(node)?;
            return Some(Publish { topic, qos: Qos::AtMostOnce, content_type: None, headers: Vec::new() });
        }
        let mut shape =
            Shape::of(node, "a `publish`", &["topic", "qos", "content_type", "headers"], self.faults);
        let topic = shape.needed("topic");
        let qos = shape.text("qos");
        let content_type = shape.take("content_type");
        let headers = shape.take("headers");
        shape.finish();
        let qos = match qos.as_ref().map(|(text, node)| (text.as_str(), node)) {
            None | Some(("0", _)) => Some(Qos::AtMostOnce),
            Some(("1", _)) => Some(Qos::AtLeastOnce),
            Some((other, node)) => {
                self.faults.push(node.fault(format!("`qos` is 0 or 1, and this is {other}")));
                None
            }
        };
        let content_type = match content_type {
            Some(node) => Some(self.template(node)?),
            None => None,
        };
        let headers = self.headers(headers, false);
        Some(Publish { topic: self.topic(topic?)?, qos: qos?, content_type, headers: headers? })
    }

    /// A topic that cannot come back to the rule itself.
    fn topic(&mut self, node: &Node) -> Option<Template> {
        let topic = self.template(node)?;
        let text = topic.with_holes("x");
        let named = text.strip_prefix('$').filter(|rest| rest.starts_with('$')).unwrap_or(&text);
        if text.starts_with('$') && named.len() == text.len() {
            let fault = node.fault("topics that begin with `$` are reserved");
            self.faults.push(fault.suggesting("write `$$aws/…` to publish to one of these".to_owned()));
            return None;
        }
        if let Err(error) = model::TopicName::parse(named.to_owned()) {
            self.faults.push(node.fault(error.to_string()));
            return None;
        }
        if let Some(filter) = self.filter
            && topic.may_match(filter)
        {
            let message = format!(
                "`{}` can be a topic of the rule's own `FROM '{filter}'`: what it publishes would come back to it",
                topic.text()
            );
            self.faults
                .push(node.fault(message).suggesting("publish elsewhere, or narrow `FROM`".to_owned()));
            return None;
        }
        Some(topic)
    }

    fn webhook(&mut self, node: &Node) -> Option<Webhook> {
        if node.text().is_some() {
            return Some(Webhook { url: self.url(node)?, headers: Vec::new(), secret: None });
        }
        let mut shape = Shape::of(node, "a `webhook`", &["url", "headers", "secret"], self.faults);
        let url = shape.needed("url");
        let headers = shape.take("headers");
        let secret = shape.text("secret");
        shape.finish();
        if let Some((text, node)) = &secret
            && text.len() < SECRET_BYTES_MIN
        {
            let fault = node.fault(format!("`secret` has {} bytes; it needs {SECRET_BYTES_MIN}", text.len()));
            self.faults.push(fault.suggesting("make one with `openssl rand -hex 32`".to_owned()));
        }
        let headers = self.headers(headers, true);
        let secret = secret.map(|(text, _)| Secret::new(text));
        Some(Webhook { url: self.url(url?)?, headers: headers?, secret })
    }

    fn url(&mut self, node: &Node) -> Option<Template> {
        let url = self.template(node)?;
        let text = url.text();
        let after = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = after.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let (message, suggestion) = match host {
            None => ("a webhook's address begins with `https://` or `http://`", None),
            Some("") => ("a webhook's address names a host", None),
            Some(host) if host.contains(['$', '{']) => (
                "host and port of a webhook's address are written out",
                Some("use templates behind the first `/`"),
            ),
            Some(host) if host.contains('@') => {
                ("a webhook's address has no password in it", Some("use `headers: {authorization: …}`"))
            }
            Some(_) if text.contains(char::is_whitespace) && url.is_constant() => {
                ("a webhook's address has no white space", None)
            }
            Some(_) => return Some(url),
        };
        self.faults.push(node.fault(message).suggesting(suggestion.map(str::to_owned)));
        None
    }

    fn headers(&mut self, node: Option<&Node>, is_http: bool) -> Option<Vec<(String, Template)>> {
        let Some(node) = node else { return Some(Vec::new()) };
        let Some(entries) = node.map() else {
            self.faults.push(node.fault(format!("`headers` is a map, and this is {}", node.kind())));
            return None;
        };
        if entries.len() > HEADERS_MAX {
            self.faults
                .push(node.fault(format!("here are {} headers; the most is {HEADERS_MAX}", entries.len())));
        }
        let mut headers = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = key.text().unwrap_or_default();
            let is_token = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte));
            if is_http && (!is_token || HEADERS_OF_HTTP.contains(&name.to_ascii_lowercase().as_str())) {
                self.faults.push(key.fault(format!("`{name}` cannot be a header of a webhook")));
            }
            let template = self.template(value);
            headers.extend(template.map(|template| (name, template)));
        }
        Some(headers)
    }

    fn template(&mut self, node: &Node) -> Option<Template> {
        let Some(text) = node.text() else {
            self.faults.push(node.fault(format!("a text is expected, and this is {}", node.kind())));
            return None;
        };
        match Template::parse(&text) {
            Ok(template) => Some(template),
            Err(found) => {
                let place = self.place;
                self.faults.extend(found.into_iter().map(|fault| in_file(place, node, &text, fault)));
                None
            }
        }
    }
}

/// Fewest bytes of a secret: fewer are guessed.
const SECRET_BYTES_MIN: usize = 16;

/// The same, with what only the receiver may know left out.
fn without_secrets(node: &Node, is_webhook: bool) -> Node {
    let content = match &node.content {
        Content::List(items) => {
            Content::List(items.iter().map(|item| without_secrets(item, false)).collect())
        }
        Content::Map(entries) => Content::Map(
            entries
                .iter()
                .map(|(key, value)| {
                    let name = key.text().unwrap_or_default();
                    let is_secret = is_webhook && ["secret", "headers"].contains(&name.as_str());
                    let hidden = || Node { content: Content::Text("…".to_owned()), ..value.clone() };
                    let value = if is_secret { hidden() } else { without_secrets(value, name == "webhook") };
                    (key.clone(), value)
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Node { content, ..node.clone() }
}

#[cfg(test)]
mod tests {
    use crate::{Action, FileFault, Limits, RuleSet};

    fn load(rule: &str) -> Result<RuleSet, Vec<String>> {
        let text = format!("groups:\n- name: g\n  rules:\n  - rule: r\n{rule}");
        let loaded = RuleSet::load([("r.yaml", text.as_str())], &Limits::default());
        loaded.map_err(|faults| faults.iter().map(|FileFault { fault, .. }| fault.to_string()).collect())
    }

    #[test]
    fn a_rule_is_read_with_its_actions_and_shows_no_secret() {
        let set = load(
            "    sql: SELECT temperature, topic(2) AS device FROM 'dt/+/climate' WHERE temperature > 30
    actions:
    - publish: \"ops/hot/${device}\"
    - publish: {topic: \"$$aws/things/${topic(2)}/hot\", qos: 1, content_type: application/json, headers: {site: \"${site}\"}}
    - webhook: \"https://cmms.local/hook?token=abc\"
    - webhook: {url: \"http://cmms.local:8080/hook/${device}\", headers: {authorization: Bearer xyz}, secret: 0123456789abcdef}
    error_action: {publish: ops/errors}
",
        )
        .expect("a rule");
        let rule = &set.actions[0];
        let shown: Vec<_> = rule.actions.iter().map(|action| (action.kind(), action.target())).collect();
        assert_eq!(
            shown,
            [
                ("publish", "ops/hot/${device}"),
                ("publish", "$$aws/things/${topic(2)}/hot"),
                ("webhook", "https://cmms.local/hook"),
                ("webhook", "http://cmms.local:8080/hook/${device}"),
            ]
        );
        let Action::Webhook(webhook) = &rule.actions[3] else { panic!("a webhook") };
        assert_eq!(webhook.secret.as_ref().expect("a secret").expose(), "0123456789abcdef");
        let shown = format!("{rule:?}{}", rule.text);
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
        assert!(!rule.text.contains("xyz"), "{}", rule.text);
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place_in_the_file() {
        let check = |rule: &str, expect: &[&str]| {
            assert_eq!(load(rule).map(|_| ()).expect_err("refused"), expect, "{rule}");
        };
        check(
            "    sql: |\n      SELECT lenght(a) AS x\n      FROM 'a/+'\n      WHERE b != 1\n    actions: []\n",
            &[
                "8:15: `!=` is no operator of this language; write `<>`",
                "9:14: `actions` is a list with at least one action; write it as `[{publish: \"ops/hot/${device}\"}]`",
            ],
        );
        check(
            "    sql: SELECT lenght(a) AS x FROM 'a/+'\n    actions: [{publish: \"b/${uper(c)}\"}, {email: x}, {webhook: \"ftp://x\"}]\n",
            &[
                "5:17: there is no function `lenght`; did you mean `length`?",
                "6:30: there is no function `uper`; did you mean `upper`?",
                "6:43: there is no action `email`; write `publish: \"a/topic\"` or `webhook: \"https://…\"`",
                "6:64: a webhook's address begins with `https://` or `http://`",
            ],
        );
        let of = |action: &str| format!("    sql: SELECT * FROM 'dt/+/climate'\n    actions: [{action}]\n");
        check(
            &of("{publish: \"dt/${d}/climate\"}"),
            &[
                "6:25: `dt/${d}/climate` can be a topic of the rule's own `FROM 'dt/+/climate'`: what it publishes would come back to it; publish elsewhere, or narrow `FROM`",
            ],
        );
        check(
            &of("{publish: \"$SYS/x\"}"),
            &["6:25: topics that begin with `$` are reserved; write `$$aws/…` to publish to one of these"],
        );
        check(
            &of("{publish: \"a/+\"}"),
            &["6:25: topic `a/+` has a wildcard; `+` and `#` are for subscriptions only"],
        );
        check(&of("{publish: {topic: a, qos: 2}}"), &["6:41: `qos` is 0 or 1, and this is 2"]);
        check(
            &of("{publish: {topic: a, retain: true}}"),
            &["6:36: unknown key `retain`; a `publish` has `topic`, `qos`, `content_type`, `headers`"],
        );
        check(
            &of("{webhook: \"https://${host}/x\"}"),
            &[
                "6:25: host and port of a webhook's address are written out; use templates behind the first `/`",
            ],
        );
        check(
            &of("{webhook: {url: \"https://h\", secret: short}}"),
            &["6:52: `secret` has 5 bytes; it needs 16; make one with `openssl rand -hex 32`"],
        );
        check(
            &of("{webhook: {url: \"https://h\", headers: {Host: a}}}"),
            &["6:54: `Host` cannot be a header of a webhook"],
        );
        check(
            &of("a, {publish: b, webhook: c}"),
            &[
                "6:15: an action is a map with one key, and this is a text; write `publish: \"a/topic\"` or `webhook: \"https://…\"`",
                "6:18: an action is a map with one key, and this is a map; write `publish: \"a/topic\"` or `webhook: \"https://…\"`",
            ],
        );
    }
}
