//! How the store stands, at one moment: for scans and for operators.
//!
//! Not here: what changes it. The law: what is seen belongs to one moment.

use std::sync::Arc;

use model::Timestamp;

use super::{LiveFile, Snapshot, Store};
use crate::table::Wanted;

impl Store {
    /// What is there to scan now, in memory as much as may be wanted.
    pub(crate) fn snapshot(&self, wanted: &Wanted) -> Snapshot {
        let (frozen, active, files, rollups) = {
            let live = self.live.read();
            let frozen = live.frozen.as_ref().map(|frozen| Arc::clone(&frozen.table));
            (frozen, live.active.scan(wanted), Arc::clone(&live.files), Arc::clone(&live.rollups))
        };
        let frozen = frozen.map(|table| table.scan(wanted)).unwrap_or_default();
        let memory = [frozen, active].into_iter().filter(|batches| !batches.is_empty()).collect();
        Snapshot { files, rollups, memory }
    }

    /// Remembers how full the disk is; returns what was known before.
    pub(crate) fn note_disk(&self, disk: crate::DiskStats) -> crate::DiskStats {
        std::mem::replace(&mut *self.disk.lock(), disk)
    }

    /// What is told of it to operators.
    pub(crate) fn stats(&self) -> crate::Stats {
        let durable = self.durable();
        let live = self.live.read();
        let frozen = live.frozen.as_ref();
        let mut offsets: Vec<(String, i64)> =
            live.learnt.offsets.iter().map(|(device, micros)| (device.to_string(), *micros)).collect();
        offsets.sort_unstable_by_key(|(_, micros)| std::cmp::Reverse(micros.unsigned_abs()));
        offsets.truncate(crate::stats::OFFSETS_MAX);
        crate::Stats {
            applied: live.position,
            durable,
            memory_readings: (live.active.readings() + frozen.map_or(0, |frozen| frozen.table.readings()))
                as u64,
            files: live.files.len() as u64,
            file_readings: live.files.iter().map(|file| file.entry.rows).sum(),
            file_bytes: live
                .files
                .iter()
                .filter(|file| !file.entry.remote)
                .map(|file| file.entry.bytes)
                .sum(),
            oldest: live.files.iter().map(|file| file.entry.time_min).min().map(Timestamp::from_micros),
            devices: live.latest.devices() as u64,
            channels: live.latest.channels() as u64,
            clock_offsets: offsets,
            disk: self.disk.lock().clone(),
            faulty: self.files.faulty(),
            remote: self.files.remote().map(|remote| {
                let is_remote = |file: &&LiveFile| file.entry.remote;
                crate::RemoteStats {
                    url: remote.url().to_owned(),
                    files: live.files.iter().filter(is_remote).count() as u64,
                    bytes: live.files.iter().filter(is_remote).map(|file| file.entry.bytes).sum(),
                    reads: remote.reads(),
                    failures: remote.failures(),
                    last_error: remote.last_error(),
                }
            }),
            tally: live.tally.clone(),
        }
    }
}
