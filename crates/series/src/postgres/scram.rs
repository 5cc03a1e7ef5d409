//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side of one exchange.
//!
//! ```text
//! client-first   n,,n=,r=NONCE                     (the name in it is ignored: the startup message has it)
//! server-first   r=NONCE+OURS,s=SALT,i=ITERATIONS
//! client-final   c=BASE64(gs2),r=NONCE+OURS,p=PROOF
//! server-final   v=SIGNATURE
//! ```
//!
//! Not here: where verifiers come from, and channel binding (SCRAM-SHA-256-PLUS), which is not offered. The laws: the
//! password is never seen, by us neither; what a wrong name gets looks like what a wrong password gets.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

/// Longest nonce of a client in bytes. Clients send 24 to 40.
const NONCE_BYTES_MAX: usize = 256;

/// Random bytes of our part of the nonce.
const OURS_BYTES: usize = 18;

/// What is kept of a password: enough to know it again, not enough to log in with.
#[derive(Clone)]
pub struct ScramVerifier {
    /// Random bytes, told to the client.
    pub salt: Vec<u8>,
    /// How often the client's key is derived.
    pub iterations: u32,
    /// `H(HMAC(SaltedPassword, "Client Key"))`.
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; 32],
    /// Whether anybody has this name: for the log alone. Of a name that nobody has the keys are random, and the salt
    /// is the same each time it is asked for.
    pub is_known: bool,
    /// Which of the secrets that this name has had: handed back with every question of who it proved.
    pub secret: u64,
}

/// Why an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    /// Not what RFC 5802 says.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The proof is not the password's.
    #[error("wrong password")]
    Wrong,
}

/// An exchange after the client's first message.
pub(crate) struct Exchange {
    verifier: ScramVerifier,
    gs2: String,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

impl Exchange {
    /// Reads client-first and makes server-first.
    pub(crate) fn start(
        client_first: &[u8],
        verifier: ScramVerifier,
        random: &dyn host::Random,
    ) -> Result<(Self, String), ScramError> {
        let text = text(client_first)?;
        // gs2-header: `n,,` or `y,,` (the client could bind to a channel and believes that we cannot), no authzid.
        let (gs2, bare) = ["n,,", "y,,"]
            .iter()
            .find_map(|gs2| Some((*gs2, text.strip_prefix(gs2)?)))
            .ok_or(ScramError::Malformed("channel binding is not offered"))?;
        let mut parts = bare.split(',');
        let name = parts.next().unwrap_or_default();
        if !name.starts_with("n=") {
            return Err(ScramError::Malformed("the first attribute must be the name"));
        }
        let theirs = parts.next().and_then(|part| part.strip_prefix("r="));
        let theirs = theirs.ok_or(ScramError::Malformed("the second attribute must be the nonce"))?;
        if theirs.is_empty() || theirs.len() > NONCE_BYTES_MAX {
            return Err(ScramError::Malformed("the nonce must have 1 to 256 bytes"));
        }
        let mut ours = [0; OURS_BYTES];
        random.fill(&mut ours);
        let nonce = format!("{theirs}{}", base64(&ours));
        let server_first = format!("r={nonce},s={},i={}", base64(&verifier.salt), verifier.iterations);
        let exchange = Self {
            verifier,
            gs2: gs2.to_owned(),
            nonce,
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
        };
        Ok((exchange, server_first))
    }

    /// Reads client-final, judges the proof and makes server-final.
    pub(crate) fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = text(client_final)?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or(ScramError::Malformed("there is no proof"))?;
        let mut parts = without_proof.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c="));
        if binding != Some(base64(self.gs2.as_bytes()).as_str()) {
            return Err(ScramError::Malformed("channel binding changed on the way"));
        }
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        if nonce != Some(self.nonce.as_str()) {
            return Err(ScramError::Malformed("the nonce is another one"));
        }
        let proof = from_base64(proof).ok_or(ScramError::Malformed("the proof is no base 64"))?;
        let said = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = mac(&self.verifier.stored_key, said.as_bytes());
        if proof.len() != signature.len() {
            return Err(ScramError::Wrong);
        }
        // ClientKey = ClientProof XOR ClientSignature; its hash must be StoredKey.
        let key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let hash = digest::digest(&digest::SHA256, &key);
        verify_slices_are_equal(hash.as_ref(), &self.verifier.stored_key).map_err(|_| ScramError::Wrong)?;
        Ok(format!("v={}", base64(&mac(&self.verifier.server_key, said.as_bytes()))))
    }
}

fn text(bytes: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(bytes).map_err(|_| ScramError::Malformed("it is no text"))
}

fn mac(key: &[u8], said: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said);
    tag.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 of RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - three.len()));
        for place in 0..4 {
            if place <= three.len() {
                text.push(char::from(ALPHABET[(number >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes, if it is base 64 as [`base64`] writes it.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let four = text.as_bytes().chunks(4);
    for four in four {
        let padding = four.iter().rev().take_while(|byte| **byte == b'=').count();
        let mut number = 0_u32;
        for byte in &four[..four.len() - padding] {
            let value = ALPHABET.iter().position(|letter| letter == byte)?;
            number = number << 6 | u32::try_from(value).ok()?;
        }
        let number = (number << (6 * padding)).to_be_bytes();
        bytes.extend_from_slice(number[1..].get(..3_usize.checked_sub(padding)?)?);
    }
    // One way to write it: no bits are left over, nothing stands behind the padding.
    (base64(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static [u8]);

    impl host::Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0[..bytes.len()]);
        }
    }

    /// The example of RFC 7677, section 3: user `user`, password `pencil`.
    fn pencil() -> ScramVerifier {
        let salt = from_base64("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base 64");
        let mut salted = [0; 32];
        aws_lc_rs::pbkdf2::derive(
            aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
            4096.try_into().expect("not zero"),
            &salt,
            b"pencil",
            &mut salted,
        );
        let stored_key = digest::digest(&digest::SHA256, &mac(&salted, b"Client Key"));
        ScramVerifier {
            salt,
            iterations: 4096,
            stored_key: stored_key.as_ref().try_into().expect("32 bytes"),
            server_key: mac(&salted, b"Server Key"),
            is_known: true,
            secret: 1,
        }
    }

    fn exchange(first: &str) -> Result<(Exchange, String), ScramError> {
        // `%hvYDpWUa2RaTCAfuxFIlj)hNlF` is no base 64, so the RFC's own nonce cannot be ours: the client says all of it.
        Exchange::start(first.as_bytes(), pencil(), &Fixed(&[7; OURS_BYTES]))
    }

    #[test]
    fn the_example_of_the_standard_is_accepted_and_any_other_proof_is_not() {
        let client = "n=user,r=rOprNGfwEbeRWgbNEkqO";
        let (exchange, first) = exchange(&format!("n,,{client}")).expect("an exchange");
        let ours = base64(&[7; OURS_BYTES]);
        assert_eq!(first, format!("r=rOprNGfwEbeRWgbNEkqO{ours},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        // What a client that knows `pencil` answers.
        let without = format!("c=biws,r=rOprNGfwEbeRWgbNEkqO{ours}");
        let said = format!("{client},{first},{without}");
        let mut salted = [0; 32];
        let salt = pencil().salt;
        let rounds = 4096.try_into().expect("not zero");
        aws_lc_rs::pbkdf2::derive(
            aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            &salt,
            b"pencil",
            &mut salted,
        );
        let key = mac(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &key);
        let signature = mac(stored.as_ref(), said.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server = base64(&mac(&mac(&salted, b"Server Key"), said.as_bytes()));
        let answer = format!("{without},p={}", base64(&proof));
        assert_eq!(exchange.finish(answer.as_bytes()), Ok(format!("v={server}")));
        for place in [0, 31] {
            let mut wrong = proof.clone();
            wrong[place] ^= 1;
            let (exchange, _) = self::exchange(&format!("n,,{client}")).expect("an exchange");
            let answer = format!("{without},p={}", base64(&wrong));
            assert_eq!(exchange.finish(answer.as_bytes()), Err(ScramError::Wrong));
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for first in ["", "p=tls-unique,,n=u,r=x", "n,a=admin,n=u,r=x", "n,,r=x,n=u", "n,,n=u,r=", "n,,n=u"] {
            assert!(matches!(exchange(first), Err(ScramError::Malformed(_))), "{first}");
        }
        let ours = base64(&[7; OURS_BYTES]);
        for last in [
            "c=biws,r=x,p=AAAA".to_owned(),
            format!("c=eSws,r=x{ours},p=AAAA"),
            format!("c=biws,r=x{ours}"),
            format!("c=biws,r=x{ours},p=A=AA"),
        ] {
            let (exchange, _) = exchange("n,,n=u,r=x").expect("an exchange");
            assert!(matches!(exchange.finish(last.as_bytes()), Err(ScramError::Malformed(_))), "{last}");
        }
    }

    #[test]
    fn base_64_is_read_as_it_is_written() {
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"foob", &[255; 7]] {
            assert_eq!(from_base64(&base64(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(base64(b"foob"), "Zm9vYg==");
        for text in ["Zm9vYg", "Zm9vYh==", "Z===", "====", "Zm 9"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}
