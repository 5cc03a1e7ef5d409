//! The whole binary, over real sockets: promises, the real recording, bad input, commands.
//!
//! One binary of tests: it links once. Servers listen on free ports and end with their test.
#![cfg(feature = "platform")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test of the binary stands outside the house: it has a clock and files"
)]

mod alarms;
mod alerts;
mod at_rest;
mod aws_sdk;
mod backtest;
mod backup;
mod bad_input;
mod bound;
mod bound_alerts;
mod bridge;
mod certificates;
mod commands;
mod devices;
#[path = "../../../model/tests/it/edge.rs"]
mod edge;
mod explain;
mod export;
mod grafana;
mod handshakes;
mod hook;
mod import;
mod keys;
mod manual;
mod mosquitto;
mod node;
mod office;
mod operators;
mod people;
mod policies;
mod promises;
mod provisioning;
mod python;
mod raw;
mod recording;
mod register;
mod renewal;
mod reprocess;
mod rule_commands;
mod rules;
mod server;
mod sessions;
mod sparkplug;
mod sql;
mod sql_login;
mod strangers;
mod tls;
mod upgrade;
mod vault;
