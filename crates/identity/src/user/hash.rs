//! Passwords that people choose: Argon2id, off the async threads, a few at a time.
//!
//! 19 MiB, two passes, one lane: what OWASP's password storage cheat sheet asks for at least, and about 25 ms of one
//! core. People log in a few times a day, so it could be dearer; but whoever is not logged in may make the server do
//! it, and with [`AT_ONCE`] hashes under way that costs 38 MiB and no more.
//!
//! Not here: whose password it is, and how often one may try (`throttle`). The laws: no more than [`AT_ONCE`] run,
//! no more than [`WAITING_MAX`] wait, the rest is refused at once; comparing takes the same time wherever the
//! difference is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Most hashes under way: two times 19 MiB, and one core left of a small machine's two.
const AT_ONCE: usize = 2;

/// Most that wait for it: under a second of work.
const WAITING_MAX: usize = 32;

const SALT_BYTES: usize = 16;

/// What is kept of a password: enough to know it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PasswordHash {
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) hash: [u8; 32],
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl PasswordHash {
    /// Of a new password. Takes about 25 ms.
    pub(super) fn of(password: &[u8], random: &dyn host::Random) -> Self {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        let mut made = Self { salt, hash: [0; 32], memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES };
        made.hash = made.derive(password).expect("our own parameters are within Argon2's bounds");
        made
    }

    /// One that no password has: it costs the same work to be refused by it.
    pub(super) fn of_nobody() -> Self {
        Self { salt: [0; SALT_BYTES], hash: [0; 32], memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES }
    }

    /// Whether it is the password. Takes about 25 ms.
    pub(super) fn knows(&self, password: &[u8]) -> bool {
        // Parameters that somebody wrote into the catalog by hand let nobody in.
        self.derive(password).is_some_and(|hash| verify_slices_are_equal(&hash, &self.hash).is_ok())
    }

    fn derive(&self, password: &[u8]) -> Option<[u8; 32]> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()?;
        let mut hash = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, &self.salt, &mut hash)
            .ok()?;
        Some(hash)
    }
}

/// There is too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

/// Does what is dear, off the async threads.
pub(super) struct Hasher {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), waiting: AtomicUsize::new(0) }
    }

    /// Runs `work` on a password when its turn comes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        password: Zeroizing<Vec<u8>>,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let waits = Waits::enter(&self.waiting)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Busy)?;
        drop(waits);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&password);
            // Given back here: a caller who went away does not make room for one more hash than is meant.
            drop(permit);
            done
        });
        done.await.map_err(|_| Busy)
    }
}

/// One who waits; counted until dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Result<Self, Busy> {
        let guard = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        if before >= WAITING_MAX { Err(Busy) } else { Ok(guard) }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other() {
        let hash = PasswordHash::of("Grüße, 🦜".as_bytes(), &host::SystemRandom);
        assert!(hash.knows("Grüße, 🦜".as_bytes()));
        assert!(!hash.knows(b"") && !hash.knows("Grüße".as_bytes()));
        assert!(PasswordHash::of("Grüße, 🦜".as_bytes(), &host::SystemRandom) != hash, "salted");
        assert!(!PasswordHash::of_nobody().knows(b""));
        assert!(!PasswordHash { memory_kib: 0, ..hash }.knows("Grüße, 🦜".as_bytes()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hashes_are_few_at_a_time_and_a_flood_is_refused() {
        let hasher = Arc::new(Hasher::new());
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = tokio::sync::watch::channel(false);
        let floods = (0..AT_ONCE + WAITING_MAX + 10).map(|_| {
            let (hasher, running, most) = (Arc::clone(&hasher), Arc::clone(&running), Arc::clone(&most));
            let mut gate = gate.clone();
            let handle = tokio::runtime::Handle::current();
            tokio::spawn(async move {
                let work = move |_: &[u8]| {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    handle.block_on(async { drop(gate.wait_for(|open| *open).await) });
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                hasher.run(Zeroizing::new(Vec::new()), work).await
            })
        });
        let floods: Vec<_> = floods.collect();
        // Those who are refused end at once; the others wait for the gate.
        while floods.iter().filter(|flood| flood.is_finished()).count() < 10 {
            tokio::task::yield_now().await;
        }
        open.send(true).expect("somebody waits");
        let done = futures::future::join_all(floods).await;
        let refused = done.iter().filter(|done| matches!(done, Ok(Err(Busy)))).count();
        assert_eq!(refused, 10);
        assert!((1..=AT_ONCE).contains(&most.load(Ordering::SeqCst)));
        assert!(hasher.run(Zeroizing::new(Vec::new()), |_| ()).await.is_ok(), "and then there is room again");
    }
}
