//! What was sent and not yet acknowledged, in the order of sending, each under its packet id.
//!
//! Pure. Ids go round 1 to 65,535 (MQTT 5.0, section 2.2.1), so an id's place in the row is known by arithmetic and
//! taking one costs no search, in whatever order acknowledgements come. The law it keeps: an id in use is never
//! given again.

use std::collections::VecDeque;

/// How many packet ids there are.
const IDS: u32 = 65_535;

/// The row of what is on its way.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    /// From the oldest that is still out; `None` where the acknowledgement has come already.
    row: VecDeque<Option<T>>,
    /// The id, counted from 0, of the front of the row.
    front: u32,
    /// How many are out.
    out: usize,
}

impl<T> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { row: VecDeque::new(), front: 0, out: 0 }
    }

    /// How many are out.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.out
    }

    /// Whether nothing is out.
    pub(crate) fn is_empty(&self) -> bool {
        self.out == 0
    }

    /// How many more ids can be given now. An old one that stays out holds those behind it.
    pub(crate) fn room(&self) -> usize {
        IDS as usize - self.row.len()
    }

    /// Puts one at the end of the row; `make` gets its id. There must be room.
    pub(crate) fn put(&mut self, make: impl FnOnce(u16) -> T) -> &mut T {
        assert!(self.room() > 0, "the caller waits for room");
        let id = id_at(self.front, self.row.len());
        self.row.push_back(Some(make(id)));
        self.out += 1;
        self.row.back_mut().and_then(Option::as_mut).expect("it was just put there")
    }

    /// The one that is out under `id`.
    pub(crate) fn get(&self, id: u16) -> Option<&T> {
        self.row.get(self.place(id)?)?.as_ref()
    }

    /// As [`Self::get`], to change it.
    pub(crate) fn get_mut(&mut self, id: u16) -> Option<&mut T> {
        let place = self.place(id)?;
        self.row.get_mut(place)?.as_mut()
    }

    /// Takes the one that is out under `id`; `None` when there is none (an acknowledgement of nothing).
    pub(crate) fn take(&mut self, id: u16) -> Option<T> {
        let place = self.place(id)?;
        let taken = self.row.get_mut(place)?.take()?;
        self.out -= 1;
        while let Some(None) = self.row.front() {
            self.row.pop_front();
            self.front = (self.front + 1) % IDS;
        }
        Some(taken)
    }

    /// The ids that are out, oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u16> + '_ {
        let front = self.front;
        self.row
            .iter()
            .enumerate()
            .filter(|(_, one)| one.is_some())
            .map(move |(place, _)| id_at(front, place))
    }

    fn place(&self, id: u16) -> Option<usize> {
        let number = u32::from(id).checked_sub(1)?;
        Some(((number + IDS - self.front) % IDS) as usize)
    }
}

fn id_at(front: u32, place: usize) -> u16 {
    // Below 65,535 by the remainder, so one more is a u16.
    ((front as usize + place) % IDS as usize + 1) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_go_round_and_skip_zero() {
        let mut flight = Flight::new();
        for n in 0..200_000_u32 {
            let id = *flight.put(|id| id);
            assert_eq!(u32::from(id), n % 65_535 + 1);
            assert_eq!(flight.take(id), Some(id));
            assert_eq!(flight.take(id), None, "an acknowledgement counts once");
        }
        assert!(flight.is_empty());
        assert_eq!(flight.take(0), None);
    }

    #[test]
    fn an_old_one_that_stays_out_holds_its_id() {
        let mut flight = Flight::new();
        let first = *flight.put(|id| id);
        while flight.room() > 0 {
            let id = *flight.put(|id| id);
            assert_ne!(id, first);
            flight.take(id);
        }
        assert_eq!(flight.len(), 1);
        assert_eq!(flight.take(first), Some(first));
        assert_eq!(flight.room(), 65_535);
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_map_that_remembers_the_order(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..400)) {
            let mut flight = Flight::new();
            let mut model = BTreeMap::new();
            let mut count = 0_u32;
            for (put, which) in steps {
                if put || model.is_empty() {
                    let mut given = 0;
                    flight.put(|id| { given = id; count });
                    model.insert(count, given);
                    count += 1;
                } else {
                    let (&number, &id) = model.iter().nth(which.index(model.len())).expect("not empty");
                    model.remove(&number);
                    prop_assert_eq!(flight.get(id), Some(&number));
                    prop_assert_eq!(flight.take(id), Some(number));
                }
                prop_assert_eq!(flight.len(), model.len());
                prop_assert_eq!(flight.ids().collect::<Vec<_>>(), model.values().copied().collect::<Vec<_>>());
            }
        }
    }
}
