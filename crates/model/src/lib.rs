//! The words of Godwit: what every other room says and means.
//!
//! Validated names, messages, readings, time, limits, error kinds, routes and payload decoders.
//! Not here: anything that reads a clock, a file or a socket. The law this crate keeps: it imports no
//! other crate of the house, and a value that exists is a value that was checked (parse at the door,
//! then nobody checks again).

mod causes;
pub mod channel;
pub mod decode;
mod device_clock;
pub mod device_time;
mod group_path;
mod kind;
pub mod limit;
mod message;
mod name;
mod names;
mod preset;
mod reading;
pub mod reserved;
pub mod route;
pub mod sparkplug;
mod time;
mod topic;
pub mod unrouted;

pub use causes::in_one_line;
pub use channel::{Channel, ChannelKind, ChannelSettings, Channels, ChannelsError};
pub use decode::{DecodeError, Decoded, Notes, Repeats, Unit};
pub use device_clock::{ClockSeen, DeviceClock};
pub use group_path::{GroupPath, GroupPathError};
pub use kind::Kind;
pub use message::{ConnectionId, Door, Lane, Message, Origin, Principal, Properties, Qos, partition};
pub use name::{ChannelName, DeviceName, NameError};
pub use names::Names;
pub use preset::Part;
pub use reading::{Flags, Reading, Sample, Value};
pub use route::{Decoder, Keep, Route, RouteSettings, Routes, RoutesError};
pub use time::{TimeError, Timestamp};
pub use topic::{TopicError, TopicFilter, TopicName};
