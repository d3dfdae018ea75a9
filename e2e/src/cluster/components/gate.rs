//! The outer half of the gate: the API on a loopback port outside the namespace.

use super::{Launch, Place, Ready};
use crate::cluster::spec::{API_PORT, Spec};

/// This program, forwarding to the API inside.
pub fn launch(spec: &Spec) -> Launch {
    Launch {
        name: "gate",
        program: spec.program.clone(),
        args: [
            "internal".into(),
            "forward".into(),
            format!("127.0.0.1:{}", spec.gate_port),
            spec.dir.gate_socket().display().to_string(),
            format!("127.0.0.1:{API_PORT}"),
        ]
        .into(),
        env: vec![],
        files: vec![],
        place: Place::Outside,
        ready: Ready::Api,
    }
}
