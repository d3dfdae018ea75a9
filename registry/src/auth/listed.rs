//! [pure] Which repositories somebody is told of, and where in the catalog they are: who may list little has little of it read.

use berth_config::rules::{RepositoryPattern, Subject};
use berth_oci::RepositoryName;

/// The repositories that somebody may list, by patterns without placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    patterns: Vec<RepositoryPattern>,
}

impl Listed {
    pub(super) fn new(patterns: Vec<RepositoryPattern>) -> Self {
        Listed { patterns }
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(&self, name: &RepositoryName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name.as_str(), &Subject::default()))
    }

    /// Behind what the catalog is to be read, where it was read up to `last`, so that none of them is missed and as few others
    /// as can be are read; none if there can be none any more. A text need not be a name.
    #[must_use]
    pub fn next(&self, last: Option<&str>) -> Option<Option<String>> {
        let mut first: Option<&str> = None;
        for prefix in self.patterns.iter().map(RepositoryPattern::prefix) {
            let is_within = prefix.is_empty() || last.is_some_and(|last| last.starts_with(prefix));
            if is_within {
                return Some(last.map(str::to_owned));
            }
            if last.is_none_or(|last| last < prefix) {
                first = Some(first.map_or(prefix, |first| first.min(prefix)));
            }
        }
        let before = before(first?);
        Some(Some(match last {
            Some(last) if last > before.as_str() => last.to_owned(),
            _ => before,
        }))
    }
}

/// A text behind which comes what begins with this one, and no other name is between.
fn before(prefix: &str) -> String {
    let mut characters = prefix.chars();
    let last = characters.next_back().and_then(|last| char::from_u32(u32::from(last).saturating_sub(1)));
    // No name has the last of these.
    format!("{}{}~", characters.as_str(), last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn listed(patterns: &[&str]) -> Listed {
        Listed::new(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
    }

    #[test]
    fn the_catalog_is_read_where_there_may_be_some() {
        for (patterns, last, expected) in [
            (&[][..], None, None),
            (&[], Some("a"), None),
            (&["**"], None, Some(None)),
            (&["*/app"], Some("b"), Some(Some("b"))),
            (&["team/**"], None, Some(Some("teal~"))),
            (&["team/**"], Some("home/a"), Some(Some("teal~"))),
            (&["team/**"], Some("team/x"), Some(Some("team/x"))),
            (&["team/**"], Some("teb"), None),
            (&["team/**"], Some("teal~~"), Some(Some("teal~~"))),
            (&["team/**", "home/**"], None, Some(Some("homd~"))),
            (&["team/**", "home/**"], Some("i"), Some(Some("teal~"))),
            (&["team/a*", "team/b"], Some("team/ab"), Some(Some("team/ab"))),
            (&["team/a*", "team/b"], Some("team/b0"), Some(Some("team/b0"))),
            (&["team/a*", "team/b"], Some("team/c"), None),
        ] {
            let expected = expected.map(|behind: Option<&str>| behind.map(str::to_owned));
            assert_eq!(listed(patterns).next(last), expected, "{patterns:?} {last:?}");
        }
    }

    proptest! {
        /// Whatever is read so, page by page, is all that is listed.
        #[test]
        fn none_is_missed(
            names in prop::collection::btree_set("[ab0]([-./]?[ab0]){0,4}", 0..40),
            patterns in prop::collection::vec("([ab0]([-./]?[ab0]){0,2}(/\\*\\*|\\*)?)|\\*\\*/a|\\*/b", 0..3),
            page in 1_usize..4,
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let listed = listed(&patterns);
            let names: BTreeSet<RepositoryName> = names.iter().filter_map(|name| name.parse().ok()).collect();
            let (mut found, mut last, mut read) = (Vec::new(), None::<String>, 0);
            while let Some(behind) = listed.next(last.as_deref()) {
                let rest = names.iter().filter(|name| behind.as_deref().is_none_or(|behind| name.as_str() > behind));
                let entries: Vec<_> = rest.take(page).collect();
                read += entries.len();
                found.extend(entries.iter().filter(|name| listed.has(name)).copied());
                if entries.len() < page {
                    break;
                }
                last = entries.last().map(ToString::to_string);
            }
            let expected: Vec<_> = names.iter().filter(|name| listed.has(name)).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(read <= names.len(), "something was read twice");
        }
    }
}
