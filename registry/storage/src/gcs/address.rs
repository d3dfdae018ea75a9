//! The addresses of requests to the JSON API, as pure functions of names.

use std::fmt::Write;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{BoxError, StoreError};

/// Google's own server.
const GOOGLE: &str = "https://storage.googleapis.com";
/// Everything but what no part of an address gives a meaning to.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same for a path whose slashes stay.
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// A server and a bucket on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Scheme, host and port, without a slash at the end.
    origin: String,
    /// Host and port, as a request names them.
    host: String,
    /// The bucket, as it stands in an address.
    bucket: String,
}

impl Address {
    /// A bucket on Google's server, or on another.
    pub(super) fn new(endpoint: Option<&str>, bucket: &str) -> Result<Self, StoreError> {
        if bucket.is_empty() {
            return Err(settings("bucket", "a name is required"));
        }
        let (origin, host) = origin(endpoint.unwrap_or(GOOGLE)).map_err(|source| settings("endpoint", source))?;
        Ok(Address { origin, host, bucket: escape(bucket) })
    }

    /// Whether the server is Google's, under whichever of its names: that of a private endpoint is one.
    pub(super) fn is_google(&self) -> bool {
        is_google(&self.origin, &self.host)
    }

    /// The host that a request names, which a signature covers.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// An object, or what is known of it.
    pub(super) fn object(&self, name: &str, query: &[(&str, &str)]) -> String {
        format!("{}{}", self.resource(name), query_of(query))
    }

    /// The objects of the bucket.
    pub(super) fn objects(&self, query: &[(&str, &str)]) -> String {
        format!("{}/storage/v1/b/{}/o{}", self.origin, self.bucket, query_of(query))
    }

    /// Where objects are written to.
    pub(super) fn upload(&self, query: &[(&str, &str)]) -> String {
        format!("{}/upload/storage/v1/b/{}/o{}", self.origin, self.bucket, query_of(query))
    }

    /// Where an object is copied from and to.
    pub(super) fn rewrite(&self, from: &str, to: &str, query: &[(&str, &str)]) -> String {
        let (from, to) = (self.resource(from), escape(to));
        format!("{from}/rewriteTo/b/{}/o/{to}{}", self.bucket, query_of(query))
    }

    /// Where objects are put together.
    pub(super) fn compose(&self, to: &str, query: &[(&str, &str)]) -> String {
        format!("{}/compose{}", self.resource(to), query_of(query))
    }

    /// The path from which an object is fetched by whom the address itself entitles to it.
    pub(super) fn download_path(&self, name: &str) -> String {
        format!("/{}/{}", self.bucket, utf8_percent_encode(name, ESCAPED_IN_PATH))
    }

    /// A path on this server with a query.
    pub(super) fn at(&self, path: &str, query: &str) -> String {
        format!("{}{path}?{query}", self.origin)
    }

    /// Whether an address belongs to this server, or to Google: others get nothing of an upload.
    pub(super) fn is_own(&self, address: &str) -> bool {
        let Ok((origin, host)) = origin_of(address) else { return false };
        origin == self.origin || (self.is_google() && is_google(&origin, &host))
    }

    fn resource(&self, name: &str) -> String {
        format!("{}/storage/v1/b/{}/o/{}", self.origin, self.bucket, escape(name))
    }
}

fn is_google(origin: &str, host: &str) -> bool {
    origin.starts_with("https://") && host.ends_with(".googleapis.com")
}

/// A text as it stands in a query or as one part of a path.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A query, in the order given, with its question mark.
fn query_of(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        let mark = if query.is_empty() { '?' } else { '&' };
        // Writing to a text cannot fail.
        let _ = write!(query, "{mark}{}={}", escape(name), escape(value));
    }
    query
}

/// The origin and the host of a server that is nothing but that.
fn origin(endpoint: &str) -> Result<(String, String), BoxError> {
    let uri: Uri = endpoint.parse()?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("must be an address without a path, such as https://storage.example.com".into());
    }
    origin_of(endpoint)
}

fn origin_of(address: &str) -> Result<(String, String), BoxError> {
    let uri: Uri = address.parse()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
        return Err("must begin with https:// or http://".into());
    };
    if authority.as_str().contains('@') {
        return Err("must hold no name and no password".into());
    }
    let usual = if scheme == "https" { 443 } else { 80 };
    let host = match authority.port_u16() {
        Some(port) if port != usual => format!("{}:{port}", authority.host()),
        _ => authority.host().to_owned(),
    };
    Ok((format!("{scheme}://{host}"), host))
}

fn settings(key: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: key.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path() {
        let address = Address::new(None, "a-bucket_1.x").unwrap();
        let base = "https://storage.googleapis.com/storage/v1/b/a-bucket_1.x/o";
        for (name, escaped) in [
            ("a/b", "a%2Fb"),
            ("a b+c%d", "a%20b%2Bc%25d"),
            ("ü~\"'#?&", "%C3%BC~%22%27%23%3F%26"),
            ("sha256:1", "sha256%3A1"),
        ] {
            assert_eq!(address.object(name, &[]), format!("{base}/{escaped}"));
            assert_eq!(address.compose(name, &[]), format!("{base}/{escaped}/compose"));
        }
        assert_eq!(address.objects(&[("prefix", "a/"), ("x", "ü")]), format!("{base}?prefix=a%2F&x=%C3%BC"));
        assert_eq!(address.rewrite("a/b", "c/d", &[]), format!("{base}/a%2Fb/rewriteTo/b/a-bucket_1.x/o/c%2Fd"));
        assert_eq!(
            address.upload(&[("name", "a&b")]),
            "https://storage.googleapis.com/upload/storage/v1/b/a-bucket_1.x/o?name=a%26b"
        );
        assert_eq!(address.download_path("a/b c"), "/a-bucket_1.x/a/b%20c");
    }

    #[test]
    fn an_endpoint_is_a_server_and_no_more() {
        let check = |endpoint: &str, expected: Option<(&str, &str)>| {
            let address = Address::new(Some(endpoint), "b").ok();
            let found = address.as_ref().map(|address| (address.origin.as_str(), address.host()));
            assert_eq!(found, expected, "{endpoint}");
        };
        check("http://127.0.0.1:4443", Some(("http://127.0.0.1:4443", "127.0.0.1:4443")));
        check("https://x.example:443/", Some(("https://x.example", "x.example")));
        check("http://[::1]:80", Some(("http://[::1]", "[::1]")));
        for wrong in ["", "x.example", "ftp://x", "https://", "https://x/path", "https://x?y", "https://a:b@x"] {
            check(wrong, None);
        }
        assert!(Address::new(None, "").is_err());
    }

    #[test]
    fn only_its_own_server_and_google_are_trusted_with_an_upload() {
        let google = Address::new(None, "b").unwrap();
        let private = Address::new(Some("https://storage-x.p.googleapis.com"), "b").unwrap();
        assert!(google.is_google() && private.is_google());
        let other = Address::new(Some("http://127.0.0.1:4443"), "b").unwrap();
        assert!(!other.is_google());
        for (address, by_google, by_other) in [
            ("https://www.googleapis.com/upload?x=1", true, false),
            ("https://storage.googleapis.com/upload", true, false),
            ("http://www.googleapis.com/upload", false, false),
            ("https://googleapis.com.example/upload", false, false),
            ("https://x@www.googleapis.com/", false, false),
            ("http://127.0.0.1:4443/upload?upload_id=1", false, true),
            ("http://127.0.0.1:4444/upload", false, false),
            ("/upload", false, false),
        ] {
            assert_eq!(google.is_own(address), by_google, "{address}");
            assert_eq!(private.is_own(address), by_google, "{address}");
            assert_eq!(other.is_own(address), by_other, "{address}");
        }
    }
}
