//! [pure] What the middlewares that sign addresses of their own read alike.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use berth_config::Duration as Configured;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What of an object's name stands in an address as it is.
pub(super) const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// An address of HTTP with a slash at its end. As with Distribution, what has no scheme is reached over HTTPS.
pub(super) fn address(text: &str) -> Result<String> {
    let text = text.trim();
    let mut text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let uri: Uri = text.parse().with_context(|| format!("{text:?} is no address"))?;
    let is_address = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty());
    ensure!(is_address, "{text:?} must begin with http:// or https:// and a host");
    ensure!(!text.contains(['?', '#']), "{text:?} must not have a query or a fragment");
    if !text.ends_with('/') {
        text.push('/');
    }
    Ok(text)
}

/// A time of a second at the least. Distribution takes a number without a unit for nothing said; here it is one of
/// nanoseconds.
pub(super) fn seconds(configured: Option<Configured>, otherwise: Duration) -> Duration {
    configured.map(Configured::as_std).filter(|time| time.as_secs() > 0).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_keeps_its_path() {
        for (base, expected) in [
            ("https://d1.cloudfront.net", Some("https://d1.cloudfront.net/")),
            ("http://d1.cloudfront.net/", Some("http://d1.cloudfront.net/")),
            ("d1.cloudfront.net/a/b", Some("https://d1.cloudfront.net/a/b/")),
            ("https://d1.cloudfront.net:8443/a/", Some("https://d1.cloudfront.net:8443/a/")),
            ("ftp://d1.cloudfront.net", None),
            ("https://", None),
            ("https:///path", None),
            ("d1.cloudfront.net?x", None),
            ("d1.cloudfront.net#x", None),
            ("a b", None),
        ] {
            assert_eq!(address(base).ok().as_deref(), expected, "{base}");
        }
    }
}
