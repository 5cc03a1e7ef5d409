//! Patterns over text: `*` is any run of characters, `?` exactly one; everything else is itself.
//!
//! A [`Template`] is a pattern as a policy writes it, with variables; a pattern proper is a `str` in which wildcards are
//! written as two bytes that no topic has, [`ANY`] and [`ONE`], so that a `*` put in by a variable or an escape is a letter.
//! Not here: what variables stand for. The laws: `+` and `#` mean nothing; a run may be empty and may hold `/`.

use std::borrow::Cow;

use super::variable::Variable;

/// Any run of characters. A NUL is in no topic, filter or client id (MQTT 5.0, section 1.5.4).
pub(crate) const ANY: &str = "\0*";
/// One character.
pub(crate) const ONE: &str = "\0?";

/// A pattern as a policy writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Letters and wildcards, in the form of a pattern.
    Pattern(String),
    /// A variable, and how it was written.
    Variable(Variable, String),
}

impl Template {
    /// Reads a pattern. With `wildcards`, `*` and `?` are such; else they are letters. A `${…}` that is no variable stays as text.
    pub(crate) fn parse(text: &str, wildcards: bool) -> Self {
        let (mut pieces, mut pattern, mut rest) = (Vec::new(), String::new(), text);
        while let Some(letter) = rest.chars().next() {
            let braced = rest.strip_prefix("${").and_then(|inner| Some((inner, inner.find('}')?)));
            if let Some((inner, end)) = braced {
                let (name, written) = (&inner[..end], &rest[..end + 3]);
                rest = &inner[end + 1..];
                match (name, Variable::parse(name)) {
                    ("*" | "?" | "$", _) => pattern.push_str(name),
                    (_, None) => pattern.push_str(written),
                    (_, Some(variable)) => {
                        if !pattern.is_empty() {
                            pieces.push(Piece::Pattern(std::mem::take(&mut pattern)));
                        }
                        pieces.push(Piece::Variable(variable, written.to_owned()));
                    }
                }
                continue;
            }
            match letter {
                '*' if wildcards => {
                    // Two in a row are one.
                    if !pattern.ends_with(ANY) {
                        pattern.push_str(ANY);
                    }
                }
                '?' if wildcards => pattern.push_str(ONE),
                letter => pattern.push(letter),
            }
            rest = &rest[letter.len_utf8()..];
        }
        if !pattern.is_empty() {
            pieces.push(Piece::Pattern(pattern));
        }
        Self(pieces)
    }

    /// The variables in it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(variable, _) => Some(variable),
            Piece::Pattern(_) => None,
        })
    }

    /// The pattern with `text` for each variable; `None` leaves it as it was written.
    pub(crate) fn filled<'a>(
        &'a self,
        mut text: impl FnMut(&Variable) -> Option<Cow<'a, str>>,
    ) -> Cow<'a, str> {
        if let [Piece::Pattern(only)] = self.0.as_slice() {
            return Cow::Borrowed(only);
        }
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Pattern(pattern) => filled.push_str(pattern),
                Piece::Variable(variable, written) => match text(variable) {
                    Some(value) => filled.push_str(&value),
                    None => filled.push_str(written),
                },
            }
        }
        Cow::Owned(filled)
    }
}

/// Whether `pattern` matches all of `text`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut reached) = (0, 0);
    // Behind the last run of any characters, and how much of the text that run has taken.
    let mut run: Option<(usize, usize)> = None;
    loop {
        if at == p.len() && reached == t.len() {
            return true;
        }
        if at < p.len() && p[at] == 0 {
            if p[at + 1] == b'*' {
                at += 2;
                if at == p.len() {
                    return true;
                }
                run = Some((at, reached));
                continue;
            }
            if reached < t.len() {
                at += 2;
                reached += width(t[reached]);
                continue;
            }
        } else if at < p.len() && reached < t.len() && p[at] == t[reached] {
            at += 1;
            reached += 1;
            continue;
        }
        // It went wrong: the last run takes one character more.
        match run {
            Some((behind, taken)) if taken < t.len() => {
                let taken = taken + width(t[taken]);
                (at, reached, run) = (behind, taken, Some((behind, taken)));
            }
            _ => return false,
        }
    }
}

/// What is left of `pattern` behind every way in which it can match `prefix`: text matches one of these exactly when
/// `prefix` and the text together match the pattern.
pub(crate) fn behind<'a>(pattern: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut ways = vec![pattern];
    for letter in prefix.chars() {
        let mut next: Vec<&str> = Vec::new();
        let mut push = |way: &'a str| {
            if !next.contains(&way) {
                next.push(way);
            }
        };
        for way in ways {
            // A run that takes the letter stays; one that is over gives way to what stands behind it.
            let mut way = way;
            while let Some(over) = way.strip_prefix(ANY) {
                push(way);
                way = over;
            }
            if let Some(rest) =
                way.strip_prefix(ONE).or_else(|| way.strip_prefix(letter).filter(|_| letter != '\0'))
            {
                push(rest);
            }
        }
        ways = next;
    }
    ways
}

/// The part in front of the first wildcard.
pub(crate) fn head(pattern: &str) -> &str {
    pattern.find('\0').map_or(pattern, |end| &pattern[..end])
}

/// Bytes of the character that starts with this one.
fn width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> String {
        Template::parse(text, true).filled(|_| None).into_owned()
    }

    #[test]
    fn plus_and_hash_are_letters_and_a_star_crosses_levels() {
        let check = |written: &str, text: &str, expect: bool| {
            assert_eq!(matches(&pattern(written), text), expect, "{written} over {text}");
        };
        check("some/+/topic", "some/+/topic", true);
        check("some/+/topic", "some/a/topic", false);
        for text in ["some/+/topic", "some/a/topic", "some/a/b/topic", "some//topic"] {
            check("some/*/topic", text, true);
        }
        check("some/*/topic", "some/topic", false);
        check("a/#", "a/b", false);
        check("a/#", "a/#", true);
        check("*", "", true);
        check("**", "anything", true);
        check("?", "", false);
        check("?", "é", true);
        check("??", "é", false);
        check("a?c*", "aéc", true);
        check("*é", "ééé", true);
        check("*ab*ab", "abab", true);
        check("*ab*ab", "ab", false);
        check("", "", true);
        check("", "a", false);
        check("A", "a", false);
        // Escapes are letters.
        check("${*}", "*", true);
        check("${*}", "a", false);
        check("${?}${$}", "?$", true);
        check("${?}", "a", false);
        // What is no variable stays as it is.
        check("x/${no:such}/*", "x/${no:such}/y", true);
        check("x/${open", "x/${open", true);
        check("$aws/things/*", "$aws/things/d1", true);
    }

    #[test]
    fn without_wildcards_a_star_is_a_letter() {
        let text = Template::parse("a*?", false);
        assert_eq!(text.filled(|_| None), "a*?");
    }

    proptest! {
        #[test]
        fn what_is_behind_a_prefix_matches_the_rest(
            written in "[ab*?/]{0,10}", prefix in "[ab/]{0,4}", rest in "[ab/é]{0,6}",
        ) {
            let pattern = pattern(&written);
            let whole = format!("{prefix}{rest}");
            let parts = behind(&pattern, &prefix).iter().any(|left| matches(left, &rest));
            prop_assert_eq!(parts, matches(&pattern, &whole), "{} over {}|{}", written, prefix, rest);
        }

        #[test]
        fn matching_is_what_its_definition_says(written in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            fn defined(pattern: &[char], text: &[char]) -> bool {
                match (pattern, text) {
                    ([], text) => text.is_empty(),
                    (['*', rest @ ..], text) => (0..=text.len()).any(|n| defined(rest, &text[n..])),
                    (['?', rest @ ..], [_, text @ ..]) => defined(rest, text),
                    ([letter, rest @ ..], [first, text @ ..]) => letter == first && defined(rest, text),
                    (_, []) => false,
                }
            }
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern(&written), &text), defined(&letters(&written), &letters(&text)));
        }
    }
}
