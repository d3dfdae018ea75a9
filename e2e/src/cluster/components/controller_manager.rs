//! kube-controller-manager.

use super::{Launch, Place, Ready, flags};
use crate::cluster::spec::Spec;

/// The controller manager.
pub fn launch(spec: &Spec) -> Launch {
    let args = flags([
        ("kubeconfig", spec.dir.kubeconfig("controller-manager").display().to_string()),
        ("service-account-private-key-file", spec.dir.pki("service-accounts.key").display().to_string()),
        ("root-ca-file", spec.dir.pki("ca.crt").display().to_string()),
        ("use-service-account-credentials", "true".into()),
        // Pod addresses come from the CNI configuration: one node needs no ranges handed out.
        ("controllers", "*,-node-ipam-controller".into()),
        ("bind-address", "127.0.0.1".into()),
        ("leader-elect", "false".into()),
        ("profiling", "false".into()),
    ]);
    Launch {
        name: "kube-controller-manager",
        program: spec.tools.kubernetes("kube-controller-manager"),
        args,
        env: vec![],
        files: vec![],
        place: Place::Inside,
        ready: Ready::ServiceAccount,
    }
}
