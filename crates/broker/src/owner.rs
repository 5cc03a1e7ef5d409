//! Whose a session is: the device of whoever connects, or the principal itself when that is no device's.
//!
//! Not here: who speaks (`identity`). The laws: whatever certificate or password a device shows, its sessions are its own;
//! nobody else reaches them, whatever client id they choose.

use identity::Who;
use model::{DeviceName, Origin, Principal};

/// The owner of sessions and of retained messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// A device, by whatever it proves itself.
    Device(DeviceName),
    /// A user, whoever is anonymous, a certificate of no device.
    Principal(Principal),
}

impl Owner {
    fn by(device: Option<&DeviceName>, principal: &Principal) -> Self {
        device.map_or_else(|| Self::Principal(principal.clone()), |device| Self::Device(device.clone()))
    }

    pub(crate) fn of(who: &Who) -> Self {
        Self::by(who.device.as_ref(), &who.principal)
    }

    /// Of a message: whoever sent it.
    pub(crate) fn of_origin(origin: &Origin) -> Self {
        Self::by(origin.device.as_ref(), &origin.principal)
    }

    /// Whether it sent a message of this origin.
    pub(crate) fn sent(&self, origin: &Origin) -> bool {
        match (self, &origin.device) {
            (Self::Device(own), Some(device)) => own == device,
            (Self::Principal(own), None) => *own == origin.principal,
            _ => false,
        }
    }

    /// The device, if it is one.
    pub(crate) fn device(&self) -> Option<&DeviceName> {
        match self {
            Self::Device(device) => Some(device),
            Self::Principal(_) => None,
        }
    }
}
