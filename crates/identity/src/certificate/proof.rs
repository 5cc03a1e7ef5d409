//! Whether a certificate lets its holder in: the decision is made here, on what the register says today.
//!
//! Asked at CONNECT, so that a handshake that was resumed is judged like a full one, and so that the one who is refused
//! can be told why. Not here: that the private key is the holder's, which the handshake has shown. The law: only a
//! certificate that is registered, active and within its time lets anybody in.

use std::sync::Arc;
use std::time::Duration;

use catalog::params;
use model::{DeviceName, Principal, Timestamp};

use super::material::{self, CertificateFlaw};
use serde_json::json;

use super::register::Kept;
use super::{CertificateId, CertificateStatus};
use crate::audit::{self, Entry};
use crate::who::Scope;
use crate::{Actor, Identity, Refusal, Who};

/// How exactly it is kept when a certificate was last seen: a fleet that reconnects does not write once for each.
const SEEN_EVERY: Duration = Duration::from_secs(600);

/// How long after its end a certificate that nobody withdrew still lets its device ask for a new one, unless the operator
/// says otherwise: a season in a box, and the time until somebody notices.
pub const WAY_BACK: Duration = Duration::from_secs(365 * 86_400);

/// Why a certificate lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// None was shown.
    #[error("this listener needs a client certificate")]
    Absent,
    /// Nobody registered it.
    #[error("certificate {id} ({subject}) is not registered here")]
    Unknown {
        /// What it is known by.
        id: CertificateId,
        /// What it says of its holder.
        subject: String,
    },
    /// It waits to be activated.
    #[error("certificate {0} waits to be activated")]
    Pending(CertificateId),
    /// It was turned off.
    #[error("certificate {0} is inactive")]
    Inactive(CertificateId),
    /// It was revoked.
    #[error("certificate {0} was revoked")]
    Revoked(CertificateId),
    /// Its time is over.
    #[error("certificate {id} expired at {not_after}; it is {now} here")]
    Expired {
        /// What it is known by.
        id: CertificateId,
        /// When it ended.
        not_after: Timestamp,
        /// The server's time.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error("certificate {id} is good from {not_before}; it is {now} here")]
    NotYetValid {
        /// What it is known by.
        id: CertificateId,
        /// When it begins.
        not_before: Timestamp,
        /// The server's time.
        now: Timestamp,
    },
    /// It can never be used here.
    #[error("certificate {id} cannot be used: {flaw}")]
    Flawed {
        /// What it is known by.
        id: CertificateId,
        /// Why.
        flaw: CertificateFlaw,
    },
}

impl CertificateRefusal {
    /// What an operator can do about it; `device` is whose it is, or looks to be.
    #[must_use]
    pub fn hint(&self, device: &str) -> String {
        match self {
            Self::Absent => {
                format!("Give the client a certificate. Run: godwit device add {device} --out DIR")
            }
            Self::Unknown { .. } => format!(
                "Register it (godwit device add {device} --certificate FILE; if the device is known: godwit device certificate register FILE --device {device}), or give the device one of this server (godwit device add {device} --out DIR)"
            ),
            Self::Pending(id) | Self::Inactive(id) => {
                format!("Run: godwit device certificate activate {id}")
            }
            Self::Revoked(_) | Self::Expired { .. } | Self::Flawed { .. } => {
                format!("Give the device a new one. Run: godwit device certificate add {device} --out DIR")
            }
            Self::NotYetValid { .. } => "Look at the clock of this machine".to_owned(),
        }
    }
}

impl CertificateRefusal {
    /// In a word, for one that is registered here.
    pub(crate) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Absent | Self::Unknown { .. } | Self::Flawed { .. } => None,
            Self::Pending(_) => Some("pending"),
            Self::Inactive(_) => Some("inactive"),
            Self::Revoked(_) => Some("revoked"),
            Self::Expired { .. } => Some("expired"),
            Self::NotYetValid { .. } => Some("not_yet_valid"),
        }
    }
}

impl Identity {
    /// Finds out who speaks by the certificate of a handshake, which has shown that the private key is the speaker's.
    /// A look into memory and one SHA-256, about two microseconds; one that is not registered is read to say why.
    ///
    /// # Errors
    /// [`Refusal::Certificate`] says why not, and to an operator what to do.
    pub fn authenticate_certificate(&self, der: &[u8]) -> Result<Who, Refusal> {
        let id = CertificateId::of(der);
        let now = self.parts.host.clock.now();
        let Some(kept) = self.parts.certificates.get(&id) else {
            return Err(self.stranger(id, der));
        };
        let why = match kept.status {
            CertificateStatus::Pending => Some(CertificateRefusal::Pending(id)),
            CertificateStatus::Inactive => Some(CertificateRefusal::Inactive(id)),
            CertificateStatus::Revoked => Some(CertificateRefusal::Revoked(id)),
            CertificateStatus::Active if now < kept.not_before => {
                Some(CertificateRefusal::NotYetValid { id, not_before: kept.not_before, now })
            }
            CertificateStatus::Active
                if now > kept.not_after && kept.device.is_some() && now < self.way_back(&kept) =>
            {
                return Ok(self.late(id, &kept, der, now));
            }
            CertificateStatus::Active if now > kept.not_after => {
                Some(CertificateRefusal::Expired { id, not_after: kept.not_after, now })
            }
            CertificateStatus::Active => None,
        };
        if let Some(why) = why {
            return Err(Refusal::Certificate { why, device: kept.device.map(|name| name.to_string()) });
        }
        match kept.replaces {
            Some(old) => self.successor_was_used(id, old, now),
            None => self.certificate_was_seen(&id, kept.last_seen, now),
        }
        Ok(self.scoped(Who::certificate(id, kept.device).with_facts(der)))
    }

    /// Until when the holder of an expired certificate may ask for a new one.
    fn way_back(&self, kept: &Kept) -> Timestamp {
        let way_back = i64::try_from(self.way_back.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(kept.not_after.micros().saturating_add(way_back))
    }

    /// The holder of a certificate whose time is over, and that nobody withdrew: it slept past it. It may ask for a new one
    /// and do nothing else; written down.
    fn late(&self, id: CertificateId, kept: &Kept, der: &[u8], now: Timestamp) -> Who {
        let mut who = Who::certificate(id, kept.device.clone()).with_facts(der);
        who.scope = Scope::Renewal;
        // That it was seen a moment before its end is no word about this.
        let last_late = kept.last_seen.filter(|last| *last > kept.not_after);
        let is_fresh = last_late
            .is_some_and(|last| now.micros().abs_diff(last.micros()) < SEEN_EVERY.as_micros() as u64);
        if !is_fresh {
            tracing::warn!(
                device = ?kept.device, certificate = %id, not_after = %kept.not_after,
                "an expired certificate: its device may renew it and do nothing else"
            );
            let (by, not_after) = (Actor::of(&who, None), kept.not_after);
            let _ = self.parts.catalog.submit(
                move |transaction| {
                    let entry = Entry::done(&by, "certificate.late", format!("certificate:{id}"))
                        .after(json!({ "not_after": not_after.to_string() }));
                    audit::append(transaction, now, &entry)?;
                    Ok(())
                },
                |_| {},
            );
        }
        self.certificate_was_seen(&id, last_late, now);
        self.scoped(who)
    }

    /// Why one that is not registered lets nobody in.
    fn stranger(&self, id: CertificateId, der: &[u8]) -> Refusal {
        match material::read(der) {
            Ok(material) => {
                let device = material.common_name.as_deref().and_then(DeviceName::sanitize);
                let why = CertificateRefusal::Unknown { id, subject: material.subject };
                Refusal::Certificate { why, device: device.map(|name| name.to_string()) }
            }
            Err(flaw) => Refusal::Certificate { why: CertificateRefusal::Flawed { id, flaw }, device: None },
        }
    }

    /// Who the holder of a certificate is, for sessions that outlive the process.
    pub(crate) fn recall_certificate(&self, digest: [u8; 32]) -> Who {
        let id = CertificateId::from_bytes(digest);
        self.scoped(Who::certificate(id, self.parts.certificates.get(&id).and_then(|kept| kept.device)))
    }

    /// Keeps when it was seen, in passing: what is lost in a crash comes back with its next connection.
    fn certificate_was_seen(&self, id: &CertificateId, last: Option<Timestamp>, now: Timestamp) {
        let is_fresh =
            last.is_some_and(|last| now.micros().abs_diff(last.micros()) < SEEN_EVERY.as_micros() as u64);
        if is_fresh {
            return;
        }
        self.parts.certificates.change(id, |kept| kept.last_seen = Some(now));
        let id = id.to_string();
        // A catalog that is busy is not made busier: ten minutes later it is tried again.
        let _ = self.parts.catalog.submit(
            move |transaction| {
                transaction
                    .execute("UPDATE certificates SET last_seen = $2 WHERE id = $1", params![id, now])?;
                Ok(())
            },
            |_| {},
        );
    }
}

impl Who {
    /// The holder of a certificate.
    pub(crate) fn certificate(id: CertificateId, device: Option<DeviceName>) -> Self {
        Self::of(Principal::Certificate(id.bytes()), device, 0)
    }

    /// With what the certificate says, for policies that ask.
    fn with_facts(mut self, der: &[u8]) -> Self {
        self.certificate = material::facts(der).map(Arc::new);
        self
    }
}
