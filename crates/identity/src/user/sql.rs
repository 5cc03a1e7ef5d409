//! What people may ask by SQL, and what of it is written down.
//!
//! Not here: the protocol, and the statements (`series`). The laws: SQL knows no groups, so who may only look into some is
//! refused with a reason, rather than given an answer that is cut; a password is guessed at no faster than at any door; a right that is taken away is gone for the next
//! statement of a connection that is open.

use std::net::IpAddr;

use model::Timestamp;

use super::Users;
use crate::{Actor, Area, Identity, LOCAL_USER, Outcome, Rights, Role, Verb, Who};

/// Longest part of a statement that an entry of the audit log has, in characters.
const SHOWN_CHARS: usize = 500;

/// Tables that hold what a channel measured.
const READINGS: [&str; 3] = ["readings", "latest", "messages"];

/// Why somebody may not ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlDenied {
    /// The user or the token is gone, or he has another password.
    #[error("`{0}` is no user any more, has another password, or the token is over")]
    Gone(String),
    /// The roles do not hold everywhere.
    #[error("`{0}` has no role everywhere, and SQL knows no groups")]
    Groups(String),
    /// The token is for something else.
    #[error("the token of `{0}` has not the scope `readings:read`")]
    Scope(String),
    /// Too many wrong passwords, by SQL or elsewhere.
    #[error("too many wrong passwords: wait {wait_s} s")]
    Throttled {
        /// After so many seconds one will be judged again.
        wait_s: u64,
    },
}

impl SqlDenied {
    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Gone(_) => {
                "log in again; an admin adds users and tokens: godwit user add, godwit token add"
            }
            Self::Groups(_) => "an admin gives the role everywhere: godwit user role NAME viewer",
            Self::Scope(_) => "godwit token add USER NAME --scope readings:read",
            Self::Throttled { .. } => "programs log in as `USER:TOKEN` with that token, which is not held up",
        }
    }
}

impl Users {
    /// Who logged in by this name and secret of it, if that is worth something now.
    fn of_login(&self, login: &str, secret: u64, now: Timestamp) -> Option<(Who, Rights)> {
        let (user, token) = login.split_once(':').map_or((login, None), |(user, token)| (user, Some(token)));
        let known = self.known.read();
        let version = known.users.get(user)?.password_version;
        let who = Who::user(user, version);
        if token.is_none() {
            drop(known);
            return (version == secret).then(|| (who, self.rights(user, None, now)));
        }
        let kept = known.tokens.get(&secret).filter(|kept| kept.user.as_str() == user && kept.stands(now))?;
        let by = crate::who::TokenRef { id: secret, name: kept.name.clone() };
        drop(known);
        let rights = self.rights(user, Some(by.id), now);
        Some((who.through(by), rights))
    }
}

/// The user whose own password is asked of `login`, whether there is such a user or not. The other secrets are random,
/// and nobody guesses them: who uses one does not wait for those who guess.
fn of_password(login: &str) -> Option<&str> {
    (login != LOCAL_USER && !login.contains(':')).then_some(login)
}

impl Identity {
    /// Takes one of the tries that there are at the password of `login`, the same ones as at every other door. To be
    /// asked before a proof is judged; [`Identity::sql_was_right`] gives it back.
    ///
    /// # Errors
    /// [`SqlDenied::Throttled`]: nothing is to be judged now.
    pub fn try_sql(&self, login: &str, address: IpAddr) -> Result<(), SqlDenied> {
        let Some(user) = of_password(login) else { return Ok(()) };
        let now = self.parts.host.clock.mono_micros();
        self.take_try(user, address, now).map_err(|wait_s| SqlDenied::Throttled { wait_s })
    }

    /// The proof was right: the try is given back.
    pub fn sql_was_right(&self, login: &str, address: IpAddr) {
        if let Some(user) = of_password(login) {
            self.parts.users.throttle.was_right(user, address, self.parts.host.clock.mono_micros());
        }
    }

    /// Whether who logged in as `login` (`local`, a user, or `user:token`) by this secret of that name
    /// ([`Identity::scram`]) may ask by SQL now.
    ///
    /// # Errors
    /// [`SqlDenied`].
    pub fn may_ask_sql(&self, login: &str, secret: u64) -> Result<(), SqlDenied> {
        if login == LOCAL_USER {
            return Ok(());
        }
        let found = self.parts.users.of_login(login, secret, self.parts.host.clock.now());
        let (_, rights) = found.ok_or_else(|| SqlDenied::Gone(login.to_owned()))?;
        if !rights.in_scope(Area::Readings, Verb::Read) {
            return Err(SqlDenied::Scope(login.to_owned()));
        }
        if !rights.holds(Role::Viewer, "") {
            return Err(SqlDenied::Groups(login.to_owned()));
        }
        Ok(())
    }

    /// Writes a login by SQL down, or a refused one.
    pub fn notice_sql_login(&self, login: &str, secret: u64, address: IpAddr, outcome: Outcome) {
        let by = match outcome {
            Outcome::Done => self.sql_actor(login, secret, address),
            Outcome::Refused => Actor::of(&Who::anonymous(), Some(address)),
        };
        // What is no name of a user may be a password typed into the wrong field.
        let user = login.split(':').next().unwrap_or_default();
        let is_name = user == LOCAL_USER || super::UserName::parse(user).is_ok();
        let object = if is_name { format!("user:{user}") } else { "user:?".to_owned() };
        self.notice(&by, "user.login", object, outcome, Some(serde_json::json!({ "door": "sql" })));
    }

    /// Writes down that somebody asked for readings, while there are classified channels: any statement that names a table of
    /// readings counts, whether or not it leaves those channels out.
    pub fn notice_sql(&self, by: &Actor, statement: &str) {
        let lower = statement.to_ascii_lowercase();
        if !READINGS.iter().any(|table| lower.contains(table)) {
            return;
        }
        let shown: String = statement.chars().take(SHOWN_CHARS).collect();
        self.notice(by, "readings.read", format!("sql:{shown}"), Outcome::Done, None);
    }

    /// Who asks by SQL, as the audit log names him.
    #[must_use]
    pub fn sql_actor(&self, login: &str, secret: u64, address: IpAddr) -> Actor {
        let found = self.parts.users.of_login(login, secret, self.parts.host.clock.now());
        let who = found.map_or_else(|| Who::user(LOCAL_USER, 0), |(who, _)| who);
        Actor::of(&who, Some(address))
    }
}
