//! kube-scheduler.

use super::{Launch, Place, Ready, flags};
use crate::cluster::spec::Spec;

/// The scheduler.
pub fn launch(spec: &Spec) -> Launch {
    let args = flags([
        ("kubeconfig", spec.dir.kubeconfig("scheduler").display().to_string()),
        ("bind-address", "127.0.0.1".into()),
        ("leader-elect", "false".into()),
        ("profiling", "false".into()),
    ]);
    Launch {
        name: "kube-scheduler",
        program: spec.tools.kubernetes("kube-scheduler"),
        args,
        env: vec![],
        files: vec![],
        place: Place::Inside,
        ready: Ready::Running,
    }
}
