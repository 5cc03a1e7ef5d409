//! Moving column files that are old to the remote store.
//!
//! ```text
//! 1  manifest: the name is in doubt               a crash from here on: the object is removed at the next start
//! 2  object written, and looked at                (or the file moves again under another step 1)
//! 3  manifest: the file is remote, no doubt       a crash from here on: the local file is removed at the next start
//! 4  local file removed                           when no query reads it any more
//! ```
//!
//! An object that is live no more goes the other way: in doubt with the manifest that no longer names it, removed when
//! nobody reads it, out of doubt. So every object is named by the manifest as long as it may exist, and the store is
//! never searched for what might be ours. Not here: the store (`files::remote`), and reading what is there (`files`).
//!
//! The laws: of a day the older generation moves first, so that what stays can be merged; a store that fails is asked
//! again after a pause that grows, and nothing else waits for it.

use std::collections::BTreeMap;

use crate::error::StoreError;
use crate::files::{Files, RemoteError};
use crate::manifest::FileEntry;
use crate::query::Engine;
use crate::store::{LiveFile, Store};

/// Files that move between two looks at what else is to be done.
const MOVES_AT_ONCE: usize = 16;

/// First pause after a failure, in microseconds.
const PAUSE_FIRST: u64 = 1_000_000;
/// Longest pause, in microseconds.
const PAUSE_MAX: u64 = 300_000_000;

/// When the store may be asked again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pause: u64,
    not_before: u64,
}

impl Pace {
    /// Moves what is to be moved, unless the store failed a short while ago. `true` when there is more to do at once.
    pub(crate) fn step(&mut self, store: &Store, engine: &Engine) -> bool {
        let now = store.host().clock.mono_micros();
        if now < self.not_before {
            return false;
        }
        match step(store, engine) {
            Ok(moved) => {
                *self = Self::default();
                moved > 0
            }
            Err(error) => {
                self.pause = (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
                self.not_before = now + self.pause;
                tracing::warn!(
                    error = crate::store::chain(&error),
                    pause_s = self.pause / 1_000_000,
                    "old column files stay here for now"
                );
                false
            }
        }
    }
}

/// One step: removes objects that nobody needs, then moves some files. Returns how many moved.
pub(crate) fn step(store: &Store, engine: &Engine) -> Result<usize, StoreError> {
    let files = store.bytes();
    let Some(remote) = files.remote() else { return Ok(0) };
    let failed = |name: &str, error: RemoteError| StoreError::Remote {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let leaving = files.leaving();
    for name in &leaving {
        engine.block_on(remote.remove(name)).map_err(|error| failed(name, error))?;
    }
    let chosen = to_move(store);
    if chosen.is_empty() {
        if !leaving.is_empty() {
            store.doubt(Vec::new(), &leaving)?;
            files.left(&leaving);
        }
        return Ok(0);
    }
    // A start must not need what is far away to know what is newest.
    let known = store.latest_entry().map_or(0, |entry| entry.seq);
    if chosen.iter().any(|file| file.entry.seq_to > known) {
        store.keep_latest()?;
    }
    let mut packed = Vec::new();
    for file in chosen {
        match files.packed(&file.entry.stored()) {
            Ok(pack) => packed.push((file, pack)),
            Err(fault) => files.note_fault(&file.entry.name, &fault),
        }
    }
    let names: Vec<String> = packed.iter().map(|(_, (stored, _))| stored.name.clone()).collect();
    store.doubt(names.clone(), &leaving)?;
    files.left(&leaving);

    let (mut old, mut new, mut result) = (Vec::new(), Vec::new(), Ok(()));
    for (file, (stored, bytes)) in packed {
        if let Err(error) = engine.block_on(remote.put(&stored.name, bytes)) {
            result = Err(failed(&stored.name, error));
            break;
        }
        let entry = FileEntry {
            name: stored.name,
            bytes: stored.bytes,
            checksums: stored.checksums,
            sealed: stored.sealed,
            remote: true,
            ..(*file.entry).clone()
        };
        new.push(store.live_file(entry));
        old.push(file);
    }
    for name in &names[new.len()..] {
        // It may have arrived all the same.
        files.leave(name);
    }
    let moved = new.len();
    if moved > 0 {
        store.replace_files(&old, new, false, |_| ())?;
        metrics::counter!("godwit_series_files_moved_total").increment(moved as u64);
        tracing::info!(files = moved, store = remote.url(), "moved old column files");
    }
    result.map(|()| moved)
}

/// The local files that are old enough, at most [`MOVES_AT_ONCE`].
fn to_move(store: &Store) -> Vec<LiveFile> {
    let after = store.settings().remote.after;
    let oldest = store.host().clock.now().minus(after).micros();
    let mut days: BTreeMap<i64, Vec<LiveFile>> = BTreeMap::new();
    for file in store.files().iter() {
        days.entry(file.entry.day).or_default().push(file.clone());
    }
    let mut chosen = Vec::new();
    for mut files in days.into_values() {
        files.sort_by_key(|file| file.entry.seq_to);
        let goes = |file: &&LiveFile| {
            file.entry.remote || (file.entry.newest() < oldest && !is_faulty(store.bytes(), file))
        };
        chosen.extend(files.iter().take_while(goes).filter(|file| !file.entry.remote).cloned());
        if chosen.len() >= MOVES_AT_ONCE {
            break;
        }
    }
    chosen.truncate(MOVES_AT_ONCE);
    chosen
}

fn is_faulty(files: &Files, file: &LiveFile) -> bool {
    files.is_faulty(&file.entry.name)
}
