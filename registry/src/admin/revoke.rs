//! `POST /admin/v1/revoke-tokens`: all refresh tokens of a user count no more.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::{Admin, Refused, read};
use crate::http::{Body, answer};

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Asked {
    /// The user, as the issuer calls them.
    pub(crate) user: String,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// How many tokens there were.
    pub(crate) revoked: u64,
}

pub(super) async fn revoke(admin: &Admin, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let Some(issuer) = &admin.issuer else {
        let message = "this server issues no tokens: auth.issuer is not set".to_owned();
        return Err(Refused { status: StatusCode::CONFLICT, code: "NO_ISSUER", message });
    };
    let Asked { user } = read(request).await?;
    match issuer.revoke_all(&user).await {
        Ok(revoked) => {
            tracing::info!(user, revoked, "refresh tokens were revoked");
            let answer = serde_json::to_vec(&Answer { revoked }).unwrap_or_default();
            Ok(answer::json(StatusCode::OK, answer.into(), false))
        }
        Err(error) => {
            tracing::error!(user, %error, "refresh tokens cannot be revoked");
            let message = "the store, where refresh tokens are kept, does not answer".to_owned();
            Err(Refused { status: StatusCode::SERVICE_UNAVAILABLE, code: "UNAVAILABLE", message })
        }
    }
}
