//! A server that issues tokens, and what it is asked for over HTTP.

use std::path::{Path, PathBuf};

use berth_config::Auth;
use serde_json::{Value, json};

use super::USERS;
use crate::lab;
use crate::support::jwt::{Signer, claims};
use crate::support::{Client, Kind, Server};

/// What the issuer calls itself.
pub(crate) const ISSUER: &str = "https://registry.example/auth";
/// All that there is to be granted.
pub(crate) const EVERYTHING: [&str; 3] = ["repository:team/app:*", "repository:other/app:*", "registry:catalog:*"];

/// The server. What it has signed, any other believes that has its files.
pub(crate) struct Mint {
    pub(crate) server: Server,
    pub(crate) client: Client,
    files: PathBuf,
    /// Its key, for what it would not sign itself, and a stranger's.
    own: Signer,
    stranger: Signer,
    kid: String,
}

impl Mint {
    /// With files in this directory, which is made; `more` are further keys of the issuer, and `rules` those beside it.
    pub(crate) async fn start(files: &Path, more: &str, rules: &str) -> Mint {
        std::fs::create_dir(files).unwrap();
        let (own, stranger) = (Signer::new("own"), Signer::new("stranger"));
        std::fs::write(files.join("key.pem"), own.private_pem()).unwrap();
        lab::write_users(files, &USERS);
        let auth = configured(files, more, rules);
        let server = Server::start_on(Kind::Memory, |config| config.auth = auth).await;
        let mut client = server.client().await;
        let kid = client.get("/auth/keys").await.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
        Mint { server, client, files: files.to_path_buf(), own, stranger, kid }
    }

    /// The configuration of a server with the same issuer.
    pub(crate) fn auth(&self, more: &str, rules: &str) -> Option<Auth> {
        configured(&self.files, more, rules)
    }

    /// A token that somebody, or everybody, is issued who asks for this.
    pub(crate) async fn token(&mut self, user: Option<&str>, scopes: &[&str]) -> String {
        lab::token(&mut self.client, user, scopes).await
    }

    /// One for another registry.
    pub(crate) async fn token_for(&mut self, service: &str, user: &str) -> String {
        let query = format!("service={service}&scope={}", lab::escaped(&EVERYTHING.join(" ")));
        let answer = lab::get(&mut self.client, &query, Some(&lab::basic(user, &format!("{user}'s")))).await;
        answer.expect(200).json()["token"].as_str().unwrap().to_owned()
    }

    /// A refresh token.
    pub(crate) async fn refresh_token(&mut self, user: &str) -> String {
        let authorization = lab::basic(user, &format!("{user}'s"));
        let answer = lab::get(&mut self.client, "offline_token=true", Some(&authorization)).await.expect(200);
        answer.json()["refresh_token"].as_str().unwrap().to_owned()
    }

    /// One that counts no more.
    pub(crate) async fn revoked(&mut self, user: &str) -> String {
        let token = self.refresh_token(user).await;
        lab::post(&mut self.client, "/auth/revoke", &[("token", &token)]).await.expect(200);
        token
    }

    /// The same claims, signed by somebody else by the name of the key.
    pub(crate) fn forged(&self, token: &str) -> String {
        self.stranger.sign_as(&self.kid, &claims(token))
    }

    /// The same claims but for these, signed by the key of the issuer.
    pub(crate) fn changed(&self, token: &str, change: &[(&str, Value)]) -> String {
        let mut claims = claims(token);
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        self.own.sign_as(&self.kid, &claims)
    }

    /// A credential as pull secrets hold one.
    pub(crate) fn credential(&self, name: &str, repositories: &str) -> String {
        let claims = json!({
            "iss": ISSUER, "aud": ISSUER, "sub": name, "exp": jiff::Timestamp::now().as_second() + 3600,
            "repositories": [repositories], "actions": ["pull"],
        });
        self.own.sign_as(&self.kid, &claims)
    }

    pub(crate) async fn stop(self) {
        self.server.running.stop().await;
    }
}

fn configured(files: &Path, more: &str, rules: &str) -> Option<Auth> {
    // No token ends while requests are made with it, however slow the machine is.
    let more = format!(", expiry: 1h{more}");
    super::auth(lab::auth(files, &more, rules).strip_prefix("auth: ").unwrap())
}
