//! `/v2/<name>/referrers/<digest>`.

use berth_oci::{Digest, ErrorCode, Referrer, RepositoryName, media_type};
use http::{HeaderName, Response, StatusCode, header};
use percent_encoding::utf8_percent_encode;
use serde::Serialize;

use super::Context;
use super::answer::{self, Body};
use super::errors::{Failure, bad_request};
use super::listings::{QUERY, asked_number};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The most descriptors of a page. Many, since not every client asks for a second page.
const MAX_ENTRIES: usize = 1000;

/// The answer: an OCI index that is stored nowhere.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: &'a [Referrer],
}

pub(crate) async fn handle(
    context: &Context<'_>,
    name: &RepositoryName,
    subject: &Digest,
) -> Result<Response<Body>, Failure> {
    let limit = asked_number(context)?.unwrap_or(MAX_ENTRIES).min(MAX_ENTRIES);
    let last: Option<Digest> = match context.query("last").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(text.parse().map_err(|error: berth_oci::DigestError| {
            bad_request(ErrorCode::DigestInvalid, format!("last: {error}"))
        })?),
    };
    // A media type holds no space: one that arrives was a plus sign that the client has not escaped.
    let artifact_type = context.query("artifactType").filter(|text| !text.is_empty());
    let artifact_type = artifact_type.map(|text| text.replace(' ', "+"));
    let artifact_type = artifact_type.as_deref();
    let page = context.app.registry.referrers(name, subject, artifact_type, limit, last.as_ref()).await?;

    let index = Index { schema_version: 2, media_type: media_type::OCI_INDEX, manifests: &page.entries };
    let body = serde_json::to_vec(&index).map_err(Failure::internal)?;
    let mut response = answer::full(StatusCode::OK, media_type::OCI_INDEX, body.into(), context.is_head());
    if artifact_type.is_some() {
        answer::set(&mut response, FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = page.entries.last().filter(|_| page.more) {
        let prefix = context.app.addresses.prefix().trim_end_matches('/');
        let last = utf8_percent_encode(last.digest.as_str(), QUERY);
        let filter = artifact_type.map(|text| format!("artifactType={}&", utf8_percent_encode(text, QUERY)));
        let filter = filter.unwrap_or_default();
        let value = format!("<{prefix}/v2/{name}/referrers/{subject}?{filter}last={last}&n={limit}>; rel=\"next\"");
        answer::set(&mut response, header::LINK, &value);
    }
    Ok(response)
}
