//! Every path with every method and every kind of credentials: what is answered, as a table, and what must hold of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../issuer/lab.rs"]
mod lab;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../transport/pki.rs"]
mod pki;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../transport/wire.rs"]
mod wire;

mod caller;
mod judged;
mod page;
mod paths;
mod schemes;
mod ways;

use std::path::Path;

use berth_registry::{IssuerEndpoint, route};
use http::Method;

use caller::Caller;
use paths::{API, Content, DEBUG, ISSUER, Kind, admin_token, body, kind, methods};
use schemes::{Class, Scheme};
use support::Answer;

/// One request, and its answer.
pub(crate) struct Cell {
    pub(crate) path: &'static str,
    pub(crate) method: Method,
    pub(crate) kind: Kind,
    pub(crate) credentials: &'static str,
    pub(crate) class: Class,
    /// None if there was no connection.
    pub(crate) answer: Option<Answer>,
    /// The answer to the same about what is not there, where nobody is to see whether it is.
    pub(crate) twin: Option<Answer>,
}

impl Cell {
    pub(crate) fn answer(&self) -> &Answer {
        self.answer.as_ref().unwrap_or_else(|| panic!("{}", self.label()))
    }

    pub(crate) fn status(&self) -> u16 {
        self.answer().status.as_u16()
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.answer.as_ref().is_some_and(is_refused)
    }

    /// The status as the page has it.
    pub(crate) fn shown(&self) -> String {
        self.answer.as_ref().map_or_else(|| "–".to_owned(), |answer| answer.status.as_u16().to_string())
    }

    pub(crate) fn label(&self) -> String {
        format!("{} {} with {}: {}", self.method, self.path, self.credentials, self.shown())
    }
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 401 | 403)
}

async fn send(
    caller: &mut Caller,
    method: &Method,
    path: &paths::Path,
    content: &Content,
    authorization: Option<&str>,
) -> Option<Answer> {
    let target = (path.of)(content);
    let (body, media_type) = body(method, &target, content);
    let mut headers = vec![paths::ACCEPT, ("content-type", media_type)];
    headers.extend(authorization.map(|value| ("authorization", value)));
    caller.send(method, &target, &headers, body).await
}

/// Asks for everything with all that the scheme has.
async fn walk(scheme: &Scheme, directory: &Path) -> Vec<Cell> {
    let (server, mut content) = scheme.serve(directory).await;
    let (address, absent, mut cells) = (server.running.address(), Content::absent(), Vec::new());
    let mut callers = Vec::new();
    for credentials in &scheme.credentials {
        callers.push(Caller::of(address, &credentials.proof.handshake).await);
    }
    for path in API {
        for method in methods() {
            for (credentials, caller) in scheme.credentials.iter().zip(&mut callers) {
                let header = credentials.proof.header.as_deref();
                let answer = send(caller, &method, path, &content, header).await;
                let is_beside = credentials.class == Class::Other && path.is_by_way_of_another();
                let twin = match is_beside || answer.as_ref().is_some_and(is_refused) {
                    true => send(caller, &method, path, &absent, header).await,
                    false => None,
                };
                let target = (path.of)(&content);
                let kind = kind(&route::parse(&method, target.split('?').next().unwrap(), ""));
                if answer.as_ref().is_some_and(|answer| answer.status.is_success()) && judged::writes(kind) {
                    content = anew(scheme, address, &format!("{method} {}", path.shown)).await;
                }
                let (credentials, class) = (credentials.shown, credentials.class);
                cells.push(Cell { path: path.shown, method: method.clone(), kind, credentials, class, answer, twin });
            }
        }
    }
    judged::metrics(&mut server.debug_client().await, &content).await;
    server.running.stop().await;
    cells
}

/// What requests are about, once more after one has changed it.
async fn anew(scheme: &Scheme, address: std::net::SocketAddr, label: &str) -> Content {
    let root = scheme.root.as_ref().unwrap_or_else(|| panic!("{label}: a write"));
    let mut caller = Caller::of(address, &root.handshake).await;
    // Also what was mounted goes.
    let headers: Vec<_> = root.header.as_deref().map(|value| ("authorization", value)).into_iter().collect();
    for name in [paths::NAME, paths::OTHER] {
        caller.send(&Method::DELETE, &format!("/v2/{name}/"), &headers, "".into()).await;
    }
    Content::make(&mut caller, root.header.as_deref()).await
}

async fn walk_debug(scheme: &Scheme, directory: &Path) -> Vec<Cell> {
    let (server, content) = scheme.serve(directory).await;
    let (mut caller, mut cells) = (Caller::plain(server.running.debug_address().unwrap()), Vec::new());
    let somebody = scheme.root.as_ref().and_then(|root| root.header.clone());
    let (wrong, right) = (Some("Bearer wrong".to_owned()), Some(admin_token()));
    let credentials = [
        ("none", Class::None, None),
        ("malformed", Class::Bad, Some("Bearer".to_owned())),
        ("wrong token", Class::Bad, wrong),
        ("of a user", Class::Other, somebody),
        ("the admin token", Class::Right, right),
    ];
    for path in DEBUG {
        for method in methods() {
            for (shown, class, header) in &credentials {
                let answer = send(&mut caller, &method, path, &content, header.as_deref()).await;
                let (kind, class, method) = (Kind::Elsewhere, *class, method.clone());
                cells.push(Cell { path: path.shown, method, kind, credentials: shown, class, answer, twin: None });
            }
        }
    }
    server.running.stop().await;
    cells
}

/// A path of the issuer that this table does not have is one that nobody has thought about.
#[test]
fn every_path_of_the_issuer_is_in_the_table() {
    for endpoint in IssuerEndpoint::ALL {
        let path = format!("/auth{}", endpoint.path());
        assert!(ISSUER.iter().any(|known| known.shown == path), "{path} is not in the table");
    }
}

#[tokio::test]
async fn every_path_with_every_kind_of_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let schemes = schemes::all(directory.path()).await;
    let mut sections = Vec::new();
    for scheme in &schemes {
        let cells = walk(scheme, directory.path()).await;
        judged::api(scheme, &cells);
        sections.push((scheme, cells));
    }
    judged::debug(false, &walk_debug(&schemes[0], directory.path()).await);
    let with_issuer = schemes.iter().find(|scheme| scheme.has_issuer()).unwrap();
    let debug = walk_debug(with_issuer, directory.path()).await;
    judged::debug(true, &debug);

    let issuer = ways::walk(&directory.path().join("ways")).await;
    judged::issuer(&issuer);

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access-table.md");
    let expected = page::render(&sections, &issuer, &debug);
    if std::env::var_os("BERTH_GENERATE").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(found == expected, "docs/access-table.md differs from what is answered: run `make generate`; {differs:?}");
}

/// A path that the code of the debug port knows and this table does not is one that nobody has thought about.
#[test]
fn every_path_of_the_debug_port_is_in_the_table() {
    let mut known = 0;
    for file in ["src/debug.rs", "src/admin/mod.rs"] {
        let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        let literals = code.split('"').skip(1).step_by(2).filter(|literal| literal.starts_with('/'));
        for literal in literals {
            let is_known = DEBUG.iter().any(|path| path.shown == literal) || literal == "/admin/v1/";
            assert!(is_known, "{file}: {literal} is not in the table");
            known += 1;
        }
    }
    assert!(known >= 5, "the paths are written otherwise now: {known}");
}
