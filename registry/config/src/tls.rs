//! `http.tls`: the certificate of the registry, and what is asked of clients.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `http.tls`. A configuration that has it names either both files or `letsencrypt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate and its chain (PEM). It is read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that sign clients' certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clientcas: Vec<PathBuf>,
    /// What is asked of a client's certificate; it stands beside `clientcas`. Unset: `require-and-verify-client-cert`
    /// where `clientcas` is set, and nothing where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clientauth: Option<ClientAuth>,
    /// The oldest version of TLS that is spoken.
    pub minimumtls: TlsVersion,
    /// The cipher suites of TLS 1.2, by their IANA names; empty for every safe one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ciphersuites: Vec<String>,
    /// A certificate by the ACME protocol, in place of the two files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letsencrypt: Option<LetsEncrypt>,
}

/// `http.tls.clientauth`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// A certificate is asked for, and none is needed or checked.
    RequestClientCert,
    /// A certificate is needed, and not checked.
    RequireAnyClientCert,
    /// A certificate is checked if there is one.
    VerifyClientCertIfGiven,
    /// The default: a certificate is needed and checked.
    #[default]
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    /// The name as the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestClientCert => "request-client-cert",
            Self::RequireAnyClientCert => "require-any-client-cert",
            Self::VerifyClientCertIfGiven => "verify-client-cert-if-given",
            Self::RequireAndVerifyClientCert => "require-and-verify-client-cert",
        }
    }
}

/// `http.tls.minimumtls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum TlsVersion {
    /// The default. `tls1.0` and `tls1.1`, which docker-registry 2.8 had, are read as this: nothing older is spoken.
    #[default]
    #[serde(rename = "tls1.2", alias = "tls1.0", alias = "tls1.1")]
    Tls12,
    /// Nothing but TLS 1.3.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// `http.tls.letsencrypt`: a certificate by the ACME protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LetsEncrypt {
    /// The directory where account, certificates and keys are kept.
    pub cachefile: PathBuf,
    /// The address that the authority may write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The host names to get a certificate for.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The authority's directory; Let's Encrypt's own if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directoryurl: Option<String>,
    /// Berth's own: certificates (PEM) of the authorities that sign the certificate of the directory itself, which are
    /// trusted beside those of the system. Unset: only those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directoryca: Option<PathBuf>,
}
