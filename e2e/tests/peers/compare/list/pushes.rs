//! Blobs and manifests that are pushed.

use crate::known::Change::{Body, Error, Header, Status};
use crate::known::Source::{Api, Draft, Oci, Rfc};
use crate::known::{Case, Known};

pub(super) const LIST: &[Known] = &[
    Known {
        reason: "A blob that any repository has can be mounted without saying which.",
        sources: &[Oci("Mounting a blob from another repository: `from` is optional")],
        cases: &[Case {
            questions: &["mount/from no one"],
            changes: &[
                Status("202", "201"),
                Header("docker-content-digest", "none", "sha256:*"),
                Header("docker-upload-uuid", "ID", "none"),
                Header(
                    "location",
                    "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE",
                    "http://HOST/v2/uploaded/blobs/sha256:*",
                ),
                Header("range", "0-0", "none"),
            ],
        }],
    },
    Known {
        reason: "A blob can be pushed in a single POST.",
        sources: &[Oci("Single POST: 201 and the location of the blob")],
        cases: &[
            Case {
                questions: &["in one/POST"],
                changes: &[
                    Status("202", "201"),
                    Header("docker-content-digest", "none", "sha256:*"),
                    Header("docker-upload-uuid", "ID", "none"),
                    Header(
                        "location",
                        "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE",
                        "http://HOST/v2/uploaded/blobs/sha256:*",
                    ),
                    Header("range", "0-0", "none"),
                ],
            },
            Case {
                questions: &["in one/POST/read"],
                changes: &[
                    Status("404", "200"),
                    Header("accept-ranges", "none", "bytes"),
                    Header("cache-control", "none", "max-age=31536000"),
                    Header("docker-content-digest", "none", "sha256:*"),
                    Header("etag", "none", "\"sha256:*\""),
                    Body(
                        "BLOB_UNKNOWN (application/json)",
                        "5000 bytes of sha256:d414d23ee271 (application/octet-stream)",
                    ),
                ],
            },
            Case {
                questions: &["in one/POST of another digest", "in one/POST of a malformed digest"],
                changes: &[
                    Status("202", "400"),
                    Header("docker-upload-uuid", "ID", "none"),
                    Header("location", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE", "none"),
                    Header("range", "0-0", "none"),
                    Body("nothing", "DIGEST_INVALID (application/json)"),
                ],
            },
        ],
    },
    Known {
        reason: "A chunk out of order is told where the upload goes on.",
        sources: &[
            Oci("Pushing a blob in chunks: 416"),
            Api("Chunked Upload: Location, Range and Docker-Upload-UUID with 416"),
        ],
        cases: &[
            Case {
                questions: &["bad chunk/a gap", "bad chunk/an overlap", "bad chunk/old location"],
                changes: &[
                    Header("docker-upload-uuid", "none", "ID"),
                    Header("location", "none", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE"),
                    Header("range", "none", "0-9"),
                ],
            },
            Case {
                questions: &["bad chunk/first with a gap"],
                changes: &[
                    Header("docker-upload-uuid", "none", "ID"),
                    Header("location", "none", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE"),
                    Header("range", "none", "0-0"),
                ],
            },
            Case {
                questions: &["bad end/a gap", "bad end/an overlap"],
                changes: &[
                    Header("docker-upload-uuid", "none", "ID"),
                    Header("location", "none", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE"),
                    Header("range", "none", "0-499"),
                ],
            },
        ],
    },
    Known {
        reason: "A range that is not of the form is the client's mistake: the chunk is not taken, and the server has not failed.",
        sources: &[
            Oci("Pushing a blob in chunks: the form of Content-Range"),
            Rfc(9110, "15.5.1"),
            Rfc(9110, "15.6: 5xx is an error of the server"),
        ],
        cases: &[
            Case {
                questions: &[
                    "bad chunk/no range",
                    "bad chunk/a unit",
                    "bad chunk/a unit and no total",
                    "bad chunk/beyond numbers",
                    "bad chunk/no end",
                    "bad chunk/no beginning",
                    "bad chunk/a total",
                    "bad chunk/an equals sign",
                    "bad chunk/spaces",
                    "bad chunk/three numbers",
                    "bad end/a malformed range",
                    "bad end/a unit",
                ],
                changes: &[Status("500", "400"), Error("UNKNOWN", "RANGE_INVALID")],
            },
            Case {
                questions: &["bad chunk/a plus", "bad chunk/an empty one"],
                changes: &[
                    Status("202", "400"),
                    Header("docker-upload-uuid", "ID", "none"),
                    Header("location", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE", "none"),
                    Header("range", "0-19", "none"),
                    Body("nothing", "RANGE_INVALID (application/json)"),
                ],
            },
            Case {
                questions: &["bad chunk/a plus/status", "bad chunk/an empty one/status"],
                changes: &[Header("range", "0-19", "0-9")],
            },
        ],
    },
    Known {
        reason: "The media type of a chunk is not looked at, and is no failure of the server.",
        sources: &[
            Oci("Pushing a blob in chunks: nothing lets a registry refuse it"),
            Rfc(9110, "15.6: 5xx is an error of the server"),
        ],
        cases: &[Case {
            questions: &["bad chunk/of another type"],
            changes: &[
                Status("500", "202"),
                Header("docker-upload-uuid", "none", "ID"),
                Header("location", "none", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE"),
                Header("range", "none", "0-1"),
                Body("UNKNOWN (application/json)", "nothing"),
            ],
        }],
    },
    Known {
        reason: "An upload whose identity is none is unknown, and the server has not failed.",
        sources: &[Oci("Endpoints: end-13, 404"), Rfc(9110, "15.6: 5xx is an error of the server")],
        cases: &[Case {
            questions: &["strangers/identity with odd letters"],
            changes: &[Status("500", "404"), Error("UNKNOWN", "BLOB_UPLOAD_UNKNOWN")],
        }],
    },
    Known {
        reason: "A manifest above the limit has a status of its own.",
        sources: &[Oci("Pushing Manifests: 413")],
        cases: &[Case { questions: &["refuse/too large"], changes: &[Status("400", "413")] }],
    },
    Known {
        reason: "A manifest that says its media type itself need not be sent with one.",
        sources: &[
            Oci("Pushing Manifests: clients should set Content-Type, and need not"),
            Rfc(9110, "8.3: without Content-Type the content may be examined"),
        ],
        cases: &[Case {
            questions: &["refuse/no type"],
            changes: &[
                Status("400", "201"),
                Header("docker-content-digest", "none", "sha256:*"),
                Header("location", "none", "http://HOST/v2/refused/manifests/sha256:*"),
                Body("MANIFEST_INVALID (application/json)", "nothing"),
            ],
        }],
    },
    Known {
        reason: "A malformed manifest, or one with a URL that is not permitted, is the client's mistake and no failure of the server.",
        sources: &[Oci("Error Codes: MANIFEST_INVALID"), Rfc(9110, "15.6: 5xx is an error of the server")],
        cases: &[
            Case {
                questions: &["refuse/an empty object", "refuse/null", "refuse/schema version 1"],
                changes: &[Status("500", "400"), Error("UNKNOWN", "MANIFEST_INVALID")],
            },
            Case {
                questions: &["refuse/malformed digest of a layer"],
                changes: &[Status("500", "400"), Error("UNKNOWN, UNKNOWN, MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID")],
            },
            Case {
                questions: &["refuse/no config"],
                changes: &[Error("DIGEST_INVALID, MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID")],
            },
            Case {
                questions: &[
                    "odd/foreign layer",
                    "urls allowed/denied",
                    "urls allowed/of somebody else",
                    "urls allowed/of another scheme",
                ],
                changes: &[
                    Status("500", "400"),
                    Error("UNKNOWN, UNKNOWN, MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN"),
                ],
            },
        ],
    },
    Known {
        reason: "A manifest that is pushed by its digest gets the tags of the query.",
        sources: &[Draft("Pushing Manifests: `tag` parameters, OCI-Tag"), Draft("Endpoints: end-7b")],
        cases: &[
            Case { questions: &["references/tags as a query"], changes: &[Header("oci-tag", "none", "one, two")] },
            Case {
                questions: &["references/tags as a query/list"],
                changes: &[
                    Status("404", "200"),
                    Body(
                        "NAME_UNKNOWN (application/json)",
                        "{\"name\":\"referenced\",\"tags\":[\"one\",\"two\"]} (application/json)",
                    ),
                ],
            },
        ],
    },
    Known {
        reason: "An algorithm that is not known is refused at the beginning of an upload.",
        sources: &[Draft("Endpoints: end-4c, 400")],
        cases: &[Case {
            questions: &["sha512/another algorithm said at the beginning"],
            changes: &[
                Status("202", "400"),
                Header("docker-upload-uuid", "ID", "none"),
                Header("location", "http://HOST/v2/sums/blobs/uploads/ID?_state=STATE", "none"),
                Header("range", "0-0", "none"),
                Body("nothing", "DIGEST_INVALID (application/json)"),
            ],
        }],
    },
    Known {
        reason: "Content is kept, described and found by the digest that the client has given, of SHA-512 too.",
        sources: &[
            Oci("Pushing Manifests: Docker-Content-Digest must be the client's digest"),
            Draft("Pulling blobs, and Checking if content exists: Docker-Content-Digest"),
            Oci("Referrers Tag Schema: sha512 is an algorithm"),
        ],
        cases: &[
            Case {
                questions: &["sha512/blob"],
                changes: &[
                    Header("docker-content-digest", "sha256:*", "sha512:*"),
                    Header("location", "http://HOST/v2/sums/blobs/sha256:*", "http://HOST/v2/sums/blobs/sha512:*"),
                ],
            },
            Case {
                questions: &["sha512/blob/read/GET", "sha512/blob/read/HEAD"],
                changes: &[
                    Header("docker-content-digest", "sha256:*", "sha512:*"),
                    Header("etag", "\"sha256:*\"", "\"sha512:*\""),
                ],
            },
            Case {
                questions: &["sha512/blob/read by sha256/GET"],
                changes: &[
                    Status("200", "404"),
                    Header("accept-ranges", "bytes", "none"),
                    Header("cache-control", "max-age=31536000", "none"),
                    Header("docker-content-digest", "sha256:*", "none"),
                    Header("etag", "\"sha256:*\"", "none"),
                    Body(
                        "1000 bytes of sha256:6845900e4eb9 (application/octet-stream)",
                        "BLOB_UNKNOWN (application/json)",
                    ),
                ],
            },
            Case {
                questions: &["sha512/blob/read by sha256/HEAD"],
                changes: &[
                    Status("200", "404"),
                    Header("accept-ranges", "bytes", "none"),
                    Header("cache-control", "max-age=31536000", "none"),
                    Header("content-type", "application/octet-stream", "application/json"),
                    Header("docker-content-digest", "sha256:*", "none"),
                    Header("etag", "\"sha256:*\"", "none"),
                ],
            },
            Case {
                questions: &["sha512/manifest"],
                changes: &[
                    Status("400", "201"),
                    Header("docker-content-digest", "none", "sha512:*"),
                    Header("location", "none", "http://HOST/v2/sums/manifests/sha512:*"),
                    Body("DIGEST_INVALID (application/json)", "nothing"),
                ],
            },
            Case {
                questions: &["sha512/manifest/read"],
                changes: &[
                    Status("404", "200"),
                    Header("docker-content-digest", "none", "sha512:*"),
                    Header("etag", "none", "\"sha512:*\""),
                    Body(
                        "MANIFEST_UNKNOWN (application/json)",
                        "645 bytes of sha256:0d2b4f07394c (application/vnd.oci.image.manifest.v1+json)",
                    ),
                ],
            },
        ],
    },
];
