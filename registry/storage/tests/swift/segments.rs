//! Objects in segments: nothing of them is lost, and nothing is left over.

use berth_storage::bucket::{Bucket, Listing, Start};
use bytes::Bytes;
use http::Method;

use crate::lab::{CHUNK, Lab, content, key, put_parts, read, until};

/// Everything that takes the place of an object in segments clears them away.
#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_is_replaced_leaves_no_segments() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let at = key("blobs/data");
    let parts = |seed: usize| [content(seed, CHUNK), content(seed + 1, 500)];
    put_parts(&swift, &at, &parts(1)).await;
    assert_eq!(lab.headers("files/blobs/data").await["x-static-large-object"], "True");
    assert_eq!(lab.segments().await, 2);

    put_parts(&swift, &at, &parts(2)).await;
    assert_eq!(lab.segments().await, 2, "the parts of the second");
    swift.put(&at, content(3, 100)).await.unwrap();
    assert_eq!(lab.segments().await, 0, "a small object");
    put_parts(&swift, &at, &parts(3)).await;
    swift.put(&at, content(4, 200_000)).await.unwrap();
    assert_eq!(lab.segments().await, 0, "a larger one");
    put_parts(&swift, &at, &parts(5)).await;
    swift.put(&key("small"), content(5, 10)).await.unwrap();
    swift.copy(&key("small"), &at).await.unwrap();
    assert_eq!(lab.segments().await, 0, "a copy");
    assert!(read(&swift, &at).await == content(5, 10));
    put_parts(&swift, &at, &parts(6)).await;
    swift.delete(&at).await.unwrap();
    assert_eq!(lab.names().await, ["files/small"]);
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn docker_registrys_objects_are_read_copied_and_removed() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let (at, to) = (key("a/data"), key("b/data"));
    let whole = content(1, 3 * CHUNK + 77);
    lab.put_dynamic("files/a/data", "segments/2f6/4d/31", &whole).await;
    assert_eq!(swift.head(&at).await.unwrap().size, whole.len() as u64);
    assert!(read(&swift, &at).await == whole);
    let below = key("a");
    let listed = swift.list(Listing { below: &below, one_level: false, start: Start::First, limit: 10 }).await.unwrap();
    assert_eq!(listed.objects[0].1.size, whole.len() as u64, "a listing itself says nothing of the length");

    swift.copy(&at, &to).await.unwrap();
    assert!(read(&swift, &to).await == whole);
    assert_eq!(lab.headers("files/b/data").await["x-static-large-object"], "True");
    swift.remove(&[at.clone(), key("none")]).await.unwrap();
    assert!(read(&swift, &to).await == whole, "a copy stands for itself");
    assert!(lab.names().await.iter().all(|name| name.starts_with("files/b/")));
    swift.copy(&to, &at).await.unwrap();
    swift.delete(&to).await.unwrap();
    assert!(read(&swift, &at).await == whole);

    // In the place of one of docker-registry's.
    lab.put_dynamic("files/b/data", "segments/2f6/4d/32", &whole).await;
    swift.put(&to, Bytes::from_static(b"small")).await.unwrap();
    assert!(!lab.names().await.iter().any(|name| name.starts_with("segments/")));

    // An upload of docker-registry's to which nothing was sent yet.
    lab.put_dynamic("files/c/data", "segments/2f6/4d/33", &Bytes::new()).await;
    assert_eq!(swift.head(&key("c/data")).await.unwrap().size, 0);
    assert_eq!(read(&swift, &key("c/data")).await, "");
    swift.remove(&[at, to, key("c/data")]).await.unwrap();
    assert!(lab.names().await.is_empty());
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn segments_of_others_are_left_to_them() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let whole = content(1, 2 * CHUNK);
    lab.put_dynamic("files/a", "elsewhere/1", &whole).await;
    lab.put_dynamic("files/b", "files/x", &whole).await;
    let manifest = format!(r#"[{{"path": "/{}/elsewhere/1/0000000000000001"}}]"#, lab.container);
    lab.put("files/c?multipart-manifest=put", &[], manifest.into()).await;
    assert!(read(&swift, &key("c")).await == content(1, CHUNK));
    swift.remove(&[key("a"), key("b"), key("c")]).await.unwrap();
    let left = lab.names().await;
    assert_eq!(left.len(), 4, "{left:?}");
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn equal_content_stays_and_is_as_new() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let at = key("blobs/data");
    let parts = [content(1, CHUNK), content(2, 500)];
    put_parts(&swift, &at, &parts).await;
    let (names, before) = (lab.names().await, swift.head(&at).await.unwrap());
    put_parts(&swift, &at, &parts).await;
    assert_eq!(lab.names().await, names, "who reads the first is not cut off");
    assert!(swift.head(&at).await.unwrap().modified > before.modified);
    assert!(read(&swift, &at).await == parts.concat());
}

/// The object says as before how long it is, and cannot be read: who writes it again means to mend it.
#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn content_whose_segments_are_gone_is_written_again() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let at = key("blobs/data");
    let parts = [content(1, CHUNK), content(2, 500)];
    put_parts(&swift, &at, &parts).await;
    let segments: Vec<String> =
        lab.names().await.into_iter().filter(|name| name.contains("/.berth-segments/")).collect();
    let answer = lab.ask(Method::DELETE, &format!("/{}", segments[1]), &[], Bytes::new()).await;
    assert!(answer.status.is_success(), "{}", answer.status);
    put_parts(&swift, &at, &parts).await;
    assert!(read(&swift, &at).await == parts.concat());
    assert_eq!(lab.segments().await, 2, "{:?}", lab.names().await);
}

/// Many that complete one object at once leave one of them, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn of_many_at_once_one_stays_whole() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    for round in 0..3 {
        let at = key(&format!("blobs/{round}"));
        let writers = (0..6).map(|writer| {
            let (swift, at) = (swift.clone(), at.clone());
            // Some have the same content.
            tokio::spawn(async move {
                put_parts(&swift, &at, &[content(writer / 2, CHUNK), content(writer / 2, 500)]).await;
            })
        });
        for written in futures::future::join_all(writers.collect::<Vec<_>>()).await {
            written.unwrap();
        }
        let found = read(&swift, &at).await;
        assert!((0..3).any(|seed| found == [content(seed, CHUNK), content(seed, 500)].concat()), "round {round}");
        swift.delete(&at).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn parts_that_are_an_object_are_not_aborted() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let at = key("blobs/data");
    let assembly = swift.begin_parts(&at).await.unwrap();
    let tag = swift.put_part(&at, &assembly, 1, content(1, CHUNK)).await.unwrap();
    swift.complete_parts(&at, &assembly, vec![tag.clone()], CHUNK as u64).await.unwrap();
    // The answer was lost, and whoever waited for it gives up.
    swift.abort_parts(&at, &assembly).await.unwrap();
    assert!(read(&swift, &at).await == content(1, CHUNK));
    // A part is gone: the store says so, and nothing of it is seen.
    let other = swift.begin_parts(&at).await.unwrap();
    let tag = swift.put_part(&at, &other, 1, content(2, CHUNK)).await.unwrap();
    swift.abort_parts(&at, &other).await.unwrap();
    let error = swift.complete_parts(&at, &other, vec![tag], CHUNK as u64).await.unwrap_err().to_string();
    assert!(error.contains("404 Not Found"), "{error}");
    assert!(read(&swift, &at).await == content(1, CHUNK));
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_copy_that_is_dropped_leaves_no_segments() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let (at, to) = (key("from"), key("to"));
    swift.put(&at, content(1, 6 * CHUNK)).await.unwrap();
    // Dropped as soon as there is a first segment.
    tokio::select! {
        copied = swift.copy(&at, &to) => copied.unwrap(),
        () = until("a segment", async || lab.segments().await > 0) => {}
    }
    until("nothing, or the whole copy", async || match swift.head(&to).await {
        Ok(_) => lab.segments().await == 6,
        Err(_) => lab.segments().await == 0,
    })
    .await;
}

/// Before the cluster was asked what it can do, and where it cannot do it.
#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn objects_are_removed_one_by_one_where_need_be() {
    let lab = Lab::open().await;
    let swift = berth_storage::Swift::open(lab.options()).await.unwrap();
    assert!(!swift.abilities().removes_many);
    put_parts(&swift, &key("a"), &[content(1, CHUNK), content(2, 5)]).await;
    swift.put(&key("b"), content(3, 5)).await.unwrap();
    swift.remove(&[key("a"), key("b"), key("c")]).await.unwrap();
    assert!(lab.names().await.is_empty());
    swift.probe().await.unwrap();
    assert!(swift.abilities().removes_many);
}
