//! The keys of one data directory: opened by the master key at hand, rotated while everything runs.
//!
//! ```text
//! rotate     1  KEYRING: every key wrapped for the old master key and for the new one, and a new ring key
//!            2  the new master key is put in place
//!            3  KEYRING: the old master key opens nothing any more
//! ```
//!
//! A crash between the steps leaves a ring that both open; the next start ends what was begun. Not here: the form of
//! `KEYRING` (`document`). The laws: a master key that does not open the ring is refused before anything is changed; a
//! directory from before there were rings is changed only when its key was seen to open its data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Timestamp;
use parking_lot::Mutex;

use super::{DataKey, HeldKey, KeyError, KeyRing, MasterKey, RecoveryCode, RingDocument};
use crate::{Disk, Random};

/// Where the master key comes from.
#[derive(Clone)]
pub enum KeySource {
    /// A key file, made on the first start. `None`: `<data>.key` beside the directory.
    File(Option<PathBuf>),
    /// A key that somebody handed over, as an environment variable does.
    Held(HeldKey),
    /// Somebody who wraps and unwraps for us and never tells the key.
    Keeper(Arc<dyn MasterKey>),
}

/// The keys of a data directory.
pub struct KeyStore {
    dir: PathBuf,
    ring: Arc<KeyRing>,
    state: Mutex<State>,
}

struct State {
    /// `None`: from before there were rings; the master key is the ring's only key.
    document: Option<RingDocument>,
    master: Arc<dyn MasterKey>,
    kept: Kept,
}

/// How the master key is put in place.
enum Kept {
    File(PathBuf, HeldKey),
    Held(HeldKey),
    Keeper(Arc<dyn MasterKey>),
}

/// What is known of a directory's keys. No secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Where the master key is kept: `key file …`, `handed over`, `vault:…`.
    pub place: String,
    /// Id of the master key that this process has.
    pub master: String,
    /// Id of the master key that the next start needs, when it is another one.
    pub next_master: Option<String>,
    /// The ring's keys with the time when each was made, oldest first. Empty: from before there were rings.
    pub keys: Vec<(String, String)>,
    /// When the recovery code was made; `None`: there is none.
    pub recovery: Option<String>,
}

/// What came of a rotation.
pub struct Rotated {
    /// Id of the new master key.
    pub master: String,
    /// Id of the ring key that wraps from now on.
    pub ring_key: String,
    /// The new master key, when somebody must put it in place: shown once, kept nowhere.
    pub to_place: Option<HeldKey>,
}

impl KeyStore {
    /// Opens the ring of the directory `dir`, or makes it on the first start. `has_ring`: the directory says that it has
    /// one. `may_write`: ends a rotation that was cut off.
    pub(crate) fn open(
        dir: &Path,
        source: &KeySource,
        (first_start, has_ring, may_write): (bool, bool, bool),
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, KeyError> {
        let document = RingDocument::read(dir, disk)?;
        if document.is_none() && has_ring {
            return Err(KeyError::NoRing { path: dir.join(super::KEYRING) });
        }
        let kept = Kept::find(dir, source, first_start, disk, random)?;
        let master = kept.master();
        let (document, ring) = match document {
            Some(mut document) => {
                let ring = document.unlock(&*master)?;
                // What lies in the key file is the key of today; what is handed over may be the one before.
                let is_today = matches!(kept, Kept::File(..)) || document.master() == master.id();
                if is_today && document.keep_only(&master.id()) && may_write {
                    document.write(dir, disk)?;
                }
                (Some(document), ring)
            }
            None if first_start => {
                let mut key = DataKey::new([0; 32]);
                random.fill(&mut *key);
                let ring = KeyRing::new(&key);
                let mut document = RingDocument::new(&*master);
                let now = crate::Clock::now(&crate::SystemClock::start());
                document.add(&ring, (&ring.id(), &key), now, &[&*master], random)?;
                document.write(dir, disk)?;
                (Some(document), ring)
            }
            None => (None, kept.ring_of_before(&*master)?),
        };
        let state = Mutex::new(State { document, master, kept });
        Ok(Self { dir: dir.to_owned(), ring: Arc::new(ring), state })
    }

    /// Opens the ring by the recovery code and makes `source` its master key: a key file is made when it is not there.
    pub(crate) fn recover(
        dir: &Path,
        code: &RecoveryCode,
        source: &KeySource,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, KeyError> {
        let document = RingDocument::read(dir, disk)?;
        let mut document = document.ok_or_else(|| KeyError::NoRing { path: dir.join(super::KEYRING) })?;
        let ring = document.unlock(&code.key()).map_err(|_| KeyError::Recovery)?;
        let kept = Kept::find(dir, source, true, disk, random)?;
        let master = kept.master();
        document.wrap_for(&ring, &*master, random)?;
        document.keep_only(&master.id());
        document.write(dir, disk)?;
        let state = Mutex::new(State { document: Some(document), master, kept });
        Ok(Self { dir: dir.to_owned(), ring: Arc::new(ring), state })
    }

    /// The ring: what rooms wrap data keys by.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }

    /// The key file, when the master key is in one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        match &self.state.lock().kept {
            Kept::File(path, _) => Some(path.clone()),
            Kept::Held(_) | Kept::Keeper(_) => None,
        }
    }

    /// The ring as it is wrapped now, for a backup; `None`: from before there were rings.
    #[must_use]
    pub fn document(&self) -> Option<RingDocument> {
        self.state.lock().document.clone()
    }

    /// What is known of the keys.
    #[must_use]
    pub fn status(&self) -> KeyStatus {
        let state = self.state.lock();
        let master = state.master.id();
        let today = state.document.as_ref().map(|document| document.master().to_owned());
        KeyStatus {
            place: match &state.kept {
                Kept::File(path, _) => format!("key file {}", path.display()),
                Kept::Held(_) => "handed over by the environment".to_owned(),
                Kept::Keeper(_) => master.clone(),
            },
            next_master: today.filter(|today| *today != master),
            master,
            keys: state.document.as_ref().map(RingDocument::keys).unwrap_or_default(),
            recovery: state
                .document
                .as_ref()
                .and_then(|document| document.recovery_created().map(str::to_owned)),
        }
    }

    /// Gives a directory from before there were rings its ring: the key it had, and a new one that wraps from now on.
    /// Call it when the data was seen to open. Whether it did something.
    ///
    /// # Errors
    /// [`KeyError`]: nothing was changed then.
    pub(crate) fn adopt(
        &self,
        now: Timestamp,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<bool, KeyError> {
        let mut state = self.state.lock();
        if state.document.is_some() {
            return Ok(false);
        }
        let mut document = RingDocument::new(&*state.master);
        for (id, key) in self.ring.all() {
            document.add(&self.ring, (&id, &key), now, &[&*state.master], random)?;
        }
        self.grow(&mut document, now, &[&*state.master], disk, random)?;
        state.document = Some(document);
        Ok(true)
    }

    /// Makes a new master key and a new ring key. Data is not rewritten, and what is being written goes on. In a key
    /// file the new key takes the old one's place; a keeper is asked to rotate; a key that was handed over comes back
    /// to be put in place: until the next start with it, the old one opens the ring too, and there is no further rotation.
    ///
    /// # Errors
    /// [`KeyError`]: the old master key is the one of today then.
    pub fn rotate(&self, now: Timestamp, disk: &dyn Disk, random: &dyn Random) -> Result<Rotated, KeyError> {
        self.adopt(now, disk, random)?;
        let mut state = self.state.lock();
        let mut document = state.document.clone().ok_or(KeyError::Damaged)?;
        // What is handed over at the next start may still be this one: a further key would be wrapped for two others.
        if let Kept::Held(handed) = &state.kept
            && document.master() != handed.id()
        {
            return Err(KeyError::NotPlaced { wanted: document.master().to_owned() });
        }
        let old = Arc::clone(&state.master);
        let next = HeldKey::generate(random);
        let mut to_place = None;
        match &state.kept {
            Kept::File(path, _) => {
                let path = path.clone();
                document.wrap_for(&self.ring, &next, random)?;
                self.grow(&mut document, now, &[&*old, &next], disk, random)?;
                state.document = Some(document.clone());
                next.write(&path, disk)?;
                document.keep_only(&next.id());
                (state.kept, state.master) = (Kept::File(path, next.clone()), Arc::new(next));
                document.write(&self.dir, disk)?;
            }
            Kept::Held(_) => {
                document.wrap_for(&self.ring, &next, random)?;
                document.set_master(&next.id());
                self.grow(&mut document, now, &[&*old, &next], disk, random)?;
                to_place = Some(next.clone());
                // `kept` stays what the environment has.
                state.master = Arc::new(next);
            }
            Kept::Keeper(_) => {
                old.renew()?;
                document.wrap_for(&self.ring, &*old, random)?;
                self.grow(&mut document, now, &[&*old], disk, random)?;
            }
        }
        let master = state.master.id();
        state.document = Some(document);
        Ok(Rotated { master, ring_key: self.ring.id(), to_place })
    }

    /// Makes `source` the place of the master key from now on. A key file is made when it is not there.
    ///
    /// # Errors
    /// [`KeyError`]: the old master key is the one of today then.
    pub fn move_to(
        &self,
        source: &KeySource,
        now: Timestamp,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<KeyStatus, KeyError> {
        self.adopt(now, disk, random)?;
        {
            let mut state = self.state.lock();
            let mut document = state.document.clone().ok_or(KeyError::Damaged)?;
            let kept = Kept::find(&self.dir, source, true, disk, random)?;
            let master = kept.master();
            document.wrap_for(&self.ring, &*master, random)?;
            document.keep_only(&master.id());
            document.write(&self.dir, disk)?;
            *state = State { document: Some(document), master, kept };
        }
        Ok(self.status())
    }

    /// Makes a new recovery code; the one before opens nothing any more. It cannot be had again.
    ///
    /// # Errors
    /// [`KeyError`]: the code before is the one of today then.
    pub fn new_recovery_code(
        &self,
        now: Timestamp,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<RecoveryCode, KeyError> {
        self.adopt(now, disk, random)?;
        let mut state = self.state.lock();
        let mut document = state.document.clone().ok_or(KeyError::Damaged)?;
        let code = RecoveryCode::generate(random);
        document.set_recovery(&self.ring, &code, now, random)?;
        document.write(&self.dir, disk)?;
        state.document = Some(document);
        Ok(code)
    }

    /// Adds a new ring key: to the document, to the disk, and then to the ring.
    fn grow(
        &self,
        document: &mut RingDocument,
        now: Timestamp,
        masters: &[&dyn MasterKey],
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<(), KeyError> {
        let mut key = DataKey::new([0; 32]);
        random.fill(&mut *key);
        let id = KeyRing::new(&key).id();
        document.add(&self.ring, (&id, &key), now, masters, random)?;
        // On stable storage before anything is wrapped by it.
        document.write(&self.dir, disk)?;
        self.ring.add(&key);
        Ok(())
    }
}

impl Kept {
    fn find(
        dir: &Path,
        source: &KeySource,
        may_make: bool,
        disk: &dyn Disk,
        random: &dyn Random,
    ) -> Result<Self, KeyError> {
        match source {
            KeySource::File(path) => {
                let path = path.clone().unwrap_or_else(|| crate::default_key_path(dir));
                match HeldKey::read(&path, disk)? {
                    Some(key) => Ok(Self::File(path, key)),
                    None if may_make => {
                        let key = HeldKey::generate(random);
                        key.write(&path, disk)?;
                        Ok(Self::File(path, key))
                    }
                    None => Err(KeyError::Missing { path, data: dir.to_owned() }),
                }
            }
            KeySource::Held(key) => Ok(Self::Held(key.clone())),
            KeySource::Keeper(keeper) => Ok(Self::Keeper(Arc::clone(keeper))),
        }
    }

    fn master(&self) -> Arc<dyn MasterKey> {
        match self {
            Self::File(_, key) | Self::Held(key) => Arc::new(key.clone()),
            Self::Keeper(keeper) => Arc::clone(keeper),
        }
    }

    /// The ring of a directory from before there were rings: the master key itself.
    fn ring_of_before(&self, master: &dyn MasterKey) -> Result<KeyRing, KeyError> {
        match self {
            Self::File(_, key) | Self::Held(key) => Ok(key.ring_of_before()),
            Self::Keeper(_) => Err(KeyError::OtherMaster {
                wanted: vec!["of its key file".to_owned()],
                present: master.id(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{SimDisk, SimRandom};
    use crate::{SystemRandom, WrappedKey};

    const NOW: Timestamp = Timestamp::from_micros(1_780_272_000_000_000);

    fn dir() -> &'static Path {
        Path::new("/home/data")
    }

    fn key_path() -> PathBuf {
        PathBuf::from("/home/data.key")
    }

    fn disk() -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir(dir()).expect("made");
        disk
    }

    fn open(disk: &SimDisk, first: bool) -> Result<KeyStore, KeyError> {
        KeyStore::open(dir(), &KeySource::File(None), (first, !first, true), disk, &SystemRandom)
    }

    fn seal(store: &KeyStore) -> (DataKey, WrappedKey) {
        store.ring().new_data_key(b"a file", &SystemRandom)
    }

    fn opens(store: &KeyStore, (key, wrapped): &(DataKey, WrappedKey)) -> bool {
        store.ring().unwrap(wrapped, b"a file").is_ok_and(|opened| opened == *key)
    }

    #[test]
    fn a_rotation_takes_the_old_master_key_s_worth_and_rewrites_no_data() {
        let disk = disk();
        let store = open(&disk, true).expect("made");
        let before = seal(&store);
        let old = HeldKey::read(&key_path(), &disk).expect("read").expect("there");
        let rotated = store.rotate(NOW, &disk, &SystemRandom).expect("rotated");
        assert!(rotated.to_place.is_none(), "the key file was written");
        assert!(opens(&store, &before), "in the middle of everything");
        let after = seal(&store);
        assert_eq!(store.status().keys.len(), 2);
        assert_eq!(rotated.ring_key, store.ring().id());

        let again = open(&disk, false).expect("by the new key");
        assert!(opens(&again, &before) && opens(&again, &after));
        assert_eq!(again.status().master, rotated.master);
        disk.replace(&key_path(), old.reveal().as_bytes()).expect("put back");
        let refused = open(&disk, false).err().expect("worth nothing any more");
        assert!(matches!(refused, KeyError::OtherMaster { .. }), "{refused}");
        assert!(refused.to_string().contains(&rotated.master), "{refused}");
    }

    #[test]
    fn a_crash_in_a_rotation_leaves_a_ring_that_the_key_in_place_opens() {
        let mut cut = 0;
        for changes in 0.. {
            let disk = disk();
            let store = open(&disk, true).expect("made");
            let before = seal(&store);
            disk.cut_power_after(changes);
            let whole = store.rotate(NOW, &disk, &SystemRandom).is_ok();
            let during = seal(&store);
            let disk = disk.after_crash(&SimRandom::new(changes));
            let again = open(&disk, false).unwrap_or_else(|error| panic!("after {changes} changes: {error}"));
            assert!(opens(&again, &before), "after {changes} changes");
            assert!(opens(&again, &during), "what was wrapped meanwhile, after {changes} changes");
            again.rotate(NOW, &disk, &SystemRandom).expect("the next one is whole");
            assert!(opens(&open(&disk, false).expect("opened"), &before));
            if whole {
                break;
            }
            cut += 1;
        }
        assert!(cut >= 3, "there was something to cut off: {cut}");
    }

    #[test]
    fn a_key_that_was_handed_over_and_its_successor_open_until_the_successor_is_in_place() {
        let disk = disk();
        let first = HeldKey::generate(&SystemRandom);
        let open = |key: &HeldKey, first| {
            KeyStore::open(dir(), &KeySource::Held(key.clone()), (first, !first, true), &disk, &SystemRandom)
        };
        let store = open(&first, true).expect("made");
        let before = seal(&store);
        let next = store.rotate(NOW, &disk, &SystemRandom).expect("rotated").to_place.expect("to be placed");
        let refused =
            store.rotate(NOW, &disk, &SystemRandom).err().expect("not before the first is in place");
        assert!(matches!(refused, KeyError::NotPlaced { .. }), "{refused}");
        let old = open(&first, false).expect("the restart came before the operator");
        assert!(opens(&old, &seal(&store)), "what was sealed since opens, too");
        assert!(matches!(old.rotate(NOW, &disk, &SystemRandom), Err(KeyError::NotPlaced { .. })));
        assert_eq!(old.status().next_master, Some(next.id()), "it says which key is to come");
        assert!(opens(&old, &before));
        let new = open(&next, false).expect("in place");
        assert!(opens(&new, &before));
        assert_eq!(new.status().next_master, None);
        assert!(matches!(open(&first, false), Err(KeyError::OtherMaster { .. })), "its time is over");
        new.rotate(NOW, &disk, &SystemRandom).expect("and so on");
    }

    #[test]
    fn the_recovery_code_opens_what_was_added_later_and_only_the_newest_code_does() {
        let disk = disk();
        let store = open(&disk, true).expect("made");
        let first = store.new_recovery_code(NOW, &disk, &SystemRandom).expect("a code");
        let second = store.new_recovery_code(NOW, &disk, &SystemRandom).expect("another");
        store.rotate(NOW, &disk, &SystemRandom).expect("rotated");
        let sealed = seal(&store);
        disk.remove(&key_path()).expect("lost");
        assert!(matches!(open(&disk, false), Err(KeyError::Missing { .. })));
        let recover = |code| KeyStore::recover(dir(), code, &KeySource::File(None), &disk, &SystemRandom);
        assert!(matches!(recover(&first), Err(KeyError::Recovery)));
        assert!(opens(&recover(&second).expect("opened"), &sealed));
        assert!(opens(&open(&disk, false).expect("with a new key file"), &sealed));
    }

    #[test]
    fn a_directory_of_before_keeps_its_key_until_it_is_seen_to_open() {
        let disk = disk();
        let key = HeldKey::generate(&SystemRandom);
        disk.replace(&key_path(), key.reveal().as_bytes()).expect("written");
        let of_before = KeyRing::new(key.bytes()).new_data_key(b"a file", &SystemRandom);
        let open = |has_ring| {
            KeyStore::open(dir(), &KeySource::File(None), (false, has_ring, true), &disk, &SystemRandom)
        };
        let store = open(false).expect("opened");
        assert!(opens(&store, &of_before));
        assert!(RingDocument::read(dir(), &disk).expect("looked").is_none(), "nothing was written");
        assert!(store.adopt(NOW, &disk, &SystemRandom).expect("adopted"));
        assert!(!store.adopt(NOW, &disk, &SystemRandom).expect("done before"));
        let store = open(true).expect("opened");
        assert!(opens(&store, &of_before));
        assert_ne!(store.ring().id(), KeyRing::new(key.bytes()).id(), "another key wraps from now on");
        disk.remove(&dir().join(super::super::KEYRING)).expect("lost");
        assert!(matches!(open(true), Err(KeyError::NoRing { .. })));
    }

    #[test]
    fn no_key_lies_in_the_ring_s_file_in_the_clear() {
        let disk = disk();
        let store = open(&disk, true).expect("made");
        let code = store.new_recovery_code(NOW, &disk, &SystemRandom).expect("a code");
        store.rotate(NOW, &disk, &SystemRandom).expect("rotated");
        let text = disk.content(&dir().join(super::super::KEYRING)).expect("there");
        let text = String::from_utf8(text).expect("JSON");
        for (_, key) in store.ring().all() {
            assert!(!text.contains(&super::super::hex(&*key)));
        }
        let master = HeldKey::read(&key_path(), &disk).expect("read").expect("there");
        assert!(!text.contains(&**master.reveal()) && !text.contains(&*code.reveal().replace('-', "")));
        assert!(!text.contains(&super::super::hex(code.key().bytes())));
    }

    #[test]
    fn a_damaged_ring_is_refused_by_name() {
        let disk = disk();
        drop(open(&disk, true).expect("made"));
        let path = dir().join(super::super::KEYRING);
        let whole = disk.content(&path).expect("there");
        disk.replace(&path, b"{}").expect("written");
        assert!(matches!(open(&disk, false), Err(KeyError::Ring { .. })));
        let text = String::from_utf8(whole).expect("JSON");
        let at = text.find("wrapped").expect("there") + 80;
        let mut changed = text.into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        disk.replace(&path, &changed).expect("written");
        assert!(matches!(open(&disk, false), Err(KeyError::Damaged)));
    }
}
