//! Two hosts with one identity: a certificate or a password that was copied is used from two places in turn.
//!
//! Pure: connections come in with their time, a verdict goes out. The rule:
//!
//! ```text
//! addresses   A     B     A     B     A          within 10 minutes
//!             new   new   back  back  back  →    the third time that an address is back: cloned
//! ```
//!
//! A device that roams is at a new address each time, and one that comes home is back once. Not here: hosts behind one
//! address, which nothing tells apart; two that never take turns. The law: a device that changes its address any number of
//! times, and never comes back to one within the window, is not flagged.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use model::{DeviceName, Timestamp};

/// How long an address is remembered after a device was there.
pub const CLONE_WINDOW: Duration = Duration::from_secs(10 * 60);

/// So many times a device is back at an address within [`CLONE_WINDOW`] before it is flagged. A device that flaps between
/// two networks is back once or twice while they settle.
pub const CLONE_RETURNS: usize = 3;

/// Addresses that are remembered of a device beside the one it is at: a third host still leaves both of the others known.
const ADDRESSES_MAX: usize = 4;

/// Most devices that are watched, the fleet that one machine is meant for: some 150 bytes each.
const DEVICES_MAX: usize = 100_000;

/// A connection of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When it was opened.
    pub at: Timestamp,
    /// From where.
    pub address: IpAddr,
    /// With which client id.
    pub client_id: String,
}

/// What a device's connections were lately.
struct Trail {
    here: Sighting,
    /// Where it was before, the latest first.
    before: VecDeque<Sighting>,
    returns: VecDeque<Timestamp>,
}

/// The connections of all devices.
#[derive(Default)]
pub(super) struct Clones {
    trails: HashMap<DeviceName, Trail>,
}

impl Clones {
    /// A device has connected; the two hosts, the later first, if it is to be flagged.
    pub(super) fn connected(&mut self, device: &DeviceName, seen: Sighting) -> Option<[Sighting; 2]> {
        let now = seen.at;
        let Some(trail) = self.trails.get_mut(device) else {
            self.admit(device, seen);
            return None;
        };
        let is_elsewhere = trail.here.address != seen.address;
        let last = std::mem::replace(&mut trail.here, seen);
        if !is_elsewhere {
            return None;
        }
        trail.before.retain(|one| is_recent(one.at, now) && one.address != last.address);
        trail.before.push_front(last.clone());
        trail.before.truncate(ADDRESSES_MAX);
        trail.returns.retain(|at| is_recent(*at, now));
        let here = &trail.here;
        if trail.before.iter().any(|one| one.address == here.address) {
            trail.returns.push_back(now);
        }
        trail.before.retain(|one| one.address != trail.here.address);
        if trail.returns.len() < CLONE_RETURNS {
            return None;
        }
        // From here it is counted anew: told once in a while, not at each connection.
        trail.returns.clear();
        Some([trail.here.clone(), last])
    }

    fn admit(&mut self, device: &DeviceName, seen: Sighting) {
        if self.trails.len() >= DEVICES_MAX {
            let now = seen.at;
            // What is older says nothing any more.
            self.trails.retain(|_, trail| is_recent(trail.here.at, now));
        }
        if self.trails.len() < DEVICES_MAX {
            let trail = Trail { here: seen, before: VecDeque::new(), returns: VecDeque::new() };
            self.trails.insert(device.clone(), trail);
        }
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    let window = i64::try_from(CLONE_WINDOW.as_micros()).expect("minutes fit");
    now.micros().saturating_sub(at.micros()) <= window
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place in a row of connections at which a device is first flagged: `(minute, last number of its address)`.
    fn flagged_at(connections: &[(i64, u8)]) -> Option<usize> {
        let mut clones = Clones::default();
        let device = DeviceName::parse("pump-1").expect("a name");
        connections.iter().position(|(minute, host)| {
            let at = Timestamp::from_micros(minute * 60_000_000);
            let address = IpAddr::from([10, 0, 0, *host]);
            clones.connected(&device, Sighting { at, address, client_id: "pump-1".to_owned() }).is_some()
        })
    }

    #[test]
    fn two_hosts_that_take_turns_are_flagged_and_one_that_roams_is_not() {
        assert_eq!(flagged_at(&[(0, 1), (1, 2), (2, 1), (3, 2), (4, 1)]), Some(4));
        assert_eq!(flagged_at(&[(0, 1), (1, 2)]), None, "it roams once");
        assert_eq!(flagged_at(&[(0, 1), (1, 2), (2, 1)]), None, "and comes home");
        let far: Vec<_> = (0..50).map(|n| (n, u8::try_from(n).expect("small"))).collect();
        assert_eq!(flagged_at(&far), None, "a new address each time is a journey");
        let reconnects: Vec<_> = (0..50).map(|n| (n, 1)).collect();
        assert_eq!(flagged_at(&reconnects), None, "one address, however often");
        let daily: Vec<_> = (0..50).map(|n| (n * 11, u8::from(n % 2 == 0))).collect();
        assert_eq!(flagged_at(&daily), None, "between two networks, in its own time");
    }

    #[test]
    fn a_third_host_hides_nothing() {
        assert_eq!(flagged_at(&[(0, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)]), Some(5));
    }

    #[test]
    fn both_hosts_are_told_and_told_again_only_after_as_much_again() {
        let mut clones = Clones::default();
        let device = DeviceName::parse("pump-1").expect("a name");
        let mut flags = Vec::new();
        for n in 0..11_u8 {
            let address = IpAddr::from([10, 0, 0, n % 2]);
            let at = Timestamp::from_micros(i64::from(n) * 1_000_000);
            let seen = Sighting { at, address, client_id: format!("c{}", n % 2) };
            flags.extend(clones.connected(&device, seen));
        }
        assert_eq!(flags.len(), 3);
        let [later, earlier] = &flags[0];
        assert_eq!((later.client_id.as_str(), later.at.micros()), ("c0", 4_000_000));
        assert_eq!((earlier.client_id.as_str(), earlier.at.micros()), ("c1", 3_000_000));
    }

    #[test]
    fn what_is_watched_is_bounded_and_the_recent_stay() {
        let mut clones = Clones::default();
        let name = |n: usize| DeviceName::parse(format!("d{n}")).expect("a name");
        let seen = |minute: i64| {
            let at = Timestamp::from_micros(minute * 60_000_000);
            Sighting { at, address: IpAddr::from([10, 0, 0, 1]), client_id: String::new() }
        };
        for n in 0..DEVICES_MAX {
            clones.connected(&name(n), seen(if n == 7 { 60 } else { 0 }));
        }
        clones.connected(&name(DEVICES_MAX), seen(60));
        assert_eq!(clones.trails.len(), 2);
        assert!(clones.trails.contains_key(&name(7)));
    }
}
