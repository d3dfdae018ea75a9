//! Objects that are written in parts.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::Full;

use super::objects::{StoredObject, copy_source, etag_of};
use super::{Answer, Asked, Failure, Stub, empty, failure, shown, xml};

/// The least bytes of any part but the last.
const MIN_PART_BYTES: usize = 100 * 1024;
/// The most parts on a page: fewer than are asked for, as the store may give, so that a few parts are several pages.
const MAX_LISTED: u64 = 8;
/// The largest number of a part.
const MAX_NUMBER: u64 = 10_000;

pub(super) struct Upload {
    pub(super) name: String,
    pub(super) parts: BTreeMap<u64, Bytes>,
    encryption: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Completion {
    part: Vec<Part>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    part_number: u64,
    #[serde(rename = "ETag")]
    etag: String,
}

impl Stub {
    /// Does something with the upload that a request is about.
    fn with_upload<T>(&self, asked: &Asked, act: impl FnOnce(&mut Upload) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut state = self.state();
        let id = asked.parameter("uploadId").unwrap_or_default();
        let upload = state.buckets.get_mut(&asked.bucket).unwrap().uploads.get_mut(id);
        let upload = upload.filter(|upload| upload.name == asked.name);
        let text = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                    aborted or completed.";
        act(upload.ok_or_else(|| failure(404, "NoSuchUpload", text))?)
    }

    pub(super) fn initiate(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploads"], &["x-oss-server-side-encryption"])?;
        let mut state = self.state();
        state.counted += 1;
        let id = format!("{:016X}+/=", state.counted);
        let encryption = asked.header("x-oss-server-side-encryption").unwrap_or_default().to_owned();
        let upload = Upload { name: asked.name.clone(), parts: BTreeMap::new(), encryption };
        state.buckets.get_mut(&asked.bucket).unwrap().uploads.insert(id.clone(), upload);
        let key = quick_xml::escape::escape(asked.name.as_str());
        let content = format!("<Bucket>{}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>", asked.bucket);
        xml("InitiateMultipartUploadResult", &content)
    }

    fn part_number(asked: &Asked) -> Result<u64, Failure> {
        let number = asked.number("partNumber", 0)?;
        let is_one = (1..=MAX_NUMBER).contains(&number);
        if is_one { Ok(number) } else { Err(failure(400, "InvalidArgument", "the number of the part is out of range")) }
    }

    pub(super) fn upload_part(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploadId", "partNumber"], &[])?;
        let number = Self::part_number(asked)?;
        if asked.header("content-length").is_none() {
            return Err(failure(411, "MissingContentLength", "You must provide the Content-Length HTTP header."));
        }
        self.with_upload(asked, |upload| Ok(upload.parts.insert(number, asked.body.clone())))?;
        Ok(Response::builder().header("etag", etag_of(&asked.body)).body(Full::default()).unwrap())
    }

    pub(super) fn upload_part_copy(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploadId", "partNumber"], &["x-oss-copy-source", "x-oss-copy-source-range"])?;
        let number = Self::part_number(asked)?;
        let (bucket, name) = copy_source(asked)?;
        let content = self.state().buckets[&bucket].object(&name)?.content.clone();
        let content = match asked.header("x-oss-copy-source-range") {
            None => content,
            Some(range) => {
                let invalid = || failure(416, "InvalidRange", "The requested range cannot be satisfied");
                let bounds =
                    range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
                let (start, last): (usize, usize) =
                    (bounds.0.parse().map_err(|_| invalid())?, bounds.1.parse().map_err(|_| invalid())?);
                if start > last || last >= content.len() {
                    return Err(invalid());
                }
                content.slice(start..=last)
            }
        };
        let etag = etag_of(&content);
        self.with_upload(asked, |upload| Ok(upload.parts.insert(number, content)))?;
        xml("CopyPartResult", &format!("<LastModified>2014-07-17T06:27:54.000Z</LastModified><ETag>{etag}</ETag>"))
    }

    pub(super) fn complete(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploadId"], &["x-oss-forbid-overwrite", "x-oss-object-acl"])?;
        let malformed = || failure(400, "MalformedXML", "The XML you provided was not well-formed.");
        let text = std::str::from_utf8(&asked.body).map_err(|_| malformed())?;
        let Completion { part: named } = quick_xml::de::from_str(text).map_err(|_| malformed())?;
        if !named.windows(2).all(|pair| pair[0].part_number < pair[1].part_number) {
            return Err(failure(400, "InvalidPartOrder", "The list of parts was not in ascending order."));
        }
        let (content, encryption) = self.with_upload(asked, |upload| {
            let mut content = BytesMut::new();
            for (position, Part { part_number, etag }) in named.iter().enumerate() {
                let invalid = || failure(400, "InvalidPart", "One or more of the specified parts could not be found.");
                let part = upload.parts.get(part_number).ok_or_else(invalid)?;
                if etag_of(part) != *etag {
                    return Err(invalid());
                }
                if part.len() < MIN_PART_BYTES && position + 1 < named.len() {
                    let text = "Your proposed upload is smaller than the minimum allowed size.";
                    return Err(failure(400, "EntityTooSmall", text));
                }
                content.extend_from_slice(part);
            }
            Ok((content.freeze(), upload.encryption.clone()))
        })?;
        let etag = format!("\"{}-{}\"", etag_of(&content).trim_matches('"'), named.len());
        let object = StoredObject { encryption, ..StoredObject::new(asked, content, etag.clone()) };
        let mut state = self.state();
        let bucket = state.buckets.get_mut(&asked.bucket).unwrap();
        bucket.write(asked, object)?;
        bucket.uploads.remove(asked.parameter("uploadId").unwrap_or_default());
        xml("CompleteMultipartUploadResult", &format!("<ETag>{etag}</ETag>"))
    }

    pub(super) fn abort(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploadId"], &[])?;
        self.with_upload(asked, |_| Ok(()))?;
        let mut state = self.state();
        let uploads = &mut state.buckets.get_mut(&asked.bucket).unwrap().uploads;
        uploads.remove(asked.parameter("uploadId").unwrap_or_default());
        empty(204)
    }

    pub(super) fn list_uploads(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploads", "prefix", "max-uploads", "encoding-type"], &[])?;
        let prefix = asked.parameter("prefix").unwrap_or_default();
        let state = self.state();
        let mut uploads: Vec<(&String, &String)> =
            state.buckets[&asked.bucket].uploads.iter().map(|(id, upload)| (&upload.name, id)).collect();
        uploads.retain(|(name, _)| name.starts_with(prefix));
        uploads.sort();
        let mut content = String::from("<IsTruncated>false</IsTruncated>");
        if asked.parameter("encoding-type") == Some("url") {
            content.push_str("<EncodingType>url</EncodingType>");
        }
        for (name, id) in uploads {
            let name = shown(asked, name);
            content.push_str(&format!("<Upload><Key>{name}</Key><UploadId>{id}</UploadId></Upload>"));
        }
        xml("ListMultipartUploadsResult", &content)
    }

    pub(super) fn list_parts(&self, asked: &Asked) -> Answer {
        asked.expect(&["uploadId", "max-parts", "part-number-marker"], &[])?;
        let (after, most) = (asked.number("part-number-marker", 0)?, asked.number("max-parts", 1000)?.min(MAX_LISTED));
        let content = self.with_upload(asked, |upload| {
            let mut behind = upload.parts.iter().filter(|(number, _)| **number > after);
            let (mut content, mut last) = (String::new(), after);
            for (number, part) in behind.by_ref().take(usize::try_from(most).unwrap()) {
                let (etag, size) = (etag_of(part), part.len());
                content.push_str(&format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size></Part>"
                ));
                last = *number;
            }
            let is_truncated = behind.next().is_some();
            Ok(format!(
                "<NextPartNumberMarker>{last}</NextPartNumberMarker><IsTruncated>{is_truncated}</IsTruncated>{content}"
            ))
        })?;
        xml("ListPartsResult", &content)
    }
}
