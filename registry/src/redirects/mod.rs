//! Where clients are sent for content, instead of getting it through the registry: to the store itself, or where a middleware
//! says. Each middleware is a [`Redirects`] around the one before, in the order of the configuration.
//!
//! What is asked for has been authorized before, and an address is good for one object and some time only, except where a
//! middleware leads to a server that asks nobody.

mod rewrite;
mod to_base;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use berth_config::{Config, Layer};
use berth_storage::{Key, Presign, StoreError};

use self::rewrite::Rewrite;
use self::to_base::ToBase;
use crate::settings::Unsupported;

/// How long an address of the store is good for: long enough to begin a large layer late, as with Distribution.
const VALIDITY: Duration = Duration::from_secs(20 * 60);

/// What sends clients elsewhere.
#[async_trait]
pub trait Redirects: Send + Sync + 'static {
    /// Where a client at `client` gets an object with `GET`; none if the registry has to send it itself.
    async fn address(&self, object: &Key, client: Option<IpAddr>) -> Result<Option<String>, StoreError>;
}

/// Nobody is sent anywhere.
struct Nowhere;

#[async_trait]
impl Redirects for Nowhere {
    async fn address(&self, _object: &Key, _client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
        Ok(None)
    }
}

/// Everybody is sent to the store.
struct ToStore {
    presign: Arc<dyn Presign>,
}

#[async_trait]
impl Redirects for ToStore {
    async fn address(&self, object: &Key, _client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
        self.presign.presign(object, VALIDITY).await
    }
}

/// What a configuration asks for; none if nobody is ever sent anywhere.
///
/// # Errors
/// Names the option of a middleware that is missing or cannot be right.
pub(crate) fn of(config: &Config, presign: Option<Arc<dyn Presign>>) -> Result<Option<Arc<dyn Redirects>>> {
    let mut redirects: Option<Arc<dyn Redirects>> = presign.map(|presign| Arc::new(ToStore { presign }) as _);
    for (at, layer) in config.middleware.storage.iter().enumerate().filter(|(_, layer)| !layer.disabled) {
        let inner = redirects.unwrap_or_else(|| Arc::new(Nowhere));
        redirects = Some(around(at, layer, inner)?);
    }
    Ok(redirects.filter(|_| !config.storage.redirect.disable))
}

fn around(at: usize, layer: &Layer, inner: Arc<dyn Redirects>) -> Result<Arc<dyn Redirects>> {
    let path = format!("middleware.storage.{at}");
    Ok(match layer.name.as_str() {
        "redirect" => Arc::new(ToBase::new(&layer.options).with_context(|| path)?),
        "rewrite" => Arc::new(Rewrite::new(&layer.options, inner)),
        _ => return Err(Unsupported { path }.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that names its objects.
    struct Named;

    #[async_trait]
    impl Presign for Named {
        async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError> {
            Ok(Some(format!("https://store.example:9000/bucket/{key}?seconds={}", validity.as_secs())))
        }
    }

    async fn address(yaml: &str) -> Result<Option<String>> {
        let text = format!("version: 0.1\nstorage: {{inmemory: {{}}}}\n{yaml}");
        let config = Config::load(&text, []).unwrap().config;
        let Some(redirects) = of(&config, Some(Arc::new(Named)))? else { return Ok(None) };
        Ok(redirects.address(&"docker/x".parse().unwrap(), None).await?)
    }

    #[tokio::test]
    async fn clients_are_sent_where_the_configuration_says() {
        async fn check(yaml: &str, expected: Option<&str>) {
            assert_eq!(address(yaml).await.unwrap().as_deref(), expected, "{yaml}");
        }
        let middleware = |list: &str| format!("middleware: {{storage: [{list}]}}");
        let rewrite = "{name: rewrite, options: {scheme: http, host: 'cache.example', trimpathprefix: /bucket}}";
        let redirect = "{name: redirect, options: {baseurl: 'https://cdn.example/base/'}}";
        check("", Some("https://store.example:9000/bucket/docker/x?seconds=1200")).await;
        check(&middleware(rewrite), Some("http://cache.example/docker/x?seconds=1200")).await;
        check(&middleware(redirect), Some("https://cdn.example/base/docker/x")).await;
        check(&middleware(&format!("{redirect}, {rewrite}")), Some("http://cache.example/base/docker/x")).await;
        let disabled = redirect.replace("name: redirect", "name: redirect, disabled: true");
        check(&middleware(&disabled), address("").await.unwrap().as_deref()).await;
    }

    #[tokio::test]
    async fn what_this_version_does_not_have_is_named() {
        let cloudfront = "{name: cloudfront, options: {baseurl: 'https://a.example', privatekey: /k, keypairid: K}}";
        let error = address(&format!("middleware: {{storage: [{cloudfront}]}}")).await.unwrap_err();
        assert!(error.to_string().starts_with("middleware.storage.0: this version of Berth does not have"), "{error}");
    }
}
