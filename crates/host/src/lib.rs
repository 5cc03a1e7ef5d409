//! What the machine lends: clock, disk, randomness, keys, shutdown, each real and simulated; and turns at its doors.
//!
//! The only crate that asks the machine for time, randomness or files (the files that DataFusion and SQLite
//! keep for themselves aside). Everybody else takes a [`Host`], so that a test can lend a clock that jumps and a
//! disk that lies.

mod clock;
mod data_dir;
mod disk;
mod keys;
pub mod machine;
mod places;
mod random;
mod restoring;
mod shutdown;
pub mod sim;
mod thread;
mod turns;
mod whole_file;

pub use clock::{Clock, SystemClock};
pub use data_dir::{DataDir, DataDirError, FORMAT_VERSION, default_key_path};
pub use disk::{Disk, Entry, File, Space, SystemDisk};
pub use keys::{
    DataKey, HeldKey, KEYRING, KeyError, KeyRing, KeySource, KeyStatus, KeyStore, MasterKey, RING_KEYS_MAX,
    RecoveryCode, RingDocument, Rotated, WRAPPED_KEY_BYTES, WrappedKey, place_key,
};
pub use places::{Full, Place, Places};
pub use random::{Random, SystemRandom};
pub use restoring::{RestoreError, RestoredFrom, Restoring};
pub use shutdown::Shutdown;
pub use thread::lower_priority;
pub use turns::{Turn, Turns, neighbourhood};
pub use whole_file::WholeFile;

use std::sync::Arc;

/// What a room needs of the machine. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Keeps files.
    pub disk: Arc<dyn Disk>,
    /// Rolls the dice.
    pub random: Arc<dyn Random>,
    /// Wraps data keys.
    pub keys: Arc<KeyRing>,
    /// Which start of the process on its data directory this is, counted from 1.
    pub boot: u32,
}
