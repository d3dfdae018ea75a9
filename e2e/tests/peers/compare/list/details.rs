//! What is said about errors beyond their codes.

use crate::known::Change::Detail;
use crate::known::Source::Oci;
use crate::known::{Case, Known};

pub(super) const LIST: &[Known] = &[
    Known {
        reason: "The detail names what is unknown in fields, as Docker Registry 2.8 does, so that a script can read it.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &[
                    "manifests/unknown tag/GET",
                    "manifests/of an unknown repository/GET",
                    "manifests/deleted tag/GET",
                    "names/of a manifest",
                    "odd/foreign layer/read",
                    "delete/tag/read",
                    "delete/digest/its tag is gone",
                ],
                changes: &[Detail("\"unknown tag=*\"", "{\"Tag\":\"*\"}")],
            },
            Case {
                questions: &[
                    "manifests/unknown digest/GET",
                    "manifests/unknown digest of sha512/GET",
                    "manifests/of another repository/GET",
                    "manifests/deleted/GET",
                    "manifests/blob as a manifest/GET",
                    "delete/digest/read",
                    "sha512/manifest/read by sha256",
                ],
                changes: &[Detail("\"unknown manifest name=*\"", "{\"Name\":\"*\",\"Revision\":\"*\"}")],
            },
            Case {
                questions: &["delete/tag again", "delete/unknown tag", "delete/of an unknown repository"],
                changes: &[Detail("\"filesystem: Path not found: *\"", "{\"Tag\":\"*\"}")],
            },
            Case {
                questions: &[
                    "delete/digest again",
                    "delete/unknown digest",
                    "delete/of an unknown repository by digest",
                ],
                changes: &[Detail("none", "{\"Name\":\"*\",\"Revision\":\"*\"}")],
            },
            Case {
                questions: &[
                    "delete blob/one again",
                    "delete blob/unknown",
                    "delete blob/of an unknown repository",
                    "delete blob/of another repository",
                ],
                changes: &[Detail("none", "\"sha256:*\"")],
            },
        ],
    },
    Known {
        reason: "The detail repeats the `n` that the client has sent.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case { questions: &["tags/n is negative"], changes: &[Detail("{\"n\":-1}", "{\"n\":\"-1\"}")] },
            Case { questions: &["tags/n is no number"], changes: &[Detail("{\"n\":0}", "{\"n\":\"many\"}")] },
            Case {
                questions: &["tags/n is beyond numbers"],
                changes: &[Detail("{\"n\":9223372036854775807}", "{\"n\":\"99999999999999999999\"}")],
            },
            Case { questions: &["tags/n with a space"], changes: &[Detail("{\"n\":0}", "{\"n\":\" 2\"}")] },
            Case { questions: &["tags/n is hexadecimal"], changes: &[Detail("{\"n\":0}", "{\"n\":\"0x2\"}")] },
        ],
    },
    Known {
        reason: "The detail says what is wrong with the digest.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &[
                    "manifests/malformed digest/POST",
                    "manifests/malformed digest",
                    "manifests/short digest",
                    "blobs/malformed digest/POST",
                    "blobs/malformed digest",
                    "blobs/short digest",
                    "refuse/malformed digest",
                    "delete/malformed digest",
                    "delete blob/malformed digest",
                ],
                changes: &[Detail(
                    "\"invalid checksum digest length\"",
                    "\"sha256 digest has * hexadecimal characters, not 64\"",
                )],
            },
            Case {
                questions: &["manifests/digest of an unknown algorithm", "blobs/digest of an unknown algorithm"],
                changes: &[Detail(
                    "\"unsupported digest algorithm\"",
                    "\"digest algorithm \\\"md5\\\" is not supported: use *\"",
                )],
            },
            Case {
                questions: &["bad end/an empty digest"],
                changes: &[Detail("\"digest missing\"", "\"digest \\\"\\\" is not of the form <algorithm>:<hex>\"")],
            },
            Case {
                questions: &["bad end/malformed digest"],
                changes: &[Detail(
                    "\"digest parsing failed\"",
                    "\"sha256 digest has * hexadecimal characters, not 64\"",
                )],
            },
            Case {
                questions: &["bad end/digest of an unknown algorithm"],
                changes: &[Detail(
                    "\"digest parsing failed\"",
                    "\"digest algorithm \\\"md5\\\" is not supported: use *\"",
                )],
            },
        ],
    },
    Known {
        reason: "The detail says which digest the content has.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &["bad end/another digest", "bad end/all at once with another digest"],
                changes: &[Detail(
                    "\"invalid digest for referenced layer: sha256:*, content does not match digest\"",
                    "\"the content has digest sha256:*, not sha256:*\"",
                )],
            },
            Case {
                questions: &["bad end/digest of sha512"],
                changes: &[Detail(
                    "\"invalid digest for referenced layer: sha512:*, content does not match digest\"",
                    "\"the content has digest sha512:*, not sha512:*\"",
                )],
            },
            Case {
                questions: &["refuse/another digest"],
                changes: &[Detail("none", "\"the content has digest sha256:*, not sha256:*\"")],
            },
            Case {
                questions: &["refuse/another algorithm"],
                changes: &[Detail("none", "\"the content has digest sha512:*, not sha512:*\"")],
            },
        ],
    },
    Known {
        reason: "The detail names the upload that is unknown, and tells nothing of how its state is checked.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &[
                    "in one/PUT/again",
                    "in one/PUT/status",
                    "in one/PUT of nothing/again",
                    "in one/PUT of nothing/status",
                    "cancel/again",
                    "cancel/status",
                    "cancel/chunk",
                    "cancel/end",
                    "strangers/another repository",
                    "strangers/unknown upload",
                    "sha512/blob/status",
                ],
                changes: &[Detail("\"blob upload unknown\"", "\"upload * is not known to repository *\"")],
            },
            Case {
                questions: &["strangers/chunk to another repository"],
                changes: &[Detail("none", "\"the state of the upload is invalid\"")],
            },
            Case {
                questions: &[
                    "strangers/chunk without state",
                    "strangers/end without state",
                    "strangers/cancel without state",
                    "strangers/made-up state",
                    "strangers/chunk to an unknown upload",
                ],
                changes: &[Detail("\"invalid secret\"", "\"the state of the upload is invalid\"")],
            },
            Case {
                questions: &["strangers/state that is no Base64"],
                changes: &[Detail("\"illegal base64 data at input byte 0\"", "\"the state of the upload is invalid\"")],
            },
            Case {
                questions: &["strangers/malformed identity"],
                changes: &[Detail("\"blob upload unknown\"", "\"upload \\\"none\\\" is not known\"")],
            },
            Case {
                questions: &[
                    "strangers/chunk to a malformed identity",
                    "strangers/end of a malformed identity",
                    "strangers/cancel of a malformed identity",
                    "no deletion/an upload that is unknown",
                    "read-only/an upload that is unknown",
                ],
                changes: &[Detail("\"invalid secret\"", "\"upload \\\"none\\\" is not known\"")],
            },
            Case {
                questions: &["strangers/identity with odd letters"],
                changes: &[Detail(
                    "\"filesystem: invalid path: /docker/registry/v2/repositories/uploaded/_uploads/a.b_c=/startedat\"",
                    "\"upload \\\"a.b_c=\\\" is not known\"",
                )],
            },
        ],
    },
    Known {
        reason: "The detail says where an upload goes on, or which range is wrong.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &["bad chunk/a gap", "bad chunk/an overlap", "bad chunk/old location"],
                changes: &[Detail("none", "\"upload * goes on at byte 10\"")],
            },
            Case {
                questions: &["bad chunk/shorter than it says"],
                changes: &[Detail("none", "\"Content-Range 10-29 and Content-Length disagree\"")],
            },
            Case {
                questions: &["bad chunk/longer than it says"],
                changes: &[Detail("none", "\"Content-Range 10-12 and Content-Length disagree\"")],
            },
            Case { questions: &["bad chunk/backwards"], changes: &[Detail("none", "\"19-10\"")] },
            Case {
                questions: &["bad chunk/no range", "bad end/a malformed range"],
                changes: &[Detail("\"invalid content range format, many\"", "\"many\"")],
            },
            Case {
                questions: &["bad chunk/a unit"],
                changes: &[Detail(
                    "\"strconv.ParseInt: parsing \\\"bytes 10\\\": invalid syntax\"",
                    "\"bytes 10-19/20\"",
                )],
            },
            Case {
                questions: &["bad chunk/a unit and no total"],
                changes: &[Detail(
                    "\"strconv.ParseInt: parsing \\\"bytes 10\\\": invalid syntax\"",
                    "\"bytes 10-19/*\"",
                )],
            },
            Case {
                questions: &["bad chunk/beyond numbers"],
                changes: &[Detail(
                    "\"strconv.ParseInt: parsing \\\"99999999999999999999\\\": value out of range\"",
                    "\"10-99999999999999999999\"",
                )],
            },
            Case {
                questions: &["bad chunk/no end"],
                changes: &[Detail("\"strconv.ParseInt: parsing \\\"\\\": invalid syntax\"", "\"10-\"")],
            },
            Case {
                questions: &["bad chunk/no beginning"],
                changes: &[Detail("\"strconv.ParseInt: parsing \\\"\\\": invalid syntax\"", "\"-19\"")],
            },
            Case {
                questions: &["bad chunk/a total"],
                changes: &[Detail("\"strconv.ParseInt: parsing \\\"19/20\\\": invalid syntax\"", "\"10-19/20\"")],
            },
            Case {
                questions: &["bad chunk/an equals sign"],
                changes: &[Detail("\"strconv.ParseInt: parsing \\\"bytes=10\\\": invalid syntax\"", "\"bytes=10-19\"")],
            },
            Case {
                questions: &["bad chunk/spaces"],
                changes: &[Detail("\"strconv.ParseInt: parsing \\\"10 \\\": invalid syntax\"", "\"10 - 19\"")],
            },
            Case {
                questions: &["bad chunk/three numbers"],
                changes: &[Detail("\"strconv.ParseInt: parsing \\\"19-29\\\": invalid syntax\"", "\"10-19-29\"")],
            },
            Case {
                questions: &["bad chunk/first with a gap"],
                changes: &[Detail("none", "\"upload * goes on at byte 0\"")],
            },
            Case {
                questions: &["bad end/a gap", "bad end/an overlap"],
                changes: &[Detail("none", "\"upload * goes on at byte 500\"")],
            },
            Case { questions: &["bad end/backwards"], changes: &[Detail("none", "\"999-500\"")] },
            Case {
                questions: &["bad end/a unit"],
                changes: &[Detail(
                    "\"strconv.ParseInt: parsing \\\"bytes 500\\\": invalid syntax\"",
                    "\"bytes 500-999/1000\"",
                )],
            },
            Case {
                questions: &["bad end/another length"],
                changes: &[Detail("none", "\"Content-Range 500-998 and Content-Length disagree\"")],
            },
        ],
    },
    Known {
        reason: "The detail says what is wrong with a manifest, and in which field.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &["refuse/empty"],
                changes: &[Detail("\"unexpected end of JSON input\"", "\"manifest is not a JSON object\"")],
            },
            Case {
                questions: &["refuse/no json"],
                changes: &[Detail(
                    "\"invalid character 'h' looking for beginning of value\"",
                    "\"manifest is not a JSON object\"",
                )],
            },
            Case {
                questions: &["refuse/half json"],
                changes: &[Detail(
                    "\"unexpected end of JSON input\"",
                    "\"manifest field layers[0].digest: EOF while parsing a string at line 1 column 321\"",
                )],
            },
            Case {
                questions: &["refuse/a list"],
                changes: &[Detail(
                    "\"json: cannot unmarshal array into Go value of type struct { Manifests interface {} \\\"json:\\\\\\\"manifests,omitempty\\\\\\\"\\\" }\"",
                    "\"manifest is not a JSON object\"",
                )],
            },
            Case {
                questions: &["refuse/an empty object"],
                changes: &[Detail(
                    "\"unrecognized manifest schema version 0\"",
                    "\"manifest lacks the field \\\"schemaVersion\\\"\"",
                )],
            },
            Case {
                questions: &["refuse/null"],
                changes: &[Detail("\"unrecognized manifest schema version 0\"", "\"manifest is not a JSON object\"")],
            },
            Case {
                questions: &["refuse/no UTF-8"],
                changes: &[Detail(
                    "\"invalid character 'ÿ' looking for beginning of value\"",
                    "\"manifest is not a JSON object\"",
                )],
            },
            Case {
                questions: &["refuse/type of an index"],
                changes: &[Detail(
                    "\"index: expected index but found manifest\"",
                    "\"manifest was sent as application/vnd.oci.image.index.v1+json but its mediaType field says \\\"application/vnd.oci.image.manifest.v1+json\\\"\"",
                )],
            },
            Case {
                questions: &["refuse/type of docker"],
                changes: &[Detail(
                    "\"mediaType in manifest should be 'application/vnd.docker.distribution.manifest.v2+json' not 'application/vnd.oci.image.manifest.v1+json'\"",
                    "\"manifest was sent as application/vnd.docker.distribution.manifest.v2+json but its mediaType field says \\\"application/vnd.oci.image.manifest.v1+json\\\"\"",
                )],
            },
            Case {
                questions: &["refuse/unknown type"],
                changes: &[Detail(
                    "\"unsupported manifest media type and no default available: application/vnd.example.unknown\"",
                    "\"manifest media type \\\"application/vnd.example.unknown\\\" is not supported\"",
                )],
            },
            Case {
                questions: &["refuse/json type"],
                changes: &[Detail(
                    "\"unsupported manifest media type and no default available: application/json\"",
                    "\"manifest media type \\\"application/json\\\" is not supported\"",
                )],
            },
            Case {
                questions: &["refuse/malformed type"],
                changes: &[Detail(
                    "\"unsupported manifest media type and no default available: application\"",
                    "\"manifest media type \\\"application\\\" is not supported\"",
                )],
            },
            Case {
                questions: &["refuse/schema version 1"],
                changes: &[Detail(
                    "\"unrecognized manifest schema version 1\"",
                    "\"manifest has schemaVersion 1, not 2\"",
                )],
            },
            Case {
                questions: &["refuse/malformed digest of a layer"],
                changes: &[Detail(
                    "none, \"invalid checksum digest length\", \"sha256:xyz\"",
                    "\"manifest field layers[0].digest: sha256 digest has * hexadecimal characters, not 64\"",
                )],
            },
            Case {
                questions: &["refuse/no config"],
                changes: &[Detail(
                    "none, \"\"",
                    "\"manifest of type application/vnd.oci.image.manifest.v1+json lacks the field \\\"config\\\"\"",
                )],
            },
            Case {
                questions: &["refuse/image and index at once"],
                changes: &[Detail(
                    "\"ocimanifest: expected manifest but found index\"",
                    "\"manifest of type application/vnd.oci.image.manifest.v1+json has a field \\\"manifests\\\" that belongs to another kind\"",
                )],
            },
            Case {
                questions: &["refuse/too large"],
                changes: &[Detail("\"http: request body too large\"", "\"a manifest may have 4194304 bytes\"")],
            },
            Case {
                questions: &["refuse/schema 1 json"],
                changes: &[Detail(
                    "\"unsupported manifest media type and no default available: application/vnd.docker.distribution.manifest.v1+json\"",
                    "\"schema 1 manifests are not accepted: push the image in the form of Docker's schema 2 or of OCI, or set compatibility.schema1.enabled\"",
                )],
            },
            Case {
                questions: &["refuse/schema 1 prettyjws"],
                changes: &[Detail(
                    "\"unsupported manifest media type and no default available: application/vnd.docker.distribution.manifest.v1+prettyjws\"",
                    "\"schema 1 manifests are not accepted: push the image in the form of Docker's schema 2 or of OCI, or set compatibility.schema1.enabled\"",
                )],
            },
            Case {
                questions: &["odd/foreign layer"],
                changes: &[Detail(
                    "none, \"invalid URL on layer\", \"sha256:*\"",
                    "\"layer sha256:* names the URL \\\"https://example.com/layer\\\", which is not allowed: *\", \"sha256:*\"",
                )],
            },
            Case {
                questions: &["urls allowed/denied"],
                changes: &[Detail(
                    "none, \"invalid URL on layer\", \"sha256:*\"",
                    "\"layer sha256:* names the URL \\\"https://example.com/secret\\\", which a pattern of validation.manifests.urls.deny matches\", \"sha256:*\"",
                )],
            },
            Case {
                questions: &["urls allowed/of somebody else"],
                changes: &[Detail(
                    "none, \"invalid URL on layer\", \"sha256:*\"",
                    "\"layer sha256:* names the URL \\\"https://example.org/layer\\\", which no pattern of validation.manifests.urls.allow matches\", \"sha256:*\"",
                )],
            },
            Case {
                questions: &["urls allowed/of another scheme"],
                changes: &[Detail(
                    "none, \"invalid URL on layer\", \"sha256:*\"",
                    "\"layer sha256:* names the URL \\\"ftp://example.com/layer\\\", which is not http or https without a fragment*\", \"sha256:*\"",
                )],
            },
        ],
    },
    Known {
        reason: "The detail says what the client can do about it.",
        sources: &[Oci("Error Codes: `detail` is optional and may be any JSON that helps the client")],
        cases: &[
            Case {
                questions: &["names/too long"],
                changes: &[Detail("{\"name\":\"*\"}", "\"repository name has 257 bytes, more than 255\"")],
            },
            Case {
                questions: &["begin/GET"],
                changes: &[Detail("\"blob upload unknown\"", "\"the method is not one of POST\"")],
            },
            Case {
                questions: &["begin/PUT", "begin/PATCH", "begin/DELETE"],
                changes: &[Detail("none", "\"the method is not one of POST\"")],
            },
            Case {
                questions: &[
                    "no deletion/delete a tag",
                    "no deletion/delete a manifest",
                    "no deletion/delete a blob",
                    "no deletion/delete an unknown blob",
                ],
                changes: &[Detail("none", "\"deletion is switched off (storage.delete.enabled)\"")],
            },
        ],
    },
];
