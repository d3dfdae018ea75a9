//! The documents under `tests/data/schema1` were signed by libtrust, and `served.json` was pulled from CNCF Distribution
//! 2.8.2.

use std::path::PathBuf;

use base64::Engine;
use berth_oci::{Digest, Manifest};

use super::*;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema1").join(name)
}

fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

#[test]
fn what_libtrust_signed_verifies() {
    let payload = data("payload.json");
    for name in
        ["es256.json", "es384.json", "es512.json", "rs256.json", "two.json", "x5c.json", "x5c-rsa.json", "served.json"]
    {
        assert_eq!(open(&data(name)).unwrap(), payload, "{name}");
    }
    let manifest = Manifest::parse(&payload).unwrap();
    assert_eq!((manifest.kind(), manifest.layers().len()), (ManifestKind::DockerSchema1, 2));
    let digest = "sha256:84b7450dd2379bc6a0f0641abde117ff9a57635aa8cf75b27a56c55355f10409";
    assert_eq!(Digest::sha256(&payload).as_str(), digest);
}

#[test]
fn what_was_tampered_with_does_not() {
    fn check(change: impl Fn(&str) -> String, expected: &str) {
        let signed = String::from_utf8(data("es256.json")).unwrap();
        let changed = change(&signed);
        assert_ne!(changed, signed);
        assert_eq!(open(changed.as_bytes()).unwrap_err().to_string(), expected);
    }
    /// Another value for the first field of this name.
    fn with(text: &str, field: &str, value: impl Fn(&str) -> String) -> String {
        let (before, rest) = text.split_once(&format!("\"{field}\": \"")).unwrap();
        let (old, after) = rest.split_once('"').unwrap();
        format!("{before}\"{field}\": \"{}\"{after}", value(old))
    }
    fn protected(text: &str, value: &str) -> String {
        with(text, "protected", |_| jws::BASE64.encode(value))
    }
    const UNVERIFIED: &str = "schema 1 manifest: a signature does not verify";
    const FORMAT: &str = "schema 1 manifest: formatLength and formatTail do not fit the document";
    check(|text| text.replace("amd64", "arm64"), UNVERIFIED);
    check(|text| with(text, "signature", |old| old.chars().rev().collect()), UNVERIFIED);
    check(|text| with(text, "signature", |_| "AAAA".into()), UNVERIFIED);
    check(
        |text| protected(text, r#"{"formatLength":495,"formatTail":"Cn0","time":"2020-01-01T00:00:00Z"}"#),
        UNVERIFIED,
    );
    check(|text| protected(text, r#"{"formatLength":99999,"formatTail":"Cn0"}"#), FORMAT);
    check(
        |text| with(text, "kid", |old| old.replace(':', "-")),
        "schema 1 manifest: the key of a signature: its kid does not name it",
    );
    check(
        |text| text.replace("ES256", "ES384"),
        "schema 1 manifest: the key of a signature: it is not a key for ES384",
    );
    check(
        |text| text.replace("ES256", "none"),
        "schema 1 manifest: the key of a signature: algorithm \"none\" is not one of ES256, ES384, ES512, RS256, RS384, RS512",
    );
    check(
        |text| with(text, "x", |_| String::new()),
        "schema 1 manifest: the key of a signature: field \"x\" of the key is missing or malformed",
    );
    check(
        |text| with(text, "x", |old| old.chars().rev().collect()),
        "schema 1 manifest: the key of a signature: it is not a key for ES256",
    );
    check(|text| text.replace("\"jwk\"", "\"other\""), "schema 1 manifest: the key of a signature: there is none");
    check(|text| text.replace("\"signatures\"", "\"others\""), "schema 1 manifest: it has 0 signatures, not 1 to 16");
    check(
        |text| text.replace("\"header\"", "\"head\""),
        "schema 1 manifest: missing field `header` at line 36 column 7",
    );
}

#[test]
fn only_a_schema_1_manifest_is_taken() {
    fn check(payload: &str, expected: &str) {
        let signed = jws::sign(payload.as_bytes(), &TrustKey::generate().unwrap(), now()).unwrap();
        let found = open(&signed).map(|found| assert_eq!(found, payload.as_bytes())).map_err(|error| error.to_string());
        assert_eq!(found.err().unwrap_or_default(), expected, "{payload}");
    }
    check(r#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#, "");
    check(r#"{"schemaVersion":1,"name":"a","tag":"v1","fsLayers":[{}],"history":[{}]}"#, "");
    check(r#"{"schemaVersion":2,"name":"a"}"#, "schema 1 manifest has schemaVersion 2, not 1");
    check(r#"{"schemaVersion":1}"#, "schema 1 manifest: missing field `name` at line 1 column 19");
    check(
        r#"{"schemaVersion":1,"name":"a!"}"#,
        "schema 1 manifest: repository name \"a!\" has an invalid component \"a!\"",
    );
    check(
        r#"{"schemaVersion":1,"name":"a","tag":"-"}"#,
        "schema 1 manifest: tag \"-\" does not match [A-Za-z0-9_][A-Za-z0-9_.-]*",
    );
    check(
        r#"{"schemaVersion":1,"name":"a","fsLayers":[{}],"history":[]}"#,
        "schema 1 manifest has 0 entries in history for 1 in fsLayers",
    );
}

#[test]
fn what_is_served_has_the_form_of_distribution() {
    let signer = Signer::from(TrustKey::read(&path("trustkey.json")).unwrap());
    let payload = Bytes::from(data("payload.json"));
    let signed = for_client(ManifestKind::DockerSchema1, &payload, &signer, now()).unwrap();
    assert_eq!(open(&signed).unwrap(), payload);
    // All but the key, the signature and the time is what Distribution wrote.
    let blank = |text: &[u8]| {
        let text = std::str::from_utf8(text).unwrap().lines().map(|line| {
            let (field, value) = line.split_once(": ").unwrap_or((line, ""));
            let known = ["kid", "x", "y", "signature", "protected"];
            match known.contains(&field.trim().trim_matches('"')) {
                true => format!("{field}: {} characters", value.len()),
                false => line.to_owned(),
            }
        });
        text.collect::<Vec<_>>()
    };
    assert_eq!(blank(&signed), blank(&data("served.json")));
    let protected = serde_json::from_slice::<serde_json::Value>(&signed).unwrap();
    let protected = jws::BASE64.decode(protected["signatures"][0]["protected"].as_str().unwrap()).unwrap();
    assert_eq!(protected, br#"{"formatLength":495,"formatTail":"Cn0","time":"2026-01-02T03:04:05Z"}"#);
    let other = Bytes::from_static(b"{}");
    assert_eq!(for_client(ManifestKind::OciImage, &other, &signer, now()).unwrap(), other);
}

#[test]
fn a_key_is_made_once_and_then_kept() {
    let signer = Signer::default();
    let payload = Bytes::from(data("payload.json"));
    let key_id = || {
        let served = for_client(ManifestKind::DockerSchema1, &payload, &signer, now()).unwrap();
        assert_eq!(open(&served).unwrap(), payload);
        let served = serde_json::from_slice::<serde_json::Value>(&served).unwrap();
        served["signatures"][0]["header"]["jwk"]["kid"].as_str().unwrap().to_owned()
    };
    assert_eq!(key_id(), key_id());
}

#[test]
fn a_text_comes_back_however_it_is_laid_out() {
    let key = TrustKey::generate().unwrap();
    for text in [
        r#"{"schemaVersion":1,"name":"a"}"#,
        "{\"schemaVersion\":1,\"name\":\"a\" }  \n",
        "{\n\"schemaVersion\":1,\"name\":\"a\"}",
        "{\n\t\"schemaVersion\": 1,\n\t\"name\": \"a\"\n}\n",
    ] {
        let signed = jws::sign(text.as_bytes(), &key, now()).unwrap();
        assert_eq!(jws::open(&signed).unwrap(), text.as_bytes(), "{text}");
    }
    for text in ["", "{}", "[1]", "{\"a\":1,}", "}"] {
        assert!(jws::sign(text.as_bytes(), &key, now()).is_err(), "{text}");
    }
}

#[test]
fn the_trust_key_is_read_in_every_form_of_libtrust() {
    let payload = data("payload.json");
    for name in ["trustkey.json", "trustkey.pem", "trustkey-rsa.json", "trustkey-rsa.pem"] {
        let key = TrustKey::read(&path(name)).unwrap();
        let signed = jws::sign(&payload, &key, now()).unwrap();
        assert_eq!(open(&signed).unwrap(), payload, "{name}");
        // The key is the one that libtrust has signed with, under the name that it gave.
        let of_libtrust: serde_json::Value =
            serde_json::from_slice(&data(if name.contains("rsa") { "rs256.json" } else { "es256.json" })).unwrap();
        let ours: serde_json::Value = serde_json::from_slice(&signed).unwrap();
        let header = |document: &serde_json::Value| document["signatures"][0]["header"].clone();
        assert_eq!(header(&ours), header(&of_libtrust), "{name}");
    }
    let errors = ["nowhere.json", "payload.json"].map(|name| TrustKey::read(&path(name)).unwrap_err().to_string());
    assert!(errors[0].starts_with("compatibility.schema1.signingkeyfile: cannot read "), "{errors:?}");
    assert!(errors[1].contains("payload.json holds neither a private JSON Web Key"), "{errors:?}");
    let shown = format!("{:?}", TrustKey::read(&path("trustkey.json")).unwrap());
    assert!(shown.starts_with("TrustKey(") && shown.len() == 69, "{shown}");
}

#[test]
fn schema_1_is_told_apart() {
    const BODY: &[u8] = br#"{"schemaVersion":1}"#;
    for (content_type, raw, expected) in [
        (Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), &b"x"[..], true),
        (Some("application/vnd.docker.distribution.manifest.v1+json; charset=utf-8"), b"x", true),
        (Some("application/json"), BODY, true),
        (Some("application/json"), b"{\"schemaVersion\":2}", false),
        (Some(""), BODY, true),
        (None, BODY, true),
        (None, b"{}", false),
        (Some("text/plain"), BODY, false),
        (Some("application/vnd.docker.distribution.manifest.v2+json"), BODY, false),
    ] {
        assert_eq!(is_meant(content_type, raw), expected, "{content_type:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_document_makes_the_reader_panic(text in "\\{\"signatures\":\\[\\{\"header\":\\{\"alg\":\"ES256\"\\},\"signature\":\"[a-zA-Z=]{0,9}\",\"protected\":\"[a-zA-Z0-9]{0,30}\"\\}\\]\\}") {
        proptest::prop_assert!(open(text.as_bytes()).is_err());
    }
}
