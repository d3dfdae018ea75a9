//! Where clients are sent for content, instead of getting it through the registry: to the store itself, or where a middleware
//! says. Each middleware is a [`Redirects`] around the one before, in the order of the configuration.
//!
//! What is asked for has been authorized before, and an address is good for one object and some time only, except where a
//! middleware leads to a server that asks nobody.

mod alicdn;
mod base;
mod cloudfront;
mod rewrite;
mod to_base;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use berth_config::{Config, Driver, Layer, LayerOptions};
use berth_storage::bucket::Root;
use berth_storage::{Key, Presign, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::alicdn::AliCdn;
use self::rewrite::Rewrite;
use self::to_base::ToBase;

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

/// What sends clients elsewhere, and what has to be done beside it for as long as it is asked.
pub(crate) struct Opened {
    /// None if nobody is ever sent anywhere.
    pub(crate) redirects: Option<Arc<dyn Redirects>>,
    pub(crate) upkeep: Upkeep,
}

/// What middlewares want to be kept doing.
#[derive(Default)]
pub(crate) struct Upkeep(Vec<cloudfront::Upkeep>);

impl Upkeep {
    /// Begins it; it ends with `stop`.
    pub(crate) fn start(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        for upkeep in self.0 {
            tasks.spawn(upkeep.run(stop.clone()));
        }
    }
}

/// A middleware as it is asked for.
enum Step<'a> {
    AliCdn(AliCdn),
    CloudFront(Box<cloudfront::Settings>),
    Redirect(ToBase),
    Rewrite(&'a LayerOptions),
}

/// What a configuration asks for, each with its place in it; pure.
fn steps(config: &Config) -> Result<Vec<(String, Step<'_>)>> {
    let layers = config.middleware.storage.iter().enumerate().filter(|(_, layer)| !layer.disabled);
    layers.map(|(at, layer)| step(format!("middleware.storage.{at}"), layer)).collect()
}

fn step(path: String, Layer { name, options, .. }: &Layer) -> Result<(String, Step<'_>)> {
    let step = match name.as_str() {
        "cloudfront" => Step::CloudFront(Box::new(cloudfront::Settings::new(&path, options)?)),
        "redirect" => Step::Redirect(ToBase::new(&path, options)?),
        "rewrite" => Step::Rewrite(options),
        "alicdn" => Step::AliCdn(AliCdn::new(&path, options)?),
        name => bail!("{path}.name: {name:?} is not known"),
    };
    Ok((path, step))
}

/// Refuses what cannot be right, as far as that is seen without looking at a file.
///
/// # Errors
/// Names the option of a middleware that is missing or cannot be right.
pub(crate) fn check(config: &Config) -> Result<()> {
    steps(config).map(drop)
}

/// The files that are read when the server starts, with their keys. None of a configuration that [`check`] refuses.
pub(crate) fn files(config: &Config) -> Vec<(String, PathBuf)> {
    let steps = steps(config).unwrap_or_default().into_iter();
    let file = |(_, step)| if let Step::CloudFront(settings) = step { Some(settings.key_file) } else { None };
    steps.filter_map(file).collect()
}

/// Reads the files as the server does.
///
/// # Errors
/// Which file cannot be used, and why; the key is named.
pub(crate) fn read_files(config: &Config) -> Result<()> {
    for (_, step) in steps(config)? {
        if let Step::CloudFront(settings) = step {
            settings.check_key()?;
        }
    }
    Ok(())
}

/// What a configuration asks for, on a store that may be able to be the last of it.
///
/// # Errors
/// Those of [`check`] and [`read_files`].
pub(crate) fn open(config: &Config, presign: Option<Arc<dyn Presign>>) -> Result<Opened> {
    let mut redirects: Option<Arc<dyn Redirects>> = presign.map(|presign| Arc::new(ToStore { presign }) as _);
    let mut upkeep = Upkeep::default();
    for (path, step) in steps(config)? {
        let inner = redirects.unwrap_or_else(|| Arc::new(Nowhere));
        redirects = Some(match step {
            Step::CloudFront(settings) => {
                if let Driver::S3(s3) = &config.storage.driver {
                    let (middleware, beside) = settings.open(Root::new(&s3.rootdirectory), inner)?;
                    upkeep.0.extend(beside);
                    Arc::new(middleware)
                } else {
                    settings.check_key()?;
                    tracing::warn!(path, "cloudfront lies around s3 only, and does nothing around another driver");
                    inner
                }
            }
            Step::AliCdn(middleware) => {
                if let Driver::Oss(_) = config.storage.driver {
                    Arc::new(middleware)
                } else {
                    tracing::warn!(path, "alicdn lies around oss only, and does nothing around another driver");
                    inner
                }
            }
            Step::Redirect(middleware) => Arc::new(middleware),
            Step::Rewrite(options) => Arc::new(Rewrite::new(options, inner)),
        });
    }
    if config.storage.redirect.disable {
        return Ok(Opened { redirects: None, upkeep: Upkeep::default() });
    }
    Ok(Opened { redirects, upkeep })
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
        let Some(redirects) = open(&config, Some(Arc::new(Named)))?.redirects else { return Ok(None) };
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
    async fn alicdn_does_nothing_around_another_driver() {
        let alicdn = "{name: alicdn, options: {baseurl: 'https://a.example', privatekey: k, authtype: c}}";
        let yaml = format!("middleware: {{storage: [{alicdn}]}}");
        assert_eq!(address(&yaml).await.unwrap(), address("").await.unwrap());
        let oss = "oss: {accesskeyid: a, accesskeysecret: b, region: r, bucket: c}";
        let config = Config::load(&format!("version: 0.1\nstorage: {{{oss}}}\n{yaml}"), []).unwrap().config;
        let redirects = open(&config, Some(Arc::new(Named))).unwrap().redirects.unwrap();
        let address = redirects.address(&"docker/x".parse().unwrap(), None).await.unwrap().unwrap();
        assert!(address.starts_with("https://a.example/") && address.ends_with("/docker/x"), "{address}");
    }

    #[tokio::test]
    async fn cloudfront_needs_its_key_and_does_nothing_around_another_driver() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("k.pem");
        let options = format!("{{baseurl: c.example, privatekey: {}, keypairid: K}}", file.display());
        let yaml = format!("middleware: {{storage: [{{name: cloudfront, options: {options}}}]}}");
        let config = Config::load(&format!("version: 0.1\nstorage: inmemory\n{yaml}"), []).unwrap().config;
        check(&config).unwrap();
        assert_eq!(files(&config), [("middleware.storage.0.options.privatekey".to_owned(), file.clone())]);
        for error in [read_files(&config).unwrap_err(), address(&yaml).await.unwrap_err()] {
            let expected = format!("middleware.storage.0.options.privatekey: cannot read {}: No such", file.display());
            assert!(format!("{error:#}").starts_with(&expected), "{error:#}");
        }
        std::fs::write(&file, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        read_files(&config).unwrap();
        assert_eq!(address(&yaml).await.unwrap(), address("").await.unwrap());
    }
}
