//! Which manifest a client gets, and what one finds that looks around.

use berth_oci::{Digest, media_type};
use http::Method;

use crate::support::{Document, config_of};
use crate::{ask, on_both};

#[tokio::test]
async fn who_does_not_know_lists_gets_an_image() {
    on_both(
        |_| (),
        async |_, mut client| {
            let (image, other) = (Document::docker("amd64", &[]), Document::docker("arm64", &[]));
            for (tag, image) in [("amd64", &image), ("arm64", &other)] {
                client.push_blob("a", config_of(tag)).await;
                client.push_manifest("a", tag, image).await.expect(201);
            }
            let oci = client.push_image("a", "oci", &[]).await;
            let list = Document::index(media_type::DOCKER_LIST, &[(&other, "arm64"), (&image, "amd64")]);
            let without = Document::index(media_type::DOCKER_LIST, &[(&other, "arm64")]);
            let index = Document::index(media_type::OCI_INDEX, &[(&oci, "amd64")]);
            for (tag, document) in [("list", &list), ("without", &without), ("index", &index)] {
                client.push_manifest("a", tag, document).await.expect(201);
            }
            let both = [("accept", media_type::DOCKER_IMAGE), ("accept", media_type::DOCKER_LIST)];
            let listed = format!("text/plain, {};q=0.1,{}", media_type::DOCKER_LIST, media_type::OCI_INDEX);
            let by_digest = list.digest().to_string();
            for (reference, accept, expected) in [
                ("list", &both[..], Ok(&list)),
                ("list", &[("accept", &listed)], Ok(&list)),
                ("list", &both[..1], Ok(&image)),
                ("list", &[], Ok(&image)),
                ("list", &[("accept", "*/*")], Ok(&image)),
                ("list", &[("accept", media_type::DOCKER_SCHEMA1_SIGNED)], Err("400 MANIFEST_INVALID")),
                ("without", &both[..1], Err("404 MANIFEST_UNKNOWN")),
                (&by_digest, &both[..1], Ok(&list)),
                ("amd64", &[("accept", media_type::DOCKER_SCHEMA1_SIGNED)], Ok(&image)),
                ("oci", &both, Err("404 MANIFEST_UNKNOWN")),
                ("oci", &[("accept", "*/*")], Ok(&oci)),
                ("index", &[("accept", media_type::OCI_IMAGE)], Ok(&index)),
                ("index", &[("accept", &listed)], Ok(&index)),
            ] {
                let target = format!("/v2/a/manifests/{reference}");
                let found = ask(&mut client, Method::GET, &target, accept).await;
                match expected {
                    Err(codes) => assert_eq!(found.codes(), codes, "{reference} {accept:?}"),
                    Ok(document) => {
                        assert_eq!(found.body, document.raw, "{reference} {accept:?}");
                        assert_eq!(found.header("content-type"), document.media_type);
                        assert_eq!(found.header("docker-content-digest"), document.digest().as_str());
                    }
                }
                // A question with HEAD has the answer of GET, but for the body.
                let head = ask(&mut client, Method::HEAD, &target, accept).await;
                assert_eq!(head.status, found.status);
                for name in ["content-type", "content-length", "docker-content-digest", "etag", "vary"] {
                    assert_eq!(head.headers.get(name), found.headers.get(name), "{reference} {accept:?} {name}");
                }
            }
            let refused = ask(&mut client, Method::GET, "/v2/a/manifests/oci", &both).await;
            let message = "OCI manifest found, but accept header does not support OCI manifests";
            assert_eq!(refused.json()["errors"][0]["message"], message);
        },
    )
    .await;
}

#[tokio::test]
async fn clients_that_look_around_find_what_they_expect() {
    let header = |config: &mut berth_config::Config| {
        config.http.headers.insert("access-control-allow-origin".into(), vec!["*".into()]);
        // As Distribution's own example has it; some answers say it by themselves.
        config.http.headers.insert("x-content-type-options".into(), vec!["nosniff".into()]);
    };
    on_both(header, async |_, mut client| {
        let digest = Digest::sha256(b"x");
        for (method, target, status, header, value) in [
            // Docker's first clients asked for the first version of the API.
            (Method::GET, "/v1/_ping".to_owned(), 404, "content-type", "text/plain; charset=utf-8"),
            (Method::GET, "/v1/search?q=x".to_owned(), 404, "content-type", "text/plain; charset=utf-8"),
            (Method::GET, "/v1/repositories/a/images".to_owned(), 404, "content-type", "text/plain; charset=utf-8"),
            (Method::GET, "/v2".to_owned(), 301, "location", "/v2/"),
            (Method::POST, "/v2".to_owned(), 301, "location", "/v2/"),
            (Method::GET, "/v2?x=y".to_owned(), 301, "location", "/v2/?x=y"),
            (Method::HEAD, "/v2".to_owned(), 301, "location", "/v2/"),
            (Method::GET, "/v2/_catalog/?n=3".to_owned(), 301, "location", "/v2/_catalog?n=3"),
            (Method::GET, "/v2/a/manifests/v1/".to_owned(), 301, "location", "/v2/a/manifests/v1"),
            (Method::GET, "//v2//a/tags/list".to_owned(), 301, "location", "/v2/a/tags/list"),
            (Method::POST, "/v2/a/blobs/uploads".to_owned(), 301, "location", "/v2/a/blobs/uploads/"),
            (Method::OPTIONS, "/v2/".to_owned(), 200, "allow", "GET, HEAD"),
            (Method::OPTIONS, "/v2/a/manifests/v1".to_owned(), 200, "allow", "DELETE, GET, HEAD, PUT"),
            (Method::OPTIONS, format!("/v2/a/blobs/{digest}"), 200, "allow", "DELETE, GET, HEAD"),
            (Method::PATCH, "/v2/a/manifests/v1".to_owned(), 405, "allow", "DELETE, GET, HEAD, PUT"),
            (Method::TRACE, "/v2/".to_owned(), 405, "allow", "GET, HEAD"),
        ] {
            let answer = ask(&mut client, method.clone(), &target, &[]).await.expect(status);
            assert_eq!(answer.header(header), value, "{method} {target}");
            assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0", "{method} {target}");
            // What is no answer of the API has none of its headers.
            let configured = if matches!(status, 301 | 404) { "" } else { "*" };
            assert_eq!(answer.header("access-control-allow-origin"), configured, "{method} {target}");
            let sniffing: Vec<_> = answer.headers.get_all("x-content-type-options").iter().collect();
            assert_eq!(sniffing.len(), usize::from(status != 301), "{method} {target}");
        }
        let page = ask(&mut client, Method::GET, "/v2?a='b'&c=d", &[]).await.expect(301);
        assert_eq!(page.body, "<a href=\"/v2/?a=&#39;b&#39;&amp;c=d\">Moved Permanently</a>.\n\n");
        let ping = client.get("/v1/_ping").await;
        assert_eq!(ping.body, "404 page not found\n");
    })
    .await;
}

/// Who balances load asks for `/`, and does not know the prefix.
#[tokio::test]
async fn the_root_answers_whatever_the_prefix() {
    let prefixed = |config: &mut berth_config::Config| config.http.prefix = "/hub/".into();
    on_both(prefixed, async |_, mut client| {
        for (target, status) in [("/", 200), ("/hub/v2/", 200), ("/hub/", 404), ("/hub", 404), ("/v2/", 404)] {
            let answer = ask(&mut client, Method::GET, target, &[]).await.expect(status);
            assert_eq!(answer.header("cache-control"), if target == "/" { "no-cache" } else { "" }, "{target}");
            ask(&mut client, Method::HEAD, target, &[]).await.expect(status);
        }
    })
    .await;
}

/// A parameter that is passed over could be a tag, or the digest.
#[tokio::test]
async fn a_query_is_taken_whole_or_not_at_all() {
    on_both(
        |_| (),
        async |_, mut client| {
            let image = client.push_image("a", "v1", &[]).await;
            for (count, status) in [(199, 201), (200, 414)] {
                let query = vec!["x=i"; count].join("&");
                let target = format!("/v2/a/manifests/{}?{query}&tag=last-{count}", image.digest());
                let headers = [("content-type", image.media_type)];
                let answer = client.put(&target, &headers, image.raw.clone()).await.expect(status);
                assert_eq!(answer.header("oci-tag"), if status == 201 { "last-199" } else { "" });
                let tagged = if status == 201 { 200 } else { 404 };
                client.get(&format!("/v2/a/manifests/last-{count}")).await.expect(tagged);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_browser_may_ask_before_it_sends_a_password() {
    let silly = berth_config::Method::Silly(berth_config::Silly { realm: "r".into(), service: "s".into() });
    on_both(
        |config| config.auth = Some(silly.clone().into()),
        async |_, mut client| {
            let answer =
                ask(&mut client, Method::OPTIONS, "/v2/a/tags/list", &[("origin", "https://ui.example")]).await;
            assert_eq!((answer.status.as_u16(), answer.header("allow")), (200, "GET, HEAD"));
            ask(&mut client, Method::GET, "/v2", &[]).await.expect(301);
            ask(&mut client, Method::GET, "/v1/_ping", &[]).await.expect(404);
            ask(&mut client, Method::GET, "/v2/", &[]).await.expect(401);
        },
    )
    .await;
}
