//! Every bound of the codec, named once, each with its reason.

/// Most user properties of one packet (and of one will) by default: gateways attach a handful; thousands have
/// eaten a broker's processor (CVE-2021-41039).
pub const USER_PROPERTIES_DEFAULT: usize = 64;

/// Most filters of one SUBSCRIBE or UNSUBSCRIBE by default: each is a walk of the broker's trie and a policy
/// decision. Cloud brokers allow 8 to 100.
pub const FILTERS_DEFAULT: usize = 256;

/// Most subscription identifiers of one PUBLISH: one per matching subscription of the receiver.
pub const SUBSCRIPTION_IDS_MAX: usize = 256;

/// Largest value of a Variable Byte Integer: four bytes of seven bits (MQTT 5.0, section 1.5.5).
pub const VARINT_MAX: usize = 268_435_455;

/// Longest text or binary field in bytes: its length has two bytes (MQTT 5.0, sections 1.5.4 and 1.5.6).
pub const FIELD_BYTES_MAX: usize = 65_535;

/// What a [`Decoder`](crate::Decoder) accepts of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet in bytes, fixed header included, as MQTT 5 counts its Maximum Packet Size (section
    /// 3.1.2.11.4). Default: [`model::limit::PACKET_BYTES_DEFAULT`].
    pub packet_bytes_max: usize,
    /// Most user properties of one packet. Default: [`USER_PROPERTIES_DEFAULT`].
    pub user_properties_max: usize,
    /// Most filters of one SUBSCRIBE or UNSUBSCRIBE, and so codes of their answers. Default: [`FILTERS_DEFAULT`].
    pub filters_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: model::limit::PACKET_BYTES_DEFAULT,
            user_properties_max: USER_PROPERTIES_DEFAULT,
            filters_max: FILTERS_DEFAULT,
        }
    }
}
