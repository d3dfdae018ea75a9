//! The repositories of a registry, in lexical order of their names.
//!
//! A repository is listed if it has a manifest or a tag; where the last one is deleted, it is not listed any more. `walk`
//! finds repositories in order, `level` reads the names of one directory in order, and `window` remembers what a walk has
//! found from one page to the next.

mod level;
mod walk;
mod window;

use std::borrow::Cow;

use berth_oci::{MAX_NAME_BYTES, RepositoryName};

use crate::error::Error;
use crate::registry::Registry;

pub(crate) use level::{Names, names_behind};
pub(crate) use walk::is_repository;
pub(crate) use window::Windows;

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

/// What the same names and tags come behind as behind `last`, as every store takes it: a client may send any text, of any
/// length, and a store may refuse what cannot be the name of an object.
pub(crate) fn plain(last: &str) -> Cow<'_, str> {
    const IN_NAMES: std::ops::RangeInclusive<char> = ' '..='~';
    if last.len() <= MAX_NAME_BYTES && last.chars().all(|character| IN_NAMES.contains(&character)) {
        return Cow::Borrowed(last);
    }
    let mut plain = String::new();
    // One more than a name has: a name that begins with all of it comes before what is cut off.
    while let Some(character) = last[plain.len()..].chars().next().filter(|_| plain.len() <= MAX_NAME_BYTES) {
        if !IN_NAMES.contains(&character) {
            // It is less than every character of a name, as the end is, or greater, as is the last of these.
            plain.extend((character > '~').then_some('~'));
            break;
        }
        plain.push(character);
    }
    Cow::Owned(plain)
}

impl Registry {
    /// The repositories behind `last`, in lexical order, at most `limit` of them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn catalog(&self, limit: usize, last: Option<&str>) -> Result<Paged<RepositoryName>, Error> {
        self.catalog_behind(limit, last, last.is_none()).await
    }

    /// As [`Registry::catalog`], of a listing that `begins` here or goes on: what of the catalog nobody is to be told is not
    /// read, so one may begin somewhere in it.
    pub(crate) async fn catalog_behind(
        &self,
        limit: usize,
        behind: Option<&str>,
        begins: bool,
    ) -> Result<Paged<RepositoryName>, Error> {
        if limit == 0 {
            return Ok(Paged { entries: Vec::new(), more: false });
        }
        self.catalog.page(self.store.as_ref(), limit, behind.map(plain).as_deref(), begins).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berth_storage::{Memory, Store, layout};

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    fn registry() -> (Arc<Memory>, Arc<Registry>) {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        let registry = Registry::new(store.clone(), store.clone(), Arc::new(Guard::new()), permissions);
        (store, Arc::new(registry))
    }

    /// Pages of `limit`, joined.
    async fn listed(registry: &Registry, limit: usize) -> Vec<String> {
        let (mut found, mut last): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let page = registry.catalog(limit, last.as_deref()).await.unwrap();
            assert!(page.entries.len() <= limit);
            found.extend(page.entries.iter().map(ToString::to_string));
            if !page.more {
                return found;
            }
            last = found.last().cloned();
        }
    }

    async fn behind(registry: &Registry, last: &str) -> Vec<String> {
        let page = registry.catalog(100, Some(last)).await.unwrap();
        page.entries.iter().map(ToString::to_string).collect()
    }

    async fn link(store: &Memory, repository: &str, below: &str) {
        let key = layout::repositories().join(&format!("{repository}/{below}/link")).unwrap();
        store.put(&key, "x".into()).await.unwrap();
    }

    const TAG: &str = "_manifests/tags/v1/current";

    #[tokio::test]
    async fn names_come_in_lexical_order_and_pages_join_without_loss() {
        let names = ["a", "a-b", "a-b/c", "a.b", "a/b", "a/b/c", "a0", "b/c/d", "z"];
        let (store, registry) = registry();
        for name in names.iter().rev() {
            link(&store, name, TAG).await;
        }
        for limit in 1..=names.len() + 1 {
            assert_eq!(listed(&registry, limit).await, names, "pages of {limit}");
        }
        let none = registry.catalog(0, None).await.unwrap();
        assert_eq!(none, Paged { entries: Vec::new(), more: false });
        for at in 0..names.len() {
            assert_eq!(behind(&registry, names[at]).await, &names[at + 1..]);
        }
        assert_eq!(behind(&registry, "a/").await, &names[4..], "last need not be a name");
        assert_eq!(behind(&registry, "zz").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_has_neither_manifests_nor_tags_is_not_listed() {
        let (store, registry) = registry();
        let hex = "0".repeat(64);
        link(&store, "tagged", TAG).await;
        link(&store, "untagged", &format!("_manifests/revisions/sha256/{hex}")).await;
        link(&store, "pushing", "_uploads/1").await;
        link(&store, "emptied", &format!("_layers/sha256/{hex}")).await;
        link(&store, "emptied", &format!("_manifests/tags/v1/index/sha256/{hex}")).await;
        link(&store, "emptied/below", TAG).await;
        link(&store, "Upper", TAG).await;
        assert_eq!(listed(&registry, 100).await, ["emptied/below", "tagged", "untagged"]);
    }

    /// A listing is going on while this process pushes and deletes: nothing acknowledged is missed, whether it lies before
    /// or behind where the walk has come.
    #[tokio::test]
    async fn a_listing_that_goes_on_knows_what_this_process_has_changed() {
        let (store, registry) = registry();
        for name in ["b", "d", "f", "h"] {
            link(&store, name, TAG).await;
        }
        let first = registry.catalog(2, None).await.unwrap();
        assert_eq!((first.entries.len(), first.more), (2, true));
        for name in ["c", "e/x", "g", "z"] {
            link(&store, name, TAG).await;
            registry.catalog.pushed(&name.parse().unwrap());
        }
        assert_eq!(behind(&registry, "b").await, ["c", "d", "e/x", "f", "g", "h", "z"]);
        assert_eq!(behind(&registry, "d").await, ["e/x", "f", "g", "h", "z"]);
        let tag = layout::repositories().join(&format!("f/{TAG}/link")).unwrap();
        store.delete(&tag).await.unwrap();
        registry.catalog.deleted();
        assert_eq!(behind(&registry, "d").await, ["e/x", "g", "h", "z"]);
    }

    /// Every page is cut from a walk that begins where the one before has ended, with what was read of the top once; and
    /// what is pushed meanwhile, at the top and below, is found.
    #[tokio::test]
    async fn a_walk_begins_anywhere_with_what_is_known_of_the_top() {
        let mut names: Vec<String> = (0..80_u32)
            .flat_map(|n| {
                [format!("a{n}"), format!("a{n}-b"), format!("a{n}.b/c"), format!("a{n}/b"), format!("a{n}/b/c{n}")]
            })
            .collect();
        names.sort_unstable();
        let (store, registry) = registry();
        for name in &names {
            link(&store, name, TAG).await;
        }
        for (at, name) in names.iter().enumerate() {
            // As a deletion of something else does: no window is left.
            registry.catalog.deleted();
            let found = behind(&registry, name).await;
            assert_eq!(found, &names[at + 1..(at + 101).min(names.len())], "{name}");
            let between = registry.catalog(1, Some(&format!("{name}!"))).await.unwrap();
            assert_eq!(between.entries.first().map(RepositoryName::as_str), names.get(at + 1).map(String::as_str));
        }
        for name in ["a1-new", "b/new/x", "0"] {
            registry.catalog.deleted();
            link(&store, name, TAG).await;
            registry.catalog.pushed(&name.parse().unwrap());
            names.push(name.to_owned());
            names.sort_unstable();
            assert_eq!(listed(&registry, 100).await, names);
            registry.catalog.deleted();
            let at = names.iter().position(|known| known == name).unwrap();
            let before = if at == 0 { "-" } else { names[at - 1].as_str() };
            assert_eq!(behind(&registry, before).await[0], name);
        }
    }

    #[tokio::test]
    async fn more_changes_than_are_noted_are_found_by_a_new_walk() {
        let (store, registry) = registry();
        link(&store, "a", TAG).await;
        assert_eq!(listed(&registry, 1).await, ["a"]);
        for n in 0..1100 {
            let name = format!("r{n:04}");
            link(&store, &name, TAG).await;
            registry.catalog.pushed(&name.parse().unwrap());
        }
        assert_eq!(behind(&registry, "a").await.len(), 100);
        assert_eq!(listed(&registry, 100).await.len(), 1101);
    }

    proptest::proptest! {
        /// Above all names that begin as the text does.
        #[test]
        fn the_same_names_come_behind_a_plain_text(
            begin in "[a-z0-9._/-]{0,4}|[a-z]{250,260}", end in "[ -~]{0,3}|\\PC{0,3}|[\\x00-\\x7f]{0,3}|x{300}",
            name_end in "[A-Za-z0-9._/-]{0,4}",
        ) {
            let (last, name) = (format!("{begin}{end}"), format!("{begin}{name_end}"));
            let plain = plain(&last);
            proptest::prop_assert!(plain.len() <= MAX_NAME_BYTES + 2 && plain.chars().all(|one| (' '..='~').contains(&one)));
            if name.len() <= MAX_NAME_BYTES {
                proptest::prop_assert_eq!(name.as_str() > last.as_str(), name.as_str() > plain.as_ref(), "{:?} {:?}", name, plain);
            }
        }
    }
}
