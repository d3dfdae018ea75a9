//! Tokens of Microsoft Entra. How they are asked for and kept is `object_store`'s; this is its way to the network, and
//! what its errors mean.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::azure::{AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, RetryConfig};

use super::access::{Entra, Proof, settings};
use super::answer::{self, MAX_ERROR_BYTES};
use crate::http::Http;
use crate::{BoxError, Refusal, StoreError};

/// What gives out tokens, and keeps each until shortly before it ends.
pub(super) fn tokens(
    plan: &Entra,
    account: &str,
    container: &str,
    http: Http,
) -> Result<AzureCredentialProvider, StoreError> {
    let builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_authority_host(&plan.authority)
        .with_http_connector(Way(http))
        .with_retry(RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() });
    let builder = match &plan.proof {
        Proof::Secret { tenant, client, secret } => {
            builder.with_client_secret_authorization(client, secret, tenant).with_credential_type("client_secret")
        }
        Proof::Workload { tenant, client, file } => builder
            .with_client_id(client)
            .with_tenant_id(tenant)
            .with_federated_token_file(file)
            .with_credential_type("workload_identity"),
        Proof::Managed { client, address } => {
            let builder = builder.with_credential_type("managed_identity");
            let builder = client.iter().fold(builder, MicrosoftAzureBuilder::with_client_id);
            address.iter().fold(builder, MicrosoftAzureBuilder::with_msi_endpoint)
        }
    };
    let store = builder.build().map_err(|error| settings("credentials", error))?;
    Ok(store.credentials().clone())
}

/// What it means that there is no token.
pub(super) fn refused(plan: &Entra, error: &object_store::Error) -> StoreError {
    const ACTION: &str = "get a token";
    let place = match &plan.proof {
        Proof::Managed { .. } => "the managed identity",
        Proof::Secret { .. } | Proof::Workload { .. } => plan.authority.as_str(),
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<Failure>() {
            Some(Failure::Refused(refusal)) => return StoreError::service(place, ACTION, refusal.clone()),
            Some(Failure::NoAnswer(text)) => return StoreError::unreachable(place, ACTION, text.as_str()),
            None => cause = error.source(),
        }
    }
    if let Proof::Workload { file, .. } = &plan.proof
        && let Err(source) = std::fs::read(file)
    {
        return StoreError::Settings { key: file.clone(), source: source.into() };
    }
    StoreError::unreachable(place, ACTION, error.to_string())
}

/// Why there was no usable answer.
#[derive(Debug)]
enum Failure {
    Refused(Refusal),
    NoAnswer(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(refusal) => refusal.fmt(formatter),
            Failure::NoAnswer(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    fn no_answer(error: &BoxError) -> Self {
        Failure::NoAnswer(crate::error::chain(error.as_ref()))
    }
}

/// The way to the network. Answers are held whole, for a token is small.
#[derive(Clone, Debug)]
struct Way(Http);

impl HttpConnector for Way {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Way {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |failure| HttpError::new(HttpErrorKind::Unknown, failure);
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let answer = self.0.send(request).await.map_err(|error| failed(Failure::no_answer(&error)))?;
        let (head, body) = answer.into_parts();
        let body = answer::read(body, MAX_ERROR_BYTES).await;
        let body = body.map_err(|error| failed(Failure::no_answer(&error)))?;
        if !head.status.is_success() {
            return Err(failed(Failure::Refused(refusal(head.status.as_u16(), &body))));
        }
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}

/// What an authority says when it gives out no token.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Words {
    error: String,
    error_description: String,
}

fn refusal(status: u16, body: &Bytes) -> Refusal {
    // What is no JSON is the work of something between, and says nothing to people.
    let words: Words = serde_json::from_slice(body).unwrap_or_default();
    // What names this one request comes on lines of its own, or behind the rest of the first.
    let line = words.error_description.lines().next().unwrap_or_default();
    let message = line.split_once(" Trace ID:").map_or(line, |(said, _)| said).to_owned();
    Refusal { status, code: words.error, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_authority_are_kept() {
        let body =
            br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}"#;
        let found = refusal(401, &Bytes::from_static(body));
        assert_eq!(found.to_string(), "AADSTS7000215: Invalid client secret. (invalid_client, status 401)");
        let body = br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret. Trace ID: 1 Correlation ID: 2 Timestamp: 2026-01-01 00:00:00Z"}"#;
        assert_eq!(refusal(401, &Bytes::from_static(body)), found);
        assert_eq!(refusal(502, &Bytes::from_static(b"<html>")).to_string(), "status 502");
    }
}
