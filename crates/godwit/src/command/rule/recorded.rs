//! A recording as samples: read as `replay` reads it, decoded as the server would decode it.
//!
//! Not here: what is made of them. The law: what a rule sees here is what it would have seen had the recording been replayed.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use host::SystemDisk;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;
use model::{DeviceName, Message, Names, Origin, Routes, Sample, TopicFilter, TopicName};
use rules::in_order;

use crate::command::recording::file::{FileReader, survey};
use crate::command::recording::{device, without_bom, zone};
use crate::command::replay::rows::{BadRow, Format, Reading, Row, Rows};
use crate::fault::with_hint;

/// How many bad rows are named one by one; the rest is counted.
const BAD_ROWS_NAMED: u64 = 10;

/// Which recording, and what it stands for.
#[derive(Debug, clap::Args)]
pub(super) struct RecordingArgs {
    /// The device that was recorded
    #[arg(long = "as", value_name = "DEVICE", default_value = "recording", value_parser = device)]
    device: DeviceName,
    /// What follows the device in the topic: dt/DEVICE/TOPIC [default: every rule sees the recording]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Time zone of times in the file that name none, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    zone: TimeZone,
    /// The column that holds the time [default: date, time, timestamp, ts, or the first that holds times]
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
}

/// The samples of a recording.
pub(super) struct Recorded {
    /// In order.
    pub(super) samples: Vec<Sample>,
    topic: Option<TopicName>,
}

impl Recorded {
    /// Whether a rule that listens to `from` sees it.
    pub(super) fn is_seen_by(&self, from: &TopicFilter) -> bool {
        self.topic.as_ref().is_none_or(|topic| from.matches(topic))
    }
}

impl RecordingArgs {
    pub(super) fn read(&self, file: &Path) -> anyhow::Result<Recorded> {
        let disk = SystemDisk;
        let name = file.display().to_string();
        let survey = survey(&disk, file).with_context(|| format!("cannot read `{name}`"))?;
        let bom = survey.head.len() - without_bom(&survey.head).len();
        let input = FileReader::open(&disk, file, bom as u64)?;
        let reading = Reading { zone: self.zone.clone(), time: self.time.clone() };
        let format = Format::detect(&name, &survey.head);
        let rows = Rows::open(format, input, &survey.head, &reading).map_err(|error| {
            let hint = error.hint();
            with_hint(anyhow::Error::new(error).context(format!("cannot read `{name}`")), hint)
        })?;
        let topic = self.topic.as_deref().unwrap_or("telemetry");
        let topic = TopicName::parse(format!("dt/{}/{topic}", self.device))?;
        let mut decoder = Decoder {
            routes: Routes::default(),
            names: Names::new(),
            origin: Origin { device: Some(self.device.clone()), ..Origin::inside(0) },
            topic: topic.clone(),
            samples: Vec::new(),
            bad: 0,
        };
        let bar = bar(survey.lines);
        for row in rows {
            match row.context("cannot read the recording")? {
                Ok(row) => {
                    bar.set_position(row.line);
                    decoder.take(row);
                }
                Err(bad) => decoder.leave_out(&bad),
            }
        }
        bar.finish_and_clear();
        decoder.tell_left_out();
        Ok(Recorded { samples: in_order(decoder.samples), topic: self.topic.as_ref().map(|_| topic) })
    }
}

struct Decoder {
    routes: Routes,
    names: Names,
    origin: Origin,
    topic: TopicName,
    samples: Vec<Sample>,
    bad: u64,
}

impl Decoder {
    fn take(&mut self, row: Row) {
        let message = Message {
            // The row's own time is the clock.
            received_at: row.time,
            ..Message::new(self.topic.clone(), row.payload, self.origin.clone())
        };
        let decoded = self.routes.find(&message.topic).map(|route| route.decode(&message, &mut self.names));
        match decoded {
            Some(Ok(decoded)) => self.samples.extend(decoded.samples),
            Some(Err(error)) => self.leave_out(&BadRow { line: row.line, why: error.to_string() }),
            None => self.leave_out(&BadRow { line: row.line, why: "no route takes it".to_owned() }),
        }
    }

    fn leave_out(&mut self, bad: &BadRow) {
        self.bad += 1;
        if self.bad <= BAD_ROWS_NAMED {
            // Who closed stderr does not read it.
            let _ = writeln!(std::io::stderr().lock(), "line {} is left out: {}", bad.line, bad.why);
        }
    }

    fn tell_left_out(&self) {
        if self.bad > BAD_ROWS_NAMED {
            let _ = writeln!(std::io::stderr().lock(), "{} rows are left out in all", self.bad);
        }
    }
}

fn bar(rows: u64) -> ProgressBar {
    let is_terminal = std::io::stderr().is_terminal();
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style =
        ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} rows, {per_sec}, {eta} left");
    ProgressBar::with_draw_target(Some(rows), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
