//! Ways in which a store is damaged.

use std::path::Path;

use berth_oci::Digest;

use crate::support::Document;
use crate::{blob, link};

/// A way in which a store is damaged.
pub(crate) struct Damage {
    pub(crate) what: &'static str,
    /// Does it, given the directory and the digest of a manifest.
    pub(crate) harm: fn(&Path, &Digest),
    pub(crate) problems: &'static [&'static str],
    pub(crate) notes: &'static [&'static str],
    /// Whether nothing is wrong after a repair. A manifest that is intact stays, and lacks its blob until that is pushed
    /// again.
    pub(crate) is_mended: bool,
}

/// The link of a tag.
pub(crate) const TAG: &str = "data/docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link";

pub(crate) fn two() -> Digest {
    Digest::sha256(b"two")
}

pub(crate) fn damages() -> Vec<Damage> {
    [of_blobs(), of_links()].into_iter().flatten().collect()
}

fn damage(what: &'static str, harm: fn(&Path, &Digest), problems: &'static [&'static str], is_mended: bool) -> Damage {
    Damage { what, harm, problems, notes: &[], is_mended }
}

fn of_blobs() -> Vec<Damage> {
    vec![
        damage(
            "a byte of a layer has changed",
            |root, _| std::fs::write(blob(root, &two()), "twO").unwrap(),
            &["wrong-content", "missing-reference", "broken-link"],
            false,
        ),
        damage(
            "a manifest was cut off",
            |root, image| std::fs::write(blob(root, image), "{").unwrap(),
            &["wrong-content", "broken-link", "dangling-tag"],
            true,
        ),
        damage(
            "a manifest has no bytes",
            |root, image| std::fs::write(blob(root, image), "").unwrap(),
            &["wrong-content", "broken-link", "dangling-tag"],
            true,
        ),
        damage(
            "a blob is gone",
            |root, _| std::fs::remove_file(blob(root, &two())).unwrap(),
            &["missing-reference", "broken-link"],
            false,
        ),
        damage(
            "a directory lies where a blob should",
            |root, _| {
                std::fs::remove_file(blob(root, &two())).unwrap();
                std::fs::create_dir(blob(root, &two())).unwrap();
                std::fs::write(blob(root, &two()).join("x"), "two").unwrap();
            },
            &["missing-reference", "broken-link"],
            false,
        ),
        damage(
            "a blob lies among those of other digests",
            |root, _| {
                let elsewhere = root.join("data/docker/registry/v2/blobs/sha256/zz").join(two().hex());
                std::fs::create_dir_all(&elsewhere).unwrap();
                std::fs::rename(blob(root, &two()), elsewhere.join("data")).unwrap();
            },
            &["missing-reference", "broken-link"],
            false,
        ),
    ]
}

fn of_links() -> Vec<Damage> {
    vec![
        damage(
            "a link to a layer is empty",
            |root, _| std::fs::write(link(root, "team/app/_layers", &two()), "").unwrap(),
            &["empty-link", "missing-reference"],
            false,
        ),
        damage(
            "a link to a layer holds another digest",
            |root, image| std::fs::write(link(root, "team/app/_layers", &two()), image.as_str()).unwrap(),
            &["wrong-link", "missing-reference"],
            false,
        ),
        damage("a tag is empty", |root, _| std::fs::write(root.join(TAG), "").unwrap(), &["empty-link"], true),
        damage(
            "the link of a manifest is malformed",
            |root, image| std::fs::write(link(root, "team/app/_manifests/revisions", image), "sha256:zz").unwrap(),
            &["malformed-link", "dangling-tag"],
            true,
        ),
        damage(
            "a link to a layer is a mebibyte long",
            |root, _| std::fs::write(link(root, "team/app/_layers", &two()), vec![b'x'; 1 << 20]).unwrap(),
            &["malformed-link", "missing-reference"],
            false,
        ),
        damage(
            "a tag holds bytes that are no text",
            |root, _| std::fs::write(root.join(TAG), [0xff, 0xfe, 0]).unwrap(),
            &["malformed-link"],
            true,
        ),
        damage(
            "a tag names what another repository has",
            |root, _| {
                let below = Document::image("v1", &["one", "three"]).digest();
                std::fs::write(root.join(TAG), below.as_str()).unwrap();
            },
            &["dangling-tag"],
            true,
        ),
        damage(
            "a link of a tag's history is empty",
            |root, image| std::fs::write(link(root, "team/app/_manifests/tags/v1/index", image), "").unwrap(),
            &["empty-link"],
            true,
        ),
        Damage {
            what: "a collector has left a link",
            harm: |root, _| {
                let path = link(root, "team/app/_layers", &Digest::sha256(b"collected"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, Digest::sha256(b"collected").as_str()).unwrap();
            },
            problems: &[],
            notes: &["leftover-link"],
            is_mended: true,
        },
    ]
}
