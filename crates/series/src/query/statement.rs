//! Which statements are answered: those that only read.
//!
//! Not here: planning. The law: what is not known to read is refused by name.

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::QueryError;

/// Most operators of a text: each nests its expression, or the plan, by one level, and every step that looks at it
/// goes down so far on the stack. Long lists are written `IN (…)`, which is one.
const OPERATORS_MAX: usize = 1_000;

/// Stack of the threads that look at statements, in bytes: [`OPERATORS_MAX`] levels have room many times over.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// Refuses a text that would nest too deeply. The parser bounds what stands in parentheses by itself.
pub(crate) fn bound(sql: &str) -> std::result::Result<(), QueryError> {
    // What cannot be read as words is refused by the parser, in its words.
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else { return Ok(()) };
    let operators = tokens.iter().filter(|token| nests(token)).count();
    if operators > OPERATORS_MAX {
        return Err(QueryError::Invalid {
            message: format!("query has {operators} operators; the most are {OPERATORS_MAX}"),
            hint: Some("write `x IN (…)` for many alternatives, or ask several times".to_owned()),
        });
    }
    Ok(())
}

fn nests(token: &Token) -> bool {
    use datafusion::sql::sqlparser::keywords::Keyword;
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::JOIN
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
        ),
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

/// Parses one statement.
pub(crate) fn parse(state: &SessionState, sql: &str) -> Result<EngineStatement> {
    let sql = sql.trim().trim_end_matches(';').trim_end();
    if sql.is_empty() {
        return Err(DataFusionError::Plan("the query is empty".to_owned()));
    }
    state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)
}

/// Refuses what does not only read.
pub(crate) fn allow(statement: &EngineStatement) -> std::result::Result<(), QueryError> {
    match statement {
        EngineStatement::Statement(statement) => allow_plain(statement),
        EngineStatement::Explain(explained) => allow(&explained.statement),
        other => Err(QueryError::NotARead { statement: first_word(&other.to_string()) }),
    }
}

pub(crate) fn allow_plain(statement: &Statement) -> std::result::Result<(), QueryError> {
    match statement {
        Statement::Query(_)
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowVariable { .. }
        | Statement::ExplainTable { .. } => Ok(()),
        Statement::Explain { statement, .. } => allow_plain(statement),
        other => Err(QueryError::NotARead { statement: first_word(&other.to_string()) }),
    }
}

/// The word a statement starts with, in capitals.
pub(crate) fn first_word(sql: &str) -> String {
    sql.split_whitespace().next().unwrap_or_default().chars().take(32).collect::<String>().to_uppercase()
}
