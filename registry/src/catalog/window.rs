//! A part of the catalog that is remembered, so that the pages of one listing do not each begin the walk anew.
//!
//! A window is what a walk has found so far, and the walk, which goes on when more is asked for. What this process changes
//! is noted, and every window knows of it before the next page is cut: whoever has pushed finds what it pushed. What other
//! processes change is seen by whoever begins a listing a second later; a listing that goes on sees the registry as it was
//! when it began, at most half a minute ago.
//!
//! Why a note is not missed: it is made after the links are written and before the push is acknowledged, and a page takes
//! all notes before it is cut. A walk that passed before the links were there is told of them by the note; one that comes
//! by later sees them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_oci::RepositoryName;
use berth_storage::Store;

use super::Paged;
use super::walk::{Top, Walk};
use crate::error::Error;

/// For how long a walk stands for a listing that begins.
const FRESH: Duration = Duration::from_secs(1);
/// For how long a walk stands for a listing that goes on.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How many listings are remembered at once.
const MAX_WINDOWS: usize = 32;
/// How many names a window holds, of at most 255 bytes each, beside those of one page.
const MAX_NAMES: usize = 32 * 1024;
/// How many names all windows hold together, beside those of the one that was used last.
const MAX_ALL_NAMES: usize = 64 * 1024;
/// How many pushed repositories are noted one by one.
const MAX_NOTES: usize = 1024;

/// What is remembered of a catalog.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// One page at a time is cut: a walk is work for the store, not for us.
    remembered: tokio::sync::Mutex<Remembered>,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// In the order of use, the latest last.
    windows: Vec<Window>,
    /// What walks begin with. Directories at the top are only where to look, so it stands also when something was deleted.
    top: Option<Top>,
}

/// What has changed since the last page.
#[derive(Debug, Default)]
struct Notes {
    pushed: BTreeSet<RepositoryName>,
    /// More was pushed to than was noted.
    too_many: bool,
    /// Something has gone.
    deleted: bool,
}

#[derive(Debug)]
struct Window {
    /// What is not behind this name is not in the window.
    behind: Option<String>,
    names: Vec<RepositoryName>,
    walk: Walk,
    has_ended: bool,
    begun: Instant,
}

impl Windows {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A manifest was pushed to a repository, which may be new.
    pub(crate) fn pushed(&self, name: &RepositoryName) {
        let mut notes = self.notes();
        if notes.pushed.contains(name) || notes.too_many {
            return;
        }
        if notes.pushed.len() == MAX_NOTES {
            notes.pushed.clear();
            notes.too_many = true;
        } else {
            notes.pushed.insert(name.clone());
        }
    }

    /// Manifests or tags were deleted, and repositories may have gone with them.
    pub(crate) fn deleted(&self) {
        self.notes().deleted = true;
    }

    /// The repositories behind `last`, at most `limit` of them. A listing that begins, wherever it does, is not served from
    /// what was read long ago.
    pub(super) async fn page(
        &self,
        store: &dyn Store,
        limit: usize,
        last: Option<&str>,
        begins: bool,
    ) -> Result<Paged<RepositoryName>, Error> {
        let mut remembered = self.remembered.lock().await;
        let notes = std::mem::take(&mut *self.notes());
        let now = Instant::now();
        remembered.take(notes, now);
        let max_age = if begins { FRESH } else { MAX_AGE };
        let found = remembered.windows.iter().rposition(|window| window.serves(last, max_age, now));
        // Taken out: if the walk fails or the client goes away meanwhile, the window is lost.
        let mut window = match found {
            Some(at) => remembered.windows.remove(at),
            None => remembered.begin(store, last, max_age, now).await?,
        };
        let page = window.page(store, limit, last).await?;
        remembered.keep(window);
        Ok(page)
    }
}

impl Remembered {
    fn take(&mut self, notes: Notes, now: Instant) {
        let Notes { pushed, too_many, deleted } = notes;
        if too_many || deleted {
            self.windows.clear();
        }
        self.windows.retain(|window| now.saturating_duration_since(window.begun) < MAX_AGE);
        self.top.take_if(|top| {
            let is_old = now.saturating_duration_since(top.read) >= MAX_AGE;
            is_old || too_many || top.added.len() + pushed.len() > MAX_NOTES
        });
        for name in pushed {
            self.windows.iter_mut().for_each(|window| window.add(&name));
            if let Some(top) = &mut self.top {
                top.added.insert(name);
            }
        }
    }

    /// A window for a listing that no other serves.
    async fn begin(
        &mut self,
        store: &dyn Store,
        last: Option<&str>,
        max_age: Duration,
        now: Instant,
    ) -> Result<Window, Error> {
        self.top.take_if(|top| now.saturating_duration_since(top.read) >= max_age);
        let top = match self.top.take() {
            Some(top) => top,
            None => Top::read(store, now).await?,
        };
        let top = self.top.insert(top);
        Ok(Window::new(last, top))
    }

    fn keep(&mut self, window: Window) {
        self.windows.push(window);
        let mut all: usize = self.windows.iter().map(Window::held).sum();
        while self.windows.len() > MAX_WINDOWS || (all > MAX_ALL_NAMES && self.windows.len() > 1) {
            all -= self.windows.remove(0).held();
        }
    }
}

impl Window {
    fn new(behind: Option<&str>, top: &Top) -> Self {
        let walk = Walk::new(behind, top);
        Window { behind: behind.map(str::to_owned), names: Vec::new(), walk, has_ended: false, begun: top.read }
    }

    /// How many names it holds: a namespace may have as many directories as the whole catalog has repositories.
    fn held(&self) -> usize {
        self.names.len() + self.walk.ahead()
    }

    /// Up to where the walk has come.
    fn reach(&self) -> Option<&str> {
        self.names.last().map(RepositoryName::as_str).or(self.behind.as_deref())
    }

    /// Whether a page behind `last` can be cut from this window without a long way to it.
    fn serves(&self, last: Option<&str>, max_age: Duration, now: Instant) -> bool {
        let is_young = now.saturating_duration_since(self.begun) < max_age;
        is_young && self.behind.as_deref() <= last && (self.has_ended || last <= self.reach())
    }

    /// Takes in a repository that has manifests now.
    fn add(&mut self, name: &RepositoryName) {
        if self.behind.as_deref() >= Some(name.as_str()) {
            return;
        }
        if !self.has_ended && self.reach() < Some(name.as_str()) {
            self.walk.look_again(name.clone());
        } else if let Err(at) = self.names.binary_search(name) {
            self.names.insert(at, name.clone());
        }
    }

    async fn page(
        &mut self,
        store: &dyn Store,
        limit: usize,
        last: Option<&str>,
    ) -> Result<Paged<RepositoryName>, Error> {
        let start = self.names.partition_point(|name| last.is_some_and(|last| name.as_str() <= last));
        let end = start.saturating_add(limit);
        while self.names.len() <= end && !self.has_ended {
            match self.walk.next(store).await? {
                Some(name) => self.names.push(name),
                None => self.has_ended = true,
            }
        }
        let more = self.names.len() > end;
        let entries = self.names[start..end.min(self.names.len())].to_vec();
        if start > MAX_NAMES {
            // A listing goes forward, so what lies before this page is asked for no more.
            self.behind = self.names.drain(..start).next_back().map(|name| name.to_string());
        }
        Ok(Paged { entries, more })
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::{Memory, layout};

    use super::*;

    #[tokio::test]
    async fn what_a_walk_has_ahead_counts_too() {
        let mut remembered = Remembered::default();
        let top = Top::read(&Memory::new(), Instant::now()).await.unwrap();
        let window = |count: usize| {
            let mut window = Window::new(None, &top);
            (0..count).for_each(|n| window.walk.look_again(format!("org/{n}").parse().unwrap()));
            window
        };
        for (count, kept) in [(1, 1), (MAX_ALL_NAMES / 2, 2), (MAX_ALL_NAMES / 2, 2), (2 * MAX_ALL_NAMES, 1), (1, 1)] {
            remembered.keep(window(count));
            assert_eq!(remembered.windows.len(), kept, "one with {count} names");
        }
    }

    /// Who may list what begins with `team` begins there, and not at the first name.
    #[tokio::test]
    async fn a_listing_that_begins_further_on_is_as_fresh_as_one_at_the_first_name() {
        let (store, windows) = (Memory::new(), Windows::default());
        let push = async |name: &str| {
            let link = format!("{name}/_manifests/tags/v1/current/link");
            store.put(&layout::repositories().join(&link).unwrap(), "x".into()).await.unwrap();
        };
        let page = async |begins: bool| {
            let page = windows.page(&store, 10, Some("teal~"), begins).await.unwrap();
            page.entries.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        push("team/a").await;
        assert_eq!(page(true).await, ["team/a"]);
        // By another process.
        push("team/b").await;
        let mut remembered = windows.remembered.lock().await;
        remembered.windows.iter_mut().for_each(|window| window.begun -= FRESH);
        remembered.top.iter_mut().for_each(|top| top.read -= FRESH);
        drop(remembered);
        assert_eq!(page(false).await, ["team/a"], "it goes on as it began");
        assert_eq!(page(true).await, ["team/a", "team/b"]);
    }
}
