//! How long readings are kept, by channel and device: rows that are too old are taken out of their files.
//!
//! The first rule that matches a reading says its age; without one, `series.keep`. Age counts from the later of a
//! reading's time and its receipt, and is the file's: a file is looked at when its newest reading is too old for a rule,
//! once for each rule, and the manifest remembers that it was (`swept`). So a file is rewritten a few times in its life,
//! not with every reading that expires. Not here: whole files (`upkeep`). The laws: what is dropped is counted; the
//! newest reading of a channel outlives its file; rollups stay, and those of the day are frozen.

use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::error::StoreError;
use crate::query::Engine;
use crate::rows::Rows;
use crate::schema;
use crate::settings::{RetentionSettings, Settings};
use crate::store::{LiveFile, Store};
use crate::upkeep;

/// Files that are looked at between two looks at what else is to be done.
const FILES_AT_ONCE: usize = 16;

/// The longest age that any reading may have; `None` when some are kept for ever.
pub(crate) fn longest(settings: &Settings) -> Option<Duration> {
    let longest = settings.retention.iter().map(|rule| rule.keep).max().unwrap_or_default();
    Some(settings.keep?.max(longest))
}

/// Takes rows that are too old out of some files. Returns how many files were looked at.
pub(crate) fn step(store: &Store, engine: &Engine) -> Result<usize, StoreError> {
    let settings = store.settings();
    if settings.retention.is_empty() {
        return Ok(0);
    }
    let now = store.host().clock.now().micros();
    let mut looked_at = 0;
    for file in store.files().iter() {
        let age = Duration::from_micros(u64::try_from(now - file.entry.newest()).unwrap_or_default());
        let due = due(settings, age);
        if due.is_empty()
            || file.entry.swept.as_ref() == Some(&due)
            || store.bytes().is_faulty(&file.entry.name)
        {
            continue;
        }
        if looked_at == FILES_AT_ONCE {
            break;
        }
        looked_at += 1;
        sweep(store, engine, file, age, due)?;
    }
    Ok(looked_at)
}

/// The rules that a reading of this age is too old for, as text; empty when there are none.
fn due(settings: &Settings, age: Duration) -> String {
    let rules = settings.retention.iter().filter(|rule| rule.keep < age);
    let mut said: Vec<String> =
        rules.map(|rule| format!("{}/{}={}s", rule.device, rule.channel, rule.keep.as_secs())).collect();
    if let Some(keep) = settings.keep.filter(|keep| *keep < age) {
        said.push(format!("*={}s", keep.as_secs()));
    }
    said.join(" ")
}

fn sweep(
    store: &Store,
    engine: &Engine,
    file: &LiveFile,
    age: Duration,
    due: String,
) -> Result<(), StoreError> {
    let settings = store.settings();
    let mut rows = Rows::default();
    let read = engine.read_files(vec![file.clone()], |batch| {
        rows.push_batch(&kept(settings, batch, age));
    });
    read.map_err(|reason| StoreError::Sweep { name: file.entry.name.clone(), reason })?;
    let dropped = file.entry.rows - rows.len() as u64;
    if dropped == 0 {
        return store.mark_swept(&file.entry.name, due);
    }
    upkeep::keep_rollups(store, engine, std::slice::from_ref(file));
    // What is newest of a channel may be among them alone.
    store.keep_latest()?;
    let mut new = Vec::new();
    if !rows.is_empty() {
        let written = store.write_file(file.entry.day, &rows, (file.entry.seq_from, file.entry.seq_to))?;
        store.bytes().sync_dir()?;
        new.push(written.swept(due));
    }
    tracing::info!(
        file = file.entry.name,
        readings = dropped,
        "dropping readings that are too old for their channel"
    );
    metrics::counter!("godwit_series_readings_dropped_total").increment(dropped);
    store.replace_files(std::slice::from_ref(file), new, true, |tally| tally.dropped += dropped)
}

/// The rows that may be as old as `age`.
fn kept(settings: &Settings, batch: &RecordBatch, age: Duration) -> RecordBatch {
    let device = batch.column(schema::DEVICE).as_string_view();
    let channel = batch.column(schema::CHANNEL).as_string_view();
    let keep: BooleanArray = (0..batch.num_rows())
        .map(|row| {
            let rule =
                settings.retention.iter().find(|rule| rule.matches(device.value(row), channel.value(row)));
            let keep = rule.map_or(settings.keep, |rule| Some(rule.keep));
            Some(keep.is_none_or(|keep| keep >= age))
        })
        .collect();
    filter_record_batch(batch, &keep).expect("a mask of the batch's length")
}

impl RetentionSettings {
    /// Whether the rule speaks of this channel of this device.
    fn matches(&self, device: &str, channel: &str) -> bool {
        matches(&self.device, device) && matches(&self.channel, channel)
    }
}

/// Whether `text` is as `pattern` says; `*` is any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        let check = |pattern: &str, text: &str, fits: bool| {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        };
        check("debug.*", "debug.heap", true);
        check("debug.*", "debug.", true);
        check("debug.*", "debugger", false);
        check("*", "", true);
        check("co2", "co2", true);
        check("co2", "co2.raw", false);
        check("*.raw", "co2.raw", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c", false);
        check("a*a", "a", false);
    }
}
