//! A channel over the time of an episode, small enough for a line of text.
//!
//! Not here: how it is drawn. The law: it is made of all samples, also of those that are not shown one by one.

use model::{ChannelName, Sample, Timestamp};

/// How many stretches of time it has.
const STRETCHES: usize = 60;

/// A channel over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Which channel.
    pub channel: ChannelName,
    /// Where it begins: some time before the start.
    pub from: Timestamp,
    /// Where it ends.
    pub to: Timestamp,
    /// In which stretch the episode fired.
    pub fired: usize,
    sums: Vec<(f64, u32)>,
}

impl Picture {
    /// Of an episode.
    pub(super) fn new(channel: &ChannelName, start: Timestamp, fired_at: Timestamp, end: Timestamp) -> Self {
        let lead = end.micros_since(start) / 10;
        let (from, to) = (start.plus_micros(-lead), end);
        let mut picture =
            Self { channel: channel.clone(), from, to, fired: 0, sums: vec![(0.0, 0); STRETCHES] };
        picture.fired = picture.stretch(fired_at).unwrap_or(0);
        picture
    }

    fn stretch(&self, time: Timestamp) -> Option<usize> {
        let (at, all) = (time.micros_since(self.from), self.to.micros_since(self.from).max(1));
        let is_within = (0..=all).contains(&at);
        let stretch = i128::from(at) * STRETCHES as i128 / i128::from(all);
        is_within.then(|| usize::try_from(stretch).unwrap_or(0).min(STRETCHES - 1))
    }

    pub(super) fn put(&mut self, sample: &Sample) {
        let of_channel = sample.readings.iter().find(|reading| reading.channel == self.channel);
        let value = of_channel.and_then(|reading| reading.value.number());
        if let (Some(value), Some(stretch)) = (value, self.stretch(sample.time)) {
            let (sum, count) = &mut self.sums[stretch];
            *sum += value;
            *count += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sums.iter().all(|(_, count)| *count == 0)
    }

    /// The mean of each stretch of time; `None` where there was no number.
    #[must_use]
    pub fn means(&self) -> Vec<Option<f64>> {
        let mean = |(sum, count): &(f64, u32)| (*count > 0).then(|| sum / f64::from(*count));
        self.sums.iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::{DeviceName, Flags, Reading, Value};

    use super::*;

    #[test]
    fn a_picture_has_the_mean_of_each_stretch_and_where_it_fired() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * Timestamp::SECOND);
        let channel = ChannelName::parse("x").expect("a name");
        let mut picture = Picture::new(&channel, at(1_000), at(1_500), at(2_000));
        assert_eq!((picture.from, picture.to, picture.fired), (at(900), at(2_000), 32));
        for (second, value) in [(899, 9.0), (900, 1.0), (901, 3.0), (2_000, 7.0), (2_001, 9.0)] {
            let readings = vec![Reading { channel: channel.clone(), value: Value::Number(value) }];
            let device = DeviceName::parse("a").expect("a name");
            picture.put(&Sample { device, time: at(second), flags: Flags::empty(), readings });
        }
        let means = picture.means();
        assert_eq!((means[0], means[1], means[59], means.len()), (Some(2.0), None, Some(7.0), 60));
    }
}
