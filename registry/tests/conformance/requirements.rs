//! What the OCI distribution specification asks for: every MUST and SHOULD, in its order, in few words of our own.
//!
//! The text is that of the branch from which the next version is made; it contains everything that 1.1 asks for,
//! but that it takes the order of bytes for tags beside one without regard to case.

use std::fmt;

/// How much the specification asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Must,
    MustNot,
    Should,
    ShouldNot,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
        })
    }
}

/// Who has to do it, and where it is seen that the registry does.
#[derive(Clone, Copy, Debug)]
pub enum Duty {
    /// The registry's: at least one case covers it.
    Registry,
    /// The registry's, in a test that does not need a socket: the file, below the crate, and the name.
    Inside(&'static str, &'static str),
    /// The client's.
    Client,
    /// It asks for nothing, because the registry has no part of which it speaks.
    Absent(&'static str),
    /// The registry does otherwise, on purpose.
    Differs(&'static str),
}

/// One requirement.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    pub id: &'static str,
    pub section: &'static str,
    pub level: Level,
    pub says: &'static str,
    pub duty: Duty,
}

use Duty::{Absent, Client, Differs, Inside, Registry};
use Level::{Must, MustNot, Should, ShouldNot};

const fn of(section: &'static str, level: Level, id: &'static str, duty: Duty, says: &'static str) -> Requirement {
    Requirement { id, section, level, says, duty }
}

const LEGACY: &str = "Legacy Docker support";
const REQUIREMENTS: &str = "Requirements";
const PULL: &str = "Pulling manifests";
const PULL_BLOB: &str = "Pulling blobs";
const EXISTS: &str = "Checking if content exists in the registry";
const PUSH: &str = "Push";
const BLOBS: &str = "Pushing blobs";
const POST_PUT: &str = "POST then PUT";
const POST: &str = "Single POST";
const CHUNKS: &str = "Pushing a blob in chunks";
const CANCEL: &str = "Cancel a blob upload";
const MOUNT: &str = "Mounting a blob from another repository";
const MANIFESTS: &str = "Pushing manifests";
const SUBJECT: &str = "Pushing manifests with subject";
const TAGS: &str = "Listing tags";
const REFERRERS: &str = "Listing referrers";
const DELETE_TAG: &str = "Deleting tags";
const DELETE_MANIFEST: &str = "Deleting manifests";
const DELETE_BLOB: &str = "Deleting blobs";
const PROXY: &str = "Registry proxying";
const COMPATIBILITY: &str = "Backwards compatibility";
const UPGRADE: &str = "Enabling the referrers API";
const API: &str = "API";
const ERRORS: &str = "Error codes";
const WARNINGS: &str = "Warnings";

const NO_PROXY: &str = "the registry is no proxy and passes over `ns`";
const NO_WARNINGS: &str = "no `Warning` header is sent";

/// Every requirement.
#[rustfmt::skip]
pub const ALL: &[Requirement] = &[
    of(LEGACY, ShouldNot, "legacy-headers", Client, "Rely on Docker's headers."),
    of(LEGACY, ShouldNot, "legacy-codes", Client, "Rely on the error codes of schema 1."),

    of(REQUIREMENTS, Must, "category-pull", Registry, "Have every API to pull."),
    of(REQUIREMENTS, Should, "category-others", Registry, "Have the APIs to push, to discover and to manage as well."),
    of(REQUIREMENTS, Must, "category-whole", Registry, "Have every API of a category that it claims."),

    of(PULL, Must, "reference", Registry, "A manifest is asked for by its digest or by a tag."),
    of(PULL, MustNot, "reference-other", Registry, "A manifest is asked for by anything else."),
    of(PULL, Must, "name-form", Registry, "A repository name is of the form that is laid down."),
    of(PULL, Must, "tag-form", Registry, "A tag has at most 128 characters and is of the form that is laid down."),
    of(PULL, Should, "accept", Client, "Say in `Accept` which manifests it can read."),
    of(PULL, ShouldNot, "type-plain", Registry, "Put parameters into `Content-Type`."),
    of(PULL, Should, "type-parameters", Client, "Pass over parameters of `Content-Type`."),
    of(PULL, Should, "type-as-pushed", Registry, "Give the `Content-Type` that the manifest was pushed with."),
    of(PULL, Should, "type-agrees", Client, "Refuse a manifest whose `mediaType` is not its `Content-Type`."),
    of(PULL, Must, "manifest-given", Registry, "Give the manifest that a URL stands for."),
    of(PULL, Must, "manifest-200", Registry, "Answer 200 to that."),
    of(PULL, Must, "manifest-digest", Registry, "Give the digest in `Docker-Content-Digest`."),
    of(PULL, Must, "manifest-verify-header", Client, "Verify that header against the manifest, if it uses it."),
    of(PULL, Should, "manifest-verify", Client, "Verify a manifest that was asked for by digest."),
    of(PULL, Must, "manifest-404", Registry, "Answer 404 if the repository does not have the manifest."),

    of(PULL_BLOB, Must, "blob-given", Registry, "Give the blob that a URL stands for."),
    of(PULL_BLOB, Must, "blob-200", Registry, "Answer 200 to that."),
    of(PULL_BLOB, Must, "blob-digest", Registry, "Give the digest in `Docker-Content-Digest`."),
    of(PULL_BLOB, Must, "blob-digest-matches", Registry, "That header is a digest of the body."),
    of(PULL_BLOB, Must, "blob-verify-header", Client, "Verify that header against the body, if it uses it."),
    of(PULL_BLOB, Should, "blob-verify", Client, "Verify the body against the digest that was asked for."),
    of(PULL_BLOB, Must, "blob-404", Registry, "Answer 404 if the repository does not have the blob."),
    of(PULL_BLOB, Should, "blob-range", Registry, "Honour `Range`."),

    of(EXISTS, Must, "head-200", Registry, "Answer 200 to `HEAD` of a manifest or blob that exists."),
    of(EXISTS, Must, "head-digest", Registry, "Give its digest in `Docker-Content-Digest`."),
    of(EXISTS, Must, "head-length", Registry, "Give its length in `Content-Length`."),
    of(EXISTS, Must, "head-404", Registry, "Answer 404 if the repository does not have it."),

    of(PUSH, Must, "subject-missing", Registry, "Take a manifest whose subject is not there."),
    of(PUSH, Must, "reference-unknown", Registry, "Refuse a manifest for something else that is missing with `MANIFEST_BLOB_UNKNOWN`."),

    of(BLOBS, Should, "digest-invalid", Registry, "Answer 400 to a digest that is malformed or of an unknown algorithm."),

    of(POST_PUT, Must, "begin-202", Registry, "Answer 202 to the beginning of an upload."),
    of(POST_PUT, Must, "begin-location", Registry, "Give the address of the upload in `Location`."),
    of(POST_PUT, Must, "location-uuid", Registry, "That address holds a UUID of its own."),
    of(POST_PUT, Should, "location-as-given", Client, "Use that address as it was given."),
    of(POST_PUT, ShouldNot, "location-assembled", Client, "Assemble that address."),
    of(POST_PUT, Must, "put-blob-201", Registry, "Answer 201 to a `PUT` that ends an upload."),
    of(POST_PUT, Must, "put-blob-location", Registry, "Give the address of the blob in `Location`."),

    of(POST, Must, "post-length", Client, "Say the length of the blob in `Content-Length`."),
    of(POST, Must, "post-digest", Registry, "The digest is that of the body, or the blob is refused."),
    of(POST, Should, "post-unsupported", Absent("a blob can be pushed in one request"), "Answer 202 where a blob cannot be pushed in one request."),
    of(POST, Should, "post-falls-back", Client, "Go on with a `PUT` after a 202."),
    of(POST, Must, "post-201", Registry, "Answer 201 to a `POST` with the whole blob."),
    of(POST, Must, "post-location", Registry, "Give the address of the blob in `Location`."),

    of(CHUNKS, Must, "chunk-begin-length", Client, "Begin with `Content-Length: 0`."),
    of(CHUNKS, Should, "chunk-algorithm", Client, "Name an algorithm other than sha256 in `digest-algorithm`."),
    of(CHUNKS, Should, "chunk-minimum", Absent("a chunk may have any length"), "Give the least length of a chunk in `OCI-Chunk-Min-Length`."),
    of(CHUNKS, Must, "chunk-range-inclusive", Registry, "`Content-Range` includes both ends."),
    of(CHUNKS, Must, "chunk-range-first", Registry, "The first chunk begins at 0."),
    of(CHUNKS, Must, "chunk-range-form", Registry, "`Content-Range` is of the form that is laid down."),
    of(CHUNKS, Should, "chunk-minimum-kept", Client, "Send no chunk that is shorter than the least length."),
    of(CHUNKS, Must, "chunk-202", Registry, "Answer 202 to a chunk."),
    of(CHUNKS, Must, "chunk-headers", Registry, "Give `Location` and `Range` with that."),
    of(CHUNKS, Should, "chunk-location", Client, "Send the next chunk to that `Location`."),
    of(CHUNKS, Must, "chunk-order", Registry, "Chunks come in order, without a gap."),
    of(CHUNKS, Must, "chunk-416", Registry, "Answer 416 to a chunk out of order."),
    of(CHUNKS, Must, "close-put", Client, "End the upload with a `PUT`."),
    of(CHUNKS, Must, "close-digest", Registry, "That `PUT` names the digest of the whole blob."),
    of(CHUNKS, Must, "close-201", Registry, "Answer 201 to it."),
    of(CHUNKS, Must, "close-location", Registry, "Give the address of the blob in `Location`."),
    of(CHUNKS, Must, "close-416", Registry, "Answer 416 to a last chunk out of order."),
    of(CHUNKS, Must, "status-204", Registry, "Answer 204 to a `GET` of an upload."),
    of(CHUNKS, Must, "status-headers", Registry, "Give `Location` and `Range` with that."),
    of(CHUNKS, Should, "status-location", Client, "Send the next chunk to that `Location`."),

    of(CANCEL, Should, "cancel-204", Registry, "Answer 204 to the `DELETE` of an upload."),
    of(CANCEL, Should, "cancel-sent", Client, "Cancel an upload that it gives up."),
    of(CANCEL, Should, "cancel-failures", Client, "Pass over a failure of that."),
    of(CANCEL, Should, "upload-timeout", Inside("src/purge.rs", "only_old_sessions_go_and_a_dry_run_removes_none"), "Remove uploads that nobody finishes, in time."),

    of(MOUNT, Must, "mount-201", Registry, "Answer 201 to a mount."),
    of(MOUNT, Must, "mount-location", Registry, "Give the address of the blob in `Location`."),
    of(MOUNT, Should, "mount-verify", Client, "Verify `Docker-Content-Digest` against the blob, if it uses it."),
    of(MOUNT, Should, "mount-202", Registry, "Answer 202 where the blob cannot be mounted."),

    of(MANIFESTS, Should, "put-type", Client, "Set `Content-Type` to the type of the manifest."),
    of(MANIFESTS, ShouldNot, "put-parameters", Client, "Put parameters into it."),
    of(MANIFESTS, Should, "put-parameters-ignored", Registry, "Pass over parameters in it."),
    of(MANIFESTS, Should, "put-media-type", Client, "State the type in the field `mediaType`."),
    of(MANIFESTS, Must, "put-type-agrees", Registry, "Both are the same, or the manifest is refused."),
    of(MANIFESTS, Must, "put-reference", Registry, "A manifest is pushed by its digest or by a tag."),
    of(MANIFESTS, Must, "put-complete", Client, "Refer to every blob that makes up the object."),
    of(MANIFESTS, Must, "put-bytes", Registry, "Keep a manifest byte for byte."),
    of(MANIFESTS, Must, "put-201", Registry, "Answer 201 to a push."),
    of(MANIFESTS, Must, "put-location", Registry, "Give an address in `Location` from which it can be pulled."),
    of(MANIFESTS, Must, "put-digest", Registry, "Give the digest that the client gave in `Docker-Content-Digest`."),
    of(MANIFESTS, Should, "put-verify", Client, "Verify that header, if it uses it."),
    of(MANIFESTS, Should, "put-tags", Registry, "Take at least 10 tags with a push by digest."),
    of(MANIFESTS, Must, "put-tags-header", Registry, "Give every tag that was taken in `OCI-Tag`."),
    of(MANIFESTS, Must, "repository-404", Registry, "Answer 404 to a pull from a repository that does not exist."),
    of(MANIFESTS, Should, "put-limit", Registry, "Limit the length of a manifest."),
    of(MANIFESTS, Should, "put-413", Registry, "Answer 413 to a longer one."),
    of(MANIFESTS, Should, "put-4-megabytes", Registry, "Take a manifest of 4 megabytes."),

    of(SUBJECT, Must, "subject-header", Registry, "Give the subject of a manifest in `OCI-Subject`."),
    of(SUBJECT, Must, "fallback-push", Client, "Keep the referrers tag where that header is missing."),
    of(SUBJECT, Should, "fallback-report", Client, "Report a failure if that tag is no index."),
    of(SUBJECT, Must, "fallback-empty", Client, "Begin with an empty index if there is no such tag."),
    of(SUBJECT, ShouldNot, "fallback-duplicate", Client, "Add an entry twice."),
    of(SUBJECT, Must, "fallback-type", Client, "Set `artifactType` to that of the manifest."),
    of(SUBJECT, Must, "fallback-config-type", Client, "Or else to the media type of its configuration."),
    of(SUBJECT, Must, "fallback-annotations", Client, "Copy every annotation."),

    of(TAGS, Must, "tags-200", Registry, "Answer 200 to a list of tags."),
    of(TAGS, Must, "tags-order", Registry, "Give the tags in lexical order: byte by byte, as the draft allows."),
    of(TAGS, Must, "tags-body", Registry, "Give `name` and `tags`, as JSON."),
    of(TAGS, Must, "tags-number", Registry, "Give `n` tags unless there are fewer or `Link` says that there are more."),
    of(TAGS, Must, "tags-link", Registry, "A `Link` is of the form that is laid down, with `rel=\"next\"`."),
    of(TAGS, Must, "tags-zero", Registry, "Give an empty list if `n` is 0."),
    of(TAGS, MustNot, "tags-zero-link", Registry, "Give a `Link` with that."),
    of(TAGS, Must, "tags-number-order", Registry, "Give the tags of a page in lexical order."),
    of(TAGS, MustNot, "tags-last-number", Registry, "`last` is a numerical index."),
    of(TAGS, Must, "tags-last-tag", Registry, "`last` is a tag."),
    of(TAGS, Must, "tags-last-order", Registry, "Give the tags behind `last` in lexical order."),

    of(REFERRERS, Must, "referrers-200", Registry, "Answer 200 to a list of referrers."),
    of(REFERRERS, MustNot, "referrers-404", Registry, "Answer 404 to it."),
    of(REFERRERS, Must, "referrers-400", Registry, "Answer 400 to an invalid request, such as one for a malformed digest."),
    of(REFERRERS, Must, "referrers-body", Registry, "Give an image index of descriptors, as JSON."),
    of(REFERRERS, Must, "referrers-type", Registry, "Set `Content-Type` to that of an OCI index."),
    of(REFERRERS, Must, "referrers-artifact-type", Registry, "Give the `artifactType` of a manifest, if it has one."),
    of(REFERRERS, Must, "referrers-config-type", Registry, "Or else, of an image, the media type of its configuration."),
    of(REFERRERS, Must, "referrers-index-type", Registry, "Or else, of an index, none."),
    of(REFERRERS, Must, "referrers-annotations", Registry, "Give the annotations of a manifest."),
    of(REFERRERS, Must, "referrers-empty", Registry, "Give an empty list where there are none."),
    of(REFERRERS, Must, "referrers-link", Registry, "Give a `Link` where the list does not fit into one answer."),
    of(REFERRERS, Must, "referrers-link-form", Registry, "It is of the form that is laid down, with `rel=\"next\"`."),
    of(REFERRERS, Should, "referrers-filter", Registry, "Filter by `artifactType`."),
    of(REFERRERS, Must, "referrers-filter-header", Registry, "Say so in `OCI-Filters-Applied`."),
    of(REFERRERS, Must, "referrers-filters", Absent("there is one filter"), "Say several filters with commas between them."),
    of(REFERRERS, Must, "fallback-pull", Client, "Pull the referrers tag after a 404."),
    of(REFERRERS, Should, "fallback-content", Client, "Keep in that tag what the API would give."),
    of(REFERRERS, Should, "fallback-none", Client, "Take it that there are none if there is no such tag."),

    of(DELETE_TAG, Must, "delete-tag-202", Registry, "Answer 202 to the deletion of a tag."),
    of(DELETE_TAG, Must, "delete-tag-off", Registry, "Answer 400 or 405 where that is switched off."),

    of(DELETE_MANIFEST, Must, "delete-manifest-202", Registry, "Answer 202 to the deletion of a manifest."),
    of(DELETE_MANIFEST, Must, "delete-manifest-404", Registry, "Answer 404 if the repository does not exist."),
    of(DELETE_MANIFEST, Must, "delete-manifest-off", Registry, "Answer 400 or 405 where that is switched off."),
    of(DELETE_MANIFEST, Should, "fallback-delete", Client, "Take a deleted manifest out of the referrers tag after a 404."),

    of(DELETE_BLOB, Must, "delete-blob-202", Registry, "Answer 202 to the deletion of a blob."),
    of(DELETE_BLOB, Must, "delete-blob-404", Registry, "Answer 404 if the repository does not have it."),
    of(DELETE_BLOB, Must, "delete-blob-off", Registry, "Answer 400 or 405 where that is switched off."),

    of(PROXY, Should, "proxy-host-component", Client, "The host of a name is its first component."),
    of(PROXY, Should, "proxy-host-primary", Client, "That host is the primary source."),
    of(PROXY, Should, "proxy-namespace", Absent(NO_PROXY), "Give `ns` back in `OCI-Namespace` where it is used."),
    of(PROXY, Should, "proxy-aware", Client, "Know whether a host is a proxy."),
    of(PROXY, Should, "proxy-ns-sent", Client, "Send no `ns` to a host that is none."),
    of(PROXY, ShouldNot, "proxy-credentials", Client, "Send the credentials of an upstream registry to a proxy."),

    of(COMPATIBILITY, Must, "older-registries", Client, "Work with registries of older versions."),
    of(COMPATIBILITY, Must, "older-fallback", Client, "Fall back where an API is missing."),
    of(COMPATIBILITY, Must, "older-push", Client, "See to it that the referrers API is there, or keep the referrers tag."),
    of(COMPATIBILITY, Must, "older-pull", Client, "Pull the referrers tag after a 404."),
    of(COMPATIBILITY, Must, "older-tag", Client, "Make the referrers tag of the two parts of the digest."),
    of(COMPATIBILITY, Must, "older-tag-algorithm", Client, "Cut the algorithm at 32 characters."),
    of(COMPATIBILITY, Must, "older-tag-encoded", Client, "Cut the rest at 64 characters."),

    of(UPGRADE, Must, "upgrade-before", Registry, "List referrers that were pushed before there was a list."),
    of(UPGRADE, Must, "upgrade-after", Registry, "List every referrer that is pushed from then on."),

    of(API, Should, "http", Registry, "Follow RFC 9110 where nothing else is said."),
    of(API, Should, "redirect-followed", Client, "Follow redirects."),
    of(API, MustNot, "redirect-credentials", Client, "Send `Authorization` on to another host."),

    of(ERRORS, Must, "error-body", Registry, "A JSON body of an error is of the form that is laid down."),
    of(ERRORS, Must, "error-code-form", Registry, "A code has only upper-case letters and underscores."),
    of(ERRORS, Should, "error-message", Registry, "A message can be read by a human being."),
    of(ERRORS, Must, "error-code-known", Differs(
        "four codes are CNCF Distribution's, which its clients know, where the list has none that fits: \
         `RANGE_INVALID` (416), `TAG_INVALID` and `PAGINATION_NUMBER_INVALID` (400), `MANIFEST_UNVERIFIED` (400)"),
        "A code is one of the list."),
    of(ERRORS, Should, "error-429", Absent("no request is refused for coming too often"), "Give `Retry-After` with a 429."),

    of(WARNINGS, Must, "warning-form", Absent(NO_WARNINGS), "A `Warning` has the code 299 and the agent `-`."),
    of(WARNINGS, MustNot, "warning-date", Absent(NO_WARNINGS), "A `Warning` has a date."),
    of(WARNINGS, MustNot, "warning-length", Absent(NO_WARNINGS), "All warnings have more than 4096 bytes."),
    of(WARNINGS, Should, "warning-shown", Client, "Show warnings."),
    of(WARNINGS, Should, "warning-once", Client, "Show each once."),
    of(WARNINGS, MustNot, "warning-acted-on", Client, "Act on a warning."),
];
