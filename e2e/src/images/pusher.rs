//! crane and a shell, for Jobs that push.

use std::path::Path;

use anyhow::Result;

use super::{Context, archive, busybox, import};
use crate::cluster::Cluster;
use crate::files::Lock;
use crate::paths::Cache;
use crate::tools::{self, CRANE};

/// The name of the image in the cluster.
pub const IMAGE: &str = "berth.dev/e2e/pusher:1";

/// Puts the image into the cluster, unless it is there.
pub fn load(cluster: &Cluster) -> Result<()> {
    let cache = Cache::from_env()?;
    let crane = tools::ensure(&cache, &[CRANE])?.program(&CRANE);
    let _turn = Lock::take(&cache.lock("image-pusher"), || ())?;
    let context = Context {
        dockerfile: Path::new(env!("CARGO_MANIFEST_DIR")).join("images/pusher/Dockerfile"),
        files: vec![("busybox", busybox(&cache)?), ("crane", crane)],
    };
    let (archive, digest) = archive(&cache, &context, IMAGE)?;
    import(cluster, IMAGE, &archive, &digest).map(drop)
}
