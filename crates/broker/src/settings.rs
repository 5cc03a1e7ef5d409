//! What an operator may set of the door: its listeners and its bounds.
//!
//! Data only; nothing here opens a socket. Every bound of the door is one of these settings, with its default and
//! the reason for it; what is refused or dropped at a bound has a counter in [`Stats`](crate::Stats).

use std::net::SocketAddr;
use std::time::Duration;

use identity::ClientCertificates;
use serde::Deserialize;

use crate::StartError;

/// The bounds of the MQTT door (`[mqtt]` in `godwit.toml`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a new connection may take until its CONNECT is there. Default: 10 s. A radio link that needs
    /// longer for one packet does not carry MQTT.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Most TLS and WebSocket handshakes of one address at one time. Default: 256. More of it wait for their turn, within
    /// `connect_timeout`, and while they wait those that are not let in after half of it are ended; other addresses wait for
    /// none of them.
    pub handshakes_per_address_max: usize,
    /// Most connections at one time. Default: 100,000: at 4 KB each they fit a small machine.
    pub connections_max: usize,
    /// Most connections from one address at one time. Default: 50,000, so that one host cannot take all places;
    /// sites behind one router share an address.
    pub connections_per_address_max: usize,
    /// Most connections accepted in a second, of all listeners together; beyond it they wait in the system's queue, and none is
    /// refused for it. Default: 20,000: more than a processor shakes hands with, so that those who are in are still served
    /// while a whole fleet comes back.
    pub connects_per_second_max: u32,
    /// Most messages that one connection may publish in a second; a second's worth may come at once. Default: 200,000, what one
    /// processor takes in: one client cannot take all of it. QoS 1 and 2 over it are read more slowly, QoS 0 is dropped.
    pub publish_messages_per_second_max: u32,
    /// Most bytes of payloads and topics that one connection may publish in a second. Default: 64 MiB.
    pub publish_bytes_per_second_max: u64,
    /// Largest packet in bytes, either way. Default: 256 KiB; at most 16 MiB.
    pub packet_bytes_max: usize,
    /// Longest keep-alive in seconds. Default: 3,600. A client that asks for more (or for none) is told so in
    /// MQTT 5, and held to it in both versions: silent connections held for ever have brought brokers down
    /// (CVE-2020-13849).
    pub keep_alive_s_max: u16,
    /// Longest life of a session without a connection. Default: 30 days.
    #[serde(with = "humantime_serde")]
    pub session_expiry_max: Duration,
    /// Most sessions, connected or not. Default: 200,000. Beyond it a new client is refused.
    pub sessions_max: usize,
    /// Most sessions of one device, connected or not. Default: 16. Beyond it the one that is away for the longest ends; while all
    /// are connected the new client is refused.
    pub sessions_per_device_max: usize,
    /// How many QoS 1 and 2 messages a client may send before they are acknowledged, QoS 2 before they are released
    /// (Receive Maximum). Default: 1,000. Beyond it an MQTT 3.1.1 connection is read no further until some of QoS 1 are
    /// durable; with as many of QoS 2 that it does not release it is closed.
    pub receive_maximum: u16,
    /// Most bytes of one connection on their way to the journal; beyond it, it is read no further. Default: 1 MiB;
    /// one packet is always taken.
    pub bytes_in_flight_max: usize,
    /// Most topic aliases a client may use. Default: 32: a device has a handful of topics.
    pub topic_aliases_max: u16,
    /// Longest topic or filter in bytes. Default: 65,535, which is MQTT's own bound.
    pub topic_bytes_max: usize,
    /// Most levels of a topic or filter. Default: 128; at most that. Deep ones have crashed brokers (CVE-2019-11779).
    pub topic_levels_max: usize,
    /// Most user properties of one packet. Default: 64: thousands have eaten a processor (CVE-2021-41039).
    pub user_properties_max: usize,
    /// Most filters of one SUBSCRIBE or UNSUBSCRIBE. Default: 256; a client with more sends more packets.
    pub filters_per_packet_max: usize,
    /// Most subscriptions of one session. Default: 1,000.
    pub filters_per_session_max: usize,
    /// Most messages of one session that wait in memory. Default: 1,000.
    pub queue_messages_max: usize,
    /// Most bytes of one session that wait in memory. Default: 1 MiB; never less than one packet.
    pub queue_bytes_max: usize,
    /// Most bytes that wait in memory for all sessions together. Default: 256 MiB.
    pub queues_bytes_max: usize,
    /// Most QoS 1 and 2 messages of one session, or of one shared subscription, that wait in the journal only, by their `seq`.
    /// Default: 100,000: 4 MB.
    pub left_messages_max: usize,
    /// Most QoS 1 and 2 messages that wait in the journal only, of all sessions together. Default: 10,000,000.
    pub left_total_max: usize,
    /// Most QoS 1 and 2 messages sent to one client and not yet acknowledged; the client's own Receive Maximum counts
    /// when it is lower. Default: 256.
    pub inflight_max: u16,
    /// Most retained messages. Default: 100,000.
    pub retained_messages_max: usize,
    /// Most retained messages of one device. Default: 1,000, so that one cannot take all places; a gateway that retains for
    /// more things connects as a user.
    pub retained_messages_per_device_max: usize,
    /// Most bytes of retained messages, topics included. Default: 64 MiB.
    pub retained_bytes_max: usize,
    /// How often `$SYS/broker/...` is brought up to date. Default: 10 s; 0 s: there are no such topics.
    #[serde(with = "humantime_serde")]
    pub sys_interval: Duration,
    /// How long the end of the process waits for what is on its way to the journal. Default: 5 s.
    #[serde(with = "humantime_serde")]
    pub close_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            handshakes_per_address_max: 256,
            connections_max: 100_000,
            connections_per_address_max: 50_000,
            connects_per_second_max: 20_000,
            publish_messages_per_second_max: 200_000,
            publish_bytes_per_second_max: 64 * 1024 * 1024,
            packet_bytes_max: model::limit::PACKET_BYTES_DEFAULT,
            keep_alive_s_max: 3_600,
            session_expiry_max: Duration::from_secs(30 * 86_400),
            sessions_max: 200_000,
            sessions_per_device_max: 16,
            receive_maximum: 1_000,
            bytes_in_flight_max: 1024 * 1024,
            topic_aliases_max: 32,
            topic_bytes_max: model::limit::TOPIC_BYTES_MAX,
            topic_levels_max: model::limit::TOPIC_LEVELS_MAX,
            user_properties_max: mqtt::limit::USER_PROPERTIES_DEFAULT,
            filters_per_packet_max: mqtt::limit::FILTERS_DEFAULT,
            filters_per_session_max: 1_000,
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            queues_bytes_max: 256 * 1024 * 1024,
            left_messages_max: 100_000,
            left_total_max: 10_000_000,
            inflight_max: 256,
            retained_messages_max: 100_000,
            retained_messages_per_device_max: 1_000,
            retained_bytes_max: 64 * 1024 * 1024,
            sys_interval: Duration::from_secs(10),
            close_wait: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Whether a topic or filter is within its bounds.
    pub(crate) fn fits(&self, topic: &str) -> bool {
        topic.len() <= self.topic_bytes_max
            && (topic.len() < self.topic_levels_max
                || topic.bytes().filter(|byte| *byte == b'/').count() < self.topic_levels_max)
    }

    /// What the log says of a topic or filter that is not.
    pub(crate) fn misfit(&self) -> (String, String) {
        let Self { topic_bytes_max, topic_levels_max, .. } = self;
        let why = format!("more than {topic_bytes_max} bytes or {topic_levels_max} levels");
        (why, "Raise `mqtt.topic_bytes_max` or `mqtt.topic_levels_max`, or shorten the topic".to_owned())
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// [`StartError::Setting`] names the setting and its bounds.
    pub fn check(&self) -> Result<(), StartError> {
        let within = |name, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(StartError::Setting { name, value, min, max })
            }
        };
        // A CONNECT with a client id and a password fits 1 KiB.
        within("packet_bytes_max", self.packet_bytes_max, 1024, model::limit::PACKET_BYTES_MAX)?;
        within("receive_maximum", self.receive_maximum.into(), 1, u16::MAX.into())?;
        // Acknowledgements out of order are looked for one by one: the window stays small.
        within("inflight_max", self.inflight_max.into(), 1, 4_096)?;
        within("keep_alive_s_max", self.keep_alive_s_max.into(), 1, u16::MAX.into())?;
        within("sessions_per_device_max", self.sessions_per_device_max, 1, 1_000_000)?;
        within("handshakes_per_address_max", self.handshakes_per_address_max, 1, 65_536)?;
        within("connects_per_second_max", self.connects_per_second_max as usize, 1, 1_000_000)?;
        let messages = self.publish_messages_per_second_max as usize;
        within("publish_messages_per_second_max", messages, 1, 1_000_000_000)?;
        let bytes = usize::try_from(self.publish_bytes_per_second_max).unwrap_or(usize::MAX);
        within("publish_bytes_per_second_max", bytes, 1, 1 << 40)?;
        within("topic_bytes_max", self.topic_bytes_max, 1, model::limit::TOPIC_BYTES_MAX)?;
        within("topic_levels_max", self.topic_levels_max, 1, model::limit::TOPIC_LEVELS_MAX)?;
        within("user_properties_max", self.user_properties_max, 0, 65_536)?;
        within("filters_per_packet_max", self.filters_per_packet_max, 1, 65_536)?;
        within("queue_messages_max", self.queue_messages_max, 1, 1_000_000)?;
        Ok(())
    }
}

/// How a listener learns who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// By user name and password.
    Password,
    /// Not at all: everybody is `anonymous`. For development, on loopback.
    Anonymous,
}

/// One `[[listener]]` of the file with `door = "mqtt"` or `door = "websocket"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSettings {
    /// What is spoken.
    pub door: DoorName,
    /// Address and port. Port 0: any free one ([`Broker::addresses`](crate::Broker::addresses) tells).
    pub bind: SocketAddr,
    /// How it learns who speaks. Default: `password`.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// The same as `auth = "anonymous"`.
    #[serde(default)]
    pub anonymous: bool,
    /// Lets a listener without passwords be reached from other machines. Default: false.
    #[serde(default)]
    pub allow_anonymous_anywhere: bool,
    /// TLS 1.2 and 1.3 with the server's certificate, which Godwit's own authority signs: clients trust `ca.pem` of the
    /// data directory. Default: false.
    #[serde(default)]
    pub tls: bool,
    /// Whether clients show certificates: `required`, `optional` (without one they log in as `auth` says) or `none`.
    /// Default: `none`. Goes with `tls = true`.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// The path of a WebSocket listener. Default: `/mqtt`.
    #[serde(default)]
    pub path: Option<String>,
}

/// The doors that this crate opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoorName {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over WebSocket.
    Websocket,
    /// HTTP over TLS with client certificates. Not this crate's: whoever reads the settings hands it to `ingress`.
    Https,
}

impl ListenerSettings {
    /// An MQTT listener that asks for passwords.
    #[must_use]
    pub fn password(bind: SocketAddr) -> Self {
        Self {
            door: DoorName::Mqtt,
            bind,
            auth: None,
            anonymous: false,
            allow_anonymous_anywhere: false,
            tls: false,
            client_certificates: ClientCertificates::None,
            path: None,
        }
    }

    /// An MQTT listener with TLS that asks for client certificates.
    #[must_use]
    pub fn certificates(bind: SocketAddr) -> Self {
        Self { tls: true, client_certificates: ClientCertificates::Required, ..Self::password(bind) }
    }

    /// An MQTT listener that asks for nothing; loopback only.
    #[must_use]
    pub fn anonymous(bind: SocketAddr) -> Self {
        Self { anonymous: true, ..Self::password(bind) }
    }

    /// Whether clients show certificates.
    ///
    /// # Errors
    /// [`StartError::ClientCertificates`] when that cannot be, with what else the listener says.
    pub fn client_certificates(&self) -> Result<ClientCertificates, StartError> {
        let asked = self.client_certificates;
        let instead = match asked {
            ClientCertificates::None => None,
            _ if !self.tls => Some("has no TLS"),
            ClientCertificates::Required if self.anonymous || self.auth.is_some() => {
                Some("lets clients in by something else")
            }
            _ => None,
        };
        match instead {
            Some(instead) => Err(StartError::ClientCertificates { bind: self.bind, instead }),
            None => Ok(asked),
        }
    }

    /// The path of the WebSocket upgrade, if there is one.
    ///
    /// # Errors
    /// [`StartError::Path`] when there is a path and no upgrade, or one that is no path.
    pub fn websocket_path(&self) -> Result<Option<String>, StartError> {
        match (self.door, &self.path) {
            (DoorName::Mqtt | DoorName::Https, None) => Ok(None),
            (DoorName::Websocket, None) => Ok(Some("/mqtt".to_owned())),
            (DoorName::Websocket, Some(path)) if path.starts_with('/') && !path.contains(['?', '#', ' ']) => {
                Ok(Some(path.clone()))
            }
            (_, Some(path)) => Err(StartError::Path { bind: self.bind, path: path.clone() }),
        }
    }

    /// How it learns who speaks.
    ///
    /// # Errors
    /// [`StartError`] when the two ways of saying it disagree, or when everybody on the network could come in
    /// without a name.
    pub fn auth(&self) -> Result<Auth, StartError> {
        let auth = match (self.auth, self.anonymous) {
            (Some(Auth::Password), true) => return Err(StartError::TwoAuths { bind: self.bind }),
            (None | Some(Auth::Anonymous), true) => Auth::Anonymous,
            (auth, false) => auth.unwrap_or(Auth::Password),
        };
        if auth == Auth::Anonymous && !self.bind.ip().is_loopback() && !self.allow_anonymous_anywhere {
            return Err(StartError::AnonymousAnywhere { bind: self.bind });
        }
        Ok(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(text: &str) -> Result<ListenerSettings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_comes_in_without_a_name_from_another_machine_unless_somebody_said_so() {
        let check = |text: &str, expect: Result<Auth, &str>| {
            let got = listener(text).expect("settings").auth().map_err(|error| error.to_string());
            match (got, expect) {
                (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{text}"),
                (Err(got), Err(expect)) => assert!(got.contains(expect), "{text}: {got}"),
                (got, expect) => panic!("{text}: {got:?}, not {expect:?}"),
            }
        };
        check("door = 'mqtt'\nbind = '127.0.0.1:1883'", Ok(Auth::Password));
        check("door = 'mqtt'\nbind = '0.0.0.0:1883'", Ok(Auth::Password));
        check("door = 'mqtt'\nbind = '127.0.0.1:1883'\nanonymous = true", Ok(Auth::Anonymous));
        check("door = 'mqtt'\nbind = '[::1]:1883'\nauth = 'anonymous'", Ok(Auth::Anonymous));
        check("door = 'mqtt'\nbind = '0.0.0.0:1883'\nauth = 'anonymous'", Err("0.0.0.0:1883"));
        check(
            "door = 'mqtt'\nbind = '0.0.0.0:1883'\nauth = 'anonymous'\nallow_anonymous_anywhere = true",
            Ok(Auth::Anonymous),
        );
        check("door = 'mqtt'\nbind = '127.0.0.1:1'\nauth = 'password'\nanonymous = true", Err("both"));
    }

    #[test]
    fn a_path_belongs_to_a_websocket_listener() {
        let path = |text: &str| listener(text).expect("settings").websocket_path();
        assert_eq!(path("door = 'mqtt'\nbind = '127.0.0.1:1'").expect("fine"), None);
        let websocket = "door = 'websocket'\nbind = '127.0.0.1:1'\n";
        assert_eq!(path(websocket).expect("fine").as_deref(), Some("/mqtt"));
        assert_eq!(path(&format!("{websocket}path = '/ws'")).expect("fine").as_deref(), Some("/ws"));
        for wrong in ["door = 'mqtt'\nbind = '127.0.0.1:1'\npath = '/ws'", &format!("{websocket}path = 'ws'")]
        {
            let refused = path(wrong).expect_err("refused");
            assert!(refused.to_string().contains("ws"), "{refused}");
            assert!(refused.hint().is_some());
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let refused = listener("door = 'mqtt'\nbind = '127.0.0.1:1'\nssl = true").expect_err("refused");
        assert!(refused.contains("ssl"), "{refused}");
        let refused = toml::from_str::<Settings>("queue_max = 1").expect_err("refused").to_string();
        assert!(refused.contains("queue_max"), "{refused}");
        assert_eq!(toml::from_str::<Settings>("").expect("defaults"), Settings::default());
    }

    #[test]
    fn a_setting_out_of_bounds_is_refused_with_its_bounds() {
        let settings = Settings { packet_bytes_max: 17 * 1024 * 1024, ..Settings::default() };
        let refused = settings.check().expect_err("refused").to_string();
        assert_eq!(refused, "setting `packet_bytes_max` is 17825792; it must be 1024 to 16777216");
        Settings::default().check().expect("the defaults are within their bounds");
    }
}
