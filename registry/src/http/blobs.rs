//! `/v2/<name>/blobs/<digest>`.

use berth_oci::{Digest, ErrorCode, RepositoryName};
use berth_storage::{BoxError, ByteRange};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderName, Response, StatusCode, header};

use crate::conditions::{Conditions, Unmet};
use crate::route::BlobAction;

use super::Context;
use super::answer::{self, Body};
use super::errors::Failure;
use super::forwarded;
use super::multipart::Multipart;
use super::range::{self, Asked};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Content never changes under its digest, so it may be kept for a year.
const CACHE_CONTROL: &str = "max-age=31536000";

pub(crate) async fn handle(
    context: &Context<'_>,
    name: &RepositoryName,
    digest: &Digest,
    action: BlobAction,
) -> Result<Response<Body>, Failure> {
    match action {
        BlobAction::Read => read(context, name, digest).await,
        BlobAction::Stat => stat(context, name, digest).await,
        BlobAction::Delete => {
            context.app.registry.blob_delete_if(name, digest, &context.conditions()).await?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
    }
}

async fn stat(context: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response<Body>, Failure> {
    let stat = context.app.registry.blob_stat(name, digest).await?;
    if is_known_to_client(&context.conditions(), digest)? {
        return Ok(described(StatusCode::NOT_MODIFIED, digest));
    }
    let mut response = described(StatusCode::OK, digest);
    answer::set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    answer::set(&mut response, header::CONTENT_LENGTH, &stat.size.to_string());
    Ok(response)
}

async fn read(context: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    let conditions = context.conditions();
    if !conditions.is_empty() {
        // Of a blob that is not there, nothing else is said.
        registry.blob_describe(name, digest).await?;
        if is_known_to_client(&conditions, digest)? {
            return Ok(described(StatusCode::NOT_MODIFIED, digest));
        }
    }
    if let Some(address) = elsewhere(context, name, digest).await? {
        let mut response = described(StatusCode::TEMPORARY_REDIRECT, digest);
        // The address is good for some time only, whatever is true of the content.
        answer::set(&mut response, header::CACHE_CONTROL, "no-store");
        answer::set(&mut response, header::LOCATION, &address);
        return Ok(response);
    }
    let range = match wanted_range(context, digest) {
        None => None,
        Some(header) => {
            let size = registry.blob_describe(name, digest).await?.size;
            match range::asked(Some(header), size) {
                Asked::Whole => None,
                Asked::Part(range) => Some(range),
                Asked::Parts(parts) => return Ok(several(context, name, digest, &Multipart::new(parts, size))),
                Asked::Unsatisfiable => {
                    let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, header);
                    let failure = failure.with(CONTENT_DIGEST, digest.as_str());
                    return Err(failure.with(header::CONTENT_RANGE, format!("bytes */{size}")));
                }
            }
        }
    };
    let object = registry.blob_open(name, digest, range).await?;
    let ByteRange { start, end } = object.range;
    let mut response = described(StatusCode::OK, digest);
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content_range = format!("bytes {start}-{}/{}", end - 1, object.stat.size);
        answer::set(&mut response, header::CONTENT_RANGE, &content_range);
    }
    answer::set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    answer::set(&mut response, header::CONTENT_LENGTH, &(end - start).to_string());
    *response.body_mut() = answer::streamed(object.body);
    Ok(response)
}

/// Where the client gets the blob, if it is sent elsewhere for it.
async fn elsewhere(context: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Result<Option<String>, Failure> {
    let Some(redirects) = &context.app.redirects else { return Ok(None) };
    let object = context.app.registry.blob_key(name, digest).await?;
    let client = forwarded::client(&context.headers, &context.peer);
    match redirects.address(&object, client).await {
        Ok(address) => Ok(address),
        // The registry can still send it itself.
        Err(error) => {
            tracing::warn!(repository = %name, %digest, %error, "cannot make an address to send a client to");
            Ok(None)
        }
    }
}

/// Several parts, each opened when the one before it was sent: a blob that is deleted meanwhile breaks the answer off.
fn several(context: &Context<'_>, name: &RepositoryName, digest: &Digest, parts: &Multipart) -> Response<Body> {
    let mut response = described(StatusCode::PARTIAL_CONTENT, digest);
    answer::set(&mut response, header::CONTENT_TYPE, &parts.content_type());
    answer::set(&mut response, header::CONTENT_LENGTH, &parts.length().to_string());
    let tail = (parts.tail(), None);
    let pieces: Vec<(String, Option<ByteRange>)> =
        parts.parts().map(|(head, part)| (head, Some(part))).chain([tail]).collect();
    let (registry, name, digest) = (context.app.registry.clone(), name.clone(), digest.clone());
    let content = stream::iter(pieces).then(move |(text, part)| {
        let (registry, name, digest) = (registry.clone(), name.clone(), digest.clone());
        async move {
            let text = stream::iter([Ok(Bytes::from(text))]);
            let Some(part) = part else { return Ok(text.left_stream()) };
            let object = registry.blob_open(&name, &digest, Some(part)).await.map_err(BoxError::from)?;
            Ok::<_, BoxError>(text.chain(object.body.map_err(BoxError::from)).right_stream())
        }
    });
    *response.body_mut() = answer::streamed(content.try_flatten());
    response
}

/// The `Range` header, unless `If-Range` says that the client has other content.
fn wanted_range<'a>(context: &'a Context<'_>, digest: &Digest) -> Option<&'a str> {
    let range = context.header(header::RANGE)?;
    let applies = context.header(header::IF_RANGE).is_none_or(|condition| condition == etag(digest));
    applies.then_some(range)
}

/// Whether who reads this content need not get it again; an error if it is not what the client wants to read.
pub(crate) fn is_known_to_client(conditions: &Conditions, digest: &Digest) -> Result<bool, Failure> {
    match conditions.check(Some(digest)) {
        Ok(()) => Ok(false),
        Err(Unmet::NoneMatches) => Ok(true),
        Err(unmet @ Unmet::Matches) => Err(unmet.into()),
    }
}

pub(crate) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

fn described(status: StatusCode, digest: &Digest) -> Response<Body> {
    let mut response = answer::empty(status);
    answer::set(&mut response, CONTENT_DIGEST, digest.as_str());
    answer::set(&mut response, header::ETAG, &etag(digest));
    answer::set(&mut response, header::CACHE_CONTROL, CACHE_CONTROL);
    if status != StatusCode::NOT_MODIFIED {
        answer::set(&mut response, header::ACCEPT_RANGES, "bytes");
    }
    response
}
