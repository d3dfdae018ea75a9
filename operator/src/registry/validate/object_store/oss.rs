//! [pure] Alibaba Cloud's object store.

use berth_config::Oss as Settings;
use berth_crds::{Oss, SecretCredentials, pattern};

use super::{Checker, ValidDriver, ValidObjectStore, is, s3};
use crate::problem::Problems;

/// What is peculiar to Alibaba.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidOss {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The address of the store.
    pub endpoint: Option<String>,
    /// Whether the address inside Alibaba's network is used.
    pub internal: bool,
    /// Whether objects are encrypted by the store.
    pub encrypt: bool,
    /// The size of a part of an upload.
    pub chunk_bytes: u64,
}

pub(in crate::registry::validate) fn oss_of(oss: Oss, problems: &mut Problems) -> Option<ValidObjectStore> {
    let mut checker = Checker { driver: "oss", problems };
    let Oss {
        bucket,
        region,
        endpoint,
        internal,
        root_directory,
        encrypt,
        chunk_size,
        ca,
        insecure_skip_verify,
        credentials,
        redirect,
    } = oss;
    let message = "must be the name alone, 3 to 63 of a-z, 0-9 and '-': a folder in it goes into rootDirectory";
    checker.matches("bucket", &bucket, pattern::OSS_BUCKET, message);
    checker.region(&region);
    checker.host_address("endpoint", endpoint.as_ref());
    if endpoint.is_some() && is(internal) {
        checker.add("endpoint", "stands beside internal, which chooses among Alibaba's own addresses: leave one out");
    }
    let chunk_bytes = checker.chunk_bytes(chunk_size, Settings::default().chunksize, &s3::CHUNKS);
    let Some(SecretCredentials { secret_ref }) = credentials else {
        checker.add("credentials", "are missing: name a Secret in secretRef");
        return None;
    };
    Some(ValidObjectStore {
        credentials: checker.secret(secret_ref, "credentials.secretRef", &["accesskeyid", "accesskeysecret"], &[]),
        root_directory: checker.root_directory(root_directory),
        ca: checker.ca(ca),
        driver: ValidDriver::Oss(ValidOss {
            bucket,
            region,
            endpoint,
            internal: is(internal),
            encrypt: is(encrypt),
            chunk_bytes,
        }),
        skip_verify: is(insecure_skip_verify),
        redirect: is(redirect),
    })
}
