//! Listing tags, and listing referrers.

use std::collections::BTreeMap;

use berth_oci::{Algorithm, Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{self, Answer, Document, Kind, Server, config_of};
use crate::{Bench, cases};

cases! {
    tags_are_listed_in_order: "tags-200", "tags-order", "tags-body", "category-others";
    a_page_of_tags: "tags-number", "tags-link", "tags-number-order";
    no_tag_is_asked_for: "tags-zero", "tags-zero-link";
    tags_behind_another: "tags-last-number", "tags-last-tag", "tags-last-order";
    referrers_are_listed:
        "referrers-200", "referrers-body", "referrers-type", "referrers-artifact-type", "referrers-config-type",
        "referrers-index-type", "referrers-annotations", "upgrade-after";
    nothing_refers_to_it: "referrers-empty", "referrers-404";
    a_list_of_referrers_that_cannot_be: "referrers-400";
    referrers_of_one_type: "referrers-filter", "referrers-filter-header";
    a_page_of_referrers: "referrers-link", "referrers-link-form";
    a_deleted_referrer_is_not_listed: "referrers-body";
    referrers_from_before_there_was_a_list: "upgrade-before";
}

/// The target of the `Link` with `rel="next"`; empty without one.
fn next(answer: &Answer) -> String {
    let link = answer.header("link");
    if link.is_empty() {
        return String::new();
    }
    let (target, relation) = link.split_once(';').unwrap();
    assert_eq!(relation.trim(), "rel=\"next\"");
    target.strip_prefix('<').unwrap().strip_suffix('>').unwrap().to_owned()
}

const TAGS: [&str; 8] = ["0", "V0", "_x", "v1", "v1-rc", "v1.0", "v10", "v2"];

async fn push_tags(bench: &mut Bench) -> String {
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    for tag in TAGS.iter().rev() {
        bench.push(tag, &image).await.expect(201);
    }
    format!("/v2/{}/tags/list", bench.repository)
}

async fn tags_are_listed_in_order(mut bench: Bench) {
    let list = push_tags(&mut bench).await;
    let all = bench.client.get(&list).await.expect(200);
    assert_eq!(all.json(), json!({ "name": bench.repository, "tags": TAGS }));
    assert!(all.header("content-type").starts_with("application/json"));
    assert!(next(&all).is_empty());
    let head = bench.client.head(&list).await.expect(200);
    assert_eq!(head.header("content-length"), all.body.len().to_string());
    assert_eq!(bench.codes(Method::GET, "/v2/no/such/tags/list").await, "404 NAME_UNKNOWN");
}

async fn a_page_of_tags(mut bench: Bench) {
    let list = push_tags(&mut bench).await;
    for n in 1..=TAGS.len() + 1 {
        let (mut found, mut target): (Vec<Value>, _) = (Vec::new(), format!("{list}?n={n}"));
        while !target.is_empty() {
            let page = bench.client.get(&target).await.expect(200);
            let tags = page.json()["tags"].as_array().unwrap().clone();
            target = next(&page);
            assert!(tags.len() == n || target.is_empty(), "a page of {} for {n}", tags.len());
            found.extend(tags);
        }
        assert_eq!(json!(found), json!(TAGS), "pages of {n}");
    }
    for n in ["x", "-1", "1.5"] {
        let target = format!("{list}?n={n}");
        assert_eq!(bench.codes(Method::GET, &target).await, "400 PAGINATION_NUMBER_INVALID", "{n}");
    }
    // More than there may be on a page is as many as there may be.
    let many = bench.client.get(&format!("{list}?n=1000000")).await.expect(200);
    assert_eq!(many.json()["tags"], json!(TAGS));
}

async fn no_tag_is_asked_for(mut bench: Bench) {
    let list = push_tags(&mut bench).await;
    for query in ["n=0", "n=0&last=v1"] {
        let none = bench.client.get(&format!("{list}?{query}")).await.expect(200);
        assert_eq!(none.json()["tags"], json!([]));
        assert!(none.header("link").is_empty());
    }
}

async fn tags_behind_another(mut bench: Bench) {
    let list = push_tags(&mut bench).await;
    for (query, expected) in [
        ("last=v1", &TAGS[4..]),
        ("last=v1&n=2", &TAGS[4..6]),
        ("last=v2", &[]),
        ("last=", &TAGS[..]),
        // A tag that does not exist stands where it would stand; a number is the tag of that name.
        ("last=v1-", &TAGS[4..]),
        ("last=zzz", &[]),
        ("last=0", &TAGS[1..]),
        ("last=3", &TAGS[1..]),
    ] {
        let page = bench.client.get(&format!("{list}?{query}")).await.expect(200);
        assert_eq!(page.json()["tags"], json!(expected), "{query}");
    }
}

/// A manifest with a subject and what is told of it.
struct Referrer {
    document: Document,
    told: Value,
}

/// Manifests of every shape that say something about a subject, whose configuration is `{}`.
fn referrers(subject: &Value) -> Vec<Referrer> {
    let (image, index) = (media_type::OCI_IMAGE, media_type::OCI_INDEX);
    let config = |of: &str| json!({ "mediaType": of, "digest": Digest::sha256(b"{}"), "size": 2 });
    let notes = json!({ "org.example.note": "a \"quoted\" ü", "other": "" });
    let shapes = [
        (
            image,
            json!({ "config": config("a/config"), "artifactType": "a/type", "annotations": notes }),
            Some("a/type"),
        ),
        (image, json!({ "config": config("a/config+json"), "layers": [] }), Some("a/config+json")),
        (image, json!({ "config": config("a/config"), "artifactType": "" }), Some("a/config")),
        (index, json!({ "manifests": [], "artifactType": "a/type", "annotations": { "n": "1" } }), Some("a/type")),
        (index, json!({ "manifests": [] }), None),
    ];
    let described = shapes.into_iter().map(|(media_type, mut value, artifact_type)| {
        let annotations = value.get("annotations").cloned();
        (value["schemaVersion"], value["subject"]) = (json!(2), subject.clone());
        let document = Document { media_type, raw: value.to_string().into() };
        let mut told = document.descriptor();
        if let Some(artifact_type) = artifact_type {
            told["artifactType"] = json!(artifact_type);
        }
        if let Some(annotations) = annotations {
            told["annotations"] = annotations;
        }
        Referrer { document, told }
    });
    described.collect()
}

/// What is told of referrers, by digest.
fn told<'a>(referrers: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, Value> {
    referrers.into_iter().map(|one| (one["digest"].as_str().unwrap().to_owned(), one.clone())).collect()
}

fn listed(answer: &Answer) -> BTreeMap<String, Value> {
    assert_eq!(answer.header("content-type"), media_type::OCI_INDEX);
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
    let entries = index["manifests"].as_array().unwrap();
    let told = told(entries);
    assert_eq!(told.len(), entries.len(), "an entry stands there twice");
    told
}

impl Bench {
    fn referrers(&self, subject: &Digest) -> String {
        format!("/v2/{}/referrers/{subject}", self.repository)
    }

    /// Pushes [`referrers`] to a subject of this algorithm, and gives its digest.
    async fn push_referrers(&mut self, algorithm: Algorithm) -> (Digest, Vec<Referrer>) {
        self.push_blob("{}").await;
        self.push_blob(config_of("x")).await;
        let image = Document::image("x", &[]);
        let digest = Digest::of(algorithm, &image.raw);
        let mut descriptor = image.descriptor();
        descriptor["digest"] = json!(digest);
        let referrers = referrers(&descriptor);
        for referrer in &referrers {
            let reference = Digest::of(algorithm, &referrer.document.raw);
            self.push(reference.as_str(), &referrer.document).await.expect(201);
        }
        // The subject is pushed last, and it may be pushed twice, as a referrer may.
        self.push(digest.as_str(), &image).await.expect(201);
        let first = Digest::of(algorithm, &referrers[0].document.raw);
        self.push(first.as_str(), &referrers[0].document).await.expect(201);
        let of = |mut referrer: Referrer| {
            referrer.told["digest"] = json!(Digest::of(algorithm, &referrer.document.raw));
            referrer
        };
        (digest, referrers.into_iter().map(of).collect())
    }
}

async fn referrers_are_listed(mut bench: Bench) {
    for algorithm in Algorithm::ALL {
        let (subject, referrers) = bench.push_referrers(algorithm).await;
        let target = bench.referrers(&subject);
        let answer = bench.client.get(&target).await.expect(200);
        assert_eq!(listed(&answer), told(referrers.iter().map(|referrer| &referrer.told)));
        assert!(answer.header("oci-filters-applied").is_empty());
        let head = bench.client.head(&target).await.expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), answer.body.len().to_string());
        // Another repository has none of them.
        let elsewhere = target.replace("/referrers/", "/elsewhere/referrers/");
        assert!(listed(&bench.client.get(&elsewhere).await.expect(200)).is_empty());
    }
}

async fn nothing_refers_to_it(mut bench: Bench) {
    let known = bench.client.push_image(&bench.repository, "v1", &[]).await.digest();
    for digest in [known, Digest::sha256(b"nothing"), Digest::of(Algorithm::Sha512, b"nothing")] {
        for target in [bench.referrers(&digest), format!("/v2/no/such/repository/referrers/{digest}")] {
            assert!(listed(&bench.client.get(&target).await.expect(200)).is_empty());
            let filtered = bench.client.get(&format!("{target}?artifactType=a/b")).await.expect(200);
            assert!(listed(&filtered).is_empty());
            assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
        }
    }
}

async fn a_list_of_referrers_that_cannot_be(mut bench: Bench) {
    let digest = Digest::sha256(b"nothing");
    for other in ["v1", "sha256:0", "md5:00", "sha256", &digest.as_str().to_uppercase()] {
        let target = format!("/v2/{}/referrers/{other}", bench.repository);
        assert_eq!(bench.codes(Method::GET, &target).await, "400 DIGEST_INVALID", "{other}");
    }
    let target = bench.referrers(&digest);
    assert_eq!(bench.codes(Method::GET, &format!("{target}?last=v1")).await, "400 DIGEST_INVALID");
    assert_eq!(bench.codes(Method::GET, &format!("{target}?n=x")).await, "400 PAGINATION_NUMBER_INVALID");
    assert_eq!(bench.codes(Method::GET, &format!("/v2/NAME/referrers/{digest}")).await, "400 NAME_INVALID");
    for method in [Method::PUT, Method::POST, Method::DELETE] {
        assert_eq!(bench.codes(method.clone(), &target).await, "405 UNSUPPORTED", "{method}");
    }
}

async fn referrers_of_one_type(mut bench: Bench) {
    let (subject, referrers) = bench.push_referrers(Algorithm::Sha256).await;
    for (query, wanted) in [
        ("a/type", "a/type"),
        ("a%2Ftype", "a/type"),
        ("a/config", "a/config"),
        ("a/config%2Bjson", "a/config+json"),
        // Not every client escapes a plus sign, and no type holds the space that it would mean.
        ("a/config+json", "a/config+json"),
        ("a/none", "a/none"),
    ] {
        let target = format!("{}?artifactType={query}", bench.referrers(&subject));
        let answer = bench.client.get(&target).await.expect(200);
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        let expected = referrers.iter().map(|referrer| &referrer.told).filter(|told| told["artifactType"] == wanted);
        assert_eq!(listed(&answer), told(expected), "{query}");
    }
    let target = format!("{}?artifactType=", bench.referrers(&subject));
    let answer = bench.client.get(&target).await.expect(200);
    assert!(answer.header("oci-filters-applied").is_empty(), "nothing is asked for");
    assert_eq!(listed(&answer).len(), referrers.len());
}

async fn a_page_of_referrers(mut bench: Bench) {
    let (subject, referrers) = bench.push_referrers(Algorithm::Sha256).await;
    for (filter, wanted) in [("", None), ("artifactType=a/type&", Some("a/type"))] {
        let expected = referrers.iter().map(|referrer| &referrer.told);
        let expected = told(expected.filter(|told| wanted.is_none_or(|wanted| told["artifactType"] == wanted)));
        for n in 1..=expected.len() + 1 {
            let (mut found, mut pages) = (BTreeMap::new(), 0);
            let mut target = format!("{}?{filter}n={n}", bench.referrers(&subject));
            while !target.is_empty() {
                let answer = bench.client.get(&target).await.expect(200);
                assert_eq!(answer.header("oci-filters-applied").is_empty(), filter.is_empty());
                let page = listed(&answer);
                assert!(page.len() <= n);
                found.extend(page);
                pages += 1;
                target = next(&answer);
            }
            assert_eq!((&found, pages), (&expected, expected.len().div_ceil(n)), "pages of {n}");
        }
    }
    let none = bench.client.get(&format!("{}?n=0", bench.referrers(&subject))).await.expect(200);
    assert!(listed(&none).is_empty() && none.header("link").is_empty());
}

async fn a_deleted_referrer_is_not_listed(mut bench: Bench) {
    let (subject, referrers) = bench.push_referrers(Algorithm::Sha256).await;
    let mut expected = told(referrers.iter().map(|referrer| &referrer.told));
    let target = bench.referrers(&subject);
    for referrer in &referrers {
        let digest = referrer.document.digest();
        bench.client.delete(&bench.manifest(digest.as_str())).await.expect(202);
        expected.remove(digest.as_str());
        assert_eq!(listed(&bench.client.get(&target).await.expect(200)), expected);
    }
    // The list of a subject that is deleted stays: its referrers are there.
    bench.push(referrers[0].document.digest().as_str(), &referrers[0].document).await.expect(201);
    bench.client.delete(&bench.manifest(subject.as_str())).await.expect(202);
    assert_eq!(listed(&bench.client.get(&target).await.expect(200)).len(), 1);
}

/// What a registry without the API has left: manifests with a subject, and a referrers tag. It knows of no index.
async fn referrers_from_before_there_was_a_list(bench: Bench) {
    if bench.store != Kind::Directory {
        // What was there before a start is only there with a directory.
        return;
    }
    let server = Server::start(false, |_| ()).await;
    let mut other = Bench { client: server.client().await, repository: "before".into(), store: Kind::Directory };
    let (subject, referrers) = other.push_referrers(Algorithm::Sha256).await;
    let entries: Vec<Value> = referrers.iter().map(|referrer| referrer.told.clone()).collect();
    let tag = subject.as_str().replace(':', "-");
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
    let index = Document { media_type: media_type::OCI_INDEX, raw: Bytes::from(index.to_string()) };
    other.push(&tag, &index).await.expect(201);
    let Server { running, directory } = server;
    running.stop().await;
    let data = directory.path().join("data");
    std::fs::remove_dir_all(data.join("docker/registry/v2/repositories/before/_referrers")).unwrap();

    let running = berth_registry::start(&support::config(support::filesystem(&data))).await.unwrap();
    let client = support::Client::connect(running.address()).await;
    let mut other = Bench { client, ..other };
    let answer = other.client.get(&other.referrers(&subject)).await.expect(200);
    assert_eq!(listed(&answer), told(&entries));
    running.stop().await;
}
