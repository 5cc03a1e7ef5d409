//! People: who they are, what they are trusted with, and how they prove it.
//!
//! Here is what is kept of them, in the catalog and in memory; each file below adds what is done with it. Not here:
//! devices, and what a role may do (`rights`). The laws: the copy in memory changes after the catalog's commit; a
//! password is kept as an Argon2id hash, a token and a login as a hash of what was random, and what SQL clients need
//! beside them is sealed; whoever is removed is nobody from that commit on.

mod account;
mod error;
mod hash;
mod login;
mod name;
mod own;
mod prove;
mod setup;
mod sql;
mod throttle;
mod token;

pub use account::{NewPassword, User};
pub use error::{LoginError, UserError};
pub use login::{LOGIN_IDLE, LOGIN_MAX, Login, LoginSecret, NewLogin, Presence};
pub(crate) use name::RESERVED;
pub use name::UserName;
pub use setup::SetupCode;
pub use sql::SqlDenied;
pub use token::{NewToken, TOKEN_PREFIX, Token, TokenSecret};

use std::sync::Arc;

use bytestring::ByteString;
use catalog::{Connection, Migration, SqlError, params};
use hashbrown::HashMap;
use host::Host;
use model::Timestamp;
use parking_lot::{Mutex, RwLock};

use crate::{Grant, Rights, ScramVerifier};
use hash::{Hasher, PasswordHash};

/// The tables of people.
pub(crate) const MIGRATION: Migration = Migration {
    room: "identity",
    version: 5,
    sql: "
        CREATE TABLE users (
            name TEXT PRIMARY KEY,
            -- Moves with every change: what an If-Match of the API means.
            revision BIGINT NOT NULL,
            -- Counts the passwords, so that a session knows whether its own still stands.
            password_version BIGINT NOT NULL,
            -- Argon2id: salt, hash and the parameters it was made with.
            salt BYTEA NOT NULL,
            hash BYTEA NOT NULL,
            memory_kib BIGINT NOT NULL,
            passes BIGINT NOT NULL,
            lanes BIGINT NOT NULL,
            -- SCRAM-SHA-256, for SQL clients: cheaper to guess at than Argon2id, therefore sealed.
            sealed_scram BYTEA NOT NULL,
            created BIGINT NOT NULL
        );
        CREATE TABLE user_roles (
            user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
            -- As it is written: viewer, operator@hq/floor-17.
            role TEXT NOT NULL,
            PRIMARY KEY (user_name, role)
        );
        CREATE TABLE user_tokens (
            id BIGINT PRIMARY KEY,
            user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
            name TEXT NOT NULL,
            -- As they are written, with a space between.
            scopes TEXT NOT NULL,
            salt BYTEA NOT NULL,
            hash BYTEA NOT NULL,
            -- SCRAM-SHA-256 of 130 random bits: nobody guesses them.
            scram BYTEA NOT NULL,
            created BIGINT NOT NULL,
            expires BIGINT,
            UNIQUE (user_name, name)
        );
        CREATE TABLE user_logins (
            -- SHA-256 of the cookie.
            hash BYTEA PRIMARY KEY,
            user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
            address TEXT,
            created BIGINT NOT NULL,
            seen BIGINT NOT NULL
        );
    ",
};

/// Most users: far more than the people of one installation.
pub(crate) const USERS_MAX: usize = 10_000;

/// Everything known of people.
pub(crate) struct Users {
    known: RwLock<Known>,
    hasher: Hasher,
    throttle: throttle::Throttle,
    setup: Mutex<Option<setup::Pending>>,
}

#[derive(Default)]
struct Known {
    users: HashMap<UserName, Kept>,
    tokens: HashMap<u64, token::Kept>,
    logins: HashMap<[u8; 32], login::Kept>,
}

/// A user, in memory.
#[derive(Clone)]
struct Kept {
    revision: u64,
    password_version: u64,
    grants: Arc<[Grant]>,
    hash: PasswordHash,
    /// `None`: the key ring did not open it; the user logs in, but not by SQL.
    scram: Option<ScramVerifier>,
    created: Timestamp,
}

impl Users {
    /// Reads them. Blocks.
    pub(crate) fn open(connection: &Connection<'_>, host: &Host) -> Result<Self, SqlError> {
        Ok(Self {
            known: RwLock::new(Known::read(connection, host)?),
            hasher: Hasher::new(),
            throttle: throttle::Throttle::default(),
            setup: Mutex::new(None),
        })
    }

    /// What a user may: nothing when there is none of this name, or the token is gone.
    pub(crate) fn rights(&self, name: &str, token: Option<u64>, now: Timestamp) -> Rights {
        let known = self.known.read();
        let Some(user) = known.users.get(name) else { return Rights::none() };
        let rights = Rights::of(Arc::clone(&user.grants));
        match token {
            None => rights,
            Some(id) => match known.tokens.get(&id) {
                Some(token) if token.stands(now) && token.user.as_str() == name => {
                    rights.within(Arc::clone(&token.scopes))
                }
                _ => Rights::none(),
            },
        }
    }

    /// Whether a proof of before would still be accepted.
    pub(crate) fn stands(
        &self,
        name: &str,
        password_version: u64,
        token: Option<u64>,
        now: Timestamp,
    ) -> bool {
        let known = self.known.read();
        let Some(user) = known.users.get(name) else { return false };
        match token {
            None => user.password_version == password_version,
            Some(id) => {
                known.tokens.get(&id).is_some_and(|token| token.stands(now) && token.user.as_str() == name)
            }
        }
    }

    /// Which of his passwords a user has now.
    pub(crate) fn password_version(&self, name: &str) -> u64 {
        self.known.read().users.get(name).map_or(0, |user| user.password_version)
    }

    /// What a token is called, while it is there.
    pub(crate) fn token_name(&self, id: u64) -> Option<ByteString> {
        self.known.read().tokens.get(&id).map(|token| token.name.clone())
    }

    /// What a SQL client that calls itself `name` is judged by, and which secret that is: a user by his password, counted,
    /// `user:token` by that token's id.
    pub(crate) fn scram(&self, name: &str, now: Timestamp) -> Option<(ScramVerifier, u64)> {
        let known = self.known.read();
        match name.split_once(':') {
            None => {
                let user = known.users.get(name)?;
                Some((user.scram.clone()?, user.password_version))
            }
            Some((user, token)) => {
                let named =
                    |kept: &(&u64, &token::Kept)| kept.1.user.as_str() == user && *kept.1.name == *token;
                let (id, token) = known.tokens.iter().find(named)?;
                token.stands(now).then(|| (token.scram.clone(), *id))
            }
        }
    }
}

impl Known {
    fn read(connection: &Connection<'_>, host: &Host) -> Result<Self, SqlError> {
        let mut roles: HashMap<String, Vec<Grant>> = HashMap::new();
        let rows = connection.query("SELECT user_name, role FROM user_roles", params![], |row| {
            Ok((row.get::<String>(0)?, row.get::<String>(1)?))
        })?;
        for (user, role) in rows {
            match role.parse() {
                Ok(grant) => roles.entry(user).or_default().push(grant),
                Err(error) => tracing::error!(user, %error, "a role is left out"),
            }
        }
        let mut known = Self::default();
        let users = connection.query(
            "SELECT name, revision, password_version, salt, hash, memory_kib, passes, lanes, sealed_scram, created
             FROM users",
            params![],
            |row| {
                let name: String = row.get(0)?;
                let hash = PasswordHash {
                    salt: row.get(3)?,
                    hash: row.get(4)?,
                    memory_kib: row.get(5)?,
                    passes: row.get(6)?,
                    lanes: row.get(7)?,
                };
                let mut grants = roles.remove(&name).unwrap_or_default();
                grants.sort_unstable();
                let kept = Kept {
                    revision: row.get(1)?,
                    password_version: row.get(2)?,
                    grants: grants.into(),
                    hash,
                    scram: account::unseal(host, &name, &row.get::<Vec<u8>>(8)?),
                    created: row.get(9)?,
                };
                Ok((name, kept))
            },
        )?;
        for (name, kept) in users {
            match UserName::parse(&name) {
                Ok(name) => drop(known.users.insert(name, kept)),
                Err(error) => tracing::error!(%error, "a user is left out"),
            }
        }
        known.tokens = token::read(connection)?;
        known.logins = login::read(connection)?;
        Ok(known)
    }
}

/// What is kept of a random secret, as the catalog holds SCRAM's part of it.
fn scram_from(bytes: &[u8]) -> Option<ScramVerifier> {
    let (salt, rest) = bytes.split_first_chunk()?;
    let (iterations, rest) = rest.split_first_chunk()?;
    let (stored_key, rest) = rest.split_first_chunk()?;
    let server_key = rest.try_into().ok()?;
    Some(ScramVerifier {
        salt: *salt,
        iterations: u32::from_be_bytes(*iterations),
        stored_key: *stored_key,
        server_key,
        is_known: true,
    })
}

/// The same, to be kept.
fn scram_bytes(scram: &ScramVerifier) -> Vec<u8> {
    [&scram.salt[..], &scram.iterations.to_be_bytes(), &scram.stored_key, &scram.server_key].concat()
}
