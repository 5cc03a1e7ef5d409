//! The cookie of a login (RFC 6265), and when a password may cross the wire.
//!
//! Over TLS it is `__Host-godwit`: browsers take it from this host alone and send it over TLS alone. Over plain HTTP,
//! which is for this machine, it is `godwit`. Both are `HttpOnly` (no script reads it) and `SameSite=Strict` (no other
//! site's page sends it). Not here: what it is worth (`identity`).

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use identity::{LOGIN_MAX, LoginSecret};
use model::Kind;

use crate::problem::Problem;

const PLAIN: &str = "godwit";
const SECURE: &str = "__Host-godwit";

/// The header that comes beside the cookie with every change.
pub(crate) const CSRF_HEADER: &str = "x-godwit-csrf";

/// How the API is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire {
    /// It speaks TLS, with us or with a proxy that we trust.
    pub(crate) tls: bool,
    /// Somebody else keeps the wire private.
    pub(crate) allow_plain: bool,
}

impl Wire {
    /// Lets a password through when nobody between can read it: over TLS, or on this machine.
    ///
    /// # Errors
    /// 403 `api.plain`.
    pub(crate) fn private(self, peer: Option<IpAddr>) -> Result<(), Problem> {
        let is_here = peer.is_none_or(|peer| peer.to_canonical().is_loopback());
        if self.tls || self.allow_plain || is_here {
            return Ok(());
        }
        let detail = "no password is taken over plain HTTP from another machine";
        Err(Problem::new(Kind::Forbidden, "api.plain", detail).hint(Some(
            "come by `ssh -L`, or through a proxy that speaks TLS and is named in `[http] trusted_proxies`",
        )))
    }

    fn name(self) -> &'static str {
        if self.tls { SECURE } else { PLAIN }
    }

    /// Gives it to a browser.
    pub(crate) fn set(self, cookie: &LoginSecret) -> HeaderValue {
        self.value(cookie.reveal(), LOGIN_MAX.as_secs())
    }

    /// Takes it away.
    pub(crate) fn clear(self) -> HeaderValue {
        self.value("", 0)
    }

    fn value(self, value: &str, max_age_s: u64) -> HeaderValue {
        let secure = if self.tls { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}",
            self.name()
        );
        let mut value = HeaderValue::try_from(text).expect("hexadecimal digits are a header's value");
        value.set_sensitive(true);
        value
    }

    /// The cookie that a browser sent.
    pub(crate) fn sent(self, headers: &HeaderMap) -> Option<&str> {
        let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name()).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TLS: Wire = Wire { tls: true, allow_plain: false };
    const BARE: Wire = Wire { tls: false, allow_plain: false };

    #[test]
    fn the_cookie_is_found_among_others_and_by_its_own_name_alone() {
        let sent = |wire: Wire, text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_static(text));
            wire.sent(&headers).map(str::to_owned)
        };
        assert_eq!(sent(BARE, "a=b; godwit=0123; c"), Some("0123".to_owned()));
        assert_eq!(sent(TLS, "godwit=0123; __Host-godwit=4567"), Some("4567".to_owned()));
        assert_eq!(sent(TLS, "godwit=0123"), None, "a plain one is not taken over TLS");
        assert_eq!(sent(BARE, "xgodwit=0123"), None);
        let cleared = BARE.clear();
        assert_eq!(cleared.to_str().expect("ASCII"), "godwit=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
        assert!(TLS.clear().to_str().expect("ASCII").ends_with("; Secure"));
    }

    #[test]
    fn no_password_crosses_a_wire_in_the_clear() {
        let far = "192.0.2.1".parse().ok();
        assert!(BARE.private(far).is_err());
        assert!(BARE.private("::ffff:127.0.0.1".parse().ok()).is_ok());
        assert!(TLS.private(far).is_ok());
        assert!(Wire { allow_plain: true, ..BARE }.private(far).is_ok());
    }
}
