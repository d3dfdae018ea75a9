//! Whole objects: what is known of them, their content, and the writing of it.

use bytes::Bytes;
use futures::StreamExt;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use uuid::Uuid;

use super::Azure;
use super::answer::{begin, is_object};
use super::client::{Call, Target};
use super::copy::is_other_kind;
use super::parts::temporary;
use crate::store::clamp;
use crate::{ByteRange, Key, Object, Stat, StoreError};

/// The most that is appended to a blob at once, in bytes.
const MAX_APPEND: usize = 4 * 1024 * 1024;

impl Azure {
    /// The head of whatever is there.
    pub(super) async fn raw_properties(&self, key: &Key, action: &'static str) -> Result<HeaderMap, StoreError> {
        let name = self.name(key).await?;
        let call = Call::new(self.subject(key, action), Method::HEAD, Target::Blob(&name));
        Ok(self.client.send(call).await?.into_parts().0.headers)
    }

    /// The head of an object.
    pub(super) async fn properties(&self, key: &Key, action: &'static str) -> Result<HeaderMap, StoreError> {
        let headers = self.raw_properties(key, action).await?;
        if is_object(&headers) { Ok(headers) } else { Err(StoreError::not_found(key)) }
    }

    pub(super) async fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        const ACTION: &str = "look at the object";
        self.subject(key, ACTION).stat(&self.properties(key, ACTION).await?)
    }

    pub(super) async fn open_object(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let subject = self.subject(key, "read the object");
        // What has no byte in it cannot be asked for.
        if let Some(range) = range.filter(|range| range.start >= range.end) {
            return Err(self.no_such_range(key, range).await?);
        }
        let name = self.name(key).await?;
        let mut call = Call::new(subject, Method::GET, Target::Blob(&name));
        if let Some(ByteRange { start, end }) = range {
            let value = format!("bytes={start}-{}", end - 1);
            call = call.header(RANGE, HeaderValue::try_from(value).map_err(|error| subject.unreachable(error))?);
        }
        let answer = match (self.client.send(call).await, range) {
            (Err(StoreError::Service { refusal, .. }), Some(range)) if refusal.status == 416 => {
                return Err(self.no_such_range(key, range).await?);
            }
            (answer, _) => answer?,
        };
        let (head, body) = answer.into_parts();
        if !is_object(&head.headers) {
            return Err(StoreError::not_found(key));
        }
        let stat = subject.stat(&head.headers)?;
        let range = clamp(key, range, stat.size)?;
        // Something in between may have dropped the range, and then the answer is the whole.
        let start = begin(&head.headers);
        if start.unwrap_or(0) != range.start || (start.is_none() && range.end != stat.size) {
            return Err(subject.unreachable("the answer is not the part of the object that was asked for"));
        }
        let (key, place) = (key.clone(), self.place.clone());
        let body = body.into_data_stream().map(move |piece| {
            let subject = super::answer::Subject { key: Some(&key), place: &place, action: "read the object" };
            piece.map_err(|error| subject.unreachable(error))
        });
        Ok(Object { stat, range, body: Box::pin(body) })
    }

    /// The error about a range that is not in an object.
    async fn no_such_range(&self, key: &Key, range: ByteRange) -> Result<StoreError, StoreError> {
        let size = self.stat(key).await?.size;
        Ok(StoreError::Range { key: key.to_string(), start: range.start, size })
    }

    pub(super) async fn write(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let name = self.name(key).await?;
        let call = Call::new(self.subject(key, "write the object"), Method::PUT, Target::Blob(&name));
        match self.client.send(call.ms("x-ms-blob-type", "BlockBlob").body(content.clone())).await {
            Ok(_) => Ok(()),
            Err(error) if is_other_kind(&error) => self.write_appended(key, &content).await,
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write_new(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let name = self.name(key).await?;
        let call = Call::new(self.subject(key, "create the object"), Method::PUT, Target::Blob(&name));
        self.client.send(call.ms("x-ms-blob-type", "BlockBlob").body(content).creates()).await?;
        Ok(())
    }

    /// Replaces a blob that was appended to, as CNCF Distribution writes them. The service replaces it only by one of its
    /// kind, and to append to it again would show what is half written; so that is done aside, and the result copied.
    async fn write_appended(&self, key: &Key, content: &Bytes) -> Result<(), StoreError> {
        let aside = temporary(Uuid::new_v4());
        let (subject, name) = (self.subject(key, "write the object"), self.name(&aside).await?);
        let call = || Call::new(subject, Method::PUT, Target::Blob(&name));
        self.client.send(call().ms("x-ms-blob-type", "AppendBlob")).await?;
        for start in (0..content.len()).step_by(MAX_APPEND) {
            let piece = content.slice(start..content.len().min(start + MAX_APPEND));
            self.client.send(call().query("comp", "appendblock").body(piece)).await?;
        }
        self.move_over(&aside, key).await
    }

    pub(super) async fn erase(&self, key: &Key) -> Result<(), StoreError> {
        let name = self.name(key).await?;
        let call = Call::new(self.subject(key, "remove the object"), Method::DELETE, Target::Blob(&name));
        self.client.send(call.ms("x-ms-delete-snapshots", "include")).await?;
        Ok(())
    }
}
