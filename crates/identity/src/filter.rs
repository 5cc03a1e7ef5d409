//! Whether a filter asks for more than another permits.
//!
//! The law: `permits(grant, asked)` is true only if every topic that `asked` matches is matched by `grant`. It may say
//! no where only two grants together would cover what is asked; it never says yes too often.

use model::TopicFilter;

/// Whether `grant` matches every topic that the filter `asked` can match.
pub(crate) fn permits(grant: &TopicFilter, asked: &str) -> bool {
    if asked.starts_with('$') && grant.starts_with(['+', '#']) {
        // A leading wildcard does not reach topics with `$` (MQTT 5.0, section 4.7.2).
        return false;
    }
    let mut granted = grant.split('/');
    let mut asked = asked.split('/');
    loop {
        match (granted.next(), asked.next()) {
            (Some("#"), _) | (None, None) => return true,
            // `#` reaches the level above and all below: only a `#` in the same place covers it.
            (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(asked)) if level == asked => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_permitted_only_if_all_of_it_is() {
        let check = |grant: &str, asked: &str, expect: bool| {
            let grant = TopicFilter::parse(grant).expect("a filter");
            assert_eq!(permits(&grant, asked), expect, "{asked} under {grant}");
        };
        check("cmd/d/#", "cmd/d/#", true);
        check("cmd/d/#", "cmd/d/+", true);
        check("cmd/d/#", "cmd/d", true);
        check("cmd/d/#", "cmd/d/+/x/#", true);
        check("cmd/d/#", "#", false);
        check("cmd/d/#", "cmd/#", false);
        check("cmd/d/#", "cmd/+/#", false);
        check("cmd/d/#", "+/d/x", false);
        check("cmd/d/#", "cmd/dd/x", false);
        check("cmd/d/+", "cmd/d/#", false);
        check("cmd/d/+", "cmd/d/x", true);
        check("cmd/d/+", "cmd/d", false);
        check("cmd/d/+", "cmd/d/x/y", false);
        check("cmd/d", "cmd/d/#", false);
        check("#", "$aws/#", false);
        check("+/#", "$aws/x", false);
        check("#", "#", true);
        check("+/#", "#", false);
        check("$aws/#", "$aws/things/+/x", true);
        check("a/+/c", "a/+/+", false);
    }
}
