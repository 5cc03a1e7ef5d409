//! How many connections there may be, in all and from one address.
//!
//! The law: a place that was given comes back when the connection's task ends, however it ends.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::shared::Shared;
use crate::tally::Refusal;

/// Counts the places that are taken.
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub(crate) fn new(connections_max: usize, per_address_max: usize) -> Self {
        Self { connections_max, per_address_max, taken: Mutex::default() }
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
    /// Takes a place for a connection from `address`.
    pub(crate) fn take(shared: &Arc<Shared>, address: IpAddr) -> Result<Self, Refusal> {
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
        let admission = Admission::new(3, 2);
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
}
