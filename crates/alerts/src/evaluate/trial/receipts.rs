//! Receipts of one device's day in the order in which they came: silence is about receipt, and readings come by their own time.
//!
//! Not here: silence (`rules`). The laws: what was received on a later day is heard on that day, whatever day it is of; what
//! waits is bounded, for of receipts that follow each other within a minute one says it.

use hashbrown::HashMap;
use model::{DeviceName, Timestamp};
use rules::INTERVAL_MICROS_MIN;

/// Receipts of days to come that are all kept. 16 bytes each.
const LATER_MAX: usize = 3_000_000;

/// When something was received, and when it was measured.
pub(super) type Receipt = (Timestamp, Timestamp);

pub(super) struct Receipts {
    /// Whose day it is, and which.
    device: Option<DeviceName>,
    day: i64,
    of_day: Vec<Receipt>,
    /// Those of days to come, and how many they are.
    later: HashMap<DeviceName, Vec<Receipt>>,
    waiting: usize,
    most: usize,
}

impl Default for Receipts {
    fn default() -> Self {
        Self::keeping(LATER_MAX)
    }
}

impl Receipts {
    fn keeping(most: usize) -> Self {
        Self { device: None, day: 0, of_day: Vec::new(), later: HashMap::new(), waiting: 0, most }
    }

    /// Takes one in; hands out those of the day before, when it is of another day or device.
    pub(super) fn take(
        &mut self,
        device: &DeviceName,
        receipt: Receipt,
        hear: &mut dyn FnMut(&DeviceName, Receipt),
    ) {
        let day = receipt.1.day();
        if self.device.as_ref() != Some(device) || self.day != day {
            self.end_day(hear);
            (self.device, self.day) = (Some(device.clone()), day);
        }
        self.of_day.push(receipt);
    }

    /// Hands out what was received up to the day that is at hand.
    fn end_day(&mut self, hear: &mut dyn FnMut(&DeviceName, Receipt)) {
        let Some(device) = self.device.take() else { return };
        let waited = self.later.remove(&device).unwrap_or_default();
        self.waiting -= waited.len();
        self.of_day.extend(waited);
        // Of one receipt the order of the readings' times teaches the interval.
        self.of_day.sort_unstable();
        let heard = self.of_day.partition_point(|(received, _)| received.day() <= self.day);
        self.of_day[..heard].iter().for_each(|receipt| hear(&device, *receipt));
        let mut later: Vec<Receipt> = Vec::new();
        for receipt in &self.of_day[heard..] {
            let is_full = self.waiting + later.len() >= self.most;
            match later.last_chunk_mut::<2>() {
                Some([first, last]) if is_full && receipt.0.micros_since(first.0) < INTERVAL_MICROS_MIN => {
                    *last = *receipt;
                }
                _ => later.push(*receipt),
            }
        }
        if !later.is_empty() {
            self.waiting += later.len();
            self.later.insert(device, later);
        }
        self.of_day.clear();
    }

    /// Hands out all that is left.
    pub(super) fn end(mut self, hear: &mut dyn FnMut(&DeviceName, Receipt)) {
        self.end_day(hear);
        for (device, receipts) in self.later {
            receipts.into_iter().for_each(|receipt| hear(&device, receipt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_later_is_heard_later() {
        let at = |hours: i64| Timestamp::from_micros(hours * 3_600 * Timestamp::SECOND);
        let [a, b] = ["a", "b"].map(|name| DeviceName::parse(name).expect("a name"));
        let mut heard = Vec::new();
        let mut hear = |device: &DeviceName, (received, _): Receipt| {
            heard.push((device.to_string(), received.micros_since(at(0)) / 3_600_000_000));
        };
        let mut receipts = Receipts::default();
        // The first day: at 2 it was offline until 50; at 4 live again by another way.
        for (device, received, time) in [(&a, 1, 1), (&a, 50, 2), (&a, 50, 3), (&a, 4, 4), (&b, 7, 7)] {
            receipts.take(device, (at(received), at(time)), &mut hear);
        }
        // The second day, then the third.
        receipts.take(&a, (at(30), at(30)), &mut hear);
        receipts.take(&a, (at(60), at(60)), &mut hear);
        receipts.take(&b, (at(80), at(61)), &mut hear);
        receipts.end(&mut hear);
        let of = |name: &str| -> Vec<i64> {
            heard.iter().filter(|(device, _)| device == name).map(|(_, hours)| *hours).collect()
        };
        assert_eq!(of("a"), [1, 4, 30, 50, 50, 60]);
        assert_eq!(of("b"), [7, 80]);
    }
    #[test]
    fn where_too_much_waits_the_first_and_the_last_of_a_minute_say_it() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * Timestamp::SECOND);
        let device = DeviceName::parse("a").expect("a name");
        let heard = |most: usize| {
            let mut heard = Vec::new();
            let mut hear = |_: &DeviceName, (received, _): Receipt| heard.push(received);
            let mut receipts = Receipts::keeping(most);
            // Two days late, ten within ten seconds, then one an hour later.
            let late = (0..10).chain([3_600]).map(|second| at(200_000 + second));
            late.enumerate()
                .for_each(|(nth, received)| receipts.take(&device, (received, at(nth as i64)), &mut hear));
            receipts.end(&mut hear);
            heard
        };
        assert_eq!(heard(100).len(), 11);
        assert_eq!(heard(0), [at(200_000), at(200_009), at(203_600)]);
    }
}
