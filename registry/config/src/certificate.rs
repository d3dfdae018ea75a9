//! `auth.certificate`: the certificates of clients as who asks.

use serde::{Deserialize, Serialize};

use crate::Method;

/// `auth.certificate`. It stands beside any method, or alone, and needs `http.tls.clientcas` and a `clientauth` that verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Certificate {
    /// What of the certificate is the name: `commonname` of the subject, or the one `uri`, `dns` or `email` among the
    /// alternative names of the subject.
    pub name: CertificateName,
    /// What of the certificate's subject are groups of whoever shows it.
    pub groups: CertificateGroups,
    /// What stands in front of the name and of the groups. Unset: `cert:` beside a method, whose users are somebody else (the
    /// name of a user of `htpasswd` has no colon), and nothing where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

impl Certificate {
    /// What stands in front of names, beside this method.
    #[must_use]
    pub fn prefix_beside(&self, method: Option<&Method>) -> &str {
        self.prefix.as_deref().unwrap_or(if method.is_some() { "cert:" } else { "" })
    }
}

/// `auth.certificate.name`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CertificateName {
    /// The default: the common name of the subject.
    #[default]
    CommonName,
    /// The URI among the alternative names, such as a SPIFFE ID.
    Uri,
    /// The host name among them.
    Dns,
    /// The address of mail among them.
    Email,
}

/// `auth.certificate.groups`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CertificateGroups {
    /// The default: the organizational units.
    #[default]
    OrganizationalUnit,
    /// The organizations, as Kubernetes takes them.
    Organization,
    /// There are none.
    None,
}
