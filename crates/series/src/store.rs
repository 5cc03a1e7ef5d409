//! What is stored: memory, column files, and the manifest that names them. A fold over journal records.
//!
//! [`Store::apply`] takes records in the order of `seq`; [`Store::flush`] and [`Store::replace_files`] may
//! run on other threads meanwhile. Not here: who calls them (`service`), and SQL (`query`). The laws: effect and
//! position move together; a scan sees every applied reading once; a file is removed only after no manifest names it.
//!
//! Lock order: `manifest`, then `live`. `live` is never held while a file is read or written.

mod columns;
mod newest;
mod rollups;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host::{Disk, Host};
use journal::Record;
use model::route::Routes;
use model::{Channels, Names};
use parking_lot::{Mutex, RwLock};

use crate::column::{FileCache, FileReader};
use crate::error::{OpenError, StoreError};
use crate::files::Files;
use crate::fold::{Effect, Frozen, Live};
use crate::latest::Latest;
use crate::learnt::Learnt;
use crate::manifest::{self, FileEntry, Manifest};
use crate::rollup::{LiveRollup, Rollups};
use crate::settings::Settings;
use crate::table::Table;

pub(crate) use model::in_one_line as chain;

/// A live column file and its reader.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    /// What the manifest says of it.
    pub entry: Arc<FileEntry>,
    /// Reads it.
    pub reader: Arc<FileReader>,
}

/// Everything that is there to scan, at one moment.
pub(crate) struct Snapshot {
    /// Live files.
    pub files: Arc<Vec<LiveFile>>,
    /// Rollups of days.
    pub rollups: Rollups,
    /// Batches in memory, sorted and without duplicates each; a later one wins.
    pub memory: Vec<Vec<arrow::array::RecordBatch>>,
}

/// Readings and what names them.
pub(crate) struct Store {
    dir: PathBuf,
    host: Host,
    settings: Settings,
    routes: Arc<Routes>,
    channels: Arc<Channels>,
    /// The number of the channels' rules.
    rules: u64,
    live: RwLock<Live>,
    /// The bytes of files.
    files: Arc<Files>,
    /// What is durable. Held while a new manifest is written.
    manifest: Mutex<Manifest>,
    cache: Arc<FileCache>,
    next_file: AtomicU64,
    /// The manifest's position, to be had while it is being written.
    durable: AtomicU64,
    names: Mutex<Names>,
    latest_readings: AtomicU64,
    /// Units that were known when the newest readings were written last.
    latest_units: AtomicU64,
    /// How often memory was set aside.
    freezes: AtomicU64,
    /// What was found when the disk was looked at last.
    disk: Mutex<crate::DiskStats>,
}

impl Store {
    /// Tells `watch` of every sample that is stored from now on.
    pub(crate) fn watch_samples(&self, watch: crate::SampleFunction) {
        self.live.write().watch = Some(watch);
    }

    /// Opens the directory, or makes it. Files that no manifest names are removed.
    pub(crate) fn open(
        dir: &Path,
        settings: &Settings,
        routes: Arc<Routes>,
        channels: Arc<Channels>,
        host: &Host,
    ) -> Result<Self, OpenError> {
        let io_at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        host.disk.create_dir(dir).map_err(io_at(dir))?;
        let manifest = Manifest::read(dir, host)?;
        remove_unnamed(dir, host.disk.as_ref(), &manifest).map_err(io_at(dir))?;
        let files = Arc::new(Files::new(dir, host, settings).map_err(OpenError::Remote)?);
        // What a crash left in doubt was either never finished or is not needed any more.
        manifest.doubt.iter().for_each(|name| files.leave(name));
        let cache = Arc::new(FileCache::default());
        let live_files = manifest.files.iter().map(|entry| LiveFile::open(entry.clone(), &files, &cache));
        let rollups = manifest.rollups.iter().map(|day| {
            let readers = day.files.iter().map(|file| FileReader::new(file.stored(), &files, &cache));
            (day.day, Arc::new(LiveRollup { day: day.clone(), readers: readers.collect() }))
        });
        let live = Live {
            active: Table::default(),
            frozen: None,
            files: Arc::new(live_files.collect()),
            rollups: Arc::new(rollups.collect()),
            latest: Latest::default(),
            tally: manifest.tally.clone(),
            learnt: Learnt::resume(newest::read_sparkplug(&manifest, &files)),
            is_sparkplug_new: false,
            rebirths: Vec::new(),
            position: manifest.position,
            dirty_since: None,
            watch: None,
        };
        Ok(Self {
            dir: dir.to_owned(),
            host: host.clone(),
            settings: settings.clone(),
            routes,
            rules: channels.rules(),
            channels,
            live: RwLock::new(live),
            files,
            next_file: AtomicU64::new(manifest.next_file),
            durable: AtomicU64::new(manifest.position),
            manifest: Mutex::new(manifest),
            cache,
            names: Mutex::new(Names::new()),
            latest_readings: AtomicU64::new(0),
            latest_units: AtomicU64::new(0),
            freezes: AtomicU64::new(0),
            disk: Mutex::default(),
        })
    }

    /// Takes in records, in the order of `seq`. Those at or before the position have had their effect already.
    pub(crate) fn apply(&self, records: &[Record]) {
        let position = self.applied();
        let at = records.partition_point(|record| record.seq <= position);
        let records = &records[at..];
        let Some(last) = records.last() else { return };
        // Decoding takes the most time: scans go on meanwhile.
        let effects: Vec<Effect> = {
            let mut names = self.names.lock();
            records.iter().map(|record| Effect::of(record, &self.routes, &mut names)).collect()
        };
        let mut live = self.live.write();
        for (record, effect) in records.iter().zip(effects) {
            live.take(record, effect, &self.channels, self.settings.channels_per_device);
        }
        live.position = last.seq;
        let now = self.host.clock.mono_micros();
        live.dirty_since.get_or_insert(now);
    }

    /// Counts records that the journal could not hand out, and goes on after them.
    pub(crate) fn pass_over(&self, from: u64, to: u64) {
        let mut live = self.live.write();
        if to > live.position {
            live.tally.lost += to - from.max(live.position + 1) + 1;
            live.position = to;
            let now = self.host.clock.mono_micros();
            live.dirty_since.get_or_insert(now);
        }
    }

    /// How often memory was set aside: what was put since is in the active memory.
    pub(crate) fn freezes(&self) -> u64 {
        // Read under the lock under which it changes.
        let _live = self.live.read();
        self.freezes.load(Ordering::Relaxed)
    }

    /// Puts readings of older messages beside what is there: `put` sees what is newer than its look at everything else.
    /// `None` when memory was set aside since `freezes` was read: the look must be taken again.
    pub(crate) fn put_older<T>(
        &self,
        freezes: u64,
        put: impl FnOnce(&mut Live, &Channels) -> T,
    ) -> Option<T> {
        let mut live = self.live.write();
        (self.freezes.load(Ordering::Relaxed) == freezes).then(|| put(&mut live, &self.channels))
    }

    /// Every record up to this `seq` has had its effect, in memory at least.
    pub(crate) fn applied(&self) -> u64 {
        self.live.read().position
    }

    /// Every record up to this `seq` has had its effect on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }

    /// Whether memory holds as much as it may.
    pub(crate) fn is_full(&self) -> bool {
        let live = self.live.read();
        live.active.readings() >= self.settings.memory_readings
            || live.active.text_bytes() >= self.settings.memory_text_bytes
    }

    /// Whether a flush is due by age.
    pub(crate) fn is_due(&self) -> bool {
        let now = self.host.clock.mono_micros();
        let after = u64::try_from(self.settings.flush_after.as_micros()).unwrap_or(u64::MAX);
        self.live.read().dirty_since.is_some_and(|since| now.saturating_sub(since) >= after)
    }

    /// Whether the part of memory that is being written is still there.
    pub(crate) fn is_frozen(&self) -> bool {
        self.live.read().frozen.is_some()
    }

    /// Writes what is in memory to column files, then the manifest that names them. After an error memory is as it
    /// was, and the same is tried again by the next call.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        // One flush at a time, and none beside a compaction's last step.
        let mut manifest = self.manifest.lock();
        let Some(frozen) = self.freeze(manifest.position) else { return Ok(()) };
        let written = self.write_frozen(&frozen)?;
        let latest = self.write_latest(&manifest, frozen.table.readings() as u64)?;
        let sparkplug =
            frozen.sparkplug.as_ref().map(|nodes| self.save_sparkplug(nodes, frozen.seq_to)).transpose()?;
        let mut next = Manifest {
            position: frozen.seq_to,
            next_file: self.next_file.load(Ordering::Relaxed),
            tally: frozen.tally.clone(),
            ..manifest.clone()
        };
        next.files.extend(written.iter().map(|file| (*file.entry).clone()));
        let old_latest = latest.and_then(|entry| next.latest.replace(entry));
        let old_sparkplug = sparkplug.and_then(|entry| next.sparkplug.replace(entry));
        self.commit(&mut manifest, next)?;
        for old in [old_latest, old_sparkplug].into_iter().flatten() {
            self.files.remove(&old.name);
        }

        let mut live = self.live.write();
        let mut files = Vec::clone(&live.files);
        files.extend(written);
        live.files = Arc::new(files);
        live.frozen = None;
        Ok(())
    }

    /// Has room for more: a full memory is set aside to be written. `false` when the one set aside before is still
    /// being written.
    pub(crate) fn make_room(&self) -> bool {
        if !self.is_full() {
            return true;
        }
        let has_room = !self.is_frozen();
        if has_room {
            self.freeze(self.durable());
        }
        has_room
    }

    /// Sets memory aside to be written; what an earlier call could not write comes first. `None` when the manifest
    /// says everything already.
    fn freeze(&self, durable: u64) -> Option<Arc<Frozen>> {
        let mut live = self.live.write();
        if let Some(frozen) = &live.frozen {
            return Some(Arc::clone(frozen));
        }
        if live.position == durable {
            return None;
        }
        let mut table = std::mem::take(&mut live.active);
        let found = table.settle();
        live.tally.put(found);
        live.dirty_since = None;
        let frozen = Arc::new(Frozen {
            table: Arc::new(table),
            seq_from: durable + 1,
            seq_to: live.position,
            tally: live.tally.clone(),
            sparkplug: std::mem::take(&mut live.is_sparkplug_new).then(|| live.learnt.sparkplug.clone()),
        });
        live.frozen = Some(Arc::clone(&frozen));
        self.freezes.fetch_add(1, Ordering::Relaxed);
        Some(frozen)
    }

    fn write_frozen(&self, frozen: &Frozen) -> Result<Vec<LiveFile>, StoreError> {
        let mut files = Vec::new();
        for (day, rows) in frozen.table.by_day() {
            files.push(self.write_file(day, &rows, (frozen.seq_from, frozen.seq_to))?);
        }
        if !files.is_empty() {
            self.files.sync_dir()?;
        }
        Ok(files)
    }

    /// Puts a manifest in place of the one that stands.
    fn commit(&self, manifest: &mut Manifest, next: Manifest) -> Result<(), StoreError> {
        let path = self.dir.join(manifest::NAME);
        next.write(&self.dir, &self.host, self.settings.encrypt)
            .map_err(|source| StoreError::Write { path, source })?;
        self.durable.store(next.position, Ordering::Relaxed);
        *manifest = next;
        Ok(())
    }

    /// The routes messages are decoded by.
    pub(crate) fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// What is known of channels.
    pub(crate) fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// The number of the channels' rules: see [`Channels::rules`].
    pub(crate) fn rules(&self) -> u64 {
        self.rules
    }

    /// Settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the machine lends.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl LiveFile {
    /// The same file, looked at by these rules of retention.
    pub(crate) fn swept(self, rules: String) -> Self {
        let entry = FileEntry { swept: Some(rules), ..(*self.entry).clone() };
        Self { entry: Arc::new(entry), reader: self.reader }
    }

    fn open(entry: FileEntry, files: &Arc<Files>, cache: &Arc<FileCache>) -> Self {
        let reader = FileReader::new(entry.stored(), files, cache);
        Self { entry: Arc::new(entry), reader }
    }
}

fn remove_unnamed(dir: &Path, disk: &dyn Disk, manifest: &Manifest) -> std::io::Result<()> {
    let named: hashbrown::HashSet<&str> = manifest.names().collect();
    for entry in disk.list(dir)? {
        if Manifest::owns(&entry.name) && !named.contains(entry.name.as_str()) {
            tracing::info!(file = entry.name, "removing a column file that no manifest names");
            disk.remove(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}
