//! The names of one level of a store in lexical order, out of listings that are in the order of keys.
//!
//! The two orders differ where one name goes on from another with a character before the slash: `a-b/` stands before `a/`,
//! and with it everything else that begins with `a-` and `a.`, which may be a hundred thousand names. So a name may come long
//! after those that go on from it. But of a page that ends at a key, only the beginnings of that one key can still come: a
//! name that is greater as a key and less as a name than something on the page goes around the end of the page. These few
//! are asked for one by one. What is then known are all names up to some name, and the listing goes on from any name for the
//! price of one page.

use std::collections::BTreeSet;

use berth_storage::{Cursor, EntryKind, Key, ListRequest, MAX_PAGE, Store};

use crate::error::Error;

/// The next names of a level.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// In lexical order.
    pub(crate) names: Vec<String>,
    /// Whether there are no more behind the last.
    pub(crate) is_last: bool,
}

/// The beginnings of a name that stand behind it in the order of keys: cut before a character that is less than the slash.
pub(crate) fn beginnings(name: &str) -> impl Iterator<Item = &str> {
    name.char_indices().skip(1).filter(|(_, character)| *character < '/').map(|(at, _)| &name[..at])
}

/// The next directories below a key, behind a name or from the beginning: at least `enough` of them unless there are no more.
///
/// # Errors
/// What the store says.
pub(crate) async fn names_behind(
    store: &dyn Store,
    below: &Key,
    behind: Option<&str>,
    enough: usize,
) -> Result<Names, Error> {
    let limit = enough.saturating_add(1).min(MAX_PAGE);
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut after: Option<Cursor> = None;
    let is_behind = |name: &str| behind.is_none_or(|behind| name > behind);
    loop {
        let request = ListRequest { below, behind, one_level: true, after: after.as_ref(), limit };
        let page = store.list(request).await?;
        let directories = page.entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let names = directories.map(|entry| entry.key.file_name());
        found.extend(names.filter(|name| is_behind(name)).map(str::to_owned));
        let Some(next) = page.next else { return Ok(Names { names: found.into_iter().collect(), is_last: true }) };
        if let Some(last) = page.entries.last().map(|entry| entry.key.file_name()) {
            for name in beginnings(last).filter(|name| is_behind(name)) {
                if !found.contains(name) && exists(store, below, name).await? {
                    found.insert(name.to_owned());
                }
            }
        }
        if found.len() >= enough {
            return Ok(Names { names: found.into_iter().collect(), is_last: false });
        }
        after = Some(next);
    }
}

/// Whether anything lies below a name.
async fn exists(store: &dyn Store, below: &Key, name: &str) -> Result<bool, Error> {
    let Ok(below) = below.join(name) else { return Ok(false) };
    let mut after: Option<Cursor> = None;
    loop {
        let request = ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: 1 };
        let page = store.list(request).await?;
        // A page of nothing need not be the last.
        if !page.entries.is_empty() || page.next.is_none() {
            return Ok(!page.entries.is_empty());
        }
        after = page.next;
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::Memory;

    use super::*;

    #[test]
    fn beginnings_are_cut_before_what_is_less_than_a_slash() {
        let of = |name| beginnings(name).collect::<Vec<_>>();
        assert_eq!(of("v1.2-rc.1"), ["v1", "v1.2", "v1.2-rc"]);
        assert_eq!(of("v1_2"), Vec::<&str>::new());
        assert_eq!(of("-a"), Vec::<&str>::new(), "of nothing there is no name");
    }

    proptest::proptest! {
        #[test]
        fn pages_from_any_name_join_to_all_names_in_order(
            names in proptest::collection::btree_set("[a1]([-._a1]{0,4})", 1..40),
            enough in 1_usize..6,
            behind in proptest::option::of("[a1]([-._a1/]{0,4})"),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (store, below) = (Memory::new(), "level".parse::<Key>().unwrap());
                for name in &names {
                    store.put(&below.join(&format!("{name}/_x/y")).unwrap(), "".into()).await.unwrap();
                    store.put(&below.join(&format!("file-{name}")).unwrap(), "".into()).await.unwrap();
                }
                let (mut found, mut last) = (Vec::new(), behind.clone());
                loop {
                    let page = names_behind(&store, &below, last.as_deref(), enough).await.unwrap();
                    assert!(page.is_last || page.names.len() >= enough);
                    found.extend(page.names);
                    if page.is_last {
                        break;
                    }
                    last = found.last().cloned();
                }
                let expected: Vec<String> =
                    names.iter().filter(|name| behind.as_ref().is_none_or(|behind| *name > behind)).cloned().collect();
                assert_eq!(found, expected);
            });
        }
    }
}
