//! The middleware `cloudfront` around a real bucket: which clients are sent where, and that what they are given is good.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::{Driver, Layer, LayerOptions, Secret};
use berth_storage::Key;
use berth_storage::bucket::Bucket as _;
use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::bench::Bench;
use crate::support::Client;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server of address ranges, which can fail.
struct Publisher {
    address: String,
    /// How often it has been asked.
    asked: watch::Receiver<u32>,
    /// The network that it says is inside of AWS; it fails without one.
    network: Arc<Mutex<Option<&'static str>>>,
}

impl Publisher {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/ip-ranges.json", listener.local_addr().unwrap());
        let (asked, network) = (watch::Sender::new(0), Arc::new(Mutex::new(None)));
        let publisher = Publisher { address, asked: asked.subscribe(), network: network.clone() };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    text.push(stream.read_u8().await.unwrap());
                }
                let network: Option<&str> = *network.lock().unwrap();
                let (status, body) = match network {
                    None => ("500 Broken", String::new()),
                    Some(network) => {
                        ("200 OK", format!(r#"{{"prefixes": [{{"ip_prefix": "{network}", "region": "eu-west-1"}}]}}"#))
                    }
                };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                asked.send_modify(|asked| *asked += 1);
            }
        });
        publisher
    }

    /// Waits until what it says now has been taken up: one request may be on its way already, and who comes after the next
    /// one has dealt with its answer.
    async fn taken_up(&mut self) {
        let enough = *self.asked.borrow() + 3;
        let asked = tokio::time::timeout(PATIENCE, self.asked.wait_for(|asked| *asked >= enough)).await;
        asked.expect("nobody asks for the ranges").unwrap();
    }
}

/// Where a client of this address is sent.
async fn location(client: &mut Client, blob: &str, from: Option<&str>) -> String {
    let headers: Vec<(&str, &str)> = from.iter().map(|from| ("x-forwarded-for", *from)).collect();
    client.send(Method::GET, blob, &headers, Bytes::new()).await.expect(307).header("location").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn clients_are_sent_to_cloudfront_or_to_the_bucket_itself() {
    let (bench, mut publisher) = (Bench::start().await, Publisher::start().await);
    let (pair, directory) = (KeyPair::generate(KeySize::Rsa2048).unwrap(), tempfile::tempdir().unwrap());
    let file = directory.path().join("cloudfront.pem");
    let der = STANDARD.encode(pair.as_der().unwrap().as_ref());
    std::fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")).unwrap();
    let options = LayerOptions {
        baseurl: Some("d111111abcdef8.cloudfront.net/hub".into()),
        privatekey: Some(Secret::new(file.display().to_string())),
        keypairid: Some("K2JCJMDEHXQW5F".into()),
        ipfilteredby: Some("awsregion".into()),
        awsregion: Some("eu-west-1".into()),
        updatefrequency: Some("1s".parse().unwrap()),
        iprangesurl: Some(publisher.address.clone()),
        ..LayerOptions::default()
    };
    let replica = bench
        .replica(|config| {
            config.storage.redirect.disable = false;
            let Driver::S3(s3) = &mut config.storage.driver else { panic!() };
            s3.rootdirectory = "/my images".into();
            config.middleware.storage = vec![Layer { name: "cloudfront".into(), disabled: false, options }];
        })
        .await;
    let mut client = bench.client(&replica).await;
    let content = "a layer";
    let digest = client.push_blob("team/app", content).await;
    let blob = format!("/v2/team/app/blobs/{digest}");
    let (inside, outside) = (Some("10.1.2.3"), Some("11.1.2.3"));
    let base = "https://d111111abcdef8.cloudfront.net/hub/";

    // Nobody knows who is inside of AWS while the ranges cannot be fetched.
    publisher.taken_up().await;
    for from in [None, inside, outside] {
        let address = location(&mut client, &blob, from).await;
        assert!(address.starts_with(base), "{from:?}: {address}");
    }

    *publisher.network.lock().unwrap() = Some("10.0.0.0/8");
    publisher.taken_up().await;
    let to_bucket = location(&mut client, &blob, inside).await;
    let path = to_bucket.strip_prefix(&bench.proxy.endpoint()).unwrap();
    let fetched = Client::connect(bench.proxy.address().into()).await.get(path).await.expect(200);
    assert_eq!(fetched.body, content);

    // What is signed is the object that lies in the bucket, and CloudFront would open it with the public key.
    let address = location(&mut client, &blob, outside).await;
    assert_eq!(address, location(&mut client, &blob, None).await, "the client of this test is not inside of AWS");
    let (resource, query) = address.split_once('?').unwrap();
    let key = percent_decode_str(resource.strip_prefix(base).unwrap()).decode_utf8().unwrap();
    assert!(key.starts_with("my images/docker/registry/v2/blobs/sha256/"), "{key}");
    let stat = bench.bucket().await.head(&key.parse::<Key>().unwrap()).await.unwrap();
    assert_eq!(stat.size, content.len() as u64);
    let parameters: Vec<(&str, &str)> = query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
    let [("Expires", expires), ("Signature", signature), ("Key-Pair-Id", "K2JCJMDEHXQW5F")] = parameters[..] else {
        panic!("{query}")
    };
    let signature = signature.replace('-', "+").replace('_', "=").replace('~', "/");
    let condition = format!(r#"{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}"#);
    let policy = format!(r#"{{"Statement":[{{"Resource":"{resource}","Condition":{condition}}}]}}"#);
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, pair.public_key().as_ref());
    public.verify(policy.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();

    // What was known stays while the ranges cannot be fetched, and what is published anew counts.
    *publisher.network.lock().unwrap() = None;
    publisher.taken_up().await;
    assert!(location(&mut client, &blob, inside).await.starts_with(&bench.proxy.endpoint()));
    *publisher.network.lock().unwrap() = Some("11.0.0.0/8");
    publisher.taken_up().await;
    assert!(location(&mut client, &blob, inside).await.starts_with(base));
    assert!(location(&mut client, &blob, outside).await.starts_with(&bench.proxy.endpoint()));
    replica.stop().await;
}
