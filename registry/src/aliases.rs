//! Aliases: blobs that lie under another digest than the one they were pushed by.
//!
//! CNCF Distribution keeps the bytes of every blob under their sha256 digest. What was pushed by another digest has two
//! layer links: the path of the one has the sha256 digest, that of the other, the *alias*, has the digest that was pushed,
//! and both say the sha256 digest. So the content of a link says where the bytes are. Berth keeps bytes under the digest
//! that they were pushed by; its links say what their path does, which Distribution reads as well.
//!
//! A link for a sha256 digest is never an alias, so that it is there is all that is looked at. Manifests have no aliases:
//! Distribution refuses those that are pushed by another digest.
//!
//! Whoever relies on an alias has acquired both digests before the look at the bytes (`gc/guard.rs`). The second is known
//! only after the link was read. In between, the collector may have deleted both, and somebody else may have pushed the
//! bytes again by their sha256 digest; so the link is read once more when both are held. An alias whose bytes are being
//! deleted is absent, as its link is about to be.

use berth_oci::{Algorithm, Digest, RepositoryName};
use berth_storage::layout;

use crate::error::Error;
use crate::gc::{Held, Item};
use crate::recent::Mark;
use crate::registry::Registry;

/// The algorithm by whose digests Distribution stores.
const CANONICAL: Algorithm = Algorithm::Sha256;

/// Whether a link for a digest may say another one.
pub(crate) fn may_be_alias(digest: &Digest) -> bool {
    digest.algorithm() != CANONICAL
}

/// Whether a link for `digest` that says `said` leads to bytes that can have both digests.
pub(crate) fn is_alias(digest: &Digest, said: &Digest) -> bool {
    may_be_alias(digest) && said.algorithm() == CANONICAL
}

/// The digest that the bytes lie under, if the link for `digest` says `said`. What cannot be so is passed over: content
/// is never given out under the digest of other content.
pub(crate) fn target<'a>(digest: &'a Digest, said: &'a Digest) -> &'a Digest {
    if is_alias(digest, said) { said } else { digest }
}

/// A blob that a repository links to.
pub(crate) struct Layer {
    /// The digest that its bytes lie under.
    pub(crate) target: Digest,
    /// Both digests.
    pub(crate) held: Held,
    /// The moment before the look at the link, which may be some time ago.
    pub(crate) seen: Mark,
}

impl Registry {
    /// Acquires a blob that a repository links to, with the digest that its bytes lie under, which is acquired as well.
    /// Nothing if there is no link, or the collector is deleting the blob. Whether the bytes are there is to be looked at
    /// next.
    pub(crate) async fn acquire_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Layer>, Error> {
        let Some(held) = self.guard.try_acquire(vec![Item::Blob(digest.clone())]) else { return Ok(None) };
        if !may_be_alias(digest) {
            let seen = self.see_layer(name, digest).await?;
            return Ok(seen.map(|seen| Layer { target: digest.clone(), held, seen }));
        }
        let seen = self.recent_links.mark();
        let Some(target) = self.layer_target(name, digest).await? else { return Ok(None) };
        if target == *digest {
            return Ok(Some(Layer { target, held, seen }));
        }
        let Some(held_target) = self.guard.try_acquire(vec![Item::Blob(target.clone())]) else { return Ok(None) };
        let held = held.with(held_target);
        let again = self.layer_target(name, digest).await?;
        // A push by the alias itself may have put its own link in the place of this one.
        Ok(again.filter(|again| *again == target || again == digest).map(|again| Layer { target: again, held, seen }))
    }

    /// When it was seen that a repository links to a blob by a digest that is no alias; nothing if it does not.
    async fn see_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Mark>, Error> {
        if self.store.is_remote()
            && let Some(seen) = self.recent_links.seen(name, digest)
        {
            return Ok(Some(seen));
        }
        let seen = self.recent_links.mark();
        Ok(self.find(&layout::layer_link(name, digest)).await?.map(|_| seen))
    }

    /// The digest that a link for what may be an alias leads to; nothing if there is no link.
    async fn layer_target(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, Error> {
        match self.read_link(&layout::layer_link(name, digest)).await {
            Ok(said) => Ok(said.map(|said| target(digest, &said).clone())),
            // What a power failure left of it says that there was a link.
            Err(Error::Link { .. }) => Ok(Some(digest.clone())),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use berth_oci::{Reference, media_type};
    use berth_storage::Memory;
    use futures::stream;

    use super::*;
    use crate::gc::{Guard, Listener, Options, Outcome, Report, collect};
    use crate::registry::Permissions;

    #[test]
    fn only_what_can_be_so_is_an_alias() {
        fn check(digest: Algorithm, said: Algorithm, same_content: bool, expected: bool) {
            let (digest, other) = (Digest::of(digest, b"x"), Digest::of(said, if same_content { b"x" } else { b"y" }));
            assert_eq!(is_alias(&digest, &other), expected, "{digest} {other}");
            assert_eq!(target(&digest, &other), if expected { &other } else { &digest });
        }
        use Algorithm::{Sha256, Sha384, Sha512};
        for same_content in [true, false] {
            check(Sha512, Sha256, same_content, true);
            check(Sha384, Sha256, same_content, true);
            check(Sha256, Sha256, same_content, false);
            check(Sha512, Sha512, same_content, false);
            check(Sha512, Sha384, same_content, false);
            check(Sha256, Sha512, same_content, false);
        }
    }

    /// A registry in memory, in which `team/app` has a blob by its sha512 digest as Distribution writes it.
    struct Bench {
        registry: Arc<Registry>,
        name: RepositoryName,
        alias: Digest,
        lies_under: Digest,
        content: String,
    }

    const CONTENT: &str = "pushed by its sha512 digest";

    impl Bench {
        async fn new() -> Self {
            let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
            let registry = Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions);
            let bench = Bench::of(Arc::new(registry), CONTENT.to_owned());
            bench.push_as_distribution().await;
            bench
        }

        /// The same registry before anything was pushed.
        fn of(registry: Arc<Registry>, content: String) -> Self {
            let name = "team/app".parse().unwrap();
            let alias = Digest::of(Algorithm::Sha512, content.as_bytes());
            let lies_under = Digest::sha256(content.as_bytes());
            Bench { registry, name, alias, lies_under, content }
        }

        async fn push_as_distribution(&self) {
            let items = [&self.alias, &self.lies_under].map(|digest| Item::Blob(digest.clone()));
            let held = self.registry.guard.acquire(items.to_vec()).await.unwrap();
            self.registry.store.put(&layout::blob_data(&self.lies_under), self.content.clone().into()).await.unwrap();
            for digest in [&self.lies_under, &self.alias] {
                self.link(digest).await;
            }
            // Let go of without an acknowledgement, which tests make themselves.
            drop(held);
        }

        async fn link(&self, digest: &Digest) {
            self.registry.ensure_link(&layout::layer_link(&self.name, digest), &self.lies_under).await.unwrap();
        }

        async fn has(&self, name: &RepositoryName, digest: &Digest) -> bool {
            match self.registry.blob_describe(name, digest).await {
                Ok(stat) => stat.size == self.content.len() as u64,
                Err(Error::BlobUnknown { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        }

        async fn is_stored(&self) -> bool {
            self.registry.find(&layout::blob_data(&self.lies_under)).await.unwrap().is_some()
        }

        async fn has_link(&self, digest: &Digest) -> bool {
            self.registry.find(&layout::layer_link(&self.name, digest)).await.unwrap().is_some()
        }

        /// Collects in a run that began before `meanwhile`.
        async fn collect(&self, dry_run: bool, grace: Duration, meanwhile: impl AsyncFnOnce()) -> Report {
            let run = self.registry.guard.begin_run().unwrap();
            meanwhile().await;
            let options = Options { dry_run, delete_untagged: true, grace, timeout: None };
            let report = collect(&self.registry, &run, options, &Listener::none()).await.unwrap();
            assert_eq!(report.outcome, Outcome::Clean, "{report:?}");
            report
        }

        /// An image whose only layer is known by the alias.
        async fn push_image(&self, tag: &str) -> Result<(), Error> {
            self.push_image_to(&self.name, tag).await
        }

        async fn push_image_to(&self, name: &RepositoryName, tag: &str) -> Result<(), Error> {
            let descriptor = format!("{{\"mediaType\":\"text/plain\",\"digest\":\"{}\",\"size\":27}}", self.alias);
            let media_type = media_type::OCI_IMAGE;
            let raw = format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"config\":{descriptor},\"layers\":[{descriptor}]}}"
            );
            let reference = Reference::Tag(tag.parse().unwrap());
            self.registry.manifest_put(name, &reference, &[], None, raw.into()).await.map(drop)
        }
    }

    #[tokio::test]
    async fn an_alias_is_there_as_long_as_its_link_and_its_bytes() {
        let bench = Bench::new().await;
        let (name, other): (_, RepositoryName) = (&bench.name, "team/other".parse().unwrap());
        assert!(bench.has(name, &bench.alias).await && bench.has(name, &bench.lies_under).await);
        assert!(!bench.has(&other, &bench.alias).await);
        assert!(bench.registry.blob_mount(Some(name), &other, &bench.alias).await.unwrap());
        for digest in [&bench.alias, &bench.lies_under] {
            let link = layout::layer_link(&other, digest);
            assert_eq!(
                bench.registry.read_link(&link).await.unwrap(),
                Some(bench.lies_under.clone()),
                "as in the source"
            );
            assert!(bench.has(&other, digest).await);
        }
        bench.registry.blob_delete(name, &bench.alias).await.unwrap();
        assert!(!bench.has(name, &bench.alias).await && bench.has(name, &bench.lies_under).await);
        bench.link(&bench.alias).await;
        bench.registry.blob_delete(name, &bench.lies_under).await.unwrap();
        assert!(bench.has(name, &bench.alias).await && !bench.has(name, &bench.lies_under).await);
        // What was read a moment ago is in memory, and is not believed.
        bench.registry.blob_open(name, &bench.alias, None).await.unwrap();
        bench.registry.store.delete(&layout::blob_data(&bench.lies_under)).await.unwrap();
        assert!(!bench.has(name, &bench.alias).await);
        assert!(matches!(bench.registry.blob_open(name, &bench.alias, None).await, Err(Error::BlobUnknown { .. })));
        assert!(!bench.registry.blob_mount(Some(name), &other, &bench.alias).await.unwrap());
        assert!(matches!(bench.push_image("v1").await, Err(Error::ReferencesUnknown { .. })));
    }

    #[tokio::test]
    async fn a_collection_keeps_what_is_referred_to_by_its_alias() {
        let bench = Bench::new().await;
        bench.push_image("v1").await.unwrap();
        bench.registry.blob_delete(&bench.name, &bench.lies_under).await.unwrap();
        let report = bench.collect(false, Duration::ZERO, async || ()).await;
        assert_eq!((report.blobs_kept, report.blobs_deleted, report.spared), (2, 0, 0));
        assert!(bench.has(&bench.name, &bench.alias).await);
        let tag = Reference::Tag("v1".parse().unwrap());
        bench.registry.manifest_delete(&bench.name, &tag).await.unwrap();
        for (dry_run, stays) in [(true, true), (false, false)] {
            let report = bench.collect(dry_run, Duration::ZERO, async || ()).await;
            assert_eq!((report.manifests_deleted, report.blobs_kept, report.blobs_deleted), (1, 0, 2));
            assert_eq!((bench.is_stored().await, bench.has_link(&bench.alias).await), (stays, stays));
        }
    }

    #[tokio::test]
    async fn what_happens_during_a_collection_is_seen_by_it() {
        let other: RepositoryName = "team/other".parse().unwrap();
        let bench = Bench::new().await;
        let report = bench
            .collect(false, Duration::ZERO, async || {
                assert!(bench.registry.blob_mount(Some(&bench.name), &other, &bench.alias).await.unwrap());
            })
            .await;
        assert_eq!((report.blobs_deleted, report.spared), (0, 1), "a mount is counted once");
        assert!(bench.has(&other, &bench.alias).await);

        let bench = Bench::new().await;
        let report = bench.collect(false, Duration::ZERO, async || bench.push_image("v1").await.unwrap()).await;
        assert_eq!(report.blobs_deleted, 0);
        assert!(bench.has(&bench.name, &bench.alias).await);

        // Somebody was told by the alias, and may push an image on it.
        let bench = Bench::new().await;
        bench.registry.blob_stat(&bench.name, &bench.alias).await.unwrap();
        let run = bench.registry.guard.begin_run().unwrap();
        for digest in [&bench.alias, &bench.lies_under] {
            let item = [Item::Blob(digest.clone())];
            assert_eq!(run.would_spare(&item, Duration::from_secs(3600)).len(), 1, "{digest}");
        }
    }

    /// The link for the alias is the push's own by now, and its bytes are.
    #[tokio::test]
    async fn a_push_by_the_alias_during_a_collection_is_not_undone() {
        let bench = Bench::new().await;
        let body = || berth_storage::Incoming::new(stream::iter([Ok(CONTENT.into())]));
        let report = bench
            .collect(false, Duration::ZERO, async || {
                bench.registry.upload_whole(&bench.name, &bench.alias, body()).await.unwrap();
            })
            .await;
        assert!(bench.has(&bench.name, &bench.alias).await);
        assert_eq!(report.blobs_kept, 1);
        // The bytes that Distribution stored were not held by it.
        assert!(!bench.is_stored().await);
    }

    #[tokio::test]
    async fn an_alias_is_absent_while_its_bytes_are_being_deleted() {
        let bench = Bench::new().await;
        let run = bench.registry.guard.begin_run().unwrap();
        let item = [Item::Blob(bench.lies_under.clone())];
        let doomed = run.doom(&item, Duration::ZERO, |_| ());
        assert!(!bench.has(&bench.name, &bench.alias).await);
        assert!(!bench.registry.blob_mount(Some(&bench.name), &bench.name, &bench.alias).await.unwrap());
        assert!(matches!(bench.push_image("v1").await, Err(Error::ReferencesUnknown { .. })));
        drop(doomed);
        bench.push_image("v1").await.unwrap();
        assert!(!run.doom(&item, Duration::ZERO, |_| ()).has(&item[0]), "the push has rescued it");
    }

    /// Clients mount an alias and push images on it, and delete some, while collections run one after another with no grace
    /// period at all. Every image that was acknowledged and not deleted has its layer.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_that_was_acknowledged_is_lost_while_collections_run() {
        const PUSHERS: usize = 3;
        const ROUNDS: usize = 300;
        const CONTENTS: usize = 5;
        let bench = Bench::new().await;
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let registry = bench.registry.clone();
                let name: RepositoryName = format!("of/pusher-{pusher}").parse().unwrap();
                let tag = Reference::Tag("v1".parse().unwrap());
                tokio::spawn(async move {
                    let mut refused = 0;
                    for round in 0..ROUNDS {
                        for _ in 0..round % 7 {
                            tokio::task::yield_now().await;
                        }
                        let bench = Bench::of(registry.clone(), format!("content {}", (round + pusher) % CONTENTS));
                        if !registry.blob_mount(Some(&bench.name), &name, &bench.alias).await.unwrap() {
                            bench.push_as_distribution().await;
                            refused += 1;
                            continue;
                        }
                        match bench.push_image_to(&name, "v1").await {
                            Ok(()) => {}
                            Err(Error::ReferencesUnknown { .. }) => {
                                refused += 1;
                                continue;
                            }
                            Err(error) => panic!("{error}"),
                        }
                        for moment in 0..3 {
                            assert!(bench.has(&name, &bench.alias).await, "{name}, round {round}, moment {moment}");
                            tokio::task::yield_now().await;
                        }
                        registry.manifest_delete(&name, &tag).await.unwrap();
                    }
                    refused
                })
            })
            .collect();
        let (mut runs, mut deleted) = (0, 0);
        while pushers.iter().any(|pusher| !pusher.is_finished()) {
            deleted += bench.collect(false, Duration::ZERO, async || ()).await.blobs_deleted;
            runs += 1;
        }
        let mut refused = 0;
        for pusher in pushers {
            refused += pusher.await.unwrap();
        }
        println!("{runs} collections deleted {deleted} blobs; {refused} rounds were refused");
        assert!(runs >= 10 && deleted > 10 && refused < PUSHERS * ROUNDS);
    }

    #[tokio::test]
    async fn a_link_that_says_no_digest_leads_to_its_own() {
        let bench = Bench::new().await;
        for said in ["", "sha256:half", bench.alias.as_str()] {
            bench
                .registry
                .store
                .put(&layout::layer_link(&bench.name, &bench.alias), said.to_owned().into())
                .await
                .unwrap();
            assert!(!bench.has(&bench.name, &bench.alias).await, "{said:?}");
            bench.registry.store.put(&layout::blob_data(&bench.alias), CONTENT.into()).await.unwrap();
            assert!(bench.has(&bench.name, &bench.alias).await, "{said:?}");
            bench.registry.store.delete(&layout::blob_data(&bench.alias)).await.unwrap();
        }
    }
}
