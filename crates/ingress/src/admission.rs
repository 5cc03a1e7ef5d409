//! How many connections there may be, in all and from one address.
//!
//! Not here: handshakes, which wait for turns (`listener`). The law: a place that was given comes back when its connection ends,
//! however it ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Most connections at one time. Devices that speak HTTP come, publish and go.
const CONNECTIONS_MAX: usize = 10_000;
/// … of one address: a site behind one router, and a tenth of all places for a stranger.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;

/// The places that are taken, by address.
#[derive(Default)]
pub(crate) struct Admission {
    taken: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// A place, for as long as it lives.
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// A place for a connection from `address`, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = host::neighbourhood(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_address) = &mut *taken;
        let of_address = by_address.get(&address).copied().unwrap_or(0);
        if *all >= CONNECTIONS_MAX || of_address >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *all += 1;
        by_address.insert(address, of_address + 1);
        Some(Place { admission: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.admission.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_address) = &mut *taken;
        *all -= 1;
        if let Some(of_address) = by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places_and_gives_back_what_it_took() {
        let admission = Arc::new(Admission::default());
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let mut places: Vec<Place> = std::iter::from_fn(|| admission.enter(a)).collect();
        assert_eq!(places.len(), CONNECTIONS_PER_ADDRESS_MAX);
        assert!(admission.enter(b).is_some());
        places.pop();
        assert!(admission.enter(a).is_some());
        for n in 3..12 {
            places.extend(std::iter::from_fn(|| admission.enter([10, 0, 0, n].into())));
        }
        assert_eq!(places.len(), CONNECTIONS_MAX - 1);
        let last = admission.enter(b);
        assert!(last.is_some() && admission.enter(b).is_none(), "all are taken");
        drop((places, last));
        assert!(admission.taken.lock().expect("no panic").1.is_empty(), "nothing stays behind");
    }
}
