//! Named times of the week and year, in Alertmanager's words, in which routes are mute or active.
//!
//! Not here: what a route does with them. The laws: a moment is judged in the interval's own `location`; an entry holds
//! when all that it names holds; an interval holds when one of its entries does; ranges of times end before their end.

use jiff::tz::TimeZone;
use model::Timestamp;

use super::problem::Problems;
use super::section::Section;
use super::yaml::Node;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A named interval.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    pub(crate) name: String,
    entries: Vec<Entry>,
}

/// Each list: nothing named means always.
#[derive(Debug, Clone)]
struct Entry {
    /// Minutes of the day.
    times: Vec<(i64, i64)>,
    weekdays: Vec<(i64, i64)>,
    days: Vec<(i64, i64)>,
    months: Vec<(i64, i64)>,
    years: Vec<(i64, i64)>,
    zone: TimeZone,
}

impl Interval {
    pub(crate) fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut section = Section::of(node, path, problems)?;
        let name = section.text("name", problems);
        if name.is_none() {
            problems.say(section.place, format!("`{path}` has no `name`"));
        }
        let entries = section.list("time_intervals", problems);
        let entries = entries.iter().enumerate();
        let entries = entries
            .filter_map(|(at, node)| Entry::read(node, &format!("{path}.time_intervals[{at}]"), problems));
        let entries = entries.collect();
        section.finish(&[], problems);
        Some(Self { name: name?, entries })
    }

    /// Whether it holds at this time.
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        self.entries.iter().any(|entry| entry.holds(at))
    }
}

impl Entry {
    fn read(node: &Node, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut section = Section::of(node, path, problems)?;
        let mut times = Vec::new();
        for (at, node) in section.list("times", problems).iter().enumerate() {
            let path = format!("{path}.times[{at}]");
            let Some(mut range) = Section::of(node, path.as_str(), problems) else { continue };
            let (start, end) = (range.text("start_time", problems), range.text("end_time", problems));
            let minutes = (start.as_deref().and_then(minute), end.as_deref().and_then(minute));
            match minutes {
                (Some(start), Some(end)) if start < end => times.push((start, end)),
                _ => problems.advise(
                    node.place,
                    format!("`{path}` must have `start_time` before `end_time`, as in '09:00' and '17:30'"),
                    "a night is two ranges: '22:00' to '24:00' and '00:00' to '06:00'",
                ),
            }
            range.finish(&[], problems);
        }
        let named = |names: &'static [&'static str], from: i64| {
            move |text: &str| {
                let name = names.iter().position(|name| name.eq_ignore_ascii_case(text));
                name.map(|at| at as i64 + from).or_else(|| {
                    let number: i64 = text.parse().ok()?;
                    (from == 1 && (1..=names.len() as i64).contains(&number)).then_some(number)
                })
            }
        };
        let day = |text: &str| text.parse().ok().filter(|day: &i64| (1..=31).contains(&day.abs()));
        let year = |text: &str| text.parse().ok().filter(|year| (1970..=9999).contains(year));
        let weekdays = ranges(&mut section, "weekdays", "'monday:friday'", &named(&WEEKDAYS, 0), problems);
        let days = ranges(&mut section, "days_of_month", "'1:5' or '-3:-1'", &day, problems);
        let months = ranges(&mut section, "months", "'1:3' or 'may:august'", &named(&MONTHS, 1), problems);
        let years = ranges(&mut section, "years", "'2026:2027'", &year, problems);
        let location = section.text("location", problems).unwrap_or_else(|| "UTC".to_owned());
        let zone = TimeZone::get(&location).unwrap_or_else(|_| {
            let wrong = format!("`{path}.location`: `{location}` is no time zone, as `Europe/Berlin` is one");
            problems.say(section.place_of("location"), wrong);
            TimeZone::UTC
        });
        section.finish(&[], problems);
        Some(Self { times, weekdays, days, months, years, zone })
    }

    fn holds(&self, at: Timestamp) -> bool {
        let Ok(at) = jiff::Timestamp::from_microsecond(at.micros()) else { return false };
        let local = at.to_zoned(self.zone.clone());
        let within = |ranges: &[(i64, i64)], value: i64| {
            ranges.is_empty() || ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
        };
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let times =
            self.times.is_empty() || self.times.iter().any(|(from, to)| (*from..*to).contains(&minute));
        let last = i64::from(local.days_in_month());
        let day = |named: i64| if named < 0 { last + 1 + named } else { named };
        let days: Vec<_> = self.days.iter().map(|(from, to)| (day(*from), day(*to).min(last))).collect();
        times
            && within(&self.weekdays, i64::from(local.weekday().to_sunday_zero_offset()))
            && within(&days, i64::from(local.day()))
            && within(&self.months, i64::from(local.month()))
            && within(&self.years, i64::from(local.year()))
    }
}

/// Reads `a` or `a:b`, both ends within.
fn ranges(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    read: &dyn Fn(&str) -> Option<i64>,
    problems: &mut Problems,
) -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    for (place, text) in section.texts(key, problems) {
        let (from, to) = text.split_once(':').unwrap_or((&text, &text));
        match (read(from.trim()), read(to.trim())) {
            // From the end of the month and from its beginning cannot be compared without the month.
            (Some(from), Some(to)) if from <= to || (from > 0) != (to > 0) => found.push((from, to)),
            _ => problems.say(place, format!("`{}.{key}`: `{text}` must read like {example}", section.path)),
        }
    }
    found
}

/// `HH:MM` as minutes of the day, up to `24:00`.
fn minute(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let plain = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(hour) || !plain(minute) {
        return None;
    }
    let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= 24 * 60).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(text: &str) -> Result<Interval, String> {
        let node = Node::parse(text).expect("YAML");
        let mut problems = Problems::default();
        let interval = Interval::read(&node, "time_intervals[0]", &mut problems);
        problems.or("test", interval).map_err(|error| error.to_string())
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn an_interval_is_judged_in_its_own_zone() {
        let office = interval(
            "name: office\ntime_intervals:\n- times: [{start_time: '09:00', end_time: '17:00'}]\n  weekdays: ['monday:friday']\n  location: Europe/Berlin\n",
        )
        .expect("an interval");
        // Berlin is two hours ahead in summer, one in winter.
        assert!(office.holds(at("2026-07-06T07:00:00Z")));
        assert!(!office.holds(at("2026-07-06T06:59:59Z")));
        assert!(!office.holds(at("2026-07-06T15:00:00Z")));
        assert!(!office.holds(at("2026-01-05T07:30:00Z")));
        assert!(office.holds(at("2026-01-05T08:30:00Z")));
        assert!(!office.holds(at("2026-07-05T10:00:00Z")), "a Sunday");
    }

    #[test]
    fn days_are_counted_from_either_end_of_the_month() {
        let end = interval(
            "name: end\ntime_intervals:\n- days_of_month: ['-2:-1']\n  months: ['february:march']\n",
        );
        let end = end.expect("an interval");
        for (time, wanted) in [
            ("2026-02-26T12:00:00Z", false),
            ("2026-02-27T12:00:00Z", true),
            ("2026-02-28T12:00:00Z", true),
            ("2028-02-27T12:00:00Z", false),
            ("2028-02-29T12:00:00Z", true),
            ("2026-04-30T12:00:00Z", false),
        ] {
            assert_eq!(end.holds(at(time)), wanted, "{time}");
        }
    }

    #[test]
    fn what_is_no_interval_is_refused_with_what_would_be_right() {
        for (text, said) in [
            (
                "name: a\ntime_intervals:\n- times: [{start_time: '22:00', end_time: '06:00'}]\n",
                "a night is two ranges",
            ),
            ("name: a\ntime_intervals:\n- weekdays: ['mon']\n", "'monday:friday'"),
            ("name: a\ntime_intervals:\n- months: ['13']\n", "'may:august'"),
            ("name: a\ntime_intervals:\n- location: Mars/Olympus\n", "no time zone"),
            ("time_intervals: []\n", "has no `name`"),
            ("name: a\ntime_interval: []\n", "did you mean `time_intervals`?"),
        ] {
            let error = interval(text).expect_err(text);
            assert!(error.contains(said), "{error}");
        }
    }
}
