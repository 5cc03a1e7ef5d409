//! Where data lives when nobody says.

use std::path::PathBuf;

/// The data directory when neither flag, environment nor settings name one: `godwit-data` where one stands.
pub(crate) fn default_dir() -> PathBuf {
    PathBuf::from("godwit-data")
}
