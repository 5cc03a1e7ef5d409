//! Stored readings as samples: what rules look back on.
//!
//! Not here: conditions (`rules`), and which topics one listens to. The laws: what is handed out has every record up to the
//! `seq` that was asked for in it; samples come in the order of (time, device, topic); a question is bounded in rows.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType};
use bytestring::ByteString;
use model::{Flags, Names, Reading, Sample, Timestamp, Value};

use crate::error::QueryError;
use crate::export::Selection;
use crate::service::Series;
use crate::settings::QueryLimits;

/// The readings of one device, time and topic.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSample {
    /// What their messages were published to.
    pub topic: ByteString,
    /// When the last of them was received, to the millisecond.
    pub received_at: Timestamp,
    /// The readings. Flags are those of any of them.
    pub sample: Sample,
}

impl Series {
    /// The readings of `selection` as samples, in the order of (time, device, topic); at most `readings_max` readings. Waits
    /// until every record up to `at_least` has had its effect.
    ///
    /// # Errors
    /// [`QueryError::Rows`] when there are more; other [`QueryError`]s say why there is no answer.
    pub async fn samples(
        &self,
        selection: &Selection,
        at_least: u64,
        readings_max: usize,
    ) -> Result<Vec<StoredSample>, QueryError> {
        self.caught_up(at_least).await;
        let limits = QueryLimits { rows: readings_max, ..self.query_limits().clone() };
        let mut answer = self.inner.engine.query(&sql(selection), &limits).await?;
        let mut gathered = Gathered::default();
        while let Some(batch) = answer.batch().await? {
            gathered.take(&batch);
        }
        Ok(gathered.in_order())
    }
}

/// The question in SQL: the planner then leaves out the files, groups of rows and pages where no such reading can be.
fn sql(selection: &Selection) -> String {
    let mut sql =
        "SELECT time, device, channel, value, text, flags, topic, received_at FROM readings".to_owned();
    let mut conditions = Vec::new();
    for (column, names) in [("device", &selection.devices), ("channel", &selection.channels)] {
        if !names.is_empty() {
            let names: Vec<_> = names.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
            conditions.push(format!("{column} IN ({})", names.join(", ")));
        }
    }
    conditions.extend(selection.from.map(|from| format!("time >= '{from}'")));
    conditions.extend(selection.to.map(|to| format!("time < '{to}'")));
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    sql
}

/// Readings as they come: in the order of device, channel and time.
#[derive(Default)]
struct Gathered {
    names: Names,
    topics: hashbrown::HashSet<ByteString>,
    rows: Vec<StoredSample>,
}

impl Gathered {
    fn take(&mut self, batch: &RecordBatch) {
        let time = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let device = batch.column(1).as_string_view();
        let channel = batch.column(2).as_string_view();
        let value = batch.column(3).as_primitive::<Float64Type>();
        let text = batch.column(4).as_string_view();
        let flags = batch.column(5).as_primitive::<Int32Type>();
        let topic = batch.column(6).as_string_view();
        let received = batch.column(7).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let text = text.is_valid(row).then(|| ByteString::from(text.value(row)));
            let number = value.is_valid(row).then(|| value.value(row));
            let value = match (number, text) {
                (Some(number), Some(text)) => Value::BigInteger(number, text),
                (Some(number), None) => Value::Number(number),
                (None, Some(text)) => Value::Text(text),
                (None, None) => continue,
            };
            // What is stored had valid names when it was.
            let Some(device) = self.names.device(device.value(row)) else { continue };
            let Ok(channel) = self.names.channel(channel.value(row)) else { continue };
            let topic = self.topics.get_or_insert_with(topic.value(row), |topic| topic.into()).clone();
            let flags = u16::try_from(flags.value(row)).unwrap_or_default();
            self.rows.push(StoredSample {
                topic,
                received_at: Timestamp::from_micros(received.value(row)),
                sample: Sample {
                    device,
                    time: Timestamp::from_micros(time.value(row)),
                    flags: Flags::from_bits_retain(flags),
                    readings: vec![Reading { channel, value }],
                },
            });
        }
    }

    fn in_order(mut self) -> Vec<StoredSample> {
        let key = |row: &StoredSample| (row.sample.time, row.sample.device.clone(), row.topic.clone());
        self.rows.sort_by(|a, b| {
            let (one, other) = (&a.sample, &b.sample);
            let order = one.time.cmp(&other.time).then_with(|| one.device.cmp(&other.device));
            order.then_with(|| a.topic.cmp(&b.topic))
        });
        self.rows.dedup_by(|next, kept| {
            let is_same = key(next) == key(kept);
            if is_same {
                kept.sample.readings.append(&mut next.sample.readings);
                kept.sample.flags |= next.sample.flags;
                kept.received_at = kept.received_at.max(next.received_at);
            }
            is_same
        });
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let selection = Selection {
            from: Some(Timestamp::parse("2015-02-04T17:51:00Z").expect("a time")),
            devices: vec!["office-1".to_owned()],
            channels: vec!["it's".to_owned(), "co2".to_owned()],
            ..Selection::default()
        };
        assert!(sql(&selection).ends_with(
            "WHERE device IN ('office-1') AND channel IN ('it''s', 'co2') AND time >= '2015-02-04T17:51:00Z'"
        ));
    }
}
