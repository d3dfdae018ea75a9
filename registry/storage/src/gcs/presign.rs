//! Addresses with which a client fetches an object from the server itself, signed by the key of a service account, or by
//! Google in the name of the machine's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
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
use super::credentials::{Identity, Ready, Signer, sign};
use super::sign::Unsigned;
use crate::{Key, Presign, StoreError};

/// Who signs in the name of an account.
const IAM: &str = "https://iamcredentials.googleapis.com";
/// How long nobody asks again after no signature was to be had.
const PAUSE: Duration = Duration::from_secs(60);
/// The largest answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The service that signs in the name of an account.
#[derive(Debug)]
pub(super) struct Iam {
    origin: String,
    /// When it has given no signature, or its account no name.
    failed: Mutex<Option<Instant>>,
    /// The account's name, and whose it is.
    email: ArcSwapOption<(Arc<Identity>, String)>,
    /// Held by whoever asks for the name.
    asking: tokio::sync::Mutex<()>,
}

impl Default for Iam {
    fn default() -> Self {
        let (email, asking) = (ArcSwapOption::empty(), tokio::sync::Mutex::default());
        Iam { origin: IAM.to_owned(), failed: Mutex::new(None), email, asking }
    }
}

impl Iam {
    #[cfg(test)]
    pub(super) fn at(origin: &str) -> Self {
        Iam { origin: origin.to_owned(), ..Iam::default() }
    }

    fn has_failed(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|since| since.elapsed() < PAUSE)
    }

    fn fail(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The name of the machine's account; none while another asks for it.
    async fn email(
        &self,
        about: About<'_>,
        identity: &Arc<Identity>,
        account: &GcpSigningCredentialProvider,
    ) -> Result<Option<String>, StoreError> {
        if let Some(known) = self.email.load_full().filter(|known| Arc::ptr_eq(&known.0, identity)) {
            return Ok(Some(known.1.clone()));
        }
        let Ok(_turn) = self.asking.try_lock() else { return Ok(None) };
        let account = account.get_credential().await.map_err(|error| about.unreachable(error))?;
        self.email.store(Some(Arc::new((identity.clone(), account.email.clone()))));
        Ok(Some(account.email.clone()))
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
            // Where there is no signature there is another way to serve the object, so nobody waits for it.
            Signer::Service(_) if self.iam.has_failed() => return Ok(None),
            Signer::Service(account) => {
                let signed = async {
                    let Some(email) = self.iam.email(about, &ready.identity, account).await? else { return Ok(None) };
                    let unsigned = unsigned(&email);
                    let signature = self.sign_by_service(about, &ready, &email, &unsigned.text).await?;
                    Ok::<_, StoreError>(Some(unsigned.with(&signature)))
                };
                match signed.await {
                    Ok(Some(query)) => query,
                    Ok(None) => return Ok(None),
                    Err(error) => {
                        tracing::warn!(store = self.place, %error, "no signed addresses: objects are sent by the registry itself");
                        self.iam.fail();
                        return Ok(None);
                    }
                }
            }
        };
        Ok(Some(self.api.address.at(&path, &query)))
    }
}

impl Gcs {
    /// The signature of a text.
    async fn sign_by_service(
        &self,
        about: About<'_>,
        ready: &Ready,
        email: &str,
        text: &str,
    ) -> Result<Vec<u8>, StoreError> {
        let address = format!("{}/v1/projects/-/serviceAccounts/{}:signBlob", self.iam.origin, escape(email));
        let mut request = Request::post(address).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &ready.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let body = Bytes::from(serde_json::json!({ "payload": STANDARD.encode(text) }).to_string());
        let answer = self.api.exchange_as_anybody(about, request, body).await?;
        if !answer.status().is_success() {
            let mut refusal = refusal(answer).await;
            if refusal.status == 403 {
                let hint = "does the service account have roles/iam.serviceAccountTokenCreator on itself?";
                refusal.message = format!("{} [{email}: {hint}]", refusal.message).trim_start().to_owned();
            }
            return Err(StoreError::service(about.key, about.action, refusal));
        }
        let body = whole(answer.into_body(), MAX_ANSWER_BYTES).await.map_err(|error| about.unreachable(error))?;
        let signed: Signed = serde_json::from_slice(&body).map_err(|error| about.unreachable(error))?;
        STANDARD.decode(signed.signed_blob).map_err(|error| about.unreachable(error))
    }
}
