use super::*;
use crate::media_type::{DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX};

fn descriptor() -> String {
    format!("{{\"mediaType\":\"x\",\"digest\":\"{}\",\"size\":3}}", Digest::sha256(b"abc"))
}

fn image(media_type: Option<&str>) -> String {
    let field = media_type.map(|text| format!("\"mediaType\":{text:?},")).unwrap_or_default();
    format!("{{\"schemaVersion\":2,{field}\"config\":{0},\"layers\":[{0}]}}", descriptor())
}

fn index(media_type: Option<&str>) -> String {
    let field = media_type.map(|text| format!("\"mediaType\":{text:?},")).unwrap_or_default();
    format!("{{\"schemaVersion\":2,{field}\"manifests\":[{}]}}", descriptor())
}

#[test]
fn the_kind_comes_from_the_field_or_the_shape() {
    fn check(raw: &str, expected: Result<ManifestKind, &str>) {
        let found = Manifest::parse(raw.as_bytes()).map(|manifest| manifest.kind()).map_err(|e| e.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{raw}");
        let outline = ManifestKind::of_stored(raw.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(outline.is_ok(), found.is_ok(), "{raw}");
        assert!(outline.is_err() || outline == found, "{raw}");
    }
    check(&image(None), Ok(ManifestKind::OciImage));
    check(&image(Some(OCI_IMAGE)), Ok(ManifestKind::OciImage));
    check(&image(Some(DOCKER_IMAGE)), Ok(ManifestKind::DockerImage));
    check(&index(None), Ok(ManifestKind::OciIndex));
    check(&index(Some(OCI_INDEX)), Ok(ManifestKind::OciIndex));
    check(&index(Some(DOCKER_LIST)), Ok(ManifestKind::DockerList));
    check(&image(Some("text/plain")), Err("manifest media type \"text/plain\" is not supported"));
    // What calls itself one kind and has the fields of another is what it calls itself.
    check(&image(Some(OCI_INDEX)), Ok(ManifestKind::OciIndex));
    check(&index(Some(OCI_IMAGE)), Ok(ManifestKind::OciImage));
    check("{\"schemaVersion\":2}", Ok(ManifestKind::OciImage));
    check("{\"schemaVersion\":3}", Err("manifest has schemaVersion 3, not 2"));
    check("{\"schemaVersion\":1,\"fsLayers\":[]}", Ok(ManifestKind::DockerSchema1));
    check("{\"schemaVersion\":1}", Ok(ManifestKind::DockerSchema1));
    check("{}", Err("manifest lacks the field \"schemaVersion\""));
    check("{\"schemaVersion\":null}", Err("manifest lacks the field \"schemaVersion\""));
    check("{\"schemaVersion\":\"2\"}", Err("manifest field schemaVersion is a string, not a whole number of 64 bits"));
    check("{\"schemaVersion\":2,\"mediaType\":[]}", Err("manifest field mediaType is a list, not a string"));
    check("[2]", Err("manifest is not a JSON object"));
    check("", Err("manifest is not a JSON object"));
    check("{", Err("manifest field ?: EOF while parsing an object at line 1 column 1"));
    let trailing = format!("{}{{}}", image(None));
    let column = image(None).len() + 1;
    check(&trailing, Err(&format!("manifest field .: trailing characters at line 1 column {column}")));
    let half = "{\"schemaVersion\":2,\"layers\":[{},{\"digest\":\"sha256:0";
    check(half, Err("manifest field layers[1].digest: EOF while parsing a string at line 1 column 51"));
}

#[test]
fn the_content_type_must_agree_with_the_field() {
    fn check(raw: &str, content_type: Option<&str>, valid: bool) {
        let found = Manifest::parse_declared(raw.as_bytes(), content_type);
        assert_eq!(found.is_ok(), valid, "{content_type:?} {raw}: {found:?}");
    }
    check(&image(None), Some(OCI_IMAGE), true);
    check(&image(None), None, true);
    check(&image(Some(OCI_IMAGE)), Some(OCI_IMAGE), true);
    check(&image(Some(OCI_IMAGE)), Some(&format!("{OCI_IMAGE}; charset=utf-8")), true);
    check(&image(Some(DOCKER_IMAGE)), Some(DOCKER_IMAGE), true);
    check(&image(None), Some(DOCKER_IMAGE), false);
    check(&image(Some(OCI_IMAGE)), Some(DOCKER_IMAGE), false);
    check(&image(Some(DOCKER_IMAGE)), Some(OCI_IMAGE), false);
    check(&index(None), Some(OCI_INDEX), true);
    check(&index(None), Some(OCI_IMAGE), false);
    check(&image(None), Some(OCI_INDEX), false);
    check(&image(None), Some("application/json"), false);
}

#[test]
fn the_layers_of_schema_1_are_its_blobs() {
    let (low, high) = (Digest::sha256(b"low"), Digest::sha256(b"high"));
    let raw = format!(
        "{{\"schemaVersion\":1,\"name\":\"a\",\"fsLayers\":[{{\"blobSum\":\"{high}\"}},{{\"blobSum\":\"{low}\"}}],\
         \"config\":null}}"
    );
    let manifest = Manifest::parse(raw.as_bytes()).unwrap();
    let blobs: Vec<&Digest> = manifest.blobs().map(|descriptor| &descriptor.digest).collect();
    assert_eq!(blobs, [&low, &high]);
    assert!(manifest.manifests().is_empty() && manifest.subject().is_none());
    assert_eq!(Manifest::parse_schema1(raw.as_bytes()).unwrap(), manifest);
    for (wrong, expected) in [
        (
            "{\"schemaVersion\":1}",
            "manifest of type application/vnd.docker.distribution.manifest.v1+prettyjws lacks the field \"fsLayers\"",
        ),
        ("{\"schemaVersion\":1,\"fsLayers\":5}", "manifest field fsLayers is a number, not a list of layers"),
        (
            "{\"schemaVersion\":1,\"fsLayers\":[{\"blobSum\":\"tarsum.v1+sha256:00\"}]}",
            "manifest field fsLayers[0].blobSum: digest algorithm \"tarsum.v1+sha256\" is not supported: use sha256, sha384 or sha512",
        ),
        (
            "{\"schemaVersion\":1,\"fsLayers\":[null]}",
            "manifest field fsLayers[0].blobSum: digest \"\" is not of the form <algorithm>:<hex>",
        ),
    ] {
        assert_eq!(Manifest::parse_schema1(wrong.as_bytes()).unwrap_err().to_string(), expected);
        assert_eq!(Manifest::parse(wrong.as_bytes()).unwrap().blobs().count(), 0, "what is stored is read");
    }
    for content_type in [None, Some(DOCKER_IMAGE), Some(media_type::DOCKER_SCHEMA1_SIGNED)] {
        assert!(Manifest::parse_declared(raw.as_bytes(), content_type).is_err(), "{content_type:?}");
    }
}

#[test]
fn null_counts_as_absent() {
    let raw = format!(
        "{{\"schemaVersion\":2,\"config\":{},\"layers\":null,\"manifests\":null,\"annotations\":null}}",
        descriptor()
    );
    let manifest = Manifest::parse(raw.as_bytes()).unwrap();
    assert_eq!(manifest.kind(), ManifestKind::OciImage);
    assert_eq!(manifest.blobs().count(), 1);
}

#[test]
fn the_platform_is_chosen_by_both_words() {
    let entry = |os: &str, architecture: &str, content: &[u8]| {
        let digest = Digest::sha256(content);
        format!(
            "{{\"digest\":\"{digest}\",\"size\":1,\"platform\":{{\"os\":{os:?},\"architecture\":{architecture:?}}}}}"
        )
    };
    let raw = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{},{},{}]}}",
        entry("windows", "amd64", b"1"),
        entry("linux", "arm64", b"2"),
        entry("linux", "amd64", b"3")
    );
    let manifest = Manifest::parse(raw.as_bytes()).unwrap();
    let chosen = manifest.for_platform("linux", "amd64").map(|descriptor| descriptor.digest.clone());
    assert_eq!(chosen, Some(Digest::sha256(b"3")));
    assert_eq!(manifest.for_platform("plan9", "amd64"), None);
}

/// What a document says: its references by their letters, as a client of its kind follows them and as a collector does.
fn seen(raw: &[u8]) -> String {
    let letter = |digest: &Digest| {
        let letter = "CLMNS".chars().find(|letter| Digest::sha256(letter.to_string().as_bytes()) == *digest);
        letter.unwrap_or('?')
    };
    let manifest = Manifest::parse(raw).unwrap();
    let followed = manifest.blobs().chain(manifest.manifests()).chain(manifest.subject());
    let followed: String = followed.map(|descriptor| letter(&descriptor.digest)).collect();
    let Mentions { blobs, manifests, subjects, unknown } = Mentions::read(raw).unwrap();
    let mut kept: Vec<char> = blobs.iter().chain(&manifests).chain(&subjects).map(letter).collect();
    kept.sort_unstable();
    let unknown = if unknown.is_some() { " and more" } else { "" };
    format!("{followed} keeps {}{unknown}", kept.into_iter().collect::<String>())
}

/// Replaces `@X` by the digest of the letter.
fn with_digests(text: &str) -> String {
    "CLMNS".chars().fold(text.to_owned(), |text, letter| {
        text.replace(&format!("@{letter}"), Digest::sha256(letter.to_string().as_bytes()).as_str())
    })
}

/// What a push of a document is refused for, if it is, and what is read of it when it is stored. What CNCF Distribution
/// takes is taken.
#[track_caller]
fn check_odd(kind: ManifestKind, rest: &str, refused: &str, expected: &str) {
    let raw = with_digests(&format!("{{\"schemaVersion\":2,\"mediaType\":\"{}\",{rest}}}", kind.media_type()));
    check_odd_raw(kind, raw.as_bytes(), refused, expected);
}

#[track_caller]
fn check_odd_raw(kind: ManifestKind, raw: &[u8], refused: &str, expected: &str) {
    let shown = String::from_utf8_lossy(raw);
    assert_eq!(seen(raw), expected, "{shown}");
    assert_eq!(ManifestKind::of_stored(raw).unwrap(), kind, "{shown}");
    let pushed = Manifest::parse_declared(raw, Some(kind.media_type()));
    let found = pushed.as_ref().map_err(|error| error.to_string().replace("manifest field ", ""));
    assert_eq!(found.err().unwrap_or_default(), refused, "{shown}");
    if let Ok(pushed) = pushed {
        assert_eq!(pushed, Manifest::parse(raw).unwrap(), "{shown}");
    }
}

const CONFIG: &str = "\"config\":{\"digest\":\"@C\",\"size\":1}";
const LAYERS: &str = "\"layers\":[{\"digest\":\"@L\",\"size\":1}]";

fn image_and(rest: &str) -> String {
    format!("{CONFIG},{LAYERS}{rest}")
}

#[test]
fn odd_images() {
    use ManifestKind::OciImage;
    for (rest, refused) in [
        ("", ""),
        (",\"annotations\":null", ""),
        (",\"annotations\":{\"a\":null,\"a\":\"b\"},\"annotations\":{\"a\":\"c\"}", ""),
        (",\"annotations\":{\"a\":5}", "annotations.a is a number, not a string"),
        (",\"annotations\":[]", "annotations is a list, not an object of strings"),
        (",\"annotations\":{\"a\":\"\\ud800\"}", ""),
        (",\"manifests\":null,\"history\":5,\"fsLayers\":5,\"artifactType\":5", ""),
        (",\"subject\":{}", ""),
        (",\"subject\":5", ""),
        (",\"subject\":{\"digest\":\"sha384:00\",\"size\":1}", ""),
        (",\"x\":{\"layers\":[{\"digest\":\"@M\"}]}", ""),
    ] {
        check_odd(OciImage, &image_and(rest), refused, "CL keeps CL");
    }
    let ambiguous = format!("manifest of type {OCI_IMAGE} has a field \"manifests\" that belongs to another kind");
    check_odd(OciImage, &image_and(",\"manifests\":[]"), &ambiguous, "CL keeps CL");
    check_odd(OciImage, &image_and(",\"manifests\":[{\"digest\":\"@M\"}]"), &ambiguous, "CL keeps CLM");
    check_odd(OciImage, &image_and(",\"subject\":{\"digest\":\"@S\"}"), "", "CLS keeps CLS");
    check_odd(OciImage, &image_and(",\"Subject\":{\"DIGEST\":\"@S\"}"), "", "CLS keeps CLS");
    // The last of a key that stands there twice counts, and a collector keeps what others may see.
    check_odd(OciImage, &image_and(",\"layers\":[]"), "", "C keeps CL");
    check_odd(OciImage, &image_and(",\"Layers\":[{\"digest\":\"@M\"}]"), "", "CM keeps CLM");
    check_odd(OciImage, &image_and(",\"config\":null,\"schemaVersion\":null,\"mediaType\":null"), "", "CL keeps CL");
    check_odd(OciImage, &image_and(",\"config\":{\"digest\":\"@M\",\"digest\":\"@N\"}"), "", "NL keeps CLMN");
    check_odd(OciImage, &format!("{CONFIG},\"LAYER\u{17f}\":[{{\"Digest\":\"@L\"}}]"), "", "CL keeps CL");
    check_odd(OciImage, &format!("{CONFIG},\"layers\":null"), "", "C keeps C");
    check_odd(OciImage, CONFIG, "", "C keeps C");
}

#[test]
fn odd_layers() {
    use ManifestKind::OciImage;
    let layer = |layer: &str| format!("{CONFIG},\"layers\":[{layer}]");
    for (entry, refused) in [
        ("{\"mediaType\":null,\"digest\":\"@L\",\"size\":null}", ""),
        ("{\"digest\":\"@L\",\"size\":-1,\"data\":5,\"annotations\":[]}", ""),
        ("{\"digest\":\"@L\",\"urls\":[null],\"platform\":{\"os\":null}}", ""),
        ("{\"digest\":\"@L\",\"size\":\"1\"}", "layers[0].size is a string, not a whole number of 64 bits"),
        (
            "{\"digest\":\"@L\",\"size\":1.5}",
            "layers[0].size is a number that is not whole, not a whole number of 64 bits",
        ),
        ("{\"digest\":\"@L\",\"mediaType\":{}}", "layers[0].mediaType is an object, not a string"),
        ("{\"digest\":\"@L\",\"urls\":[5]}", "layers[0].urls is a number, not a string"),
        ("{\"digest\":\"@L\",\"platform\":{\"os\":5}}", "layers[0].platform.os is a number, not a string"),
        ("{\"digest\":\"@L\"},5", "layers[1] is a number, not a descriptor"),
        ("{\"digest\":\"@L\"},null", "layers[1].digest: digest \"\" is not of the form <algorithm>:<hex>"),
        ("{},{\"digest\":\"@L\"}", "layers[0].digest: digest \"\" is not of the form <algorithm>:<hex>"),
        ("{\"digest\":5},{\"digest\":\"@L\"}", "layers[0].digest is a number, not a digest"),
    ] {
        check_odd(OciImage, &layer(entry), refused, "CL keeps CL");
    }
    // Whatever it refers to has to stay, although nobody can fetch it by this here.
    let unknown = "layers[0].digest: digest algorithm \"blake3\" is not supported: use sha256, sha384 or sha512";
    check_odd(OciImage, &layer("{\"digest\":\"blake3:00\"}"), unknown, "C keeps C and more");
    let missing = format!("manifest of type {OCI_IMAGE} lacks the field \"config\"");
    check_odd(OciImage, LAYERS, &missing, "L keeps L");
    check_odd(OciImage, &format!("\"config\":null,{LAYERS}"), &missing, "L keeps L");
    check_odd(OciImage, &format!("\"config\":5,{LAYERS}"), "config is a number, not a descriptor", "L keeps L");
    let short = "config.digest: sha256 digest has 1 hexadecimal characters, not 64";
    check_odd(OciImage, &format!("\"config\":{{\"digest\":\"sha256:0\"}},{LAYERS}"), short, "L keeps L");
    check_odd(
        OciImage,
        &format!("{CONFIG},\"layers\":5"),
        "layers is a number, not a list of descriptors",
        "C keeps C",
    );
    check_odd(
        OciImage,
        &format!("{CONFIG},\"layers\":{{\"digest\":\"@L\"}}"),
        "layers is an object, not a list of descriptors",
        "C keeps CL",
    );
}

#[test]
fn what_matters_to_another_kind_is_not_looked_at() {
    use ManifestKind::{DockerImage, DockerList, OciIndex};
    // What is none of schema 2's fields is not looked at there.
    for rest in [",\"annotations\":5", ",\"manifests\":5", ",\"manifests\":[{}]", ",\"subject\":[]"] {
        check_odd(DockerImage, &image_and(rest), "", "CL keeps CL");
    }
    for rest in [",\"config\":5", ",\"layers\":5", ",\"annotations\":5", ""] {
        let entries = "\"manifests\":[{\"digest\":\"@M\",\"platform\":{\"os\":\"linux\",\"features\":[\"sse\"]}}]";
        check_odd(DockerList, &format!("{entries}{rest}"), "", "M keeps M");
    }
    check_odd(DockerList, &format!("\"manifests\":[{{\"digest\":\"@M\"}}],{}", image_and("")), "", "M keeps CLM");

    for nothing in
        ["\"manifests\":[]", "\"manifests\":null", "\"x\":5", "\"manifests\":[],\"layers\":null,\"config\":null"]
    {
        check_odd(OciIndex, nothing, "", " keeps ");
        check_odd(DockerList, nothing, "", " keeps ");
    }
    for (field, value) in [("config", "{}"), ("layers", "[]"), ("layers", "5")] {
        let ambiguous = format!("manifest of type {OCI_INDEX} has a field \"{field}\" that belongs to another kind");
        check_odd(OciIndex, &format!("\"manifests\":[],\"{field}\":{value}"), &ambiguous, " keeps ");
    }
    let entry = "\"manifests\":[{\"digest\":\"@M\",\"platform\":{\"os\":\"linux\",\"architecture\":null}}]";
    check_odd(OciIndex, entry, "", "M keeps M");
    check_odd(OciIndex, "\"manifests\":[{\"digest\":\"\"},{\"digest\":\"@M\"},null]", "", "M keeps M");
    check_odd(
        OciIndex,
        "\"manifests\":[5,{\"digest\":\"@M\"}]",
        "manifests[0] is a number, not a descriptor",
        "M keeps M",
    );
    check_odd(OciIndex, "\"manifests\":5", "manifests is a number, not a list of descriptors", " keeps ");
}

#[test]
fn odd_texts() {
    use ManifestKind::OciImage;
    let text = format!("{{\"SCHEMAversion\":2,\"mediatype\":\"{OCI_IMAGE}\",{}}}", image_and(""));
    check_odd_raw(OciImage, with_digests(&text).as_bytes(), "", "CL keeps CL");
    let deep = format!("\n {{\"schemaVersion\":2,\"x\":{}{},{}}}\n", "[".repeat(500), "]".repeat(500), image_and(""));
    check_odd_raw(OciImage, with_digests(&deep).as_bytes(), "", "CL keeps CL");
    let mut no_text =
        with_digests(&format!("{{\"schemaVersion\":2,\"annotations\":{{\"a\":\"!\"}},{}}}", image_and("")))
            .into_bytes();
    for byte in no_text.iter_mut().filter(|byte| **byte == b'!') {
        *byte = 0xff;
    }
    check_odd_raw(OciImage, &no_text, "", "CL keeps CL");
}

#[test]
fn what_an_index_has_that_names_nothing_is_told() {
    let raw = "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha384:00\",\"platform\":{\"os\":\"linux\"}},null]}";
    let manifest = Manifest::parse_declared(raw.as_bytes(), Some(OCI_INDEX)).unwrap();
    let found: Vec<_> = manifest.unnamed().iter().map(|entry| (entry.at, entry.platform.is_some())).collect();
    assert_eq!(found, [(0, true), (1, false)]);
    let many = format!("{{\"schemaVersion\":2,\"manifests\":[{}{{}}]}}", "{},".repeat(100));
    assert_eq!(Manifest::parse(many.as_bytes()).unwrap().unnamed().len(), 32);
}

#[test]
fn annotations_are_read_as_they_are_meant() {
    let text = "{\"schemaVersion\":2,\"manifests\":[],\"annotations\":{\"a\":\"b\\ud800\",\"c\":null,\"d\":5}}";
    let (_, annotations) = Manifest::parse_annotated(text.as_bytes()).unwrap();
    let expected = [("a", "b\u{fffd}"), ("c", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(annotations, BTreeMap::from(expected));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(raw: Vec<u8>) {
        let _ = (Manifest::parse(&raw), Mentions::read(&raw));
    }
}
