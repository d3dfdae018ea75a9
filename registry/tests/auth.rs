//! Who is let in, over a real socket.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::{Config, Htpasswd, Method as AuthMethod, Silly};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Server};

/// The cheapest cost that there is, so that the tests measure nothing but themselves.
const COST: u32 = 4;

fn line(name: &str, password: &str) -> String {
    let hash = bcrypt::hash(password, COST).expect("the cost is one");
    format!("{name}:{hash}\n")
}

fn htpasswd(path: &Path) -> impl FnOnce(&mut Config) {
    let path = path.to_path_buf();
    |config| config.auth = Some(AuthMethod::Htpasswd(Htpasswd { realm: "The \"docks\"".into(), path }).into())
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn status(client: &mut Client, method: Method, path: &str, authorization: Option<&str>) -> u16 {
    let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
    client.send(method, path, &headers, Bytes::new()).await.status.as_u16()
}

/// Every route, with what of it is told in the body of a refusal.
fn routes() -> Vec<(Method, String, Value)> {
    let access = |name: &str, action: &str| json!({"Type": "repository", "Class": "", "Name": name, "Action": action});
    let digest = format!("sha256:{}", "0".repeat(64));
    let upload = "/v2/a/b/blobs/uploads/7f3ddbe2-8d1b-4d6a-8f66-2d9f2a1b0c3d";
    let (pull, delete) = (json!([access("a/b", "pull")]), json!([access("a/b", "delete")]));
    let push = json!([access("a/b", "pull"), access("a/b", "push")]);
    let mount = json!([access("a/b", "pull"), access("a/b", "push"), access("c", "pull")]);
    let catalog = json!([{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]);
    vec![
        (Method::GET, "/v2/".into(), Value::Null),
        (Method::GET, "/v2/_catalog".into(), catalog),
        (Method::GET, "/v2/a/b/tags/list".into(), pull.clone()),
        (Method::GET, "/v2/a/b/manifests/t".into(), pull.clone()),
        (Method::PUT, "/v2/a/b/manifests/t".into(), push.clone()),
        (Method::DELETE, "/v2/a/b/manifests/t".into(), delete.clone()),
        (Method::GET, format!("/v2/a/b/blobs/{digest}"), pull.clone()),
        (Method::DELETE, format!("/v2/a/b/blobs/{digest}"), delete.clone()),
        (Method::POST, "/v2/a/b/blobs/uploads/".into(), push.clone()),
        (Method::POST, format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c"), mount),
        (Method::GET, upload.into(), pull),
        (Method::PATCH, upload.into(), push.clone()),
        (Method::PUT, upload.into(), push),
        (Method::DELETE, upload.into(), delete),
        // What is wrong with a request is told only to who is let in.
        (Method::POST, "/v2/a/b/manifests/t".into(), Value::Null),
        (Method::GET, "/v2/A/manifests/t".into(), Value::Null),
        (Method::GET, "/v2/a/b/blobs/sha256:0".into(), Value::Null),
    ]
}

#[tokio::test]
async fn every_route_asks_for_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, line("alice", "s3cr3t")).unwrap();
    let server = Server::start(true, htpasswd(&file)).await;
    let mut client = server.client().await;
    for (method, path, detail) in routes() {
        for authorization in [None, Some(basic("alice", "wrong")), Some("Bearer x".into()), Some("Basic !".into())] {
            let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
            let answer = client.send(method.clone(), &path, &headers, Bytes::new()).await.expect(401);
            assert_eq!(answer.header("www-authenticate"), r#"Basic realm="The \"docks\"""#, "{method} {path}");
            assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0", "{method} {path}");
            assert_eq!(answer.header("content-type"), "application/json", "{method} {path}");
            let error = json!({"code": "UNAUTHORIZED", "message": "authentication required", "detail": detail});
            assert_eq!(answer.json(), json!({"errors": [error]}), "{method} {path}");
        }
        let let_in = status(&mut client, method.clone(), &path, Some(&basic("alice", "s3cr3t"))).await;
        assert_ne!(let_in, 401, "{method} {path}");
    }
    let answer = client.head("/v2/a/manifests/t").await.expect(401);
    assert!(answer.body.is_empty() && !answer.header("www-authenticate").is_empty(), "{answer:?}");
    // That somebody is there is no secret, nor that a path is none of the API's.
    assert_eq!(status(&mut client, Method::GET, "/", None).await, 200);
    assert_eq!(status(&mut client, Method::GET, "/v3/", None).await, 404);
    // The debug port has its own.
    assert_eq!(status(&mut server.debug_client().await, Method::GET, "/debug/health", None).await, 200);
    server.running.stop().await;
}

#[tokio::test]
async fn a_push_and_a_pull_by_name_and_password() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, format!("# users\n{}\n{}", line("alice", "s3cr3t"), line("bob", "pass:word"))).unwrap();
    let server = Server::start(false, htpasswd(&file)).await;
    let mut client = server.client().await;
    let alice = basic("alice", "s3cr3t");
    let content = Bytes::from_static(b"a layer");
    let digest = berth_oci::Digest::sha256(&content);
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    client.send(Method::POST, &target, &[("authorization", &alice)], content.clone()).await.expect(201);
    let bob = basic("bob", "pass:word");
    let blob = format!("/v2/a/blobs/{digest}");
    let answer = client.send(Method::GET, &blob, &[("authorization", &bob)], Bytes::new()).await.expect(200);
    assert_eq!(answer.body, content);
    for (name, password) in [("alice", "pass:word"), ("alice", ""), ("carol", "s3cr3t"), ("", ""), ("alice ", "s3cr3t")]
    {
        let refused = status(&mut client, Method::GET, "/v2/", Some(&basic(name, password))).await;
        assert_eq!(refused, 401, "{name}:{password}");
    }
    server.running.stop().await;
}

/// Asks until the answer has this status, or for a minute.
async fn await_status(client: &mut Client, authorization: &str, expected: u16) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let found = status(client, Method::GET, "/v2/", Some(authorization)).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "still {found}, not {expected}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, line("alice", "one")).unwrap();
    let server = Server::start(true, htpasswd(&file)).await;
    let mut client = server.client().await;
    await_status(&mut client, &basic("alice", "one"), 200).await;

    std::fs::write(&file, line("alice", "another")).unwrap();
    await_status(&mut client, &basic("alice", "another"), 200).await;
    assert_eq!(status(&mut client, Method::GET, "/v2/", Some(&basic("alice", "one"))).await, 401, "once verified");

    // Another file takes its place, as a mounted Secret does it.
    let next = directory.path().join("next");
    std::fs::write(&next, line("bob", "two")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    await_status(&mut client, &basic("bob", "two"), 200).await;
    assert_eq!(status(&mut client, Method::GET, "/v2/", Some(&basic("alice", "another"))).await, 401);

    // While the file cannot be understood nobody is let in, and nobody is told why.
    std::fs::write(&file, "bob:hunter2x\n").unwrap();
    await_status(&mut client, &basic("bob", "two"), 500).await;
    let bob = basic("bob", "two");
    let answer = client.send(Method::GET, "/v2/", &[("authorization", &bob)], Bytes::new()).await;
    assert_eq!(answer.codes(), "500 UNKNOWN");
    assert!(!String::from_utf8_lossy(&answer.body).contains("htpasswd"), "{answer:?}");
    std::fs::remove_file(&file).unwrap();
    await_status(&mut client, &basic("bob", "two"), 500).await;
    assert!(!file.exists(), "it was created");

    std::fs::write(&file, line("bob", "two")).unwrap();
    await_status(&mut client, &basic("bob", "two"), 200).await;
    server.running.stop().await;
}

#[tokio::test]
async fn a_bad_file_stops_the_start_and_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    let start = async || {
        let mut config = support::config(berth_config::Driver::InMemory);
        htpasswd(&file)(&mut config);
        let error = berth_registry::start(&config).await.err().expect("it starts");
        format!("{error:#}")
    };
    let missing = start().await;
    assert!(missing.starts_with(&format!("auth.htpasswd.path: cannot read {}", file.display())), "{missing}");
    assert!(!file.exists(), "it was created");
    std::fs::write(&file, format!("{}bob:hunter2x\n", line("alice", "one"))).unwrap();
    let bad = start().await;
    let expected = format!(
        "auth.htpasswd.path: {}, line 2: the hash is not bcrypt; write the entry with htpasswd -B",
        file.display()
    );
    assert_eq!(bad, expected);
}

#[tokio::test]
async fn silly_lets_in_who_says_anything() {
    let silly = Silly { realm: "https://auth.example/token".into(), service: "registry.example".into() };
    let server = Server::start(true, |config| config.auth = Some(AuthMethod::Silly(silly).into())).await;
    let mut client = server.client().await;
    for (method, path, scope) in [
        (Method::GET, "/v2/", ""),
        (Method::GET, "/v2/_catalog", "registry:catalog:*"),
        (Method::GET, "/v2/a/b/manifests/t", "repository:a/b:pull"),
        (Method::POST, "/v2/a/blobs/uploads/?from=c", "repository:a:pull repository:a:push repository:c:pull"),
    ] {
        let answer = client.send(method.clone(), path, &[], Bytes::new()).await.expect(401);
        let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
        let expected = format!("Bearer realm=\"https://auth.example/token\",service=\"registry.example\"{scope}");
        assert_eq!(answer.header("www-authenticate"), expected, "{method} {path}");
        assert_ne!(status(&mut client, method, path, Some("seriously, anything")).await, 401);
        assert_eq!(status(&mut client, Method::GET, path, Some("")).await, 401);
    }
    server.running.stop().await;
}

#[tokio::test]
async fn who_tries_one_password_after_the_other_is_braked_and_nobody_who_was_right() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, line("alice", "s3cr3t") + &line("bob", "other")).unwrap();
    let server = Server::start(true, htpasswd(&file)).await;
    let mut client = server.client().await;
    assert_eq!(status(&mut client, Method::GET, "/v2/", Some(&basic("bob", "other"))).await, 200);
    for attempt in 0..10 {
        let guessed = basic("alice", &attempt.to_string());
        assert_eq!(status(&mut client, Method::GET, "/v2/", Some(&guessed)).await, 401, "{attempt}");
    }
    // Also the right one: who guesses must not learn that it was.
    let guessed = [("authorization", &*basic("alice", "s3cr3t"))];
    let answer = client.send(Method::GET, "/v2/", &guessed, Bytes::new()).await.expect(429);
    assert_eq!(answer.codes(), "429 TOOMANYREQUESTS");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    assert_eq!(status(&mut client, Method::GET, "/v2/", Some(&basic("bob", "other"))).await, 200);
    server.running.stop().await;
}
