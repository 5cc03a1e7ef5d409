//! Routes: what a topic means, whose it is, how its payloads are decoded, in which lane it travels.
//!
//! An ordered list, the first match wins; [`Routes::default`] is `dt/{device}/#` as JSON telemetry, and every list
//! ends with it. Not here: the decoders themselves, and what becomes of messages without a route. The laws: a
//! setting that this version cannot honour is refused at load, never ignored; finding a route allocates nothing.

mod check;
mod device;
mod expand;
mod naming;
mod settings;
mod shape;

use bytestring::ByteString;

pub use check::{RouteError, RoutesError};
pub use device::{DeviceRule, Piece};
pub(crate) use naming::Naming;
pub use settings::{RouteSettings, TimeSettings};

use crate::decode::{self, DecodeError, Decoded};
use crate::device_time::TimeRule;
use crate::limit::MESSAGE_ID_BYTES_MAX;
use crate::preset::{self, Part};
use crate::{DeviceName, Lane, Message, Names, Origin, TopicFilter};
use shape::Shape;

/// How a route's payloads are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decoder {
    /// JSON objects, flattened.
    #[default]
    Json,
    /// SenML (RFC 8428), as JSON or as CBOR.
    Senml,
    /// CBOR (RFC 8949), flattened as JSON is.
    Cbor,
    /// Cayenne Low Power Payload.
    Cayenne,
    /// One number as text; its channel is the topic's last level.
    Number,
    /// One text; its channel is the topic's last level.
    Text,
    /// Lines of a device's log.
    Log,
    /// Sparkplug B: see [`sparkplug`](crate::sparkplug).
    Sparkplug,
    /// Nothing: the bytes stay in the journal.
    Raw,
    /// As the devices of a preset write it.
    Preset(Part),
}

impl Decoder {
    /// Those that a route may name, by their names.
    pub const NAMED: [(&'static str, Self); 9] = [
        ("json", Self::Json),
        ("senml", Self::Senml),
        ("cbor", Self::Cbor),
        ("cayenne", Self::Cayenne),
        ("number", Self::Number),
        ("text", Self::Text),
        ("log", Self::Log),
        ("sparkplug", Self::Sparkplug),
        ("raw", Self::Raw),
    ];

    /// As a route names it; `preset` for what only presets have.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, decoder)| *decoder == self).map_or("preset", |(name, _)| *name)
    }

    /// Whether its payloads have fields that `time`, `id`, `channels` and `payload(…)` can name.
    pub(crate) fn has_fields(self) -> bool {
        matches!(self, Self::Json | Self::Cbor)
    }
}

/// What is kept of a route's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// The message in the journal, and its readings.
    #[default]
    All,
    /// The message in the journal; it has no readings.
    Journal,
    /// Nothing: it is delivered to who is subscribed now.
    None,
}

/// What the topics of one filter mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    filter: TopicFilter,
    shape: Shape,
    device: DeviceRule,
    decoder: Decoder,
    lane: Lane,
    keep: Keep,
    time: TimeRule,
    id: Option<String>,
    naming: Option<Box<Naming>>,
}

impl Route {
    /// The topics it is for.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Whose readings they carry.
    #[must_use]
    pub fn device_rule(&self) -> &DeviceRule {
        &self.device
    }

    /// How payloads are read.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        self.decoder
    }

    /// Priority class of the messages.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// What is kept.
    #[must_use]
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// What is said of the devices' times.
    #[must_use]
    pub fn time(&self) -> &TimeRule {
        &self.time
    }

    /// The field that carries a message's id.
    #[must_use]
    pub fn id_path(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether a message may carry an id in its payload: [`Self::message_id`] is worth its cost.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.id.is_some() || matches!(self.decoder, Decoder::Preset(part) if part.has_id())
    }

    /// What it makes of the names in a payload; `None`: they are the channels.
    pub(crate) fn naming(&self) -> Option<&Naming> {
        self.naming.as_deref()
    }

    /// The device of a message on `topic` from `origin`, without a look at the payload; `None` also where only the
    /// payload tells.
    pub fn device_of(&self, topic: &str, origin: &Origin, names: &mut Names) -> Option<DeviceName> {
        self.device.find(topic, origin, names)
    }

    /// The id that the payload carries, for `journal::append` to know a repeat by; `None` when the route names no
    /// field and its preset knows none (then it costs nothing), the field is absent, or its text is empty or longer
    /// than [`MESSAGE_ID_BYTES_MAX`].
    #[must_use]
    pub fn message_id(&self, payload: &[u8]) -> Option<ByteString> {
        let id = match (self.id.as_deref(), self.decoder) {
            (Some(path), Decoder::Cbor) => decode::pick_cbor(payload, path),
            (Some(path), _) => decode::pick(payload, path),
            (None, Decoder::Preset(part)) => preset::message_id(part, payload),
            (None, _) => None,
        };
        id.filter(|id| id.len() <= MESSAGE_ID_BYTES_MAX)
    }

    /// The samples that `message` carries. `names` is the caller's memory of names: give the same to every call.
    ///
    /// A route that keeps no readings gives none. Allocates one list of samples and one of readings per sample, and
    /// what text readings need.
    ///
    /// # Errors
    /// [`DecodeError`] says why the message cannot be decoded; nothing of it is to be stored as readings.
    pub fn decode(&self, message: &Message, names: &mut Names) -> Result<Decoded, DecodeError> {
        match self.keep {
            Keep::All => decode::decode(self, message, names),
            Keep::Journal | Keep::None => Ok(Decoded::default()),
        }
    }
}

/// All routes, in order; the last is the default one.
#[derive(Debug, Clone, PartialEq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The routes of `settings` in their order, and the default route after them.
    ///
    /// # Errors
    /// [`RoutesError`] names everything that is wrong in all of them, and what would be right.
    pub fn new(settings: &[RouteSettings]) -> Result<Self, RoutesError> {
        check::routes(settings).map(Self)
    }

    /// The route of `topic`: the first whose filter matches. Under 100 ns for a short list; allocates nothing.
    #[must_use]
    pub fn find(&self, topic: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.shape.matches(topic))
    }

    /// All routes, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.0.iter()
    }
}

/// The default route alone.
impl Default for Routes {
    fn default() -> Self {
        Self::new(&[]).expect("the default route is right")
    }
}
