//! The kubelet.

use serde_json::json;

use super::{Launch, Place, Ready, flags};
use crate::cluster::spec::{CLUSTER_DOMAIN, DNS_SERVICE_IP, NODE, NODE_IP, Spec};

/// The kubelet of the one node.
pub fn launch(spec: &Spec) -> Launch {
    let config = spec.dir.join("kubelet.json");
    let args = flags([
        ("config", config.display().to_string()),
        ("kubeconfig", spec.dir.kubeconfig("kubelet").display().to_string()),
        ("hostname-override", NODE.into()),
        ("node-ip", NODE_IP.to_string()),
        ("root-dir", spec.path("kubelet")),
    ]);
    Launch {
        name: "kubelet",
        program: spec.tools.kubernetes("kubelet"),
        args,
        env: vec![],
        files: vec![(config, settings(spec))],
        place: Place::Inside,
        ready: Ready::Node,
    }
}

fn settings(spec: &Spec) -> String {
    let pki = |file: &str| spec.dir.pki(file).display().to_string();
    let value = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki("kubelet.crt"),
        "tlsPrivateKeyFile": pki("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", spec.dir.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        // Two clusters on one machine must not tidy up each other's pods.
        "cgroupRoot": format!("/{}", spec.cgroup()),
        // Kubernetes 1.34 is the last that starts on version 1 of control groups.
        "failCgroupV1": false,
        "failSwapOn": false,
        // Lowering it needs CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        "clusterDNS": [DNS_SERVICE_IP.to_string()],
        "clusterDomain": CLUSTER_DOMAIN,
        // The host's resolver cannot be reached from the namespace.
        "resolvConf": "",
        "podLogsDir": spec.path("pod-logs"),
        "volumePluginDir": spec.path("kubelet/volume-plugins"),
        "readOnlyPort": 0,
        "serializeImagePulls": false,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        // Nothing can be pulled again from outside.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // Secrets and ConfigMaps reach running pods within seconds, so that tests of it are quick.
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    });
    format!("{value:#}\n")
}
