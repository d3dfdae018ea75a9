//! `auth.silly`: whoever sends any `Authorization` is let in. It is for tests of clients.

use std::net::IpAddr;

use async_trait::async_trait;
use http::{HeaderMap, header};

use super::{Access, Answer, AuthError, Authenticator, Challenge, Identity, Why, quoted};

/// Lets everybody in who sends any `Authorization`.
#[derive(Debug)]
pub struct Silly {
    realm: String,
    service: String,
}

impl Silly {
    /// Tells clients of this realm and service.
    #[must_use]
    pub fn new(realm: String, service: String) -> Self {
        Self { realm, service }
    }
}

#[async_trait]
impl Authenticator for Silly {
    async fn authenticate(&self, headers: &HeaderMap, _: Option<IpAddr>) -> Result<Answer, AuthError> {
        let given = headers.get(header::AUTHORIZATION).is_some_and(|value| !value.is_empty());
        Ok(if given { Answer::Known(Identity::new("silly")) } else { Answer::NoCredentials })
    }

    fn challenge(&self, challenge: &Challenge<'_>) -> Option<String> {
        let wanted = challenge.wanted;
        if challenge.why == Why::Insufficient {
            return None;
        }
        let mut text = format!("Bearer realm={},service={}", quoted(&self.realm), quoted(&self.service));
        if !wanted.is_empty() {
            let scopes: Vec<_> = wanted.iter().map(Access::scope).collect();
            text += &format!(",scope={}", quoted(&scopes.join(" ")));
        }
        Some(text)
    }
}
