//! `godwit rule explain`: an alert with the readings that made it, the rule's text, and who was told.
//!
//! Not here: what `godwit alert show` writes of it (`alert`). The law: how much is left out is said.

use std::fmt::Write as _;

use api::{AlertPicture, AlertReadings, AlertSample, Explained};
use reqwest::Method;

use super::say;
use crate::command::alert::write_explained;
use crate::http::{ServerArgs, encoded};

/// What `--help` says behind the flags.
const HELP: &str = "Shows what the rule's version says, the samples from some before the start up to the end, each with what it said to the
rule, and what was sent to whom, suppressed, and why. The readings are those that are stored now: what came later than
the verdict is among them, with when it was received.

Examples:
  godwit alert list
  godwit rule explain bd195309-cc15-8bd6-ae41-1de745baca7a
  godwit rule explain bd195309-cc15-8bd6-ae41-1de745baca7a --json | jq .readings.first";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The alert's id, as `godwit alert list` shows it
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let server = args.server.find()?;
    let path = format!("/api/v1/alerts/{}", encoded(&args.id));
    let explained: Explained = server.json(Method::GET, &path, None).await?;
    let readings: AlertReadings = server.json(Method::GET, &format!("{path}/readings"), None).await?;
    if args.json {
        let mut whole = serde_json::to_value(&explained)?;
        whole["readings"] = serde_json::to_value(&readings)?;
        return say(&format!("{whole}\n"));
    }
    let mut text = String::new();
    write_explained(&mut text, &explained)?;
    write_readings(&mut text, &readings)?;
    say(&text)
}

fn write_readings(text: &mut String, readings: &AlertReadings) -> std::fmt::Result {
    match &readings.text {
        Some(rule) => writeln!(text, "text      {}", rule.trim_end().replace('\n', "\n          "))?,
        None => writeln!(text, "text      is not kept any more: the samples are not judged")?,
    }
    if let Some(picture) = &readings.picture {
        write_picture(text, picture)?;
    }
    let all = || readings.first.iter().chain(&readings.last);
    if all().next().is_none() {
        return writeln!(text, "samples   none are stored any more");
    }
    let one = all().next().map(|sample| &sample.device);
    let shares = all().any(|sample| Some(&sample.device) != one);
    writeln!(
        text,
        "samples   {} from {} on:",
        all().count() as u64 + readings.left_out,
        first_time(readings)
    )?;
    for sample in &readings.first {
        write_sample(text, sample, shares)?;
    }
    if readings.left_out > 0 {
        writeln!(text, "  … {} more …", readings.left_out)?;
    }
    for sample in &readings.last {
        write_sample(text, sample, shares)?;
    }
    Ok(())
}

fn first_time(readings: &AlertReadings) -> &str {
    readings.first.first().map_or("", |sample| &sample.time)
}

fn write_sample(text: &mut String, sample: &AlertSample, shares: bool) -> std::fmt::Result {
    let device = if shares { format!("{} ", sample.device) } else { String::new() };
    let values: Vec<String> = sample.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let says = sample.says.replace('_', " ");
    let mut notes: Vec<String> = sample.marks.iter().map(|mark| mark.to_uppercase()).collect();
    notes.extend(sample.gap.then(|| "after a gap".to_owned()));
    if !sample.missing.is_empty() {
        notes.push(format!("without {}", sample.missing.join(", ")));
    }
    notes.extend(sample.flags.iter().map(|flag| flag.replace('_', " ")));
    notes.extend(sample.late.then(|| format!("received {}", sample.received_at)));
    let line = format!("  {}  {device}{:<9}  {}  {}", sample.time, says, values.join(" "), notes.join(", "));
    writeln!(text, "{}", line.trim_end())
}

/// Eighths of a line.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

fn write_picture(text: &mut String, picture: &AlertPicture) -> std::fmt::Result {
    let numbers = || picture.means.iter().flatten().copied();
    let (least, most) =
        (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
    let bar = |mean: &Option<f64>| match mean {
        None => ' ',
        Some(_) if most <= least => BARS[3],
        Some(mean) => BARS[((mean - least) / (most - least) * 7.0).round() as usize],
    };
    let line: String = picture.means.iter().map(bar).collect();
    writeln!(
        text,
        "picture   {} from {least:.4} to {most:.4}, {} to {}",
        picture.channel, picture.from, picture.to
    )?;
    writeln!(text, "          {line}")?;
    writeln!(text, "          {}^ fired", " ".repeat(picture.fired))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_two_lines_with_the_moment_it_fired() {
        let picture = AlertPicture {
            channel: "co2".to_owned(),
            from: "2015-02-05T09:00:00Z".to_owned(),
            to: "2015-02-05T10:00:00Z".to_owned(),
            means: vec![Some(400.0), None, Some(750.0), Some(1_100.0)],
            fired: 2,
        };
        let mut text = String::new();
        write_picture(&mut text, &picture).expect("written");
        assert_eq!(
            text,
            "picture   co2 from 400.0000 to 1100.0000, 2015-02-05T09:00:00Z to 2015-02-05T10:00:00Z\n          \
             ▁ ▅█\n            ^ fired\n"
        );
    }
}
