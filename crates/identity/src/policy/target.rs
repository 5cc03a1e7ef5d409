//! What a policy is attached to.

use std::fmt;
use std::str::FromStr;

use model::{DeviceName, GroupPath};

use super::variable::hex;

/// What a policy is attached to. Written `device:NAME`, `group:PATH`, `certificate:HEX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A device.
    Device(DeviceName),
    /// A group, and all groups below it.
    Group(GroupPath),
    /// A certificate, by the SHA-256 of its DER form.
    Certificate([u8; 32]),
}

/// Why a text names nothing that a policy may be attached to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no target: write `device:NAME`, `group:PATH` or `certificate:` and 64 hexadecimal digits"
)]
pub struct TargetError(String);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "device:{name}"),
            Self::Group(path) => write!(f, "group:{path}"),
            Self::Certificate(id) => write!(f, "certificate:{}", hex(id)),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError(text.chars().take(200).collect());
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "device" => DeviceName::parse(name).map(Self::Device).map_err(|_| wrong()),
            "group" => GroupPath::parse(name).map(Self::Group).map_err(|_| wrong()),
            "certificate" => unhex(name).map(Self::Certificate).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_it_is_written() {
        let hex = "0f".repeat(32);
        for text in ["device:pump-1", "group:hq/floor-17", "group:hq", &format!("certificate:{hex}")] {
            assert_eq!(text.parse::<Target>().expect("a target").to_string(), text);
        }
        for wrong in
            ["", "pump-1", "device:a/b", "group:", "group:a//b", "group:/a", "certificate:0f", "user:a"]
        {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
