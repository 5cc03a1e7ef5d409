//! A disk in memory that keeps what was synced and, at a crash, loses what was not: wholly, in part, or torn.
//!
//! What a crash may do to a file's unsynced bytes: every block of 512 bytes is decided by itself, so that a later
//! one may have arrived and an earlier one not (the file is then long enough, with zeros in the hole); the last
//! one may be torn at any byte. A directory entry that was not synced may be there or not. What [`Disk::replace`]
//! wrote is there. Beside that a test can order faults: a write or sync that fails, a disk that is full, a flipped
//! bit, a sync that lies, syncs that do not return until they may.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::SimRandom;
use crate::{Disk, Entry, File, Space};

/// The unit in which a disk writes.
const BLOCK_BYTES: usize = 512;

/// Size of the volume that [`Disk::space`] tells when no bound is set.
const VOLUME_BYTES: u64 = 1 << 40;

/// A simulated disk, as one process sees it. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    platter: Arc<Mutex<Platter>>,
    /// Told when syncs that are held may go on.
    released: Arc<Condvar>,
    /// The life of the machine to which this view belongs.
    life: u64,
}

#[derive(Default)]
struct Platter {
    life: u64,
    files: BTreeMap<PathBuf, Content>,
    /// Files removed since the last sync of their directory: a crash may bring them back.
    removed: BTreeMap<PathBuf, Content>,
    dirs: Vec<PathBuf>,
    faults: Faults,
    /// Everything that was ever appended, when a test wants to know.
    history: Option<Vec<(PathBuf, Vec<u8>)>>,
}

#[derive(Default)]
struct Faults {
    /// Appends that still succeed before one fails.
    append_in: Option<(u64, io::ErrorKind)>,
    sync_in: Option<u64>,
    bytes_max: Option<u64>,
    syncs_lie: bool,
    syncs_held: bool,
    create_in: Option<(u64, io::ErrorKind)>,
    /// Changes to the disk that still succeed before the power is off.
    power_for: Option<u64>,
}

#[derive(Clone, Default)]
struct Content {
    /// What the running process reads.
    now: Vec<u8>,
    /// What is on stable storage.
    synced: Vec<u8>,
    /// Bytes at the start that are the same in both.
    same: usize,
    /// Whether the directory entry is on stable storage.
    entry_synced: bool,
}

impl SimDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self { platter: Arc::default(), released: Arc::default(), life: 0 }
    }

    /// The disk as the next process sees it after one that ended in good order.
    #[must_use]
    pub(super) fn after_restart(&self) -> Self {
        let mut platter = self.platter.lock();
        platter.life += 1;
        self.seen_by(platter.life)
    }

    fn seen_by(&self, life: u64) -> Self {
        Self { platter: Arc::clone(&self.platter), released: Arc::clone(&self.released), life }
    }

    /// The disk after a power failure. Views of before get errors. Ordered faults are over.
    #[must_use]
    pub fn after_crash(&self, dice: &SimRandom) -> Self {
        let mut platter = self.platter.lock();
        platter.life += 1;
        platter.faults = Faults::default();
        let removed = std::mem::take(&mut platter.removed);
        for (path, content) in removed {
            if dice.below(2) == 0 {
                platter.files.entry(path).or_insert(content);
            }
        }
        platter.files.retain(|_, content| content.entry_synced || dice.below(2) == 0);
        for content in platter.files.values_mut() {
            content.lose_unsynced(dice);
        }
        self.released.notify_all();
        self.seen_by(platter.life)
    }

    /// Lets `appends` more appends pass and makes the one after them fail after half of its bytes.
    pub fn fail_append_after(&self, appends: u64, kind: io::ErrorKind) {
        self.platter.lock().faults.append_in = Some((appends, kind));
    }

    /// Lets `syncs` more syncs pass and makes the one after them fail, as a dying disk does.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.platter.lock().faults.sync_in = Some(syncs);
    }

    /// Lets `creates` more files be made and makes the one after them fail.
    pub fn fail_create_after(&self, creates: u64, kind: io::ErrorKind) {
        self.platter.lock().faults.create_in = Some((creates, kind));
    }

    /// Makes the disk full when all files together have this many bytes; `None` ends it.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.platter.lock().faults.bytes_max = bytes_max;
    }

    /// Makes syncs say that they are done although they did nothing.
    pub fn let_syncs_lie(&self, lie: bool) {
        self.platter.lock().faults.syncs_lie = lie;
    }

    /// From now on no sync of a file returns.
    pub fn hold_syncs(&self) {
        self.platter.lock().faults.syncs_held = true;
    }

    /// Lets every sync go on.
    pub fn release_syncs(&self) {
        self.platter.lock().faults.syncs_held = false;
        self.released.notify_all();
    }

    /// Lets `changes` more appends, syncs, truncations, creations and removals pass; then the power is off: nothing
    /// succeeds until [`SimDisk::after_crash`]. An append in that moment arrives half.
    pub fn cut_power_after(&self, changes: u64) {
        self.platter.lock().faults.power_for = Some(changes);
    }

    /// From now on remembers every append, taken back or not, until [`SimDisk::history`] is asked.
    pub fn remember_appends(&self) {
        self.platter.lock().history.get_or_insert_default();
    }

    /// Every append since the last call, with its file, as it was asked for.
    #[must_use]
    pub fn history(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.platter.lock().history.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Ends all ordered faults.
    pub fn mend(&self) {
        self.platter.lock().faults = Faults::default();
    }

    /// Flips one bit of a file, on stable storage too.
    ///
    /// # Panics
    /// When there is no such file or it is shorter.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        let mut platter = self.platter.lock();
        let content = platter.files.get_mut(path).expect("a file to damage");
        let at = usize::try_from(offset).expect("an offset within the file");
        content.now[at] ^= 1 << (bit % 8);
        if let Some(byte) = content.synced.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Puts `bytes` in place of a file's content, or makes it, as somebody else's hand would.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let content = Content::synced(bytes);
        self.platter.lock().files.insert(path.to_owned(), content);
    }

    /// The content of a file as the running process would read it.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.platter.lock().files.get(path).map(|content| content.now.clone())
    }

    /// How many bytes at the start of a file are on stable storage and the same as the running process reads.
    #[must_use]
    pub fn synced_bytes(&self, path: &Path) -> u64 {
        self.platter.lock().files.get(path).map_or(0, |content| content.synced.len() as u64)
    }

    fn wait_for_release(&self) {
        let mut platter = self.platter.lock();
        // Who was held when the power failed goes on, to be told so.
        self.released
            .wait_while(&mut platter, |platter| platter.faults.syncs_held && platter.life == self.life);
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.platter.lock();
        if platter.life != self.life {
            return Err(io::Error::other("the machine has crashed"));
        }
        if platter.faults.power_for == Some(0) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(platter)
    }

    /// The same for what changes the disk.
    fn change(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.alive()?;
        if let Some(changes) = &mut platter.faults.power_for {
            *changes -= 1;
        }
        Ok(platter)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Content {
    fn synced(bytes: &[u8]) -> Self {
        Self { now: bytes.to_vec(), synced: bytes.to_vec(), same: bytes.len(), entry_synced: true }
    }

    /// Decides block by block what of the unsynced bytes arrived.
    fn lose_unsynced(&mut self, dice: &SimRandom) {
        let common = self.now.iter().zip(&self.synced).take_while(|(a, b)| a == b).count();
        if common == self.now.len() && common == self.synced.len() {
            return;
        }
        if self.now.len() < self.synced.len() {
            // A truncation that was not synced: it happened or it did not.
            if dice.below(2) == 0 {
                self.synced = self.now.clone();
            }
        } else {
            let mut kept = self.synced.clone();
            let mut at = common;
            while at < self.now.len() {
                let end = ((at / BLOCK_BYTES + 1) * BLOCK_BYTES).min(self.now.len());
                let arrived = match dice.below(4) {
                    0 => 0,
                    1 => usize::try_from(dice.below((end - at) as u64)).expect("at most a block"),
                    _ => end - at,
                };
                if arrived > 0 {
                    // What lies before and did not arrive reads as zeros.
                    kept.resize(kept.len().max(at + arrived), 0);
                    kept[at..at + arrived].copy_from_slice(&self.now[at..at + arrived]);
                }
                at = end;
            }
            self.synced = kept;
        }
        self.now = self.synced.clone();
        self.same = self.now.len();
        self.entry_synced = true;
    }
}

impl Platter {
    /// Writes as much of `bytes` as there is room for; says how much.
    fn write(&mut self, path: &Path, at: usize, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        let content = self.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        let there = content.now.len().saturating_sub(at);
        let bytes = &bytes[..bytes.len().min(there.saturating_add(room))];
        content.same = content.same.min(at);
        content.now.resize(content.now.len().max(at + bytes.len()), 0);
        content.now[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn room(&self) -> u64 {
        let used: u64 = self.files.values().map(|content| content.now.len() as u64).sum();
        self.faults.bytes_max.map_or(VOLUME_BYTES, |bytes_max| bytes_max.saturating_sub(used))
    }
}

/// Counts down an ordered fault; true when it is due now.
fn due(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(count) => {
            *count -= 1;
            false
        }
        None => false,
    }
}

/// The same for a fault that knows its kind.
fn due_kind(left: &mut Option<(u64, io::ErrorKind)>) -> Option<io::ErrorKind> {
    let (count, kind) = (*left)?;
    *left = count.checked_sub(1).map(|count| (count, kind));
    left.is_none().then_some(kind)
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?.dirs.push(path.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let platter = self.alive()?;
        // Sorted by path, so sorted by name within one directory.
        Ok(platter
            .files
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .map(|(path, content)| Entry {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                bytes: content.now.len() as u64,
            })
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut platter = self.change()?;
        if let Some(kind) = due_kind(&mut platter.faults.create_in) {
            return Err(io::Error::new(kind, "ordered to fail"));
        }
        if platter.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        platter.files.insert(path.to_owned(), Content::default());
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), end: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let platter = self.alive()?;
        let end = platter.files.get(path).ok_or(io::ErrorKind::NotFound)?.now.len();
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), end }))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let platter = self.alive()?;
        let content = platter.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        if content.now.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content.now.clone())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.change()?;
        if platter.room() < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if due(&mut platter.faults.sync_in) {
            return Err(io::Error::other("ordered to fail"));
        }
        let content = Content::synced(bytes);
        platter.files.insert(path.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut platter = self.change()?;
        let content = platter.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        platter.removed.insert(path.to_owned(), content);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut platter = self.change()?;
        if due(&mut platter.faults.sync_in) {
            return Err(io::Error::other("ordered to fail"));
        }
        if !platter.faults.syncs_lie {
            for (path, content) in &mut platter.files {
                content.entry_synced |= path.parent() == Some(dir);
            }
            platter.removed.retain(|path, _| path.parent() != Some(dir));
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let platter = self.alive()?;
        Ok(Space { total: platter.faults.bytes_max.unwrap_or(VOLUME_BYTES), free: platter.room() })
    }
}

/// A file of the simulated disk. Removed while open, it reads as gone: the journal never does that to itself.
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    /// Where the next append goes.
    end: usize,
}

impl File for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.disk.change()?;
        if let Some(history) = &mut platter.history {
            history.push((self.path.clone(), bytes.to_vec()));
        }
        let fault = match platter.faults.power_for {
            Some(0) => Some(io::ErrorKind::Other),
            _ => None,
        };
        let fault = fault.or_else(|| due_kind(&mut platter.faults.append_in));
        let wanted = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
        let written = platter.write(&self.path, self.end, &bytes[..wanted])?;
        if let Some(kind) = fault {
            return Err(io::Error::new(kind, "ordered to fail"));
        }
        if written < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.end += bytes.len();
        Ok(())
    }

    fn prepare(&mut self, bytes: u64) -> io::Result<()> {
        let mut platter = self.disk.change()?;
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        match platter.write(&self.path, self.end, &zeros)? {
            written if written < zeros.len() => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.wait_for_release();
        let mut platter = self.disk.change()?;
        if due(&mut platter.faults.sync_in) {
            return Err(io::Error::other("ordered to fail"));
        }
        let lie = platter.faults.syncs_lie;
        let content = platter.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        if !lie {
            let Content { now, synced, same, .. } = content;
            synced.truncate(*same);
            synced.extend_from_slice(&now[*same..]);
            *same = now.len();
        }
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut platter = self.disk.change()?;
        let content = platter.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        content.now.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        content.same = content.same.min(content.now.len());
        self.end = self.end.min(content.now.len());
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let platter = self.disk.alive()?;
        let content = platter.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.now.len());
        let bytes = into.len().min(content.now.len() - from);
        into[..bytes].copy_from_slice(&content.now[from..from + bytes]);
        Ok(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        let platter = self.disk.alive()?;
        platter
            .files
            .get(&self.path)
            .map(|content| content.now.len() as u64)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PathBuf {
        PathBuf::from("/data/file")
    }

    fn made(disk: &SimDisk, synced: usize, unsynced: usize) -> Box<dyn File> {
        let mut file = disk.create(&path()).expect("made");
        file.append(&vec![1; synced]).expect("written");
        file.sync().expect("synced");
        disk.sync_dir(Path::new("/data")).expect("synced");
        file.append(&vec![2; unsynced]).expect("written");
        file
    }

    #[test]
    fn a_sync_that_is_held_waits_for_its_release_or_the_end() {
        for crash in [false, true] {
            let disk = SimDisk::new();
            let mut file = made(&disk, 10, 20);
            disk.hold_syncs();
            let held = std::thread::spawn(move || file.sync());
            assert!(disk.synced_bytes(&path()) < 30, "it is held, or not there yet");
            if crash {
                let after = disk.after_crash(&SimRandom::new(1));
                assert!(held.join().expect("no panic").is_err(), "its machine is gone");
                let mut file = after.open(&path()).expect("its entry was synced");
                file.sync().expect("the next machine's syncs are not held");
            } else {
                disk.release_syncs();
                held.join().expect("no panic").expect("synced");
                assert_eq!(disk.synced_bytes(&path()), 30);
            }
        }
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_loses_the_rest_in_every_way() {
        let (mut whole, mut none, mut torn, mut hole) = (0, 0, 0, 0);
        for seed in 0..400 {
            let disk = SimDisk::new();
            let old = made(&disk, 700, 1_500);
            let after = disk.after_crash(&SimRandom::new(seed));
            assert!(old.bytes().is_err(), "the process of before is gone");
            let content = after.content(&path()).expect("its entry was synced");
            assert_eq!(content[..700], [1; 700]);
            match content.len() {
                2_200 if content[700..].iter().all(|byte| *byte == 2) => whole += 1,
                700 => none += 1,
                _ if content[700..].contains(&0) => hole += 1,
                _ => torn += 1,
            }
        }
        assert!(whole > 0 && none > 0 && torn > 0 && hole > 0, "{whole} {none} {torn} {hole}");
    }

    #[test]
    fn an_entry_that_was_not_synced_may_be_gone_after_a_crash_and_a_removed_one_back() {
        let (mut gone, mut back) = (0, 0);
        for seed in 0..50 {
            let disk = SimDisk::new();
            made(&disk, 10, 0);
            disk.remove(&path()).expect("removed");
            disk.create(Path::new("/data/new")).expect("made").sync().expect("synced");
            let after = disk.after_crash(&SimRandom::new(seed));
            gone += u32::from(after.content(Path::new("/data/new")).is_none());
            back += u32::from(after.content(&path()).is_some());
        }
        assert!((5..45).contains(&gone), "{gone}");
        assert!((5..45).contains(&back), "{back}");
    }

    #[test]
    fn faults_come_when_they_were_ordered() {
        let disk = SimDisk::new();
        let mut file = made(&disk, 10, 0);
        disk.fail_append_after(1, io::ErrorKind::Other);
        file.append(b"good").expect("the first passes");
        file.append(b"half").expect_err("the second fails");
        assert_eq!(file.bytes().expect("known"), 16, "and arrives half");
        file.append(b"good").expect("only one fails; this goes over the half");
        disk.fail_sync_after(0);
        file.sync().expect_err("ordered");
        disk.limit_bytes(Some(20));
        let full = file.append(b"four").expect_err("full").kind();
        assert_eq!((full, file.bytes().expect("known")), (io::ErrorKind::StorageFull, 20));
        disk.mend();
        disk.cut_power_after(1);
        file.append(b"last").expect_err("the power goes with it");
        file.sync().expect_err("the power is off");
        assert!(disk.list(Path::new("/data")).is_err());
    }
}
