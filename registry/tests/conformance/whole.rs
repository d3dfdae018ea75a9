//! What holds for every part of the API: that it is there, and what its errors look like.

use std::collections::BTreeSet;

use berth_oci::Digest;
use bytes::Bytes;
use http::Method;

use crate::{Bench, cases};

cases! {
    every_endpoint_is_there: "category-pull", "category-others", "category-whole";
    an_error_has_a_form: "error-body", "error-code-form", "error-message";
    a_method_that_is_not_there_is_named: "http";
}

/// The codes of the specification, and those of CNCF Distribution that `error-code-known` names.
const CODES: [&str; 18] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "RANGE_INVALID",
    "TAG_INVALID",
    "PAGINATION_NUMBER_INVALID",
    "MANIFEST_UNVERIFIED",
];

/// Every endpoint of the table in the specification; a request that fails must fail for what it asks, not for its path.
async fn every_endpoint_is_there(mut bench: Bench) {
    let image = bench.client.push_image(&bench.repository, "v1", &["layer"]).await;
    let (digest, layer) = (image.digest(), Digest::sha256(b"layer"));
    let name = bench.repository.clone();
    for (id, method, target, expected) in [
        ("end-1", Method::GET, "/v2/".to_owned(), "200"),
        ("end-2", Method::GET, format!("/v2/{name}/blobs/{layer}"), "200"),
        ("end-2", Method::HEAD, format!("/v2/{name}/blobs/{layer}"), "200"),
        ("end-3", Method::GET, format!("/v2/{name}/manifests/v1"), "200"),
        ("end-3", Method::HEAD, format!("/v2/{name}/manifests/{digest}"), "200"),
        ("end-4a", Method::POST, format!("/v2/{name}/blobs/uploads/"), "202"),
        ("end-4b", Method::POST, format!("/v2/{name}/blobs/uploads/?digest={layer}"), "400 DIGEST_INVALID"),
        ("end-4c", Method::POST, format!("/v2/{name}/blobs/uploads/?digest-algorithm=sha512"), "202"),
        ("end-7a", Method::PUT, format!("/v2/{name}/manifests/v1"), "400 MANIFEST_INVALID"),
        ("end-7b", Method::PUT, format!("/v2/{name}/manifests/{digest}?tag=1&tag=2"), "400 DIGEST_INVALID"),
        ("end-8a", Method::GET, format!("/v2/{name}/tags/list"), "200"),
        ("end-8b", Method::GET, format!("/v2/{name}/tags/list?n=1&last=a"), "200"),
        ("end-11", Method::POST, format!("/v2/{name}/to/blobs/uploads/?mount={layer}&from={name}"), "201"),
        ("end-12a", Method::GET, format!("/v2/{name}/referrers/{digest}"), "200"),
        ("end-12b", Method::GET, format!("/v2/{name}/referrers/{digest}?artifactType=a/b"), "200"),
        ("end-10", Method::DELETE, format!("/v2/{name}/to/blobs/{layer}"), "202"),
        ("end-9", Method::DELETE, format!("/v2/{name}/manifests/v1"), "202"),
        ("end-9", Method::DELETE, format!("/v2/{name}/manifests/{digest}"), "202"),
    ] {
        assert_eq!(bench.codes(method.clone(), &target).await, expected, "{id} {method} {target}");
    }
    let location = bench.begin().await;
    for (id, method, query, expected) in [
        ("end-13", Method::GET, String::new(), "204"),
        ("end-5", Method::PATCH, String::new(), "202"),
        ("end-6", Method::PUT, format!("&digest={}", Digest::sha256(b"")), "201"),
        ("end-14", Method::DELETE, String::new(), "404 BLOB_UPLOAD_UNKNOWN"),
    ] {
        assert_eq!(bench.codes(method.clone(), &format!("{location}{query}")).await, expected, "{id} {method}");
    }
    let cancelled = bench.begin().await;
    assert_eq!(bench.codes(Method::DELETE, &cancelled).await, "204", "end-14");
}

async fn an_error_has_a_form(mut bench: Bench) {
    let (name, digest) = (bench.repository.clone(), Digest::sha256(b"nothing"));
    let location = bench.begin().await;
    let (address, _) = location.split_once('?').unwrap();
    let mut seen = BTreeSet::new();
    for (method, target, body, range) in [
        (Method::GET, format!("/v2/{name}/blobs/{digest}"), "", ""),
        (Method::PATCH, address.to_owned(), "", ""),
        (Method::GET, location.replace("/blobs/", "/x/blobs/"), "", ""),
        (Method::GET, format!("/v2/{name}/blobs/sha256:0"), "", ""),
        (Method::PUT, format!("/v2/{name}/manifests/v1"), "{}", ""),
        (Method::PUT, format!("/v2/{name}/manifests/.bad"), "{}", ""),
        (
            Method::PUT,
            format!("/v2/{name}/manifests/v1"),
            "{\"schemaVersion\":2,\"manifests\":[{\"size\":0,\
             \"digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}",
            "",
        ),
        (Method::GET, format!("/v2/{name}/manifests/v1"), "", ""),
        (Method::GET, "/v2/NAME/tags/list".to_owned(), "", ""),
        (Method::GET, "/v2/no/such/tags/list".to_owned(), "", ""),
        (Method::GET, format!("/v2/{name}/tags/list?n=x"), "", ""),
        (Method::PATCH, location.clone(), "abc", "5-7"),
        (Method::PATCH, location.clone(), "abc", "0-7"),
        (Method::DELETE, format!("/v2/{name}/tags/list"), "", ""),
    ] {
        let range: &[_] = if range.is_empty() { &[] } else { &[("content-range", range)] };
        let answer = bench.client.send(method.clone(), &target, range, Bytes::from(body)).await;
        assert!(answer.status.is_client_error(), "{method} {target}: {}", answer.status);
        assert_eq!(answer.header("content-type"), "application/json", "{method} {target}");
        let body = answer.json();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"]);
        let errors = body["errors"].as_array().unwrap();
        assert!(!errors.is_empty());
        for error in errors {
            let fields = error.as_object().unwrap();
            assert!(fields.keys().all(|key| ["code", "message", "detail"].contains(&key.as_str())), "{error}");
            let code = error["code"].as_str().unwrap();
            assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
            assert!(CODES.contains(&code), "{code} is on no list");
            assert!(!error["message"].as_str().unwrap().is_empty());
            seen.insert(code.to_owned());
        }
    }
    assert_eq!(seen.len(), 14, "{seen:?}");
    let gone = bench.client.delete(&location).await.expect(204);
    assert!(gone.body.is_empty());
    assert_eq!(bench.client.get(&location).await.codes(), "404 BLOB_UPLOAD_UNKNOWN");
}

async fn a_method_that_is_not_there_is_named(mut bench: Bench) {
    let (name, digest) = (bench.repository.clone(), Digest::sha256(b"nothing"));
    for (method, target, allow) in [
        (Method::POST, "/v2/".to_owned(), "GET, HEAD"),
        (Method::DELETE, format!("/v2/{name}/tags/list"), "GET, HEAD"),
        (Method::PUT, format!("/v2/{name}/referrers/{digest}"), "GET, HEAD"),
        (Method::GET, format!("/v2/{name}/blobs/uploads/"), "POST"),
        (Method::PATCH, format!("/v2/{name}/manifests/v1"), "DELETE, GET, HEAD, PUT"),
        (Method::PUT, format!("/v2/{name}/blobs/{digest}"), "DELETE, GET, HEAD"),
    ] {
        let refused = bench.client.send(method.clone(), &target, &[], Bytes::new()).await.expect(405);
        assert_eq!(refused.header("allow"), allow, "{method} {target}");
    }
}
