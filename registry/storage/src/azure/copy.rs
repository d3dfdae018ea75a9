//! Copies within the account. The service mostly makes one before it answers; if not, it is waited for, but not for ever.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};
use object_store::azure::AzureCredential;
use tokio::time::Instant;

use super::Azure;
use super::access::Access;
use super::answer::text;
use super::client::{Call, Target};
use crate::{Key, Refusal, StoreError};

/// How long a copy may take. The service copies within an account in seconds, whatever the size.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long to wait before the first look at a copy that is on its way; each further wait is twice as long, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How a copy stands.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Pending(String),
    /// In the service's words.
    Failed(String),
}

fn progress(headers: &HeaderMap) -> Progress {
    let id = text(headers, "x-ms-copy-id").unwrap_or_default().to_owned();
    match text(headers, "x-ms-copy-status").unwrap_or("success") {
        "success" => Progress::Done,
        "pending" => Progress::Pending(id),
        other => Progress::Failed(text(headers, "x-ms-copy-status-description").unwrap_or(other).to_owned()),
    }
}

impl Azure {
    /// Keeps an object of this size, if there is one, as if it were written now: while the service copies something to its
    /// place nobody could read it, and if that failed it would be gone.
    pub(super) async fn keep(&self, key: &Key, size: u64) -> Result<bool, StoreError> {
        let subject = self.subject(key, "keep the object");
        let headers = match self.properties(key, subject.action).await {
            Ok(headers) if subject.stat(&headers)?.size == size => headers,
            Err(error) if !error.is_not_found() => return Err(error),
            _ => return Ok(false),
        };
        let name = self.name(key).await?;
        let mut call = Call::new(subject, Method::PUT, Target::Blob(&name)).query("comp", "metadata");
        // What is not sent again is taken away.
        for (header, value) in headers.iter().filter(|(header, _)| header.as_str().starts_with("x-ms-meta-")) {
            call = call.header(header.clone(), value.clone());
        }
        match self.client.send(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            // Somebody has just begun to copy something to it: what becomes of that shows in a moment.
            Err(StoreError::Service { refusal, .. }) if refusal.code == "PendingCopyOperation" => {
                Err(subject.unreachable(refusal.message))
            }
            Err(error) => Err(error),
        }
    }

    /// Copies an object. What is in the way and was made in another manner, which the service does not replace, is removed
    /// first: such blobs come from CNCF Distribution.
    pub(super) async fn copy_over(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        match self.copy_once(from, to).await {
            Err(error) if is_other_kind(&error) => {
                match self.erase(to).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
                self.copy_once(from, to).await
            }
            other => other,
        }
    }

    async fn copy_once(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        // What can be missing is the source.
        let subject = self.subject(from, "copy the object");
        let (source, target) = (self.name(from).await?, self.name(to).await?);
        let call = |access: &Access, _: &AzureCredential| {
            let source = access.source(self.client.container(), &source).map_err(|error| subject.unreachable(error))?;
            let call = Call::new(subject, Method::PUT, Target::Blob(&target));
            Ok(call.header(HeaderName::from_static("x-ms-copy-source"), source))
        };
        let mut found = progress(self.client.send_as(&call).await?.headers());
        let (begun, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            match found {
                Progress::Done => return Ok(()),
                Progress::Failed(message) => {
                    let refusal = Refusal { status: 500, code: "CopyFailed".to_owned(), message };
                    return Err(subject.refused(false, refusal));
                }
                Progress::Pending(id) if begun.elapsed() >= self.copy_patience => {
                    self.give_up(&target, to, &id).await;
                    let seconds = self.copy_patience.as_secs();
                    return Err(subject.unreachable(format!("the copy was not done after {seconds} seconds")));
                }
                Progress::Pending(_) => {
                    tokio::time::sleep(wait).await;
                    wait = LAST_WAIT.min(wait * 2);
                    found = progress(&self.raw_properties(to, "look at the copy").await?);
                }
            }
        }
    }

    /// Stops a copy. What is left of it has no content, and is not seen as an object.
    async fn give_up(&self, name: &str, to: &Key, id: &str) {
        let call = Call::new(self.subject(to, "stop the copy"), Method::PUT, Target::Blob(name));
        let call = call.query("comp", "copy").query("copyid", id).ms("x-ms-copy-action", "abort");
        if let Err(error) = self.client.send(call).await {
            tracing::warn!(key = %to, %error, "cannot stop a copy that takes too long");
        }
    }
}

/// Whether a blob is in the way that was made in another manner.
pub(super) fn is_other_kind(error: &StoreError) -> bool {
    matches!(error, StoreError::Service { refusal, .. } if refusal.code == "InvalidBlobType")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_a_copy_is_read_from_its_head() {
        let check = |pairs: &[(&'static str, &'static str)], expected: Progress| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            assert_eq!(progress(&HeaderMap::from_iter(pairs)), expected);
        };
        check(&[("x-ms-copy-status", "success"), ("x-ms-copy-id", "1")], Progress::Done);
        check(&[], Progress::Done);
        check(&[("x-ms-copy-status", "pending"), ("x-ms-copy-id", "1")], Progress::Pending("1".into()));
        check(&[("x-ms-copy-status", "aborted")], Progress::Failed("aborted".into()));
        let why = [("x-ms-copy-status", "failed"), ("x-ms-copy-status-description", "500 InternalError")];
        check(&why, Progress::Failed("500 InternalError".into()));
    }
}
