//! What is wrong with a text an operator wrote: where, what, and what would be right.
//!
//! Not here: what goes wrong while samples come (that is Undefined, and counted). The law: a fault names a place that the
//! reader can put the cursor on, and a file is read to its end: all its faults are told at once.

use std::fmt;

/// One thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1, in characters.
    pub column: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What would be right, as a sentence without a full stop.
    pub suggestion: Option<String>,
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self { line, column, message: message.into(), suggestion: None }
    }

    /// The same with what would be right, if that is known.
    #[must_use]
    pub fn suggesting(mut self, suggestion: impl Into<Option<String>>) -> Self {
        self.suggestion = suggestion.into();
        self
    }

    /// The same fault as one of the file `file`.
    #[must_use]
    pub fn of(self, file: impl Into<String>) -> FileFault {
        FileFault { file: file.into(), fault: self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// A fault and the file it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFault {
    /// The file, as whoever loaded it named it; empty of what is wrong with all of them together.
    pub file: String,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            return write!(f, "{}:{}", self.file, self.fault);
        }
        // A place in no file would only mislead.
        f.write_str(&self.fault.message)?;
        self.fault.suggestion.iter().try_for_each(|suggestion| write!(f, "; {suggestion}"))
    }
}

impl std::error::Error for FileFault {}

/// `did you mean …` with the one of `known` that is nearest to `word`, when one is near enough to be meant.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A third of the letters may be wrong, and two letters may have changed places.
    let most = (word.chars().count() / 3).max(1);
    let near = known.into_iter().map(|name| (distance(word, name), name)).min()?;
    (near.0 <= most).then(|| format!("did you mean `{}`?", near.1))
}

/// Letters to add, drop, change or swap with their neighbour, to make `b` of `a`; case counts for nothing.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(64).collect();
    let b: Vec<char> = b.to_lowercase().chars().take(64).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (at, row) in rows.iter_mut().enumerate() {
        row[0] = at;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_suggested_and_what_is_far_is_not() {
        let check = |word: &str, expect: Option<&str>| {
            let known = ["severity", "max_gap", "for", "avg", "count"];
            let expect = expect.map(|name| format!("did you mean `{name}`?"));
            assert_eq!(did_you_mean(word, known), expect, "{word}");
        };
        check("max_gpa", Some("max_gap"));
        check("maxgap", Some("max_gap"));
        check("AVG", Some("avg"));
        check("fro", Some("for"));
        check("elephant", None);
    }

    #[test]
    fn a_fault_reads_as_editors_expect() {
        let fault = Fault::new(3, 7, "unknown key `fro`").suggesting("did you mean `for`?".to_owned());
        assert_eq!(fault.of("a.yaml").to_string(), "a.yaml:3:7: unknown key `fro`; did you mean `for`?");
    }
}
