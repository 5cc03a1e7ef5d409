//! What is kept of a password for SCRAM-SHA-256 (RFC 5802, RFC 7677), by which SQL clients log in.
//!
//! Not here: the exchange of messages (the door's). The laws: what is kept knows the password again and cannot log in
//! with it; a name that nobody has gets an answer that looks like any other, the same one each time.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};

/// How often the client's key is derived: what RFC 7677 asks for at least, and PostgreSQL uses. Our secrets are
/// random, and nobody guesses 130 bits at any speed; it bounds what a login costs the client, about 2 ms.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).expect("not zero");

/// The same for passwords that people choose, so that trying many of them is dear. It costs the client about 0.1 s a
/// login, and guessing at what is kept needs the key ring first: it is sealed.
const ITERATIONS_CHOSEN: NonZeroU32 = NonZeroU32::new(200_000).expect("not zero");

const SALT_BYTES: usize = 16;

/// Enough to know a password again, not enough to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Random bytes, told to whoever asks.
    pub salt: [u8; SALT_BYTES],
    /// How often the client's key is derived.
    pub iterations: u32,
    /// `H(HMAC(SaltedPassword, "Client Key"))`.
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; 32],
    /// Whether somebody has the name that was asked for. For logs, not for answers.
    pub is_known: bool,
}

impl ScramVerifier {
    /// Of a secret that was made here: it is ASCII, for which SASLprep (RFC 4013) changes nothing.
    pub(crate) fn of(secret: &[u8], random: &dyn host::Random) -> Self {
        Self::derived(secret, ITERATIONS, random)
    }

    /// Of a password that somebody chose, as its UTF-8. Takes about 0.1 s.
    ///
    /// SASLprep would also normalise; what keyboards give is normalised already, but for rare characters.
    pub(crate) fn of_chosen(password: &[u8], random: &dyn host::Random) -> Self {
        Self::derived(password, ITERATIONS_CHOSEN, random)
    }

    fn derived(secret: &[u8], iterations: NonZeroU32, random: &dyn host::Random) -> Self {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, secret, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        Self {
            salt,
            iterations: iterations.get(),
            stored_key: stored_key.as_ref().try_into().expect("SHA-256 gives 32 bytes"),
            server_key: mac(&salted, b"Server Key"),
            is_known: true,
        }
    }

    /// Of a name that nobody has: nothing is its password. `secret` is of this process, so that the answer is the same
    /// as long as a real one would be, and nobody can tell it from a real one.
    pub(crate) fn of_nobody(name: &str, secret: &[u8; 32]) -> Self {
        let of = |what: &[u8]| {
            let said = [what, b"\0", name.as_bytes()].concat();
            mac(secret, &said)
        };
        let salt = of(b"salt");
        // As a name of its kind would be: `local` and `user:token` have made secrets, people chosen ones.
        let is_made = name == crate::LOCAL_USER || name.contains(':');
        let iterations = if is_made { ITERATIONS } else { ITERATIONS_CHOSEN };
        Self {
            salt: salt[..SALT_BYTES].try_into().expect("16 of 32 bytes"),
            iterations: iterations.get(),
            stored_key: of(b"stored key"),
            server_key: of(b"server key"),
            is_known: false,
        }
    }
}

fn mac(key: &[u8], said: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said);
    tag.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Salt([u8; SALT_BYTES]);

    impl host::Random for Salt {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0);
        }
    }

    /// RFC 7677, section 3: password `pencil`, salt `W22ZaJ0SNY7soEsUEjb6gQ==`, and the proof and signature there.
    #[test]
    fn the_keys_are_those_of_the_standard_s_example() {
        let salt =
            [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
        let verifier = ScramVerifier::of(b"pencil", &Salt(salt));
        let said = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        // v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=
        let signature = mac(&verifier.server_key, said.as_bytes());
        assert_eq!(signature[..6], [0xea, 0xba, 0xe2, 0x4d, 0x10, 0x62]);
        assert_eq!(signature[28..], [0x39, 0x7d, 0xe4, 0x6e]);
    }

    #[test]
    fn a_name_that_nobody_has_gets_the_same_answer_each_time() {
        let (one, other) = ([1; 32], [2; 32]);
        let salt = |name: &str, secret: &[u8; 32]| ScramVerifier::of_nobody(name, secret).salt;
        assert_eq!(salt("eve", &one), salt("eve", &one));
        assert_ne!(salt("eve", &one), salt("adam", &one));
        assert_ne!(salt("eve", &one), salt("eve", &other));
        let nobody = ScramVerifier::of_nobody("eve", &one);
        let somebody = ScramVerifier::of_chosen(b"secret", &Salt([3; SALT_BYTES]));
        assert_eq!(nobody.iterations, somebody.iterations);
        let token = ScramVerifier::of(b"secret", &Salt([3; SALT_BYTES]));
        assert_eq!(ScramVerifier::of_nobody("eve:grafana", &one).iterations, token.iterations);
        assert!(somebody.is_known && !nobody.is_known);
    }
}
