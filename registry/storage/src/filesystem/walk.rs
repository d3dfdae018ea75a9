//! One page of a listing: a walk of the directories in the order of the keys.
//!
//! A directory counts with a slash at its end, so `a-b/…` comes before `a/…`, and everything below one directory stands
//! together. A walk that goes on after a cursor therefore skips whole directories by their name alone.

use std::fs;
use std::io;
use std::path::Path;

use crate::store::{Cursor, Entry, EntryKind, ListRequest, MAX_PAGE, Page};
use crate::{Key, Stat, StoreError};

use super::tree::Tree;

struct Walk<'a> {
    one_level: bool,
    after: &'a str,
    limit: usize,
    entries: Vec<Entry>,
    /// The place of the last entry in the order of keys.
    last: String,
    more: bool,
}

pub(super) fn page(tree: &Tree, request: &ListRequest<'_>) -> Result<Page, StoreError> {
    let prefix = format!("{}/", request.below);
    let behind = request.behind.map(|behind| format!("{prefix}{behind}"));
    let mut walk = Walk {
        one_level: request.one_level,
        after: request.after.map(|cursor| cursor.0.as_str()).or(behind.as_deref()).unwrap_or_default(),
        limit: request.limit.clamp(1, MAX_PAGE),
        entries: Vec::new(),
        last: String::new(),
        more: false,
    };
    walk.directory(&tree.path(request.below), &prefix).map_err(|source| StoreError::Io {
        key: request.below.to_string(),
        action: "list the directory",
        source,
    })?;
    let next = walk.more.then_some(Cursor(walk.last));
    Ok(Page { entries: walk.entries, next })
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, prefix: &str) -> io::Result<()> {
        for place in children(path, prefix)? {
            if self.more {
                return Ok(());
            }
            let is_directory = place.ends_with('/');
            let name = &place[prefix.len()..place.len() - usize::from(is_directory)];
            let at = path.join(name);
            if is_directory && !self.one_level {
                if place.as_str() > self.after || self.after.starts_with(&place) {
                    self.directory(&at, &place)?;
                }
            } else if place.as_str() > self.after {
                self.entry(&at, place, is_directory)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, place: String, is_directory: bool) -> io::Result<()> {
        // A name that is no key was not written by a registry, and nothing can ask for it.
        let Ok(key) = place.trim_end_matches('/').parse::<Key>() else { return Ok(()) };
        let kind = if is_directory {
            EntryKind::Directory
        } else {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_file() => {
                    EntryKind::Object(Stat { size: metadata.len(), modified: metadata.modified()? })
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(at(&place, &error)),
            }
        };
        if self.entries.len() == self.limit {
            self.more = true;
            return Ok(());
        }
        self.entries.push(Entry { key, kind });
        self.last = place;
        Ok(())
    }
}

/// An error that says where it was met: a listing goes through many directories.
fn at(place: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

/// The places of a directory's children in order; none if there is no such directory (any more).
fn children(path: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut places = Vec::new();
    for entry in listing {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A link to a directory counts as one, as it does for Distribution; one that leads nowhere counts as a file and
        // is left out where its metadata is read.
        let kind = entry.file_type()?;
        let is_directory = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        places.push(format!("{prefix}{name}{}", if is_directory { "/" } else { "" }));
    }
    places.sort_unstable();
    Ok(places)
}
