//! The bytes of blobs: each read once and hashed, a few at a time, in pieces.

use std::collections::BTreeMap;

use berth_oci::{Algorithm, Digest, Hasher};
use berth_storage::layout;
use berth_storage::{EntryKind, ListRequest, MAX_PAGE, Store, StoreError};
use futures::{StreamExt, stream};

use super::Telling;
use super::report::{Finding, Kind};
use crate::error::Error;

/// Every blob, with its length in bytes.
pub(super) type Blobs = BTreeMap<Digest, u64>;

/// Lists every blob.
///
/// # Errors
/// When the store cannot be listed.
pub(super) async fn list(store: &dyn Store) -> Result<Blobs, Error> {
    let (below, mut after, mut blobs) = (layout::blobs(), None, Blobs::new());
    loop {
        let request =
            ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
        let page = store.list(request).await?;
        for entry in &page.entries {
            if let (EntryKind::Object(stat), Some(digest)) = (entry.kind, layout::parse_blob_data(&entry.key)) {
                blobs.insert(digest, stat.size);
            }
        }
        match page.next {
            None => return Ok(blobs),
            next => after = next,
        }
    }
}

/// What is wrong with the bytes of blobs. Where they are not to be read, only those without any are found.
pub(super) async fn check(
    store: &dyn Store,
    blobs: &Blobs,
    reads: bool,
    jobs: usize,
    telling: &Telling,
) -> Vec<(Digest, Finding)> {
    let total: u64 = blobs.values().sum();
    let (mut findings, mut done, mut bytes) = (Vec::new(), 0, 0);
    let mut checks = stream::iter(blobs.iter().map(|(digest, size)| async move {
        let is_suspect = reads || (*size == 0 && *digest != Digest::of(digest.algorithm(), b""));
        let finding = if is_suspect { check_one(store, digest).await } else { None };
        (digest, *size, finding)
    }))
    .buffer_unordered(jobs.max(1));
    while let Some((digest, size, finding)) = checks.next().await {
        findings.extend(finding.map(|finding| (digest.clone(), finding)));
        done += 1;
        bytes += size;
        telling.tell(done == blobs.len(), || format!("{done} of {} blobs, {bytes} of {total} bytes", blobs.len()));
    }
    findings
}

async fn check_one(store: &dyn Store, digest: &Digest) -> Option<Finding> {
    let key = layout::blob_data(digest);
    let (kind, message) = match hash(store, digest, digest.algorithm()).await {
        Ok(found) if found == *digest => return None,
        Ok(found) => (Kind::WrongContent, format!("its bytes have the digest {found}")),
        // A collector has deleted it since it was listed.
        Err(error) if error.is_not_found() => return None,
        Err(error) => (Kind::Unreadable, error.to_string()),
    };
    Some(Finding { kind, key: key.to_string(), repository: None, message, aside: None })
}

/// The digest by an algorithm of the bytes that lie under a digest.
pub(super) async fn hash(store: &dyn Store, digest: &Digest, algorithm: Algorithm) -> Result<Digest, StoreError> {
    let key = layout::blob_data(digest);
    let mut object = store.get(&key, None).await?;
    let mut hasher = Hasher::new(algorithm);
    while let Some(piece) = object.body.next().await {
        let piece = piece?;
        let hashing = tokio::task::spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        });
        hasher = hashing.await.map_err(|stopped| StoreError::Io {
            key: key.to_string(),
            action: "hash the object",
            source: std::io::Error::other(stopped),
        })?;
    }
    Ok(hasher.finish())
}
