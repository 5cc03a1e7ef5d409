//! Adding people, trusting them with more or less, and letting them go.
//!
//! Not here: how they prove who they are. The laws: every change and its audit entry are one transaction; the last
//! admin stays one; a new password ends the old one's logins and sessions.

use std::sync::Arc;

use catalog::{Place, Transaction, WriteError, params};
use host::Host;
use model::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::hash::PasswordHash;
use super::{Kept, USERS_MAX, UserError, UserName, scram_bytes, scram_from};
use crate::audit::{self, Entry};
use crate::{Actor, Grant, Identity, Password, Role, ScramVerifier};

/// Shortest password that somebody may choose, in characters. Longer is better than odder (NIST SP 800-63B).
const PASSWORD_CHARS_MIN: usize = 10;

/// Longest, in bytes: what is hashed for a stranger is bounded.
const PASSWORD_BYTES_MAX: usize = 256;

/// Most roles of one user.
const ROLES_MAX: usize = 100;

/// A user, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub name: UserName,
    /// Trusted with what.
    pub roles: Vec<Grant>,
    /// Moves with every change.
    pub revision: u64,
    /// Since when.
    pub created: Timestamp,
    /// How many tokens.
    pub tokens: usize,
}

/// The password that somebody is to have.
pub enum NewPassword {
    /// This one.
    Chosen(Zeroizing<String>),
    /// One that is made here and shown once.
    Made,
}

/// What somebody has shown who changes his own password.
pub(super) struct Shown {
    /// The version of the password that he knows.
    pub(super) version: u64,
    /// The login by which he asks, which stays.
    pub(super) login: [u8; 32],
}

/// What is kept of a new password.
struct Proof {
    hash: PasswordHash,
    scram: ScramVerifier,
    sealed_scram: Vec<u8>,
    /// To be shown, if it was made here.
    made: Option<Password>,
}

fn place(name: &str) -> Place<'_> {
    Place { table: "users", column: "sealed_scram", row: name }
}

pub(super) fn unseal(host: &Host, name: &str, sealed: &[u8]) -> Option<ScramVerifier> {
    match catalog::unseal(host, place(name), sealed) {
        Ok(bytes) => scram_from(&bytes),
        Err(error) => {
            tracing::error!(user = name, %error, "this user cannot log in by SQL until the password is set anew");
            None
        }
    }
}

fn roles_json(grants: &[Grant]) -> Value {
    grants.iter().map(ToString::to_string).collect()
}

fn of(name: &UserName) -> String {
    format!("user:{name}")
}

/// Whether somebody else than `name` is admin everywhere.
fn has_other_admin(transaction: &Transaction<'_>, name: &UserName) -> Result<bool, WriteError> {
    let other = transaction.query_one(
        "SELECT 1 FROM user_roles WHERE role = 'admin' AND user_name <> $1 LIMIT 1",
        params![name],
        |row| row.get::<i64>(0),
    )?;
    Ok(other.is_some())
}

/// The revision and the roles of a user who may be changed: he is there, at the revision that was `expected`, and if he is
/// admin everywhere and does not stay it, somebody else is.
fn changeable(
    transaction: &Transaction<'_>,
    name: &UserName,
    expected: Option<u64>,
    stays_admin: bool,
) -> Result<Result<(u64, Vec<String>), UserError>, WriteError> {
    let revision: Option<u64> =
        transaction
            .query_one("SELECT revision FROM users WHERE name = $1", params![name], |row| row.get(0))?;
    let Some(revision) = revision else { return Ok(Err(UserError::Unknown(name.to_string()))) };
    if let Some(expected) = expected.filter(|expected| *expected != revision) {
        return Ok(Err(UserError::Revision { name: name.to_string(), revision, expected }));
    }
    let roles: Vec<String> = transaction.query(
        "SELECT role FROM user_roles WHERE user_name = $1 ORDER BY role",
        params![name],
        |row| row.get(0),
    )?;
    let is_admin = roles.iter().any(|role| role == "admin");
    if is_admin && !stays_admin && !has_other_admin(transaction, name)? {
        return Ok(Err(UserError::LastAdmin(name.to_string())));
    }
    Ok(Ok((revision, roles)))
}

fn write_roles(transaction: &Transaction<'_>, name: &UserName, grants: &[Grant]) -> Result<(), WriteError> {
    transaction.execute("DELETE FROM user_roles WHERE user_name = $1", params![name])?;
    for grant in grants {
        transaction.execute(
            "INSERT INTO user_roles (user_name, role) VALUES ($1, $2)",
            params![name, grant.to_string()],
        )?;
    }
    Ok(())
}

/// Each once, in order.
fn settled(mut grants: Vec<Grant>) -> Result<Arc<[Grant]>, UserError> {
    grants.sort_unstable();
    grants.dedup();
    if grants.len() > ROLES_MAX {
        return Err(UserError::Full { what: "roles", count: grants.len(), count_max: ROLES_MAX });
    }
    Ok(grants.into())
}

impl Identity {
    /// Every user, by name.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let known = self.parts.users.known.read();
        let mut tokens = hashbrown::HashMap::<&UserName, usize>::new();
        for token in known.tokens.values() {
            *tokens.entry(&token.user).or_default() += 1;
        }
        let mut users: Vec<User> = known
            .users
            .iter()
            .map(|(name, kept)| User {
                name: name.clone(),
                roles: kept.grants.to_vec(),
                revision: kept.revision,
                created: kept.created,
                tokens: tokens.get(name).copied().unwrap_or(0),
            })
            .collect();
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        self.users().into_iter().find(|user| user.name.as_str() == name)
    }

    /// Adds a user. A password that was made here comes back, to be shown once.
    ///
    /// # Errors
    /// [`UserError::Exists`], [`UserError::Password`], [`UserError::Full`]: nothing is changed then.
    pub async fn add_user(
        &self,
        by: &Actor,
        name: &UserName,
        roles: Vec<Grant>,
        password: NewPassword,
    ) -> Result<Option<Password>, UserError> {
        self.add_user_if(by, name, roles, password, "user.add", |_| Ok(true)).await
    }

    /// The same, if `judge` agrees in the transaction; it refuses with [`UserError::Setup`].
    pub(super) async fn add_user_if(
        &self,
        by: &Actor,
        name: &UserName,
        roles: Vec<Grant>,
        password: NewPassword,
        action: &'static str,
        judge: fn(&Transaction<'_>) -> Result<bool, WriteError>,
    ) -> Result<Option<Password>, UserError> {
        let grants = settled(roles)?;
        let proof = self.proof(name, password).await?;
        let (parts, now, by) = (Arc::clone(&self.parts), self.parts.host.clock.now(), by.clone());
        let kept = Kept {
            revision: 1,
            password_version: 1,
            grants: Arc::clone(&grants),
            hash: proof.hash,
            scram: Some(proof.scram),
            created: now,
        };
        let (user, sealed, hash) = (name.clone(), proof.sealed_scram, proof.hash);
        let added_name = name.clone();
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    if !judge(transaction)? {
                        return Ok(Err(UserError::Setup));
                    }
                    let count: usize = transaction
                        .query_one("SELECT count(*) FROM users", params![], |row| row.get(0))?
                        .unwrap_or(0);
                    if count >= USERS_MAX {
                        return Ok(Err(UserError::Full { what: "users", count, count_max: USERS_MAX }));
                    }
                    let added = transaction.execute(
                        "INSERT INTO users (name, revision, password_version, salt, hash, memory_kib, passes, lanes,
                           sealed_scram, created)
                         VALUES ($1, 1, 1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
                        params![
                            user, hash.salt, hash.hash, hash.memory_kib, hash.passes, hash.lanes, sealed, now
                        ],
                    )?;
                    if added == 0 {
                        return Ok(Err(UserError::Exists(user.to_string())));
                    }
                    write_roles(transaction, &user, &grants)?;
                    let entry =
                        Entry::done(&by, action, of(&user)).after(json!({ "roles": roles_json(&grants) }));
                    audit::append(transaction, now, &entry)?;
                    Ok(Ok(()))
                },
                move |written| {
                    if written.is_ok() {
                        parts.users.known.write().users.insert(added_name, kept);
                    }
                },
            )
            .await??;
        Ok(proof.made)
    }

    /// Gives a user these roles and no others; they count from the moment this returns, for tokens, logins and MQTT
    /// sessions too. With `expected`, only if the user is at that revision. The new revision.
    ///
    /// # Errors
    /// [`UserError::Unknown`], [`UserError::Revision`], [`UserError::LastAdmin`].
    pub async fn set_roles(
        &self,
        by: &Actor,
        name: &UserName,
        roles: Vec<Grant>,
        expected: Option<u64>,
    ) -> Result<u64, UserError> {
        let grants = settled(roles)?;
        let (parts, now, by) = (Arc::clone(&self.parts), self.parts.host.clock.now(), by.clone());
        let (user, changed_name, kept) = (name.clone(), name.clone(), Arc::clone(&grants));
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let stays_admin = grants.contains(&Grant::everywhere(Role::Admin));
                    let (revision, before) = match changeable(transaction, &user, expected, stays_admin)? {
                        Ok(found) => found,
                        Err(refused) => return Ok(Err(refused)),
                    };
                    write_roles(transaction, &user, &grants)?;
                    transaction.execute(
                        "UPDATE users SET revision = $2 WHERE name = $1",
                        params![user, revision + 1],
                    )?;
                    let entry = Entry::done(&by, "user.role", of(&user))
                        .before(json!({ "roles": before }))
                        .after(json!({ "roles": roles_json(&grants) }));
                    audit::append(transaction, now, &entry)?;
                    Ok(Ok(revision + 1))
                },
                move |written| {
                    if let Ok(revision) = written {
                        if let Some(user) = parts.users.known.write().users.get_mut(&changed_name) {
                            user.grants = kept;
                            user.revision = *revision;
                        }
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?
    }

    /// Gives a user a new password: the old one is worth nothing from the moment this returns, logins and MQTT sessions
    /// by it end. Tokens stay. One that was made here comes back, to be shown once.
    ///
    /// # Errors
    /// [`UserError::Unknown`], [`UserError::Password`].
    pub async fn set_user_password(
        &self,
        by: &Actor,
        name: &UserName,
        password: NewPassword,
    ) -> Result<Option<Password>, UserError> {
        if self.user(name.as_str()).is_none() {
            return Err(UserError::Unknown(name.to_string()));
        }
        self.replace_password(by, name, password, None).await
    }

    /// The same; `shown` is the proof of somebody who asks for himself.
    pub(super) async fn replace_password(
        &self,
        by: &Actor,
        name: &UserName,
        password: NewPassword,
        shown: Option<Shown>,
    ) -> Result<Option<Password>, UserError> {
        let proof = self.proof(name, password).await?;
        let (parts, now, by) = (Arc::clone(&self.parts), self.parts.host.clock.now(), by.clone());
        let (user, changed_name) = (name.clone(), name.clone());
        let (sealed, hash, scram) = (proof.sealed_scram, proof.hash, proof.scram);
        // No login has this key, no password this version.
        let (kept, shown_version) = shown.map_or(([0; 32], 0), |shown| (shown.login, shown.version));
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let versions = transaction.query_one(
                        "UPDATE users SET salt = $2, hash = $3, memory_kib = $4, passes = $5, lanes = $6,
                           sealed_scram = $7, password_version = password_version + 1, revision = revision + 1
                         WHERE name = $1 AND $8 IN (0, password_version) RETURNING password_version, revision",
                        params![
                            user, hash.salt, hash.hash, hash.memory_kib, hash.passes, hash.lanes, sealed, shown_version
                        ],
                        |row| Ok((row.get::<u64>(0)?, row.get::<u64>(1)?)),
                    )?;
                    let Some(versions) = versions else {
                        // Gone meanwhile, or somebody else was faster with another one.
                        return Ok(Err(match shown_version {
                            0 => UserError::Unknown(user.to_string()),
                            _ => UserError::OldPassword,
                        }));
                    };
                    let others = "DELETE FROM user_logins WHERE user_name = $1 AND hash <> $2";
                    transaction.execute(others, params![user, kept])?;
                    let entry = Entry::done(&by, "user.password", of(&user))
                        .before(json!({ "version": versions.0 - 1 }))
                        .after(json!({ "version": versions.0 }));
                    audit::append(transaction, now, &entry)?;
                    Ok(Ok(versions))
                },
                move |written| {
                    if let Ok((password_version, revision)) = written {
                        let mut known = parts.users.known.write();
                        known.logins.retain(|key, login| login.user != changed_name || *key == kept);
                        if let Some(user) = known.users.get_mut(&changed_name) {
                            user.hash = hash;
                            user.scram = Some(scram);
                            user.password_version = *password_version;
                            user.revision = *revision;
                        }
                        drop(known);
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await??;
        self.parts.users.throttle.forgive(name.as_str());
        Ok(proof.made)
    }

    /// Removes a user, with tokens and logins. Nothing of them is accepted from the moment this returns; MQTT sessions
    /// end.
    ///
    /// # Errors
    /// [`UserError::Unknown`], [`UserError::LastAdmin`], [`UserError::Revision`].
    pub async fn remove_user(
        &self,
        by: &Actor,
        name: &UserName,
        expected: Option<u64>,
    ) -> Result<(), UserError> {
        let (parts, now, by) = (Arc::clone(&self.parts), self.parts.host.clock.now(), by.clone());
        let (user, removed) = (name.clone(), name.clone());
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let before = match changeable(transaction, &user, expected, false)? {
                        Ok((_, before)) => before,
                        Err(refused) => return Ok(Err(refused)),
                    };
                    for table in ["user_roles", "user_tokens", "user_logins"] {
                        let sql = format!("DELETE FROM {table} WHERE user_name = $1");
                        transaction.execute(&sql, params![user])?;
                    }
                    transaction.execute("DELETE FROM users WHERE name = $1", params![user])?;
                    let entry = Entry::done(&by, "user.remove", of(&user)).before(json!({ "roles": before }));
                    audit::append(transaction, now, &entry)?;
                    Ok(Ok(()))
                },
                move |written| {
                    if written.is_ok() {
                        let mut known = parts.users.known.write();
                        known.users.remove(&removed);
                        known.tokens.retain(|_, token| token.user != removed);
                        known.logins.retain(|_, login| login.user != removed);
                        drop(known);
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?
    }

    /// What is kept of a new password of `name`.
    async fn proof(&self, name: &UserName, password: NewPassword) -> Result<Proof, UserError> {
        let random = Arc::clone(&self.parts.host.random);
        let (secret, made) = match password {
            NewPassword::Chosen(password) => {
                judge(name, &password)?;
                (Zeroizing::new(password.as_bytes().to_vec()), None)
            }
            NewPassword::Made => {
                let made = Password::generate(&*random);
                (Zeroizing::new(made.reveal().as_bytes().to_vec()), Some(made))
            }
        };
        let work = move |secret: &[u8]| {
            (PasswordHash::of(secret, &*random), ScramVerifier::of_chosen(secret, &*random))
        };
        let (hash, scram) = self.parts.users.hasher.run(secret, work).await.map_err(|_| UserError::Busy)?;
        let sealed_scram = catalog::seal(&self.parts.host, place(name.as_str()), &scram_bytes(&scram));
        Ok(Proof { hash, scram, sealed_scram, made })
    }
}

/// Whether somebody may choose this password.
fn judge(name: &UserName, password: &str) -> Result<(), UserError> {
    let wrong = |text: String| Err(UserError::Password(text));
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return wrong(format!("has {chars} characters; the least is {PASSWORD_CHARS_MIN}"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return wrong(format!("has {} bytes; the most is {PASSWORD_BYTES_MAX}", password.len()));
    }
    if password.chars().any(char::is_control) {
        return wrong("has a character that no keyboard gives".to_owned());
    }
    if password.to_lowercase().contains(name.as_str()) && chars < 2 * PASSWORD_CHARS_MIN {
        return wrong("has the user's name in it".to_owned());
    }
    if password.chars().all(|c| password.starts_with(c)) {
        return wrong("is one character over and over".to_owned());
    }
    Ok(())
}
