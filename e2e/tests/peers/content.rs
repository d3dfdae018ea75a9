//! Images, indexes and artifacts that are the same bytes each time.

use hyper::body::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// The media types of manifests.
pub(crate) mod kind {
    pub(crate) const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
}

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
}

impl Blob {
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: sha256(&bytes), bytes }
    }

    /// Bytes that look random.
    pub(crate) fn random(seed: &str, size: usize) -> Self {
        let blocks = (0..size.div_ceil(32)).flat_map(|block| Sha256::digest(format!("{seed} {block}")));
        Self::of(blocks.take(size).collect::<Vec<u8>>())
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// A manifest, and what must be there before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) media_type: &'static str,
    pub(crate) content: Blob,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) children: Vec<Manifest>,
}

impl Manifest {
    fn new(media_type: &'static str, value: &Value) -> Self {
        Self { media_type, content: Blob::of(value.to_string()), blobs: Vec::new(), children: Vec::new() }
    }

    pub(crate) fn digest(&self) -> &str {
        &self.content.digest
    }

    pub(crate) fn descriptor(&self) -> Value {
        self.content.descriptor(self.media_type)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub(crate) fn sha384(bytes: &[u8]) -> String {
    format!("sha384:{}", hex::encode(Sha384::digest(bytes)))
}

pub(crate) fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// A configuration for a platform.
fn config(seed: &str, architecture: &str) -> Blob {
    let value = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"seed": seed}},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    Blob::of(value.to_string())
}

/// An OCI image of two layers, the second of which has no bytes.
pub(crate) fn oci_image(seed: &str, architecture: &str) -> Manifest {
    let config = config(seed, architecture);
    let layers = [Blob::random(seed, 40_000), Blob::of("")];
    let value = json!({
        "schemaVersion": 2,
        "mediaType": kind::OCI_IMAGE,
        "config": config.descriptor(OCI_CONFIG),
        "layers": [layers[0].descriptor(OCI_LAYER), layers[1].descriptor(OCI_LAYER)],
        "annotations": {"dev.example.seed": seed},
        "dev.example.unknown": {"kept": ["byte", "for", "byte"]},
    });
    let [first, second] = layers;
    Manifest { blobs: vec![config, first, second], ..Manifest::new(kind::OCI_IMAGE, &value) }
}

/// An OCI image of so many layers, each of 50,000 bytes.
pub(crate) fn image_of_layers(seed: &str, count: usize) -> Manifest {
    let config = config(seed, "amd64");
    let layers: Vec<Blob> = (0..count).map(|layer| Blob::random(&format!("{seed}, layer {layer}"), 50_000)).collect();
    let value = json!({
        "schemaVersion": 2,
        "mediaType": kind::OCI_IMAGE,
        "config": config.descriptor(OCI_CONFIG),
        "layers": layers.iter().map(|layer| layer.descriptor(OCI_LAYER)).collect::<Vec<Value>>(),
    });
    let blobs = std::iter::once(config).chain(layers).collect();
    Manifest { blobs, ..Manifest::new(kind::OCI_IMAGE, &value) }
}

/// A Docker image of one layer.
pub(crate) fn docker_image(seed: &str, architecture: &str) -> Manifest {
    let config = config(seed, architecture);
    let layer = Blob::random(seed, 70_000);
    let value = json!({
        "schemaVersion": 2,
        "mediaType": kind::DOCKER_IMAGE,
        "config": config.descriptor(DOCKER_CONFIG),
        "layers": [layer.descriptor(DOCKER_LAYER)],
    });
    Manifest { blobs: vec![config, layer], ..Manifest::new(kind::DOCKER_IMAGE, &value) }
}

/// An index or a list of images, one a platform; nested indexes have none.
pub(crate) fn index(media_type: &'static str, children: &[(&str, Manifest)]) -> Manifest {
    let descriptor = |(architecture, child): &(&str, Manifest)| {
        let mut descriptor = child.descriptor();
        if !architecture.is_empty() {
            descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        }
        descriptor
    };
    let manifests: Vec<Value> = children.iter().map(descriptor).collect();
    let value = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let children = children.iter().map(|(_, child)| child.clone()).collect();
    Manifest { children, ..Manifest::new(media_type, &value) }
}

/// An artifact, such as a signature, with or without a subject.
pub(crate) fn artifact(artifact_type: &str, data: &str, subject: Option<&Manifest>) -> Manifest {
    let (empty, layer) = (Blob::of("{}"), Blob::of(data.to_owned()));
    let mut value = json!({
        "schemaVersion": 2,
        "mediaType": kind::OCI_IMAGE,
        "artifactType": artifact_type,
        "config": empty.descriptor("application/vnd.oci.empty.v1+json"),
        "layers": [layer.descriptor("text/plain")],
    });
    if let Some(subject) = subject {
        value["subject"] = subject.descriptor();
    }
    Manifest { blobs: vec![empty, layer], ..Manifest::new(kind::OCI_IMAGE, &value) }
}
