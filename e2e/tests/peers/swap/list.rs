//! What differs where one takes the place of the other.

use crate::known::{Case, Change, Known, Source};

/// Repositories differ that have nothing left.
const EMPTIED: Known = Known {
    reason: "A repository that has nothing left is not listed, and unknown.",
    sources: &[Source::Oci("Endpoints: end-8a, 404")],
    cases: &[
        Case { questions: &["catalog"], changes: &[Change::Body("*\"cleaned\",\"emptied\",*", "*\"cleaned\",*")] },
        Case {
            questions: &["tags of emptied"],
            changes: &[
                Change::Status("200", "404"),
                Change::Body(
                    "{\"name\":\"emptied\",\"tags\":*} (application/json*nosniff)",
                    "NAME_UNKNOWN (application/json, nosniff)",
                ),
            ],
        },
    ],
};

/// Blobs that Distribution took by another sum than SHA-256 are known there by that as well.
const BY_OTHER_SUMS: Known = Known {
    reason: "A blob has the digest that it was pushed and is asked for by.",
    sources: &[Source::Draft("Pulling blobs: Docker-Content-Digest"), Source::Rfc(9110, "8.8.3: ETag")],
    cases: &[
        Case {
            questions: &[
                "* /v2/sums/of-nobody/blobs/sha384:*",
                "* /v2/sums/of-other/blobs/sha384:*",
                "* /v2/sums/of-mounts/blobs/sha384:*",
            ],
            changes: &[
                Change::Header("docker-content-digest", "sha256:*", "sha384:*"),
                Change::Header("etag", "\"sha256:*\"", "\"sha384:*\""),
            ],
        },
        Case {
            questions: &[
                "* /v2/sums/of-nobody/blobs/sha512:*",
                "* /v2/sums/of-other/blobs/sha512:*",
                "* /v2/sums/of-mounts/blobs/sha512:*",
            ],
            changes: &[
                Change::Header("docker-content-digest", "sha256:*", "sha512:*"),
                Change::Header("etag", "\"sha256:*\"", "\"sha512:*\""),
            ],
        },
    ],
};

/// In a bucket Distribution finds no tags of anything: it has no directories to miss.
const WITHOUT_TAGS: Known = Known {
    reason: "A repository that has no tag and no manifest is unknown.",
    sources: &[Source::Oci("Endpoints: end-8a, 404")],
    cases: &[Case {
        questions: &["tags of emptied", "tags of uploads/only", "tags of sums/of-*"],
        changes: &[
            Change::Status("200", "404"),
            Change::Body(
                "{\"name\":\"*\",\"tags\":[]} (application/json, nosniff)",
                "NAME_UNKNOWN (application/json, nosniff)",
            ),
        ],
    }],
};

/// What is said of an error differs.
const DETAILS: Known = Known {
    reason: "The detail has the fields that Docker Registry 2.8 gives, which a script can read.",
    sources: &[Source::Oci("Error Codes: the detail may be any JSON with information that the client can use")],
    cases: &[
        Case {
            questions: &["GET /v2/*/manifests/*"],
            changes: &[Change::Detail("\"unknown tag=*\"", "{\"Tag\":\"*\"}")],
        },
        Case {
            questions: &["GET /v2/*/manifests/sha*"],
            changes: &[Change::Detail("\"unknown manifest name=*\"", "{\"Name\":\"*\",\"Revision\":\"*\"}")],
        },
    ],
};

/// JSON is said to be JSON in other words.
const MEDIA_TYPE: Known = Known {
    reason: "The media type of JSON has no parameter, as that of Distribution 3.",
    sources: &[Source::Rfc(8259, "11: the media type has no parameters")],
    cases: &[Case {
        questions: &["*"],
        changes: &[Change::Header("content-type", "application/json; charset=utf-8", "application/json")],
    }],
};

/// What differs from Distribution 3.
pub(super) const LIST_3: &[Known] = &[EMPTIED, BY_OTHER_SUMS, DETAILS];

/// What differs from Distribution 3 in a bucket.
pub(super) const LIST_S3: &[Known] = &[WITHOUT_TAGS, BY_OTHER_SUMS, DETAILS];

/// What differs from Docker Registry 2.8.
pub(super) const LIST_2: &[Known] = &[EMPTIED, BY_OTHER_SUMS, MEDIA_TYPE];
