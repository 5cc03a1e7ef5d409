//! The promises of `series`, by name.

mod channels;
mod crash;
mod devices;
#[path = "../../../model/tests/it/edge.rs"]
mod edge;
mod files;
mod history;
mod postgres;
#[path = "../../../godwit/tests/it/python.rs"]
mod python;
mod query;
mod readings;
mod reprocess;
mod retention;
mod rollups;
mod s3;
mod service;
mod sparkplug;
mod support;
mod tiers;
