//! `/v2/<name>/blobs/uploads/` and the sessions below it.

use berth_oci::{Algorithm, Digest, DigestError, ErrorCode, RepositoryName};
use berth_storage::ByteRange;
use http::{HeaderName, Response, StatusCode, header};
use hyper::body::Incoming;
use uuid::Uuid;

use crate::error::Error;
use crate::route::UploadAction;
use crate::uploads::{Place, Upload};

use super::Context;
use super::answer::{self, Body};
use super::errors::{Failure, bad_request, not_found};
use super::range::{self, Chunk};
use super::state::State;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// `POST`: a mount, a whole blob at once, or a new session.
pub(crate) async fn begin(
    context: &Context<'_>,
    name: &RepositoryName,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    // A mount that cannot be made, of what is no digest as well, is a request for a session.
    if let Some(Ok(digest)) = context.query("mount").map(str::parse::<Digest>)
        && mount(context, name, &digest).await?
    {
        return Ok(created(context, name, &digest));
    }
    let digest = context.query("digest").map(parse_digest).transpose()?;
    let Some(digest) = digest else {
        let algorithm = context.query("digest-algorithm").map(str::parse::<Algorithm>).transpose();
        let algorithm = algorithm.map_err(|error| invalid_digest(&error))?;
        context.state_keys().await?;
        let state = state_of(name, &registry.upload_begin(name).await?, algorithm);
        return Ok(progress(context, StatusCode::ACCEPTED, &state));
    };
    registry.upload_whole(name, &digest, answer::incoming(body)).await?;
    Ok(created(context, name, &digest))
}

/// Mounts a blob, if it can be. Who does not say from where gets it from anywhere, but only where everybody may read
/// everything: otherwise a digest that was overheard would open a repository that it does not belong to.
async fn mount(context: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Result<bool, Failure> {
    let from = match context.query("from").map(str::parse::<RepositoryName>) {
        Some(Ok(from)) => Some(from),
        Some(Err(_)) => return Ok(false),
        None if context.app.policy.is_unlimited() => None,
        None => return Ok(false),
    };
    Ok(context.app.registry.blob_mount(from.as_ref(), name, digest).await?)
}

pub(crate) async fn handle(
    context: &Context<'_>,
    name: &RepositoryName,
    id: Uuid,
    action: UploadAction,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let registry = &context.app.registry;
    let text = context.query("_state").unwrap_or_default();
    let state = context.state_keys().await?.unpack(text, name, id).await;
    let state = match state {
        Some(state) => state,
        // Who only asks how far it has come may have lost the state.
        None if action == UploadAction::Progress => state_of(name, &registry.upload_status(name, id).await?, None),
        None => return Err(not_found(ErrorCode::BlobUploadInvalid, "the state of the upload is invalid")),
    };
    match action {
        UploadAction::Progress => {
            let offset = registry.upload_offset(name, id).await?;
            Ok(progress(context, StatusCode::NO_CONTENT, &State { offset, ..state }))
        }
        UploadAction::Append => {
            let chunk = chunk(context)?;
            let place = place(chunk.as_ref(), &state);
            let algorithm = state.algorithm.unwrap_or(Algorithm::Sha256);
            let appended = registry.upload_append(name, id, place, algorithm, answer::incoming(body)).await;
            let offset = appended.map_err(|error| with_progress(context, &state, error))?;
            if let Some(ByteRange { start, end }) = chunk.filter(|chunk| chunk.end != offset) {
                // A body whose length is not said beforehand. What has arrived stays, as of one that broke off.
                let detail = format!("Content-Range says {} bytes, but {} arrived", end - start, offset - start);
                let failure = bad_request(ErrorCode::SizeInvalid, detail);
                return Err(at_offset(context, &State { offset, ..state }, failure));
            }
            Ok(progress(context, StatusCode::ACCEPTED, &State { offset, ..state }))
        }
        UploadAction::Finish => {
            let digest = context.query("digest");
            let digest = digest.ok_or_else(|| bad_request(ErrorCode::DigestInvalid, "digest missing"))?;
            let digest = parse_digest(digest)?;
            // Whether all of the chunk has arrived shows in the digest.
            let place = place(chunk(context)?.as_ref(), &state);
            let finished = registry.upload_finish(name, id, place, &digest, answer::incoming(body)).await;
            finished.map_err(|error| with_progress(context, &state, error))?;
            Ok(created(context, name, &digest))
        }
        UploadAction::Cancel => {
            registry.upload_cancel(name, id).await?;
            let mut response = answer::empty(StatusCode::NO_CONTENT);
            answer::set(&mut response, UPLOAD_ID, &id.to_string());
            Ok(response)
        }
    }
}

fn parse_digest(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|error| invalid_digest(&error))
}

fn invalid_digest(error: &DigestError) -> Failure {
    bad_request(ErrorCode::DigestInvalid, error.to_string())
}

/// Which bytes of the upload the client says that it sends, if it does; they must be as many as the body has, as far as
/// that is known.
fn chunk(context: &Context<'_>) -> Result<Option<ByteRange>, Failure> {
    let Some(text) = context.header(header::CONTENT_RANGE) else { return Ok(None) };
    let chunk = match range::chunk(text) {
        Chunk::Bytes(chunk) => chunk,
        Chunk::Backwards => {
            return Err(Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, text));
        }
        Chunk::Malformed => return Err(bad_request(ErrorCode::RangeInvalid, text)),
    };
    let length = context.header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length != chunk.end - chunk.start) {
        return Err(bad_request(ErrorCode::SizeInvalid, format!("Content-Range {text} and Content-Length disagree")));
    }
    Ok(Some(chunk))
}

fn place(chunk: Option<&ByteRange>, state: &State) -> Place {
    Place { at: chunk.map_or(state.offset, |chunk| chunk.start), told: state.offset }
}

/// A chunk that does not begin where the upload ends is told where that is.
fn with_progress(context: &Context<'_>, state: &State, error: Error) -> Failure {
    let Error::UploadOffset { offset, .. } = error else { return error.into() };
    at_offset(context, &State { offset, ..state.clone() }, error.into())
}

/// An error that says how far the upload has come.
fn at_offset(context: &Context<'_>, state: &State, failure: Failure) -> Failure {
    failure
        .with(header::LOCATION, location(context, state))
        .with(header::RANGE, range_text(state.offset))
        .with(UPLOAD_ID, state.id.to_string())
}

fn state_of(name: &RepositoryName, upload: &Upload, algorithm: Option<Algorithm>) -> State {
    State { name: name.clone(), id: upload.id, offset: upload.offset, started_at: upload.started_at, algorithm }
}

fn location(context: &Context<'_>, state: &State) -> String {
    // Whoever is given an address has been asked for one, or has begun a session, which needs the key.
    let packed = context.app.state_keys.pack(state).unwrap_or_default();
    // The padding of Base64 would be read as a separator.
    let packed = packed.replace('=', "%3D");
    format!("{}/v2/{}/blobs/uploads/{}?_state={packed}", context.base, state.name, state.id)
}

/// The bytes that have arrived, the last included; of nothing this says the same as of one byte, as Distribution does.
fn range_text(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn progress(context: &Context<'_>, status: StatusCode, state: &State) -> Response<Body> {
    let mut response = answer::empty(status);
    answer::set(&mut response, header::LOCATION, &location(context, state));
    answer::set(&mut response, header::RANGE, &range_text(state.offset));
    answer::set(&mut response, UPLOAD_ID, &state.id.to_string());
    response
}

fn created(context: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let mut response = answer::empty(StatusCode::CREATED);
    answer::set(&mut response, header::LOCATION, &format!("{}/v2/{name}/blobs/{digest}", context.base));
    answer::set(&mut response, CONTENT_DIGEST, digest.as_str());
    response
}
