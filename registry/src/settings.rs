//! From a configuration to the parts of a server, but for the store, which is opened in `stores`.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use berth_config::{Auth, Config, IndexValidation, Method, Platform, Platforms, Urls};
use berth_storage::{Store, StoreError, layout, read_all};
use http::{HeaderName, HeaderValue};
use regex::{Regex, RegexSet};
use uuid::Uuid;

use crate::auth::{Authenticator, Htpasswd, Silly, Token};
use crate::http::{Addresses, StateKey};
use crate::issuer::Issuer;
use crate::registry::Permissions;
use crate::rules::{IndexRule, Rules, UrlRule};
use crate::schema1::{Signer, TrustKey, TrustKeyError};

/// The longest stored key in bytes; ours has 64.
pub(crate) const MAX_SECRET_BYTES: u64 = 4096;

/// A key of Distribution's configuration that this version of the server does not follow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path}: this version of Berth does not have this key of Distribution's configuration; remove it to go on without it"
)]
pub(crate) struct Unsupported {
    /// The key's path, joined by dots.
    pub(crate) path: String,
}

/// Refuses what the configuration asks for and this version does not do, so that nobody believes, for example, that a
/// registry asks for passwords when it does not.
pub(crate) fn refuse_unsupported(config: &Config) -> Result<(), Unsupported> {
    let Config { notifications, proxy, .. } = config;
    let wanted = [("notifications.endpoints", !notifications.endpoints.is_empty()), ("proxy", proxy.is_some())];
    let wanted = wanted.into_iter().find(|(_, wanted)| *wanted).map(|(path, _)| path.to_owned());
    match wanted {
        Some(path) => Err(Unsupported { path }),
        None => Ok(()),
    }
}

/// What issues tokens, if this server does.
pub(crate) async fn issuer(config: &Config) -> Result<Option<Issuer>> {
    match &config.auth {
        Some(auth @ Auth { method: Some(Method::Issuer(issuer)), .. }) => Ok(Some(Issuer::open(issuer, auth).await?)),
        _ => Ok(None),
    }
}

/// What finds out who makes a request; nothing, where everybody is let in.
pub(crate) async fn authenticator(config: &Config, issuer: Option<&Issuer>) -> Result<Option<Arc<dyn Authenticator>>> {
    let method = config.auth.as_ref().and_then(|auth| auth.method.clone());
    Ok(match method {
        None => None,
        Some(Method::Silly(settings)) => Some(Arc::new(Silly::new(settings.realm, settings.service))),
        Some(Method::Htpasswd(settings)) => {
            Some(Arc::new(Htpasswd::open("auth.htpasswd.path", settings.realm, settings.path).await?))
        }
        Some(Method::Token(settings)) => Some(Arc::new(Token::open(settings).await?)),
        Some(Method::Issuer(settings)) => {
            let issuer = issuer.context("the issuer was not opened")?;
            Some(Arc::new(Token::of_issuer(&settings, issuer.keyring().clone())))
        }
    })
}

pub(crate) fn permissions(config: &Config) -> Permissions {
    Permissions { delete: config.storage.delete.enabled, read_only: config.storage.maintenance.readonly.enabled }
}

/// A list of patterns of which one is none.
#[derive(Debug, thiserror::Error)]
#[error("{list}[{index}]: {source}")]
pub(crate) struct PatternError {
    list: &'static str,
    index: usize,
    source: regex::Error,
}

/// What is asked of a pushed manifest.
pub(crate) fn rules(config: &Config) -> Result<Rules, PatternError> {
    let Config { validation, policy, compatibility, .. } = config;
    let (urls, indexes) = match validation.is_on() {
        true => (url_rule(&validation.manifests.urls)?, index_rule(&validation.manifests.indexes)),
        false => (UrlRule::Unchecked, IndexRule::Nothing),
    };
    Ok(Rules { schema1: compatibility.schema1.enabled, urls, indexes, classes: policy.repository.classes.clone() })
}

fn url_rule(urls: &Urls) -> Result<UrlRule, PatternError> {
    let allow = patterns("validation.manifests.urls.allow", &urls.allow)?;
    let deny = patterns("validation.manifests.urls.deny", &urls.deny)?;
    // Two empty lists allow nothing, which is Distribution's trap; one is enough to say what is meant.
    Ok(if allow.is_none() && deny.is_none() { UrlRule::Nowhere } else { UrlRule::Listed { allow, deny } })
}

fn patterns(list: &'static str, patterns: &[String]) -> Result<Option<RegexSet>, PatternError> {
    for (index, pattern) in patterns.iter().enumerate() {
        Regex::new(pattern).map_err(|source| PatternError { list, index, source })?;
    }
    let set = RegexSet::new(patterns).map_err(|source| PatternError { list, index: 0, source })?;
    Ok((!set.is_empty()).then_some(set))
}

fn index_rule(indexes: &IndexValidation) -> IndexRule {
    let platform = |platform: &Platform| (platform.os.clone(), platform.architecture.clone());
    match indexes.platforms {
        Platforms::All => IndexRule::All,
        Platforms::None => IndexRule::Nothing,
        Platforms::List => IndexRule::Platforms(indexes.platformlist.iter().map(platform).collect()),
    }
}

/// What signs the schema 1 manifests that are served.
pub(crate) fn signer(config: &Config) -> Result<Signer, TrustKeyError> {
    match &config.compatibility.schema1.signingkeyfile {
        Some(path) => TrustKey::read(path).map(Signer::from),
        None => Ok(Signer::default()),
    }
}

pub(crate) fn addresses(config: &Config) -> Addresses {
    Addresses::new(config.http.host.clone(), config.http.prefix.clone(), config.http.relativeurls)
}

/// The headers of every answer.
pub(crate) fn headers(config: &Config) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    for (name, values) in &config.http.headers {
        let parsed: HeaderName = name.parse().with_context(|| format!("http.headers: {name:?} is no header name"))?;
        for value in values {
            let value = HeaderValue::from_str(value);
            headers.push((parsed.clone(), value.with_context(|| format!("http.headers.{name}: a value is invalid"))?));
        }
    }
    Ok(headers)
}

/// Where an address of the configuration points; without a host, every address of the machine.
pub(crate) fn resolve(key: &str, address: &str) -> Result<Vec<SocketAddr>> {
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().with_context(|| format!("{key}: {address:?} is not HOST:PORT"))?;
        // Where there is IPv6, this takes IPv4 as well; where there is none, the second is tried.
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), ([0, 0, 0, 0], port).into()]);
    }
    let found: Vec<SocketAddr> =
        address.to_socket_addrs().with_context(|| format!("{key}: cannot resolve {address:?}"))?.collect();
    anyhow::ensure!(!found.is_empty(), "{key}: {address:?} resolves to no address");
    Ok(found)
}

/// The key of the configuration that signs upload addresses.
pub(crate) fn configured_state_key(config: &Config) -> Option<StateKey> {
    let secret = config.http.secret.as_ref().filter(|secret| !secret.expose().is_empty())?;
    Some(StateKey::new(secret.expose().as_bytes().to_vec()))
}

/// A key of 244 random bits from the operating system, as text.
fn made_key() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// A key for a process that can neither read nor leave one.
pub(crate) fn own_state_key() -> StateKey {
    StateKey::new(made_key().into_bytes())
}

/// The key in the store that signs upload addresses where the configuration has none: the first process leaves one for all
/// that follow. Of a process that only reads, which may not be able to leave one, it can be none: it gives out no addresses
/// of uploads. Where it can, the key is kept for the time when it may take writes.
pub(crate) async fn state_key(store: &dyn Store, reads_only: bool) -> Result<Option<StateKey>> {
    let key = layout::http_secret();
    match read_all(store, &key, MAX_SECRET_BYTES).await {
        Ok(content) => return Ok(Some(StateKey::new(content.to_vec()))),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error).context("cannot read the key that signs upload addresses"),
    }
    match store.put_if_absent(&key, made_key().into()).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) if reads_only => {
            tracing::debug!(%error, "the key that signs upload addresses is not kept in the store");
            return Ok(None);
        }
        Err(error) => return Err(error).context("cannot keep the key that signs upload addresses"),
    }
    // Whoever came first has decided.
    let content = read_all(store, &key, MAX_SECRET_BYTES).await.context("cannot read the key back")?;
    Ok(Some(StateKey::new(content.to_vec())))
}

#[cfg(test)]
mod tests {
    use berth_storage::Memory;

    use super::*;

    #[test]
    fn what_is_not_done_yet_is_refused_by_its_key() {
        for (text, key) in [
            ("storage: inmemory\nproxy: {remoteurl: 'https://r.example'}", "proxy"),
            (
                "storage: inmemory\nnotifications: {endpoints: [{name: a, url: 'https://a.example'}]}",
                "notifications.endpoints",
            ),
        ] {
            let config = Config::load(&format!("version: 0.1\n{text}"), []).unwrap().config;
            assert_eq!(refuse_unsupported(&config), Err(Unsupported { path: key.into() }), "{text}");
        }
        assert_eq!(refuse_unsupported(&Config::default()), Ok(()));
    }

    #[test]
    fn an_address_without_a_host_means_every_address() {
        let found = resolve("http.addr", ":5000").unwrap();
        assert_eq!(found, ["[::]:5000".parse().unwrap(), "0.0.0.0:5000".parse().unwrap()]);
        assert_eq!(resolve("http.addr", "127.0.0.1:1").unwrap(), ["127.0.0.1:1".parse().unwrap()]);
        assert!(resolve("http.addr", ":x").unwrap_err().to_string().contains("http.addr"));
    }

    #[test]
    fn a_header_that_is_none_is_named() {
        let mut config = Config::default();
        config.http.headers.insert("x y".into(), vec!["1".into()]);
        assert_eq!(headers(&config).unwrap_err().to_string(), "http.headers: \"x y\" is no header name");
    }

    #[tokio::test]
    async fn two_processes_share_the_key_that_the_first_one_made() {
        let store = Memory::new();
        let first = state_key(&store, false).await.unwrap();
        let kept = read_all(&store, &layout::http_secret(), 1000).await.unwrap();
        assert_eq!(kept.len(), 64);
        assert!(first.is_some() && state_key(&store, true).await.unwrap() == first);
        assert_eq!(read_all(&store, &layout::http_secret(), 1000).await.unwrap(), kept);
    }

    #[test]
    fn the_rules_are_those_of_the_configuration() {
        fn check(text: &str, expected: &str) {
            let config = Config::load(&format!("version: 0.1\nstorage: inmemory\n{text}"), []).unwrap().config;
            let found = rules(&config).map(|Rules { schema1, urls, indexes, classes }| {
                let urls = match urls {
                    UrlRule::Unchecked => "unchecked".to_owned(),
                    UrlRule::Nowhere => "nowhere".to_owned(),
                    UrlRule::Listed { allow, deny } => {
                        let list = |set: Option<RegexSet>| set.map(|set| set.patterns().to_vec()).unwrap_or_default();
                        format!("{:?} {:?}", list(allow), list(deny))
                    }
                };
                format!("{schema1} {urls} {indexes:?} {classes:?}")
            });
            let found = found.unwrap_or_else(|error| error.to_string());
            assert!(found.starts_with(expected), "{text}: {found}");
        }
        check("", "false nowhere All []");
        check("validation: {disabled: true}", "false unchecked Nothing []");
        check("validation: {disabled: true, enabled: true}", "false nowhere All []");
        check(
            "validation: {manifests: {urls: {allow: ['^https://a/', b]}}}",
            "false [\"^https://a/\", \"b\"] [] All []",
        );
        check("validation: {manifests: {urls: {deny: [c]}}}", "false [] [\"c\"] All []");
        check(
            "validation: {manifests: {urls: {deny: [c, '(']}}}",
            "validation.manifests.urls.deny[1]: regex parse error",
        );
        check("validation: {manifests: {indexes: {platforms: none}}}", "false nowhere Nothing []");
        check(
            "validation: {manifests: {indexes: {platforms: list, platformlist: [{os: linux, architecture: arm64}]}}}",
            "false nowhere Platforms([(\"linux\", \"arm64\")]) []",
        );
        check("policy: {repository: {classes: [image]}}", "false nowhere All [\"image\"]");
        check("compatibility: {schema1: {enabled: true}}", "true nowhere All []");
    }
}
