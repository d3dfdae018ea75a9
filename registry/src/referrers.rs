//! Referrers: the manifests of a repository that say something about another one, their subject.
//!
//! Which manifest has which subject is an index in the store, one entry for each pair, written before the link that makes
//! the manifest one of the repository. So an entry may be there without its manifest, and never the other way round: the
//! index only says where to look, and what is answered is read from the manifests.
//!
//! Others write into the same store without an index: CNCF Distribution, before or between. So the first time that a
//! repository is asked, and then every [`LOOK_AGAIN`], its revisions are listed, and those whose link is newer than
//! `_referrers/checked` says are read and indexed. A link that is written while that goes on is newer than the time that
//! is kept, which is the time of the beginning. In a registry that may not write, what was found is held in memory.
//!
//! A link with an old time that appears later, such as one out of a backup, is found by [`Registry::referrers_rebuild`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use berth_oci::{Digest, MAX_MANIFEST_BYTES, Manifest, Reference, Referrer, RepositoryName};
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{Cursor, EntryKind, ListRequest, MAX_PAGE, StoreError, list_all, read_all};
use futures::{Stream, StreamExt, stream};
use tokio::sync::OwnedMutexGuard;

use crate::catalog::{Paged, is_repository};
use crate::error::Error;
use crate::registry::{Registry, absent_is_none};

/// How many manifests are read at once.
const READS_AT_ONCE: usize = 16;
/// The most that the descriptors of one page may have, in bytes: a client takes the page for a manifest.
const MAX_PAGE_BYTES: usize = MAX_MANIFEST_BYTES - 1024;
/// How far the clocks of those who write into a store may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);
/// How long nobody looks again for what others may have written.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// For how many repositories it is known when they were looked at.
const MAX_REPOSITORIES: usize = 16 * 1024;
/// The longest time that is kept, in bytes.
const MAX_TIME_BYTES: u64 = 64;

/// The manifests that have a subject, by subject.
type Pairs = BTreeMap<Digest, BTreeSet<Digest>>;

/// When a repository was looked at, and what was found but could not be written.
#[derive(Debug)]
struct Looked {
    at: Instant,
    unwritten: Arc<Pairs>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Looked>>>;

/// The repositories that this process has looked at. One request at a time looks; others wait for what it finds.
#[derive(Debug, Default)]
pub(crate) struct Lookouts {
    known: Mutex<HashMap<RepositoryName, Slot>>,
}

impl Lookouts {
    async fn lock(&self, name: &RepositoryName) -> OwnedMutexGuard<Option<Looked>> {
        let slot = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_REPOSITORIES && !known.contains_key(name) {
                // Whoever is forgotten is looked at again; those in use stay.
                known.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            known.entry(name.clone()).or_default().clone()
        };
        slot.lock_owned().await
    }
}

/// What [`Registry::referrers_rebuild`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many manifests the repository has.
    pub manifests: usize,
    /// How many of them have a subject.
    pub referrers: usize,
    /// How many entries were missing.
    pub added: usize,
    /// How many entries had no such manifest behind them.
    pub removed: usize,
    /// How many manifests could not be read, and stay as they were in the index.
    pub unreadable: usize,
}

/// What a manifest says about its subject.
pub(crate) enum Subject {
    /// It has this one.
    Some(Digest),
    /// It has none.
    None,
    /// The manifest is gone, or no part of Berth can read it.
    Unknown,
}

impl Registry {
    /// The manifests whose subject this is, behind `last` in the order of their digests, at most `limit` of them and only
    /// of one type if one is given. An unknown repository has none.
    ///
    /// # Errors
    /// What the store says.
    pub async fn referrers(
        self: &Arc<Self>,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        limit: usize,
        last: Option<&Digest>,
    ) -> Result<Paged<Referrer>, Error> {
        let unwritten = self.look_for_others(name).await?;
        let mut digests = self.noted_referrers(name, subject).await?;
        digests.extend(unwritten.get(subject).into_iter().flatten().cloned());
        let behind = digests.into_iter().filter(|digest| last.is_none_or(|last| digest > last));
        let reads = behind.map(|digest| async move { self.referrer(name, subject, digest).await });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(READS_AT_ONCE);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(found) = reads.next().await {
            let is_wanted =
                |found: &Referrer| artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted));
            let Some(found) = found?.filter(is_wanted) else { continue };
            bytes += serde_json::to_vec(&found).map_or(0, |text| text.len() + 1);
            // One that is too large for any page has one of its own.
            if entries.len() >= limit || (bytes > MAX_PAGE_BYTES && !entries.is_empty()) {
                return Ok(Paged { more: !entries.is_empty(), entries });
            }
            entries.push(found);
        }
        Ok(Paged { entries, more: false })
    }

    /// Reads every manifest of a repository and makes the index say what they say, as if there had been none.
    ///
    /// # Errors
    /// What the store says; [`Error::ReadOnly`].
    pub async fn referrers_rebuild(&self, name: &RepositoryName) -> Result<Rebuilt, Error> {
        let _writing = self.writable()?;
        let begun = SystemTime::now();
        let mut noted: BTreeSet<(Digest, Digest)> = BTreeSet::new();
        for entry in list_all(self.store.as_ref(), &layout::referrers(name), false).await? {
            if let Some(RepositoryObjectKind::Referrer { subject, digest }) = layout::object_kind(&entry.key) {
                noted.insert((subject, digest));
            }
        }
        let revisions = self.revisions_since(name, None).await?;
        let mut rebuilt = Rebuilt { manifests: revisions.len(), ..Rebuilt::default() };
        let mut reads = self.subjects(revisions.clone());
        while let Some((digest, subject)) = reads.next().await {
            match subject? {
                Subject::Some(subject) => {
                    rebuilt.referrers += 1;
                    rebuilt.added += usize::from(!noted.remove(&(subject.clone(), digest.clone())));
                    self.note_found_referrer(name, &subject, &digest).await?;
                }
                Subject::None => {}
                Subject::Unknown => {
                    rebuilt.unreadable += 1;
                    noted.retain(|(_, known)| *known != digest);
                }
            }
        }
        for (subject, digest) in &noted {
            // It may have been pushed since the revisions were listed, and then the entry is right. No push goes on
            // meanwhile: it writes the entry before the link.
            let _alone = self.while_alone(name).await;
            if self.find(&layout::revision_link(name, digest)).await?.is_none() || revisions.contains(digest) {
                self.forget_referrer(name, subject, digest).await?;
                rebuilt.removed += 1;
            }
        }
        if rebuilt.manifests > 0 {
            self.note_looked(name, begun).await?;
        }
        Ok(rebuilt)
    }

    /// Notes that a manifest has a subject.
    pub(crate) async fn note_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), Error> {
        self.ensure_link(&layout::referrer(name, subject, digest), digest).await
    }

    /// As [`Registry::note_referrer`], for a manifest that was found, and may have been deleted since.
    async fn note_found_referrer(&self, name: &RepositoryName, subject: &Digest, digest: &Digest) -> Result<(), Error> {
        let _staying = self.while_pushing(name).await;
        match self.find(&layout::revision_link(name, digest)).await? {
            Some(_) => self.note_referrer(name, subject, digest).await,
            None => Ok(()),
        }
    }

    /// Removes what [`Registry::note_referrer`] has noted.
    pub(crate) async fn forget_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), Error> {
        absent_is_none(self.store.delete(&layout::referrer(name, subject, digest)).await).map(|_| ())
    }

    /// A manifest of the list, if it is there and has this subject.
    async fn referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: Digest,
    ) -> Result<Option<Referrer>, Error> {
        let stored = match self.manifest_get(name, &Reference::Digest(digest)).await {
            Ok(stored) => stored,
            Err(Error::ManifestUnknown { .. } | Error::ManifestUnreadable { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = self.manifest_use(name, &stored, |raw| Manifest::parse_annotated(raw)).await?;
        let Ok((manifest, annotations)) = read else { return Ok(None) };
        let has_subject = manifest.subject().is_some_and(|found| found.digest == *subject);
        Ok(has_subject.then(|| Referrer::of(&manifest, annotations, stored.digest.clone(), stored.size)))
    }

    async fn noted_referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<BTreeSet<Digest>, Error> {
        let entries = list_all(self.store.as_ref(), &layout::referrers_of(name, subject), false).await?;
        let kinds = entries.iter().filter_map(|entry| layout::object_kind(&entry.key));
        let digests = kinds.filter_map(|kind| match kind {
            RepositoryObjectKind::Referrer { digest, .. } => Some(digest),
            _ => None,
        });
        Ok(digests.collect())
    }

    /// Indexes what others have written since the last look, if that is some time ago. What cannot be written is given.
    async fn look_for_others(self: &Arc<Self>, name: &RepositoryName) -> Result<Arc<Pairs>, Error> {
        let mut looked = self.lookouts.lock(name).await;
        if let Some(looked) = looked.as_ref().filter(|looked| looked.at.elapsed() < LOOK_AGAIN) {
            return Ok(looked.unwritten.clone());
        }
        let (registry, name) = (self.clone(), name.clone());
        // In a task of its own: of a repository of many manifests a client may tire of waiting, and the next one would
        // begin from the start.
        tokio::spawn(async move {
            let at = Instant::now();
            let unwritten = Arc::new(registry.look(&name).await?);
            *looked = Some(Looked { at, unwritten: unwritten.clone() });
            Ok(unwritten)
        })
        .await?
    }

    async fn look(&self, name: &RepositoryName) -> Result<Pairs, Error> {
        let begun = SystemTime::now();
        let since = match read_all(self.store.as_ref(), &layout::referrers_checked(name), MAX_TIME_BYTES).await {
            Ok(checked) => look_since(&checked, begun),
            Err(error) if error.is_not_found() => None,
            Err(StoreError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let revisions = self.revisions_since(name, since).await?;
        let (writing, has_news) = (self.writable().ok(), !revisions.is_empty());
        let mut unwritten = Pairs::new();
        let mut reads = self.subjects(revisions);
        while let Some((digest, subject)) = reads.next().await {
            let Subject::Some(subject) = subject? else { continue };
            if writing.is_some() {
                self.note_found_referrer(name, &subject, &digest).await?;
            } else {
                unwritten.entry(subject).or_default().insert(digest);
            }
        }
        // Where there is nothing new, and above all in a repository that does not exist, nothing is written.
        if writing.is_some() && has_news {
            self.note_looked(name, begun).await?;
        }
        Ok(unwritten)
    }

    async fn note_looked(&self, name: &RepositoryName, begun: SystemTime) -> Result<(), Error> {
        let Ok(begun) = jiff::Timestamp::try_from(begun) else { return Ok(()) };
        // A repository that was deleted meanwhile must not be left with this alone.
        let _staying = self.while_pushing(name).await;
        if !is_repository(self.store.as_ref(), name).await? {
            return Ok(());
        }
        Ok(self.store.put(&layout::referrers_checked(name), begun.to_string().into()).await?)
    }

    /// The manifests of a repository whose link was written at this time or later.
    async fn revisions_since(
        &self,
        name: &RepositoryName,
        since: Option<SystemTime>,
    ) -> Result<BTreeSet<Digest>, Error> {
        let (below, mut after): (_, Option<Cursor>) = (layout::revisions(name), None);
        let mut found = BTreeSet::new();
        loop {
            let request =
                ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
            let page = self.store.list(request).await?;
            for entry in &page.entries {
                let EntryKind::Object(stat) = entry.kind else { continue };
                let is_new = since.is_none_or(|since| stat.modified >= since);
                if let Some(RepositoryObjectKind::Revision(digest)) = layout::object_kind(&entry.key).filter(|_| is_new)
                {
                    found.insert(digest);
                }
            }
            match page.next {
                None => return Ok(found),
                next => after = next,
            }
        }
    }

    /// The subjects of manifests, read several at once.
    fn subjects(&self, digests: BTreeSet<Digest>) -> impl Stream<Item = (Digest, Result<Subject, Error>)> + Unpin {
        let reads = digests.into_iter().map(move |digest| async move {
            let subject = self.subject(&digest).await;
            (digest, subject)
        });
        Box::pin(stream::iter(reads).buffered(READS_AT_ONCE))
    }

    /// The subject of a manifest.
    pub(crate) async fn subject(&self, digest: &Digest) -> Result<Subject, Error> {
        let read = read_all(self.store.as_ref(), &layout::blob_data(digest), MAX_MANIFEST_BYTES as u64).await;
        let manifest = match read {
            Ok(raw) => Manifest::parse(&raw),
            Err(error) if error.is_not_found() => return Ok(Subject::Unknown),
            Err(StoreError::TooLarge { .. }) => return Ok(Subject::Unknown),
            Err(error) => return Err(error.into()),
        };
        let Ok(manifest) = manifest else { return Ok(Subject::Unknown) };
        Ok(manifest.subject().map_or(Subject::None, |subject| Subject::Some(subject.digest.clone())))
    }
}

/// From when on revisions have to be looked at, where the last look began at the time in `checked`; none for all of them,
/// which a text that is no time, or one of a clock that was far ahead, asks for.
fn look_since(checked: &[u8], now: SystemTime) -> Option<SystemTime> {
    let checked: jiff::Timestamp = std::str::from_utf8(checked).ok()?.trim().parse().ok()?;
    let checked = SystemTime::from(checked);
    let is_past = checked.duration_since(now).map_or(true, |ahead| ahead <= CLOCK_SKEW);
    is_past.then(|| checked.checked_sub(CLOCK_SKEW)).flatten()
}

#[cfg(test)]
mod tests {
    use berth_oci::media_type::OCI_INDEX;
    use berth_storage::{Memory, Store};
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    fn registry(store: &Arc<Memory>, read_only: bool) -> Arc<Registry> {
        let permissions = Permissions { delete: true, read_only };
        Arc::new(Registry::new(store.clone(), store.clone(), Arc::new(Guard::offline()), permissions))
    }

    fn name() -> RepositoryName {
        "team/app".parse().unwrap()
    }

    fn subject() -> Digest {
        Digest::sha256(b"subject")
    }

    /// An index of nothing that has the subject.
    fn about(subject: &Digest, note: &str) -> (Digest, Bytes) {
        let subject = json!({ "mediaType": OCI_INDEX, "digest": subject, "size": 7 });
        let raw = json!({ "schemaVersion": 2, "manifests": [], "subject": subject, "annotations": { "note": note } });
        let raw = Bytes::from(raw.to_string());
        (Digest::sha256(&raw), raw)
    }

    /// What Distribution writes when a manifest is pushed by digest.
    async fn written_by_others(registry: &Registry, subject: &Digest, note: &str) -> Digest {
        let (digest, raw) = about(subject, note);
        registry.store.put(&layout::blob_data(&digest), raw).await.unwrap();
        let link = layout::revision_link(&name(), &digest);
        registry.store.put(&link, digest.to_string().into()).await.unwrap();
        digest
    }

    async fn pushed(registry: &Arc<Registry>, subject: &Digest, note: &str) -> Digest {
        let (digest, raw) = about(subject, note);
        let reference = Reference::Digest(digest.clone());
        registry.manifest_put(&name(), &reference, &[], None, raw).await.unwrap();
        digest
    }

    async fn listed(registry: &Arc<Registry>) -> BTreeSet<Digest> {
        let page = registry.referrers(&name(), &subject(), None, 1000, None).await.unwrap();
        assert!(!page.more);
        page.entries.into_iter().map(|referrer| referrer.digest).collect()
    }

    #[tokio::test]
    async fn what_others_wrote_is_found_by_the_next_process() {
        let store = Arc::new(Memory::new());
        let first = registry(&store, false);
        let mut expected = BTreeSet::from([written_by_others(&first, &subject(), "before").await]);
        assert_eq!(listed(&first).await, expected);
        expected.insert(pushed(&first, &subject(), "by us").await);
        assert_eq!(listed(&first).await, expected);
        written_by_others(&first, &Digest::sha256(b"another"), "about another").await;
        let between = written_by_others(&first, &subject(), "between").await;
        assert_eq!(listed(&first).await, expected, "this process has looked a moment ago");
        expected.insert(between.clone());
        assert_eq!(listed(&registry(&store, false)).await, expected);

        // Others delete without knowing of the index.
        store.delete(&layout::revision_link(&name(), &between)).await.unwrap();
        expected.remove(&between);
        assert_eq!(listed(&first).await, expected);
    }

    #[tokio::test]
    async fn only_links_that_are_newer_than_the_last_look_are_read() {
        let store = Arc::new(Memory::new());
        let first = registry(&store, false);
        let digest = written_by_others(&first, &subject(), "old").await;
        let checked = layout::referrers_checked(&name());
        let ahead = |ahead: Duration| jiff::Timestamp::try_from(SystemTime::now() + ahead).unwrap().to_string();
        for (text, found) in [
            ("no time".to_owned(), true),
            ("1970-01-01T00:00:00Z".to_owned(), true),
            (ahead(Duration::ZERO), true),
            // Just behind the margin: the link is older than that.
            (ahead(CLOCK_SKEW), false),
            // No clock is so far ahead of another.
            (ahead(CLOCK_SKEW * 2), true),
        ] {
            store.put(&checked, text.clone().into()).await.unwrap();
            let found_now = !listed(&registry(&store, false)).await.is_empty();
            assert_eq!(found_now, found, "{text}");
            let deleted = store.delete(&layout::referrer(&name(), &subject(), &digest)).await;
            assert_eq!(deleted.is_ok(), found, "{text}");
        }
    }

    #[tokio::test]
    async fn a_question_about_nothing_writes_nothing() {
        let store = Arc::new(Memory::new());
        assert!(listed(&registry(&store, false)).await.is_empty());
        assert!(list_all(store.as_ref(), &layout::repositories(), false).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_registry_that_may_not_write_finds_all_the_same() {
        let store = Arc::new(Memory::new());
        let digest = written_by_others(&registry(&store, false), &subject(), "one").await;
        assert_eq!(listed(&registry(&store, true)).await, BTreeSet::from([digest]));
        assert!(list_all(store.as_ref(), &layout::referrers(&name()), false).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_rebuilt_index_says_what_the_manifests_say() {
        let store = Arc::new(Memory::new());
        let registry = registry(&store, false);
        let (known, missing) = (pushed(&registry, &subject(), "known").await, "missing");
        let missing = written_by_others(&registry, &subject(), missing).await;
        let gone = pushed(&registry, &subject(), "gone").await;
        store.delete(&layout::revision_link(&name(), &gone)).await.unwrap();
        // An entry under another subject than the manifest has.
        registry.note_referrer(&name(), &Digest::sha256(b"another"), &known).await.unwrap();
        // A manifest that cannot be read keeps its entry.
        let damaged = pushed(&registry, &subject(), "damaged").await;
        store.put(&layout::blob_data(&damaged), "{".into()).await.unwrap();
        let expected = Rebuilt { manifests: 3, referrers: 2, added: 1, removed: 2, unreadable: 1 };
        assert_eq!(registry.referrers_rebuild(&name()).await.unwrap(), expected);
        let noted = registry.noted_referrers(&name(), &subject()).await.unwrap();
        assert_eq!(noted, BTreeSet::from([known.clone(), missing.clone(), damaged]));
        let again = Rebuilt { added: 0, removed: 0, ..expected };
        assert_eq!(registry.referrers_rebuild(&name()).await.unwrap(), again, "a second time changes nothing");
        assert_eq!(listed(&registry).await, BTreeSet::from([known, missing]));
    }

    #[tokio::test]
    async fn pages_join_without_loss_and_a_large_manifest_has_a_page_of_its_own() {
        let registry = registry(&Arc::new(Memory::new()), false);
        let mut expected = BTreeSet::new();
        for n in 0..7 {
            expected.insert(pushed(&registry, &subject(), &format!("{n}")).await);
        }
        let large = "x".repeat(MAX_PAGE_BYTES - 600);
        expected.insert(pushed(&registry, &subject(), &large).await);
        for limit in 1..=9 {
            let (mut found, mut last): (Vec<Digest>, Option<Digest>) = (Vec::new(), None);
            loop {
                let page = registry.referrers(&name(), &subject(), None, limit, last.as_ref()).await.unwrap();
                assert!((1..=limit).contains(&page.entries.len()));
                found.extend(page.entries.iter().map(|referrer| referrer.digest.clone()));
                if !page.more {
                    break;
                }
                last = found.last().cloned();
            }
            assert_eq!(found, expected.iter().cloned().collect::<Vec<_>>(), "pages of {limit}");
        }
        let none = registry.referrers(&name(), &subject(), None, 0, None).await.unwrap();
        assert_eq!(none, Paged { entries: Vec::new(), more: false });
    }
}
