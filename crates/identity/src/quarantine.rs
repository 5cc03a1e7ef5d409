//! Quarantine: a device that may only speak of its own condition, until somebody lets it go.
//!
//! Here it is written down. Not here: what follows for a session (`permissions`). The law: quarantine lies over what a
//! device is otherwise, and its end leaves it as it was.

use model::DeviceName;

use crate::device::change::IfVersion;
use crate::device::{Device, Quarantine};
use crate::{Actor, ChangeError, Identity};

/// Longest reason, in bytes: some sentences.
pub const REASON_BYTES_MAX: usize = 1_000;

impl Identity {
    /// Puts a device into quarantine; of one that is in it the reason changes and the beginning stays.
    ///
    /// # Errors
    /// [`ChangeError::Reason`] when the reason is empty or too long, or what else is in the way.
    pub async fn quarantine_device(
        &self,
        by: &Actor,
        name: &DeviceName,
        reason: &str,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            return Err(ChangeError::Reason { bytes: reason.len() });
        }
        let reason = reason.to_owned();
        self.change(by, name, if_version, "device.quarantine", move |_, device, now| {
            let since = device.quarantine.as_ref().map_or(now, |quarantine| quarantine.since);
            device.quarantine = Some(Quarantine { since, reason });
            Ok(())
        })
        .await
    }

    /// Ends the quarantine of a device.
    ///
    /// # Errors
    /// [`ChangeError::NotQuarantined`] when it is in none.
    pub async fn release_device(
        &self,
        by: &Actor,
        name: &DeviceName,
        if_version: IfVersion,
    ) -> Result<Device, ChangeError> {
        self.change(by, name, if_version, "device.release", |_, device, _| match device.quarantine.take() {
            Some(_) => Ok(()),
            None => Err(ChangeError::NotQuarantined(device.name.clone())),
        })
        .await
    }
}
