//! Who was proven to speak.
//!
//! Not here: the proof (`identity`), and what follows from it (`permissions`). The law: outside this crate only
//! [`Who::anonymous`] can be made from nothing.

use std::sync::Arc;

use bytestring::ByteString;
use model::{DeviceName, Principal};

use crate::policy::CertificateFacts;

/// Who speaks on a connection, as proven when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Who speaks.
    pub principal: Principal,
    /// The device the principal belongs to, if any: what `device = "connection"` of a route means, whatever the
    /// client id. For everybody else that is the client id.
    pub device: Option<DeviceName>,
    /// Which of the device's or the user's passwords, counted; so that a session opened with an older one is found.
    pub(crate) password: u64,
    /// The token by which a user speaks, if by one.
    pub(crate) token: Option<TokenRef>,
    /// How far the proof reached.
    pub(crate) scope: Scope,
    /// What its certificate says, if that was the proof.
    pub(crate) certificate: Option<Arc<CertificateFacts>>,
}

/// By which of somebody's secrets he spoke: for what is kept for longer than the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretRef {
    /// Which of the passwords, counted.
    pub password: u64,
    /// The id of the token, if it was one.
    pub token: Option<u64>,
}

/// How far a proof reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// As far as policies say.
    Full,
    /// The device is in quarantine: to its diagnosis topics.
    Quarantine,
    /// The certificate's time is over: to the topics by which it gets a new one.
    Renewal,
}

/// Which token it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRef {
    pub(crate) id: u64,
    pub(crate) name: ByteString,
}

impl Who {
    /// Nobody in particular: for listeners that ask for no name. Whoever may reach such a listener may do everything
    /// except `$aws/`.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::of(Principal::Anonymous, None, 0)
    }

    /// Whether `other` is the same device, by whatever each has proven it; or the same principal, when there is no device.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (&self.device, &other.device) {
            (Some(own), Some(theirs)) => own == theirs,
            (None, None) => self.principal == other.principal,
            _ => false,
        }
    }

    /// Whether the proof reaches only as far as the way back: a device in quarantine, or one whose certificate is expired. What
    /// such a one may do is not what it may do once it is let in as before.
    #[must_use]
    pub fn is_confined(&self) -> bool {
        self.scope != Scope::Full
    }

    /// By which secret.
    #[must_use]
    pub fn secret(&self) -> SecretRef {
        SecretRef { password: self.password, token: self.token.as_ref().map(|token| token.id) }
    }

    pub(crate) fn of(principal: Principal, device: Option<DeviceName>, password: u64) -> Self {
        Self { principal, device, password, token: None, scope: Scope::Full, certificate: None }
    }

    pub(crate) fn user(name: &str, password: u64) -> Self {
        Self::of(Principal::User(ByteString::from(name)), None, password)
    }

    /// The same, through a token.
    pub(crate) fn through(mut self, token: TokenRef) -> Self {
        self.token = Some(token);
        self
    }

    pub(crate) fn device(name: DeviceName, password: u64) -> Self {
        Self::of(Principal::DevicePassword(name.clone()), Some(name), password)
    }
}
