//! What must hold of the answers, whatever they are.

mod ports;

use http::Method;
use serde_json::Value;

use crate::Cell;
use crate::paths::{Content, HIDDEN, Kind, LAYER, NAME, is_by_way_of_another};
use crate::schemes::{Class, Everybody, Scheme};
use crate::support::{Answer, Client};

pub(crate) use ports::{debug, issuer};

/// What a request does with the repository of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// Nothing that is anybody's.
    Nothing,
    /// To know who may be here at all, or why a request is none.
    Entrance,
    /// The list of repositories, of which everybody sees their own.
    Catalog,
    Reading,
    Writing,
    Deleting,
}

pub(crate) fn writes(kind: Kind) -> bool {
    matches!(wants(kind), Wants::Writing | Wants::Deleting)
}

fn wants(kind: Kind) -> Wants {
    match kind {
        Kind::Root | Kind::Moved | Kind::Options | Kind::Elsewhere => Wants::Nothing,
        Kind::Base | Kind::Rejected => Wants::Entrance,
        Kind::Catalog => Wants::Catalog,
        Kind::Tags | Kind::ManifestRead | Kind::Referrers | Kind::BlobRead | Kind::BlobStat | Kind::UploadProgress => {
            Wants::Reading
        }
        Kind::ManifestWrite | Kind::UploadBegin | Kind::UploadAppend | Kind::UploadFinish => Wants::Writing,
        Kind::Repository | Kind::ManifestDelete | Kind::BlobDelete | Kind::UploadCancel => Wants::Deleting,
    }
}

pub(crate) fn api(scheme: &Scheme, cells: &[Cell]) {
    for kind in Kind::ALL {
        assert!(cells.iter().any(|cell| cell.kind == *kind), "{kind:?} is asked for by no path");
    }
    for cell in cells {
        let label = format!("{}: {}", scheme.shown, cell.label());
        assert_eq!(cell.answer.is_none(), cell.class == Class::Shut, "{label}");
        let Some(answer) = &cell.answer else { continue };
        assert!(cell.status() < 500, "{label}");
        admittance(scheme, cell, &label);
        if cell.is_refused() {
            refusal(cell, &label);
        }
        if is_by_way_of_another(cell.path) {
            by_way_of_another(scheme, cell, &label);
        }
        if cell.kind == Kind::UploadProgress && answer.status.is_success() {
            progress(answer, &label);
        }
        if cell.kind == Kind::Catalog && cell.method == Method::GET && answer.status.is_success() {
            catalog(scheme, cell, &label);
        }
    }
    spelling(cells);
}

/// Who is let in, and who is not.
fn admittance(scheme: &Scheme, cell: &Cell, label: &str) {
    let wants = wants(cell.kind);
    if wants == Wants::Nothing || scheme.everybody == Everybody::Everything {
        return assert!(!cell.is_refused(), "{label}");
    }
    // What everybody may do is of NAME alone.
    let is_other = cell.path.contains("OTHER/");
    let for_everybody =
        scheme.everybody == Everybody::Pull && !is_other && matches!(wants, Wants::Reading | Wants::Catalog);
    let has_method = scheme.has_method();
    // A certificate cannot be asked for.
    let refused = if has_method { 401 } else { 403 };
    let identifies = has_method || scheme.tls.is_some();
    match cell.class {
        Class::Shut => panic!("{label}"),
        Class::Bad => assert_eq!(cell.status(), refused, "{label}"),
        _ if for_everybody => assert!(!cell.is_refused(), "{label}"),
        // There is nothing that could be asked for.
        Class::None if !identifies && wants == Wants::Entrance => assert!(!cell.is_refused(), "{label}"),
        Class::None => assert_eq!(cell.status(), refused, "{label}"),
        _ if wants == Wants::Entrance => assert!(!cell.is_refused(), "{label}"),
        // Of a token, the catalog is a scope of its own; by rules, everybody sees their own.
        _ if wants == Wants::Catalog => {}
        Class::Nothing => assert!(cell.is_refused(), "{label}"),
        Class::Other if !is_other => assert!(cell.is_refused(), "{label}"),
        Class::Other => {}
        Class::Pull if is_other || writes(cell.kind) => assert!(cell.is_refused(), "{label}"),
        Class::Push if is_other || wants == Wants::Deleting => assert!(cell.is_refused(), "{label}"),
        Class::Pull | Class::Push => assert!(!cell.is_refused(), "{label}"),
        Class::Right if is_other => {}
        Class::Right => assert!(!cell.is_refused(), "{label}"),
    }
}

/// Who is refused is shown nothing, and cannot tell whether there is anything.
fn refusal(cell: &Cell, label: &str) {
    let (answer, twin) = (cell.answer(), &cell.twin);
    let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    for hidden in [LAYER, HIDDEN, "docker-content-digest", "\"etag\"", "\"location\"", "\"link\"", "docker-upload-uuid"]
    {
        assert!(!text.contains(hidden), "{label}: {hidden} in {text}");
    }
    let twin = twin.as_ref().unwrap_or_else(|| panic!("{label}: it has no twin"));
    let seen = |answer: &Answer| {
        let mut headers: Vec<String> =
            answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|header| !header.starts_with("date: ") && !header.starts_with("content-length: "));
        format!("{} {headers:?} {}", answer.status, String::from_utf8_lossy(&answer.body)).replace(NAME, "team/gone")
    };
    assert_eq!(seen(answer), seen(twin), "{label}");
}

/// What belongs to a repository is not in another one, whoever may do everything there.
fn by_way_of_another(scheme: &Scheme, cell: &Cell, label: &str) {
    // Where everybody may pull from NAME, whoever may push to OTHER may also mount from there; and whoever may do everything.
    let may_pull = scheme.everybody != Everybody::Nothing || (cell.class == Class::Right && scheme.lists_everything);
    if may_pull && cell.path.contains("mount=") {
        return;
    }
    let text = String::from_utf8_lossy(&cell.answer().body);
    assert!(!text.contains(LAYER) && !text.contains(HIDDEN), "{label}: {text}");
    if cell.class == Class::Other {
        let twin = cell.twin.as_ref().unwrap_or_else(|| panic!("{label}: it has no twin"));
        assert_eq!(cell.answer().codes(), twin.codes(), "{label}: one can tell that it is there");
    }
    match cell.kind {
        // Of what refers to something that is not there, the specification wants an empty list.
        Kind::Referrers if !cell.is_refused() => {
            assert!(
                cell.method == Method::HEAD || cell.answer().json()["manifests"] == Value::Array(Vec::new()),
                "{label}"
            );
        }
        // It is not mounted: an upload begins in its place.
        Kind::UploadBegin if !cell.is_refused() => assert_eq!(cell.status(), 202, "{label}"),
        Kind::ManifestWrite if !cell.is_refused() => assert_eq!(cell.status(), 400, "{label}"),
        Kind::Options | Kind::Moved => {}
        _ => assert!(cell.is_refused() || matches!(cell.status(), 404 | 405), "{label}"),
    }
}

/// How far an upload has come is all that is told of it.
fn progress(answer: &Answer, label: &str) {
    let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| !["date", "docker-distribution-api-version"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["docker-upload-uuid", "location", "range"], "{label}");
    assert!(answer.body.is_empty(), "{label}");
}

/// The catalog has what one may list.
fn catalog(scheme: &Scheme, cell: &Cell, label: &str) {
    let text = String::from_utf8_lossy(&cell.answer().body).into_owned();
    let sees = |name: &str| text.contains(&format!("\"{name}\""));
    let may = match cell.class {
        Class::Other => (scheme.everybody == Everybody::Pull, true),
        _ if scheme.everybody == Everybody::Everything => (true, true),
        Class::Right => (true, scheme.lists_everything),
        Class::Nothing => (scheme.everybody == Everybody::Pull, false),
        _ => (true, false),
    };
    assert_eq!((sees(NAME), sees(crate::paths::OTHER)), may, "{label}: {text}");
}

/// However a path is written, the answer is the same.
fn spelling(cells: &[Cell]) {
    for cell in cells {
        let Some(plain) = cell.path.strip_suffix(", a slash escaped") else { continue };
        let same =
            |other: &&Cell| other.path == plain && other.method == cell.method && other.credentials == cell.credentials;
        let plain = cells.iter().find(same).unwrap();
        assert_eq!(plain.shown(), cell.shown(), "{}", cell.label());
    }
}

/// What is measured names nobody and nothing.
pub(crate) async fn metrics(client: &mut Client, content: &Content) {
    let text = client.get("/metrics").await.expect(200).body;
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("handler=\"manifest\""), "nothing is measured: {text}");
    let id = content.upload.split(['/', '?']).nth(6).unwrap();
    let digests = [content.digest.to_string(), content.layer.to_string()];
    let digests = digests.iter().map(|digest| digest.split(':').nth(1).unwrap());
    for named in ["team", "other/", "alice", "reader", "root'", "gone", HIDDEN, id].into_iter().chain(digests) {
        assert!(!text.contains(named), "{named} in {text}");
    }
    assert_eq!(id.len(), 36, "{id}");
    assert!(!text.to_lowercase().contains("propfind"), "whoever asks can make series up: {text}");
}
