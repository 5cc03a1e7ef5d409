//! How many connections there may be, in all and from one address.
//!
//! The law: a place that was given comes back when the connection's task ends, however it ends.

use std::net::IpAddr;
use std::sync::Arc;

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::connection::Bucket;
use crate::shared::Shared;
use crate::tally::Refusal;

/// Counts the places that are taken.
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    per_second_max: u32,
    taken: Mutex<Taken>,
    accepted: Mutex<Bucket>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub(crate) fn new(connections_max: usize, per_address_max: usize, per_second_max: u32) -> Self {
        let (taken, accepted) = (Mutex::default(), Mutex::default());
        Self { connections_max, per_address_max, per_second_max, taken, accepted }
    }

    /// A connection was accepted: how long the next is to wait, if it is.
    pub(crate) fn pace(&self, now_mono: u64) -> Option<Duration> {
        let mut accepted = self.accepted.lock();
        accepted.take(1, self.per_second_max.into(), now_mono);
        accepted.wait(now_mono)
    }

    /// Takes a place for a connection from `address`.
    fn enter(&self, address: IpAddr) -> Result<(), Refusal> {
        let mut taken = self.taken.lock();
        if taken.all >= self.connections_max {
            return Err(Refusal::ConnectionsFull);
        }
        let of_address = taken.by_address.entry(address).or_default();
        if *of_address >= self.per_address_max {
            return Err(Refusal::AddressFull);
        }
        *of_address += 1;
        taken.all += 1;
        Ok(())
    }

    fn leave(&self, address: IpAddr) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&address);
            }
        }
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

/// A place among the connections, for as long as it lives.
pub(crate) struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Place {
    /// Takes a place for a connection from `address`, which is counted with its neighbours.
    pub(crate) fn take(shared: &Arc<Shared>, address: IpAddr) -> Result<Self, Refusal> {
        let address = host::neighbourhood(address);
        shared.admission.enter(address)?;
        shared.tallies.connections.up(1);
        Ok(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.admission.leave(self.address);
        self.shared.tallies.connections.down(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let admission = Admission::new(3, 2, 1_000);
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        assert_eq!(admission.enter(a), Ok(()));
        assert_eq!(admission.enter(a), Ok(()));
        assert_eq!(admission.enter(a), Err(Refusal::AddressFull));
        assert_eq!(admission.enter(b), Ok(()));
        assert_eq!(admission.enter(b), Err(Refusal::ConnectionsFull));
        admission.leave(a);
        assert_eq!(admission.enter(b), Ok(()));
        admission.leave(a);
        assert_eq!(admission.taken.lock().by_address.len(), 1, "an address that left is forgotten");
    }

    #[test]
    fn a_crowd_is_let_in_at_the_rate_behind_a_second_s_worth() {
        let admission = Admission::new(9, 9, 100);
        assert!((0..100).all(|_| admission.pace(5_000_000).is_none()));
        assert_eq!(admission.pace(5_000_000), Some(Duration::from_millis(10)));
        assert_eq!(admission.pace(5_020_000), None);
    }
}
