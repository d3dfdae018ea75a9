//! `alicdn`: clients are sent to Alibaba Cloud's content delivery network in front of an OSS bucket, with addresses that hold
//! a hash of their path, their end and a key that the network has as well.
//!
//! As in the one that Distribution had for a while, what follows the base is the key of an object in the store: a
//! `rootdirectory` has to stand in `baseurl`.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use berth_config::{LayerOptions, Secret};
use berth_storage::{Key, StoreError};
use jiff::Timestamp;
use md5::{Digest as _, Md5};
use percent_encoding::utf8_percent_encode;
use uuid::Uuid;

use super::{Redirects, base};

/// How long an address is good for, if nothing is said.
const VALIDITY: Duration = Duration::from_secs(20 * 60);
/// How far the clock is ahead by which type B writes times.
const CHINA_SECONDS: i64 = 8 * 60 * 60;

/// The middleware.
#[derive(Debug)]
pub(super) struct AliCdn {
    /// A scheme and a host.
    origin: String,
    /// What every path begins and ends with; at least a slash.
    prefix: String,
    kind: Kind,
    key: Secret,
    validity: Duration,
}

/// Where in an address the hash stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    A,
    B,
    C,
}

impl AliCdn {
    /// Reads the options of the layer at `path`.
    ///
    /// # Errors
    /// Names the option that is missing or cannot be right.
    pub(super) fn new(path: &str, options: &LayerOptions) -> Result<Self> {
        let LayerOptions { baseurl, privatekey, authtype, duration, .. } = options;
        let at = |option: &str| format!("{path}.options.{option}");
        let missing = |option: &str| format!("{}: must be set for alicdn", at(option));
        let address = base::address(baseurl.as_deref().with_context(|| missing("baseurl"))?);
        let address = address.with_context(|| at("baseurl"))?;
        let behind_scheme = address.find("://").map_or(0, |found| found + "://".len());
        let host_end = address[behind_scheme..].find('/').map_or(address.len(), |found| behind_scheme + found);
        let (origin, prefix) = address.split_at(host_end);
        let kind = match authtype.as_deref().with_context(|| missing("authtype"))? {
            "a" => Kind::A,
            "b" => Kind::B,
            "c" => Kind::C,
            other => bail!("{}: {other:?} is not known; write one of a, b, c", at("authtype")),
        };
        let key = privatekey.clone().with_context(|| missing("privatekey"))?;
        ensure!(!key.expose().is_empty(), missing("privatekey"));
        let validity = base::seconds(*duration, VALIDITY);
        Ok(AliCdn { origin: origin.to_owned(), prefix: prefix.to_owned(), kind, key, validity })
    }

    /// The address of an object until `expires`, in seconds since 1970; pure. `random` is letters and digits.
    fn signed(&self, object: &Key, expires: i64, random: &str) -> String {
        let AliCdn { origin, prefix, kind, key, .. } = self;
        let (key, path) = (key.expose(), format!("{prefix}{}", utf8_percent_encode(object.as_str(), base::ESCAPED)));
        match kind {
            Kind::A => {
                // No use is made of who asks, which is the second number.
                let hash = md5(&format!("{path}-{expires}-{random}-0-{key}"));
                format!("{origin}{path}?auth_key={expires}-{random}-0-{hash}")
            }
            Kind::B => {
                let there = Timestamp::from_second(expires.saturating_add(CHINA_SECONDS)).unwrap_or(Timestamp::MAX);
                let time = there.strftime("%Y%m%d%H%M").to_string();
                let hash = md5(&format!("{key}{time}{path}"));
                format!("{origin}/{time}/{hash}{path}")
            }
            Kind::C => {
                let hash = md5(&format!("{key}{path}{expires:x}"));
                format!("{origin}/{hash}/{expires:x}{path}")
            }
        }
    }
}

fn md5(text: &str) -> String {
    crate::hex(&Md5::digest(text))
}

#[async_trait]
impl Redirects for AliCdn {
    async fn address(&self, object: &Key, _client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
        let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + self.validity;
        let expires = i64::try_from(end.as_secs()).unwrap_or(i64::MAX);
        Ok(Some(self.signed(object, expires, &Uuid::new_v4().simple().to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(base: &str, kind: &str, key: &str) -> LayerOptions {
        let some = |text: &str| Some(text.to_owned());
        let privatekey = Some(Secret::new(key.to_owned()));
        LayerOptions { baseurl: some(base), authtype: some(kind), privatekey, ..LayerOptions::default() }
    }

    fn signed(base: &str, kind: &str, object: &str, expires: i64, random: &str) -> String {
        let middleware = AliCdn::new("m.0", &options(base, kind, "aliyuncdnexp1234")).unwrap();
        middleware.signed(&object.parse().unwrap(), expires, random)
    }

    /// The examples of Alibaba Cloud's documentation.
    #[test]
    fn addresses_are_those_of_the_documentation() {
        assert_eq!(
            signed("http://cdn.example.com", "a", "video/standard/1K.html", 1_444_435_200, "0"),
            "http://cdn.example.com/video/standard/1K.html?auth_key=1444435200-0-0-80cd3862d699b7118eed99103f2a3a4f"
        );
        // Eight in the morning there.
        assert_eq!(
            signed("http://cdn.example.com", "b", "4/44/44c0909bcfc20a01afaf256ca99a8b8b.mp3", 1_439_596_800, ""),
            "http://cdn.example.com/201508150800/9044548ef1527deadafa49a890a377f0\
             /4/44/44c0909bcfc20a01afaf256ca99a8b8b.mp3"
        );
    }

    /// The hashes are those of `md5sum`.
    #[test]
    fn what_is_hashed_is_the_path_that_is_asked_for() {
        let check = |base, kind, expected: &str| {
            assert_eq!(signed(base, kind, "docker/x y", 1_444_435_200, "477b3b"), expected);
        };
        check(
            "https://cdn.example",
            "a",
            "https://cdn.example/docker/x%20y?auth_key=1444435200-477b3b-0-194ce8564c276fe50dd8916b860eca10",
        );
        check(
            "http://cdn.example:8080/hub",
            "b",
            "http://cdn.example:8080/201510100800/5971299518a69103c4a279b551400e52/hub/docker/x%20y",
        );
        check("cdn.example/", "c", "https://cdn.example/b1d618bfe7c9a28fc8dadff8771ff62a/56185500/docker/x%20y");
    }

    #[test]
    fn options_that_cannot_be_right_are_named() {
        for (options, expected) in [
            (LayerOptions::default(), "m.0.options.baseurl: must be set for alicdn"),
            (options("ftp://a", "a", "k"), "m.0.options.baseurl: \"ftp://a\" must begin with http"),
            (options("a", "d", "k"), "m.0.options.authtype: \"d\" is not known; write one of a, b, c"),
            (options("a", "a", ""), "m.0.options.privatekey: must be set for alicdn"),
        ] {
            let error = format!("{:#}", AliCdn::new("m.0", &options).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
