//! Removing: one object, or many with one request where the store does that, and the segments behind them.
//!
//! A manifest goes before its segments, so that an object is never there with a part of it missing; that is why the
//! store's own way to remove both (`multipart-manifest=delete`), which begins with the segments, is not used. What fails in
//! between leaves segments that nobody sees. They are kept in mind, as far as there is room, and go with the next removal.

use std::future::Future;
use std::sync::{Arc, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::Inner;
use super::wire::{Ask, encoded, encoded_part};
use crate::{Key, Refusal, StoreError};

/// How many requests are under way at once for one removal of many objects.
const AT_ONCE: usize = 8;
/// The most objects that go with one request, whatever the store takes: it may say nothing before all are gone.
const MOST_AT_ONCE: usize = 200;
/// The most that is read of what the store says of a removal of many, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The most segments that are kept in mind, to be removed later.
const MAX_LEFT: usize = 10_000;

impl Inner {
    /// Removes what is under a name. False if nothing is.
    pub(super) async fn erase(&self, name: &str, about: &Key) -> Result<bool, StoreError> {
        let ask = Ask::new(Method::DELETE, self.path(name), "remove", about).known(&[StatusCode::NOT_FOUND]);
        Ok(self.send(&ask).await?.status().is_success())
    }

    /// Removes segments that nothing refers to any more. It does not matter to anybody whether that fails.
    pub(super) async fn clear(&self, mut names: Vec<String>) {
        {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            names.append(&mut left);
        }
        if names.is_empty() {
            return;
        }
        if let Err(error) = self.remove_names(&self.place, names.clone()).await {
            let first = names.first().map(String::as_str).unwrap_or_default();
            tracing::warn!(driver = "swift", %error, count = names.len(), first, "segments without an object are left over");
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MAX_LEFT.saturating_sub(left.len());
            left.extend(names.into_iter().take(room));
        }
    }

    /// Removes what is under names. What is not there counts as removed.
    pub(super) async fn remove_names(&self, about: &str, names: Vec<String>) -> Result<(), StoreError> {
        match self.info.get().and_then(|info| info.bulk_deletes) {
            Some(most) if names.len() > 1 => {
                for names in names.chunks(most.min(MOST_AT_ONCE)) {
                    self.remove_at_once(about, names).await?;
                }
                Ok(())
            }
            _ => {
                let removals = names.into_iter().map(|name| async move {
                    let path = self.path(&name);
                    let ask = Ask::new(Method::DELETE, path, "remove", about).known(&[StatusCode::NOT_FOUND]);
                    self.send(&ask).await.map(drop)
                });
                stream::iter(removals).buffer_unordered(AT_ONCE).try_collect().await
            }
        }
    }

    async fn remove_at_once(&self, about: &str, names: &[String]) -> Result<(), StoreError> {
        let container = encoded_part(&self.container);
        let lines: Vec<String> = names.iter().map(|name| format!("/{container}/{}", encoded(name))).collect();
        let ask = Ask::new(Method::POST, "?bulk-delete".to_owned(), "remove", about)
            .header("content-type", "text/plain")
            .header("accept", "application/json")
            .content((lines.join("\n") + "\n").into());
        let (_, _, content) = self.fetch(&ask, MAX_ANSWER_BYTES).await?;
        let outcome =
            outcome(&content, names.len()).map_err(|error| StoreError::unreachable(about, "remove", error))?;
        outcome.map_or(Ok(()), |refusal| Err(StoreError::service(about, "remove", refusal)))
    }

    /// Runs what must not be left half done, whoever waits for it.
    pub(super) async fn to_the_end(
        &self,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        match tokio::spawn(work).await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(StoreError::unreachable(&self.place, "finish the work", stopped)),
        }
    }
}

/// What is wrong with a removal of many: the first of what could not be removed. The answer is always a good one, and its
/// content says how it went.
fn outcome(content: &[u8], asked: usize) -> Result<Option<Refusal>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Outcome {
        #[serde(rename = "Response Status", default)]
        status: String,
        #[serde(rename = "Response Body", default)]
        body: String,
        #[serde(rename = "Errors", default)]
        errors: Vec<(String, String)>,
    }
    let outcome: Outcome = serde_json::from_slice(content)?;
    let is_good = outcome.status.starts_with('2') && outcome.errors.is_empty();
    if is_good {
        return Ok(None);
    }
    let (status, message) = match outcome.errors.first() {
        Some((name, problem)) => (problem, format!("{name}, and {} of {asked} in all", outcome.errors.len())),
        None => (&outcome.status, outcome.body.trim().to_owned()),
    };
    let (number, code) = status.split_once(' ').unwrap_or((status, ""));
    Ok(Some(Refusal { status: number.parse().unwrap_or(0), code: code.to_owned(), message }))
}

/// Removes an object and its segments.
pub(super) async fn delete(inner: &Arc<Inner>, key: &Key) -> Result<(), StoreError> {
    let look = inner.look(key, false).await?;
    let segments = inner.segments(key, &look).await?;
    let (owned, key) = (inner.clone(), key.clone());
    let work = async move {
        let was_there = owned.erase(&owned.root.name(&key), &key).await?;
        owned.clear_after(&key, segments).await;
        if was_there { Ok(()) } else { Err(StoreError::not_found(&key)) }
    };
    inner.to_the_end(work).await
}

/// Removes objects and their segments. Only a look at each tells which have any.
pub(super) async fn remove(inner: &Arc<Inner>, keys: &[Key]) -> Result<(), StoreError> {
    let looks = keys.iter().cloned().map(|key| async move {
        let look = match inner.look(&key, false).await {
            Ok(look) => look,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let segments = inner.segments(&key, &look).await?;
        Ok(Some((key, segments)))
    });
    let looks = stream::iter(looks).buffer_unordered(AT_ONCE).try_filter_map(|found| async { Ok(found) });
    let found: Vec<(Key, Vec<String>)> = looks.try_collect().await?;
    let (plain, large): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, segments)| segments.is_empty());
    let removals = large.into_iter().map(|(key, segments)| async move {
        let owned = inner.clone();
        let work = async move {
            owned.erase(&owned.root.name(&key), &key).await?;
            owned.clear_after(&key, segments).await;
            Ok(())
        };
        inner.to_the_end(work).await
    });
    stream::iter(removals).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let plain = plain.into_iter().map(|(key, _)| inner.root.name(&key)).collect();
    inner.remove_names(&inner.place, plain).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_of_many_says_what_is_wrong_in_its_content() {
        let good = br#"   {"Number Not Found": 1, "Response Status": "200 OK", "Response Body": "", "Errors": [], "Number Deleted": 6}"#;
        assert_eq!(outcome(good, 7).unwrap(), None);
        let bad = br#"{"Response Status": "400 Bad Request", "Response Body": "", "Errors": [["/c/a", "403 Forbidden"], ["/c/b", "503 Service Unavailable"]]}"#;
        let refusal = outcome(bad, 7).unwrap().unwrap();
        assert_eq!(refusal.to_string(), "/c/a, and 2 of 7 in all (Forbidden, status 403)");
        let worse = br#"{"Response Status": "502 Bad Gateway", "Response Body": "x", "Errors": []}"#;
        assert_eq!(outcome(worse, 7).unwrap().unwrap().status, 502);
        assert!(outcome(b"", 7).is_err());
    }
}
