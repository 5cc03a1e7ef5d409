//! How often somebody may try a password.
//!
//! Two buckets are asked, each filled again with time: that of the address ([`ADDRESS`]), and that of the name
//! ([`NAME`]). Who logged in as this user from this address before is not asked for the second: so a stranger who
//! tries a name from a thousand addresses slows strangers down, and the user himself not. A try is paid before it is
//! judged and given back when it was right, so that tries at one time are bounded too.
//!
//! Not here: whether the password is right. The laws: memory is bounded whatever comes; nobody is locked out for
//! longer than a bucket takes to hold one try again; time comes in with the call.

use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

/// How many tries a bucket holds, and how long one takes to come back.
#[derive(Clone, Copy)]
struct Size {
    tries: f64,
    micros_per_try: f64,
}

/// Of an address: ten typing errors at once, then ten a minute. A household behind one address is not stopped by one
/// of its members; a stranger gets 14,400 tries a day.
const ADDRESS: Size = Size { tries: 10.0, micros_per_try: 6e6 };

/// Of a name, for all addresses that never logged in with it together: 2,880 tries a day, however many addresses.
const NAME: Size = Size { tries: 20.0, micros_per_try: 30e6 };

/// Most buckets of a kind in memory; beyond, the fullest is forgotten, which is the one that matters least.
const BUCKETS_MAX: usize = 10_000;

/// Most addresses that are remembered of those who logged in.
const FAMILIAR_MAX: usize = 10_000;

#[derive(Clone, Copy)]
struct Bucket {
    tries: f64,
    at: u64,
}

/// Buckets of one kind.
struct Buckets<K> {
    size: Size,
    kept: HashMap<K, Bucket>,
}

impl<K: std::hash::Hash + Eq + Clone> Buckets<K> {
    fn new(size: Size) -> Self {
        Self { size, kept: HashMap::new() }
    }

    fn level(&self, bucket: Bucket, now: u64) -> f64 {
        let passed = now.saturating_sub(bucket.at) as f64;
        (bucket.tries + passed / self.size.micros_per_try).min(self.size.tries)
    }

    /// Seconds until there is a try, 0 for now.
    fn wait_s(&self, key: &K, now: u64) -> u64 {
        let level = self.kept.get(key).map_or(self.size.tries, |bucket| self.level(*bucket, now));
        if level >= 1.0 { 0 } else { ((1.0 - level) * self.size.micros_per_try / 1e6).ceil() as u64 }
    }

    fn take(&mut self, key: K, now: u64) {
        let level = self.kept.get(&key).map_or(self.size.tries, |bucket| self.level(*bucket, now));
        if self.kept.len() >= BUCKETS_MAX && !self.kept.contains_key(&key) {
            let fullest =
                self.kept.iter().max_by(|a, b| self.level(*a.1, now).total_cmp(&self.level(*b.1, now)));
            if let Some(fullest) = fullest.map(|(key, _)| key.clone()) {
                self.kept.remove(&fullest);
            }
        }
        self.kept.insert(key, Bucket { tries: level - 1.0, at: now });
    }

    fn give_back(&mut self, key: &K, now: u64) {
        if let Some(bucket) = self.kept.get(key).copied() {
            let level = self.level(bucket, now) + 1.0;
            if level >= self.size.tries {
                self.kept.remove(key);
            } else {
                self.kept.insert(key.clone(), Bucket { tries: level, at: now });
            }
        }
    }
}

struct State {
    addresses: Buckets<IpAddr>,
    /// By a hash of the name, whether somebody has it or not: an answer tells nothing.
    names: Buckets<u64>,
    /// Addresses from which a name was logged in with.
    familiar: HashSet<(u64, IpAddr)>,
    hasher: hashbrown::DefaultHashBuilder,
}

/// All buckets.
pub(super) struct Throttle {
    state: Mutex<State>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                addresses: Buckets::new(ADDRESS),
                names: Buckets::new(NAME),
                familiar: HashSet::new(),
                hasher: hashbrown::DefaultHashBuilder::default(),
            }),
        }
    }
}

impl Throttle {
    /// Takes a try, or says how many seconds to wait.
    pub(super) fn take(&self, name: &str, address: IpAddr, now: u64) -> Result<(), u64> {
        let mut state = self.state.lock();
        let (name, network) = (state.hash(name), host::neighbourhood(address));
        let is_familiar = state.familiar.contains(&(name, network));
        let mut wait_s = state.addresses.wait_s(&network, now);
        if !is_familiar {
            wait_s = wait_s.max(state.names.wait_s(&name, now));
        }
        if wait_s > 0 {
            return Err(wait_s);
        }
        state.addresses.take(network, now);
        if !is_familiar {
            state.names.take(name, now);
        }
        Ok(())
    }

    /// The try was right: it is given back, and the address is remembered.
    pub(super) fn was_right(&self, name: &str, address: IpAddr, now: u64) {
        let mut state = self.state.lock();
        let (name, network) = (state.hash(name), host::neighbourhood(address));
        state.addresses.give_back(&network, now);
        if !state.familiar.contains(&(name, network)) {
            state.names.give_back(&name, now);
            if state.familiar.len() >= FAMILIAR_MAX {
                // Which one is of no matter: it costs its user the second bucket once.
                let one = state.familiar.iter().next().copied();
                one.map(|one| state.familiar.remove(&one));
            }
            state.familiar.insert((name, network));
        }
    }

    /// Forgets what was tried with a name: its user has another password.
    pub(super) fn forgive(&self, name: &str) {
        let mut state = self.state.lock();
        let name = state.hash(name);
        state.names.kept.remove(&name);
    }
}

impl State {
    fn hash(&self, name: &str) -> u64 {
        std::hash::BuildHasher::hash_one(&self.hasher, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn an_address_has_ten_tries_and_gets_one_back_every_six_seconds() {
        let throttle = Throttle::default();
        let tries = |now: u64| {
            (0..100).take_while(|n| throttle.take(&format!("user{n}"), v4(1), now).is_ok()).count()
        };
        assert_eq!(tries(0), 10);
        assert_eq!(throttle.take("x", v4(1), 0), Err(6));
        assert_eq!(throttle.take("x", v4(1), 5 * SECOND), Err(1));
        assert_eq!(tries(6 * SECOND), 1);
        assert_eq!(throttle.take("x", v4(2), 0), Ok(()), "another address is not meant");
        assert_eq!(tries(3600 * SECOND), 10, "no more than a bucket holds");
    }

    #[test]
    fn strangers_from_everywhere_do_not_lock_the_user_out() {
        let throttle = Throttle::default();
        let (home, now) = (v4(0x0a00_0001), 0);
        throttle.take("admin", home, now).expect("the first");
        throttle.was_right("admin", home, now);
        let passed = (100..2100).filter(|n| throttle.take("admin", v4(*n), now).is_ok()).count();
        assert_eq!(passed, 20, "however many addresses");
        assert!(throttle.take("admin", v4(7), now).is_err());
        for _ in 0..100 {
            throttle.take("admin", home, now).expect("he is known there");
            throttle.was_right("admin", home, now);
        }
        throttle.forgive("admin");
        assert!(throttle.take("admin", v4(7), now).is_ok(), "a new password, a new bucket");
    }

    #[test]
    fn memory_is_bounded_and_an_empty_bucket_is_not_forgotten_for_full_ones() {
        let throttle = Throttle::default();
        while throttle.take("victim", v4(1), 0).is_ok() {}
        for n in 0..u32::try_from(BUCKETS_MAX).expect("small") + 200 {
            let _ = throttle.take(&format!("name{n}"), v4(1000 + n), 0);
        }
        let state = throttle.state.lock();
        assert!(state.addresses.kept.len() <= BUCKETS_MAX && state.names.kept.len() <= BUCKETS_MAX);
        drop(state);
        assert!(throttle.take("other", v4(1), 0).is_err(), "it is still empty");
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_address() {
        let throttle = Throttle::default();
        let take = |address: &str, name: &str| {
            let address: IpAddr = address.parse().expect("an address");
            throttle.take(name, address, 0).is_ok()
        };
        let tries = (0..100).take_while(|n| take(&format!("2001:db8:1:2::{n:x}"), &format!("user{n}")));
        assert_eq!(tries.count(), 10, "whichever of his he shows");
        assert!(!take("2001:db8:1:2:ffff::9", "x"));
        assert!(take("2001:db8:1:3::1", "x"), "his neighbour is not meant");
        let tries = (0..100).take_while(|n| take("::ffff:10.0.0.1", &format!("user{n}")));
        assert_eq!(tries.count(), 10);
        assert!(!take("10.0.0.1", "x"), "a mapped IPv4 address is that address");
        // Where he logged in once he is known, with all of his addresses.
        let throttle = Throttle::default();
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        throttle.take("admin", of("2001:db8::1"), 0).expect("the first");
        throttle.was_right("admin", of("2001:db8::1"), 0);
        while (100..2100).any(|n| throttle.take("admin", v4(n), 0).is_ok()) {}
        assert!(throttle.take("admin", of("2001:db8::2"), 0).is_ok());
    }
}
