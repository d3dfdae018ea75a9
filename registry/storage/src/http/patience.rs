//! [pure] How long a server may take to begin its answer.
//!
//! Nearly all requests are answered at once. For a few the store has to move the bytes of large objects first, and some
//! stores say nothing before they have: parts are put together, an object is copied. Whoever gives such a request up after
//! seconds does not know what has become of it. Which they are is told from what they say in each of the protocols, so that
//! no driver has to think of it.

use std::time::Duration;

use http::{Method, Request};

/// How long a server may take to begin its answer, beside the time that the body of the request takes.
const ANSWER: Duration = Duration::from_secs(30);
/// The same where the store has to move bytes by itself before it can answer: a large layer at the speed of one disk.
const LABOUR: Duration = Duration::from_secs(5 * 60);
/// How many bytes of a request a slow network moves in a second, at the least.
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;
/// The headers that name the source of a copy.
const SOURCES: [&str; 4] = ["x-amz-copy-source", "x-oss-copy-source", "x-ms-copy-source", "x-copy-from"];

/// How long to wait for the beginning of an answer to a request whose body has so many bytes.
pub(super) fn patience<B>(request: &Request<B>, body_bytes: u64) -> Duration {
    let answer = if is_labour(request) { LABOUR } else { ANSWER };
    answer + Duration::from_secs(body_bytes / SLOWEST_BYTES_PER_SECOND)
}

/// Whether the store has to move the bytes of objects for it.
fn is_labour<B>(request: &Request<B>) -> bool {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or(""));
    let mut parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    match *request.method() {
        // An upload is completed: S3 and OSS; objects are put together, or copied: Google.
        Method::POST => {
            parameters.any(|(name, _)| name == "uploadId") || path.ends_with("/compose") || path.contains("/rewriteTo/")
        }
        // An object or a part is copied; blocks are put together: Azure; a large object is made of its segments: Swift.
        Method::PUT => {
            SOURCES.iter().any(|name| request.headers().contains_key(*name))
                || parameters
                    .any(|parameter| matches!(parameter, ("comp", "blocklist") | ("multipart-manifest", "put")))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_has_to_work_for_is_waited_for_longer() {
        fn check(method: Method, uri: &str, header: Option<&str>, expected: Duration) {
            let mut request = Request::builder().method(method).uri(uri);
            if let Some(name) = header {
                request = request.header(name, "images/a");
            }
            assert_eq!(patience(&request.body(()).unwrap(), 0), expected, "{uri} {header:?}");
        }
        let post = |uri, expected| check(Method::POST, uri, None, expected);
        post("http://host/images/key?uploadId=1", LABOUR);
        post("http://host/images/key?x=y&uploadId=1", LABOUR);
        post("http://host/storage/v1/b/images/o/a%2Fb/compose?fields=size", LABOUR);
        post("http://host/storage/v1/b/images/o/a/rewriteTo/b/images/o/c", LABOUR);
        post("http://host/images/key?uploads", ANSWER);
        post("http://host/images?delete", ANSWER);
        let put = |uri, header, expected| check(Method::PUT, uri, header, expected);
        put("http://host/images/key?x-id=CopyObject", Some("x-amz-copy-source"), LABOUR);
        put("http://host/images/key", Some("X-Oss-Copy-Source"), LABOUR);
        put("http://host/box/key", Some("x-ms-copy-source"), LABOUR);
        put("http://host/v1/AUTH_a/images/key", Some("x-copy-from"), LABOUR);
        put("http://host/box/key?comp=blocklist", None, LABOUR);
        put("http://host/v1/AUTH_a/images/key?multipart-manifest=put", None, LABOUR);
        put("http://host/images/key?partNumber=1&uploadId=1", None, ANSWER);
        put("http://host/box/key?comp=block&blockid=blocklist", None, ANSWER);
        check(Method::DELETE, "http://host/images/key?uploadId=1", None, ANSWER);
        check(Method::GET, "http://host/images/key/compose", None, ANSWER);
    }

    #[test]
    fn a_body_takes_its_time() {
        let request = Request::builder().method(Method::PUT).uri("http://host/images/key").body(()).unwrap();
        assert_eq!(patience(&request, 0), ANSWER);
        assert_eq!(patience(&request, 10 << 20), ANSWER + Duration::from_secs(40));
    }
}
