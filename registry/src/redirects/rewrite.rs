//! `rewrite`: the address that would be given out, with another scheme, another host, or less of a path: for a cache in front
//! of the store. A signature in the address still has to fit what reaches the store.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use berth_config::LayerOptions;
use berth_storage::{Key, StoreError};

use super::Redirects;

pub(super) struct Rewrite {
    scheme: Option<String>,
    host: Option<String>,
    trim: Option<String>,
    inner: Arc<dyn Redirects>,
}

impl Rewrite {
    pub(super) fn new(options: &LayerOptions, inner: Arc<dyn Redirects>) -> Self {
        let LayerOptions { scheme, host, trimpathprefix: trim, .. } = options.clone();
        Rewrite { scheme, host, trim, inner }
    }

    /// The address with what is to be another put in its place. Its path and query are not looked into: they may be signed.
    fn rewritten(&self, address: &str) -> String {
        let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        let path = self.trim.as_deref().and_then(|trim| path.strip_prefix(trim)).unwrap_or(path);
        let scheme = self.scheme.as_deref().unwrap_or(scheme);
        let host = self.host.as_deref().unwrap_or(host);
        let slash = if path.starts_with(['/', '?']) || path.is_empty() { "" } else { "/" };
        format!("{scheme}://{host}{slash}{path}")
    }
}

#[async_trait]
impl Redirects for Rewrite {
    async fn address(&self, object: &Key, client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
        Ok(self.inner.address(object, client).await?.map(|address| self.rewritten(&address)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Nowhere;
    use super::*;

    #[test]
    fn only_what_is_named_is_replaced() {
        fn check(scheme: Option<&str>, host: Option<&str>, trim: Option<&str>, expected: &str) {
            let text = |value: Option<&str>| value.map(str::to_owned);
            let rewrite =
                Rewrite { scheme: text(scheme), host: text(host), trim: text(trim), inner: Arc::new(Nowhere) };
            assert_eq!(rewrite.rewritten("https://store.example:9000/bucket/a%2Fb?X=%2F"), expected);
        }
        check(None, None, None, "https://store.example:9000/bucket/a%2Fb?X=%2F");
        check(Some("http"), None, None, "http://store.example:9000/bucket/a%2Fb?X=%2F");
        check(None, Some("cache"), Some("/bucket"), "https://cache/a%2Fb?X=%2F");
        check(None, None, Some("/bucket/"), "https://store.example:9000/a%2Fb?X=%2F");
        check(None, None, Some("/other"), "https://store.example:9000/bucket/a%2Fb?X=%2F");
    }
}
