//! Logins of people in a browser: a cookie for a while, instead of the password each time.
//!
//! The cookie is 256 random bits; its SHA-256 is what is kept. It ends when it was not used for [`LOGIN_IDLE`], and
//! after [`LOGIN_MAX`] whatever happens. Beside it goes a second secret that scripts of our own pages read and send
//! back in a header: another site can make a browser send the cookie, but cannot read this (CSRF).
//!
//! Not here: cookies and headers themselves (`api`). The laws: a login ends with its user, his password and its own
//! removal, from the commit on; what is stored logs nobody in.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use catalog::{Connection, SqlError, params};
use hashbrown::HashMap;
use model::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::{LoginError, UserError, UserName};
use crate::audit::{self, Entry};
use crate::{Actor, Identity, Refusal, Who};

/// A login that was not used for so long is over: a working day and its evening.
pub const LOGIN_IDLE: Duration = Duration::from_secs(12 * 3_600);

/// A login is over after so long, used or not: a week, so that a cookie that was copied ends too.
pub const LOGIN_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How often a use is written down: a crash forgets no more of it.
const SEEN_SAVED_EVERY: Duration = Duration::from_secs(900);

/// Most logins of one user; one more ends the one that was used longest ago.
const LOGINS_MAX: usize = 20;

/// A secret of a login: the cookie, or what is sent beside it. Wiped from memory when dropped.
#[derive(Clone)]
pub struct LoginSecret(Zeroizing<String>);

impl LoginSecret {
    fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(hex(bytes)))
    }

    /// The text, for the browser alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `text` is it; takes the same time wherever the difference is.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), text.as_bytes()).is_ok()
    }

    /// What goes beside the cookie.
    fn beside(cookie: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes());
        Self::of(hmac::sign(&key, b"godwit csrf 1").as_ref())
    }
}

impl fmt::Debug for LoginSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginSecret(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Somebody who just logged in.
#[derive(Debug)]
pub struct NewLogin {
    /// Who.
    pub who: Who,
    /// For the browser to keep.
    pub cookie: LoginSecret,
    /// For scripts to send beside it with every change.
    pub csrf: LoginSecret,
}

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Presence {
    /// Who.
    pub who: Who,
    /// What must come beside the cookie with every change.
    pub csrf: LoginSecret,
}

/// A login, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Names it; logs nobody in.
    pub id: String,
    /// Whose.
    pub user: UserName,
    /// From where it was made.
    pub address: Option<IpAddr>,
    /// Since when.
    pub created: Timestamp,
    /// When it was last used.
    pub seen: Timestamp,
}

/// A login, in memory.
pub(super) struct Kept {
    pub(super) user: UserName,
    address: Option<IpAddr>,
    created: Timestamp,
    seen: Timestamp,
    seen_saved: Timestamp,
}

impl Kept {
    fn stands(&self, now: Timestamp) -> bool {
        let within = |since: Timestamp, most: Duration| {
            now.micros_since(since) < i64::try_from(most.as_micros()).unwrap_or(i64::MAX)
        };
        within(self.seen, LOGIN_IDLE) && within(self.created, LOGIN_MAX)
    }
}

pub(super) fn key(cookie: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, cookie.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// The part of the hash by which a login is named.
pub(super) fn id_of(key: &[u8; 32]) -> String {
    hex(&key[..8])
}

pub(super) fn read(connection: &Connection<'_>) -> Result<HashMap<[u8; 32], Kept>, SqlError> {
    let rows = connection.query(
        "SELECT hash, user_name, address, created, seen FROM user_logins",
        params![],
        |row| {
            let user: String = row.get(1)?;
            let Ok(user) = UserName::parse(&user) else { return Ok(None) };
            let address: Option<String> = row.get(2)?;
            let seen = row.get(4)?;
            let kept = Kept {
                user,
                address: address.and_then(|address| address.parse().ok()),
                created: row.get(3)?,
                seen,
                seen_saved: seen,
            };
            Ok(Some((row.get(0)?, kept)))
        },
    )?;
    Ok(rows.into_iter().flatten().collect())
}

impl Identity {
    /// Logs a user in by name and password.
    ///
    /// # Errors
    /// [`LoginError`]: the same for an unknown name and a wrong password, and it costs the same.
    pub async fn log_in(
        &self,
        name: &str,
        password: Zeroizing<String>,
        address: IpAddr,
    ) -> Result<NewLogin, LoginError> {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let who = self.prove_user(name, password, address, "http").await?;
        let user = UserName::parse(name).map_err(|_| LoginError::Wrong)?;
        let mut bytes = Zeroizing::new([0; 32]);
        self.parts.host.random.fill(&mut *bytes);
        let cookie = LoginSecret::of(&*bytes);
        let csrf = LoginSecret::beside(cookie.reveal());
        let (key, now) = (key(cookie.reveal()), self.parts.host.clock.now());
        let oldest = self.oldest_login(&user);
        let by = Actor::of(&who, Some(address));
        let (parts, version) = (Arc::clone(&self.parts), who.password);
        let kept =
            Kept { user: user.clone(), address: Some(address), created: now, seen: now, seen_saved: now };
        let is_in = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    // The password may have changed, and the user gone, while the hash was made.
                    let inserted = transaction.execute(
                        "INSERT INTO user_logins (hash, user_name, address, created, seen)
                         SELECT $1, name, $3, $4, $4 FROM users WHERE name = $2 AND password_version = $5",
                        params![key, user, address.to_string(), now, version],
                    )?;
                    if inserted == 0 {
                        return Ok(false);
                    }
                    if let Some(oldest) = oldest {
                        transaction.execute("DELETE FROM user_logins WHERE hash = $1", params![oldest])?;
                    }
                    let entry = Entry::done(&by, "user.login", format!("user:{user}"))
                        .after(json!({ "login": id_of(&key), "by": "password", "door": "http" }));
                    audit::append(transaction, now, &entry)?;
                    Ok(true)
                },
                move |is_in| {
                    if *is_in {
                        let mut known = parts.users.known.write();
                        oldest.map(|oldest| known.logins.remove(&oldest));
                        known.logins.insert(key, kept);
                    }
                },
            )
            .await?;
        if is_in { Ok(NewLogin { who, cookie, csrf }) } else { Err(LoginError::Wrong) }
    }

    /// The login that makes room for one more, if there are so many.
    fn oldest_login(&self, user: &UserName) -> Option<[u8; 32]> {
        let known = self.parts.users.known.read();
        let own = || known.logins.iter().filter(|(_, login)| login.user == *user);
        if own().count() < LOGINS_MAX {
            return None;
        }
        own().min_by_key(|(_, login)| login.seen).map(|(key, _)| *key)
    }

    /// Finds out who is logged in by a cookie. A look into memory.
    ///
    /// # Errors
    /// [`Refusal::WrongToken`] when it is none, or over.
    pub fn authenticate_login(&self, cookie: &str) -> Result<Presence, Refusal> {
        let (key, now) = (key(cookie), self.parts.host.clock.now());
        let mut known = self.parts.users.known.write();
        let known = &mut *known;
        let login = known.logins.get_mut(&key).filter(|login| login.stands(now));
        let login = login.ok_or(Refusal::WrongToken)?;
        let user = known.users.get(&login.user).ok_or(Refusal::WrongToken)?;
        login.seen = login.seen.max(now);
        if now.micros_since(login.seen_saved)
            >= i64::try_from(SEEN_SAVED_EVERY.as_micros()).unwrap_or(i64::MAX)
        {
            login.seen_saved = now;
            let saved = self.parts.catalog.submit(
                move |transaction| {
                    transaction
                        .execute("UPDATE user_logins SET seen = $2 WHERE hash = $1", params![key, now])?;
                    Ok(())
                },
                |_| {},
            );
            if saved.is_err() {
                tracing::debug!("the use of a login is not written down: the catalog is busy");
            }
        }
        let who = Who::user(login.user.as_str(), user.password_version);
        Ok(Presence { who, csrf: LoginSecret::beside(cookie) })
    }

    /// Ends the login of a cookie.
    ///
    /// # Errors
    /// What the catalog says; a cookie that is no login is none of them.
    pub async fn log_out(&self, by: &Actor, cookie: &str) -> Result<(), UserError> {
        self.end_login(by, key(cookie), "user.logout").await.map(drop)
    }

    /// Every login that stands, by user.
    #[must_use]
    pub fn logins(&self) -> Vec<Login> {
        let now = self.parts.host.clock.now();
        let known = self.parts.users.known.read();
        let standing = known.logins.iter().filter(|(_, login)| login.stands(now));
        let mut logins: Vec<Login> = standing
            .map(|(key, login)| Login {
                id: id_of(key),
                user: login.user.clone(),
                address: login.address,
                created: login.created,
                seen: login.seen,
            })
            .collect();
        logins.sort_unstable_by(|a, b| (&a.user, a.created, &a.id).cmp(&(&b.user, b.created, &b.id)));
        logins
    }

    /// Ends a login by its id.
    ///
    /// # Errors
    /// [`UserError::Gone`].
    pub async fn remove_login(&self, by: &Actor, id: &str) -> Result<(), UserError> {
        let found = self.parts.users.known.read().logins.keys().copied().find(|key| id_of(key) == id);
        let gone = || UserError::Gone { what: "login", id: id.chars().take(64).collect() };
        let key = found.ok_or_else(gone)?;
        if self.end_login(by, key, "user.logout").await? { Ok(()) } else { Err(gone()) }
    }

    async fn end_login(&self, by: &Actor, key: [u8; 32], action: &'static str) -> Result<bool, UserError> {
        let (parts, now, by) = (Arc::clone(&self.parts), self.parts.host.clock.now(), by.clone());
        let ended = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    let user = transaction.query_one(
                        "DELETE FROM user_logins WHERE hash = $1 RETURNING user_name",
                        params![key],
                        |row| row.get::<String>(0),
                    )?;
                    if let Some(user) = &user {
                        let entry = Entry::done(&by, action, format!("user:{user}"))
                            .before(json!({ "login": id_of(&key) }));
                        audit::append(transaction, now, &entry)?;
                    }
                    Ok(user.is_some())
                },
                move |_| {
                    parts.users.known.write().logins.remove(&key);
                },
            )
            .await?;
        Ok(ended)
    }

    /// Writes down what is still gathered for the audit log. To be called before the catalog closes.
    pub fn close(&self) {
        self.write_gathered(true);
    }

    /// Forgets logins whose time is over, tells the doors of tokens whose is, and writes down what was gathered for the
    /// audit log. To be called every minute.
    ///
    /// # Errors
    /// What the catalog says; it is tried again with the next call.
    pub async fn upkeep(&self) -> Result<(), UserError> {
        self.write_gathered(false);
        let now = self.parts.host.clock.now();
        let (logins, is_token_over) = {
            let known = self.parts.users.known.read();
            let over = known.logins.iter().filter(|(_, login)| !login.stands(now));
            let logins: Vec<[u8; 32]> = over.map(|(key, _)| *key).collect();
            let minute = now.minus(Duration::from_secs(120));
            let just_over = |expires: Timestamp| expires <= now && expires > minute;
            (logins, known.tokens.values().any(|token| token.expires.is_some_and(just_over)))
        };
        if is_token_over {
            self.parts.changes.send_modify(|changes| *changes += 1);
        }
        if logins.is_empty() {
            return Ok(());
        }
        let (parts, gone) = (Arc::clone(&self.parts), logins.clone());
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    for key in &logins {
                        transaction.execute("DELETE FROM user_logins WHERE hash = $1", params![key])?;
                    }
                    Ok(())
                },
                move |()| {
                    let mut known = parts.users.known.write();
                    for key in &gone {
                        known.logins.remove(key);
                    }
                },
            )
            .await?;
        Ok(())
    }
}
