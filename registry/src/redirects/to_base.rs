//! `redirect`: everybody is sent to one address, behind which the objects lie under the keys that the store has for them.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use berth_config::LayerOptions;
use berth_storage::{Key, StoreError};
use http::Uri;

use super::Redirects;

pub(super) struct ToBase {
    /// Without a slash at its end.
    base: String,
}

impl ToBase {
    pub(super) fn new(path: &str, options: &LayerOptions) -> Result<Self> {
        let key = format!("{path}.options.baseurl");
        let base = options.baseurl.as_deref().with_context(|| format!("{key}: must be set for redirect"))?;
        let uri: Uri = base.parse().with_context(|| format!("{key}: {base:?} is no address"))?;
        let is_address = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        ensure!(is_address, "{key}: {base:?} must begin with http:// or https:// and a host");
        ensure!(uri.query().is_none(), "{key}: {base:?} must not have a query");
        Ok(ToBase { base: base.trim_end_matches('/').to_owned() })
    }
}

#[async_trait]
impl Redirects for ToBase {
    async fn address(&self, object: &Key, _client: Option<IpAddr>) -> Result<Option<String>, StoreError> {
        Ok(Some(format!("{}/{object}", self.base)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_one() {
        let base = |text: &str| {
            ToBase::new("m.0", &LayerOptions { baseurl: Some(text.to_owned()), ..LayerOptions::default() })
        };
        assert!(base("https://cdn.example/x/").is_ok() && base("http://cdn.example:8080").is_ok());
        for odd in ["cdn.example", "/path", "ftp://cdn.example", "https://cdn.example/?x=1", "https://"] {
            assert!(base(odd).is_err(), "{odd}");
        }
    }
}
