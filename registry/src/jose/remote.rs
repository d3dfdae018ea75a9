//! Keys at an address: of a set, of an issuer with discovery (OpenID Connect Discovery 1.0, 4), or of a Kubernetes cluster.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use serde::Deserialize;

use super::source::{MAX_BYTES, SourceError};
use crate::fetch::Document;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where an issuer says where its keys are, below its address.
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where a set of keys is fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// From its own address.
    Set(Document),
    /// From where an issuer's document of discovery says.
    Issuer {
        /// What the issuer is called by its tokens.
        name: String,
        /// Its document of discovery.
        discovery: Document,
    },
    /// From the API server of a cluster, which also says what the issuer of its tokens is called.
    Cluster {
        /// The document of discovery.
        discovery: Document,
        /// The keys. Where the document says they are, they may be out of reach from within.
        set: Document,
    },
}

/// What was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) set: Bytes,
    /// Who issues what these keys sign, where the address has said so.
    pub(super) issuer: Option<String>,
}

/// A document of discovery, as far as keys are concerned.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

impl Remote {
    /// The keys of an issuer of this address, which `discovery` is made for.
    ///
    /// # Errors
    /// The address is none.
    pub(crate) fn of_issuer(name: &str, like: &Document) -> Result<Self, http::uri::InvalidUri> {
        let discovery = like.at(format!("{}{DISCOVERY}", name.trim_end_matches('/')).parse()?);
        Ok(Remote::Issuer { name: name.to_owned(), discovery })
    }

    /// The keys of the cluster with the API server at this address.
    ///
    /// # Errors
    /// The address is none.
    pub(crate) fn of_cluster(url: &str, like: &Document) -> Result<Self, http::uri::InvalidUri> {
        let url = url.trim_end_matches('/');
        let discovery = like.at(format!("{url}{DISCOVERY}").parse()?);
        Ok(Remote::Cluster { discovery, set: like.at(format!("{url}/openid/v1/jwks").parse()?) })
    }

    /// The key of the configuration, and the address, for people.
    fn called(&self) -> (&str, String) {
        let (Remote::Set(document)
        | Remote::Issuer { discovery: document, .. }
        | Remote::Cluster { discovery: document, .. }) = self;
        (&document.key, document.shown())
    }

    pub(super) fn shown(&self) -> String {
        self.called().1
    }

    /// Asks the address.
    pub(super) async fn ask(&self) -> Result<Fetched, SourceError> {
        let failed = |problem: String| {
            let (key, address) = self.called();
            SourceError::Fetch { key: key.to_owned(), address, problem }
        };
        match tokio::time::timeout(PATIENCE, self.fetch()).await {
            Ok(fetched) => fetched.map_err(|error| failed(format!("{error:#}"))),
            Err(_) => Err(failed(format!("no answer within {} seconds", PATIENCE.as_secs()))),
        }
    }

    async fn fetch(&self) -> Result<Fetched> {
        let discover = async |document: &Document| {
            let content = document.get(MAX_BYTES).await?;
            serde_json::from_slice::<Discovered>(&content).context("it is no document of discovery")
        };
        match self {
            Remote::Set(document) => Ok(Fetched { set: document.get(MAX_BYTES).await?, issuer: None }),
            Remote::Issuer { name, discovery } => {
                let found = discover(discovery).await?;
                ensure!(
                    found.issuer == *name,
                    "the issuer calls itself {:?}, and is called {name:?} here",
                    found.issuer
                );
                let address = keys_of(&discovery.address, &found.jwks_uri)?;
                let set = discovery.at(address).get(MAX_BYTES).await;
                let set = set.with_context(|| format!("its keys (jwks_uri), {}", found.jwks_uri))?;
                Ok(Fetched { set, issuer: Some(found.issuer) })
            }
            Remote::Cluster { discovery, set } => {
                let found = discover(discovery).await?;
                let set = set.get(MAX_BYTES).await.with_context(|| format!("its keys, {}", set.shown()))?;
                Ok(Fetched { set, issuer: Some(found.issuer) })
            }
        }
    }
}

/// Where the keys are. Nobody is sent from https to where others could put keys.
fn keys_of(discovery: &Uri, jwks_uri: &str) -> Result<Uri> {
    let address = jwks_uri.parse::<Uri>().ok().filter(|address| address.host().is_some());
    let address = address.with_context(|| format!("its jwks_uri, {jwks_uri:?}, is no address"))?;
    let is_open = discovery.scheme() == Some(&Scheme::HTTPS) && address.scheme() != Some(&Scheme::HTTPS);
    ensure!(!is_open, "its jwks_uri, {jwks_uri:?}, does not begin with https://");
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_looked_for_where_they_are() {
        let like = Document::new("k", Uri::from_static("https://x"));
        let address = |remote: Remote| match remote {
            Remote::Set(document) => vec![document.address.to_string()],
            Remote::Issuer { discovery, .. } => vec![discovery.address.to_string()],
            Remote::Cluster { discovery, set } => vec![discovery.address.to_string(), set.address.to_string()],
        };
        for name in ["https://id.example/realms/dev", "https://id.example/realms/dev/"] {
            let remote = Remote::of_issuer(name, &like).unwrap();
            assert!(matches!(&remote, Remote::Issuer { name: kept, .. } if kept == name));
            assert_eq!(address(remote), ["https://id.example/realms/dev/.well-known/openid-configuration"]);
        }
        assert_eq!(
            address(Remote::of_cluster("https://kubernetes.default.svc", &like).unwrap()),
            [
                "https://kubernetes.default.svc/.well-known/openid-configuration",
                "https://kubernetes.default.svc/openid/v1/jwks"
            ]
        );
        assert!(Remote::of_issuer("https://a b", &like).is_err());
    }

    #[test]
    fn keys_come_from_no_worse_place_than_the_word_of_them() {
        let check = |discovery: &'static str, jwks_uri: &str, expected: Result<&str, &str>| {
            let found = keys_of(&Uri::from_static(discovery), jwks_uri);
            match expected {
                Ok(address) => assert_eq!(found.unwrap().to_string(), address),
                Err(said) => assert!(found.unwrap_err().to_string().contains(said), "{jwks_uri}"),
            }
        };
        check("https://id.example/d", "https://keys.example/k", Ok("https://keys.example/k"));
        check("http://127.0.0.1/d", "http://127.0.0.1/k", Ok("http://127.0.0.1/k"));
        check("https://id.example/d", "http://id.example/k", Err("does not begin with https://"));
        check("https://id.example/d", "", Err("is no address"));
        check("https://id.example/d", "/keys", Err("is no address"));
    }
}
