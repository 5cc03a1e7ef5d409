//! A refusal as the protocol says it: SQLSTATE, message, hint, position.
//!
//! Not here: the reasons themselves (`crate::error`). The law: every refusal has a state of its own kind, so that a
//! driver can tell what a retry would be worth.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use pgwire::error::{ErrorInfo, PgWireError};

use crate::error::QueryError;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Five letters of PostgreSQL's appendix A.
    pub(crate) state: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Counted in characters from 1.
    pub(crate) position: Option<usize>,
    /// Whether the connection ends with it.
    pub(crate) is_fatal: bool,
}

impl Fault {
    pub(crate) fn new(state: &'static str, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), hint: None, position: None, is_fatal: false }
    }

    pub(crate) fn fatal(state: &'static str, message: impl Into<String>) -> Self {
        Self { is_fatal: true, ..Self::new(state, message) }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The refusal of a query that was running.
    pub(crate) fn of_query(error: &QueryError) -> Self {
        let state = match error {
            QueryError::Invalid { .. } => "22000",
            QueryError::NotARead { .. } => "25006",
            QueryError::Time { .. } => "57014",
            QueryError::Memory { .. } => "53200",
            QueryError::Rows { .. } | QueryError::Dense { .. } => "54000",
            QueryError::File { .. } | QueryError::Away { .. } => "58030",
            QueryError::Closed => "57P01",
            QueryError::Busy { .. } => "53000",
            QueryError::Engine { .. } => "XX000",
        };
        let hint = match error {
            QueryError::NotARead { .. } => {
                Some("there are SELECT, EXPLAIN, SHOW, and what drivers say around them")
            }
            other => other.hint(),
        };
        Self { hint: hint.map(str::to_owned), ..Self::new(state, error.to_string()) }
    }

    /// The refusal of a statement that cannot be planned; `explained` is the same in our words, `text` the statement.
    pub(crate) fn of_plan(error: &DataFusionError, explained: &QueryError, text: &str) -> Self {
        let mut fault = Self::of_query(explained);
        let root = error.find_root();
        let (state, name) = match root {
            DataFusionError::SQL(..) => ("42601", None),
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { field, .. } => ("42703", Some(field.name.clone())),
                SchemaError::AmbiguousReference { field } => ("42702", Some(field.name.clone())),
                _ => ("42701", None),
            },
            DataFusionError::Plan(said) if said.starts_with("table '") => {
                ("42P01", said.split('\'').nth(1).and_then(|name| name.rsplit('.').next()).map(str::to_owned))
            }
            DataFusionError::Plan(said) if said.starts_with("Invalid function '") => {
                ("42883", said.split('\'').nth(1).map(str::to_owned))
            }
            DataFusionError::Plan(_) => ("42804", None),
            DataFusionError::NotImplemented(_) => ("0A000", None),
            _ => (fault.state, None),
        };
        if matches!(explained, QueryError::Invalid { .. }) {
            fault.state = state;
            fault.position = name.and_then(|name| position_of(text, &name));
        }
        fault
    }

    /// The refusal of a text that is no SQL.
    pub(crate) fn of_parser(error: &ParserError, text: &str) -> Self {
        let said = match error {
            ParserError::TokenizerError(said) | ParserError::ParserError(said) => said.as_str(),
            ParserError::RecursionLimitExceeded => "it is nested too deeply",
        };
        let said: String = said.lines().next().unwrap_or_default().chars().take(300).collect();
        let place = place(&said, text);
        // The place is told apart; where there is none it is left out: `Line: 0`.
        let said = said.split(" at Line: ").next().unwrap_or_default();
        let position = place.or_else(|| position_of(text, said.rsplit("found: ").next()?.trim()));
        Self { position, ..Self::new("42601", format!("query is not SQL: {said}")) }
    }
}

/// `… at Line: 2, Column: 5` as characters from the start.
fn place(said: &str, text: &str) -> Option<usize> {
    let mut numbers =
        said.split(" at Line: ").nth(1)?.split(", Column: ").map(|number| number.trim().parse().ok());
    let (line, column): (usize, usize) = (numbers.next()??, numbers.next()??);
    let before: usize = text.lines().take(line.checked_sub(1)?).map(|line| line.chars().count() + 1).sum();
    Some(before + column)
}

/// Where a name stands, if it does so once.
fn position_of(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = text.match_indices(name).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    });
    let (at, _) = found.next()?;
    (found.next().is_none() && !name.is_empty()).then(|| text[..at].chars().count() + 1)
}

impl From<Fault> for ErrorInfo {
    fn from(fault: Fault) -> Self {
        let severity = if fault.is_fatal { "FATAL" } else { "ERROR" };
        let mut info = Self::new(severity.to_owned(), fault.state.to_owned(), fault.message);
        info.hint = fault.hint;
        info.position = fault.position.map(|position| position.to_string());
        info.severity_nonlocalized = Some(severity.to_owned());
        info
    }
}

impl From<Fault> for PgWireError {
    fn from(fault: Fault) -> Self {
        Self::UserError(Box::new(fault.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_when_it_is_known() {
        assert_eq!(position_of("SELECT vlaue FROM readings", "vlaue"), Some(8));
        assert_eq!(position_of("SELECT é, vlaue", "vlaue"), Some(11));
        assert_eq!(position_of("SELECT v, v", "v"), None, "which of them?");
        assert_eq!(position_of("SELECT vv", "v"), None);
        assert_eq!(place("Expected: x, found: y at Line: 2, Column: 3", "SELECT\n  y"), Some(10));
        assert_eq!(place("Expected: x", "SELECT"), None);
    }
}
