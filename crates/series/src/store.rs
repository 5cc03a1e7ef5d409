//! What is stored: memory, column files, and the manifest that names them. A fold over journal records.
//!
//! [`Store::apply`] takes records in the order of `seq`; [`Store::flush`] and [`Store::replace_files`] may
//! run on other threads meanwhile. Not here: who calls them (`service`), and SQL (`query`). The laws: effect and
//! position move together; a scan sees every applied reading once; a file is removed only after no manifest names it.
//!
//! Lock order: `manifest`, then `live`. `live` is never held while a file is read or written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host::{Disk, Host};
use journal::Record;
use model::route::Routes;
use model::sparkplug::{EdgeNode, Sparkplug};
use model::{Channels, Names, Timestamp};
use parking_lot::{Mutex, RwLock};

use crate::column::{self, FileCache, FileReader};
use crate::error::{OpenError, StoreError};
use crate::files::{Files, Stored};
use crate::fold::{Effect, Frozen, Live};
use crate::latest::Latest;
use crate::learnt::Learnt;
use crate::manifest::{self, FileEntry, LatestEntry, Manifest};
use crate::rollup::{self, LiveRollup, Resolution, RollupFile, Rollups};
use crate::rows::{Key, Rows};
use crate::settings::Settings;
use crate::table::{Table, Wanted};
use crate::tally::Tally;

/// Newest readings are written anew when this many readings came since, or ten for each channel.
const LATEST_AFTER_READINGS: u64 = 1_000_000;

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
    /// How often memory was set aside.
    freezes: AtomicU64,
    /// What was found when the disk was looked at last.
    disk: Mutex<crate::DiskStats>,
}

impl Store {
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
            learnt: Learnt::resume(read_sparkplug(&manifest, &files)),
            is_sparkplug_new: false,
            rebirths: Vec::new(),
            position: manifest.position,
            dirty_since: None,
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

    /// Writes the newest readings when enough came since they were written.
    fn write_latest(&self, manifest: &Manifest, readings: u64) -> Result<Option<LatestEntry>, StoreError> {
        let since = self.latest_readings.fetch_add(readings, Ordering::Relaxed) + readings;
        let due = {
            let live = self.live.read();
            since >= LATEST_AFTER_READINGS.max(10 * live.latest.channels() as u64)
        };
        if !due || manifest.files.is_empty() { Ok(None) } else { self.save_latest().map(Some) }
    }

    /// Writes the newest readings as they are now. They may be ahead of the manifest's position: what is applied
    /// again after a crash leads to the same.
    fn save_latest(&self) -> Result<LatestEntry, StoreError> {
        let (batch, seq) = {
            let live = self.live.read();
            (live.latest.rows(None), live.frozen.as_ref().map_or(live.position, |frozen| frozen.seq_to))
        };
        let stem = format!("latest-{:08}", self.next_file.fetch_add(1, Ordering::Relaxed));
        let bytes = column::encode_plain(&batch)
            .map_err(|error| StoreError::Encode { name: stem.clone(), reason: chain(&error) })?;
        let Stored { name, bytes, checksums, sealed, .. } = self.files.write(&stem, &bytes)?;
        self.files.sync_dir()?;
        self.latest_readings.store(0, Ordering::Relaxed);
        Ok(LatestEntry { name, bytes, checksums, sealed, seq })
    }

    /// Writes what is known of edge nodes: without it a restart would understand nothing until all are born again.
    fn save_sparkplug(&self, nodes: &Sparkplug, seq: u64) -> Result<LatestEntry, StoreError> {
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

    /// Whether a birth of this node would still help.
    pub(crate) fn wants_birth(&self, node: &EdgeNode) -> bool {
        self.live.read().learnt.sparkplug.wants_birth(node)
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

    /// Puts a manifest in place of the one that stands.
    fn commit(&self, manifest: &mut Manifest, next: Manifest) -> Result<(), StoreError> {
        let path = self.dir.join(manifest::NAME);
        next.write(&self.dir, &self.host, self.settings.encrypt)
            .map_err(|source| StoreError::Write { path, source })?;
        self.durable.store(next.position, Ordering::Relaxed);
        *manifest = next;
        Ok(())
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

    /// The column files and rollups of a day.
    pub(crate) fn day(&self, day: i64) -> (Vec<LiveFile>, Option<Arc<LiveRollup>>) {
        let live = self.live.read();
        let files = live.files.iter().filter(|file| file.entry.day == day).cloned().collect();
        (files, live.rollups.get(&day).cloned())
    }

    /// Days that have rows, with how many and whether a table is stored for them and not touched by newer files; and
    /// whether there are readings in memory.
    pub(crate) fn stored_days(
        &self,
        resolution: Resolution,
    ) -> (std::collections::BTreeMap<i64, (u64, bool)>, bool) {
        let (files, rollups, has_memory) = {
            let live = self.live.read();
            let has_memory = live.active.readings() > 0 || live.frozen.is_some();
            (Arc::clone(&live.files), Arc::clone(&live.rollups), has_memory)
        };
        let mut days = std::collections::BTreeMap::new();
        for (day, live) in rollups.iter() {
            // Of frozen hours there are no readings: the rollups would answer what they cannot.
            let is_stored =
                live.day.rules == self.rules && !live.day.has_frozen && live.day.stored.contains(&resolution);
            let rows = live.files(resolution).map(|(file, _)| file.rows).sum();
            days.insert(*day, (rows, is_stored));
        }
        for file in files.iter() {
            let is_covered =
                rollups.get(&file.entry.day).is_some_and(|live| live.day.covers(&file.entry.name));
            let (rows, is_stored) = days.entry(file.entry.day).or_insert((0, false));
            *rows += file.entry.rows;
            *is_stored &= is_covered;
        }
        (days, has_memory)
    }

    /// Bytes of all rollup files.
    pub(crate) fn rollup_bytes(&self) -> u64 {
        self.rollups().values().flat_map(|live| &live.day.files).map(|file| file.bytes).sum()
    }

    /// The rollups of all days.
    pub(crate) fn rollups(&self) -> Rollups {
        Arc::clone(&self.live.read().rollups)
    }

    /// Writes and syncs a rollup file; the directory is synced by the caller.
    pub(crate) fn write_rollup(
        &self,
        (day, resolution): (i64, Resolution),
        batch: &arrow::array::RecordBatch,
        (first, last): (Key, Key),
        (time_min, time_max): (i64, i64),
    ) -> Result<(RollupFile, Arc<FileReader>), StoreError> {
        let stem = manifest::rollup_stem(day, resolution, self.next_file.fetch_add(1, Ordering::Relaxed));
        let encoded = rollup::encode(resolution, batch)
            .map_err(|error| StoreError::Encode { name: stem.clone(), reason: chain(&error) })?;
        let Stored { name, bytes, checksums, sealed, .. } = self.files.write(&stem, &encoded)?;
        let rows = batch.num_rows() as u64;
        let file =
            RollupFile { name, resolution, rows, bytes, checksums, sealed, first, last, time_min, time_max };
        let reader = FileReader::new(file.stored(), &self.files, &self.cache);
        Ok((file, reader))
    }

    /// Puts the rollups of a day in place of the old ones, through the manifest. `count` corrects what was counted.
    pub(crate) fn replace_rollups(
        &self,
        new: LiveRollup,
        count: impl Fn(&mut Tally),
    ) -> Result<(), StoreError> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.rollups.retain(|day| day.day != new.day.day);
        next.rollups.push(new.day.clone());
        next.next_file = self.next_file.load(Ordering::Relaxed);
        count(&mut next.tally);
        if let Err(error) = self.commit(&mut manifest, next) {
            new.readers.iter().for_each(|reader| reader.doom());
            return Err(error);
        }
        let mut live = self.live.write();
        count(&mut live.tally);
        live.count_in_frozen(&count);
        let mut rollups = std::collections::BTreeMap::clone(&live.rollups);
        let old = rollups.insert(new.day.day, Arc::new(new));
        live.rollups = Arc::new(rollups);
        drop(live);
        for reader in old.iter().flat_map(|old| &old.readers) {
            reader.doom();
        }
        Ok(())
    }

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

    /// What is known of the channels of these devices, or of all.
    pub(crate) fn known(&self, wanted: &Wanted) -> Vec<crate::latest::Known> {
        self.live.read().latest.known(wanted.devices.as_ref())
    }

    /// Looks at the newest readings.
    pub(crate) fn with_latest<T>(&self, look: impl FnOnce(&Latest) -> T) -> T {
        look(&self.live.read().latest)
    }

    /// Newest readings of these devices, or of all.
    pub(crate) fn latest(&self, wanted: &Wanted) -> arrow::array::RecordBatch {
        self.live.read().latest.rows(wanted.devices.as_ref())
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

    /// Remembers how full the disk is; returns what was known before.
    pub(crate) fn note_disk(&self, disk: crate::DiskStats) -> crate::DiskStats {
        std::mem::replace(&mut *self.disk.lock(), disk)
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

/// What is known of edge nodes. When the file cannot be read, nodes are asked for their births as they are heard.
fn read_sparkplug(manifest: &Manifest, files: &Files) -> Sparkplug {
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

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
