//! The token of this start: whoever can read `server.json` is the user `local`.
//!
//! Not here: the file (`godwit` writes it, mode 0600). The law: a token lives as long as the process; only its hash
//! is kept for comparing.

use std::fmt;

use zeroize::Zeroizing;

/// A secret made at start: 32 random bytes as 64 hexadecimal digits. Wiped from memory when dropped.
#[derive(Clone)]
pub struct LocalToken(Zeroizing<String>);

impl LocalToken {
    /// Makes a new one.
    #[must_use]
    pub fn generate(random: &dyn host::Random) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut *bytes);
        let mut digits = Zeroizing::new(String::with_capacity(64));
        for byte in &*bytes {
            for half in [byte >> 4, byte & 15] {
                digits.push(char::from_digit(half.into(), 16).expect("four bits are a digit"));
            }
        }
        Self(digits)
    }

    /// The token, for `server.json` and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LocalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalToken(…)")
    }
}
