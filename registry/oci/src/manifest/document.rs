//! The fields of all kinds of manifest, as they stand in a document, whether they are what they should be or not.
//!
//! Which of them matter to a kind is not known here.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::{self, Field, Key, Strings, Value, Wrong};
use super::{Descriptor, ManifestError, Platform};
use crate::{Digest, DigestError};

/// The most entries of one list that are remembered for having no digest that could name anything.
const MAX_UNNAMED: usize = 32;

/// A whole document. `A` is what becomes of the annotations.
pub(super) struct Document<A> {
    pub(super) schema_version: Field<i64>,
    pub(super) media_type: Field<String>,
    pub(super) config: Field<Described>,
    pub(super) layers: Field<Listed>,
    pub(super) manifests: Field<Listed>,
    pub(super) subject: Field<Described>,
    pub(super) artifact_type: Field<String>,
    pub(super) annotations: Field<A>,
    pub(super) fs_layers: Field<FsLayers>,
}

/// What is wrong with a descriptor besides its digest: the first field of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: &'static str,
    pub(super) wrong: Wrong,
}

/// A descriptor, as far as it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// The descriptor; why it names nothing, if it does not.
    pub(super) descriptor: Result<Descriptor, DigestError>,
    /// For which platform it says it is, if it names nothing.
    pub(super) platform: Option<Platform>,
    pub(super) fault: Option<Fault>,
}

/// A list of descriptors: those that name something, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) descriptors: Vec<Descriptor>,
    /// The first that has something of another type, and where it stands.
    pub(super) fault: Option<(usize, Fault)>,
    /// The first that name nothing, where they stand, and for which platform they are.
    pub(super) unnamed: Vec<(usize, DigestError, Option<Platform>)>,
}

/// The layers of a schema 1 image, which have nothing but a digest: those that name something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FsLayers {
    pub(super) digests: Vec<Digest>,
    /// The first that names nothing, and where it stands.
    pub(super) unnamed: Option<(usize, DigestError)>,
}

/// Reads a document.
///
/// # Errors
/// When it is not an object of JSON, with nothing behind it.
pub(super) fn read<T: for<'de> Deserialize<'de>>(raw: &[u8]) -> Result<T, ManifestError> {
    if raw.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ManifestError::NotAnObject);
    }
    let text = json::text(raw);
    serde_json::from_str(&text).map_err(|error| {
        // Once more, to see where it was; that takes longer.
        let mut again = serde_json::Deserializer::from_str(&text);
        match serde_path_to_error::deserialize::<_, T>(&mut again) {
            Err(found) => ManifestError::Json { path: found.path().to_string(), source: found.into_inner() },
            // Bytes behind the document would be signed by the digest and read by nobody.
            Ok(_) => ManifestError::Json { path: ".".to_owned(), source: error },
        }
    })
}

impl<'de, A: Value> Deserialize<'de> for Document<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let empty = Document {
            schema_version: Field::Absent,
            media_type: Field::Absent,
            config: Field::Absent,
            layers: Field::Absent,
            manifests: Field::Absent,
            subject: Field::Absent,
            artifact_type: Field::Absent,
            annotations: Field::Absent,
            fs_layers: Field::Absent,
        };
        deserializer.deserialize_map(Fields(empty))
    }
}

struct Fields<T>(T);

impl<'de, A: Value> Visitor<'de> for Fields<Document<A>> {
    type Value = Document<A>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Self::Value, M::Error> {
        const KEYS: &[&str] = &[
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "subject",
            "artifactType",
            "annotations",
            "fsLayers",
        ];
        let mut document = self.0;
        while let Some(key) = fields.next_key_seed(Key(KEYS))? {
            match key {
                Some("schemaVersion") => document.schema_version.then(fields.next_value()?),
                Some("mediaType") => document.media_type.then(fields.next_value()?),
                Some("config") => document.config.then(fields.next_value()?),
                Some("layers") => document.layers = fields.next_value()?,
                Some("manifests") => document.manifests = fields.next_value()?,
                Some("subject") => document.subject = fields.next_value()?,
                Some("artifactType") => document.artifact_type.then(fields.next_value()?),
                Some("annotations") => document.annotations = fields.next_value()?,
                Some("fsLayers") => document.fs_layers = fields.next_value()?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(document)
    }
}

/// What of a document says which kind it is.
pub(super) struct Outline {
    pub(super) schema_version: Field<i64>,
    pub(super) media_type: Field<String>,
    pub(super) manifests: Field<AnyList>,
}

/// A list whose elements are not looked at.
pub(super) struct AnyList;

impl Value for AnyList {
    const EXPECTED: &'static str = <Listed as Value>::EXPECTED;

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(AnyList))
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let empty = Outline { schema_version: Field::Absent, media_type: Field::Absent, manifests: Field::Absent };
        deserializer.deserialize_map(Fields(empty))
    }
}

impl<'de> Visitor<'de> for Fields<Outline> {
    type Value = Outline;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Self::Value, M::Error> {
        let mut outline = self.0;
        while let Some(key) = fields.next_key_seed(Key(&["schemaVersion", "mediaType", "manifests"]))? {
            match key {
                Some("schemaVersion") => outline.schema_version.then(fields.next_value()?),
                Some("mediaType") => outline.media_type.then(fields.next_value()?),
                Some("manifests") => outline.manifests = fields.next_value()?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(outline)
    }
}

/// The first fault of a descriptor.
#[derive(Default)]
struct Faults(Option<Fault>);

impl Faults {
    /// The value of a field, or the one that stands for it.
    fn value<T>(&mut self, field: &'static str, found: Field<T>) -> Option<T> {
        found.checked().unwrap_or_else(|wrong| {
            self.0.get_or_insert(Fault { field, wrong });
            None
        })
    }
}

impl Value for Described {
    const EXPECTED: &'static str = "a descriptor";

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        const KEYS: &[&str] = &["mediaType", "digest", "size", "urls", "platform"];
        let mut faults = Faults::default();
        let (mut media_type, mut digest, mut size) = (None, Field::Absent, None);
        let (mut urls, mut platform) = (None, None);
        while let Some(key) = object.next_key_seed(Key(KEYS))? {
            match key {
                Some("mediaType") => media_type = faults.value("mediaType", object.next_value()?),
                Some("digest") => digest = object.next_value::<Field<Name>>()?,
                Some("size") => size = faults.value::<i64>("size", object.next_value()?),
                Some("urls") => urls = faults.value::<Strings>("urls", object.next_value()?),
                Some("platform") => platform = faults.value::<ReadPlatform>("platform", object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        let digest = faults.value("digest", digest).unwrap_or_else(|| Name::of(""));
        let urls = urls.map(|Strings { values, wrong }| {
            if let Some(wrong) = wrong {
                faults.0.get_or_insert(Fault { field: "urls", wrong });
            }
            values
        });
        let platform = platform.map(|ReadPlatform { platform, fault }| {
            faults.0 = faults.0.or(fault);
            platform
        });
        // A size that cannot be says as little as none.
        let size = size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
        let media_type = media_type.unwrap_or_default();
        let (descriptor, platform) = match digest.0 {
            Ok(digest) => (Ok(Descriptor { media_type, digest, size, urls, platform }), None),
            Err(error) => (Err(error), platform),
        };
        Ok(Some(Described { descriptor, platform, fault: faults.0 }))
    }
}

impl Described {
    /// What `null` describes.
    fn nothing() -> Self {
        let error = DigestError::NoSeparator(String::new());
        Described { descriptor: Err(error), platform: None, fault: None }
    }
}

/// What should be a digest.
struct Name(Result<Digest, DigestError>);

impl Name {
    fn of(text: &str) -> Self {
        Name(text.parse())
    }
}

impl Value for Name {
    const EXPECTED: &'static str = "a digest";

    fn text(text: &str) -> Option<Self> {
        Some(Name::of(text))
    }
}

struct ReadPlatform {
    platform: Platform,
    fault: Option<Fault>,
}

impl Value for ReadPlatform {
    const EXPECTED: &'static str = "a platform";

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let (mut platform, mut faults) = (Platform::default(), Faults::default());
        while let Some(key) = object.next_key_seed(Key(&["architecture", "os", "variant"]))? {
            match key {
                Some("architecture") => {
                    platform.architecture =
                        faults.value("platform.architecture", object.next_value()?).unwrap_or_default();
                }
                Some("os") => platform.os = faults.value("platform.os", object.next_value()?).unwrap_or_default(),
                Some("variant") => platform.variant = faults.value("platform.variant", object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(ReadPlatform { platform, fault: faults.0 }))
    }
}

impl Value for Listed {
    const EXPECTED: &'static str = "a list of descriptors";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let (mut listed, mut at) = (Listed::default(), 0);
        while let Some(element) = list.next_element::<Field<Described>>()? {
            let described = element.checked().unwrap_or_else(|wrong| {
                listed.fault.get_or_insert((at, Fault { field: "", wrong }));
                None
            });
            let Described { descriptor, platform, fault } = described.unwrap_or_else(Described::nothing);
            listed.fault = listed.fault.or(fault.map(|fault| (at, fault)));
            match descriptor {
                Ok(descriptor) => listed.descriptors.push(descriptor),
                Err(error) if listed.unnamed.len() < MAX_UNNAMED => listed.unnamed.push((at, error, platform)),
                Err(_) => {}
            }
            at += 1;
        }
        Ok(Some(listed))
    }
}

impl Value for FsLayers {
    const EXPECTED: &'static str = "a list of layers";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let (mut layers, mut at) = (FsLayers::default(), 0);
        while let Some(element) = list.next_element::<Field<FsLayer>>()? {
            match element.value().map_or_else(|| Name::of(""), |layer| layer.0).0 {
                Ok(digest) => layers.digests.push(digest),
                Err(error) => drop(layers.unnamed.get_or_insert((at, error))),
            }
            at += 1;
        }
        Ok(Some(layers))
    }
}

struct FsLayer(Name);

impl Value for FsLayer {
    const EXPECTED: &'static str = "a layer";

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut digest = Field::Absent;
        while let Some(key) = object.next_key_seed(Key(&["blobSum"]))? {
            match key {
                Some(_) => digest = object.next_value::<Field<Name>>()?,
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(FsLayer(digest.value().unwrap_or_else(|| Name::of("")))))
    }
}
