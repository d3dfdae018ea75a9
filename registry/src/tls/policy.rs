//! What is spoken and asked of clients: from the names in the configuration to what rustls knows. Nothing here reads a
//! file.

use std::sync::Arc;

use berth_config::{ClientAuth, Tls as Settings, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ALL_VERSIONS, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::error::TlsError;

/// HTTP/2 and HTTP/1.1 as they are named during the handshake (RFC 7301).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

static TLS_13: [&SupportedProtocolVersion; 1] = [&version::TLS13];

/// The versions, suites and protocols that a server offers, and what it asks of a client's certificate.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) protocols: Vec<Vec<u8>>,
    pub(crate) client_auth: ClientAuth,
}

impl Policy {
    /// What the configuration asks for; `http2` is whether HTTP/2 is offered.
    pub(crate) fn new(settings: &Settings, http2: bool) -> Result<Policy, TlsError> {
        let cipher_suites = suites(&settings.ciphersuites)?;
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        let versions = match settings.minimumtls {
            TlsVersion::Tls12 => ALL_VERSIONS,
            TlsVersion::Tls13 => &TLS_13,
        };
        let mut protocols = vec![ALPN_HTTP1.to_vec()];
        if http2 {
            protocols.insert(0, ALPN_HTTP2.to_vec());
        }
        let policy = Policy {
            provider: Arc::new(provider),
            versions,
            protocols,
            client_auth: settings.clientauth.unwrap_or_default(),
        };
        // Said at the start, and not when the first file is read.
        let builder = ServerConfig::builder_with_provider(policy.provider.clone());
        builder.with_protocol_versions(policy.versions).map_err(TlsError::Versions)?;
        Ok(policy)
    }
}

/// The suites of these names; no name means all. The suites of TLS 1.3 are always there, as in Distribution.
fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES;
    let is_13 = |suite: &&SupportedCipherSuite| suite.tls13().is_some();
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen: Vec<_> = all.iter().filter(is_13).copied().collect();
    for name in names {
        match all.iter().find(|suite| suite_name(suite) == *name) {
            Some(suite) if is_13(&suite) => {}
            Some(suite) => chosen.push(*suite),
            None => {
                let known: Vec<String> = all.iter().map(suite_name).collect();
                let (name, reason) = (name.clone(), why_not(name));
                return Err(TlsError::Suite { name, reason, known: known.join(", ") });
            }
        }
    }
    Ok(chosen)
}

/// The name that IANA and Distribution give a suite; rustls calls those of TLS 1.3 otherwise.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// Why a suite that Distribution can be told to use is not used here.
fn why_not(name: &str) -> &'static str {
    if name.contains("_CBC_") || name.contains("_RC4_") || name.contains("_3DES_") {
        "its cipher is broken"
    } else if name.starts_with("TLS_RSA_") {
        "it has no forward secrecy"
    } else {
        "which is the name of none"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let found = suites(&names).unwrap();
        let found: Vec<String> = found.iter().map(suite_name).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn suites_by_the_names_of_distribution() {
        let always = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
        check(&["TLS_AES_256_GCM_SHA384"], &always);
        let (rsa, ecdsa) = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        check(&[rsa, always[1], ecdsa], &[always[0], always[1], always[2], rsa, ecdsa]);
        assert_eq!(suites(&[]).unwrap().len(), 9);
        // What Distribution offers by default can be listed as it stands there.
        for name in [
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ] {
            assert_eq!(suite_name(&suites(&[name.into()]).unwrap()[3]), name);
        }
    }

    #[test]
    fn a_suite_that_is_not_offered_is_named_with_the_reason() {
        for (name, reason) in [
            ("TLS_RSA_WITH_AES_128_CBC_SHA", "its cipher is broken"),
            ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", "its cipher is broken"),
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", "it has no forward secrecy"),
            ("TLS_MADE_UP", "which is the name of none"),
        ] {
            let error = suites(&[name.into()]).unwrap_err().to_string();
            let expected = format!("http.tls.ciphersuites: {name} is not offered, {reason}; known are TLS_AES_256");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn http2_is_offered_first_or_not_at_all() {
        let policy = |http2| Policy::new(&Settings::default(), http2).unwrap().protocols;
        assert_eq!(policy(true), [ALPN_HTTP2, ALPN_HTTP1]);
        assert_eq!(policy(false), [ALPN_HTTP1]);
    }

    #[test]
    fn the_oldest_version() {
        let count =
            |minimumtls| Policy::new(&Settings { minimumtls, ..Settings::default() }, true).unwrap().versions.len();
        assert_eq!((count(TlsVersion::Tls12), count(TlsVersion::Tls13)), (2, 1));
    }
}
