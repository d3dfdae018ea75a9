//! Certificates by the ACME protocol (RFC 8555): ordered when the server starts, kept, and renewed in time.
//!
//! The authority validates a host over TLS on the registry's own port (RFC 8737), so no other port is needed; it comes to
//! port 443 of the host. Each process orders for itself: replicas share certificates if they share the cache, and may
//! order at the same time.

mod cache;
mod certificates;
mod client;
mod order;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_config::LetsEncrypt;
use instant_acme::{Account, Key, LetsEncrypt as Directory};
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ServerConfig};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::tls::{self, TlsError};
use cache::{Cache, CacheError};
use certificates::ByHost;
use order::{Issued, OrderError};

/// The clock may be set, and the machine may sleep: a renewal is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Why there can be no certificates.
#[derive(Debug, Error)]
pub(crate) enum AcmeError {
    #[error("http.tls.letsencrypt.hosts: name at least one host: a certificate is ordered for each")]
    NoHosts,
    #[error(
        "http.tls.letsencrypt.hosts: {0:?} is no host name that can be validated over TLS (no wildcard, no address)"
    )]
    Host(String),
    #[error("http.tls.letsencrypt.cachefile")]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the challenge cannot be answered")]
    Challenge(#[source] rustls::Error),
}

/// Why an order failed.
#[derive(Debug, Error)]
enum IssueError {
    #[error("cannot make a key")]
    Key(#[from] rcgen::Error),
    #[error("there is no account")]
    Account(#[source] instant_acme::Error),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("the cache cannot be used")]
    Cache(#[from] CacheError),
    #[error("what the authority gave cannot be used")]
    Tls(#[from] TlsError),
}

/// A host, and when its certificate is ordered next.
struct Host {
    name: String,
    due: Timestamp,
    failures: u32,
}

/// Orders certificates and keeps them.
pub(crate) struct Acme {
    settings: LetsEncrypt,
    cache: Cache,
    trust: ClientConfig,
    provider: Arc<CryptoProvider>,
    /// The certificates in force.
    certificates: Arc<ByHost>,
    /// What an authority is shown that validates a host.
    answers: Arc<ByHost>,
    hosts: Vec<Host>,
    metrics: Arc<Metrics>,
}

impl Acme {
    /// Opens the cache, and takes up the certificates that are there. Blocks.
    pub(crate) fn open(settings: LetsEncrypt, metrics: Arc<Metrics>) -> Result<Acme, AcmeError> {
        let names = host_names(&settings.hosts)?;
        let cache = Cache::open(&settings.cachefile)?;
        cache.account()?;
        let trust = tls::client("letsencrypt.directoryca", settings.directoryca.as_deref())?;
        let certificates = Arc::new(ByHost::with_default(names.first().cloned()));
        let hosts = names.into_iter().map(|name| Host { name, due: Timestamp::UNIX_EPOCH, failures: 0 }).collect();
        let (provider, answers) = (Arc::new(aws_lc_rs::default_provider()), Arc::new(ByHost::default()));
        let mut acme = Acme { settings, cache, trust, provider, certificates, answers, hosts, metrics };
        for index in 0..acme.hosts.len() {
            acme.take_up(index);
        }
        Ok(acme)
    }

    /// What shows the certificates in force.
    pub(crate) fn certificates(&self) -> Arc<ByHost> {
        self.certificates.clone()
    }

    /// What an authority is answered with.
    pub(crate) fn challenge(&self) -> Result<Arc<ServerConfig>, AcmeError> {
        let config = certificates::challenge_config(self.answers.clone(), self.provider.clone());
        config.map(Arc::new).map_err(AcmeError::Challenge)
    }

    /// Orders what is missing and renews what ends, until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            loop {
                let Some(index) = self.next() else { return };
                let wait = Duration::try_from(self.hosts[index].due.duration_since(Timestamp::now()));
                match wait {
                    // A duration that is negative is none: it is due.
                    Ok(wait) if !wait.is_zero() => tokio::time::sleep(wait.min(LONGEST_SLEEP)).await,
                    _ => self.order(index).await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// The host that is due first.
    fn next(&self) -> Option<usize> {
        (0..self.hosts.len()).min_by_key(|index| self.hosts[*index].due)
    }

    async fn order(&mut self, index: usize) {
        let name = self.hosts[index].name.clone();
        tracing::info!(host = name, "order a certificate");
        match self.issue(&name).await {
            Ok((not_before, not_after)) => {
                let due = schedule::renewal(not_before, not_after);
                self.metrics.certificate_load(true);
                tracing::info!(host = name, expires = %not_after, renewal = %due, "a new certificate is in force");
                self.hosts[index] = Host { name, due, failures: 0 };
            }
            Err(error) => {
                let failures = self.hosts[index].failures.saturating_add(1);
                let wait = schedule::retry(failures);
                self.metrics.certificate_load(false);
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(host = name, error, retry_in = ?wait, "there is no new certificate");
                self.hosts[index] = Host { name, due: Timestamp::now() + wait, failures };
            }
        }
    }

    async fn issue(&self, host: &str) -> Result<(Timestamp, Timestamp), IssueError> {
        let account = self.account().await?;
        let Issued { key, chain } = order::issue(&account, host, &self.answers).await?;
        let validity = self.put(host, format!("{}\n{chain}", key.trim_end()).as_bytes())?;
        if let Err(error) = self.cache.keep_certificate(host, &key, &chain) {
            // It is good until the next start. To order another would use up what the authority allows.
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(host, error, "cannot keep the new certificate");
        }
        Ok(validity)
    }

    /// The account of the key in the cache; both are made if they are missing.
    async fn account(&self) -> Result<Account, IssueError> {
        let secret = match self.cache.account()? {
            Some(secret) => secret,
            None => {
                self.cache.keep_account(&rcgen::KeyPair::generate()?)?;
                self.cache.account()?.ok_or(IssueError::Account(instant_acme::Error::KeyRejected))?
            }
        };
        let key = Key::from_pkcs8_der(secret.clone_key()).map_err(IssueError::Account)?;
        let directory = self.settings.directoryurl.clone().unwrap_or_else(|| Directory::Production.url().to_owned());
        let builder = Account::builder_with_http(Box::new(client::Client::new(self.trust.clone())));
        let created = builder.create_from_key((key, secret.into()), directory).await;
        let (account, _) = created.map_err(IssueError::Account)?;
        if let Some(email) = &self.settings.email {
            account.update_contacts(&[&format!("mailto:{email}")]).await.map_err(IssueError::Account)?;
        }
        Ok(account)
    }

    /// Takes up the certificate of a host that an earlier start has left.
    fn take_up(&mut self, index: usize) {
        let name = self.hosts[index].name.clone();
        let outcome = match self.cache.certificate(&name) {
            Ok(None) => return,
            Ok(Some(content)) => self.put(&name, &content).map_err(IssueError::from),
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok((not_before, not_after)) => self.hosts[index].due = schedule::renewal(not_before, not_after),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(host = name, error, "the certificate that was kept cannot be used; another is ordered");
            }
        }
    }

    /// Puts a certificate in force, and says from when to when it is valid. The text holds key and chain.
    fn put(&self, host: &str, content: &[u8]) -> Result<(Timestamp, Timestamp), TlsError> {
        let path: PathBuf = self.cache.path(host);
        let chain = tls::certificates("letsencrypt.cachefile", &path, content)?;
        let (not_before, not_after) = tls::validity("letsencrypt.cachefile", &path, &chain[0])?;
        let pair = tls::pair(&path, &path, chain, content, &self.provider)?;
        self.certificates.put(host, pair);
        self.metrics.certificate(host, not_after);
        let time = |second| Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok((time(not_before), time(not_after)))
    }
}

/// The hosts in lower case, each once.
/// Refuses settings that no certificate can be ordered with.
///
/// # Errors
/// [`AcmeError::Host`], [`AcmeError::NoHosts`].
pub(crate) fn check(settings: &LetsEncrypt) -> Result<(), AcmeError> {
    host_names(&settings.hosts).map(drop)
}

fn host_names(hosts: &[String]) -> Result<Vec<String>, AcmeError> {
    let mut names: Vec<String> = Vec::new();
    for host in hosts {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        if name.len() > 253 || !name.split('.').all(label) || is_address {
            return Err(AcmeError::Host(host.clone()));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { Err(AcmeError::NoHosts) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_can_be_validated() {
        fn check(hosts: &[&str], expected: Result<&[&str], &str>) {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.into()).collect();
            match (host_names(&hosts), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, _) => panic!("{hosts:?}: {found:?}"),
            }
        }
        check(&["reg.example", "REG.example.", "b"], Ok(&["reg.example", "b"]));
        check(&[], Err("name at least one host"));
        for wrong in ["*.example", "10.0.0.1", "::1", "a..b", "../x", "a/b", ""] {
            check(&["a", wrong], Err("is no host name"));
        }
    }
}
