//! Two servers on one bucket, whose requests come in the order that a test is about.

use std::sync::Arc;

use berth_oci::{Digest, Reference, RepositoryName, Tag, media_type};
use berth_storage::bucket::Bucket;
use berth_storage::layers::{Fault, Faulty, Shelf, ShelfOptions};
use berth_storage::{Incoming, LockMode, ObjectStore, Unlocked, layout};
use bytes::Bytes;
use futures::stream;

use crate::error::Error;
use crate::gc::Guard;
use crate::registry::{Permissions, Registry};

const CONFIG: &str = "{}";

/// A repository and its servers; `one` is the server whose requests wait for what `other` does.
struct Replicas {
    bucket: Arc<Faulty>,
    shelf: Arc<Shelf>,
    one: Arc<Registry>,
    other: Arc<Registry>,
    name: RepositoryName,
}

fn server(bucket: Arc<dyn Bucket>) -> Arc<Registry> {
    let exclude = Arc::new(Unlocked::new("shelf".into(), LockMode::Shared));
    let permissions = Permissions { delete: true, read_only: false };
    let store = Arc::new(ObjectStore::new(bucket));
    Arc::new(Registry::new(store, exclude, Arc::new(Guard::new()), permissions))
}

/// An image of the one configuration, and nothing else.
fn image(note: &str) -> (Digest, Bytes) {
    let (media_type, config) = (media_type::OCI_IMAGE, Digest::sha256(CONFIG.as_bytes()));
    let raw = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
         \"digest\":\"{config}\",\"size\":2}},\"layers\":[],\"annotations\":{{\"note\":\"{note}\"}}}}"
    );
    (Digest::sha256(raw.as_bytes()), raw.into())
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

async fn push_config(server: &Arc<Registry>, name: &RepositoryName) {
    let body = Incoming::new(stream::iter([Ok(Bytes::from(CONFIG))]));
    server.upload_whole(name, &Digest::sha256(CONFIG.as_bytes()), body).await.unwrap();
}

async fn push(server: &Arc<Registry>, name: &RepositoryName, to: &str, note: &str) -> Result<Digest, Error> {
    let stored = server.manifest_put(name, &Reference::Tag(tag(to)), &[], None, image(note).1).await?;
    Ok(stored.digest)
}

impl Replicas {
    async fn new(options: ShelfOptions) -> Self {
        let shelf = Arc::new(Shelf::new(options));
        let bucket = Arc::new(Faulty::listed(shelf.clone(), []));
        let (one, other) = (server(bucket.clone()), server(shelf.clone()));
        let name: RepositoryName = "team/app".parse().unwrap();
        push_config(&one, &name).await;
        Replicas { bucket, shelf, one, other, name }
    }

    /// What the other server does when a request of the one comes, which then fails or is sent.
    fn meanwhile<W: Future<Output = ()> + Send + 'static>(
        &self,
        action: &'static str,
        key: &berth_storage::Key,
        fault: Option<Fault>,
        work: impl FnOnce(Arc<Registry>, RepositoryName) -> W,
    ) {
        self.bucket.before(action, key, fault, work(self.other.clone(), self.name.clone()));
    }

    /// What a tag names for a server that remembers nothing.
    async fn named(&self, by: &str) -> Option<Digest> {
        match server(self.shelf.clone()).manifest_get(&self.name, &Reference::Tag(tag(by))).await {
            Ok(found) => Some(found.digest.clone()),
            Err(Error::ManifestUnknown { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn forget_config(server: Arc<Registry>, name: RepositoryName) {
        server.blob_delete(&name, &Digest::sha256(CONFIG.as_bytes())).await.unwrap();
    }

    fn left(&self) -> Vec<String> {
        let own = layout::manifests(&self.name).to_string();
        self.shelf.names().into_iter().filter(|name| name.starts_with(&own)).collect()
    }
}

#[tokio::test]
async fn a_push_that_fails_at_its_end_leaves_what_another_server_has_acknowledged() {
    for fault in [Fault::SlowDown, Fault::Lost] {
        let replicas = Replicas::new(ShelfOptions::default()).await;
        push(&replicas.one, &replicas.name, "latest", "before").await.unwrap();
        for by in ["latest", "new"] {
            let looks = layout::repository(&replicas.name);
            replicas.meanwhile("list", &looks, Some(fault), |other, name| async move {
                push(&other, &name, by, "pushed").await.unwrap();
            });
            let failed = push(&replicas.one, &replicas.name, by, "pushed").await;
            assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
            assert_eq!((replicas.named(by).await, replicas.bucket.awaited()), (Some(image("pushed").0), 0), "{by}");
        }
    }
}

#[tokio::test]
async fn a_push_whose_references_are_gone_leaves_nothing_of_itself() {
    for by in ["latest", "new"] {
        let replicas = Replicas::new(ShelfOptions::default()).await;
        let before = push(&replicas.one, &replicas.name, "latest", "before").await.unwrap();
        let left = replicas.left();
        Replicas::forget_config(replicas.other.clone(), replicas.name.clone()).await;
        let refused = push(&replicas.one, &replicas.name, by, "pushed").await;
        assert!(matches!(refused, Err(Error::ReferencesUnknown { .. })), "{refused:?}");
        assert_eq!(replicas.named("latest").await, Some(before));
        let mut expected = left;
        if by == "latest" {
            // What a tag has named at some time.
            expected.push(layout::tag_index_link(&replicas.name, &tag(by), &image("pushed").0).to_string());
            expected.sort();
        }
        assert_eq!(replicas.left(), expected);
    }
}

/// What was missing is pushed again, and the same manifest with it, at each step of the undoing.
#[tokio::test]
async fn a_push_that_is_taken_back_leaves_what_another_server_has_accepted_meanwhile() {
    let name: RepositoryName = "team/app".parse().unwrap();
    let (pushed, _) = image("pushed");
    let looks = layout::repository(&name);
    let steps = [
        ("list", looks.clone(), 1),
        ("list", looks, 2),
        ("get", layout::tag_current_link(&name, &tag("latest")), 1),
        ("remove", layout::revision_link(&name, &pushed), 0),
    ];
    for has_before in [false, true] {
        for (action, key, passed) in &steps {
            let replicas = Replicas::new(ShelfOptions::default()).await;
            if has_before {
                push(&replicas.one, &name, "latest", "before").await.unwrap();
            }
            Replicas::forget_config(replicas.other.clone(), name.clone()).await;
            for _ in 0..*passed {
                replicas.meanwhile(action, key, None, |_, _| async {});
            }
            replicas.meanwhile(action, key, None, |other, name| async move {
                push_config(&other, &name).await;
                push(&other, &name, "latest", "pushed").await.unwrap();
            });
            let outcome = push(&replicas.one, &name, "latest", "pushed").await;
            let step = format!("{action} {key} {passed} {has_before}: {outcome:?}");
            assert_eq!(
                (replicas.named("latest").await, replicas.bucket.awaited()),
                (Some(pushed.clone()), 0),
                "{step}"
            );
            assert!(outcome.is_ok(), "{step}");
        }
    }
}

#[tokio::test]
async fn a_deletion_leaves_a_tag_that_another_server_has_moved() {
    let replicas = Replicas::new(ShelfOptions::default()).await;
    for by in ["kept", "moved"] {
        push(&replicas.one, &replicas.name, by, "doomed").await.unwrap();
    }
    let history = layout::tag_index(&replicas.name, &tag("moved"));
    replicas.meanwhile("list", &history, None, |other, name| async move {
        push(&other, &name, "moved", "new").await.unwrap();
    });
    let doomed = Reference::Digest(image("doomed").0);
    replicas.one.manifest_delete(&replicas.name, &doomed).await.unwrap();
    assert_eq!(replicas.named("moved").await, Some(image("new").0));
    assert_eq!((replicas.named("kept").await, replicas.bucket.awaited()), (None, 0));
    let tags = replicas.other.tags(&replicas.name, None, None).await.unwrap().entries;
    assert_eq!(tags, [tag("moved")]);
}

#[tokio::test]
async fn a_deletion_leaves_what_another_server_pushes_again() {
    let replicas = Replicas::new(ShelfOptions::default()).await;
    let doomed = push(&replicas.one, &replicas.name, "first", "doomed").await.unwrap();
    let link = layout::revision_link(&replicas.name, &doomed);
    // Before the manifest goes, so that its tag is found in the second pass; and once more while that is removed.
    replicas.meanwhile("delete", &link, None, |other, name| async move {
        for by in ["second", "third"] {
            push(&other, &name, by, "doomed").await.unwrap();
        }
    });
    let history = layout::tag_index(&replicas.name, &tag("third"));
    replicas.meanwhile("list", &history, None, |other, name| async move {
        push(&other, &name, "third", "doomed").await.unwrap();
    });
    replicas.one.manifest_delete(&replicas.name, &Reference::Digest(doomed.clone())).await.unwrap();
    assert_eq!((replicas.named("third").await, replicas.bucket.awaited()), (Some(doomed), 0));
    assert_eq!((replicas.named("first").await, replicas.named("second").await), (None, None));
}

/// The entry by which a manifest is found as a referrer is written before its link, and not again while that is there.
#[tokio::test]
async fn a_deletion_leaves_the_referrer_that_another_server_pushes_again() {
    let replicas = Replicas::new(ShelfOptions::default()).await;
    let subject = Digest::sha256(b"subject");
    let media_type = media_type::OCI_INDEX;
    let raw = Bytes::from(format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"manifests\":[],\
         \"subject\":{{\"mediaType\":\"{media_type}\",\"digest\":\"{subject}\",\"size\":7}}}}"
    ));
    let (digest, signed) = (Digest::sha256(&raw), Reference::Digest(Digest::sha256(&raw)));
    replicas.one.manifest_put(&replicas.name, &signed, &[], None, raw.clone()).await.unwrap();
    // The second pass has found nothing, and then it is there again.
    let again = signed.clone();
    let link = layout::revision_link(&replicas.name, &digest);
    replicas.meanwhile("head", &link, None, |_, _| async {});
    replicas.meanwhile("head", &link, None, |_, _| async {});
    replicas.meanwhile("head", &link, None, |other, name| async move {
        other.manifest_put(&name, &again, &[], None, raw).await.unwrap();
    });
    replicas.one.manifest_delete(&replicas.name, &signed).await.unwrap();
    assert_eq!(replicas.bucket.awaited(), 0);
    let entry = layout::referrer(&replicas.name, &subject, &digest);
    assert!(replicas.shelf.peek(entry.as_str()).is_some() && replicas.shelf.peek(link.as_str()).is_some());
}

#[tokio::test]
async fn a_page_of_nothing_is_not_taken_for_all_there_is() {
    let options = ShelfOptions { lists_nothing_first: true, max_page: 2, ..ShelfOptions::default() };
    let replicas = Replicas::new(options).await;
    let pushed = push(&replicas.one, &replicas.name, "v1", "pushed").await.unwrap();
    assert_eq!(replicas.named("v1").await, Some(pushed));
    // Where a page ends with `v3-rc`, whether there is a `v3` has to be asked for: it would come later.
    for by in ["v1-rc", "v2-rc", "v3-rc", "v4"] {
        push(&replicas.one, &replicas.name, by, "pushed").await.unwrap();
    }
    let tags = replicas.one.tags(&replicas.name, Some(10), None).await.unwrap().entries;
    assert_eq!(tags, ["v1", "v1-rc", "v2-rc", "v3-rc", "v4"].map(tag));
    let repositories = replicas.one.catalog(10, None).await.unwrap().entries;
    assert_eq!(repositories, ["team/app".parse().unwrap()]);
}
