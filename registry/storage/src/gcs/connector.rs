//! Lets object_store get its tokens over the client that everything else uses.
//!
//! Only small answers pass here: they are read whole.

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

use super::api::whole;
use crate::http::Http;

/// The largest answer of a token server.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The client, as object_store wants it.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Http);

impl HttpConnector for Connector {
    /// Its options are for a client of its own.
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let failed = |source| HttpError::new_boxed(HttpErrorKind::Unknown, source);
        let (head, body) = self.0.send(request).await.map_err(failed)?.into_parts();
        let body = whole(body, MAX_ANSWER_BYTES).await.map_err(failed)?;
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}
