//! Finding out who speaks, where the answer is not at hand at once: passwords of people are dear to look at.
//!
//! Not here: devices and the local token (`identity`), cookies (`login`). The laws: an unknown name and a wrong
//! password cost the same and get the same answer; nothing is looked at for whom the throttle lets wait; who was
//! refused and who was let in is in the audit log.

use std::net::IpAddr;

use model::Principal;
use zeroize::Zeroizing;

use super::hash::PasswordHash;
use super::token::TOKEN_PREFIX;
use super::{LoginError, UserName};
use crate::password::PASSWORD_BYTES_MAX;
use crate::permissions::OverMqtt;
use crate::{Actor, Area, Identity, LOCAL_USER, Outcome, Refusal, Role, UserRefusal, Verb, Who};

impl Identity {
    /// Finds out who speaks by user name and password, from this address: a device, user `local`, a user by his
    /// password, or a user by a token as the password. Devices get their answer at once; a user's password takes about
    /// 25 ms off the async threads.
    ///
    /// # Errors
    /// [`Refusal`]; a name that no user has is refused as fast as a device's, a user's wrong password is not: who
    /// measures learns that a name is a user's, and nothing else.
    pub async fn prove(
        &self,
        username: Option<&str>,
        password: Option<&[u8]>,
        address: IpAddr,
    ) -> Result<Who, Refusal> {
        let refusal = match self.authenticate(username, password) {
            Ok(who) => return Ok(who),
            Err(refusal) => refusal,
        };
        let (Some(username), Some(password)) = (username, password) else { return Err(refusal) };
        let token = str::from_utf8(password).ok().filter(|text| text.starts_with(TOKEN_PREFIX));
        if let Some(token) = token {
            let who = self.token_bearer(token).ok().filter(|who| is_named(who, username));
            let Some(who) = who else {
                self.refused_login(username, address, "token");
                return Err(Refusal::of_user(username, UserRefusal::Token));
            };
            self.logged_in(&who, address, "token");
            return Ok(who);
        }
        if !self.parts.users.known.read().users.contains_key(username) {
            return Err(refusal);
        }
        let password = Zeroizing::new(password.to_vec());
        let who = self.prove_user(username, password, address, "mqtt").await.map_err(|error| {
            let why = match error {
                LoginError::Throttled { wait_s } => UserRefusal::Throttled { wait_s },
                // Whoever cannot be judged was not wrong.
                LoginError::Busy | LoginError::Catalog(_) => UserRefusal::Busy,
                LoginError::Wrong => UserRefusal::Password,
            };
            // Only names of users come here: what is to be typed is safe.
            Refusal::of_user(username, why)
        })?;
        self.logged_in(&who, address, "password");
        Ok(who)
    }

    /// Whether a name and a password are to be judged by [`Identity::prove`]: they are a user's, or a token.
    #[must_use]
    pub fn is_of_person(&self, username: Option<&str>, password: Option<&[u8]>) -> bool {
        let is_token = password.is_some_and(|password| password.starts_with(TOKEN_PREFIX.as_bytes()));
        is_token || username.is_some_and(|name| self.parts.users.known.read().users.contains_key(name))
    }

    /// Whether it is a user, other than `local`.
    pub(crate) fn is_person(&self, who: &Who) -> bool {
        matches!(&who.principal, Principal::User(name) if *name != LOCAL_USER)
    }

    /// What a user has over MQTT: the highest role that he holds everywhere, and of hearing and publishing what the scopes
    /// of his token hold. Topics know no groups, so a role of a group does not count here.
    pub(crate) fn over_mqtt(&self, who: &Who) -> Option<OverMqtt> {
        let rights = self.rights(who);
        let role = Role::ALL.into_iter().rev().find(|role| rights.holds(*role, ""))?;
        let hears = rights.in_scope(Area::Mqtt, Verb::Read);
        let says = rights.in_scope(Area::Mqtt, Verb::Write);
        (hears || says).then_some(OverMqtt { role, hears, says })
    }

    /// Judges a user's password; a wrong one is written down, a right one not: the caller says what came of it.
    pub(super) async fn prove_user(
        &self,
        name: &str,
        password: Zeroizing<Vec<u8>>,
        address: IpAddr,
        door: &'static str,
    ) -> Result<Who, LoginError> {
        let users = &self.parts.users;
        let now = self.parts.host.clock.mono_micros();
        self.take_try(name, address, now).map_err(|wait_s| LoginError::Throttled { wait_s })?;
        let kept = users.known.read().users.get(name).map(|user| (user.hash, user.password_version));
        let hash = kept.map_or_else(PasswordHash::of_nobody, |(hash, _)| hash);
        let is_short = password.len() <= PASSWORD_BYTES_MAX;
        let looked_at = Zeroizing::new(password[..password.len().min(PASSWORD_BYTES_MAX)].to_vec());
        let knows = users.hasher.run(looked_at, move |password| hash.knows(password)).await;
        let is_right = knows.map_err(|_| LoginError::Busy)? && is_short;
        match kept {
            Some((_, version)) if is_right => {
                users.throttle.was_right(name, address, now);
                Ok(Who::user(name, version))
            }
            _ => {
                metrics::counter!("godwit_identity_logins_refused_total", "why" => "wrong").increment(1);
                tracing::warn!(%address, user = shown(name), door, "refused: the user name or the password is wrong");
                self.refused_login(name, address, "password");
                Err(LoginError::Wrong)
            }
        }
    }

    /// Writes down who is in over MQTT; a client that reconnects all the time becomes one entry a minute.
    fn logged_in(&self, who: &Who, address: IpAddr, by: &'static str) {
        let Principal::User(user) = &who.principal else { return };
        let detail = serde_json::json!({ "by": by, "door": "mqtt" });
        let (actor, object) = (Actor::of(who, Some(address)), format!("user:{user}"));
        self.notice(&actor, "user.login", object, Outcome::Done, Some(detail));
    }

    /// Takes one of the tries at the password of a user, or says how many seconds to wait; that is counted and written down.
    pub(super) fn take_try(&self, name: &str, address: IpAddr, now: u64) -> Result<(), u64> {
        self.parts.users.throttle.take(name, address, now).inspect_err(|_| {
            metrics::counter!("godwit_identity_logins_refused_total", "why" => "throttled").increment(1);
            self.refused_login(name, address, "throttled");
        })
    }

    /// Writes a refused login down; many of one kind become one entry.
    fn refused_login(&self, name: &str, address: IpAddr, why: &'static str) {
        let by = Actor::of(&Who::anonymous(), Some(address));
        let object = format!("user:{}", shown(name));
        self.notice(&by, "user.login", object, Outcome::Refused, Some(serde_json::json!({ "why": why })));
    }
}

/// A name as logs and entries have it. What is no name of a user is no name at all: it may be a password typed into the wrong
/// field.
fn shown(name: &str) -> &str {
    if UserName::parse(name).is_ok() { name } else { "?" }
}

/// A token is given with the name of its user, or with `user:token`.
fn is_named(who: &Who, username: &str) -> bool {
    let Principal::User(user) = &who.principal else { return false };
    let token = who.token.as_ref().map_or("", |token| &*token.name);
    match username.split_once(':') {
        None => *user == *username,
        Some((named, named_token)) => *user == *named && token == named_token,
    }
}
