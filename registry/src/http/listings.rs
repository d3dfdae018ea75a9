//! `/v2/_catalog` and `/v2/<name>/tags/list`.

use berth_oci::{ErrorCode, RepositoryName};
use http::{Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::Context;
use super::answer::{self, Body};
use super::errors::{Failure, bad_request};
use crate::auth::Listed;
use crate::catalog::Paged;

/// How many repositories are given to whoever does not say.
const DEFAULT_CATALOG_ENTRIES: usize = 100;
/// What may stand in a query as it is.
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) async fn catalog(context: &Context<'_>) -> Result<Response<Body>, Failure> {
    let most = context.app.max_catalog_entries;
    let limit = asked_number(context)?.unwrap_or(DEFAULT_CATALOG_ENTRIES.min(most));
    if limit > most {
        return Err(bad_request(ErrorCode::PaginationNumberInvalid, json!({ "n": limit })));
    }
    let page = match context.app.policy.listed(context.actor) {
        None => context.app.registry.catalog(limit, context.query("last")).await?,
        Some(told) => listed(context, limit, &told).await?,
    };
    let body = json!({ "repositories": page.entries });
    let mut response = answer::json(StatusCode::OK, format!("{body}\n").into(), context.is_head());
    if let Some(last) = page.entries.last().filter(|_| page.more) {
        link(context, &mut response, "_catalog", last.as_str(), limit);
    }
    Ok(response)
}

/// A page of those repositories that somebody is told of. The store is read on until the page is full: where it goes on must
/// be told by a name that is listed. It is read only where there may be some.
async fn listed(context: &Context<'_>, limit: usize, told: &Listed) -> Result<Paged<RepositoryName>, Failure> {
    let mut listed = Paged { entries: Vec::new(), more: false };
    let mut last = context.query("last").map(str::to_owned);
    let at_once = limit.max(DEFAULT_CATALOG_ENTRIES);
    let mut begins = last.is_none();
    while listed.entries.len() < limit {
        let Some(behind) = told.next(last.as_deref()) else { break };
        let page = context.app.registry.catalog_behind(at_once, behind.as_deref(), begins).await?;
        begins = false;
        last = page.entries.last().map(ToString::to_string);
        let is_more = page.more && told.next(last.as_deref()).is_some();
        let room = limit - listed.entries.len();
        let mut found = page.entries.into_iter().filter(|name| told.has(name));
        listed.entries.extend(found.by_ref().take(room));
        listed.more = found.next().is_some() || is_more;
        if !is_more {
            break;
        }
    }
    Ok(listed)
}

pub(crate) async fn tags(context: &Context<'_>, name: &RepositoryName) -> Result<Response<Body>, Failure> {
    let limit = asked_number(context)?.map(|limit| limit.min(context.app.max_tags));
    let page = context.app.registry.tags(name, limit, context.query("last")).await?;
    let body = json!({ "name": name, "tags": page.entries });
    let mut response = answer::json(StatusCode::OK, format!("{body}\n").into(), context.is_head());
    if let (Some(last), Some(limit)) = (page.entries.last().filter(|_| page.more), limit) {
        link(context, &mut response, &format!("{name}/tags/list"), last.as_str(), limit);
    }
    Ok(response)
}

pub(super) fn asked_number(context: &Context<'_>) -> Result<Option<usize>, Failure> {
    let Some(text) = context.query("n").filter(|text| !text.is_empty()) else { return Ok(None) };
    let invalid = || bad_request(ErrorCode::PaginationNumberInvalid, json!({ "n": text }));
    text.parse().map(Some).map_err(|_| invalid())
}

/// Says where the next page is. Always as a path: clients resolve it against what they have asked.
fn link(context: &Context<'_>, response: &mut Response<Body>, path: &str, last: &str, limit: usize) {
    let prefix = context.app.addresses.prefix().trim_end_matches('/');
    let last = utf8_percent_encode(last, QUERY);
    let value = format!("<{prefix}/v2/{path}?last={last}&n={limit}>; rel=\"next\"");
    answer::set(response, header::LINK, &value);
}
