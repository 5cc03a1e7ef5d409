//! The connections whose clients have not logged in yet.
//!
//! Not here: those that are in (`postgres.connections_max`). The law: whoever connects and says nothing, or guesses,
//! keeps out those of his own address at most, and nobody who is in already.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections of all addresses together: each holds a socket and 10 KB at most, for `startup_timeout`.
const PENDING_MAX: usize = 256;

/// Connections of one address, or one /64 of IPv6: a pool that opens all its connections at once has room.
const PENDING_PER_ADDRESS_MAX: usize = 32;

/// Who is logging in.
#[derive(Default)]
pub(crate) struct Pending {
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Pending {
    /// Takes a connection in, until what this returns is dropped; `None` when there are too many.
    pub(crate) fn add(self: &Arc<Self>, address: IpAddr) -> Option<Waiting> {
        let address = host::neighbourhood(address);
        let mut by_address = self.by_address.lock();
        if by_address.values().sum::<usize>() >= PENDING_MAX {
            return None;
        }
        let own = by_address.entry(address).or_default();
        if *own >= PENDING_PER_ADDRESS_MAX {
            return None;
        }
        *own += 1;
        drop(by_address);
        Some(Waiting { pending: Arc::clone(self), address })
    }
}

/// A connection that is logging in.
pub(crate) struct Waiting {
    pending: Arc<Pending>,
    address: IpAddr,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut by_address = self.pending.by_address.lock();
        if let Some(own) = by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn who_waits_keeps_out_his_own_address_and_a_place_comes_back() {
        let pending = Arc::new(Pending::default());
        let mut first: Vec<Waiting> = std::iter::from_fn(|| pending.add(address(1))).collect();
        assert_eq!(first.len(), PENDING_PER_ADDRESS_MAX);
        assert!(pending.add(address(2)).is_some(), "another address is not meant");
        first.pop();
        assert!(pending.add(address(1)).is_some(), "it came back");
        let all: Vec<Waiting> = (3..10_000).filter_map(|n| pending.add(address(n))).collect();
        assert_eq!(all.len() + first.len(), PENDING_MAX);
        drop((all, first));
        assert!(pending.by_address.lock().is_empty());
        let one: IpAddr = "2001:db8::1".parse().expect("an address");
        let other: IpAddr = "2001:db8::ffff:1".parse().expect("an address");
        let held: Vec<Waiting> = std::iter::from_fn(|| pending.add(one)).collect();
        assert!(!held.is_empty() && pending.add(other).is_none(), "one subscriber");
    }
}
