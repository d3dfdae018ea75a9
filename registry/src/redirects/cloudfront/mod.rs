//! `cloudfront`: clients are sent to Amazon's content delivery network in front of the bucket, with addresses that it takes
//! from nobody else; those near to the bucket go on to the store itself.
//!
//! It lies around S3 alone: of no other driver does CloudFront know the objects.

mod nearby;
mod ranges;
mod signed;
mod signer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use berth_config::LayerOptions;
use berth_storage::bucket::Root;
use berth_storage::{Key, StoreError};
use http::Uri;
use percent_encoding::utf8_percent_encode;
use tokio_util::sync::CancellationToken;

use self::nearby::{Filter, Nearby};
use self::signed::Signed;
use self::signer::Signer;
use super::{Redirects, base};

/// How long an address is good for, if nothing is said.
const VALIDITY: Duration = Duration::from_secs(20 * 60);
/// How often the ranges are fetched, if nothing is said.
const EVERY: Duration = Duration::from_secs(12 * 60 * 60);
/// Where AWS publishes them.
const RANGES: &str = "https://ip-ranges.amazonaws.com/ip-ranges.json";
/// The longest name of a file: shorter than any key of RSA.
const MAX_PATH_BYTES: usize = 1024;
/// What the Base64 of private keys begins with: of RSA, and of ECDSA P-256 in PKCS#8 and SEC1.
const KEYS: [&str; 3] = ["MII", "MIGHAgEA", "MHcCAQEE"];

/// What the options say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// With a slash at its end.
    base: String,
    /// The configuration's key of the file, and the file.
    pub(super) key_file: (String, PathBuf),
    key_pair_id: String,
    validity: Duration,
    filter: Option<Filter>,
}

impl Settings {
    /// Reads the options of the layer at `path`; pure.
    ///
    /// # Errors
    /// Names the option that is missing or cannot be right.
    pub(super) fn new(path: &str, options: &LayerOptions) -> Result<Self> {
        let LayerOptions { baseurl, privatekey, keypairid, duration, .. } = options;
        let key = |option: &str| format!("{path}.options.{option}");
        let missing = |option: &str| format!("{}: must be set for cloudfront", key(option));
        let text = |value: &Option<String>| value.clone().filter(|value| !value.trim().is_empty());
        let base = text(baseurl).with_context(|| missing("baseurl"))?;
        let file = privatekey.as_ref().map(berth_config::Secret::expose).filter(|file| !file.is_empty());
        let file = file.with_context(|| missing("privatekey"))?;
        // What is written here might be the key itself, which no message may show.
        let is_key = file.contains("-----") || KEYS.iter().any(|beginning| file.starts_with(beginning));
        let is_name = file.len() <= MAX_PATH_BYTES && !is_key && !file.contains(['\n', '\r', '\0']);
        ensure!(is_name, "{}: must be the name of a file that holds the key, not the key", key("privatekey"));
        let key_pair_id = text(keypairid).with_context(|| missing("keypairid"))?;
        Ok(Settings {
            base: base::address(&base).with_context(|| key("baseurl"))?,
            key_file: (key("privatekey"), file.into()),
            key_pair_id: utf8_percent_encode(key_pair_id.trim(), base::ESCAPED).to_string(),
            validity: base::seconds(*duration, VALIDITY),
            filter: filter(&key, options)?,
        })
    }

    /// Whether there is a key in the file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key that is of use; nothing of its content is shown.
    pub(super) fn check_key(&self) -> Result<()> {
        self.signer().map(drop)
    }

    fn signer(&self) -> Result<Signer> {
        let (key, file) = &self.key_file;
        Signer::read(file).with_context(|| key.clone())
    }

    /// The middleware around `inner`, on a bucket whose keys begin at `root`, and what has to be done beside it.
    ///
    /// # Errors
    /// Those of [`Settings::check_key`].
    pub(super) fn open(self, root: Root, inner: Arc<dyn Redirects>) -> Result<(CloudFront, Option<Upkeep>)> {
        let signer = self.signer()?;
        let Settings { base, key_file: (key, _), key_pair_id, validity, filter } = self;
        let nearby = filter.map(|filter| Arc::new(Nearby::new(filter)));
        let signed = Signed::new(signer, key_pair_id, validity);
        Ok((CloudFront { base, key, root, signed, nearby: nearby.clone(), inner }, nearby.map(Upkeep)))
    }
}

fn filter(key: &impl Fn(&str) -> String, options: &LayerOptions) -> Result<Option<Filter>> {
    let given = options.ipfilteredby.as_deref().unwrap_or_default();
    let regions = match given.trim().to_ascii_lowercase().as_str() {
        "" | "none" => return Ok(None),
        "aws" => Vec::new(),
        "awsregion" => {
            let list = options.awsregion.as_deref().unwrap_or_default().split(',');
            let regions = list.map(|region| region.trim().to_ascii_lowercase()).filter(|region| !region.is_empty());
            let regions: Vec<String> = regions.collect();
            ensure!(!regions.is_empty(), "{}: must be set for ipfilteredby: awsregion", key("awsregion"));
            regions
        }
        _ => anyhow::bail!("{}: {given:?} is not known; write one of none, aws, awsregion", key("ipfilteredby")),
    };
    let source = options.iprangesurl.as_deref().unwrap_or(RANGES).trim();
    let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    let source: Option<Uri> = source.parse().ok().filter(is_web);
    let source = source
        .with_context(|| format!("{}: must be an address that begins with http:// or https://", key("iprangesurl")))?;
    Ok(Some(Filter { regions, source, every: base::seconds(options.updatefrequency, EVERY) }))
}

/// The middleware.
pub(super) struct CloudFront {
    base: String,
    /// The configuration's key of the file that the key is from.
    key: String,
    root: Root,
    signed: Signed,
    nearby: Option<Arc<Nearby>>,
    inner: Arc<dyn Redirects>,
}

#[async_trait]
impl Redirects for CloudFront {
    async fn address(&self, object: &Key, client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
        let is_nearby = self.nearby.as_ref().zip(client).is_some_and(|(nearby, client)| nearby.has(client));
        if is_nearby {
            return self.inner.address(object, client).await;
        }
        let resource = format!("{}{}", self.base, utf8_percent_encode(&self.root.name(object), base::ESCAPED));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = self.signed.address(resource, now).await;
        signed.map(Some).map_err(|error| StoreError::Settings { key: self.key.clone(), source: error.into() })
    }
}

/// What keeps the ranges fresh.
pub(super) struct Upkeep(Arc<Nearby>);

impl Upkeep {
    /// Does so until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        self.0.follow(&stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(yaml: &str) -> LayerOptions {
        let text =
            format!("version: 0.1\nstorage: inmemory\nmiddleware: {{storage: [{{name: rewrite, options: {yaml}}}]}}");
        berth_config::Config::load(&text, []).unwrap().config.middleware.storage.remove(0).options
    }

    fn settings(more: &str) -> Result<Settings> {
        Settings::new("m.0", &options(&format!("{{baseurl: c.example, privatekey: /k, keypairid: K, {more}}}")))
    }

    #[test]
    fn what_is_not_said_is_as_with_distribution() {
        let mut expected = Settings {
            base: "https://c.example/".into(),
            key_file: ("m.0.options.privatekey".into(), "/k".into()),
            key_pair_id: "K".into(),
            validity: Duration::from_secs(1200),
            filter: None,
        };
        for nothing in ["", "duration: 3000", "ipfilteredby: none", "ipfilteredby: ' None '", "awsregion: eu-west-1"] {
            assert_eq!(settings(nothing).unwrap(), expected, "{nothing}");
        }
        let filter = Filter { regions: Vec::new(), source: RANGES.parse().unwrap(), every: EVERY };
        expected.filter = Some(filter.clone());
        assert_eq!(settings("ipfilteredby: AWS").unwrap(), expected);
        let said = "duration: 50m, ipfilteredby: awsregion, awsregion: 'us-east-1, EU-West-1,', updatefrequency: 1h, \
                    iprangesurl: 'http://mirror.example/r'";
        let regions = ["us-east-1", "eu-west-1"].map(str::to_owned).to_vec();
        let source = "http://mirror.example/r".parse().unwrap();
        expected.filter = Some(Filter { regions, source, every: Duration::from_secs(3600) });
        expected.validity = Duration::from_secs(3000);
        assert_eq!(settings(said).unwrap(), expected);
    }

    #[test]
    fn options_that_cannot_be_right_are_named() {
        for (yaml, expected) in [
            ("{privatekey: /k, keypairid: K}", "m.0.options.baseurl: must be set for cloudfront"),
            ("{baseurl: c, keypairid: K}", "m.0.options.privatekey: must be set for cloudfront"),
            ("{baseurl: c, privatekey: /k, keypairid: ' '}", "m.0.options.keypairid: must be set for cloudfront"),
            ("{baseurl: 'ftp://c', privatekey: /k, keypairid: K}", "m.0.options.baseurl: \"ftp://c\" must begin"),
            (
                "{baseurl: c, privatekey: /k, keypairid: K, ipfilteredby: gcp}",
                "m.0.options.ipfilteredby: \"gcp\" is not known; write one of none, aws, awsregion",
            ),
            (
                "{baseurl: c, privatekey: /k, keypairid: K, ipfilteredby: awsregion, awsregion: ' ,'}",
                "m.0.options.awsregion: must be set for ipfilteredby: awsregion",
            ),
            (
                "{baseurl: c, privatekey: /k, keypairid: K, ipfilteredby: aws, iprangesurl: /r}",
                "m.0.options.iprangesurl: must be an address",
            ),
        ] {
            let error = format!("{:#}", Settings::new("m.0", &options(yaml)).unwrap_err());
            assert!(error.starts_with(expected), "{yaml}: {error}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_file_is_not_shown() {
        for key in ["-----BEGIN RSA PRIVATE KEY-----MIIEsecret", "MHcCAQEEsecret", "secret\\nx", &"secret".repeat(500)]
        {
            let yaml = format!("{{baseurl: c, privatekey: \"{key}\", keypairid: K}}");
            let error = format!("{:#}", Settings::new("m.0", &options(&yaml)).unwrap_err());
            assert!(error.starts_with("m.0.options.privatekey: must be the name of a file"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    /// A store that names its objects.
    struct ToStore;

    #[async_trait]
    impl Redirects for ToStore {
        async fn address(&self, object: &Key, _client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
            Ok(Some(format!("https://s3.example/{object}")))
        }
    }

    #[tokio::test]
    async fn everybody_is_sent_to_cloudfront_until_somebody_is_known_to_be_nearby() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("k.pem");
        let [key, _] = signer::tests::rsa_keys();
        std::fs::write(&file, &key.pem).unwrap();
        let yaml = format!(
            "{{baseurl: d1.cloudfront.net/x, privatekey: {}, keypairid: K, ipfilteredby: aws}}",
            file.display()
        );
        let settings = Settings::new("m.0", &options(&yaml)).unwrap();
        let (middleware, upkeep) = settings.open(Root::new("/my images/"), Arc::new(ToStore)).unwrap();
        assert!(upkeep.is_some());
        let object = "docker/registry/v2/blobs/sha256/ab/abcd/data".parse().unwrap();
        for client in [None, Some([10, 0, 0, 1].into())] {
            let address = middleware.address(&object, client).await.unwrap().unwrap();
            let (resource, expires) = key.opened(&address);
            assert_eq!(resource, format!("https://d1.cloudfront.net/x/my%20images/{object}"));
            assert!(address.ends_with("&Key-Pair-Id=K"), "{address}");
            let left = expires - SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            assert!((1000..=1200).contains(&left), "{left}");
        }
    }
}
