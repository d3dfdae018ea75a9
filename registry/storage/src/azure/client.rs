//! Requests: their addresses, their signatures, and what becomes of a refusal. Nothing is tried again here, but once with
//! new credentials where the store does not believe the ones that were used.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use object_store::azure::{AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::access::{Access, Login};
use super::answer::{self, Subject};
use super::credentials::Credentials;
use crate::http::{Http, ResponseBody};
use crate::{BoxError, Refusal, StoreError};

/// What is written as it is in a query.
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What is written as it is in a path.
pub(super) const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Text as an address may have it.
pub(super) fn encode(text: &str, plain: &'static AsciiSet) -> String {
    utf8_percent_encode(text, plain).to_string()
}

/// The way to a container.
pub(super) struct Client {
    http: Http,
    pub(super) credentials: Credentials,
    container: String,
}

/// A request that is not signed yet.
#[derive(Clone)]
pub(super) struct Call<'a> {
    subject: Subject<'a>,
    method: Method,
    /// The blob, the container, or the account.
    target: Target<'a>,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    /// Whether an object that is there already is a reason to refuse.
    creates: bool,
}

/// Makes a request for an account and what opens it.
pub(super) type Make<'f, 'a> = dyn Fn(&Access, &AzureCredential) -> Result<Call<'a>, StoreError> + Send + Sync + 'f;

/// What a request goes to.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Account,
    Container,
    Blob(&'a str),
}

impl<'a> Call<'a> {
    pub(super) fn new(subject: Subject<'a>, method: Method, target: Target<'a>) -> Self {
        let (query, headers, body) = (String::new(), HeaderMap::new(), Bytes::new());
        Call { subject, method, target, query, headers, body, creates: false }
    }

    /// Adds to the query.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.query.is_empty() { "" } else { "&" };
        self.query = format!("{}{separator}{name}={}", self.query, encode(value, QUERY));
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a header of the service.
    pub(super) fn ms(self, name: &'static str, value: &'static str) -> Self {
        self.header(HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    /// Sends this with it.
    pub(super) fn body(self, body: Bytes) -> Self {
        self.body_of("application/octet-stream", body)
    }

    /// Sends this document with it.
    pub(super) fn xml(self, document: String) -> Self {
        self.body_of("application/xml", document.into())
    }

    fn body_of(mut self, kind: &'static str, body: Bytes) -> Self {
        self.body = body;
        self.header(CONTENT_TYPE, HeaderValue::from_static(kind))
    }

    /// Refuses to replace an object.
    pub(super) fn creates(mut self) -> Self {
        self.creates = true;
        self.header(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"))
    }

    fn request(&self, access: &Access, container: &str) -> Result<Request<Bytes>, StoreError> {
        let mut address = match self.target {
            Target::Account => format!("{}/", access.endpoint),
            Target::Container => format!("{}/{container}", access.endpoint),
            Target::Blob(name) => access.blob(container, name),
        };
        if !self.query.is_empty() {
            address = format!("{address}?{}", self.query);
        }
        let request = Request::builder().method(self.method.clone()).uri(address).body(self.body.clone());
        let mut request = request.map_err(|error| self.subject.unreachable(error))?;
        *request.headers_mut() = self.headers.clone();
        if self.method != Method::GET && self.method != Method::HEAD {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        Ok(request)
    }
}

impl Access {
    /// The address of a blob.
    pub(super) fn blob(&self, container: &str, name: &str) -> String {
        format!("{}/{container}/{}", self.endpoint, encode(name, PATH))
    }

    /// The address of a blob that the service itself is to read, which it may do where it believes the request that says
    /// so; a shared access signature has to be behind this address as well.
    pub(super) fn source(&self, container: &str, name: &str) -> Result<HeaderValue, BoxError> {
        let mut address = self.blob(container, name);
        if let Login::Signature(credential) = &self.login
            && let AzureCredential::SASToken(pairs) = credential.as_ref()
        {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value, QUERY))).collect();
            address = format!("{address}?{}", pairs.join("&"));
        }
        let mut value = HeaderValue::try_from(address)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Signs a request.
    pub(super) fn sign(&self, head: Parts, credential: &AzureCredential) -> Result<Parts, BoxError> {
        let mut request = HttpRequest::from_parts(head, HttpRequestBody::empty());
        AzureAuthorizer::new(credential, &self.account).try_authorize(&mut request)?;
        Ok(request.into_parts().0)
    }
}

impl Client {
    pub(super) fn new(http: Http, credentials: Credentials, container: String) -> Self {
        Client { http, credentials, container }
    }

    /// The container's name.
    pub(super) fn container(&self) -> &str {
        &self.container
    }

    /// The account as it is now.
    pub(super) async fn access(&self) -> Arc<Access> {
        self.credentials.access().await
    }

    /// Sends a request. An answer that is no success is an error.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Response<ResponseBody>, StoreError> {
        self.send_as(&|_, _| Ok(call.clone())).await
    }

    /// Sends the request that `call` makes for an account and what opens it.
    pub(super) async fn send_as<'a>(&self, call: &Make<'_, 'a>) -> Result<Response<ResponseBody>, StoreError> {
        let access = self.access().await;
        let refused = match self.attempt(&access, call).await? {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        let Refused { refusal, credential, .. } = &refused;
        let refused = match self.credentials.renewed_after(refusal, &access, credential).await {
            Some(renewed) => match self.attempt(&renewed, call).await? {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            },
            None => refused,
        };
        let Refused { call, refusal, .. } = refused;
        Err(call.subject.refused(call.creates, refusal))
    }

    async fn attempt<'a>(
        &self,
        access: &Access,
        call: &Make<'_, 'a>,
    ) -> Result<Result<Response<ResponseBody>, Refused<'a>>, StoreError> {
        let credential = access.credential().await?;
        let call = call(access, &credential)?;
        let (head, body) = call.request(access, &self.container)?.into_parts();
        let head = access.sign(head, &credential).map_err(|error| call.subject.unreachable(error))?;
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let answer = self.http.send(Request::from_parts(head, body)).await;
        let answer = answer.map_err(|error| call.subject.unreachable(error))?;
        if answer.status().is_success() {
            return Ok(Ok(answer));
        }
        let refusal = answer::refusal(answer).await;
        Ok(Err(Refused { call, refusal, credential }))
    }
}

/// A request that the service has refused.
struct Refused<'a> {
    call: Call<'a>,
    refusal: Refusal,
    /// What it was signed with.
    credential: Arc<AzureCredential>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_so_that_nothing_in_them_has_a_meaning() {
        for (name, expected) in [
            ("docker/registry/v2/x", "docker/registry/v2/x"),
            ("/docker", "/docker"),
            ("a b+c%2F?#&=ü~.-_", "a%20b%2Bc%252F%3F%23%26%3D%C3%BC~.-_"),
        ] {
            assert_eq!(encode(name, PATH), expected);
        }
        assert_eq!(encode("a/b=", QUERY), "a%2Fb%3D");
    }
}
