//! Receivers: who is told, and on which ways.
//!
//! Not here: the telling (`delivery`). The laws: what Alertmanager has and Godwit has not is refused by name, never left
//! out in silence: somebody counts on being called; a secret may lie in a file of its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::problem::Place;
use super::section::{Reading, Secret, Section};
use super::yaml::Node;

/// How long one attempt may take by default: a receiver that hangs is given up for this time.
const TIMEOUT_MICROS: i64 = 10_000_000;
/// Longest attempt that may be asked for.
const TIMEOUT_MICROS_MAX: i64 = 300_000_000;
/// Most alerts that a notice spells out by default; it says how many it leaves out.
const ALERTS_MAX: u64 = 500;

/// A receiver: a name, and the ways to it.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) ways: Vec<Way>,
}

/// One way to a receiver: a queue of its own.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// `ops/email/0`.
    pub(crate) key: String,
    pub(crate) send_resolved: bool,
    pub(crate) alerts_max: usize,
    /// Of one attempt, in microseconds.
    pub(crate) timeout: i64,
    pub(crate) kind: WayKind,
}

/// How it goes.
#[derive(Debug, Clone)]
pub(crate) enum WayKind {
    Email(Box<Email>),
    Webhook(Box<Http>),
    Slack { http: Box<Http>, channel: Option<String>, username: Option<String> },
    Mqtt { topic: model::TopicName },
    Inbox,
}

impl WayKind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Webhook(_) => "webhook",
            Self::Slack { .. } => "slack",
            Self::Mqtt { .. } => "mqtt",
            Self::Inbox => "inbox",
        }
    }
}

/// A mail server and who writes to whom.
#[derive(Debug, Clone)]
pub(crate) struct Email {
    pub(crate) to: Vec<String>,
    pub(crate) from: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) hello: Option<String>,
    pub(crate) login: Option<(String, Secret)>,
    pub(crate) require_tls: bool,
    /// TLS from the first byte, whatever the port.
    pub(crate) implicit_tls: bool,
    pub(crate) authority: Option<Vec<u8>>,
}

/// Where to POST, and how to prove who posts.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    /// The address itself may be the secret, as Slack's is.
    pub(crate) url: Secret,
    /// Signs the body.
    pub(crate) sign: Option<Secret>,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<Secret>,
    pub(crate) authority: Option<Vec<u8>>,
}

/// What `global` lends to receivers that do not say it themselves.
#[derive(Debug, Default)]
pub(crate) struct Global {
    from: Option<String>,
    smarthost: Option<String>,
    hello: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    require_tls: Option<bool>,
    implicit_tls: Option<bool>,
    slack_url: Option<Secret>,
    authority: Option<Vec<u8>>,
    http: HttpConfig,
}

#[derive(Debug, Clone, Default)]
struct HttpConfig {
    authorization: Option<Secret>,
    authority: Option<Vec<u8>>,
}

const NO_SUCH_CALLER: &str = "use `webhook_configs` with that service's own inbound address";

/// Receivers of Alertmanager that are not here.
const OTHER_RECEIVERS: [(&str, &str); 15] = [
    ("pagerduty_configs", NO_SUCH_CALLER),
    ("opsgenie_configs", NO_SUCH_CALLER),
    ("victorops_configs", NO_SUCH_CALLER),
    ("pushover_configs", NO_SUCH_CALLER),
    ("wechat_configs", NO_SUCH_CALLER),
    ("sns_configs", NO_SUCH_CALLER),
    ("telegram_configs", NO_SUCH_CALLER),
    ("webex_configs", NO_SUCH_CALLER),
    ("msteams_configs", NO_SUCH_CALLER),
    ("msteamsv2_configs", NO_SUCH_CALLER),
    (
        "discord_configs",
        "use `slack_configs` with the address of the channel's webhook and `/slack` behind it",
    ),
    ("rocketchat_configs", NO_SUCH_CALLER),
    ("jira_configs", NO_SUCH_CALLER),
    ("incidentio_configs", NO_SUCH_CALLER),
    ("mattermost_configs", "use `slack_configs`: Mattermost's incoming webhooks take the same"),
];

const NO_TEMPLATE: &str = "remove it: what a notice says comes from the rule's annotations";

impl Global {
    pub(crate) fn read(node: Option<&Node>, reading: &mut Reading<'_>) -> Self {
        let Some(mut section) = node.and_then(|node| Section::of(node, "global", &mut reading.problems))
        else {
            return Self::default();
        };
        let problems = &mut reading.problems;
        // Of no effect here: Godwit itself says when an alert is over.
        section.duration("resolve_timeout", problems);
        let from = section.text("smtp_from", problems);
        let smarthost = section.text("smtp_smarthost", problems);
        let hello = section.text("smtp_hello", problems);
        let username = section.text("smtp_auth_username", problems);
        let require_tls = section.bool("smtp_require_tls", problems);
        let implicit_tls = section.bool("smtp_force_implicit_tls", problems);
        let password = section.secret("smtp_auth_password", "smtp_auth_password_file", reading);
        let slack_url = section.secret("slack_api_url", "slack_api_url_file", reading);
        let authority = authority(&mut section, "smtp_tls_config", reading);
        let http = HttpConfig::read(&mut section, reading);
        let instead: Vec<(&str, &str)> = [
            "pagerduty_url",
            "opsgenie_api_url",
            "opsgenie_api_key",
            "opsgenie_api_key_file",
            "victorops_api_url",
            "victorops_api_key",
            "victorops_api_key_file",
            "wechat_api_url",
            "wechat_api_secret",
            "wechat_api_corp_id",
            "telegram_api_url",
            "webex_api_url",
            "jira_api_url",
            "rocketchat_api_url",
            "rocketchat_token",
            "rocketchat_token_id",
            "mattermost_webhook_url",
        ]
        .map(|key| (key, "remove it: there is no such receiver here"))
        .into_iter()
        .chain([
            ("smtp_auth_secret", "CRAM-MD5 is not spoken: use `smtp_auth_password` over TLS"),
            ("smtp_auth_identity", "remove it: the server knows who logs in"),
        ])
        .collect();
        section.finish(&instead, &mut reading.problems);
        Self {
            from,
            smarthost,
            hello,
            username,
            password,
            require_tls,
            implicit_tls,
            slack_url,
            authority,
            http,
        }
    }
}

impl HttpConfig {
    /// Reads `http_config` of a section.
    fn read(section: &mut Section<'_>, reading: &mut Reading<'_>) -> Self {
        let Some(node) = section.node("http_config") else { return Self::default() };
        let path = format!("{}.http_config", section.path);
        let Some(mut config) = Section::of(node, path.as_str(), &mut reading.problems) else {
            return Self::default();
        };
        let mut authorization = None;
        if let Some(node) = config.node("authorization") {
            let path = format!("{path}.authorization");
            if let Some(mut section) = Section::of(node, path, &mut reading.problems) {
                let kind = section.text("type", &mut reading.problems).unwrap_or_else(|| "Bearer".to_owned());
                let secret = section.secret("credentials", "credentials_file", reading);
                authorization = secret.map(|secret| Secret::new(format!("{kind} {}", secret.expose())));
                section.finish(&[], &mut reading.problems);
            }
        }
        if let Some(node) = config.node("basic_auth") {
            let path = format!("{path}.basic_auth");
            if let Some(mut section) = Section::of(node, path, &mut reading.problems) {
                let user = section.text("username", &mut reading.problems).unwrap_or_default();
                let password = section.secret("password", "password_file", reading);
                let both = Zeroizing::new(format!("{user}:{}", password.as_ref().map_or("", Secret::expose)));
                let coded = STANDARD.encode(both.as_bytes());
                authorization = Some(Secret::new(format!("Basic {coded}")));
                section.finish(&[], &mut reading.problems);
            }
        }
        let authority = authority(&mut config, "tls_config", reading);
        let other = [
            ("bearer_token", "write it as `authorization: {credentials: …}`"),
            ("bearer_token_file", "write it as `authorization: {credentials_file: …}`"),
            ("oauth2", "use `authorization` with a token that does not expire"),
            ("proxy_url", "remove it: notices go straight to the receiver"),
            ("follow_redirects", "remove it: a redirect is not followed; name the final address"),
            ("enable_http2", "remove it"),
            ("http_headers", "remove it"),
        ];
        config.finish(&other, &mut reading.problems);
        Self { authorization, authority }
    }
}

/// Reads the authority that a server's certificate must come from.
fn authority(section: &mut Section<'_>, key: &'static str, reading: &mut Reading<'_>) -> Option<Vec<u8>> {
    let node = section.node(key)?;
    let mut tls = Section::of(node, format!("{}.{key}", section.path), &mut reading.problems)?;
    let file = tls.text("ca_file", &mut reading.problems);
    let pem = file.and_then(|file| tls.file("ca_file", &file, reading));
    let is_certificate = |pem: &Vec<u8>| {
        reqwest::Certificate::from_pem_bundle(pem).is_ok_and(|certificates| !certificates.is_empty())
    };
    if pem.as_ref().is_some_and(|pem| !is_certificate(pem)) {
        let wrong = format!("`{}.ca_file` holds no certificate in PEM", tls.path);
        reading.problems.say(tls.place_of("ca_file"), wrong);
    }
    let other = [
        ("insecure_skip_verify", "name the authority of the server's certificate in `ca_file` instead"),
        ("cert_file", "client certificates are not spoken: prove yourself by `authorization` or a signature"),
        ("key_file", "client certificates are not spoken: prove yourself by `authorization` or a signature"),
        ("server_name", "address the server by the name in its certificate"),
        ("min_version", "remove it: TLS 1.2 and 1.3 are spoken"),
        ("max_version", "remove it: TLS 1.2 and 1.3 are spoken"),
    ];
    tls.finish(&other, &mut reading.problems);
    pem
}

impl Receiver {
    /// The one that is always there.
    pub(crate) fn inbox() -> Self {
        let key = "inbox/inbox/0".to_owned();
        let way = Way {
            key,
            send_resolved: true,
            alerts_max: ALERTS_MAX as usize,
            timeout: TIMEOUT_MICROS,
            kind: WayKind::Inbox,
        };
        Self { name: super::INBOX.to_owned(), ways: vec![way] }
    }

    pub(crate) fn read(node: &Node, path: &str, global: &Global, reading: &mut Reading<'_>) -> Option<Self> {
        let mut section = Section::of(node, path, &mut reading.problems)?;
        let name = section.text("name", &mut reading.problems);
        if name.is_none() {
            reading.problems.say(section.place, format!("`{path}` has no `name`"));
        }
        let named = name.clone().unwrap_or_default();
        let mut ways = Vec::new();
        let mut each = |key: &'static str,
                        kind: &str,
                        reading: &mut Reading<'_>,
                        section: &mut Section<'_>,
                        read: Reader<'_>| {
            for (at, node) in section.list(key, &mut reading.problems).iter().enumerate() {
                let path = format!("{path}.{key}[{at}]");
                if let Some(mut section) = Section::of(node, path, &mut reading.problems) {
                    let way = read(&mut section, format!("{named}/{kind}/{at}"), reading);
                    section.finish(OTHER_KEYS, &mut reading.problems);
                    ways.extend(way);
                }
            }
        };
        each("email_configs", "email", reading, &mut section, &|section, key, reading| {
            email(section, key, global, reading)
        });
        each("webhook_configs", "webhook", reading, &mut section, &|section, key, reading| {
            webhook(section, key, global, reading)
        });
        each("slack_configs", "slack", reading, &mut section, &|section, key, reading| {
            slack(section, key, global, reading)
        });
        each("mqtt_configs", "mqtt", reading, &mut section, &mqtt);
        if section.bool("inbox", &mut reading.problems) == Some(true) {
            ways.push(Way { key: format!("{named}/inbox/0"), ..Self::inbox().ways.remove(0) });
        }
        section.finish(&OTHER_RECEIVERS, &mut reading.problems);
        Some(Self { name: name?, ways })
    }
}

type Reader<'r> = &'r dyn Fn(&mut Section<'_>, String, &mut Reading<'_>) -> Option<Way>;

/// Keys of Alertmanager's receivers that have no place here.
const OTHER_KEYS: &[(&str, &str)] = &[
    ("html", NO_TEMPLATE),
    ("text", NO_TEMPLATE),
    ("title", NO_TEMPLATE),
    ("title_link", NO_TEMPLATE),
    ("pretext", NO_TEMPLATE),
    ("fallback", NO_TEMPLATE),
    ("footer", NO_TEMPLATE),
    ("fields", NO_TEMPLATE),
    ("actions", NO_TEMPLATE),
    ("color", NO_TEMPLATE),
    ("icon_emoji", NO_TEMPLATE),
    ("icon_url", NO_TEMPLATE),
    ("headers", "remove it: subject and sender are made of the notice and of `from`"),
    ("auth_secret", "CRAM-MD5 is not spoken: use `auth_password` over TLS"),
    ("auth_identity", "remove it: the server knows who logs in"),
    ("update_message", "remove it: every notice is a message of its own"),
];

/// What every way has.
fn way(
    section: &mut Section<'_>,
    key: String,
    resolved: bool,
    kind: WayKind,
    reading: &mut Reading<'_>,
) -> Way {
    let problems = &mut reading.problems;
    let send_resolved = section.bool("send_resolved", problems).unwrap_or(resolved);
    // 0 is Alertmanager's word for all; here even all has a bound.
    let alerts_max = section.number("max_alerts", problems).filter(|max| *max > 0).unwrap_or(ALERTS_MAX);
    let timeout = match section.duration("timeout", problems).unwrap_or(0) {
        0 => TIMEOUT_MICROS,
        timeout => timeout.min(TIMEOUT_MICROS_MAX),
    };
    Way {
        key,
        send_resolved,
        alerts_max: usize::try_from(alerts_max.min(10_000)).unwrap_or(10_000),
        timeout,
        kind,
    }
}

fn email(section: &mut Section<'_>, key: String, global: &Global, reading: &mut Reading<'_>) -> Option<Way> {
    let problems = &mut reading.problems;
    let to = section.text("to", problems);
    let from = section.text("from", problems).or_else(|| global.from.clone());
    let smarthost = section.text("smarthost", problems).or_else(|| global.smarthost.clone());
    let hello = section.text("hello", problems).or_else(|| global.hello.clone());
    let username = section.text("auth_username", problems).or_else(|| global.username.clone());
    let require_tls = section.bool("require_tls", problems).or(global.require_tls).unwrap_or(true);
    let implicit_tls = section.bool("force_implicit_tls", problems).or(global.implicit_tls).unwrap_or(false);
    let path = section.path.clone();
    for (what, value, instead) in [
        ("to", &to, "an address, as in `ops@example.org`"),
        ("from", &from, "or `global.smtp_from`"),
        ("smarthost", &smarthost, "or `global.smtp_smarthost`, as in `mail.example.org:587`"),
    ] {
        if value.is_none() {
            problems.advise(section.place, format!("`{path}` has no `{what}`"), instead);
        }
    }
    let (to, from, smarthost) = (to?, from?, smarthost?);
    let to: Vec<String> =
        to.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    for (key, address) in to.iter().map(|one| ("to", one)).chain([("from", &from)]) {
        if address.parse::<lettre::message::Mailbox>().is_err() {
            problems.say(section.place_of(key), format!("`{path}.{key}`: `{address}` is no mail address"));
        }
    }
    let host =
        smarthost.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    if host.is_none() {
        let wrong = format!(
            "`{path}.smarthost`: `{smarthost}` must name host and port, as in `mail.example.org:587`"
        );
        problems.say(section.place_of("smarthost"), wrong);
    }
    let password =
        section.secret("auth_password", "auth_password_file", reading).or_else(|| global.password.clone());
    let login = username.zip(password);
    let is_tls = require_tls || implicit_tls || smarthost.ends_with(":465");
    if login.is_some() && !is_tls {
        let wrong = format!("`{path}` would send a password in the clear");
        reading.problems.advise(section.place, wrong, "set `require_tls: true`, or leave the login out");
    }
    let authority = authority(section, "tls_config", reading).or_else(|| global.authority.clone());
    let (host, port) = host?;
    let kind = WayKind::Email(Box::new(Email {
        to,
        from,
        host,
        port,
        hello,
        login,
        require_tls,
        implicit_tls,
        authority,
    }));
    Some(way(section, key, false, kind, reading))
}

fn webhook(
    section: &mut Section<'_>,
    key: String,
    global: &Global,
    reading: &mut Reading<'_>,
) -> Option<Way> {
    let sign = section.secret("secret", "secret_file", reading);
    let http = http(section, ["url", "url_file"], None, sign, global, reading)?;
    Some(way(section, key, true, WayKind::Webhook(Box::new(http)), reading))
}

fn slack(section: &mut Section<'_>, key: String, global: &Global, reading: &mut Reading<'_>) -> Option<Way> {
    let http = http(section, ["api_url", "api_url_file"], global.slack_url.clone(), None, global, reading);
    let channel = section.text("channel", &mut reading.problems);
    let username = section.text("username", &mut reading.problems);
    let kind = WayKind::Slack { http: Box::new(http?), channel, username };
    Some(way(section, key, false, kind, reading))
}

/// Reads an address and what goes with it.
pub(crate) fn http(
    section: &mut Section<'_>,
    keys: [&'static str; 2],
    default: Option<Secret>,
    sign: Option<Secret>,
    global: &Global,
    reading: &mut Reading<'_>,
) -> Option<Http> {
    let url = section.secret(keys[0], keys[1], reading).or(default);
    let own = HttpConfig::read(section, reading);
    let Some(url) = url else {
        let none = format!("`{}` has no `{}`", section.path, keys[0]);
        reading.problems.advise(section.place, none, "an address, as in `https://hooks.example.org/alerts`");
        return None;
    };
    let parsed = reqwest::Url::parse(url.expose()).ok();
    if !parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        let place: Place = section.place_of(keys[0]);
        reading.problems.say(
            place,
            format!(
                "`{}.{}` must be an address that starts with `http://` or `https://`",
                section.path, keys[0]
            ),
        );
        return None;
    }
    Some(Http {
        url,
        sign,
        authorization: own.authorization.or_else(|| global.http.authorization.clone()),
        authority: own.authority.or_else(|| global.http.authority.clone()),
    })
}

fn mqtt(section: &mut Section<'_>, key: String, reading: &mut Reading<'_>) -> Option<Way> {
    let text = section.text("topic", &mut reading.problems);
    let path = section.path.clone();
    let Some(text) = text else {
        reading.problems.say(section.place, format!("`{path}` has no `topic`"));
        return None;
    };
    let topic = match model::TopicName::parse(text.as_str()) {
        Ok(topic) if !text.starts_with('$') => topic,
        Ok(_) => {
            let wrong = format!("`{path}.topic`: `{text}` begins with `$`; such topics belong to the server");
            reading.problems.say(section.place_of("topic"), wrong);
            return None;
        }
        Err(error) => {
            reading.problems.say(section.place_of("topic"), format!("`{path}.topic`: {error}"));
            return None;
        }
    };
    Some(way(section, key, true, WayKind::Mqtt { topic }, reading))
}
