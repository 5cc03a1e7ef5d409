//! Who was proven to speak.
//!
//! Not here: the proof (`identity`), and what follows from it (`permissions`). The law: outside this crate only
//! [`Who::anonymous`] can be made from nothing.

use bytestring::ByteString;
use model::{DeviceName, Principal};

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
        Self { principal: Principal::Anonymous, device: None, password: 0, token: None }
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

    pub(crate) fn user(name: &str, password: u64) -> Self {
        Self { principal: Principal::User(ByteString::from(name)), device: None, password, token: None }
    }

    /// The same, through a token.
    pub(crate) fn through(mut self, token: TokenRef) -> Self {
        self.token = Some(token);
        self
    }

    pub(crate) fn device(name: DeviceName, password: u64) -> Self {
        Self { principal: Principal::DevicePassword(name.clone()), device: Some(name), password, token: None }
    }
}
