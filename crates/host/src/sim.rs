//! A simulated machine for tests: a clock that the test moves, a disk that lies, and dice from a seed.
//!
//! Not a mock: the disk keeps what a real one would keep and loses what a real one may lose. One seed gives one
//! history, so that a failure is found again by its seed. Nothing here reads the real clock, disk or dice.

mod clock;
mod disk;
mod random;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use random::SimRandom;

use std::sync::Arc;

use crate::{Host, KeyRing, Random};

/// A machine with its parts in reach of the test.
#[derive(Clone)]
pub struct Machine {
    /// The clock that the test moves.
    pub clock: Arc<SimClock>,
    /// The disk, as the running process sees it.
    pub disk: Arc<SimDisk>,
    /// The dice.
    pub random: Arc<SimRandom>,
    keys: Arc<KeyRing>,
    boot: u32,
}

impl Machine {
    /// A machine with an empty disk; everything about it follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = SimRandom::new(seed);
        let mut key = [0; 32];
        random.fill(&mut key);
        Self {
            clock: Arc::new(SimClock::new()),
            disk: Arc::new(SimDisk::new()),
            random: Arc::new(random),
            keys: Arc::new(KeyRing::new(&key)),
            boot: 1,
        }
    }

    /// What a process that runs on it now is lent.
    #[must_use]
    pub fn host(&self) -> Host {
        Host {
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            random: self.random.clone(),
            keys: Arc::clone(&self.keys),
            boot: self.boot,
        }
    }

    /// The process ends in good order and starts again: nothing on the disk is lost.
    pub fn restart(&mut self) {
        self.boot += 1;
        self.disk = Arc::new(self.disk.after_restart());
    }

    /// The power fails. What was not synced is lost wholly or in part, as the dice say. Whoever still holds a host
    /// of before gets errors from its disk.
    pub fn crash(&mut self) {
        self.boot += 1;
        self.disk = Arc::new(self.disk.after_crash(&self.random));
    }
}
