//! The tags of repositories that somebody is paging through, so that a page does not read and sort all of them anew.
//!
//! A list that begins is always read from the store; only its later pages are cut from what was read then, for at most
//! half a minute. What this process changes counts at once: a list is forgotten when a tag of its repository is written or
//! removed, and not remembered if that happened while it was read. What another process changes is seen by whoever begins
//! anew.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_oci::{RepositoryName, Tag};

/// For how long a list stands for its later pages.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How many lists are remembered.
const MAX_LISTS: usize = 32;
/// How many tags all lists have together, of at most 128 bytes each.
const MAX_TAGS: usize = 128 * 1024;
/// Over how many counters the changes of repositories are spread.
const COUNTERS: usize = 64;

/// The lists that are remembered.
#[derive(Debug)]
pub(crate) struct TagLists {
    /// The oldest first.
    lists: Mutex<Vec<List>>,
    changes: Vec<AtomicU64>,
    hasher: RandomState,
}

#[derive(Debug)]
struct List {
    name: RepositoryName,
    tags: Arc<[Tag]>,
    read: Instant,
}

/// How often the tags of a repository had been changed when a list of them began to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64);

impl Default for TagLists {
    fn default() -> Self {
        let changes = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        TagLists { lists: Mutex::default(), changes, hasher: RandomState::new() }
    }
}

impl TagLists {
    fn lists(&self) -> MutexGuard<'_, Vec<List>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, name: &RepositoryName) -> &AtomicU64 {
        &self.changes[(self.hasher.hash_one(name) % COUNTERS as u64) as usize]
    }

    /// To be asked before a list is read.
    pub(crate) fn version(&self, name: &RepositoryName) -> Version {
        Version(self.counter(name).load(Ordering::SeqCst))
    }

    /// The tags of a repository in lexical order, if they are remembered.
    pub(crate) fn get(&self, name: &RepositoryName) -> Option<Arc<[Tag]>> {
        let mut lists = self.lists();
        lists.retain(|list| list.read.elapsed() < MAX_AGE);
        lists.iter().find(|list| list.name == *name).map(|list| list.tags.clone())
    }

    /// Remembers a list, unless tags of its repository have changed since it began to be read.
    pub(crate) fn remember(&self, name: &RepositoryName, version: Version, tags: Arc<[Tag]>) {
        let mut lists = self.lists();
        // Under the lock: who changes a tag counts first and then forgets, so either the count is seen here or the list
        // is there to be forgotten.
        if self.version(name) != version || tags.len() > MAX_TAGS {
            return;
        }
        lists.retain(|list| list.name != *name);
        let mut total: usize = tags.len() + lists.iter().map(|list| list.tags.len()).sum::<usize>();
        while !lists.is_empty() && (lists.len() >= MAX_LISTS || total > MAX_TAGS) {
            total -= lists.remove(0).tags.len();
        }
        lists.push(List { name: name.clone(), tags, read: Instant::now() });
    }

    /// A tag of the repository was written or removed.
    pub(crate) fn changed(&self, name: &RepositoryName) {
        self.counter(name).fetch_add(1, Ordering::SeqCst);
        self.lists().retain(|list| list.name != *name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    fn tags(count: usize) -> Arc<[Tag]> {
        (0..count).map(|n| format!("v{n}").parse().unwrap()).collect()
    }

    #[test]
    fn a_change_forgets_the_list_and_what_was_read_before_it() {
        let lists = TagLists::default();
        let version = lists.version(&name("a"));
        lists.remember(&name("a"), version, tags(2));
        assert_eq!(lists.get(&name("a")).unwrap().len(), 2);
        assert!(lists.get(&name("b")).is_none());
        lists.changed(&name("a"));
        assert!(lists.get(&name("a")).is_none());
        lists.remember(&name("a"), version, tags(2));
        assert!(lists.get(&name("a")).is_none(), "it was read before the change");
        lists.remember(&name("a"), lists.version(&name("a")), tags(3));
        assert_eq!(lists.get(&name("a")).unwrap().len(), 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let lists = TagLists::default();
        let remember = |text: &str, count| lists.remember(&name(text), lists.version(&name(text)), tags(count));
        for n in 0..=MAX_LISTS {
            remember(&format!("a{n}"), 1);
        }
        assert!(lists.get(&name("a0")).is_none() && lists.get(&name("a1")).is_some());
        remember("large", MAX_TAGS);
        assert!(lists.get(&name("a1")).is_none() && lists.get(&name("large")).is_some());
        remember("larger", MAX_TAGS + 1);
        assert!(lists.get(&name("larger")).is_none() && lists.get(&name("large")).is_some());
    }
}
