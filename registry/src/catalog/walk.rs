//! A walk over the repositories of a store, in the order of their names.
//!
//! Repositories nest: one is a directory that holds manifests, and more directories that may be repositories as well. The
//! order of keys is not the order of names (`a-b/` comes before `a/`), so directories wait in a map by name: whatever lies
//! below a directory is greater than the directory itself, so the least name in the map is the next one. The next few are
//! looked at together, before their turn, since each look is a way to the store.
//!
//! A level may have as many directories as there are repositories. On a file system it is read at once, and the top of it is
//! kept for many walks ([`Top`]). On an object store each level is read a few names at a time (`level`), never further than
//! the walk has come: so the price of a page of the catalog does not depend on how many repositories there are, wherever it
//! begins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use berth_oci::{MAX_NAME_BYTES, RepositoryName};
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{EntryKind, Key, ListRequest, MAX_PAGE, Store, list_all};
use futures::{StreamExt, TryStreamExt, stream};

use super::level::names_behind;
use crate::error::Error;

/// How many directories are looked at together.
const LOOKS_AT_ONCE: usize = 16;

/// How many directories ahead a walk has in its map at least, while there are more.
const MIN_AHEAD: usize = 2 * LOOKS_AT_ONCE;

/// How many names of a level are read at once from an object store.
const LEVEL_PAGE: usize = 100;

/// The directories at the top of a store, as they were at some time, and those that this process has added since.
#[derive(Clone, Debug)]
pub(super) struct Top {
    /// In lexical order; none if they are to be read by each walk, as far as it comes.
    names: Option<Arc<[RepositoryName]>>,
    /// Repositories that were pushed to since, at whatever depth.
    pub(super) added: BTreeSet<RepositoryName>,
    /// When it began to be read.
    pub(super) read: Instant,
}

impl Top {
    /// Reads it from the store, where that is cheap.
    pub(super) async fn read(store: &dyn Store, now: Instant) -> Result<Self, Error> {
        let names = match store.is_remote() {
            true => None,
            false => {
                let mut names = directories(store, &layout::repositories(), "").await?.0;
                names.sort_unstable();
                Some(names.into())
            }
        };
        Ok(Top { names, added: BTreeSet::new(), read: now })
    }
}

/// How far a walk has come.
#[derive(Debug)]
pub(super) struct Walk {
    /// What lies before this name, or is it, is passed over.
    behind: Option<String>,
    /// The next directories, and of those that were looked at whether they are repositories.
    ahead: BTreeMap<RepositoryName, Option<bool>>,
    /// Levels of which not all names have been taken in yet. What is missing of one is greater than the first ahead.
    levels: Vec<Level>,
}

/// A level that is read by and by.
#[derive(Debug)]
struct Level {
    /// What stands before its names: empty at the top, or else a directory with a slash.
    prefix: String,
    /// Names that were read and not taken in yet, and where in them the next one is.
    names: Arc<[RepositoryName]>,
    taken: usize,
    /// The last name that was read, without the prefix; where to go on.
    last: Option<String>,
    /// Whether there is nothing more to read.
    is_whole: bool,
}

/// What a look at a directory finds.
struct Looked {
    name: RepositoryName,
    is_repository: bool,
    below: Vec<RepositoryName>,
    level: Option<Level>,
}

impl Level {
    /// A level of which nothing was read yet, from behind a name.
    fn behind(prefix: String, last: Option<&str>) -> Self {
        Level { prefix, names: Arc::default(), taken: 0, last: last.map(str::to_owned), is_whole: false }
    }

    fn next(&self) -> Option<&RepositoryName> {
        self.names.get(self.taken)
    }

    /// Reads the next names, if those that were read are taken in.
    async fn read_on(&mut self, store: &dyn Store) -> Result<(), Error> {
        while self.next().is_none() && !self.is_whole {
            let directory = match self.prefix.strip_suffix('/') {
                None => layout::repositories(),
                Some(name) => layout::repositories().join(name).map_err(berth_storage::StoreError::from)?,
            };
            let found = names_behind(store, &directory, self.last.as_deref(), LEVEL_PAGE).await?;
            if let Some(last) = found.names.last() {
                self.last = Some(last.clone());
            }
            self.is_whole = found.is_last;
            let names = found.names.into_iter().filter(|name| !name.starts_with('_'));
            self.names = names.filter_map(|name| format!("{}{name}", self.prefix).parse().ok()).collect();
            self.taken = 0;
        }
        Ok(())
    }
}

impl Walk {
    /// A walk over what lies behind a name, or over everything.
    pub(super) fn new(behind: Option<&str>, top: &Top) -> Self {
        let Top { names, added, read: _ } = top;
        // Of what lies before the name, only what the name begins with may have something behind it: `a/x` lies behind `a-b`.
        let above = behind.into_iter().flat_map(|behind| {
            let cuts = behind.char_indices().map(|(at, _)| at).chain([behind.len()]).skip(1).take(MAX_NAME_BYTES);
            let cuts = cuts.filter(|at| behind[*at..].chars().next().is_none_or(|character| character <= '/'));
            cuts.filter_map(|at| behind[..at].parse::<RepositoryName>().ok())
        });
        let top = match names {
            None => Level::behind(String::new(), behind),
            Some(names) => {
                let taken = names.partition_point(|name| behind.is_some_and(|behind| name.as_str() < behind));
                Level { prefix: String::new(), names: names.clone(), taken, last: None, is_whole: true }
            }
        };
        let ahead = above.chain(added.iter().cloned()).map(|name| (name, None)).collect();
        Walk { behind: behind.map(str::to_owned), ahead, levels: vec![top] }
    }

    /// The next repository; none at the end.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Option<RepositoryName>, Error> {
        loop {
            self.take_in(store).await?;
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

    /// Takes in the next few names of every level, and all that lie before the first one ahead.
    async fn take_in(&mut self, store: &dyn Store) -> Result<(), Error> {
        let mut at = 0;
        while let Some(level) = self.levels.get_mut(at) {
            level.read_on(store).await?;
            let Some(name) = level.next() else {
                self.levels.swap_remove(at);
                // What was at the end is here now, and has to be seen as well.
                continue;
            };
            let is_due = self.ahead.first_key_value().is_none_or(|(first, _)| name <= first);
            if !is_due && self.ahead.len() >= MIN_AHEAD {
                at += 1;
                continue;
            }
            self.ahead.entry(name.clone()).or_insert(None);
            level.taken += 1;
        }
        Ok(())
    }

    /// How many names wait.
    pub(super) fn ahead(&self) -> usize {
        self.ahead.len() + self.levels.iter().filter(|level| !level.prefix.is_empty()).count() * LEVEL_PAGE
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
            match store.is_remote() {
                true => look_from_afar(store, name, behind).await,
                false => look_at(store, name, behind).await,
            }
        }))
        .buffered(LOOKS_AT_ONCE)
        .try_collect()
        .await?;
        for Looked { name, is_repository, below, level } in looks {
            // A directory that is looked at again has its level already, or is past it.
            let is_known = |level: &Level| self.levels.iter().any(|known| known.prefix == level.prefix);
            self.levels.extend(level.filter(|level| !is_known(level)));
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

fn is_wanted(name: &RepositoryName, behind: Option<&str>) -> bool {
    behind.is_none_or(|behind| name.as_str() > behind)
}

/// A look where a listing is as cheap as reading a directory.
async fn look_at(store: &dyn Store, name: RepositoryName, behind: Option<&str>) -> Result<Looked, Error> {
    let (below, has_manifests) = directories(store, &layout::repository(&name), &format!("{name}/")).await?;
    let is_repository = is_wanted(&name, behind) && has_manifests && is_repository(store, &name).await?;
    Ok(Looked { name, is_repository, below, level: None })
}

/// A look in as few requests as there can be: one for the manifests and one for the first names below.
async fn look_from_afar(store: &dyn Store, name: RepositoryName, behind: Option<&str>) -> Result<Looked, Error> {
    let prefix = format!("{name}/");
    let mut level = Level::behind(prefix.clone(), behind.and_then(|behind| behind.strip_prefix(&prefix)));
    let manifests = async {
        match is_wanted(&name, behind) {
            true => is_repository(store, &name).await,
            false => Ok(false),
        }
    };
    let (is_repository, read) = futures::future::join(manifests, level.read_on(store)).await;
    read?;
    Ok(Looked {
        is_repository: is_repository?,
        below: Vec::new(),
        level: level.next().is_some().then_some(level),
        name,
    })
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
        let request = ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit };
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
