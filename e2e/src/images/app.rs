//! The application image of the demo and the tests: a web server in four layers.
//!
//! Releases share three layers; the fourth is unique to each, so deleting a tag and collecting garbage frees exactly
//! that layer, the manifest and the image's configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::{Context, build, busybox};
use crate::files::{Lock, beside};
use crate::paths::Cache;

/// Bytes of the layer that releases share.
const ASSETS_BYTES: usize = 4 << 20;
/// Bytes of the layer that is a release's own.
pub const RELEASE_BYTES: usize = 8 << 20;

/// An image on disk, as an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The reference that skopeo copies from: `oci:DIRECTORY:TAG`.
    pub source: String,
    directory: PathBuf,
}

impl App {
    /// The directory of the layout.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The size of its layers, configuration and manifest, in bytes.
    pub fn size(&self) -> Result<u64> {
        let blobs = self.directory.join("blobs/sha256");
        let mut total = 0;
        for entry in std::fs::read_dir(&blobs).with_context(|| format!("read {}", blobs.display()))? {
            total += entry?.metadata()?.len();
        }
        Ok(total)
    }
}

/// The image of a release, built if it is not in the cache.
pub fn release(cache: &Cache, tag: &str) -> Result<App> {
    let _turn = Lock::take(&cache.lock("image-app"), || ())?;
    let files = cache.images().join("app");
    let assets = filler(&files, "assets", ASSETS_BYTES)?;
    let own = filler(&files, &format!("release-{tag}"), RELEASE_BYTES)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/demo-app");
    let context = Context {
        dockerfile: source.join("Dockerfile"),
        files: vec![
            ("busybox", busybox(cache)?),
            ("index.html", source.join("index.html")),
            ("assets/data", assets),
            ("release/data", own),
        ],
    };
    let digest = context.digest()?;
    let layout = cache.images().join(format!("app-{tag}-{digest}"));
    if !layout.exists() {
        let temporary = beside(&layout);
        let name = format!("berth.dev/e2e/app:{tag}");
        build(cache, &context, &name, &format!("oci:{}:{tag}", temporary.display()))?;
        std::fs::rename(&temporary, &layout).with_context(|| format!("write {}", layout.display()))?;
    }
    Ok(App { source: format!("oci:{}:{tag}", layout.display()), directory: layout })
}

/// A file of bytes that look random, do not compress, and are the same each time.
fn filler(directory: &Path, name: &str, size: usize) -> Result<PathBuf> {
    let path = directory.join(name);
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == size as u64) {
        return Ok(path);
    }
    let context = || format!("write {}", path.display());
    std::fs::create_dir_all(directory).with_context(context)?;
    let temporary = beside(&path);
    let mut file = std::io::BufWriter::new(std::fs::File::create(&temporary).with_context(context)?);
    for block in 0..size / 32 {
        file.write_all(&Sha256::digest(format!("{name} {block}"))).with_context(context)?;
    }
    file.flush().with_context(context)?;
    std::fs::rename(&temporary, &path).with_context(context)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_is_of_its_size_and_its_own() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let a = std::fs::read(filler(temp.path(), "a", 4096).expect("written")).expect("read");
        let b = std::fs::read(filler(temp.path(), "b", 4096).expect("written")).expect("read");
        assert_eq!((a.len(), b.len()), (4096, 4096));
        assert_ne!(a, b);
    }

    #[test]
    fn filler_is_made_by_several_at_once() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        std::thread::scope(|scope| {
            let at_once = [(); 8].map(|()| scope.spawn(|| filler(temp.path(), "a", 1 << 20)));
            for one in at_once {
                let path = one.join().expect("no panic").expect("written");
                assert_eq!(std::fs::metadata(path).expect("there").len(), 1 << 20);
            }
        });
        assert_eq!(std::fs::read_dir(temp.path()).expect("read").count(), 1, "nothing is left beside it");
    }
}
