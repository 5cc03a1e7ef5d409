//! How a failed command says so: the whole chain once, then what to do.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

/// What the reader can do about an error, carried beside it in the chain.
#[derive(Debug)]
pub(crate) struct Hint(pub(crate) String);

/// An error with a hint beside it: displays as the error itself.
#[derive(Debug)]
struct Hinted {
    error: anyhow::Error,
    hint: Hint,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.chain().nth(1)
    }
}

/// Puts a hint beside `error`, if there is one.
pub(crate) fn with_hint(error: impl Into<anyhow::Error>, hint: Option<impl Into<String>>) -> anyhow::Error {
    let error = error.into();
    match hint {
        None => error,
        Some(hint) => Hinted { error, hint: Hint(hint.into()) }.into(),
    }
}

/// For `map_err`: puts the hint that the error itself gives beside it.
pub(crate) fn hinted<E>(hint: fn(&E) -> Option<&'static str>) -> impl FnOnce(E) -> anyhow::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| {
        let hint = hint(&error);
        with_hint(error, hint)
    }
}

/// What a shell says of a program that SIGPIPE ended: 128 and the number of the signal.
const SIGPIPE_EXIT: u8 = 128 + 13;

/// Whether all that happened is that whoever read standard output has read enough, as `head` has. What commands write to
/// sockets and files comes with what it was for, and is another matter.
fn is_unread(error: &anyhow::Error) -> bool {
    let io = match error.downcast_ref::<csv::Error>().map(csv::Error::kind) {
        Some(csv::ErrorKind::Io(io)) => Some(io),
        _ => error.downcast_ref::<std::io::Error>(),
    };
    error.chain().count() == 1 && io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes the error and its hint to stderr.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_unread(error) {
        return ExitCode::from(SIGPIPE_EXIT);
    }
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let _ = write!(text, "\n  because: {cause}");
    }
    let hint = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>());
    if let Some(hinted) = hint {
        let _ = write!(text, "\n  hint: {}", hinted.hint.0);
    }
    #[expect(clippy::print_stderr, reason = "this is the one place where a command fails")]
    {
        eprintln!("{text}");
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_no_more_is_no_fault_and_a_connection_that_broke_is_one() {
        let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_unread(&gone().into()));
        assert!(is_unread(&anyhow::Error::new(csv::Error::from(gone()))));
        assert!(!is_unread(&anyhow::Error::new(gone()).context("cannot reach the server")));
        assert!(!is_unread(&std::io::Error::other("disk gone").into()));
    }

    #[test]
    fn a_hint_is_found_through_added_context() {
        let io = std::io::Error::other("disk gone");
        let error = with_hint(anyhow::Error::new(io).context("cannot write"), Some("look at the disk"));
        let error = error.context("cannot serve");
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        assert_eq!(chain, ["cannot serve", "cannot write", "disk gone"]);
        assert!(error.chain().any(|cause| cause.downcast_ref::<Hinted>().is_some()));
    }
}
