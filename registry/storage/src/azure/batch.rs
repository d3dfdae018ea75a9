//! Deletions of many blobs in one request: a body of small requests, each signed for itself, and an answer of small
//! answers.

use std::fmt::Write;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use object_store::azure::AzureCredential;
use uuid::Uuid;

use super::Azure;
use super::access::Access;
use super::answer::{Subject, text};
use super::client::{Call, Target};
use crate::{BoxError, Key, Refusal, StoreError};

/// The most blobs that the service removes with one request.
const MAX_BATCH: usize = 256;
/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = MAX_BATCH * 4 * 1024;
/// How many blobs are removed at once where each needs a request of its own.
const AT_ONCE: usize = 8;
const ACTION: &str = "remove the object";

impl Azure {
    /// Removes objects, whether they are there or not.
    pub(super) async fn erase_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        if self.known_abilities().removes_many {
            for keys in keys.chunks(MAX_BATCH) {
                self.erase_batch(keys).await?;
            }
            return Ok(());
        }
        let erasures: Vec<_> = keys.iter().map(|key| self.erase_if_there(key)).collect();
        stream::iter(erasures).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn erase_if_there(&self, key: &Key) -> Result<(), StoreError> {
        match self.erase(key).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) async fn erase_batch(&self, keys: &[Key]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut names = Vec::with_capacity(keys.len());
        for key in keys {
            names.push(self.name(key).await?);
        }
        let subject = self.place_subject("remove objects");
        let boundary = format!("batch_{}", Uuid::new_v4());
        let call = |access: &Access, credential: &AzureCredential| {
            let body = body(access, credential, self.client.container(), &names, &boundary);
            let body = body.map_err(|error| subject.unreachable(error))?;
            let kind = format!("multipart/mixed; boundary={boundary}");
            let kind = HeaderValue::try_from(kind).map_err(|error| subject.unreachable(error))?;
            let call = Call::new(subject, Method::POST, Target::Container).query("restype", "container");
            Ok(call.query("comp", "batch").body(body).header(CONTENT_TYPE, kind))
        };
        let (head, body) = self.client.send_as(&call).await?.into_parts();
        let body = subject.read(body, MAX_ANSWER_BYTES).await?;
        let boundary = text(&head.headers, CONTENT_TYPE.as_str()).and_then(|kind| kind.split_once("boundary="));
        let (_, boundary) = boundary.ok_or_else(|| subject.unreachable("the answer has no parts"))?;
        let answers = answers(&String::from_utf8_lossy(&body), boundary.trim_matches('"'));
        let mut outcomes: Vec<Option<Refusal>> = vec![None; keys.len()];
        for (number, refusal) in answers {
            // A refusal of the whole has no number, and is then the only one.
            match number.and_then(|number| outcomes.get_mut(number)) {
                Some(outcome) => *outcome = Some(refusal),
                None => return Err(subject.refused(false, refusal)),
            }
        }
        for (key, outcome) in keys.iter().zip(outcomes) {
            let subject = Subject { key: Some(key), action: ACTION, ..subject };
            let refusal = outcome.ok_or_else(|| subject.unreachable("the answer has no word of it"))?;
            if !(200..300).contains(&refusal.status) {
                match subject.refused(false, refusal) {
                    StoreError::NotFound { .. } => {}
                    error => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// The small requests, one for each name.
fn body(
    access: &Access,
    credential: &AzureCredential,
    container: &str,
    names: &[String],
    boundary: &str,
) -> Result<Bytes, BoxError> {
    let mut body = String::with_capacity(names.len() * 1024);
    for (number, name) in names.iter().enumerate() {
        let request = Request::delete(access.blob(container, name))
            .header(CONTENT_LENGTH, 0)
            .header("x-ms-delete-snapshots", "include")
            .body(())?;
        let head = access.sign(request.into_parts().0, credential)?;
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        write!(
            body,
            "--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\
             Content-ID: {number}\r\n\r\nDELETE {path} HTTP/1.1\r\n"
        )?;
        for (name, value) in &head.headers {
            write!(body, "{}: {}\r\n", written(name.as_str()), value.to_str()?)?;
        }
        body.push_str("\r\n\r\n");
    }
    write!(body, "--{boundary}--\r\n")?;
    Ok(body.into())
}

/// The name of a header as people write it: within a body, the service is particular about that.
fn written(name: &str) -> String {
    let words = name.split('-').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join("-")
}

/// The small answers: to which request, if that is said, and what the service says.
fn answers(body: &str, boundary: &str) -> Vec<(Option<usize>, Refusal)> {
    let marker = format!("--{boundary}");
    let parts = body.split(marker.as_str()).skip(1).filter(|part| !part.starts_with("--"));
    parts.filter_map(answer).collect()
}

fn answer(part: &str) -> Option<(Option<usize>, Refusal)> {
    let field = |line: &str, name: &str| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    let number = part.lines().find_map(|line| field(line, "content-id")).and_then(|number| number.parse().ok());
    let (_, answer) = part.split_once("HTTP/1.1 ")?;
    let (status, message) = answer.lines().next()?.split_once(' ')?;
    let code = answer.lines().find_map(|line| field(line, "x-ms-error-code")).unwrap_or_default();
    Some((number, Refusal { status: status.parse().ok()?, code, message: message.trim().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_headers_are_written_as_people_do() {
        for (name, expected) in [("content-length", "Content-Length"), ("x-ms-version", "X-Ms-Version"), ("-", "-")] {
            assert_eq!(written(name), expected);
        }
    }

    #[test]
    fn small_answers_are_taken_from_a_large_one() {
        let body = "--batchresponse_1\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\n\
                    HTTP/1.1 202 Accepted\r\nx-ms-request-id: 1\r\n\r\n\
                    --batchresponse_1\r\nContent-Type: application/http\r\nContent-ID: 2\r\n\r\n\
                    HTTP/1.1 404 The specified blob does not exist.\r\nx-ms-error-code: BlobNotFound\r\n\
                    Content-Type: application/xml\r\n\r\n<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code></Error>\r\n\
                    --batchresponse_1\r\nContent-Type: application/http\r\n\r\n\
                    HTTP/1.1 400 One of the request inputs is not valid.\r\nx-ms-error-code: InvalidInput\r\n\r\n\
                    --batchresponse_1--\r\n";
        let refusal =
            |status, code: &str, message: &str| Refusal { status, code: code.into(), message: message.into() };
        let expected = [
            (Some(0), refusal(202, "", "Accepted")),
            (Some(2), refusal(404, "BlobNotFound", "The specified blob does not exist.")),
            (None, refusal(400, "InvalidInput", "One of the request inputs is not valid.")),
        ];
        assert_eq!(answers(body, "batchresponse_1"), expected);
        assert_eq!(answers("", "batchresponse_1"), []);
    }
}
