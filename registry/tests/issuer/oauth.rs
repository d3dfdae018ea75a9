//! OAuth 2.0: forms, refresh tokens and their end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use super::lab::{Lab, RULES, basic, get, granted, post, with_token, write_users};
use super::support::{Answer, Client, Kind, TOKEN};

const PATIENCE: Duration = Duration::from_secs(30);
const SCOPE: &str = "repository:home/alice/a:pull,push";

async fn refresh_token(client: &mut Client, user: &str) -> String {
    let query = format!("service=registry&scope={SCOPE}&offline_token=true");
    let answer = get(client, &query, Some(&basic(user, &format!("{user}'s")))).await.expect(200).json();
    answer["refresh_token"].as_str().unwrap().to_owned()
}

async fn refresh(client: &mut Client, token: &str) -> Answer {
    let fields = [("grant_type", "refresh_token"), ("service", "registry"), ("scope", SCOPE), ("refresh_token", token)];
    post(client, "/auth/token", &fields).await
}

#[tokio::test]
async fn a_password_in_a_form_is_as_good_as_one_in_a_header() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let fields = |password| {
        [
            ("grant_type", "password"),
            ("service", "registry"),
            ("client_id", "containerd"),
            ("scope", "repository:home/alice/a:pull,push repository:team/x:pull"),
            ("username", "alice"),
            ("password", password),
        ]
    };
    let answer = post(&mut client, "/auth/token", &fields("alice's")).await.expect(200);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let said = answer.json();
    assert_eq!((said["token_type"].as_str(), said["scope"].as_str()), (Some("Bearer"), Some(SCOPE)));
    assert!(said.get("refresh_token").is_none() && said.get("issued_token_type").is_none());
    let token = said["access_token"].as_str().unwrap();
    assert_eq!(granted(token), [SCOPE]);
    with_token(&mut client, Method::GET, "/v2/home/alice/a/tags/list", token).await.expect(404);
    let offline = [&fields("alice's")[..], &[("access_type", "offline")]].concat();
    let said = post(&mut client, "/auth/token", &offline).await.expect(200).json();
    assert!(said["refresh_token"].as_str().unwrap().starts_with("berth-rt-"));

    let refused = post(&mut client, "/auth/token", &fields("wrong")).await.expect(401);
    assert_eq!(
        (refused.json()["error"].as_str(), refused.codes().as_str()),
        (Some("invalid_grant"), "401 UNAUTHORIZED")
    );
    assert_eq!(refused.header("www-authenticate"), r#"Basic realm="registry""#);
    for (fields, code) in [
        (vec![], "invalid_request"),
        (vec![("grant_type", "implicit")], "unsupported_grant_type"),
        (vec![("grant_type", "password"), ("username", "alice")], "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "berth-rt-x")], "invalid_grant"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "x"), ("scope", "x")], "invalid_scope"),
        (
            vec![("grant_type", "password"), ("username", "alice"), ("password", "alice's"), ("service", "other")],
            "invalid_target",
        ),
    ] {
        let refused = post(&mut client, "/auth/token", &fields).await.expect(400);
        assert_eq!(refused.json()["error"], code, "{fields:?}");
        assert!(!refused.json()["error_description"].as_str().unwrap().is_empty());
    }
    let json = [("content-type", "application/json")];
    let refused = client.send(Method::POST, "/auth/token", &json, Bytes::from_static(b"{}")).await.expect(400);
    assert!(refused.json()["error_description"].as_str().unwrap().contains("application/x-www-form-urlencoded"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    client.send(Method::POST, "/auth/token", &form, vec![0xff; 4].into()).await.expect(400);
    client.send(Method::POST, "/auth/token", &form, vec![b'x'; 300 * 1024].into()).await.expect(400);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn a_refresh_token_stands_for_the_password_until_it_is_revoked() {
    for kind in [Kind::Bucket, Kind::Directory, Kind::Memory] {
        let lab = Lab::start_on(kind, "", RULES).await;
        let mut client = lab.client().await;
        let (token, other) = (refresh_token(&mut client, "alice").await, refresh_token(&mut client, "alice").await);
        let said = refresh(&mut client, &token).await.expect(200).json();
        assert_eq!(granted(said["access_token"].as_str().unwrap()), [SCOPE]);
        assert_eq!(said["refresh_token"], token.as_str(), "it stays the same");
        // It stands for its own user, and for nobody else.
        let of_root = refresh_token(&mut client, "root").await;
        assert_eq!(granted(refresh(&mut client, &of_root).await.json()["access_token"].as_str().unwrap()), [SCOPE]);

        post(&mut client, "/auth/revoke", &[("token", &token)]).await.expect(200);
        let refused = refresh(&mut client, &token).await.expect(400);
        assert_eq!(refused.json()["error"], "invalid_grant");
        refresh(&mut client, &other).await.expect(200);
        // Of what is none nothing is said; what is missing is.
        post(&mut client, "/auth/revoke", &[("token", "berth-rt-none")]).await.expect(200);
        post(&mut client, "/auth/revoke", &[]).await.expect(400);
        assert_eq!(client.get("/auth/revoke").await.expect(405).header("allow"), "POST");
        lab.server.running.stop().await;
    }
}

#[tokio::test]
async fn who_holds_the_admin_token_revokes_all_of_a_user() {
    let lab = Lab::start("", RULES).await;
    let (mut client, mut debug) = (lab.client().await, lab.server.debug_client().await);
    let tokens = [refresh_token(&mut client, "alice").await, refresh_token(&mut client, "alice").await];
    let of_ci = refresh_token(&mut client, "ci").await;
    let bearer = format!("Bearer {TOKEN}");
    let body = Bytes::from_static(br#"{"user": "alice"}"#);
    let target = "/admin/v1/revoke-tokens";
    debug.send(Method::POST, target, &[], body.clone()).await.expect(401);
    refresh(&mut client, &tokens[0]).await.expect(200);
    for expected in [2, 0] {
        let answer = debug.send(Method::POST, target, &[("authorization", &bearer)], body.clone()).await.expect(200);
        assert_eq!(answer.json()["revoked"], expected);
    }
    for token in &tokens {
        refresh(&mut client, token).await.expect(400);
    }
    refresh(&mut client, &of_ci).await.expect(200);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn another_password_ends_the_refresh_tokens_of_a_user() {
    let lab = Lab::start("", RULES).await;
    let mut client = lab.client().await;
    let (of_alice, of_ci) = (refresh_token(&mut client, "alice").await, refresh_token(&mut client, "ci").await);
    refresh(&mut client, &of_alice).await.expect(200);
    // The same passwords, hashed anew: what stands for them is another. ci is gone.
    write_users(lab.files.path(), &["alice", "root"]);
    let deadline = Instant::now() + PATIENCE;
    while refresh(&mut client, &of_ci).await.status == 200 {
        assert!(Instant::now() < deadline, "the file is not read again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refresh(&mut client, &of_alice).await.expect(400);
    let new = refresh_token(&mut client, "alice").await;
    refresh(&mut client, &new).await.expect(200);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn there_are_none_where_the_configuration_says_so() {
    let lab = Lab::start(", refresh: {disabled: true}", RULES).await;
    let mut client = lab.client().await;
    let said = get(&mut client, "offline_token=true", Some(&basic("alice", "alice's"))).await.expect(200).json();
    assert!(said.get("refresh_token").is_none());
    refresh(&mut client, "berth-rt-x").await.expect(400);
    lab.server.running.stop().await;
}

/// RFC 6749, 6: what comes of one is no more than what it was given for.
#[tokio::test]
async fn one_that_was_given_for_a_registry_is_none_for_another() {
    let lab = Lab::start(", services: [other]", RULES).await;
    let mut client = lab.client().await;
    let query = "service=other&offline_token=true";
    let said = get(&mut client, query, Some(&basic("alice", "alice's"))).await.expect(200).json();
    let token = said["refresh_token"].as_str().unwrap();
    let refused = refresh(&mut client, token).await.expect(400);
    assert_eq!(refused.json()["error"], "invalid_grant");
    let fields = [("grant_type", "refresh_token"), ("service", "other"), ("refresh_token", token)];
    post(&mut client, "/auth/token", &fields).await.expect(200);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn a_registry_that_is_read_only_takes_no_new_ones() {
    let lab = Lab::start("", RULES).await;
    let (mut client, mut debug) = (lab.client().await, lab.server.debug_client().await);
    let before = refresh_token(&mut client, "alice").await;
    let bearer = format!("Bearer {TOKEN}");
    let mut switch = async |on: bool| {
        let body = Bytes::from(format!("{{\"readOnly\": {on}}}"));
        debug.send(Method::PUT, "/admin/v1/read-only", &[("authorization", &bearer)], body).await.expect(200);
    };
    switch(true).await;
    // Who asks for one is let in, and keeps the password.
    let query = format!("service=registry&scope={SCOPE}&offline_token=true");
    let said = get(&mut client, &query, Some(&basic("alice", "alice's"))).await.expect(200).json();
    assert_eq!((granted(said["token"].as_str().unwrap()).len(), said.get("refresh_token")), (1, None));
    refresh(&mut client, &before).await.expect(200);
    // What is in wrong hands has no time to wait.
    post(&mut client, "/auth/revoke", &[("token", &before)]).await.expect(200);
    refresh(&mut client, &before).await.expect(400);
    switch(false).await;
    refresh_token(&mut client, "alice").await;
    lab.server.running.stop().await;
}
