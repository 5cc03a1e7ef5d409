//! A policy's text, read: statements that allow or deny.
//!
//! Strict on purpose: a member that nobody knows, one that is written twice, an effect in lower case are refused with their
//! place, because a policy that is half understood permits what its author did not mean. Not here: sessions. The laws: what
//! is read twice means the same; `{}` is a policy that grants nothing.

use super::AwsSettings;
use super::condition::Condition;
use super::error::DocumentError;
use super::node::Node;
use super::pattern::{Template, matches};
use super::variable::Variable;

/// Most characters of a policy, white space outside of text not counted: ten times what AWS takes (2,048), for fleets without
/// AWS's other ways to say things shortly.
pub const DOCUMENT_CHARACTERS_MAX: usize = 20_480;

/// Most statements of a policy: more than fit into [`DOCUMENT_CHARACTERS_MAX`].
pub const STATEMENTS_MAX: usize = 1_000;

/// The one version of the language.
const VERSION: &str = "2012-10-17";

/// The actions that a session is judged by, and those of HTTP, which this version does not serve.
const KNOWN_ACTIONS: &[&str] = &[
    "iot:connect",
    "iot:publish",
    "iot:retainpublish",
    "iot:subscribe",
    "iot:receive",
    "iot:getthingshadow",
    "iot:updatethingshadow",
    "iot:deletethingshadow",
    "iot:listnamedshadowsforthing",
    "iot:describejobexecution",
    "iot:getpendingjobexecutions",
    "iot:startnextpendingjobexecution",
    "iot:updatejobexecution",
    "iot:getretainedmessage",
    "iot:listretainedmessages",
];

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    statements: Vec<Statement>,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It permits.
    Allow,
    /// It refuses, whatever permits.
    Deny,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) actions: Actions,
    pub(crate) resources: Resources,
    pub(crate) conditions: Vec<Condition>,
    /// As it was written, on one line.
    text: String,
}

/// `Action` or `NotAction`: patterns in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actions {
    pub(crate) is_not: bool,
    patterns: Vec<String>,
}

/// `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) is_not: bool,
    pub(crate) list: Vec<Resource>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `*`.
    Everything,
    /// `arn:{partition}:{service}:{region}:{account}:{rest}`.
    Arn {
        /// The first four behind `arn`, as patterns.
        places: [String; 4],
        /// `topic/…`, `topicfilter/…`, `client/…`.
        rest: Template,
    },
}

impl Document {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`DocumentError`] says where it is not right.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let characters = characters(text);
        if characters > DOCUMENT_CHARACTERS_MAX {
            return Err(DocumentError::TooLong { characters, most: DOCUMENT_CHARACTERS_MAX });
        }
        let node = Node::parse(text).map_err(|error| DocumentError::Json(error.to_string()))?;
        let Node::Object(members) = node else {
            let what = format!("it is {}; it must be an object with `Version` and `Statement`", node.kind());
            return Err(DocumentError::shape("the policy", what));
        };
        let mut statements = Vec::new();
        // AWS takes `{}`, which grants nothing.
        if !members.is_empty() {
            known_members(&members, &["Version", "Id", "Statement"], "the policy")?;
            match member(&members, "Version") {
                Some(Node::Text(version)) if version == VERSION => {}
                Some(other) => {
                    let what = format!("it is {other}; it must be \"{VERSION}\"");
                    return Err(DocumentError::shape("`Version`", what));
                }
                None => {
                    return Err(DocumentError::shape(
                        "the policy",
                        format!("`Version` is missing; write \"{VERSION}\""),
                    ));
                }
            }
            let Some(listed) = member(&members, "Statement") else {
                return Err(DocumentError::shape("the policy", "`Statement` is missing"));
            };
            let listed = listed.listed();
            if listed.len() > STATEMENTS_MAX {
                let what = format!("there are {} statements; the most is {STATEMENTS_MAX}", listed.len());
                return Err(DocumentError::shape("`Statement`", what));
            }
            for (at, node) in listed.iter().enumerate() {
                let statement = Statement::parse(node, at + 1)?;
                let is_taken = statement.sid.is_some()
                    && statements.iter().any(|other: &Statement| other.sid == statement.sid);
                if is_taken {
                    let what = "another statement has this `Sid`";
                    return Err(DocumentError::shape(place(at + 1, statement.sid.as_deref()), what));
                }
                statements.push(statement);
            }
        }
        Ok(Self { text: text.to_owned(), statements })
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its statements, in their order; `why` counts them from 1.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What is right in form and yet permits or refuses nothing here: probably not what was meant.
    #[must_use]
    pub fn warnings(&self, aws: &AwsSettings) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, statement) in self.statements.iter().enumerate() {
            let place = place(at + 1, statement.sid.as_deref());
            for pattern in &statement.actions.patterns {
                if !KNOWN_ACTIONS.iter().any(|known| matches(pattern, known)) {
                    let name = written(pattern);
                    warnings.push(format!("{place}: no action of this version is called `{name}`"));
                }
            }
            for resource in &statement.resources.list {
                let Resource::Arn { places, rest } = resource else { continue };
                for (pattern, (what, own)) in places.iter().zip(own_places(aws)) {
                    if !matches(pattern, own) {
                        let pattern = written(pattern);
                        warnings.push(format!(
                            "{place}: a resource names {what} `{pattern}`, here it is `{own}`: it matches nothing. Write `*` there, \
                             or set `[aws]`"
                        ));
                    }
                }
                let dangling = rest.variables().any(|variable| *variable == Variable::ConnectAttributes);
                if dangling {
                    warnings
                        .push(format!("{place}: `iot:ConnectAttributes` stands for nothing in a resource"));
                }
            }
        }
        warnings
    }
}

/// What stands in the first four places of an ARN here, and what they are called.
pub(crate) fn own_places(aws: &AwsSettings) -> [(&'static str, &str); 4] {
    [("partition", "aws"), ("service", "iot"), ("region", &aws.region), ("account", &aws.account)]
}

/// A pattern as it was written, roughly: for people.
fn written(pattern: &str) -> String {
    pattern.replace('\0', "")
}

impl Statement {
    /// Its name, if it has one.
    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// What it does.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The statement as it was written, on one line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn parse(node: &Node, number: usize) -> Result<Self, DocumentError> {
        let Node::Object(members) = node else {
            let what = format!("it is {}; it must be an object", node.kind());
            return Err(DocumentError::shape(place(number, None), what));
        };
        let sid = match member(members, "Sid") {
            None => None,
            Some(Node::Text(sid))
                if !sid.is_empty()
                    && sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte)) =>
            {
                Some(sid.clone())
            }
            Some(other) => {
                let what = format!("`Sid` is {other}; it must be letters and digits");
                return Err(DocumentError::shape(place(number, None), what));
            }
        };
        let place = place(number, sid.as_deref());
        let known = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
        known_members(members, &known, &place)?;
        let effect = match member(members, "Effect") {
            Some(Node::Text(effect)) if effect == "Allow" => Effect::Allow,
            Some(Node::Text(effect)) if effect == "Deny" => Effect::Deny,
            Some(other) => {
                let what = format!("`Effect` is {other}; it must be \"Allow\" or \"Deny\"");
                return Err(DocumentError::shape(place, what));
            }
            None => {
                return Err(DocumentError::shape(place, "`Effect` is missing; write \"Allow\" or \"Deny\""));
            }
        };
        let (is_not, listed) = either(members, "Action", "NotAction", &place)?;
        let patterns =
            listed.into_iter().map(|action| action_pattern(action, &place)).collect::<Result<_, _>>()?;
        let actions = Actions { is_not, patterns };
        let (is_not, listed) = either(members, "Resource", "NotResource", &place)?;
        let list = listed.into_iter().map(|text| Resource::parse(text, &place)).collect::<Result<_, _>>()?;
        let resources = Resources { is_not, list };
        let conditions = match member(members, "Condition") {
            None => Vec::new(),
            Some(block) => Condition::parse_block(block, &place)?,
        };
        Ok(Self { sid, effect, actions, resources, conditions, text: node.to_string() })
    }
}

impl Actions {
    /// Whether the statement speaks of `action`, given in lower case.
    pub(crate) fn has(&self, action: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, action)) != self.is_not
    }
}

impl Resource {
    fn parse(text: &str, place: &str) -> Result<Self, DocumentError> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let wrong = |what: &str| {
            let shown: String = text.chars().take(100).collect();
            Err(DocumentError::shape(
                place,
                format!(
                    "resource `{shown}` {what}; write `*` or `arn:aws:iot:*:*:topic/…` (also `topicfilter/…`, `client/…`)"
                ),
            ))
        };
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [arn, partition, service, region, account, rest] = parts.as_slice() else {
            return wrong("has fewer than six parts");
        };
        if *arn != "arn" {
            return wrong("does not begin with `arn:`");
        }
        if [partition, service, region, account].iter().any(|part| part.contains('$')) {
            return wrong("has a variable in front of its last part");
        }
        let kinds = ["topic/", "topicfilter/", "client/", "thing/", "thinggroup/", "job/", "cert/", "rule/"];
        let head = rest.split(['*', '?']).next().unwrap_or_default();
        let is_known = head.len() < rest.len() && kinds.iter().any(|kind| kind.starts_with(head));
        if !is_known && !kinds.iter().any(|kind| head.starts_with(kind)) {
            return wrong("names no kind of resource that there is");
        }
        let pattern = |part: &str| Template::parse(part, true).filled(|_| None).into_owned();
        Ok(Self::Arn {
            places: [pattern(partition), pattern(service), pattern(region), pattern(account)],
            rest: Template::parse(rest, true),
        })
    }
}

/// `statement 2 (`Telemetry`)`.
pub(crate) fn place(number: usize, sid: Option<&str>) -> String {
    sid.map_or_else(|| format!("statement {number}"), |sid| format!("statement {number} (`{sid}`)"))
}

fn member<'a>(members: &'a [(String, Node)], name: &str) -> Option<&'a Node> {
    members.iter().find(|(known, _)| known == name).map(|(_, node)| node)
}

fn known_members(members: &[(String, Node)], known: &[&str], place: &str) -> Result<(), DocumentError> {
    let Some((unknown, _)) = members.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let meant = known.iter().find(|name| name.eq_ignore_ascii_case(unknown));
    let what = match meant {
        Some(meant) => format!("`{unknown}` is unknown; it is written `{meant}`"),
        None => format!("`{unknown}` is unknown; there are {}", known.join(", ")),
    };
    Err(DocumentError::shape(place, what))
}

/// The texts behind the one of two members that is there.
fn either<'a>(
    members: &'a [(String, Node)],
    positive: &str,
    negative: &str,
    place: &str,
) -> Result<(bool, Vec<&'a str>), DocumentError> {
    let (name, node) = match (member(members, positive), member(members, negative)) {
        (Some(node), None) => (positive, node),
        (None, Some(node)) => (negative, node),
        (None, None) => return Err(DocumentError::shape(place, format!("`{positive}` is missing"))),
        (Some(_), Some(_)) => {
            return Err(DocumentError::shape(
                place,
                format!("it has both `{positive}` and `{negative}`; one is to go"),
            ));
        }
    };
    let mut texts = Vec::new();
    for node in node.listed() {
        match node {
            Node::Text(text) if !text.contains('\0') => texts.push(text.as_str()),
            Node::Text(_) => return Err(DocumentError::shape(place, format!("`{name}` holds a NUL"))),
            other => {
                let what = format!("`{name}` holds {}; it must be text or a list of texts", other.kind());
                return Err(DocumentError::shape(place, what));
            }
        }
    }
    if texts.is_empty() {
        return Err(DocumentError::shape(place, format!("`{name}` is empty")));
    }
    Ok((name == negative, texts))
}

fn action_pattern(action: &str, place: &str) -> Result<String, DocumentError> {
    let is_service = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-*?".contains(&byte))
    };
    let is_right = action == "*"
        || action.split_once(':').is_some_and(|(service, name)| is_service(service) && is_service(name));
    if !is_right {
        let shown: String = action.chars().take(100).collect();
        let what = format!("action `{shown}` is none; write `iot:Publish`, `iot:*` or `*`");
        return Err(DocumentError::shape(place, what));
    }
    Ok(Template::parse(&action.to_ascii_lowercase(), true).filled(|_| None).into_owned())
}

/// Characters without white space outside of text.
fn characters(text: &str) -> usize {
    let (mut counted, mut is_text, mut is_escaped) = (0, false, false);
    for letter in text.chars() {
        if is_text {
            counted += 1;
            is_text = is_escaped || letter != '"';
            is_escaped = !is_escaped && letter == '\\';
        } else if !letter.is_whitespace() {
            counted += 1;
            is_text = letter == '"';
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Document::parse(text).expect_err("not a policy").to_string()
    }

    fn of(statement: &str) -> String {
        format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statement}]}}")
    }

    #[test]
    fn a_policy_that_is_not_right_is_refused_with_its_place_and_what_would_be_right() {
        let right = r#""Effect":"Allow","Action":"iot:Publish","Resource":"*""#;
        let cases = [
            ("{\n\"Version\": }", "the policy is not JSON: expected value at line 2 column 12"),
            ("[]", "the policy: it is a list; it must be an object with `Version` and `Statement`"),
            (r#"{"Statement":[]}"#, "the policy: `Version` is missing; write \"2012-10-17\""),
            (
                r#"{"Version":"2008-10-17","Statement":[]}"#,
                "`Version`: it is \"2008-10-17\"; it must be \"2012-10-17\"",
            ),
            (r#"{"Version":"2012-10-17"}"#, "the policy: `Statement` is missing"),
            (r#"{"version":"2012-10-17"}"#, "the policy: `version` is unknown; it is written `Version`"),
            (&of("1"), "statement 1: it is a number; it must be an object"),
            (
                &of(&format!("{{{right}}},{{}}")),
                "statement 2: `Effect` is missing; write \"Allow\" or \"Deny\"",
            ),
            (
                &of(r#"{"Sid":"A","Effect":"allow","Action":"iot:Publish","Resource":"*"}"#),
                "statement 1 (`A`): `Effect` is \"allow\"; it must be \"Allow\" or \"Deny\"",
            ),
            (&of(r#"{"Effect":"Deny","Resource":"*"}"#), "statement 1: `Action` is missing"),
            (
                &of(r#"{"Effect":"Deny","Action":"*","NotAction":"*","Resource":"*"}"#),
                "statement 1: it has both `Action` and `NotAction`; one is to go",
            ),
            (
                &of(r#"{"Effect":"Deny","Action":"Publish","Resource":"*"}"#),
                "statement 1: action `Publish` is none; write `iot:Publish`, `iot:*` or `*`",
            ),
            (&of(r#"{"Effect":"Deny","Action":[],"Resource":"*"}"#), "statement 1: `Action` is empty"),
            (
                &of(r#"{"Effect":"Deny","Action":"*","Resource":"topic/x"}"#),
                "statement 1: resource `topic/x` has fewer than six parts; write `*` or `arn:aws:iot:*:*:topic/…` (also `topicfilter/…`, `client/…`)",
            ),
            (
                &of(r#"{"Effect":"Deny","Action":"*","Resource":"arn:aws:iot:*:*:topics/x"}"#),
                "statement 1: resource `arn:aws:iot:*:*:topics/x` names no kind of resource that there is; write `*` or `arn:aws:iot:*:*:topic/…` (also `topicfilter/…`, `client/…`)",
            ),
            (
                &of(&format!(r#"{{{right},"Principal":"*"}}"#)),
                "statement 1: `Principal` is unknown; there are Sid, Effect, Action, NotAction, Resource, NotResource, Condition",
            ),
            (
                &of(&format!(r#"{{{right},"Condition":{{"StringEqual":{{"iot:ClientId":"a"}}}}}}"#)),
                "statement 1, `Condition`: operator `StringEqual` is unknown; there are StringEquals, StringNotEquals, StringEqualsIgnoreCase, StringNotEqualsIgnoreCase, StringLike, StringNotLike, Bool, IpAddress, NotIpAddress, Null, each also with `IfExists`",
            ),
            (
                &of(&format!(r#"{{{right},"Condition":{{"Bool":{{"iot:Client":"a"}}}}}}"#)),
                "statement 1, `Condition`: key `iot:Client` is unknown; docs/policies.md lists the keys there are",
            ),
            (
                &of(&format!(r#"{{{right},"Condition":{{"IpAddress":{{"aws:SourceIp":"10.0.0.0/40"}}}}}}"#)),
                "statement 1, `Condition`: `10.0.0.0/40` is no address and no range such as `192.0.2.0/24`",
            ),
        ];
        for (text, expect) in cases {
            assert_eq!(error(text), expect, "{text}");
        }
        assert!(
            error(&of(&format!("{{{right},\"Effect\":\"Deny\"}}"))).contains("`Effect` is written twice")
        );
        assert!(
            error(&of(&format!(r#"{{"Sid":"A",{right}}},{{"Sid":"A",{right}}}"#)))
                .contains("another statement")
        );
    }

    #[test]
    fn white_space_is_not_counted_and_what_is_in_quotes_is() {
        assert_eq!(characters("{ \"a b\" :\n [1, 2] }"), 2 + 5 + 1 + 5);
        assert_eq!(characters(r#"" \" " "#), 6);
        let long =
            format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}", " ".repeat(DOCUMENT_CHARACTERS_MAX));
        assert!(Document::parse(&long).is_ok());
        let long = of(&format!(
            r#"{{"Effect":"Allow","Action":"*","Resource":"arn:aws:iot:*:*:topic/{}"}}"#,
            "x".repeat(DOCUMENT_CHARACTERS_MAX)
        ));
        assert!(error(&long).contains("the most is 20480"));
    }

    #[test]
    fn a_single_statement_needs_no_list_and_an_empty_policy_has_none() {
        let one = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
        assert_eq!(Document::parse(one).expect("a policy").statements().len(), 1);
        assert!(Document::parse("{}").expect("a policy").statements().is_empty());
    }

    #[test]
    fn what_matches_nothing_here_is_warned_of() {
        let text = of(
            r#"{"Effect":"Allow","Action":["iot:Publsh","iot:*"],"Resource":["arn:aws:iot:eu-west-1:*:topic/x","arn:aws:iot:*:*:topic/y"]}"#,
        );
        let warnings = Document::parse(&text).expect("a policy").warnings(&AwsSettings::default());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("`iot:publsh`") && warnings[1].contains("`eu-west-1`"), "{warnings:?}");
    }
}
