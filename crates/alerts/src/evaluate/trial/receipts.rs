//! Receipts of one device's day in the order in which they came: silence is about receipt, and readings come by their own time.
//!
//! Not here: silence (`rules`). The laws: what was received on a later day is heard on that day, whatever day it is of; what
//! waits is bounded, for of receipts that follow each other within a minute two say it.

use hashbrown::HashMap;
use model::{DeviceName, Timestamp};
use rules::INTERVAL_MICROS_MIN;

/// Receipts that are all kept: of a device's day, and of days to come. 16 bytes each.
const KEPT_MAX: usize = 3_000_000;

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
    /// With so many of a day they are thinned out.
    of_day_max: usize,
}

impl Default for Receipts {
    fn default() -> Self {
        Self::keeping(KEPT_MAX)
    }
}

impl Receipts {
    fn keeping(most: usize) -> Self {
        Self {
            device: None,
            day: 0,
            of_day: Vec::new(),
            later: HashMap::new(),
            waiting: 0,
            most,
            of_day_max: most,
        }
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
        if self.of_day.len() >= self.of_day_max {
            self.of_day.sort_unstable();
            thin_out(&mut self.of_day);
            // Thinned out again when half of it is new: a day in which something comes each minute is kept.
            self.of_day_max = self.most.max(self.of_day.len() * 2);
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
        let mut later = self.of_day.split_off(heard);
        if self.waiting + later.len() > self.most {
            thin_out(&mut later);
        }
        if !later.is_empty() {
            self.waiting += later.len();
            self.later.insert(device, later);
        }
        self.of_day.clear();
        self.of_day_max = self.most;
    }

    /// Hands out all that is left.
    pub(super) fn end(mut self, hear: &mut dyn FnMut(&DeviceName, Receipt)) {
        self.end_day(hear);
        for (device, receipts) in self.later {
            receipts.into_iter().for_each(|receipt| hear(&device, receipt));
        }
    }
}

/// Of receipts in their order that follow each other within a minute only the first and the last stay.
fn thin_out(receipts: &mut Vec<Receipt>) {
    let mut kept: Vec<Receipt> = Vec::new();
    for receipt in receipts.drain(..) {
        match kept.last_chunk_mut::<2>() {
            Some([first, last]) if receipt.0.micros_since(first.0) < INTERVAL_MICROS_MIN => *last = receipt,
            _ => kept.push(receipt),
        }
    }
    *receipts = kept;
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

    #[test]
    fn of_a_device_that_says_much_a_day_is_kept_by_the_minute() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * Timestamp::SECOND);
        let device = DeviceName::parse("a").expect("a name");
        let (mut heard, mut most) = (Vec::new(), 0);
        let mut receipts = Receipts::keeping(100);
        for second in 0..86_400 {
            let mut hear = |_: &DeviceName, (received, _): Receipt| heard.push(received);
            receipts.take(&device, (at(second), at(second)), &mut hear);
            most = most.max(receipts.of_day.len());
        }
        receipts.end(&mut |_, (received, _)| heard.push(received));
        assert!(most < 4 * 2 * 1_440, "{most} were held");
        assert_eq!((heard.first(), heard.last()), (Some(&at(0)), Some(&at(86_399))));
        assert!(heard.windows(2).all(|pair| pair[1].micros_since(pair[0]) <= INTERVAL_MICROS_MIN));
    }
}
