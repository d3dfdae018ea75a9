//! Keycloak, which stands for any identity provider that speaks OpenID Connect: one realm, with users and programs that
//! get tokens from it.
//!
//! What is to be known of its tokens: the `aud` of an ID token is a list, of which the client is one. That of an access
//! token has `account` beside the realm's audience, and may be one text instead of a list. Both kinds have the header
//! `typ: JWT`, and are told apart by a claim `typ`, which is `ID` or `Bearer`. Who is in no group has no claim `groups`.
//! Besides the keys that sign, there is one at `jwks_uri` that encrypts, with `use: enc`.

mod realm;

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::directory::Directory;
use crate::http_client::Target;
use crate::process::{self, Process};
use crate::{Certificate, Programs, port};

pub use realm::{LoginClient, Realm, ServiceClient, User};

/// The priority that the keys have which a realm is made with. Of those of one algorithm, the highest signs.
const PRIORITY_OF_FIRST_KEYS: u32 = 100;

/// A running Keycloak.
#[derive(Debug)]
pub struct Keycloak {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// The issuer of the realm's tokens, which is a URL.
    pub issuer: String,
    /// What to trust, where it speaks TLS.
    pub certificate: Option<Certificate>,
    login: LoginClient,
    rotations: AtomicU32,
    target: Target,
    process: Process,
    _directory: Directory,
}

/// What a user gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// It says who the user is.
    pub id_token: String,
    /// It says what may be done for the user.
    pub access_token: String,
}

/// What tokens are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSA with SHA-256, which a realm begins with.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Keycloak {
    /// Starts one with this realm.
    pub async fn start(programs: &Programs, realm: &Realm) -> Result<Self> {
        process::start(async || Self::start_once(programs, realm, None).await).await
    }

    /// Starts one with this realm that speaks TLS.
    pub async fn start_with_tls(programs: &Programs, realm: &Realm) -> Result<Self> {
        process::start(async || Self::start_once(programs, realm, Some(Certificate::for_loopback()?)).await).await
    }

    async fn start_once(programs: &Programs, realm: &Realm, certificate: Option<Certificate>) -> Result<Self> {
        let installed = programs.keycloak()?;
        let [address] = port::free(programs.host)?;
        let directory = Directory::create("keycloak")?;
        prepare(&directory, installed, realm)?;
        let (scheme, target) = match &certificate {
            None => ("http", Target::from(address)),
            Some(certificate) => ("https", Target::over_tls(address, certificate.client()?)),
        };
        let url = format!("{scheme}://{address}");
        let files = certificate.as_ref().map(|certificate| certificate.write(directory.path())).transpose()?;
        // Java is looked for by its name, as it is when Keycloak is installed: the classes are kept for that one.
        let mut process = Process::spawn("keycloak", Path::new("java"), directory.path(), |command| {
            command.current_dir(directory.path());
            command.arg(format!("-XX:SharedArchiveFile={}", installed.join("classes.jsa").display()));
            command.arg(format!("@{}", installed.join("java.args").display()));
            command.args(["start", "--optimized", "--cache=local", "--import-realm"]);
            // It would believe what a request calls it, and name issuers by that.
            command.args(["--hostname", &url, "--http-host", &address.ip().to_string()]);
            match files {
                None => command.args(["--http-enabled=true", "--http-port", &address.port().to_string()]),
                Some([certificate, key]) => command
                    .args(["--https-port", &address.port().to_string(), "--https-certificate-file"])
                    .arg(certificate)
                    .arg("--https-certificate-key-file")
                    .arg(key),
            };
        })?;
        process.listening(address).await?;
        let keycloak = Self {
            address,
            issuer: format!("{url}/realms/{}", realm::NAME),
            certificate,
            login: realm.login.clone(),
            rotations: AtomicU32::new(0),
            target,
            process,
            _directory: directory,
        };
        keycloak.discovery().await.context("ask Keycloak that has just started")?;
        Ok(keycloak)
    }

    /// What it says of the realm at `/.well-known/openid-configuration` below the issuer.
    pub async fn discovery(&self) -> Result<Value> {
        self.get("/.well-known/openid-configuration").await
    }

    /// The public keys that are at `jwks_uri` now.
    pub async fn keys(&self) -> Result<Vec<Value>> {
        let mut answer = self.get("/protocol/openid-connect/certs").await?;
        let Value::Array(keys) = answer["keys"].take() else { anyhow::bail!("there is no list of keys: {answer}") };
        Ok(keys)
    }

    /// Logs a user in with the realm's client for that.
    pub async fn user_token(&self, user: &str, password: &str) -> Result<Tokens> {
        let mut form = vec![("grant_type", "password"), ("scope", "openid"), ("client_id", &self.login.id)];
        form.extend(self.login.secret.as_deref().map(|secret| ("client_secret", secret)));
        form.extend([("username", user), ("password", password)]);
        let answer = self.token(&form).await?;
        Ok(Tokens { id_token: text(&answer, "id_token")?, access_token: text(&answer, "access_token")? })
    }

    /// The access token that a program gets for itself.
    pub async fn client_token(&self, client: &str, secret: &str) -> Result<String> {
        let form = [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret)];
        text(&self.token(&form).await?, "access_token")
    }

    /// Has a new key sign tokens from now on. The earlier ones stay at `jwks_uri`, for the tokens that they have signed.
    pub async fn rotate_keys(&self, algorithm: SigningAlgorithm) -> Result<()> {
        let [client, secret] = realm::ADMINISTRATOR;
        let token = self.client_token(client, secret).await?;
        let rotation = self.rotations.fetch_add(1, Ordering::Relaxed) + 1;
        let (name, provider, option, value) = match algorithm {
            SigningAlgorithm::Rs256 => ("RS256", "rsa-generated", "algorithm", "RS256"),
            SigningAlgorithm::Es256 => ("ES256", "ecdsa-generated", "ecdsaEllipticCurveKey", "P-256"),
        };
        let realm = format!("/admin/realms/{}", realm::NAME);
        let key = json!({
            "name": format!("rotation {rotation}"),
            "providerType": "org.keycloak.keys.KeyProvider",
            "providerId": provider,
            "config": { option: [value], "priority": [(PRIORITY_OF_FIRST_KEYS + rotation).to_string()] },
        });
        self.administrate(Request::post(format!("{realm}/components")), &token, &key).await?;
        let algorithm = json!({ "defaultSignatureAlgorithm": name });
        self.administrate(Request::put(realm), &token, &algorithm).await
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Gets a document below the issuer.
    async fn get(&self, path: &str) -> Result<Value> {
        let request = Request::get(format!("/realms/{}{path}", realm::NAME)).body(Bytes::new());
        let answer = self.target.send(request.context("form a request")?).await?;
        serde_json::from_slice(answer.body()).with_context(|| format!("read the JSON at {path}"))
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<Value> {
        let request = Request::post(format!("/realms/{}/protocol/openid-connect/token", realm::NAME))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(encoded(form)));
        let answer = self.target.send(request.context("form a request")?).await?;
        serde_json::from_slice(answer.body()).context("read the answer to a login")
    }

    async fn administrate(&self, request: http::request::Builder, token: &str, body: &Value) -> Result<()> {
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()));
        self.target.send(request.context("form a request")?).await.map(|_| ())
    }
}

/// Gives a server what it reads from its own directory, and everything that it may write: nothing is written where it is
/// installed.
fn prepare(directory: &Directory, installed: &Path, realm: &Realm) -> Result<()> {
    let link = directory.path().join("lib");
    std::os::unix::fs::symlink(installed.join("lib"), &link).with_context(|| format!("link {}", link.display()))?;
    directory.below("providers")?;
    // A database with everything but the realm.
    let database = directory.below("data/h2")?.join("keycloakdb.mv.db");
    std::fs::copy(installed.join("keycloakdb.mv.db"), &database)
        .with_context(|| format!("copy to {}", database.display()))?;
    let file = directory.below("data/import")?.join("realm.json");
    std::fs::write(&file, realm::file(realm).to_string()).with_context(|| format!("write {}", file.display()))
}

fn encoded(form: &[(&str, &str)]) -> String {
    let pairs = form.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}

fn text(answer: &Value, name: &str) -> Result<String> {
    answer[name].as_str().map(str::to_owned).with_context(|| format!("the answer to the login holds no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_text() {
        assert_eq!(encoded(&[("a", "b"), ("password", "ä& =+")]), "a=b&password=%C3%A4%26%20%3D%2B");
    }
}
