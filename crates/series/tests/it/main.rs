//! The promises of `series`, by name.

mod crash;
mod query;
mod readings;
mod service;
mod support;
