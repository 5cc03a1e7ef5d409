//! The promises of `series`, by name.

mod channels;
mod crash;
mod devices;
#[path = "../../../model/tests/it/edge.rs"]
mod edge;
mod files;
mod query;
mod readings;
mod rollups;
mod service;
mod sparkplug;
mod support;
mod tiers;
