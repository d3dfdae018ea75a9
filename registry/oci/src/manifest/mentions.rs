//! Everything that a stored manifest mentions, in whatever way somebody could read it.
//!
//! Not every reader sees the same in an odd document: of a key that stands there twice, one takes the first and one the
//! last; one tells `Layers` from `layers` and another does not; one looks at the layers of what calls itself an index.
//! Whoever deletes what nothing refers to must leave what any of them would ask for, so all of it counts here.

use std::collections::BTreeSet;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::ManifestError;
use super::document;
use super::json::{Field, Key, Value};
use crate::{Digest, DigestError, ManifestKind};

/// What a stored manifest mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Configurations and layers.
    pub blobs: BTreeSet<Digest>,
    /// The manifests of an index.
    pub manifests: BTreeSet<Digest>,
    /// What it may say something about.
    pub subjects: BTreeSet<Digest>,
    /// The first configuration or layer that is named in a way that is not known here, so that what it refers to cannot
    /// be told: by a digest of another algorithm.
    pub unknown: Option<DigestError>,
}

impl Mentions {
    /// Reads a stored manifest.
    ///
    /// # Errors
    /// When the bytes are not one of the kinds: then they may mention anything.
    pub fn read(raw: &[u8]) -> Result<Self, ManifestError> {
        ManifestKind::of_stored(raw)?;
        document::read(raw)
    }
}

impl<'de> Deserialize<'de> for Mentions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Everything)
    }
}

struct Everything;

impl<'de> Visitor<'de> for Everything {
    type Value = Mentions;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Mentions, M::Error> {
        let mut mentions = Mentions::default();
        while let Some(key) = fields.next_key_seed(Key(&["config", "layers", "fsLayers", "manifests", "subject"]))? {
            let Some(key) = key else {
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            let Digests { known, unknown } = fields.next_value::<Field<Digests>>()?.value().unwrap_or_default();
            match key {
                "manifests" => mentions.manifests.extend(known),
                "subject" => mentions.subjects.extend(known),
                _ => {
                    mentions.blobs.extend(known);
                    mentions.unknown = mentions.unknown.or(unknown);
                }
            }
        }
        Ok(mentions)
    }
}

/// The digests of a descriptor or of a list of them.
#[derive(Default)]
struct Digests {
    known: Vec<Digest>,
    unknown: Option<DigestError>,
}

impl Digests {
    fn add(&mut self, more: Digests) {
        self.known.extend(more.known);
        self.unknown = self.unknown.take().or(more.unknown);
    }
}

impl Value for Digests {
    const EXPECTED: &'static str = "a descriptor, or a list of descriptors";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut digests = Digests::default();
        while let Some(element) = list.next_element::<Field<Entry>>()? {
            digests.add(element.value().unwrap_or_default().0);
        }
        Ok(Some(digests))
    }

    fn object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        Ok(Entry::object(object)?.map(|Entry(digests)| digests))
    }
}

/// The digests of one descriptor: more than one only if the key stands there more than once.
#[derive(Default)]
struct Entry(Digests);

impl Value for Entry {
    const EXPECTED: &'static str = "a descriptor";

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut digests = Digests::default();
        while let Some(key) = object.next_key_seed(Key(&["digest", "blobSum"]))? {
            match key {
                Some(_) => digests.add(object.next_value::<Field<One>>()?.value().unwrap_or_default().0),
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(Entry(digests)))
    }
}

/// The digest of one key.
#[derive(Default)]
struct One(Digests);

impl Value for One {
    const EXPECTED: &'static str = "a digest";

    fn text(text: &str) -> Option<Self> {
        let (known, unknown) = match text.parse() {
            Ok(digest) => (vec![digest], None),
            Err(error @ DigestError::UnsupportedAlgorithm(_)) => (Vec::new(), Some(error)),
            // Nobody could ask for it.
            Err(_) => (Vec::new(), None),
        };
        Some(One(Digests { known, unknown }))
    }
}
