//! Temporary addresses on the real Swift.

use std::time::Duration;

use berth_storage::bucket::Bucket;
use berth_storage::{Presign, Swift, SwiftOptions};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use crate::lab::{CHUNK, Lab, content, key, put_parts, until};

async fn get(lab: &Lab, address: &str) -> (StatusCode, Bytes) {
    let answer = lab.fetch(Request::get(address).body(Full::default()).unwrap()).await;
    (answer.status, answer.content)
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn the_containers_key_is_used_or_set() {
    let lab = Lab::open().await;
    let at = key("blobs/data");
    let swift = lab.swift().await;
    put_parts(&swift, &at, &[content(1, CHUNK), content(2, 50)]).await;
    let address = async |swift: &Swift| swift.presign(&at, Duration::from_secs(60)).await.unwrap();
    assert_eq!(address(&swift).await, None, "there is no key to sign with");

    // The one that docker-registry has made up.
    lab.ask(Method::POST, "", &[("x-container-meta-temp-url-key", "made-up")], Bytes::new()).await;
    let swift = lab.swift().await;
    let first = address(&swift).await.unwrap();
    let (status, found) = get(&lab, &first).await;
    assert!(status == StatusCode::OK && found == [content(1, CHUNK), content(2, 50)].concat(), "{status}");

    // One of the settings is given to the store, and the other stays good.
    let set = SwiftOptions { secret_key: Some("of-the-settings".into()), ..lab.options() };
    let swift = Swift::open(set.clone()).await.unwrap();
    assert_eq!(address(&swift).await, None, "nothing is known of the cluster yet");
    swift.probe().await.unwrap();
    let second = address(&swift).await.unwrap();
    until("the second key", async || get(&lab, &second).await.0 == StatusCode::OK).await;
    assert_eq!(get(&lab, &first).await.0, StatusCode::OK);
    let keys = lab.ask(Method::HEAD, "", &[], Bytes::new()).await.headers;
    assert_eq!(keys["x-container-meta-temp-url-key"], "made-up");
    assert_eq!(keys["x-container-meta-temp-url-key-2"], "of-the-settings");

    // Another address for those outside.
    let outside = SwiftOptions { redirect_endpoint: Some("https://cdn.example".into()), ..set };
    let swift = Swift::open(outside).await.unwrap();
    swift.probe().await.unwrap();
    let third = address(&swift).await.unwrap();
    assert!(third.starts_with("https://cdn.example/v1/AUTH_"), "{third}");
    let inside = third.replace("https://cdn.example", &format!("http://{}", lab.server.address));
    assert_eq!(get(&lab, &inside).await.0, StatusCode::OK);
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn an_address_ends() {
    let lab = Lab::open().await;
    let options = SwiftOptions { secret_key: Some("of-the-settings".into()), ..lab.options() };
    let swift = Swift::open(options).await.unwrap();
    swift.probe().await.unwrap();
    swift.put(&key("a"), content(1, 5)).await.unwrap();
    let address = swift.presign(&key("a"), Duration::ZERO).await.unwrap().unwrap();
    until("its end", async || get(&lab, &address).await.0 == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_key_that_changes_signs_once_the_store_has_it() {
    let lab = Lab::open().await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("password", &lab.server.key);
    write("secretkey", "first");
    let options =
        SwiftOptions { password: None, credentials_directory: Some(directory.path().to_owned()), ..lab.options() };
    let swift = Swift::open(options).await.unwrap();
    swift.probe().await.unwrap();
    swift.put(&key("a"), content(1, 5)).await.unwrap();
    let address = async || swift.presign(&key("a"), Duration::from_secs(600)).await.unwrap().unwrap();
    let first = address().await;
    until("the first key", async || get(&lab, &first).await.0 == StatusCode::OK).await;
    write("secretkey", "second");
    until("the second key", async || {
        let keys = lab.ask(Method::HEAD, "", &[], Bytes::new()).await.headers;
        address().await;
        keys.get("x-container-meta-temp-url-key-2").is_some_and(|key| key == "second")
    })
    .await;
    let second = address().await;
    until("the second address", async || get(&lab, &second).await.0 == StatusCode::OK).await;
    assert_eq!(get(&lab, &first).await.0, StatusCode::OK, "the first is good for as long as it was said to be");
}
