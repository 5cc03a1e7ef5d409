//! Regular expressions and `LIKE`: compiled when the statement is loaded, bounded in size.
//!
//! Not here: the engine (`regex`, which takes time in proportion to the text, whatever the pattern). The law: a pattern that would
//! be large is refused at load; none is made of data.

use ::regex::{Regex, RegexBuilder};

use super::lexer::Place;
use super::node::{Node, Scope};
use super::value::Value;
use crate::fault::Fault;

/// Most bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Most bytes of a compiled pattern: `\p{L}{1,20}` fits, `((a{100}){100}){100}` does not.
const COMPILED_BYTES_MAX: usize = 512 * 1024;

/// A text and a pattern.
#[derive(Debug)]
pub(crate) struct RegexCall {
    pub(crate) what: Work,
    pub(crate) subject: Node,
    pub(crate) regex: Regex,
}

/// What is done with them.
#[derive(Debug)]
pub(crate) enum Work {
    /// Whether the text has a match.
    Matches,
    /// The first match, as text.
    First,
    /// Every match put as this; `$1` is the first group.
    Replace(Node),
}

impl RegexCall {
    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Value {
        let subject = self.subject.evaluate(scope);
        let Some(text) = subject.text() else { return Value::Undefined };
        match &self.what {
            Work::Matches => Value::Bool(self.regex.is_match(&text)),
            Work::First => {
                self.regex.find(&text).map_or(Value::Undefined, |found| Value::text_of(found.as_str()))
            }
            Work::Replace(with) => match with.evaluate(scope).text() {
                Some(with) => Value::Text(self.regex.replace_all(&text, with.as_str()).into_owned()),
                None => Value::Undefined,
            },
        }
    }
}

/// Compiles a pattern that stands at `place`.
pub(crate) fn compile(pattern: &str, place: Place) -> Result<Regex, Fault> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let message = format!("the pattern is {} bytes; the most is {PATTERN_BYTES_MAX}", pattern.len());
        return Err(place.fault(message));
    }
    let built =
        RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| match error {
        ::regex::Error::CompiledTooBig(_) => place
            .fault(format!("the pattern would take more than {COMPILED_BYTES_MAX} bytes when compiled"))
            .suggesting("repeat less, or repeat something smaller".to_owned()),
        other => {
            // The last line says what; the ones before it draw the pattern.
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            place.fault(format!("the pattern is no regular expression: {reason}"))
        }
    })
}

/// The pattern of `LIKE`: `%` is any text, `_` any character.
pub(crate) fn like(pattern: &str, place: Place) -> Result<Regex, Fault> {
    let mut expression = String::from("(?s)^");
    for character in pattern.chars() {
        match character {
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            other => expression.push_str(&::regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push('$');
    compile(&expression, place)
}
