//! A registry as years of use leave it, made by any of the servers over the API.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::Value;

use crate::content::{Blob, Manifest, artifact, docker_image, index, kind, oci_image};
use crate::http::Question;
use crate::push;

/// What a registry was filled with.
#[derive(Debug, Default, Clone)]
pub(crate) struct Filled {
    /// Repository, tag.
    pub(crate) tags: Vec<(String, String)>,
    /// Repository, digest.
    pub(crate) manifests: Vec<(String, String)>,
    /// Repository, digest.
    pub(crate) blobs: Vec<(String, String)>,
    /// Repository, subject, digest of each manifest that says something about another.
    pub(crate) referrers: Vec<(String, String, String)>,
    /// Uploads that have begun.
    pub(crate) unfinished: Vec<Unfinished>,
}

/// An upload that has begun.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    pub(crate) repository: String,
    /// Where it goes on.
    pub(crate) location: String,
    /// What it is to become.
    pub(crate) blob: Blob,
    /// How much of it has arrived, in bytes.
    pub(crate) offset: usize,
}

impl Filled {
    /// Pushes a manifest with all that it refers to, and remembers everything.
    pub(crate) async fn image(
        &mut self,
        server: SocketAddr,
        repository: &str,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<()> {
        push::image(server, repository, reference, manifest).await?;
        if reference != manifest.digest() {
            self.tags.push((repository.to_owned(), reference.to_owned()));
        }
        self.remember(repository, manifest);
        Ok(())
    }

    fn remember(&mut self, repository: &str, manifest: &Manifest) {
        let value: Value = serde_json::from_slice(&manifest.content.bytes).unwrap_or_default();
        if let Some(subject) = value["subject"]["digest"].as_str() {
            let (repository, digest) = (repository.to_owned(), manifest.digest().to_owned());
            self.referrers.push((repository, subject.to_owned(), digest));
        }
        self.manifests.push((repository.to_owned(), manifest.digest().to_owned()));
        self.blobs.extend(manifest.blobs.iter().map(|blob| (repository.to_owned(), blob.digest.clone())));
        for child in &manifest.children {
            self.remember(repository, child);
        }
    }

    /// Begins an upload of `blob` and sends its first bytes, in chunks that end at `ends`.
    pub(crate) async fn begin(
        &mut self,
        server: SocketAddr,
        repository: &str,
        blob: Blob,
        ends: &[usize],
    ) -> Result<()> {
        let (mut location, mut offset) = (push::begin(server, repository).await?, 0);
        for &end in ends {
            location = push::append(server, &location, offset, &blob.bytes[offset..end]).await?;
            offset = end;
        }
        self.unfinished.push(Unfinished { repository: repository.to_owned(), location, blob, offset });
        Ok(())
    }
}

/// The image that a list of two platforms has for linux/amd64, the list, and the same for OCI.
pub(crate) fn platforms(media_type: &'static str, seed: &str) -> Manifest {
    let image = |architecture| match media_type {
        kind::DOCKER_LIST => docker_image(&format!("{seed} {architecture}"), architecture),
        _ => oci_image(&format!("{seed} {architecture}"), architecture),
    };
    index(media_type, &[("arm64", image("arm64")), ("amd64", image("amd64"))])
}

/// The image that has artifacts attached to it.
pub(crate) fn subject() -> Manifest {
    oci_image("release 1", "amd64")
}

/// A signature of [`subject`].
pub(crate) fn signature() -> Manifest {
    artifact("application/vnd.example.signature", "signed", Some(&subject()))
}

/// Fills a registry: images, indexes, artifacts, mounted blobs, nested names, tags that were moved and deleted, uploads
/// that have begun.
pub(crate) async fn fill(server: SocketAddr) -> Result<Filled> {
    let mut filled = Filled::default();
    let (one, two) = (subject(), oci_image("release 2", "amd64"));
    filled.image(server, "library/app", "v1", &one).await?;
    filled.image(server, "library/app", "latest", &one).await?;
    filled.image(server, "library/app", "v2", &two).await?;
    // The tag moves on: the index of the tag holds both.
    filled.image(server, "library/app", "latest", &two).await?;
    filled.image(server, "library/app", "signature", &signature()).await?;
    let sbom = artifact("application/vnd.example.sbom", "{\"packages\":[]}", Some(&one));
    filled.image(server, "library/app", sbom.digest(), &sbom).await?;
    let alone = artifact("application/vnd.example.note", "no subject", None);
    filled.image(server, "library/app", "note", &alone).await?;

    filled.image(server, "legacy", "docker", &docker_image("docker", "amd64")).await?;
    filled.image(server, "legacy", "list", &platforms(kind::DOCKER_LIST, "list")).await?;
    let platforms = platforms(kind::OCI_INDEX, "index");
    filled.image(server, "multi", "index", &platforms).await?;
    filled.image(server, "multi", "nested", &index(kind::OCI_INDEX, &[("", platforms.clone())])).await?;

    // Names that share beginnings, some with repositories below them.
    for name in ["a", "a-b", "a/b", "a/b/c", "ab", "a.b", "a_b/c", "nested/very/deeply/in/the/tree"] {
        filled.image(server, name, "v1", &oci_image(&format!("image of {name}"), "arm64")).await?;
    }

    for blob in &one.blobs[..2] {
        push::mount(server, "library/app", "team/mounted", blob).await?;
    }
    filled.image(server, "team/mounted", "v1", &one).await?;

    delete(server, &mut filled).await?;

    filled.begin(server, "library/app", Blob::random("not begun", 9_000), &[]).await?;
    filled.begin(server, "library/app", Blob::random("begun", 300_000), &[100_000, 150_001]).await?;
    filled.begin(server, "uploads/only", Blob::random("of no image", 3_000), &[1]).await?;
    Ok(filled)
}

/// A repository of which something is deleted: an image with its tags, and a blob.
async fn delete(server: SocketAddr, filled: &mut Filled) -> Result<()> {
    let (kept, gone) = (oci_image("kept", "amd64"), oci_image("gone", "amd64"));
    filled.image(server, "cleaned", "kept", &kept).await?;
    filled.image(server, "cleaned", "gone", &gone).await?;
    filled.image(server, "cleaned", "gone-too", &gone).await?;
    let question = Question::new("DELETE", format!("/v2/cleaned/manifests/{}", gone.digest()));
    push::expect(server, &question, 202).await?;
    let blob = Blob::random("a blob of no image", 500);
    push::blob(server, "cleaned", &blob).await?;
    let question = Question::new("DELETE", format!("/v2/cleaned/blobs/{}", blob.digest));
    push::expect(server, &question, 202).await?;
    filled.blobs.push(("cleaned".to_owned(), blob.digest));

    // A repository that has nothing left.
    let last = oci_image("the last image", "amd64");
    filled.image(server, "emptied", "v1", &last).await?;
    let question = Question::new("DELETE", format!("/v2/emptied/manifests/{}", last.digest()));
    push::expect(server, &question, 202).await.map(drop)
}
