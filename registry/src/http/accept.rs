//! Which manifest a client gets, from what it says it accepts.
//!
//! The rules are Distribution's: every `Accept` header counts, parameters such as `q` do not. A Docker manifest list that
//! is asked for by tag, by a client that does not say that it knows lists, gives the image for linux/amd64. An OCI image is
//! not given to a client that names media types and not this one; an OCI index, as by Distribution 3, always is.
//!
//! There is one difference: a client that names no media types, or all of them, takes everything (RFC 9110, 12.5.1), where
//! Distribution refuses OCI manifests to it.

use berth_oci::{ErrorCode, ManifestKind, media_type};
use http::{HeaderMap, StatusCode, header};

use super::errors::Failure;

/// What to do with a manifest that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Give it.
    AsIs,
    /// Give the image of this list for linux/amd64 instead.
    Platform,
}

/// Why a client gets nothing. The texts are Distribution's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error("OCI manifest found, but accept header does not support OCI manifests")]
    OciImage,
    #[error("Schema 2 manifest not supported by client")]
    Schema2,
}

impl From<NotAccepted> for Failure {
    fn from(refusal: NotAccepted) -> Self {
        let (status, code) = match refusal {
            NotAccepted::OciImage => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
            NotAccepted::Schema2 => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        };
        Failure::saying(status, code, refusal.to_string())
    }
}

/// What a client says it accepts.
pub(crate) struct Accepted {
    kinds: Vec<ManifestKind>,
    anything: bool,
}

impl Accepted {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).map(media_type::essence);
        let ranges: Vec<&str> = ranges.filter(|range| !range.is_empty()).collect();
        Accepted {
            kinds: ranges.iter().filter_map(|range| ManifestKind::from_media_type(range)).collect(),
            anything: ranges.is_empty() || ranges.iter().any(|range| matches!(*range, "*/*" | "application/*")),
        }
    }

    /// What to do with a manifest that a tag or a digest names.
    pub(crate) fn choose(&self, kind: ManifestKind, by_tag: bool) -> Result<Choice, NotAccepted> {
        match kind {
            _ if self.kinds.contains(&kind) => Ok(Choice::AsIs),
            ManifestKind::DockerList if by_tag => Ok(Choice::Platform),
            ManifestKind::OciImage if !self.anything => Err(NotAccepted::OciImage),
            ManifestKind::DockerList
            | ManifestKind::DockerImage
            | ManifestKind::DockerSchema1
            | ManifestKind::OciImage
            | ManifestKind::OciIndex => Ok(Choice::AsIs),
        }
    }

    /// Whether the image that was chosen from a list can be given.
    pub(crate) fn choose_image(&self, kind: ManifestKind) -> Result<(), NotAccepted> {
        let refused = kind == ManifestKind::DockerImage && !self.anything && !self.kinds.contains(&kind);
        if refused { Err(NotAccepted::Schema2) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &[&str]) -> Accepted {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Accepted::of(&headers)
    }

    #[test]
    fn what_a_client_gets() {
        use ManifestKind::{DockerImage, DockerList, DockerSchema1, OciImage, OciIndex};
        fn check(kind: ManifestKind, by_tag: bool, accept: &[&str], expected: Result<Choice, NotAccepted>) {
            assert_eq!(accepted(accept).choose(kind, by_tag), expected, "{kind:?} {by_tag} {accept:?}");
        }
        let (as_is, platform) = (Ok(Choice::AsIs), Ok(Choice::Platform));
        for kind in ManifestKind::ALL {
            let with_quality = format!("text/plain,{};q=0.5", kind.media_type());
            let later = format!("*/*, text/plain , {}", kind.media_type().to_uppercase());
            for accept in [&["text/plain, ", kind.media_type()][..], &[&with_quality], &[&later], &["*/*", &later]] {
                check(kind, true, accept, as_is);
                check(kind, false, accept, as_is);
            }
        }
        for accept in [&[][..], &["*/*"], &[""], &["text/plain", "application/*;q=0.1"]] {
            check(DockerList, true, accept, platform);
            for kind in [DockerImage, DockerSchema1, OciImage, OciIndex] {
                check(kind, true, accept, as_is);
            }
            for kind in ManifestKind::ALL {
                check(kind, false, accept, as_is);
            }
        }
        let docker = &[media_type::DOCKER_IMAGE][..];
        check(DockerList, true, docker, platform);
        check(DockerList, true, &[media_type::OCI_INDEX], platform);
        check(DockerList, false, docker, as_is);
        check(DockerImage, true, &["text/plain"], as_is);
        check(DockerSchema1, true, docker, as_is);
        for by_tag in [true, false] {
            check(OciImage, by_tag, docker, Err(NotAccepted::OciImage));
            check(OciImage, by_tag, &[media_type::OCI_INDEX], Err(NotAccepted::OciImage));
            check(OciIndex, by_tag, &[media_type::OCI_IMAGE], as_is);
            check(OciIndex, by_tag, &[media_type::DOCKER_LIST], as_is);
        }
    }

    #[test]
    fn what_a_client_gets_of_a_list() {
        use ManifestKind::{DockerImage, OciImage};
        fn check(kind: ManifestKind, accept: &[&str], expected: Result<(), NotAccepted>) {
            assert_eq!(accepted(accept).choose_image(kind), expected, "{kind:?} {accept:?}");
        }
        check(DockerImage, &[], Ok(()));
        check(DockerImage, &["*/*"], Ok(()));
        check(DockerImage, &["text/plain", media_type::DOCKER_IMAGE], Ok(()));
        check(DockerImage, &[media_type::DOCKER_SCHEMA1_SIGNED], Err(NotAccepted::Schema2));
        check(OciImage, &[media_type::DOCKER_IMAGE], Ok(()));
    }

    proptest::proptest! {
        /// Whatever else a client says, it gets what it names; and who takes everything is refused nothing.
        #[test]
        fn what_is_named_is_given(
            before in "\\PC{0,30}", after in "[ -~]{0,30}", at in 0..ManifestKind::ALL.len(), by_tag: bool,
        ) {
            let kind = ManifestKind::ALL[at];
            let mut headers = HeaderMap::new();
            headers.extend(http::HeaderValue::from_str(&before).map(|value| (header::ACCEPT, value)));
            for other in ManifestKind::ALL {
                let _ = Accepted::of(&headers).choose(other, by_tag);
            }
            headers.append(header::ACCEPT, format!("{},{after}", kind.media_type()).parse().unwrap());
            proptest::prop_assert_eq!(Accepted::of(&headers).choose(kind, by_tag), Ok(Choice::AsIs));
            headers.append(header::ACCEPT, http::HeaderValue::from_static("*/*;q=0.1"));
            for other in ManifestKind::ALL {
                proptest::prop_assert!(Accepted::of(&headers).choose(other, by_tag).is_ok());
            }
        }
    }
}
