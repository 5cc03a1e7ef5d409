//! The first user: a code that is good for an hour, while there is nobody.
//!
//! Not here: the link around it, and where it is shown (`godwit`). The laws: there is a code only while there is no
//! user; it is used once; it is kept in memory alone, as a hash.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{NewPassword, UserError, UserName};
use crate::password::{Password, Verifier};
use crate::{Actor, Grant, Identity, Role};

/// How long a code is good.
const LIFE: Duration = Duration::from_secs(3_600);

/// Most wrong codes; then there is none until the next start. 130 bits are not guessed, but nobody needs 20 tries.
const WRONG_MAX: u32 = 20;

/// What is kept of a code.
pub(super) struct Pending {
    verifier: Verifier,
    until: u64,
    wrong: u32,
}

/// A code that was just made. Wiped from memory when dropped.
pub struct SetupCode(Password);

impl SetupCode {
    /// The code, for the link.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl Identity {
    /// A code that makes the first user, if there is none yet; one of before is worth nothing.
    #[must_use]
    pub fn begin_setup(&self) -> Option<SetupCode> {
        if !self.parts.users.known.read().users.is_empty() {
            return None;
        }
        let random = &*self.parts.host.random;
        let code = Password::generate(random);
        let until = self.parts.host.clock.mono_micros() + u64::try_from(LIFE.as_micros()).unwrap_or(u64::MAX);
        let verifier = Verifier::of(code.reveal().as_bytes(), random);
        *self.parts.users.setup.lock() = Some(Pending { verifier, until, wrong: 0 });
        Some(SetupCode(code))
    }

    /// Whether a code would still be taken.
    #[must_use]
    pub fn is_setup_open(&self) -> bool {
        let now = self.parts.host.clock.mono_micros();
        self.parts.users.setup.lock().as_ref().is_some_and(|pending| now < pending.until)
            && self.parts.users.known.read().users.is_empty()
    }

    /// Makes the first user, an admin.
    ///
    /// # Errors
    /// [`UserError::Setup`] when the code is wrong, used, too old, or somebody is there already.
    pub async fn finish_setup(
        &self,
        by: &Actor,
        code: &str,
        name: &UserName,
        password: Zeroizing<String>,
    ) -> Result<(), UserError> {
        self.look_at(code)?;
        let roles = vec![Grant::everywhere(Role::Admin)];
        self.add_user_if(by, name, roles, NewPassword::Chosen(password), "user.setup", |transaction| {
            let first = transaction
                .query_one("SELECT 1 FROM users LIMIT 1", catalog::params![], |row| row.get::<i64>(0))?;
            Ok(first.is_none())
        })
        .await?;
        *self.parts.users.setup.lock() = None;
        Ok(())
    }

    fn look_at(&self, code: &str) -> Result<(), UserError> {
        let now = self.parts.host.clock.mono_micros();
        let mut setup = self.parts.users.setup.lock();
        let pending = setup.as_mut().filter(|pending| now < pending.until).ok_or(UserError::Setup)?;
        if pending.verifier.knows(code.as_bytes()) {
            return Ok(());
        }
        pending.wrong += 1;
        if pending.wrong >= WRONG_MAX {
            *setup = None;
        }
        Err(UserError::Setup)
    }
}
