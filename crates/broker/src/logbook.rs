//! Refusals in the log: each says what to do, and none floods it.
//!
//! A device with a wrong password tries again every second for months. The law: every refusal is counted
//! (elsewhere); of the same address, client and reason, one line a minute is written, with the number of those that
//! were left out.

use std::net::IpAddr;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// How long after a line the next one of its kind is left out.
const QUIET_MICROS: u64 = 60 * 1_000_000;

/// Kinds of lines remembered. When more come in a minute, an attack or an outage is under way, and the oldest memory
/// matters least: all are forgotten.
const KINDS_MAX: usize = 4_096;

/// Longest client id or topic in a line, in characters.
const SHOWN_CHARS: usize = 64;

/// Longest explanation in a line, in characters.
const EXPLAINED_CHARS: usize = 256;

/// What was written lately.
#[derive(Default)]
pub(crate) struct Logbook(Mutex<HashMap<Kind, Line>>);

/// Address, hash of the client id, reason.
type Kind = (IpAddr, u64, &'static str);

/// When one of its kind was written, and how many were left out since.
type Line = (u64, u64);

impl Logbook {
    /// Whether to write a line now, and how many of its kind were left out since the last.
    pub(crate) fn may_write(
        &self,
        peer: IpAddr,
        client_id: &str,
        kind: &'static str,
        now_mono: u64,
    ) -> Option<u64> {
        let client = client_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut lines = self.0.lock();
        if lines.len() >= KINDS_MAX {
            lines.clear();
        }
        match lines.entry((peer, client, kind)) {
            hashbrown::hash_map::Entry::Vacant(vacant) => {
                vacant.insert((now_mono, 0));
                Some(0)
            }
            hashbrown::hash_map::Entry::Occupied(mut line) => {
                let (written, left_out) = line.get_mut();
                if now_mono.saturating_sub(*written) < QUIET_MICROS {
                    *left_out += 1;
                    return None;
                }
                *written = now_mono;
                Some(std::mem::take(left_out))
            }
        }
    }
}

/// A text from outside as it may stand in a log: escaped and cut.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
}

/// Why something failed, in our words and those of a library, as it may stand in a log: longer, and with its own quotation
/// marks.
pub(crate) fn explained(text: &str) -> String {
    let mut explained = String::new();
    for c in text.chars().take(EXPLAINED_CHARS) {
        match c {
            '\'' | '"' => explained.push(c),
            c => explained.extend(c.escape_debug()),
        }
    }
    explained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_whole_and_one_line() {
        let text = "the client's certificate is not right: invalid peer certificate: BadEncoding, \"so\"";
        assert_eq!(explained(text), text);
        assert_eq!(explained("a\nb\u{1b}[0m"), "a\\nb\\u{1b}[0m");
        assert_eq!(explained(&"x".repeat(1_000)).len(), EXPLAINED_CHARS);
    }

    #[test]
    fn a_device_that_tries_all_day_is_one_line_a_minute() {
        let logbook = Logbook::default();
        let peer = [192, 168, 1, 40].into();
        assert_eq!(logbook.may_write(peer, "a", "password", 0), Some(0));
        for second in 1..60 {
            assert_eq!(logbook.may_write(peer, "a", "password", second * 1_000_000), None);
        }
        assert_eq!(logbook.may_write(peer, "a", "password", 60_000_000), Some(59));
        assert_eq!(logbook.may_write(peer, "b", "password", 60_000_000), Some(0), "another client");
        assert_eq!(logbook.may_write(peer, "a", "topic", 60_000_000), Some(0), "another reason");
        for n in 0..2 * KINDS_MAX {
            logbook.may_write(peer, &n.to_string(), "password", 0);
        }
        assert!(logbook.0.lock().len() <= KINDS_MAX);
    }

    #[test]
    fn a_text_from_outside_cannot_break_the_line() {
        assert_eq!(shown("a\nb\u{1b}[31m\"c"), "a\\nb\\u{1b}[31m\\\"c");
        assert_eq!(shown(&"x".repeat(1_000)).len(), 64);
    }
}
