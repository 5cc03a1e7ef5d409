//! An error with what caused it, for a log or a person.
//!
//! Not here: errors. The law: each cause is told once, the outermost first.

/// The error and its causes in one line.
#[must_use]
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
