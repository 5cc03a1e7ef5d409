//! Passwords of devices: made here, shown once, kept as salted hashes.
//!
//! A password is 26 characters of an alphabet without look-alikes, 130 bits, and nobody chooses one. Therefore the
//! hash is fast: HMAC-SHA-256 under a random salt per password. Argon2id slows down guessing of what people choose; 2^130
//! cannot be guessed at any speed, and 10,000 devices that come back within a second after an outage would cost
//! minutes of CPU. Passwords of people are Argon2id (`user/hash.rs`).
//!
//! Not here: whose password it is. The laws: comparing takes the same time wherever the difference is, and a secret
//! has no `Debug` or `Display`.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a password: 26 x 5 bits. Short enough for the 32 that some devices store.
const CHARACTERS: usize = 26;

/// Longest password that is looked at, in bytes: a longer one is wrong. It bounds the work of a refusal.
pub const PASSWORD_BYTES_MAX: usize = 256;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// A password that was just made. It cannot be had again. Wiped from memory when dropped.
pub struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn generate(random: &dyn host::Random) -> Self {
        let mut bytes = Zeroizing::new([0; CHARACTERS]);
        random.fill(&mut *bytes);
        // 256 is a multiple of 32: the low five bits of a random byte are as random.
        let characters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS));
        text.extend(characters);
        Self(text)
    }

    /// The password, to be shown to the one person who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What is kept of a secret: enough to know it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verifier {
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) hash: [u8; HASH_BYTES],
}

impl Verifier {
    pub(crate) fn of(secret: &[u8], random: &dyn host::Random) -> Self {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        Self { salt, hash: hash(&salt, secret) }
    }

    /// One that no secret has, for names that nobody has: it costs the same work to be refused by it.
    pub(crate) fn of_nobody(random: &dyn host::Random) -> Self {
        let mut nobody = Self { salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] };
        random.fill(&mut nobody.salt);
        random.fill(&mut nobody.hash);
        nobody
    }

    pub(crate) fn knows(&self, secret: &[u8]) -> bool {
        verify_slices_are_equal(&hash(&self.salt, secret), &self.hash).is_ok()
    }
}

fn hash(salt: &[u8; SALT_BYTES], secret: &[u8]) -> [u8; HASH_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    tag.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other() {
        let password = Password::generate(&host::SystemRandom);
        let verifier = Verifier::of(password.reveal().as_bytes(), &host::SystemRandom);
        assert!(verifier.knows(password.reveal().as_bytes()));
        assert!(!verifier.knows(b""));
        assert!(!verifier.knows(&password.reveal().as_bytes()[..25]));
        let again = Verifier::of(password.reveal().as_bytes(), &host::SystemRandom);
        assert!(verifier != again, "the same password under another salt looks different");
        assert!(!Verifier::of_nobody(&host::SystemRandom).knows(b""));
    }

    #[test]
    fn a_password_has_130_bits_and_is_never_printed() {
        let password = Password::generate(&host::SystemRandom);
        assert_eq!(password.reveal().len(), 26);
        assert!(password.reveal().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(password.reveal(), Password::generate(&host::SystemRandom).reveal());
        assert_eq!(format!("{password:?}"), "Password(…)");
        let distinct: std::collections::HashSet<_> = ALPHABET.iter().collect();
        assert_eq!(distinct.len(), 32, "each character is worth five bits");
    }
}
