//! The door from outside: real sockets, our own codec by hand for what no client would send, and a stranger's client.

mod bounds;
mod certified;
mod client;
mod conformance;
mod crashes;
mod delivery;
mod durability;
mod exactly_once;
mod explained;
mod groups;
mod hostile;
mod house;
mod owners;
mod persistence;
mod protocol;
mod retained;
mod sessions;
mod stalled;
mod strangers;
mod sys;
mod transports;
mod wills;
