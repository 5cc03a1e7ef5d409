//! The recovery code: a master key that a person writes down.
//!
//! 26 characters in groups, 130 bits of an alphabet without look-alikes; capitals, spaces and hyphens do not matter, and
//! what looks alike is taken for what was meant (Crockford's base 32). Nobody chooses it, so one hash is enough to
//! make it a key. Not here: what it opens. The law: it is shown once and kept nowhere.

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::{DataKey, HeldKey};
use crate::Random;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CHARACTERS: usize = 26;
/// Characters between two hyphens; the last group is shorter.
const GROUP: usize = 5;

/// A recovery code. Wiped from memory when dropped.
pub struct RecoveryCode(Zeroizing<String>);

impl RecoveryCode {
    /// Makes a new one.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; CHARACTERS]);
        random.fill(&mut *bytes);
        // 256 is a multiple of 32: the low five bits of a random byte are as random.
        let characters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS));
        text.extend(characters);
        Self(text)
    }

    /// What somebody typed; `None` when it cannot be a code.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS));
        for character in
            typed.chars().filter(|character| !matches!(character, '-' | ' ' | '\n' | '\r' | '\t'))
        {
            let meant = match character.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            };
            if text.len() == CHARACTERS || !meant.is_ascii() || !ALPHABET.contains(&(meant as u8)) {
                return None;
            }
            text.push(meant);
        }
        (text.len() == CHARACTERS).then_some(Self(text))
    }

    /// The code in groups, to be shown to the one person who asked for it.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut shown = Zeroizing::new(String::with_capacity(CHARACTERS + CHARACTERS / GROUP));
        for (at, character) in self.0.chars().enumerate() {
            if at > 0 && at.is_multiple_of(GROUP) {
                shown.push('-');
            }
            shown.push(character);
        }
        shown
    }

    /// The master key that it stands for.
    pub(super) fn key(&self) -> HeldKey {
        let mut context = Context::new(&SHA256);
        context.update(b"godwit recovery code 1\0");
        context.update(self.0.as_bytes());
        let mut key = DataKey::new([0; 32]);
        key.copy_from_slice(context.finish().as_ref());
        HeldKey::new(key)
    }
}

impl std::fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MasterKey, SystemRandom};

    #[test]
    fn a_code_is_read_as_a_person_writes_it() {
        let code = RecoveryCode::generate(&SystemRandom);
        let shown = code.reveal();
        assert_eq!(shown.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 1]);
        let id = code.key().id();
        for typed in [shown.to_string(), shown.to_uppercase(), shown.replace('-', " ") + "\n"] {
            assert_eq!(RecoveryCode::parse(&typed).expect("a code").key().id(), id, "{typed}");
        }
        let alike = shown.replace('0', "O").replace('1', "l");
        assert_eq!(RecoveryCode::parse(&alike).expect("a code").key().id(), id);
        for wrong in ["", "abc", &shown[1..], &format!("{}0", &*shown), &shown.replace('-', "é")] {
            assert!(RecoveryCode::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{code:?}"), "RecoveryCode(…)");
    }
}
