//! The room as the evaluation, the operators and the receivers see it.

mod house;
mod transitions;
