//! `godwit import`: takes in what other systems hold, with its own times.
//!
//! Rows go through the front door like any device's messages: gathered into lists of samples, many on their way, done
//! when acknowledged. The laws: importing a file twice changes nothing; a row is either sent or in `FILE.rejected`
//! with its reason; an interrupted import goes on.

mod batches;
mod check;
mod csv_rows;
mod input;
mod json_rows;
mod line_protocol;
mod line_rows;
mod refused;
mod row;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use client::{Machine, Outgoing};
use host::{Disk, SystemDisk};
use jiff::tz::TimeZone;
use model::DeviceName;

use self::batches::{Batch, Batches};
use self::check::{Check, Found};
use self::input::About;
use self::refused::Refused;
use self::row::{BadRow, Channels, Format, Precision, Reading, Row, Rows};
use super::recording::delivery::{Collected, Delivery, How};
use super::recording::meter::Meter;
use super::recording::payload::quoted;
use super::recording::progress::Which;
use super::recording::sending::{Begun, SendingArgs};
use super::recording::{device, window, zone};
use super::target::Target;
use crate::fault::with_hint;

/// What `--help` says behind the flags.
const HELP: &str = r#"Formats, told by the file's name or --format; .gz is unpacked:
  csv    wide: a time column, a device column (or --as), a column per channel
         long: columns time, device, channel, value, as `godwit query --csv` prints them
  jsonl  an object a line: its time, its device (or --as), its channels
  line   InfluxDB's line protocol: the device from a tag, channels measurement.field

Rows are sent to dt/DEVICE/import with their own times. Importing again changes nothing: a reading is
known by its device, channel and time. Rows that cannot come in are written to FILE.rejected with
the reason; corrected there, they can be imported from there.

Examples:
  godwit import office.csv --as office-1 --dry-run     # what would come in
  godwit import plant.csv.gz --device machine --zone Europe/Berlin
  godwit import readings.csv --channel sensor --value reading
  godwit import influx.lp --device-tag host --precision s"#;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How they are written [default: by the name, else by the first character]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The device that all rows belong to
    #[arg(long = "as", value_name = "DEVICE", value_parser = device, conflicts_with_all = ["device", "device_tag"])]
    one: Option<DeviceName>,
    /// The column or field that names the device [default: device, device_id]
    #[arg(long, value_name = "COLUMN")]
    device: Option<String>,
    /// The column or field that holds the time [default: date, time, timestamp, ts, or the first that holds times]
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Time zone of times that name none, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    zone: TimeZone,
    /// One value a row: the column that names the channel [default: channel]
    #[arg(long, value_name = "COLUMN")]
    channel: Option<String>,
    /// One value a row: the column that holds it [default: value]
    #[arg(long, value_name = "COLUMN")]
    value: Option<String>,
    /// Line protocol: the unit of its times
    #[arg(long, value_enum, default_value = "ns")]
    precision: Precision,
    /// Line protocol: the tag that names the device; several are joined with `-` [default: device, device_id]
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    device_tag: Vec<String>,
    /// Line protocol: a tag whose value becomes part of the channel
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    channel_tag: Vec<String>,
    /// Line protocol: how channels are called
    #[arg(long, value_enum, default_value = "measurement.field")]
    channels: Channels,
    /// What follows the device in the topic: dt/DEVICE/TOPIC
    #[arg(long, value_name = "TOPIC", default_value = "import")]
    topic: String,
    /// Show what would come in, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Stop at the first row that cannot come in
    #[arg(long)]
    strict: bool,
    /// Where refused rows are written [default: FILE.rejected]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// Most messages on their way to the server
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = window)]
    window: usize,
    #[command(flatten)]
    sending: SendingArgs,
}

/// Imports the files, one after the other.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.rejected.is_none() || args.files.len() == 1,
        "--rejected names one file, and {} files are imported",
        args.files.len()
    );
    let machine = Machine::system();
    let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
    let target = if args.dry_run { None } else { Some(args.sending.target.find()?) };
    for file in &args.files {
        let work = Import { args: &args, file, machine: &machine, disk: &disk };
        work.run(target.as_ref()).await.with_context(|| format!("cannot import `{}`", file.display()))?;
    }
    Ok(())
}

/// One file.
struct Import<'a> {
    args: &'a Args,
    file: &'a Path,
    machine: &'a Machine,
    disk: &'a Arc<dyn Disk>,
}

impl Import<'_> {
    async fn run(&self, target: Option<&Target>) -> anyhow::Result<()> {
        let about = About::of(&**self.disk, self.file).context("cannot read it")?;
        let name = self.file.to_string_lossy();
        let format = self.args.format.unwrap_or_else(|| Format::detect(&name, &about.head));
        let reading = self.reading();
        let input = about.open(&**self.disk, self.file).context("cannot read it")?;
        let rows = Rows::open(format, input, &about.head, &reading).map_err(|error| {
            let hint = error.hint();
            with_hint(error, hint)
        })?;
        match target {
            None => self.dry_run(rows, format),
            Some(target) => self.send(rows, &about, target, format!("{format:?} {reading:?}")).await,
        }
    }

    fn reading(&self) -> Reading {
        let args = self.args;
        Reading {
            device: args.one.clone(),
            zone: args.zone.clone(),
            time: args.time.clone(),
            device_column: args.device.clone(),
            channel_column: args.channel.clone(),
            value_column: args.value.clone(),
            precision: args.precision,
            channels: args.channels,
            device_tags: args.device_tag.clone(),
            channel_tags: args.channel_tag.clone(),
        }
    }

    /// Reads everything as an import would, and tells what it found.
    fn dry_run(&self, rows: Rows<Box<dyn Read>>, format: Format) -> anyhow::Result<()> {
        let meter = Meter::start(0, Arc::clone(&self.machine.clock), true);
        let mut check = Check::new(Arc::clone(&self.machine.clock), &self.args.topic);
        let mut samples = Vec::new();
        let mut refused = 0;
        let mut rows = rows;
        for row in rows.by_ref() {
            let row = row.context("cannot read it")?;
            match row.and_then(|row| judged(&mut check, row)) {
                Ok((row, _)) if samples.len() < 3 => samples.push(row),
                Ok(_) => {}
                Err(bad) => {
                    refused += 1;
                    self.refuse(&meter, &bad)?;
                }
            }
        }
        let mut text = format!("{}: nothing was sent; as {format:?} it would bring\n", self.file.display());
        told(&mut text, &check.found);
        for row in samples {
            text += &format!("  line {}: {} at {}: {}\n", row.line, row.device, row.time, row.fields);
        }
        if refused > 0 {
            text += &format!("  {refused} rows would be refused\n");
        }
        if let Some(remark) = rows.remark() {
            text += &format!("  {remark}\n");
        }
        print(&text)
    }

    async fn send(
        &self,
        mut rows: Rows<Box<dyn Read>>,
        about: &About,
        target: &Target,
        how: String,
    ) -> anyhow::Result<()> {
        let args = self.args;
        let which = Which {
            command: "import".to_owned(),
            file_sha256: about.hash.clone(),
            target: target.identity.clone(),
            how: vec![args.topic.clone(), how],
        };
        let Begun { delivery, meter, skip } = args
            .sending
            .begin(which, args.window, target, (about.lines, "line"), (self.machine, self.disk))
            .await?;
        let path = args.rejected.clone().unwrap_or_else(|| {
            let mut name = self.file.as_os_str().to_owned();
            name.push(".rejected");
            name.into()
        });
        let mut refused = Refused::new(&**self.disk, path, rows.header());
        let mut check = Check::new(Arc::clone(&self.machine.clock), &args.topic);
        let sent = self.send_rows(&mut rows, skip, &mut check, &mut refused, &delivery, &meter).await;
        let kept = refused.finish().with_context(|| refusing(&refused));
        let mut collected = delivery.finish(sent).await?;
        kept?;
        collected.progress.forget()?;
        self.report(&check.found, &refused, &collected, rows.remark())
    }

    async fn send_rows(
        &self,
        rows: &mut Rows<Box<dyn Read>>,
        skip: u64,
        check: &mut Check,
        refused: &mut Refused<'_>,
        delivery: &Delivery,
        meter: &Meter,
    ) -> anyhow::Result<How> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let (mut batches, mut full) = (Batches::default(), Vec::new());
        loop {
            let is_last = match rows.next() {
                None => {
                    batches.finish(&mut full);
                    true
                }
                Some(row) => {
                    let row = row.context("cannot read it")?;
                    match row.and_then(|row| judged(check, row)) {
                        // What an interrupted import has sent is read again, to be refused and counted again.
                        Ok((row, _)) if row.line <= skip => {}
                        Ok((row, readings)) => {
                            batches.add(row.line, &row.device, row.time, &row.fields, readings, &mut full);
                        }
                        Err(bad) => {
                            self.refuse(meter, &bad)?;
                            refused.add(bad.line, &bad.why, &bad.raw).with_context(|| refusing(refused))?;
                        }
                    }
                    false
                }
            };
            for batch in full.drain(..) {
                let Batch { device, payload, done } = batch;
                let topic = check.topic(&device).map_err(anyhow::Error::msg)?;
                let outcome = tokio::select! {
                    biased;
                    _ = &mut interrupt => return Ok(How::Interrupted),
                    outcome = delivery.send(Outgoing::new(topic, payload), done) => outcome,
                };
                // The one who counts has met an error, and will tell it.
                if !outcome? {
                    return Ok(How::Finished);
                }
            }
            if is_last {
                return Ok(How::Finished);
            }
        }
    }

    /// Names a refused row; with `--strict` it ends the import.
    fn refuse(&self, meter: &Meter, bad: &BadRow) -> anyhow::Result<()> {
        if self.args.strict {
            let error = anyhow::anyhow!("line {}: {}", bad.line, bad.why);
            let hint = "correct the line, or have such rows written to FILE.rejected by omitting --strict";
            return Err(with_hint(error, Some(hint)));
        }
        meter.bad_row(bad.line, &bad.why);
        Ok(())
    }

    fn report(
        &self,
        found: &Found,
        refused: &Refused<'_>,
        collected: &Collected,
        remark: Option<String>,
    ) -> anyhow::Result<()> {
        let seconds = collected.elapsed.as_secs_f64();
        let rate = found.readings as f64 / seconds.max(1e-6);
        let mut text = format!(
            "{}: {} messages acknowledged in {seconds:.2} s ({rate:.0} readings/s)\n",
            self.file.display(),
            collected.messages
        );
        told(&mut text, found);
        if refused.rows() > 0 {
            text += &format!(
                "  {} rows refused: they are in `{}` with the reasons; correct them there and import that\n",
                refused.rows(),
                refused.path().display()
            );
        }
        if let Some(remark) = remark {
            text += &format!("  {remark}\n");
        }
        print(&text)
    }
}

fn refusing(refused: &Refused<'_>) -> String {
    format!("cannot write refused rows to `{}`: name another file with --rejected", refused.path().display())
}

/// The row and how many readings it makes at most, if it can come in.
fn judged(check: &mut Check, row: Row) -> Result<(Row, usize), BadRow> {
    match check.row(&row) {
        Ok(readings) => Ok((row, readings)),
        Err(why) => Err(BadRow { line: row.line, why, raw: row.raw }),
    }
}

/// Adds a member to those of a JSON object.
fn member(fields: &mut String, name: &str, json: &str) {
    if !fields.is_empty() {
        fields.push(',');
    }
    fields.push_str(&quoted(name));
    fields.push(':');
    fields.push_str(json);
}

/// Devices and channels that are named in a summary.
const NAMED_MAX: usize = 8;

fn told(text: &mut String, found: &Found) {
    let listed = |names: Vec<&str>, all: usize| {
        let more = if all > names.len() { format!(", … ({all})") } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    *text += &format!("  {} rows, {} readings\n", found.rows, found.readings);
    let devices = found.devices.keys().take(NAMED_MAX).map(DeviceName::as_str).collect();
    *text += &format!("  devices: {}\n", listed(devices, found.devices.len()));
    let channels = found.channels.iter().take(NAMED_MAX).map(model::ChannelName::as_str).collect();
    *text += &format!("  channels: {}\n", listed(channels, found.channels.len()));
    if let (Some(first), Some(last)) = (found.first, found.last) {
        *text += &format!("  times: {first} to {last}\n");
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    Ok(())
}
