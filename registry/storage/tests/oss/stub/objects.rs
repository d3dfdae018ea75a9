//! Whole objects, and listings of them.

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Answer, Asked, Bucket, Failure, Stub, decode, empty, failure, shown, xml};

/// What a listing gives unless it is asked for another number.
const DEFAULT_KEYS: u64 = 100;
/// The most that it gives.
const MAX_KEYS: u64 = 1000;
/// The largest object that is copied by one request.
const MAX_COPY_BYTES: usize = 5 << 30;

#[derive(Clone)]
pub(super) struct StoredObject {
    pub(super) content: Bytes,
    pub(super) modified: Timestamp,
    pub(super) etag: String,
    pub(super) acl: String,
    pub(super) encryption: String,
}

impl StoredObject {
    pub(super) fn new(asked: &Asked, content: Bytes, etag: String) -> Self {
        let header = |name: &str| asked.header(name).unwrap_or_default().to_owned();
        StoredObject {
            content,
            modified: Timestamp::from_second(Timestamp::now().as_second()).unwrap(),
            etag,
            acl: header("x-oss-object-acl"),
            encryption: header("x-oss-server-side-encryption"),
        }
    }
}

pub(super) fn etag_of(content: &[u8]) -> String {
    let hash: String = Md5::digest(content).iter().map(|byte| format!("{byte:02X}")).collect();
    format!("\"{hash}\"")
}

impl Bucket {
    pub(super) fn object(&self, name: &str) -> Result<&StoredObject, Failure> {
        self.objects.get(name).ok_or_else(|| failure(404, "NoSuchKey", "The specified key does not exist."))
    }

    /// Writes an object, unless the request wants no other to be replaced.
    pub(super) fn write(&mut self, asked: &Asked, object: StoredObject) -> Result<(), Failure> {
        let forbids = asked.header("x-oss-forbid-overwrite") == Some("true");
        if forbids && !self.versions && self.objects.contains_key(&asked.name) {
            let text = "The object you specified already exists and can not be overwritten.";
            return Err(failure(409, "FileAlreadyExists", text));
        }
        self.objects.insert(asked.name.clone(), object);
        Ok(())
    }
}

/// The bucket and the name that a copy is made of.
pub(super) fn copy_source(asked: &Asked) -> Result<(String, String), Failure> {
    let source = decode(asked.header("x-oss-copy-source").unwrap_or_default());
    let source = source.strip_prefix('/').and_then(|source| source.split_once('/'));
    let (bucket, name) =
        source.ok_or_else(|| failure(400, "InvalidArgument", "the source of the copy is malformed"))?;
    Ok((bucket.to_owned(), name.to_owned()))
}

/// A range of bytes, and the length of what it is a part of.
enum Ranged {
    All,
    Part(usize, usize),
    Unsatisfiable,
}

fn ranged(asked: &Asked, size: usize) -> Ranged {
    let is_standard = asked.header("x-oss-range-behavior") == Some("standard");
    let bounds = asked.header("range").and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let Some((Ok(start), Ok(last))) = bounds.map(|(start, last)| (start.parse::<usize>(), last.parse::<usize>()))
    else {
        return Ranged::All;
    };
    match (start < size, last < size) {
        (true, true) => Ranged::Part(start, last),
        (true, false) if is_standard => Ranged::Part(start, size - 1),
        (false, _) if is_standard => Ranged::Unsatisfiable,
        _ => Ranged::All,
    }
}

impl Stub {
    pub(super) fn get_object(&self, asked: &Asked) -> Answer {
        asked.expect(&[], &["x-oss-range-behavior"])?;
        let state = self.state();
        let StoredObject { content, modified, etag, .. } = state.buckets[&asked.bucket].object(&asked.name)?.clone();
        let size = content.len();
        let mut modified_text = String::new();
        jiff::fmt::rfc2822::DateTimePrinter::new().print_timestamp_rfc9110(&modified, &mut modified_text).unwrap();
        let answer = Response::builder().header("last-modified", modified_text).header("etag", etag);
        let (answer, content) = match ranged(asked, size) {
            Ranged::All => (answer.status(200), content),
            Ranged::Part(start, last) => {
                let range = format!("bytes {start}-{last}/{size}");
                (answer.status(206).header("content-range", range), content.slice(start..=last))
            }
            Ranged::Unsatisfiable => {
                let more = format!("  <ActualObjectSize>{size}</ActualObjectSize>\n");
                let refused = failure(416, "InvalidRange", "The requested range cannot be satisfied");
                return Err(Failure { more, ..refused });
            }
        };
        let answer = answer.header("content-length", content.len());
        let content = if asked.parts.method == Method::HEAD { Bytes::new() } else { content };
        Ok(answer.body(Full::new(content)).unwrap())
    }

    pub(super) fn put_object(&self, asked: &Asked) -> Answer {
        asked.expect(&[], &["x-oss-object-acl", "x-oss-server-side-encryption", "x-oss-forbid-overwrite"])?;
        if asked.header("content-length").is_none() {
            return Err(failure(411, "MissingContentLength", "You must provide the Content-Length HTTP header."));
        }
        let object = StoredObject::new(asked, asked.body.clone(), etag_of(&asked.body));
        self.state().buckets.get_mut(&asked.bucket).unwrap().write(asked, object)?;
        empty(200)
    }

    pub(super) fn copy_object(&self, asked: &Asked) -> Answer {
        let headers =
            ["x-oss-object-acl", "x-oss-server-side-encryption", "x-oss-forbid-overwrite", "x-oss-copy-source"];
        asked.expect(&[], &headers)?;
        let (bucket, name) = copy_source(asked)?;
        let mut state = self.state();
        let source = state.buckets.get(&bucket).ok_or_else(|| failure(404, "NoSuchBucket", "no such bucket"))?;
        let content = source.object(&name)?.content.clone();
        if content.len() > MAX_COPY_BYTES {
            return Err(failure(400, "EntityTooLarge", "the object is too large to be copied at once"));
        }
        let object = StoredObject::new(asked, content.clone(), etag_of(&content));
        let (etag, modified) = (object.etag.clone(), object.modified);
        state.buckets.get_mut(&asked.bucket).unwrap().write(asked, object)?;
        xml("CopyObjectResult", &format!("<LastModified>{modified}</LastModified><ETag>{etag}</ETag>"))
    }

    pub(super) fn delete_object(&self, asked: &Asked) -> Answer {
        asked.expect(&[], &[])?;
        self.state().buckets.get_mut(&asked.bucket).unwrap().objects.remove(&asked.name);
        empty(204)
    }

    pub(super) fn delete_objects(&self, asked: &Asked) -> Answer {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Delete {
            quiet: bool,
            object: Vec<Named>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Named {
            key: String,
        }
        asked.expect(&["delete", "encoding-type"], &[])?;
        if asked.header("content-md5") != Some(STANDARD.encode(Md5::digest(&asked.body)).as_str()) {
            return Err(failure(400, "InvalidDigest", "The Content-MD5 you specified was invalid."));
        }
        let malformed = || failure(400, "MalformedXML", "The XML you provided was not well-formed.");
        let text = std::str::from_utf8(&asked.body).map_err(|_| malformed())?;
        let Delete { quiet, object } = quick_xml::de::from_str(text).map_err(|_| malformed())?;
        if !(1..=1000).contains(&object.len()) {
            return Err(malformed());
        }
        let mut state = self.state();
        let objects = &mut state.buckets.get_mut(&asked.bucket).unwrap().objects;
        let mut content = String::new();
        for Named { key } in object {
            objects.remove(&key);
            if !quiet {
                content.push_str(&format!("<Deleted><Key>{}</Key></Deleted>", shown(asked, &key)));
            }
        }
        if quiet { empty(200) } else { xml("DeleteResult", &content) }
    }

    pub(super) fn list_objects(&self, asked: &Asked) -> Answer {
        let known =
            ["list-type", "prefix", "delimiter", "start-after", "continuation-token", "max-keys", "encoding-type"];
        asked.expect(&known, &[])?;
        let max_keys = asked.number("max-keys", DEFAULT_KEYS)?;
        if !(1..=MAX_KEYS).contains(&max_keys) {
            return Err(failure(400, "InvalidArgument", "max-keys is out of range"));
        }
        let prefix = asked.parameter("prefix").unwrap_or_default();
        let delimiter = asked.parameter("delimiter").unwrap_or_default();
        let after = asked.parameter("start-after").unwrap_or_default();
        let token = asked.parameter("continuation-token").map(|token| {
            let token = STANDARD.decode(token).map_err(|_| failure(400, "InvalidArgument", "no such token"))?;
            String::from_utf8(token).map_err(|_| failure(400, "InvalidArgument", "no such token"))
        });
        let token = token.transpose()?.unwrap_or_default();

        let state = self.state();
        let (mut count, mut content, mut prefixes) = (0, String::new(), String::new());
        let (mut last, mut is_truncated) = (token.clone(), false);
        for (name, object) in &state.buckets[&asked.bucket].objects {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let is_within_last = !delimiter.is_empty() && last.ends_with(delimiter) && name.starts_with(&last);
            if name.as_str() <= after || name.as_str() <= last.as_str() || is_within_last {
                continue;
            }
            if count == max_keys {
                is_truncated = true;
                break;
            }
            count += 1;
            match (!delimiter.is_empty()).then(|| rest.find(delimiter)).flatten() {
                Some(end) => {
                    last = name[..prefix.len() + end + delimiter.len()].to_owned();
                    let shown = shown(asked, &last);
                    prefixes.push_str(&format!("<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>"));
                }
                None => {
                    let StoredObject { content: bytes, modified, etag, .. } = object;
                    let (name_shown, size) = (shown(asked, name), bytes.len());
                    content.push_str(&format!(
                        "<Contents><Key>{name_shown}</Key><LastModified>{modified:.3}</LastModified><ETag>{etag}</ETag>\
                         <Type>Normal</Type><Size>{size}</Size><StorageClass>Standard</StorageClass></Contents>"
                    ));
                    last = name.clone();
                }
            }
        }
        let mut head = format!(
            "<Name>{}</Name><Prefix>{}</Prefix><MaxKeys>{max_keys}</MaxKeys><KeyCount>{count}</KeyCount>\
             <IsTruncated>{is_truncated}</IsTruncated>",
            asked.bucket,
            shown(asked, prefix)
        );
        if asked.parameter("encoding-type") == Some("url") {
            head.push_str("<EncodingType>url</EncodingType>");
        }
        if is_truncated {
            let token = shown(asked, &STANDARD.encode(&last));
            head.push_str(&format!("<NextContinuationToken>{token}</NextContinuationToken>"));
        }
        xml("ListBucketResult", &format!("{head}{content}{prefixes}"))
    }
}
