//! Whose readings a message carries, as a route says it.

use std::fmt;

use crate::limit::DEVICE_NAME_BYTES_MAX;
use crate::{DeviceName, Names, Origin, sparkplug};

/// A route's `device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceRule {
    /// The device whose credentials the connection has, else its client id.
    Connection,
    /// Level `n` of the topic, counted from 1.
    Level(usize),
    /// A field of the payload, nested names joined with `.`.
    Payload(String),
    /// A field of the payload; where it is absent, level `n` of the topic. Only presets have it.
    PayloadOr(String, usize),
    /// Pieces put together; made valid as a whole.
    Pieces(Vec<Piece>),
    /// What a Sparkplug topic names: `{group}:{node}` or `{group}:{node}:{device}`.
    Sparkplug,
}

/// A piece of a device's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// Level `n` of the topic, counted from 1.
    Level(usize),
    /// The levels from `n` on.
    LevelsFrom(usize),
    /// The levels from `from` on, without the last `dropped`. Only presets have it.
    LevelsBetween {
        /// The first, counted from 1.
        from: usize,
        /// How many at the end are no part of the name.
        dropped: usize,
    },
    /// The device whose credentials the connection has, else its client id.
    Connection,
}

/// What `device` may be, for errors.
const ALLOWED: &str =
    "write `connection`, `topic(2)`, `topic(2..)`, `payload(path)` or a text such as `{topic(2)}-{topic(4)}`";

impl DeviceRule {
    /// Reads what a route says.
    ///
    /// # Errors
    /// What is wrong and what would be right, as one sentence without a full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(['{', '}']) {
            return template(text);
        }
        match term(text)? {
            Term::Payload(path) => Ok(Self::Payload(path)),
            Term::Piece(Piece::Connection) => Ok(Self::Connection),
            Term::Piece(Piece::Level(n)) => Ok(Self::Level(n)),
            Term::Piece(piece) => Ok(Self::Pieces(vec![piece])),
        }
    }

    /// The field of the payload that names the device, if that is the rule.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Payload(path) | Self::PayloadOr(path, _) => Some(path),
            _ => None,
        }
    }

    /// Whether it tells a Sparkplug node and its devices apart, and names each alike whatever the type of message: the
    /// levels after the type, all of them, and none but the group before.
    #[must_use]
    pub fn is_for_sparkplug(&self) -> bool {
        match self {
            Self::Sparkplug => true,
            Self::Pieces(pieces) => {
                let fits =
                    |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Level(2) | Piece::LevelsFrom(4));
                pieces.iter().all(fits) && pieces.contains(&Piece::LevelsFrom(4))
            }
            _ => false,
        }
    }

    /// The deepest level of the topic that the rule needs; 0 for none.
    #[must_use]
    pub fn level_max(&self) -> usize {
        let of_piece = |piece: &Piece| match piece {
            Piece::Level(n) | Piece::LevelsFrom(n) | Piece::LevelsBetween { from: n, .. } => *n,
            Piece::Text(_) | Piece::Connection => 0,
        };
        match self {
            Self::Level(n) | Self::PayloadOr(_, n) => *n,
            Self::Pieces(pieces) => pieces.iter().map(of_piece).max().unwrap_or(0),
            Self::Connection | Self::Payload(_) | Self::Sparkplug => 0,
        }
    }

    /// The device of a message on `topic` from `origin`; `None` when the topic has no such level, the connection
    /// no name, or the payload alone tells.
    pub fn find(&self, topic: &str, origin: &Origin, names: &mut Names) -> Option<DeviceName> {
        match self {
            Self::Connection => of_connection(origin, names),
            Self::Level(n) | Self::PayloadOr(_, n) => names.device(level(topic, *n)?),
            Self::Payload(_) => None,
            Self::Sparkplug => sparkplug::of_topic(topic),
            Self::Pieces(pieces) => {
                let mut name = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => name.push_str(text),
                        Piece::Level(n) => name.push_str(level(topic, *n).filter(|text| !text.is_empty())?),
                        Piece::LevelsFrom(n) => name.push_str(levels_from(topic, *n)?),
                        Piece::LevelsBetween { from, dropped } => {
                            name.push_str(levels_between(topic, *from, *dropped)?);
                        }
                        Piece::Connection => name.push_str(&of_connection(origin, names)?),
                    }
                    if name.len() > DEVICE_NAME_BYTES_MAX {
                        break;
                    }
                }
                names.device(&name)
            }
        }
    }
}

/// As a route writes it.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Level(n) => write!(f, "topic({n})"),
            Self::Payload(path) | Self::PayloadOr(path, _) => write!(f, "payload({path})"),
            Self::Sparkplug => f.write_str("sparkplug"),
            Self::Pieces(pieces) => pieces.iter().try_for_each(|piece| match piece {
                Piece::Text(text) => f.write_str(text),
                Piece::LevelsFrom(n) if pieces.len() == 1 => write!(f, "topic({n}..)"),
                Piece::Level(n) => write!(f, "{{topic({n})}}"),
                Piece::LevelsFrom(n) => write!(f, "{{topic({n}..)}}"),
                Piece::LevelsBetween { from, .. } => write!(f, "topic({from}..)"),
                Piece::Connection => f.write_str("{connection}"),
            }),
        }
    }
}

fn of_connection(origin: &Origin, names: &mut Names) -> Option<DeviceName> {
    origin.device.clone().or_else(|| names.device(&origin.client_id))
}

fn level(topic: &str, n: usize) -> Option<&str> {
    topic.split('/').nth(n - 1)
}

fn levels_from(topic: &str, n: usize) -> Option<&str> {
    topic.splitn(n, '/').nth(n - 1).filter(|rest| !rest.is_empty())
}

fn levels_between(topic: &str, from: usize, dropped: usize) -> Option<&str> {
    let rest = levels_from(topic, from)?;
    (0..dropped).try_fold(rest, |rest, _| Some(rest.rsplit_once('/')?.0)).filter(|rest| !rest.is_empty())
}

enum Term {
    Piece(Piece),
    Payload(String),
}

fn term(text: &str) -> Result<Term, String> {
    let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if text == "connection" {
        return Ok(Term::Piece(Piece::Connection));
    }
    if let Some(path) = inside("payload") {
        if path.is_empty() {
            return Err("`device` is `payload()`; name the field, such as `payload(device.id)`".to_owned());
        }
        return Ok(Term::Payload(path.to_owned()));
    }
    if let Some(number) = inside("topic") {
        let (number, is_rest) = number.strip_suffix("..").map_or((number, false), |number| (number, true));
        return match number.parse() {
            Ok(n) if n > 0 && is_rest => Ok(Term::Piece(Piece::LevelsFrom(n))),
            Ok(n) if n > 0 => Ok(Term::Piece(Piece::Level(n))),
            _ => Err(format!("`device` has `{text}`; levels are counted from 1, such as `topic(2)`")),
        };
    }
    Err(format!("`device` has `{text}`; {ALLOWED}"))
}

fn template(text: &str) -> Result<DeviceRule, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (before, braced) = rest.split_once('{').unwrap_or((rest, ""));
        if before.contains('}') || (braced.is_empty() && before.len() < rest.len()) {
            return Err(format!("`device` is `{text}`, whose braces do not pair; {ALLOWED}"));
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        if before.len() == rest.len() {
            break;
        }
        let Some((inside, after)) = braced.split_once('}') else {
            return Err(format!("`device` is `{text}`, whose braces do not pair; {ALLOWED}"));
        };
        match term(inside)? {
            Term::Piece(piece) => pieces.push(piece),
            Term::Payload(path) => {
                return Err(format!(
                    "`device` is `{text}`; `payload({path})` must stand alone, without braces"
                ));
            }
        }
        rest = after;
    }
    Ok(DeviceRule::Pieces(pieces))
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;

    fn origin(device: Option<&str>, client_id: &'static str) -> Origin {
        let device = device.map(|name| DeviceName::parse(name).expect("a name"));
        Origin { device, client_id: ByteString::from_static(client_id), ..Origin::inside(1) }
    }

    #[test]
    fn a_device_is_found_as_the_route_says() {
        let mut names = Names::new();
        let mut check = |rule: &str, topic: &str, expect: Option<&str>| {
            let rule = DeviceRule::parse(rule).expect("a rule");
            let found = rule.find(topic, &origin(Some("meter-7"), "c"), &mut names);
            assert_eq!(found.as_deref(), expect, "{rule} on {topic}");
        };
        check("connection", "a/b", Some("meter-7"));
        check("topic(2)", "dt/office-1/climate", Some("office-1"));
        check("topic(2)", "dt/office 1", Some("office_1"));
        check("topic(2)", "dt", None);
        check("topic(2)", "dt//x", None);
        check("topic(1..)", "a/b/c", Some("a_b_c"));
        check("topic(2..)", "a/b/c", Some("b_c"));
        check("topic(2..)", "a", None);
        check("topic(2..)", "a/", None);
        check("{topic(2)}-{topic(4)}", "hq/17/room/3/co2", Some("17-3"));
        check("{topic(2)}-{topic(4)}", "hq/17/room", None);
        check("{topic(2)}-{topic(4)}", "hq//room/3", None);
        check("gw-{connection}:{topic(2..)}", "a/b/c", Some("gw-meter-7:b_c"));
        check("payload(id)", "a/b", None);
    }

    #[test]
    fn a_connection_without_a_device_is_its_client_id() {
        let mut names = Names::new();
        let mut found = |origin| DeviceRule::Connection.find("a", &origin, &mut names);
        assert_eq!(found(origin(None, "my client")).as_deref(), Some("my_client"));
        assert_eq!(found(origin(None, "")), None);
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        for text in
            ["connection", "topic(3)", "topic(3..)", "payload(a.b)", "{topic(2)}-{topic(4)}", "x{topic(1..)}"]
        {
            assert_eq!(DeviceRule::parse(text).expect("a rule").to_string(), text);
        }
    }

    #[test]
    fn a_rule_that_means_nothing_is_refused() {
        let check = |text: &str, expect: &str| {
            let said = DeviceRule::parse(text).expect_err(text);
            assert!(said.contains(expect), "{text}: {said}");
        };
        check("", "write `connection`");
        check("topic(0)", "counted from 1");
        check("topic()", "counted from 1");
        check("topic(-1)", "counted from 1");
        check("topic2", "write `connection`");
        check("office-1", "write `connection`");
        check("payload()", "name the field");
        check("{topic(2)", "do not pair");
        check("topic(2)}", "do not pair");
        check("{", "do not pair");
        check("a{b}", "write `connection`");
        check("{payload(id)}-{topic(1)}", "must stand alone");
    }
}
