//! Which statements are answered: those that only read.
//!
//! Not here: planning. The law: what is not known to read is refused by name.

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;

use crate::error::QueryError;

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

fn allow_plain(statement: &Statement) -> std::result::Result<(), QueryError> {
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
