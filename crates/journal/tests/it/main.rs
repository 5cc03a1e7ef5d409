//! The journal from outside, on a simulated machine.

mod appending;
mod damage;
mod extract;
mod faults;
mod golden;
mod history;
mod machine;
mod reading;
mod repeats;
mod retention;
