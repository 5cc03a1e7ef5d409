//! What a rule remembers of the newest samples of a key: windows, and last values.
//!
//! Not here: which argument is remembered (`expr::plan`). The law: a window's value is a function of the samples in it
//! alone. It is worked out anew each time, sums exactly: a running sum would remember what has left.

use std::collections::VecDeque;

use model::Value;

use crate::expr::{Aggregate, Counts, Extent};
use crate::limits::WINDOW_SAMPLES_MAX;
use crate::sum;
use crate::value::Scalar;

/// The values of an argument at the newest samples, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    pub(crate) extent: Extent,
    /// Time in microseconds, and value (0 for a text that is only counted).
    pub(crate) items: VecDeque<(i64, f64)>,
    /// The time of the newest value that was dropped because there was no room, though the span still had it.
    pub(crate) dropped_micros: Option<i64>,
}

impl Window {
    pub(crate) fn new(extent: Extent) -> Self {
        Self { extent, items: VecDeque::new(), dropped_micros: None }
    }

    /// Takes in the argument's value at the newest sample, if it has one, and lets go of what has left.
    pub(crate) fn push(&mut self, micros: i64, value: Option<f64>) {
        if let Some(value) = value {
            self.items.push_back((micros, value));
        }
        match self.extent {
            Extent::Samples(most) => {
                while self.items.len() > most {
                    self.items.pop_front();
                }
            }
            Extent::Span(span) => {
                let end = micros.saturating_sub(span);
                while self.items.front().is_some_and(|(time, _)| *time <= end) {
                    self.items.pop_front();
                }
                while self.items.len() > WINDOW_SAMPLES_MAX {
                    self.dropped_micros = self.items.pop_front().map(|(time, _)| time);
                }
                if self.dropped_micros.is_some_and(|time| time <= end) {
                    self.dropped_micros = None;
                }
            }
        }
    }

    /// From when on a sample that changes would change this window at `micros`.
    pub(crate) fn reach(&self, micros: i64) -> i64 {
        match self.extent {
            Extent::Span(span) => micros.saturating_sub(span).saturating_add(1),
            Extent::Samples(most) if self.items.len() == most => {
                self.items.front().map_or(i64::MIN, |(time, _)| *time)
            }
            Extent::Samples(_) => i64::MIN,
        }
    }

    /// The window's value at the newest sample; Undefined when it is empty, or has not yet the samples that it names.
    pub(crate) fn value(&self, aggregate: Aggregate, micros: i64, counts: &mut Counts) -> Scalar {
        if self.dropped_micros.is_some() {
            counts.window_full += 1;
            return Scalar::Undefined;
        }
        let is_whole = match self.extent {
            Extent::Samples(most) => self.items.len() == most,
            // Nothing was counted is an answer too.
            Extent::Span(_) => !self.items.is_empty() || aggregate == Aggregate::Count,
        };
        if !is_whole {
            return Scalar::Undefined;
        }
        match self.number(aggregate, micros) {
            None => Scalar::Undefined,
            Some(number) if number.is_finite() => Scalar::Number(number),
            Some(_) => {
                counts.not_finite += 1;
                Scalar::Undefined
            }
        }
    }

    fn number(&self, aggregate: Aggregate, micros: i64) -> Option<f64> {
        let count = self.items.len() as f64;
        let values = self.items.iter().map(|(_, value)| *value);
        Some(match aggregate {
            Aggregate::Count => count,
            Aggregate::Sum => sum::exact(values),
            Aggregate::Avg => sum::exact(values) / count,
            Aggregate::Min => values.reduce(f64::min)?,
            Aggregate::Max => values.reduce(f64::max)?,
            Aggregate::Stddev => {
                // Of the window as a whole, as Prometheus has it: divided by the count.
                let mean = sum::exact(values.clone()) / count;
                (sum::exact(values.map(|value| (value - mean) * (value - mean))) / count).sqrt()
            }
            Aggregate::Delta => self.items.back()?.1 - self.items.front()?.1,
            Aggregate::Rate => self.rate()?,
            Aggregate::Quantile(share) => quantile(values.collect(), share)?,
            Aggregate::Ewma => self.ewma(micros)?,
        })
    }

    /// Increase a second of a counter, from the first to the last value; a fall is a reset to zero.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.items.front()?.0, self.items.back()?.0);
        let increases = self
            .items
            .iter()
            .zip(self.items.iter().skip(1))
            .map(|((_, before), (_, after))| if after >= before { after - before } else { *after });
        (last > first).then(|| sum::exact(increases) / ((last - first) as f64 / 1e6))
    }

    /// The mean with weights that fall by age: over N samples by the factor 1 - 2/(N+1) a sample, over a span D by
    /// exp(-age / (D/2)), so that the mean age of the weights is half the window in both.
    fn ewma(&self, micros: i64) -> Option<f64> {
        let (mut weighted, mut weights) = (0.0, 0.0);
        match self.extent {
            Extent::Samples(most) => {
                let alpha = 2.0 / (most as f64 + 1.0);
                let mut items = self.items.iter().map(|(_, value)| *value);
                let first = items.next()?;
                return Some(items.fold(first, |mean, value| mean + alpha * (value - mean)));
            }
            Extent::Span(span) => {
                for (time, value) in &self.items {
                    let age = micros.saturating_sub(*time) as f64;
                    let weight = (-age / (span as f64 / 2.0)).exp();
                    weighted += weight * value;
                    weights += weight;
                }
            }
        }
        (weights > 0.0).then_some(weighted / weights)
    }
}

/// The value below which a share of the values lies, between two neighbours in proportion, as Prometheus has it.
fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len().checked_sub(1)?) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let (low, high) = (values[below], values[above]);
    Some(low + (high - low) * (place - place.floor()))
}

/// The newest reading of a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Last {
    pub(crate) span_micros: Option<i64>,
    pub(crate) newest: Option<(i64, Value)>,
}

impl Last {
    pub(crate) fn at(&self, micros: i64) -> Scalar {
        match &self.newest {
            Some((time, value))
                if self.span_micros.is_none_or(|span| micros.saturating_sub(*time) < span) =>
            {
                Scalar::of(value)
            }
            _ => Scalar::Undefined,
        }
    }

    /// Lets go of what is too old to count: the state is a function of what counts.
    pub(crate) fn forget(&mut self, micros: i64) {
        if !self.at(micros).is_defined() {
            self.newest = None;
        }
    }

    /// From when on a sample that changes would change this value at `micros`.
    pub(crate) fn reach(&self, micros: i64) -> i64 {
        let spanned = self.span_micros.map_or(i64::MIN, |span| micros.saturating_sub(span).saturating_add(1));
        self.newest.as_ref().map_or(spanned, |(time, _)| spanned.max(*time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(extent: Extent, items: &[(i64, f64)]) -> Window {
        let mut window = Window::new(extent);
        for (seconds, value) in items {
            window.push(seconds * 1_000_000, Some(*value));
        }
        window
    }

    fn value(window: &Window, aggregate: Aggregate) -> Option<f64> {
        let micros = window.items.back().map_or(0, |(time, _)| *time);
        window.value(aggregate, micros, &mut Counts::default()).number()
    }

    #[test]
    fn aggregates_are_what_their_names_say() {
        let span = window(Extent::Span(60_000_000), &[(0, 9.0), (30, 2.0), (60, 4.0), (80, 1.0), (89, 5.0)]);
        let check = |aggregate: Aggregate, expect: f64| {
            let number = value(&span, aggregate).expect("defined");
            assert!((number - expect).abs() < 1e-12, "{aggregate:?}: {number}, not {expect}");
        };
        // The span ends at 89 s and leaves its older end out: the value of 0 s has left.
        check(Aggregate::Count, 4.0);
        check(Aggregate::Sum, 12.0);
        check(Aggregate::Avg, 3.0);
        check(Aggregate::Min, 1.0);
        check(Aggregate::Max, 5.0);
        check(Aggregate::Stddev, 2.5f64.sqrt());
        check(Aggregate::Delta, 3.0);
        // 2 -> 4 is 2, then a reset to 1, then 4: 7 in 59 s.
        check(Aggregate::Rate, 7.0 / 59.0);
        check(Aggregate::Quantile(0.5), 3.0);
        check(Aggregate::Quantile(1.0), 5.0);
        let three = window(Extent::Samples(3), &[(0, 9.0), (1, 2.0), (2, 4.0), (3, 8.0)]);
        assert_eq!(value(&three, Aggregate::Ewma), Some(5.5));
    }

    #[test]
    fn a_window_that_is_not_whole_is_undefined() {
        let two = window(Extent::Samples(3), &[(0, 1.0), (1, 2.0)]);
        assert_eq!(value(&two, Aggregate::Avg), None);
        let none = window(Extent::Span(5), &[]);
        assert_eq!(value(&none, Aggregate::Avg), None);
        assert_eq!(value(&none, Aggregate::Count), Some(0.0));
        let one = window(Extent::Span(5_000_000), &[(3, 1.0)]);
        assert_eq!(value(&one, Aggregate::Rate), None);
    }

    #[test]
    fn a_window_that_is_too_full_says_so_until_it_is_whole_again() {
        let span = i64::try_from(WINDOW_SAMPLES_MAX).expect("small");
        let mut window = Window::new(Extent::Span(2 * span));
        for time in 0..=span {
            window.push(time, Some(1.0));
        }
        let mut counts = Counts::default();
        assert_eq!(window.value(Aggregate::Sum, span, &mut counts), Scalar::Undefined);
        assert_eq!(counts.window_full, 1);
        window.push(2 * span, None);
        assert!(window.value(Aggregate::Sum, 2 * span, &mut counts).is_defined());
    }
}
