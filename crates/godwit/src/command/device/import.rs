//! `godwit device import`: devices from a CSV file.
//!
//! The law: a row that is wrong is said with its line and its reason, and takes no other row with it.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::Context;
use futures::{StreamExt as _, stream};
use host::Disk;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::certificate::files::{KeyArgs, Made};
use super::shown::Device;
use crate::fault::with_hint;
use crate::http::{Server, ServerArgs, encoded};

/// Rows of a request: enough that a sync of the disk is shared by many, few enough that progress is seen.
const BATCH_ROWS_MAX: usize = 500;
/// Bytes of a request's rows, about: half of what the server takes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Certificates that are made at one time: they share the syncs of the server's disk.
const CERTIFICATES_AT_ONCE: usize = 16;

/// Largest file, in bytes: a million devices with some attributes each.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What `--help` says behind the flags.
const HELP: &str =
    "The first line names the columns, in any order:
  name        the device
  group       its home group; groups that are not there are made
  groups      groups that it is a member of beside, with `;` between
  password    yes: make a password for it (goes to --out)
  attr.KEY    an attribute; an empty cell is none
  state       ignored, so that what `godwit device export` wrote can be read

Each row comes in as a whole or is refused. What was refused is printed as CSV: line, name, reason.

Examples:
  godwit device import devices.csv --dry-run
  godwit device import devices.csv --out passwords.csv > refused.csv
  godwit device import devices.csv --certificates keys     # keys/NAME.cert.pem, keys/NAME.key.pem, keys/ca.pem
  godwit device import devices.csv --update            # devices that are there get the file's groups and attributes";

/// Arguments of `godwit device import`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The CSV file
    file: PathBuf,
    /// Say what would become of the rows, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Change devices that are there already, rather than refuse their rows
    #[arg(long)]
    update: bool,
    /// Refuse rows whose groups are not there, rather than make the groups
    #[arg(long)]
    no_new_groups: bool,
    /// Where the passwords that are made are written (CSV: name, password; mode 0600); must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make a key and a certificate for each device that has none, and write NAME.cert.pem, NAME.key.pem and ca.pem to
    /// this directory; a key is kept nowhere else
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A row as the API takes it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    group: Option<String>,
    groups: Vec<String>,
    attributes: BTreeMap<String, String>,
    password: bool,
    #[serde(skip)]
    line: u64,
}

#[derive(Debug, Deserialize)]
struct Outcomes {
    rows: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
enum Outcome {
    Added { password: Option<String> },
    Updated { password: Option<String> },
    Refused { reason: String },
}

/// What a column is.
enum Column {
    Name,
    Group,
    Groups,
    Password,
    Ignored,
    Attribute(String),
}

/// What is told at the end, and written on the way.
struct Report {
    added: u64,
    updated: u64,
    refused: u64,
    /// How many certificates were written.
    certificates: u64,
    refusals: csv::Writer<std::io::Stdout>,
    passwords: Option<csv::Writer<Box<dyn Write>>>,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let content = host::SystemDisk
        .read(&args.file, FILE_BYTES_MAX)
        .with_context(|| format!("cannot read `{}`", args.file.display()))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content.as_slice());
    let columns = columns(&args.file, reader.headers()?)?;
    let wants_passwords = columns.iter().any(|column| matches!(column, Column::Password));
    if wants_passwords && args.out.is_none() && !args.dry_run {
        return Err(with_hint(
            anyhow::anyhow!("the file has a column `password`, and there is nowhere to write what is made"),
            Some("name a file with --out; passwords are shown once"),
        ));
    }
    let passwords = args.out.as_deref().filter(|_| !args.dry_run).map(password_file).transpose()?;
    let server = args.server.find()?;
    let mut report = Report {
        added: 0,
        updated: 0,
        refused: 0,
        certificates: 0,
        refusals: csv::Writer::from_writer(std::io::stdout()),
        passwords,
    };
    let bar = indicatif::ProgressBar::new(content.len() as u64).with_style(
        indicatif::ProgressStyle::with_template("{bar:32} {percent}% {msg}").expect("a template"),
    );
    let mut lines: HashMap<String, u64> = HashMap::new();
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    let mut record = csv::StringRecord::new();
    loop {
        let is_row = match reader.read_record(&mut record) {
            Ok(is_row) => is_row,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                report.refuse(line, "", &error.to_string())?;
                continue;
            }
        };
        let is_full = batch.len() >= BATCH_ROWS_MAX || batch_bytes >= BATCH_BYTES_MAX;
        if (!is_row || is_full) && !batch.is_empty() {
            send(&server, &args, &std::mem::take(&mut batch), &mut report).await?;
            batch_bytes = 0;
            bar.set_position(reader.position().byte());
            bar.set_message(format!("{} rows in, {} refused", report.added + report.updated, report.refused));
        }
        if !is_row {
            break;
        }
        let line = record.position().map_or(0, csv::Position::line);
        match parsed(&columns, &record, line) {
            Err(reason) => report.refuse(line, record.get(0).unwrap_or_default(), &reason)?,
            Ok(row) => match lines.get(&row.name) {
                Some(first) => {
                    report.refuse(line, &row.name, &format!("`{}` is in line {first} already", row.name))?;
                }
                None => {
                    lines.insert(row.name.clone(), line);
                    batch_bytes += record.as_slice().len() + 256;
                    batch.push(row);
                }
            },
        }
    }
    bar.finish_and_clear();
    finish(&args, report)
}

/// What each column of the file is.
fn columns(file: &Path, header: &csv::StringRecord) -> anyhow::Result<Vec<Column>> {
    let mut columns = Vec::with_capacity(header.len());
    for name in header {
        columns.push(match name.trim().trim_start_matches('\u{feff}') {
            "name" => Column::Name,
            "group" => Column::Group,
            "groups" => Column::Groups,
            "password" => Column::Password,
            "state" => Column::Ignored,
            "certificate" => {
                return Err(with_hint(
                    anyhow::anyhow!("column `certificate`: no row says whether one is made"),
                    Some("leave it out; --certificates DIR makes one for each device, or let them provision themselves"),
                ));
            }
            other => match other.strip_prefix("attr.") {
                Some(key) => Column::Attribute(key.to_owned()),
                None => {
                    return Err(with_hint(
                        anyhow::anyhow!("column `{other}` of `{}` is not known", file.display()),
                        Some("columns are name, group, groups, password and attr.KEY; the first line names them"),
                    ));
                }
            },
        });
    }
    if !columns.iter().any(|column| matches!(column, Column::Name)) {
        return Err(with_hint(
            anyhow::anyhow!("`{}` has no column `name`", file.display()),
            Some("the first line names the columns: name, group, groups, password, attr.KEY"),
        ));
    }
    Ok(columns)
}

fn parsed(columns: &[Column], record: &csv::StringRecord, line: u64) -> Result<Row, String> {
    if record.len() > columns.len() {
        return Err(format!("{} cells; the first line names {}", record.len(), columns.len()));
    }
    let empty = (String::new(), None, Vec::new(), BTreeMap::new(), false);
    let (name, group, groups, attributes, password) = empty;
    let mut row = Row { name, group, groups, attributes, password, line };
    for (column, cell) in columns.iter().zip(record) {
        let cell = cell.trim();
        match column {
            Column::Name => row.name = cell.to_owned(),
            Column::Group => row.group = (!cell.is_empty()).then(|| cell.to_owned()),
            Column::Groups => {
                let groups = cell.split(';').map(str::trim).filter(|group| !group.is_empty());
                row.groups = groups.map(str::to_owned).collect();
            }
            Column::Password => {
                row.password = match cell.to_ascii_lowercase().as_str() {
                    "yes" | "true" | "1" => true,
                    "" | "no" | "false" | "0" => false,
                    _ => return Err(format!("password `{}` is neither yes nor no", cell.escape_debug())),
                };
            }
            Column::Attribute(key) if !cell.is_empty() => {
                row.attributes.insert(key.clone(), cell.to_owned());
            }
            Column::Attribute(_) | Column::Ignored => {}
        }
    }
    Ok(row)
}

/// Where passwords are written as they are made.
fn password_file(path: &Path) -> anyhow::Result<csv::Writer<Box<dyn Write>>> {
    let file = host::SystemDisk.create(path).map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let hint = exists.then_some("name another file: passwords that are in this one are not written over");
        with_hint(anyhow::Error::new(error).context(format!("cannot make `{}`", path.display())), hint)
    })?;
    let mut writer = csv::Writer::from_writer(Box::new(Appending { file }) as Box<dyn Write>);
    writer.write_record(["name", "password"])?;
    Ok(writer)
}

/// A file of `host` as a stream.
struct Appending {
    file: Box<dyn host::File>,
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.sync()
    }
}

/// Sends rows and writes down what became of them.
async fn send(server: &Server, args: &Args, rows: &[Row], report: &mut Report) -> anyhow::Result<()> {
    let body = json!({
        "rows": rows,
        "dry_run": args.dry_run,
        "make_groups": !args.no_new_groups,
        "update": args.update,
    });
    let answer: Outcomes = server.json(Method::POST, "/api/v1/devices/import", Some(&body)).await?;
    anyhow::ensure!(answer.rows.len() == rows.len(), "the server answered for other rows than were sent");
    let mut are_in = Vec::new();
    for (row, outcome) in rows.iter().zip(answer.rows) {
        if !matches!(outcome, Outcome::Refused { .. }) {
            are_in.push(row);
        }
        let password = match outcome {
            Outcome::Added { password } => {
                report.added += 1;
                password
            }
            Outcome::Updated { password } => {
                report.updated += 1;
                password
            }
            Outcome::Refused { reason } => {
                report.refuse(row.line, &row.name, &reason)?;
                None
            }
        };
        if let (Some(password), Some(out)) = (password, &mut report.passwords) {
            out.write_record([&row.name, &password])?;
        }
    }
    if let Some(out) = &mut report.passwords {
        out.flush().context("cannot write the passwords")?;
    }
    if let (Some(dir), false) = (&args.certificates, args.dry_run) {
        let made = stream::iter(are_in).map(async |row| (row, certify(server, dir, &row.name).await));
        let mut made = pin!(made.buffered(CERTIFICATES_AT_ONCE));
        while let Some((row, made)) = made.next().await {
            match made {
                Ok(is_new) => report.certificates += u64::from(is_new),
                Err(error) => {
                    let reason = format!("it is in, without a certificate: {error:#}");
                    report.refuse(row.line, &row.name, &reason)?;
                }
            }
        }
    }
    Ok(())
}

/// Makes a key and a certificate for a device that has none, so that an import that was cut short is finished by the same
/// one with `--update`. Whether it did.
async fn certify(server: &Server, dir: &Path, name: &str) -> anyhow::Result<bool> {
    let path = format!("/api/v1/devices/{}", encoded(name));
    let device: Device = server.json(Method::GET, &path, None).await?;
    if device.certificate_until.is_some() {
        return Ok(false);
    }
    let place = KeyArgs { out: Some(dir.to_owned()), csr: None }.prepare(name)?;
    let made: Made = server.json(Method::POST, &format!("{path}/certificates"), Some(&place.request)).await?;
    place.write(name, &made, &mut std::io::sink())?;
    Ok(true)
}

impl Report {
    fn refuse(&mut self, line: u64, name: &str, reason: &str) -> anyhow::Result<()> {
        if self.refused == 0 {
            self.refusals.write_record(["line", "name", "reason"])?;
        }
        self.refused += 1;
        self.refusals.write_record([&line.to_string(), name, reason])?;
        Ok(())
    }
}

fn finish(args: &Args, mut report: Report) -> anyhow::Result<()> {
    report.refusals.flush()?;
    let would = if args.dry_run { " (nothing was done)" } else { "" };
    let mut said =
        format!("{} added, {} updated, {} refused{would}", report.added, report.updated, report.refused);
    if let (Some(out), Some(_)) = (&args.out, &report.passwords) {
        said += &format!("; passwords are in {}", out.display());
    }
    if let (Some(dir), false) = (&args.certificates, args.dry_run) {
        said += &format!("; {} certificates are in {}", report.certificates, dir.display());
    }
    writeln!(std::io::stderr().lock(), "{said}")?;
    if report.refused > 0 {
        return Err(with_hint(
            anyhow::anyhow!("{} rows were refused", report.refused),
            Some(
                "their lines and reasons are on the standard output; the others are in, and need not be sent again",
            ),
        ));
    }
    Ok(())
}
