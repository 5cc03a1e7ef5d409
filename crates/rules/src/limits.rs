//! What a rule may cost: known before it runs, refused when it is too much.
//!
//! Not here: what it does cost. The law: memory is judged for the fleet there is, with both numbers in the refusal.

use model::Timestamp;

use crate::duration;
use crate::expr::Extent;

/// Most readings that one window of one key holds; what is beyond makes its value Undefined.
pub const WINDOW_SAMPLES_MAX: usize = 65_536;

/// What a reading takes in a window: its time and its value.
const READING_BYTES: u64 = 16;

/// The fleet that rules are judged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many devices there are, or will be. Default: 10,000.
    pub devices: u64,
    /// How often a device is taken to report, in microseconds. Default: a minute.
    pub interval_micros: i64,
    /// Most memory for one window over all devices, in bytes. Default: 1 GiB.
    pub window_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { devices: 10_000, interval_micros: 60 * Timestamp::SECOND, window_bytes_max: 1 << 30 }
    }
}

impl Limits {
    /// Refuses a window that would need too much, with what it would need.
    pub(crate) fn allows(&self, extent: Extent) -> Result<(), String> {
        let samples = match extent {
            Extent::Samples(samples) => samples as u64,
            Extent::Span(micros) => u64::try_from(micros / self.interval_micros.max(1)).unwrap_or(0).max(1),
        };
        let bytes = samples.saturating_mul(READING_BYTES).saturating_mul(self.devices.max(1));
        let per_device = match extent {
            Extent::Samples(samples) => format!("{samples} readings of a device"),
            Extent::Span(_) => {
                let interval = duration::shown(self.interval_micros);
                format!("{samples} readings of a device that reports every {interval}")
            }
        };
        if bytes > self.window_bytes_max {
            let (needed, allowed) = (bytes_shown(bytes), bytes_shown(self.window_bytes_max));
            let devices = self.devices;
            return Err(format!(
                "would hold {per_device}: {needed} of memory over {devices} devices; the most is {allowed}"
            ));
        }
        if samples > WINDOW_SAMPLES_MAX as u64 {
            return Err(format!("would hold {per_device}; the most is {WINDOW_SAMPLES_MAX}"));
        }
        Ok(())
    }
}

fn bytes_shown(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    if unit == 0 || number >= 100.0 {
        format!("{number:.0} {}", units[unit])
    } else {
        format!("{number:.1} {}", units[unit])
    }
}
