//! Matchers over labels, in Alertmanager's words: `severity="critical"`, `site!=hq`, `device=~"pump-.*"`, `rule!~"Test.*"`.
//!
//! Not here: what is matched against what. The laws: a label that is absent is the empty text; a regular expression must
//! match all of the value; one whose compiled form would pass [`REGEX_BYTES_MAX`] is refused when it is read.

use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexBuilder};

/// Largest compiled regular expression, in bytes: more than people write, less than an explosion.
pub const REGEX_BYTES_MAX: usize = 256 * 1024;

/// Longest matcher, in bytes.
pub const MATCHER_BYTES_MAX: usize = 2048;

/// Labels, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// One condition over one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    value: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal,
    Unequal,
    Like(Regex),
    Unlike(Regex),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Matcher {
    /// Reads one matcher: name, operator, value; name and value may stand in double quotes.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let wrong = || {
            format!(
                "`{text}` is no matcher; it must read like `severity=\"critical\"` or `device=~\"pump-.*\"`"
            )
        };
        if trimmed.len() > MATCHER_BYTES_MAX {
            return Err(format!(
                "a matcher is {} bytes; it must be at most {MATCHER_BYTES_MAX}",
                trimmed.len()
            ));
        }
        let at = match trimmed.strip_prefix('"') {
            Some(rest) => rest.find('"').map(|at| at + 2).ok_or_else(wrong)?,
            None => trimmed.find(['=', '!']).ok_or_else(wrong)?,
        };
        let (name, rest) = trimmed.split_at(at);
        let name = unquoted(name.trim()).ok_or_else(wrong)?;
        let rest = rest.trim_start();
        let operator = ["=~", "!~", "!=", "="]
            .into_iter()
            .find(|operator| rest.starts_with(operator))
            .ok_or_else(wrong)?;
        let value = unquoted(rest[operator.len()..].trim()).ok_or_else(wrong)?;
        if name.is_empty() {
            return Err(wrong());
        }
        Self::new(name, operator, value)
    }

    /// A matcher of its parts; the operator is `=`, `!=`, `=~` or `!~`.
    ///
    /// # Errors
    /// What would be right.
    pub fn new(name: String, operator: &str, value: String) -> Result<Self, String> {
        let regex = || {
            let built = RegexBuilder::new(&format!("^(?:{value})$"))
                .size_limit(REGEX_BYTES_MAX)
                .dfa_size_limit(REGEX_BYTES_MAX)
                .dot_matches_new_line(true)
                .build();
            built.map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => format!(
                    "the regular expression `{value}` would take more than {REGEX_BYTES_MAX} bytes; repeat less"
                ),
                other => {
                    let said = other.to_string();
                    let last = said.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
                    format!("`{value}` is no regular expression: {last}")
                }
            })
        };
        let test = match operator {
            "=" => Test::Equal,
            "!=" => Test::Unequal,
            "=~" => Test::Like(regex()?),
            "!~" => Test::Unlike(regex()?),
            other => return Err(format!("`{other}` is no operator; it must be `=`, `!=`, `=~` or `!~`")),
        };
        Ok(Self { name, value, test })
    }

    /// Reads what may be several, as in `{severity="critical", site="hq"}`.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(inner);
        let (mut parts, mut quoted, mut escaped, mut start) = (Vec::new(), false, false, 0);
        for (at, c) in inner.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                ',' if !quoted => {
                    parts.push(&inner[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&inner[start..]);
        // A comma at the end is fine.
        parts
            .iter()
            .filter(|part| parts.len() == 1 || !part.trim().is_empty())
            .map(|part| Self::parse(part))
            .collect()
    }

    /// Whether an alert with these labels meets it.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.meets(labels.get(&self.name).map_or("", String::as_str))
    }

    fn meets(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal => value == self.value,
            Test::Unequal => value != self.value,
            Test::Like(regex) => regex.is_match(value),
            Test::Unlike(regex) => !regex.is_match(value),
        }
    }

    /// The label it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it wants.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How it compares.
    #[must_use]
    pub fn operator(&self) -> &'static str {
        match self.test {
            Test::Equal => "=",
            Test::Unequal => "!=",
            Test::Like(_) => "=~",
            Test::Unlike(_) => "!~",
        }
    }

    /// Whether it is met by every alert that lacks the label: such a silence would silence too much.
    #[must_use]
    pub fn matches_absence(&self) -> bool {
        self.meets("")
    }

    /// Whether it is met by every alert that has the label, whatever it says, as `=~".+"` is: such a silence would silence too much.
    /// Found by trying values that have little in common.
    #[must_use]
    pub fn matches_presence(&self) -> bool {
        const VALUES: [&str; 9] = [
            "0",
            "a",
            "Z",
            "-",
            " ",
            "ü",
            "pump-7",
            "hq/floor-17",
            "a sentence of several words, and 2 numbers: 3",
        ];
        match &self.test {
            Test::Equal => false,
            Test::Unequal => self.value.is_empty(),
            Test::Like(_) => VALUES.iter().all(|value| self.meets(value)),
            // What names a value to leave out leaves something out.
            Test::Unlike(_) => !self.meets("") && VALUES.iter().all(|value| self.meets(value)),
        }
    }
}

/// Shows it as it is read.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.name.chars().all(plain) {
            write!(f, "{}{}{:?}", self.name, self.operator(), self.value)
        } else {
            write!(f, "{:?}{}{:?}", self.name, self.operator(), self.value)
        }
    }
}

/// Text without its quotes; `None` when they are open or something stands behind them.
fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        return (!text.contains(['"', '{', '}'])).then(|| text.to_owned());
    };
    let (mut value, mut characters) = (String::new(), rest.chars());
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                // A regular expression's own escapes stand as they are written: `\d`, `\.`.
                c @ ('"' | '\\') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    characters.next().is_none().then_some(value)
}

/// The known word that is nearest to what was written, if one is near.
pub(crate) fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|word| (distance(written, word), *word)).min()?;
    (near.0 <= 1 + written.len() / 4).then_some(near.1)
}

/// How many letters to change, add or leave out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_is_read_as_alertmanager_writes_it() {
        let labels: Labels = [("severity", "critical"), ("device", "pump-7"), ("odd name", "a\"b")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let cases = [
            (r#"severity="critical""#, Some(true)),
            ("severity=critical", Some(true)),
            (r#" severity = "critical" "#, Some(true)),
            ("severity!=critical", Some(false)),
            (r#"device=~"pump-.*""#, Some(true)),
            (r#"device=~"pump""#, Some(false)),
            (r#"device=~"pump-\d""#, Some(true)),
            (r#"device!~"pump-.*""#, Some(false)),
            ("absent=\"\"", Some(true)),
            ("absent=~.*", Some(true)),
            (r#""odd name"="a\"b""#, Some(true)),
            ("severity", None),
            ("=critical", None),
            (r#"severity="critical"#, None),
            (r#"severity="a" b"#, None),
            ("device=~(", None),
            ("device=~(((a{1,100}){1,100}){1,100})", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(Matcher::parse(text).map(|matcher| matcher.matches(&labels)).ok(), wanted, "{text}");
            if let Ok(matcher) = Matcher::parse(text) {
                assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher), "{text}");
            }
        }
        let all = Matcher::parse_all(r#"{severity="critical", device=~"a,b", }"#).expect("two");
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].value(), "a,b");
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let known = ["receiver", "group_by", "group_wait"];
        assert_eq!(nearest("reciever", &known), Some("receiver"));
        assert_eq!(nearest("groupby", &known), Some("group_by"));
        assert_eq!(nearest("colour", &known), None);
    }
}
