//! What is kept beside the column files: the newest readings, and what is known of edge nodes.
//!
//! Not here: what they mean (`latest`, `model::sparkplug`). The law: a file that cannot be read costs time or a birth, never a
//! reading.

use std::sync::atomic::Ordering;

use model::sparkplug::{EdgeNode, Sparkplug};
use model::{DeviceName, Timestamp};

use super::{Store, chain};
use crate::column;
use crate::error::StoreError;
use crate::files::{Files, Stored};
use crate::latest::Latest;
use crate::manifest::{LatestEntry, Manifest};
use crate::table::Wanted;

/// Newest readings are written anew when this many readings came since, or ten for each channel.
const LATEST_AFTER_READINGS: u64 = 1_000_000;

impl Store {
    /// Writes the newest readings when enough came since they were written, or a unit that its device may not say again.
    pub(super) fn write_latest(
        &self,
        manifest: &Manifest,
        readings: u64,
    ) -> Result<Option<LatestEntry>, StoreError> {
        let since = self.latest_readings.fetch_add(readings, Ordering::Relaxed) + readings;
        let due = {
            let live = self.live.read();
            let enough = LATEST_AFTER_READINGS.max(10 * live.latest.channels() as u64);
            live.latest.units() != self.latest_units.load(Ordering::Relaxed)
                || (since >= enough && !manifest.files.is_empty())
        };
        if !due { Ok(None) } else { self.save_latest().map(Some) }
    }

    /// Writes the newest readings as they are now. They may be ahead of the manifest's position: what is applied
    /// again after a crash leads to the same.
    pub(super) fn save_latest(&self) -> Result<LatestEntry, StoreError> {
        let (batch, units, seq) = {
            let live = self.live.read();
            let seq = live.frozen.as_ref().map_or(live.position, |frozen| frozen.seq_to);
            (live.latest.file(), live.latest.units(), seq)
        };
        let stem = format!("latest-{:08}", self.next_file.fetch_add(1, Ordering::Relaxed));
        let bytes = column::encode_plain(&batch)
            .map_err(|error| StoreError::Encode { name: stem.clone(), reason: chain(&error) })?;
        let Stored { name, bytes, checksums, sealed, .. } = self.files.write(&stem, &bytes)?;
        self.files.sync_dir()?;
        self.latest_readings.store(0, Ordering::Relaxed);
        self.latest_units.store(units, Ordering::Relaxed);
        Ok(LatestEntry { name, bytes, checksums, sealed, seq })
    }

    /// Writes the newest readings now, and names the file.
    pub(crate) fn keep_latest(&self) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock();
        let entry = self.save_latest()?;
        let mut next = manifest.clone();
        next.next_file = self.next_file.load(Ordering::Relaxed);
        let old = next.latest.replace(entry);
        self.commit(&mut manifest, next)?;
        if let Some(old) = old {
            self.files.remove(&old.name);
        }
        Ok(())
    }

    /// What is known of the channels of these devices, or of all.
    pub(crate) fn known(&self, wanted: &Wanted) -> Vec<crate::latest::Known> {
        self.live.read().latest.known(wanted.devices.as_ref())
    }

    /// Newest readings of these devices, or of all.
    pub(crate) fn latest(&self, wanted: &Wanted) -> arrow::array::RecordBatch {
        self.live.read().latest.rows(wanted.devices.as_ref())
    }

    /// Looks at the newest readings.
    pub(crate) fn with_latest<T>(&self, look: impl FnOnce(&Latest) -> T) -> T {
        look(&self.live.read().latest)
    }

    /// Takes older newest readings in, at start.
    pub(crate) fn restore_latest(&self, batch: &arrow::array::RecordBatch) {
        self.live.write().latest.put_batch(batch, &self.channels);
    }

    /// The file of newest readings that the manifest names.
    pub(crate) fn latest_entry(&self) -> Option<LatestEntry> {
        self.manifest.lock().latest.clone()
    }

    /// The newest readings of that file.
    pub(crate) fn read_latest(&self, entry: &LatestEntry) -> Result<Vec<arrow::array::RecordBatch>, String> {
        let bytes = self.files.read(&entry.stored()).map_err(|fault| fault.to_string())?;
        column::decode_plain(bytes).map_err(|error| chain(&error))
    }

    /// Writes what is known of edge nodes: without it a restart would understand nothing until all are born again.
    pub(super) fn save_sparkplug(&self, nodes: &Sparkplug, seq: u64) -> Result<LatestEntry, StoreError> {
        let stem = format!("nodes-{:08}", self.next_file.fetch_add(1, Ordering::Relaxed));
        let Stored { name, bytes, checksums, sealed, .. } = self.files.write(&stem, &nodes.to_bytes())?;
        self.files.sync_dir()?;
        Ok(LatestEntry { name, bytes, checksums, sealed, seq })
    }

    /// The nodes that wait to be asked for their births, and when what made that necessary was received.
    pub(crate) fn take_rebirths(&self) -> Vec<(EdgeNode, Timestamp)> {
        if self.live.read().rebirths.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.live.write().rebirths)
    }

    /// What is known of edge nodes, and the `seq` up to which.
    pub(crate) fn edge_nodes(&self) -> (Sparkplug, u64) {
        let live = self.live.read();
        (live.learnt.sparkplug.clone(), live.position)
    }

    /// The devices behind an edge node.
    pub(crate) fn devices_behind(&self, node: &EdgeNode) -> Vec<DeviceName> {
        self.live.read().learnt.sparkplug.devices_behind(node).cloned().collect()
    }

    /// Whether a birth of this node would still help.
    pub(crate) fn wants_birth(&self, node: &EdgeNode) -> bool {
        self.live.read().learnt.sparkplug.wants_birth(node)
    }
}

/// What is known of edge nodes. When the file cannot be read, nodes are asked for their births as they are heard.
pub(super) fn read_sparkplug(manifest: &Manifest, files: &Files) -> Sparkplug {
    let Some(entry) = &manifest.sparkplug else { return Sparkplug::default() };
    let bytes = files.read(&entry.stored()).map_err(|fault| fault.to_string());
    let read = bytes.and_then(|bytes| Sparkplug::from_bytes(&bytes).map_err(|error| error.to_string()));
    read.unwrap_or_else(|reason| {
        let file = &entry.name;
        tracing::error!(
            file,
            reason,
            "what was known of Sparkplug nodes is lost; they are asked for their births"
        );
        Sparkplug::default()
    })
}
