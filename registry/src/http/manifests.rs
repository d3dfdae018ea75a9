//! `/v2/<name>/manifests/<reference>`.

use std::time::Duration;

use berth_oci::{ErrorCode, MAX_MANIFEST_BYTES, Manifest, Reference, RepositoryName, Tag, TagError};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderName, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};

use crate::found::Found;
use crate::manifests::Received;
use crate::registry::Registry;
use crate::room::SMALL_BYTES;
use crate::route::ManifestAction;
use crate::schema1;

use super::Context;
use super::accept::{Accepted, Choice};
use super::answer::{self, Body};
use super::blobs::{etag, is_known_to_client};
use super::errors::{Failure, bad_request, not_found, unreadable_body};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How long a manifest may take to arrive. A large one holds up others for as long.
const RECEIVING: Duration = Duration::from_secs(120);
/// How many tags one push may bring; each is written and answered by itself.
const MAX_TAGS: usize = 50;

pub(crate) async fn handle(
    context: &Context<'_>,
    name: &RepositoryName,
    reference: &Reference,
    action: ManifestAction,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    match action {
        ManifestAction::Read => read(context, name, reference).await,
        ManifestAction::Write => write(context, name, reference, body).await,
        ManifestAction::Delete => {
            registry.manifest_delete_if(name, reference, context.conditions().or_bare()).await?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
    }
}

async fn write(
    context: &Context<'_>,
    name: &RepositoryName,
    reference: &Reference,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    // Asked before the body is taken, and again when the write begins.
    drop(registry.writable()?);
    let tags = more_tags(context, reference)?;
    let received = tokio::time::timeout(RECEIVING, whole(registry, body)).await.map_err(|_| {
        let detail = format!("the manifest has not arrived within {} seconds", RECEIVING.as_secs());
        Failure::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::ManifestInvalid, detail)
    })??;
    let content_type = context.header(header::CONTENT_TYPE);
    let conditions = context.conditions().or_bare();
    let stored = registry.manifest_put_if(name, reference, &tags, content_type, received, conditions).await?;
    let mut response = answer::empty(StatusCode::CREATED);
    let location = format!("{}/v2/{name}/manifests/{}", context.base, stored.digest);
    answer::set(&mut response, header::LOCATION, &location);
    answer::set(&mut response, CONTENT_DIGEST, stored.digest.as_str());
    if let Some(subject) = stored.manifest.subject() {
        answer::set(&mut response, SUBJECT, subject.digest.as_str());
    }
    for tag in &tags {
        answer::add(&mut response, TAG, tag.as_str());
    }
    Ok(response)
}

/// The tags that come with a push by digest, each once. A push by tag brings its own and no other.
fn more_tags(context: &Context<'_>, reference: &Reference) -> Result<Vec<Tag>, Failure> {
    if matches!(reference, Reference::Tag(_)) {
        return Ok(Vec::new());
    }
    let mut tags: Vec<Tag> = Vec::new();
    for (_, text) in context.query.iter().filter(|(key, _)| key == "tag") {
        let tag = text.parse().map_err(|error: TagError| bad_request(ErrorCode::TagInvalid, error.to_string()))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if tags.len() > MAX_TAGS {
        let detail = format!("{} tags come with the manifest, more than the {MAX_TAGS} of one request", tags.len());
        return Err(Failure::new(StatusCode::URI_TOO_LONG, ErrorCode::TagInvalid, detail));
    }
    Ok(tags)
}

async fn read(context: &Context<'_>, name: &RepositoryName, reference: &Reference) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    let find = async |reference: &Reference| match context.is_head() {
        true => registry.manifest_stat(name, reference).await,
        false => registry.manifest_get(name, reference).await,
    };
    let mut found = find(reference).await?;
    let accepted = Accepted::of(&context.headers);
    let by_tag = matches!(reference, Reference::Tag(_));
    if accepted.choose(found.kind, by_tag)? == Choice::Platform {
        let choose =
            |raw: &Bytes| Manifest::parse(raw).ok()?.for_platform("linux", "amd64").map(|one| one.digest.clone());
        let image = registry.manifest_use(name, &found, choose).await?;
        let image = image.ok_or_else(|| {
            let detail = "the manifest list has no image for linux/amd64, and the Accept header names no lists";
            not_found(ErrorCode::ManifestUnknown, detail)
        })?;
        found = find(&Reference::Digest(image)).await?;
        accepted.choose_image(found.kind)?;
    }
    // Clients of Distribution give the bare digest of a manifest too.
    let mut response = if is_known_to_client(&context.conditions().or_bare(), &found.digest)? {
        answer::empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut response = describe(context, name, &found).await?;
        answer::set(&mut response, CONTENT_DIGEST, found.digest.as_str());
        response
    };
    answer::set(&mut response, header::ETAG, &etag(&found.digest));
    Ok(response)
}

/// A manifest and what it is.
async fn describe(context: &Context<'_>, name: &RepositoryName, found: &Found) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    let (media_type, head) = (found.kind.media_type(), context.is_head());
    if found.kind.is_schema1() {
        let raw = registry.manifest_use(name, found, Bytes::clone).await?;
        let content = schema1::for_client(found.kind, &raw, &context.app.signer, jiff::Timestamp::now())?;
        return Ok(answer::full(StatusCode::OK, media_type, content, head));
    }
    if let Some(content) = &found.content {
        return Ok(answer::full(StatusCode::OK, media_type, content.clone(), head));
    }
    let mut response = answer::empty(StatusCode::OK);
    answer::set(&mut response, header::CONTENT_TYPE, media_type);
    answer::set(&mut response, header::CONTENT_LENGTH, &found.size.to_string());
    if !head {
        let object = registry.manifest_open(name, found).await?;
        answer::set(&mut response, header::CONTENT_LENGTH, &object.stat.size.to_string());
        *response.body_mut() = answer::streamed(object.body);
    }
    Ok(response)
}

/// The whole body, if it is no longer than a manifest may be. One that says that it is longer is not asked for.
/// Of a large one nothing is taken before there is room for it.
async fn whole(registry: &Registry, body: Incoming) -> Result<Received, Failure> {
    let too_long = || {
        let detail = format!("a manifest may have {MAX_MANIFEST_BYTES} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, detail)
    };
    let said = body.size_hint().lower();
    if said > MAX_MANIFEST_BYTES as u64 {
        return Err(too_long());
    }
    let mut room = registry.room.take(said).await?;
    let mut pieces = answer::incoming(body);
    let mut raw = BytesMut::with_capacity(usize::try_from(said).unwrap_or_default());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| unreadable_body(error.as_ref()))?;
        let bytes = raw.len() + piece.len();
        if bytes > MAX_MANIFEST_BYTES {
            return Err(too_long());
        }
        if bytes > SMALL_BYTES && room.is_none() {
            // It has not said how long it is.
            room = registry.room.take(MAX_MANIFEST_BYTES as u64).await?;
            raw.reserve(MAX_MANIFEST_BYTES - raw.len());
        }
        raw.extend_from_slice(&piece);
    }
    Ok(Received { raw: raw.freeze(), room })
}
