//! Pages: every list of the API is asked for and answered alike.
//!
//! `?limit=100&after=CURSOR` asks; the answer has its entries under their own name and `next`, the cursor of the page
//! behind, absent on the last. A cursor is taken as it was given and says nothing else. The law: a page is bounded
//! whatever is asked.

use serde::Deserialize;

/// Most entries of a page.
pub(crate) const PAGE_MAX: usize = 1_000;

/// Which page.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Page {
    /// Behind this cursor: `next` of the page before.
    pub(crate) after: Option<String>,
    /// At most so many.
    #[serde(default = "hundred")]
    limit: usize,
}

fn hundred() -> usize {
    100
}

impl Page {
    /// At most so many, within our own bounds.
    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, PAGE_MAX)
    }

    /// The page of `all`, which is in the order of `key`, and the cursor of the next.
    pub(crate) fn of<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let after = self.after.as_deref();
        let mut behind =
            all.into_iter().filter(|entry| after.is_none_or(|after| key(entry).as_str() > after));
        let page: Vec<T> = behind.by_ref().take(self.limit()).collect();
        let next = behind.next().and_then(|_| page.last()).map(key);
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_behind_each_other_are_the_whole_list_once() {
        let all: Vec<String> = (0..250).map(|n| format!("user-{n:03}")).collect();
        for limit in [0, 1, 99, 100, 250, 251, usize::MAX] {
            let mut page = Page { after: None, limit };
            let mut seen = Vec::new();
            loop {
                let (entries, next) = page.of(all.clone(), Clone::clone);
                assert!(entries.len() <= PAGE_MAX && !entries.is_empty());
                seen.extend(entries);
                page.after = match next {
                    Some(next) => Some(next),
                    None => break,
                };
            }
            assert_eq!(seen, all, "limit {limit}");
        }
        assert_eq!(Page { after: None, limit: 5 }.of(Vec::<String>::new(), Clone::clone), (Vec::new(), None));
    }
}
