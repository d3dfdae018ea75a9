//! That an identity provider starts, hands out the tokens that it should, and ends. Run by `make stores`, which installs
//! it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_stores::{Keycloak, LoginClient, Programs, Realm, SigningAlgorithm};
use serde_json::{Value, json};

fn realm() -> Realm {
    Realm::default().user("alice", "a password", &["developers", "admins"]).service("ci", "a secret", &["robots"])
}

/// The header and the claims of a token, whose signature is somebody else's to verify.
fn parts(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    [parts.next(), parts.next()].map(|part| serde_json::from_slice(&part.unwrap()).unwrap())
}

fn claims(token: &str) -> Value {
    let [_, claims] = parts(token);
    claims
}

/// A claim that is a list of texts, or one text, in any order.
fn texts(claim: &Value) -> BTreeSet<&str> {
    match claim {
        Value::String(text) => BTreeSet::from([text.as_str()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().unwrap()).collect(),
        other => panic!("neither a text nor a list: {other}"),
    }
}

/// Whether a token lives for the seconds that its realm says: Keycloak reads its clock once for `exp` and once for
/// `iat`, and between them are the seconds of a slow machine.
fn lives_about(claims: &Value, seconds: i64) -> bool {
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    lifetime.abs_diff(seconds) <= 5
}

/// The ids of the keys that sign with an algorithm.
async fn signing_keys(keycloak: &Keycloak, algorithm: &str) -> BTreeSet<String> {
    let keys = keycloak.keys().await.unwrap();
    let signing = keys.iter().filter(|key| key["alg"] == algorithm && key["use"] == "sig");
    signing.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
#[ignore = "needs Keycloak: make stores"]
async fn keycloak_starts_says_who_somebody_is_and_ends() {
    let programs = Programs::from_env();
    let start = std::time::Instant::now();
    let keycloak = Keycloak::start(&programs, &realm()).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let version = keycloak.log().split("Keycloak ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    println!("keycloak: {version}, started in {seconds:.1} s");
    let discovery = keycloak.discovery().await.unwrap();
    assert_eq!(discovery["issuer"], keycloak.issuer);
    assert_eq!(keycloak.issuer, format!("http://{}/realms/dev", keycloak.address));

    let tokens = keycloak.user_token("alice", "a password").await.unwrap();
    for (token, typ, audience) in
        [(&tokens.id_token, "ID", ["registry", "cli"]), (&tokens.access_token, "Bearer", ["registry", "account"])]
    {
        let [header, claims] = parts(token);
        assert_eq!(header["typ"], "JWT", "the header does not tell one kind from the other");
        assert_eq!(claims["iss"], keycloak.issuer);
        assert_eq!(texts(&claims["aud"]), BTreeSet::from(audience));
        assert_eq!(texts(&claims["groups"]), BTreeSet::from(["admins", "developers"]));
        assert_eq!((&claims["preferred_username"], &claims["azp"]), (&json!("alice"), &json!("cli")));
        assert_eq!(claims["typ"], typ);
        assert!(lives_about(&claims, 300), "{claims}");
    }

    let refused = keycloak.user_token("alice", "another password").await.unwrap_err().to_string();
    assert!(refused.contains("401") && refused.contains("invalid_grant"), "{refused}");
    let address = keycloak.address;
    drop(keycloak);
    assert!(std::net::TcpListener::bind(address).is_ok());
}

#[tokio::test]
#[ignore = "needs Keycloak: make stores"]
async fn a_program_gets_a_token_with_its_groups() {
    let keycloak = Keycloak::start(&Programs::from_env(), &realm()).await.unwrap();
    let token = claims(&keycloak.client_token("ci", "a secret").await.unwrap());
    assert!(texts(&token["aud"]).contains("registry"));
    assert_eq!(texts(&token["groups"]), BTreeSet::from(["robots"]));
    assert_eq!((&token["preferred_username"], &token["azp"]), (&json!("service-account-ci"), &json!("ci")));
    let refused = keycloak.client_token("ci", "another secret").await.unwrap_err().to_string();
    assert!(refused.contains("401") && refused.contains("unauthorized_client"), "{refused}");
    let refused = keycloak.client_token("cli", "any").await.unwrap_err().to_string();
    assert!(refused.contains("unauthorized_client"), "a client that has no account of its own: {refused}");
}

#[tokio::test]
#[ignore = "needs Keycloak: make stores"]
async fn two_keycloaks_know_nothing_of_each_other() {
    let programs = Programs::from_env();
    let other = Realm {
        login: LoginClient { id: "confidential".to_owned(), secret: Some("its secret".to_owned()) },
        token_lifespan: Duration::from_secs(20),
        ..Realm::default().user("bob", "a password", &[])
    };
    let realm = realm();
    let (plain, tls) =
        tokio::try_join!(Keycloak::start(&programs, &realm), Keycloak::start_with_tls(&programs, &other)).unwrap();
    assert_eq!(tls.issuer, format!("https://{}/realms/dev", tls.address));
    assert_eq!(tls.discovery().await.unwrap()["issuer"], tls.issuer);
    let token = claims(&tls.user_token("bob", "a password").await.unwrap().id_token);
    assert_eq!(token["iss"], tls.issuer);
    assert_eq!(token.get("groups"), None, "who is in no group has no such claim");
    assert!(lives_about(&token, 20), "{token}");
    assert!(plain.user_token("bob", "a password").await.is_err());
    assert!(signing_keys(&plain, "RS256").await.is_disjoint(&signing_keys(&tls, "RS256").await));

    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    std::fs::write(&authority, &tls.certificate.as_ref().unwrap().pem).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"]);
    let fetched = curl.arg(authority).arg(format!("{}/.well-known/openid-configuration", tls.issuer)).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&fetched.stdout), "200", "{}", tls.log());
}

#[tokio::test]
#[ignore = "needs Keycloak: make stores"]
async fn earlier_keys_stay_when_another_one_signs() {
    let keycloak = Keycloak::start(&Programs::from_env(), &realm()).await.unwrap();
    let signed_with = async || {
        let [header, _] = parts(&keycloak.user_token("alice", "a password").await.unwrap().id_token);
        header["kid"].as_str().unwrap().to_owned()
    };
    let first = signed_with().await;
    assert_eq!(signing_keys(&keycloak, "RS256").await, BTreeSet::from([first.clone()]));
    let for_encryption = |key: &Value| key["use"] == "enc" && key["alg"] == "RSA-OAEP";
    assert!(keycloak.keys().await.unwrap().iter().any(for_encryption), "not every key is one of signatures");

    keycloak.rotate_keys(SigningAlgorithm::Rs256).await.unwrap();
    let second = signed_with().await;
    assert_ne!(first, second);
    assert_eq!(signing_keys(&keycloak, "RS256").await, BTreeSet::from([first.clone(), second.clone()]));

    keycloak.rotate_keys(SigningAlgorithm::Es256).await.unwrap();
    let third = signed_with().await;
    assert_eq!(signing_keys(&keycloak, "ES256").await, BTreeSet::from([third]));
    assert_eq!(signing_keys(&keycloak, "RS256").await, BTreeSet::from([first.clone(), second.clone()]));

    keycloak.rotate_keys(SigningAlgorithm::Rs256).await.unwrap();
    let fourth = signed_with().await;
    assert_eq!(signing_keys(&keycloak, "RS256").await, BTreeSet::from([first, second, fourth]));
}
