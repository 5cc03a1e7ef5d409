//! `POST /api/v1/backtest`: what rules would have done with the readings that are kept, streamed as lines of JSON.
//!
//! First lines of progress, then one for each rule, then what it was made of; or one that says why it broke off. Its shapes are
//! read by `godwit rule backtest` too. The laws: it changes nothing; when the client is gone it stops.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use ::alerts::{Against, Compared, Trial, TrialError, Tried, TriedRule};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use identity::Actor;
use model::{Kind, Timestamp};
use rules::{Difference, Episode, Key, Limits, Rule, RuleSet};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::Parts;
use crate::audit::notice_payloads;
use crate::body;
use crate::export::moment;
use crate::problem::Problem;

/// What the answer is: a JSON object a line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// How long a backtest waits for what was acknowledged before it came: it takes longer than a query anyway, and an answer that
/// says what is missing beats none.
const WAIT: Duration = Duration::from_secs(10);

/// Lines between the trial and whoever reads them.
const LINES_AHEAD: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacktestOrder {
    /// The rule file.
    pub rules: BacktestFile,
    /// Another version of it; without, the rules of the same names in force are compared with.
    pub against: Option<BacktestFile>,
    /// Readings of this time or later (RFC 3339); of any time without.
    pub since: Option<String>,
    /// Readings before this time.
    pub until: Option<String>,
    /// The label by which notices are counted; `severity` without.
    pub label: Option<String>,
}

/// A rule file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacktestFile {
    /// Its name: faults tell it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A line of the answer: one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BacktestLine {
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BacktestProgress>,
    /// What a rule would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<BacktestRule>,
    /// The last line, when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<BacktestDone>,
    /// The last line, when it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BacktestFailed>,
}

/// How far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestProgress {
    /// The day of the readings that are looked at (UTC).
    pub day: String,
    /// Days that are done.
    pub days_done: usize,
    /// Days that there are.
    pub days: usize,
    /// Readings that were looked at.
    pub readings: u64,
}

/// What a rule would have done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestRule {
    /// Its name.
    pub rule: String,
    /// Which text: 16 hexadecimal digits.
    pub version: String,
    /// Samples that it looked at.
    pub samples: u64,
    /// Keys that had any.
    pub keys: usize,
    /// The time of the oldest of them.
    pub from: Option<String>,
    /// The time of the newest.
    pub to: Option<String>,
    /// Why there was none, and what there is instead.
    pub nothing: Option<String>,
    /// Divisions by zero: there it was Undefined.
    pub division_by_zero: u64,
    /// Texts where numbers were needed, and the like.
    pub wrong_kind: u64,
    /// Results that are no finite number.
    pub not_finite: u64,
    /// Windows that held too many readings.
    pub window_full: u64,
    /// Keys with episodes, or with runs that had not fired at the end.
    pub by_key: Vec<BacktestKey>,
    /// Episodes beyond those in `by_key`.
    pub episodes_unlisted: u64,
    /// Notices by day (UTC) and value of the label, before grouping and silences.
    pub notices: BTreeMap<String, BTreeMap<String, u64>>,
    /// What it is compared with; absent when nothing has its name.
    pub against: Option<BacktestAgainst>,
}

/// What a rule would have done for one key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestKey {
    /// For what.
    pub key: BTreeMap<String, String>,
    /// In the order of their start.
    pub episodes: Vec<BacktestEpisode>,
    /// The start of a run that had not fired at the end.
    pub pending_since: Option<String>,
}

/// An episode that would have been.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestEpisode {
    /// Since when the condition held.
    pub started_at: String,
    /// When it fired.
    pub fired_at: String,
    /// When it resolved; absent when it had not at the end.
    pub resolved_at: Option<String>,
    /// The labels it would have had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What people would have read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A rule beside another version of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestAgainst {
    /// The other version.
    pub version: String,
    /// Whether that one is in force; otherwise it was given.
    pub in_force: bool,
    /// What is different; empty when nothing is.
    pub differences: Vec<BacktestDifference>,
    /// Whether one of the two has episodes that are only counted: of those nothing is said.
    pub is_partial: bool,
}

/// What may be different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacktestDifferenceKind {
    /// An episode that the other version has not.
    Fired,
    /// The same, but over, where it is open in the other version.
    Resolved,
    /// The same start, and other times.
    Changed,
    /// The same trouble, with another start.
    Moved,
    /// An episode that the other version alone has.
    Vanished,
}

/// Something that is different.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestDifference {
    /// What.
    pub kind: BacktestDifferenceKind,
    /// For what.
    pub key: BTreeMap<String, String>,
    /// What the other version would have done; absent when nothing.
    pub was: Option<BacktestEpisode>,
    /// What this one would have done; absent when nothing.
    pub now: Option<BacktestEpisode>,
}

/// What it was made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestDone {
    /// Readings that were looked at.
    pub readings: u64,
    /// The time of the oldest reading that there is, whatever was asked for.
    pub held_from: Option<String>,
    /// The time of the newest.
    pub held_to: Option<String>,
    /// Rules of the other file that are not in this one.
    pub gone: Vec<String>,
    /// By how many messages the columns were behind when it began: the newest may be missing.
    pub behind: u64,
}

/// Why it broke off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BacktestFailed {
    /// What is wrong.
    pub detail: String,
    /// What can be done.
    pub hint: Option<String>,
}

impl From<TriedRule> for BacktestRule {
    fn from(tried: TriedRule) -> Self {
        let TriedRule { report, compared, nothing } = tried;
        let day = |day: i64| {
            let start = Timestamp::from_micros(day.saturating_mul(Timestamp::DAY)).to_string();
            start.split('T').next().unwrap_or_default().to_owned()
        };
        let by_key = report.keys.into_iter().map(|of| BacktestKey {
            key: parts(&of.key),
            episodes: of
                .episodes
                .iter()
                .map(|(episode, written)| BacktestEpisode {
                    labels: written.labels.clone(),
                    annotations: written.annotations.clone(),
                    ..BacktestEpisode::from(episode)
                })
                .collect(),
            pending_since: of.pending_since.map(|time| time.to_string()),
        });
        Self {
            rule: report.rule,
            version: report.version.to_string(),
            samples: report.samples,
            keys: report.keys_seen,
            from: report.range.map(|(from, _)| from.to_string()),
            to: report.range.map(|(_, to)| to.to_string()),
            nothing,
            division_by_zero: report.counts.division_by_zero,
            wrong_kind: report.counts.wrong_kind,
            not_finite: report.counts.not_finite,
            window_full: report.counts.window_full,
            by_key: by_key.collect(),
            episodes_unlisted: report.episodes_unlisted,
            notices: report.notices.into_iter().map(|(of, counts)| (day(of), counts)).collect(),
            against: compared.map(BacktestAgainst::from),
        }
    }
}

impl From<Compared> for BacktestAgainst {
    fn from(compared: Compared) -> Self {
        let differences = compared
            .differences
            .into_iter()
            .flat_map(|(key, of)| of.into_iter().map(move |one| (key.clone(), one)));
        Self {
            version: compared.version.to_string(),
            in_force: compared.is_in_force,
            differences: differences.map(|(key, one)| BacktestDifference::of(&key, &one)).collect(),
            is_partial: compared.is_partial,
        }
    }
}

impl BacktestDifference {
    /// As it is told.
    #[must_use]
    pub fn of(key: &Key, difference: &Difference) -> Self {
        use BacktestDifferenceKind as Kind;
        let shown = |episode: &Episode| Some(BacktestEpisode::from(episode));
        let (kind, was, now) = match difference {
            Difference::Fired(now) => (Kind::Fired, None, shown(now)),
            Difference::Vanished(was) => (Kind::Vanished, shown(was), None),
            Difference::Resolved(now) => {
                let was = Episode { resolved_at: None, ..now.clone() };
                (Kind::Resolved, shown(&was), shown(now))
            }
            Difference::Changed { was, now } => (Kind::Changed, shown(was), shown(now)),
            Difference::Moved { was, now } => (Kind::Moved, shown(was), shown(now)),
        };
        Self { kind, key: parts(key), was, now }
    }
}

impl From<&Episode> for BacktestEpisode {
    fn from(episode: &Episode) -> Self {
        Self {
            started_at: episode.start.to_string(),
            fired_at: episode.fired_at.to_string(),
            resolved_at: episode.resolved_at.map(|time| time.to_string()),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

fn parts(key: &Key) -> BTreeMap<String, String> {
    key.parts().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl BacktestLine {
    fn of(tried: Tried, behind: u64) -> Vec<Self> {
        let done = BacktestDone {
            readings: tried.readings,
            held_from: tried.held.map(|(from, _)| from.to_string()),
            held_to: tried.held.map(|(_, to)| to.to_string()),
            gone: tried.gone,
            behind,
        };
        let rule = |rule: TriedRule| Self { rule: Some(rule.into()), ..Self::default() };
        let rules = tried.rules.into_iter().map(rule);
        rules.chain([Self { done: Some(done), ..Self::default() }]).collect()
    }

    fn failed(error: &TrialError) -> Self {
        let detail = model::in_one_line(error);
        let hint = error.hint().map(str::to_owned);
        Self { failed: Some(BacktestFailed { detail, hint }), ..Self::default() }
    }

    fn bytes(&self) -> Bytes {
        let mut text = serde_json::to_vec(self).expect("texts and numbers become JSON");
        text.push(b'\n');
        text.into()
    }
}

/// The trial, which ends when nobody reads its lines any more.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs it.
pub(crate) async fn run(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    body: body::Body<BacktestOrder>,
) -> Result<Response, Problem> {
    let order = body::read(body)?;
    // Windows are judged for the fleet there is.
    let limits = Limits { devices: parts.series.stats().devices.max(1), ..Limits::default() };
    let rules = load(&order.rules, &limits)?;
    let against = match &order.against {
        Some(file) => Against::Rules(load(file, &limits)?),
        None => Against::InForce,
    };
    let names: Vec<&str> = rules.iter().map(Rule::name).collect();
    notice_payloads(&parts, &by, &format!("backtest:{}", names.join(",")));
    let trial = Trial {
        rules,
        against,
        from: moment("since", order.since.as_ref())?,
        to: moment("until", order.until.as_ref())?,
        label: order.label.unwrap_or_else(|| "severity".to_owned()),
    };
    // What was acknowledged before is among what is looked at; what does not become columns in time is counted.
    let acknowledged = parts.journal.durable_seq();
    let _ = tokio::time::timeout(WAIT, parts.series.caught_up(acknowledged)).await;
    let behind = acknowledged.saturating_sub(parts.series.applied());
    let (sender, mut lines) = mpsc::channel::<Result<BacktestLine, TrialError>>(LINES_AHEAD);
    let evaluation = parts.rules.clone();
    let task = tokio::spawn(async move {
        let progress = sender.clone();
        let tell = move |how_far: series::HowFar| {
            let line = BacktestProgress {
                day: how_far.day.to_string(),
                days_done: how_far.days_done,
                days: how_far.days,
                readings: how_far.readings,
            };
            // One that finds no room is left out: the next one says more.
            match progress.try_send(Ok(BacktestLine { progress: Some(line), ..BacktestLine::default() })) {
                Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        let tried = evaluation.try_rules(trial, tell).await;
        let lines = match tried {
            Ok(tried) => BacktestLine::of(tried, behind).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        for line in lines {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    let task = Task(task.abort_handle());
    // The first line is waited for: what is refused before it is a problem document.
    let first = match lines.recv().await {
        Some(Ok(line)) => line,
        Some(Err(error)) => return Err(refusal(&error)),
        None => {
            return Err(Problem::new(Kind::Broken, "backtest.ended", "the backtest ended without a word"));
        }
    };
    let rest = stream::unfold((lines, task), |(mut lines, task)| async move {
        let line = lines.recv().await?.unwrap_or_else(|error| BacktestLine::failed(&error));
        Some((line, (lines, task)))
    });
    let whole = stream::StreamExt::chain(stream::iter([first]), rest);
    let whole = stream::StreamExt::map(whole, |line| Ok::<_, std::convert::Infallible>(line.bytes()));
    let mut response = Body::from_stream(whole).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    Ok(response)
}

fn load(file: &BacktestFile, limits: &Limits) -> Result<Vec<Rule>, Problem> {
    let loaded = RuleSet::load([(file.name.as_str(), file.text.as_str())], limits);
    loaded.map(|rules| rules.alerts).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Problem::new(Kind::Invalid, "rules.faults", faults.join("\n"))
            .hint(Some("`godwit rule check FILE` says the same; docs/rules.md teaches the language"))
    })
}

fn refusal(error: &TrialError) -> Problem {
    let code = match error {
        TrialError::Busy => "backtest.busy",
        TrialError::Range { .. } => "backtest.range",
        TrialError::NoRules => "backtest.no_rules",
        TrialError::Keys => "backtest.keys",
        TrialError::Readings(error) => error.slug(),
        TrialError::Catalog(_) => "backtest.catalog",
    };
    Problem::new(error.kind(), code, model::in_one_line(error)).hint(error.hint())
}
