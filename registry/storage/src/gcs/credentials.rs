//! Who the driver is to the server: where the credentials come from, the token that each request carries, and what signs
//! addresses.
//!
//! Tokens are made by object_store: for the key of a service account (signed here, nobody is asked), for a user's
//! credentials of the gcloud command, and by the metadata server, which is how a pod with workload identity on GKE gets
//! them. It has no way for files of the types `external_account` (workload identity federation outside of GKE) and
//! `impersonated_service_account`, and for HMAC keys; such a file is refused by its type.
//!
//! A file is looked at again every second, and when the server refuses a token. What cannot be read then, or a token that
//! cannot be had, is said once, and what was good before stays in use: a file for ever, a token for as long as it is valid.
//! One request at a time asks for a token; the others go on with the one there is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use http::HeaderValue;
use object_store::RetryConfig;
use object_store::gcp::{GcpCredentialProvider, GcpSigningCredentialProvider, GoogleCloudStorageBuilder};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::connector::Connector;
use crate::http::Http;
use crate::{BoxError, StoreError};

/// How long a token is used without a question: neither whether the file has changed nor for another token.
const FRESH: Duration = Duration::from_secs(1);
/// How long a token is used when no other can be had. None is given out that is valid for less than four minutes.
const USABLE: Duration = Duration::from_secs(200);
/// How long nobody asks again after a failure, while there is a token to go on with.
const PAUSE: Duration = Duration::from_secs(10);
/// Where the gcloud command puts the credentials of its user.
const WELL_KNOWN: &str = ".config/gcloud/application_default_credentials.json";

/// Where the credentials come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum GcsCredentials {
    /// From where the machine or the pod has them: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the one of the
    /// gcloud command, the metadata server.
    #[default]
    Ambient,
    /// A file of Google's. It is read again when it changes.
    File(PathBuf),
    /// The fields of such a file.
    Inline(BTreeMap<String, String>),
}

impl fmt::Debug for GcsCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GcsCredentials::Ambient => formatter.write_str("Ambient"),
            GcsCredentials::File(path) => formatter.debug_tuple("File").field(path).finish(),
            GcsCredentials::Inline(fields) => formatter.debug_tuple("Inline").field(&fields.keys()).finish(),
        }
    }
}

/// Credentials in use.
#[derive(Debug)]
pub(super) struct Credentials {
    source: Source,
    connector: Connector,
    /// The store, for an error.
    place: String,
    current: ArcSwapOption<Ready>,
    /// The server has refused a token, so whatever made it is made anew.
    refused: AtomicBool,
    asking: Mutex<Asking>,
}

/// What a request needs.
#[derive(Debug)]
pub(super) struct Ready {
    /// The `Authorization` of a request; none if it carries none.
    pub(super) token: Option<HeaderValue>,
    pub(super) identity: Arc<Identity>,
    at: Instant,
}

/// Who the driver is.
pub(super) struct Identity {
    pub(super) tokens: Option<GcpCredentialProvider>,
    pub(super) signer: Signer,
}

impl fmt::Debug for Identity {
    /// The tokens would show themselves.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// What signs addresses.
pub(super) enum Signer {
    Nobody,
    /// The key of a service account.
    Key {
        email: String,
        key: RsaKeyPair,
    },
    /// Google, in the name of the machine's service account.
    Service(GcpSigningCredentialProvider),
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Signer::Nobody => "Nobody",
            Signer::Key { .. } => "Key",
            Signer::Service(_) => "Service",
        })
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Nobody,
    File(PathBuf),
    /// The content of such a file.
    Inline(String),
    Machine,
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Nobody => formatter.write_str("Nobody"),
            Source::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Source::Inline(_) => formatter.write_str("Inline"),
            Source::Machine => formatter.write_str("Machine"),
        }
    }
}

/// What the one that asks for a token knows.
#[derive(Debug)]
struct Asking {
    identity: Arc<Identity>,
    /// What the file looked like when it was read.
    stamp: Option<Stamp>,
    /// When nothing could be had, and why.
    failed: Option<(Instant, String)>,
    /// What was said of the file, so that it is said once.
    said: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Credentials {
    /// Reads credentials. `is_foreign` says that the server is not Google's, which gets none that were not given for it.
    pub(super) async fn open(
        given: &GcsCredentials,
        is_foreign: bool,
        http: Http,
        place: String,
    ) -> Result<Self, StoreError> {
        let source = match given {
            GcsCredentials::File(path) => Source::File(path.clone()),
            GcsCredentials::Inline(fields) => Source::Inline(serde_json::json!(fields).to_string()),
            GcsCredentials::Ambient if is_foreign => Source::Nobody,
            GcsCredentials::Ambient => ambient(|name| std::env::var_os(name), Path::exists),
        };
        let connector = Connector(http);
        let key = match &source {
            Source::File(path) => path.display().to_string(),
            _ => "credentials".to_owned(),
        };
        let read = read(&source, &connector).await;
        let (identity, stamp) = read.map_err(|source| StoreError::Settings { key, source })?;
        let asking = Mutex::new(Asking { identity: Arc::new(identity), stamp, failed: None, said: None });
        let (current, refused) = (ArcSwapOption::empty(), AtomicBool::new(false));
        Ok(Credentials { source, connector, place, current, refused, asking })
    }

    /// What the next request needs.
    pub(super) async fn ready(&self) -> Result<Arc<Ready>, StoreError> {
        let held = self.current.load_full();
        if let Some(held) = held.as_ref().filter(|held| held.at.elapsed() < FRESH) {
            return Ok(held.clone());
        }
        let held = held.filter(|held| held.at.elapsed() < USABLE);
        let mut asking = match &held {
            None => self.asking.lock().await,
            Some(held) => match self.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(held.clone()),
            },
        };
        // Another may have been told meanwhile.
        if let Some(fresh) = self.current.load_full().filter(|held| held.at.elapsed() < FRESH) {
            return Ok(fresh);
        }
        if let Some((since, why)) = &asking.failed {
            match &held {
                Some(held) if since.elapsed() < PAUSE => return Ok(held.clone()),
                None if since.elapsed() < FRESH => return Err(self.unreachable(why.clone().into())),
                _ => {}
            }
        }
        match self.ask(&mut asking).await {
            Ok(ready) => {
                if asking.failed.take().is_some() {
                    info!(store = self.place, "an access token can be had again");
                }
                let ready = Arc::new(ready);
                self.current.store(Some(ready.clone()));
                Ok(ready)
            }
            Err(error) => {
                let why = error.to_string();
                if asking.failed.is_none() {
                    warn!(
                        store = self.place,
                        error = why,
                        "no access token can be had; the last one is used while it is valid"
                    );
                }
                asking.failed = Some((Instant::now(), why));
                held.ok_or_else(|| self.unreachable(error))
            }
        }
    }

    /// The server does not believe a token.
    pub(super) fn refused(&self, ready: &Arc<Ready>) {
        let current = self.current.load_full();
        if ready.token.is_some() && current.is_some_and(|current| Arc::ptr_eq(&current, ready)) {
            self.refused.store(true, Ordering::Release);
            self.current.store(None);
        }
    }

    /// Takes on another identity until the credentials are read again.
    #[cfg(test)]
    pub(super) async fn become_for_tests(&self, identity: Identity) {
        self.asking.lock().await.identity = Arc::new(identity);
        self.current.store(None);
    }

    async fn ask(&self, asking: &mut Asking) -> Result<Ready, BoxError> {
        if self.refused.swap(false, Ordering::AcqRel) || self.has_changed(asking).await {
            match read(&self.source, &self.connector).await {
                Ok((identity, stamp)) => {
                    (asking.identity, asking.stamp, asking.said) = (Arc::new(identity), stamp, None);
                }
                Err(error) => self.say(asking, &error),
            }
        }
        let identity = asking.identity.clone();
        let token = match &identity.tokens {
            None => None,
            Some(tokens) => bearer(&tokens.get_credential().await?.bearer)?,
        };
        Ok(Ready { token, identity, at: Instant::now() })
    }

    async fn has_changed(&self, asking: &Asking) -> bool {
        let Source::File(path) = &self.source else { return false };
        // What cannot be looked at cannot be read either, and that says why.
        stamp(path).await.ok() != asking.stamp
    }

    fn say(&self, asking: &mut Asking, error: &BoxError) {
        let text = error.to_string();
        if asking.said.as_ref() != Some(&text) {
            warn!(store = self.place, error = text, "the credentials cannot be read again; the old ones stay in use");
            asking.said = Some(text);
        }
    }

    fn unreachable(&self, source: BoxError) -> StoreError {
        StoreError::unreachable(&self.place, "get an access token", source)
    }
}

/// Where the credentials of a machine are.
fn ambient(variable: impl Fn(&str) -> Option<OsString>, exists: impl Fn(&Path) -> bool) -> Source {
    let named = variable("GOOGLE_APPLICATION_CREDENTIALS").filter(|path| !path.is_empty());
    let of_user = || Some(Path::new(&variable("HOME")?).join(WELL_KNOWN)).filter(|path| exists(path));
    named.map(PathBuf::from).or_else(of_user).map_or(Source::Machine, Source::File)
}

/// Makes of a source who the driver is. The look at a file comes before the reading: one that changes between is read again.
async fn read(source: &Source, connector: &Connector) -> Result<(Identity, Option<Stamp>), BoxError> {
    match source {
        Source::Nobody => Ok((Identity { tokens: None, signer: Signer::Nobody }, None)),
        Source::Inline(text) => Ok((identity(text, None, connector)?, None)),
        Source::Machine => {
            let store = builder(connector).build()?;
            let signer = Signer::Service(store.signing_credentials().clone());
            Ok((Identity { tokens: Some(store.credentials().clone()), signer }, None))
        }
        Source::File(path) => {
            let stamp = stamp(path).await?;
            let text = tokio::fs::read_to_string(path).await?;
            Ok((identity(&text, Some(path), connector)?, Some(stamp)))
        }
    }
}

/// A file of Google's, as far as its type is told from it.
#[derive(Deserialize)]
#[serde(default)]
struct File {
    r#type: String,
    client_email: String,
    private_key: String,
    /// A server of tests wants no token.
    disable_oauth: bool,
}

impl Default for File {
    fn default() -> Self {
        let (client_email, private_key) = (String::new(), String::new());
        File { r#type: "service_account".to_owned(), client_email, private_key, disable_oauth: false }
    }
}

fn identity(text: &str, path: Option<&Path>, connector: &Connector) -> Result<Identity, BoxError> {
    // What the parser says of a wrong text may quote it.
    let file: File = serde_json::from_str(text).map_err(|error| {
        format!("line {}, column {}: not the JSON of a key or of other credentials", error.line(), error.column())
    })?;
    let File { r#type, client_email, private_key, disable_oauth } = file;
    match (r#type.as_str(), path.and_then(Path::to_str)) {
        ("service_account", _) => {
            if client_email.is_empty() || private_key.is_empty() {
                return Err("the key of a service account has a client_email and a private_key".into());
            }
            let key = rsa_key(&private_key)?;
            let store = builder(connector).with_service_account_key(text).build()?;
            let tokens = Some(store.credentials().clone()).filter(|_| !disable_oauth);
            Ok(Identity { tokens, signer: Signer::Key { email: client_email, key } })
        }
        ("authorized_user", Some(path)) => {
            let store = builder(connector).with_application_credentials(path).build()?;
            Ok(Identity { tokens: Some(store.credentials().clone()), signer: Signer::Nobody })
        }
        (kind, _) => Err(format!(
            "credentials of the type {kind:?} cannot be used here; the key of a service account can, a file of the type \
             authorized_user, and the metadata server of a machine or of a pod with workload identity"
        )
        .into()),
    }
}

fn rsa_key(pem: &str) -> Result<RsaKeyPair, BoxError> {
    let wrong = "the private_key is no RSA key in PEM form";
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong)?;
    let key = match &der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(wrong.into()),
    };
    key.map_err(|_| wrong.into())
}

/// Signs as `GOOG4-RSA-SHA256` wants it.
pub(super) fn sign(key: &RsaKeyPair, text: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).map_err(|_| "the key does not sign")?;
    Ok(signature)
}

/// Nothing is tried again here, and no bucket is asked for anything.
fn builder(connector: &Connector) -> GoogleCloudStorageBuilder {
    let never = RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() };
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name("none").with_retry(never);
    builder.with_http_connector(connector.clone())
}

fn bearer(token: &str) -> Result<Option<HeaderValue>, BoxError> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "the access token is malformed")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

async fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = tokio::fs::metadata(path).await?;
    Ok(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;
    use crate::Trust;

    fn pem() -> String {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
    }

    fn key_of(email: &str) -> BTreeMap<String, String> {
        let fields =
            [("type", "service_account"), ("client_email", email), ("private_key", &pem()), ("private_key_id", "0123")];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    async fn open(given: &GcsCredentials) -> Result<Credentials, StoreError> {
        Credentials::open(given, false, Http::new(&Trust::default()).unwrap(), "gs://b".to_owned()).await
    }

    /// In whose name the token of the next request is.
    async fn issuer(credentials: &Credentials) -> String {
        let ready = credentials.ready().await.unwrap();
        let token = ready.token.clone().unwrap();
        let token = token.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        claims["iss"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_credentials_of_a_machine_are_where_google_says() {
        let check = |named: Option<&str>, has_own: bool, expected: Source| {
            let variable = |name: &str| match name {
                "HOME" => Some("/home/me".into()),
                _ => named.map(OsString::from),
            };
            assert_eq!(ambient(variable, |path| has_own && path == Path::new("/home/me").join(WELL_KNOWN)), expected);
        };
        check(Some("/named"), true, Source::File("/named".into()));
        check(Some(""), false, Source::Machine);
        check(None, true, Source::File(Path::new("/home/me").join(WELL_KNOWN)));
        check(None, false, Source::Machine);
        assert_eq!(ambient(|_| None, |_| true), Source::Machine);
    }

    #[tokio::test]
    async fn a_token_is_made_of_a_key_wherever_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let key = key_of("a@b");
        std::fs::write(&path, serde_json::to_string(&key).unwrap()).unwrap();
        for given in [GcsCredentials::Inline(key), GcsCredentials::File(path)] {
            assert_eq!(issuer(&open(&given).await.unwrap()).await, "a@b");
        }
        let foreign = Credentials::open(
            &GcsCredentials::Ambient,
            true,
            Http::new(&Trust::default()).unwrap(),
            "gs://b".to_owned(),
        );
        assert!(foreign.await.unwrap().ready().await.unwrap().token.is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_refused_by_name_and_not_shown() {
        let check = async |text: &str, expected: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("key.json");
            std::fs::write(&path, text).unwrap();
            let error = open(&GcsCredentials::File(path.clone())).await.unwrap_err().to_string();
            let (found, rest) = error.split_once(": ").unwrap();
            assert_eq!(found, path.display().to_string());
            assert!(rest.starts_with(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        };
        check(r#"{"private_key": secret"#, "line 1, column 17: not the JSON of a key or of other credentials").await;
        check(r#"{"type": "external_account"}"#, r#"credentials of the type "external_account" cannot be used"#).await;
        check(r#"{"client_email": "a@b"}"#, "the key of a service account has a client_email and a private_key").await;
        let wrong = r#"{"client_email": "a@b", "private_key": "secret", "private_key_id": "1"}"#;
        check(wrong, "the private_key is no RSA key in PEM form").await;
        let error = open(&GcsCredentials::File("/not/there".into())).await.unwrap_err();
        assert!(error.to_string().starts_with("/not/there: "), "{error}");
    }

    #[tokio::test]
    async fn a_file_is_read_again_and_kept_while_it_cannot_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let write = |email: &str| {
            std::fs::write(&path, serde_json::to_string(&key_of(email)).unwrap()).unwrap();
        };
        write("first@b");
        let credentials = open(&GcsCredentials::File(path.clone())).await.unwrap();
        assert_eq!(issuer(&credentials).await, "first@b");
        let until = async |expected: &str| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while issuer(&credentials).await != expected {
                assert!(Instant::now() < deadline, "still not {expected}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        write("the-second@b");
        until("the-second@b").await;
        std::fs::write(&path, "{").unwrap();
        let ready = credentials.ready().await.unwrap();
        // The server does not believe the token: it is made anew at once, of what was read last.
        credentials.refused(&ready);
        assert_eq!(issuer(&credentials).await, "the-second@b");
        assert!(credentials.asking.lock().await.said.is_some());
        write("the-very-third@b");
        credentials.refused(&credentials.ready().await.unwrap());
        until("the-very-third@b").await;
        // A token that was refused long ago says nothing of the one in use.
        credentials.refused(&ready);
        assert!(credentials.current.load().is_some());
    }

    #[derive(Debug)]
    struct Tokens(AtomicBool);

    #[async_trait::async_trait]
    impl object_store::CredentialProvider for Tokens {
        type Credential = object_store::gcp::GcpCredential;

        async fn get_credential(&self) -> object_store::Result<Arc<Self::Credential>> {
            if self.0.load(Ordering::Relaxed) {
                return Ok(Arc::new(Self::Credential { bearer: "secret".to_owned() }));
            }
            Err(object_store::Error::Generic { store: "GCS", source: "down".into() })
        }
    }

    #[tokio::test]
    async fn a_token_is_used_for_as_long_as_it_is_valid_when_there_is_no_other() {
        let credentials = open(&GcsCredentials::Inline(key_of("a@b"))).await.unwrap();
        let works = Arc::new(Tokens(AtomicBool::new(true)));
        let identity = Arc::new(Identity { tokens: Some(works.clone()), signer: Signer::Nobody });
        credentials.asking.lock().await.identity = identity.clone();
        let ready = credentials.ready().await.unwrap();
        assert!(!format!("{credentials:?} {ready:?}").contains("secret"));
        works.0.store(false, Ordering::Relaxed);
        let aged = |age: Duration| {
            let at = Instant::now().checked_sub(age).unwrap();
            let ready = Ready { token: ready.token.clone(), identity: identity.clone(), at };
            credentials.current.store(Some(Arc::new(ready)));
        };
        aged(Duration::from_secs(2));
        assert!(credentials.ready().await.unwrap().token.is_some());
        assert!(credentials.asking.lock().await.failed.is_some());
        aged(USABLE);
        let error = credentials.ready().await.unwrap_err();
        assert!(error.is_transient());
        assert!(error.to_string().starts_with("gs://b: cannot get an access token: "), "{error}");
        works.0.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(20);
        while credentials.ready().await.is_err() {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
