//! Everything that a registry serves, asked for: every listing, tag, manifest and blob.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::fill::Filled;
use crate::http::{Answer, Question, ask};
use crate::interview::{Exchange, Interview};
use crate::oddities::{KINDS, without_signature};

/// Asks for everything that a registry was filled with, what has been deleted since included.
pub(crate) async fn survey(server: SocketAddr, filled: &Filled) -> Result<Vec<Exchange>> {
    let mut to = Interview::with(server);
    let catalog = to.ask("catalog", Question::get("/v2/_catalog?n=1000")).await?;
    pages(server, "/v2/_catalog?n=2", "repositories", &catalog).await?;
    for repository in repositories(filled) {
        let list = format!("/v2/{repository}/tags/list");
        let whole = to.ask(format!("tags of {repository}"), Question::get(list.clone())).await?;
        if whole.status == 200 {
            pages(server, &format!("{list}?n=1"), "tags", &whole).await?;
        }
    }
    let manifests =
        filled.tags.iter().chain(&filled.manifests).map(|(repository, reference)| ("manifests", repository, reference));
    let blobs = filled.blobs.iter().map(|(repository, digest)| ("blobs", repository, digest));
    let mut targets: Vec<String> =
        manifests.chain(blobs).map(|(what, repository, last)| format!("/v2/{repository}/{what}/{last}")).collect();
    targets.sort();
    targets.dedup();
    for target in targets {
        for method in ["GET", "HEAD"] {
            let question = Question::new(method, target.clone());
            let question = KINDS.iter().fold(question, |question, kind| question.with("accept", *kind));
            to.ask(format!("{method} {target}"), question).await?;
        }
    }
    for exchange in &mut to.exchanges {
        exchange.answer = without_signature(exchange.answer.clone());
    }
    to.exchanges.iter_mut().filter(|exchange| !exchange.name.contains(" /v2/")).for_each(sort);
    Ok(to.exchanges)
}

/// Puts a listing into order: which it has is a matter of the other test.
fn sort(exchange: &mut Exchange) {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&exchange.answer.body) else { return };
    for list in fields.values_mut().filter_map(Value::as_array_mut) {
        list.sort_by_key(ToString::to_string);
    }
    exchange.answer.body = Value::Object(fields).to_string().into();
}

/// Follows the links of a listing to its end: the pages together must be the whole, in its order.
async fn pages(server: SocketAddr, first: &str, field: &str, whole: &Answer) -> Result<()> {
    let entries = |answer: &Answer| -> Result<Vec<Value>> {
        let value: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
        Ok(value[field].as_array().cloned().unwrap_or_default())
    };
    let whole = entries(whole)?;
    let (mut joined, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(target) = next {
        let page = ask(server, &Question::get(target)).await?;
        joined.extend(entries(&page)?);
        ensure!(joined.len() <= whole.len(), "{first}: more than the {} that there are", whole.len());
        next = match page.header("link") {
            None => None,
            Some(link) => {
                let target =
                    link.strip_prefix('<').and_then(|rest| rest.split_once('>')).context("a malformed Link")?;
                Some(target.0.to_owned())
            }
        };
    }
    ensure!(joined == whole, "{first}: the pages are {joined:?}, and the whole is {whole:?}");
    Ok(())
}

fn repositories(filled: &Filled) -> Vec<&str> {
    let unfinished = filled.unfinished.iter().map(|upload| &upload.repository);
    let named = filled.tags.iter().chain(&filled.manifests).chain(&filled.blobs).map(|(repository, _)| repository);
    let mut all: Vec<&str> = named.chain(unfinished).map(String::as_str).collect();
    all.sort_unstable();
    all.dedup();
    all
}
