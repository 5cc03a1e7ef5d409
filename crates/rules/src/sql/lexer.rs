//! A statement taken apart into words, numbers and quoted texts, each with its place. The work is `sqlparser`'s.
//!
//! Not here: what the words mean (`parser`). The law: what has no meaning in this language is a fault at its place, never
//! passed over.

use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Token as Raw, Tokenizer};

use super::TEXT_BYTES_MAX;
use crate::fault::Fault;

/// A place in the text: line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    pub(crate) fn fault(self, message: impl Into<String>) -> Fault {
        Fault::new(self.line, self.column, message)
    }
}

/// A piece of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A word without quotes: a keyword or a name.
    Word(String),
    /// A name in double quotes or backticks: never a keyword.
    Name(String),
    /// A text in single quotes.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// As a message to people shows it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Word(word) | Self::Number(word) => format!("`{word}`"),
            Self::Name(name) => format!("`\"{name}\"`"),
            Self::Text(text) => format!("`'{text}'`"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end of the statement".to_owned(),
        }
    }
}

/// How AWS writes names and texts.
#[derive(Debug)]
struct IotSql;

impl Dialect for IotSql {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_' || ch == '$'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }
}

/// Takes `text` apart. The last token is [`Token::End`]. Stops at the first fault: what follows it could mean anything.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Place)>, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text is {} bytes; the most is {TEXT_BYTES_MAX}", text.len());
        return Err(Fault::new(1, 1, message));
    }
    let place = |location: sqlparser::tokenizer::Location| Place {
        line: usize::try_from(location.line).unwrap_or(1).max(1),
        column: usize::try_from(location.column).unwrap_or(1).max(1),
    };
    let raw = Tokenizer::new(&IotSql, text).tokenize_with_location().map_err(|error| {
        let message = error.message;
        let message = message[..1].to_lowercase() + &message[1..];
        place(error.location).fault(message)
    })?;
    let mut tokens = Vec::with_capacity(raw.len() + 1);
    let mut end = Place { line: 1, column: 1 };
    for raw in raw {
        let at = place(raw.span.start);
        end = place(raw.span.end);
        let token = match raw.token {
            Raw::Whitespace(_) => continue,
            Raw::EOF => break,
            Raw::Word(word) if word.quote_style.is_some() => Token::Name(word.value),
            Raw::Word(word) => Token::Word(word.value),
            Raw::DoubleQuotedString(name) => Token::Name(name),
            Raw::SingleQuotedString(text) => Token::Text(text),
            Raw::Number(number, false) => Token::Number(number),
            Raw::Neq if character_at(text, at) == Some('!') => {
                return Err(at
                    .fault("`!=` is no operator of this language")
                    .suggesting("write `<>`".to_owned()));
            }
            Raw::DoubleEq => {
                return Err(at
                    .fault("`==` is no operator of this language")
                    .suggesting("write `=`".to_owned()));
            }
            other => match symbol(&other) {
                Some(symbol) => Token::Symbol(symbol),
                None => return Err(at.fault(format!("`{other}` has no meaning here"))),
            },
        };
        tokens.push((token, at));
    }
    tokens.push((Token::End, end));
    Ok(tokens)
}

fn symbol(raw: &Raw) -> Option<&'static str> {
    Some(match raw {
        Raw::Comma => ",",
        Raw::Eq => "=",
        Raw::Neq => "<>",
        Raw::Lt => "<",
        Raw::Gt => ">",
        Raw::LtEq => "<=",
        Raw::GtEq => ">=",
        Raw::Plus => "+",
        Raw::Minus => "-",
        Raw::Mul => "*",
        Raw::Div => "/",
        Raw::Mod => "%",
        Raw::LParen => "(",
        Raw::RParen => ")",
        Raw::Period => ".",
        Raw::Colon => ":",
        Raw::LBracket => "[",
        Raw::RBracket => "]",
        Raw::LBrace => "{",
        Raw::RBrace => "}",
        Raw::SemiColon => ";",
        _ => return None,
    })
}

fn character_at(text: &str, at: Place) -> Option<char> {
    text.split('\n').nth(at.line - 1)?.chars().nth(at.column - 1)
}
