//! Docker's protocol: a challenge, a token by `GET`, and the same request again.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::lab::{self, Lab, RULES, basic, get, granted, token, with_token};
use super::support::jwt::claims;
use super::support::{Client, Document, config_of};

/// Pushes an image with a token, as a client does that has got one for the whole push.
async fn push(client: &mut Client, token: &str, name: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let image = Document::image("v1", &["layer"]);
    for content in [config_of("v1"), "layer".to_owned()] {
        let digest = berth_oci::Digest::sha256(content.as_bytes());
        let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = client.send(Method::POST, &target, &[("authorization", &bearer)], content.into()).await;
        if answer.status != 201 {
            return answer.status.as_u16();
        }
    }
    let headers = [("authorization", bearer.as_str()), ("content-type", image.media_type)];
    client.send(Method::PUT, &format!("/v2/{name}/manifests/v1"), &headers, image.raw).await.status.as_u16()
}

#[tokio::test]
async fn a_client_gets_a_token_and_does_what_it_says() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let asked = client.get("/v2/home/alice/app/manifests/v1").await.expect(401);
    assert_eq!(
        asked.header("www-authenticate"),
        r#"Bearer realm="https://registry.example/auth/token",service="registry",scope="repository:home/alice/app:pull""#
    );
    let scope = "repository:home/alice/app:pull,push";
    let query = format!("service=registry&scope={scope}&account=alice&client_id=docker");
    let answer = get(&mut client, &query, Some(&basic("alice", "alice's"))).await.expect(200);
    assert_eq!((answer.header("cache-control"), answer.header("content-type")), ("no-store", "application/json"));
    let said = answer.json();
    assert_eq!(said["token"], said["access_token"]);
    assert_eq!(said["expires_in"], 300);
    assert!(said["issued_at"].as_str().unwrap().ends_with('Z'));
    assert!(said.get("refresh_token").is_none(), "it was not asked for");
    let token = said["token"].as_str().unwrap();
    let claims = claims(token);
    assert_eq!(
        (claims["iss"].as_str(), claims["aud"].as_str()),
        (Some("https://registry.example/auth"), Some("registry"))
    );
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert_eq!(granted(token), [scope]);
    assert_eq!(push(&mut client, token, "home/alice/app").await, 201);
    with_token(&mut client, Method::GET, "/v2/home/alice/app/manifests/v1", token).await.expect(200);
    let refused = with_token(&mut client, Method::DELETE, "/v2/home/alice/app/manifests/v1", token).await.expect(401);
    assert!(
        refused
            .header("www-authenticate")
            .ends_with(r#"scope="repository:home/alice/app:delete",error="insufficient_scope""#)
    );
    with_token(&mut client, Method::GET, "/v2/home/root/app/manifests/v1", token).await.expect(401);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn of_many_scopes_those_are_granted_that_may_be_had() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let asked = [
        "repository:home/alice/a:pull,push repository:team/b:pull,push",
        "repository:public/c:pull,push",
        "repository:home/bob/a:*",
    ];
    let by_alice = token(&mut client, Some("alice"), &asked).await;
    assert_eq!(granted(&by_alice), ["repository:home/alice/a:pull,push", "repository:public/c:pull"]);
    let by_ci = token(&mut client, Some("ci"), &asked).await;
    assert_eq!(granted(&by_ci), ["repository:team/b:pull,push", "repository:public/c:pull"]);
    let by_nobody = token(&mut client, None, &asked).await;
    assert_eq!(granted(&by_nobody), ["repository:public/c:pull"]);
    assert_eq!(claims(&by_nobody)["sub"], "");
    let by_root = token(&mut client, Some("root"), &asked).await;
    assert_eq!(granted(&by_root).len(), 4);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn everybody_pulls_what_is_public_and_the_catalog_has_what_one_may_list() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let all = ["public/a", "home/alice/b", "team/c", "home/root/d"];
    for name in all {
        let by_root = token(&mut client, Some("root"), &[&format!("repository:{name}:pull,push")]).await;
        assert_eq!(push(&mut client, &by_root, name).await, 201);
    }
    // With a token of nobody, and without any.
    let by_nobody = token(&mut client, None, &["repository:public/a:pull"]).await;
    with_token(&mut client, Method::GET, "/v2/public/a/manifests/v1", &by_nobody).await.expect(200);
    client
        .send(Method::GET, "/v2/public/a/manifests/v1", &[("accept", super::support::ACCEPT_ALL)], Bytes::new())
        .await
        .expect(200);
    client.get("/v2/").await.expect(401);
    for (user, expected) in [
        (Some("alice"), vec!["home/alice/b", "public/a"]),
        (Some("ci"), vec!["public/a", "team/c"]),
        (Some("root"), vec!["home/alice/b", "home/root/d", "public/a", "team/c"]),
        (None, vec!["public/a"]),
    ] {
        let bearer = token(&mut client, user, &["registry:catalog:*"]).await;
        let catalog = with_token(&mut client, Method::GET, "/v2/_catalog", &bearer).await.expect(200).json();
        let listed: Vec<&str> = catalog["repositories"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(listed, expected, "{user:?}");
    }
    // A token that does not speak of the catalog has what is everybody's.
    let bearer = token(&mut client, Some("root"), &["repository:team/c:pull"]).await;
    let catalog = with_token(&mut client, Method::GET, "/v2/_catalog", &bearer).await.expect(200).json();
    assert_eq!(catalog["repositories"], serde_json::json!(["public/a"]));
    lab.server.running.stop().await;
}

#[tokio::test]
async fn who_is_not_known_is_told_so() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    for (name, password) in [("alice", "wrong"), ("nobody", "alice's"), ("alice", ""), ("", "x"), ("alice", "a.b.c")] {
        let refused = get(&mut client, "service=registry", Some(&basic(name, password))).await.expect(401);
        assert_eq!(refused.codes(), "401 UNAUTHORIZED", "{name}");
        assert_eq!(refused.header("www-authenticate"), r#"Basic realm="registry""#);
        assert_eq!(refused.json()["errors"][0]["message"], "the name or the password is wrong");
    }
    get(&mut client, "", Some("Basic !")).await.expect(401);
    for (query, said) in [
        ("service=other", "service \"other\" is not known"),
        ("scope=repository", "scope \"repository\" is not TYPE:NAME:ACTIONS, with 16 actions at most"),
        ("service=registry&service=registry", "service is there twice"),
    ] {
        let refused = get(&mut client, query, Some(&basic("alice", "alice's"))).await.expect(400);
        assert_eq!(refused.json()["errors"][0]["message"], said);
    }
    // Who says no name has no password to be wrong: what is missing is said by the registry.
    assert!(granted(&token(&mut client, None, &["repository:team/x:pull"]).await).is_empty());
    let deleted = client.send(Method::DELETE, "/auth/token", &[], Bytes::new()).await.expect(405);
    assert_eq!(deleted.header("allow"), "GET, POST");
    client.get("/auth/other").await.expect(404);
    client.get("/auth").await.expect(404);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn where_nothing_is_for_everybody_nobody_gets_a_token_without_a_name() {
    let lab = Lab::start("", "rules: [{users: ['*'], repositories: '**', actions: [pull]}]").await;
    let mut client = lab.client().await;
    for authorization in [None, Some(basic("", ""))] {
        let refused = get(&mut client, "service=registry", authorization.as_deref()).await.expect(401);
        assert_eq!(refused.header("www-authenticate"), r#"Basic realm="registry""#);
        assert_eq!(refused.json()["errors"][0]["message"], "a name and a password are needed");
    }
    get(&mut client, "service=registry", Some(&basic("alice", "alice's"))).await.expect(200);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn a_guess_after_the_other_is_braked() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let mut statuses = Vec::new();
    for guess in 0..12 {
        let answer = get(&mut client, "service=registry", Some(&basic("alice", &format!("guess {guess}")))).await;
        statuses.push(answer.status.as_u16());
        if answer.status == 429 {
            assert!(!answer.header("retry-after").is_empty());
        }
    }
    assert_eq!((statuses[0], statuses[11]), (401, 429));
    let fields = [("grant_type", "password"), ("username", "alice"), ("password", "one more")];
    lab::post(&mut client, "/auth/token", &fields).await.expect(429);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn a_token_for_another_registry_is_none_for_this_one() {
    let lab = Lab::start(", services: [other]", RULES).await;
    let mut client = lab.client().await;
    let query = "service=other&scope=repository:home/alice/a:pull";
    let answer = get(&mut client, query, Some(&basic("alice", "alice's"))).await.expect(200).json();
    let token = answer["token"].as_str().unwrap();
    assert_eq!((claims(token)["aud"].as_str(), granted(token).len()), (Some("other"), 1));
    let refused = with_token(&mut client, Method::GET, "/v2/home/alice/a/manifests/v1", token).await.expect(401);
    assert!(refused.header("www-authenticate").ends_with(r#"error="invalid_token""#));
    lab.server.running.stop().await;
}

#[tokio::test]
async fn clients_are_sent_to_the_name_that_they_know() {
    let lab = Lab::start(", autoredirect: true", RULES).await;
    let mut client = lab.client().await;
    let asked = client.send(Method::GET, "/v2/", &[("x-forwarded-proto", "http")], Bytes::new()).await.expect(401);
    let expected = format!(r#"Bearer realm="http://{}/auth/token",service="registry""#, client.address);
    assert_eq!(asked.header("www-authenticate"), expected);
    lab.server.running.stop().await;
}
