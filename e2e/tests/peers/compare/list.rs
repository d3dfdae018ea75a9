//! The differences that are wanted, each with its reason and with what asks for it.

use crate::known::Known;
use crate::known::What::{self, Body, Code, Detail, Header, Message, Status};

const TYPE: What = Header("content-type");
const LENGTH: What = Header("content-length");
const SNIFF: What = Header("x-content-type-options");
const ALLOW: What = Header("allow");
const LOCATION: What = Header("location");
const DIGEST: What = Header("docker-content-digest");
const ETAG: What = Header("etag");
const UPLOAD: What = Header("docker-upload-uuid");
const RANGE: What = Header("range");
const CONTENT_RANGE: What = Header("content-range");
const ACCEPT_RANGES: What = Header("accept-ranges");
const CACHE: What = Header("cache-control");

/// Reviewed: a line is added only with a reason that a maintainer of Distribution would accept.
pub(crate) const LIST: &[Known] = &[
    Known {
        questions: &["*"],
        parts: &[Detail],
        reason: "The detail of an error says in Berth's words what is wrong.",
        source: "OCI, Error Codes: the detail is optional and may be any JSON",
    },
    Known {
        questions: &["base/root*"],
        parts: &[Header("docker-distribution-api-version"), LENGTH],
        reason: "Every answer names the API's version, and an empty one its length.",
        source: "OCI, Legacy Docker support HTTP headers; RFC 9110, 8.6",
    },
    Known {
        questions: &[
            "base/root/POST",
            "base/v2/POST",
            "base/v2/PUT",
            "base/v2/DELETE",
            "base/v2/PATCH",
            "base/v2/FOO",
            "begin/GET",
            "begin/HEAD",
            "begin/PUT",
            "begin/PATCH",
            "begin/DELETE",
            "cancel/POST",
        ],
        parts: &[Status, ALLOW, TYPE, CACHE, UPLOAD, LOCATION, RANGE, Code, Message, Body],
        reason: "A method that a path does not have is refused, and those that it has are named.",
        source: "OCI, Endpoints; RFC 9110, 15.5.6",
    },
    Known {
        questions: &[
            "catalog/POST",
            "catalog/DELETE",
            "tags/POST",
            "tags/DELETE",
            "manifests/POST",
            "manifests/PATCH",
            "blobs/POST",
            "blobs/PUT",
            "blobs/PATCH",
        ],
        parts: &[ALLOW, TYPE, SNIFF, Body],
        reason: "A refused method has an error code as every error.",
        source: "OCI, Error Codes: UNSUPPORTED",
    },
    Known {
        questions: &["catalog/HEAD", "tags/HEAD"],
        parts: &[Status, ALLOW, TYPE, SNIFF],
        reason: "What can be read can be asked for with HEAD.",
        source: "RFC 9110, 9.1: GET and HEAD must be supported",
    },
    Known {
        questions: &["names/encoded dots", "begin/without a slash"],
        parts: &[Status, TYPE, LOCATION, UPLOAD, RANGE, Body],
        reason: "A path that can be meant in one way only is taken so: a redirect would turn a push into a GET.",
        source: "OCI, Endpoints; RFC 9110, 15.4.2",
    },
    Known {
        questions: &["base/v2 without a slash", "catalog/a slash behind", "tags/a slash behind"],
        parts: &[TYPE, Body],
        reason: "A redirect is without a page of HTML.",
        source: "RFC 9110, 15.4.2: the location is what counts",
    },
    Known {
        questions: &["base/v2/OPTIONS"],
        parts: &[ALLOW, TYPE, Body],
        reason: "OPTIONS tells the methods.",
        source: "RFC 9110, 9.3.7",
    },
    Known {
        questions: &["catalog/*", "delete/catalog"],
        parts: &[Header("link"), Body],
        reason: "Repositories are in lexical order of their names (`a`, `a-b`, `a/b`), so that pages lose none, and one \
                 that has nothing left is no longer listed.",
        source: "Distribution, HTTP API, Catalog: the order is lexical",
    },
    Known {
        questions: &["tags/exactly all"],
        parts: &[Header("link")],
        reason: "There is no link when nothing is behind it.",
        source: "OCI, Listing Tags: the link is to the next tags",
    },
    Known {
        questions: &["tags/of an emptied repository", "tags/zero of an unknown repository"],
        parts: &[Status, Body],
        reason: "A repository that has nothing is unknown, however many tags are asked for.",
        source: "OCI, Endpoints: end-8a, 404",
    },
    Known {
        questions: &[
            "names/underscore in front",
            "names/dash at the end",
            "names/three underscores",
            "names/two dots",
            "names/too long",
            "names/a zero byte",
            "names/a space",
            "begin/of a malformed name",
            "refuse/malformed name",
        ],
        parts: &[Status, TYPE, SNIFF, Code, Message, Body],
        reason: "A malformed name is said to be one.",
        source: "OCI, Pulling manifests, and Error Codes: NAME_INVALID",
    },
    Known {
        questions: &["manifests/upper-case digest", "blobs/no digest", "blobs/nothing"],
        parts: &[Status, TYPE, SNIFF, Body],
        reason: "A malformed digest is said to be one.",
        source: "OCI, Error Codes: DIGEST_INVALID",
    },
    Known {
        questions: &[
            "manifests/malformed tag",
            "manifests/tag with an odd letter",
            "manifests/long tag",
            "manifests/no reference",
        ],
        parts: &[TYPE, SNIFF, Body],
        reason: "A manifest that cannot be is unknown, with its error code.",
        source: "OCI, Error Codes: MANIFEST_UNKNOWN",
    },
    Known {
        questions: &["refuse/malformed tag", "refuse/tag with a plus", "refuse/long tag", "delete/malformed tag"],
        parts: &[Status, TYPE, SNIFF, Body],
        reason: "A malformed tag is said to be one.",
        source: "OCI, Pulling manifests: what a tag is; Distribution, HTTP API: TAG_INVALID",
    },
    Known {
        questions: &[
            "accept/oci image/nothing",
            "accept/oci image/anything",
            "accept/docker list/nothing",
            "accept/docker list/anything",
        ],
        parts: &[Status, TYPE, DIGEST, ETAG, Body],
        reason: "A client that names no media types, or all, takes everything.",
        source: "RFC 9110, 12.5.1",
    },
    Known {
        questions: &["conditions/manifest/quoted", "conditions/manifest/bare", "conditions/manifest/HEAD"],
        parts: &[DIGEST, ETAG],
        reason: "That nothing has changed is said with the entity tag.",
        source: "RFC 9110, 15.4.5",
    },
    Known {
        questions: &["conditions/blob/*"],
        parts: &[ACCEPT_RANGES],
        reason: "That ranges are served is said also when nothing has changed.",
        source: "RFC 9110, 14.3",
    },
    Known {
        questions: &[
            "conditions/manifest/weak",
            "conditions/manifest/among others",
            "conditions/manifest/star",
            "conditions/blob/bare",
        ],
        parts: &[Status, LENGTH, TYPE, Body],
        reason: "Every form of the condition is understood, for manifests and blobs alike.",
        source: "RFC 9110, 13.1.2",
    },
    Known {
        questions: &[
            "ranges/behind the end",
            "ranges/far behind the end",
            "ranges/no last bytes",
            "ranges/backwards",
            "ranges/a dash",
            "ranges/no number",
            "ranges/a negative number",
            "ranges/two behind the end",
        ],
        parts: &[Status, TYPE, DIGEST, SNIFF, CONTENT_RANGE, ACCEPT_RANGES, CACHE, ETAG, Body],
        reason: "A range that the content does not have is refused with an error code and the content's length.",
        source: "OCI, Error Codes; RFC 9110, 14.1.2 and 15.5.17",
    },
    Known {
        questions: &["ranges/another unit", "ranges/no unit", "ranges/upper case"],
        parts: &[Status, TYPE, SNIFF, ACCEPT_RANGES, CONTENT_RANGE, CACHE, ETAG, Body],
        reason: "A unit that is not known is ignored, and units are not told apart by case.",
        source: "RFC 9110, 14.1 and 14.2",
    },
    Known {
        questions: &["ranges/HEAD"],
        parts: &[Status, LENGTH, CONTENT_RANGE],
        reason: "A range applies to GET alone.",
        source: "RFC 9110, 14.2",
    },
    Known {
        questions: &["ranges/last byte of nothing"],
        parts: &[Status, CONTENT_RANGE],
        reason: "Of nothing there is no part: the whole is given.",
        source: "RFC 9110, 14.4: `bytes 0--1/0` is no range",
    },
    Known {
        questions: &["mount/from no one", "mount/from nothing"],
        parts: &[Status, DIGEST, UPLOAD, LOCATION, RANGE],
        reason: "A blob that any repository has can be mounted without saying which.",
        source: "OCI, Mounting a blob from another repository: `from` may be left out",
    },
    Known {
        questions: &["mount/a malformed digest", "mount/no digest"],
        parts: &[Status, TYPE, UPLOAD, LOCATION, RANGE, Body],
        reason: "A malformed digest is said to be one.",
        source: "OCI, Error Codes: DIGEST_INVALID",
    },
    Known {
        questions: &["referrers/*"],
        parts: &[Status, TYPE, SNIFF, ALLOW, Header("oci-filters-applied"), Body],
        reason: "What refers to a manifest is listed.",
        source: "OCI, Listing Referrers",
    },
    Known {
        questions: &["push/artifact with a subject*", "push/artifact with a missing subject*"],
        parts: &[Header("oci-subject")],
        reason: "Who pushes a manifest with a subject is told that it will be listed.",
        source: "OCI, Pushing Manifests with Subject",
    },
    Known {
        questions: &[
            "in one/POST",
            "in one/POST/read",
            "in one/POST of another digest",
            "in one/POST of a malformed digest",
        ],
        parts: &[Status, TYPE, UPLOAD, LOCATION, RANGE, DIGEST, ETAG, ACCEPT_RANGES, CACHE, Body],
        reason: "A blob can be pushed in a single POST.",
        source: "OCI, Single POST",
    },
    Known {
        questions: &["bad chunk/a gap", "bad chunk/an overlap", "bad chunk/old location", "bad end/a gap"],
        parts: &[UPLOAD, LOCATION, RANGE],
        reason: "A chunk out of order is told where the upload goes on.",
        source: "OCI, Pushing a blob in chunks",
    },
    Known {
        questions: &["bad chunk/backwards", "bad chunk/no range", "bad chunk/beyond numbers"],
        parts: &[Status, Code, Message],
        reason: "A malformed range is the client's mistake, and no failure of the server.",
        source: "OCI, Pushing a blob in chunks: the form of Content-Range",
    },
    Known {
        questions: &["bad chunk/a unit*", "bad chunk/of another type"],
        parts: &[Status, TYPE, UPLOAD, LOCATION, RANGE, Body],
        reason: "A range in the form of HTTP is understood too, and the media type of bytes is not looked at.",
        source: "RFC 9110, 14.4 and 8.3",
    },
    Known {
        questions: &[
            "bad end/another digest/status",
            "bad end/another digest/then the right one",
            "bad end/digest of sha512/status",
            "bad end/digest of sha512/then the right one",
        ],
        parts: &[Status, LENGTH, TYPE, UPLOAD, LOCATION, RANGE, DIGEST, Body],
        reason: "An upload that ended with other content than was promised is over, as Distribution means it to be.",
        source: "Distribution, HTTP API, Completed Upload: the upload is cancelled",
    },
    Known {
        questions: &["strangers/malformed identity", "strangers/chunk to a malformed identity"],
        parts: &[TYPE, SNIFF, Body],
        reason: "An upload whose identity is none never had a location.",
        source: "OCI, Pushing a blob in chunks: the location is the registry's to make",
    },
    Known {
        questions: &[
            "refuse/an empty object",
            "refuse/null",
            "refuse/schema version 1",
            "refuse/malformed digest of a layer",
            "refuse/no config",
            "odd/foreign layer",
        ],
        parts: &[Status, Code, Message],
        reason: "A malformed manifest is the client's mistake, and no failure of the server.",
        source: "OCI, Error Codes: MANIFEST_INVALID",
    },
    Known {
        questions: &["refuse/no type"],
        parts: &[Status, TYPE, DIGEST, LOCATION, Body],
        reason: "A manifest that says its media type itself need not be sent with one.",
        source: "OCI, Pushing Manifests: the header should be set",
    },
    Known {
        questions: &["refuse/too large"],
        parts: &[Status],
        reason: "A manifest above the limit has a status of its own.",
        source: "OCI, Pushing Manifests: 413",
    },
    Known {
        questions: &["references/tags as a query*"],
        parts: &[Status, Header("oci-tag"), Body],
        reason: "A manifest that is pushed by its digest gets the tags of the query.",
        source: "OCI (draft), Endpoints: end-7b",
    },
    Known {
        questions: &["odd/a key twice", "odd/a key twice/read"],
        parts: &[Status, TYPE, LOCATION, DIGEST, ETAG, Body],
        reason: "A manifest with a key twice means different things to different clients, and is refused.",
        source: "RFC 8259, 4",
    },
];
