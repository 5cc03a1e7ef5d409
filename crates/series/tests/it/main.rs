//! The promises of `series`, by name.

mod channels;
mod crash;
mod devices;
mod files;
mod query;
mod readings;
mod rollups;
mod service;
mod support;
mod tiers;
