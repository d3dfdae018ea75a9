//! containerd, with the CNI configuration that pods get their addresses from.

use serde_json::json;

use super::{Launch, Place, Ready};
use crate::cluster::spec::{BRIDGE, PAUSE_IMAGE, POD_CIDR, Spec};

/// containerd and runc from Debian.
pub fn launch(spec: &Spec) -> Launch {
    let config = spec.dir.join("containerd.toml");
    Launch {
        name: "containerd",
        program: "/usr/bin/containerd".into(),
        args: vec!["--config".into(), config.display().to_string()],
        // The resolver written in Go reads the namespace's resolv.conf and no other source.
        env: vec![("GODEBUG", "netdns=go".into())],
        files: vec![(config, settings(spec)), (spec.dir.join("cni/10-berth.conflist"), cni(spec))],
        place: Place::Inside,
        ready: Ready::Socket(spec.dir.containerd_socket()),
    }
}

fn settings(spec: &Spec) -> String {
    let socket = spec.dir.containerd_socket();
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a negative oom_score_adj is refused, and runc dies of it.
  restrict_oom_score_adj = true
  # Pods' network namespaces vanish with the mount namespace instead of staying in /run/netns.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    # Read at each pull: certs.d/HOST:PORT/hosts.toml names plain HTTP or an own authority.
    config_path = "{certs}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        root = spec.path("containerd/root"),
        state = spec.path("containerd/state"),
        socket = socket.display(),
        cni = spec.path("cni"),
        certs = spec.dir.certs_d().display(),
    )
}

fn cni(spec: &Spec) -> String {
    let value = json!({
        "cniVersion": "1.0.0",
        "name": "berth",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": spec.path("cni-leases"),
                    "ranges": [[{"subnet": POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{value:#}\n")
}
