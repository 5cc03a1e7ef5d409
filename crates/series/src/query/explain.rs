//! The engine's errors in our words: one line, what is wrong, what would be right.
//!
//! Not here: the errors themselves (`crate::error`). The law: nobody is shown the engine's own types.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::column::{AWAY_MARK, FAULT_MARK};
use crate::error::QueryError;
use crate::settings::QueryLimits;

/// Longest message in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// The error of a query that was running or being planned.
pub(crate) fn explain(error: &DataFusionError, limits: &QueryLimits) -> QueryError {
    explain_plan(error, limits, &[])
}

/// The same, for a query over `tables`.
pub(crate) fn explain_plan(error: &DataFusionError, limits: &QueryLimits, tables: &[String]) -> QueryError {
    let whole = error.to_string();
    if let Some(fault) = file_fault(&whole) {
        return fault;
    }
    match error.find_root() {
        DataFusionError::SQL(parser, _) => {
            let said = match parser.as_ref() {
                ParserError::TokenizerError(said) | ParserError::ParserError(said) => said.clone(),
                ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
            };
            invalid(format!("query is not SQL: {}", line(&said)), None)
        }
        DataFusionError::SchemaError(found, _) => schema(found, error),
        DataFusionError::Plan(said) => plan(said, tables),
        DataFusionError::ResourcesExhausted(_) => QueryError::Memory { limit_bytes: limits.memory_bytes },
        DataFusionError::NotImplemented(said) => {
            invalid(format!("query asks for what the engine does not have: {}", line(said)), None)
        }
        DataFusionError::Execution(said) => invalid(line(said), None),
        DataFusionError::ArrowError(error, _) => invalid(line(&error.to_string()), None),
        other => QueryError::Engine { message: line(&other.to_string()) },
    }
}

fn invalid(message: String, hint: Option<String>) -> QueryError {
    QueryError::Invalid { message, hint }
}

/// The first line that says something, at most [`MESSAGE_CHARS_MAX`] characters.
fn line(said: &str) -> String {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.trim_end_matches('.').chars().take(MESSAGE_CHARS_MAX).collect()
}

fn file_fault(whole: &str) -> Option<QueryError> {
    let mut parts = whole.splitn(3, FAULT_MARK);
    let (_, name, reason) = (parts.next()?, parts.next()?, parts.next()?);
    let name = name.to_owned();
    Some(match reason.strip_prefix(AWAY_MARK) {
        Some(reason) => QueryError::Away { name, reason: line(reason) },
        None => QueryError::File { name, reason: line(reason) },
    })
}

/// A name that more than one table of the query has; the engine tells which, beside its error.
fn ambiguous(name: &str, whole: &DataFusionError) -> QueryError {
    let notes = whole.diagnostic().map_or(&[][..], |diagnostic| &diagnostic.notes);
    let columns = notes.iter().filter_map(|note| note.message.strip_prefix("possible column "));
    let columns: Vec<String> =
        columns.map(|column| format!("`{}`", column.trim_start_matches("godwit.public."))).collect();
    let hint = match columns.as_slice() {
        [] => format!("write its table before it: `TABLE.{name}`"),
        columns => format!("write its table before it: {}", columns.join(" or ")),
    };
    invalid(format!("column `{name}` is in more than one table"), Some(hint))
}

fn schema(error: &SchemaError, whole: &DataFusionError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let nearest = nearest(&field.name, &names);
            let hint = match nearest {
                Some(name) => format!("did you mean `{name}`? A text is written in single quotes: 'text'"),
                None => format!("there are {}", names.join(", ")),
            };
            invalid(format!("there is no column `{}`", field.name), Some(hint))
        }
        SchemaError::AmbiguousReference { field } => ambiguous(&field.name, whole),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => invalid(
            format!("two columns are called `{name}`"),
            Some(format!("name one of them: `{name} AS other`")),
        ),
    }
}

fn plan(said: &str, tables: &[String]) -> QueryError {
    if let Some(name) = said.strip_prefix("table '").and_then(|rest| rest.split('\'').next()) {
        let name = name.trim_start_matches("godwit.public.");
        let mut names: Vec<&str> = tables.iter().map(String::as_str).collect();
        names.sort_unstable();
        let hint = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.join(", ")),
        };
        return invalid(format!("there is no table `{name}`"), Some(hint));
    }
    if let Some(name) = said.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        let near = said.split("Did you mean '").nth(1).and_then(|rest| rest.split('\'').next());
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        return invalid(format!("there is no function `{name}`"), hint);
    }
    invalid(line(said), None)
}

/// The name that takes the fewest changes to become, if those are few.
pub(crate) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let (changes, near) =
        names.iter().map(|other| (changes(&lower, &other.to_lowercase()), *other)).min_by_key(|(n, _)| *n)?;
    (changes <= name.chars().count().div_ceil(3)).then_some(near)
}

/// How many letters must be put in, taken out or changed.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[to.len()]
}
