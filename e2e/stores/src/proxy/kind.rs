//! What a request is about, told from its method, path and query alone.

use http::Method;
use percent_encoding::percent_decode_str;

/// Whose requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// S3 or OSS, the bucket being the first segment of the path.
    S3,
    /// Azure's blobs, the account being the first segment of the path.
    Azure,
    /// Google Cloud Storage: the JSON API, and the XML API.
    Gcs,
    /// OpenStack Swift.
    Swift,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The bucket, container or account itself.
    Bucket,
    /// The keys of a bucket.
    Listing,
    /// One object: its bytes or what is known of it.
    Object,
    /// A session of an upload in several requests: its beginning, end or state.
    Upload,
    /// Bytes that belong to such a session.
    Part,
    /// Several objects at once.
    Batch,
    /// Anything else, logging in for one.
    Other,
}

impl Dialect {
    /// What such a request is about.
    pub fn kind(self, method: &Method, path: &str, query: &str) -> Kind {
        let path = Path::of(path);
        match self {
            Self::S3 => s3(method, &path, query),
            Self::Azure => azure(method, &path, query),
            Self::Gcs => gcs(method, &path, query),
            Self::Swift => swift(method, &path, query),
        }
    }
}

/// The first segments of a path and whether something follows them.
struct Path<'a> {
    segments: Vec<&'a str>,
}

impl<'a> Path<'a> {
    /// The names that stand for something in any dialect are among the first segments.
    const MAX_SEGMENTS: usize = 8;

    fn of(path: &'a str) -> Self {
        Self { segments: path.trim_matches('/').splitn(Self::MAX_SEGMENTS, '/').filter(|s| !s.is_empty()).collect() }
    }

    fn len(&self) -> usize {
        self.segments.len()
    }
}

/// Whether a parameter is there, with a value or without.
fn has(query: &str, name: &str) -> bool {
    parameters(query).any(|(key, _)| key == name)
}

/// Whether a parameter has this value.
fn says(query: &str, name: &str, value: &str) -> bool {
    parameters(query).any(|(key, is)| key == name && percent_decode_str(is).eq(value.bytes()))
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn s3(method: &Method, path: &Path<'_>, query: &str) -> Kind {
    /// What is asked of a bucket besides its keys.
    const PROPERTIES: [&str; 8] =
        ["acl", "cors", "encryption", "lifecycle", "location", "object-lock", "policy", "versioning"];
    match path.len() {
        0 => Kind::Other,
        1 if has(query, "delete") => Kind::Batch,
        1 if has(query, "uploads") => Kind::Upload,
        1 if method == Method::GET && !PROPERTIES.iter().any(|property| has(query, property)) => Kind::Listing,
        1 => Kind::Bucket,
        _ if has(query, "partNumber") && has(query, "uploadId") => Kind::Part,
        // OSS has objects that are appended to.
        _ if has(query, "append") => Kind::Part,
        _ if has(query, "uploads") || has(query, "uploadId") => Kind::Upload,
        _ => Kind::Object,
    }
}

fn azure(method: &Method, path: &Path<'_>, query: &str) -> Kind {
    match path.len() {
        0 => Kind::Other,
        _ if says(query, "comp", "batch") => Kind::Batch,
        1 => Kind::Other,
        2 if says(query, "restype", "container") && says(query, "comp", "list") => Kind::Listing,
        2 if says(query, "restype", "container") => Kind::Bucket,
        _ if says(query, "comp", "block") || says(query, "comp", "appendblock") => Kind::Part,
        _ if says(query, "comp", "blocklist") => Kind::Upload,
        _ if method == Method::OPTIONS => Kind::Other,
        _ => Kind::Object,
    }
}

fn gcs(method: &Method, path: &Path<'_>, query: &str) -> Kind {
    match path.segments.as_slice() {
        ["batch", "storage", ..] => Kind::Batch,
        ["upload", ..] if !says(query, "uploadType", "resumable") => Kind::Object,
        ["upload", ..] if method == Method::PUT => Kind::Part,
        ["upload", ..] => Kind::Upload,
        ["storage", "v1", "b"] if method == Method::POST => Kind::Bucket,
        ["storage", "v1", "b"] => Kind::Other,
        ["storage", "v1", "b", _] => Kind::Bucket,
        ["storage", "v1", "b", _, "o"] => Kind::Listing,
        ["storage" | "download", .., "b", _, "o", _] | ["storage" | "download", _, "b", _, "o", _, ..] => Kind::Object,
        ["download", "storage", "v1", "b", _, "o", ..] => Kind::Object,
        ["storage", ..] => Kind::Other,
        _ => s3(method, path, query),
    }
}

fn swift(method: &Method, path: &Path<'_>, query: &str) -> Kind {
    match path.segments.as_slice() {
        ["v1" | "v1.0", _] if has(query, "bulk-delete") => Kind::Batch,
        ["v1" | "v1.0", _, _] if method == Method::GET => Kind::Listing,
        ["v1" | "v1.0", _, _] => Kind::Bucket,
        ["v1" | "v1.0", _, _, ..] if says(query, "multipart-manifest", "put") => Kind::Upload,
        ["v1" | "v1.0", _, _, _, ..] => Kind::Object,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dialect: Dialect, expected: Kind, request: &str) {
        let (method, target) = request.split_once(' ').expect("a method and a target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = method.parse().expect("a method");
        assert_eq!(dialect.kind(&method, path, query), expected, "{dialect:?} {request}");
    }

    #[test]
    fn s3_requests_are_told_apart() {
        for (expected, request) in [
            (Kind::Other, "GET /"),
            (Kind::Bucket, "PUT /b"),
            (Kind::Bucket, "HEAD /b/"),
            (Kind::Bucket, "GET /b?location"),
            (Kind::Listing, "GET /b?list-type=2&prefix=a%2F&delimiter=%2F"),
            (Kind::Listing, "GET /b/?prefix=uploads"),
            (Kind::Upload, "GET /b?uploads&prefix=a"),
            (Kind::Batch, "POST /b/?delete"),
            (Kind::Object, "PUT /b/k"),
            (Kind::Object, "GET /b/a/b/c/d/e/f/g/h/i/j?x-id=GetObject"),
            (Kind::Object, "HEAD /b/uploads"),
            (Kind::Object, "GET /b/k?partNumber=1"),
            (Kind::Upload, "POST /b/k?uploads"),
            (Kind::Part, "PUT /b/k?partNumber=1&uploadId=x"),
            (Kind::Upload, "POST /b/k?uploadId=x"),
            (Kind::Upload, "GET /b/k?uploadId=x"),
            (Kind::Upload, "DELETE /b/k?uploadId=x"),
            (Kind::Part, "POST /b/k?append&position=0"),
        ] {
            check(Dialect::S3, expected, request);
        }
    }

    #[test]
    fn azure_requests_are_told_apart() {
        for (expected, request) in [
            (Kind::Other, "GET /account?comp=list"),
            (Kind::Batch, "POST /account?comp=batch"),
            (Kind::Batch, "POST /account/c?restype=container&comp=batch"),
            (Kind::Bucket, "PUT /account/c?restype=container"),
            (Kind::Listing, "GET /account/c?restype=container&comp=list&prefix=a%2Fb"),
            (Kind::Object, "PUT /account/c/k"),
            (Kind::Object, "GET /account/c/a/b/c/d/e/f/g/h"),
            (Kind::Object, "PUT /account/c/k?comp=metadata"),
            (Kind::Part, "PUT /account/c/k?comp=block&blockid=AA%3D%3D"),
            (Kind::Part, "PUT /account/c/k?comp=appendblock"),
            (Kind::Upload, "PUT /account/c/k?comp=blocklist"),
            (Kind::Upload, "GET /account/c/k?comp=blocklist&blocklisttype=all"),
        ] {
            check(Dialect::Azure, expected, request);
        }
    }

    #[test]
    fn requests_of_google_are_told_apart() {
        for (expected, request) in [
            (Kind::Bucket, "POST /storage/v1/b?project=p"),
            (Kind::Other, "GET /storage/v1/b?project=p"),
            (Kind::Bucket, "GET /storage/v1/b/bucket"),
            (Kind::Listing, "GET /storage/v1/b/bucket/o?prefix=a%2F"),
            (Kind::Object, "GET /storage/v1/b/bucket/o/a%2Fb?alt=media"),
            (Kind::Object, "GET /storage/v1/b/bucket/o/a/b/c/d/e"),
            (Kind::Object, "POST /storage/v1/b/bucket/o/a/rewriteTo/b/bucket/o/c"),
            (Kind::Object, "POST /storage/v1/b/bucket/o/a/compose"),
            (Kind::Object, "GET /download/storage/v1/b/bucket/o/a?alt=media"),
            (Kind::Object, "POST /upload/storage/v1/b/bucket/o?uploadType=media&name=a"),
            (Kind::Upload, "POST /upload/storage/v1/b/bucket/o?uploadType=resumable&name=a"),
            (Kind::Part, "PUT /upload/storage/v1/b/bucket/o?uploadType=resumable&name=a&upload_id=1"),
            (Kind::Upload, "DELETE /upload/storage/v1/b/bucket/o?uploadType=resumable&upload_id=1"),
            (Kind::Batch, "POST /batch/storage/v1"),
            (Kind::Object, "GET /bucket/a/b"),
            (Kind::Part, "PUT /bucket/a?partNumber=1&uploadId=x"),
        ] {
            check(Dialect::Gcs, expected, request);
        }
    }

    #[test]
    fn swift_requests_are_told_apart() {
        for (expected, request) in [
            (Kind::Other, "GET /auth/v1.0"),
            (Kind::Other, "GET /healthcheck"),
            (Kind::Other, "POST /v3/auth/tokens"),
            (Kind::Other, "HEAD /v1/AUTH_test"),
            (Kind::Batch, "POST /v1/AUTH_test?bulk-delete"),
            (Kind::Batch, "POST /v1/AUTH_test?bulk-delete=true"),
            (Kind::Bucket, "PUT /v1/AUTH_test/c"),
            (Kind::Listing, "GET /v1/AUTH_test/c?prefix=a"),
            (Kind::Object, "PUT /v1/AUTH_test/c/a/b"),
            (Kind::Object, "GET /v1/AUTH_test/c/a/b?temp_url_sig=x"),
            (Kind::Upload, "PUT /v1/AUTH_test/c/a?multipart-manifest=put"),
            (Kind::Object, "DELETE /v1/AUTH_test/c/a?multipart-manifest=delete"),
        ] {
            check(Dialect::Swift, expected, request);
        }
    }
}
