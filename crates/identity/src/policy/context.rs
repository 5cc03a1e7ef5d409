//! What is known of a session when its policies are compiled: what variables and conditions look at.
//!
//! Not here: where it is known from. The law: what is not known is absent, never guessed.

use std::net::IpAddr;
use std::sync::Arc;

use bytestring::ByteString;
use model::DeviceName;

use crate::Attributes;

/// What a door knows of a session beside who speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The client id.
    pub client_id: ByteString,
    /// Where it connects from; `None` once its connection is gone.
    pub address: Option<IpAddr>,
    /// It asks to be remembered: clean start is off.
    pub is_persistent: bool,
    /// It leaves a will.
    pub has_will: bool,
}

impl Circumstances {
    /// Those of which only the client id is known.
    #[must_use]
    pub fn of(client_id: impl Into<ByteString>) -> Self {
        Self { client_id: client_id.into(), ..Self::default() }
    }
}

/// What a session proved by a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of its DER form.
    pub id: [u8; 32],
    /// Parts of its subject by AWS's names (`CommonName`, `Country`, `OrganizationalUnit`, `AlternativeName.DNSName`, …), in
    /// their order; a name may come again.
    pub subject: Vec<(String, String)>,
    /// Parts of its issuer, in the same way.
    pub issuer: Vec<(String, String)>,
    /// Its serial number in lower-case hexadecimal.
    pub serial: Option<String>,
}

/// All that is known of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// What the door knows.
    pub circumstances: Circumstances,
    /// The device that speaks, as proven.
    pub device: Option<DeviceName>,
    /// The attributes of the device.
    pub attributes: Attributes,
    /// The certificate, if that is how it proved itself.
    pub certificate: Option<Arc<CertificateFacts>>,
    /// The devices that this one speaks for, if it is a gateway.
    pub children: Arc<[DeviceName]>,
}

impl Context {
    /// AWS's thing: the device, if the client id is its name.
    pub(crate) fn thing(&self) -> Option<&DeviceName> {
        self.device.as_ref().filter(|device| self.circumstances.client_id == device.as_str())
    }
}
