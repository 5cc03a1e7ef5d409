//! The promises of `series`, by name.

mod channels;
mod crash;
mod files;
mod query;
mod readings;
mod service;
mod support;
mod tiers;
