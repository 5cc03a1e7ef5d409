//! Who is let in: places, which are counted, and the pace.
//!
//! The law: a place that was given comes back when the connection's task ends, however it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use host::{Full, Places};
use parking_lot::Mutex;

use crate::connection::Bucket;
use crate::shared::Shared;
use crate::tally::Refusal;

/// Places, and how fast they are given.
pub(crate) struct Admission {
    places: Places,
    per_second_max: u32,
    accepted: Mutex<Bucket>,
}

impl Admission {
    pub(crate) fn new(connections_max: usize, per_address_max: usize, per_second_max: u32) -> Self {
        let places = Places::new(connections_max, per_address_max);
        Self { places, per_second_max, accepted: Mutex::default() }
    }

    /// A connection was accepted: how long the next is to wait, if it is.
    pub(crate) fn pace(&self, now_mono: u64) -> Option<Duration> {
        let mut accepted = self.accepted.lock();
        accepted.take(1, self.per_second_max.into(), now_mono);
        accepted.wait(now_mono)
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.places.taken()
    }
}

/// A place among the connections, for as long as it lives.
pub(crate) struct Place {
    shared: Arc<Shared>,
    _place: host::Place,
}

impl Place {
    /// Takes a place for a connection from `address`.
    pub(crate) fn take(shared: &Arc<Shared>, address: IpAddr) -> Result<Self, Refusal> {
        let place = shared.admission.places.take(address).map_err(|full| match full {
            Full::All => Refusal::ConnectionsFull,
            Full::Address => Refusal::AddressFull,
        })?;
        shared.tallies.connections.up(1);
        Ok(Self { shared: Arc::clone(shared), _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.tallies.connections.down(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_let_in_at_the_rate_behind_a_second_s_worth() {
        let admission = Admission::new(9, 9, 100);
        assert!((0..100).all(|_| admission.pace(5_000_000).is_none()));
        assert_eq!(admission.pace(5_000_000), Some(Duration::from_millis(10)));
        assert_eq!(admission.pace(5_020_000), None);
    }
}
