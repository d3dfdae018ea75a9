//! Where the store is: the address of a bucket, and the region that requests to it are signed for. Pure.
//!
//! The configuration names a region as docker-registry 2.8 does, `oss-cn-hangzhou`, or as the vendor does now,
//! `cn-hangzhou`. An endpoint stands in place of the address that is made from it, and is meant as 2.8 means it: the
//! bucket's own host name, `registry.oss-cn-hangzhou.aliyuncs.com` or a domain that belongs to the bucket. What is surely
//! not one is understood as well: the vendor's host without the bucket, and an IP address, where the bucket is in the path.

use std::fmt;
use std::net::IpAddr;

use crate::{BoxError, StoreError};

use super::sign::{Parameter, path_text, query_text};

/// The vendor's domain.
const DOMAIN: &str = ".aliyuncs.com";
/// Names of hosts that stand where a region would, and are none.
const NO_REGIONS: [&str; 2] = ["accelerate", "accelerate-overseas"];

/// What settings say about where the store is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The bucket.
    pub(super) bucket: &'a str,
    /// The region, as the configuration writes it.
    pub(super) region: &'a str,
    /// The endpoint, as the configuration writes it.
    pub(super) endpoint: Option<&'a str>,
    /// Whether the address inside the vendor's network is wanted.
    pub(super) internal: bool,
    /// Whether the store is spoken to over TLS, where the endpoint does not say.
    pub(super) secure: bool,
}

/// The address of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// All that comes before the name of an object, with a slash at its end.
    base: String,
}

impl Address {
    /// The address that settings lead to.
    pub(super) fn new(place: &Place<'_>) -> Result<Self, StoreError> {
        let Place { bucket, region, endpoint, internal, secure } = *place;
        check_bucket(bucket)?;
        let scheme = if secure { "https" } else { "http" };
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
            let region = region_name(region).ok_or_else(|| settings("region", "names no region"))?;
            let inside = if internal { "-internal" } else { "" };
            return Ok(Address { base: format!("{scheme}://{bucket}.oss-{region}{inside}{DOMAIN}/") });
        };
        let (scheme, authority) = match endpoint.split_once("://") {
            None => (scheme, endpoint),
            Some(("http", authority)) => ("http", authority),
            Some(("https", authority)) => ("https", authority),
            Some(_) => return Err(settings("endpoint", "is an address of another kind than http and https")),
        };
        let authority = authority.trim_end_matches('/');
        let parsed: http::uri::Authority = authority.parse().map_err(|error| settings("endpoint", error))?;
        if authority.contains('@') {
            return Err(settings("endpoint", "has a user name in it"));
        }
        let host = parsed.host();
        let base = if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            format!("{scheme}://{authority}/{bucket}/")
        } else if host.ends_with(DOMAIN) && !host.starts_with(&format!("{bucket}.")) {
            format!("{scheme}://{bucket}.{authority}/")
        } else {
            format!("{scheme}://{authority}/")
        };
        Ok(Address { base })
    }

    /// The address of an object, or of the bucket itself if the name is empty.
    pub(super) fn uri(&self, name: &str, query: &[Parameter]) -> String {
        let (path, query) = (path_text(name), query_text(query));
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{path}{mark}{query}", self.base)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

/// The region to sign for; none if neither setting names one.
pub(super) fn signing_region(region: &str, endpoint: Option<&str>) -> Option<String> {
    region_name(region).filter(|region| !NO_REGIONS.contains(&region.as_str())).or_else(|| {
        let host = endpoint?.rsplit("://").next()?.split([':', '/']).next()?;
        let labels = host.strip_suffix(DOMAIN)?;
        let label = labels.rsplit('.').next().filter(|label| label.starts_with("oss-"))?;
        region_name(label).filter(|region| !NO_REGIONS.contains(&region.as_str()))
    })
}

/// A region without what old names put around it: `oss-cn-hangzhou-internal` and `vpc100-oss-cn-hangzhou` are
/// `cn-hangzhou`.
fn region_name(text: &str) -> Option<String> {
    let text = text.strip_prefix("vpc100-").unwrap_or(text);
    let text = text.strip_prefix("oss-").unwrap_or(text);
    let text = text.strip_suffix("-internal").unwrap_or(text);
    let is_name = !text.is_empty()
        && text != "oss"
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_name.then(|| text.to_owned())
}

/// By the vendor's rules: 3 to 63 small letters, digits and hyphens, none of these at an end.
fn check_bucket(bucket: &str) -> Result<(), StoreError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(is_plain)
        && !bucket.starts_with('-')
        && !bucket.ends_with('-');
    if is_name {
        return Ok(());
    }
    Err(settings("bucket", "is no name of a bucket: it has 3 to 63 small letters, digits and hyphens"))
}

fn settings(key: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: format!("storage.oss.{key}"), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { bucket: "registry", region: "oss-cn-hangzhou", endpoint: None, internal: false, secure: true };

    fn base(place: &Place<'_>) -> String {
        Address::new(place).map_or_else(|error| error.to_string(), |address| address.to_string())
    }

    #[test]
    fn a_region_leads_to_the_vendors_hosts() {
        let hosts = [
            ("oss-cn-hangzhou", false, true, "https://registry.oss-cn-hangzhou.aliyuncs.com/"),
            ("cn-hangzhou", false, false, "http://registry.oss-cn-hangzhou.aliyuncs.com/"),
            ("oss-cn-beijing", true, true, "https://registry.oss-cn-beijing-internal.aliyuncs.com/"),
            ("oss-accelerate", false, true, "https://registry.oss-accelerate.aliyuncs.com/"),
        ];
        for (region, internal, secure, expected) in hosts {
            assert_eq!(base(&Place { region, internal, secure, ..PLACE }), expected);
        }
    }

    #[test]
    fn an_endpoint_is_the_buckets_own_host_unless_it_surely_is_not() {
        for (endpoint, expected) in [
            ("registry.oss-cn-hangzhou.aliyuncs.com", "https://registry.oss-cn-hangzhou.aliyuncs.com/"),
            ("oss-cn-hangzhou.aliyuncs.com", "https://registry.oss-cn-hangzhou.aliyuncs.com/"),
            ("blobs.example.com", "https://blobs.example.com/"),
            ("http://blobs.example.com:8080/", "http://blobs.example.com:8080/"),
            ("127.0.0.1:9000", "https://127.0.0.1:9000/registry/"),
            ("http://[::1]:9000", "http://[::1]:9000/registry/"),
            ("", "https://registry.oss-cn-hangzhou.aliyuncs.com/"),
            ("ftp://x", "storage.oss.endpoint: is an address of another kind than http and https"),
            ("me@x", "storage.oss.endpoint: has a user name in it"),
        ] {
            assert_eq!(base(&Place { endpoint: Some(endpoint), ..PLACE }), expected, "{endpoint:?}");
        }
        for endpoint in ["a b", "x/y", "x?y"] {
            let error = base(&Place { endpoint: Some(endpoint), ..PLACE });
            assert!(error.starts_with("storage.oss.endpoint: "), "{endpoint:?}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        assert_eq!(base(&Place { region: "", ..PLACE }), "storage.oss.region: names no region");
        for bucket in ["", "ab", "a.b", "Registry", "-registry", "registry-", "a/b"] {
            let error = base(&Place { bucket, ..PLACE });
            assert!(error.starts_with("storage.oss.bucket: is no name of a bucket"), "{bucket:?}: {error}");
        }
    }

    #[test]
    fn the_region_to_sign_for_is_found_in_either_setting() {
        for (region, endpoint, expected) in [
            ("oss-cn-hangzhou", None, Some("cn-hangzhou")),
            ("cn-hangzhou", None, Some("cn-hangzhou")),
            ("oss-cn-hangzhou-internal", None, Some("cn-hangzhou")),
            ("vpc100-oss-cn-hangzhou", None, Some("cn-hangzhou")),
            ("oss-us-west-1", Some("blobs.example.com"), Some("us-west-1")),
            ("", Some("oss-eu-central-1.aliyuncs.com"), Some("eu-central-1")),
            ("", Some("https://registry.oss-eu-central-1-internal.aliyuncs.com:443"), Some("eu-central-1")),
            ("", Some("blobs.example.com"), None),
            ("", Some("registry.oss-accelerate.aliyuncs.com"), None),
            ("oss-accelerate", None, None),
            ("oss", None, None),
            ("", None, None),
        ] {
            assert_eq!(signing_region(region, endpoint).as_deref(), expected, "{region:?}, {endpoint:?}");
        }
    }

    #[test]
    fn addresses_are_encoded() {
        let address = Address::new(&PLACE).unwrap();
        let parameters = [("uploadId", "A+".to_owned()), ("partNumber", "1".to_owned())];
        let base = "https://registry.oss-cn-hangzhou.aliyuncs.com/";
        assert_eq!(address.uri("a/b c%", &parameters), format!("{base}a/b%20c%25?partNumber=1&uploadId=A%2B"));
        assert_eq!(address.uri("", &[]), base);
    }
}
