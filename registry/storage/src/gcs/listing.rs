//! Where a page of a listing begins, and what becomes of what the server gives, as pure functions.
//!
//! The next page begins behind the last entry that was given, by its name: the server's own token is used only for a page
//! without entries. So a page means the same to every server, also to one that counts entries in another way.
//!
//! What stands for an upload of another program is not there, as it is not for whoever looks at it or reads it.

use crate::bucket::{Listed, Listing, Root, Start};
use crate::{BoxError, Stat};

use super::answer::Resources;

/// The most entries of one page of the server.
const MAX_RESULTS: usize = 1000;
/// The byte behind the slash: everything in a directory is before the directory's name with this in place of the slash.
const BEHIND_SLASH: char = '0';

/// One request for a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    prefix: String,
    one_level: bool,
    from: From,
    limit: usize,
}

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct From {
    /// The first name, if it is not the first of all.
    offset: Option<String>,
    /// Whether that name is passed over: the server gives it.
    exclusive: bool,
    /// The server's token.
    token: Option<String>,
}

impl Question {
    pub(super) fn new(root: &Root, listing: Listing<'_>) -> Self {
        let Listing { below, one_level, start, limit } = listing;
        let prefix = root.below(below);
        let from = match start {
            Start::First => From::default(),
            Start::Page(next) => From::read(&prefix, one_level, next),
            Start::Behind(text) => From::behind(&prefix, one_level, text),
        };
        Question { prefix, one_level, from, limit: limit.clamp(1, MAX_RESULTS) }
    }

    /// The query of the request.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let Question { prefix, one_level, from: From { offset, exclusive, token }, limit } = self;
        let results = (limit + usize::from(*exclusive)).min(MAX_RESULTS);
        let mut query = vec![("prefix", prefix.clone()), ("maxResults", results.to_string())];
        if *one_level {
            query.push(("delimiter", "/".to_owned()));
        }
        query.extend(offset.clone().map(|offset| ("startOffset", offset)));
        query.extend(token.clone().map(|token| ("pageToken", token)));
        query.push(("fields", "nextPageToken,prefixes,items(name,size,updated,contentType)".to_owned()));
        query
    }

    /// The page that an answer is, and what on it stands for uploads of another program.
    pub(super) fn page(&self, root: &Root, answer: Resources) -> Result<(Listed, Vec<(String, Stat)>), BoxError> {
        let Resources { items, mut prefixes, next_page_token } = answer;
        let mut objects = Vec::with_capacity(items.len());
        for item in items {
            let is_behind = !self.from.exclusive || self.from.offset.as_ref() != Some(&item.name);
            if is_behind {
                let stat = item.stat()?;
                let is_there = !item.is_upload_session();
                objects.push((item.name, (stat, is_there)));
            }
        }
        objects.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        prefixes.sort_unstable();
        let token = next_page_token.filter(|token| !token.is_empty());
        let is_cut = cut(&mut objects, &mut prefixes, self.limit);
        let last = objects.last().map(|(name, _)| name).max(prefixes.last());
        let next = match last {
            Some(last) if is_cut || token.is_some() => {
                Some(format!("b{}", last.strip_prefix(&self.prefix).ok_or_else(|| stray(last))?))
            }
            _ => token.map(|token| format!("t{token}\n{}", self.from.write(&self.prefix))),
        };
        let key = |name: &str| root.key(name).map(str::to_owned).ok_or_else(|| stray(name));
        let directories: Result<_, BoxError> =
            prefixes.iter().map(|name| key(name.strip_suffix('/').unwrap_or(name))).collect();
        let (mut there, mut sessions) = (Vec::with_capacity(objects.len()), Vec::new());
        for (name, (stat, is_there)) in &objects {
            let list = if *is_there { &mut there } else { &mut sessions };
            list.push((key(name)?, *stat));
        }
        Ok((Listed { objects: there, directories: directories?, next }, sessions))
    }
}

fn stray(name: &str) -> BoxError {
    format!("{name:?} was not asked for").into()
}

impl From {
    /// Behind a text below the prefix. Of one level, what lies deeper goes with its directory, which comes before it: with
    /// the text, or before it, the whole directory is past.
    fn behind(prefix: &str, one_level: bool, text: &str) -> Self {
        match text.split_once('/') {
            Some((directory, _)) if one_level => {
                From { offset: Some(format!("{prefix}{directory}{BEHIND_SLASH}")), exclusive: false, token: None }
            }
            _ => From { offset: Some(format!("{prefix}{text}")), exclusive: true, token: None },
        }
    }

    /// What [`Question::page`] has written.
    fn read(prefix: &str, one_level: bool, next: &str) -> Self {
        let (kind, text) = next.split_at_checked(1).unwrap_or_default();
        match kind {
            "t" => {
                let (token, rest) = text.split_once('\n').unwrap_or((text, ""));
                let from = if rest.is_empty() { From::default() } else { From::read(prefix, one_level, rest) };
                From { token: Some(token.to_owned()), ..from }
            }
            "e" => From { offset: Some(format!("{prefix}{text}")), exclusive: true, token: None },
            "i" => From { offset: Some(format!("{prefix}{text}")), exclusive: false, token: None },
            _ => From::behind(prefix, one_level, text),
        }
    }

    fn write(&self, prefix: &str) -> String {
        let Some(offset) = &self.offset else { return String::new() };
        format!("{}{}", if self.exclusive { 'e' } else { 'i' }, &offset[prefix.len()..])
    }
}

/// Leaves no more than `limit` entries, the first in the order of both together, and says whether any had to go.
fn cut<T>(objects: &mut Vec<(String, T)>, prefixes: &mut Vec<String>, limit: usize) -> bool {
    let is_cut = objects.len() + prefixes.len() > limit;
    while objects.len() + prefixes.len() > limit {
        match (objects.last(), prefixes.last()) {
            (Some((object, _)), Some(prefix)) if object > prefix => drop(objects.pop()),
            (Some(_), None) => drop(objects.pop()),
            _ => drop(prefixes.pop()),
        }
    }
    is_cut
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Key;
    use crate::gcs::answer::Resource;

    /// How a server counts what is on a page.
    #[derive(Clone, Copy, Debug)]
    enum Counts {
        /// Objects and directories together, as Google's does.
        Both,
        /// Objects alone; all directories are on the first page, as with the server of the tests.
        Objects,
    }

    /// Answers as a server does.
    fn answer(names: &[&str], query: &[(&'static str, String)], counts: Counts) -> Resources {
        let get = |wanted: &str| query.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        let (prefix, offset) = (get("prefix").unwrap(), get("startOffset").unwrap_or(""));
        let (token, is_flat) = (get("pageToken").unwrap_or(""), get("delimiter").is_none());
        let max: usize = get("maxResults").unwrap().parse().unwrap();
        let names: BTreeSet<&str> = names.iter().copied().filter(|name| name.starts_with(prefix)).collect();
        let mut answer = Resources::default();
        for name in names {
            let directory = name[prefix.len()..].find('/').filter(|_| !is_flat).map(|at| &name[..=prefix.len() + at]);
            let from = match counts {
                Counts::Both => name,
                Counts::Objects => directory.unwrap_or(name),
            };
            if from < offset
                || from < token
                || answer.prefixes.last().map(String::as_str) == directory && directory.is_some()
            {
                continue;
            }
            let given = match counts {
                Counts::Both => answer.items.len() + answer.prefixes.len(),
                Counts::Objects => answer.items.len(),
            };
            match (directory, counts) {
                (Some(directory), Counts::Objects) => answer.prefixes.push(directory.to_owned()),
                _ if given >= max => {
                    answer.next_page_token.get_or_insert_with(|| name.to_owned());
                }
                (Some(directory), Counts::Both) => answer.prefixes.push(directory.to_owned()),
                (None, _) => answer.items.push(Resource {
                    name: name.to_owned(),
                    size: "1".to_owned(),
                    updated: "2024-01-01T00:00:00Z".to_owned(),
                    ..Resource::default()
                }),
            }
        }
        answer
    }

    /// What all pages of a listing have, in their order.
    fn pages(names: &[&str], listing: Listing<'_>, counts: Counts) -> Vec<String> {
        let root = Root::new("r");
        let names: Vec<String> = names.iter().map(|name| format!("r/{name}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut entries = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..1000 {
            let start = next.as_deref().map_or(listing.start, Start::Page);
            let question = Question::new(&root, Listing { start, ..listing });
            let (listed, _) = question.page(&root, answer(&names, &question.query(), counts)).unwrap();
            assert!(listed.objects.len() + listed.directories.len() <= listing.limit);
            let mut page: Vec<String> = listed.objects.into_iter().map(|(name, _)| name).collect();
            page.extend(listed.directories.into_iter().map(|name| format!("{name}/")));
            page.sort_unstable();
            entries.extend(page);
            next = listed.next;
            if next.is_none() {
                return entries;
            }
        }
        panic!("the pages have no end: {entries:?}");
    }

    fn check(names: &[&str], one_level: bool, start: Start<'_>, expected: &[&str]) {
        let below: Key = "d".parse().unwrap();
        for counts in [Counts::Both, Counts::Objects] {
            for limit in [1, 2, 3, 4, 1000] {
                let listing = Listing { below: &below, one_level, start, limit };
                assert_eq!(pages(names, listing, counts), expected, "{start:?}, {limit} a page, {counts:?}");
            }
        }
    }

    const NAMES: &[&str] = &[
        "d/a", "d/a-b/x", "d/a/x", "d/a/y", "d/a0", "d/b", "d/b/1/2", "d/b/z", "d/c", "d/e/1", "d/f/1", "d2", "e/d/x",
    ];

    #[test]
    fn pages_of_one_level_are_whole_at_every_border() {
        let all = ["d/a", "d/a-b/", "d/a/", "d/a0", "d/b", "d/b/", "d/c", "d/e/", "d/f/"];
        check(NAMES, true, Start::First, &all);
        for (behind, expected) in [
            ("", &all[..]),
            ("0", &all[..]),
            ("a", &all[1..]),
            ("a-b", &all[1..]),
            ("a-b/", &all[2..]),
            ("a-b/x", &all[2..]),
            ("a/", &all[3..]),
            ("a/x", &all[3..]),
            ("a0", &all[4..]),
            ("b/1/2", &all[6..]),
            ("bb", &all[6..]),
            ("f/", &[]),
            ("z", &[]),
        ] {
            check(NAMES, true, Start::Behind(behind), expected);
        }
    }

    #[test]
    fn pages_of_all_levels_are_whole_at_every_border() {
        let all = &NAMES[..11];
        check(NAMES, false, Start::First, all);
        check(NAMES, false, Start::Behind("a"), &all[1..]);
        check(NAMES, false, Start::Behind("a/"), &all[2..]);
        check(NAMES, false, Start::Behind("a/x"), &all[3..]);
        check(NAMES, false, Start::Behind("f/1"), &[]);
        check(&[], false, Start::First, &[]);
    }

    #[test]
    fn a_page_without_entries_goes_on_with_the_token_of_the_server() {
        let root = Root::new("");
        let below: Key = "d".parse().unwrap();
        for start in [Start::First, Start::Behind("x"), Start::Behind("x/y")] {
            let listing = Listing { below: &below, one_level: true, start, limit: 10 };
            let question = Question::new(&root, listing);
            let empty = Resources { next_page_token: Some("tok=".to_owned()), ..Resources::default() };
            let (listed, _) = question.page(&root, empty).unwrap();
            assert!(listed.objects.is_empty() && listed.directories.is_empty());
            let again =
                Question::new(&root, Listing { start: Start::Page(listed.next.as_deref().unwrap()), ..listing });
            let from = From { token: Some("tok=".to_owned()), ..question.from.clone() };
            assert_eq!(again, Question { from, ..question });
        }
    }

    #[test]
    fn what_stands_for_an_upload_is_passed_over_and_gone_on_behind() {
        let below: Key = "d".parse().unwrap();
        let root = Root::new("");
        let question = Question::new(&root, Listing { below: &below, one_level: true, start: Start::First, limit: 1 });
        let item = Resource {
            name: "d/data".to_owned(),
            size: "5".to_owned(),
            updated: "2024-01-01T00:00:00Z".to_owned(),
            content_type: "application/x-docker-upload-session".to_owned(),
            ..Resource::default()
        };
        let answer = Resources { items: vec![item], next_page_token: Some("t".to_owned()), ..Resources::default() };
        let (listed, sessions) = question.page(&root, answer).unwrap();
        assert_eq!(listed, Listed { next: Some("bdata".to_owned()), ..Listed::default() });
        assert_eq!(sessions.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["d/data"]);
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_an_error() {
        let below: Key = "d".parse().unwrap();
        let listing = Listing { below: &below, one_level: true, start: Start::First, limit: 1 };
        let root = Root::new("r");
        let question = Question::new(&root, listing);
        let prefixes = vec!["other/".to_owned()];
        let next_page_token = Some("x".to_owned());
        assert!(question.page(&root, Resources { items: Vec::new(), prefixes, next_page_token }).is_err());
    }
}
