//! The media types that a registry has to know, and which of them are manifests.

/// An OCI image manifest.
pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A Docker image manifest, schema 2.
pub const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker image manifest, schema 1, with its signatures: the form in which it is pushed and pulled.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// A Docker image manifest, schema 1, as it says of itself; never the type of an answer.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// A layer of a schema 1 image, which does not say its type itself.
pub const DOCKER_SCHEMA1_LAYER: &str = "application/vnd.docker.container.image.rootfs.diff+x-gtar";
/// The configuration of an OCI image.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer of an OCI image.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A compressed layer of an OCI image.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer of an OCI image that is not to be given to others.
pub const OCI_NONDISTRIBUTABLE_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// A compressed layer of an OCI image that is not to be given to others.
pub const OCI_NONDISTRIBUTABLE_LAYER_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
/// A layer of a Docker image that is only elsewhere.
pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// The configuration of a Docker image.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The configuration of a Docker plugin.
pub const DOCKER_PLUGIN_CONFIG: &str = "application/vnd.docker.plugin.v1+json";

/// The kinds of manifest that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestKind {
    /// [`OCI_IMAGE`].
    OciImage,
    /// [`OCI_INDEX`].
    OciIndex,
    /// [`DOCKER_IMAGE`].
    DockerImage,
    /// [`DOCKER_LIST`].
    DockerList,
    /// [`DOCKER_SCHEMA1_SIGNED`]. What is stored, and has the digest, is the signed text without its signatures.
    DockerSchema1,
}

impl ManifestKind {
    /// Every kind.
    pub const ALL: [ManifestKind; 5] = [
        ManifestKind::OciImage,
        ManifestKind::OciIndex,
        ManifestKind::DockerImage,
        ManifestKind::DockerList,
        ManifestKind::DockerSchema1,
    ];

    /// The kind with this media type; parameters after a semicolon do not count.
    #[must_use]
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let essence = essence(media_type);
        ManifestKind::ALL.into_iter().find(|kind| essence.eq_ignore_ascii_case(kind.media_type()))
    }

    /// The media type of this kind.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            ManifestKind::OciImage => OCI_IMAGE,
            ManifestKind::OciIndex => OCI_INDEX,
            ManifestKind::DockerImage => DOCKER_IMAGE,
            ManifestKind::DockerList => DOCKER_LIST,
            ManifestKind::DockerSchema1 => DOCKER_SCHEMA1_SIGNED,
        }
    }

    /// Whether this is the old kind that is signed.
    #[must_use]
    pub fn is_schema1(self) -> bool {
        self == ManifestKind::DockerSchema1
    }

    /// Whether this kind refers to other manifests instead of layers.
    #[must_use]
    pub fn is_index(self) -> bool {
        matches!(self, ManifestKind::OciIndex | ManifestKind::DockerList)
    }
}

/// A media type without its parameters.
#[must_use]
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a layer of this type may live outside the registry, in one kind of image or another.
#[must_use]
pub fn is_foreign_layer(media_type: &str) -> bool {
    matches!(
        essence(media_type),
        DOCKER_FOREIGN_LAYER
            | OCI_NONDISTRIBUTABLE_LAYER
            | OCI_NONDISTRIBUTABLE_LAYER_GZIP
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_count() {
        for kind in ManifestKind::ALL {
            assert_eq!(ManifestKind::from_media_type(kind.media_type()), Some(kind));
            let with_parameter = format!(" {} ; charset=utf-8", kind.media_type().to_uppercase());
            assert_eq!(ManifestKind::from_media_type(&with_parameter), Some(kind));
        }
        assert_eq!(ManifestKind::from_media_type("application/json"), None);
        assert_eq!(ManifestKind::from_media_type(""), None);
    }
}
