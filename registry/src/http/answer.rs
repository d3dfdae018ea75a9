//! Answers, and the bodies they are made of.

use std::time::Duration;

use berth_storage::BoxError;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};

/// How long nothing may arrive of a body that is being read.
const BODY_IDLE: Duration = Duration::from_secs(120);

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        set(&mut response, header::CONTENT_LENGTH, "0");
    }
    response
}

/// An answer with a body that is at hand. To `HEAD` only its length is said.
pub(crate) fn full(status: StatusCode, media_type: &str, content: Bytes, head: bool) -> Response<Body> {
    let mut response = empty(status);
    set(&mut response, header::CONTENT_TYPE, media_type);
    set(&mut response, header::CONTENT_LENGTH, &content.len().to_string());
    if !head {
        *response.body_mut() = Full::new(content).map_err(|never| match never {}).boxed_unsync();
    }
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, content: Bytes, head: bool) -> Response<Body> {
    full(status, "application/json", content, head)
}

/// A body that is read from the store while it is sent.
pub(crate) fn streamed<E: Into<BoxError> + 'static>(
    content: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Body {
    StreamBody::new(content.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
}

/// A body that is made while it is sent.
pub(crate) fn lines(content: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(content.map(|line| Ok(Frame::data(line)))).boxed_unsync()
}

/// Sets a header whose value was made here. A value that is none, which only a client's odd host name can cause, is left
/// out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Adds a header that may stand there several times.
pub(crate) fn add(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

/// The data of a request's body; an error when the connection breaks or nothing arrives for [`BODY_IDLE`].
pub(crate) fn incoming(body: Incoming) -> berth_storage::Incoming {
    let length = body.size_hint().exact();
    let frames = stream::unfold(Some(BodyStream::new(body)), |frames| async move {
        let mut frames = frames?;
        match tokio::time::timeout(BODY_IDLE, frames.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(frames))),
            Ok(Some(Err(error))) => Some((Err(BoxError::from(error)), None)),
            Err(_) => Some((Err(BoxError::from("nothing arrived for two minutes")), None)),
        }
    });
    let pieces = frames.try_filter_map(|frame| async move { Ok(frame.into_data().ok()) });
    berth_storage::Incoming::new(pieces).of_length(length)
}
