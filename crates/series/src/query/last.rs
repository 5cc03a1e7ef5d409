//! `SELECT … FROM latest WHERE device = '…' [AND channel = '…']`, answered without a plan: what dashboards ask all day.
//!
//! Not here: everything else that can be asked of `latest`, which the engine answers. The law: what is answered here is
//! what the engine would answer; a statement that says anything more is left to it.

use arrow::array::{AsArray, RecordBatch};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, SelectItem, SetExpr, Statement, TableFactor, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::latest::latest_schema;
use crate::store::Store;
use crate::table::Wanted;

/// Longest text that is looked at: such a question is short.
const SQL_BYTES_MAX: usize = 2_048;

/// A question for the newest readings of one device.
struct Question {
    /// Places of the columns in the table.
    columns: Vec<usize>,
    device: String,
    channel: Option<String>,
}

/// The answer, if `sql` is such a question.
pub(crate) fn answer(store: &Store, sql: &str) -> Option<RecordBatch> {
    let question = Question::parse(sql)?;
    let wanted = Wanted { devices: Some([question.device].into()), ..Wanted::default() };
    let rows = store.latest(&wanted);
    let rows = match question.channel {
        None => rows,
        Some(channel) => {
            let channels = rows.column_by_name("channel").expect("a column of the table").as_string_view();
            let place = channels.iter().position(|name| name == Some(&channel));
            rows.slice(place.unwrap_or_default(), usize::from(place.is_some()))
        }
    };
    rows.project(&question.columns).ok()
}

impl Question {
    fn parse(sql: &str) -> Option<Self> {
        if sql.len() > SQL_BYTES_MAX || !sql.to_ascii_lowercase().contains("latest") {
            return None;
        }
        let mut statements = Parser::parse_sql(&GenericDialect {}, sql).ok()?;
        let (Some(Statement::Query(query)), None) = (statements.pop(), statements.pop()) else { return None };
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        let [from] = &select.from[..] else { return None };
        let TableFactor::Table { name, .. } = &from.relation else { return None };
        let condition = select.selection.as_ref()?;
        // Whatever else the statement says stands in its text.
        let items: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
        let plain = format!("SELECT {} FROM {name} WHERE {condition}", items.join(", "));
        if !name.to_string().eq_ignore_ascii_case("latest") || query.to_string() != plain {
            return None;
        }
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => columns.extend(0..latest_schema().fields().len()),
                SelectItem::UnnamedExpr(Expr::Identifier(column)) => columns.push(place(column)?),
                _ => return None,
            }
        }
        let distinct: std::collections::BTreeSet<usize> = columns.iter().copied().collect();
        if distinct.len() != columns.len() {
            return None;
        }
        let (mut device, mut channel) = (None, None);
        let mut conditions = vec![condition];
        while let Some(condition) = conditions.pop() {
            let Expr::BinaryOp { left, op, right } = condition else { return None };
            match (left.as_ref(), op, right.as_ref()) {
                (_, BinaryOperator::And, _) => conditions.extend([left.as_ref(), right.as_ref()]),
                (Expr::Identifier(column), BinaryOperator::Eq, Expr::Value(value)) => {
                    let Value::SingleQuotedString(text) = &value.value else { return None };
                    let said = match place(column)? {
                        0 => &mut device,
                        1 => &mut channel,
                        _ => return None,
                    };
                    if said.replace(text.clone()).is_some() {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(Self { columns, device: device?, channel })
    }
}

/// Where a column is in the table. Without quotes its letters are small ones, as in the engine.
fn place(column: &Ident) -> Option<usize> {
    let name = match column.quote_style {
        None => column.value.to_ascii_lowercase(),
        Some('"') => column.value.clone(),
        Some(_) => return None,
    };
    latest_schema().index_of(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plain_question_is_one() {
        let check = |sql: &str, is_one: bool| assert_eq!(Question::parse(sql).is_some(), is_one, "{sql}");
        check("SELECT time, value FROM latest WHERE device = 'a' AND channel = 't'", true);
        check("select * from LATEST where channel='t' and device='a';", true);
        check("SELECT \"value\" FROM latest WHERE device = 'a'", true);
        check("SELECT value FROM latest WHERE (device = 'a')", false);
        check("SELECT value FROM latest WHERE device = 'a' OR channel = 't'", false);
        check("SELECT value FROM latest WHERE device = 'a' AND device = 'b'", false);
        check("SELECT value FROM latest WHERE channel = 't'", false);
        check("SELECT value FROM latest WHERE device = 'a' LIMIT 0", false);
        check("SELECT value FROM latest WHERE device = 'a' ORDER BY time", false);
        check("SELECT value AS v FROM latest WHERE device = 'a'", false);
        check("SELECT DISTINCT value FROM latest WHERE device = 'a'", false);
        check("SELECT max(value) FROM latest WHERE device = 'a'", false);
        check("SELECT value, value FROM latest WHERE device = 'a'", false);
        check("SELECT value FROM latest AS l WHERE device = 'a'", false);
        check("SELECT value FROM latest, readings WHERE device = 'a'", false);
        check("SELECT value FROM latest WHERE device = 'a' AND value = 'b'", false);
        check("SELECT value FROM latest WHERE device = 'a' GROUP BY value", false);
        check("SELECT value FROM readings WHERE device = 'latest'", false);
        check("SELECT \"Value\" FROM latest WHERE device = 'a'", false);
        check("WITH x AS (SELECT 1) SELECT value FROM latest WHERE device = 'a'", false);
        check("SELECT value FROM latest WHERE device = 'a'; SELECT 1", false);
        check("EXPLAIN SELECT value FROM latest WHERE device = 'a'", false);
    }
}
