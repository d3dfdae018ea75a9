//! What is served: an image of two layers, one of 1 KiB and one of 64 MiB, and what is pushed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::load;
use super::report::Work;

/// The repository.
pub(super) const NAME: &str = "library/app";
const TAG: &str = "v1";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const SMALL_BYTES: usize = 1024;
const LARGE_BYTES: usize = 64 << 20;
/// The length of a pushed blob in bytes.
pub(super) const PUSHED_BYTES: usize = 256 << 20;

/// The image.
#[derive(Debug)]
pub(super) struct Content {
    config: Vec<u8>,
    small: Vec<u8>,
    large: Vec<u8>,
    manifest: Vec<u8>,
}

/// A blob that no server has yet.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) content: Vec<u8>,
    pub(super) digest: String,
}

impl Content {
    pub(super) fn new() -> Self {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
        let (small, large) = (noise(1, SMALL_BYTES), noise(2, LARGE_BYTES));
        let descriptor = |media_type: &str, content: &[u8]| serde_json::json!({"mediaType": media_type, "digest": digest(content), "size": content.len()});
        let layer = |content| descriptor("application/vnd.oci.image.layer.v1.tar", content);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [layer(&small), layer(&large)],
        });
        Self { config, small, large, manifest: manifest.to_string().into_bytes() }
    }

    /// Pushes the image.
    pub(super) fn push(&self, address: SocketAddr) -> Result<()> {
        for blob in [&self.config, &self.small, &self.large] {
            load::push_blob(address, blob, &digest(blob))?;
        }
        let path = format!("/v2/{NAME}/manifests/{TAG}");
        load::put(address, &path, IMAGE, &self.manifest).map(drop)
    }

    /// Where the content of a kind of work is.
    pub(super) fn path(&self, work: Work) -> String {
        match work {
            Work::ManifestByTag => format!("/v2/{NAME}/manifests/{TAG}"),
            Work::ManifestByDigest => format!("/v2/{NAME}/manifests/{}", digest(&self.manifest)),
            Work::SmallBlob => format!("/v2/{NAME}/blobs/{}", digest(&self.small)),
            Work::LargeBlob => format!("/v2/{NAME}/blobs/{}", digest(&self.large)),
            Work::Push => format!("/v2/{NAME}/blobs/uploads/"),
        }
    }

    /// Writes the same bytes to the same paths below a directory, for a server of plain files.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let files = [
            (Work::ManifestByTag, &self.manifest),
            (Work::ManifestByDigest, &self.manifest),
            (Work::SmallBlob, &self.small),
            (Work::LargeBlob, &self.large),
        ];
        for (work, content) in files {
            let path = root.join(self.path(work).trim_start_matches('/'));
            let parent = path.parent().context("a path below the root")?;
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Another blob in every round.
    pub(super) fn fresh(&self, round: usize) -> Fresh {
        let mut content = self.large.repeat(PUSHED_BYTES / LARGE_BYTES);
        content[..8].copy_from_slice(&(round as u64 + 1).to_le_bytes());
        let digest = digest(&content);
        Fresh { content, digest }
    }

    /// A file as long as what is pushed.
    pub(super) fn file(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("pushed");
        if !path.exists() {
            let content = self.large.repeat(PUSHED_BYTES / LARGE_BYTES);
            std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(path)
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// Bytes that no file system can make smaller: a hash over a counter.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes + 32);
    for block in 0_u64.. {
        if noise.len() >= bytes {
            break;
        }
        noise.extend_from_slice(&Sha256::digest([seed.to_le_bytes(), block.to_le_bytes()].concat()));
    }
    noise.truncate(bytes);
    noise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_as_long_as_asked_and_never_the_same() {
        assert_eq!(noise(1, 100).len(), 100);
        assert_eq!(noise(1, 100), noise(1, 100));
        assert_ne!(noise(1, 32), noise(2, 32));
    }
}
