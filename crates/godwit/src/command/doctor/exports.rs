//! What `doctor` says of an `[[export]]`: one that fails is seen at once, and is wrong when it fails for an hour.

use serde::Deserialize;

use super::Finding;

/// For so long, in seconds, a lake may be out of reach before it is more than a hiccup: 1 hour.
const FAILING_LONG_S: u64 = 3_600;

/// A lake that is kept up to date, as the server tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Export {
    to: String,
    done_at: Option<String>,
    lag_s: u64,
    failing_s: Option<u64>,
    error: Option<String>,
}

impl Export {
    pub(super) fn finding(&self) -> Finding {
        let done = match &self.done_at {
            Some(time) => format!("up to date {} s ago, at {time}", self.lag_s),
            None => format!("not yet up to date since the start {} s ago", self.lag_s),
        };
        let to = &self.to;
        let (Some(error), Some(failing_s)) = (&self.error, self.failing_s) else {
            return Finding::fine("export", format!("`{to}` was {done}"));
        };
        let found = format!("`{to}` fails for {failing_s} s, and was {done}: {error}");
        let todo = "it is tried again by itself, and nothing is lost while the raw readings are kept here; see that it can be \
                    reached and written to";
        if failing_s >= FAILING_LONG_S {
            Finding::wrong("export", found, todo)
        } else {
            Finding::warning("export", found, todo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn an_export_that_fails_for_an_hour_is_wrong() {
        let finding = |failing_s: Option<u64>| {
            let error = failing_s.map(|_| "no such bucket".to_owned());
            Export { to: "s3://lake".to_owned(), done_at: None, lag_s: 4_000, failing_s, error }.finding()
        };
        assert_eq!(finding(None).level, Level::Fine);
        assert_eq!(finding(Some(3_599)).level, Level::Warning);
        let wrong = finding(Some(3_600));
        assert_eq!(wrong.level, Level::Wrong);
        assert!(
            wrong.found.contains("s3://lake") && wrong.found.contains("no such bucket"),
            "{}",
            wrong.found
        );
    }
}
