//! CoreDNS, which runs on the node behind the Service `kube-system/kube-dns`.

use super::{Launch, Place, Ready};
use crate::cluster::spec::{CLUSTER_DOMAIN, NODE_IP, Spec};

/// The port that tells whether the zone has been loaded.
const READY_PORT: u16 = 8181;

/// CoreDNS; names outside the cluster do not exist, since nothing outside can be reached.
pub fn launch(spec: &Spec) -> Launch {
    let config = spec.dir.join("Corefile");
    let corefile = format!(
        ".:53 {{
    bind {NODE_IP}
    errors
    ready 127.0.0.1:{READY_PORT}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods verified
        ttl 5
    }}
    cache 5
}}
",
        kubeconfig = spec.dir.kubeconfig("coredns").display(),
    );
    Launch {
        name: "coredns",
        program: spec.tools.coredns(),
        args: vec!["-conf".into(), config.display().to_string()],
        env: vec![],
        files: vec![(config, corefile)],
        place: Place::Inside,
        ready: Ready::Http { port: READY_PORT, path: "/ready" },
    }
}
