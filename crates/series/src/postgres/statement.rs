//! What a client says: a read, or one of the few things drivers and tools say around reads.
//!
//! Not here: planning and doing (`handler`). The law: what is not known to be harmless is refused by name, wherever it
//! stands: alone, among several, prepared.

use datafusion::sql::sqlparser::ast::{
    CloseCursor, DeclareType, DiscardObject, Expr, FetchDirection, Ident, Query, Set, Statement, Value,
    ValueWithSpan,
};

use super::fault::Fault;
use crate::query::statement::{allow_plain, first_word};

/// A statement, understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// To be planned and run.
    Read(Box<Statement>),
    Begin,
    Commit,
    Rollback,
    /// Accepted without effect; the word that answers it.
    Nothing(&'static str),
    /// `None` puts it back.
    Set {
        name: String,
        value: Option<String>,
    },
    /// `None`: all of them.
    Show(Option<String>),
    /// `None`: all of them.
    Deallocate(Option<String>),
    Discard,
    Reset,
    Declare {
        name: String,
        query: Box<Query>,
    },
    /// `None`: all that are left.
    Fetch {
        name: String,
        count: Option<usize>,
    },
    Close(Option<String>),
}

/// Understands a parsed statement.
pub(crate) fn understand(statement: Statement) -> Result<Said, Fault> {
    Ok(match statement {
        Statement::ShowVariable { variable } => return show(variable),
        Statement::StartTransaction { statements, exception: None, .. } if statements.is_empty() => {
            Said::Begin
        }
        Statement::Commit { .. } => Said::Commit,
        Statement::Rollback { savepoint: None, .. } => Said::Rollback,
        Statement::Rollback { .. } => Said::Nothing("ROLLBACK"),
        Statement::Savepoint { .. } => Said::Nothing("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Said::Nothing("RELEASE"),
        Statement::Set(set) => return set_variable(set),
        Statement::Reset(reset) => match reset.reset {
            datafusion::sql::sqlparser::ast::Reset::ALL => Said::Reset,
            datafusion::sql::sqlparser::ast::Reset::ConfigurationParameter(name) => {
                Said::Set { name: name.to_string(), value: None }
            }
        },
        Statement::Discard { object_type: DiscardObject::ALL } => Said::Discard,
        Statement::Discard { .. } => Said::Nothing("DISCARD"),
        Statement::Deallocate { name, .. } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Said::Deallocate((!is_all).then(|| spelled(&name)))
        }
        Statement::UNLISTEN { .. } => Said::Nothing("UNLISTEN"),
        Statement::Declare { stmts } => return declare(stmts),
        Statement::Fetch { name, direction, into: None, .. } => {
            Said::Fetch { name: spelled(&name), count: count(&direction)? }
        }
        Statement::Close { cursor } => Said::Close(match cursor {
            CloseCursor::All => None,
            CloseCursor::Specific { name } => Some(spelled(&name)),
        }),
        statement => match allow_plain(&statement) {
            Ok(()) => Said::Read(Box::new(statement)),
            Err(error) => return Err(Fault::of_query(&error)),
        },
    })
}

/// A name without quotes is in lower case.
fn spelled(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn show(words: Vec<Ident>) -> Result<Said, Fault> {
    let words: Vec<String> = words.iter().map(|word| word.value.to_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Said::Show(match words.as_slice() {
        ["all"] => None,
        ["transaction", "isolation", "level"] => Some("transaction_isolation".to_owned()),
        ["time", "zone"] => Some("TimeZone".to_owned()),
        ["session", "authorization"] => Some("session_authorization".to_owned()),
        [name] => Some((*name).to_owned()),
        words => return Err(Fault::new("42601", format!("`SHOW {}` is not known", words.join(" ")))),
    }))
}

fn set_variable(set: Set) -> Result<Said, Fault> {
    Ok(match set {
        Set::SingleAssignment { variable, values, .. } => {
            let name = variable.to_string().trim_matches('"').to_owned();
            let words: Vec<String> = values.iter().map(word).collect();
            let is_default = values.len() == 1 && words[0].eq_ignore_ascii_case("default");
            Said::Set { name, value: (!is_default).then(|| words.join(", ")) }
        }
        Set::SetTimeZone { value, .. } => {
            Said::Set { name: "TimeZone".to_owned(), value: Some(word(&value)) }
        }
        Set::SetNames { charset_name, .. } => {
            Said::Set { name: "client_encoding".to_owned(), value: Some(charset_name.value) }
        }
        Set::SetNamesDefault {} => Said::Set { name: "client_encoding".to_owned(), value: None },
        Set::SetTransaction { .. } => Said::Nothing("SET"),
        other => {
            let said = other.to_string();
            let said: String = said.chars().take(60).collect();
            return Err(Fault::new("0A000", format!("`SET {said}` is not known"))
                .with_hint("SHOW ALL lists what can be set"));
        }
    })
}

fn word(value: &Expr) -> String {
    match value {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text) | Value::DoubleQuotedString(text),
            ..
        }) => text.clone(),
        Expr::Identifier(name) => name.value.clone(),
        other => other.to_string(),
    }
}

fn declare(mut all: Vec<datafusion::sql::sqlparser::ast::Declare>) -> Result<Said, Fault> {
    let first = if all.len() == 1 { all.pop() } else { None };
    if let Some(declared) = first
        && declared.declare_type == Some(DeclareType::Cursor)
        && let (Some(name), Some(query)) = (declared.names.first(), declared.for_query)
    {
        // The query is judged like any other.
        allow_plain(&Statement::Query(query.clone())).map_err(|error| Fault::of_query(&error))?;
        return Ok(Said::Declare { name: spelled(name), query });
    }
    Err(Fault::new("0A000", "only `DECLARE name CURSOR FOR SELECT …` is known"))
}

fn count(direction: &FetchDirection) -> Result<Option<usize>, Fault> {
    let number = |limit: &ValueWithSpan| match &limit.value {
        Value::Number(number, _) => number.parse().ok(),
        _ => None,
    };
    let count = match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Some(Some(1)),
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            number(limit).map(Some)
        }
        FetchDirection::All | FetchDirection::ForwardAll => Some(None),
        _ => None,
    };
    count.ok_or_else(|| Fault::new("0A000", "a cursor goes forward only").with_hint("FETCH 100 FROM name"))
}

/// The word that a text which is no SQL starts with, if it is one of a statement that would change something: such a
/// text is refused for that.
pub(crate) fn is_known_write(text: &str) -> Option<String> {
    const WRITES: &[&str] = &[
        "ALTER", "ANALYZE", "ATTACH", "CALL", "CLUSTER", "COMMENT", "COPY", "CREATE", "DELETE", "DO", "DROP",
        "GRANT", "IMPORT", "INSERT", "INSTALL", "LISTEN", "LOAD", "LOCK", "MERGE", "NOTIFY", "PREPARE",
        "REFRESH", "REINDEX", "REVOKE", "SECURITY", "TRUNCATE", "UPDATE", "VACUUM",
    ];
    let word = first_word(text);
    WRITES.contains(&word.as_str()).then_some(word)
}

#[cfg(test)]
mod tests {
    use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;

    use super::*;

    fn said(text: &str) -> Result<Said, Fault> {
        let mut statements = PostgresCompatibilityParser::new().parse(text).expect("SQL");
        assert_eq!(statements.len(), 1, "{text}");
        understand(statements.remove(0))
    }

    #[test]
    fn what_drivers_say_is_understood() {
        let check = |text: &str, expected: Said| assert_eq!(said(text), Ok(expected), "{text}");
        let set = |name: &str, value: Option<&str>| Said::Set {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        check("BEGIN", Said::Begin);
        check("BEGIN READ ONLY", Said::Begin);
        check("START TRANSACTION ISOLATION LEVEL REPEATABLE READ", Said::Begin);
        check("COMMIT", Said::Commit);
        check("ROLLBACK", Said::Rollback);
        check("ABORT", Said::Rollback);
        check("SET application_name = 'x y'", set("application_name", Some("x y")));
        check("SET SESSION statement_timeout TO 5000", set("statement_timeout", Some("5000")));
        check("SET TIME ZONE 'Europe/Berlin'", set("TimeZone", Some("Europe/Berlin")));
        check("SET datestyle TO DEFAULT", set("datestyle", None));
        check("SET search_path TO public, x", set("search_path", Some("public, x")));
        check("RESET ALL", Said::Reset);
        check("DISCARD ALL", Said::Discard);
        check("DEALLOCATE ALL", Said::Deallocate(None));
        check("DEALLOCATE \"P1\"", Said::Deallocate(Some("P1".to_owned())));
        check("SHOW server_version", Said::Show(Some("server_version".to_owned())));
        check("SHOW TRANSACTION ISOLATION LEVEL", Said::Show(Some("transaction_isolation".to_owned())));
        check("FETCH FORWARD 5 FROM \"C\"", Said::Fetch { name: "C".to_owned(), count: Some(5) });
        check("FETCH ALL FROM c", Said::Fetch { name: "c".to_owned(), count: None });
        check("CLOSE c", Said::Close(Some("c".to_owned())));
        assert!(matches!(said("DECLARE \"c\" CURSOR FOR SELECT 1"), Ok(Said::Declare { .. })));
        for read in [
            "SELECT 1",
            "EXPLAIN SELECT 1",
            "SHOW TABLES",
            "VALUES (1)",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ] {
            assert!(matches!(said(read), Ok(Said::Read(_))), "{read}");
        }
    }

    #[test]
    fn what_changes_something_is_refused_by_name() {
        for text in [
            "DROP TABLE readings",
            "CREATE TABLE x AS SELECT 1",
            "CREATE VIEW v AS SELECT 1",
            "COPY readings TO '/tmp/x.csv'",
            "COPY readings FROM STDIN",
            "INSERT INTO readings VALUES (1)",
            "DELETE FROM readings",
            "UPDATE readings SET value = 1",
            "TRUNCATE readings",
            "GRANT ALL ON readings TO x",
            "EXPLAIN DELETE FROM readings",
            "PREPARE p AS SELECT 1",
            "LISTEN x",
            "NOTIFY x",
        ] {
            let refused = said(text).expect_err(text);
            assert_eq!(refused.state, "25006", "{text}: {refused:?}");
            assert!(refused.hint.is_some());
        }
        assert_eq!(said("SET ROLE admin").expect_err("refused").state, "0A000");
    }
}
