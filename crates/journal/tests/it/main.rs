//! The journal from outside, on a simulated machine unless a test says otherwise.

mod appending;
mod history;
mod machine;
