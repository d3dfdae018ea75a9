//! [pure] OpenStack Swift.

use berth_config::Swift as Settings;
use berth_crds::{SecretCredentials, Swift, SwiftEndpointType, pattern};

use super::{Checker, ChunkBounds, MAX_CHUNK_BYTES, ValidDriver, ValidObjectStore, is};
use crate::problem::Problems;

const CHUNKS: ChunkBounds = ChunkBounds {
    least: Settings::MIN_CHUNK_BYTES,
    most: MAX_CHUNK_BYTES,
    unit: 1,
    message: "must be from 1Mi to 64Mi, such as 20Mi: a pod holds at least two chunks in memory",
};

/// What is peculiar to Swift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidSwift {
    /// The address of the identity service.
    pub auth_url: String,
    /// Its version.
    pub auth_version: Option<u8>,
    /// The user; none where the Secret names it.
    pub username: Option<String>,
    /// The container.
    pub container: String,
    /// The region.
    pub region: Option<String>,
    /// The tenant, by name.
    pub tenant: Option<String>,
    /// The tenant, by id.
    pub tenant_id: Option<String>,
    /// The user's domain, by name.
    pub domain: Option<String>,
    /// The user's domain, by id.
    pub domain_id: Option<String>,
    /// The tenant's domain, by name.
    pub tenant_domain: Option<String>,
    /// The tenant's domain, by id.
    pub tenant_domain_id: Option<String>,
    /// The trust that the user acts under.
    pub trust_id: Option<String>,
    /// Which address of the service is used.
    pub endpoint_type: SwiftEndpointType,
    /// The size of a segment.
    pub chunk_bytes: u64,
    /// Whether the key of temporary addresses is the container's.
    pub temp_url_container_key: bool,
}

pub(in crate::registry::validate) fn swift_of(swift: Swift, problems: &mut Problems) -> Option<ValidObjectStore> {
    let mut checker = Checker { driver: "swift", problems };
    let Swift {
        auth_url,
        auth_version,
        username,
        container,
        region,
        tenant,
        tenant_id,
        domain,
        domain_id,
        tenant_domain,
        tenant_domain_id,
        trust_id,
        endpoint_type,
        root_directory,
        chunk_size,
        temp_url_container_key,
        ca,
        insecure_skip_verify,
        credentials,
        redirect,
    } = swift;
    checker.address("authUrl", Some(&auth_url));
    let message = "must be the name alone: a folder in it goes into rootDirectory";
    checker.matches("container", &container, pattern::SWIFT_CONTAINER, message);
    let auth_version = auth_version.map(|version| u8::try_from(version).unwrap_or(0));
    if auth_version.is_some_and(|version| !(1..=3).contains(&version)) {
        checker.add("authVersion", "must be 1, 2 or 3");
    }
    let chunk_bytes = checker.chunk_bytes(chunk_size, Settings::default().chunksize, &CHUNKS);
    let Some(SecretCredentials { secret_ref }) = credentials else {
        checker.add("credentials", "are missing: name a Secret in secretRef");
        return None;
    };
    // Who it is, is no secret: the spec says it, or the Secret does.
    let (required, optional): (&[_], &[_]) = match &username {
        Some(_) => (&["password"], &["secretkey", "accesskey"]),
        None => (&["username", "password"], &["secretkey", "accesskey"]),
    };
    Some(ValidObjectStore {
        credentials: checker.secret(secret_ref, "credentials.secretRef", required, optional),
        root_directory: checker.root_directory(root_directory),
        ca: checker.ca(ca),
        driver: ValidDriver::Swift(ValidSwift {
            auth_url,
            auth_version,
            username,
            container,
            region,
            tenant,
            tenant_id,
            domain,
            domain_id,
            tenant_domain,
            tenant_domain_id,
            trust_id,
            endpoint_type: endpoint_type.unwrap_or_default(),
            chunk_bytes,
            temp_url_container_key: is(temp_url_container_key),
        }),
        skip_verify: is(insecure_skip_verify),
        redirect: is(redirect),
    })
}
