//! Who may do what by the rules of the configuration, over a real socket.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::Config;
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use support::{Answer, Client, Document, Server, config_of};

/// Everybody pulls what is public, each has a home, and root may do everything.
const RULES: &str = "anonymous: [{repositories: 'public/**', actions: [pull]}], \
    rules: [{users: ['*'], repositories: 'home/{user}/**', actions: ['*']}, {users: [root], repositories: '**', actions: ['*']}]";

/// A server of these users, each of whom has the password `NAME's`, and these rules.
async fn server(directory: &std::path::Path, users: &[&str], rules: &str) -> Server {
    let lines: Vec<String> =
        users.iter().map(|user| format!("{user}:{}\n", bcrypt::hash(format!("{user}'s"), 4).unwrap())).collect();
    let file = directory.join("htpasswd");
    std::fs::write(&file, lines.concat()).unwrap();
    let comma = if rules.is_empty() { "" } else { ", " };
    let text = format!(
        "version: 0.1\nstorage: inmemory\nauth: {{htpasswd: {{realm: docks, path: {}}}{comma}{rules}}}",
        file.display()
    );
    let auth = Config::load(&text, []).unwrap().config.auth;
    Server::start(true, |config| config.auth = auth).await
}

async fn send(client: &mut Client, user: Option<&str>, method: Method, target: &str, body: impl Into<Bytes>) -> Answer {
    let header = user.map(|user| format!("Basic {}", STANDARD.encode(format!("{user}:{user}'s"))));
    let mut headers = vec![("accept", support::ACCEPT_ALL)];
    headers.extend(header.as_deref().map(|value| ("authorization", value)));
    if target.contains("/manifests/") && method == Method::PUT {
        headers.push(("content-type", berth_oci::media_type::OCI_IMAGE));
    }
    client.send(method, target, &headers, body.into()).await
}

/// Pushes an image; the status of the first answer that is none of success.
async fn push(client: &mut Client, user: Option<&str>, name: &str) -> u16 {
    let image = Document::image("v1", &["layer"]);
    for content in [config_of("v1"), "layer".to_owned()] {
        let digest = berth_oci::Digest::sha256(content.as_bytes());
        let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = send(client, user, Method::POST, &target, content).await;
        if answer.status != 201 {
            return answer.status.as_u16();
        }
    }
    let target = format!("/v2/{name}/manifests/v1");
    send(client, user, Method::PUT, &target, image.raw).await.status.as_u16()
}

async fn pull(client: &mut Client, user: Option<&str>, name: &str) -> u16 {
    send(client, user, Method::GET, &format!("/v2/{name}/manifests/v1"), "").await.status.as_u16()
}

async fn listed(client: &mut Client, user: Option<&str>, query: &str) -> (Vec<String>, String) {
    let answer = send(client, user, Method::GET, &format!("/v2/_catalog{query}"), "").await.expect(200);
    let names: Vec<Value> = answer.json()["repositories"].as_array().unwrap().clone();
    let names = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (names, answer.header("link").to_owned())
}

#[tokio::test]
async fn everybody_pulls_what_is_public_and_pushes_only_where_rules_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), &["root", "alice", "bob"], RULES).await;
    let mut client = server.client().await;
    for name in ["public/app", "home/alice/app", "team/app"] {
        assert_eq!(push(&mut client, Some("root"), name).await, 201, "{name}");
    }
    for (user, name, pulls, pushes) in [
        (None, "public/app", 200, 401),
        (None, "home/alice/app", 401, 401),
        (None, "team/app", 401, 401),
        (Some("alice"), "public/app", 200, 403),
        (Some("alice"), "home/alice/app", 200, 201),
        (Some("alice"), "home/alice", 403, 403),
        (Some("alice"), "team/app", 403, 403),
        (Some("bob"), "home/alice/app", 403, 403),
        (Some("root"), "team/app", 200, 201),
        // Who says a wrong name is nobody, and is not taken for everybody.
        (Some("stranger"), "public/app", 401, 401),
    ] {
        assert_eq!(pull(&mut client, user, name).await, pulls, "{user:?} {name}");
        assert_eq!(push(&mut client, user, name).await, pushes, "{user:?} {name}");
    }
    let answer = send(&mut client, Some("bob"), Method::DELETE, "/v2/home/alice/app/manifests/v1", "").await;
    assert_eq!(answer.codes(), "403 DENIED");
    assert_eq!(answer.header("www-authenticate"), "", "another password makes nobody somebody else");
    assert_eq!(answer.json()["errors"][0]["detail"][0]["Action"], "delete");
    // Whoever asks how to log in is told so, although everybody may pull something.
    let answer = send(&mut client, None, Method::GET, "/v2/", "").await.expect(401);
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"docks\"");
    send(&mut client, Some("alice"), Method::GET, "/v2/", "").await.expect(200);
    // Some clients that have no password send an empty one.
    let empty = [("authorization", "Basic Og==")];
    client.send(Method::GET, "/v2/public/app/tags/list", &empty, Bytes::new()).await.expect(200);
    server.running.stop().await;
}

#[tokio::test]
async fn a_blob_is_mounted_only_from_where_it_may_be_pulled() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), &["root", "alice"], RULES).await;
    let mut client = server.client().await;
    for name in ["public/app", "team/app"] {
        assert_eq!(push(&mut client, Some("root"), name).await, 201, "{name}");
    }
    let digest = berth_oci::Digest::sha256(b"layer");
    for (from, status) in [("&from=team/app", 403), ("", 202), ("&from=public/app", 201)] {
        let target = format!("/v2/home/alice/app/blobs/uploads/?mount={digest}{from}");
        let answer = send(&mut client, Some("alice"), Method::POST, &target, "").await;
        assert_eq!(answer.status.as_u16(), status, "{from}");
        let pulled =
            send(&mut client, Some("alice"), Method::GET, &format!("/v2/home/alice/app/blobs/{digest}"), "").await;
        assert_eq!(pulled.status == 200, status == 201, "{from}");
    }
    server.running.stop().await;
}

#[tokio::test]
async fn the_catalog_has_what_one_may_list_and_its_pages_are_full() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path(), &["root", "alice"], RULES).await;
    let mut client = server.client().await;
    let mine: Vec<String> = (0..7).map(|number| format!("home/alice/app{number}")).collect();
    let others: Vec<String> = (0..30).map(|number| format!("home/bob/app{number:02}")).collect();
    let team: Vec<String> = (0..30).map(|number| format!("team/app{number:02}")).collect();
    for name in mine.iter().chain(&others).chain(&team).map(String::as_str).chain(["public/app"]) {
        assert_eq!(push(&mut client, Some("root"), name).await, 201, "{name}");
    }
    assert_eq!(listed(&mut client, None, "").await.0, ["public/app"]);
    assert_eq!(listed(&mut client, Some("root"), "").await.0.len(), 68);
    let expected = [&mine[..], &["public/app".to_owned()]].concat();
    assert_eq!(listed(&mut client, Some("alice"), "").await.0, expected);
    let (mut found, mut query) = (Vec::new(), "?n=3".to_owned());
    loop {
        let (names, link) = listed(&mut client, Some("alice"), &query).await;
        assert!(names.len() <= 3 && !link.contains("bob") && !link.contains("team"), "{names:?} {link}");
        found.extend(names);
        match link.split_once('?').and_then(|(_, rest)| rest.split_once('>')) {
            Some((next, _)) => query = format!("?{next}"),
            None => break,
        }
    }
    assert_eq!(found, expected);
    server.running.stop().await;
}

#[tokio::test]
async fn without_a_method_everybody_has_what_the_rules_say() {
    let auth =
        Config::load("version: 0.1\nstorage: inmemory\nauth: {anonymous: [{repositories: '**', actions: [pull]}]}", []);
    let auth = auth.unwrap().config.auth;
    let server = Server::start(true, |config| config.auth = auth).await;
    let mut client = server.client().await;
    send(&mut client, None, Method::GET, "/v2/", "").await.expect(200);
    assert_eq!(pull(&mut client, None, "any/app").await, 404);
    let answer = send(&mut client, None, Method::POST, "/v2/any/app/blobs/uploads/", "").await;
    assert_eq!((answer.codes().as_str(), answer.header("www-authenticate")), ("403 DENIED", ""));
    server.running.stop().await;
}
