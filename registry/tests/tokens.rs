//! Who is let in by a token, over a real socket.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use berth_config::{Config, Method as AuthMethod, Token};
use bytes::Bytes;
use http::Method;
use support::jwt::{Documents, Signer, set};
use support::{Answer, Client, Server};

const PATIENCE: Duration = Duration::from_secs(30);

fn token(jwks: impl Into<String>) -> Token {
    Token {
        realm: "https://auth.example/token".into(),
        service: "registry".into(),
        issuer: "issuer".into(),
        rootcertbundle: None,
        jwks: Some(jwks.into()),
        jwkscafile: None,
        signingalgorithms: Vec::new(),
        autoredirect: false,
        autoredirectpath: "/auth/token".into(),
    }
}

fn with(token: Token) -> impl FnOnce(&mut Config) {
    |config| config.auth = Some(AuthMethod::Token(token).into())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

async fn send(client: &mut Client, method: &Method, path: &str, authorization: Option<&str>) -> Answer {
    let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
    client.send(method.clone(), path, &headers, Bytes::new()).await
}

/// Every route, and the scope of it.
fn routes() -> Vec<(Method, String, &'static str)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let upload = "/v2/a/b/blobs/uploads/7f3ddbe2-8d1b-4d6a-8f66-2d9f2a1b0c3d";
    vec![
        (Method::GET, "/v2/".into(), ""),
        (Method::GET, "/v2/_catalog".into(), "registry:catalog:*"),
        (Method::GET, "/v2/a/b/tags/list".into(), "repository:a/b:pull"),
        (Method::GET, "/v2/a/b/manifests/t".into(), "repository:a/b:pull"),
        (Method::HEAD, "/v2/a/b/manifests/t".into(), "repository:a/b:pull"),
        (Method::PUT, "/v2/a/b/manifests/t".into(), "repository:a/b:pull,push"),
        (Method::DELETE, "/v2/a/b/manifests/t".into(), "repository:a/b:delete"),
        (Method::DELETE, "/v2/a/b/".into(), "repository:a/b:delete"),
        (Method::GET, format!("/v2/a/b/referrers/{digest}"), "repository:a/b:pull"),
        (Method::GET, format!("/v2/a/b/blobs/{digest}"), "repository:a/b:pull"),
        (Method::DELETE, format!("/v2/a/b/blobs/{digest}"), "repository:a/b:delete"),
        (Method::POST, "/v2/a/b/blobs/uploads/".into(), "repository:a/b:pull,push"),
        (
            Method::POST,
            format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c"),
            "repository:a/b:pull,push repository:c:pull",
        ),
        (Method::GET, upload.into(), "repository:a/b:pull"),
        (Method::PATCH, upload.into(), "repository:a/b:pull,push"),
        (Method::PUT, upload.into(), "repository:a/b:pull,push"),
        (Method::DELETE, upload.into(), "repository:a/b:delete"),
    ]
}

#[tokio::test]
async fn every_route_asks_for_a_token_of_its_scope() {
    let directory = tempfile::tempdir().unwrap();
    let (file, signer, stranger) = (directory.path().join("keys.json"), Signer::new("mine"), Signer::new("mine"));
    std::fs::write(&file, set(&[&signer])).unwrap();
    let server = Server::start(true, with(token(shown(&file)))).await;
    let mut client = server.client().await;
    for (method, path, scope) in routes() {
        let challenge = |error: &str| {
            let scope = if scope.is_empty() { String::new() } else { format!(r#",scope="{scope}""#) };
            let error = if error.is_empty() { String::new() } else { format!(r#",error="{error}""#) };
            format!(r#"Bearer realm="https://auth.example/token",service="registry"{scope}{error}"#)
        };
        // Neighbours, and those of whom a part would do.
        let insufficient = [
            "repository:a:*",
            "repository:a/b/c:*",
            "repository:A/B:*",
            "repository:a/b:",
            "registry:a/b:*",
            "repository:catalog:*",
            "repository:c:push",
        ];
        let mut cases = vec![
            (None, ""),
            (Some("Basic YWxpY2U6czNjcjN0".to_owned()), ""),
            (Some("Bearer".to_owned()), ""),
            (Some("Bearer x".to_owned()), "invalid_token"),
            (Some(stranger.bearer(&["repository:a/b:*", "registry:catalog:*"])), "invalid_token"),
        ];
        if !scope.is_empty() {
            cases.push((Some(signer.bearer(&insufficient)), "insufficient_scope"));
            cases.push((Some(signer.bearer(&[])), "insufficient_scope"));
        }
        for (authorization, error) in cases {
            let answer = send(&mut client, &method, &path, authorization.as_deref()).await.expect(401);
            assert_eq!(answer.header("www-authenticate"), challenge(error), "{method} {path}");
            if method != Method::HEAD {
                assert_eq!(answer.codes(), "401 UNAUTHORIZED", "{method} {path}");
            }
        }
        let scopes: Vec<&str> = scope.split(' ').filter(|scope| !scope.is_empty()).collect();
        let answer = send(&mut client, &method, &path, Some(&signer.bearer(&scopes))).await;
        assert_ne!(answer.status, 401, "{method} {path}");
    }
    server.running.stop().await;
}

#[tokio::test]
async fn clients_are_sent_to_the_registry_itself_where_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (file, signer) = (directory.path().join("keys.json"), Signer::new("mine"));
    std::fs::write(&file, set(&[&signer])).unwrap();
    let server = Server::start(true, with(Token { autoredirect: true, ..token(shown(&file)) })).await;
    let mut client = server.client().await;
    for (forwarded, scheme) in [(None, "https"), (Some("http"), "http")] {
        let headers: Vec<_> = forwarded.map(|scheme| ("x-forwarded-proto", scheme)).into_iter().collect();
        let answer = client.send(Method::GET, "/v2/", &headers, Bytes::new()).await.expect(401);
        let expected = format!(r#"Bearer realm="{scheme}://{}/auth/token",service="registry""#, client.address);
        assert_eq!(answer.header("www-authenticate"), expected);
    }
    server.running.stop().await;
}

/// Waits until a request with this header gets this status.
async fn until(client: &mut Client, authorization: &str, status: u16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = send(client, &Method::GET, "/v2/", Some(authorization)).await;
        if answer.status.as_u16() == status {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_file_of_keys_counts_as_soon_as_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (file, part) = (directory.path().join("keys.json"), directory.path().join("part"));
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (by_old, by_new) = (old.bearer(&[]), new.bearer(&[]));
    let write = |content: String| {
        std::fs::write(&part, content).unwrap();
        std::fs::rename(&part, &file).unwrap();
    };
    write(set(&[&old]));
    let server = Server::start(true, with(token(shown(&file)))).await;
    let mut client = server.client().await;
    send(&mut client, &Method::GET, "/v2/", Some(&by_old)).await.expect(200);
    send(&mut client, &Method::GET, "/v2/", Some(&by_new)).await.expect(401);
    write(set(&[&old, &new]));
    until(&mut client, &by_new, 200).await;
    send(&mut client, &Method::GET, "/v2/", Some(&by_old)).await.expect(200);
    // A file that is no set changes nothing, and the next one counts.
    write("{".into());
    let mut debug = server.debug_client().await;
    let mut problem = async || debug.get("/debug/issuers").await.expect(200).json()["issuers"][0]["problem"].clone();
    let (mut said, end) = (problem().await, Instant::now() + PATIENCE);
    while said.is_null() {
        assert!(Instant::now() < end, "the file is not looked at");
        send(&mut client, &Method::GET, "/v2/", Some(&by_new)).await.expect(200);
        said = problem().await;
    }
    send(&mut client, &Method::GET, "/v2/", Some(&by_new)).await.expect(200);
    assert!(said.as_str().unwrap().contains("it is no JSON Web Key Set"), "{said}");
    write(set(&[&new]));
    until(&mut client, &by_old, 401).await;
    assert_eq!(problem().await, serde_json::Value::Null);
    send(&mut client, &Method::GET, "/v2/", Some(&by_new)).await.expect(200);
    // Who takes out the last one, as it is in wrong hands, wants it believed no more.
    write(set(&[]));
    until(&mut client, &by_new, 503).await;
    let said = problem().await;
    assert!(said.as_str().unwrap().ends_with("there is no key in it that could sign a token"), "{said}");
    write(set(&[&old]));
    until(&mut client, &by_old, 200).await;
    send(&mut client, &Method::GET, "/v2/", Some(&by_new)).await.expect(401);
    server.running.stop().await;
}

/// A server of a set of keys that changes.
struct Keys(Documents);

impl Keys {
    async fn serve(document: Option<String>) -> Self {
        let keys = Keys(Documents::serve().await);
        if let Some(document) = document {
            keys.0.publish("/keys", document);
        }
        keys
    }

    fn url(&self) -> String {
        format!("{}/keys", self.0.url())
    }

    fn publish(&self, signers: &[&Signer]) {
        self.0.publish("/keys", set(signers));
    }

    fn asked(&self) -> usize {
        self.0.asked()
    }
}

#[tokio::test]
async fn keys_at_an_address_are_asked_for_once_more_when_one_is_unknown_and_not_for_every_token() {
    let (old, new, stranger) = (Signer::new("old"), Signer::new("new"), Signer::new("stranger"));
    let keys = Keys::serve(Some(set(&[&old]))).await;
    let server = Server::start(true, with(token(keys.url()))).await;
    assert_eq!(keys.asked(), 1);
    let mut client = server.client().await;
    send(&mut client, &Method::GET, "/v2/", Some(&old.bearer(&[]))).await.expect(200);
    for _ in 0..20 {
        send(&mut client, &Method::GET, "/v2/", Some(&stranger.bearer(&[]))).await.expect(401);
    }
    assert_eq!(keys.asked(), 2, "once for a key that it may have by now");
    keys.publish(&[&old, &new]);
    until(&mut client, &new.bearer(&[]), 200).await;
    let asked = keys.asked();
    assert!(asked <= 4, "{asked} times in {PATIENCE:?}");
    send(&mut client, &Method::GET, "/v2/", Some(&old.bearer(&[]))).await.expect(200);
    // It is gone, and its keys count.
    keys.0.withdraw("/keys");
    send(&mut client, &Method::GET, "/v2/", Some(&new.bearer(&[]))).await.expect(200);
    // A set without any is an answer.
    keys.publish(&[]);
    let deadline = Instant::now() + PATIENCE;
    let mut believed = true;
    while believed {
        // What makes the address be asked again.
        send(&mut client, &Method::GET, "/v2/", Some(&stranger.bearer(&[]))).await;
        believed = send(&mut client, &Method::GET, "/v2/", Some(&new.bearer(&[]))).await.status == 200;
        assert!(Instant::now() < deadline, "a key is believed that is published no more");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.running.stop().await;
}

#[tokio::test]
async fn a_registry_whose_keys_are_not_there_yet_says_so_and_heals() {
    let signer = Signer::new("mine");
    let mut waiting = Vec::new();
    for document in [None, Some("<p>Back soon</p>".to_owned())] {
        let keys = Keys::serve(document).await;
        let server = Server::start(true, with(token(keys.url()))).await;
        let (mut client, bearer) = (server.client().await, signer.bearer(&[]));
        let answer = send(&mut client, &Method::GET, "/v2/", Some(&bearer)).await.expect(503);
        assert_eq!(answer.codes(), "503 UNAVAILABLE");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        send(&mut client, &Method::GET, "/v2/", None).await.expect(401);
        keys.publish(&[&signer]);
        waiting.push((server, client, bearer));
    }
    for (server, mut client, bearer) in waiting {
        until(&mut client, &bearer, 200).await;
        server.running.stop().await;
    }
}

#[tokio::test]
async fn a_start_names_what_is_wrong_with_the_keys() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let started = async |token: Token| {
        let mut config = support::config(berth_config::Driver::InMemory);
        config.auth = Some(AuthMethod::Token(token).into());
        format!("{:#}", berth_registry::start(&config).await.err().expect("it starts"))
    };
    let absent = started(token(shown(&file))).await;
    assert!(absent.starts_with("auth.token.jwks: cannot read ") && absent.contains(&shown(&file)), "{absent}");
    std::fs::write(&file, "{}").unwrap();
    let empty = started(token(shown(&file))).await;
    assert!(empty.contains("it is no JSON Web Key Set: missing field `keys`"), "{empty}");
    let bundle = Token { rootcertbundle: Some(file.clone()), jwks: None, ..token("") };
    let none = started(bundle).await;
    assert!(none.starts_with("auth.token.rootcertbundle: ") && none.contains("BEGIN CERTIFICATE"), "{none}");
    let named = started(Token { signingalgorithms: vec!["RS1".into()], ..token("/k") }).await;
    assert!(named.starts_with("auth.token.signingalgorithms: \"RS1\" is none of RS256"), "{named}");
}
