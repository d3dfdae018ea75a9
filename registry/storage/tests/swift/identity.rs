//! Tokens of an identity service, on the real Swift.

use std::time::Duration;

use berth_storage::bucket::Bucket;
use berth_storage::{StoreError, Swift, SwiftOptions};
use serde_json::json;

use crate::keystone::Keystone;
use crate::lab::{Lab, content, key, read, until};

fn options(lab: &Lab, keystone: &Keystone) -> SwiftOptions {
    SwiftOptions {
        auth_url: format!("http://{}/v3", keystone.address),
        username: "me".into(),
        password: Some("right".into()),
        tenant: Some("images".into()),
        domain_id: Some("default".into()),
        region: Some("two".into()),
        endpoint_type: Some("internal".into()),
        ..lab.options()
    }
}

async fn use_it(swift: &Swift) {
    swift.probe().await.unwrap();
    swift.check().await.unwrap();
    swift.put(&key("object"), content(1, 10)).await.unwrap();
    assert!(read(swift, &key("object")).await == content(1, 10));
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_token_of_version_three() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    let swift = Swift::open(options(&lab, &keystone)).await.unwrap();
    use_it(&swift).await;
    assert_eq!(keystone.count(), 1, "one token for all requests");
    let domain = json!({ "id": "default" });
    assert_eq!(keystone.last()["auth"]["scope"], json!({ "project": { "name": "images", "domain": domain } }));
    let trusted = SwiftOptions { trust_id: Some("trust-9".into()), ..options(&lab, &keystone) };
    use_it(&Swift::open(trusted).await.unwrap()).await;
    assert_eq!(keystone.last()["auth"]["scope"], json!({ "OS-TRUST:trust": { "id": "trust-9" } }));
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_token_of_version_two() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    let auth_url = format!("http://{}/v2.0/", keystone.address);
    let options = SwiftOptions { auth_url, endpoint_type: None, ..options(&lab, &keystone) };
    use_it(&Swift::open(options.clone()).await.unwrap()).await;
    assert_eq!(keystone.last()["auth"]["tenantName"], "images");
    let elsewhere = SwiftOptions { region: Some("three".into()), ..options };
    let error = Swift::open(elsewhere).await.unwrap().check().await.unwrap_err().to_string();
    assert!(error.contains("no public endpoint of type object-store in region three"), "{error}");
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_keystone_says_is_told_and_no_secret() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    let wrong = SwiftOptions { password: Some("SECRET-wrong".into()), ..options(&lab, &keystone) };
    let swift = Swift::open(wrong).await.unwrap();
    for _ in 0..5 {
        let error = swift.check().await.unwrap_err();
        assert!(!error.is_transient());
        let text = format!("{error} {error:?}");
        assert!(text.contains("The request you have made requires authentication."), "{text}");
        assert!(text.contains("(Unauthorized, status 401)") && !text.contains("SECRET"), "{text}");
    }
    assert!(keystone.count() <= 3, "who insists may be locked out: {}", keystone.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn many_that_are_not_believed_get_one_new_token() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    let swift = Swift::open(options(&lab, &keystone)).await.unwrap();
    keystone.set(|behaviour| behaviour.bad_tokens = 1);
    let puts = (0..20).map(|number| {
        let swift = swift.clone();
        tokio::spawn(async move { swift.put(&key(&format!("many/{number}")), content(number, 10)).await })
    });
    for put in futures::future::join_all(puts.collect::<Vec<_>>()).await {
        put.unwrap().unwrap();
    }
    assert_eq!(keystone.count(), 2, "the bad one, and one for all");

    // Two in a row are one too many.
    keystone.set(|behaviour| behaviour.bad_tokens = 2);
    let swift = Swift::open(options(&lab, &keystone)).await.unwrap();
    let error = swift.check().await.unwrap_err();
    assert!(matches!(&error, StoreError::Service { refusal, .. } if refusal.status == 401), "{error}");
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_token_is_replaced_before_it_ends() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    keystone.set(|behaviour| behaviour.lasts = 3);
    let swift = Swift::open(options(&lab, &keystone)).await.unwrap();
    swift.check().await.unwrap();
    assert_eq!(keystone.count(), 1);
    keystone.set(|behaviour| behaviour.lasts = 3600);
    let other = swift.clone();
    until("another token", async || {
        other.check().await.unwrap();
        keystone.count() == 2
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_token_is_used_to_its_end_while_there_is_no_other() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    keystone.set(|behaviour| behaviour.lasts = 4);
    let begin = std::time::Instant::now();
    let swift = Swift::open(options(&lab, &keystone)).await.unwrap();
    swift.check().await.unwrap();
    keystone.set(|behaviour| behaviour.broken = true);
    let other = swift.clone();
    until("the end of the token", async || other.check().await.is_err()).await;
    assert!(begin.elapsed() >= Duration::from_secs(4), "after {:?}", begin.elapsed());
    let error = swift.check().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("get a token"), "{error}");
    keystone.set(|behaviour| behaviour.broken = false);
    swift.check().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the real servers: run `make stores`"]
async fn credentials_that_change_get_another_token() {
    let lab = Lab::open().await;
    let keystone = Keystone::start(&lab).await;
    let directory = tempfile::tempdir().unwrap();
    let write = |password: &str| std::fs::write(directory.path().join("password"), password).unwrap();
    write("right");
    let options = SwiftOptions {
        password: None,
        credentials_directory: Some(directory.path().to_owned()),
        ..options(&lab, &keystone)
    };
    let swift = Swift::open(options).await.unwrap();
    swift.check().await.unwrap();

    // The service cannot be asked about the new ones: the token of the old ones is as good as before.
    keystone.set(|behaviour| behaviour.broken = true);
    write("new");
    let other = swift.clone();
    until("a try", async || {
        other.check().await.unwrap();
        keystone.count() == 2
    })
    .await;
    swift.check().await.unwrap();
    keystone.set(|behaviour| {
        behaviour.broken = false;
        behaviour.password = "new".into();
    });
    until("another token", async || {
        other.check().await.unwrap();
        keystone.last()["auth"]["identity"]["password"]["user"]["password"] == "new" && keystone.count() > 2
    })
    .await;
}
