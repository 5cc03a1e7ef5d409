//! Actions against real receivers: an HTTP server that does what it is told, a journal, a catalog.

mod house;
mod receiver;
mod republish;
mod rules;
mod webhook;
