//! [pure] Amazon S3, and what speaks its protocol.

use berth_config::S3 as Settings;
use berth_crds::{S3, S3Credentials, S3Encryption, S3WorkloadIdentity, pattern};

use super::{Checker, ChunkBounds, MAX_CHUNK_BYTES, ValidDriver, ValidObjectStore, is};
use crate::problem::Problems;

pub(super) const CHUNKS: ChunkBounds = ChunkBounds {
    least: Settings::MIN_CHUNK_BYTES,
    most: MAX_CHUNK_BYTES,
    unit: 1,
    message: "must be from 5Mi to 64Mi, such as 10Mi: a pod holds at least two chunks in memory",
};

/// The annotation by which Amazon's cluster gives a role.
const ROLE: &str = "eks.amazonaws.com/role-arn";

/// What is peculiar to Amazon S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidS3 {
    /// The bucket.
    pub bucket: String,
    /// Its region; there is one where there is no endpoint.
    pub region: Option<String>,
    /// The address of the store.
    pub endpoint: Option<String>,
    /// Its address for clients.
    pub redirect_endpoint: Option<String>,
    /// Whether the bucket is part of the path.
    pub path_style: bool,
    /// Whether objects are encrypted, and with which key.
    pub encryption: Option<S3Encryption>,
    /// The storage class of objects.
    pub storage_class: String,
    /// The size of a part of an upload.
    pub chunk_bytes: u64,
    /// Whether Amazon's addresses for IPv4 and IPv6 are used.
    pub use_dual_stack: bool,
    /// Whether Amazon's FIPS addresses are used.
    pub use_fips: bool,
    /// Whether Amazon's transfer acceleration is used.
    pub accelerate: bool,
}

pub(in crate::registry::validate) fn s3_of(s3: S3, problems: &mut Problems) -> Option<ValidObjectStore> {
    let mut checker = Checker { driver: "s3", problems };
    // Taken apart without `..`, here and below: a new field must be dealt with.
    let S3 {
        bucket,
        region,
        endpoint,
        redirect_endpoint,
        path_style,
        root_directory,
        encryption,
        storage_class,
        chunk_size,
        use_dual_stack,
        use_fips,
        accelerate,
        ca,
        insecure_skip_verify,
        credentials,
        redirect,
    } = s3;
    checker.bucket(&bucket);
    match (&region, &endpoint) {
        (Some(region), _) => checker.region(region),
        (None, Some(_)) => {}
        (None, None) => checker.add(
            "region",
            "is missing: name the bucket's region, such as eu-central-1, or the endpoint of another store than Amazon's",
        ),
    }
    checker.address("endpoint", endpoint.as_ref());
    checker.host_address("redirectEndpoint", redirect_endpoint.as_ref());
    let (use_dual_stack, use_fips, accelerate) = (is(use_dual_stack), is(use_fips), is(accelerate));
    if endpoint.is_some() && (use_dual_stack || use_fips || accelerate) {
        checker.add(
            "endpoint",
            "stands beside useDualStack, useFips or accelerate, which choose among Amazon's own addresses: leave them out",
        );
    } else if accelerate && (use_fips || is(path_style)) {
        checker.add(
            "accelerate",
            "goes neither with useFips nor with pathStyle, for which Amazon has no addresses: leave one out",
        );
    }
    let storage_class = storage_class.unwrap_or_else(|| Settings::default().storageclass);
    let message = "must be the name of a storage class of objects, such as STANDARD_IA";
    checker.matches("storageClass", &storage_class, pattern::S3_STORAGE_CLASS, message);
    let chunk_bytes = checker.chunk_bytes(chunk_size, Settings::default().chunksize, &CHUNKS);
    let S3Credentials { secret_ref, workload_identity } = credentials.unwrap_or_default();
    let credentials = match (secret_ref, workload_identity) {
        (Some(secret), None) => {
            Some(checker.secret(secret, "credentials.secretRef", &["accesskey", "secretkey"], &["sessiontoken"]))
        }
        (None, Some(S3WorkloadIdentity { role_arn })) => {
            if let Some(role) = &role_arn {
                let message = "must be that of a role, such as arn:aws:iam::123456789012:role/registry";
                checker.matches("credentials.workloadIdentity.roleArn", role, pattern::S3_ROLE, message);
            }
            Some(checker.identity("credentials.workloadIdentity.roleArn", [(ROLE, role_arn)], None))
        }
        (None, None) | (Some(_), Some(_)) => {
            checker.add("credentials", "must have exactly one of secretRef and workloadIdentity");
            None
        }
    };
    Some(ValidObjectStore {
        root_directory: checker.root_directory(root_directory),
        ca: checker.ca(ca),
        driver: ValidDriver::S3(ValidS3 {
            // As docker-registry 2.8 had it: a store of one's own seldom has a host name for each bucket.
            path_style: path_style.unwrap_or(endpoint.is_some()),
            bucket,
            region,
            endpoint,
            redirect_endpoint,
            encryption,
            storage_class,
            chunk_bytes,
            use_dual_stack,
            use_fips,
            accelerate,
        }),
        credentials: credentials?,
        skip_verify: is(insecure_skip_verify),
        redirect: is(redirect),
    })
}
