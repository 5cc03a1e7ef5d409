//! A text as statements: bounded, parsed, mended where clients ask what the engine cannot answer.
//!
//! Not here: what a statement is (`statement`). The law: a text is bounded before it is parsed.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Statement, visit_expressions_mut};

use super::Shared;
use super::fault::Fault;
use super::statement::{Said, is_known_write, understand};
use crate::error::QueryError;
use crate::query::statement;

/// Most statements in one text.
const STATEMENTS_AT_ONCE_MAX: usize = 64;

/// The statements of a text.
pub(super) fn statements(shared: &Shared, text: &str) -> Result<Vec<Said>, Fault> {
    statement::bound(text).map_err(|error| Fault { state: "54001", ..Fault::of_query(&error) })?;
    let statements = match shared.parser.parse(text) {
        Ok(statements) => statements,
        Err(error) => {
            return Err(match is_known_write(text) {
                Some(statement) => Fault::of_query(&QueryError::NotARead { statement }),
                None => Fault::of_parser(&error, text),
            });
        }
    };
    if statements.len() > STATEMENTS_AT_ONCE_MAX {
        return Err(Fault::new(
            "54000",
            format!("text has {} statements; the most are {STATEMENTS_AT_ONCE_MAX}", statements.len()),
        ));
    }
    statements.into_iter().map(|statement| understand(mended(statement))).collect()
}

/// Mends what clients ask of the catalog and the engine cannot answer, where the answer is known.
fn mended(mut statement: Statement) -> Statement {
    let text = |text: &str| ast::Expr::value(ast::Value::SingleQuotedString(text.to_owned()));
    let _: ControlFlow<()> = visit_expressions_mut(&mut statement, |expr| {
        match expr {
            // psql's `\du`: `ARRAY(SELECT … FROM pg_auth_members …)`. No role is a member of another.
            ast::Expr::Function(function)
                if matches!(&function.args, ast::FunctionArguments::Subquery(query)
                    if function.name.to_string().eq_ignore_ascii_case("array")
                        && query.to_string().contains("pg_auth_members")) =>
            {
                *expr = text("{}");
            }
            // psql's `\d+`, `\dn+`, `\dp`: nothing has options or rights of its own.
            ast::Expr::Function(function)
                if function.name.to_string().eq_ignore_ascii_case("array_to_string")
                    && ["reloptions", "relacl", "nspacl", "datacl"]
                        .iter()
                        .any(|word| function.args.to_string().contains(word)) =>
            {
                *expr = text("");
            }
            // Grafana's list of columns: the schemas of `search_path`, which the parser takes for none.
            ast::Expr::InList { expr: schema, list, .. }
                if schema.to_string() == "quote_ident(table_schema)" && list.as_slice() == [text("")] =>
            {
                *list = vec![text("public")];
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    statement
}
