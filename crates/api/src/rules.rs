//! `/api/v1/rules`: the rules in force, how each is doing, and every text that one has had.
//!
//! Its shapes are read by `godwit rule list` and `show` too.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use model::Kind;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::problem::Problem;

/// The rules in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rules {
    /// Those that raise alerts, in the order of files and text.
    pub rules: Vec<Rule>,
    /// What is wrong with the rule files as they are now, and the rules in force are older then, or why actions are not at work; absent when
    /// nothing is.
    pub problem: Option<String>,
    /// Records that wait to be judged.
    pub backlog: usize,
    /// Whether everything has been judged that was there when the server started.
    pub is_caught_up: bool,
}

/// A rule in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The group it stands in.
    pub group: String,
    /// The file it stands in.
    pub file: String,
    /// Which text: 16 hexadecimal digits.
    pub version: String,
    /// Keys that it knows: devices, where it says nothing else.
    pub keys: usize,
    /// Keys for which its condition holds, and not yet for long enough.
    pub pending: usize,
    /// Keys for which it fires.
    pub firing: usize,
    /// Samples that it looked at since the start.
    pub samples: u64,
    /// Those that came late, or said something else of a time that was known: the time was looked at again.
    pub late: u64,
    /// Those that were further behind than `lateness`: they changed nothing.
    pub too_late: u64,
    /// How often data made it Undefined since the start.
    pub undefined: u64,
    /// Late samples that were left out, because what is stored could not be read.
    pub failed: u64,
}

/// A rule, and every text it has had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleHistory {
    /// How it is doing; absent when it is not in force.
    pub rule: Option<Rule>,
    /// The last one in force first.
    pub versions: Vec<RuleText>,
}

/// A text of a rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleText {
    /// 16 hexadecimal digits.
    pub version: String,
    /// When it came into force (RFC 3339).
    pub first_at: String,
    /// When it was last put in force: at a start, or with a change of the files.
    pub last_at: String,
    /// The file it stood in.
    pub file: String,
    /// The text.
    pub text: String,
}

impl From<::alerts::RuleStatus> for Rule {
    fn from(status: ::alerts::RuleStatus) -> Self {
        Self {
            name: status.name,
            group: status.group,
            file: status.file,
            version: status.version,
            keys: status.keys,
            pending: status.pending,
            firing: status.firing,
            samples: status.tally.samples,
            late: status.tally.late,
            too_late: status.tally.too_late,
            undefined: status.undefined.total(),
            failed: status.tally.looks_failed + status.tally.keys_refused,
        }
    }
}

/// The rules in force.
pub(crate) async fn list(State(parts): State<Arc<Parts>>) -> Json<Rules> {
    let status = parts.rules.status();
    Json(Rules {
        rules: status.rules.into_iter().map(Rule::from).collect(),
        problem: (parts.rules_problem)(),
        backlog: status.backlog,
        is_caught_up: status.is_caught_up,
    })
}

/// One, with its texts.
pub(crate) async fn one(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
) -> Result<Json<RuleHistory>, Problem> {
    let read = parts.rules.versions(&name).await;
    let versions =
        read.map_err(|error| Problem::new(Kind::Unavailable, "rules.store", model::in_one_line(&error)))?;
    let rule = parts.rules.status().rules.into_iter().find(|rule| rule.name == name).map(Rule::from);
    if rule.is_none() && versions.is_empty() {
        let detail = format!("there is no rule `{name}`, and there was none");
        return Err(Problem::new(Kind::NotFound, "rules.unknown", detail)
            .hint(Some("`godwit rule list` shows those there are")));
    }
    let text = |version: ::alerts::RuleVersion| RuleText {
        version: version.version,
        first_at: version.first_at.to_string(),
        last_at: version.last_at.to_string(),
        file: version.file,
        text: version.text,
    };
    Ok(Json(RuleHistory { rule, versions: versions.into_iter().map(text).collect() }))
}
