//! A user gives himself a new password.
//!
//! Not here: the one that an admin gives (`account`). The laws: the old one is asked for, and tries at it are slowed down and
//! written down as those of a login; every login but the one that asks ends, and so do MQTT sessions by the old one.

use std::net::IpAddr;

use model::Principal;
use zeroize::Zeroizing;

use super::account::Shown;
use super::{LoginError, NewPassword, UserError, UserName, login};
use crate::{Actor, Identity};

impl Identity {
    /// Gives the user who is logged in by `cookie` a new password; this login stays.
    ///
    /// # Errors
    /// [`UserError::OldPassword`], [`UserError::Throttled`], [`UserError::Password`]; [`UserError::Gone`] when the login is
    /// over.
    pub async fn change_own_password(
        &self,
        cookie: &str,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
        address: IpAddr,
    ) -> Result<(), UserError> {
        let key = login::key(cookie);
        let gone = || UserError::Gone { what: "login", id: login::id_of(&key) };
        let presence = self.authenticate_login(cookie).map_err(|_| gone())?;
        let Principal::User(name) = &presence.who.principal else { return Err(gone()) };
        let user = UserName::parse(name)?;
        let secret = Zeroizing::new(old.as_bytes().to_vec());
        let who =
            self.prove_user(user.as_str(), secret, address, "http").await.map_err(|error| match error {
                LoginError::Wrong => UserError::OldPassword,
                LoginError::Throttled { wait_s } => UserError::Throttled { wait_s },
                LoginError::Busy => UserError::Busy,
                LoginError::Catalog(error) => UserError::Catalog(error),
            })?;
        if old == new {
            return Err(UserError::Password("is the one that it was".to_owned()));
        }
        let shown = Shown { version: who.password, login: key };
        let by = Actor::of(&who, Some(address));
        self.replace_password(&by, &user, NewPassword::Chosen(new), Some(shown)).await?;
        tracing::info!(%user, "a user has changed his password");
        Ok(())
    }
}
