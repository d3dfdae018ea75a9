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
    checker.bucket(&bucket);
    checker.region(&region);
    if let Some(endpoint) = &endpoint {
        let message = "must be an address such as https://oss.example, without a path, a name or a password";
        checker.matches("endpoint", endpoint, pattern::HOST_ADDRESS, message);
        if is(internal) {
            checker
                .add("endpoint", "stands beside internal, which chooses among Alibaba's own addresses: leave one out");
        }
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
