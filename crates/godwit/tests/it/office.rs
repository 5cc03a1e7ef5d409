//! A recording of an office, and one of a machine: the real ones where the checkout has its shared data beside it, else files that are
//! made of the answers that the real ones give.
//!
//! Not here: any test. The law: whichever it is, the same rules raise the same episodes at the same seconds; what differs is said.

use std::path::{Path, PathBuf};

use model::Timestamp;
use tempfile::TempDir;

/// Rules about it.
pub(crate) const OFFICE: &str = r#"
groups:
- name: office
  rules:
  - alert: StaleAir
    from: dt/+/telemetry
    expr: co2 > 1000
    for: 10m
    max_gap: 2m
    labels: {severity: critical}
    annotations: {summary: "{{device}}: {{co2}} ppm since {{since}}"}
  - alert: Warm
    from: dt/+/telemetry
    expr: temperature > 22
    clear: temperature < 21.5
    for: 5m
    max_gap: 2m
  - rule: hot
    sql: SELECT temperature, topic(2) AS device FROM 'dt/+/telemetry' WHERE temperature > 23.1
    actions: [{publish: "ops/hot/${device}"}]
"#;

/// Episodes of `StaleAir`: start, fired, resolved.
pub(crate) const STALE_AIR: [[&str; 3]; 4] = [
    ["2015-02-05T09:35:00Z", "2015-02-05T09:45:00Z", "2015-02-05T10:37:00Z"],
    ["2015-02-05T10:38:00Z", "2015-02-05T10:49:00Z", "2015-02-05T13:01:00Z"],
    ["2015-02-05T14:39:59Z", "2015-02-05T14:50:00Z", "2015-02-05T17:10:59Z"],
    ["2015-02-09T09:53:59Z", "2015-02-09T10:04:00Z", "2015-02-09T19:59:59Z"],
];

/// Episodes of `Warm`.
pub(crate) const WARM: [[&str; 3]; 5] = [
    ["2015-02-04T17:51:00Z", "2015-02-04T17:57:00Z", "2015-02-04T21:34:00Z"],
    ["2015-02-05T09:23:59Z", "2015-02-05T09:29:00Z", "2015-02-05T18:36:00Z"],
    ["2015-02-06T14:29:00Z", "2015-02-06T14:34:00Z", "2015-02-06T18:16:59Z"],
    ["2015-02-07T10:46:59Z", "2015-02-07T10:52:00Z", "2015-02-07T15:47:00Z"],
    ["2015-02-09T16:14:59Z", "2015-02-09T16:20:00Z", "2015-02-09T18:39:00Z"],
];

/// A file of readings. It is there as long as this is.
pub(crate) struct Recording {
    path: PathBuf,
    _made: Option<TempDir>,
}

impl Recording {
    /// 8,143 rows, one a minute, from 2015-02-04T17:51:00Z to 2015-02-10T09:33:00Z. The air is as in [`STALE_AIR`] and [`WARM`], above
    /// 1,400 ppm in some of the first, above 23.1 degrees in some of the second; `occupancy` changes forty times.
    pub(crate) fn office() -> Self {
        Self::shared("occupancy-office.csv", made_up_office)
    }

    /// A reading an hour, `value`: eight times above 78 for three hours and more.
    pub(crate) fn machine() -> Self {
        Self::shared("ambient-temperature-failure.csv", made_up_machine)
    }

    fn shared(name: &str, made_up: fn() -> String) -> Self {
        let here =
            PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where a test belongs"));
        let path = here.ancestors().nth(3).expect("beside the checkout").join("shared/data").join(name);
        if path.exists() {
            return Self { path, _made: None };
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        std::fs::write(&path, made_up()).expect("written");
        Self { path, _made: Some(dir) }
    }

    pub(crate) fn is_made_up(&self) -> bool {
        self._made.is_some()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn text(&self) -> &str {
        self.path.to_str().expect("text")
    }
}

const BEGIN: &str = "2015-02-04T17:51:00Z";
const ROWS: i64 = 8_143;
const MINUTE: i64 = 60 * Timestamp::SECOND;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

/// The minute of the recording to which a time belongs: a reading that comes a second early is that minute's.
fn minute(text: &str) -> i64 {
    (at(text).micros_since(at(BEGIN)) + Timestamp::SECOND).div_euclid(MINUTE)
}

/// Minutes whose reading comes a second early, as the answers have it: those that they name so, and where something fired a minute
/// later than it might have, the one that was a second too early for it.
fn early(episodes: &[[&str; 3]], held_minutes: i64) -> Vec<i64> {
    let named = episodes.iter().flatten().filter(|time| time.ends_with("59Z")).map(|time| minute(time));
    let short = episodes
        .iter()
        .filter(|[start, fired, _]| at(fired).micros_since(at(start)) == (held_minutes + 1) * MINUTE);
    named.chain(short.map(|[start, ..]| minute(start) + held_minutes)).collect()
}

fn made_up_office() -> String {
    let mut early = [early(&STALE_AIR, 10), early(&WARM, 5)].concat();
    // The last reading of this day.
    early.push(minute("2015-02-09T23:59:00Z"));
    let within = |episodes: &[[&str; 3]], n: i64| {
        episodes.iter().position(|[start, _, end]| (minute(start)..minute(end)).contains(&n))
    };
    let mut text = "date,Temperature,Light,CO2,Occupancy\n".to_owned();
    for n in 0..ROWS {
        let second = if early.contains(&n) { -Timestamp::SECOND } else { 0 };
        let time = at(BEGIN).plus_micros(n * MINUTE + second).to_string();
        let time = time.trim_end_matches('Z').replace('T', " ");
        let degrees = within(&WARM, n).map_or("20", |_| "23.2");
        // The second is the one that a higher limit leaves out.
        let co2 = within(&STALE_AIR, n).map_or("998", |nth| if nth == 1 { "1200" } else { "1500" });
        let hour = (17 * 60 + 51 + n) / 60 % 24;
        let light = if (8..18).contains(&hour) { "400" } else { "0" };
        // As in the real one, rows are counted in a column that has no name.
        text += &format!("\"{}\",\"{time}\",{degrees},{light},{co2},{}\n", n + 1, u8::from(is_occupied(n)));
    }
    text
}

/// For a while at the beginning; then every six hours, by turns for ten and for forty-five minutes; and from 08:42 of the last day on.
fn is_occupied(n: i64) -> bool {
    let since = n - minute("2015-02-05T06:00:00Z");
    let (nth, within) = (since.div_euclid(360), since.rem_euclid(360));
    let is_visit = (0..19).contains(&nth) && within < if nth % 2 == 1 { 45 } else { 10 };
    n < 10 || is_visit || n >= minute("2015-02-10T08:42:00Z")
}

fn made_up_machine() -> String {
    let row = |hour: i64| {
        let time = at("2013-07-04T00:00:00Z").plus_micros(hour * 60 * MINUTE).to_string();
        let value = if hour % 24 < 5 { 80 } else { 70 };
        format!("{},{value}\n", time.trim_end_matches('Z').replace('T', " "))
    };
    format!("timestamp,value\n{}", (0..8 * 24).map(row).collect::<String>())
}
