//! `[[export]]`: a folder or bucket that is kept up to date.

use std::time::Duration;

use serde::Deserialize;

use super::{Access, FileFormat};

/// One `[[export]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSettings {
    /// A folder, or `s3://bucket/prefix`.
    pub to: String,
    /// How often it is looked for what is new. Default: 1 hour.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// Parquet, CSV or JSON lines. Default: `parquet`.
    pub format: FileFormat,
    /// How long after its end a day counts as finished. Default: 1 hour.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// Whether days that are not finished are written too, anew each time. Default: no.
    pub unfinished: bool,
    /// How the bucket is reached.
    pub access: Access,
}

impl Default for ExportSettings {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self {
            to: String::new(),
            every: hour,
            format: FileFormat::Parquet,
            settle: hour,
            unfinished: false,
            access: Access::default(),
        }
    }
}
