//! Who is at the other end of a request: the address that passwords are counted by and the audit log names, and whether
//! the wire is private.
//!
//! Behind a proxy every client has the proxy's address. The one that a proxy names in `X-Forwarded-For`, and the scheme of
//! `X-Forwarded-Proto`, are believed of proxies that the settings name (`[http] trusted_proxies`), and of nobody else:
//! whoever could write these headers himself would choose his address. Of several hops the last that is no trusted proxy
//! counts: what stands before it, the client may have written.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

/// The other end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address, where somebody knows it.
    pub(crate) address: Option<IpAddr>,
    /// It speaks TLS, with us or with a proxy that we trust.
    pub(crate) tls: bool,
}

impl Client {
    /// Finds out.
    pub(crate) fn of(trusted: &[IpAddr], headers: &HeaderMap, extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        Self::behind(trusted, headers, peer)
    }

    fn behind(trusted: &[IpAddr], headers: &HeaderMap, peer: Option<IpAddr>) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|own| own.to_canonical() == *address);
        let Some(peer) = peer.filter(is_trusted) else {
            return Self { address: peer, tls: false };
        };
        let mut address = peer;
        for hop in listed(headers, "x-forwarded-for").rev() {
            // What is no address was not written by a proxy of ours: the one before it is as far as we know.
            let Some(hop) = read(hop) else { break };
            address = hop;
            if !is_trusted(&hop) {
                break;
            }
        }
        let scheme = listed(headers, "x-forwarded-proto").next_back();
        Self {
            address: Some(address),
            tls: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        }
    }
}

/// The parts of all headers of a name, in their order.
fn listed<'a>(headers: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    let texts: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let parts: Vec<&str> = texts.into_iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    parts.into_iter()
}

/// An address, with or without a port.
fn read(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|hop| hop.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(trusted: &[&str], peer: &str, forwarded: &[(&'static str, &'static str)]) -> (String, bool) {
        let trusted: Vec<IpAddr> = trusted.iter().map(|text| address(text)).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in forwarded {
            headers.append(*name, axum::http::HeaderValue::from_static(value));
        }
        let found = Client::behind(&trusted, &headers, Some(address(peer).to_canonical()));
        (found.address.expect("known").to_string(), found.tls)
    }

    #[test]
    fn a_header_is_believed_of_a_trusted_proxy_and_of_nobody_else() {
        const FOR: &str = "x-forwarded-for";
        const PROTO: &str = "x-forwarded-proto";
        let check = |trusted: &[&str],
                     peer: &str,
                     forwarded: &[(&'static str, &'static str)],
                     expect: (&str, bool)| {
            let found = client(trusted, peer, forwarded);
            assert_eq!((found.0.as_str(), found.1), expect, "{trusted:?} {peer} {forwarded:?}");
        };
        let both = [(FOR, "192.0.2.7"), (PROTO, "https")];
        check(&[], "127.0.0.1", &both, ("127.0.0.1", false));
        check(&["127.0.0.1"], "198.51.100.1", &both, ("198.51.100.1", false));
        check(&["127.0.0.1"], "127.0.0.1", &both, ("192.0.2.7", true));
        check(&["127.0.0.1"], "::ffff:127.0.0.1", &both, ("192.0.2.7", true));
        check(&["127.0.0.1"], "127.0.0.1", &[], ("127.0.0.1", false));
        // What the client wrote stands before what the proxy added.
        check(&["127.0.0.1"], "127.0.0.1", &[(FOR, "127.0.0.1, 192.0.2.7")], ("192.0.2.7", false));
        check(&["127.0.0.1"], "127.0.0.1", &[(FOR, "10.0.0.9"), (FOR, "192.0.2.7")], ("192.0.2.7", false));
        check(&["127.0.0.1"], "127.0.0.1", &[(PROTO, "https, http")], ("127.0.0.1", false));
        // Two proxies of ours.
        let two = ["127.0.0.1", "10.0.0.2"];
        check(&two, "127.0.0.1", &[(FOR, "1.2.3.4, 192.0.2.7, 10.0.0.2")], ("192.0.2.7", false));
        check(&two, "127.0.0.1", &[(FOR, "10.0.0.2")], ("10.0.0.2", false));
        check(&two, "127.0.0.1", &[(FOR, "192.0.2.7, unknown, 10.0.0.2")], ("10.0.0.2", false));
        for (hop, expect) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            check(&["127.0.0.1"], "127.0.0.1", &[(FOR, hop)], (expect, false));
        }
    }
}
