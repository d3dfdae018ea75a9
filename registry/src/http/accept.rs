//! Which manifest a client gets, from what it says it accepts.
//!
//! The rules are Distribution's. A Docker manifest list that is asked for by tag, by a client that does not say that it
//! knows lists, gives the image for linux/amd64. An OCI manifest is not given to a client that names media types and not
//! this one; a client that names none, or everything, gets it.

use berth_oci::{ManifestKind, media_type};
use http::{HeaderMap, header};

/// What to do with a manifest that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Give it.
    AsIs,
    /// Give the image of this list for linux/amd64 instead.
    Platform,
    /// The client cannot read it.
    NotAccepted,
}

pub(crate) fn choose(kind: ManifestKind, by_tag: bool, headers: &HeaderMap) -> Choice {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<&str> = values.flat_map(|value| value.split(',')).map(media_type::essence).collect();
    let named = accepted.iter().any(|text| text.eq_ignore_ascii_case(kind.media_type()));
    let anything = accepted.is_empty() || accepted.iter().any(|text| matches!(*text, "*/*" | "application/*"));
    match kind {
        _ if named => Choice::AsIs,
        ManifestKind::DockerList if by_tag => Choice::Platform,
        ManifestKind::DockerList | ManifestKind::DockerImage => Choice::AsIs,
        ManifestKind::OciImage | ManifestKind::OciIndex if anything => Choice::AsIs,
        ManifestKind::OciImage | ManifestKind::OciIndex => Choice::NotAccepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        use ManifestKind::{DockerImage, DockerList, OciImage, OciIndex};
        fn check(kind: ManifestKind, by_tag: bool, accept: &[&str], expected: Choice) {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            assert_eq!(choose(kind, by_tag, &headers), expected, "{kind:?} {by_tag} {accept:?}");
        }
        for kind in ManifestKind::ALL {
            check(kind, true, &["text/plain, ", kind.media_type()], Choice::AsIs);
            let with_quality = format!("text/plain,{};q=0.5", kind.media_type());
            check(kind, true, &[&with_quality], Choice::AsIs);
        }
        check(DockerList, true, &[], Choice::Platform);
        check(DockerList, true, &["*/*"], Choice::Platform);
        check(DockerList, true, &[media_type::DOCKER_IMAGE], Choice::Platform);
        check(DockerList, false, &[media_type::DOCKER_IMAGE], Choice::AsIs);
        check(DockerImage, true, &["text/plain"], Choice::AsIs);
        check(OciImage, true, &[], Choice::AsIs);
        check(OciIndex, false, &["*/*"], Choice::AsIs);
        check(OciImage, true, &[media_type::DOCKER_IMAGE], Choice::NotAccepted);
        check(OciIndex, true, &[media_type::OCI_IMAGE], Choice::NotAccepted);
    }
}
