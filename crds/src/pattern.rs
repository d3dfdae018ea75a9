//! What a text of a spec must look like: for the rules of the schema, and for the operator when it validates.

/// The CEL rule that a text is of a pattern.
pub(crate) fn rule(pattern: &str) -> String {
    // In a text of CEL a backslash begins an escape.
    format!("self.matches('{}')", pattern.replace('\\', r"\\"))
}

/// The name of a Secret or ConfigMap.
pub const OBJECT_NAME: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// A key of a Secret or ConfigMap.
pub const OBJECT_KEY: &str = "^[-._a-zA-Z0-9]+$";

/// A host, by name or number, and perhaps a port.
macro_rules! host {
    () => {
        concat!(
            r"([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])",
            "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
        )
    };
}

/// An address, of which no part is a name or a password.
pub const ADDRESS: &str = concat!("^https?://", host!(), "(/[^?# ]*)?$");
/// The same without a path.
pub const HOST_ADDRESS: &str = concat!("^https?://", host!(), "/?$");
/// The address of a server of Google's: it alone is shown an identity that Google's cluster gives.
pub const GOOGLE_ADDRESS: &str = r"^https://[A-Za-z0-9._-]+\.googleapis\.com(:443)?/?$";
/// The address of what must be trusted. Its path, and perhaps a query, hold nothing that would have to be escaped.
pub const HTTPS_ADDRESS: &str =
    concat!("^https://", host!(), "(/[A-Za-z0-9._~%:@/+=&!,;-]*)?([?][A-Za-z0-9._~%:@/+=&!,;-]*)?$");
/// The same, where http:// will do.
pub const WEB_ADDRESS: &str =
    concat!("^https?://", host!(), "(/[A-Za-z0-9._~%:@/+=&!,;-]*)?([?][A-Za-z0-9._~%:@/+=&!,;-]*)?$");
/// The address of another issuer of tokens, below which its documents are: without a query.
pub const OIDC_ADDRESS: &str = concat!("^https://", host!(), "(/[A-Za-z0-9._~%:@/+=&!,;-]*)?$");
/// The address of an issuer of tokens, without a slash at its end.
pub const ISSUER_ADDRESS: &str = concat!("^https?://", host!(), "(/[A-Za-z0-9._~-]+)*$");
/// What can stand in a header.
pub const PRINTABLE: &str = "^[ -~]+$";
/// The name of a namespace.
pub const NAMESPACE: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A placeholder for what is known of whoever asks.
macro_rules! placeholder {
    () => {
        "[{][A-Za-z0-9_.-]+[}]"
    };
}
/// A pattern of names of users, groups and the like, as `berth_config::rules` reads it.
pub const NAME_PATTERN: &str = concat!("^([^{}]|", placeholder!(), ")+$");
/// What a pattern of names of repositories is made of. [`NO_REPOSITORY_PATTERN`] has what it must not hold besides: one expression
/// of both would cost more than the API server spends on a list of lists.
pub const REPOSITORY_PATTERN: &str = concat!("^([a-z0-9._*/-]|", placeholder!(), ")+$");
/// The same without placeholders.
pub const FIXED_REPOSITORY_PATTERN: &str = "^[a-z0-9._*/-]+$";
/// What no pattern of names of repositories holds: an empty component, one with a separator at an end, as `..` has, and two
/// stars beside something else.
pub const NO_REPOSITORY_PATTERN: &str = "(^|/)[._/-]|[._/-](/|$)|[^/][*][*]|[*][*][^/]";
/// The name of a domain.
pub const DOMAIN: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// The name of a bucket.
pub const BUCKET: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
/// The name of a region.
pub const REGION: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";
/// A path in a bucket. No part begins with a dot, so that none of them is `..`.
pub const ROOT_DIRECTORY: &str = "^/?[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$";

/// A bucket at Alibaba.
pub const OSS_BUCKET: &str = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$";
/// A role at Alibaba.
pub const OSS_ROLE: &str = "^[A-Za-z0-9._-]+$";
/// A storage class of Amazon S3.
pub const S3_STORAGE_CLASS: &str = "^[A-Z][A-Z0-9_]*$";
/// A role at Amazon.
pub const S3_ROLE: &str = "^arn:[a-z0-9-]+:iam::[0-9]+:role/[^ ]+$";
/// A storage account at Azure.
pub const AZURE_ACCOUNT: &str = "^[a-z0-9]+$";
/// A container at Azure.
pub const AZURE_CONTAINER: &str = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?|[$]root)$";
/// An id at Azure: a UUID, and of a directory also a name such as acme.onmicrosoft.com.
pub const AZURE_ID: &str = "^[A-Za-z0-9.-]+$";
/// The address of a service account of Google's.
pub const GCS_ACCOUNT: &str = "^[a-z0-9-]+@[a-z0-9.-]+$";
/// A container of Swift.
pub const SWIFT_CONTAINER: &str = "^[^/ ]+$";
