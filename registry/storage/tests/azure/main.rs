//! What is peculiar to Azure: blobs that CNCF Distribution has left, names with a slash in front, signatures in place of a
//! key, and writers who make each other's blocks disappear. `make stores` starts the servers for it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/entra.rs"]
mod entra;
mod raw;

use std::sync::Arc;
use std::time::Duration;

use berth_storage::bucket::{Bucket, Listing, Start};
use berth_storage::{Azure, AzureLogin, AzureOptions, Key, Presign, StoreError, Trust};
use berth_stores::{Azurite, Programs};
use bytes::Bytes;
use futures::TryStreamExt;

use crate::raw::Raw;

const CONTAINER: &str = "box";

/// A server with an empty container, what the driver is told to use it, and a way past the driver.
async fn start() -> (Azurite, AzureOptions, Raw) {
    let server = Azurite::start(&Programs::from_env()).await.unwrap();
    server.create_container(CONTAINER).await.unwrap();
    let options = AzureOptions {
        account_name: server.account.clone(),
        account_key: Some(server.key.clone()),
        container: CONTAINER.into(),
        service_url: Some(server.endpoint.clone()),
        ..AzureOptions::default()
    };
    let raw = Raw::new(&server.endpoint, &server.account, &server.key, CONTAINER);
    (server, options, raw)
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

async fn read(bucket: &Azure, at: &Key) -> Result<Bytes, StoreError> {
    Ok(bucket.get(at, None).await?.body.try_collect::<Vec<Bytes>>().await?.concat().into())
}

async fn names(bucket: &Azure, below: &str) -> Vec<String> {
    let below = key(below);
    let listing = Listing { below: &below, one_level: false, start: Start::First, limit: 100 };
    bucket.list(listing).await.unwrap().objects.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn blobs_that_were_appended_to_are_replaced_and_never_missing() {
    let (_server, options, raw) = start().await;
    let azure = Arc::new(Azure::open(options).await.unwrap());
    let at = key("docker/registry/v2/repositories/a/_manifests/tags/t/current/link");
    raw.append(at.as_str(), "as it was").await;
    assert_eq!(read(&azure, &at).await.unwrap(), "as it was");
    let again = azure.create(&at, Bytes::from_static(b"new")).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");

    let (reader, place) = (azure.clone(), at.clone());
    let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(async move {
        while ended.try_recv().is_err() {
            let found = read(&reader, &place).await.unwrap();
            assert!(found == "as it was" || found.starts_with(b"x"), "{found:?}");
        }
    });
    // More than is appended at once.
    let content = Bytes::from(vec![b'x'; 5_000_000]);
    for _ in 0..5 {
        azure.put(&at, content.clone()).await.unwrap();
    }
    end.send(()).unwrap();
    watch.await.unwrap();
    assert!(read(&azure, &at).await.unwrap() == content);
    assert_eq!(names(&azure, "berth/v1").await, Vec::<String>::new(), "nothing is left beside it");

    let blob = key("docker/registry/v2/blobs/sha256/00/00/data");
    raw.append(blob.as_str(), "of another length").await;
    let assembly = azure.begin_parts(&blob).await.unwrap();
    let parts = vec![
        azure.put_part(&blob, &assembly, 1, Bytes::from_static(b"one ")).await.unwrap(),
        azure.put_part(&blob, &assembly, 2, Bytes::from_static(b"two")).await.unwrap(),
    ];
    assert_eq!(read(&azure, &blob).await.unwrap(), "of another length");
    azure.complete_parts(&blob, &assembly, parts.clone(), 7).await.unwrap();
    assert_eq!(read(&azure, &blob).await.unwrap(), "one two");
    // An answer that was lost.
    azure.complete_parts(&blob, &assembly, parts, 7).await.unwrap();

    raw.append("docker/from", "appended").await;
    azure.copy(&key("docker/from"), &blob).await.unwrap();
    assert_eq!(read(&azure, &blob).await.unwrap(), "appended");
    // One of the same size is taken for the same where that is allowed: it stays readable all the time.
    raw.append(blob.as_str(), "APPENDED").await;
    azure.copy_sized(&key("docker/from"), &blob, 8).await.unwrap();
    assert_eq!(read(&azure, &blob).await.unwrap(), "APPENDED");
    let assembly = azure.begin_parts(&blob).await.unwrap();
    let parts = vec![azure.put_part(&blob, &assembly, 1, Bytes::from_static(b"appended")).await.unwrap()];
    azure.complete_parts(&blob, &assembly, parts, 8).await.unwrap();
    assert_eq!(read(&azure, &blob).await.unwrap(), "APPENDED");
    raw.append(blob.as_str(), "of another length").await;
    azure.copy_sized(&key("docker/from"), &blob, 8).await.unwrap();
    assert_eq!(read(&azure, &blob).await.unwrap(), "appended");
    azure.remove(&[at, blob]).await.unwrap();
    assert_eq!(names(&azure, "docker").await, ["docker/from"]);
    assert_eq!(names(&azure, "berth/v1").await, Vec::<String>::new(), "nothing is left beside it");
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_container_of_distribution_2_8_is_recognized() {
    let (server, options, raw) = start().await;
    let at = key("docker/registry/v2/blobs/sha256/00/00/data");
    raw.append(&format!("/{at}"), "old").await;
    let azure = Azure::open(options.clone()).await.unwrap();
    azure.probe().await.unwrap();
    assert_eq!(read(&azure, &at).await.unwrap(), "old");
    let beside = key("docker/registry/v2/blobs/sha256/00/01/data");
    azure.copy(&at, &beside).await.unwrap();
    assert_eq!(names(&azure, "docker/registry/v2").await, [at.as_str(), beside.as_str()]);
    let address = azure.presign(&at, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(raw.fetch(&address).await, "old");
    assert!(address.contains("/box//docker/"), "{address}");
    azure.remove(&[beside]).await.unwrap();
    assert_eq!(names(&azure, "docker/registry/v2").await, [at.as_str()]);
    // Whoever says that there is no slash is believed, and so is whoever says that there is one.
    let plain = Azure::open(AzureOptions { root_directory: "/".into(), ..options.clone() }).await.unwrap();
    assert!(plain.head(&at).await.unwrap_err().is_not_found());
    let slashed = Azure::open(AzureOptions { root_directory: "//".into(), ..options.clone() }).await.unwrap();
    assert_eq!(slashed.head(&at).await.unwrap().size, 3);
    // With both, it is a container of today's.
    plain.put(&at, Bytes::from_static(b"today's")).await.unwrap();
    let both = Azure::open(options.clone()).await.unwrap();
    assert_eq!(read(&both, &at).await.unwrap(), "today's");
    // And so is an empty one.
    server.create_container("other").await.unwrap();
    let empty = Azure::open(AzureOptions { container: "other".into(), ..options }).await.unwrap();
    empty.put(&at, Bytes::from_static(b"new")).await.unwrap();
    let address = empty.presign(&at, Duration::from_secs(60)).await.unwrap().unwrap();
    assert!(address.contains("/other/docker/"), "{address}");
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_signature_in_a_connection_string_is_enough() {
    let (server, options, raw) = start().await;
    let string = format!("BlobEndpoint={};SharedAccessSignature={}", server.endpoint, raw.signature());
    let options = AzureOptions {
        connection_string: Some(string),
        account_key: None,
        service_url: None,
        account_name: String::new(),
        ..options
    };
    let azure = Azure::open(options).await.unwrap();
    assert_eq!(azure.place(), "azure://berthtests/box");
    let abilities = azure.probe().await.unwrap();
    assert!(abilities.creates_atomically && abilities.removes_many, "{abilities:?}");
    let (from, to) = (key("a/from +%41"), key("a/to"));
    azure.put(&from, Bytes::from_static(b"content")).await.unwrap();
    azure.copy(&from, &to).await.unwrap();
    assert_eq!(read(&azure, &to).await.unwrap(), "content");
    assert_eq!(names(&azure, "a").await, [from.as_str(), to.as_str()]);
    // An address would have to hold the signature itself.
    assert_eq!(azure.presign(&from, Duration::from_secs(60)).await.unwrap(), None);
    azure.remove(&[from, to]).await.unwrap();
    assert_eq!(names(&azure, "a").await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn two_who_write_one_object_in_parts_are_both_right() {
    let (_server, options, _raw) = start().await;
    let (one, other) = (Azure::open(options.clone()).await.unwrap(), Azure::open(options).await.unwrap());
    let at = key("docker/registry/v2/blobs/sha256/00/00/data");
    let content = |number: usize| Bytes::from(vec![b'0' + number as u8; 1000]);
    let (first, second) = (one.begin_parts(&at).await.unwrap(), other.begin_parts(&at).await.unwrap());
    let mut tags = (Vec::new(), Vec::new());
    for number in 1..=3 {
        tags.0.push(one.put_part(&at, &first, number, content(number)).await.unwrap());
        if number < 3 {
            tags.1.push(other.put_part(&at, &second, number, content(number)).await.unwrap());
        }
    }
    one.complete_parts(&at, &first, tags.0, 3000).await.unwrap();
    // The other goes on, and its first blocks are gone.
    tags.1.push(other.put_part(&at, &second, 3, content(3)).await.unwrap());
    other.complete_parts(&at, &second, tags.1.clone(), 3000).await.unwrap();
    let whole = [content(1), content(2), content(3)].concat();
    assert!(read(&one, &at).await.unwrap() == whole);
    // An object of another size is not what was written.
    one.put(&at, Bytes::from_static(b"something else")).await.unwrap();
    let error = other.complete_parts(&at, &second, tags.1.clone(), 3000).await.unwrap_err();
    assert!(matches!(error, StoreError::Service { .. }), "{error:?}");
    one.delete(&at).await.unwrap();
    other.complete_parts(&at, &second, tags.1, 3000).await.unwrap_err();
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn addresses_are_signed_with_a_key_that_the_service_gives_out() {
    let server = Azurite::start_with_tls(&Programs::from_env()).await.unwrap();
    server.create_container(CONTAINER).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let pem = &server.certificate.as_ref().unwrap().pem;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let login =
        AzureLogin::ClientSecret { tenant_id: text("tenant"), client_id: text("client"), secret: text(entra::SECRET) };
    let options = AzureOptions {
        account_name: server.account.clone(),
        container: CONTAINER.into(),
        service_url: Some(server.endpoint.clone()),
        login: Some(login),
        authority: Some(entra::authority().await),
        trust: Trust { ca_file: Some(ca_file), skip_verify: false },
        ..AzureOptions::default()
    };
    let azure = Azure::open(options.clone()).await.unwrap();
    let at = key("docker/odd +%41 ~'\"ä/data");
    azure.put(&at, Bytes::from_static(b"content")).await.unwrap();
    let raw = Raw::trusting(pem);
    for _ in 0..2 {
        let address = azure.presign(&at, Duration::from_secs(60)).await.unwrap().unwrap();
        assert!(address.contains("&spr=https&") && address.contains("&skoid="), "{address}");
        assert_eq!(raw.fetch(&address).await, "content");
    }
    assert_eq!(server.log().matches("userdelegationkey").count(), 1, "the key is kept");
    // A certificate that nobody has vouched for is believed where that is said, and not where it is not.
    let believing = Trust { ca_file: None, skip_verify: true };
    let believing = Azure::open(AzureOptions { trust: believing, ..options.clone() }).await.unwrap();
    assert_eq!(read(&believing, &at).await.unwrap(), "content");
    let doubting = Azure::open(AzureOptions { trust: Trust::default(), ..options }).await.unwrap();
    let error = doubting.check().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("certificate"), "{error}");
}
