//! Recordings as samples: the shared CSV files, read as `godwit replay` reads them.

use std::path::PathBuf;

use model::{ChannelName, DeviceName, Flags, Reading, Sample, Timestamp, Value};

/// A file of the shared recordings, where the checkout has them beside it.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let here = crate::here();
    let path = here.ancestors().nth(3).expect("beside the checkout").join("shared/data").join(name);
    path.exists().then_some(path)
}

/// The rows of a recording as samples of `device`.
pub(crate) fn samples(name: &str, device: &str) -> Option<Vec<Sample>> {
    let text = std::fs::read_to_string(path(name)?).expect("the recording reads");
    Some(parse(&text, device))
}

pub(crate) fn parse(text: &str, device: &str) -> Vec<Sample> {
    let device = DeviceName::parse(device.to_owned()).expect("a name");
    let mut lines = text.lines().map(|line| line.replace('"', ""));
    let header = lines.next().expect("a header").to_lowercase();
    let names: Vec<&str> = header.split(',').collect();
    lines.map(|line| sample(&device, &names, &line)).collect()
}

fn sample(device: &DeviceName, names: &[&str], line: &str) -> Sample {
    let cells: Vec<&str> = line.split(',').collect();
    // An unnamed first column: the rows have one cell more than the header.
    let cells = &cells[cells.len() - names.len()..];
    let time = Timestamp::parse(&format!("{}Z", cells[0])).expect("a time");
    let reading = |(name, cell): (&&str, &&str)| Reading {
        channel: ChannelName::parse((*name).to_owned()).expect("a name"),
        value: Value::Number(cell.parse().expect("a number")),
    };
    let readings = names.iter().zip(cells).skip(1).map(reading).collect();
    Sample { device: device.clone(), time, flags: Flags::empty(), readings }
}
