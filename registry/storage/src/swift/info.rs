//! What a cluster says it can do, at `/info`. Clusters may say nothing: then the least is assumed.

use serde::Deserialize;

/// The most segments of one object that any cluster takes.
const MAX_SEGMENTS: usize = 1000;
/// The most entries of one page of a listing that any cluster gives.
const LISTING_LIMIT: usize = 10_000;
/// Digests that sign temporary addresses, the best first, as clusters call them.
const DIGESTS: [(&str, Digest); 3] = [("sha256", Digest::Sha256), ("sha512", Digest::Sha512), ("sha1", Digest::Sha1)];
/// The first release of Swift that knows a container's keys for temporary addresses.
const CONTAINER_KEYS: (u64, u64, u64) = (2, 2, 2);

/// A digest that signs temporary addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

/// What the cluster can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// How many objects go with one request; none where each goes with its own.
    pub(super) bulk_deletes: Option<usize>,
    /// Whether there are static large objects. Clusters that say nothing are believed to have them.
    pub(super) static_objects: bool,
    /// The most segments of one object.
    pub(super) max_segments: usize,
    /// The most entries of one page of a listing.
    pub(super) listing_limit: usize,
    /// Whether a page has as many as that, or as were asked for, as long as there are more. Others that speak the protocol
    /// also name a limit, and give fewer: Ceph says 10,000 and gives a thousand.
    pub(super) fills_pages: bool,
    /// How temporary addresses are signed, where there are such.
    pub(super) temporary: Option<Temporary>,
}

/// Temporary addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Temporary {
    /// What signs them.
    pub(super) digest: Digest,
    /// Whether the key is the container's; else it is the account's.
    pub(super) container_key: bool,
}

impl Info {
    /// What may be assumed of any cluster. Only the settings know whether it has temporary addresses.
    pub(super) fn least(methods: &[String], container_key: bool) -> Self {
        let temporary = methods.iter().any(|method| method == "GET");
        Info {
            bulk_deletes: None,
            static_objects: true,
            max_segments: MAX_SEGMENTS,
            listing_limit: LISTING_LIMIT,
            fills_pages: false,
            temporary: temporary.then_some(Temporary { digest: Digest::Sha1, container_key }),
        }
    }

    /// Reads what the cluster says.
    pub(super) fn parse(content: &[u8], container_key: bool) -> Result<Self, serde_json::Error> {
        let said: Said = serde_json::from_slice(content)?;
        let knows_container_keys = version(&said.swift.version).is_some_and(|version| version >= CONTAINER_KEYS);
        let temporary = said.tempurl.filter(|tempurl| tempurl.methods.iter().any(|method| method == "GET"));
        Ok(Info {
            bulk_deletes: said.bulk_delete.map(|bulk| bulk.max_deletes_per_request).filter(|most| *most > 0),
            static_objects: said.slo.is_some(),
            max_segments: said.slo.map_or(MAX_SEGMENTS, |slo| slo.max_manifest_segments).max(1),
            listing_limit: said.swift.container_listing_limit.unwrap_or(LISTING_LIMIT).clamp(1, LISTING_LIMIT),
            // Only OpenStack's own Swift names both.
            fills_pages: said.swift.container_listing_limit.is_some() && said.swift.account_listing_limit.is_some(),
            temporary: temporary.map(|tempurl| Temporary {
                digest: digest(tempurl.allowed_digests.as_deref()),
                container_key: container_key || knows_container_keys,
            }),
        })
    }
}

/// The best digest that is allowed. Clusters that do not say allow only the oldest.
fn digest(allowed: Option<&[String]>) -> Digest {
    let allowed = allowed.unwrap_or_default();
    let best = DIGESTS.into_iter().find(|(name, _)| allowed.iter().any(|allowed| allowed == name));
    best.map_or(Digest::Sha1, |(_, digest)| digest)
}

/// The first three numbers of a version; none where it is another program's that speaks the protocol.
fn version(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.split('.').map(|part| {
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    });
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

/// Where a cluster says it: before the version in the address of an account.
pub(super) fn address(storage: &str) -> Option<String> {
    let (scheme, rest) = storage.split_once("://")?;
    let mut parts = rest.split('/');
    let mut before = format!("{scheme}://{}", parts.next()?);
    for part in parts {
        if part.strip_prefix('v').is_some_and(|number| number.starts_with(|letter: char| letter.is_ascii_digit())) {
            return Some(before + "/info");
        }
        before = before + "/" + part;
    }
    None
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    swift: Swift,
    bulk_delete: Option<BulkDelete>,
    slo: Option<Slo>,
    tempurl: Option<TempUrl>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Swift {
    version: String,
    container_listing_limit: Option<usize>,
    account_listing_limit: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
struct BulkDelete {
    #[serde(default)]
    max_deletes_per_request: usize,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(default)]
struct Slo {
    max_manifest_segments: usize,
}

impl Default for Slo {
    fn default() -> Self {
        Slo { max_manifest_segments: MAX_SEGMENTS }
    }
}

#[derive(Deserialize)]
struct TempUrl {
    #[serde(default)]
    methods: Vec<String>,
    allowed_digests: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_says_is_understood() {
        let content = br#"{
            "swift": {"version": "2.30.1", "account_listing_limit": 10000, "container_listing_limit": 9000,
                "policies": [{"name": "Policy-0"}]},
            "slo": {"max_manifest_segments": 500, "min_segment_size": 1},
            "tempurl": {"methods": ["GET", "PUT"], "allowed_digests": ["sha1", "sha256", "sha512"]},
            "bulk_delete": {"max_deletes_per_request": 1000}, "bulk_upload": {}
        }"#;
        let info = Info::parse(content, false).unwrap();
        let temporary = Some(Temporary { digest: Digest::Sha256, container_key: true });
        let expected = Info {
            bulk_deletes: Some(1000),
            static_objects: true,
            max_segments: 500,
            listing_limit: 9000,
            fills_pages: true,
            temporary,
        };
        assert_eq!(info, expected);

        let bare = Info::parse(b"{}", true).unwrap();
        assert_eq!(bare, Info { static_objects: false, ..Info::least(&[], false) });
        assert!(Info::parse(b"<html>", false).is_err());
    }

    #[test]
    fn the_limit_that_another_program_names_is_not_believed() {
        let ceph = br#"{"swift": {"max_file_size": 5368709120, "container_listing_limit": 10000, "version": "18.2.4",
            "policies": [{"default": true, "name": "default-placement"}], "strict_cors_mode": true}}"#;
        let info = Info::parse(ceph, false).unwrap();
        assert_eq!((info.listing_limit, info.fills_pages), (10_000, false));
    }

    #[test]
    fn temporary_addresses_are_signed_as_the_cluster_wants_it() {
        fn check(content: &str, container_key: bool, expected: Option<(Digest, bool)>) {
            let info = Info::parse(content.as_bytes(), container_key).unwrap();
            assert_eq!(
                info.temporary.map(|temporary| (temporary.digest, temporary.container_key)),
                expected,
                "{content}"
            );
        }
        check(r#"{"tempurl": {"methods": ["PUT"]}}"#, false, None);
        check(r#"{"tempurl": {"methods": ["GET"]}}"#, false, Some((Digest::Sha1, false)));
        check(r#"{"tempurl": {"methods": ["GET"]}}"#, true, Some((Digest::Sha1, true)));
        check(
            r#"{"swift": {"version": "2.2.1"}, "tempurl": {"methods": ["GET"]}}"#,
            false,
            Some((Digest::Sha1, false)),
        );
        check(
            r#"{"swift": {"version": "2.10.0.rc1"}, "tempurl": {"methods": ["GET"]}}"#,
            false,
            Some((Digest::Sha1, true)),
        );
        check(
            r#"{"tempurl": {"methods": ["GET"], "allowed_digests": ["sha512"]}}"#,
            false,
            Some((Digest::Sha512, false)),
        );
        let least = Info::least(&["GET".to_owned()], true);
        assert_eq!(least.temporary, Some(Temporary { digest: Digest::Sha1, container_key: true }));
    }

    #[test]
    fn it_is_said_beside_the_accounts() {
        assert_eq!(address("http://a:8080/v1/AUTH_x").as_deref(), Some("http://a:8080/info"));
        assert_eq!(address("https://a/swift/v1").as_deref(), Some("https://a/swift/info"));
        assert_eq!(address("https://v2.example/swift/v1.0/b"), Some("https://v2.example/swift/info".to_owned()));
        assert_eq!(address("https://a/b"), None);
    }
}
