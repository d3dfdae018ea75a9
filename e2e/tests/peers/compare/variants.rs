//! The same questions to servers that are configured otherwise: where they are found, what they let happen, and what they
//! add to every answer.

use anyhow::Result;
use berth_e2e::peer::Setup;

use crate::content::{Blob, artifact, kind, oci_image};
use crate::fill::subject;
use crate::http::Question;
use crate::interview::Interview;
use crate::push;

/// A change to the configuration, as an installation has it in its environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    /// What the names of its questions begin with.
    pub(crate) name: &'static str,
    /// What stands in front of every path.
    prefix: &'static str,
    env: &'static [(&'static str, &'static str)],
    /// What stands in the file below the rest of it.
    file: &'static str,
    /// The parts of the API that it is also asked about.
    also: &'static [Also],
}

/// What only some of the variants change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Also {
    Deletion,
    Urls,
}

const NONE: Variant = Variant { name: "", prefix: "", env: &[], file: "", also: &[] };

pub(crate) const ALL: &[Variant] = &[
    Variant { name: "prefix", prefix: "/hub", env: &[("REGISTRY_HTTP_PREFIX", "/hub/")], ..NONE },
    Variant { name: "relative", env: &[("REGISTRY_HTTP_RELATIVEURLS", "true")], ..NONE },
    Variant {
        name: "relative with a prefix",
        prefix: "/hub",
        env: &[("REGISTRY_HTTP_RELATIVEURLS", "true"), ("REGISTRY_HTTP_PREFIX", "/hub/")],
        ..NONE
    },
    Variant { name: "host", env: &[("REGISTRY_HTTP_HOST", "https://registry.example.com")], ..NONE },
    Variant { name: "host with a port", env: &[("REGISTRY_HTTP_HOST", "https://registry.example.com:8443")], ..NONE },
    Variant {
        name: "host and relative",
        env: &[("REGISTRY_HTTP_HOST", "https://registry.example.com"), ("REGISTRY_HTTP_RELATIVEURLS", "true")],
        ..NONE
    },
    Variant {
        name: "host with a prefix",
        prefix: "/hub",
        env: &[("REGISTRY_HTTP_HOST", "https://registry.example.com"), ("REGISTRY_HTTP_PREFIX", "/hub/")],
        ..NONE
    },
    Variant {
        name: "headers",
        env: &[(
            "REGISTRY_HTTP_HEADERS",
            "{X-Content-Type-Options: [nosniff], X-Example: [one, two], Access-Control-Allow-Origin: ['*']}",
        )],
        ..NONE
    },
    Variant {
        name: "host with a path",
        env: &[("REGISTRY_HTTP_HOST", "https://registry.example.com/public/")],
        ..NONE
    },
    Variant {
        name: "no deletion",
        env: &[("REGISTRY_STORAGE_DELETE_ENABLED", "false")],
        also: &[Also::Deletion],
        ..NONE
    },
    Variant {
        name: "read-only",
        env: &[("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: true}")],
        also: &[Also::Deletion],
        ..NONE
    },
    Variant {
        name: "small pages",
        env: &[("REGISTRY_CATALOG_MAXENTRIES", "3"), ("REGISTRY_TAGS_MAXTAGS", "2")],
        ..NONE
    },
    Variant {
        name: "urls allowed",
        also: &[Also::Urls],
        file: "validation: {manifests: {urls: {allow: ['^https://example\\.com/'], deny: ['/secret']}}}\n",
        ..NONE
    },
];

impl Variant {
    /// A setup with the change made.
    pub(crate) fn applied_to(&self, setup: Setup) -> Setup {
        let env = self.env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Setup { config: format!("{}{}", setup.config, self.file), env, ..setup }
    }

    pub(crate) async fn ask(&self, to: &mut Interview) -> Result<()> {
        if self.also.contains(&Also::Urls) {
            // The configuration of an image whose layer is elsewhere.
            push::blob(to.server, "library/app", &oci_image("of a variant", "amd64").blobs[0]).await?;
        }
        let mut table = self.everywhere();
        if self.also.contains(&Also::Deletion) {
            table.extend(self.deletion());
        }
        if self.also.contains(&Also::Urls) {
            table.extend(self.urls());
        }
        for (name, question) in table {
            to.ask(format!("{}/{name}", self.name), question).await?;
        }
        Ok(())
    }

    fn question(&self, method: &str, rest: &str) -> Question {
        Question::new(method, format!("{}{rest}", self.prefix))
    }

    fn put(&self, tag: &str, manifest: String) -> Question {
        let question = self.question("PUT", &format!("/v2/library/app/manifests/{tag}"));
        question.with("content-type", kind::OCI_IMAGE).body(manifest)
    }

    /// Where things are, and what addresses and pages look like.
    fn everywhere(&self) -> Vec<(&'static str, Question)> {
        let layer = subject().blobs.swap_remove(1).digest;
        let get = |rest: &str| self.question("GET", rest);
        let begin = || self.question("POST", "/v2/library/app/blobs/uploads/");
        let push = || self.put("pushed", String::from_utf8_lossy(&subject().content.bytes).into_owned());
        let behind_a_proxy = |question: Question| question.with("forwarded", "host=front.example.com;proto=https");
        let mount = format!("/v2/team/new/blobs/uploads/?mount={layer}&from=library%2Fapp");
        vec![
            ("root of the server", Question::get("/")),
            ("root", get("/")),
            ("without the prefix", Question::get("/v2/")),
            ("base", get("/v2/")),
            ("base without a slash", get("/v2")),
            ("HEAD", self.question("HEAD", "/v2/")),
            ("OPTIONS", self.question("OPTIONS", "/v2/library/app/manifests/v1")),
            ("no such path", get("/none")),
            ("catalog", get("/v2/_catalog?n=1&last=library%2Fapp")),
            ("catalog above the maximum", get("/v2/_catalog?n=4&last=library%2Fapp")),
            ("catalog without n", get("/v2/_catalog?last=legacy")),
            ("tags", get("/v2/library/app/tags/list?n=1")),
            ("tags above the maximum", get("/v2/library/app/tags/list?n=4")),
            ("tags without n", get("/v2/library/app/tags/list")),
            ("manifest", get("/v2/library/app/manifests/v1").with("accept", kind::OCI_IMAGE)),
            ("blob", self.question("HEAD", &format!("/v2/library/app/blobs/{layer}"))),
            ("a slash behind", get("/v2/library/app/tags/list/")),
            ("begin", begin()),
            ("begin behind a proxy", behind_a_proxy(begin())),
            ("begin without a slash", self.question("POST", "/v2/library/app/blobs/uploads")),
            ("mount", self.question("POST", &mount)),
            ("push", push()),
            ("push behind a proxy", behind_a_proxy(push())),
        ]
    }

    fn deletion(&self) -> Vec<(&'static str, Question)> {
        let delete = |rest: &str| self.question("DELETE", rest);
        let layer = subject().blobs.swap_remove(1).digest;
        vec![
            ("delete a tag", delete("/v2/library/app/manifests/note")),
            ("delete a manifest", delete(&format!("/v2/library/app/manifests/{}", note()))),
            ("delete a blob", delete(&format!("/v2/library/app/blobs/{layer}"))),
            ("delete an unknown blob", delete(&format!("/v2/none/blobs/{layer}"))),
            ("an upload that is unknown", self.question("PATCH", "/v2/library/app/blobs/uploads/none")),
        ]
    }

    fn urls(&self) -> Vec<(&'static str, Question)> {
        let image = oci_image("of a variant", "amd64").content.bytes;
        vec![
            ("allowed", self.put("url", with_url(&image, "https://example.com/layer"))),
            ("denied", self.put("denied", with_url(&image, "https://example.com/secret"))),
            ("of somebody else", self.put("other", with_url(&image, "https://example.org/layer"))),
            ("of another scheme", self.put("none", with_url(&image, "ftp://example.com/layer"))),
        ]
    }
}

/// The digest of the artifact that is tagged `note`.
fn note() -> String {
    artifact("application/vnd.example.note", "no subject", None).digest().to_owned()
}

/// An image whose only layer is elsewhere.
fn with_url(image: &[u8], url: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_slice(image).unwrap_or_default();
    value["layers"] = serde_json::json!([{
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": Blob::of("a layer that is elsewhere").digest,
        "size": 25,
        "urls": [url],
    }]);
    value.to_string()
}
