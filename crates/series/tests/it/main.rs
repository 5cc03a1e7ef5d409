//! The promises of `series`, by name.

mod channels;
mod crash;
mod query;
mod readings;
mod service;
mod support;
