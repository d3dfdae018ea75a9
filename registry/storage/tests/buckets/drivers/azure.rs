//! Azure Blob Storage, for which azurite stands: once with the account's key, and once over TLS with tokens.

use std::any::Any;
use std::sync::Arc;

use berth_storage::{Azure, AzureLogin, AzureOptions, Trust};
use berth_stores::{Azurite, Dialect, Programs, Proxy};

use crate::entra::{SECRET, authority};
use crate::subject::{Files, Subject, Through};

const CONTAINER: &str = "box";
/// Base64 that is a key, and not the right one.
const WRONG_KEY: &str = "bm90LXRoZS1rZXktb2YtdGhlLWFjY291bnQ=";
const WRONG_SECRET: &str = "secret-of-another";

pub(crate) async fn subjects() -> Vec<Subject> {
    let programs = Programs::from_env();
    vec![with_a_key(&programs).await, with_tokens(&programs).await]
}

async fn with_a_key(programs: &Programs) -> Subject {
    let server = Azurite::start(programs).await.unwrap();
    server.create_container(CONTAINER).await.unwrap();
    let options = AzureOptions {
        account_name: server.account.clone(),
        account_key: Some(server.key.clone()),
        container: CONTAINER.into(),
        service_url: Some(server.endpoint.clone()),
        root_directory: "deep/in".into(),
        ..AzureOptions::default()
    };
    let wrong = AzureOptions { account_key: Some(WRONG_KEY.into()), ..options.clone() };
    let from_files = AzureOptions { account_key: None, ..options.clone() };
    let key = server.key.clone();
    let (secret_file, secrets) = ("accountkey", [key.as_str(), WRONG_KEY]);
    // What is signed is the account's path, and not the host.
    let proxy = Proxy::start(server.address, Dialect::Azure).unwrap();
    let service_url = Some(endpoint_of(&server, &proxy));
    let through = Arc::new(Azure::open(AzureOptions { service_url, ..options.clone() }).await.unwrap());
    berth_storage::bucket::Bucket::probe(through.as_ref()).await.unwrap();
    let subject = subject("azurite", options, wrong, from_files, secret_file, secrets, server).await;
    let version = version(programs);
    Subject { version, through: Ok(Through { bucket: through, proxy: Arc::new(proxy) }), ..subject }
}

/// The address of the account behind a proxy.
fn endpoint_of(server: &Azurite, proxy: &Proxy) -> String {
    server.endpoint.replace(&server.address.to_string(), &proxy.address().to_string())
}

async fn with_tokens(programs: &Programs) -> Subject {
    let server = Azurite::start_with_tls(programs).await.unwrap();
    server.create_container(CONTAINER).await.unwrap();
    let authorities = tempfile::tempdir().unwrap();
    let ca_file = authorities.path().join("ca.pem");
    std::fs::write(&ca_file, &server.certificate.as_ref().unwrap().pem).unwrap();
    let login = |secret: Option<&str>| {
        let text = |text: &str| Some(text.to_owned());
        Some(AzureLogin::ClientSecret {
            tenant_id: text("tenant"),
            client_id: text("client"),
            secret: secret.map(str::to_owned),
        })
    };
    let options = AzureOptions {
        account_name: server.account.clone(),
        container: CONTAINER.into(),
        service_url: Some(server.endpoint.clone()),
        root_directory: "/".into(),
        login: login(Some(SECRET)),
        authority: Some(authority().await),
        trust: Trust { ca_file: Some(ca_file), skip_verify: false },
        ..AzureOptions::default()
    };
    let wrong = AzureOptions { login: login(Some(WRONG_SECRET)), ..options.clone() };
    let from_files = AzureOptions { login: login(None), ..options.clone() };
    let keep = (server, authorities);
    let secrets = [SECRET, WRONG_SECRET];
    let subject = subject("azurite, TLS and tokens", options, wrong, from_files, "secret", secrets, keep).await;
    Subject { version: version(programs), presign: Err("the suite fetches from addresses without TLS"), ..subject }
}

fn version(programs: &Programs) -> String {
    super::version_of_package(&programs.azurite().unwrap().join("node_modules/azurite"))
}

async fn subject(
    server: &'static str,
    options: AzureOptions,
    wrong: AzureOptions,
    from_files: AzureOptions,
    secret_file: &'static str,
    [right_secret, wrong_secret]: [&str; 2],
    keep: impl Any + Send + Sync,
) -> Subject {
    let open = async |options: AzureOptions| Arc::new(Azure::open(options).await.unwrap());
    let bucket = open(options.clone()).await;
    let other = open(options.clone()).await;
    berth_storage::bucket::Bucket::probe(bucket.as_ref()).await.unwrap();
    berth_storage::bucket::Bucket::probe(other.as_ref()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(secret_file), right_secret).unwrap();
    let credentials_directory = Some(directory.path().to_owned());
    let nobody = options.service_url.as_deref().is_some_and(|url| url.starts_with("https"));
    let nobody = if nobody { super::nobody().replacen("http", "https", 1) } else { super::nobody() };
    let subject = Subject {
        server,
        version: String::new(),
        presign: Ok(bucket.clone()),
        bucket,
        other,
        large_bytes: 9_000_000,
        wrong_credentials: Ok(open(wrong).await),
        missing_bucket: Ok(open(AzureOptions { container: "not-there".into(), ..options.clone() }).await),
        wrong_clock: Err("what signs requests takes the machine's own clock"),
        nobody: Ok(open(AzureOptions { service_url: Some(nobody), ..options }).await),
        files: Ok(Files {
            bucket: open(AzureOptions { credentials_directory, ..from_files }).await,
            directory: directory.path().to_owned(),
            secret_file,
            right: right_secret.to_owned(),
            wrong: wrong_secret.to_owned(),
        }),
        through: Err("the proxy speaks to its server without TLS, and azurite takes tokens over TLS alone"),
        lacks: vec![("what_nobody_completes_is_removed", "Azure drops blocks that nobody commits after a week")],
        secrets: vec![right_secret.to_owned(), wrong_secret.to_owned()],
        kept: Vec::new(),
    };
    subject.keeping(directory).keeping(keep)
}
