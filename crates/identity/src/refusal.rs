//! Why somebody was not let in.
//!
//! What the one outside is told ([`Display`](std::fmt::Display)) and what the log says ([`Refusal::reason`],
//! [`Refusal::hint`]) differ on purpose: outside, an unknown name and a wrong password are one. Not here: reason
//! codes, which belong to the doors. The law: whatever came from outside is escaped and cut before it is shown.

use std::fmt::Write as _;
use std::net::IpAddr;

use model::{DeviceName, Kind};
use serde_json::json;

use crate::{Actor, CertificateRefusal, Identity, LOCAL_USER, Outcome, Who};

/// Longest part of a user name that is shown: the whole of what could be a device's.
const SHOWN_CHARS: usize = model::limit::DEVICE_NAME_BYTES_MAX;

/// Why somebody was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a user name nor a password, or only one of the two.
    #[error("a user name and a password are needed")]
    NoCredentials,
    /// An unknown user name or a wrong password.
    #[error("the user name or the password is wrong")]
    WrongCredentials {
        /// The user name that was given, escaped and cut.
        username: String,
        /// Whether a device of this name has a password. For the log alone.
        is_known: bool,
    },
    /// Whoever gave the name of a user, or a token, and is not let in.
    #[error("the user name or the password is wrong")]
    User {
        /// The user name that was given, escaped and cut.
        username: String,
        /// Why. For the log alone.
        why: UserRefusal,
    },
    /// A token that is not the one of this start.
    #[error("the token is wrong")]
    WrongToken,
    /// A certificate that lets nobody in, or none.
    #[error("{why}")]
    Certificate {
        /// Why.
        why: CertificateRefusal,
        /// Whose it is, or looks to be: for the log alone.
        device: Option<String>,
    },
}

/// Why a user was not let in by name and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRefusal {
    /// The password is wrong.
    Password,
    /// There is no such token of that user, or not any more.
    Token,
    /// Too many wrong ones came before: it was not looked at.
    Throttled {
        /// Seconds to wait.
        wait_s: u64,
    },
    /// Too many passwords are being looked at.
    Busy,
}

impl Refusal {
    /// What a door needs to know.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            // Who he is was shown; that he may not come in is another matter.
            Self::Certificate { why, .. } if *why != CertificateRefusal::Absent => Kind::Forbidden,
            _ => Kind::Unauthenticated,
        }
    }

    /// What happened, for the log: `plain listener needs a password`. Never for the one who was refused.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::NoCredentials => "this listener needs a user name and a password".to_owned(),
            Self::WrongCredentials { username, is_known: true } => format!("wrong password for `{username}`"),
            Self::WrongCredentials { username, is_known: false } => {
                format!("no device `{username}` with a password")
            }
            Self::User { username, why: UserRefusal::Password } => {
                format!("wrong password for user `{username}`")
            }
            Self::User { username, why: UserRefusal::Token } => format!("no such token of `{username}`"),
            Self::User { username, why: UserRefusal::Throttled { wait_s } } => format!(
                "too many wrong passwords for user `{username}` or from this address: none is looked at for {wait_s} s"
            ),
            Self::User { username, why: UserRefusal::Busy } => {
                format!("too many passwords are being looked at, that of user `{username}` was not")
            }
            Self::Certificate { why, .. } => why.to_string(),
            Self::WrongToken => "the token is not the one of this start".to_owned(),
        }
    }

    /// What an operator can do about it, for the log. `client_id` names the device where no user name was given. What
    /// is to be typed holds no character that a shell would take for something else.
    #[must_use]
    pub fn hint(&self, client_id: &str) -> String {
        match self {
            Self::NoCredentials => format!("Run: godwit device add {} --password", named(client_id)),
            Self::WrongCredentials { username, is_known: false } => {
                format!("Run: godwit device add {} --password", named(username))
            }
            Self::WrongCredentials { is_known: true, .. } => {
                "Give the device the password that was shown when it was added".to_owned()
            }
            Self::User { username, why: UserRefusal::Password } => {
                format!("Give the client the user's password, or a new one. Run: godwit user reset {username}")
            }
            Self::User { why: UserRefusal::Token, .. } => {
                "See which there are, and make another. Run: godwit token list, godwit token add USER NAME --scope mqtt"
                    .to_owned()
            }
            Self::User { username, why: UserRefusal::Throttled { .. } | UserRefusal::Busy } => format!(
                "Wait; programs log in by a token, which is not held up. Run: godwit token add {username} NAME --scope mqtt"
            ),
            Self::Certificate { why, device } => why.hint(&named(device.as_deref().unwrap_or(client_id))),
            Self::WrongToken => "Use the token in server.json of the data directory".to_owned(),
        }
    }

    /// Who is known to be meant, as the audit log names it, and in a word why he was refused. `None` for strangers: whoever
    /// makes names up has told nothing.
    fn known(&self) -> Option<(String, &'static str)> {
        match self {
            Self::WrongCredentials { username, is_known: true } if username == LOCAL_USER => {
                Some((format!("user:{LOCAL_USER}"), "password"))
            }
            Self::WrongCredentials { username, is_known: true } => {
                Some((format!("device:{username}"), "password"))
            }
            Self::Certificate { why, device: Some(device) } => {
                Some((format!("device:{device}"), why.word()?))
            }
            _ => None,
        }
    }

    pub(crate) fn wrong(username: &str, is_known: bool) -> Self {
        Self::WrongCredentials { username: shown(username), is_known }
    }

    pub(crate) fn of_user(username: &str, why: UserRefusal) -> Self {
        Self::User { username: shown(username), why }
    }
}

/// What came from outside, escaped and cut.
fn shown(username: &str) -> String {
    let mut shown = String::new();
    for character in username.chars().take(SHOWN_CHARS) {
        let _ = write!(shown, "{}", character.escape_debug());
    }
    shown
}

impl Identity {
    /// Writes down that a device that is known was not let in; many of one kind become one entry. Doors call it for every
    /// [`Refusal`] that keeps somebody out. Never waits.
    pub fn notice_refusal(&self, refusal: &Refusal, address: IpAddr) {
        let Some((object, why)) = refusal.known() else { return };
        let by = Actor::of(&Who::anonymous(), Some(address));
        self.notice(&by, "device.refuse", object, Outcome::Refused, Some(json!({ "why": why })));
    }

    /// The same of a device that proved who it is and may not connect all the same.
    pub fn notice_no_connect(&self, who: &Who, address: IpAddr) {
        let Some(device) = &who.device else { return };
        let (by, object) = (Actor::of(who, Some(address)), format!("device:{device}"));
        self.notice(&by, "device.refuse", object, Outcome::Refused, Some(json!({ "why": "connect" })));
    }

    /// Writes down that what a device left to be said in its absence is not said: its proof is worth nothing any more.
    pub fn notice_no_will(&self, who: &Who, topic: &str) {
        let Some(device) = &who.device else { return };
        let (by, object) = (Actor::of(who, None), format!("device:{device}"));
        let detail = json!({ "why": "will", "topic": topic.chars().take(SHOWN_CHARS).collect::<String>() });
        self.notice(&by, "device.refuse", object, Outcome::Refused, Some(detail));
    }
}

/// A device name to type. `NAME` when none can be made, or when the command line would take it for a flag.
fn named(text: &str) -> String {
    match DeviceName::sanitize(text) {
        Some(name) if !name.starts_with('-') => name.to_string(),
        _ => "NAME".to_owned(),
    }
}
