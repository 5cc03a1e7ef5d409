//! What an operator may move. Data only; the parts that obey it are elsewhere.

use std::time::Duration;

use serde::Deserialize;

/// The `[journal]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long messages are kept before their segment may be dropped. Consumers that have not come so far hold
    /// it longer. Default: 7 days.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    /// Most bytes that the journal may use. Above 90 % of it the oldest segments that nobody holds are dropped
    /// before their age; when that does not help, messages are refused. Default: 60 % of the volume's size.
    pub bytes_max: Option<u64>,
    /// Longest time, in milliseconds, that messages wait to be synced together with others. The journal never
    /// waits when it is idle, and never longer than the last sync took. Default: 2.
    pub sync_wait_ms: u32,
    /// Bytes after which a segment file is sealed and the next begun: what retention drops at once.
    /// Default: 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of memory for the messages that readers get who keep up. Default: 32 MiB.
    pub tap_bytes: usize,
    /// Bytes of messages that may wait for the writer before the doors must wait. Default: 16 MiB; one message
    /// is always taken.
    pub queue_bytes: usize,
    /// Message ids remembered per device, by which a repeat is known. Default: 256.
    pub ids_per_device: usize,
    /// Message ids remembered over all devices. Default: 262,144 (some 25 MB).
    pub ids_max: usize,
    /// How long a message id is remembered. Default: 24 hours.
    #[serde(with = "humantime_serde")]
    pub ids_keep: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(7 * 86_400),
            bytes_max: None,
            sync_wait_ms: 2,
            segment_bytes: 64 * 1024 * 1024,
            tap_bytes: 32 * 1024 * 1024,
            queue_bytes: 16 * 1024 * 1024,
            ids_per_device: 256,
            ids_max: 262_144,
            ids_keep: Duration::from_secs(86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_an_unknown_key_is_refused() {
        assert_eq!(toml::from_str::<Settings>("").expect("valid"), Settings::default());
        let moved: Settings = toml::from_str("keep = \"2d\"\nsync_wait_ms = 5").expect("valid");
        assert_eq!((moved.keep, moved.sync_wait_ms), (Duration::from_secs(2 * 86_400), 5));
        let refused = toml::from_str::<Settings>("kep = \"2d\"").expect_err("refused").to_string();
        assert!(refused.contains("unknown field `kep`"), "{refused}");
    }
}
