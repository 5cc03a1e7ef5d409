//! A backtest on the readings that a server keeps: the server does it, and stops when this command does.
//!
//! Not here: how it is shown (`outcome`). The law: what the server says is read as it said it, or refused.

use std::io::IsTerminal as _;

use anyhow::{Context as _, anyhow, bail};
use api::{
    BacktestAgainst, BacktestDifference, BacktestDone, BacktestEpisode, BacktestFile, BacktestLine,
    BacktestOrder, BacktestRule,
};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::Timestamp;
use reqwest::Method;
use rules::{Counts, Difference, Episode, Key, KeyReport, Report, Version, Written};

use super::outcome::{Beside, Outcome};
use crate::fault::with_hint;
use crate::http::Server;

/// Longest line of an answer, in bytes: the episodes that are listed of a rule, with long texts.
const LINE_BYTES_MAX: usize = 256 << 20;

/// What came of it.
pub(super) struct Kept {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) done: BacktestDone,
}

/// A rule file as the server reads it.
pub(super) fn file(path: &std::path::Path) -> anyhow::Result<BacktestFile> {
    Ok(BacktestFile { name: path.display().to_string(), text: super::super::files::text(path)? })
}

/// Has the server do it, and shows how far it is.
pub(super) async fn run(server: &Server, order: &BacktestOrder) -> anyhow::Result<Kept> {
    let body = serde_json::to_value(order)?;
    let mut answer =
        server.ask(Method::POST, "/api/v1/backtest", "application/x-ndjson", Some(&body)).await?;
    let (mut outcomes, mut waiting) = (Vec::new(), Vec::new());
    let bar = bar();
    while let Some(chunk) = answer.chunk().await.context("the answer broke off: it is incomplete")? {
        // What was waiting has no end: it is not searched again with each piece of a long line.
        let searched = waiting.len();
        waiting.extend_from_slice(&chunk);
        if waiting.len() > LINE_BYTES_MAX {
            bail!("the answer has a line of more than {LINE_BYTES_MAX} bytes");
        }
        let Some(end) = waiting[searched..].iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = waiting.split_off(searched + end + 1);
        for line in std::mem::replace(&mut waiting, rest).split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            let line: BacktestLine =
                serde_json::from_slice(line).context("the server answered something else than expected")?;
            if let Some(failed) = line.failed {
                bar.finish_and_clear();
                return Err(with_hint(anyhow!(failed.detail), failed.hint));
            }
            if let Some(progress) = line.progress {
                bar.set_length(progress.days as u64);
                bar.set_position(progress.days_done as u64);
                bar.set_message(format!("{} ({} readings)", progress.day, HumanCount(progress.readings)));
            }
            if let Some(rule) = line.rule {
                outcomes.push(outcome(rule)?);
            }
            if let Some(done) = line.done {
                bar.finish_and_clear();
                return Ok(Kept { outcomes, done });
            }
        }
    }
    bail!("the answer broke off: it is incomplete")
}

fn outcome(rule: BacktestRule) -> anyhow::Result<Outcome> {
    let version = |text: &str| Version::parse(text).with_context(|| format!("`{text}` is no version"));
    let of_key = |of: api::BacktestKey| {
        let episodes = of.episodes.iter().map(|one| {
            let written = Written { labels: one.labels.clone(), annotations: one.annotations.clone() };
            Ok((episode(one)?, written))
        });
        let pending_since = of.pending_since.as_deref().map(time).transpose()?;
        Ok(KeyReport {
            key: Key::new(of.key),
            episodes: episodes.collect::<anyhow::Result<_>>()?,
            pending_since,
        })
    };
    let day = |(day, counts): (String, _)| Ok((time(&format!("{day}T00:00:00Z"))?.day(), counts));
    let range = rule.from.as_deref().zip(rule.to.as_deref());
    let report = Report {
        version: version(&rule.version)?,
        rule: rule.rule,
        samples: rule.samples,
        range: range.map(|(from, to)| Ok::<_, anyhow::Error>((time(from)?, time(to)?))).transpose()?,
        out_of_order: 0,
        counts: Counts {
            division_by_zero: rule.division_by_zero,
            wrong_kind: rule.wrong_kind,
            not_finite: rule.not_finite,
            window_full: rule.window_full,
        },
        keys: rule.by_key.into_iter().map(of_key).collect::<anyhow::Result<_>>()?,
        keys_seen: rule.keys,
        episodes_unlisted: rule.episodes_unlisted,
        notices: rule.notices.into_iter().map(day).collect::<anyhow::Result<_>>()?,
    };
    let beside = |against: BacktestAgainst| {
        let differences = against.differences.into_iter().map(|one| {
            let key = Key::new(one.key.clone());
            Ok((key, vec![difference(&one)?]))
        });
        Ok::<_, anyhow::Error>(Beside {
            version: version(&against.version)?,
            is_in_force: against.in_force,
            differences: differences.collect::<anyhow::Result<_>>()?,
            is_partial: against.is_partial,
        })
    };
    Ok(Outcome { report, nothing: rule.nothing, beside: rule.against.map(beside).transpose()? })
}

fn difference(one: &BacktestDifference) -> anyhow::Result<Difference> {
    use api::BacktestDifferenceKind as Kind;
    let was = one.was.as_ref().map(episode).transpose()?;
    let now = one.now.as_ref().map(episode).transpose()?;
    match (one.kind, was, now) {
        (Kind::Fired, _, Some(now)) => Ok(Difference::Fired(now)),
        (Kind::Resolved, _, Some(now)) => Ok(Difference::Resolved(now)),
        (Kind::Changed, Some(was), Some(now)) => Ok(Difference::Changed { was, now }),
        (Kind::Moved, Some(was), Some(now)) => Ok(Difference::Moved { was, now }),
        (Kind::Vanished, Some(was), _) => Ok(Difference::Vanished(was)),
        (kind, ..) => bail!("the server told a difference ({kind:?}) without its episodes"),
    }
}

fn episode(one: &BacktestEpisode) -> anyhow::Result<Episode> {
    Ok(Episode {
        start: time(&one.started_at)?,
        fired_at: time(&one.fired_at)?,
        resolved_at: one.resolved_at.as_deref().map(time).transpose()?,
        values: Vec::new(),
    })
}

fn time(text: &str) -> anyhow::Result<Timestamp> {
    Timestamp::parse(text).map_err(|error| anyhow!("the server told a time that is none: {error}"))
}

fn bar() -> ProgressBar {
    let is_terminal = std::io::stderr().is_terminal();
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} days, {eta} left {msg}");
    ProgressBar::with_draw_target(Some(0), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_read_as_the_server_told_it() {
        let episode = |start: i64, resolved: Option<i64>| Episode {
            start: Timestamp::from_micros(start * Timestamp::SECOND),
            fired_at: Timestamp::from_micros((start + 60) * Timestamp::SECOND),
            resolved_at: resolved.map(|end| Timestamp::from_micros(end * Timestamp::SECOND)),
            values: Vec::new(),
        };
        let (open, over, longer) = (episode(0, None), episode(0, Some(90)), episode(0, Some(120)));
        for told in [
            Difference::Fired(open.clone()),
            Difference::Resolved(over.clone()),
            Difference::Changed { was: over.clone(), now: longer },
            // From over to open: an end that is no end any more.
            Difference::Changed { was: over.clone(), now: open.clone() },
            // The start alone says nothing of which it is.
            Difference::Changed { was: open, now: over.clone() },
            Difference::Moved { was: over.clone(), now: episode(30, Some(90)) },
            Difference::Vanished(over),
        ] {
            let line = api::BacktestDifference::of(&Key::new([("device".to_owned(), "a".to_owned())]), &told);
            let line = serde_json::to_string(&line).expect("JSON");
            let read = difference(&serde_json::from_str(&line).expect("read")).expect("whole");
            assert_eq!(read, told, "{line}");
        }
    }
}
