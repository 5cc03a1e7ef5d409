//! What other rooms hand in: tables for SQL (a name, typed columns, a function that returns rows), and an ear for samples.
//!
//! Not here: what is in them. The law: this room learns of others only by what `godwit` hands in.

use std::sync::Arc;

use model::{DeviceName, Timestamp};

/// What a column holds. Every column may be without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Number,
    /// True or false.
    Boolean,
    /// Moments.
    Time,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// None.
    Null,
    /// For [`ColumnKind::Text`].
    Text(String),
    /// For [`ColumnKind::Integer`].
    Integer(i64),
    /// For [`ColumnKind::Number`].
    Number(f64),
    /// For [`ColumnKind::Boolean`].
    Boolean(bool),
    /// For [`ColumnKind::Time`].
    Time(Timestamp),
}

/// Returns all rows of a table. Called once per query that names it, on a query's thread; may block shortly.
pub type RowsFunction = Arc<dyn Fn() -> Result<Vec<Vec<Cell>>, String> + Send + Sync>;

/// Hears of each sample that is stored: whose it is, of which time, and whether that is only when it was received. Called on
/// the way of every sample: it must not block.
pub type SampleFunction = Arc<dyn Fn(&DeviceName, Timestamp, bool) + Send + Sync>;

/// A table that another room owns.
#[derive(Clone)]
pub struct ForeignTable {
    /// Its name in SQL.
    pub name: String,
    /// Names and kinds of its columns.
    pub columns: Vec<(String, ColumnKind)>,
    /// Its rows: a cell per column, [`Cell::Null`] or of the column's kind; a cell of another kind reads as null.
    pub rows: RowsFunction,
}

impl std::fmt::Debug for ForeignTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignTable").field("name", &self.name).field("columns", &self.columns).finish()
    }
}
