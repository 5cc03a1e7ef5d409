//! Samples as they were measured, from messages as they came.
//!
//! Not here: which came when. The law: what the store does: order by time and device, what is of one time and device is one
//! sample, of two readings of one channel the later message's wins.

use model::Sample;

/// Samples of messages, in the order of arrival, as samples in (time, device) order.
#[must_use]
pub fn in_order(mut messages: Vec<Sample>) -> Vec<Sample> {
    // Stable: of equals the one that came later stays later.
    messages.sort_by(|a, b| (a.time, &a.device).cmp(&(b.time, &b.device)));
    let mut samples: Vec<Sample> = Vec::with_capacity(messages.len());
    for message in messages {
        match samples.last_mut().filter(|last| last.time == message.time && last.device == message.device) {
            Some(last) => {
                for reading in message.readings {
                    match last.readings.iter_mut().find(|known| known.channel == reading.channel) {
                        Some(known) => known.value = reading.value,
                        None => last.readings.push(reading),
                    }
                }
            }
            None => samples.push(message),
        }
    }
    samples
}
