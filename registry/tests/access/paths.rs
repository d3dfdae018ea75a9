//! Every path that the server has, on both of its ports, and what is sent to it.

use berth_oci::{Digest, media_type};
use berth_registry::route::{BlobAction, ManifestAction, Rejection, Route, UploadAction};
use bytes::Bytes;
use http::Method;

use crate::caller::Caller;
use crate::support::{self, Answer, Document, TOKEN, config_of};

/// The repository that requests are about.
pub(crate) const NAME: &str = "team/app";
/// One that others may use.
pub(crate) const OTHER: &str = "other/app";
/// A tag that no request names.
pub(crate) const HIDDEN: &str = "hidden-tag";
/// What nobody may see who may not pull.
pub(crate) const LAYER: &str = "what is in the layer";
/// What has arrived of the upload.
const ARRIVED: &str = "abc";

/// What requests are about.
pub(crate) struct Content {
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) manifest: Document,
    pub(crate) digest: Digest,
    pub(crate) layer: Digest,
    /// Path and query of an upload that somebody has begun.
    pub(crate) upload: String,
}

impl Content {
    /// What is not there, in the same form.
    pub(crate) fn absent() -> Content {
        let (name, tag) = ("team/gone".to_owned(), "gone".to_owned());
        let upload = format!("/v2/{name}/blobs/uploads/7f3ddbe2-8d1b-4d6a-8f66-2d9f2a1b0c3d?_state=x");
        let manifest = Document::image(&tag, &["no layer"]);
        let (digest, layer) = (manifest.digest(), Digest::sha256(b"no layer"));
        Content { name, tag, manifest, digest, layer, upload }
    }

    /// Makes it, as somebody who may.
    pub(crate) async fn make(caller: &mut Caller, authorization: Option<&str>) -> Content {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let tag = "v1".to_owned();
        let (manifest, other) = (Document::image(&tag, &[LAYER]), Document::image(OTHER, &["another layer"]));
        let of_other = [config_of(OTHER), "another layer".to_owned()].map(|content| (OTHER, content));
        for (name, content) in [(NAME, config_of(&tag)), (NAME, LAYER.to_owned())].into_iter().chain(of_other) {
            let path = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::sha256(content.as_bytes()));
            sent(caller, &Method::POST, &path, &headers, content.into(), 201).await;
        }
        let typed = [&headers[..], &[("content-type", manifest.media_type)]].concat();
        for (name, tag, manifest) in [(NAME, tag.as_str(), &manifest), (NAME, HIDDEN, &manifest), (OTHER, "v1", &other)]
        {
            let path = format!("/v2/{name}/manifests/{tag}");
            sent(caller, &Method::PUT, &path, &typed, manifest.raw.clone(), 201).await;
        }
        // A location names the host that was asked.
        let path_of =
            |answer: Answer| answer.header("location").split_once("/v2/").map(|(_, rest)| format!("/v2/{rest}"));
        let path = format!("/v2/{NAME}/blobs/uploads/");
        let begun = path_of(sent(caller, &Method::POST, &path, &headers, Bytes::new(), 202).await).unwrap();
        let upload = path_of(sent(caller, &Method::PATCH, &begun, &headers, ARRIVED.into(), 202).await).unwrap();
        let (digest, layer) = (manifest.digest(), Digest::sha256(LAYER.as_bytes()));
        Content { name: NAME.into(), tag, manifest, digest, layer, upload }
    }
}

async fn sent(
    caller: &mut Caller,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
    expected: u16,
) -> Answer {
    caller.send(method, path, headers, body).await.unwrap_or_else(|| panic!("{method} {path}")).expect(expected)
}

/// A path, in the words of the page, and as it is asked for.
pub(crate) struct Path {
    pub(crate) shown: &'static str,
    pub(crate) of: fn(&Content) -> String,
}

impl Path {
    /// Whether it is about what belongs to `NAME`, by way of another repository.
    pub(crate) fn is_by_way_of_another(&self) -> bool {
        is_by_way_of_another(self.shown)
    }
}

pub(crate) fn is_by_way_of_another(shown: &str) -> bool {
    shown.contains("of NAME") || shown.contains("from=NAME")
}

macro_rules! path {
    ($shown:literal, $of:expr) => {
        Path { shown: $shown, of: $of }
    };
}

fn upload(content: &Content) -> String {
    format!("{}&digest={}", content.upload, Digest::sha256(ARRIVED.as_bytes()))
}

/// The paths of the API. `OTHER` is a repository that others may use.
pub(crate) const API: &[Path] = &[
    path!("/", |_| "/".into()),
    path!("/v2", |_| "/v2".into()),
    path!("/v2/", |_| "/v2/".into()),
    path!("/v2/_catalog", |_| "/v2/_catalog".into()),
    path!("/v2/NAME/", |c| format!("/v2/{}/", c.name)),
    path!("/v2/NAME/tags/list", |c| format!("/v2/{}/tags/list", c.name)),
    path!("/v2/NAME/manifests/TAG", |c| format!("/v2/{}/manifests/{}", c.name, c.tag)),
    path!("/v2/NAME/manifests/DIGEST", |c| format!("/v2/{}/manifests/{}", c.name, c.digest)),
    path!("/v2/NAME/referrers/DIGEST", |c| format!("/v2/{}/referrers/{}", c.name, c.digest)),
    path!("/v2/NAME/blobs/DIGEST", |c| format!("/v2/{}/blobs/{}", c.name, c.layer)),
    path!("/v2/NAME/blobs/uploads/", |c| format!("/v2/{}/blobs/uploads/", c.name)),
    path!("/v2/NAME/blobs/uploads/ID", upload),
    path!("/v2/NAME/blobs/uploads/ID without its state", |c| c.upload.split('?').next().unwrap().to_owned()),
    // A name whose slash is escaped is the same name.
    path!("/v2/NAME/manifests/TAG, a slash escaped", |c| {
        format!("/v2/{}/manifests/{}", c.name.replace('/', "%2f"), c.tag)
    }),
    path!("/v2/NAME/blobs/uploads/ID, a slash escaped", |c| {
        upload(c).replacen(&c.name, &c.name.replace('/', "%2F"), 1)
    }),
    // A way by dots is none.
    path!("/v2/OTHER/../NAME/manifests/TAG", |c| format!("/v2/{OTHER}/../../{}/manifests/{}", c.name, c.tag)),
    // What belongs to NAME, by way of a repository that others may use.
    path!("/v2/OTHER/manifests/DIGEST of NAME", |c| format!("/v2/{OTHER}/manifests/{}", c.digest)),
    path!("/v2/OTHER/referrers/DIGEST of NAME", |c| format!("/v2/{OTHER}/referrers/{}", c.digest)),
    path!("/v2/OTHER/blobs/DIGEST of NAME", |c| format!("/v2/{OTHER}/blobs/{}", c.layer)),
    path!("/v2/OTHER/blobs/uploads/?mount=DIGEST of NAME", |c| {
        format!("/v2/{OTHER}/blobs/uploads/?mount={}", c.layer)
    }),
    path!("/v2/OTHER/blobs/uploads/?mount=DIGEST&from=NAME", |c| {
        format!("/v2/{OTHER}/blobs/uploads/?mount={}&from={}", c.layer, c.name)
    }),
    path!("/v2/OTHER/blobs/uploads/ID of NAME", |c| upload(c).replacen(&c.name, OTHER, 1)),
    path!("/v2/OTHER/blobs/uploads/ID of NAME without its state", |c| {
        c.upload.split('?').next().unwrap().replacen(&c.name, OTHER, 1)
    }),
    path!("/v2/MALFORMED/tags/list", |_| "/v2/NO/tags/list".into()),
    path!("/v2/NAME/blobs/MALFORMED", |c| format!("/v2/{}/blobs/sha256:0", c.name)),
    path!("/elsewhere", |_| "/elsewhere".into()),
    path!("/metrics", |_| "/metrics".into()),
    path!("/debug/health", |_| "/debug/health".into()),
    path!("/admin/v1/gc", |_| "/admin/v1/gc".into()),
];

/// The paths of the debug port.
pub(crate) const DEBUG: &[Path] = &[
    path!("/debug/health", |_| "/debug/health".into()),
    path!("/debug/storage", |_| "/debug/storage".into()),
    path!("/debug/issuers", |_| "/debug/issuers".into()),
    path!("/metrics", |_| "/metrics".into()),
    path!("/admin/v1/gc", |_| "/admin/v1/gc".into()),
    path!("/admin/v1/read-only", |_| "/admin/v1/read-only".into()),
    path!("/admin/v1/revoke-tokens", |_| "/admin/v1/revoke-tokens".into()),
    path!("/admin/v1/elsewhere", |_| "/admin/v1/elsewhere".into()),
    path!("/v2/_catalog", |_| "/v2/_catalog".into()),
    path!("/elsewhere", |_| "/elsewhere".into()),
];

/// The paths of the issuer.
pub(crate) const ISSUER: &[Path] = &[
    path!("/auth/token", |c| format!("/auth/token?scope=repository:{}:pull", c.name)),
    path!("/auth/revoke", |_| "/auth/revoke".into()),
    path!("/auth/keys", |_| "/auth/keys".into()),
    path!("/auth/.well-known/openid-configuration", |_| "/auth/.well-known/openid-configuration".into()),
    path!("/auth/elsewhere", |_| "/auth/elsewhere".into()),
];

/// The methods that are tried; the last stands for those that nothing has.
pub(crate) fn methods() -> [Method; 8] {
    let odd = Method::from_bytes(b"PROPFIND").unwrap();
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, odd]
}

/// What is sent along: what makes the request one that succeeds for whoever may.
pub(crate) fn body(method: &Method, path: &str, content: &Content) -> (Bytes, &'static str) {
    match *method {
        Method::PUT if path.contains("/manifests/") => (content.manifest.raw.clone(), media_type::OCI_IMAGE),
        Method::PATCH => ("def".into(), "application/octet-stream"),
        Method::POST if path == "/admin/v1/gc" => ("{\"dryRun\": true}".into(), "application/json"),
        // Who asks is in a header beside it, if anywhere.
        Method::POST if path.starts_with("/auth/") => ("grant_type=password&token=x".into(), FORM),
        Method::POST if path == "/admin/v1/revoke-tokens" => ("{\"user\": \"alice\"}".into(), "application/json"),
        Method::PUT if path == "/admin/v1/read-only" => ("{\"readOnly\": false}".into(), "application/json"),
        _ => (Bytes::new(), "application/octet-stream"),
    }
}

/// Every kind of request that the server tells apart.
macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            pub(crate) const ALL: &[Kind] = &[$(Kind::$kind),*];
        }
    };
}

kinds! {
    Root, Moved, Options, Base, Catalog, Repository, Tags, ManifestRead, ManifestWrite, ManifestDelete, Referrers, BlobRead,
    BlobStat, BlobDelete, UploadBegin, UploadProgress, UploadAppend, UploadFinish, UploadCancel, Elsewhere, Rejected,
}

/// The kind of a route. A new route needs a kind, a kind needs a path above, and both are asked for by the tests.
pub(crate) fn kind(route: &Result<Route, Rejection>) -> Kind {
    match route {
        Ok(Route::Root) => Kind::Root,
        Ok(Route::Moved(_)) => Kind::Moved,
        Ok(Route::Options { .. }) => Kind::Options,
        // Where it is, the configuration says: its paths have a table of their own.
        Ok(Route::Issuer(_)) => Kind::Elsewhere,
        Ok(Route::Base) => Kind::Base,
        Ok(Route::Catalog) => Kind::Catalog,
        Ok(Route::Repository(_)) => Kind::Repository,
        Ok(Route::Tags(_)) => Kind::Tags,
        Ok(Route::Manifest(_, _, ManifestAction::Read)) => Kind::ManifestRead,
        Ok(Route::Manifest(_, _, ManifestAction::Write)) => Kind::ManifestWrite,
        Ok(Route::Manifest(_, _, ManifestAction::Delete)) => Kind::ManifestDelete,
        Ok(Route::Referrers(..)) => Kind::Referrers,
        Ok(Route::Blob(_, _, BlobAction::Read)) => Kind::BlobRead,
        Ok(Route::Blob(_, _, BlobAction::Stat)) => Kind::BlobStat,
        Ok(Route::Blob(_, _, BlobAction::Delete)) => Kind::BlobDelete,
        Ok(Route::UploadBegin(_)) => Kind::UploadBegin,
        Ok(Route::Upload(_, _, UploadAction::Progress)) => Kind::UploadProgress,
        Ok(Route::Upload(_, _, UploadAction::Append)) => Kind::UploadAppend,
        Ok(Route::Upload(_, _, UploadAction::Finish)) => Kind::UploadFinish,
        Ok(Route::Upload(_, _, UploadAction::Cancel)) => Kind::UploadCancel,
        Err(Rejection::NotFound) => Kind::Elsewhere,
        Err(
            Rejection::Method { .. }
            | Rejection::Name(_)
            | Rejection::Digest(_)
            | Rejection::Upload { .. }
            | Rejection::Reference { .. },
        ) => Kind::Rejected,
    }
}

/// The media type of forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// The header of the administration.
pub(crate) fn admin_token() -> String {
    format!("Bearer {TOKEN}")
}

/// What every client takes.
pub(crate) const ACCEPT: (&str, &str) = ("accept", support::ACCEPT_ALL);
