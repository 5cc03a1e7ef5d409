//! Godwit's own certificate authority, and the certificate by which a server is known.
//!
//! ```text
//! root (30 years)          signs nothing but issuing authorities; its certificate is what clients trust (`ca.pem`)
//!   └─ issuing (10 years)  signs
//!        └─ server (90 days): the host name, `localhost`, `<host>.local` and every address of this machine
//! ```
//!
//! All are ECDSA P-256, made at the first start and kept in the catalog, private keys as sealed values. Not here: the
//! certificates of devices, and sockets. The laws: a private key is stored sealed and shown nowhere; the server's
//! certificate is renewed before it expires and when the machine's names change, without a restart; nothing is made
//! while the clock is obviously wrong.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, Migration, Place, ReadError, WriteError, params};
use host::{Host, KeyError};
use model::{Kind, Timestamp};
use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// The tables of this file.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 2,
    sql: "
        CREATE TABLE authorities (
            -- root, issuing or server.
            name TEXT PRIMARY KEY,
            certificate BYTEA NOT NULL,
            sealed_key BYTEA NOT NULL,
            -- What the certificate is for, one a line; empty for authorities.
            names TEXT NOT NULL,
            not_after BIGINT NOT NULL,
            created BIGINT NOT NULL
        );
    ",
};

const DAY: Duration = Duration::from_secs(86_400);
const ROOT_LIFE: Duration = Duration::from_secs(30 * 365 * 86_400);
const ISSUING_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const SERVER_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// A server's certificate is renewed when this is left of its life.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// No clock that is right says an earlier time: 2026-01-01.
const CLOCK_EARLIEST: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// Most names of one certificate: a machine with more addresses is known by the first of them.
const NAMES_MAX: usize = 64;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate made now would be wrong for its whole life.
    #[error("the clock says {now}, which cannot be: no certificate is made")]
    Clock {
        /// What it says.
        now: Timestamp,
    },
    /// What is stored cannot be read.
    #[error("cannot read the certificates")]
    Read(#[from] ReadError),
    /// What was made cannot be stored.
    #[error("cannot store the certificates")]
    Write(#[from] WriteError),
    /// A private key cannot be opened.
    #[error("cannot open the private key of `{name}`")]
    Key {
        /// Whose.
        name: &'static str,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A certificate cannot be made or read.
    #[error("certificate `{name}` is not right: {reason}")]
    Certificate {
        /// Which.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl AuthorityError {
    /// Whose fault it is and whether a retry is sensible.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Clock { .. } => Kind::Unavailable,
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Key { .. } | Self::Certificate { .. } => Kind::Broken,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Clock { .. } => Some("set the clock (or wait for NTP), then start again"),
            Self::Read(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Key { source, .. } => source.hint(),
            Self::Certificate { .. } => None,
        }
    }
}

/// A certificate and its private key.
struct Pair {
    name: &'static str,
    certificate: CertificateDer<'static>,
    /// PKCS #8.
    key: Zeroizing<Vec<u8>>,
    names: BTreeSet<String>,
    not_after: Timestamp,
}

/// The certificate authority. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Authority {
    parts: Arc<Parts>,
}

struct Parts {
    catalog: Catalog,
    host: Host,
    root: Pair,
    issuing: Pair,
    server: Arc<Shown>,
}

/// The server's certificate of now, as TLS listeners take it.
struct Shown {
    current: RwLock<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    names: BTreeSet<String>,
    not_after: Timestamp,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().certified))
    }
}

impl Authority {
    /// Reads the authority, or makes what is missing of it. A few milliseconds, and one sync when something was made.
    ///
    /// # Errors
    /// [`AuthorityError`]: nothing was changed then.
    pub async fn open(catalog: &Catalog, host: &Host) -> Result<Self, AuthorityError> {
        Self::open_for(catalog, host, &names_of_this_machine()).await
    }

    /// The same for a server of these names.
    pub(crate) async fn open_for(
        catalog: &Catalog,
        host: &Host,
        names: &BTreeSet<String>,
    ) -> Result<Self, AuthorityError> {
        let root = match read(catalog, host, "root")? {
            Some(root) => root,
            None => keep(catalog, host, make(host, "root", None, BTreeSet::new(), ROOT_LIFE)?).await?,
        };
        let issuing = match read(catalog, host, "issuing")? {
            Some(issuing) => issuing,
            None => {
                let made = make(host, "issuing", Some(&root), BTreeSet::new(), ISSUING_LIFE)?;
                keep(catalog, host, made).await?
            }
        };
        let server = match read(catalog, host, "server")?.filter(|server| !is_due(host, server, names)) {
            Some(server) => server,
            None => {
                let made = make(host, "server", Some(&issuing), names.clone(), SERVER_LIFE)?;
                keep(catalog, host, made).await?
            }
        };
        let server = Arc::new(Shown { current: RwLock::new(current(&server, &issuing)?) });
        let parts = Parts { catalog: catalog.clone(), host: host.clone(), root, issuing, server };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The root certificate, which clients trust, as PEM (RFC 7468).
    #[must_use]
    pub fn root_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.parts.root.certificate.to_vec()))
    }

    /// Until when the server's certificate is good.
    #[must_use]
    pub fn server_not_after(&self) -> Timestamp {
        self.parts.server.current.read().not_after
    }

    /// TLS 1.2 and 1.3 with the server's certificate, always the newest; no client certificates are asked for.
    /// Listeners set their own ALPN.
    #[must_use]
    pub fn server_tls(&self) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.parts.server) as Arc<dyn ResolvesServerCert>)
    }

    /// Makes a new server certificate when the old one has a month left, or the machine has other names. Listeners
    /// use it from the next handshake on. Whether it made one.
    ///
    /// # Errors
    /// [`AuthorityError`]: the old one is used on.
    pub async fn renew(&self) -> Result<bool, AuthorityError> {
        self.renew_for(&names_of_this_machine()).await
    }

    pub(crate) async fn renew_for(&self, names: &BTreeSet<String>) -> Result<bool, AuthorityError> {
        let Parts { catalog, host, issuing, server, .. } = &*self.parts;
        {
            let current = server.current.read();
            if !is_due_at(host.clock.now(), current.not_after, &current.names, names) {
                return Ok(false);
            }
        }
        let made =
            keep(catalog, host, make(host, "server", Some(issuing), names.clone(), SERVER_LIFE)?).await?;
        let next = current(&made, issuing)?;
        *server.current.write() = next;
        Ok(true)
    }
}

/// The host name with and without `.local`, `localhost`, and every address.
fn names_of_this_machine() -> BTreeSet<String> {
    let host = host::machine::name().to_ascii_lowercase();
    let addresses = host::machine::addresses().into_iter().take(NAMES_MAX).map(|address| address.to_string());
    let mut names: BTreeSet<String> = addresses.collect();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    if rustls::pki_types::DnsName::try_from(host.as_str()).is_ok() {
        if !host.contains('.') {
            names.insert(format!("{host}.local"));
        }
        names.insert(host);
    }
    names
}

fn is_due(host: &Host, server: &Pair, names: &BTreeSet<String>) -> bool {
    is_due_at(host.clock.now(), server.not_after, &server.names, names)
}

fn is_due_at(now: Timestamp, not_after: Timestamp, has: &BTreeSet<String>, names: &BTreeSet<String>) -> bool {
    // More names than needed do no harm: an address that comes and goes makes no new certificate each time.
    !names.is_subset(has) || not_after.micros() - now.micros() < RENEW_BEFORE.as_micros() as i64
}

fn place(name: &str) -> Place<'_> {
    Place { table: "authorities", column: "sealed_key", row: name }
}

fn read(catalog: &Catalog, host: &Host, name: &'static str) -> Result<Option<Pair>, AuthorityError> {
    let rows = catalog.read::<_, ReadError>(|connection| {
        Ok(connection.query(
            "SELECT certificate, sealed_key, names, not_after FROM authorities WHERE name = $1",
            params![name],
            |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?, row.get::<String>(2)?, row.get(3)?)),
        )?)
    })?;
    let Some((certificate, sealed, names, not_after)) = rows.into_iter().next() else { return Ok(None) };
    let key =
        catalog::unseal(host, place(name), &sealed).map_err(|source| AuthorityError::Key { name, source })?;
    let names = names.lines().map(str::to_owned).collect();
    Ok(Some(Pair { name, certificate: certificate.into(), key, names, not_after }))
}

/// Stores a pair in place of the one of its name.
async fn keep(catalog: &Catalog, host: &Host, pair: Pair) -> Result<Pair, AuthorityError> {
    let (name, names) = (pair.name, pair.names.iter().map(|name| format!("{name}\n")).collect::<String>());
    let (certificate, not_after, created) = (pair.certificate.to_vec(), pair.not_after, host.clock.now());
    let sealed = catalog::seal(host, place(name), &pair.key);
    let stored = catalog.write(move |transaction| {
        transaction.execute(
            "INSERT INTO authorities (name, certificate, sealed_key, names, not_after, created)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET certificate = excluded.certificate,
                 sealed_key = excluded.sealed_key, names = excluded.names,
                 not_after = excluded.not_after, created = excluded.created",
            params![name, certificate, sealed, names, not_after, created],
        )?;
        Ok::<_, WriteError>(())
    });
    stored.await?;
    tracing::info!(name, not_after = %pair.not_after, "certificate made");
    Ok(pair)
}

/// Makes a key and its certificate, signed by `by` or by itself.
fn make(
    host: &Host,
    name: &'static str,
    by: Option<&Pair>,
    names: BTreeSet<String>,
    life: Duration,
) -> Result<Pair, AuthorityError> {
    let wrong =
        |error: &dyn std::fmt::Display| AuthorityError::Certificate { name, reason: error.to_string() };
    let now = host.clock.now();
    if now < CLOCK_EARLIEST {
        return Err(AuthorityError::Clock { now });
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| wrong(&error))?;
    let mut serial = [0; 16];
    host.random.fill(&mut serial);
    // Positive (RFC 5280, section 4.1.2.2).
    serial[0] &= 0x7f;

    let mut params = CertificateParams::default();
    let short: String = serial[1..5].iter().map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::OrganizationName, "Godwit");
    params.distinguished_name.push(
        DnType::CommonName,
        match name {
            "server" => host::machine::name(),
            authority => format!("Godwit {authority} {short}"),
        },
    );
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now_since = Duration::from_micros(now.micros().unsigned_abs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Backdated: a device whose clock is behind must not refuse the server.
    params.not_before = epoch + (now_since - DAY);
    params.not_after = epoch + (now_since + life);
    let is_authority = name != "server";
    if is_authority {
        let below = if by.is_none() { 1 } else { 0 };
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in &names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(|error| wrong(&error))?),
            });
        }
    }
    params.use_authority_key_identifier_extension = by.is_some();
    let certificate = match by {
        None => params.self_signed(&key).map_err(|error| wrong(&error))?,
        Some(by) => {
            let signer = KeyPair::try_from(by.key.as_slice()).map_err(|error| wrong(&error))?;
            let issuer = Issuer::from_ca_cert_der(&by.certificate, signer).map_err(|error| wrong(&error))?;
            params.signed_by(&key, &issuer).map_err(|error| wrong(&error))?
        }
    };
    let not_after = now.micros() + life.as_micros() as i64;
    Ok(Pair {
        name,
        certificate: certificate.der().clone(),
        key: Zeroizing::new(key.serialize_der()),
        names,
        not_after: Timestamp::from_micros(not_after),
    })
}

/// The server's certificate with the chain below the root, ready to sign handshakes.
fn current(server: &Pair, issuing: &Pair) -> Result<Current, AuthorityError> {
    let key = PrivatePkcs8KeyDer::from(server.key.as_slice());
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key.into())
        .map_err(|error| AuthorityError::Certificate { name: "server", reason: error.to_string() })?;
    let chain = vec![server.certificate.clone(), issuing.certificate.clone()];
    Ok(Current {
        certified: Arc::new(CertifiedKey::new(chain, key)),
        names: server.names.clone(),
        not_after: server.not_after,
    })
}

#[cfg(test)]
mod tests {
    use host::sim::Machine;

    use super::*;

    /// 2026-06-01.
    const NOW: Timestamp = Timestamp::from_micros(1_780_272_000_000_000);

    fn names(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    fn open(dir: &std::path::Path, host: &Host) -> Catalog {
        Catalog::open(&dir.join("catalog.db"), crate::Identity::migrations(), host).expect("opens")
    }

    /// A machine whose catalog is a real file.
    fn machine() -> (tempfile::TempDir, Machine, Host) {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = Machine::new(3);
        machine.clock.set(NOW);
        let host = Host { disk: Arc::new(host::SystemDisk), ..machine.host() };
        (dir, machine, host)
    }

    /// A handshake in memory: what a client that trusts `root` says of the server's certificate for `name`.
    fn handshake(authority: &Authority, root: &str, name: &str, at: Timestamp) -> Result<Vec<u8>, String> {
        #[derive(Debug)]
        struct At(Timestamp);
        impl rustls::time_provider::TimeProvider for At {
            fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
                let since = Duration::from_micros(self.0.micros().unsigned_abs());
                Some(rustls::pki_types::UnixTime::since_unix_epoch(since))
            }
        }
        let mut roots = rustls::RootCertStore::empty();
        let der = pem::parse(root).expect("PEM").into_contents();
        roots.add(der.into()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_details(provider, Arc::new(At(at)))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).expect("a client");
        let mut server = rustls::ServerConnection::new(Arc::new(authority.server_tls())).expect("a server");
        for _ in 0..8 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("to memory");
            server.read_tls(&mut bytes.as_slice()).expect("from memory");
            server.process_new_packets().map_err(|error| error.to_string())?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).expect("to memory");
            client.read_tls(&mut bytes.as_slice()).expect("from memory");
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
        assert!(!client.is_handshaking());
        Ok(client.peer_certificates().expect("shown")[0].to_vec())
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_root_knows_the_server_by_each_of_its_names_and_no_other() {
        let (dir, _machine, host) = machine();
        let catalog = open(dir.path(), &host);
        let authority =
            Authority::open_for(&catalog, &host, &names(&["hut", "192.0.2.7", "::1"])).await.expect("made");
        let root = authority.root_pem();
        for name in ["hut", "192.0.2.7", "::1"] {
            handshake(&authority, &root, name, NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let other = handshake(&authority, &root, "192.0.2.8", NOW).expect_err("another's name");
        assert!(other.contains("not valid for name"), "{other}");

        let (dir, _machine, host) = self::machine();
        host.random.fill(&mut [0; 7]);
        let catalog = open(dir.path(), &host);
        let stranger = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
        let refused = handshake(&authority, &stranger.root_pem(), "hut", NOW).expect_err("another's root");
        assert!(refused.contains("UnknownIssuer"), "{refused}");
    }

    #[tokio::test]
    async fn the_same_authority_is_there_after_a_restart_and_its_keys_are_sealed() {
        let (dir, _machine, host) = machine();
        let catalog = open(dir.path(), &host);
        let first = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
        let shown = handshake(&first, &first.root_pem(), "hut", NOW).expect("known");
        catalog.close().await;
        let catalog = open(dir.path(), &host);
        let again = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("read");
        assert_eq!(again.root_pem(), first.root_pem());
        assert_eq!(handshake(&again, &first.root_pem(), "hut", NOW).expect("known"), shown);
        catalog.close().await;

        let stored = host.disk.read(&dir.path().join("catalog.db"), 1 << 30).expect("the database");
        for pair in [&first.parts.root, &first.parts.issuing] {
            // RFC 5915: the private number is an octet string of 32 bytes.
            let at = pair.key.windows(2).position(|tag| tag == [0x04, 0x20]).expect("a private number");
            let secret = &pair.key[at + 2..at + 34];
            assert!(!stored.windows(32).any(|part| part == secret), "the key of `{}` is readable", pair.name);
        }
    }

    #[tokio::test]
    async fn a_server_certificate_is_renewed_in_time_and_for_new_names_while_connections_go_on() {
        let (dir, machine, host) = machine();
        let catalog = open(dir.path(), &host);
        let authority = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
        let root = authority.root_pem();
        let first = handshake(&authority, &root, "hut", NOW).expect("known");
        assert!(!authority.renew_for(&names(&["hut"])).await.expect("not due"));

        let day_59 = Timestamp::from_micros(NOW.micros() + 59 * DAY.as_micros() as i64);
        machine.clock.set(day_59);
        assert!(!authority.renew_for(&names(&["hut"])).await.expect("not due"));
        let day_61 = Timestamp::from_micros(NOW.micros() + 61 * DAY.as_micros() as i64);
        machine.clock.set(day_61);
        assert!(authority.renew_for(&names(&["hut"])).await.expect("due"));
        let second = handshake(&authority, &root, "hut", day_61).expect("known");
        assert_ne!(first, second);

        assert!(authority.renew_for(&names(&["hut", "192.0.2.9"])).await.expect("a new name"));
        handshake(&authority, &root, "192.0.2.9", day_61).expect("known by it");
        let expired = Timestamp::from_micros(day_61.micros() + 91 * DAY.as_micros() as i64);
        let refused = handshake(&authority, &root, "hut", expired).expect_err("too late");
        assert!(refused.contains("xpired"), "{refused}");
    }

    #[tokio::test]
    async fn nothing_is_made_while_the_clock_is_wrong() {
        let (dir, machine, host) = machine();
        machine.clock.set(Timestamp::from_micros(0));
        let catalog = open(dir.path(), &host);
        let refused = Authority::open_for(&catalog, &host, &names(&["hut"])).await.err().expect("refused");
        assert!(matches!(refused, AuthorityError::Clock { .. }), "{refused}");
        machine.clock.set(NOW);
        Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made once it is right");
    }
}
