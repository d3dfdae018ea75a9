//! What a pushed manifest must be besides well-formed: pure decisions over plain data, set by `validation`, `policy` and
//! `compatibility` of the configuration.
//!
//! The rules are those of CNCF Distribution. Whether content exists is not known here; what an error looks like to a client
//! neither.

use berth_oci::{Descriptor, Digest, DigestError, Manifest, ManifestKind, Platform, media_type};
use bytes::Bytes;
use regex::RegexSet;

use crate::schema1::{self, Schema1Error};

/// The most layers that an error names: a manifest may have tens of thousands.
const MAX_NAMED_LAYERS: usize = 32;
/// The most bytes of a URL that an error repeats.
const MAX_SHOWN_URL_BYTES: usize = 200;
/// The classes of Distribution.
const IMAGE: &str = "image";
const PLUGIN: &str = "plugin";

/// What is asked of a pushed manifest. The default is what Distribution asks without a configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whether Docker's schema 1 may be pushed.
    pub schema1: bool,
    /// Where layers may point to.
    pub urls: UrlRule,
    /// Which manifests of an index must be there.
    pub indexes: IndexRule,
    /// Which classes of image may be pushed; none means all.
    pub classes: Vec<String>,
}

/// Where a blob of an image is, as Distribution has it for the kind of image and the media type of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Here. Its URLs are not looked at: no client follows them.
    Here,
    /// Here, and its URLs are looked at.
    HereToo,
    /// Where its URLs say; without any, here.
    MayBeElsewhere,
    /// Where its URLs say, of which there must be one.
    Elsewhere,
}

impl Place {
    fn of(kind: ManifestKind, media_type: &str) -> Self {
        match (kind, media_type) {
            (ManifestKind::OciImage, media_type::OCI_LAYER | media_type::OCI_LAYER_GZIP) => Place::HereToo,
            (
                ManifestKind::OciImage,
                media_type::OCI_NONDISTRIBUTABLE_LAYER | media_type::OCI_NONDISTRIBUTABLE_LAYER_GZIP,
            ) => Place::MayBeElsewhere,
            (ManifestKind::DockerImage, media_type::DOCKER_FOREIGN_LAYER) => Place::Elsewhere,
            _ => Place::Here,
        }
    }
}

/// Whether a blob of an image of this kind must be in the repository when the image is pushed.
#[must_use]
pub fn must_be_here(kind: ManifestKind, blob: &Descriptor) -> bool {
    match Place::of(kind, &blob.media_type) {
        Place::Here | Place::HereToo => true,
        Place::MayBeElsewhere => blob.urls.as_ref().is_none_or(Vec::is_empty),
        Place::Elsewhere => false,
    }
}

/// Where the layers of an image may say that they can be fetched.
#[derive(Clone, Debug, Default)]
pub enum UrlRule {
    /// Anywhere: nothing is checked.
    Unchecked,
    /// Nowhere, which is what two empty lists mean.
    #[default]
    Nowhere,
    /// Where both lists agree.
    Listed {
        /// One of these must match, unless there are none.
        allow: Option<RegexSet>,
        /// None of these may match.
        deny: Option<RegexSet>,
    },
}

/// Which manifests of an index must be in the repository when it is pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IndexRule {
    /// All of them.
    #[default]
    All,
    /// None of them.
    Nothing,
    /// Those for one of these platforms; all if there are no platforms.
    Platforms(Vec<(Os, Architecture)>),
}

/// An operating system, as Go names it.
pub type Os = String;
/// A processor, as Go names it.
pub type Architecture = String;

/// Why a well-formed manifest may not be pushed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Layers point to where they may not; the first of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Urls(Vec<RefusedUrl>),
    /// An entry of an index that must be in the repository names nothing.
    #[error("manifest field manifests[{at}].digest: {source}")]
    Unnamed {
        /// Where it stands.
        at: usize,
        /// What is wrong with its digest.
        source: DigestError,
    },
    /// The image is of a class that is not allowed.
    #[error("registry does not allow {0} manifest")]
    Class(&'static str),
    /// The image is of no class.
    #[error("unknown manifest class for {0}")]
    UnknownClass(String),
}

/// A URL that a layer may not name, or that it does not name where it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer {digest} {}", .url.as_ref().map_or_else(|| reason.to_string(), |url| format!("names the URL {url:?}, which {reason}")))]
pub struct RefusedUrl {
    /// The layer.
    pub digest: Digest,
    /// The beginning of the URL, if there is one.
    pub url: Option<String>,
    /// Why.
    pub reason: UrlReason,
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlReason {
    /// There is none.
    #[error("names no URL, and one of its media type is never in a registry")]
    Missing,
    /// It is not one of HTTP, or has a fragment.
    #[error("is not http or https without a fragment, as validation.manifests.urls requires")]
    Form,
    /// Nothing is allowed.
    #[error("is not allowed: validation.manifests.urls.allow is empty, and then no layer may name any")]
    NoneAllowed,
    /// It is not on the list of what is allowed.
    #[error("no pattern of validation.manifests.urls.allow matches")]
    NotAllowed,
    /// It is on the list of what is not.
    #[error("a pattern of validation.manifests.urls.deny matches")]
    Denied,
}

impl Rules {
    /// The signed text of a pushed schema 1 manifest, if such are taken.
    ///
    /// # Errors
    /// [`Schema1Error`].
    pub fn open_schema1(&self, raw: &[u8]) -> Result<Bytes, Schema1Error> {
        if self.schema1 { schema1::open(raw) } else { Err(Schema1Error::NotAccepted) }
    }

    /// Whether a manifest may be pushed.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn check(&self, manifest: &Manifest) -> Result<(), RuleError> {
        self.check_class(manifest)?;
        let mut unnamed = manifest.unnamed().iter().filter(|entry| self.indexes.requires(entry.platform.as_ref()));
        if let Some(entry) = unnamed.next() {
            return Err(RuleError::Unnamed { at: entry.at, source: entry.error.clone() });
        }
        let refused = manifest.blobs().filter_map(|blob| self.urls.refused(manifest.kind(), blob));
        let refused: Vec<RefusedUrl> = refused.take(MAX_NAMED_LAYERS).collect();
        if refused.is_empty() { Ok(()) } else { Err(RuleError::Urls(refused)) }
    }

    fn check_class(&self, manifest: &Manifest) -> Result<(), RuleError> {
        if self.classes.is_empty() {
            return Ok(());
        }
        let config = manifest.config().map(|config| config.media_type.as_str()).unwrap_or_default();
        let class = match (manifest.kind(), config) {
            // What an index holds was asked when it was pushed.
            (ManifestKind::OciIndex | ManifestKind::DockerList, _) => return Ok(()),
            (ManifestKind::DockerSchema1, _)
            | (ManifestKind::DockerImage, media_type::DOCKER_CONFIG)
            | (ManifestKind::OciImage, media_type::OCI_CONFIG) => IMAGE,
            (ManifestKind::DockerImage, media_type::DOCKER_PLUGIN_CONFIG) => PLUGIN,
            (ManifestKind::DockerImage | ManifestKind::OciImage, other) => {
                return Err(RuleError::UnknownClass(shown(other)));
            }
        };
        if self.classes.iter().any(|allowed| allowed == class) { Ok(()) } else { Err(RuleError::Class(class)) }
    }
}

impl IndexRule {
    /// Whether the manifest of an index that is for this platform must be in the repository.
    #[must_use]
    pub fn requires(&self, platform: Option<&Platform>) -> bool {
        match self {
            IndexRule::All => true,
            IndexRule::Nothing => false,
            IndexRule::Platforms(platforms) if platforms.is_empty() => true,
            IndexRule::Platforms(platforms) => platform.is_some_and(|found| {
                platforms.iter().any(|(os, architecture)| found.os == *os && found.architecture == *architecture)
            }),
        }
    }
}

impl UrlRule {
    /// The first URL of a blob that is not to be, or that there is none where there must be.
    fn refused(&self, kind: ManifestKind, blob: &Descriptor) -> Option<RefusedUrl> {
        let refused = |url, reason| RefusedUrl { digest: blob.digest.clone(), url, reason };
        let urls = blob.urls.as_deref().unwrap_or_default();
        match Place::of(kind, &blob.media_type) {
            Place::Here => None,
            Place::Elsewhere if urls.is_empty() => Some(refused(None, UrlReason::Missing)),
            Place::HereToo | Place::MayBeElsewhere | Place::Elsewhere => {
                urls.iter().find_map(|url| Some(refused(Some(shown(url)), self.reason(url)?)))
            }
        }
    }

    /// Why a URL is not to be, if it is not.
    fn reason(&self, url: &str) -> Option<UrlReason> {
        let (allow, deny) = match self {
            UrlRule::Unchecked => return None,
            _ if !is_web(url) => return Some(UrlReason::Form),
            UrlRule::Nowhere => return Some(UrlReason::NoneAllowed),
            UrlRule::Listed { allow, deny } => (allow, deny),
        };
        if allow.as_ref().is_some_and(|allow| !allow.is_match(url)) {
            return Some(UrlReason::NotAllowed);
        }
        deny.as_ref().is_some_and(|deny| deny.is_match(url)).then_some(UrlReason::Denied)
    }
}

/// Whether a URL is one of HTTP, as Go parses URLs, and without a fragment: what is behind it could differ for every reader.
fn is_web(url: &str) -> bool {
    let (plain, fragment) = url.split_once('#').unwrap_or((url, ""));
    let Some((scheme, rest)) = plain.split_once(':') else { return false };
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_http || !fragment.is_empty() || url.bytes().any(|byte| byte.is_ascii_control()) {
        return false;
    }
    let before_query = rest.split('?').next().unwrap_or_default();
    let (authority, path) = match before_query.strip_prefix("//") {
        None => ("", before_query),
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    // What follows the last colon is the port, unless that colon is one of an address in brackets.
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || host.ends_with(']');
    is_port && !host.contains([' ', '\\', '^', '`', '{', '|', '}']) && is_escaped(authority) && is_escaped(path)
}

/// Whether every percent sign begins an escape.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

fn shown(text: &str) -> String {
    let mut end = text.len().min(MAX_SHOWN_URL_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, urls: &[&str]) -> String {
        let digest = Digest::sha256(b"layer");
        format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":5,\"urls\":{urls:?}}}")
    }

    fn image(kind: &str, config: &str, layers: &str) -> Manifest {
        let digest = Digest::sha256(b"config");
        let raw = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{kind}\",\"config\":{{\"mediaType\":\"{config}\",\
             \"digest\":\"{digest}\",\"size\":6}},\"layers\":[{layers}]}}"
        );
        Manifest::parse(raw.as_bytes()).unwrap()
    }

    fn listed(allow: &[&str], deny: &[&str]) -> UrlRule {
        let set = |patterns: &[&str]| (!patterns.is_empty()).then(|| RegexSet::new(patterns).unwrap());
        UrlRule::Listed { allow: set(allow), deny: set(deny) }
    }

    #[test]
    fn where_layers_may_point() {
        fn check(rule: &UrlRule, url: &str, expected: Option<UrlReason>) {
            assert_eq!(rule.reason(url), expected, "{rule:?} {url}");
        }
        use UrlReason::{Denied, Form, NoneAllowed, NotAllowed};
        check(&UrlRule::Unchecked, "gopher://x", None);
        check(&UrlRule::default(), "https://example.com/x", Some(NoneAllowed));
        for url in ["", "foo", "ftp://example.com/x", "/x", "https", "https://a b/", "https://a/#x"] {
            check(&UrlRule::default(), url, Some(Form));
            check(&listed(&["."], &[]), url, Some(Form));
        }
        let rule = listed(&["^https?://([^/]+\\.)*example\\.com/"], &["^https?://www\\.example\\.com/"]);
        check(&rule, "https://example.com/x", None);
        check(&rule, "HTTP://a.example.com/", Some(NotAllowed));
        check(&rule, "http://a.example.com/#", None);
        check(&rule, "https://www.example.com/x", Some(Denied));
        check(&rule, "https://example.org/x", Some(NotAllowed));
        check(&listed(&["^a", "example\\.org"], &[]), "https://example.org/x", None);
        check(&listed(&[], &["^https://b"]), "https://a/", None);
        check(&listed(&[], &["^https://b"]), "https://b/", Some(Denied));
    }

    #[test]
    fn where_blobs_are() {
        use ManifestKind::{DockerImage, OciImage};
        // For each kind: whether a layer of this type must be here and is taken, without a URL and with one that is refused.
        fn check(kind: ManifestKind, layer_type: &str, expected: [(bool, bool); 2]) {
            for (urls, expected) in [&[][..], &["https://a/"]].into_iter().zip(expected) {
                let image = image(kind.media_type(), "x", &layer(layer_type, urls));
                let is_taken = |urls| Rules { urls, ..Rules::default() }.check(&image).is_ok();
                let found = (must_be_here(kind, &image.layers()[0]), is_taken(UrlRule::Nowhere));
                assert_eq!(found, expected, "{kind:?} {layer_type} {urls:?}");
                assert_eq!(
                    is_taken(UrlRule::Unchecked),
                    expected.1 || !urls.is_empty(),
                    "{kind:?} {layer_type} {urls:?}"
                );
            }
        }
        let here = [(true, true), (true, true)];
        let here_too = [(true, true), (true, false)];
        let may_be_elsewhere = [(true, true), (false, false)];
        let elsewhere = [(false, false), (false, false)];
        for (layer_type, oci, docker) in [
            ("application/vnd.oci.image.layer.v1.tar", here_too, here),
            ("application/vnd.oci.image.layer.v1.tar+gzip", here_too, here),
            ("application/vnd.oci.image.layer.v1.tar+zstd", here, here),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", may_be_elsewhere, here),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", may_be_elsewhere, here),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", here, here),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", here, here),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar", here, here),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", here, elsewhere),
            ("x/y", here, here),
        ] {
            check(OciImage, layer_type, oci);
            check(DockerImage, layer_type, docker);
        }
    }

    #[test]
    fn which_urls_are_of_http() {
        for url in [
            "http://a",
            "https://a/",
            "HTTPS://a",
            "https:a",
            "http://",
            "https://a:5000/x?%zz",
            "https://a:/",
            "https://a/#",
            "https://u:p@b\u{fc}cher.example/a b%20\u{e4}",
            "https://[::1]",
            "https://[::1]:80/x",
        ] {
            assert!(is_web(url), "{url}");
        }
        for url in [
            "",
            "a",
            "//a/",
            "ftp://a/",
            "https",
            "https://a/#x",
            "https://a b/",
            "https://a:x/",
            "https://a/%zz",
            "https://a/%2",
            "https://a/\n",
            "https://[::1]:x/",
            "https://a|b/",
            "https://%zz/",
            " https://a/",
        ] {
            assert!(!is_web(url), "{url}");
        }
    }

    #[test]
    fn every_refused_layer_is_named() {
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
        let layers = [layer(foreign, &["https://a/", "b"]), layer(foreign, &["b", "c"])].join(",");
        let found = Rules::default().check(&image(media_type::OCI_IMAGE, "x", &layers)).unwrap_err();
        let digest = Digest::sha256(b"layer");
        assert_eq!(
            found.to_string(),
            format!(
                "layer {digest} names the URL \"https://a/\", which is not allowed: validation.manifests.urls.allow is \
                 empty, and then no layer may name any; layer {digest} names the URL \"b\", which is not http or https \
                 without a fragment, as validation.manifests.urls requires"
            )
        );
        let many = vec![layer(foreign, &["b"]); MAX_NAMED_LAYERS + 1].join(",");
        let found = Rules::default().check(&image(media_type::OCI_IMAGE, "x", &many)).unwrap_err();
        assert!(matches!(found, RuleError::Urls(refused) if refused.len() == MAX_NAMED_LAYERS));
        let long = "ä".repeat(500);
        let found = Rules::default().check(&image(media_type::OCI_IMAGE, "x", &layer(foreign, &[&long]))).unwrap_err();
        assert!(matches!(found, RuleError::Urls(refused) if refused[0].url == Some("ä".repeat(100))));
    }

    #[test]
    fn which_classes_may_be_pushed() {
        fn check(classes: &[&str], manifest: &Manifest, expected: &str) {
            let classes = classes.iter().map(|class| (*class).to_owned()).collect();
            let found = Rules { classes, ..Rules::default() }.check(manifest).map_err(|error| error.to_string());
            assert_eq!(found.err().unwrap_or_default(), expected);
        }
        let (docker, oci) = (media_type::DOCKER_IMAGE, media_type::OCI_IMAGE);
        let image_of = |kind, config| image(kind, config, "");
        check(&[], &image_of(oci, "x"), "");
        for manifest in [
            image_of(docker, media_type::DOCKER_CONFIG),
            image_of(oci, media_type::OCI_CONFIG),
            Manifest::parse(b"{\"schemaVersion\":1,\"fsLayers\":[]}").unwrap(),
        ] {
            check(&["image"], &manifest, "");
            check(&["plugin"], &manifest, "registry does not allow image manifest");
            check(&["plugin", "image"], &manifest, "");
        }
        check(
            &["image"],
            &image_of(docker, media_type::DOCKER_PLUGIN_CONFIG),
            "registry does not allow plugin manifest",
        );
        check(&["plugin"], &image_of(docker, media_type::DOCKER_PLUGIN_CONFIG), "");
        check(
            &["image"],
            &image_of(oci, media_type::DOCKER_PLUGIN_CONFIG),
            "unknown manifest class for application/vnd.docker.plugin.v1+json",
        );
        check(&["image"], &image_of(oci, "x/y"), "unknown manifest class for x/y");
        check(&["image"], &Manifest::parse(b"{\"schemaVersion\":2,\"manifests\":[]}").unwrap(), "");
    }

    #[test]
    fn which_manifests_of_an_index_must_be_there() {
        fn check(rule: &IndexRule, platform: Option<(&str, &str)>, expected: bool) {
            let platform = platform.map(|(os, architecture)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: None,
            });
            assert_eq!(rule.requires(platform.as_ref()), expected, "{rule:?} {platform:?}");
            // What names nothing is refused where it would have to be there.
            let platform = platform.map(|Platform { os, architecture, .. }| {
                format!("\"platform\":{{\"os\":{os:?},\"architecture\":{architecture:?}}}")
            });
            let raw = format!("{{\"schemaVersion\":2,\"manifests\":[{{{}}}]}}", platform.unwrap_or_default());
            let index = Manifest::parse(raw.as_bytes()).unwrap();
            let rules = Rules { indexes: rule.clone(), ..Rules::default() };
            let found = rules.check(&index).map_err(|error| error.to_string()).err().unwrap_or_default();
            let refused = "manifest field manifests[0].digest: digest \"\" is not of the form <algorithm>:<hex>";
            assert_eq!(found, if expected { refused } else { "" }, "{rule:?} {raw}");
        }
        let (amd64, arm64) = (Some(("linux", "amd64")), Some(("linux", "arm64")));
        check(&IndexRule::All, None, true);
        check(&IndexRule::Nothing, amd64, false);
        check(&IndexRule::Platforms(Vec::new()), arm64, true);
        let listed = IndexRule::Platforms(vec![("windows".into(), "amd64".into()), ("linux".into(), "amd64".into())]);
        check(&listed, amd64, true);
        check(&listed, arm64, false);
        check(&listed, Some(("darwin", "amd64")), false);
        check(&listed, None, false);
    }
}
