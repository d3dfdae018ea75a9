//! Conditional requests: RFC 9110, section 13, on manifests and blobs.

use std::sync::Arc;

use berth_oci::Digest;
use bytes::Bytes;
use http::Method;
use tokio::sync::Barrier;

use crate::on_both;
use crate::support::{self, Client, Document, config_of};

/// A condition with a header of this name.
type Condition<'a> = (&'a str, &'a str);

/// Two images of one repository, of which the first has the tag `v1`.
async fn two_images(client: &mut Client) -> (Document, Document) {
    let first = client.push_image("a", "v1", &[]).await;
    let second = Document::image("other", &[]);
    client.push_blob("a", config_of("other")).await;
    (first, second)
}

async fn push(client: &mut Client, reference: &str, image: &Document, conditions: &[Condition<'_>]) -> String {
    let headers: Vec<_> = [("content-type", image.media_type)].into_iter().chain(conditions.iter().copied()).collect();
    let target = format!("/v2/a/manifests/{reference}");
    client.send(Method::PUT, &target, &headers, image.raw.clone()).await.codes()
}

async fn names(client: &mut Client, tag: &str) -> String {
    client.head(&format!("/v2/a/manifests/{tag}")).await.header("docker-content-digest").to_owned()
}

#[tokio::test]
async fn a_push_replaces_only_what_it_was_meant_to() {
    on_both(async |_, mut client| {
        let client = &mut client;
        let (first, second) = two_images(client).await;
        let (old, new) = (first.digest().to_string(), second.digest().to_string());
        let quoted = |digest: &str| format!("\"{digest}\"");
        let (old_tag, new_tag, weak) = (quoted(&old), quoted(&new), format!("W/\"{old}\""));
        for (reference, image, conditions, expected) in [
            ("v1", &second, &[("if-match", new_tag.as_str())][..], "412 DENIED"),
            ("v1", &second, &[("if-match", &weak)], "412 DENIED"),
            ("v1", &second, &[("if-none-match", "*")], "412 DENIED"),
            ("v1", &second, &[("if-none-match", &weak)], "412 DENIED"),
            ("v1", &second, &[("if-match", "*"), ("if-none-match", "*")], "412 DENIED"),
            // What cannot be done anyhow is said first.
            ("v1", &Document::image("unknown", &[]), &[("if-none-match", "*")], "400 MANIFEST_BLOB_UNKNOWN"),
            ("none", &second, &[("if-match", "*")], "412 DENIED"),
            (&old, &first, &[("if-none-match", "*")], "412 DENIED"),
            (&new, &second, &[("if-match", "*")], "412 DENIED"),
        ] {
            assert_eq!(push(client, reference, image, conditions).await, expected, "{reference} {conditions:?}");
            assert_eq!(names(client, "v1").await, old, "{reference} {conditions:?}");
        }
        client.head(&format!("/v2/a/manifests/{new}")).await.expect(404);
        client.head("/v2/a/manifests/none").await.expect(404);

        assert_eq!(push(client, "v1", &second, &[("if-match", &old_tag)]).await, "201");
        assert_eq!(names(client, "v1").await, new);
        let either = format!("{old_tag}, {new_tag}");
        assert_eq!(push(client, "v1", &first, &[("if-match", &either)]).await, "201");
        assert_eq!(push(client, "v1", &second, &[("if-match", "\"x\""), ("if-match", &old_tag)]).await, "201");
        assert_eq!(push(client, "v2", &first, &[("if-none-match", "*")]).await, "201");
        assert_eq!(push(client, "v2", &second, &[("if-none-match", &new_tag)]).await, "201");
        assert_eq!(names(client, "v2").await, new);
        // There are no dates to compare with.
        assert_eq!(
            push(client, "v2", &first, &[("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")]).await,
            "201"
        );
    })
    .await;
}

#[tokio::test]
async fn only_what_was_meant_is_deleted() {
    on_both(async |_, mut client| {
        let client = &mut client;
        let (first, second) = two_images(client).await;
        let (old, other) = (first.digest().to_string(), format!("\"{}\"", second.digest()));
        let blob = Digest::sha256(config_of("other").as_bytes()).to_string();
        for path in ["manifests/v1".to_owned(), format!("manifests/{old}"), format!("blobs/{blob}")] {
            let target = format!("/v2/a/{path}");
            let refused = client.send(Method::DELETE, &target, &[("if-match", &other)], Bytes::new()).await;
            assert_eq!(refused.codes(), "412 DENIED", "{target}");
            assert_eq!(refused.json()["errors"][0]["message"], "If-Match: what is there is not what the request names");
            let tag = client.head(&target).await.expect(200).header("etag").to_owned();
            client.send(Method::DELETE, &target, &[("if-none-match", &tag)], Bytes::new()).await.expect(412);
            client.send(Method::DELETE, &target, &[("if-match", &tag)], Bytes::new()).await.expect(202);
            client.send(Method::DELETE, &target, &[("if-match", &tag)], Bytes::new()).await.expect(404);
        }
        client.push_image("a", "v1", &[]).await;
        let whole = client.send(Method::DELETE, "/v2/a/", &[("if-match", &other)], Bytes::new()).await;
        assert_eq!(whole.codes(), "412 DENIED", "a repository has no tag that could be named");
        client.head("/v2/a/manifests/v1").await.expect(200);
        client.send(Method::DELETE, "/v2/a/", &[("if-match", "*")], Bytes::new()).await.expect(202);
    })
    .await;
}

#[tokio::test]
async fn only_what_was_meant_is_read() {
    on_both(async |_, mut client| {
        let image = client.push_image("a", "v1", &["layer"]).await;
        let blob = Digest::sha256(b"layer").to_string();
        let digest = image.digest().to_string();
        for (path, digest) in [
            ("manifests/v1".to_owned(), &digest),
            (format!("manifests/{digest}"), &digest),
            (format!("blobs/{blob}"), &blob),
        ] {
            let tag = format!("\"{digest}\"");
            let weak = format!("W/{tag}");
            for (conditions, expected) in [
                (&[("if-match", "\"x\"")][..], 412),
                (&[("if-match", &weak)], 412),
                (&[("if-match", &tag)], 200),
                (&[("if-match", "*")], 200),
                (&[("if-none-match", &weak)], 304),
                (&[("if-none-match", "\"x\""), ("if-none-match", &tag)], 304),
                (&[("if-none-match", "\"x\"")], 200),
                (&[("if-match", &tag), ("if-none-match", &tag)], 304),
                (&[("if-match", "\"x\""), ("if-none-match", &tag)], 412),
                // Neither counts for what is compared by a tag (sections 13.1.3 and 13.1.4).
                (&[("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")], 200),
                (&[("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], 200),
            ] {
                let headers: Vec<_> =
                    [("accept", support::ACCEPT_ALL)].into_iter().chain(conditions.iter().copied()).collect();
                let target = format!("/v2/a/{path}");
                for method in [Method::GET, Method::HEAD] {
                    let answer = client.send(method.clone(), &target, &headers, Bytes::new()).await;
                    assert_eq!(answer.status.as_u16(), expected, "{method} {target} {conditions:?}");
                }
            }
        }
        // A range is looked at last, and what is not there is unknown whatever the condition.
        let (target, tag) = (format!("/v2/a/blobs/{blob}"), format!("\"{blob}\""));
        let range = ("range", "bytes=1-2");
        for (condition, expected) in [("\"x\"", 412), (tag.as_str(), 206)] {
            client.send(Method::GET, &target, &[range, ("if-match", condition)], Bytes::new()).await.expect(expected);
        }
        client.send(Method::GET, "/v2/a/manifests/none", &[("if-match", "*")], Bytes::new()).await.expect(404);
        let none = format!("/v2/a/blobs/{}", Digest::sha256(b"none"));
        client.send(Method::GET, &none, &[("if-match", "*")], Bytes::new()).await.expect(404);
    })
    .await;
}

/// Of many that have read the same and then push, one wins, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_conditional_pushes_wins() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 10;
    on_both(async |server, mut client| {
        client.push_image("a", "v1", &[]).await;
        for round in 0..ROUNDS {
            let before = format!("\"{}\"", names(&mut client, "v1").await);
            let barrier = Arc::new(Barrier::new(CLIENTS));
            let mut pushing = Vec::new();
            for at in 0..CLIENTS {
                let mut client = Client::connect(server.running.address()).await;
                let image = Document::image(&format!("{at} of round {round}"), &[]);
                client.push_blob("a", config_of(&format!("{at} of round {round}"))).await;
                let (barrier, before) = (barrier.clone(), before.clone());
                pushing.push(tokio::spawn(async move {
                    barrier.wait().await;
                    let replaced = push(&mut client, "v1", &image, &[("if-match", &before)]).await;
                    // The first push of a tag is fought over as well.
                    let made = push(&mut client, &format!("round-{round}"), &image, &[("if-none-match", "*")]).await;
                    (image.digest().to_string(), [replaced, made])
                }));
            }
            let (mut replaced, mut made) = (Vec::new(), Vec::new());
            for push in pushing {
                let (digest, outcomes) = push.await.unwrap();
                for (outcome, winners) in outcomes.iter().zip([&mut replaced, &mut made]) {
                    match outcome.as_str() {
                        "201" => winners.push(digest.clone()),
                        other => assert_eq!(other, "412 DENIED"),
                    }
                }
            }
            assert_eq!(replaced, [names(&mut client, "v1").await], "round {round}");
            assert_eq!(made, [names(&mut client, &format!("round-{round}")).await], "round {round}");
        }
    })
    .await;
}
