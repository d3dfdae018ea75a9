//! Questions that change nothing: the base, listings, and names of all kinds.

use anyhow::Result;

use crate::http::Question;
use crate::interview::Interview;

/// Digests of nothing that is stored.
pub(super) const UNKNOWN: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000ff";

pub(super) async fn all(to: &mut Interview) -> Result<()> {
    base(to).await?;
    catalog(to).await?;
    tags(to).await?;
    names(to).await
}

pub(super) async fn get(to: &mut Interview, section: &str, table: &[(&str, &str)]) -> Result<()> {
    for (name, target) in table {
        to.ask(format!("{section}/{name}"), Question::get(*target)).await?;
    }
    Ok(())
}

pub(super) async fn methods(to: &mut Interview, section: &str, target: &str, methods: &[&str]) -> Result<()> {
    for method in methods {
        to.ask(format!("{section}/{method}"), Question::new(method, target)).await?;
    }
    Ok(())
}

async fn base(to: &mut Interview) -> Result<()> {
    get(
        to,
        "base",
        &[
            ("root", "/"),
            ("v2", "/v2/"),
            ("v2 without a slash", "/v2"),
            ("v2 with a query", "/v2/?a=b"),
            ("v1", "/v1/"),
            ("v1 ping", "/v1/_ping"),
            ("v1 search", "/v1/search?q=app"),
            ("v1 users", "/v1/users/"),
            ("v1 images", "/v1/repositories/library/app/images"),
            ("v1 tags", "/v1/repositories/library/app/tags"),
            ("v1 layer", "/v1/images/0123456789ab/json"),
            ("v1 without a slash", "/v1"),
            ("ping", "/_ping"),
            ("v2 ping", "/v2/_ping"),
            ("v3", "/v3/"),
            ("no such path", "/favicon.ico"),
            ("no such path below v2", "/v2/nothing"),
            ("no such path of a repository", "/v2/library/app/nothing/here"),
            ("two slashes", "//v2/"),
            ("a repository alone", "/v2/library/app/"),
            ("dots", "/v2/../v2/_catalog"),
        ],
    )
    .await?;
    methods(to, "base/root", "/", &["HEAD", "POST", "OPTIONS"]).await?;
    methods(to, "base/v2", "/v2/", &["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"]).await?;
    methods(to, "base/v2 without a slash", "/v2", &["HEAD", "POST"]).await?;
    methods(to, "base/v1 users", "/v1/users/", &["HEAD", "POST"]).await?;
    methods(to, "base/v1 image", "/v1/repositories/library/app/", &["PUT", "DELETE"]).await?;
    methods(to, "base/no such path", "/favicon.ico", &["HEAD", "POST", "OPTIONS"]).await?;
    methods(to, "base/a repository alone", "/v2/library/app/", &["HEAD", "POST", "PUT"]).await
}

async fn catalog(to: &mut Interview) -> Result<()> {
    get(
        to,
        "catalog",
        &[
            ("all", "/v2/_catalog"),
            ("first page", "/v2/_catalog?n=2"),
            ("next page", "/v2/_catalog?n=2&last=a-b"),
            ("next page of a nested name", "/v2/_catalog?n=3&last=a%2Fb"),
            ("behind what is not there", "/v2/_catalog?n=2&last=azzz"),
            ("behind the end", "/v2/_catalog?n=2&last=zzz"),
            ("last without n", "/v2/_catalog?last=legacy"),
            ("as many as there are", "/v2/_catalog?n=1000"),
            ("n is nothing", "/v2/_catalog?n="),
            ("n is zero", "/v2/_catalog?n=0"),
            ("n is negative", "/v2/_catalog?n=-1"),
            ("n is no number", "/v2/_catalog?n=many"),
            ("n is a fraction", "/v2/_catalog?n=1.5"),
            ("n is above the maximum", "/v2/_catalog?n=1001"),
            ("n is beyond numbers", "/v2/_catalog?n=99999999999999999999"),
            ("n is one", "/v2/_catalog?n=1"),
            ("n is the maximum", "/v2/_catalog?n=1000&last=multi"),
            ("n with a plus", "/v2/_catalog?n=%2B2&last=multi"),
            ("n with a zero in front", "/v2/_catalog?n=02&last=multi"),
            ("n with a space", "/v2/_catalog?n=%202"),
            ("n is hexadecimal", "/v2/_catalog?n=0x2"),
            ("n is above 32 bits", "/v2/_catalog?n=4294967297"),
            ("n twice", "/v2/_catalog?n=1&n=2&last=multi"),
            ("last twice", "/v2/_catalog?n=1&last=multi&last=a"),
            ("last is nothing", "/v2/_catalog?n=1&last="),
            ("last is no name", "/v2/_catalog?n=1&last=_%2F%2F"),
            ("last of upper case", "/v2/_catalog?n=1&last=TEAM"),
            ("a query that is none", "/v2/_catalog?n=1&%zz"),
            ("a slash behind", "/v2/_catalog/"),
        ],
    )
    .await?;
    methods(to, "catalog", "/v2/_catalog", &["HEAD", "POST", "DELETE", "OPTIONS", "FOO"]).await?;
    methods(to, "catalog/n is no number", "/v2/_catalog?n=many", &["HEAD"]).await
}

async fn tags(to: &mut Interview) -> Result<()> {
    get(
        to,
        "tags",
        &[
            ("all", "/v2/library/app/tags/list"),
            ("of a nested name", "/v2/nested/very/deeply/in/the/tree/tags/list"),
            ("first page", "/v2/library/app/tags/list?n=2"),
            ("next page", "/v2/library/app/tags/list?n=2&last=note"),
            ("last page", "/v2/library/app/tags/list?n=2&last=v1"),
            ("exactly all", "/v2/library/app/tags/list?n=5"),
            ("behind what is not there", "/v2/library/app/tags/list?n=1&last=u"),
            ("behind the end", "/v2/library/app/tags/list?n=2&last=zzz"),
            ("last without n", "/v2/library/app/tags/list?last=note"),
            ("n is nothing", "/v2/library/app/tags/list?n="),
            ("n is zero", "/v2/library/app/tags/list?n=0"),
            ("n is negative", "/v2/library/app/tags/list?n=-1"),
            ("n is no number", "/v2/library/app/tags/list?n=many"),
            ("n is above the maximum", "/v2/library/app/tags/list?n=100000"),
            ("n is beyond numbers", "/v2/library/app/tags/list?n=99999999999999999999"),
            ("another query", "/v2/library/app/tags/list?x=y&n=1"),
            ("of an unknown repository", "/v2/no/such/tags/list"),
            ("of an emptied repository", "/v2/emptied/tags/list"),
            ("of uploads alone", "/v2/uploads/only/tags/list"),
            ("of a parent", "/v2/nested/very/tags/list"),
            ("a page of an unknown repository", "/v2/no/such/tags/list?n=1"),
            ("zero of an unknown repository", "/v2/no/such/tags/list?n=0"),
            ("n is one", "/v2/library/app/tags/list?n=1"),
            ("n is the maximum", "/v2/library/app/tags/list?n=1000"),
            ("n is above the maximum by one", "/v2/library/app/tags/list?n=1001"),
            ("one more than there are", "/v2/library/app/tags/list?n=6"),
            ("n with a plus", "/v2/library/app/tags/list?n=%2B2&last=note"),
            ("n with a zero in front", "/v2/library/app/tags/list?n=02&last=v1"),
            ("n with a space", "/v2/library/app/tags/list?n=%202"),
            ("n is hexadecimal", "/v2/library/app/tags/list?n=0x2"),
            ("n twice", "/v2/library/app/tags/list?n=9&n=1"),
            ("last is nothing", "/v2/library/app/tags/list?n=9&last="),
            ("last is no tag", "/v2/library/app/tags/list?n=9&last=.%2F"),
            ("last of upper case", "/v2/library/app/tags/list?n=9&last=V1"),
            ("zero behind a tag", "/v2/library/app/tags/list?n=0&last=v1"),
            ("a slash behind", "/v2/library/app/tags/list/"),
        ],
    )
    .await?;
    methods(to, "tags", "/v2/library/app/tags/list", &["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"]).await?;
    methods(to, "tags/of an unknown repository", "/v2/no/such/tags/list", &["HEAD", "POST"]).await
}

async fn names(to: &mut Interview) -> Result<()> {
    get(
        to,
        "names",
        &[
            ("upper case", "/v2/Library/app/tags/list"),
            ("two slashes", "/v2/library//app/tags/list"),
            ("dots", "/v2/library/../app/tags/list"),
            ("encoded slash", "/v2/library%2Fapp/tags/list"),
            ("encoded dots", "/v2/library%2F..%2Fapp/tags/list"),
            ("underscore in front", "/v2/_library/tags/list"),
            ("dash at the end", "/v2/library-/tags/list"),
            ("three underscores", "/v2/a___b/tags/list"),
            ("two underscores", "/v2/a__b/tags/list"),
            ("two dashes", "/v2/a--b/tags/list"),
            ("two dots", "/v2/a..b/tags/list"),
            ("too long", &format!("/v2/{}/tags/list", "x/".repeat(128) + "x")),
            ("far too long", &format!("/v2/{}/tags/list", "x/".repeat(400) + "x")),
            ("as long as may be", &format!("/v2/{}/tags/list", "x/".repeat(127) + "x")),
            ("no UTF-8", "/v2/%ff/tags/list"),
            ("a zero byte", "/v2/a%00b/tags/list"),
            ("a space", "/v2/a%20b/tags/list"),
            ("of a route", "/v2/tags/list/tags/list"),
            ("of a manifest", "/v2/Library/app/manifests/v1"),
            ("of a blob", &format!("/v2/Library/app/blobs/{UNKNOWN}")),
            ("dots that are encoded", "/v2/library/%2e%2e/app/tags/list"),
        ],
    )
    .await?;
    methods(to, "names/upper case", "/v2/Library/app/tags/list", &["HEAD", "POST"]).await?;
    methods(to, "names/two slashes", "/v2/library//app/manifests/v1", &["HEAD", "PUT", "DELETE"]).await
}
