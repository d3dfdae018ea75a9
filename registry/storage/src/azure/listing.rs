//! Pages of names, as the service writes them.

use std::time::SystemTime;

use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::Azure;
use super::answer::{Subject, time, xml};
use super::client::{Call, Target};
use crate::bucket::{Listed, Listing, Start};
use crate::{BoxError, Stat, StoreError};

/// The most names that the service gives at once.
pub(super) const MAX_NAMES: usize = 5000;
/// The most that is read of a page: each name may have a kilobyte, and a few of what is said of it.
pub(super) const MAX_PAGE_BYTES: usize = MAX_NAMES * 8 * 1024;

/// A page, as the service writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    blobs: Option<Blobs>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
struct Blobs {
    #[serde(rename = "$value", default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
enum Entry {
    Blob(Blob),
    BlobPrefix(Prefix),
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Prefix {
    name: Name,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: Name,
    properties: Properties,
}

#[derive(Deserialize)]
struct Name {
    /// Whether the text is percent-encoded, because it has characters that XML has not.
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

impl Name {
    fn decoded(self) -> String {
        match self.encoded {
            true => percent_decode_str(&self.text).decode_utf8_lossy().into_owned(),
            false => self.text,
        }
    }
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "Last-Modified")]
    modified: String,
    #[serde(rename = "Content-Length", default)]
    size: u64,
    #[serde(rename = "CopyStatus", default)]
    copied: Option<String>,
    #[serde(rename = "ResourceType", default)]
    kind: Option<String>,
}

/// Where a listing goes on: the service's own mark, and the text behind which it was asked to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The service's mark; none at the beginning.
    pub(super) marker: Option<String>,
    /// What lies up to here is passed over.
    pub(super) behind: Option<String>,
}

impl Position {
    pub(super) fn of(start: Start<'_>) -> Self {
        match start {
            Start::First => Position { marker: None, behind: None },
            Start::Behind(text) => Position { marker: None, behind: Some(text.to_owned()) },
            // No key has a line break in it, and no mark either.
            Start::Page(page) => match page.split_once('\n') {
                Some((marker, behind)) => Position { marker: Some(marker.to_owned()), behind: Some(behind.to_owned()) },
                None => Position { marker: Some(page.to_owned()), behind: None },
            },
        }
    }

    fn next(&self, marker: String) -> String {
        match &self.behind {
            Some(behind) => format!("{marker}\n{behind}"),
            None => marker,
        }
    }

    fn is_behind(&self, text: &str) -> bool {
        self.behind.as_deref().is_none_or(|behind| text > behind)
    }
}

/// What is asked of the service.
pub(super) struct Question<'a> {
    pub(super) prefix: &'a str,
    pub(super) one_level: bool,
    pub(super) limit: usize,
    pub(super) marker: Option<&'a str>,
    /// The first name that is wanted.
    pub(super) from: Option<&'a str>,
}

impl Azure {
    /// One page. `from_anywhere` says whether the service is asked to begin in the middle; what it gives of the part
    /// before is passed over all the same.
    pub(super) async fn page(&self, listing: Listing<'_>, from_anywhere: bool) -> Result<Listed, StoreError> {
        let Listing { below, one_level, start, limit } = listing;
        let names = self.names().await?;
        let (prefix, position) = (names.below(below), Position::of(start));
        let from = position.behind.as_deref().filter(|_| from_anywhere && position.marker.is_none());
        let from = from.map(|behind| format!("{prefix}{}", first_behind(behind, one_level)));
        let question =
            Question { prefix: &prefix, one_level, limit, marker: position.marker.as_deref(), from: from.as_deref() };
        let subject = self.subject(below, "list objects");
        let body = self.ask(subject, question).await?;
        let listed = parse(&body, &prefix, &position, |name| names.key(name).map(str::to_owned));
        listed.map_err(|error| subject.unreachable(error))
    }

    /// Whether any name begins with a text.
    pub(super) async fn has_any(&self, prefix: &str) -> Result<bool, StoreError> {
        let subject = self.place_subject("look into the container");
        let mut marker: Option<String> = None;
        loop {
            let question = Question { prefix, one_level: false, limit: 1, marker: marker.as_deref(), from: None };
            let body = self.ask(subject, question).await?;
            let page: Page = xml(&body).map_err(|error| subject.unreachable(error))?;
            if page.blobs.is_some_and(|blobs| !blobs.entries.is_empty()) {
                return Ok(true);
            }
            // A page may be empty and still not be the last.
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(false);
            }
        }
    }

    async fn ask(&self, subject: Subject<'_>, question: Question<'_>) -> Result<bytes::Bytes, StoreError> {
        let Question { prefix, one_level, limit, marker, from } = question;
        let call =
            Call::new(subject, Method::GET, Target::Container).query("restype", "container").query("comp", "list");
        let call = call.query("prefix", prefix).query("maxresults", &limit.clamp(1, MAX_NAMES).to_string());
        let call = call.query("include", "copy");
        let call = if one_level { call.query("delimiter", "/") } else { call };
        let call = marker.iter().fold(call, |call, marker| call.query("marker", marker));
        let call = from.iter().fold(call, |call, from| call.query("startFrom", from));
        let answer = self.client.send(call).await?;
        subject.read(answer.into_body(), MAX_PAGE_BYTES).await
    }
}

/// The least text that may come behind another. Behind a directory, that is what cannot be in it.
fn first_behind(behind: &str, one_level: bool) -> String {
    match behind.strip_suffix('/') {
        // The character that follows the slash.
        Some(directory) if one_level => format!("{directory}0"),
        _ => behind.to_owned(),
    }
}

/// Reads a page. `prefix` is what every name was to begin with, and `key` takes the root directory from a name.
pub(super) fn parse(
    body: &[u8],
    prefix: &str,
    position: &Position,
    key: impl Fn(&str) -> Option<String>,
) -> Result<Listed, BoxError> {
    let page: Page = xml(body)?;
    let mut listed = Listed::default();
    for entry in page.blobs.into_iter().flat_map(|blobs| blobs.entries) {
        match entry {
            Entry::Blob(Blob { name, properties }) => {
                let Properties { modified, size, copied, kind } = properties;
                let is_whole = copied.is_none_or(|status| status.eq_ignore_ascii_case("success"));
                let is_directory = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("directory"));
                let name = name.decoded();
                let wanted = name.strip_prefix(prefix).is_some_and(|rest| position.is_behind(rest));
                if let Some(key) = key(&name).filter(|_| is_whole && wanted && !is_directory) {
                    let modified: SystemTime = time(&modified).ok_or("a time that cannot be read")?;
                    listed.objects.push((key, Stat { size, modified }));
                }
            }
            Entry::BlobPrefix(Prefix { name }) => {
                let name = name.decoded();
                let wanted = name.strip_prefix(prefix).is_some_and(|rest| position.is_behind(rest));
                listed.directories.extend(name.strip_suffix('/').and_then(&key).filter(|_| wanted));
            }
            Entry::Unknown => {}
        }
    }
    listed.objects.sort_by(|(one, _), (other, _)| one.cmp(other));
    listed.directories.sort_by_cached_key(|directory| format!("{directory}/"));
    listed.next = page.next_marker.filter(|marker| !marker.is_empty()).map(|marker| position.next(marker));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<EnumerationResults ServiceEndpoint="https://acct.blob.core.windows.net/" ContainerName="box">
  <Prefix>root/a/</Prefix><MaxResults>10</MaxResults><Delimiter>/</Delimiter>
  <Blobs>
    <Blob><Name>root/a/b &amp; c</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:00 GMT</Last-Modified>
      <Etag>0x1</Etag><Content-Length>12</Content-Length><BlobType>BlockBlob</BlobType></Properties><OrMetadata /></Blob>
    <BlobPrefix><Name>root/a/d/</Name></BlobPrefix>
    <BlobPrefix><Name>root/a/d-e/</Name></BlobPrefix>
    <Blob><Name Encoded="true">root/a/e%EF%BF%BE</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:01 GMT</Last-Modified>
      <Content-Length>0</Content-Length></Properties></Blob>
    <Blob><Name>root/a/f</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:01 GMT</Last-Modified>
      <Content-Length>0</Content-Length><CopyStatus>pending</CopyStatus></Properties></Blob>
    <Blob><Name>root/a/g</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:01 GMT</Last-Modified>
      <Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>
    <Blob><Name>root/a/h</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:01 GMT</Last-Modified>
      <Content-Length>5</Content-Length><CopyStatus>success</CopyStatus></Properties></Blob>
  </Blobs>
  <NextMarker>2!8!abc-</NextMarker>
</EnumerationResults>"#;

    fn check(start: Start<'_>, objects: &[&str], directories: &[&str], next: &str) {
        let position = Position::of(start);
        let key = |name: &str| name.strip_prefix("root/").map(str::to_owned);
        let found = parse(PAGE.as_bytes(), "root/a/", &position, key).unwrap();
        assert_eq!(found.objects.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), objects);
        assert_eq!(found.directories, directories);
        assert_eq!(found.next.as_deref(), Some(next));
    }

    #[test]
    fn a_page_has_what_can_be_read_in_order() {
        let all = ["a/b & c", "a/e\u{fffe}", "a/h"];
        check(Start::First, &all, &["a/d-e", "a/d"], "2!8!abc-");
        check(Start::Page("1!"), &all, &["a/d-e", "a/d"], "2!8!abc-");
        check(Start::Behind("d-e/"), &all[1..], &["a/d"], "2!8!abc-\nd-e/");
        check(Start::Page("1!\nd/"), &all[1..], &[], "2!8!abc-\nd/");
        check(Start::Behind("h"), &[], &[], "2!8!abc-\nh");
    }

    #[test]
    fn a_listing_begins_where_the_service_has_least_to_tell() {
        assert_eq!(first_behind("a", true), "a");
        assert_eq!(first_behind("a/", true), "a0");
        assert_eq!(first_behind("a/", false), "a/");
        assert!("a/" < "a0" && "a/zzz" < "a0" && "a-b/" < "a/");
    }

    #[test]
    fn a_page_may_have_nothing() {
        let key = |name: &str| Some(name.to_owned());
        let position = Position::of(Start::First);
        for blobs in ["<Blobs/>", "<Blobs></Blobs>", "<Blobs> </Blobs>", ""] {
            let body = format!("\u{feff}<EnumerationResults><Prefix/>{blobs}<NextMarker/></EnumerationResults>");
            assert_eq!(parse(body.as_bytes(), "", &position, key).unwrap(), Listed::default(), "{blobs}");
        }
        assert!(parse(b"<html>", "", &position, key).is_err());
    }
}
