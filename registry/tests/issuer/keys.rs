//! What is published, and keys that change while clients are at work.

use std::time::{Duration, Instant};

use http::Method;
use rcgen::KeyPair;
use serde_json::Value;

use super::lab::{Lab, RULES, granted, token, with_token};
use super::support::{Kind, Server};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_documents_lead_to_each_other_and_to_the_keys() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let found = client.get("/auth/.well-known/openid-configuration").await.expect(200).json();
    assert_eq!(found["issuer"], "https://registry.example/auth");
    for (field, path) in [("token_endpoint", "/token"), ("jwks_uri", "/keys"), ("revocation_endpoint", "/revoke")] {
        assert_eq!(found[field], format!("https://registry.example/auth{path}"));
    }
    let keys = client.get("/auth/keys").await.expect(200);
    assert_eq!(keys.header("content-type"), "application/jwk-set+json");
    let key = &keys.json()["keys"][0];
    assert_eq!(
        (key["kty"].as_str(), key["alg"].as_str(), key["use"].as_str()),
        (Some("EC"), Some("ES256"), Some("sig"))
    );
    assert!(key.get("d").is_none(), "the private part stays here");
    client.head("/auth/keys").await.expect(200);
    assert_eq!(client.post("/auth/keys", "").await.expect(405).header("allow"), "GET, HEAD");
    lab.server.running.stop().await;
}

/// Another registry takes the tokens by the published keys alone.
#[tokio::test]
async fn another_registry_believes_the_published_keys() {
    let lab = Lab::start(", services: [second]", RULES).await;
    let mut client = lab.client().await;
    let jwks = format!("http://{}/auth/keys", client.address);
    let second = Server::start_on(Kind::Memory, |config| {
        let text = format!(
            "version: 0.1\nstorage: inmemory\nauth: {{token: {{realm: 'https://registry.example/auth/token', \
             service: second, issuer: 'https://registry.example/auth', jwks: '{jwks}'}}}}"
        );
        config.auth = berth_config::Config::load(&text, []).unwrap().config.auth;
    })
    .await;
    let mut there = second.client().await;
    let answer = super::lab::get(
        &mut client,
        "service=second&scope=repository:home/alice/a:pull&scope=registry:catalog:*",
        Some(&super::lab::basic("alice", "alice's")),
    )
    .await;
    let answer = answer.expect(200).json();
    let token = answer["token"].as_str().unwrap();
    assert_eq!(granted(token), ["repository:home/alice/a:pull", "registry:catalog:list"]);
    with_token(&mut there, Method::GET, "/v2/home/alice/a/tags/list", token).await.expect(404);
    with_token(&mut there, Method::GET, "/v2/_catalog", token).await.expect(200);
    with_token(&mut there, Method::GET, "/v2/team/a/tags/list", token).await.expect(401);
    with_token(&mut client, Method::GET, "/v2/home/alice/a/tags/list", token).await.expect(401);
    second.running.stop().await;
    lab.server.running.stop().await;
}

#[tokio::test]
async fn keys_are_rotated_and_no_request_fails() {
    let files = tempfile::tempdir().unwrap();
    // The directory that the configuration names.
    let keys = files.path().join("key.pem");
    let part = files.path().join("part");
    let write = |entries: &[(&str, &KeyPair)], current: &str| {
        for (name, key) in entries {
            std::fs::write(keys.join(format!("{name}.pem")), key.serialize_pem()).unwrap();
        }
        std::fs::write(&part, current).unwrap();
        std::fs::rename(&part, keys.join("current")).unwrap();
    };
    std::fs::create_dir(&keys).unwrap();
    super::lab::write_users(files.path(), &["alice"]);
    let (old, new) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    write(&[("old", &old)], "old");
    let lab = Lab::start_with(Kind::Memory, files, "", RULES).await;
    let mut client = lab.client().await;
    let published = async |client: &mut super::support::Client| -> Vec<String> {
        let keys = client.get("/auth/keys").await.expect(200).json();
        keys["keys"].as_array().unwrap().iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
    };
    let scope = ["repository:home/alice/a:pull"];
    let first = token(&mut client, Some("alice"), &scope).await;
    let before = published(&mut client).await;

    // Published first, then it signs, then the old one goes. Each time clients are at work.
    write(&[("new", &new)], "old");
    let (mut tokens, mut requests) = (vec![first.clone()], 0);
    let mut work = async |client: &mut super::support::Client| {
        tokens.push(token(client, Some("alice"), &scope).await);
        for token in &tokens {
            with_token(client, Method::GET, "/v2/home/alice/a/tags/list", token).await.expect(404);
            requests += 1;
        }
    };
    let deadline = Instant::now() + PATIENCE;
    while published(&mut client).await.len() == 1 {
        assert!(Instant::now() < deadline);
        work(&mut client).await;
    }
    assert_eq!(published(&mut client).await[0], before[0], "the old one still signs");
    write(&[], "new");
    while published(&mut client).await[0] == before[0] {
        assert!(Instant::now() < deadline);
        work(&mut client).await;
    }
    work(&mut client).await;
    let both = published(&mut client).await;
    assert!(both.len() == 2 && both[1] == before[0]);
    assert!(requests > 0);

    std::fs::remove_file(lab.files.path().join("key.pem/old.pem")).unwrap();
    while with_token(&mut client, Method::GET, "/v2/home/alice/a/tags/list", &first).await.status != 401 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(published(&mut client).await, both[..1]);
    let last = token(&mut client, Some("alice"), &scope).await;
    with_token(&mut client, Method::GET, "/v2/home/alice/a/tags/list", &last).await.expect(404);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn a_start_names_what_is_wrong() {
    let files = tempfile::tempdir().unwrap();
    let started = async |more: &str, rules: &str| -> String {
        let text = format!("version: 0.1\nstorage: inmemory\n{}", super::lab::auth(files.path(), more, rules));
        match berth_config::Config::load(&text, []) {
            Err(error) => error.to_string(),
            Ok(loaded) => {
                let mut config = super::support::config(berth_config::Driver::InMemory);
                config.auth = loaded.config.auth;
                format!("{:#}", berth_registry::start(&config).await.err().expect("it starts"))
            }
        }
    };
    let check = |found: String, expected: &str| assert!(found.contains(expected), "{found} is not {expected}");
    check(started("", RULES).await, "auth.issuer.keys: cannot read");
    std::fs::write(files.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    check(started("", RULES).await, "auth.issuer.htpasswd.path: cannot read");
    let oidc = |fields: &str| format!(", oidc: [{{name: id, url: 'https://id.example', audience: r{fields}}}]");
    for (more, rules, expected) in [
        (", expiry: 30s".to_owned(), RULES, "auth.issuer.expiry: 30s is not from 1m"),
        (", refresh: {expiry: 1m}".to_owned(), RULES, "auth.issuer.refresh.expiry: must not be less"),
        (", services: [registry]".to_owned(), RULES, "auth.issuer.services.0: \"registry\" is there twice"),
        (
            ", services: ['https://registry.example/auth']".to_owned(),
            RULES,
            "auth.issuer.services.0: must not be auth.issuer.issuer",
        ),
        (
            oidc(", usernameprefix: 'system:serviceaccount:'"),
            RULES,
            "auth.issuer.oidc.0.usernameprefix: must not begin as system: does",
        ),
        (oidc(", usernameprefix: sys"), RULES, "auth.issuer.oidc.0.usernameprefix: must not begin as system: does"),
        (
            oidc(", usernameprefix: 'ci:x'}, {name: ci, url: 'https://ci.example', audience: r"),
            RULES,
            "auth.issuer.oidc.0.usernameprefix: must not begin as \"ci:\" does, which is in front of another issuer's users",
        ),
        (
            oidc(", usernameprefix: corp-}, {name: ci, url: 'https://ci.example', audience: r, usernameprefix: corp-a"),
            RULES,
            "auth.issuer.oidc.0.usernameprefix: must not begin as \"corp-a\" does",
        ),
        (oidc(""), "anonymous: []", "auth.rules: must be set beside auth.issuer.oidc"),
        (", serviceaccounts: {}".to_owned(), "anonymous: []", "auth.rules: must be set beside"),
        (
            ", oidc: [{name: id, url: 'http://id.example', audience: r}]".to_owned(),
            RULES,
            "auth.issuer.oidc.0.url: must begin with https://",
        ),
        (
            ", oidc: [{name: id, url: 'https://registry.example/auth', audience: r}]".to_owned(),
            RULES,
            "auth.issuer.oidc.0.url: is this issuer itself",
        ),
        (
            ", oidc: [{name: Id, url: 'https://id.example', audience: r}]".to_owned(),
            RULES,
            "auth.issuer.oidc.0.name: \"Id\" is not a name",
        ),
        (
            String::new(),
            "rules: [{groups: ['id:dev'], repositories: '**', actions: [pull]}]",
            "auth.rules.0.groups: nobody has any: name the claim",
        ),
        (
            String::new(),
            "rules: [{serviceAccounts: ['a/*'], repositories: '**', actions: [pull]}]",
            "auth.rules.0.serviceAccounts: nobody is one: add auth.issuer.serviceaccounts",
        ),
        (
            oidc(""),
            "rules: [{claims: {repository: x}, repositories: '**', actions: [pull]}]",
            "auth.rules.0.claims: \"repository\" is no claim of an issuer",
        ),
    ] {
        check(started(&more, rules).await, expected);
    }
}

/// A key is never in an answer, whatever is asked.
#[tokio::test]
async fn no_answer_holds_a_private_key() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let pem = std::fs::read_to_string(lab.files.path().join("key.pem")).unwrap();
    let secret: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for path in ["/auth/keys", "/auth/.well-known/openid-configuration", "/auth/token"] {
        let answer = client.get(path).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains(&secret[20..60]) && serde_json::from_str::<Value>(&text).is_ok(), "{path}");
    }
    lab.server.running.stop().await;
}
