//! Kubeconfig files, as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// The parts of a kubeconfig; certificates and the key are PEM.
#[derive(Debug, Clone, Copy)]
pub struct Kubeconfig<'a> {
    /// The cluster's name, which is also the context's.
    pub cluster: &'a str,
    /// The API's address.
    pub server: &'a str,
    /// The user's name.
    pub user: &'a str,
    /// The authority that signed the API's certificate.
    pub authority: &'a [u8],
    /// The user's certificate.
    pub certificate: &'a [u8],
    /// The user's key.
    pub key: &'a [u8],
}

/// The file's content: JSON, which every reader of YAML takes.
pub fn render(config: &Kubeconfig<'_>) -> String {
    let Kubeconfig { cluster, server, user, authority, certificate, key } = config;
    let value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_reads_it_back() {
        let text = render(&Kubeconfig {
            cluster: "berth",
            server: "https://127.0.0.1:16443",
            user: "admin",
            authority: b"ca",
            certificate: b"crt",
            key: b"key",
        });
        let parsed = kube::config::Kubeconfig::from_yaml(&text).expect("valid");
        assert_eq!(parsed.current_context.as_deref(), Some("berth"));
        let cluster = parsed.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:16443"));
    }
}
