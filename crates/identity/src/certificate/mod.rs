//! Certificates of devices: which are known, whose they are, and whether they may be used.
//!
//! A certificate is known by its [`CertificateId`]. Who signed it does not matter: one of Godwit's own authority, of
//! another one, or signed by itself is let in when it stands here as [`CertificateStatus::Active`], and not otherwise.
//! Not here: the handshake in which its holder proves that the private key is his (`handshake`). The laws: a
//! certificate belongs to at most one device; one that was revoked stays revoked; no private key is ever stored.
//!
//! [`material`] reads certificates, [`request`] reads requests for them, [`register`] holds them in memory, [`change`]
//! adds and withdraws them, [`renewal`] lets one follow another, [`proof`] says whether one is let in.

mod change;
mod handshake;
mod material;
mod proof;
mod register;
mod renewal;
mod request;

use std::fmt;

use aws_lc_rs::digest;
use catalog::{Connection, Migration, Row, SqlError, params};
use model::{DeviceName, Timestamp};

use crate::policy::CertificateFacts;

pub use change::{CertificateError, Followers, Issued, NewKey, PrivateKeyPem, StatusChange};
pub(crate) use change::{insert, told};
pub use handshake::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, ClientCertificates};
pub use material::CertificateFlaw;
pub(crate) use material::public_key;
pub use proof::{CertificateRefusal, WAY_BACK};
pub(crate) use register::Register;
pub(crate) use request::Request;
pub use request::RequestFlaw;

/// The table of this file.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 7,
    sql: "
        CREATE TABLE certificates (
            -- SHA-256 of the DER, in lower-case hexadecimal digits.
            id TEXT PRIMARY KEY,
            der BYTEA NOT NULL,
            -- For people: what the certificate says of its holder.
            subject TEXT NOT NULL,
            -- NULL: nobody's yet.
            device TEXT,
            status TEXT NOT NULL CHECK (status IN ('active', 'inactive', 'pending', 'revoked')),
            -- By a key made here, by a request, or made elsewhere.
            origin TEXT NOT NULL CHECK (origin IN ('key', 'request', 'registered')),
            not_before BIGINT NOT NULL,
            not_after BIGINT NOT NULL,
            created BIGINT NOT NULL,
            last_seen BIGINT,
            -- How many connections it opened, counted until the one before it has retired.
            sessions BIGINT NOT NULL DEFAULT 0,
            -- The one that it takes the place of, by renewal.
            replaces TEXT,
            -- The one that took its place.
            retired_by TEXT
        );
        CREATE INDEX certificates_device ON certificates (device);
        CREATE INDEX certificates_not_after ON certificates (not_after);
    ",
};

/// Who was had by whom is asked for within the catalog's only writer, once for each link of a chain.
pub(crate) const MIGRATION_FOLLOWERS: Migration = Migration {
    room: "identity",
    version: 10,
    sql: "CREATE INDEX certificates_replaces ON certificates (replaces);",
};

/// Most certificates on one page.
pub const PAGE_CERTIFICATES_MAX: usize = 1000;

/// What a certificate is known by: the SHA-256 of its DER form, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId([u8; 32]);

impl CertificateId {
    /// The id of this certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, der);
        Self(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
    }

    /// The id that a [`model::Principal::Certificate`] holds.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest itself.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Reads 64 hexadecimal digits; `None` when these are none. Capital letters and colons, as OpenSSL prints them, are
    /// fine.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut digits = text.chars().filter(|character| *character != ':');
        for byte in &mut bytes {
            let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        digits.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateId({self})")
    }
}

/// Whether a certificate may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateStatus {
    /// It may.
    Active,
    /// Not now: an operator turned it off, or a newer one took its place.
    Inactive,
    /// Not yet: it was made and waits to be activated.
    Pending,
    /// Never again.
    Revoked,
}

impl CertificateStatus {
    const ALL: [Self; 4] = [Self::Active, Self::Inactive, Self::Pending, Self::Revoked];

    /// Its name in SQL and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Revoked => "revoked",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// How a certificate came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateOrigin {
    /// Godwit made its key and signed it.
    Key,
    /// Godwit signed it for a key that it never saw, by a request (CSR).
    Request,
    /// It was made elsewhere and registered.
    Registered,
}

impl CertificateOrigin {
    const ALL: [Self; 3] = [Self::Key, Self::Request, Self::Registered];

    /// Its name in SQL and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Request => "request",
            Self::Registered => "registered",
        }
    }
}

/// A certificate that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What it is known by.
    pub id: CertificateId,
    /// What it says of its holder, such as `CN=pump-1`.
    pub subject: String,
    /// Whose it is.
    pub device: Option<DeviceName>,
    /// Whether it may be used.
    pub status: CertificateStatus,
    /// How it came to be.
    pub origin: CertificateOrigin,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// When it came to be known.
    pub created: Timestamp,
    /// When it last opened a connection, to within ten minutes.
    pub last_seen: Option<Timestamp>,
    /// The one that it takes the place of.
    pub replaces: Option<CertificateId>,
    /// The one that took its place.
    pub retired_by: Option<CertificateId>,
    /// The certificate itself.
    pub der: Vec<u8>,
}

impl Certificate {
    /// What policies may know of it.
    pub(crate) fn facts(&self) -> Option<CertificateFacts> {
        material::facts(&self.der)
    }

    /// The certificate as PEM (RFC 7468).
    #[must_use]
    pub fn pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.der.clone()))
    }
}

/// Which certificates are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFilter {
    /// Only those of this device.
    pub device: Option<DeviceName>,
    /// Only those in this state.
    pub status: Option<CertificateStatus>,
    /// Only those that end before this.
    pub expires_before: Option<Timestamp>,
    /// Only ids after this one.
    pub after: Option<CertificateId>,
    /// At most so many; held between 1 and [`PAGE_CERTIFICATES_MAX`].
    pub limit: usize,
}

const COLUMNS: &str = "id, subject, device, status, origin, not_before, not_after, created, last_seen,
    replaces, retired_by, der";

/// The certificate of this id.
pub(crate) fn one(connection: &Connection<'_>, id: &CertificateId) -> Result<Option<Certificate>, SqlError> {
    let sql = format!("SELECT {COLUMNS} FROM certificates WHERE id = $1");
    connection.query_one(&sql, params![id.to_string()], certificate)
}

/// Those that are asked for, by id.
pub(crate) fn page(
    connection: &Connection<'_>,
    filter: &CertificateFilter,
) -> Result<Vec<Certificate>, SqlError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM certificates
         WHERE id > $1 AND ($2 = '' OR device = $2) AND ($3 = '' OR status = $3) AND not_after < $4
         ORDER BY id LIMIT $5"
    );
    let after = filter.after.map(|id| id.to_string()).unwrap_or_default();
    let device = filter.device.as_ref().map_or("", DeviceName::as_str);
    let status = filter.status.map_or("", CertificateStatus::name);
    let before = filter.expires_before.unwrap_or(Timestamp::from_micros(i64::MAX));
    let limit = filter.limit.clamp(1, PAGE_CERTIFICATES_MAX);
    connection.query(&sql, params![after, device, status, before, limit], certificate)
}

fn certificate(row: &Row<'_>) -> Result<Certificate, SqlError> {
    let id = |text: String| CertificateId::parse(&text).expect("ids are written by this crate");
    let (status, origin): (String, String) = (row.get(3)?, row.get(4)?);
    let origin = CertificateOrigin::ALL.into_iter().find(|known| known.name() == origin);
    Ok(Certificate {
        id: id(row.get(0)?),
        subject: row.get(1)?,
        device: row.get(2)?,
        status: CertificateStatus::from_name(&status).expect("the table's check allows these"),
        origin: origin.expect("the table's check allows these"),
        not_before: row.get(5)?,
        not_after: row.get(6)?,
        created: row.get(7)?,
        last_seen: row.get(8)?,
        replaces: row.get::<Option<String>>(9)?.map(id),
        retired_by: row.get::<Option<String>>(10)?.map(id),
        der: row.get(11)?,
    })
}
