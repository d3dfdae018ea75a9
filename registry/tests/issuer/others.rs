//! Identities of other issuers, and service accounts: their token is the password.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Lab, basic, get, granted, post};
use super::support::jwt::{Documents, Signer, claims, set};
use super::support::{Answer, Client, Kind};

const PATIENCE: Duration = Duration::from_secs(30);
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const DISCOVERY: &str = "/.well-known/openid-configuration";

const RULES: &str = "rules: [\
    {groups: ['id:dev'], repositories: 'team/**', actions: [pull, push]}, \
    {users: ['id:alice'], repositories: 'home/{preferred_username}/**', actions: ['*']}, \
    {subjects: ['ci:repo:acme/*'], repositories: 'ci/{repository}/**', actions: [pull, push]}, \
    {claims: {'ci:environment': production}, repositories: 'release/**', actions: [push]}]";

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// An issuer with discovery.
async fn issuer(signers: &[&Signer]) -> Documents {
    let issuer = Documents::serve().await;
    let url = issuer.url();
    issuer.publish(DISCOVERY, json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string());
    issuer.publish("/jwks", set(signers));
    issuer
}

fn oidc(id: &Documents, ci: &Documents) -> String {
    format!(
        ", oidc: [{{name: id, url: '{}', audience: registry, usernameclaim: preferred_username, groupsclaim: groups}}, \
         {{name: ci, url: '{}', audience: 'https://registry.example'}}]",
        id.url(),
        ci.url()
    )
}

/// What a token of `id` claims, changed.
fn of_alice(id: &Documents, change: &[(&str, Value)]) -> Value {
    let mut claims = json!({
        "iss": id.url(), "sub": "f:17", "aud": ["cli", "registry"], "exp": now() + 300, "iat": now(),
        "preferred_username": "alice", "groups": ["dev", "ops"],
    });
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    claims
}

async fn login(client: &mut Client, token: &str, scopes: &[&str]) -> Answer {
    let query: Vec<String> = scopes.iter().map(|scope| format!("&scope={scope}")).collect();
    get(client, &format!("service=registry{}", query.concat()), Some(&basic("anything", token))).await
}

async fn given(client: &mut Client, token: &str, scopes: &[&str]) -> Vec<String> {
    granted(login(client, token, scopes).await.expect(200).json()["token"].as_str().unwrap())
}

#[tokio::test]
async fn the_token_of_an_issuer_is_the_password_of_its_users() {
    let (key, of_ci, stranger) = (Signer::new("k"), Signer::new("c"), Signer::new("k"));
    let (id, ci) = (issuer(&[&key]).await, issuer(&[&of_ci]).await);
    let lab = Lab::start(&oidc(&id, &ci), RULES).await;
    let mut client = lab.client().await;
    let scopes = ["repository:team/a:pull,push", "repository:home/alice/a:pull", "repository:ci/acme/app/x:push"];
    let good = key.sign(&of_alice(&id, &[]));
    assert_eq!(given(&mut client, &good, &scopes).await, &scopes[..2]);
    let said = login(&mut client, &good, &[]).await.expect(200).json();
    assert_eq!(claims(said["token"].as_str().unwrap())["sub"], "id:alice");
    // By the other ways as well.
    let fields = [("grant_type", "password"), ("username", "x"), ("password", &good), ("scope", scopes[0])];
    let said = post(&mut client, "/auth/token", &fields).await.expect(200).json();
    assert_eq!(said["scope"], scopes[0]);
    let fields = [
        ("grant_type", EXCHANGE),
        ("subject_token", &good),
        ("subject_token_type", ID_TOKEN),
        ("audience", "registry"),
        ("scope", scopes[0]),
    ];
    let said = post(&mut client, "/auth/token", &fields).await.expect(200).json();
    assert_eq!(said["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(granted(said["access_token"].as_str().unwrap()), [scopes[0]]);

    let run = |change: &[(&str, Value)]| {
        let mut claims = json!({
            "iss": ci.url(), "sub": "repo:acme/app:ref:refs/heads/main", "aud": "https://registry.example",
            "exp": now() + 300, "repository": "acme/app", "environment": "staging",
        });
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        of_ci.sign(&claims)
    };
    let scopes = ["repository:ci/acme/app/x:pull,push", "repository:ci/acme/other/x:push", "repository:release/a:push"];
    assert_eq!(given(&mut client, &run(&[]), &scopes).await, &scopes[..1]);
    let production = run(&[("environment", json!("production"))]);
    assert_eq!(given(&mut client, &production, &scopes).await, [scopes[0], scopes[2]]);
    let other = run(&[("sub", json!("repo:evil/app:ref:refs/heads/main"))]);
    assert!(given(&mut client, &other, &scopes).await.is_empty());
    // What one issuer says counts for nothing of another's.
    let mixed = key.sign(&of_alice(&id, &[("environment", json!("production")), ("sub", json!("repo:acme/app"))]));
    assert!(given(&mut client, &mixed, &scopes).await.is_empty());

    let wrong_signature = good.rsplit_once('.').map(|(signed, _)| format!("{signed}.AAAA")).unwrap();
    for (bad, why) in [
        (stranger.sign(&of_alice(&id, &[])), "another key of the same name"),
        (of_ci.sign(&of_alice(&id, &[])), "the key of another issuer"),
        (wrong_signature, "no signature"),
        (key.sign(&of_alice(&id, &[("aud", json!("cli"))])), "for somebody else"),
        (key.sign(&of_alice(&id, &[("aud", Value::Null)])), "for nobody"),
        (key.sign(&of_alice(&id, &[("exp", json!(now() - 100))])), "it has ended"),
        (key.sign(&of_alice(&id, &[("exp", Value::Null)])), "without an end"),
        (key.sign(&of_alice(&id, &[("nbf", json!(now() + 200))])), "not yet"),
        (key.sign(&of_alice(&id, &[("iss", json!(format!("{}/", id.url())))])), "an issuer that is nearly the same"),
        (key.sign(&of_alice(&id, &[("iss", json!("https://registry.example/auth"))])), "this issuer itself"),
        (key.sign(&of_alice(&id, &[("preferred_username", Value::Null)])), "without a name"),
        (key.sign(&of_alice(&id, &[("sub", json!(7))])), "without a subject"),
        (said["access_token"].as_str().unwrap().to_owned(), "a token for the registry"),
    ] {
        let refused = login(&mut client, &bad, &[]).await;
        assert_eq!(refused.status, 401, "{why}");
        let fields = [("grant_type", EXCHANGE), ("subject_token", &bad), ("subject_token_type", ID_TOKEN)];
        let refused = post(&mut client, "/auth/token", &fields).await.expect(400);
        assert_eq!(refused.json()["error"], "invalid_grant", "{why}");
    }
    lab.server.running.stop().await;
}

#[tokio::test]
async fn no_token_outlives_what_it_was_issued_for_by_much() {
    let key = Signer::new("k");
    let id = issuer(&[&key]).await;
    let lab =
        Lab::start(&oidc(&id, &id).replace("name: ci, url: '", "name: ci, url: 'http://127.0.0.1:1/"), RULES).await;
    let mut client = lab.client().await;
    for (left, least, most) in [(3600, 300, 300), (120, 150, 200), (5, 60, 70)] {
        let token = key.sign(&of_alice(&id, &[("exp", json!(now() + left))]));
        let seconds = login(&mut client, &token, &[]).await.expect(200).json()["expires_in"].as_i64().unwrap();
        // With the minute that clocks may differ by.
        assert!((least..=most).contains(&seconds), "{seconds} s for {left} s");
    }
    lab.server.running.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_keeps_out_its_own_users_alone_and_new_keys_are_fetched() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let id = issuer(&[&old]).await;
    id.withdraw(DISCOVERY);
    let lab = Lab::start(&oidc(&id, &issuer(&[]).await), &RULES.replace("users: ['id:alice']", "users: ['*']")).await;
    let mut client = lab.client().await;
    login(&mut client, &old.sign(&of_alice(&id, &[])), &[]).await.expect(401);
    let standing = async || -> Vec<Option<String>> {
        let answer = lab.server.debug_client().await.get("/debug/issuers").await.expect(200).json();
        let problems = answer["issuers"].as_array().unwrap().iter();
        problems.map(|issuer| issuer["problem"].as_str().map(str::to_owned)).collect()
    };
    let told = standing().await;
    assert!(told[0].as_ref().is_some_and(|problem| problem.contains("cannot fetch")), "{told:?}");
    get(&mut client, "service=registry", Some(&basic("alice", "alice's"))).await.expect(200);
    let url = id.url();
    id.publish(DISCOVERY, json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string());
    let until = async |client: &mut Client, token: &str| {
        let deadline = Instant::now() + PATIENCE;
        while login(client, token, &[]).await.status != 200 {
            assert!(Instant::now() < deadline, "its keys are not fetched");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until(&mut client, &old.sign(&of_alice(&id, &[]))).await;
    assert_eq!(standing().await[0], None, "it has healed");
    id.publish("/jwks", set(&[&new]));
    until(&mut client, &new.sign(&of_alice(&id, &[]))).await;
    login(&mut client, &old.sign(&of_alice(&id, &[])), &[]).await.expect(401);
    let asked = id.asked();
    for _ in 0..20 {
        login(&mut client, &Signer::new("unknown").sign(&of_alice(&id, &[])), &[]).await.expect(401);
    }
    assert!(id.asked() <= asked + 2, "{} requests for 20 strangers", id.asked() - asked);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn an_issuer_that_calls_itself_otherwise_is_not_believed() {
    let key = Signer::new("k");
    let id = issuer(&[&key]).await;
    id.publish(
        DISCOVERY,
        json!({"issuer": "https://other.example", "jwks_uri": format!("{}/jwks", id.url())}).to_string(),
    );
    let lab = Lab::start(&oidc(&id, &issuer(&[]).await), RULES).await;
    let mut client = lab.client().await;
    login(&mut client, &key.sign(&of_alice(&id, &[])), &[]).await.expect(401);
    lab.server.running.stop().await;
}

#[tokio::test]
async fn a_service_account_is_known_by_the_token_of_its_pod() {
    let key = Signer::new("cluster");
    let cluster = Documents::serve().await;
    cluster.publish(
        DISCOVERY,
        json!({"issuer": "https://kubernetes.default.svc.cluster.local", "jwks_uri": "https://10.0.0.1/x"}).to_string(),
    );
    cluster.publish("/openid/v1/jwks", set(&[&key]));
    cluster.ask_for("Bearer of-this-pod");
    let own = tempfile::tempdir().unwrap();
    let (token_file, ca) = (own.path().join("token"), own.path().join("ca.crt"));
    std::fs::write(&token_file, "of-this-pod\n").unwrap();
    let certificate = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(&ca, certificate.cert.pem()).unwrap();
    let accounts = format!(
        ", serviceaccounts: {{url: '{}', tokenfile: '{}', cafile: '{}'}}",
        cluster.url(),
        token_file.display(),
        ca.display()
    );
    let rules = "rules: [{serviceAccounts: ['{namespace}/*'], repositories: '{namespace}/**', actions: [pull, push]}]";
    let lab = Lab::start(&accounts, rules).await;
    let mut client = lab.client().await;
    let pod = |change: &[(&str, Value)]| {
        let mut claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local", "sub": "system:serviceaccount:team-a:builder",
            "aud": ["registry"], "exp": now() + 600,
            "kubernetes.io": {"namespace": "team-a", "serviceaccount": {"name": "builder", "uid": "1"}},
        });
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        claims
    };
    let scopes = ["repository:team-a/app:pull,push", "repository:team-b/app:pull,push"];
    let token = key.sign(&pod(&[]));
    assert_eq!(given(&mut client, &token, &scopes).await, &scopes[..1]);
    let query = "service=registry&offline_token=true";
    let said = get(&mut client, query, Some(&basic("x", &token))).await.expect(200).json();
    assert!(said.get("refresh_token").is_none(), "a pod has a token at any time");
    assert_eq!(claims(said["token"].as_str().unwrap())["sub"], "system:serviceaccount:team-a:builder");
    for (change, why) in [
        (("aud", json!(["https://kubernetes.default.svc"])), "for the API server"),
        (("iss", json!("https://other.cluster")), "of another cluster"),
        (("sub", json!("system:node:worker")), "of a node"),
        (("exp", json!(now() - 100)), "it has ended"),
    ] {
        let refused = login(&mut client, &key.sign(&pod(&[change])), &[]).await;
        assert_eq!(refused.status, 401, "{why}");
    }
    login(&mut client, &Signer::new("cluster").sign(&pod(&[])), &[]).await.expect(401);
    lab.server.running.stop().await;
}

/// What the operator of a cluster signs with the issuer's own key for pull secrets.
#[tokio::test]
async fn a_credential_of_the_issuers_own_key_is_good_for_what_it_says_and_no_token_is_one() {
    let files = tempfile::tempdir().unwrap();
    let signer = Signer::new("unused");
    std::fs::write(files.path().join("key.pem"), signer.private_pem()).unwrap();
    super::lab::write_users(files.path(), &["alice"]);
    // Without rules, who has a password may do everything; a credential may not.
    let lab =
        Lab::start_with(Kind::Bucket, files, "", "anonymous: [{repositories: 'public/**', actions: [pull]}]").await;
    let mut client = lab.client().await;
    let kid = client.get("/auth/keys").await.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let issuer = "https://registry.example/auth";
    let credential = |change: &[(&str, Value)]| {
        let mut claims = json!({
            "iss": issuer, "aud": issuer, "sub": "system:pullsecret:team-a/registry", "exp": now() + 3600,
            "repositories": ["team-a/**"], "actions": ["pull"],
        });
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        signer.sign_as(&kid, &claims)
    };
    let scopes = ["repository:team-a/app:pull,push", "repository:team-b/app:pull", "repository:public/x:pull,push"];
    let good = credential(&[]);
    let expected = ["repository:team-a/app:pull", "repository:public/x:pull"];
    assert_eq!(given(&mut client, &good, &scopes).await, expected);
    let said =
        get(&mut client, "service=registry&offline_token=true", Some(&basic("x", &good))).await.expect(200).json();
    assert!(said.get("refresh_token").is_none());
    // At the registry itself it is no token.
    let answer = super::lab::with_token(&mut client, http::Method::GET, "/v2/team-a/app/tags/list", &good).await;
    assert_eq!(answer.status, 401);
    for (change, why) in [
        (("aud", json!("registry")), "a token for the registry"),
        (("sub", json!("alice")), "of a user"),
        (("actions", json!(["pull", "push"])), "to push"),
        (("repositories", json!([])), "for nothing"),
        (("exp", json!(now() - 100)), "it has ended"),
    ] {
        let refused = login(&mut client, &credential(&[change]), &[]).await;
        assert_eq!(refused.status, 401, "{why}");
    }
    let stranger = Signer::new("s").sign_as(&kid, &claims(&good));
    login(&mut client, &stranger, &[]).await.expect(401);
    lab.server.running.stop().await;
}

/// Where the configuration has it so, and for somebody whom a rule names.
#[tokio::test]
async fn a_user_of_an_issuer_gets_a_refresh_token() {
    let key = Signer::new("k");
    let id = issuer(&[&key]).await;
    let ci = issuer(&[&key]).await;
    let with_refresh = oidc(&id, &ci).replace("groupsclaim: groups", "groupsclaim: groups, refresh: true");
    let lab = Lab::start(&with_refresh, RULES).await;
    let mut client = lab.client().await;
    let good = key.sign(&of_alice(&id, &[]));
    let nobody = key.sign(&of_alice(&id, &[("preferred_username", json!("eve")), ("groups", json!([]))]));
    let job = key.sign(&json!({
        "iss": ci.url(), "sub": "repo:acme/app", "aud": "https://registry.example", "exp": now() + 300, "iat": now(),
        "repository": "acme/app",
    }));
    for (token, why) in [(&nobody, "no rule names her"), (&job, "its issuer is not said to have them")] {
        let query = "service=registry&offline_token=true";
        let said = get(&mut client, query, Some(&basic("x", token))).await.expect(200).json();
        assert!(said["token"].is_string() && said.get("refresh_token").is_none(), "{why}");
    }
    let said =
        get(&mut client, "service=registry&offline_token=true", Some(&basic("x", &good))).await.expect(200).json();
    let refresh = said["refresh_token"].as_str().unwrap();
    let scope = "repository:team/a:pull,push";
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", scope)];
    let said = post(&mut client, "/auth/token", &fields).await.expect(200).json();
    assert_eq!((said["scope"].as_str(), said["expires_in"].as_i64()), (Some(scope), Some(300)));
    lab.server.running.stop().await;
}
