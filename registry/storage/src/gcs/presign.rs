//! Addresses with which a client fetches an object from the server itself, signed by the key of a service account, or by
//! Google in the name of the machine's.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use jiff::Timestamp;
use object_store::gcp::GcpSigningCredentialProvider;
use serde::Deserialize;

use super::Gcs;
use super::address::escape;
use super::api::{About, refusal, whole};
use super::credentials::{Ready, Signer, sign};
use super::sign::Unsigned;
use crate::{Key, Presign, StoreError};

/// Who signs in the name of an account.
const IAM: &str = "https://iamcredentials.googleapis.com";
/// How long nobody asks again after it was refused to sign.
const PAUSE: Duration = Duration::from_secs(60);
/// The largest answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The service that signs in the name of an account.
#[derive(Debug)]
pub(super) struct Iam {
    origin: String,
    /// When it has refused to.
    refused: Mutex<Option<Instant>>,
}

impl Default for Iam {
    fn default() -> Self {
        Iam { origin: IAM.to_owned(), refused: Mutex::new(None) }
    }
}

impl Iam {
    #[cfg(test)]
    pub(super) fn at(origin: &str) -> Self {
        Iam { origin: origin.to_owned(), ..Iam::default() }
    }

    fn is_refused(&self) -> bool {
        let refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.is_some_and(|since| since.elapsed() < PAUSE)
    }

    fn refuse(&self) {
        *self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    signed_blob: String,
}

#[async_trait]
impl Presign for Gcs {
    async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError> {
        let about = About::bucket(key.as_str(), "sign an address");
        let ready = self.api.credentials.ready().await?;
        let path = self.api.address.download_path(&self.root.name(key));
        let unsigned = |email: &str| Unsigned::new(self.api.address.host(), &path, email, Timestamp::now(), validity);
        let query = match &ready.identity.signer {
            Signer::Nobody => return Ok(None),
            Signer::Key { email, key } => {
                let unsigned = unsigned(email);
                let signature = sign(key, unsigned.text.as_bytes()).map_err(|error| about.unreachable(error))?;
                unsigned.with(&signature)
            }
            Signer::Service(account) => {
                if self.iam.is_refused() {
                    return Ok(None);
                }
                let email = email(about, account).await?;
                let unsigned = unsigned(&email);
                match self.sign_by_service(about, &ready, &email, &unsigned.text).await? {
                    None => return Ok(None),
                    Some(signature) => unsigned.with(&signature),
                }
            }
        };
        Ok(Some(self.api.address.at(&path, &query)))
    }
}

impl Gcs {
    /// The signature; none if the account may not sign in its own name.
    async fn sign_by_service(
        &self,
        about: About<'_>,
        ready: &Ready,
        email: &str,
        text: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let address = format!("{}/v1/projects/-/serviceAccounts/{}:signBlob", self.iam.origin, escape(email));
        let mut request = Request::post(address).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &ready.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let body = Bytes::from(serde_json::json!({ "payload": STANDARD.encode(text) }).to_string());
        let answer = self.api.exchange_as_anybody(about, request, body).await?;
        if answer.status().as_u16() == 403 {
            let refusal = refusal(answer).await;
            tracing::warn!(
                account = email,
                %refusal,
                "no signed addresses: the service account needs roles/iam.serviceAccountTokenCreator on itself"
            );
            self.iam.refuse();
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(StoreError::service(about.key, about.action, refusal(answer).await));
        }
        let body = whole(answer.into_body(), MAX_ANSWER_BYTES).await.map_err(|error| about.unreachable(error))?;
        let signed: Signed = serde_json::from_slice(&body).map_err(|error| about.unreachable(error))?;
        STANDARD.decode(signed.signed_blob).map(Some).map_err(|error| about.unreachable(error))
    }
}

/// The name of the machine's account.
async fn email(about: About<'_>, account: &GcpSigningCredentialProvider) -> Result<String, StoreError> {
    let account = account.get_credential().await.map_err(|error| about.unreachable(error))?;
    Ok(account.email.clone())
}
