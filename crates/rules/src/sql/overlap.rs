//! Whether a template can come to a topic that a filter matches.
//!
//! ```text
//! filter    dt/+/climate      + any characters but `/`    # any characters
//! template  dt/${device}/x    ${…} any characters
//! ```
//!
//! Not here: templates and filters. The law: it never says no when a message could come back; it may say yes of one that never does.

use model::TopicFilter;

/// Most bytes of the written parts of a topic that are looked at; longer ones are taken to match.
const WRITTEN_BYTES_MAX: usize = 1_024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    /// Any bytes but `/`.
    Level,
    /// Any bytes.
    Any,
}

/// Whether the texts that `parts` can come to (`None` is any text) have one in common with those that `filter` matches.
pub(super) fn may_match<'t>(filter: &TopicFilter, parts: impl Iterator<Item = Option<&'t str>>) -> bool {
    let mut template = Vec::new();
    for part in parts {
        match part {
            Some(text) => template.extend(text.bytes().map(Piece::Byte)),
            None => template.push(Piece::Any),
        }
    }
    // `$$aws/…` is `$aws/…`.
    if template.starts_with(&[Piece::Byte(b'$'), Piece::Byte(b'$')]) {
        template.remove(0);
    }
    if template.len() > WRITTEN_BYTES_MAX || filter.len() > WRITTEN_BYTES_MAX {
        return true;
    }
    if template.first() == Some(&Piece::Byte(b'$')) && filter.starts_with(['+', '#']) {
        return false;
    }
    let pieces = |text: &str| -> Vec<Piece> {
        let piece = |byte| match byte {
            b'+' => Piece::Level,
            b'#' => Piece::Any,
            other => Piece::Byte(other),
        };
        text.bytes().map(piece).collect()
    };
    // `a/#` matches `a` too.
    let parent = filter.strip_suffix("/#").is_some_and(|parent| meet(&pieces(parent), &template));
    parent || meet(&pieces(filter), &template)
}

/// Whether both can come to one text: a walk over the places that they can be at together.
fn meet(a: &[Piece], b: &[Piece]) -> bool {
    let width = b.len() + 1;
    let mut seen = vec![false; (a.len() + 1) * width];
    let mut waiting = vec![(0, 0)];
    while let Some((i, j)) = waiting.pop() {
        if std::mem::replace(&mut seen[i * width + j], true) {
            continue;
        }
        let (left, right) = (a.get(i).copied(), b.get(j).copied());
        if left.is_none() && right.is_none() {
            return true;
        }
        // Either may be done with what stands for any number of bytes.
        if matches!(left, Some(Piece::Level | Piece::Any)) {
            waiting.push((i + 1, j));
        }
        if matches!(right, Some(Piece::Level | Piece::Any)) {
            waiting.push((i, j + 1));
        }
        match (left, right) {
            (Some(Piece::Byte(x)), Some(Piece::Byte(y))) if x == y => waiting.push((i + 1, j + 1)),
            (Some(Piece::Byte(x)), Some(open)) if takes(open, x) => waiting.push((i + 1, j)),
            (Some(open), Some(Piece::Byte(y))) if takes(open, y) => waiting.push((i, j + 1)),
            _ => {}
        }
    }
    false
}

fn takes(open: Piece, byte: u8) -> bool {
    match open {
        Piece::Byte(_) => false,
        Piece::Level => byte != b'/',
        Piece::Any => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sql::Template;

    #[test]
    fn a_template_that_can_come_back_is_found() {
        let check = |template: &str, filter: &str, expect: bool| {
            let filter = TopicFilter::parse(filter).expect("a filter");
            let template = Template::parse(template).expect("a template");
            assert_eq!(template.may_match(&filter), expect, "{} of {filter}", template.text());
        };
        check("ops/hot/${device}", "dt/+/climate", false);
        check("ops/hot/${device}", "#", true);
        check("ops/hot", "ops/#", true);
        check("ops", "ops/#", true);
        check("dt/${device}/alarm", "dt/+/climate", false);
        check("dt/${device}", "dt/+/climate", true);
        check("dt/${device}/climate", "dt/+/climate", true);
        check("dt/a/b/climate", "dt/+/climate", false);
        check("${topic()}/x", "dt/+/climate", false);
        check("${topic()}", "dt/+/climate", true);
        check("x${a}", "dt/#", false);
        check("$$aws/things/${a}/x", "#", false);
        check("$$aws/things/${a}/x", "$aws/things/+/x", true);
        check("a/b", "a/+/+", false);
    }

    proptest! {
        /// No topic that a template comes to is matched by a filter of which it was said that it cannot be.
        #[test]
        fn what_cannot_match_never_does(
            filter in "[ab+]{1}(/[ab+]{1}){0,3}(/#)?",
            template in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("/"), Just("${x}")], 1..8),
            hole in "[ab/]{0,4}",
        ) {
            let filter = TopicFilter::parse(filter).expect("a filter");
            let template = Template::parse(&template.concat()).expect("a template");
            let topic = template.with_holes(&hole);
            if !topic.is_empty() && filter.matches(&topic) {
                prop_assert!(template.may_match(&filter), "{} of {} by {}", topic, filter, template.text());
            }
        }
    }
}
