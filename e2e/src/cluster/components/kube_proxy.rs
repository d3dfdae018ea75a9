//! kube-proxy, which makes Service addresses reachable.

use serde_json::json;

use super::{Launch, Place, Ready, flags};
use crate::cluster::spec::{NODE, POD_CIDR, Spec};

/// kube-proxy with iptables; its rules live and die with the network namespace.
pub fn launch(spec: &Spec) -> Launch {
    let config = spec.dir.join("kube-proxy.json");
    Launch {
        name: "kube-proxy",
        program: spec.tools.kubernetes("kube-proxy"),
        args: flags([("config", config.display().to_string())]),
        env: vec![],
        files: vec![(config, settings(spec))],
        place: Place::Inside,
        ready: Ready::Http { port: 10256, path: "/healthz" },
    }
}

fn settings(spec: &Spec) -> String {
    let value = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": spec.dir.kubeconfig("kube-proxy").display().to_string()},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "clusterCIDR": POD_CIDR,
        // Pods share one bridge: unless the answer passes the node, it carries the wrong sender.
        "iptables": {"masqueradeAll": true, "minSyncPeriod": "100ms"},
        // Those sysctls belong to the machine, not to the namespace.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    format!("{value:#}\n")
}
