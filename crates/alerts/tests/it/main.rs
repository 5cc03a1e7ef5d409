//! The room as the evaluation, the operators and the receivers see it.

// Tests read and write files and the clock themselves.
#![allow(clippy::disallowed_methods)]

mod alarms;
mod clock;
mod configuration;
mod connected;
mod delivery;
#[path = "../../../model/tests/it/edge.rs"]
mod edge;
mod evaluation;
mod house;
mod mail;
#[path = "../../../godwit/tests/it/python.rs"]
mod python;
mod receivers;
mod replacement;
mod retention;
mod sight;
mod site;
mod sparkplug;
mod transitions;
mod trial;
