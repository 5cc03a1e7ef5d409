//! Who speaks, and what they may do.
//!
//! Devices with their certificates and passwords, the token of this start, anonymous speakers, and [`Permissions`]: what one session
//! may do, compiled once. Doors ask; nobody else decides.
//!
//! Not here: packets, sockets, reason codes (doors map [`Refusal::kind`]); reserved topics (`model::reserved`, which
//! doors ask first). Groups, policies and the audit log are further files of this crate: a policy is one more
//! way to [`Permissions`].
//!
//! The laws this crate keeps:
//! - An unknown name and a wrong password get the same answer and cost the same work.
//! - Under the default policy a subscription is permitted only if everything its filter can match is permitted.
//! - No secret is stored, and none is written to a log: passwords are shown once and kept as salted hashes.

mod answer;
mod attribute;
mod audit;
mod authority;
mod certificate;
mod device;
mod error;
mod flag;
mod group;
mod identity;
mod password;
mod permissions;
mod placement;
pub mod policy;
pub mod provisioning;
mod quarantine;
mod refusal;
mod refused;
mod rights;
mod scram;
mod seen;
mod token;
mod user;
mod who;

pub use answer::Reply;
pub use attribute::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, AttributeError, Attributes,
};
pub use audit::{
    AUDIT_PAGE_MAX, Actor, AnchorError, AuditFilter, AuditPage, Fault, Judge, Outcome, Recorded, Verdict,
    write_down,
};
pub use authority::{Authority, AuthorityError, AuthorityView};
pub use certificate::{
    CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, Certificate, CertificateError, CertificateFilter,
    CertificateFlaw, CertificateId, CertificateOrigin, CertificateRefusal, CertificateStatus,
    ClientCertificates, Followers, Issued, NewKey, PAGE_CERTIFICATES_MAX, PrivateKeyPem, RequestFlaw,
    StatusChange, WAY_BACK,
};
pub use device::change::{AttributeChange, IfVersion, NewDevice};
pub use device::import::{IMPORT_ROWS_MAX, ImportOptions, ImportRow, Imported};
pub use device::list::{DeviceFilter, Devices, PAGE_DEVICES_MAX, Page};
pub use device::{Device, DeviceState, Quarantine, Removal};
pub use error::{ChangeError, OpenError};
pub use flag::{
    CLONE_RETURNS, CLONE_WINDOW, CONTROL_ATTRIBUTE, Flag, FlagKind, QUARANTINED_ONE_OF, RATE_DEVICES_MAX,
    RATE_FACTOR, RATE_FLOOR, RATE_LEARNT_MINUTES, Sighting, Unusual,
};
pub use group::{GROUPS_MAX, Group, Groups, MEMBERSHIPS_MAX, PAGE_GROUPS_MAX};
pub use identity::{Identity, LOCAL_USER};
pub use password::{PASSWORD_BYTES_MAX, Password};
pub use permissions::{Action, Decision, Permissions, Reason};
pub use placement::Placement;
pub use quarantine::REASON_BYTES_MAX;
pub use refusal::{Refusal, UserRefusal};
pub use refused::{REFUSED_DEVICES_MAX, Refused, RefusedCounts};
pub use rights::{Area, Grant, Reach, Rights, RightsError, Role, Scope, Verb};
pub use scram::ScramVerifier;
pub use seen::{SEEN_DEVICES_MAX, SEEN_WAITING_MAX, Seen};
pub use token::LocalToken;
pub use user::{
    LOGIN_IDLE, LOGIN_MAX, Login, LoginError, LoginSecret, NewLogin, NewPassword, NewToken, Presence,
    SetupCode, SqlDenied, TOKEN_PREFIX, Token, TokenSecret, User, UserError, UserName,
};
pub use who::{SecretRef, Who};
