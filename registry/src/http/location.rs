//! The addresses that answers give out.
//!
//! The configured host wins. Without it an address is made of what the client, or the proxy in front, says it has asked:
//! `Forwarded` (RFC 7239) or, without it, `X-Forwarded-Proto` and `X-Forwarded-Host`, then `Host` and the connection
//! itself.

use http::uri::Authority;
use http::{HeaderMap, header};

/// How addresses are given out.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// What the configuration says stands in front of every path.
    base: Option<String>,
    prefix: String,
    relative: bool,
}

impl Addresses {
    /// `host` is a scheme and an authority, and may have a path. As in Distribution it is all that stands in front of
    /// what is given out, whatever `prefix` and `relative` say: a proxy in front may put the registry below another path
    /// than its own. `prefix` is empty or has a slash at both ends.
    #[must_use]
    pub fn new(host: Option<String>, prefix: String, relative: bool) -> Self {
        let base = host.map(|host| host.trim_end_matches('/').to_owned());
        Addresses { base, prefix, relative }
    }

    /// What every path begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What stands in front of `/v2/…` in an answer to a request with these headers; `authority` is what HTTP/2 has in
    /// place of `Host`, and `secure` whether the connection is TLS.
    #[must_use]
    pub fn base(&self, headers: &HeaderMap, authority: Option<&str>, secure: bool) -> String {
        if let Some(base) = &self.base {
            return base.clone();
        }
        let prefix = self.prefix.trim_end_matches('/');
        if self.relative {
            return prefix.to_owned();
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // Of several proxies the first is the one that the client has asked.
        let first = |name: &str| text(name).and_then(|value| value.split(',').next()).map(str::trim);
        // A proxy that sends `Forwarded` says everything there; what stands beside it may be of anybody.
        let (host, scheme) = match first("forwarded").filter(|text| !text.is_empty()) {
            Some(forwarded) => (parameter(forwarded, "host"), parameter(forwarded, "proto")),
            None => (first("x-forwarded-host").map(str::to_owned), first("x-forwarded-proto").map(str::to_owned)),
        };
        let scheme = scheme
            .filter(|scheme| is_scheme(scheme))
            .unwrap_or_else(|| if secure { "https" } else { "http" }.to_owned());
        let asked = || text(header::HOST.as_str()).or(authority).map(str::to_owned);
        let host = host.filter(|host| is_authority(host)).or_else(asked);
        match host.filter(|host| is_authority(host)) {
            Some(host) => format!("{scheme}://{host}{prefix}"),
            // Nobody said which address was asked: a path is right for every one.
            None => prefix.to_owned(),
        }
    }
}

/// A parameter of one element of `Forwarded`.
fn parameter(element: &str, name: &str) -> Option<String> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

fn is_scheme(text: &str) -> bool {
    text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("https")
}

/// A host, and maybe a port; no name and password of somebody.
fn is_authority(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte));
    is_plain && text.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides_the_address() {
        fn check(addresses: &Addresses, headers: &[(&'static str, &'static str)], expected: &str) {
            let headers = headers.iter().map(|(name, value)| {
                (name.parse::<header::HeaderName>().unwrap(), value.parse::<header::HeaderValue>().unwrap())
            });
            assert_eq!(addresses.base(&headers.collect(), None, false), expected);
        }
        let plain = Addresses::default();
        let host = ("host", "reg:5000");
        check(&plain, &[host], "http://reg:5000");
        check(&plain, &[host, ("x-forwarded-proto", "https")], "https://reg:5000");
        check(&plain, &[host, ("x-forwarded-proto", "https, http"), ("x-forwarded-host", "out, in")], "https://out");
        check(
            &plain,
            &[host, ("forwarded", "for=1;host=\"out:8443\";proto=https, host=in"), ("x-forwarded-host", "other")],
            "https://out:8443",
        );
        check(&plain, &[host, ("forwarded", "Proto=HTTPS")], "HTTPS://reg:5000");
        check(&plain, &[host, ("forwarded", "for=1"), ("x-forwarded-host", "other")], "http://reg:5000");
        check(&plain, &[host, ("x-forwarded-proto", "javascript"), ("x-forwarded-host", "a/b")], "http://reg:5000");
        check(&plain, &[], "");
        assert_eq!(plain.base(&HeaderMap::new(), Some("reg:5000"), false), "http://reg:5000");
        assert_eq!(plain.base(&HeaderMap::new(), Some("reg:5000"), true), "https://reg:5000");
        // TLS up to here says nothing of the way to the proxy.
        let insecure = HeaderMap::from_iter([("x-forwarded-proto".parse().unwrap(), "http".parse().unwrap())]);
        assert_eq!(plain.base(&insecure, Some("reg:5000"), true), "http://reg:5000");
        let fixed = Addresses::new(Some("https://reg.example/".into()), "/hub/".into(), false);
        check(&fixed, &[host, ("x-forwarded-host", "out")], "https://reg.example");
        let moved = Addresses::new(Some("https://reg.example/public/".into()), "/hub/".into(), false);
        check(&moved, &[host], "https://reg.example/public");
        check(&Addresses::new(None, "/hub/".into(), true), &[host, ("x-forwarded-host", "out")], "/hub");
        let both = Addresses::new(Some("https://reg.example".into()), String::new(), true);
        check(&both, &[host], "https://reg.example");
    }

    proptest::proptest! {
        /// Whatever a client or a proxy says, an address is one of HTTP that leads to a host and to our path there, and
        /// can stand in a header.
        #[test]
        fn no_header_makes_an_address_that_is_none(
            forwarded in "((for|host|proto|HOST|by)=?\"?[a-zA-Z0-9:.\\[\\]@/%_-]{0,12}\"?[;,]? ?){0,4}|[ -~]{0,40}",
            proto in "(https?|HTTP|ftp|javascript:)?[ -~]{0,5}",
            forwarded_host in "[a-z0-9:.\\[\\]%@/?#_-]{0,20}|[ -~]{0,20}",
            host in "[a-z0-9:.\\[\\]%@/?#_-]{0,20}|[ -~]{0,20}",
            secure: bool,
        ) {
            let sent = [("forwarded", forwarded), ("x-forwarded-proto", proto), ("x-forwarded-host", forwarded_host), ("host", host)];
            let headers: HeaderMap = sent.iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            let base = Addresses::new(None, "/hub/".into(), false).base(&headers, None, secure);
            if base == "/hub" {
                return Ok(());
            }
            let uri = format!("{base}/v2/").parse::<http::Uri>();
            proptest::prop_assert!(uri.is_ok(), "{base:?}");
            let uri = uri.unwrap();
            proptest::prop_assert!(matches!(uri.scheme_str(), Some("http" | "https")), "{base:?}");
            proptest::prop_assert_eq!(uri.path(), "/hub/v2/");
            proptest::prop_assert!(uri.host().is_some_and(|host| !host.is_empty()), "{base:?}");
            proptest::prop_assert!(!base.contains('@') && uri.query().is_none(), "{base:?}");
        }
    }
}
