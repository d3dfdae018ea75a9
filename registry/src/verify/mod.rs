//! Verification of a store: every link leads to what it says, every byte has its digest, every manifest has what it refers
//! to. What is of no use can be moved aside; nothing is deleted.
//!
//! Blobs come first, a few read at a time and in pieces. Then one repository after another is read as plain data, and
//! [`repository::judge`] says what is wrong with it. Only the digests of blobs are held in memory throughout.
//!
//! Beside a running server the store changes meanwhile. So a repository with which something is wrong is read once more,
//! with blobs looked up anew, and only what is wrong both times is found: a push that was in between has ended its
//! writes, or has taken back what it never acknowledged. A repair needs the store for itself.

mod command;
mod content;
mod report;
mod repository;

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_oci::{Digest, RepositoryName};
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{EntryKind, Key, ListRequest, MAX_PAGE, Store, list_all};

use crate::error::Error;
use content::Blobs;

pub(crate) use command::{Verify, root, verify};
pub use report::{Finding, Kind, Looked, MAX_FINDINGS, Report};

/// What a verification is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether what is of no use is moved aside. Only for who has the store alone.
    pub repair: bool,
    /// Whether the bytes of blobs are read.
    pub content: bool,
    /// How many blobs are read at once.
    pub jobs: usize,
    /// Whether progress is told on standard error.
    pub tells: bool,
}

/// Verifies a store.
///
/// # Errors
/// When it cannot be listed. What cannot be read is found as such.
pub async fn run(store: &dyn Store, options: Options) -> Result<Report, Error> {
    let start = jiff::Timestamp::now();
    let aside = options.repair.then(|| layout::aside(&start.strftime("%Y%m%dT%H%M%SZ").to_string()));
    let mut verifier = Verifier {
        store,
        blobs: content::list(store).await?,
        lost: HashSet::new(),
        hashed: options.content.then(HashMap::new),
        aside: aside.transpose().map_err(berth_storage::StoreError::from)?,
        telling: Telling::new(options.tells),
        report: Report::begin(options.content, start),
    };
    verifier.blobs(options).await;
    verifier.repositories().await?;
    let Verifier { mut report, aside, .. } = verifier;
    report.aside = aside.filter(|_| report.moved > 0).map(|key| key.to_string());
    report.end = jiff::Timestamp::now();
    Ok(report)
}

struct Verifier<'a> {
    store: &'a dyn Store,
    blobs: Blobs,
    /// The blobs whose bytes are wrong.
    lost: HashSet<Digest>,
    /// The digests of what aliases lead to: each alias with what it says. None if bytes are not to be read.
    hashed: Option<HashMap<(Digest, Digest), Digest>>,
    /// Where things are moved, if they are.
    aside: Option<Key>,
    telling: Telling,
    report: Report,
}

/// The objects of one repository.
type Objects = Vec<(RepositoryObjectKind, Key)>;

impl Verifier<'_> {
    async fn blobs(&mut self, options: Options) {
        let Options { content, jobs, .. } = options;
        self.report.looked.blobs = self.blobs.len() as u64;
        self.report.looked.bytes = self.blobs.values().sum();
        for (digest, finding) in content::check(self.store, &self.blobs, content, jobs, &self.telling).await {
            if finding.kind == Kind::WrongContent {
                self.lost.insert(digest);
            }
            self.found(finding).await;
        }
    }

    /// Lists all repositories. The objects of one stand together, since those of one below it do not begin with an
    /// underscore.
    async fn repositories(&mut self) -> Result<(), Error> {
        let (below, mut after) = (layout::repositories(), None);
        let mut current: Option<(String, Objects)> = None;
        loop {
            let request =
                ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
            let page = self.store.list(request).await?;
            for entry in page.entries {
                if !matches!(entry.kind, EntryKind::Object(_)) {
                    continue;
                }
                let Some(object) = layout::parse_repository_object(&entry.key) else { continue };
                let (name, kind) = (object.repository.to_owned(), object.kind);
                match &mut current {
                    Some((at, objects)) if *at == name => objects.push((kind, entry.key)),
                    _ => {
                        if let Some((at, objects)) = current.replace((name, vec![(kind, entry.key)])) {
                            self.repository(&at, objects).await?;
                        }
                    }
                }
            }
            match page.next {
                None => break,
                next => after = next,
            }
        }
        if let Some((at, objects)) = current {
            self.repository(&at, objects).await?;
        }
        Ok(())
    }

    async fn repository(&mut self, name: &str, objects: Objects) -> Result<(), Error> {
        self.report.looked.repositories += 1;
        let Ok(name) = name.parse::<RepositoryName>() else {
            let key = format!("{}/{name}", layout::repositories());
            let message = "it is no repository name, so nobody can ask for it".to_owned();
            self.found(Finding { kind: Kind::InvalidName, key, repository: None, message, aside: None }).await;
            return Ok(());
        };
        let known = |digest: &Digest| match self.lost.contains(digest) {
            true => Some(true),
            false => self.blobs.contains_key(digest).then_some(false),
        };
        let mut contents = repository::read(self.store, &name, &objects, known).await?;
        if let Some(hashed) = &mut self.hashed {
            contents.hash_aliases(self.store, hashed).await;
        }
        let looked = &mut self.report.looked;
        looked.manifests += contents.revisions.len() as u64;
        looked.tags += contents.tags.len() as u64;
        looked.links += contents.links() as u64;
        let repositories = looked.repositories;
        self.telling.tell(false, || format!("{repositories} repositories, now {name}"));
        let findings = repository::judge(&contents);
        if findings.is_empty() {
            return Ok(());
        }
        for finding in self.confirmed(&name, findings).await? {
            self.found(finding).await;
        }
        Ok(())
    }

    /// What is still so when it is looked at again.
    async fn confirmed(&mut self, name: &RepositoryName, findings: Vec<Finding>) -> Result<Vec<Finding>, Error> {
        let mut objects = Objects::new();
        for directory in layout::own_directories(name) {
            for entry in list_all(self.store, &directory, false).await? {
                if let Some(object) = layout::parse_repository_object(&entry.key) {
                    objects.push((object.kind, entry.key.clone()));
                }
            }
        }
        // Only of broken bytes is it known that they are lost: whether others are there is asked anew.
        let known = |digest: &Digest| self.lost.contains(digest).then_some(true);
        let mut again = repository::read(self.store, name, &objects, known).await?;
        if let Some(hashed) = &mut self.hashed {
            again.hash_aliases(self.store, hashed).await;
        }
        let again = repository::judge(&again);
        let again: HashSet<(Kind, &str)> = again.iter().map(|finding| (finding.kind, finding.key.as_str())).collect();
        let still = |finding: &Finding| again.contains(&(finding.kind, finding.key.as_str()));
        Ok(findings.into_iter().filter(still).collect())
    }

    /// Moves aside what is of no use, if that is asked for, and notes what was found.
    async fn found(&mut self, mut finding: Finding) {
        if let Some(aside) = self.aside.as_ref().filter(|_| finding.kind.is_movable()) {
            match move_aside(self.store, &finding.key, aside).await {
                Ok(to) => finding.aside = Some(to.to_string()),
                Err(error) => finding.message = format!("{}; it cannot be moved aside: {error}", finding.message),
            }
        }
        self.report.add(finding);
    }
}

/// Copied before it is deleted: whatever fails, the object is in one of the two places.
async fn move_aside(store: &dyn Store, key: &str, aside: &Key) -> Result<Key, Error> {
    let from: Key = key.parse().map_err(berth_storage::StoreError::from)?;
    let to = aside.join(key).map_err(berth_storage::StoreError::from)?;
    store.copy(&from, &to).await?;
    store.delete(&from).await?;
    Ok(to)
}

/// What is told of progress: at most once a second, and the last of it.
pub(crate) struct Telling {
    tells: bool,
    told: Mutex<Option<Instant>>,
}

impl Telling {
    const PAUSE: Duration = Duration::from_secs(1);

    pub(crate) fn new(tells: bool) -> Self {
        Telling { tells, told: Mutex::default() }
    }

    pub(crate) fn tell(&self, is_last: bool, line: impl FnOnce() -> String) {
        if !self.tells {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_last && told.is_some_and(|told| told.elapsed() < Telling::PAUSE) {
            return;
        }
        *told = Some(Instant::now());
        // Over the line before, for who looks at it; a line each in a log.
        match std::io::stderr().is_terminal() && !is_last {
            true => eprint!("\r\x1b[K{}", line()),
            false => eprintln!("{}", line()),
        }
    }
}
