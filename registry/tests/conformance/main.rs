//! The OCI distribution specification, requirement by requirement, over a socket and on every store.
//!
//! Each requirement has an identifier (`requirements`); each case says which of them it covers. A requirement of the
//! registry that no case covers fails, and so does a case that covers nothing that there is. `docs/conformance.md` is made
//! from both.

#![allow(unreachable_pub, reason = "a test has no outside")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod discovery;
mod management;
mod page;
mod pull;
mod push_blobs;
mod push_manifests;
mod requirements;
#[path = "../support/mod.rs"]
mod support;
mod whole;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use http::Method;
use requirements::Duty;
use support::{Answer, Client, Document, Kind, Server};

/// A case: what it covers, and how it is tried.
pub struct Case {
    name: &'static str,
    covers: &'static [&'static str],
    run: fn(Bench) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// What a case works with: a client, and a repository that no other case uses.
pub struct Bench {
    client: Client,
    repository: String,
    store: Kind,
}

/// The cases of a module: functions, each with the requirements that it covers.
macro_rules! cases {
    ($($name:ident: $($id:literal),+;)*) => {
        /// The cases of this module.
        pub const CASES: &[crate::Case] = &[$(crate::Case {
            name: stringify!($name),
            covers: &[$($id),+],
            run: |bench| Box::pin($name(bench)),
        }),*];
    };
}
pub(crate) use cases;

/// Every module with cases.
const MODULES: &[(&str, &[Case])] = &[
    ("pull", pull::CASES),
    ("push_blobs", push_blobs::CASES),
    ("push_manifests", push_manifests::CASES),
    ("discovery", discovery::CASES),
    ("management", management::CASES),
    ("whole", whole::CASES),
];

impl Bench {
    fn manifest(&self, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.repository)
    }

    fn blob(&self, digest: &berth_oci::Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.repository)
    }

    fn uploads(&self) -> String {
        format!("/v2/{}/blobs/uploads/", self.repository)
    }

    /// Begins an upload and gives its address.
    async fn begin(&mut self) -> String {
        let begun = self.client.post(&self.uploads(), Bytes::new()).await.expect(202);
        begun.header("location").to_owned()
    }

    async fn push_blob(&mut self, content: impl Into<Bytes>) -> berth_oci::Digest {
        self.client.push_blob(&self.repository, content).await
    }

    async fn push(&mut self, reference: &str, document: &Document) -> Answer {
        self.client.push_manifest(&self.repository, reference, document).await
    }

    /// The status of a request, with the codes of an error.
    async fn codes(&mut self, method: Method, target: &str) -> String {
        self.client.send(method, target, &[("accept", support::ACCEPT_ALL)], Bytes::new()).await.codes()
    }
}

async fn try_all(module: &str) {
    let (_, cases) = MODULES.iter().find(|(name, _)| *name == module).unwrap();
    for store in [Kind::Memory, Kind::Directory, Kind::Bucket] {
        let server = Server::start_on(store, |_| ()).await;
        for case in *cases {
            println!("{module}::{}, {store:?}", case.name);
            let repository = format!("spec/{}", case.name.replace('_', "-"));
            let bench = Bench { client: server.client().await, repository, store };
            (case.run)(bench).await;
        }
        server.running.stop().await;
    }
}

#[tokio::test]
async fn pulling() {
    try_all("pull").await;
}

#[tokio::test]
async fn pushing_blobs() {
    try_all("push_blobs").await;
}

#[tokio::test]
async fn pushing_manifests() {
    try_all("push_manifests").await;
}

#[tokio::test]
async fn discovering() {
    try_all("discovery").await;
}

#[tokio::test]
async fn managing() {
    try_all("management").await;
}

#[tokio::test]
async fn the_api_as_a_whole() {
    try_all("whole").await;
}

/// The cases of each requirement, as `module::name`.
fn coverage() -> BTreeMap<&'static str, Vec<String>> {
    let mut coverage: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (module, cases) in MODULES {
        for case in *cases {
            for id in case.covers {
                coverage.entry(id).or_default().push(format!("{module}::{}", case.name));
            }
        }
    }
    coverage
}

#[test]
fn every_requirement_of_the_registry_is_covered() {
    let (crate_directory, mut coverage) = (Path::new(env!("CARGO_MANIFEST_DIR")), coverage());
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for requirement in requirements::ALL {
        let id = requirement.id;
        if !seen.insert(id) {
            wrong.push(format!("{id} stands there twice"));
        }
        match (requirement.duty, coverage.remove(id)) {
            (Duty::Registry, None) => wrong.push(format!("{id} is covered by no case")),
            (Duty::Registry, Some(_)) => {}
            (Duty::Inside(file, test), _) => {
                let source = std::fs::read_to_string(crate_directory.join(file)).unwrap();
                if !source.contains(&format!("fn {test}(")) {
                    wrong.push(format!("{id}: {file} has no test {test}"));
                }
            }
            (Duty::Client | Duty::Absent(_) | Duty::Differs(_), None) => {}
            (Duty::Client | Duty::Absent(_) | Duty::Differs(_), Some(cases)) => {
                wrong.push(format!("{id} is not the registry's, but {cases:?} cover it"));
            }
        }
    }
    wrong.extend(coverage.iter().map(|(id, cases)| format!("{id} is no requirement, but {cases:?} cover it")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_page_says_what_the_cases_cover() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let expected = page::render(requirements::ALL, &coverage());
    if std::env::var_os("BERTH_GENERATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "docs/conformance.md differs from the tests: run `make generate`");
}
