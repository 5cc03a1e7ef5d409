//! A range of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::net::IpAddr;

/// A range of addresses (RFC 4632, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    first: IpAddr,
    bits: u32,
}

impl Range {
    /// Reads a range; bits behind the prefix may be set, as people write them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first, bits })
    }

    /// Whether `address` is in it. An IPv4 address in IPv6's clothes is an IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                same(u128::from(first.to_bits()), u128::from(address.to_bits()), 32 - self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                same(first.to_bits(), address.to_bits(), 128 - self.bits)
            }
            _ => false,
        }
    }
}

fn same(first: u128, address: u128, free_bits: u32) -> bool {
    (first ^ address).checked_shr(free_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_range_by_its_first_bits() {
        let check = |range: &str, address: &str, expect: bool| {
            let range = Range::parse(range).expect("a range");
            assert_eq!(range.contains(address.parse().expect("an address")), expect, "{address}");
        };
        check("192.0.2.0/24", "192.0.2.255", true);
        check("192.0.2.0/24", "192.0.3.0", false);
        check("192.0.2.7", "192.0.2.7", true);
        check("192.0.2.7", "192.0.2.8", false);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("192.0.2.0/24", "::ffff:192.0.2.9", true);
        for wrong in ["", "192.0.2.0/33", "::/129", "192.0.2", "a/8", "192.0.2.0/-1"] {
            assert!(Range::parse(wrong).is_none(), "{wrong}");
        }
    }
}
