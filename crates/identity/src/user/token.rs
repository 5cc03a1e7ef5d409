//! Tokens: how programs speak for a user, with a part of his rights and for a time.
//!
//! ```text
//! gdw_ | id, 8 characters | secret, 26 characters | check, 6 characters       of Crockford's base 32, lower case
//! ```
//!
//! The secret is 130 random bits, so its hash may be fast (see `password`). The check is the first 30 bits of SHA-256
//! of all before it: whoever looks for leaked tokens (`gdw_[0-9a-hjkmnp-tv-z]{40}`) finds no false ones, and one that
//! was mistyped is known as such without a look-up.
//!
//! Not here: what a scope means (`rights`). The laws: a token is shown once; it is worth what its user may at that
//! moment, within its scopes; comparing takes the same time wherever the difference is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytestring::ByteString;
use catalog::{Connection, SqlError, params};
use hashbrown::HashMap;
use model::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::{UserError, UserName, scram_bytes, scram_from};
use crate::audit::{self, Entry};
use crate::password::{ALPHABET, Password, Verifier};
use crate::who::TokenRef;
use crate::{Actor, Identity, Refusal, Scope, ScramVerifier, Who};

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "gdw_";

const ID_CHARS: usize = 8;
const SECRET_CHARS: usize = 26;
const CHECK_CHARS: usize = 6;

/// Most tokens of one user.
const TOKENS_MAX: usize = 100;

/// Longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A token that was just made. It cannot be had again. Wiped from memory when dropped.
pub struct TokenSecret(Zeroizing<String>);

impl TokenSecret {
    /// The token, to be shown to the one person who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// What a token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// For whom it speaks.
    pub user: UserName,
    /// What it is called, once per user: `grafana`.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// How long it works; `None`: until it is removed.
    pub life: Option<Duration>,
}

/// A token, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id: the eight characters behind [`TOKEN_PREFIX`].
    pub id: String,
    /// For whom it speaks.
    pub user: UserName,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub expires: Option<Timestamp>,
}

/// A token, in memory.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) user: UserName,
    pub(super) name: ByteString,
    pub(super) scopes: Arc<[Scope]>,
    verifier: Verifier,
    pub(super) scram: ScramVerifier,
    created: Timestamp,
    pub(super) expires: Option<Timestamp>,
}

impl Kept {
    pub(super) fn stands(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn shown(&self, id: u64) -> Token {
        Token {
            id: id_text(id),
            user: self.user.clone(),
            name: self.name.to_string(),
            scopes: self.scopes.to_vec(),
            created: self.created,
            expires: self.expires,
        }
    }
}

fn id_text(id: u64) -> String {
    (0..ID_CHARS).rev().map(|at| char::from(ALPHABET[(id >> (5 * at)) as usize & 31])).collect()
}

fn id_number(text: &str) -> Option<u64> {
    let digit = |byte: u8| ALPHABET.iter().position(|known| *known == byte);
    (text.len() == ID_CHARS).then_some(())?;
    text.bytes().try_fold(0, |id, byte| Some((id << 5) | digit(byte)? as u64))
}

fn check(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let bits = u32::from_be_bytes(hash.as_ref()[..4].try_into().expect("4 of 32 bytes"));
    (0..CHECK_CHARS).map(|at| char::from(ALPHABET[(bits >> (27 - 5 * at)) as usize & 31])).collect()
}

fn written(id: u64, secret: &Password) -> TokenSecret {
    let mut text = Zeroizing::new(String::with_capacity(48));
    text.push_str(TOKEN_PREFIX);
    text.push_str(&id_text(id));
    text.push_str(secret.reveal());
    let check = check(&text);
    text.push_str(&check);
    TokenSecret(text)
}

/// The id and the secret of a token that is well-formed.
fn parse(text: &str) -> Option<(u64, &str)> {
    let rest = text.strip_prefix(TOKEN_PREFIX)?;
    if rest.len() != ID_CHARS + SECRET_CHARS + CHECK_CHARS || !rest.is_ascii() {
        return None;
    }
    let (before, last) = text.split_at(text.len() - CHECK_CHARS);
    if check(before) != last {
        return None;
    }
    let (id, secret) = rest.split_at(ID_CHARS);
    Some((id_number(id)?, &secret[..SECRET_CHARS]))
}

pub(super) fn read(connection: &Connection<'_>) -> Result<HashMap<u64, Kept>, SqlError> {
    let rows = connection.query(
        "SELECT id, user_name, name, scopes, salt, hash, scram, created, expires FROM user_tokens",
        params![],
        |row| {
            let scopes: String = row.get(3)?;
            let scram: Vec<u8> = row.get(6)?;
            let user: String = row.get(1)?;
            let (Ok(user), Ok(scopes), Some(scram)) = (
                UserName::parse(&user),
                scopes.split_whitespace().map(str::parse).collect::<Result<Vec<Scope>, _>>(),
                scram_from(&scram),
            ) else {
                tracing::error!(user, "a token is left out: it is not as it was written");
                return Ok(None);
            };
            let kept = Kept {
                user,
                name: row.get(2)?,
                scopes: scopes.into(),
                verifier: Verifier { salt: row.get(4)?, hash: row.get(5)? },
                scram,
                created: row.get(7)?,
                expires: row.get(8)?,
            };
            Ok(Some((row.get(0)?, kept)))
        },
    )?;
    Ok(rows.into_iter().flatten().collect())
}

impl Identity {
    /// Every token, by user and name.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        let known = self.parts.users.known.read();
        let mut tokens: Vec<Token> = known.tokens.iter().map(|(id, kept)| kept.shown(*id)).collect();
        tokens.sort_unstable_by(|a, b| (&a.user, &a.name).cmp(&(&b.user, &b.name)));
        tokens
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`UserError::Unknown`], [`UserError::TokenExists`], [`UserError::Token`], [`UserError::Full`].
    pub async fn add_token(&self, by: &Actor, new: NewToken) -> Result<(Token, TokenSecret), UserError> {
        let NewToken { user, name, mut scopes, life } = new;
        let is_first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_next = |c: char| is_first(c) || matches!(c, '.' | '_' | '-');
        if !name.starts_with(is_first) || !name.chars().all(is_next) || name.len() > NAME_BYTES_MAX {
            return Err(UserError::Token(format!(
                "name begins with a letter or a digit and has at most {NAME_BYTES_MAX} of `a-z`, `0-9`, `.`, `_` and `-`"
            )));
        }
        if scopes.is_empty() {
            return Err(UserError::Token("scopes say what it is for: there must be one".to_owned()));
        }
        if life.is_some_and(|life| life.is_zero()) {
            return Err(UserError::Token("life must be longer than nothing".to_owned()));
        }
        scopes.sort_unstable();
        scopes.dedup();
        let (random, now) = (&*self.parts.host.random, self.parts.host.clock.now());
        let secret = Password::generate(random);
        let id = random.number() >> (64 - 5 * ID_CHARS);
        let shown = written(id, &secret);
        let expires = life.map(|life| now.plus_micros(i64::try_from(life.as_micros()).unwrap_or(i64::MAX)));
        let kept = Kept {
            user: user.clone(),
            name: name.as_str().into(),
            scopes: scopes.clone().into(),
            verifier: Verifier::of(secret.reveal().as_bytes(), random),
            // SQL clients give the whole token as the password.
            scram: ScramVerifier::of(shown.reveal().as_bytes(), random),
            created: now,
            expires,
        };
        let token = kept.shown(id);
        let (parts, by, memory) = (Arc::clone(&self.parts), by.clone(), kept.clone());
        self.parts
            .catalog
            .write_then(
                move |transaction| {
                    let is_known = transaction
                        .query_one("SELECT 1 FROM users WHERE name = $1", params![user], |row| row.get::<i64>(0))?
                        .is_some();
                    if !is_known {
                        return Ok(Err(UserError::Unknown(user.to_string())));
                    }
                    let names: Vec<String> = transaction.query(
                        "SELECT name FROM user_tokens WHERE user_name = $1",
                        params![user],
                        |row| row.get(0),
                    )?;
                    if names.contains(&name) {
                        return Ok(Err(UserError::TokenExists { user: user.to_string(), name }));
                    }
                    if names.len() >= TOKENS_MAX {
                        return Ok(Err(UserError::Full {
                            what: "tokens",
                            count: names.len(),
                            count_max: TOKENS_MAX,
                        }));
                    }
                    let scopes: Vec<String> = scopes.iter().map(Scope::to_string).collect();
                    transaction.execute(
                        "INSERT INTO user_tokens (id, user_name, name, scopes, salt, hash, scram, created, expires)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                        params![
                            id,
                            user,
                            name,
                            scopes.join(" "),
                            kept.verifier.salt,
                            kept.verifier.hash,
                            scram_bytes(&kept.scram),
                            now,
                            expires
                        ],
                    )?;
                    let entry = Entry::done(&by, "token.add", format!("token:{user}/{name}")).after(json!({
                        "id": id_text(id),
                        "scopes": scopes,
                        "expires": expires.map(|expires| expires.to_string()),
                    }));
                    audit::append(transaction, now, &entry)?;
                    Ok(Ok(()))
                },
                move |written| {
                    if written.is_ok() {
                        parts.users.known.write().tokens.insert(id, memory);
                    }
                },
            )
            .await??;
        Ok((token, shown))
    }

    /// Removes a token: it is worth nothing from the moment this returns, MQTT sessions by it end.
    ///
    /// # Errors
    /// [`UserError::Gone`].
    pub async fn remove_token(&self, by: &Actor, id: &str) -> Result<(), UserError> {
        let gone = UserError::Gone { what: "token", id: id.chars().take(64).collect() };
        let Some(number) = id_number(id) else { return Err(gone) };
        let (parts, now, by) = (Arc::clone(&self.parts), self.parts.host.clock.now(), by.clone());
        let removed = self
            .parts
            .catalog
            .write_then(
                move |transaction| {
                    let whose = transaction.query_one(
                        "DELETE FROM user_tokens WHERE id = $1 RETURNING user_name, name",
                        params![number],
                        |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)),
                    )?;
                    if let Some((user, name)) = &whose {
                        let entry = Entry::done(&by, "token.remove", format!("token:{user}/{name}"));
                        audit::append(transaction, now, &entry)?;
                    }
                    Ok(whose.is_some())
                },
                move |removed| {
                    if *removed {
                        parts.users.known.write().tokens.remove(&number);
                        parts.changes.send_modify(|changes| *changes += 1);
                    }
                },
            )
            .await?;
        if removed { Ok(()) } else { Err(gone) }
    }

    /// Finds out for whom a token speaks. A look into memory and one HMAC.
    pub(crate) fn token_bearer(&self, text: &str) -> Result<Who, Refusal> {
        let (id, secret) = parse(text).ok_or(Refusal::WrongToken)?;
        let now = self.parts.host.clock.now();
        let known = self.parts.users.known.read();
        let token = known.tokens.get(&id).ok_or(Refusal::WrongToken)?;
        if !token.verifier.knows(secret.as_bytes()) || !token.stands(now) {
            return Err(Refusal::WrongToken);
        }
        let version = known.users.get(&token.user).ok_or(Refusal::WrongToken)?.password_version;
        let by = TokenRef { id, name: token.name.clone() };
        Ok(Who::user(token.user.as_str(), version).through(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_a_slip_is_seen() {
        let secret = Password::generate(&host::SystemRandom);
        for id in [1, 0xff_ffff_ffff, 0x12_3456_789a] {
            let token = written(id, &secret);
            let text = token.reveal();
            assert_eq!((text.len(), &text[..4]), (44, "gdw_"));
            assert_eq!(parse(text), Some((id, secret.reveal())));
            for at in 0..text.len() {
                let mut slip = text.as_bytes().to_vec();
                slip[at] = if slip[at] == b'7' { b'8' } else { b'7' };
                assert_eq!(parse(str::from_utf8(&slip).expect("ASCII")), None, "character {at}");
                assert_eq!(parse(&text[..at]), None);
            }
            assert_eq!(format!("{token:?}"), "TokenSecret(…)");
        }
        assert_eq!(parse("gdw_ääääääääääääääääääää"), None);
    }
}
