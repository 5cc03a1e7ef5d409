//! What is wrong with a configuration: every fault at once, each with its place and what would be right.
//!
//! Not here: the reading. The law: no fault hides another.

use std::fmt;

use model::Kind;

/// A place in the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All faults of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` has {} {}:{}", problems.len(), if problems.len() == 1 { "fault" } else { "faults" }, listed(problems))]
pub struct ConfigError {
    /// The file, or what stands for it.
    pub name: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some("mend the file; docs/alerts.md has every key with its default")
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Where faults are gathered while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn say(&mut self, place: Place, text: impl Into<String>) {
        self.0.push(Problem { place, text: text.into(), hint: None });
    }

    pub(crate) fn advise(&mut self, place: Place, text: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Problem { place, text: text.into(), hint: Some(hint.into()) });
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// `value`, unless something is wrong.
    pub(crate) fn or<T>(mut self, name: &str, value: Option<T>) -> Result<T, ConfigError> {
        self.0.sort_by_key(|problem| problem.place);
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(ConfigError { name: name.to_owned(), problems: self.0 }),
        }
    }
}
