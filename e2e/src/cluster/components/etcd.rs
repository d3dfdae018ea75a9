//! etcd, which keeps the API's objects.

use super::{Launch, Place, Ready, flags};
use crate::cluster::spec::Spec;

/// The client port.
pub const PORT: u16 = 2379;

/// etcd from Debian.
pub fn launch(spec: &Spec) -> Launch {
    let client = format!("http://127.0.0.1:{PORT}");
    let mut args = flags([
        ("name", "node".into()),
        ("data-dir", spec.path("etcd")),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", "http://127.0.0.1:2380".into()),
        ("initial-advertise-peer-urls", "http://127.0.0.1:2380".into()),
        ("initial-cluster", "node=http://127.0.0.1:2380".into()),
        ("log-level", "warn".into()),
        ("logger", "zap".into()),
    ]);
    // A test cluster need not survive the machine.
    args.push("--unsafe-no-fsync".into());
    Launch {
        name: "etcd",
        program: "/usr/bin/etcd".into(),
        args,
        env: vec![],
        files: vec![],
        place: Place::Inside,
        ready: Ready::Http { port: PORT, path: "/health" },
    }
}
