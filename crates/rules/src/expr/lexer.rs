//! The words of an expression: numbers, spans of time, texts, names, signs.
//!
//! Not here: what they mean together. The law: every token knows where it begins, and what is no token is told with the
//! spelling that would be one.

use crate::duration;

/// A fault inside an expression: where it is, in bytes from its beginning, and what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flaw {
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

impl Flaw {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), suggestion: None }
    }

    pub(crate) fn suggesting(mut self, suggestion: impl Into<Option<String>>) -> Self {
        self.suggestion = suggestion.into();
        self
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Number(f64),
    /// Microseconds.
    Span(i64),
    /// `'text'`
    Text(String),
    /// A plain name, keyword or function.
    Word(String),
    /// `"any name"`
    Quoted(String),
    Sign(&'static str),
    End,
}

impl Token {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Number(number) => format!("`{number}`"),
            Self::Span(micros) => format!("`{}`", duration::shown(*micros)),
            Self::Text(text) => format!("`'{text}'`"),
            Self::Word(word) => format!("`{word}`"),
            Self::Quoted(name) => format!("`\"{name}\"`"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: [&str; 17] =
    ["==", "!=", "<>", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")", ",", "."];

/// Cuts `text` into tokens; the last one is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Vec<Flaw>> {
    let (mut tokens, mut flaws) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = if next.is_whitespace() {
            next.len_utf8()
        } else {
            match token(rest) {
                Ok((token, length)) => {
                    tokens.push((at, token));
                    length
                }
                Err((message, suggestion, length)) => {
                    flaws.push(Flaw::new(at, message).suggesting(suggestion));
                    length
                }
            }
        };
        at += length;
    }
    tokens.push((text.len(), Token::End));
    if flaws.is_empty() { Ok(tokens) } else { Err(flaws) }
}

/// What is wrong, what would be right, and how many bytes to pass over.
type NoToken = (String, Option<String>, usize);

fn token(rest: &str) -> Result<(Token, usize), NoToken> {
    let first = rest.chars().next().unwrap_or(' ');
    match first {
        '0'..='9' => number(rest),
        '\'' => quoted(rest, '\'').map(|(text, length)| (Token::Text(text), length)),
        '"' => quoted(rest, '"').map(|(text, length)| (Token::Quoted(text), length)),
        c if c.is_alphabetic() || c == '_' => word(rest),
        _ => {
            if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                return Ok((Token::Sign(sign), sign.len()));
            }
            let instead = [("&&", "and"), ("||", "or"), ("!", "not")];
            match instead.iter().find(|(sign, _)| rest.starts_with(sign)) {
                Some((sign, word)) => Err((
                    format!("`{sign}` is no operator here"),
                    Some(format!("write `{word}`")),
                    sign.len(),
                )),
                None => {
                    Err((format!("`{}` has no meaning here", first.escape_debug()), None, first.len_utf8()))
                }
            }
        }
    }
}

/// A number, or a span when letters follow at once.
fn number(rest: &str) -> Result<(Token, usize), NoToken> {
    let digits =
        |from: usize| from + rest[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - from);
    let mut end = digits(0);
    if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        end = digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let exponent = end + 1 + usize::from(rest[end + 1..].starts_with(['+', '-']));
        if rest[exponent..].starts_with(|c: char| c.is_ascii_digit()) {
            end = digits(exponent);
        }
    }
    let whole = end + rest[end..].find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len() - end);
    if whole > end {
        let text = &rest[..whole];
        return match duration::parse(text) {
            Ok(micros) => Ok((Token::Span(micros), whole)),
            Err(message) => Err((message, None, whole)),
        };
    }
    match rest[..end].parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((Token::Number(number), end)),
        _ => Err((format!("`{}` is no number that can be told", &rest[..end]), None, end)),
    }
}

/// A text in `quote`s; a doubled quote inside stands for one.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), NoToken> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            text.push(quote);
        } else {
            return Ok((text, at + 1));
        }
    }
    Err((format!("the {quote} that begins here has no end"), None, rest.len()))
}

/// A name: letters, digits and `_`, levels joined by `.` (a level may be a number: `phases.0`).
fn word(rest: &str) -> Result<(Token, usize), NoToken> {
    let is_plain = |c: char| c.is_alphanumeric() || c == '_';
    let level = |from: usize| from + rest[from..].find(|c| !is_plain(c)).unwrap_or(rest.len() - from);
    let mut end = level(0);
    while rest[end..].starts_with('.') && rest[end + 1..].starts_with(is_plain) {
        end = level(end + 1);
    }
    // `switch:0.apower` and the like: the whole name is shown as it must be written.
    if rest[end..].starts_with([':', '@', '$', '#', '[']) {
        let is_of_name =
            |c: char| is_plain(c) || matches!(c, ':' | '.' | '@' | '$' | '#' | '[' | ']' | '-' | '/');
        let whole = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let name = &rest[..whole];
        return Err((
            format!("`{name}` is no plain name"),
            Some(format!("a channel with such a name is written in quotes: `\"{name}\"`")),
            whole,
        ));
    }
    Ok((Token::Word(rest[..end].to_owned()), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match tokens(text) {
            Ok(tokens) => tokens.iter().map(|(_, token)| token.shown()).collect::<Vec<_>>().join(" "),
            Err(flaws) => flaws
                .iter()
                .map(|flaw| {
                    format!("{}: {} ({})", flaw.at, flaw.message, flaw.suggestion.clone().unwrap_or_default())
                })
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    #[test]
    fn text_is_cut_into_words() {
        let check = |text: &str, expect: &str| assert_eq!(shown(text), expect, "{text}");
        check("a.b>=1.5e3", "`a.b` `>=` `1500` the end");
        check("avg(x, 5m)", "`avg` `(` `x` `,` `5m` `)` the end");
        check("\"switch:0.apower\" <> 'it''s'", "`\"switch:0.apower\"` `<>` `'it's'` the end");
        check("phases.0 - 1", "`phases.0` `-` `1` the end");
        check("größe", "`größe` the end");
    }

    #[test]
    fn what_is_no_word_is_told_with_what_would_be_one_all_at_once() {
        let check = |text: &str, expect: &str| assert_eq!(shown(text), expect, "{text}");
        check(
            "switch:0.apower > 5",
            "0: `switch:0.apower` is no plain name (a channel with such a name is written in quotes: `\"switch:0.apower\"`)",
        );
        check(
            "a && !b",
            "2: `&&` is no operator here (write `and`); 5: `!` is no operator here (write `not`)",
        );
        check("a > 5min", "4: `5min` is no span of time; write it as `90s`, `15m`, `1h30m` or `30d` ()");
        check("'open", "0: the ' that begins here has no end ()");
        check("a ~ 1", "2: `~` has no meaning here ()");
    }
}
