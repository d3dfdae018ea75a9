//! A walk over the repositories of a store, in the order of their names.
//!
//! Repositories nest: one is a directory that holds manifests, and more directories that may be repositories as well. The
//! order of keys is not the order of names (`a-b/` comes before `a/`), so directories wait in a map by name: whatever lies
//! below a directory is greater than the directory itself, so the least name in the map is the next one. The next few are
//! looked at together, before their turn, since each look is a way to the store.
//!
//! The directories at the top may be as many as there are repositories, so they are read once for many walks ([`Top`]), and
//! a walk takes in only the next few: to begin one in the middle costs no more than its first page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use berth_oci::{MAX_NAME_BYTES, RepositoryName};
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{EntryKind, Key, ListRequest, MAX_PAGE, Store, list_all};
use futures::{StreamExt, TryStreamExt, stream};

use crate::error::Error;

/// How many directories are looked at together.
const LOOKS_AT_ONCE: usize = 16;

/// How many directories ahead a walk has in its map at least, while there are more at the top.
const MIN_AHEAD: usize = 2 * LOOKS_AT_ONCE;

/// The directories at the top of a store, as they were at some time, and those that this process has added since.
#[derive(Clone, Debug)]
pub(super) struct Top {
    /// In lexical order.
    names: Arc<[RepositoryName]>,
    /// Repositories that were pushed to since, at whatever depth.
    pub(super) added: BTreeSet<RepositoryName>,
    /// When it began to be read.
    pub(super) read: Instant,
}

impl Top {
    /// Reads it from the store.
    pub(super) async fn read(store: &dyn Store, now: Instant) -> Result<Self, Error> {
        let mut names = directories(store, &layout::repositories(), "").await?.0;
        names.sort_unstable();
        Ok(Top { names: names.into(), added: BTreeSet::new(), read: now })
    }
}

/// How far a walk has come.
#[derive(Debug)]
pub(super) struct Walk {
    /// What lies before this name, or is it, is passed over.
    behind: Option<String>,
    /// The next directories, and of those that were looked at whether they are repositories. What of `top` was not taken in
    /// yet is greater than the first of them.
    ahead: BTreeMap<RepositoryName, Option<bool>>,
    top: Arc<[RepositoryName]>,
    /// How much of `top` was taken in.
    taken: usize,
}

/// What a look at a directory finds.
struct Looked {
    name: RepositoryName,
    is_repository: bool,
    below: Vec<RepositoryName>,
}

impl Walk {
    /// A walk over what lies behind a name, or over everything.
    pub(super) fn new(behind: Option<&str>, top: &Top) -> Self {
        let Top { names, added, read: _ } = top;
        let start = names.partition_point(|name| behind.is_some_and(|behind| name.as_str() < behind));
        // Of those before the name, only what the name begins with may have something behind it: `a/x` lies behind `a-b`.
        let prefixes = behind
            .into_iter()
            .flat_map(|behind| (1..=behind.len().min(MAX_NAME_BYTES)).filter_map(|end| behind.get(..end)));
        let above = prefixes.filter_map(|prefix| {
            let at = names[..start].binary_search_by(|name| name.as_str().cmp(prefix)).ok()?;
            Some(names[at].clone())
        });
        let ahead = above.chain(added.iter().cloned()).map(|name| (name, None)).collect();
        Walk { behind: behind.map(str::to_owned), ahead, top: names.clone(), taken: start }
    }

    /// The next repository; none at the end.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Option<RepositoryName>, Error> {
        loop {
            self.take_in();
            match self.ahead.first_entry() {
                None => return Ok(None),
                Some(entry) => match *entry.get() {
                    Some(true) => return Ok(Some(entry.remove_entry().0)),
                    Some(false) => {
                        entry.remove();
                    }
                    None => self.look(store).await?,
                },
            }
        }
    }

    /// Takes in the next few of the directories at the top, and all that lie before the first one ahead.
    fn take_in(&mut self) {
        while let Some(name) = self.top.get(self.taken) {
            let is_due = self.ahead.first_key_value().is_none_or(|(first, _)| name <= first);
            if !is_due && self.ahead.len() >= MIN_AHEAD {
                return;
            }
            self.ahead.entry(name.clone()).or_insert(None);
            self.taken += 1;
        }
    }

    /// How many names wait.
    pub(super) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// A directory ahead may have become a repository.
    pub(super) fn look_again(&mut self, name: RepositoryName) {
        self.ahead.insert(name, None);
    }

    /// Looks at the next few directories.
    async fn look(&mut self, store: &dyn Store) -> Result<(), Error> {
        let behind = self.behind.as_deref();
        let mut names = Vec::with_capacity(LOOKS_AT_ONCE);
        for (name, looked) in &mut self.ahead {
            if names.len() == LOOKS_AT_ONCE {
                break;
            }
            if looked.is_none() {
                if ends_before(name, behind) {
                    *looked = Some(false);
                } else {
                    names.push(name.clone());
                }
            }
        }
        let looks: Vec<Looked> = stream::iter(names.into_iter().map(|name| async move {
            let is_behind = behind.is_none_or(|behind| name.as_str() > behind);
            look_at(store, name, is_behind).await
        }))
        .buffered(LOOKS_AT_ONCE)
        .try_collect()
        .await?;
        for Looked { name, is_repository, below } in looks {
            self.ahead.insert(name, Some(is_repository));
            for name in below.into_iter().filter(|name| !ends_before(name, behind)) {
                self.ahead.entry(name).or_insert(None);
            }
        }
        Ok(())
    }
}

/// Whether a directory and all below it lie before a name.
fn ends_before(name: &RepositoryName, behind: Option<&str>) -> bool {
    let Some(behind) = behind else { return false };
    let below = format!("{name}/");
    !behind.starts_with(&below) && below.as_str() < behind
}

async fn look_at(store: &dyn Store, name: RepositoryName, is_wanted: bool) -> Result<Looked, Error> {
    let (below, has_manifests) = directories(store, &layout::repository(&name), &format!("{name}/")).await?;
    let is_repository = is_wanted && has_manifests && is_repository(store, &name).await?;
    Ok(Looked { name, is_repository, below })
}

/// The directories in one that may be repositories, and whether it may be one itself. A path that is no valid name cannot
/// be asked for, and neither can anything below it.
async fn directories(store: &dyn Store, directory: &Key, prefix: &str) -> Result<(Vec<RepositoryName>, bool), Error> {
    let (mut names, mut has_manifests) = (Vec::new(), false);
    for entry in list_all(store, directory, true).await? {
        let name = entry.key.file_name();
        if entry.kind != EntryKind::Directory {
            continue;
        }
        has_manifests |= name == layout::MANIFESTS;
        if !name.starts_with('_') {
            names.extend(format!("{prefix}{name}").parse::<RepositoryName>().ok());
        }
    }
    Ok((names, has_manifests))
}

/// Whether a repository has a manifest or a tag. Directories say nothing: CNCF Distribution leaves empty ones of what it
/// has deleted, and an object store has none.
///
/// # Errors
/// What the store says.
pub(crate) async fn is_repository(store: &dyn Store, name: &RepositoryName) -> Result<bool, Error> {
    let below = layout::manifests(name);
    // Manifests come before tags, so the first object nearly always is the answer.
    let (mut after, mut limit) = (None, 1);
    loop {
        let request = ListRequest { below: &below, one_level: false, after: after.as_ref(), limit };
        let page = store.list(request).await?;
        let counts = |key| {
            let kind = layout::parse_repository_object(key).map(|object| object.kind);
            matches!(kind, Some(RepositoryObjectKind::Revision(_) | RepositoryObjectKind::TagCurrent(_)))
        };
        if page.entries.iter().any(|entry| counts(&entry.key)) {
            return Ok(true);
        }
        match page.next {
            None => return Ok(false),
            next => (after, limit) = (next, MAX_PAGE),
        }
    }
}
