//! Manifests and blobs that are read, whole and in parts, and referrers.

use crate::known::Change::{Body, Header, Status};
use crate::known::Source::{Api, Oci, Rfc};
use crate::known::{Case, Known};

pub(super) const LIST: &[Known] = &[
    Known {
        reason: "A client that names no media types, or all, takes everything.",
        sources: &[Rfc(9110, "12.5.1: without Accept, or with `*/*`, any media type is acceptable")],
        cases: &[
            Case {
                questions: &[
                    "accept/oci image/nothing",
                    "accept/oci image/anything",
                    "accept/oci image/an empty one",
                    "accept/oci image/everything of application",
                    "accept/oci image/anything at a low quality",
                ],
                changes: &[
                    Status("404", "200"),
                    Header("docker-content-digest", "none", "sha256:*"),
                    Header("etag", "none", "\"sha256:*\""),
                    Body(
                        "MANIFEST_UNKNOWN (application/json)",
                        "645 bytes of sha256:23896a01ed52 (application/vnd.oci.image.manifest.v1+json)",
                    ),
                ],
            },
            Case {
                questions: &[
                    "accept/docker list/nothing",
                    "accept/docker list/anything",
                    "accept/docker list/an empty one",
                    "accept/docker list/everything of application",
                    "accept/docker list/anything at a low quality",
                ],
                changes: &[
                    Status("400", "200"),
                    Header("docker-content-digest", "none", "sha256:*"),
                    Header("etag", "none", "\"sha256:*\""),
                    Body(
                        "MANIFEST_INVALID (application/json)",
                        "425 bytes of sha256:d0efb1128f7d (application/vnd.docker.distribution.manifest.v2+json)",
                    ),
                ],
            },
        ],
    },
    Known {
        reason: "That nothing has changed is said with the entity tag.",
        sources: &[Rfc(9110, "15.4.5: ETag must be sent")],
        cases: &[Case {
            questions: &["conditions/manifest/quoted", "conditions/manifest/bare", "conditions/manifest/HEAD"],
            changes: &[Header("etag", "none", "\"sha256:*\"")],
        }],
    },
    Known {
        reason: "Every form of the condition is understood.",
        sources: &[Rfc(9110, "13.1.2: a list, `*`, and the weak comparison")],
        cases: &[Case {
            questions: &["conditions/manifest/weak", "conditions/manifest/among others", "conditions/manifest/star"],
            changes: &[
                Status("200", "304"),
                Header("content-type", "application/vnd.oci.image.manifest.v1+json", "none"),
                Header("docker-content-digest", "sha256:*", "none"),
                Body("645 bytes of sha256:23896a01ed52", "nothing"),
            ],
        }],
    },
    Known {
        reason: "What is not what the client wants to read is not sent.",
        sources: &[Rfc(9110, "13.1.1: the method must not be performed; 412")],
        cases: &[Case {
            questions: &["conditions/manifest/if-match another"],
            changes: &[
                Status("200", "412"),
                Header("docker-content-digest", "sha256:*", "none"),
                Header("etag", "\"sha256:*\"", "none"),
                Body(
                    "645 bytes of sha256:23896a01ed52 (application/vnd.oci.image.manifest.v1+json)",
                    "DENIED (application/json)",
                ),
            ],
        }],
    },
    Known {
        reason: "A unit that is not known is ignored, and units are not told apart by case.",
        sources: &[Rfc(9110, "14.2: an unknown unit must be ignored"), Rfc(9110, "14.1: units are case-insensitive")],
        cases: &[
            Case {
                questions: &["ranges/another unit"],
                changes: &[
                    Status("416", "200"),
                    Header("accept-ranges", "none", "bytes"),
                    Header("cache-control", "none", "max-age=31536000"),
                    Header("content-type", "text/plain; charset=utf-8", "application/octet-stream"),
                    Header("etag", "none", "\"sha256:*\""),
                    Header("x-content-type-options", "nosniff", "none"),
                    Body("invalid range", "40000 bytes of sha256:445dd80b7c78"),
                ],
            },
            Case {
                questions: &["ranges/upper case"],
                changes: &[
                    Status("416", "206"),
                    Header("accept-ranges", "none", "bytes"),
                    Header("cache-control", "none", "max-age=31536000"),
                    Header("content-range", "none", "bytes 0-0/40000"),
                    Header("content-type", "text/plain; charset=utf-8", "application/octet-stream"),
                    Header("etag", "none", "\"sha256:*\""),
                    Header("x-content-type-options", "nosniff", "none"),
                    Body("invalid range", "1 bytes of sha256:3e151409ace9"),
                ],
            },
        ],
    },
    Known {
        reason: "A range applies to GET alone.",
        sources: &[Rfc(9110, "14.2: Range must be ignored with other methods")],
        cases: &[
            Case {
                questions: &["ranges/HEAD of several"],
                changes: &[
                    Status("206", "200"),
                    Header("content-length", "none", "40000"),
                    Header("content-type", "multipart/byteranges; boundary=BOUNDARY", "application/octet-stream"),
                ],
            },
            Case {
                questions: &["ranges/HEAD behind the end"],
                changes: &[
                    Status("416", "200"),
                    Header("accept-ranges", "none", "bytes"),
                    Header("cache-control", "none", "max-age=31536000"),
                    Header("content-range", "bytes */40000", "none"),
                    Header("content-type", "text/plain; charset=utf-8", "application/octet-stream"),
                    Header("etag", "none", "\"sha256:*\""),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
            Case {
                questions: &["ranges/HEAD"],
                changes: &[
                    Status("206", "200"),
                    Header("content-length", "10", "40000"),
                    Header("content-range", "bytes 0-9/40000", "none"),
                ],
            },
        ],
    },
    Known {
        reason: "Of nothing there is no part: the whole is given.",
        sources: &[Rfc(9110, "14.4: the last position is not below the first")],
        cases: &[Case {
            questions: &["ranges/last byte of nothing"],
            changes: &[Status("206", "200"), Header("content-range", "bytes 0--1/0", "none")],
        }],
    },
    Known {
        reason: "No last bytes are no range.",
        sources: &[Rfc(9110, "14.1.2: a suffix of length zero cannot be satisfied"), Rfc(9110, "15.5.17")],
        cases: &[Case {
            questions: &["ranges/no last bytes"],
            changes: &[
                Status("206", "416"),
                Header("accept-ranges", "bytes", "none"),
                Header("cache-control", "max-age=31536000", "none"),
                Header("content-range", "bytes 40000-39999/40000", "bytes */40000"),
                Header("etag", "\"sha256:*\"", "none"),
                Body("nothing (application/octet-stream)", "RANGE_INVALID (application/json)"),
            ],
        }],
    },
    Known {
        reason: "Who is refused a range is told the length of the content.",
        sources: &[Rfc(9110, "15.5.17: Content-Range should be sent")],
        cases: &[
            Case {
                questions: &[
                    "ranges/backwards",
                    "ranges/a dash",
                    "ranges/no number",
                    "ranges/a negative number",
                    "ranges/no unit",
                    "ranges/two, one malformed",
                    "ranges/beyond numbers",
                    "ranges/from beyond numbers",
                    "ranges/a unit alone",
                ],
                changes: &[Header("content-range", "none", "bytes */40000")],
            },
            Case {
                questions: &["ranges/malformed of nothing"],
                changes: &[Header("content-range", "none", "bytes */0")],
            },
        ],
    },
    Known {
        reason: "A range that is refused has an error code.",
        sources: &[Api("Errors: failures are reported in a JSON body"), Api("Errors: RANGE_INVALID")],
        cases: &[
            Case {
                questions: &["ranges/behind the end", "ranges/far behind the end", "ranges/two behind the end"],
                changes: &[Body(
                    "invalid range: failed to overlap (text/plain; charset=utf-8, nosniff)",
                    "RANGE_INVALID (application/json)",
                )],
            },
            Case {
                questions: &[
                    "ranges/backwards",
                    "ranges/a dash",
                    "ranges/no number",
                    "ranges/a negative number",
                    "ranges/no unit",
                    "ranges/two, one malformed",
                    "ranges/beyond numbers",
                    "ranges/from beyond numbers",
                    "ranges/a unit alone",
                    "ranges/malformed of nothing",
                ],
                changes: &[Body(
                    "invalid range (text/plain; charset=utf-8, nosniff)",
                    "RANGE_INVALID (application/json)",
                )],
            },
        ],
    },
    Known {
        reason: "That referrers were filtered is said.",
        sources: &[Oci("Listing Referrers: OCI-Filters-Applied")],
        cases: &[Case {
            questions: &["referrers/of a type", "referrers/of another type"],
            changes: &[Header("oci-filters-applied", "none", "artifactType")],
        }],
    },
    Known {
        reason: "Who asks for the referrers of what is no digest is told so.",
        sources: &[Oci("Listing Referrers: 400 to an invalid digest")],
        cases: &[Case {
            questions: &["referrers/malformed digest", "referrers/of a tag"],
            changes: &[
                Status("404", "400"),
                Body("404 page not found (text/plain; charset=utf-8, nosniff)", "DIGEST_INVALID (application/json)"),
            ],
        }],
    },
    Known {
        reason: "What refers to a manifest is listed, and if nothing does, the list is empty.",
        sources: &[Oci("Listing Referrers: 200, and never 404")],
        cases: &[
            Case {
                questions: &["referrers/all"],
                changes: &[
                    Status("404", "200"),
                    Header("content-type", "text/plain; charset=utf-8", "application/vnd.oci.image.index.v1+json"),
                    Header("x-content-type-options", "nosniff", "none"),
                    Body("404 page not found", "490 bytes of sha256:2545c4dea8e2"),
                ],
            },
            Case {
                questions: &["referrers/of a type"],
                changes: &[
                    Status("404", "200"),
                    Header("content-type", "text/plain; charset=utf-8", "application/vnd.oci.image.index.v1+json"),
                    Header("x-content-type-options", "nosniff", "none"),
                    Body("404 page not found", "286 bytes of sha256:9718529533ce"),
                ],
            },
            Case {
                questions: &[
                    "referrers/of another type",
                    "referrers/of nothing that is there",
                    "referrers/of an unknown repository",
                ],
                changes: &[
                    Status("404", "200"),
                    Header("content-type", "text/plain; charset=utf-8", "application/vnd.oci.image.index.v1+json"),
                    Header("x-content-type-options", "nosniff", "none"),
                    Body("404 page not found", "88 bytes of sha256:dff9de109191"),
                ],
            },
            Case {
                questions: &["referrers/HEAD"],
                changes: &[
                    Status("404", "200"),
                    Header("content-type", "text/plain; charset=utf-8", "application/vnd.oci.image.index.v1+json"),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
        ],
    },
    Known {
        reason: "Who pushes a manifest with a subject is told that it will be listed.",
        sources: &[Oci("Pushing Manifests with Subject: OCI-Subject")],
        cases: &[Case {
            questions: &[
                "push/artifact with a subject",
                "push/artifact with a subject/again",
                "push/artifact with a subject/by digest",
                "push/artifact with a missing subject",
                "push/artifact with a missing subject/again",
                "push/artifact with a missing subject/by digest",
            ],
            changes: &[Header("oci-subject", "none", "sha256:*")],
        }],
    },
];
