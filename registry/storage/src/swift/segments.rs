//! Names of segments, and manifests: pure text. Why they lie where they do is said in the module's own comment.

use serde::{Deserialize, Serialize};

use crate::bucket::{Assembly, PartTag};

/// The directory of segments, beside the objects that they are of. No key has such a part: neither a repository nor a tag
/// begins with a dot, nor a part of one.
const DIRECTORY: &str = ".berth-segments";
/// How many letters and digits name an assembly, and how many digits a segment of it.
const ASSEMBLY_DIGITS: usize = 32;
const NUMBER_DIGITS: usize = 8;

/// What the names of all segments of an object begin with.
pub(super) fn all_of(name: &str) -> String {
    let (above, own) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
    format!("{above}{DIRECTORY}/{own}/")
}

/// What the names of the segments that are written together begin with.
pub(super) fn of(name: &str, assembly: &Assembly) -> String {
    format!("{}{}/", all_of(name), assembly.0)
}

/// The name of a segment.
pub(super) fn segment(name: &str, assembly: &Assembly, number: usize) -> String {
    format!("{}{number:08}", of(name, assembly))
}

/// Whether a name, of an object or of a directory with its slash, is one of segments.
pub(super) fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part == DIRECTORY)
}

/// Which object a name is that of a segment of, and which assembly; none if it is no such name.
pub(super) fn owner(name: &str) -> Option<(String, Assembly)> {
    let (rest, number) = name.rsplit_once('/')?;
    let (rest, assembly) = rest.rsplit_once('/')?;
    let (directory, own) = rest.rsplit_once('/')?;
    let above = directory.strip_suffix(DIRECTORY).filter(|above| above.is_empty() || above.ends_with('/'))?;
    let is_number = number.len() == NUMBER_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_assembly = assembly.len() == ASSEMBLY_DIGITS && assembly.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_number && is_assembly).then(|| (format!("{above}{own}"), Assembly(assembly.to_owned())))
}

/// The name that docker-registry gives to a segment.
pub(super) fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}/{number:016}")
}

/// A segment that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: usize,
    pub(super) size: u64,
    /// What the store says to identify the content; empty if it did not.
    pub(super) tag: String,
}

impl Part {
    pub(super) fn to_tag(&self) -> PartTag {
        let Part { number, size, tag } = self;
        PartTag(format!("{number} {size} {tag}"))
    }

    pub(super) fn parse(tag: &PartTag) -> Option<Self> {
        let mut fields = tag.0.splitn(3, ' ');
        let (number, size, tag) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Part { number: number.parse().ok()?, size: size.parse().ok()?, tag: tag.to_owned() })
    }
}

/// The manifest of an object, as it is sent.
pub(super) fn manifest(container: &str, name: &str, assembly: &Assembly, parts: &[Part]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Entry<'a> {
        path: String,
        size_bytes: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        etag: &'a str,
    }
    let entries: Vec<Entry<'_>> = parts
        .iter()
        .map(|part| Entry {
            path: format!("/{container}/{}", segment(name, assembly, part.number)),
            size_bytes: part.size,
            etag: &part.tag,
        })
        .collect();
    serde_json::to_vec(&entries).unwrap_or_default()
}

/// A segment in a manifest, as it is read.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Listed {
    /// The container and the name, with a slash before each. Ceph calls all of these what they were called when they were
    /// sent.
    #[serde(default, alias = "path")]
    name: String,
    #[serde(default, alias = "etag")]
    hash: String,
    #[serde(default, alias = "size_bytes")]
    bytes: u64,
    range: Option<String>,
}

impl Listed {
    /// The name, if it begins so in this container.
    fn below(&self, container: &str, prefix: &str) -> Option<&str> {
        let name = self.name.trim_start_matches('/').strip_prefix(container)?.strip_prefix('/')?;
        name.starts_with(prefix).then_some(name)
    }
}

/// The manifest of an object, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest(Vec<Listed>);

impl Manifest {
    pub(super) fn parse(content: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(content).map(Manifest)
    }

    /// The segments that belong to the object: those beside it. What else a manifest may list, somebody else has put there.
    pub(super) fn own(&self, container: &str, name: &str) -> Vec<String> {
        let prefix = all_of(name);
        self.0.iter().filter_map(|segment| segment.below(container, &prefix)).map(str::to_owned).collect()
    }

    /// Whether all segments are beside the object.
    pub(super) fn is_beside(&self, container: &str, name: &str) -> bool {
        self.is_below(container, &all_of(name))
    }

    /// Whether the manifest is that of segments which were written together.
    pub(super) fn is_of(&self, container: &str, name: &str, assembly: &Assembly) -> bool {
        self.is_below(container, &of(name, assembly))
    }

    fn is_below(&self, container: &str, prefix: &str) -> bool {
        !self.0.is_empty() && self.0.iter().all(|segment| segment.below(container, prefix).is_some())
    }

    /// Whether the segments have the content of the parts, as far as lengths and what the store calls them tell.
    pub(super) fn equals(&self, parts: &[Part]) -> bool {
        self.0.len() == parts.len()
            && self.0.iter().zip(parts).all(|(segment, part)| {
                segment.bytes == part.size
                    && segment.hash == part.tag
                    && !part.tag.is_empty()
                    && segment.range.is_none()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembly() -> Assembly {
        Assembly("0f".into())
    }

    #[test]
    fn segments_lie_beside_their_object() {
        let name = "files/a/data";
        assert_eq!(segment(name, &assembly(), 12), "files/a/.berth-segments/data/0f/00000012");
        assert!(is_hidden(&segment(name, &assembly(), 1)));
        assert!(is_hidden(&all_of(name)));
        assert!(is_hidden("files/a/.berth-segments/"), "the directory in a listing of one level");
        assert!(!is_hidden("files/a/data"));
        // docker-registry takes `data/` for a directory in place of the object.
        assert!(!all_of(name).starts_with("files/a/data/"));
        assert_eq!(numbered("segments/2f6/46", 3), "segments/2f6/46/0000000000000003");
    }

    #[test]
    fn no_repository_and_no_tag_is_taken_for_segments() {
        for name in [
            "files/docker/registry/v2/repositories/x.berth-segments/_manifests/tags/1/current/link",
            "files/docker/registry/v2/repositories/x.berth-segments/",
            "files/docker/registry/v2/repositories/x/_manifests/tags/y.berth-segments/current/link",
            "files/docker/registry/v2/repositories/x/_manifests/tags/y.berth-segments/",
            "files/a/x.berth-segments/0123456789abcdef0123456789abcdef/00000001",
        ] {
            assert!(!is_hidden(name), "{name}");
            assert_eq!(owner(name), None, "{name}");
        }
        for directory in ["/.berth-segments/", "/.berth-segments", "/x/.berth-segments/y"] {
            assert!(format!("a{directory}").parse::<berth_oci::RepositoryName>().is_err(), "{directory}");
        }
        assert!(".berth-segments".parse::<berth_oci::Tag>().is_err());
    }

    #[test]
    fn a_segment_says_whose_it_is() {
        let assembly = Assembly("0123456789abcdef0123456789abcdef".into());
        for name in ["files/a/data", "files/a", "a"] {
            assert_eq!(owner(&segment(name, &assembly, 7)), Some((name.to_owned(), assembly.clone())));
        }
        for other in
            ["00000001", "x/00000001", "files/.berth-segments/a/0f/00000001", "files/.berth-segments/a/00000001"]
        {
            assert_eq!(owner(other), None, "{other}");
        }
        assert_eq!(owner(&segment("files/a", &assembly, 7).replace("00000007", "7")), None);
    }

    #[test]
    fn a_part_survives_as_text() {
        for tag in ["d41d8c", "", "with space"] {
            let part = Part { number: 3, size: 1 << 40, tag: tag.into() };
            assert_eq!(Part::parse(&part.to_tag()), Some(part));
        }
        assert_eq!(Part::parse(&PartTag("x".into())), None);
    }

    #[test]
    fn a_manifest_is_recognised() {
        let parts = [Part { number: 1, size: 5, tag: "aa".into() }, Part { number: 2, size: 6, tag: "bb".into() }];
        let sent = manifest("c", "n", &assembly(), &parts);
        let expected = concat!(
            r#"[{"path":"/c/.berth-segments/n/0f/00000001","size_bytes":5,"etag":"aa"},"#,
            r#"{"path":"/c/.berth-segments/n/0f/00000002","size_bytes":6,"etag":"bb"}]"#
        );
        assert_eq!(String::from_utf8(sent).unwrap(), expected);

        let read = br#"[
            {"name": "/c/.berth-segments/n/0f/00000001", "hash": "aa", "bytes": 5, "content_type": "x", "last_modified": "y"},
            {"name": "/c/.berth-segments/n/0f/00000002", "hash": "bb", "bytes": 6, "sub_slo": true}
        ]"#;
        let read = Manifest::parse(read).unwrap();
        assert!(read.is_of("c", "n", &assembly()));
        assert!(!read.is_of("c", "n", &Assembly("0".into())));
        assert!(!read.is_of("c", "m", &assembly()));
        assert!(read.equals(&parts));
        assert!(!read.equals(&parts[..1]));
        let other = [Part { tag: "ab".into(), ..parts[0].clone() }, parts[1].clone()];
        assert!(!read.equals(&other));
        assert_eq!(read.own("c", "n").first().map(String::as_str), Some(".berth-segments/n/0f/00000001"));
        assert!(read.own("c", "m").is_empty());
        assert!(read.own("d", "n").is_empty());
        assert!(read.is_beside("c", "n"));
        assert!(!read.is_beside("c", "m") && !read.is_beside("d", "n"));

        let ceph = br#"[{"path": "c/.berth-segments/n/0f/00000001", "etag": "aa", "size_bytes": 5}]"#;
        let ceph = Manifest::parse(ceph).unwrap();
        assert!(ceph.is_of("c", "n", &assembly()) && ceph.equals(&parts[..1]));
        assert_eq!(ceph.own("c", "n"), [".berth-segments/n/0f/00000001"]);
        let strange = Manifest::parse(br#"[{"name": "/c/m"}, {}]"#).unwrap();
        assert!(!strange.is_beside("c", "n") && strange.own("c", "n").is_empty());
    }
}
