//! The commands, one file each: its arguments with their help, and what it does.

#[cfg(feature = "platform")]
pub(crate) mod backup;
#[cfg(feature = "platform")]
pub(crate) mod device;
#[cfg(feature = "platform")]
pub(crate) mod doctor;
#[cfg(feature = "platform")]
pub(crate) mod export;
#[cfg(feature = "platform")]
pub(crate) mod group;
pub(crate) mod import;
#[cfg(feature = "platform")]
pub(crate) mod keys;
pub(crate) mod load;
#[cfg(feature = "platform")]
pub(crate) mod moment;
#[cfg(feature = "platform")]
pub(crate) mod query;
mod recording;
pub(crate) mod replay;
#[cfg(feature = "platform")]
pub(crate) mod reprocess;
#[cfg(feature = "platform")]
pub(crate) mod restore;
#[cfg(feature = "platform")]
pub(crate) mod retained;
#[cfg(feature = "platform")]
pub(crate) mod route;
pub(crate) mod send;
#[cfg(feature = "platform")]
pub(crate) mod serve;
#[cfg(feature = "platform")]
pub(crate) mod session;
pub(crate) mod tail;
pub(crate) mod target;
