//! Places at a door: so many in all, and so many of one address.
//!
//! Not here: turns, which are waited for (`turns`). The laws: one stranger takes his share and no more, and a place comes back
//! when whoever has it is dropped, however that comes about; nothing is kept of an address that has none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::neighbourhood;

/// The places of a door. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Places {
    max: usize,
    per_address_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, for as long as it lives.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    address: IpAddr,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// Those of this address are.
    Address,
}

impl Places {
    /// `max` in all, `per_address_max` of one [neighbourhood](crate::neighbourhood).
    #[must_use]
    pub fn new(max: usize, per_address_max: usize) -> Self {
        Self { max, per_address_max, taken: Arc::default() }
    }

    /// Takes a place for somebody at `address`.
    ///
    /// # Errors
    /// [`Full`] says whose places are taken.
    pub fn take(&self, address: IpAddr) -> Result<Place, Full> {
        let address = neighbourhood(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            return Err(Full::All);
        }
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address_max {
            return Err(Full::Address);
        }
        taken.by_address.insert(address, of_address + 1);
        taken.all += 1;
        drop(taken);
        Ok(Place { taken: Arc::clone(&self.taken), address })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_takes_its_share_and_gives_back_what_it_took() {
        let places = Places::new(3, 2);
        let [a, b] = [address("10.0.0.1"), address("10.0.0.2")];
        let mut of_a: Vec<Place> = std::iter::from_fn(|| places.take(a).ok()).collect();
        assert_eq!(of_a.len(), 2);
        assert_eq!(places.take(a).err(), Some(Full::Address));
        let of_b = places.take(b).expect("the last one");
        assert_eq!(places.take(b).err(), Some(Full::All));
        of_a.pop();
        let again = places.take(b).expect("it came back");
        assert_eq!(places.taken(), 3);
        drop((of_a, of_b, again));
        assert_eq!(places.taken(), 0);
        assert!(places.taken.lock().by_address.is_empty(), "nothing stays behind");
    }

    #[test]
    fn neighbours_share_their_places() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8::1")).expect("a place");
        assert_eq!(places.take(address("2001:db8::ffff:1")).err(), Some(Full::Address));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }
}
