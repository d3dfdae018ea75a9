//! Methods, listings and names.

use crate::known::Change::{Body, Error, Header, Status};
use crate::known::Source::{Api, Draft, Oci, Rfc};
use crate::known::{Case, Known};

pub(super) const LIST: &[Known] = &[
    Known {
        reason: "What can be read can be asked for with HEAD.",
        sources: &[Rfc(9110, "9.1: GET and HEAD must be supported"), Rfc(9110, "9.3.2")],
        cases: &[
            Case {
                questions: &["catalog/HEAD", "tags/HEAD"],
                changes: &[
                    Status("405", "200"),
                    Header("allow", "GET", "none"),
                    Header("content-type", "text/plain; charset=utf-8", "application/json"),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
            Case {
                questions: &[
                    "catalog/POST",
                    "catalog/DELETE",
                    "catalog/OPTIONS",
                    "catalog/FOO",
                    "tags/POST",
                    "tags/PUT",
                    "tags/DELETE",
                    "tags/OPTIONS",
                    "tags/FOO",
                    "tags/of an unknown repository/POST",
                    "names/upper case/POST",
                ],
                changes: &[Header("allow", "GET", "GET, HEAD")],
            },
            Case {
                questions: &["catalog/n is no number/HEAD"],
                changes: &[
                    Status("405", "400"),
                    Header("allow", "GET", "none"),
                    Header("content-type", "text/plain; charset=utf-8", "application/json"),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
            Case {
                questions: &["tags/of an unknown repository/HEAD", "names/upper case/HEAD"],
                changes: &[
                    Status("405", "404"),
                    Header("allow", "GET", "none"),
                    Header("content-type", "text/plain; charset=utf-8", "application/json"),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
        ],
    },
    Known {
        reason: "A write that is refused because the registry is read-only says when to try again.",
        sources: &[Rfc(9110, "10.2.3: Retry-After")],
        cases: &[Case {
            questions: &[
                "read-only/begin",
                "read-only/begin behind a proxy",
                "read-only/mount",
                "read-only/push",
                "read-only/push behind a proxy",
                "read-only/delete a tag",
                "read-only/delete a manifest",
                "read-only/delete a blob",
                "read-only/delete an unknown blob",
            ],
            changes: &[Header("retry-after", "none", "60")],
        }],
    },
    Known {
        reason: "A refused method is answered with an error code.",
        sources: &[Api("Errors: failures are reported in a JSON body"), Oci("Error Codes: UNSUPPORTED")],
        cases: &[Case {
            questions: &[
                "catalog/POST",
                "catalog/DELETE",
                "catalog/FOO",
                "tags/POST",
                "tags/PUT",
                "tags/DELETE",
                "tags/FOO",
                "tags/of an unknown repository/POST",
                "manifests/POST",
                "manifests/PATCH",
                "manifests/FOO",
                "blobs/POST",
                "blobs/PUT",
                "blobs/PATCH",
                "blobs/FOO",
                "names/upper case/POST",
                "cancel/FOO",
                "read-only/begin",
                "read-only/begin behind a proxy",
                "read-only/mount",
                "read-only/push",
                "read-only/push behind a proxy",
                "read-only/delete a tag",
                "read-only/delete a manifest",
                "read-only/delete a blob",
                "read-only/delete an unknown blob",
            ],
            changes: &[Body(
                "Method not allowed (text/plain; charset=utf-8, nosniff)",
                "UNSUPPORTED (application/json)",
            )],
        }],
    },
    Known {
        reason: "OPTIONS tells the methods of a path.",
        sources: &[Rfc(9110, "9.3.7: Allow")],
        cases: &[Case { questions: &["base/v2/OPTIONS"], changes: &[Header("allow", "none", "GET, HEAD")] }],
    },
    Known {
        reason: "A method that a path does not have is refused, and those that it has are named.",
        sources: &[Oci("Endpoints"), Rfc(9110, "9.1: 405"), Rfc(9110, "15.5.6: Allow")],
        cases: &[
            Case {
                questions: &[
                    "base/v2/POST",
                    "base/v2/PUT",
                    "base/v2/DELETE",
                    "base/v2/PATCH",
                    "base/v2/TRACE",
                    "base/v2/FOO",
                ],
                changes: &[
                    Status("200", "405"),
                    Header("allow", "none", "GET, HEAD"),
                    Body("{} (application/json)", "UNSUPPORTED (application/json)"),
                ],
            },
            Case {
                questions: &["manifests/malformed tag/POST"],
                changes: &[
                    Status("404", "405"),
                    Header("allow", "none", "DELETE, GET, HEAD, PUT"),
                    Body("404 page not found (text/plain; charset=utf-8, nosniff)", "UNSUPPORTED (application/json)"),
                ],
            },
            Case {
                questions: &["referrers/POST", "referrers/DELETE"],
                changes: &[
                    Status("404", "405"),
                    Header("allow", "none", "GET, HEAD"),
                    Body("404 page not found (text/plain; charset=utf-8, nosniff)", "UNSUPPORTED (application/json)"),
                ],
            },
            Case {
                questions: &["begin/GET", "begin/PUT", "begin/PATCH", "begin/DELETE"],
                changes: &[
                    Status("404", "405"),
                    Header("allow", "none", "POST"),
                    Error("BLOB_UPLOAD_UNKNOWN", "UNSUPPORTED"),
                ],
            },
            Case { questions: &["begin/HEAD"], changes: &[Status("404", "405"), Header("allow", "none", "POST")] },
            Case {
                questions: &["cancel/POST"],
                changes: &[
                    Status("202", "405"),
                    Header("allow", "none", "DELETE, GET, HEAD, PATCH, PUT"),
                    Header("docker-upload-uuid", "ID", "none"),
                    Header("location", "http://HOST/v2/uploaded/blobs/uploads/ID?_state=STATE", "none"),
                    Header("range", "0-0", "none"),
                    Body("nothing", "UNSUPPORTED (application/json)"),
                ],
            },
            Case {
                questions: &["cancel/OPTIONS", "cancel/FOO"],
                changes: &[Header("allow", "DELETE, GET, HEAD, PATCH, POST, PUT", "DELETE, GET, HEAD, PATCH, PUT")],
            },
        ],
    },
    Known {
        reason: "Repositories are in the order of their names (`a`, `a-b`, `a/b`), so that pages lose none, and one that has nothing left is no longer listed.",
        sources: &[Api("Catalog: the listing is in lexical order")],
        cases: &[
            Case {
                questions: &["catalog/all", "catalog/as many as there are", "catalog/n is nothing"],
                changes: &[Body(
                    "{\"repositories\":[\"a\",\"a/b\",\"a/b/c\",\"a-b\",\"a.b\",\"a_b/c\",\"ab\",\"cleaned\",\"emptied\",\"legacy\",\"library/app\",\"multi\",\"nested/very/deeply/in/the/tree\",\"team/mounted\"]}",
                    "{\"repositories\":[\"a\",\"a-b\",\"a.b\",\"a/b\",\"a/b/c\",\"a_b/c\",\"ab\",\"cleaned\",\"legacy\",\"library/app\",\"multi\",\"nested/very/deeply/in/the/tree\",\"team/mounted\"]}",
                )],
            },
            Case {
                questions: &["catalog/first page"],
                changes: &[
                    Header(
                        "link",
                        "</v2/_catalog?last=a%2Fb&n=2>; rel=\"next\"",
                        "</v2/_catalog?last=a-b&n=2>; rel=\"next\"",
                    ),
                    Body("{\"repositories\":[\"a\",\"a/b\"]}", "{\"repositories\":[\"a\",\"a-b\"]}"),
                ],
            },
            Case {
                questions: &["catalog/next page"],
                changes: &[
                    Header(
                        "link",
                        "</v2/_catalog?last=a_b%2Fc&n=2>; rel=\"next\"",
                        "</v2/_catalog?last=a%2Fb&n=2>; rel=\"next\"",
                    ),
                    Body("{\"repositories\":[\"a.b\",\"a_b/c\"]}", "{\"repositories\":[\"a.b\",\"a/b\"]}"),
                ],
            },
            Case {
                questions: &["catalog/next page of a nested name"],
                changes: &[
                    Header(
                        "link",
                        "</v2/_catalog?last=a.b&n=3>; rel=\"next\"",
                        "</v2/_catalog?last=ab&n=3>; rel=\"next\"",
                    ),
                    Body(
                        "{\"repositories\":[\"a/b/c\",\"a-b\",\"a.b\"]}",
                        "{\"repositories\":[\"a/b/c\",\"a_b/c\",\"ab\"]}",
                    ),
                ],
            },
            Case {
                questions: &["catalog/behind what is not there"],
                changes: &[
                    Header(
                        "link",
                        "</v2/_catalog?last=emptied&n=2>; rel=\"next\"",
                        "</v2/_catalog?last=legacy&n=2>; rel=\"next\"",
                    ),
                    Body("{\"repositories\":[\"cleaned\",\"emptied\"]}", "{\"repositories\":[\"cleaned\",\"legacy\"]}"),
                ],
            },
            Case {
                questions: &["delete/catalog"],
                changes: &[Body(
                    "{\"repositories\":[\"a\",\"a/b\",\"a/b/c\",\"a-b\",\"a.b\",\"a_b/c\",\"ab\",\"cleaned\",\"deleted\",\"emptied\",\"legacy\",\"library/app\",\"multi\",\"nested/very/deeply/in/the/tree\",\"odd\",\"pushed\",\"referenced\",\"refused\",\"team/mounted\"]}",
                    "{\"repositories\":[\"a\",\"a-b\",\"a.b\",\"a/b\",\"a/b/c\",\"a_b/c\",\"ab\",\"cleaned\",\"legacy\",\"library/app\",\"multi\",\"nested/very/deeply/in/the/tree\",\"odd\",\"pushed\",\"referenced\",\"refused\",\"team/mounted\"]}",
                )],
            },
        ],
    },
    Known {
        reason: "There is no link when nothing is behind it.",
        sources: &[
            Oci("Listing Tags: a `Link` when additional tags are available"),
            Api("Catalog, Pagination: the end is where there is no Link"),
        ],
        cases: &[
            Case {
                questions: &["catalog/n with a plus", "catalog/n with a zero in front"],
                changes: &[Header("link", "</v2/_catalog?last=team%2Fmounted&n=2>; rel=\"next\"", "none")],
            },
            Case {
                questions: &["tags/exactly all"],
                changes: &[Header("link", "</v2/library/app/tags/list?last=v2&n=5>; rel=\"next\"", "none")],
            },
        ],
    },
    Known {
        reason: "A repository that has nothing is unknown, however many tags are asked for.",
        sources: &[Oci("Endpoints: end-8a, 404"), Oci("Pushing Manifests: a nonexistent repository is 404")],
        cases: &[
            Case {
                questions: &["tags/of an emptied repository"],
                changes: &[
                    Status("200", "404"),
                    Body("{\"name\":\"emptied\",\"tags\":[]} (application/json)", "NAME_UNKNOWN (application/json)"),
                ],
            },
            Case {
                questions: &["tags/zero of an unknown repository"],
                changes: &[
                    Status("200", "404"),
                    Body("{\"name\":\"no/such\",\"tags\":[]} (application/json)", "NAME_UNKNOWN (application/json)"),
                ],
            },
        ],
    },
    Known {
        reason: "A name has at most 255 bytes, and a longer one is said to be malformed.",
        sources: &[
            Oci("Pulling manifests: names that exceed what clients take should be avoided"),
            Api("Overview: a name is less than 256 characters"),
        ],
        cases: &[
            Case {
                questions: &["names/too long"],
                changes: &[Status("404", "400"), Error("NAME_UNKNOWN", "NAME_INVALID")],
            },
            Case {
                questions: &["names/far too long"],
                changes: &[
                    Status("500", "400"),
                    Body("{\"errors\":[{\"code\":\"UNKNOWN\",*} (application/json)", "NAME_INVALID (application/json)"),
                ],
            },
        ],
    },
    Known {
        reason: "Who writes is not redirected: the client might go on with GET, or write to what it did not name.",
        sources: &[Rfc(9110, "15.4.2: the method may change to GET"), Api("Errors: NAME_INVALID")],
        cases: &[Case {
            questions: &["names/two slashes/PUT", "names/two slashes/DELETE"],
            changes: &[
                Status("301", "400"),
                Header("location", "/v2/library/app/manifests/v1", "none"),
                Body("nothing", "NAME_INVALID (application/json)"),
            ],
        }],
    },
    Known {
        reason: "A malformed name is said to be one.",
        sources: &[Oci("Pulling manifests: what a name is"), Api("Errors: NAME_INVALID, 400")],
        cases: &[Case {
            questions: &[
                "names/underscore in front",
                "names/dash at the end",
                "names/three underscores",
                "names/two dots",
                "names/a zero byte",
                "names/a space",
                "begin/of a malformed name",
                "refuse/malformed name",
            ],
            changes: &[
                Status("404", "400"),
                Body("404 page not found (text/plain; charset=utf-8, nosniff)", "NAME_INVALID (application/json)"),
            ],
        }],
    },
    Known {
        reason: "A malformed digest is said to be one.",
        sources: &[
            Draft("Pushing blobs: 400 to a digest that is invalid"),
            Api("Pulling a Layer: DIGEST_INVALID, 400"),
        ],
        cases: &[
            Case {
                questions: &["manifests/upper-case digest", "blobs/no digest/POST", "blobs/no digest", "blobs/nothing"],
                changes: &[
                    Status("404", "400"),
                    Body(
                        "404 page not found (text/plain; charset=utf-8, nosniff)",
                        "DIGEST_INVALID (application/json)",
                    ),
                ],
            },
            Case {
                questions: &["blobs/no digest/HEAD"],
                changes: &[
                    Status("404", "400"),
                    Header("content-type", "text/plain; charset=utf-8", "application/json"),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
        ],
    },
    Known {
        reason: "A manifest that cannot be is unknown, with its error code.",
        sources: &[
            Oci("Pulling manifests: 404"),
            Oci("Error Codes: MANIFEST_UNKNOWN"),
            Api("Errors: failures are reported in a JSON body"),
        ],
        cases: &[
            Case {
                questions: &["manifests/malformed tag/HEAD"],
                changes: &[
                    Header("content-type", "text/plain; charset=utf-8", "application/json"),
                    Header("x-content-type-options", "nosniff", "none"),
                ],
            },
            Case {
                questions: &[
                    "manifests/malformed tag",
                    "manifests/tag with an odd letter",
                    "manifests/long tag",
                    "manifests/no reference",
                ],
                changes: &[Body(
                    "404 page not found (text/plain; charset=utf-8, nosniff)",
                    "MANIFEST_UNKNOWN (application/json)",
                )],
            },
        ],
    },
    Known {
        reason: "A malformed tag is said to be one.",
        sources: &[Oci("Pulling manifests: what a tag is"), Api("Errors: TAG_INVALID, 400")],
        cases: &[Case {
            questions: &["refuse/malformed tag", "refuse/tag with a plus", "refuse/long tag", "delete/malformed tag"],
            changes: &[
                Status("404", "400"),
                Body("404 page not found (text/plain; charset=utf-8, nosniff)", "TAG_INVALID (application/json)"),
            ],
        }],
    },
    Known {
        reason: "A location leads to what was pushed, below the prefix as everything else.",
        sources: &[Oci("Pushing Manifests, and POST then PUT: a pullable URL"), Rfc(9110, "10.2.2: Location")],
        cases: &[
            Case {
                questions: &["relative with a prefix/begin", "relative with a prefix/begin behind a proxy"],
                changes: &[Header(
                    "location",
                    "/v2/library/app/blobs/uploads/ID?_state=STATE",
                    "/hub/v2/library/app/blobs/uploads/ID?_state=STATE",
                )],
            },
            Case {
                questions: &["relative with a prefix/mount"],
                changes: &[Header("location", "/v2/team/new/blobs/sha256:*", "/hub/v2/team/new/blobs/sha256:*")],
            },
            Case {
                questions: &["relative with a prefix/push", "relative with a prefix/push behind a proxy"],
                changes: &[Header(
                    "location",
                    "/v2/library/app/manifests/sha256:*",
                    "/hub/v2/library/app/manifests/sha256:*",
                )],
            },
        ],
    },
];
