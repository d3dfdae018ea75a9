//! The repositories of a registry, in lexical order of their names.
//!
//! A repository is a directory that holds `_manifests`; repositories nest. The order of keys is not the order of names
//! (`a-b/` comes before `a/`), so directories wait in a heap by name: whatever lies below a directory is greater than the
//! directory itself, so the least name in the heap is the next one. Directories that end before `last` are not read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use berth_oci::RepositoryName;
use berth_storage::{EntryKind, Key, layout, list_all};

use crate::error::Error;
use crate::registry::Registry;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// The first `limit` of a sequence.
pub(crate) fn page_of<T>(mut sequence: impl Iterator<Item = T>, limit: Option<usize>) -> Paged<T> {
    let entries: Vec<T> = sequence.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    // With nothing asked for there is nothing to go on behind.
    let more = !entries.is_empty() && sequence.next().is_some();
    Paged { entries, more }
}

impl Registry {
    /// The repositories behind `last`, in lexical order, at most `limit` of them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn catalog(&self, limit: usize, last: Option<&str>) -> Result<Paged<RepositoryName>, Error> {
        let mut found = Vec::new();
        let mut waiting = BinaryHeap::new();
        self.push_children(&layout::repositories(), "", &mut waiting).await?;
        while let Some(Reverse(path)) = waiting.pop() {
            if found.len() > limit || limit == 0 {
                break;
            }
            let below = format!("{path}/");
            if last.is_some_and(|last| !last.starts_with(&below) && below.as_str() < last) {
                continue;
            }
            let Ok(key) = layout::repositories().join(&path) else { continue };
            let is_repository = self.push_children(&key, &below, &mut waiting).await?;
            let is_behind = last.is_none_or(|last| path.as_str() > last);
            // A path that is no valid name cannot be asked for, so it is not listed.
            if let Some(name) = path.parse().ok().filter(|_| is_repository && is_behind) {
                found.push(name);
            }
        }
        Ok(page_of(found.into_iter(), Some(limit)))
    }

    /// Adds the directories that may be repositories, and tells whether `directory` is one.
    async fn push_children(
        &self,
        directory: &Key,
        prefix: &str,
        waiting: &mut BinaryHeap<Reverse<String>>,
    ) -> Result<bool, Error> {
        let mut is_repository = false;
        for entry in list_all(self.store.as_ref(), directory, true).await? {
            let name = entry.key.file_name();
            if entry.kind != EntryKind::Directory {
                continue;
            }
            is_repository |= name == layout::MANIFESTS;
            if !name.starts_with('_') {
                waiting.push(Reverse(format!("{prefix}{name}")));
            }
        }
        Ok(is_repository)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berth_storage::{Memory, Store};

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    #[tokio::test]
    async fn names_come_in_lexical_order_and_pages_join_without_loss() {
        let names = ["a", "a-b", "a-b/c", "a.b", "a/b", "a/b/c", "a0", "b/c/d", "z"];
        let store = Arc::new(Memory::new());
        for name in names.iter().rev() {
            let name: RepositoryName = name.parse().unwrap();
            let key = layout::manifests(&name).join("tags/v1/current/link").unwrap();
            store.put(&key, "x".into()).await.unwrap();
        }
        // An upload alone makes no repository.
        store.put(&layout::repositories().join("a/x/_uploads/1/data").unwrap(), "x".into()).await.unwrap();
        let permissions = Permissions { delete: true, read_only: false };
        let registry = Registry::new(store.clone(), store, Arc::new(Guard::new()), permissions);
        for limit in 1..=names.len() + 1 {
            let (mut found, mut last): (Vec<String>, Option<String>) = (Vec::new(), None);
            loop {
                let page = registry.catalog(limit, last.as_deref()).await.unwrap();
                assert!(page.entries.len() <= limit);
                found.extend(page.entries.iter().map(ToString::to_string));
                if !page.more {
                    break;
                }
                last = found.last().cloned();
            }
            assert_eq!(found, names, "pages of {limit}");
        }
        let none = registry.catalog(0, None).await.unwrap();
        assert_eq!(none, Paged { entries: Vec::new(), more: false });
        let behind = registry.catalog(100, Some("a/")).await.unwrap();
        let behind: Vec<&str> = behind.entries.iter().map(RepositoryName::as_str).collect();
        assert_eq!(behind, &names[4..], "last need not be a name");
    }
}
