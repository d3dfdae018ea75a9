//! Questions that change nothing: manifests, blobs, referrers.

use anyhow::Result;

use super::paths::{UNKNOWN, get, methods};
use crate::content::{Blob, kind, oci_image};
use crate::fill::{platforms, signature, subject};
use crate::http::Question;
use crate::interview::Interview;

pub(crate) async fn all(to: &mut Interview) -> Result<()> {
    manifests(to).await?;
    accept(to).await?;
    conditions(to).await?;
    blobs(to).await?;
    ranges(to).await?;
    referrers(to).await
}

async fn manifests(to: &mut Interview) -> Result<()> {
    let (one, nested) = (subject(), platforms(kind::OCI_INDEX, "index"));
    let table = [
        ("by tag", "library/app", "v1".to_owned()),
        ("by a tag that moved", "library/app", "latest".to_owned()),
        ("by digest", "library/app", one.digest().to_owned()),
        ("docker", "legacy", "docker".to_owned()),
        ("docker list", "legacy", "list".to_owned()),
        ("index", "multi", "index".to_owned()),
        ("nested index", "multi", "nested".to_owned()),
        ("image of an index", "multi", nested.children[0].digest().to_owned()),
        ("artifact", "library/app", "note".to_owned()),
        ("artifact with a subject", "library/app", signature().digest().to_owned()),
        ("unknown tag", "library/app", "v3".to_owned()),
        ("unknown digest", "library/app", UNKNOWN.to_owned()),
        ("unknown digest of sha512", "library/app", format!("sha512:{}", "ab".repeat(64))),
        ("of an unknown repository", "no/such", "v1".to_owned()),
        ("of another repository", "legacy", one.digest().to_owned()),
        ("deleted", "cleaned", oci_image("gone", "amd64").digest().to_owned()),
        ("deleted tag", "cleaned", "gone".to_owned()),
        ("blob as a manifest", "library/app", one.blobs[0].digest.clone()),
    ];
    for (name, repository, reference) in table {
        for method in ["GET", "HEAD"] {
            let question = Question::new(method, format!("/v2/{repository}/manifests/{reference}"));
            to.ask(format!("manifests/{name}/{method}"), everything(question)).await?;
        }
    }
    methods(to, "manifests", "/v2/library/app/manifests/v1", &["POST", "PATCH", "OPTIONS", "FOO"]).await?;
    methods(to, "manifests/malformed digest", "/v2/library/app/manifests/sha256:xyz", &["HEAD", "POST"]).await?;
    methods(to, "manifests/malformed tag", "/v2/library/app/manifests/.hidden", &["HEAD", "POST"]).await?;
    get(
        to,
        "manifests",
        &[
            ("malformed digest", "/v2/library/app/manifests/sha256:xyz"),
            ("short digest", "/v2/library/app/manifests/sha256:abcd"),
            ("upper-case digest", &format!("/v2/library/app/manifests/{}", one.digest().to_uppercase())),
            ("digest of an unknown algorithm", "/v2/library/app/manifests/md5:d41d8cd98f00b204e9800998ecf8427e"),
            ("malformed tag", "/v2/library/app/manifests/.hidden"),
            ("tag with an odd letter", "/v2/library/app/manifests/v1%20"),
            ("long tag", &format!("/v2/library/app/manifests/{}", "x".repeat(129))),
            ("no reference", "/v2/library/app/manifests/"),
        ],
    )
    .await?;
    let encoded = format!("/v2/library/app/manifests/{}", one.digest().replace(':', "%3A"));
    to.ask("manifests/encoded digest", everything(Question::get(encoded))).await.map(drop)
}

/// Accepts every kind of manifest.
fn everything(question: Question) -> Question {
    [kind::OCI_IMAGE, kind::OCI_INDEX, kind::DOCKER_IMAGE, kind::DOCKER_LIST]
        .into_iter()
        .fold(question, |question, media_type| question.with("accept", media_type))
}

async fn accept(to: &mut Interview) -> Result<()> {
    let list = platforms(kind::DOCKER_LIST, "list");
    let references = [
        ("oci image", "library/app", "v1".to_owned()),
        ("oci index", "multi", "index".to_owned()),
        ("docker image", "legacy", "docker".to_owned()),
        ("docker list", "legacy", "list".to_owned()),
        ("docker list by digest", "legacy", list.digest().to_owned()),
    ];
    let values = [
        ("nothing", None),
        ("anything", Some("*/*".to_owned())),
        ("json", Some("application/json".to_owned())),
        ("docker images", Some(kind::DOCKER_IMAGE.to_owned())),
        ("oci images", Some(kind::OCI_IMAGE.to_owned())),
        ("a list of types", Some(format!("{},{}", kind::OCI_INDEX, kind::DOCKER_LIST))),
        ("with qualities", Some(format!("{};q=0.5, {};q=0.1", kind::DOCKER_IMAGE, kind::OCI_IMAGE))),
        ("a malformed type", Some("application".to_owned())),
        ("an empty one", Some(String::new())),
        ("everything of application", Some("application/*".to_owned())),
        ("anything at a low quality", Some("text/html, */*;q=0.1".to_owned())),
        ("oci indexes", Some(kind::OCI_INDEX.to_owned())),
        ("docker lists", Some(kind::DOCKER_LIST.to_owned())),
        ("images of both", Some(format!("{}, {}", kind::DOCKER_IMAGE, kind::OCI_IMAGE))),
        ("schema 1", Some("application/vnd.docker.distribution.manifest.v1+prettyjws".to_owned())),
        ("upper case", Some(kind::OCI_IMAGE.to_uppercase())),
        ("spaces", Some(format!(" {} ,  {} ", kind::OCI_INDEX, kind::DOCKER_LIST))),
    ];
    for (what, repository, reference) in references {
        for (name, value) in &values {
            let mut question = Question::get(format!("/v2/{repository}/manifests/{reference}"));
            if let Some(value) = value {
                question = question.with("accept", value.clone());
            }
            to.ask(format!("accept/{what}/{name}"), question).await?;
        }
        let question = Question::new("HEAD", format!("/v2/{repository}/manifests/{reference}"));
        to.ask(format!("accept/{what}/HEAD"), question.with("accept", kind::DOCKER_IMAGE)).await?;
        let question = Question::get(format!("/v2/{repository}/manifests/{reference}"));
        let question = question.with("accept", kind::DOCKER_IMAGE).with("accept", kind::OCI_INDEX);
        to.ask(format!("accept/{what}/two headers"), question).await?;
    }
    Ok(())
}

async fn conditions(to: &mut Interview) -> Result<()> {
    let (manifest, blob) = (subject(), subject().blobs.swap_remove(1));
    let targets = [
        ("manifest", "/v2/library/app/manifests/v1".to_owned(), manifest.digest().to_owned()),
        ("blob", format!("/v2/library/app/blobs/{}", blob.digest), blob.digest.clone()),
    ];
    for (what, target, digest) in targets {
        let values = [
            ("quoted", format!("\"{digest}\"")),
            ("bare", digest.clone()),
            ("weak", format!("W/\"{digest}\"")),
            ("among others", format!("\"other\", \"{digest}\"")),
            ("star", "*".to_owned()),
            ("other", "\"other\"".to_owned()),
        ];
        for (name, value) in values {
            let question = everything(Question::get(target.clone())).with("if-none-match", value);
            to.ask(format!("conditions/{what}/{name}"), question).await?;
        }
        let past = "Sat, 01 Jan 2000 00:00:00 GMT";
        for (name, header, value) in [
            ("if-match", "if-match", format!("\"{digest}\"")),
            ("if-match another", "if-match", "\"other\"".to_owned()),
            ("if-modified-since", "if-modified-since", "Sat, 01 Jan 2050 00:00:00 GMT".to_owned()),
            ("if-unmodified-since", "if-unmodified-since", past.to_owned()),
        ] {
            // To this Distribution announces a blob and sends nothing, which ends as a broken connection.
            if (what, name) == ("blob", "if-match another") {
                continue;
            }
            let question = everything(Question::get(target.clone())).with(header, value);
            to.ask(format!("conditions/{what}/{name}"), question).await?;
        }
        let question = everything(Question::new("HEAD", target)).with("if-none-match", format!("\"{digest}\""));
        to.ask(format!("conditions/{what}/HEAD"), question).await?;
    }
    Ok(())
}

async fn blobs(to: &mut Interview) -> Result<()> {
    let one = subject();
    let table = [
        ("config", "library/app", one.blobs[0].digest.clone()),
        ("layer", "library/app", one.blobs[1].digest.clone()),
        ("empty layer", "library/app", one.blobs[2].digest.clone()),
        ("mounted", "team/mounted", one.blobs[1].digest.clone()),
        ("of another repository", "a", one.blobs[1].digest.clone()),
        ("unknown", "library/app", UNKNOWN.to_owned()),
        ("unknown of sha512", "library/app", format!("sha512:{}", "ab".repeat(64))),
        ("of an unknown repository", "no/such", one.blobs[1].digest.clone()),
        ("deleted", "cleaned", Blob::random("a blob of no image", 500).digest),
        ("manifest as a blob", "library/app", one.digest().to_owned()),
    ];
    for (name, repository, digest) in table {
        for method in ["GET", "HEAD"] {
            let question = Question::new(method, format!("/v2/{repository}/blobs/{digest}"));
            to.ask(format!("blobs/{name}/{method}"), question).await?;
        }
    }
    let layer = format!("/v2/library/app/blobs/{}", one.blobs[1].digest);
    methods(to, "blobs", &layer, &["POST", "PUT", "PATCH", "OPTIONS", "FOO"]).await?;
    methods(to, "blobs/malformed digest", "/v2/library/app/blobs/sha256:xyz", &["HEAD", "POST"]).await?;
    methods(to, "blobs/no digest", "/v2/library/app/blobs/latest", &["HEAD", "POST"]).await?;
    get(
        to,
        "blobs",
        &[
            ("malformed digest", "/v2/library/app/blobs/sha256:xyz"),
            ("short digest", "/v2/library/app/blobs/sha256:abcd"),
            ("no digest", "/v2/library/app/blobs/latest"),
            ("digest of an unknown algorithm", "/v2/library/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e"),
            ("nothing", "/v2/library/app/blobs/"),
            ("with a query", &format!("{layer}?x=y")),
            ("encoded", &layer.replace(':', "%3A")),
        ],
    )
    .await
}

async fn ranges(to: &mut Interview) -> Result<()> {
    let layer = subject().blobs.swap_remove(1);
    let target = format!("/v2/library/app/blobs/{}", layer.digest);
    let table = [
        ("first byte", "bytes=0-0"),
        ("middle", "bytes=100-199"),
        ("from the middle", "bytes=39000-"),
        ("last bytes", "bytes=-7"),
        ("all", "bytes=0-"),
        ("all by number", "bytes=0-39999"),
        ("beyond the end", "bytes=39990-99999"),
        ("more last bytes than there are", "bytes=-99999"),
        ("behind the end", "bytes=40000-"),
        ("far behind the end", "bytes=50000-60000"),
        ("no last bytes", "bytes=-0"),
        ("backwards", "bytes=5-3"),
        ("nothing", "bytes="),
        ("a dash", "bytes=-"),
        ("no number", "bytes=a-b"),
        ("a negative number", "bytes=--1"),
        ("another unit", "lines=0-1"),
        ("no unit", "0-1"),
        ("two", "bytes=0-1,10-12"),
        ("two that overlap", "bytes=0-10,5-12"),
        ("two, one behind the end", "bytes=0-1,50000-"),
        ("two behind the end", "bytes=50000-,60000-"),
        ("upper case", "Bytes=0-0"),
        ("spaces", "bytes= 0 - 0"),
        ("three", "bytes=0-0,100-199,39999-"),
        ("two, one of the last bytes", "bytes=-5,0-3"),
        ("two that are more than all", "bytes=0-,-39999"),
        ("the same twice", "bytes=7-8,7-8"),
        ("one and nothing", "bytes=0-1,"),
        ("two, one malformed", "bytes=0-1,x"),
        ("beyond numbers", "bytes=0-99999999999999999999"),
        ("from beyond numbers", "bytes=99999999999999999999-"),
        ("a plus", "bytes=+0-1"),
        ("a unit alone", "bytes"),
        ("an empty value", ""),
    ];
    for (name, range) in table {
        let question = Question::get(target.clone()).with("range", range);
        to.ask(format!("ranges/{name}"), question).await?;
    }
    let many = vec!["0-0"; 100].join(",");
    to.ask("ranges/a hundred", Question::get(target.clone()).with("range", format!("bytes={many}"))).await?;
    let several = Question::new("HEAD", target.clone()).with("range", "bytes=0-1,5-6");
    to.ask("ranges/HEAD of several", several).await?;
    to.ask("ranges/HEAD behind the end", Question::new("HEAD", target.clone()).with("range", "bytes=40000-")).await?;
    let part = |question: Question| question.with("range", "bytes=0-9");
    let etag = format!("\"{}\"", layer.digest);
    to.ask("ranges/HEAD", part(Question::new("HEAD", target.clone()))).await?;
    to.ask("ranges/if the same", part(Question::get(target.clone())).with("if-range", etag.clone())).await?;
    to.ask("ranges/if another", part(Question::get(target.clone())).with("if-range", "\"other\"")).await?;
    to.ask("ranges/if bare", part(Question::get(target.clone())).with("if-range", layer.digest.clone())).await?;
    let several = Question::get(target.clone()).with("range", "bytes=0-1,5-6");
    to.ask("ranges/several if the same", several.clone().with("if-range", etag.clone())).await?;
    to.ask("ranges/several if another", several.with("if-range", "\"other\"")).await?;
    let known = part(Question::get(target.clone())).with("if-none-match", etag.clone());
    to.ask("ranges/of what is known", known).await?;
    to.ask("ranges/if weak", part(Question::get(target.clone())).with("if-range", format!("W/{etag}"))).await?;
    let date = "Sat, 21 Nov 2026 00:00:00 GMT";
    to.ask("ranges/if since a date", part(Question::get(target)).with("if-range", date)).await?;
    let empty = format!("/v2/library/app/blobs/{}", subject().blobs[2].digest);
    to.ask("ranges/of nothing", Question::get(empty.clone()).with("range", "bytes=0-")).await?;
    to.ask("ranges/last byte of nothing", Question::get(empty.clone()).with("range", "bytes=-1")).await?;
    to.ask("ranges/behind the end of nothing", Question::get(empty.clone()).with("range", "bytes=1-")).await?;
    to.ask("ranges/malformed of nothing", Question::get(empty).with("range", "bytes=x-")).await?;
    let manifest = everything(Question::get("/v2/library/app/manifests/v1"));
    to.ask("ranges/of a manifest", part(manifest)).await.map(drop)
}

async fn referrers(to: &mut Interview) -> Result<()> {
    let digest = subject().digest().to_owned();
    get(
        to,
        "referrers",
        &[
            ("all", &format!("/v2/library/app/referrers/{digest}")),
            ("of a type", &format!("/v2/library/app/referrers/{digest}?artifactType=application%2Fvnd.example.sbom")),
            ("of another type", &format!("/v2/library/app/referrers/{digest}?artifactType=none")),
            ("of nothing that is there", &format!("/v2/library/app/referrers/{UNKNOWN}")),
            ("of an unknown repository", &format!("/v2/no/such/referrers/{digest}")),
            ("malformed digest", "/v2/library/app/referrers/sha256:xyz"),
            ("of a tag", "/v2/library/app/referrers/v1"),
        ],
    )
    .await?;
    methods(to, "referrers", &format!("/v2/library/app/referrers/{digest}"), &["HEAD", "POST", "DELETE"]).await
}
