//! Sealed values: secrets in the database that only the key ring opens.
//!
//! ```text
//! 0                68           68+n     84+n
//! | wrapped data key | ciphertext | tag   |      AES-256-GCM; associated data = table, column and row
//! ```
//!
//! Each value has a data key of its own, so the nonce is zero: a key seals one value, once. To rotate the
//! key-encryption key is to wrap the first 68 bytes anew. Not here: which values are secret; the rooms know. The law:
//! a sealed value opens only where it was put: moved to another row or column it does not.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use host::{Host, KeyError, WRAPPED_KEY_BYTES, WrappedKey};
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub const SEALED_BYTES_MORE: usize = WRAPPED_KEY_BYTES + 16;

/// Where a sealed value is: bound to it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// What identifies the row.
    pub row: &'a str,
}

impl Place<'_> {
    fn context(&self) -> Vec<u8> {
        // Lengths between the parts: `ab` + `c` is not `a` + `bc`.
        let mut context = Vec::with_capacity(64);
        for part in [self.table, self.column, self.row] {
            context.extend((part.len() as u64).to_be_bytes());
            context.extend(part.as_bytes());
        }
        context
    }
}

/// Seals `value` for its place: [`SEALED_BYTES_MORE`] bytes longer than it.
#[must_use]
pub fn seal(host: &Host, place: Place<'_>, value: &[u8]) -> Vec<u8> {
    let context = place.context();
    let (key, wrapped) = host.keys.new_data_key(&context, &*host.random);
    let mut sealed = Vec::with_capacity(value.len() + SEALED_BYTES_MORE);
    sealed.extend(wrapped);
    sealed.extend(value);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are an AES-256 key"));
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(&context),
            &mut sealed[WRAPPED_KEY_BYTES..],
        )
        .expect("a value is far below the cipher's bound");
    sealed.extend(tag.as_ref());
    sealed
}

/// Opens what was sealed for this place. The value is wiped from memory when dropped.
///
/// # Errors
/// [`KeyError::OtherKey`] when another key-encryption key sealed it; [`KeyError::Damaged`] when it was changed or
/// belongs to another place.
pub fn unseal(host: &Host, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let context = place.context();
    let (wrapped, rest) = sealed.split_at_checked(WRAPPED_KEY_BYTES).ok_or(KeyError::Damaged)?;
    let wrapped: &WrappedKey = wrapped.try_into().expect("as long as it was split");
    let key = host.keys.unwrap(wrapped, &context)?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are an AES-256 key"));
    let mut value = Zeroizing::new(rest.to_vec());
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let opened =
        key.open_in_place(nonce, Aad::from(&context), &mut value).map_err(|_| KeyError::Damaged)?.len();
    value.truncate(opened);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use host::sim::Machine;

    use super::*;

    const PLACE: Place<'_> = Place { table: "authorities", column: "sealed_key", row: "root" };

    #[test]
    fn a_sealed_value_opens_only_where_it_was_put_and_as_it_was() {
        let host = Machine::new(1).host();
        let sealed = seal(&host, PLACE, b"a private key");
        assert_eq!(sealed.len(), 13 + SEALED_BYTES_MORE);
        assert!(!sealed.windows(9).any(|part| part == b"a private"), "nothing of it is readable");
        assert_eq!(unseal(&host, PLACE, &sealed).expect("opens").as_slice(), b"a private key");

        let elsewhere = Place { row: "issuing", ..PLACE };
        assert!(matches!(unseal(&host, elsewhere, &sealed), Err(KeyError::Damaged)));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(unseal(&host, PLACE, &changed).is_err(), "byte {at} was changed");
            assert!(unseal(&host, PLACE, &sealed[..at]).is_err(), "cut to {at} bytes");
        }
    }

    #[test]
    fn two_seals_of_one_value_differ() {
        let host = Machine::new(1).host();
        assert_ne!(seal(&host, PLACE, b"same"), seal(&host, PLACE, b"same"));
    }
}
