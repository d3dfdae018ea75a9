//! From a method and a path to what is asked for: pure, and told apart from the end, because repository names hold
//! slashes.

use berth_oci::{Digest, DigestError, NameError, Reference, ReferenceError, RepositoryName};
use http::Method;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use uuid::Uuid;

use crate::issuer::Endpoint;

/// What may stand in a path as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// What may not stand in a path (RFC 3986, section 3.3), and is taken in one that is asked for. A browser reads a backslash
/// as a slash, so that a path that begins with one would lead to another host.
const NOT_IN_A_PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: somebody is there.
    Root,
    /// A path that is not written as it should be, and how it should, fit for a header.
    Moved(String),
    /// `OPTIONS` of a path that there is.
    Options {
        /// The methods that it has, as the header `Allow` lists them.
        allow: &'static str,
    },
    /// A path of the issuer, whose place is a matter of the configuration: [`parse`] finds none.
    Issuer(Endpoint),
    /// `GET /v2/`: the API is there.
    Base,
    /// `GET /v2/_catalog`.
    Catalog,
    /// `DELETE /v2/<name>/`: Berth's own.
    Repository(RepositoryName),
    /// `GET /v2/<name>/tags/list`.
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`.
    Manifest(RepositoryName, Reference, ManifestAction),
    /// `GET /v2/<name>/referrers/<digest>`.
    Referrers(RepositoryName, Digest),
    /// `/v2/<name>/blobs/<digest>`.
    Blob(RepositoryName, Digest, BlobAction),
    /// `POST /v2/<name>/blobs/uploads/`.
    UploadBegin(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`.
    Upload(RepositoryName, Uuid, UploadAction),
}

/// What is done to a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestAction {
    /// `GET` and `HEAD`.
    Read,
    /// `PUT`.
    Write,
    /// `DELETE`.
    Delete,
}

/// What is done to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobAction {
    /// `GET`.
    Read,
    /// `HEAD`.
    Stat,
    /// `DELETE`.
    Delete,
}

/// What is done to an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadAction {
    /// `GET` and `HEAD`.
    Progress,
    /// `PATCH`.
    Append,
    /// `PUT`.
    Finish,
    /// `DELETE`.
    Cancel,
}

/// Why a request asks for nothing that there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such path.
    #[error("no such path")]
    NotFound,
    /// The path does not have this method.
    #[error("the method is not one of {allow}")]
    Method {
        /// The methods that it has, as the header `Allow` lists them.
        allow: &'static str,
    },
    /// The repository name is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The digest of a blob is malformed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The identity of an upload is none that this registry gives out.
    #[error("upload {id:?} is not known")]
    Upload {
        /// The identity that was asked for.
        id: String,
        /// Whether the request only asks how far the upload has come.
        reads: bool,
    },
    /// The tag or digest of a manifest is malformed.
    #[error("{source}")]
    Reference {
        /// Whether the request only reads, so that a malformed tag is only one that does not exist.
        reads: bool,
        /// What is wrong.
        source: ReferenceError,
    },
}

/// The name of a route as metrics have it; Distribution's names, as far as it has the route.
#[must_use]
pub fn handler_name(route: &Result<Route, Rejection>) -> &'static str {
    match route {
        Ok(Route::Root | Route::Base) => "base",
        Ok(Route::Issuer(_)) => "token",
        Ok(Route::Catalog) => "catalog",
        Ok(Route::Repository(_)) => "repository",
        Ok(Route::Tags(_)) => "tags",
        Ok(Route::Manifest(..)) => "manifest",
        Ok(Route::Referrers(..)) => "referrers",
        Ok(Route::Blob(..)) => "blob",
        Ok(Route::UploadBegin(_)) => "blob-upload",
        Ok(Route::Upload(..)) => "blob-upload-chunk",
        Ok(Route::Moved(_) | Route::Options { .. }) | Err(_) => "none",
    }
}

/// Reads a method and a path that `prefix` (empty, or with a slash at both ends) stands in front of.
///
/// # Errors
/// [`Rejection`], which says what is wrong with the request.
pub fn parse(method: &Method, path: &str, prefix: &str) -> Result<Route, Rejection> {
    // Only who reads is sent to the path that is meant. Of who writes, a client might follow with another method, and a
    // script whose variable was empty might delete what it did not name.
    if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return match parse_written(method, path, prefix) {
            // Only what is nothing else can be a whole repository: neither a path with a slash too many, nor one that
            // lacks its tag or digest.
            Err(Rejection::NotFound)
                if *method == Method::DELETE
                    && cleaned(path).is_none()
                    && without_slash(method, path, prefix).is_none() =>
            {
                repository(path, prefix)
            }
            route => route,
        };
    }
    if let Some(clean) = cleaned(path) {
        return Ok(moved(&clean));
    }
    if let Some(clean) = cleaned_of_escapes(path) {
        return Ok(Route::Moved(clean));
    }
    match parse_written(method, path, prefix) {
        Err(Rejection::Method { allow }) if *method == Method::OPTIONS => Ok(Route::Options { allow }),
        Err(Rejection::NotFound) => without_slash(method, path, prefix).ok_or(Rejection::NotFound),
        route => route,
    }
}

/// The path without the slash at its end, if there is that one.
fn without_slash(method: &Method, path: &str, prefix: &str) -> Option<Route> {
    let path = path.strip_suffix('/')?;
    let found = matches!(parse_written(method, path, prefix), Ok(_) | Err(Rejection::Method { .. }));
    found.then(|| moved(path))
}

/// A path that is written with escapes only where it was asked for with them, or must have them.
fn moved(path: &str) -> Route {
    Route::Moved(utf8_percent_encode(path, NOT_IN_A_PATH).to_string())
}

/// A path without empty components and dots, if it has any: Distribution sends clients there.
fn cleaned(path: &str) -> Option<String> {
    let components = path.strip_prefix('/')?;
    let is_odd = |component: &str| matches!(component, "" | "." | "..");
    let inner = components.strip_suffix('/').unwrap_or(components);
    if components.is_empty() || !inner.split('/').any(is_odd) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for component in inner.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(kept.pop()),
            component => kept.push(component),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", kept.join("/")))
}

/// The same for a path whose dots or slashes are escaped: a name is never meant by them.
fn cleaned_of_escapes(path: &str) -> Option<String> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let clean = cleaned(&decoded)?;
    Some(utf8_percent_encode(&clean, PATH).to_string())
}

fn parse_written(method: &Method, written: &str, prefix: &str) -> Result<Route, Rejection> {
    let decoded = percent_decode_str(written).decode_utf8().map_err(|_| Rejection::NotFound)?;
    // Whatever the prefix, and whoever asks in whatever way: this is no path of the API.
    if decoded == "/" {
        return Ok(Route::Root);
    }
    let path = match prefix {
        "" => decoded.strip_prefix('/'),
        prefix => decoded.strip_prefix(prefix),
    };
    let path = path.ok_or(Rejection::NotFound)?;
    let Some(rest) = path.strip_prefix("v2/") else {
        return match path {
            "v2" => Ok(moved(&format!("{written}/"))),
            _ => Err(Rejection::NotFound),
        };
    };
    match rest {
        "" => return read_only(method, Route::Base),
        "_catalog" => return read_only(method, Route::Catalog),
        _ => {}
    }
    // A name can hold every one of these words as a component, so what stands last decides.
    if let Some(name) = rest.strip_suffix("/tags/list") {
        let name = name.parse()?;
        return read_only(method, Route::Tags(name));
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        let _: RepositoryName = name.parse()?;
        return Ok(moved(&format!("{written}/")));
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads/") {
        let name = name.parse()?;
        return if *method == Method::POST { Ok(Route::UploadBegin(name)) } else { wrong_method("POST") };
    }
    let (head, last) = rest.rsplit_once('/').ok_or(Rejection::NotFound)?;
    if let Some(name) = head.strip_suffix("/blobs/uploads") {
        return upload(method, name, last);
    }
    if let Some(name) = head.strip_suffix("/blobs") {
        return blob(method, name, last);
    }
    if let Some(name) = head.strip_suffix("/manifests") {
        return manifest(method, name, last);
    }
    if let Some(name) = head.strip_suffix("/referrers") {
        return read_only(method, Route::Referrers(name.parse()?, last.parse()?));
    }
    Err(Rejection::NotFound)
}

/// `/v2/<name>/`.
fn repository(written: &str, prefix: &str) -> Result<Route, Rejection> {
    let decoded = percent_decode_str(written).decode_utf8().map_err(|_| Rejection::NotFound)?;
    let prefix = if prefix.is_empty() { "/" } else { prefix };
    let path = decoded.strip_prefix(prefix).and_then(|path| path.strip_prefix("v2/"));
    let name = path.and_then(|path| path.strip_suffix('/')).ok_or(Rejection::NotFound)?;
    Ok(Route::Repository(name.parse()?))
}

fn wrong_method(allow: &'static str) -> Result<Route, Rejection> {
    Err(Rejection::Method { allow })
}

fn read_only(method: &Method, route: Route) -> Result<Route, Rejection> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(route) } else { wrong_method("GET, HEAD") }
}

fn upload(method: &Method, name: &str, id: &str) -> Result<Route, Rejection> {
    let action = match *method {
        Method::GET | Method::HEAD => UploadAction::Progress,
        Method::PATCH => UploadAction::Append,
        Method::PUT => UploadAction::Finish,
        Method::DELETE => UploadAction::Cancel,
        _ => return wrong_method("DELETE, GET, HEAD, PATCH, PUT"),
    };
    let name = name.parse()?;
    match id.parse() {
        Ok(id) => Ok(Route::Upload(name, id, action)),
        Err(_) if is_like_an_upload(id) => {
            Err(Rejection::Upload { id: id.to_owned(), reads: action == UploadAction::Progress })
        }
        Err(_) => Err(Rejection::NotFound),
    }
}

/// Whether a path with this at its end is that of an upload to Distribution, which asks for these characters alone.
fn is_like_an_upload(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
}

fn blob(method: &Method, name: &str, digest: &str) -> Result<Route, Rejection> {
    let (name, digest) = (name.parse()?, digest.parse()?);
    let action = match *method {
        Method::GET => BlobAction::Read,
        Method::HEAD => BlobAction::Stat,
        Method::DELETE => BlobAction::Delete,
        _ => return wrong_method("DELETE, GET, HEAD"),
    };
    Ok(Route::Blob(name, digest, action))
}

fn manifest(method: &Method, name: &str, reference: &str) -> Result<Route, Rejection> {
    let name = name.parse()?;
    let reference: Result<Reference, ReferenceError> = reference.parse();
    if let Err(source @ ReferenceError::Digest(_)) = reference {
        return Err(Rejection::Reference { reads: false, source });
    }
    let action = match *method {
        Method::GET | Method::HEAD => ManifestAction::Read,
        Method::PUT => ManifestAction::Write,
        Method::DELETE => ManifestAction::Delete,
        _ => return wrong_method("DELETE, GET, HEAD, PUT"),
    };
    let reads = action == ManifestAction::Read;
    let reference = reference.map_err(|source| Rejection::Reference { reads, source })?;
    Ok(Route::Manifest(name, reference, action))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "6fa459ea-ee8a-3ca4-894e-db77e160355e";

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better in a table")]
    fn check(method: Method, path: &str, expected: Result<Route, &str>) {
        let path = path.replace("DIGEST", DIGEST).replace("ID", ID);
        let found = parse(&method, &path, "").map_err(|rejection| rejection.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{method} {path}");
    }

    #[test]
    fn every_route_is_told_apart() {
        use {BlobAction as B, ManifestAction as M, UploadAction as U};
        let digest: Digest = DIGEST.parse().unwrap();
        let id: Uuid = ID.parse().unwrap();
        let tag = |text: &str| Reference::Tag(text.parse().unwrap());
        check(Method::GET, "/", Ok(Route::Root));
        check(Method::GET, "/v2/", Ok(Route::Base));
        check(Method::HEAD, "/v2/", Ok(Route::Base));
        check(Method::GET, "/v2/_catalog", Ok(Route::Catalog));
        check(Method::DELETE, "/v2/a/", Ok(Route::Repository(name("a"))));
        check(Method::DELETE, "/v2/a/b-c/", Ok(Route::Repository(name("a/b-c"))));
        check(Method::GET, "/v2/a/tags/list", Ok(Route::Tags(name("a"))));
        check(Method::GET, "/v2/a/b/c/tags/list", Ok(Route::Tags(name("a/b/c"))));
        check(Method::GET, "/v2/a/manifests/v1", Ok(Route::Manifest(name("a"), tag("v1"), M::Read)));
        check(Method::HEAD, "/v2/a/b/manifests/v1", Ok(Route::Manifest(name("a/b"), tag("v1"), M::Read)));
        check(Method::PUT, "/v2/a/manifests/v1", Ok(Route::Manifest(name("a"), tag("v1"), M::Write)));
        let by_digest = Reference::Digest(digest.clone());
        check(Method::DELETE, "/v2/a/manifests/DIGEST", Ok(Route::Manifest(name("a"), by_digest, M::Delete)));
        check(Method::GET, "/v2/a/blobs/DIGEST", Ok(Route::Blob(name("a"), digest.clone(), B::Read)));
        let escaped = DIGEST.replace(':', "%3A");
        check(Method::HEAD, &format!("/v2/a/blobs/{escaped}"), Ok(Route::Blob(name("a"), digest.clone(), B::Stat)));
        check(Method::DELETE, "/v2/a/blobs/DIGEST", Ok(Route::Blob(name("a"), digest.clone(), B::Delete)));
        check(Method::GET, "/v2/a/b/referrers/DIGEST", Ok(Route::Referrers(name("a/b"), digest)));
        check(Method::POST, "/v2/a/blobs/uploads/", Ok(Route::UploadBegin(name("a"))));
        check(Method::GET, "/v2/a/blobs/uploads/ID", Ok(Route::Upload(name("a"), id, U::Progress)));
        check(Method::PATCH, "/v2/a/blobs/uploads/ID", Ok(Route::Upload(name("a"), id, U::Append)));
        check(Method::PUT, "/v2/a/blobs/uploads/ID", Ok(Route::Upload(name("a"), id, U::Finish)));
        check(Method::DELETE, "/v2/a/blobs/uploads/ID", Ok(Route::Upload(name("a"), id, U::Cancel)));
    }

    #[test]
    fn a_name_may_hold_the_words_of_the_routes() {
        let tag = |text: &str| Reference::Tag(text.parse().unwrap());
        check(Method::GET, "/v2/tags/list/tags/list", Ok(Route::Tags(name("tags/list"))));
        check(Method::GET, "/v2/blobs/uploads/tags/list", Ok(Route::Tags(name("blobs/uploads"))));
        check(
            Method::GET,
            "/v2/manifests/blobs/manifests/list",
            Ok(Route::Manifest(name("manifests/blobs"), tag("list"), ManifestAction::Read)),
        );
        check(Method::POST, "/v2/a/manifests/blobs/uploads/", Ok(Route::UploadBegin(name("a/manifests"))));
    }

    #[test]
    fn what_is_wrong_is_said() {
        check(Method::GET, "/v1/", Err("no such path"));
        check(Method::GET, "/v2/a", Err("no such path"));
        check(Method::GET, "/v2/a/referrers/", Err("digest \"\" is not of the form <algorithm>:<hex>"));
        check(Method::GET, "/v2/a/referrers/v1", Err("digest \"v1\" is not of the form <algorithm>:<hex>"));
        check(Method::DELETE, "/v2/a/referrers/DIGEST", Err("the method is not one of GET, HEAD"));
        check(Method::DELETE, "/v2/", Err("the method is not one of GET, HEAD"));
        check(Method::DELETE, "/v2/a", Err("no such path"));
        check(Method::GET, "/v2/a/", Err("no such path"));
        check(Method::DELETE, "/v1/", Err("no such path"));
        check(Method::DELETE, "/v2/a/manifests/v1/", Err("no such path"));
        check(Method::DELETE, "/v2/a/tags/list/", Err("no such path"));
        check(Method::DELETE, "/v2/a//", Err("no such path"));
        check(Method::DELETE, "/v2/A/", Err("repository name \"A\" has an invalid component \"A\""));
        check(Method::DELETE, "/v2/a/blobs/", Err("digest \"\" is not of the form <algorithm>:<hex>"));
        check(Method::DELETE, "/v2/a/blobs/uploads/", Err("the method is not one of POST"));
        check(Method::GET, "/v2/%ff/tags/list", Err("no such path"));
        check(Method::GET, "/v2/a/blobs/uploads/none", Err("upload \"none\" is not known"));
        check(Method::PUT, "/v2/a/blobs/uploads/a.b=", Err("upload \"a.b=\" is not known"));
        check(Method::GET, "/v2/a/blobs/uploads/a~b", Err("no such path"));
        check(Method::POST, "/v2/", Err("the method is not one of GET, HEAD"));
        check(Method::DELETE, "/v2/a/tags/list", Err("the method is not one of GET, HEAD"));
        check(Method::GET, "/v2/a/blobs/uploads/", Err("the method is not one of POST"));
        check(Method::POST, "/v2/a/blobs/uploads/ID", Err("the method is not one of DELETE, GET, HEAD, PATCH, PUT"));
        check(Method::PUT, "/v2/a/blobs/DIGEST", Err("the method is not one of DELETE, GET, HEAD"));
        check(Method::PATCH, "/v2/a/manifests/v1", Err("the method is not one of DELETE, GET, HEAD, PUT"));
        check(Method::GET, "/v2/a/B/tags/list", Err("repository name \"a/B\" has an invalid component \"B\""));
        check(
            Method::DELETE,
            "/v2/a%2f..%2fb/manifests/v1",
            Err("repository name \"a/../b\" has an invalid component \"..\""),
        );
        check(Method::GET, "/v2/a/blobs/x", Err("digest \"x\" is not of the form <algorithm>:<hex>"));
        check(Method::GET, "/v2/a/manifests/.x", Err("tag \".x\" does not match [A-Za-z0-9_][A-Za-z0-9_.-]*"));
    }

    #[test]
    fn a_path_that_is_written_differently_is_elsewhere() {
        let moved = |path: &str| Ok(Route::Moved(path.to_owned()));
        for method in [Method::GET, Method::HEAD] {
            check(method.clone(), "/v2", moved("/v2/"));
            check(method.clone(), "/v2/_catalog/", moved("/v2/_catalog"));
            check(method.clone(), "/v2/a/tags/list/", moved("/v2/a/tags/list"));
            check(method.clone(), "/v2/a/manifests/v1/", moved("/v2/a/manifests/v1"));
            check(method.clone(), "/v2/a%2Fb/manifests/v1/", moved("/v2/a%2Fb/manifests/v1"));
            check(method.clone(), "//v2/", moved("/v2/"));
            check(method.clone(), "/v2//", moved("/v2/"));
            check(method.clone(), "//", moved("/"));
            check(method.clone(), "/./v2/a//b/./tags/list", moved("/v2/a/b/tags/list"));
            check(method.clone(), "/v2/a/../b/tags/list", moved("/v2/b/tags/list"));
            check(method.clone(), "/../../v2/..", moved("/"));
            check(method.clone(), "/v2/a/..", moved("/v2"));
            check(method.clone(), "/v2/a%2f..%2Fb/tags/list", moved("/v2/b/tags/list"));
            check(method.clone(), "/v2/%2e%2e/%0d%0aa/", moved("/%0D%0Aa/"));
            check(method.clone(), "/v2/a/blobs/uploads", moved("/v2/a/blobs/uploads/"));
            check(method.clone(), "//evil.example/v2/", moved("/evil.example/v2/"));
            check(method.clone(), "/\\evil.example/./x", moved("/%5Cevil.example/x"));
            check(method.clone(), "/.\\evil.example//x", moved("/.%5Cevil.example/x"));
            check(method.clone(), "/%5Cevil.example//x", moved("/%5Cevil.example/x"));
            check(method.clone(), "/%5Cevil.example/%2e/x", moved("/%5Cevil.example/x"));
            check(method, "/\"<>^`{|}/./é", moved("/%22%3C%3E%5E%60%7B%7C%7D/%C3%A9"));
        }
        check(Method::POST, "/v2/a/blobs/uploads", moved("/v2/a/blobs/uploads/"));
        check(Method::OPTIONS, "/v2/a/tags/list/", moved("/v2/a/tags/list"));
        check(Method::OPTIONS, "/v2//", moved("/v2/"));
        check(Method::PUT, "/v2", moved("/v2/"));
        check(Method::PUT, "/v2/a/manifests/v1/", Err("no such path"));
        check(Method::DELETE, "/v2/a//manifests/v1", Err("repository name \"a/\" has an invalid component \"\""));
        check(Method::DELETE, "/v2/a/manifests/../", Err("no such path"));
        check(Method::GET, "/v1/", Err("no such path"));
        check(Method::GET, "/elsewhere/", Err("no such path"));
        check(Method::GET, "/v2/a/manifests/.x/", Err("no such path"));
        assert_eq!(parse(&Method::GET, "/hub/v2", "/hub/"), Ok(Route::Moved("/hub/v2/".into())));
        assert_eq!(parse(&Method::GET, "/hub/v2/_catalog/", "/hub/"), Ok(Route::Moved("/hub/v2/_catalog".into())));
        assert_eq!(parse(&Method::GET, "*", ""), Err(Rejection::NotFound));
    }

    #[test]
    fn options_tell_the_methods_of_a_path() {
        fn options(path: &str, allow: &'static str) {
            check(Method::OPTIONS, path, Ok(Route::Options { allow }));
        }
        options("/v2/", "GET, HEAD");
        options("/v2/_catalog", "GET, HEAD");
        options("/v2/a/tags/list", "GET, HEAD");
        options("/v2/a/manifests/v1", "DELETE, GET, HEAD, PUT");
        options("/v2/a/blobs/DIGEST", "DELETE, GET, HEAD");
        options("/v2/a/blobs/uploads/", "POST");
        options("/v2/a/blobs/uploads/ID", "DELETE, GET, HEAD, PATCH, PUT");
        check(Method::OPTIONS, "/elsewhere", Err("no such path"));
    }

    #[test]
    fn a_prefix_stands_in_front_of_everything() {
        assert_eq!(parse(&Method::GET, "/hub/v2/_catalog", "/hub/"), Ok(Route::Catalog));
        assert_eq!(parse(&Method::GET, "/hub/", "/hub/"), Err(Rejection::NotFound));
        assert_eq!(parse(&Method::GET, "/", "/hub/"), Ok(Route::Root));
        let whole = Route::Repository(name("a/b"));
        assert_eq!(parse(&Method::DELETE, "/hub/v2/a/b/", "/hub/"), Ok(whole));
        assert_eq!(parse(&Method::GET, "/v2/_catalog", "/hub/"), Err(Rejection::NotFound));
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_the_parser_panic(path in "(/v2)?(/[a-z%:._-]{0,9}|/blobs|/uploads|/manifests|/referrers|/tags|/list){0,8}") {
            for method in [Method::GET, Method::PUT, Method::POST] {
                let _ = parse(&method, &path, "");
            }
        }
    }
}
