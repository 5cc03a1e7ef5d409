//! The register of who is known: the catalog's tables, with a copy in memory that answers at once.
//!
//! Not here: what a principal may do (`permissions`). The law: the copy in memory changes after the catalog's commit,
//! on the writer's thread and in its order, so that it is never ahead of the disk and never behind what a caller was
//! told.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, Migration, ReadError, Transaction, WriteError, params};
use hashbrown::HashMap;
use host::Host;
use model::{DeviceName, Principal, Timestamp};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;

use crate::audit::{self, Actor, Entry, Notices, Said};
use crate::certificate::{self, CertificateId};
use crate::device::change::{IfVersion, enlisted, standing, store};
use crate::device::fleet::Fleet;
use crate::device::list::{self, DeviceFilter, Devices, Page};
use crate::device::{self, Device, DeviceState};
use crate::password::{PASSWORD_BYTES_MAX, Password, Verifier};
use crate::policy::{self, AwsSettings, Policies};
use crate::refused::RefusedDevices;
use crate::seen::Register;
use crate::user::{self, Users};
use crate::who::{Scope, SecretRef, TokenRef};
use crate::{
    Authority, ChangeError, LocalToken, NewDevice, OpenError, Refusal, Rights, ScramVerifier, Seen, WAY_BACK,
    Who,
};
use crate::{authority, flag, placement, provisioning};

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
    /// What ARNs are compared with.
    pub(crate) aws: Arc<AwsSettings>,
    /// What signs certificates; none are made without.
    pub(crate) authority: Option<Authority>,
    /// How long after its end a certificate still opens the way to a new one.
    pub(crate) way_back: Duration,
}

/// What all clones share. Each file of this crate that keeps something in memory has its field here.
pub(crate) struct Parts {
    pub(crate) catalog: Catalog,
    pub(crate) host: Host,
    /// Lock order: never held together with another.
    passwords: RwLock<HashMap<DeviceName, Kept>>,
    pub(crate) register: Arc<Register>,
    /// Devices: where, what, in which state.
    pub(crate) fleet: Arc<Fleet>,
    /// People, their tokens and logins.
    pub(crate) users: Users,
    /// What is to be written down and may come often.
    pub(crate) notices: Notices,
    /// How much of the audit log the journal knows of.
    pub(crate) anchored: Said,
    pub(crate) policies: Policies,
    pub(crate) refused: RefusedDevices,
    pub(crate) certificates: certificate::Register,
    pub(crate) flags: flag::Flags,
    pub(crate) claims: provisioning::Claims,
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
        const ALL: &[Migration] = &[
            device::MIGRATION,
            authority::MIGRATION,
            audit::MIGRATION,
            placement::MIGRATION,
            user::MIGRATION,
            policy::MIGRATION,
            certificate::MIGRATION,
            flag::MIGRATION,
            provisioning::MIGRATION,
            certificate::MIGRATION_FOLLOWERS,
        ];
        ALL
    }

    /// Reads who is known. Blocks; call it at start. About 10 ms for 10,000 devices.
    ///
    /// # Errors
    /// [`OpenError`] when the catalog cannot be read.
    pub fn open(catalog: Catalog, host: Host) -> Result<Self, OpenError> {
        let (fleet, passwords, users, certificates, flags) = catalog.read::<_, ReadError>(|connection| {
            let passwords = connection.query(
                "SELECT device, version, salt, hash FROM device_passwords",
                params![],
                |row| {
                    let verifier = Verifier { salt: row.get(2)?, hash: row.get(3)? };
                    Ok((row.get(0)?, Kept { version: row.get(1)?, verifier }))
                },
            )?;
            let users = Users::open(connection, &host)?;
            let certificates = certificate::Register::read(connection)?;
            let flags = flag::Flags::open(connection)?;
            Ok((Fleet::open(connection)?, HashMap::from_iter(passwords), users, certificates, flags))
        })?;
        let policies = catalog.read(|connection| Policies::open(connection, &host))?;
        let claims =
            catalog.read::<_, ReadError>(|connection| Ok(provisioning::Claims::open(connection)?))?;
        let mut nobody_scram = [0; 32];
        host.random.fill(&mut nobody_scram);
        let parts = Parts {
            catalog,
            passwords: RwLock::new(passwords),
            register: Arc::new(Register::new(fleet.known())),
            fleet: Arc::new(fleet),
            users,
            notices: Notices::default(),
            anchored: Said::default(),
            policies,
            refused: RefusedDevices::default(),
            certificates,
            flags,
            claims,
            changes: watch::Sender::new(0),
            nobody: Verifier::of_nobody(&*host.random),
            nobody_scram,
            host,
        };
        Ok(Self {
            parts: Arc::new(parts),
            local: None,
            local_scram: None,
            aws: Arc::default(),
            authority: None,
            way_back: WAY_BACK,
        })
    }

    /// Lets the holder of a certificate that ended, and that nobody withdrew, ask for a new one within this time of its
    /// end; [`WAY_BACK`] otherwise. Clones made before do not know it.
    #[must_use]
    pub fn with_way_back(mut self, way_back: Duration) -> Self {
        self.way_back = way_back;
        self
    }

    /// Lets user [`LOCAL_USER`] in by the token of this start. Clones made before do not know it.
    #[must_use]
    pub fn with_local_token(mut self, token: &LocalToken) -> Self {
        let (secret, random) = (token.reveal().as_bytes(), &*self.parts.host.random);
        self.local = Some(Verifier::of(secret, random));
        self.local_scram = Some(ScramVerifier::of(secret, random));
        self
    }

    /// Compares ARNs in policies with these. Clones made before do not know it.
    #[must_use]
    pub fn with_aws(mut self, settings: AwsSettings) -> Self {
        self.aws = Arc::new(settings);
        self
    }

    /// Lets this authority sign certificates of devices. Clones made before do not know it.
    #[must_use]
    pub fn with_authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// What signs certificates, if anything does.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The root certificate of the authority, which devices trust, as PEM.
    #[must_use]
    pub fn root_pem(&self) -> Option<String> {
        self.authority.as_ref().map(Authority::root_pem)
    }

    /// What a SQL client that calls itself `name` is judged by: user `local` by the token of this start, a user by his
    /// password, `user:token` by that token. Beside it: which secret of that name it is, for [`Identity::may_ask_sql`].
    /// Devices do not ask by SQL. Costs the same for a name that nobody has.
    #[must_use]
    pub fn scram(&self, name: &str) -> (ScramVerifier, u64) {
        let nobody = ScramVerifier::of_nobody(name, &self.parts.nobody_scram);
        match &self.local_scram {
            Some(local) if name == LOCAL_USER => (local.clone(), 0),
            _ => self.parts.users.scram(name, self.parts.host.clock.now()).unwrap_or((nobody, 0)),
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
            Some(_) if is_right && username == LOCAL_USER => Ok(Who::user(LOCAL_USER, 0)),
            Some(kept) if is_right => {
                let name = DeviceName::parse(username).expect("it is the name of a device");
                Ok(self.scoped(Who::device(name, kept.version)))
            }
            _ => Err(Refusal::wrong(username, kept.is_some())),
        }
    }

    /// Finds out who speaks by a bearer token: user `local` by the token of this start, a user by one of his.
    ///
    /// # Errors
    /// [`Refusal::WrongToken`].
    pub fn authenticate_token(&self, token: &str) -> Result<Who, Refusal> {
        if token.starts_with(user::TOKEN_PREFIX) {
            return self.token_bearer(token);
        }
        match self.authenticate(Some(LOCAL_USER), Some(token.as_bytes())) {
            Ok(who) => Ok(who),
            Err(_) => Err(Refusal::WrongToken),
        }
    }

    /// What `who` may ask of the API, as of now: user `local` everything, users what their roles and the scopes of
    /// their token say; devices have no business there.
    #[must_use]
    pub fn rights(&self, who: &Who) -> Rights {
        match &who.principal {
            Principal::User(name) if *name == LOCAL_USER => Rights::all(),
            Principal::User(name) => {
                let token = who.token.as_ref().map(|token| token.id);
                self.parts.users.rights(name, token, self.parts.host.clock.now())
            }
            Principal::Inside => Rights::all(),
            _ => Rights::none(),
        }
    }

    /// Who a principal is whose proof was accepted before the process started: for sessions that outlive it. Not a proof:
    /// whoever connects gives his own.
    #[must_use]
    pub fn recall(&self, principal: &Principal) -> Who {
        match principal {
            Principal::DevicePassword(device) => {
                let version = self.parts.passwords.read().get(device).map_or(0, |kept| kept.version);
                self.scoped(Who::device(device.clone(), version))
            }
            Principal::Certificate(digest) => self.recall_certificate(*digest),
            Principal::User(name) => Who::user(name, self.parts.users.password_version(name)),
            other => Who::of(other.clone(), None, 0),
        }
    }

    /// [`Identity::recall`], by the secret that was shown then: what is done in that name later is done only while it
    /// [stands](Identity::stands).
    #[must_use]
    pub fn recall_by(&self, principal: &Principal, secret: SecretRef) -> Who {
        let who = Who { password: secret.password, ..self.recall(principal) };
        match secret.token {
            None => who,
            Some(id) => {
                let name = self.parts.users.token_name(id).unwrap_or_default();
                who.through(TokenRef { id, name })
            }
        }
    }

    /// Whether what `who` once proved would still be accepted. Doors ask it for every session when
    /// [`Identity::changes`] moves, and cut those for which it is false.
    #[must_use]
    pub fn stands(&self, who: &Who) -> bool {
        if self.scope_now(who) != who.scope {
            return false;
        }
        match &who.principal {
            Principal::DevicePassword(device) => {
                self.parts.passwords.read().get(device).is_some_and(|kept| kept.version == who.password)
            }
            Principal::Certificate(digest) => {
                self.parts.certificates.stands(&CertificateId::from_bytes(*digest), who.device.as_ref())
            }
            Principal::User(name) if *name != LOCAL_USER => {
                let token = who.token.as_ref().map(|token| token.id);
                self.parts.users.stands(name, who.password, token, self.parts.host.clock.now())
            }
            Principal::Anonymous | Principal::User(_) | Principal::Inside => true,
        }
    }

    /// A device in quarantine is let in to its diagnosis topics alone; sessions of before are cut, and again at the end.
    pub(crate) fn scoped(&self, mut who: Who) -> Who {
        who.scope = self.scope_now(&who);
        who
    }

    fn scope_now(&self, who: &Who) -> Scope {
        let state = who.device.as_ref().and_then(|device| self.state(device));
        match (state, who.scope) {
            (Some(DeviceState::Quarantined), _) => Scope::Quarantine,
            (_, Scope::Renewal) => Scope::Renewal,
            _ => Scope::Full,
        }
    }

    /// Moves whenever somebody's proof or rights changed. Devices that were merely seen do not move it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.parts.changes.subscribe()
    }

    /// Counts what [`Identity::changes`] tells: whoever asks before and after knows whether something changed in between.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.parts.changes.borrow()
    }

    /// Adds a device, without a way to prove itself. One that was only seen or removed becomes active and keeps its
    /// history.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] when it is active already; [`ChangeError::UnknownGroup`].
    pub async fn add_device(&self, by: &Actor, new: impl Into<NewDevice>) -> Result<Device, ChangeError> {
        let new = new.into();
        refuse_reserved(&new.name)?;
        let by = by.clone();
        let added = self
            .change_some(move |transaction, now| {
                let (before, mut after) = enlisted(transaction, &new, now)?;
                if before.as_ref().is_some_and(|before| before.is_added && before.removal.is_none()) {
                    return Err(ChangeError::Exists(new.name));
                }
                store(transaction, &by, "device.add", now, before.as_ref(), &mut after)?;
                Ok(vec![after])
            })
            .await?;
        Ok(added.into_iter().next().expect("one was added"))
    }

    /// Adds a device with a password, in one step. One that was only seen, or has no password, gets one.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] when it has a password already: nothing that works is broken by adding twice.
    pub async fn add_device_with_password(
        &self,
        by: &Actor,
        new: impl Into<NewDevice>,
    ) -> Result<Password, ChangeError> {
        let new = new.into();
        refuse_reserved(&new.name)?;
        self.keep_password(by, move |transaction, now| {
            let (before, after) = enlisted(transaction, &new, now)?;
            if after.has_password {
                return Err(ChangeError::Exists(new.name));
            }
            Ok((before, after))
        })
        .await
    }

    /// Gives a device a new password; the old one is worth nothing from the moment this returns, and sessions opened
    /// with it do not stand.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] when there is no such device.
    pub async fn set_password(
        &self,
        by: &Actor,
        name: &DeviceName,
        if_version: IfVersion,
    ) -> Result<Password, ChangeError> {
        refuse_reserved(name)?;
        let name = name.clone();
        self.keep_password(by, move |transaction, _| {
            let before = standing(transaction, &name)?;
            if let Some(expected) = if_version
                && expected != before.version
            {
                return Err(ChangeError::Stale { name, expected, actual: before.version });
            }
            let after = Device { is_added: true, ..before.clone() };
            Ok((Some(before), after))
        })
        .await
    }

    /// Makes a password and keeps its hash for the device that `judge` gives: as it was, and as it is to be.
    async fn keep_password(
        &self,
        by: &Actor,
        judge: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<(Option<Device>, Device), ChangeError>
        + Send
        + 'static,
    ) -> Result<Password, ChangeError> {
        let random = &*self.parts.host.random;
        let password = Password::generate(random);
        let verifier = Verifier::of(password.reveal().as_bytes(), random);
        let parts = Arc::clone(&self.parts);
        let clock = Arc::clone(&self.parts.host.clock);
        let by = by.clone();
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let now = clock.now();
                    let (before, mut after) = match judge(transaction, now) {
                        Ok(judged) => judged,
                        Err(ChangeError::Catalog(error)) => return Err(error),
                        Err(refused) => return Ok(Err(refused)),
                    };
                    let version =
                        store_password(transaction, &by, now, before.as_ref(), &mut after, &verifier)?;
                    Ok(Ok((after, version)))
                },
                move |kept| {
                    if let Ok((device, version)) = kept {
                        let kept = Kept { version: *version, verifier };
                        parts.passwords.write().insert(device.name.clone(), kept);
                        parts.take_over(std::slice::from_ref(device));
                    }
                },
            )
            .await??;
        Ok(password)
    }

    /// A page of the devices that `filter` asks for, by name. Some milliseconds at most, whatever is asked for, with a
    /// hundred thousand devices.
    ///
    /// # Errors
    /// What the catalog says.
    pub async fn devices(&self, filter: DeviceFilter, page: Page) -> Result<Devices, ReadError> {
        let names = list::names(&self.parts.fleet, &filter, &page);
        self.parts.catalog.read_async(move |connection| Ok(list::read(connection, names)?)).await
    }

    /// Registers a device that somebody permitted spoke of, unless it is known. For every message: never blocks for
    /// the disk, one look into memory when the name is known. Registered in bulk soon after; a name lost in a crash
    /// comes back with the device's next message.
    pub fn seen(&self, name: &DeviceName) -> Seen {
        let parts = &self.parts;
        parts.register.see(name, &parts.catalog, &parts.host.clock, &parts.fleet)
    }
}

impl Parts {
    /// A device has nothing any more by which it could prove itself.
    pub(crate) fn forget_proofs(&self, device: &DeviceName) {
        self.passwords.write().remove(device);
        self.certificates.revoke_of(device);
    }

    /// Devices have new passwords.
    pub(crate) fn keep_proofs<'a>(&self, kept: impl IntoIterator<Item = (&'a DeviceName, u64, Verifier)>) {
        let mut passwords = self.passwords.write();
        for (device, version, verifier) in kept {
            passwords.insert(device.clone(), Kept { version, verifier });
        }
    }
}

/// Writes a device and the hash of its new password; counts the passwords it had.
fn store_password(
    transaction: &Transaction<'_>,
    by: &Actor,
    now: Timestamp,
    before: Option<&Device>,
    after: &mut Device,
    verifier: &Verifier,
) -> Result<u64, WriteError> {
    let is_same = before == Some(after);
    let had_password = std::mem::replace(&mut after.has_password, true);
    if !is_same {
        store(transaction, by, "device.add", now, before, after)?;
    }
    let version = keep_verifier(transaction, &after.name, verifier, now)?;
    if is_same {
        after.version += 1;
        device::put(transaction, after)?;
        let mut made = Entry::done(by, "device.password", format!("device:{}", after.name))
            .after(json!({ "version": after.version, "password": version }));
        if had_password {
            made = made.before(json!({ "version": after.version - 1, "password": version - 1 }));
        }
        audit::append(transaction, now, &made)?;
    }
    Ok(version)
}

/// Writes the hash of a device's new password; counts the passwords it had.
pub(crate) fn keep_verifier(
    transaction: &Transaction<'_>,
    device: &DeviceName,
    verifier: &Verifier,
    now: Timestamp,
) -> Result<u64, WriteError> {
    let version = transaction.query_one(
        "INSERT INTO device_passwords (device, version, salt, hash, created)
         VALUES ($1, 1, $2, $3, $4)
         ON CONFLICT (device) DO UPDATE SET version = device_passwords.version + 1,
           salt = excluded.salt, hash = excluded.hash, created = excluded.created
         RETURNING version",
        params![device, verifier.salt, verifier.hash, now],
        |row| row.get(0),
    )?;
    Ok(version.expect("a row is returned"))
}

pub(crate) fn refuse_reserved(name: &DeviceName) -> Result<(), ChangeError> {
    if user::RESERVED.contains(&name.as_str()) { Err(ChangeError::Reserved(name.clone())) } else { Ok(()) }
}
