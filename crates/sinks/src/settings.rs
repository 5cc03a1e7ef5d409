//! The `[sinks]` section. Data only.

use std::time::Duration;

use serde::Deserialize;

/// The `[sinks]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a message waits for a receiver that does not take it, counted from its receipt; the journal keeps it so long
    /// although age or size would drop it. Then it is a dead letter. Default: 24 hours.
    #[serde(with = "humantime_serde")]
    pub hold: Duration,
    /// Longest time that a receiver may take to answer. Default: 10 seconds.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The wait before the first further attempt; it doubles with each. Default: 500 milliseconds.
    #[serde(with = "humantime_serde")]
    pub retry_min: Duration,
    /// The longest wait between attempts, unless the receiver asks for a longer one. Default: 1 minute.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(86_400),
            timeout: Duration::from_secs(10),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_an_unknown_key_is_refused() {
        assert_eq!(toml::from_str::<Settings>("").expect("valid"), Settings::default());
        assert!(toml::from_str::<Settings>("holt = \"1h\"").is_err());
    }
}
