//! The `[series]` section. Data only; the parts that obey it are elsewhere.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// The `[series]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long raw readings are kept, counted from the later of their time and their receipt. Default: no limit of
    /// age; [`Self::disk_budget`] alone bounds them.
    #[serde(deserialize_with = "optional_duration")]
    pub keep: Option<Duration>,
    /// Most bytes that Godwit's own files may use, the journal included: `80%` of the volume's size (the default) or
    /// a number of bytes such as `"200GB"`. Beyond it the oldest raw readings are dropped.
    pub disk_budget: Budget,
    /// Readings gathered in memory before they are written as column files. Default: 500,000 (some 40 MB; up to
    /// twice that while a file is written).
    pub memory_readings: usize,
    /// Bytes of text readings gathered in memory before all are written as column files. Default: 64 MiB.
    pub memory_text_bytes: usize,
    /// Longest time that readings are in memory only (they are in the journal too). Default: 10 minutes.
    #[serde(with = "humantime_serde")]
    pub flush_after: Duration,
    /// Whether what is written here is encrypted. Default: yes. Files of before a change stay as they are until they are
    /// merged.
    pub encrypt: bool,
    /// Most channels of one device. Readings of further ones are not stored as columns (their messages stay in the
    /// journal), counted and named by `godwit doctor`. Default: 10,000.
    pub channels_per_device: usize,
    /// Threads that answer queries, all of low priority. Default: one per core.
    pub query_threads: Option<usize>,
    /// What one query may use at most.
    pub query: QueryLimits,
    /// Where old readings go.
    pub remote: RemoteSettings,
    /// Ages by channel and device; the first that matches a reading counts, and without one [`Self::keep`].
    pub retention: Vec<RetentionSettings>,
    /// Where the readings are from: the `[site]` section, which is joined to this one by whoever reads the file.
    #[serde(skip)]
    pub site: SiteSettings,
}

/// `[[series.retention]]`: how long readings of some channels are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Channels; `*` is any run of characters. Default: all.
    #[serde(default = "every")]
    pub channel: String,
    /// Devices; `*` is any run of characters. Default: all.
    #[serde(default = "every")]
    pub device: String,
    /// How long, counted from the later of time and receipt of the newest reading of the same file.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
}

fn every() -> String {
    "*".to_owned()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep: None,
            disk_budget: Budget::default(),
            memory_readings: 500_000,
            memory_text_bytes: 64 << 20,
            flush_after: Duration::from_secs(600),
            encrypt: true,
            channels_per_device: 10_000,
            query_threads: None,
            query: QueryLimits::default(),
            remote: RemoteSettings::default(),
            retention: Vec::new(),
            site: SiteSettings::default(),
        }
    }
}

/// `[series.remote]`: an object store for column files that are old.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteSettings {
    /// `s3://bucket/prefix`, or `file:///a/directory`. Default: none, everything stays on the volume.
    pub url: Option<String>,
    /// Files whose newest reading, by the later of its time and its receipt, is older than this move. Default: 30 days.
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    /// Address of the S3 service, such as `https://minio.local:9000`. Default: the one of AWS.
    pub endpoint: Option<String>,
    /// Its region. Default: `AWS_REGION` of the environment, else `us-east-1`.
    pub region: Option<String>,
    /// Access key. Default: `AWS_ACCESS_KEY_ID` of the environment.
    pub access_key: Option<String>,
    /// Secret of the access key. Default: `AWS_SECRET_ACCESS_KEY` of the environment.
    pub secret_key: Option<Secret>,
    /// Longest time until the store answers one call; long ones get a second more for each 100 kB. Default: 10 seconds.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Bytes of remote files that are kept in memory. Default: 64 MiB.
    pub cache_bytes: usize,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            url: None,
            after: Duration::from_secs(30 * 86_400),
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            timeout: Duration::from_secs(10),
            cache_bytes: 64 << 20,
        }
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The `[site]` section: where the readings are from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SiteSettings {
    /// Time zone that `day`, `hour` and `time_bucket` mean where none is named, a name of the IANA database. Default:
    /// `UTC`.
    #[serde(deserialize_with = "zone_name")]
    pub zone: String,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self { zone: "UTC".to_owned() }
    }
}

fn zone_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    match crate::query::functions::zone(&name) {
        Ok(_) => Ok(name),
        Err(said) => Err(serde::de::Error::custom(said)),
    }
}

/// What one query may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryLimits {
    /// Longest time until the last row. Default: 60 seconds.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
    /// Most bytes that sorting, grouping and joining may hold. Default: 256 MiB.
    pub memory_bytes: usize,
    /// Most rows of an answer. Default: 10,000,000.
    pub rows: usize,
    /// Whether means, sums, least, greatest and counts of readings are answered from rollups where that is exact.
    /// Default: true.
    pub rollups: bool,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), memory_bytes: 256 << 20, rows: 10_000_000, rollups: true }
    }
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    humantime_serde::deserialize(from)
}

/// A bound on disk use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Hundredths of the volume's size.
    Percent(u8),
    /// A number of bytes.
    Bytes(u64),
}

impl Default for Budget {
    fn default() -> Self {
        Self::Percent(80)
    }
}

impl Budget {
    /// The bound in bytes, on a volume of `total` bytes.
    #[must_use]
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Percent(percent) => total / 100 * u64::from(percent),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// From how many bytes on a word is said: seven eighths of the bound, which is 70 % of the volume by default.
    #[must_use]
    pub fn warning_bytes(self, total: u64) -> u64 {
        self.bytes(total) / 8 * 7
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => write!(f, "{bytes}B"),
        }
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write a share such as `80%` or bytes such as `200GB`");
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().map_err(|_| wrong())?;
            return if (1..=100).contains(&percent) { Ok(Self::Percent(percent)) } else { Err(wrong()) };
        }
        let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(Self::Bytes).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_or_a_number_of_bytes() {
        let check = |text: &str, budget: Option<Budget>| assert_eq!(text.parse().ok(), budget, "{text}");
        check("80%", Some(Budget::Percent(80)));
        check("0%", None);
        check("101%", None);
        check("200GB", Some(Budget::Bytes(200_000_000_000)));
        check("4 GiB", Some(Budget::Bytes(4 << 30)));
        check("17", Some(Budget::Bytes(17)));
        check("much", None);
        check("99999999999TB", None);
        assert_eq!(Budget::Percent(80).bytes(1_000), 800);
    }
}
