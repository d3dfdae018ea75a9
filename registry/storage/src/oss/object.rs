//! What is asked of whole objects, and listings of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyDataStream;
use md5::{Digest as _, Md5};

use super::client::{About, Call};
use super::sign::{Header, path_text};
use super::xml::{Copied, ListedObjects, Removed, http_time, read, removal};
use super::{Oss, Shared};
use crate::bucket::{Listed, Listing, Start};
use crate::{BoxError, ByteRange, Key, Object, Refusal, Stat, StoreError};

/// The most objects that one request removes.
pub(super) const MAX_REMOVED: usize = 1000;
/// The most entries of a page.
const MAX_LISTED: usize = 1000;
/// The most that is read of an answer with a page of names, in bytes: each has up to 1,023 bytes, thrice that in URL
/// encoding, and stands between some hundred bytes more.
const MAX_PAGE_BYTES: usize = MAX_LISTED * 4096;
/// The most that is read of any other answer, in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;

const CONTENT_TYPE: &str = "application/octet-stream";

/// The header of a request after which there is an object: nobody but the bucket's owner reads it, whatever the bucket says
/// of others, as with docker-registry 2.8. Of an object in parts it goes with the last request: the first does not know it.
pub(super) fn private() -> Header {
    ("x-oss-object-acl", "private".to_owned())
}

impl Oss {
    /// A request about an object, as far as all have it.
    pub(super) fn call<'a>(&self, method: Method, key: &'a Key, action: &'static str) -> Call<'a> {
        let name = self.shared.root.name(key);
        Call {
            about: About::Object(key),
            action,
            method,
            name,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A request about the bucket.
    pub(super) fn bucket_call(&self, method: Method, action: &'static str) -> Call<'_> {
        let about = About::Bucket(&self.shared.place);
        Call { about, action, method, name: String::new(), query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// The headers of a request that makes an object, or begins to: what docker-registry 2.8 makes is of this type as well.
    pub(super) fn making(&self) -> Vec<Header> {
        let encrypted = self.shared.encrypt.then(|| ("x-oss-server-side-encryption", "AES256".to_owned()));
        [("content-type", CONTENT_TYPE.to_owned())].into_iter().chain(encrypted).collect()
    }

    /// How the header of a copy names an object.
    pub(super) fn copy_source(&self, key: &Key) -> Header {
        let Shared { client, root, .. } = &*self.shared;
        ("x-oss-copy-source", path_text(&format!("/{}/{}", client.bucket, root.name(key))))
    }

    pub(super) async fn head_object(&self, key: &Key) -> Result<Stat, StoreError> {
        let call = self.call(Method::HEAD, key, "look at it");
        let action = call.action;
        let answer = self.shared.client.send(call).await?;
        let size = number(answer.headers(), &header::CONTENT_LENGTH).ok_or("no length in the answer");
        let stat = size.map_err(BoxError::from).and_then(|size| stat(answer.headers(), size));
        stat.map_err(|error| StoreError::unreachable(key, action, error))
    }

    pub(super) async fn get_object(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let mut call = self.call(Method::GET, key, "read it");
        let action = call.action;
        if let Some(ByteRange { start, end }) = range {
            if start >= end {
                let size = self.head_object(key).await?.size;
                return Err(StoreError::Range { key: key.to_string(), start, size });
            }
            call.headers.push(("range", format!("bytes={start}-{}", end - 1)));
            // Without this the store gives the whole object where the range is not within it.
            call.headers.push(("x-oss-range-behavior", "standard".to_owned()));
        }
        let start = range.map_or(0, |range| range.start);
        let answer = match self.shared.client.send(call).await {
            Ok(answer) => answer,
            Err(StoreError::Range { key, start: _, size }) => return Err(StoreError::Range { key, start, size }),
            Err(StoreError::Service { refusal, .. }) if refusal.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                let size = self.head_object(key).await?.size;
                return Err(StoreError::Range { key: key.to_string(), start, size });
            }
            Err(error) => return Err(error),
        };
        let opened = opened(answer.status(), answer.headers(), range);
        let (stat, range) = opened.map_err(|error| StoreError::unreachable(key, action, error))?;
        let key = key.clone();
        let body = BodyDataStream::new(answer.into_body());
        let body = body.map_err(move |error| StoreError::unreachable(&key, action, error)).boxed();
        Ok(Object { stat, range, body })
    }

    /// Writes an object; if it is to be new, only where there is none.
    pub(super) async fn put_object(&self, key: &Key, content: Bytes, is_new: bool) -> Result<(), StoreError> {
        let mut call = self.call(Method::PUT, key, "write it");
        call.headers = self.making();
        call.headers.push(private());
        if is_new {
            call.headers.push(("x-oss-forbid-overwrite", "true".to_owned()));
        }
        call.body = content;
        self.shared.client.send_for(call, MAX_ANSWER_BYTES).await.map(drop)
    }

    pub(super) async fn copy_object(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let mut call = self.call(Method::PUT, to, "copy an object to it");
        let action = call.action;
        call.about = About::Object(from);
        call.headers = self.making();
        call.headers.push(private());
        call.headers.push(self.copy_source(from));
        let answer = self.shared.client.send_for(call, MAX_ANSWER_BYTES).await?;
        let Copied { etag: _ } = read(&answer).map_err(|error| StoreError::unreachable(to, action, error))?;
        Ok(())
    }

    /// Removes an object, or finds that there is none: the store does not say.
    pub(super) async fn delete_object(&self, key: &Key) -> Result<(), StoreError> {
        let call = self.call(Method::DELETE, key, "remove it");
        match self.shared.client.send_for(call, MAX_ANSWER_BYTES).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes up to [`MAX_REMOVED`] objects.
    pub(super) async fn delete_objects(&self, keys: &[Key]) -> Result<(), StoreError> {
        let mut call = self.bucket_call(Method::POST, "remove objects");
        let (about, action) = (call.about, call.action);
        let names: Vec<String> = keys.iter().map(|key| self.shared.root.name(key)).collect();
        let body = Bytes::from(removal(&names));
        call.query = vec![("delete", String::new()), ("encoding-type", "url".to_owned())];
        call.headers = vec![
            ("content-type", "application/xml".to_owned()),
            // The store insists on this hash here.
            ("content-md5", STANDARD.encode(Md5::digest(&body))),
        ];
        call.body = body;
        let answer = self.shared.client.send_for(call, MAX_PAGE_BYTES).await?;
        let removed: Removed = read(&answer).map_err(|error| StoreError::unreachable(about, action, error))?;
        let (wanted, count) = (names.len(), removed.count());
        if count >= wanted {
            return Ok(());
        }
        let message = format!("{count} of {wanted} objects were removed");
        Err(StoreError::service(about, action, Refusal { status: 200, code: String::new(), message }))
    }

    pub(super) async fn list_objects(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        let Listing { below, one_level, start, limit } = listing;
        let Shared { client, root, .. } = &*self.shared;
        let prefix = root.below(below);
        let mut call = self.bucket_call(Method::GET, "list what lies in it");
        let (about, action) = (call.about, call.action);
        call.query = vec![
            ("list-type", "2".to_owned()),
            ("encoding-type", "url".to_owned()),
            ("max-keys", limit.clamp(1, MAX_LISTED).to_string()),
        ];
        let after = match start {
            Start::First => None,
            Start::Page(token) => {
                call.query.push(("continuation-token", token.to_owned()));
                None
            }
            Start::Behind(text) => {
                let after = format!("{prefix}{text}");
                call.query.push(("start-after", after.clone()));
                Some(after)
            }
        };
        call.query.push(("prefix", prefix));
        if one_level {
            call.query.push(("delimiter", "/".to_owned()));
        }
        let answer = client.send_for(call, MAX_PAGE_BYTES).await?;
        let page: Result<ListedObjects, BoxError> = read(&answer);
        let listed = page.and_then(|page| page.listed(root, after.as_deref()));
        listed.map_err(|error| StoreError::unreachable(about, action, error))
    }

    /// Lists one object: the cheapest request that shows that the bucket is there and the keys are good.
    pub(super) async fn list_one(&self) -> Result<(), StoreError> {
        let mut call = self.bucket_call(Method::GET, "list what lies in it");
        let (about, action) = (call.about, call.action);
        call.query = vec![
            ("list-type", "2".to_owned()),
            ("max-keys", "1".to_owned()),
            ("prefix", self.shared.root.directory().to_owned()),
        ];
        let answer = self.shared.client.send_for(call, MAX_PAGE_BYTES).await?;
        let page: Result<ListedObjects, BoxError> = read(&answer);
        page.map(drop).map_err(|error| StoreError::unreachable(about, action, error))
    }
}

/// What an answer to `GET` opens.
fn opened(status: StatusCode, headers: &HeaderMap, wanted: Option<ByteRange>) -> Result<(Stat, ByteRange), BoxError> {
    if wanted.is_none() {
        let size = number(headers, &header::CONTENT_LENGTH).ok_or("no length in the answer")?;
        return Ok((stat(headers, size)?, ByteRange { start: 0, end: size }));
    }
    if status != StatusCode::PARTIAL_CONTENT {
        return Err("the server gives the whole object where a part was asked for".into());
    }
    let value = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let (range, size) = value.and_then(content_range).ok_or("no range in the answer")?;
    if wanted.is_some_and(|wanted| range.start != wanted.start || range.end != wanted.end.min(size)) {
        return Err("the server gives another part than was asked for".into());
    }
    Ok((stat(headers, size)?, range))
}

/// Reads `bytes 0-9/30`.
fn content_range(text: &str) -> Option<(ByteRange, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let range = ByteRange { start: start.parse().ok()?, end: last.parse::<u64>().ok()?.checked_add(1)? };
    Some((range, size.parse().ok()?))
}

fn stat(headers: &HeaderMap, size: u64) -> Result<Stat, BoxError> {
    let modified = headers.get(header::LAST_MODIFIED).and_then(|value| value.to_str().ok()).and_then(http_time);
    Ok(Stat { size, modified: modified.ok_or("no time of the last change in the answer")? })
}

fn number(headers: &HeaderMap, name: &header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let dated = pairs.iter().chain(&[("last-modified", "Wed, 28 Dec 2022 10:27:41 GMT")]);
        dated.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn an_answer_says_what_it_opens() {
        let (ok, partial) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        let whole = headers(&[("content-length", "30")]);
        let (stat, range) = opened(ok, &whole, None).unwrap();
        assert_eq!((stat.size, range), (30, ByteRange { start: 0, end: 30 }));

        let part = headers(&[("content-length", "10"), ("content-range", "bytes 20-29/30")]);
        for end in [30, 31, u64::MAX] {
            let (stat, range) = opened(partial, &part, Some(ByteRange { start: 20, end })).unwrap();
            assert_eq!((stat.size, range), (30, ByteRange { start: 20, end: 30 }));
        }
        for wanted in [ByteRange { start: 20, end: 29 }, ByteRange { start: 21, end: 30 }] {
            assert!(opened(partial, &part, Some(wanted)).is_err(), "another part: {wanted:?}");
        }
        assert!(opened(ok, &whole, Some(ByteRange { start: 20, end: 30 })).is_err(), "all of it");
        assert!(opened(ok, &headers(&[]), None).is_err(), "no length");
        let range = Some(ByteRange { start: 0, end: 1 });
        for value in ["bytes 0-0/*", "bytes */30", "bytes 0/1", "items 0-0/1"] {
            assert!(opened(partial, &headers(&[("content-range", value)]), range).is_err(), "{value}");
        }
        let mut undated = whole;
        undated.remove("last-modified");
        assert!(opened(ok, &undated, None).is_err(), "no time");
    }
}
