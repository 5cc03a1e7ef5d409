//! `GET /api/v1/alerts/{id}/readings`: what an alert rests on.
//!
//! Its shapes are read by `godwit rule explain` too. Not here: who was told (`alerts`). The law: it is bounded, and says how
//! much it leaves out.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::alerts::{Ground, Grounds, GroundsError, Picture};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use identity::Actor;
use model::{Flags, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::alerts::{episode, seen};
use crate::audit::notice_payloads;
use crate::caller::Caller;
use crate::problem::Problem;

/// What an alert rests on.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlertReadings {
    /// The text of the rule's version; absent when it is not kept: its samples are not judged then.
    pub text: Option<String>,
    /// Some samples before the start, and the first 50 from there on.
    pub first: Vec<AlertSample>,
    /// How many samples lie between the two.
    pub left_out: u64,
    /// The last 50 up to the end, or up to now.
    pub last: Vec<AlertSample>,
    /// A channel of the rule over the time of the alert.
    pub picture: Option<AlertPicture>,
}

/// A sample as the rule saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertSample {
    /// When it was measured.
    pub time: String,
    /// By which device.
    pub device: String,
    /// When it was received.
    pub received_at: String,
    /// Whether that was long after it was measured.
    pub late: bool,
    /// What the rule looks at, as text.
    pub values: BTreeMap<String, String>,
    /// `met`, `not_met`, `clear`, `undefined`, or `heard` where nothing is judged.
    pub says: String,
    /// The hole before it was longer than `max_gap`: it broke the run.
    pub gap: bool,
    /// Channels of the rule that it lacks.
    pub missing: Vec<String>,
    /// What is unusual about it: `receipt_time`, `implausible_time`, `clock_step`, `no_identity`, `possibly_cached`,
    /// `out_of_range`.
    pub flags: Vec<String>,
    /// `start`, `fired`, `resolved`: what of the alert happened at its time.
    pub marks: Vec<String>,
}

/// A channel over time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlertPicture {
    /// Which.
    pub channel: String,
    /// Where it begins: some time before the start.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// The mean of each of so many stretches of equal length.
    pub means: Vec<Option<f64>>,
    /// In which of them it fired, from 0.
    pub fired: usize,
}

/// What an alert rests on.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Extension(by): Extension<Actor>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Json<AlertReadings>, Problem> {
    let shown = seen(&parts, &caller, episode(&text)?).await?.shown;
    notice_payloads(&parts, &by, &format!("alert:{}", shown.id));
    let episode = &shown.episode;
    let grounds = parts.rules.grounds(episode).await.map_err(|error| refusal(&error))?;
    let marked = |ground: Ground| {
        let moments = [
            ("start", Some(episode.started_at)),
            ("fired", Some(episode.fired_at)),
            ("resolved", episode.resolved_at),
        ];
        let is_now = |(_, at): &&(&str, Option<Timestamp>)| *at == Some(ground.sample.time);
        let marks = moments.iter().filter(is_now).map(|(name, _)| (*name).to_owned()).collect();
        sample(ground, marks)
    };
    let Grounds { text, first, left_out, last, picture } = grounds;
    Ok(Json(AlertReadings {
        text,
        first: first.into_iter().map(marked).collect(),
        left_out,
        last: last.into_iter().map(marked).collect(),
        picture: picture.map(drawn),
    }))
}

fn sample(ground: Ground, marks: Vec<String>) -> AlertSample {
    let text = |value: &Value| match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) | Value::BigInteger(_, text) => text.to_string(),
    };
    let late = ground.is_late();
    let readings = ground.sample.readings.iter();
    AlertSample {
        time: ground.sample.time.to_string(),
        device: ground.sample.device.to_string(),
        received_at: ground.received_at.to_string(),
        late,
        values: readings.map(|reading| (reading.channel.to_string(), text(&reading.value))).collect(),
        says: ground.says.name().to_owned(),
        gap: ground.breaks,
        missing: ground.missing.iter().map(ToString::to_string).collect(),
        flags: named(ground.sample.flags),
        marks,
    }
}

fn named(flags: Flags) -> Vec<String> {
    let all = [
        (Flags::RECEIPT_TIME, "receipt_time"),
        (Flags::IMPLAUSIBLE_TIME, "implausible_time"),
        (Flags::CLOCK_STEP, "clock_step"),
        (Flags::NO_IDENTITY, "no_identity"),
        (Flags::POSSIBLY_CACHED, "possibly_cached"),
        (Flags::OUT_OF_RANGE, "out_of_range"),
    ];
    all.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| (*name).to_owned()).collect()
}

fn drawn(picture: Picture) -> AlertPicture {
    AlertPicture {
        channel: picture.channel.to_string(),
        from: picture.from.to_string(),
        to: picture.to.to_string(),
        means: picture.means(),
        fired: picture.fired,
    }
}

fn refusal(error: &GroundsError) -> Problem {
    Problem::new(error.kind(), "alerts.readings", model::in_one_line(error)).hint(error.hint())
}
