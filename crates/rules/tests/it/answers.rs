//! The answers that must come out of the recordings, whatever happens to them on the way.

use model::{Sample, Timestamp};

use crate::consumer::Consumer;
use crate::recording::{self, samples};
use crate::rule;

/// Start, firing and end, as text; an open end is `open`.
fn episodes(body: &str, samples: Vec<Sample>) -> Vec<String> {
    let rule = rule(body);
    let consumer = Consumer::new(&rule).all(samples);
    let now = Timestamp::parse("2026-11-22T00:00:00Z").expect("a time");
    let shown = |time: Timestamp| time.to_string().replace('T', " ").trim_end_matches('Z').to_owned();
    let line = |(_, start, fired, end): (_, Timestamp, Timestamp, Option<Timestamp>)| {
        format!("{} / {} / {}", shown(start), shown(fired), end.map_or("open".to_owned(), shown))
    };
    consumer.at(now).times().into_iter().map(line).collect()
}

/// Shuffled within each day, by a rule that is the same every time.
fn shuffled_by_day(samples: &[Sample]) -> Vec<Sample> {
    let mut samples = samples.to_vec();
    let place = |sample: &Sample| {
        let mixed = (sample.time.micros() / 1_000_000).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
        (sample.time.day(), mixed)
    };
    samples.sort_by_key(place);
    samples
}

/// Every row twice; and each row as one message for each channel.
fn doubled(samples: &[Sample]) -> Vec<Sample> {
    samples.iter().flat_map(|sample| [sample.clone(), sample.clone()]).collect()
}

fn split(samples: &[Sample]) -> Vec<Sample> {
    let of = |sample: &Sample| {
        let sample = sample.clone();
        sample
            .readings
            .clone()
            .into_iter()
            .map(move |reading| Sample { readings: vec![reading], ..sample.clone() })
    };
    samples.iter().flat_map(of).collect()
}

/// Checks a rule over a recording in every manner of delivery.
fn check(body: &str, samples: &[Sample], expect: impl Fn(&[String])) {
    expect(&episodes(body, samples.to_vec()));
    expect(&episodes(body, doubled(samples)));
    expect(&episodes(body, split(samples)));
    expect(&episodes(&format!("{body}\nlateness: 24h"), shuffled_by_day(samples)));
}

/// Where the checkout has no recordings beside it, a made-up day stands in: ten minutes above, five below.
fn made_up_day() -> Vec<Sample> {
    let mut text = "date,co2\n".to_owned();
    for minute in 0..1440 {
        let co2 = if minute % 15 < 10 { 1200 } else { 800 };
        text += &format!("2015-02-05 {:02}:{:02}:00,{co2}\n", minute / 60, minute % 60);
    }
    recording::parse(&text, "office-1")
}

#[test]
fn a_made_up_day_gives_its_answers() {
    check("expr: co2 > 1000\nfor: 9m\nmax_gap: 2m", &made_up_day(), |episodes| {
        assert_eq!(episodes.len(), 96);
        assert_eq!(episodes[95], "2015-02-05 23:45:00 / 2015-02-05 23:54:00 / 2015-02-05 23:55:00");
    });
    check("expr: co2 > 1000\nfor: 10m", &made_up_day(), |episodes| assert!(episodes.is_empty()));
}

#[test]
fn the_office_gives_its_answers() {
    let Some(office) = samples("occupancy-office.csv", "office-1") else { return };
    assert_eq!(office.len(), 8143);
    let all = |expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|line| line.split(" / ").map(|time| format!("2015-{time}")).collect::<Vec<_>>().join(" / "))
            .collect();
        move |episodes: &[String]| assert_eq!(episodes, expected)
    };
    check(
        "expr: co2 > 1000\nfor: 10m\nmax_gap: 2m",
        &office,
        all(&[
            "02-05 09:35:00 / 02-05 09:45:00 / 02-05 10:37:00",
            "02-05 10:38:00 / 02-05 10:49:00 / 02-05 13:01:00",
            "02-05 14:39:59 / 02-05 14:50:00 / 02-05 17:10:59",
            "02-09 09:53:59 / 02-09 10:04:00 / 02-09 19:59:59",
        ]),
    );
    check(
        "expr: temperature > 22\nclear: temperature < 21.5\nfor: 5m\nmax_gap: 2m",
        &office,
        all(&[
            "02-04 17:51:00 / 02-04 17:57:00 / 02-04 21:34:00",
            "02-05 09:23:59 / 02-05 09:29:00 / 02-05 18:36:00",
            "02-06 14:29:00 / 02-06 14:34:00 / 02-06 18:16:59",
            "02-07 10:46:59 / 02-07 10:52:00 / 02-07 15:47:00",
            "02-09 16:14:59 / 02-09 16:20:00 / 02-09 18:39:00",
        ]),
    );
}

#[test]
fn windows_of_the_office_agree_with_an_independent_script() {
    let Some(path) = recording::path("occupancy-office.csv") else { return };
    let office = samples("occupancy-office.csv", "office-1").expect("it is there");
    for (channel, limit, count) in [("temperature", 22, 5), ("co2", 1000, 3)] {
        let script = crate::here().join("tests/it/window_answers.py");
        let python = std::env::var_os("GODWIT_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let answered = std::process::Command::new(python)
            .arg(script)
            .arg(&path)
            .args([channel, &limit.to_string(), "4", "5"])
            .output()
            .expect("python runs");
        assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
        let answers = String::from_utf8(answered.stdout).expect("text");
        let answers: Vec<String> = answers.lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), count, "{answers:?}");
        let body = format!("expr: avg({channel}, last 4) > {limit}\nstreak: 5");
        check(&body, &office, |episodes| assert_eq!(episodes, answers));
    }
    let first = episodes("expr: avg(temperature, last 4) > 22\nstreak: 5", office.clone());
    assert_eq!(first[0], "2015-02-04 17:54:00 / 2015-02-04 17:57:59 / 2015-02-04 19:43:00");
    assert_eq!(first[4], "2015-02-09 16:12:00 / 2015-02-09 16:15:59 / 2015-02-09 18:10:59");
    let first = episodes("expr: avg(co2, last 4) > 1000\nstreak: 5", office);
    assert_eq!(first[0], "2015-02-05 09:32:00 / 2015-02-05 09:36:00 / 2015-02-05 13:04:00");
}

#[test]
fn a_report_on_change_fires_though_nothing_comes() {
    let Some(office) = samples("occupancy-office.csv", "office-1") else { return };
    let mut changes: Vec<Sample> = Vec::new();
    for sample in office {
        let occupancy =
            |sample: &Sample| sample.readings.iter().find(|r| &*r.channel == "occupancy").cloned();
        let reading = occupancy(&sample).expect("every row has it");
        if changes.last().and_then(occupancy).is_none_or(|before| before.value != reading.value) {
            changes.push(Sample { readings: vec![reading], ..sample });
        }
    }
    assert_eq!(changes.len(), 41);
    check("expr: occupancy > 0\nfor: 30m\nhold: 24h", &changes, |episodes| {
        assert_eq!(episodes.len(), 10);
        assert_eq!(episodes[0], "2015-02-05 07:41:59 / 2015-02-05 08:11:59 / 2015-02-05 08:22:00");
        assert_eq!(episodes[9], "2015-02-10 08:42:00 / 2015-02-10 09:12:00 / open");
    });
    check("expr: occupancy > 0\nfor: 30m", &changes, |episodes| assert!(episodes.is_empty()));
}

#[test]
fn the_ambient_temperature_gives_its_answers() {
    let Some(ambient) = samples("ambient-temperature-failure.csv", "ambient-1") else { return };
    check("expr: value > 78\nfor: 3h\nmax_gap: 2h", &ambient, |episodes| {
        assert_eq!(episodes.len(), 8);
        assert_eq!(episodes[0], "2013-10-01 21:00:00 / 2013-10-02 00:00:00 / 2013-10-02 04:00:00");
        assert_eq!(episodes[7], "2014-01-14 02:00:00 / 2014-01-14 05:00:00 / 2014-01-14 06:00:00");
    });
}
