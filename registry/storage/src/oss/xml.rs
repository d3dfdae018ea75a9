//! What the store says and is told in XML: listings, parts, results and errors. Pure.
//!
//! Names in answers are asked for in URL encoding, as XML 1.0 cannot say every name; whether an answer has it so, it says.

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use quick_xml::escape::escape;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::bucket::{Listed, PartTag, Root};
use crate::{BoxError, Stat};

/// An error, as the body of an answer has it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Failure {
    /// The store's name for what is wrong.
    pub(super) code: String,
    /// The store's words.
    pub(super) message: String,
    /// How long the object is of which a range was asked for that it does not have.
    pub(super) actual_object_size: Option<u64>,
}

/// A page of a listing of objects.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedObjects {
    encoding_type: Option<String>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
    contents: Vec<Content>,
    common_prefixes: Vec<CommonPrefixes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    key: String,
    last_modified: Timestamp,
    size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommonPrefixes {
    #[serde(default)]
    prefix: Vec<String>,
}

impl ListedObjects {
    /// The page as a driver gives it: keys below the root, and of what lies in the order of names before `after` nothing,
    /// whichever way the store understands a beginning within a directory.
    pub(super) fn listed(self, root: &Root, after: Option<&str>) -> Result<Listed, BoxError> {
        let decode = |text: &str| decode(text, self.encoding_type.as_deref());
        let is_behind = |name: &str| after.is_none_or(|after| name > after);
        let mut listed = Listed::default();
        for Content { key, last_modified, size } in &self.contents {
            let name = decode(key)?;
            if let Some(key) = root.key(&name).filter(|_| is_behind(&name)) {
                listed.objects.push((key.to_owned(), Stat { size: *size, modified: (*last_modified).into() }));
            }
        }
        for prefix in self.common_prefixes.iter().flat_map(|prefixes| &prefixes.prefix) {
            let name = decode(prefix)?;
            if let Some(key) = root.key(&name).filter(|_| is_behind(&name)) {
                listed.directories.push(key.strip_suffix('/').unwrap_or(key).to_owned());
            }
        }
        if self.is_truncated {
            let token = self.next_continuation_token.as_deref().filter(|token| !token.is_empty());
            listed.next = Some(decode(token.ok_or("a listing goes on, but does not say where")?)?);
        }
        Ok(listed)
    }
}

/// The answer to the beginning of a multipart upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Initiated {
    /// The name of the upload.
    pub(super) upload_id: String,
}

/// The answer to a copy of an object or into a part, or to what makes an object of parts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Copied {
    /// The entity tag of what was made.
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// A page of the multipart uploads of a bucket.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedUploads {
    encoding_type: Option<String>,
    upload: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
}

impl ListedUploads {
    /// The uploads to one name, in the order in which the store lists them.
    pub(super) fn of(self, name: &str) -> Result<Vec<String>, BoxError> {
        let mut ids = Vec::new();
        for upload in self.upload {
            if decode(&upload.key, self.encoding_type.as_deref())? == name {
                ids.push(upload.upload_id);
            }
        }
        Ok(ids)
    }
}

/// A page of the parts of an upload.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedParts {
    /// Whether there are more.
    pub(super) is_truncated: bool,
    /// The number of the last of this page.
    pub(super) next_part_number_marker: Option<u64>,
    /// The parts.
    pub(super) part: Vec<Part>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Part {
    /// Its number, which need not follow that of the part before.
    pub(super) part_number: u64,
    /// Its entity tag.
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// The answer to a removal of several objects.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Removed {
    /// What is gone, whether it was there or not.
    deleted: Vec<Gone>,
}

#[derive(Debug, Deserialize)]
struct Gone {}

impl Removed {
    /// How many objects are gone.
    pub(super) fn count(&self) -> usize {
        self.deleted.len()
    }
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BoxError> {
    let text = std::str::from_utf8(body)?;
    quick_xml::de::from_str(text)
        .map_err(|error| format!("the answer is not the XML that it should be: {error}").into())
}

/// Reads the error in a body; nothing in it if there is none, as when a proxy has answered.
pub(super) fn read_failure(body: &[u8]) -> Failure {
    if is_failure(body) { read(body).unwrap_or_default() } else { Failure::default() }
}

/// Whether a body holds an error, whatever the status of the answer.
pub(super) fn is_failure(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let behind_declaration = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or("", |(_, rest)| rest.trim_start()),
        None => text,
    };
    behind_declaration.starts_with("<Error>") || behind_declaration.starts_with("<Error ")
}

/// What completes an upload.
pub(super) fn completion(parts: &[(u64, &PartTag)]) -> String {
    let mut text = String::from("<CompleteMultipartUpload>");
    for (number, PartTag(etag)) in parts {
        let etag = escape(etag.as_str());
        let _ = write!(text, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

/// What removes several objects, and has each of them confirmed.
pub(super) fn removal(names: &[String]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete><Quiet>false</Quiet>");
    for name in names {
        let _ = write!(text, "<Object><Key>{}</Key></Object>", escape(name.as_str()));
    }
    text.push_str("</Delete>");
    text
}

/// When an object was written, as a header says it.
pub(super) fn http_time(text: &str) -> Option<SystemTime> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().into())
}

fn decode(text: &str, encoding: Option<&str>) -> Result<String, BoxError> {
    if encoding != Some("url") {
        return Ok(text.to_owned());
    }
    // A space is a plus sign in this encoding, and a plus sign is encoded.
    let text = text.replace('+', " ");
    Ok(percent_decode_str(&text).decode_utf8().map_err(|_| "a name is not UTF-8")?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const PAGE: &[u8] = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult>
  <Name>examplebucket</Name><Prefix>r%2Fa%2F</Prefix><MaxKeys>3</MaxKeys><Delimiter>%2F</Delimiter>
  <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><KeyCount>4</KeyCount>
  <NextContinuationToken>Cg%2BJ+x%3D%3D</NextContinuationToken>
  <Contents>
    <Key>r%2Fa%2Fsha256%3Ax+y%2B%C3%BC</Key><LastModified>2020-06-22T11:42:32.000Z</LastModified>
    <ETag>"5B3C1A2E053D763E1B002CC607C5A0FE"</ETag><Type>Normal</Type><Size>344606</Size>
    <StorageClass>Standard</StorageClass><Owner><ID>1</ID><DisplayName>u</DisplayName></Owner>
  </Contents>
  <CommonPrefixes><Prefix>r%2Fa%2Fb%2F</Prefix></CommonPrefixes>
  <Contents>
    <Key>r%2Fa%2Fz</Key><LastModified>1970-01-01T00:00:01.000Z</LastModified><Size>0</Size>
  </Contents>
  <CommonPrefixes><Prefix>r%2Fa%2Fc%2F</Prefix><Prefix>r%2Fa%2Fd%2F</Prefix></CommonPrefixes>
</ListBucketResult>"#;

    #[test]
    fn a_listing_is_read() {
        let page: ListedObjects = read(PAGE).unwrap();
        let listed = page.listed(&Root::new("r"), None).unwrap();
        let names: Vec<(&str, u64)> = listed.objects.iter().map(|(name, stat)| (name.as_str(), stat.size)).collect();
        assert_eq!(names, [("a/sha256:x y+ü", 344_606), ("a/z", 0)]);
        assert_eq!(listed.objects[1].1.modified, UNIX_EPOCH + Duration::from_secs(1));
        assert_eq!(listed.directories, ["a/b", "a/c", "a/d"]);
        assert_eq!(listed.next.as_deref(), Some("Cg+J x=="));
    }

    #[test]
    fn what_lies_before_the_beginning_is_left_out() {
        let page: ListedObjects = read(PAGE).unwrap();
        let listed = page.listed(&Root::new("r"), Some("r/a/c/x")).unwrap();
        let names: Vec<&str> = listed.objects.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/sha256:x y+ü", "a/z"]);
        assert_eq!(listed.directories, ["a/d"], "a directory counts with its slash");
    }

    #[test]
    fn an_empty_listing_is_the_last_page() {
        for text in [
            "<ListBucketResult><IsTruncated>false</IsTruncated><Prefix></Prefix></ListBucketResult>",
            "<ListBucketResult/>",
        ] {
            let page: ListedObjects = read(text.as_bytes()).unwrap();
            assert_eq!(page.listed(&Root::default(), None).unwrap(), Listed::default());
        }
    }

    #[test]
    fn a_listing_that_does_not_say_where_it_goes_on_is_an_error() {
        let text = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        let page: ListedObjects = read(text).unwrap();
        assert!(page.listed(&Root::default(), None).is_err());
    }

    #[test]
    fn errors_are_read_and_other_bodies_are_none() {
        let text = br#"<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InvalidRange</Code><Message>The requested range cannot be satisfied</Message>
<RequestId>5C3D9175B6FC201293AD****</RequestId><HostId>h</HostId><ActualObjectSize>7</ActualObjectSize>
<RangeRequested>9-</RangeRequested></Error>"#;
        let failure = read_failure(text);
        assert_eq!(failure.code, "InvalidRange");
        assert_eq!(failure.message, "The requested range cannot be satisfied");
        assert_eq!(failure.actual_object_size, Some(7));
        for other in [&b""[..], b"<html><body>502</body></html>", b"<CopyObjectResult/>", b"\xff", b"<Error>"] {
            assert_eq!(read_failure(other), Failure::default());
        }
        assert!(is_failure(b"<Error><Code>x</Code></Error>"));
        assert!(!is_failure(b"<Errors/>"));
    }

    #[test]
    fn uploads_and_parts_are_read() {
        let text = br"<ListMultipartUploadsResult><EncodingType>url</EncodingType>
<Upload><Key>r%2Fdata</Key><UploadId>1</UploadId><Initiated>2012-02-23T04:18:23.000Z</Initiated></Upload>
<Upload><Key>r%2Fdata2</Key><UploadId>2</UploadId></Upload>
<Upload><Key>r%2Fdata</Key><UploadId>3</UploadId></Upload></ListMultipartUploadsResult>";
        let uploads: ListedUploads = read(text).unwrap();
        assert_eq!(uploads.of("r/data").unwrap(), ["1", "3"]);
        let text = br#"<ListPartsResult><NextPartNumberMarker>5</NextPartNumberMarker><IsTruncated>true</IsTruncated>
<Part><PartNumber>1</PartNumber><LastModified>2012-02-23T07:01:34.000Z</LastModified><ETag>"A"</ETag><Size>1</Size></Part>
<Part><PartNumber>5</PartNumber><ETag>&quot;B&quot;</ETag><Size>2</Size></Part></ListPartsResult>"#;
        let parts: ListedParts = read(text).unwrap();
        assert!(parts.is_truncated);
        assert_eq!(parts.next_part_number_marker, Some(5));
        let tags: Vec<(u64, &str)> = parts.part.iter().map(|part| (part.part_number, part.etag.as_str())).collect();
        assert_eq!(tags, [(1, "\"A\""), (5, "\"B\"")]);
        let copied: Copied = read(b"<CopyPartResult><ETag>\"C\"</ETag></CopyPartResult>").unwrap();
        assert_eq!(copied.etag, "\"C\"");
        let initiated: Initiated =
            read(b"<InitiateMultipartUploadResult><UploadId>0004B</UploadId></InitiateMultipartUploadResult>").unwrap();
        assert_eq!(initiated.upload_id, "0004B");
        let removed: Removed =
            read(b"<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>b</Key></Deleted></DeleteResult>")
                .unwrap();
        assert_eq!(removed.count(), 2);
        assert_eq!(read::<Removed>(b"<DeleteResult/>").unwrap().count(), 0);
    }

    #[test]
    fn what_is_told_is_escaped() {
        let tag = PartTag("\"<A>\"".to_owned());
        assert_eq!(
            completion(&[(1, &tag)]),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;&lt;A&gt;&quot;</ETag></Part>\
             </CompleteMultipartUpload>"
        );
        assert!(removal(&["a&b<c".to_owned()]).contains("<Object><Key>a&amp;b&lt;c</Key></Object>"));
    }

    #[test]
    fn the_time_of_a_header_is_read() {
        let expected = UNIX_EPOCH + Duration::from_secs(1_672_223_261);
        assert_eq!(http_time("Wed, 28 Dec 2022 10:27:41 GMT"), Some(expected));
        assert_eq!(http_time("yesterday"), None);
    }
}
