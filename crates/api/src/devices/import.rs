//! `POST /api/v1/devices/import`: many devices at once, a batch of rows a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use identity::{Actor, Attributes, ChangeError, ImportOptions, ImportRow, NewDevice};
use model::{DeviceName, GroupPath};
use serde::{Deserialize, Serialize};

use super::shown::{code, refused};
use crate::Parts;
use crate::body::{self, Body};
use crate::problem::Problem;

/// What is asked: at most [`identity::IMPORT_ROWS_MAX`] rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    rows: Vec<Row>,
    /// Say what would become of them, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// Make groups that are not there.
    #[serde(default)]
    make_groups: bool,
    /// Change devices that are there already as their rows say, rather than refuse the rows.
    #[serde(default)]
    update: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    password: bool,
}

/// What became of the rows, in their order.
#[derive(Debug, Default, Serialize)]
struct Outcomes {
    rows: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
enum Outcome {
    /// It came in, or would.
    Added {
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<String>,
    },
    /// The device was there and is as its row says.
    Updated {
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<String>,
    },
    /// It did not come in.
    Refused { code: &'static str, reason: String },
}

/// [`Outcomes`] as it is read: an inner tag is nothing that serde tells (`openapi::shape`). A test holds them together.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(test), expect(dead_code, reason = "the document of the API asks for its shape alone"))]
pub(crate) struct Told {
    rows: Vec<ToldRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(test), expect(dead_code, reason = "the document of the API asks for its shape alone"))]
struct ToldRow {
    outcome: ToldOutcome,
    /// Of what came in.
    password: Option<String>,
    /// Of what was refused.
    code: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToldOutcome {
    Added,
    Updated,
    Refused,
}

impl Outcome {
    fn is(is_new: bool, password: Option<String>) -> Self {
        if is_new { Self::Added { password } } else { Self::Updated { password } }
    }

    fn refused(error: &ChangeError) -> Self {
        Self::Refused { code: code(error), reason: error.to_string() }
    }
}

/// Takes a batch of rows: each comes in as a whole or is refused with its reason.
pub(crate) async fn import(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: Body<Batch>,
) -> Result<Json<impl Serialize>, Problem> {
    let batch = body::read(body)?;
    let options = ImportOptions { make_groups: batch.make_groups, update: batch.update };
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(batch.rows.len());
    let mut rows = Vec::with_capacity(batch.rows.len());
    for row in batch.rows {
        match parsed(row) {
            Ok(row) => {
                rows.push(row);
                outcomes.push(None);
            }
            Err((code, reason)) => outcomes.push(Some(Outcome::Refused { code, reason })),
        }
    }
    let judged: Vec<Outcome> = if batch.dry_run {
        let judged = parts.identity.judge_import(rows, options).await.map_err(|error| {
            Problem::new(error.kind(), "identity.read", error.to_string()).hint(error.hint())
        })?;
        let outcome = |judged: Result<bool, ChangeError>| match judged {
            Ok(is_new) => Outcome::is(is_new, None),
            Err(error) => Outcome::refused(&error),
        };
        judged.into_iter().map(outcome).collect()
    } else {
        let imported =
            parts.identity.import_devices(&by, rows, options).await.map_err(|error| refused(&error))?;
        let outcome = |imported: Result<identity::Imported, ChangeError>| match imported {
            Ok(row) => Outcome::is(row.is_new, row.password.map(|password| password.reveal().to_owned())),
            Err(error) => Outcome::refused(&error),
        };
        imported.into_iter().map(outcome).collect()
    };
    let mut judged = judged.into_iter();
    let rows = outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| judged.next())).collect();
    Ok(Json(Outcomes { rows }))
}

fn parsed(row: Row) -> Result<ImportRow, (&'static str, String)> {
    let group =
        |text: String| GroupPath::parse(text).map_err(|error| ("identity.group_path", error.to_string()));
    Ok(ImportRow {
        new: NewDevice {
            name: DeviceName::parse(row.name).map_err(|error| ("identity.device_name", error.to_string()))?,
            group: row.group.map(group).transpose()?,
            attributes: Attributes::new(row.attributes)
                .map_err(|error| ("identity.attribute", error.to_string()))?,
            if_version: None,
        },
        memberships: row.groups.into_iter().map(group).collect::<Result<_, _>>()?,
        password: row.password,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_an_answer_reads_it() {
        let rows = vec![
            Outcome::is(true, Some("secret".to_owned())),
            Outcome::is(false, None),
            Outcome::Refused { code: "identity.exists", reason: "it is there".to_owned() },
        ];
        let text = serde_json::to_string(&Outcomes { rows }).expect("JSON");
        let Told { rows } = serde_json::from_str(&text).expect("as it is told");
        let outcomes: Vec<ToldOutcome> = rows.iter().map(|row| row.outcome).collect();
        assert_eq!(outcomes, [ToldOutcome::Added, ToldOutcome::Updated, ToldOutcome::Refused]);
        assert_eq!(rows[0].password.as_deref(), Some("secret"));
        assert_eq!(
            (rows[2].code.as_deref(), rows[2].reason.as_deref()),
            (Some("identity.exists"), Some("it is there"))
        );
    }
}
