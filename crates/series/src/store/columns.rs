//! Column files: written, put in place of others, looked at.
//!
//! Not here: their bytes (`files`) and columns (`column`). The law: a file is removed only after no manifest names it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use host::Disk;

use super::{LiveFile, Store, chain};
use crate::column;
use crate::error::StoreError;
use crate::files::{Files, Stored};
use crate::manifest::{self, FileEntry, Manifest};
use crate::rows::Rows;
use crate::tally::Tally;

impl Store {
    /// Writes and syncs a column file; the directory is synced by the caller.
    pub(crate) fn write_file(&self, day: i64, rows: &Rows, seq: (u64, u64)) -> Result<LiveFile, StoreError> {
        let stem = manifest::file_stem(day, self.next_file.fetch_add(1, Ordering::Relaxed));
        let bytes = column::encode(rows)
            .map_err(|error| StoreError::Encode { name: stem.clone(), reason: chain(&error) })?;
        let Stored { name, bytes, checksums, sealed, remote } = self.files.write(&stem, &bytes)?;
        let entry = FileEntry {
            name,
            day,
            rows: rows.len() as u64,
            bytes,
            checksums,
            sealed,
            remote,
            swept: None,
            seq_from: seq.0,
            seq_to: seq.1,
            first: rows.first_key().expect("a file has rows"),
            last: rows.last_key().expect("a file has rows"),
            time_min: rows.time.iter().copied().min().unwrap_or_default(),
            time_max: rows.time.iter().copied().max().unwrap_or_default(),
            appends: rows.runs.iter().any(|run| self.channels.find(&run.channel).appends()),
            received_max: rows.received_ms.iter().copied().max().unwrap_or_default().saturating_mul(1_000),
        };
        Ok(self.live_file(entry))
    }

    /// A file that an entry names, to be read.
    pub(crate) fn live_file(&self, entry: FileEntry) -> LiveFile {
        LiveFile::open(entry, &self.files, &self.cache)
    }

    /// Writes down that a file has been looked at by these rules of retention.
    pub(crate) fn mark_swept(&self, name: &str, rules: String) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        for entry in next.files.iter_mut().filter(|entry| entry.name == name) {
            entry.swept = Some(rules.clone());
        }
        self.commit(&mut manifest, next)?;
        let mut live = self.live.write();
        let marked = |file: &LiveFile| {
            if file.entry.name == name { file.clone().swept(rules.clone()) } else { file.clone() }
        };
        live.files = Arc::new(live.files.iter().map(marked).collect());
        Ok(())
    }

    /// Writes down which objects of the remote store may come to be, and which are gone.
    pub(crate) fn doubt(&self, begun: Vec<String>, gone: &[String]) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.doubt.retain(|name| !gone.contains(name));
        next.doubt.extend(begun);
        self.commit(&mut manifest, next)
    }

    /// The bytes of files.
    pub(crate) fn bytes(&self) -> &Arc<Files> {
        &self.files
    }

    /// Puts `new` files in place of `old` ones, through the manifest; with `is_drop` their rollups are frozen. `count`
    /// corrects what was counted.
    pub(crate) fn replace_files(
        &self,
        old: &[LiveFile],
        new: Vec<LiveFile>,
        is_drop: bool,
        count: impl Fn(&mut Tally),
    ) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock();
        let is_old = |name: &str| old.iter().any(|file| file.entry.name == name);
        let mut next = manifest.clone();
        next.files.retain(|entry| !is_old(&entry.name));
        next.files.extend(new.iter().map(|file| (*file.entry).clone()));
        next.doubt.retain(|name| !new.iter().any(|file| file.entry.remote && file.entry.name == *name));
        next.doubt.extend(old.iter().filter(|file| file.entry.remote).map(|file| file.entry.name.clone()));
        next.next_file = self.next_file.load(Ordering::Relaxed);
        next.replace_in_rollups(old, &new, is_drop, self.rules);
        count(&mut next.tally);
        self.commit(&mut manifest, next)?;

        let mut live = self.live.write();
        live.follow(&manifest.rollups);
        count(&mut live.tally);
        live.count_in_frozen(&count);
        let mut files: Vec<LiveFile> =
            live.files.iter().filter(|file| !is_old(&file.entry.name)).cloned().collect();
        files.extend(new);
        live.files = Arc::new(files);
        drop(live);
        for file in old {
            file.reader.doom();
        }
        Ok(())
    }

    /// The live files.
    pub(crate) fn files(&self) -> Arc<Vec<LiveFile>> {
        Arc::clone(&self.live.read().files)
    }

    /// Looks at the manifest and at the live files that it names, at a moment at which neither changes.
    pub(crate) fn at_one_moment<T>(
        &self,
        look: impl FnOnce(&Manifest, &[LiveFile], &Path, &dyn Disk) -> T,
    ) -> T {
        let manifest = self.manifest.lock();
        let files = self.files();
        look(&manifest, &files, &self.dir, &*self.host.disk)
    }
}
