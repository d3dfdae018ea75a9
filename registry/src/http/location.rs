//! The addresses that answers give out.
//!
//! The configured host wins. Without it an address is made of what the client, or the proxy in front, says it has asked:
//! `Forwarded` (RFC 7239), then `X-Forwarded-Proto` and `X-Forwarded-Host`, then `Host`.

use http::{HeaderMap, header};

/// How addresses are given out.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    host: Option<String>,
    prefix: String,
    relative: bool,
}

impl Addresses {
    /// `host` is a scheme and an authority; `prefix` is empty or has a slash at both ends.
    #[must_use]
    pub fn new(host: Option<String>, prefix: String, relative: bool) -> Self {
        Addresses { host, prefix, relative }
    }

    /// What every path begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What stands in front of `/v2/…` in an answer to a request with these headers; `authority` is what HTTP/2 has in
    /// place of `Host`.
    #[must_use]
    pub fn base(&self, headers: &HeaderMap, authority: Option<&str>) -> String {
        let prefix = self.prefix.trim_end_matches('/');
        if self.relative {
            return prefix.to_owned();
        }
        if let Some(host) = &self.host {
            return format!("{}{prefix}", host.trim_end_matches('/'));
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // Of several proxies the first is the one that the client has asked.
        let first = |name: &str| text(name).and_then(|value| value.split(',').next()).map(str::trim);
        let forwarded = first("forwarded").unwrap_or_default();
        let host = parameter(forwarded, "host").or_else(|| first("x-forwarded-host").map(str::to_owned));
        let scheme = parameter(forwarded, "proto").or_else(|| first("x-forwarded-proto").map(str::to_owned));
        let scheme = scheme.filter(|scheme| is_scheme(scheme)).unwrap_or_else(|| "http".to_owned());
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

fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte))
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
            assert_eq!(addresses.base(&headers.collect(), None), expected);
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
        check(&plain, &[host, ("x-forwarded-proto", "javascript"), ("x-forwarded-host", "a/b")], "http://reg:5000");
        check(&plain, &[], "");
        assert_eq!(plain.base(&HeaderMap::new(), Some("reg:5000")), "http://reg:5000");
        let fixed = Addresses::new(Some("https://reg.example/".into()), "/hub/".into(), false);
        check(&fixed, &[host, ("x-forwarded-host", "out")], "https://reg.example/hub");
        let relative = Addresses::new(Some("https://reg.example".into()), "/hub/".into(), true);
        check(&relative, &[host], "/hub");
    }
}
