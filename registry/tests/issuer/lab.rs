//! A server that issues tokens and takes them, and what clients do to get one.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::Config;
use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::KeyPair;
use serde_json::Value;

use crate::support::{Answer, Client, Kind, Server};

/// Everybody pulls what is public, each has a home, ci pushes to the team's, and root may do everything.
pub(crate) const RULES: &str = "anonymous: [{repositories: 'public/**', actions: [pull]}], rules: [\
    {users: ['*'], repositories: 'home/{user}/**', actions: ['*']}, \
    {users: [ci], repositories: 'team/**', actions: [pull, push]}, \
    {users: [root], repositories: '**', actions: ['*']}]";

/// A server with an issuer, and where its files are.
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) files: tempfile::TempDir,
}

/// The file of users, each of whom has the password `NAME's`.
pub(crate) fn write_users(files: &Path, users: &[&str]) {
    let lines: Vec<String> =
        users.iter().map(|user| format!("{user}:{}\n", bcrypt::hash(format!("{user}'s"), 4).unwrap())).collect();
    let part = files.join("part");
    std::fs::write(&part, lines.concat()).unwrap();
    std::fs::rename(part, files.join("htpasswd")).unwrap();
}

/// A configuration of the issuer; `more` are further keys of it.
pub(crate) fn auth(files: &Path, more: &str, rules: &str) -> String {
    let at = |name: &str| files.join(name).display().to_string();
    let (keys, users) = (at("key.pem"), at("htpasswd"));
    format!(
        "auth: {{issuer: {{service: registry, issuer: 'https://registry.example/auth', keys: '{keys}', \
         htpasswd: {{path: '{users}'}}{more}}}, {rules}}}"
    )
}

impl Lab {
    pub(crate) async fn start(more: &str, rules: &str) -> Self {
        Self::start_on(Kind::Bucket, more, rules).await
    }

    pub(crate) async fn start_on(kind: Kind, more: &str, rules: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        write_users(files.path(), &["alice", "ci", "root"]);
        Self::start_with(kind, files, more, rules).await
    }

    pub(crate) async fn start_with(kind: Kind, files: tempfile::TempDir, more: &str, rules: &str) -> Self {
        let text = format!("version: 0.1\nstorage: inmemory\n{}", auth(files.path(), more, rules));
        let auth = Config::load(&text, []).unwrap().config.auth;
        let server = Server::start_on(kind, |config| config.auth = auth).await;
        Lab { server, files }
    }

    pub(crate) async fn client(&self) -> Client {
        self.server.client().await
    }
}

pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// A text as it stands in a query or a form.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Docker's way: `GET`, with name and password in a header.
pub(crate) async fn get(client: &mut Client, query: &str, authorization: Option<&str>) -> Answer {
    let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
    client.send(Method::GET, &format!("/auth/token?{query}"), &headers, Bytes::new()).await
}

/// OAuth's way: a form.
pub(crate) async fn post(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Answer {
    let form: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    client.send(Method::POST, path, &headers, form.join("&").into()).await
}

/// A token for somebody, with these scopes.
pub(crate) async fn token(client: &mut Client, user: Option<&str>, scopes: &[&str]) -> String {
    let query: Vec<String> = scopes.iter().map(|scope| format!("scope={}", escaped(scope))).collect();
    let authorization = user.map(|user| basic(user, &format!("{user}'s")));
    let answer = get(client, &format!("service=registry&{}", query.join("&")), authorization.as_deref()).await;
    answer.expect(200).json()["token"].as_str().unwrap().to_owned()
}

/// What a token may do, as scopes.
pub(crate) fn granted(token: &str) -> Vec<String> {
    let claims = crate::support::jwt::claims(token);
    let grants = claims["access"].as_array().unwrap().iter().map(|grant| {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let (kind, name) = (grant["type"].as_str().unwrap(), grant["name"].as_str().unwrap());
        format!("{kind}:{name}:{}", texts(&grant["actions"]).join(","))
    });
    grants.collect()
}

/// The status of a request with a token.
pub(crate) async fn with_token(client: &mut Client, method: Method, target: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    client
        .send(method, target, &[("authorization", &bearer), ("accept", crate::support::ACCEPT_ALL)], Bytes::new())
        .await
}
