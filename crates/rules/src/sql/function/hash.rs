//! The hashes, of text as UTF-8, in lower-case hex.
//!
//! Not here: anything secret. MD2 (RFC 1319) is here because AWS lists it and no crate that is kept has it. None of these keeps
//! a message from being forged.

use std::borrow::Cow;
use std::fmt::Write;

use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::sql::node::Scope;
use crate::sql::value::Value;

macro_rules! hashes {
    ($($name:ident: $of:expr),* $(,)?) => {$(
        pub(crate) fn $name(arguments: &[Cow<'_, Value>], _: &Scope<'_>) -> Value {
            let of: fn(&[u8]) -> String = $of;
            arguments[0].text().map_or(Value::Undefined, |text| Value::Text(of(text.as_bytes())))
        }
    )*};
}

hashes! {
    md2: |bytes| hex(&md2_digest(bytes)),
    md5: |bytes| hex(&Md5::digest(bytes)),
    sha1: |bytes| hex(&Sha1::digest(bytes)),
    sha224: |bytes| hex(&Sha224::digest(bytes)),
    sha256: |bytes| hex(&Sha256::digest(bytes)),
    sha384: |bytes| hex(&Sha384::digest(bytes)),
    sha512: |bytes| hex(&Sha512::digest(bytes)),
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("text grows");
    }
    text
}

/// RFC 1319.
fn md2_digest(bytes: &[u8]) -> [u8; 16] {
    let padding = 16 - bytes.len() % 16;
    let mut blocks = bytes.to_vec();
    // At most 16.
    blocks.resize(bytes.len() + padding, padding as u8);
    let (mut checksum, mut last) = ([0_u8; 16], 0_u8);
    for block in blocks.chunks(16) {
        for (byte, sum) in block.iter().zip(&mut checksum) {
            *sum ^= PI[usize::from(byte ^ last)];
            last = *sum;
        }
    }
    blocks.extend(checksum);
    let mut state = [0_u8; 48];
    for block in blocks.chunks(16) {
        for (at, byte) in block.iter().enumerate() {
            state[16 + at] = *byte;
            state[32 + at] = byte ^ state[at];
        }
        let mut carry = 0_u8;
        for round in 0..18 {
            for byte in &mut state {
                *byte ^= PI[usize::from(carry)];
                carry = *byte;
            }
            carry = carry.wrapping_add(round);
        }
    }
    state[..16].try_into().expect("sixteen bytes")
}

/// The digits of pi as RFC 1319 shuffles the numbers below 256 with them.
#[rustfmt::skip]
const PI: [u8; 256] = [
    41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19,
    98, 167, 5, 243, 192, 199, 115, 140, 152, 147, 43, 217, 188, 76, 130, 202,
    30, 155, 87, 60, 253, 212, 224, 22, 103, 66, 111, 24, 138, 23, 229, 18,
    190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142, 187, 47, 238, 122,
    169, 104, 121, 145, 21, 178, 7, 63, 148, 194, 16, 137, 11, 34, 95, 33,
    128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3,
    255, 25, 48, 179, 72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198,
    79, 184, 56, 210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4, 241,
    69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101, 230, 45, 168, 2,
    27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15,
    85, 71, 163, 35, 221, 81, 175, 58, 195, 92, 249, 206, 186, 197, 234, 38,
    44, 83, 13, 110, 133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82,
    106, 220, 55, 200, 108, 193, 171, 250, 36, 225, 123, 8, 12, 189, 177, 74,
    120, 136, 149, 139, 227, 99, 232, 109, 233, 203, 213, 254, 59, 0, 29, 57,
    242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
    49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md2_gives_what_rfc_1319_says() {
        let check =
            |text: &str, expect: &str| assert_eq!(hex(&md2_digest(text.as_bytes())), expect, "{text}");
        check("", "8350e5a3e24c153df2275c9f80692773");
        check("a", "32ec01ec4a6dac72c0ab96fb34c0b5d1");
        check("abc", "da853b0d3f88d99b30283a69e6ded6bb");
        check("message digest", "ab4f496bfb2a530b219ff33031fe06b0");
    }
}
