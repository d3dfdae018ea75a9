//! kube-apiserver.

use super::{Launch, Place, Ready, etcd, flags};
use crate::cluster::spec::{API_PORT, CLUSTER_DOMAIN, NODE_IP, SERVICE_CIDR, Spec};

/// The API server; Pod Security admission is on, as it is by default.
pub fn launch(spec: &Spec) -> Launch {
    let pki = |file: &str| spec.dir.pki(file).display().to_string();
    let args = flags([
        ("etcd-servers", format!("http://127.0.0.1:{}", etcd::PORT)),
        ("bind-address", "0.0.0.0".into()),
        ("secure-port", API_PORT.to_string()),
        // The address that pods reach the API at.
        ("advertise-address", NODE_IP.to_string()),
        ("service-cluster-ip-range", SERVICE_CIDR.into()),
        ("authorization-mode", "Node,RBAC".into()),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("client-ca-file", pki("ca.crt")),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("service-account-issuer", format!("https://kubernetes.default.svc.{CLUSTER_DOMAIN}")),
        ("service-account-key-file", pki("service-accounts.pub")),
        ("service-account-signing-key-file", pki("service-accounts.key")),
        ("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        ("kubelet-certificate-authority", pki("ca.crt")),
        // Exec and logs find the node by its address: nothing resolves its name.
        ("kubelet-preferred-address-types", "InternalIP".into()),
        ("allow-privileged", "true".into()),
        ("profiling", "false".into()),
    ]);
    Launch {
        name: "kube-apiserver",
        program: spec.tools.kubernetes("kube-apiserver"),
        args,
        env: vec![],
        files: vec![],
        place: Place::Inside,
        ready: Ready::Running,
    }
}
