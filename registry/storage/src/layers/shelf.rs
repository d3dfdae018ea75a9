//! A bucket in the memory of the process, for tests: as strict as the strictest store, and as poor as is asked for.
//!
//! Its abilities and limits are the test's choice, so that what does without one of them can be tried. Parts that are too
//! small, unknown or of another assembly are refused; a page may end anywhere, even before its first entry; a write is
//! seen at once and a reader keeps what it has opened. It knows nothing of faults: those are of [`super::Faulty`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream;

use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag, Start};
use crate::store::clamp;
use crate::{ByteRange, Key, Object, Refusal, Stat, StoreError};

/// What kind of a store a [`Shelf`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShelfOptions {
    /// What it is able to do.
    pub abilities: Abilities,
    /// What sizes it wants; all but `chunk_bytes` and `copies_at_once` it insists on.
    pub limits: Limits,
    /// The most entries of a page, whatever is asked for.
    pub max_page: usize,
    /// Whether the first page of every listing is empty, and not the last.
    pub lists_nothing_first: bool,
    /// What names end with that no listing has, as if it were late.
    pub late: Option<&'static str>,
    /// The size of the pieces that an object is given out in, in bytes.
    pub piece_bytes: usize,
}

impl Default for ShelfOptions {
    /// A store that is able to do everything, with sizes that a test can go beyond.
    fn default() -> Self {
        ShelfOptions {
            abilities: Abilities {
                creates_atomically: true,
                removes_many: true,
                copies_parts: true,
                lists_from_anywhere: true,
                lists_at_once: true,
            },
            limits: Limits {
                chunk_bytes: 64 * 1024,
                min_part_bytes: 16 * 1024,
                max_parts: 1000,
                max_copy_bytes: 256 * 1024,
                copies_at_once: 4,
            },
            max_page: 1000,
            lists_nothing_first: false,
            late: None,
            piece_bytes: 16 * 1024,
        }
    }
}

/// The bucket in memory.
#[derive(Debug)]
pub struct Shelf {
    options: ShelfOptions,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    objects: BTreeMap<String, Held>,
    assemblies: BTreeMap<u64, Parts>,
    /// How many names for assemblies and parts were given out.
    named: u64,
    /// When the newest object was written: no two are of one time, so that a test never takes one for another.
    newest: SystemTime,
}

#[derive(Clone, Debug)]
struct Held {
    content: Bytes,
    modified: SystemTime,
}

impl Held {
    fn stat(&self) -> Stat {
        Stat { size: self.content.len() as u64, modified: self.modified }
    }
}

/// The parts of an object that is not complete, by their numbers.
#[derive(Debug)]
struct Parts {
    to: String,
    begun: SystemTime,
    written: BTreeMap<usize, (PartTag, Bytes)>,
}

impl Content {
    fn name(&mut self) -> u64 {
        self.named += 1;
        self.named
    }

    fn write(&mut self, name: &str, content: Bytes) -> Stat {
        self.newest = SystemTime::now().max(self.newest + Duration::from_micros(1));
        let held = Held { content, modified: self.newest };
        let stat = held.stat();
        self.objects.insert(name.to_owned(), held);
        stat
    }

    fn held(&self, key: &Key) -> Result<Held, StoreError> {
        self.objects.get(key.as_str()).cloned().ok_or_else(|| StoreError::not_found(key))
    }

    /// The parts of an assembly, if it is one of this key.
    fn parts(&mut self, to: &Key, assembly: &Assembly) -> Result<(u64, &mut Parts), StoreError> {
        let id = assembly.0.strip_prefix("assembly-").and_then(|id| id.parse().ok());
        let found = id.and_then(|id| Some((id, self.assemblies.get_mut(&id).filter(|parts| parts.to == to.as_str())?)));
        found.ok_or_else(|| refused(to, "find the assembly", 404, "NoSuchUpload"))
    }
}

impl Shelf {
    /// An empty bucket.
    #[must_use]
    pub fn new(options: ShelfOptions) -> Self {
        let content =
            Content { objects: BTreeMap::new(), assemblies: BTreeMap::new(), named: 0, newest: SystemTime::UNIX_EPOCH };
        Shelf { options, content: Mutex::new(content) }
    }

    /// The content stays whole even if a holder of the lock panicked: every change is one step.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all objects, in the order of their bytes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.content().objects.keys().cloned().collect()
    }

    /// What an object holds, if there is one of this name.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<Bytes> {
        self.content().objects.get(name).map(|held| held.content.clone())
    }

    /// Writes an object of any name, as another program may: one that is no [`Key`] as well.
    pub fn plant(&self, name: &str, content: impl Into<Bytes>) {
        self.content().write(name, content.into());
    }

    /// How many objects are being written in parts.
    #[must_use]
    pub fn assemblies(&self) -> usize {
        self.content().assemblies.len()
    }

    fn store_part(&self, to: &Key, assembly: &Assembly, number: usize, content: Bytes) -> Result<PartTag, StoreError> {
        if number == 0 || number > self.options.limits.max_parts {
            return Err(refused(to, "write a part", 400, "InvalidArgument"));
        }
        let mut held = self.content();
        let tag = PartTag(format!("part-{}", held.name()));
        held.parts(to, assembly)?.1.written.insert(number, (tag.clone(), content));
        Ok(tag)
    }
}

/// What the strictest store says to these parts: what they make, or the code of its refusal.
fn assemble(parts: &Parts, tags: &[PartTag], size: u64, limits: Limits) -> Result<Bytes, &'static str> {
    if tags.is_empty() {
        return Err("MalformedXML");
    }
    let mut content = BytesMut::new();
    for (at, tag) in tags.iter().enumerate() {
        let (_, part) = parts.written.get(&(at + 1)).filter(|(own, _)| own == tag).ok_or("InvalidPart")?;
        if (part.len() as u64) < limits.min_part_bytes && at + 1 < tags.len() {
            return Err("EntityTooSmall");
        }
        content.extend_from_slice(part);
    }
    if content.len() as u64 == size { Ok(content.freeze()) } else { Err("IncompleteBody") }
}

fn refused(key: &Key, action: &'static str, status: u16, code: &str) -> StoreError {
    StoreError::service(key, action, Refusal { status, code: code.to_owned(), message: String::new() })
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default)]
struct Place<'a> {
    /// The entry that ended the page before.
    after: &'a str,
    /// What has to be passed over, without an ability to begin behind it.
    behind: &'a str,
}

impl<'a> Place<'a> {
    /// Reads what [`Place::token`] has written.
    fn parse(token: &'a str) -> Option<Self> {
        let (behind, after) = token.strip_prefix("page ")?.split_once('\n')?;
        Some(Place { after, behind })
    }

    fn token(after: &str, behind: &str) -> String {
        format!("page {behind}\n{after}")
    }
}

/// A page of at most `limit` entries, those that are passed over counted.
fn page(objects: &BTreeMap<String, Held>, prefix: &str, one_level: bool, place: Place<'_>, limit: usize) -> Listed {
    let mut listed = Listed::default();
    let (mut entries, mut last) = (0, place.after.to_owned());
    for (name, held) in objects.range::<str, _>((Bound::Excluded(place.after.max(prefix)), Bound::Unbounded)) {
        let Some(rest) = name.strip_prefix(prefix) else { break };
        let slash = rest.find('/').filter(|_| one_level);
        let entry = slash.map_or(name.as_str(), |at| &name[..=prefix.len() + at]);
        // Of what lies deeper than one level only the first entry counts.
        if entry <= last.as_str() {
            continue;
        }
        if entries == limit {
            listed.next = Some(Place::token(&last, place.behind));
            break;
        }
        entries += 1;
        entry.clone_into(&mut last);
        if entry <= place.behind {
            continue;
        }
        match entry.strip_suffix('/').filter(|_| slash.is_some()) {
            Some(directory) => listed.directories.push(directory.to_owned()),
            None => listed.objects.push((name.clone(), held.stat())),
        }
    }
    listed
}

#[async_trait]
impl Bucket for Shelf {
    fn driver(&self) -> &'static str {
        "shelf"
    }

    fn place(&self) -> String {
        "shelf".to_owned()
    }

    fn abilities(&self) -> Abilities {
        self.options.abilities
    }

    fn limits(&self) -> Limits {
        self.options.limits
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        Ok(self.abilities())
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        Ok(self.content().held(key)?.stat())
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let held = self.content().held(key)?;
        let stat = held.stat();
        let range = clamp(key, range, stat.size)?;
        let mut rest = held.content.slice(range.start as usize..range.end as usize);
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            pieces.push(Ok(rest.split_to(self.options.piece_bytes.clamp(1, rest.len()))));
        }
        Ok(Object { stat, range, body: Box::pin(stream::iter(pieces)) })
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.content().write(key.as_str(), content);
        Ok(())
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let exists = || StoreError::AlreadyExists { key: key.to_string() };
        if !self.options.abilities.creates_atomically {
            if self.content().objects.contains_key(key.as_str()) {
                return Err(exists());
            }
            // Others get their turn between the look and the write, as with a store that cannot do better.
            tokio::task::yield_now().await;
            return self.put(key, content).await;
        }
        let mut held = self.content();
        if held.objects.contains_key(key.as_str()) {
            return Err(exists());
        }
        held.write(key.as_str(), content);
        Ok(())
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let mut held = self.content();
        let content = held.held(from)?.content;
        held.write(to.as_str(), content);
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.content().objects.remove(key.as_str()).map(|_| ()).ok_or_else(|| StoreError::not_found(key))
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        for key in keys {
            if !self.options.abilities.removes_many {
                tokio::task::yield_now().await;
            }
            self.content().objects.remove(key.as_str());
        }
        Ok(())
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        let Listing { below, one_level, start, limit } = listing;
        let prefix = format!("{below}/");
        let limit = limit.min(self.options.max_page).max(1);
        let behind = match start {
            Start::Behind(text) => format!("{prefix}{text}"),
            Start::First | Start::Page(_) => String::new(),
        };
        let place = match start {
            Start::First => Place::default(),
            Start::Behind(_) if self.options.abilities.lists_from_anywhere => Place { after: &behind, behind: "" },
            Start::Behind(_) => Place { after: "", behind: &behind },
            Start::Page(token) => {
                Place::parse(token).ok_or_else(|| refused(below, "list objects", 400, "InvalidArgument"))?
            }
        };
        if self.options.lists_nothing_first && !matches!(start, Start::Page(_)) {
            return Ok(Listed { next: Some(Place::token(place.after, place.behind)), ..Listed::default() });
        }
        let mut page = page(&self.content().objects, &prefix, one_level, place, limit);
        page.objects.retain(|(name, _)| self.options.late.is_none_or(|late| !name.ends_with(late)));
        Ok(page)
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        let mut held = self.content();
        let id = held.name();
        held.assemblies.insert(id, Parts { to: to.to_string(), begun: SystemTime::now(), written: BTreeMap::new() });
        Ok(Assembly(format!("assembly-{id}")))
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.store_part(to, assembly, number, content)
    }

    async fn copy_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        if !self.options.abilities.copies_parts {
            return Err(refused(to, "copy a part", 501, "NotImplemented"));
        }
        let content = self.content().held(from)?.content;
        if content.len() as u64 != size {
            return Err(refused(to, "copy a part", 400, "InvalidArgument"));
        }
        let content = match range {
            Some(ByteRange { start, end }) if start < end && end <= size => content.slice(start as usize..end as usize),
            Some(_) => return Err(refused(to, "copy a part", 416, "InvalidRange")),
            None => content,
        };
        if content.len() as u64 > self.options.limits.max_copy_bytes {
            return Err(refused(to, "copy a part", 400, "EntityTooLarge"));
        }
        self.store_part(to, assembly, number, content)
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        let mut held = self.content();
        let (id, written) = held.parts(to, assembly)?;
        let content = assemble(written, &parts, size, self.options.limits)
            .map_err(|code| refused(to, "put the parts together", 400, code))?;
        held.assemblies.remove(&id);
        held.write(to.as_str(), content);
        Ok(())
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        let mut held = self.content();
        let (id, _) = held.parts(to, assembly)?;
        held.assemblies.remove(&id);
        Ok(())
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        let above = format!("{below}/");
        let assemblies = &mut self.content().assemblies;
        let there = assemblies.len();
        assemblies.retain(|_, parts| !parts.to.starts_with(&above) || parts.begun >= before);
        Ok((there - assemblies.len()) as u64)
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        let mut held = self.content();
        // The one that was begun last, as far as it has parts.
        let found = held.assemblies.iter().rev().find(|(_, parts)| parts.to == key.as_str());
        let Some(id) = found.filter(|(_, parts)| !parts.written.is_empty()).map(|(id, _)| *id) else { return Ok(None) };
        let Some(parts) = held.assemblies.remove(&id) else { return Ok(None) };
        let mut content = BytesMut::new();
        for (_, part) in parts.written.values() {
            content.extend_from_slice(part);
        }
        Ok(Some(held.write(key.as_str(), content.freeze())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn shelf(change: impl FnOnce(&mut ShelfOptions)) -> Shelf {
        let mut options = ShelfOptions::default();
        change(&mut options);
        Shelf::new(options)
    }

    /// All entries, page by page, a directory with a slash at its end; and how many pages there were.
    async fn walk(shelf: &Shelf, one_level: bool, start: Start<'_>, limit: usize) -> (Vec<String>, usize) {
        let (mut names, mut pages, mut token) = (Vec::new(), 0, None::<String>);
        let below = key("a");
        loop {
            let start = token.as_deref().map_or(start, Start::Page);
            let listed = shelf.list(Listing { below: &below, one_level, start, limit }).await.unwrap();
            assert!(listed.objects.len() + listed.directories.len() <= limit);
            let mut entries: Vec<String> = listed.objects.into_iter().map(|(name, _)| name).collect();
            entries.extend(listed.directories.into_iter().map(|name| format!("{name}/")));
            entries.sort();
            names.extend(entries);
            pages += 1;
            match listed.next {
                None => return (names, pages),
                next => token = next,
            }
        }
    }

    #[tokio::test]
    async fn a_listing_is_the_same_whatever_the_size_of_its_pages() {
        let all = ["a-/x", "a/", "a/b", "a/b-", "a/b/c", "a/b/c/d", "a/b/e", "a/b0", "a/c//d", "a/d", "ab"];
        let deep = ["a/b", "a/b-", "a/b/c", "a/b/c/d", "a/b/e", "a/b0", "a/c//d", "a/d"];
        let level = ["a/b", "a/b-", "a/b/", "a/b0", "a/c/", "a/d"];
        let behind = |entries: &[&str], text: &str| -> Vec<String> {
            entries.iter().filter(|entry| &entry[2..] > text).map(|entry| (*entry).to_owned()).collect()
        };
        for from_anywhere in [true, false] {
            let shelf = shelf(|options| options.abilities.lists_from_anywhere = from_anywhere);
            for name in all {
                shelf.plant(name, "x");
            }
            for limit in [1, 2, 3, 5, 100] {
                assert_eq!(walk(&shelf, false, Start::First, limit).await.0, behind(&deep, ""));
                assert_eq!(walk(&shelf, true, Start::First, limit).await.0, behind(&level, ""));
                for text in ["b", "b-", "b/", "b/c", "b/d", "b/~", "b0", "c/", "c0", "z", "\u{10ffff}"] {
                    let context = format!("behind {text:?}, {limit} a page");
                    let (names, pages) = walk(&shelf, false, Start::Behind(text), limit).await;
                    assert_eq!(names, behind(&deep, text), "{context}");
                    if !from_anywhere {
                        assert_eq!(pages, deep.len().div_ceil(limit), "what is passed over is read: {context}");
                    }
                    assert_eq!(
                        walk(&shelf, true, Start::Behind(text), limit).await.0,
                        behind(&level, text),
                        "{context}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn a_page_is_no_larger_than_the_store_wants_and_no_token_is_made_up() {
        let shelf = shelf(|options| options.max_page = 2);
        for name in ["a/1", "a/2", "a/3"] {
            shelf.plant(name, "x");
        }
        assert_eq!(walk(&shelf, false, Start::First, 1000).await.1, 2);
        let listing = Listing { below: &key("a"), one_level: false, start: Start::Page("a/2"), limit: 1 };
        assert!(shelf.list(listing).await.is_err());
    }

    #[tokio::test]
    async fn parts_are_put_together_strictly() {
        let shelf = shelf(|options| options.limits.min_part_bytes = 4);
        let (to, other) = (key("to"), key("other"));
        let code = |result: Result<(), StoreError>| match result.unwrap_err() {
            StoreError::Service { refusal, .. } => refusal.code,
            error => error.to_string(),
        };
        let assembly = shelf.begin_parts(&to).await.unwrap();
        let mut tags = Vec::new();
        // In any order, and the last one written of a number counts.
        for (number, part) in [(2, "large"), (1, "gone"), (3, "x"), (1, "long")] {
            tags.push(shelf.put_part(&to, &assembly, number, Bytes::from_static(part.as_bytes())).await.unwrap());
        }
        let [second, replaced, third, first] = <[PartTag; 4]>::try_from(tags).unwrap();
        assert!(shelf.names().is_empty());
        for (parts, size, expected) in [
            (vec![], 0, "MalformedXML"),
            (vec![first.clone(), third.clone()], 5, "InvalidPart"),
            (vec![replaced, second.clone(), third.clone()], 10, "InvalidPart"),
            (vec![first.clone(), second.clone(), third.clone()], 11, "IncompleteBody"),
        ] {
            assert_eq!(code(shelf.complete_parts(&to, &assembly, parts, size).await), expected);
        }
        let parts = vec![first, second, third];
        assert_eq!(code(shelf.complete_parts(&other, &assembly, parts.clone(), 10).await), "NoSuchUpload");
        shelf.complete_parts(&to, &assembly, parts.clone(), 10).await.unwrap();
        assert_eq!(shelf.peek("to").unwrap(), "longlargex");
        assert_eq!(code(shelf.complete_parts(&to, &assembly, parts, 10).await), "NoSuchUpload");
        assert_eq!(code(shelf.abort_parts(&to, &assembly).await), "NoSuchUpload");

        let assembly = shelf.begin_parts(&to).await.unwrap();
        let mut parts = Vec::new();
        for number in 1..=2 {
            parts.push(shelf.put_part(&to, &assembly, number, Bytes::from_static(b"abc")).await.unwrap());
        }
        assert_eq!(code(shelf.complete_parts(&to, &assembly, parts, 6).await), "EntityTooSmall");
        assert!(shelf.put_part(&to, &assembly, 1001, Bytes::new()).await.is_err());
        assert_eq!(shelf.adopt_parts(&other).await.unwrap(), None);
        assert_eq!(shelf.adopt_parts(&to).await.unwrap().map(|stat| stat.size), Some(6));
        assert_eq!(shelf.assemblies(), 0);
    }

    #[tokio::test]
    async fn what_it_cannot_do_it_refuses_or_does_badly() {
        let shelf = shelf(|options| {
            options.abilities.copies_parts = false;
            options.abilities.creates_atomically = false;
        });
        let (from, to) = (key("from"), key("to"));
        shelf.put(&from, Bytes::from_static(b"x")).await.unwrap();
        let assembly = shelf.begin_parts(&to).await.unwrap();
        assert!(shelf.copy_part(&to, &assembly, 1, &from, 1, None).await.is_err());
        let create = |content| shelf.create(&to, Bytes::from_static(content));
        let (one, two) = futures::join!(create(b"1"), create(b"2"));
        assert!(one.is_ok() && two.is_ok(), "both writers of a race are told that they won");
        assert!(matches!(create(b"3").await, Err(StoreError::AlreadyExists { .. })));
    }
}
