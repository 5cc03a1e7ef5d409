//! The register of who is known: the catalog's tables, with a copy in memory that answers at once.
//!
//! Not here: what a principal may do (`permissions`). The law: the copy in memory changes after the catalog's commit,
//! on the writer's thread and in its order, so that it is never ahead of the disk and never behind what a caller was
//! told.

use std::sync::Arc;

use catalog::{Catalog, Migration, ReadError, Transaction, WriteError, params};
use hashbrown::{HashMap, HashSet};
use host::Host;
use model::{DeviceName, Principal, Timestamp};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;

use crate::audit::{self, Actor, Entry};
use crate::authority;
use crate::device::{self, Device, DeviceFilter, Devices, Page};
use crate::password::{PASSWORD_BYTES_MAX, Password, Verifier};
use crate::seen::Register;
use crate::{ChangeError, LocalToken, OpenError, Permissions, Refusal, Rights, ScramVerifier, Seen, Who};

/// The user who proves to be on this machine by the token of this start. No device has this name.
pub const LOCAL_USER: &str = "local";

/// Who is known and how they prove it. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Identity {
    pub(crate) parts: Arc<Parts>,
    /// What is kept of the token of this start; user `local` is refused without one.
    local: Option<Verifier>,
    /// The same for SQL clients.
    local_scram: Option<ScramVerifier>,
}

/// What all clones share. Each file of this crate that keeps something in memory has its field here.
pub(crate) struct Parts {
    pub(crate) catalog: Catalog,
    pub(crate) host: Host,
    /// Lock order: never held together with another.
    passwords: RwLock<HashMap<DeviceName, Kept>>,
    register: Arc<Register>,
    /// Moved by whatever changes a proof or a right.
    pub(crate) changes: watch::Sender<u64>,
    /// Refuses those whom nobody knows.
    nobody: Verifier,
    /// Makes what SQL clients are told of names that nobody has.
    nobody_scram: [u8; 32],
}

#[derive(Clone, Copy)]
struct Kept {
    version: u64,
    verifier: Verifier,
}

impl Identity {
    /// The tables of this room, for [`Catalog::open`].
    #[must_use]
    pub fn migrations() -> &'static [Migration] {
        const ALL: &[Migration] = &[device::MIGRATION, authority::MIGRATION, audit::MIGRATION];
        ALL
    }

    /// Reads who is known. Blocks; call it at start. About 10 ms for 10,000 devices.
    ///
    /// # Errors
    /// [`OpenError`] when the catalog cannot be read.
    pub fn open(catalog: Catalog, host: Host) -> Result<Self, OpenError> {
        let (known, passwords) = catalog.read::<_, ReadError>(|connection| {
            let names = connection.query("SELECT name FROM devices", params![], |row| row.get(0))?;
            let passwords = connection.query(
                "SELECT device, version, salt, hash FROM device_passwords",
                params![],
                |row| {
                    let verifier = Verifier { salt: row.get(2)?, hash: row.get(3)? };
                    Ok((row.get(0)?, Kept { version: row.get(1)?, verifier }))
                },
            )?;
            Ok((HashSet::from_iter(names), HashMap::from_iter(passwords)))
        })?;
        let mut nobody_scram = [0; 32];
        host.random.fill(&mut nobody_scram);
        let parts = Parts {
            catalog,
            passwords: RwLock::new(passwords),
            register: Arc::new(Register::new(known)),
            changes: watch::Sender::new(0),
            nobody: Verifier::of_nobody(&*host.random),
            nobody_scram,
            host,
        };
        Ok(Self { parts: Arc::new(parts), local: None, local_scram: None })
    }

    /// Lets user [`LOCAL_USER`] in by the token of this start. Clones made before do not know it.
    #[must_use]
    pub fn with_local_token(mut self, token: &LocalToken) -> Self {
        let (secret, random) = (token.reveal().as_bytes(), &*self.parts.host.random);
        self.local = Some(Verifier::of(secret, random));
        self.local_scram = Some(ScramVerifier::of(secret, random));
        self
    }

    /// What a SQL client that calls itself `name` is judged by: user `local` by the token of this start. Devices do
    /// not ask by SQL. Costs the same for a name that nobody has.
    #[must_use]
    pub fn scram(&self, name: &str) -> ScramVerifier {
        let nobody = ScramVerifier::of_nobody(name, &self.parts.nobody_scram);
        match &self.local_scram {
            Some(local) if name == LOCAL_USER => local.clone(),
            _ => nobody,
        }
    }

    /// Finds out who speaks by user name and password: a device by its name and its password, or user `local` by the
    /// token of this start. A look into memory and one HMAC, about a microsecond; a wrong name costs what a wrong
    /// password costs.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn authenticate(&self, username: Option<&str>, password: Option<&[u8]>) -> Result<Who, Refusal> {
        let (Some(username), Some(password)) = (username, password) else {
            return Err(Refusal::NoCredentials);
        };
        let kept = match username {
            LOCAL_USER => self.local.map(|verifier| Kept { version: 0, verifier }),
            name => self.parts.passwords.read().get(name).copied(),
        };
        let verifier = kept.map_or(self.parts.nobody, |kept| kept.verifier);
        let looked_at = &password[..password.len().min(PASSWORD_BYTES_MAX)];
        let is_right = verifier.knows(looked_at) & (password.len() <= PASSWORD_BYTES_MAX);
        match kept {
            Some(_) if is_right && username == LOCAL_USER => Ok(Who::user(LOCAL_USER)),
            Some(kept) if is_right => {
                let name = DeviceName::parse(username).expect("it is the name of a device");
                Ok(Who::device(name, kept.version))
            }
            _ => Err(Refusal::wrong(username, kept.is_some())),
        }
    }

    /// Finds out who speaks by a bearer token: user `local` by the token of this start.
    ///
    /// # Errors
    /// [`Refusal::WrongToken`].
    pub fn authenticate_token(&self, token: &str) -> Result<Who, Refusal> {
        match self.authenticate(Some(LOCAL_USER), Some(token.as_bytes())) {
            Ok(who) => Ok(who),
            Err(_) => Err(Refusal::WrongToken),
        }
    }

    /// What `who` may ask of the API: user `local` everything; devices have no business there.
    #[must_use]
    pub fn rights(&self, who: &Who) -> Rights {
        match &who.principal {
            Principal::User(name) if *name == LOCAL_USER => Rights::all(),
            Principal::Inside => Rights::all(),
            _ => Rights::none(),
        }
    }

    /// What `who` may do, compiled once per session. The client id is for policies whose thing variables need it to
    /// be the device's name; the default policy goes by the device alone.
    #[must_use]
    pub fn permissions(&self, who: &Who, _client_id: &str) -> Permissions {
        Permissions::of(who)
    }

    /// Who a principal is whose proof was accepted before the process started: for sessions that outlive it. Not a proof:
    /// whoever connects gives his own.
    #[must_use]
    pub fn recall(&self, principal: &Principal) -> Who {
        match principal {
            Principal::DevicePassword(device) => {
                let version = self.parts.passwords.read().get(device).map_or(0, |kept| kept.version);
                Who::device(device.clone(), version)
            }
            other => Who { principal: other.clone(), device: None, password: 0 },
        }
    }

    /// Whether what `who` once proved would still be accepted. Doors ask it for every session when
    /// [`Identity::changes`] moves, and cut those for which it is false.
    #[must_use]
    pub fn stands(&self, who: &Who) -> bool {
        match &who.principal {
            Principal::DevicePassword(device) => {
                self.parts.passwords.read().get(device).is_some_and(|kept| kept.version == who.password)
            }
            Principal::Certificate(_) => false,
            Principal::Anonymous | Principal::User(_) | Principal::Inside => true,
        }
    }

    /// Moves whenever somebody's proof or rights changed. Devices that were merely seen do not move it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.parts.changes.subscribe()
    }

    /// Adds a device, without a way to prove itself. One that was only seen becomes active and keeps its history.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] when it is active already.
    pub async fn add_device(&self, by: &Actor, name: &DeviceName) -> Result<(), ChangeError> {
        refuse_reserved(name)?;
        let (parts, added, now) = (Arc::clone(&self.parts), name.clone(), self.parts.host.clock.now());
        let by = by.clone();
        let is_new = self
            .parts
            .catalog
            .write_then(
                {
                    let name = name.clone();
                    move |transaction| {
                        let is_new = activate(transaction, &name, now)?;
                        if is_new {
                            let entry = Entry::done(&by, "device.add", format!("device:{name}"));
                            audit::append(transaction, now, &entry)?;
                        }
                        Ok(is_new)
                    }
                },
                move |_| {
                    parts.register.add(&added);
                },
            )
            .await?;
        if is_new { Ok(()) } else { Err(ChangeError::Exists(name.clone())) }
    }

    /// Adds a device with a password, in one step. One that was only seen, or has no password, gets one.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] when it has a password already: nothing that works is broken by adding twice.
    pub async fn add_device_with_password(
        &self,
        by: &Actor,
        name: &DeviceName,
    ) -> Result<Password, ChangeError> {
        refuse_reserved(name)?;
        self.keep_password(by, name, |transaction, name, now| {
            let has_password = device::one(transaction, name)?.is_some_and(|device| device.has_password);
            if !has_password {
                activate(transaction, name, now)?;
            }
            Ok(!has_password)
        })
        .await?
        .ok_or_else(|| ChangeError::Exists(name.clone()))
    }

    /// Gives a device a new password; the old one is worth nothing from the moment this returns, and sessions opened
    /// with it do not stand.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] when there is no such device.
    pub async fn set_password(&self, by: &Actor, name: &DeviceName) -> Result<Password, ChangeError> {
        refuse_reserved(name)?;
        self.keep_password(by, name, |transaction, name, now| {
            let is_known = device::one(transaction, name)?.is_some();
            if is_known {
                activate(transaction, name, now)?;
            }
            Ok(is_known)
        })
        .await?
        .ok_or_else(|| ChangeError::Unknown(name.clone()))
    }

    /// Makes a password and keeps its hash if `judge` says so.
    async fn keep_password(
        &self,
        by: &Actor,
        name: &DeviceName,
        judge: fn(&Transaction<'_>, &DeviceName, Timestamp) -> Result<bool, WriteError>,
    ) -> Result<Option<Password>, ChangeError> {
        let random = &*self.parts.host.random;
        let password = Password::generate(random);
        let verifier = Verifier::of(password.reveal().as_bytes(), random);
        let now = self.parts.host.clock.now();
        let (parts, kept_for, name) = (Arc::clone(&self.parts), name.clone(), name.clone());
        let by = by.clone();
        let version = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    if !judge(transaction, &name, now)? {
                        return Ok(None);
                    }
                    let version = transaction.query_one(
                        "INSERT INTO device_passwords (device, version, salt, hash, created)
                         VALUES ($1, 1, $2, $3, $4)
                         ON CONFLICT (device) DO UPDATE SET version = device_passwords.version + 1,
                           salt = excluded.salt, hash = excluded.hash, created = excluded.created
                         RETURNING version",
                        params![name, verifier.salt, verifier.hash, now],
                        |row| row.get(0),
                    )?;
                    let mut made = Entry::done(&by, "device.password", format!("device:{name}"));
                    if let Some(version) = version {
                        made = made.after(json!({ "version": version }));
                        if version > 1 {
                            made = made.before(json!({ "version": version - 1 }));
                        }
                    }
                    audit::append(transaction, now, &made)?;
                    Ok(version)
                },
                move |version| {
                    if let Some(version) = *version {
                        parts.passwords.write().insert(kept_for.clone(), Kept { version, verifier });
                        parts.register.add(&kept_for);
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?;
        Ok(version.map(|_: u64| password))
    }

    /// The device called `name`.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn device(&self, name: &DeviceName) -> Result<Option<Device>, ReadError> {
        let name = name.clone();
        self.parts.catalog.read_async(move |connection| Ok(device::one(connection, &name)?)).await
    }

    /// A page of the devices that `filter` asks for, by name.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn devices(&self, filter: DeviceFilter, page: Page) -> Result<Devices, ReadError> {
        self.parts.catalog.read_async(move |connection| Ok(device::page(connection, &filter, &page)?)).await
    }

    /// Registers a device that somebody permitted spoke of, unless it is known. For every message: never blocks for
    /// the disk, one look into memory when the name is known. Registered in bulk soon after; a name lost in a crash
    /// comes back with the device's next message.
    pub fn seen(&self, name: &DeviceName) -> Seen {
        self.parts.register.see(name, &self.parts.catalog, &self.parts.host.clock)
    }
}

/// Adds the device or makes one that was seen active; `false` when it was active.
fn activate(transaction: &Transaction<'_>, name: &DeviceName, now: Timestamp) -> Result<bool, WriteError> {
    let changed = transaction.execute(
        "INSERT INTO devices (name, state, created) VALUES ($1, 'active', $2)
         ON CONFLICT (name) DO UPDATE SET state = 'active' WHERE devices.state <> 'active'",
        params![name, now],
    )?;
    Ok(changed == 1)
}

fn refuse_reserved(name: &DeviceName) -> Result<(), ChangeError> {
    if name.as_str() == LOCAL_USER { Err(ChangeError::Reserved(name.clone())) } else { Ok(()) }
}
