//! The volume provisioner.

use super::{Launch, Place, Ready};
use crate::cluster::spec::Spec;

/// This program, making directories for volume claims.
pub fn launch(spec: &Spec) -> Launch {
    Launch {
        name: "provisioner",
        program: spec.program.clone(),
        args: vec![
            "internal".into(),
            "provisioner".into(),
            "--directory".into(),
            spec.dir.volumes().display().to_string(),
        ],
        env: vec![("KUBECONFIG", spec.dir.kubeconfig("provisioner").display().to_string())],
        files: vec![],
        place: Place::Inside,
        ready: Ready::Running,
    }
}
