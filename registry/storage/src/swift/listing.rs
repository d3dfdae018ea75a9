//! Pages of a container's listing: what is asked for, and what the answer means.

use std::time::SystemTime;

use serde::Deserialize;

use super::segments;
use super::wire::{encoded_part, moment};
use crate::Stat;
use crate::bucket::{Listing, Root, Start};

/// The most entries that are asked for at once, so that an answer stays within [`MAX_BYTES`].
pub(super) const MAX_ENTRIES: usize = 5000;
/// The most that is read of an answer, in bytes.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// How many objects of a page may be looked at one by one. Further ones begin the next page.
pub(super) const MAX_LOOKS: usize = 1000;

/// What is wrong with a page that begins where the one before did.
pub(super) const NO_PROGRESS: &str = "a page of the listing has nothing behind the one before";

/// What follows the container in the address of a page.
pub(super) fn query(root: &Root, listing: &Listing<'_>, limit: usize) -> String {
    let below = root.below(listing.below);
    let marker = match listing.start {
        Start::First => None,
        Start::Page(next) => Some(next.to_owned()),
        Start::Behind(text) => {
            // A directory counts as its name with a slash, and Swift begins behind it when it is told just that. Told of
            // something below, it would give the directory once more.
            let first_level = text.find('/').map_or(text, |slash| &text[..=slash]);
            Some(format!("{below}{}", if listing.one_level { first_level } else { text }))
        }
    };
    let mut query = format!("?format=json&limit={limit}&prefix={}", encoded_part(&below));
    if listing.one_level {
        query.push_str("&delimiter=%2F");
    }
    if let Some(marker) = marker {
        query = format!("{query}&marker={}", encoded_part(&marker));
    }
    query
}

/// A page as the store gives it, without what is not to be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The objects, by their keys.
    pub(super) objects: Vec<(String, Stat)>,
    /// The directories.
    pub(super) directories: Vec<String>,
    /// Where the next page begins; none after the last.
    pub(super) next: Option<String>,
}

/// How much a page has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most entries, as was asked for.
    pub(super) entries: usize,
    /// Whether the store is known to give that many as long as there are more. Some give fewer without saying so.
    pub(super) are_kept: bool,
    /// The most objects without a byte, which may be manifests: of those a listing does not have the length.
    pub(super) looks: usize,
}

/// Reads a page.
pub(super) fn parse(content: &[u8], root: &Root, bounds: Bounds) -> Result<Page, serde_json::Error> {
    let rows: Vec<Row> = serde_json::from_slice(content)?;
    let count = rows.len();
    let mut page = Page { objects: Vec::new(), directories: Vec::new(), next: None };
    let mut last = None;
    let mut empty = 0;
    for (index, row) in rows.into_iter().enumerate() {
        match row {
            Row::Directory { subdir } => {
                let key = root.key(&subdir).and_then(|key| key.strip_suffix('/'));
                if let Some(key) = key.filter(|_| !segments::is_hidden(&subdir)) {
                    page.directories.push(key.to_owned());
                }
                last = Some(subdir);
            }
            Row::Object { name, bytes, last_modified } => {
                let is_seen = !segments::is_hidden(&name);
                empty += usize::from(is_seen && bytes == 0);
                if let (Some(key), true) = (root.key(&name), is_seen) {
                    let modified = moment(&last_modified).unwrap_or_default().into();
                    page.objects.push((key.to_owned(), Stat { size: bytes, modified }));
                }
                last = Some(name);
            }
        }
        if empty >= bounds.looks && index + 1 < count {
            page.next = last;
            return Ok(page);
        }
    }
    // Only an empty page is surely behind the last one.
    page.next = last.filter(|_| !bounds.are_kept || count >= bounds.entries);
    Ok(page)
}

/// What follows the container in the address of a page of names that begin with a text.
pub(super) fn names_query(prefix: &str, after: Option<&str>) -> String {
    let marker = after.map_or(String::new(), |after| format!("&marker={}", encoded_part(after)));
    format!("?format=json&limit={MAX_ENTRIES}&prefix={}{marker}", encoded_part(prefix))
}

/// The names of a page, each with when it was written, if that can be read.
pub(super) fn names(content: &[u8]) -> Result<Vec<(String, Option<SystemTime>)>, serde_json::Error> {
    let rows: Vec<Row> = serde_json::from_slice(content)?;
    let name = |row| match row {
        Row::Object { name, last_modified, .. } => Some((name, moment(&last_modified).map(SystemTime::from))),
        Row::Directory { .. } => None,
    };
    Ok(rows.into_iter().filter_map(name).collect())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Directory { subdir: String },
    Object { name: String, bytes: u64, last_modified: String },
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Key;

    #[test]
    fn a_page_is_asked_for_by_what_it_begins_behind() {
        fn check(one_level: bool, start: Start<'_>, expected: &str) {
            let below: Key = "a b".parse().unwrap();
            let listing = Listing { below: &below, one_level, start, limit: 7 };
            let query = query(&Root::new("files"), &listing, 5);
            assert_eq!(query, format!("?format=json&limit=5&prefix=files%2Fa%20b%2F{expected}"));
        }
        check(false, Start::First, "");
        check(true, Start::First, "&delimiter=%2F");
        check(false, Start::Page("files/a b/x"), "&marker=files%2Fa%20b%2Fx");
        check(false, Start::Behind("x/y"), "&marker=files%2Fa%20b%2Fx%2Fy");
        check(true, Start::Behind("x/y"), "&delimiter=%2F&marker=files%2Fa%20b%2Fx%2F");
        check(true, Start::Behind("x"), "&delimiter=%2F&marker=files%2Fa%20b%2Fx");
    }

    const PAGE: &[u8] = br#"[
        {"bytes": 3, "hash": "9ae1", "name": "files/a", "content_type": "x", "last_modified": "1970-01-01T00:00:01.500000"},
        {"subdir": "files/b/"},
        {"bytes": 9, "name": "files/.berth-segments/d/0/1", "hash": "", "last_modified": "1970-01-01T00:00:01"},
        {"subdir": "files/.berth-segments/"},
        {"bytes": 0, "name": "files/e", "hash": "", "content_type": "x", "last_modified": "1970-01-01T00:00:02", "slo_etag": "x"},
        {"bytes": 0, "name": "files/f", "hash": "", "content_type": "x", "last_modified": "1970-01-01T00:00:02"}
    ]"#;

    fn kept(entries: usize, looks: usize) -> Bounds {
        Bounds { entries, are_kept: true, looks }
    }

    #[test]
    fn a_page_is_read_without_segments() {
        let root = Root::new("files");
        let page = parse(PAGE, &root, kept(7, 5)).unwrap();
        let stat = |size, millis| Stat { size, modified: SystemTime::UNIX_EPOCH + Duration::from_millis(millis) };
        assert_eq!(
            page.objects,
            [("a".into(), stat(3, 1500)), ("e".into(), stat(0, 2000)), ("f".into(), stat(0, 2000))]
        );
        assert_eq!(page.directories, ["b"]);
        let names = names(PAGE).unwrap();
        assert_eq!(names.len(), 4);
        assert_eq!(names[2], ("files/e".to_owned(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2))));
    }

    #[test]
    fn a_page_is_the_last_where_the_store_is_known_to_fill_pages_or_has_nothing_more() {
        let root = Root::new("files");
        let next = |content: &[u8], bounds| parse(content, &root, bounds).unwrap().next;
        assert_eq!(next(PAGE, kept(7, 5)), None);
        assert_eq!(next(PAGE, kept(6, 5)).as_deref(), Some("files/f"));
        let unknown = Bounds { are_kept: false, ..kept(7, 5) };
        assert_eq!(next(PAGE, unknown).as_deref(), Some("files/f"));
        assert_eq!(next(b"[]", unknown), None);
    }

    #[test]
    fn a_page_ends_where_too_much_would_have_to_be_looked_at() {
        let root = Root::new("files");
        let page = parse(PAGE, &root, kept(100, 1)).unwrap();
        assert_eq!(page.objects.len(), 2);
        assert_eq!(page.next.as_deref(), Some("files/e"));
        // The last entry of the last page begins no other one.
        assert_eq!(parse(PAGE, &root, kept(100, 2)).unwrap().next, None);
    }
}
