//! What is told of decisions about who may do what, over a real socket.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::{AuditEvents, Config};
use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Document, Server, TOKEN, config_of};
use tracing::subscriber::DefaultGuard;

/// What is logged on this thread, where a test and its server run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Log, DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The events since the last look, without what differs in every run.
    fn taken(&self) -> Vec<Value> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        assert!(!text.contains("s3cr3t") && !text.contains(TOKEN), "a secret: {text}");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events = lines.filter(|line| line["target"] == "audit").map(|mut event| {
            let fields = event.as_object_mut().unwrap();
            assert!(fields["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{fields:?}");
            assert_eq!(fields["level"], "INFO");
            for field in ["timestamp", "level", "target", "peer"] {
                fields.remove(field).unwrap();
            }
            event
        });
        events.collect()
    }

    /// The one event since the last look, as `DECISION REASON`.
    fn only(&self) -> String {
        let events = self.taken();
        let [event] = &events[..] else { panic!("{events:#?}") };
        format!("{} {}", event["decision"].as_str().unwrap(), event["reason"].as_str().unwrap())
    }
}

/// A server with the users alice and root, whose password is s3cr3t.
async fn server(directory: &std::path::Path, events: Option<AuditEvents>) -> Server {
    let line = |name: &str| format!("{name}:{}\n", bcrypt::hash("s3cr3t", 4).unwrap());
    let file = directory.join("htpasswd");
    std::fs::write(&file, line("alice") + &line("root")).unwrap();
    let text = format!(
        "version: 0.1\nstorage: inmemory\nauth: {{htpasswd: {{realm: docks, path: {}}}, \
         anonymous: [{{repositories: 'public/**', actions: [pull]}}], \
         rules: [{{users: [alice], repositories: 'team/**', actions: [pull, push]}}, \
         {{users: [root], repositories: '**', actions: ['*']}}]}}",
        file.display()
    );
    let auth = Config::load(&text, []).unwrap().config.auth;
    Server::start(true, |config| (config.auth, config.log.auditlog.events) = (auth, events)).await
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn send(
    client: &mut Client,
    user: &str,
    method: Method,
    target: &str,
    body: impl Into<Bytes>,
) -> support::Answer {
    let authorization = basic(user, "s3cr3t");
    let mut headers = vec![("x-request-id", "r-1"), ("content-type", media_type::OCI_IMAGE)];
    headers.extend((!user.is_empty()).then_some(("authorization", authorization.as_str())));
    client.send(method, target, &headers, body.into()).await
}

#[tokio::test]
async fn every_decision_says_who_what_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _guard) = Log::begin();
    let server = server(directory.path(), Some(AuditEvents::All)).await;
    let mut client = server.client().await;
    let digest = Digest::sha256(b"layer");
    let whole = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    for (user, method, target, body, expected) in [
        (
            "alice",
            Method::POST,
            whole.as_str(),
            "layer",
            json!({"decision": "allowed", "reason": "rule", "user": "alice", "authentication": "htpasswd",
                "actions": "pull,push", "repository": "team/app", "digest": digest, "route": "blob-upload",
                "method": "POST", "status": 201, "request": "r-1"}),
        ),
        (
            "",
            Method::GET,
            "/v2/public/app/manifests/v1",
            "",
            json!({"decision": "allowed", "reason": "everybody", "authentication": "anonymous", "actions": "pull",
                "repository": "public/app", "reference": "v1", "route": "manifest", "method": "GET", "status": 404,
                "request": "r-1"}),
        ),
        (
            "",
            Method::GET,
            "/v2/",
            "",
            json!({"decision": "refused", "reason": "no-credentials", "authentication": "anonymous", "actions": "",
                "route": "base", "method": "GET", "status": 401, "request": "r-1"}),
        ),
        (
            "root",
            Method::GET,
            "/v2/_catalog",
            "",
            json!({"decision": "allowed", "reason": "rule", "user": "root", "authentication": "htpasswd",
                "actions": "list", "route": "catalog", "method": "GET", "status": 200, "request": "r-1"}),
        ),
        (
            "alice",
            Method::DELETE,
            "/v2/team/app/manifests/v1",
            "",
            json!({"decision": "refused", "reason": "not-granted", "user": "alice", "authentication": "htpasswd",
                "actions": "delete", "repository": "team/app", "reference": "v1", "route": "manifest",
                "method": "DELETE", "status": 403, "request": "r-1"}),
        ),
        (
            "alice",
            Method::POST,
            &format!("/v2/team/app/blobs/uploads/?mount={digest}&from=other/app"),
            "",
            json!({"decision": "refused", "reason": "not-granted", "user": "alice", "authentication": "htpasswd",
                "actions": "pull,push", "repository": "team/app", "from": "other/app", "route": "blob-upload",
                "method": "POST", "status": 403, "request": "r-1"}),
        ),
        (
            "alice",
            Method::PUT,
            "/v2/NO/manifests/v1",
            "",
            json!({"decision": "allowed", "reason": "nothing-wanted", "user": "alice", "authentication": "htpasswd",
                "actions": "", "route": "none", "method": "PUT", "status": 400, "request": "r-1"}),
        ),
    ] {
        send(&mut client, user, method.clone(), target, body).await;
        assert_eq!(log.taken(), [expected], "{user} {method} {target}");
    }
    // Where nothing is decided, nothing is told.
    for path in ["/", "/v2", "/elsewhere"] {
        send(&mut client, "alice", Method::GET, path, "").await;
    }
    send(&mut client, "", Method::OPTIONS, "/v2/", "").await.expect(200);
    assert_eq!(log.taken(), [] as [Value; 0]);
    server.running.stop().await;
}

#[tokio::test]
async fn a_push_is_told_of_by_what_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _guard) = Log::begin();
    let server = server(directory.path(), None).await;
    let mut client = server.client().await;
    let image = Document::image("v1", &["layer"]);
    send(&mut client, "", Method::GET, "/v2/", "").await.expect(401);
    for content in [config_of("v1"), "layer".to_owned()] {
        let begun = send(&mut client, "alice", Method::POST, "/v2/team/app/blobs/uploads/", "").await.expect(202);
        let mut location = begun.header("location").to_owned();
        for byte in content.bytes() {
            let sent = send(&mut client, "alice", Method::PATCH, &location, vec![byte]).await.expect(202);
            sent.header("location").clone_into(&mut location);
        }
        let target = format!("{location}&digest={}", Digest::sha256(content.as_bytes()));
        send(&mut client, "alice", Method::PUT, &target, "").await.expect(201);
    }
    send(&mut client, "alice", Method::PUT, "/v2/team/app/manifests/v1", image.raw.clone()).await.expect(201);
    send(&mut client, "alice", Method::GET, "/v2/team/app/manifests/v1", "").await;
    let events = log.taken();
    let short = |event: &Value| {
        let part = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
        [part("method"), part("reference"), part("digest"), part("decision")].join(" ")
    };
    let pushed = |content: &str| format!("PUT - {} allowed", Digest::sha256(content.as_bytes()));
    let expected = [pushed(&config_of("v1")), pushed("layer"), format!("PUT v1 {} allowed", image.digest())];
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), expected);
    assert!(events.iter().take(2).all(|event| event["upload"].is_string()), "{events:#?}");
    // A mount is a push in one request.
    let mount = format!("/v2/team/other/blobs/uploads/?from=team/app&mount={}", Digest::sha256(b"layer"));
    send(&mut client, "alice", Method::POST, &mount, "").await.expect(201);
    assert_eq!(log.only(), "allowed rule");
    server.running.stop().await;
}

#[tokio::test]
async fn bad_credentials_are_told_of_with_the_name_if_it_is_somebodys() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _guard) = Log::begin();
    let server = server(directory.path(), None).await;
    let mut client = server.client().await;
    for (authorization, user) in [
        (basic("alice", "wrong"), json!("alice")),
        // Somebody who has typed the password first.
        (basic("s3cr3t", "alice"), Value::Null),
        ("Basic !".to_owned(), Value::Null),
    ] {
        client.send(Method::GET, "/v2/", &[("authorization", &authorization)], Bytes::new()).await.expect(401);
        let events = log.taken();
        let [event] = &events[..] else { panic!("{events:#?}") };
        assert_eq!((&event["reason"], &event["user"]), (&json!("bad-credentials"), &user), "{authorization}");
    }
    for attempt in 0..10 {
        let guessed = basic("root", &attempt.to_string());
        client.send(Method::GET, "/v2/", &[("authorization", &guessed)], Bytes::new()).await;
    }
    log.taken();
    let guessed = basic("root", "s3cr3t");
    client.send(Method::GET, "/v2/", &[("authorization", &guessed)], Bytes::new()).await.expect(429);
    let events = log.taken();
    let expected = json!([{"decision": "refused", "reason": "braked", "user": "root", "authentication": "htpasswd",
        "actions": "", "route": "base", "method": "GET", "status": 429}]);
    assert_eq!(json!(events), expected);
    server.running.stop().await;
}

/// A refresh token is a credential more: that there is one is told of, and that there is none any more.
#[tokio::test]
async fn refresh_tokens_are_told_of_with_their_user() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("users"), format!("alice:{}\n", bcrypt::hash("s3cr3t", 4).unwrap())).unwrap();
    std::fs::write(at("key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let text = format!(
        "version: 0.1\nstorage: inmemory\nauth: {{issuer: {{service: r, issuer: 'https://r.example/auth', keys: '{}', \
         htpasswd: {{path: '{}'}}}}, rules: [{{users: [alice], repositories: '**', actions: ['*']}}]}}",
        at("key.pem").display(),
        at("users").display()
    );
    let auth = Config::load(&text, []).unwrap().config.auth;
    let (log, _guard) = Log::begin();
    let server = Server::start(true, |config| config.auth = auth).await;
    let mut client = server.client().await;
    let authorization = basic("alice", "s3cr3t");
    let headers = [("authorization", authorization.as_str())];
    client.send(Method::GET, "/auth/token?service=r", &headers, Bytes::new()).await.expect(200);
    assert_eq!(log.taken(), [] as [Value; 0], "a token alone changes nothing");
    for wrong in ["Basic !".to_owned(), basic("alice", "wrong"), basic("s3cr3t", "alice")] {
        let headers = [("authorization", wrong.as_str())];
        client.send(Method::GET, "/auth/token?service=r", &headers, Bytes::new()).await.expect(401);
        let events = log.taken();
        let [event] = &events[..] else { panic!("{wrong}: {events:#?}") };
        let named = if wrong == basic("alice", "wrong") { json!("alice") } else { Value::Null };
        assert_eq!((&event["reason"], &event["user"]), (&json!("bad-credentials"), &named), "{wrong}");
    }
    let target = "/auth/token?service=r&offline_token=true";
    let said = client.send(Method::GET, target, &headers, Bytes::new()).await.expect(200).json();
    let token = said["refresh_token"].as_str().unwrap();
    let event = |actions: &str, authentication: &str, method: &str| {
        json!([{"decision": "allowed", "reason": "credentials", "user": "alice", "authentication": authentication,
            "actions": actions, "route": "token", "method": method, "status": 200}])
    };
    assert_eq!(json!(log.taken()), event("issue-token", "htpasswd", "GET"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let renewal = format!("grant_type=refresh_token&service=r&refresh_token={token}");
    client.send(Method::POST, "/auth/token", &form, renewal.into()).await.expect(200);
    assert_eq!(log.taken(), [] as [Value; 0], "nothing has changed");
    // Who asks learns nothing of a token that is none; the log does.
    client.send(Method::POST, "/auth/revoke", &form, "token=berth-rt-none".into()).await.expect(200);
    let refused = json!([{"decision": "refused", "reason": "bad-credentials", "authentication": "issuer",
        "actions": "revoke-token", "route": "token", "method": "POST", "status": 200}]);
    assert_eq!(json!(log.taken()), refused);
    client.send(Method::POST, "/auth/revoke", &form, format!("token={token}").into()).await.expect(200);
    assert_eq!(json!(log.taken()), event("revoke-token", "refresh-token", "POST"));
    server.running.stop().await;
}

#[tokio::test]
async fn the_administration_is_told_of_also_where_nobody_is_asked_for_a_name() {
    let (log, _guard) = Log::begin();
    let server = Server::start(true, |_| {}).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    client.push_image("a", "v1", &["layer"]).await;
    assert_eq!(log.taken(), [] as [Value; 0], "everything is allowed to everybody");
    let right = format!("Bearer {TOKEN}");
    let event = |decision: &str, reason: &str, actions: &str, method: &str, status: u16| {
        json!({"decision": decision, "reason": reason, "authentication": "admin-token", "actions": actions,
            "route": "admin", "method": method, "status": status})
    };
    for (token, method, path, body, expected) in [
        (
            Some(right.as_str()),
            Method::POST,
            "/admin/v1/gc",
            "{}",
            Some(event("allowed", "admin-token", "collect", "POST", 200)),
        ),
        (None, Method::POST, "/admin/v1/gc", "{}", Some(event("refused", "no-credentials", "collect", "POST", 401))),
        (
            Some("Bearer wrong"),
            Method::PUT,
            "/admin/v1/read-only",
            "{\"readOnly\": true}",
            Some(event("refused", "bad-credentials", "read-only-switch", "PUT", 401)),
        ),
        (
            Some(&right),
            Method::PUT,
            "/admin/v1/read-only",
            "{\"readOnly\": true}",
            Some(event("allowed", "admin-token", "read-only-switch", "PUT", 200)),
        ),
        (Some(&right), Method::GET, "/admin/v1/read-only", "", None),
        (None, Method::GET, "/debug/health", "", None),
    ] {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        debug.send(method.clone(), path, &headers, Bytes::from(body)).await;
        assert_eq!(log.taken(), Vec::from_iter(expected), "{method} {path}");
    }
    server.running.stop().await;
}
