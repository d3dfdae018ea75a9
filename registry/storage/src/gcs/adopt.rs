//! Uploads that CNCF Distribution has begun. Between two requests it keeps the bytes of an upload in a session of the server
//! (a resumable upload to the name of the upload's data) and an object at that name with what does not fill a unit of 256
//! KiB, whose metadata names the session and how far it has come. Ending the session with that rest makes the whole an
//! object at the same name: it is what Distribution does itself when the upload is finished.
//!
//! Until then the object is not there for anybody, not even in a listing: its bytes are the wrong ones. So one that nobody goes
//! on with stays when the rest of its upload is purged, and is found by its age ([`Bucket::remove_leftovers`]).
//!
//! A session lasts a week; when it has gone, so has the upload. The address of a session entitles whoever has it, so it is
//! never shown, no token is sent to it, and it is followed only to the server itself: whoever may write to the bucket must
//! not be able to send the driver elsewhere.

use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};

use super::answer::Resource;
use super::api::{About, get, refusal, whole};
use super::{Gcs, OCTETS};
use crate::bucket::{Bucket, Listing, Start};
use crate::{Key, Stat, StoreError};

/// The most that does not fill a unit: that is what Distribution keeps in the object.
const MAX_REST_BYTES: usize = 256 * 1024;

/// How many entries a page has that uploads are looked for in.
const PAGE: usize = 1000;

/// What an object of Distribution's stands for.
#[derive(Debug, PartialEq, Eq)]
enum Upload<'a> {
    /// Bytes that no session has begun for.
    Whole,
    /// The bytes behind those in a session.
    Rest { session: &'a str, offset: u64 },
    /// Nothing that can be gone on with.
    Unknown,
}

impl<'a> Upload<'a> {
    fn of(resource: &'a Resource) -> Self {
        let value = |name: &str| {
            // Names of metadata are told in whatever case the server likes.
            let found = resource.metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let offset = value("Offset").map_or(Some(0), |offset| offset.parse().ok());
        match (value("Session-URI"), offset) {
            (None, Some(0)) => Upload::Whole,
            (Some(session), Some(offset)) => Upload::Rest { session, offset },
            _ => Upload::Unknown,
        }
    }
}

/// The `Content-Range` that ends a session.
fn last_range(offset: u64, rest: usize) -> String {
    let size = offset.saturating_add(rest as u64);
    if rest == 0 { format!("bytes */{size}") } else { format!("bytes {offset}-{}/{size}", size - 1) }
}

impl Gcs {
    pub(super) async fn adopt(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        let about = About::object(key.as_str(), "take over an upload");
        let name = self.root.name(key);
        let resource = match self.resource(about, key).await {
            Err(error) if error.is_not_found() => return Ok(None),
            answer => answer?,
        };
        if !resource.is_upload_session() {
            return Ok(None);
        }
        let size = resource.size().map_err(|error| about.unreachable(error))?;
        if size > MAX_REST_BYTES as u64 {
            return Ok(None);
        }
        // Of the object that was looked at, and of no other that may have taken its place.
        let query = [("alt", "media"), ("generation", resource.generation.as_str())];
        let answer = self.api.send(about, get(self.api.address.object(&name, &query)), Bytes::new()).await?;
        let rest = whole(answer.into_body(), MAX_REST_BYTES).await.map_err(|error| about.unreachable(error))?;
        match Upload::of(&resource) {
            Upload::Unknown => return Ok(None),
            Upload::Whole => self.put(key, rest).await?,
            Upload::Rest { session, offset } => {
                if !self.end_session(about, session, offset, rest).await? {
                    return Ok(None);
                }
            }
        }
        self.head(key).await.map(Some)
    }

    /// Removes what stands for uploads below a key that nobody has gone on with since `before`, and says how many those were.
    pub(super) async fn remove_old_sessions(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        let (mut removed, mut next) = (0, None::<String>);
        loop {
            let start = next.as_deref().map_or(Start::First, Start::Page);
            let (listed, sessions) = self.page(Listing { below, one_level: false, start, limit: PAGE }).await?;
            let old: Vec<Key> = sessions
                .into_iter()
                .filter_map(|(name, stat)| (stat.modified < before).then(|| name.parse().ok()).flatten())
                .collect();
            self.remove(&old).await?;
            removed += old.len() as u64;
            next = listed.next;
            if next.is_none() {
                return Ok(removed);
            }
        }
    }

    /// Ends a session; false if there is none any more.
    async fn end_session(&self, about: About<'_>, session: &str, offset: u64, rest: Bytes) -> Result<bool, StoreError> {
        if !self.api.address.is_own(session) {
            tracing::warn!(
                key = about.key,
                "an upload that was begun elsewhere names a server that is not this store's"
            );
            return Ok(false);
        }
        let request = Request::put(session).header(CONTENT_TYPE, OCTETS);
        let request = request.header(CONTENT_RANGE, last_range(offset, rest.len()));
        let answer = self.api.exchange_as_anybody(about, request, rest).await?;
        match answer.status().as_u16() {
            200..=299 => Ok(true),
            // It has ended, or was never this long: nothing can be had of it.
            308 | 400 | 404 | 409 | 410 | 412 | 416 | 499 => {
                let refusal = refusal(answer).await;
                tracing::debug!(key = about.key, %refusal, "an upload that was begun elsewhere has gone");
                Ok(false)
            }
            _ => Err(StoreError::service(about.key, about.action, refusal(answer).await)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_distribution_left_is_read_from_the_metadata() {
        let check = |metadata: &[(&str, &str)], expected: Upload<'_>| {
            let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(Upload::of(&Resource { metadata, ..Resource::default() }), expected);
        };
        check(&[], Upload::Whole);
        check(&[("Session-URI", ""), ("Offset", "0")], Upload::Whole);
        check(&[("Session-URI", "u"), ("Offset", "262144")], Upload::Rest { session: "u", offset: 262_144 });
        check(&[("session-uri", "u"), ("offset", "5")], Upload::Rest { session: "u", offset: 5 });
        check(&[("Session-URI", ""), ("Offset", "5")], Upload::Unknown);
        check(&[("Session-URI", "u"), ("Offset", "x")], Upload::Unknown);
    }

    #[test]
    fn a_session_ends_with_the_length_of_all() {
        assert_eq!(last_range(0, 5), "bytes 0-4/5");
        assert_eq!(last_range(262_144, 1), "bytes 262144-262144/262145");
        assert_eq!(last_range(262_144, 0), "bytes */262144");
        // Anybody may have written it.
        assert_eq!(last_range(u64::MAX, 5), format!("bytes {0}-{1}/{0}", u64::MAX, u64::MAX - 1));
    }
}
