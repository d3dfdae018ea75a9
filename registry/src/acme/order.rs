//! One certificate, from the order to the chain (RFC 8555), with the host validated over TLS (RFC 8737).

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use thiserror::Error;

use super::certificates::{ByHost, challenge_certificate};

/// How long an authority may take to validate a host, and then to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Why there is no certificate.
#[derive(Debug, Error)]
pub(super) enum OrderError {
    #[error("the authority refused")]
    Acme(#[from] instant_acme::Error),
    #[error("the authority does not offer tls-alpn-01, the only challenge that is answered")]
    NoChallenge,
    #[error("the authorization is {0:?}")]
    Authorization(AuthorizationStatus),
    #[error("the authority could not validate the host: {0}")]
    Invalid(String),
    #[error("cannot make the answer to the challenge")]
    Answer(#[from] rcgen::Error),
}

/// A private key and its chain, in PEM.
pub(super) struct Issued {
    pub(super) key: String,
    pub(super) chain: String,
}

/// Orders a certificate. `answers` shows the authority what it asks for in the meantime.
pub(super) async fn issue(account: &Account, host: &str, answers: &ByHost) -> Result<Issued, OrderError> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let outcome = complete(&mut order, host, answers).await;
    answers.remove(host);
    outcome
}

async fn complete(order: &mut Order, host: &str, answers: &ByHost) -> Result<Issued, OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => return Err(OrderError::Authorization(status)),
        }
        let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or(OrderError::NoChallenge)?;
        answers.put(host, challenge_certificate(host, challenge.key_authorization().digest().as_ref())?);
        challenge.set_ready().await?;
    }
    let status = order.poll_ready(&PATIENCE).await?;
    if status != OrderStatus::Ready {
        return Err(OrderError::Invalid(why(order).await));
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(Issued { key, chain })
}

/// What the authority says of a host that it could not validate.
async fn why(order: &mut Order) -> String {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(problems.map(ToString::to_string));
        }
    }
    if reasons.is_empty() { "it gives no reason".to_owned() } else { reasons.join("; ") }
}
