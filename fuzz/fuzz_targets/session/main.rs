//! Scripts of strangers against the door: three clients connect, publish, subscribe, acknowledge, vanish, come back and
//! send raw bytes, in any order, while the disk stands still or goes on and time passes.
//!
//! The laws: nothing panics; what the server sends is well-formed; an acknowledgement leaves only when the message is
//! durable; a QoS 2 message is received once; whoever keeps to the protocol is answered in the end; when all have left,
//! nothing is left of them.

#![no_main]

mod house;
mod peer;
mod script;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;

use crate::house::House;

/// Runs in one house: then it is torn down, with its journal.
const RUNS_PER_HOUSE: u32 = 2_000;

thread_local! {
    static HOUSE: RefCell<Option<(House, u32)>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    HOUSE.with_borrow_mut(|kept| {
        let (house, runs) = kept.get_or_insert_with(|| (House::open(), 0));
        *runs += 1;
        script::run(house, data);
        if *runs == RUNS_PER_HOUSE
            && let Some((house, _)) = kept.take()
        {
            house.close();
        }
    });
});
