//! [pure] Alibaba Cloud's object store.

use berth_config::Oss as Settings;
use berth_crds::{Oss, OssCredentials, OssWorkloadIdentity, pattern};

use super::{Checker, ValidDriver, ValidObjectStore, is, s3};
use crate::problem::Problems;

/// The annotation by which Alibaba's cluster gives a role, and the label of a pod that is given one.
const ROLE: &str = "pod-identity.alibabacloud.com/role-name";
const INJECTION: (&str, &str) = ("pod-identity.alibabacloud.com/injection", "on");

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
    let OssCredentials { secret_ref, workload_identity } = credentials.unwrap_or_default();
    let credentials = match (secret_ref, workload_identity) {
        (Some(secret), None) => {
            Some(checker.secret(secret, "credentials.secretRef", &["accesskeyid", "accesskeysecret"], &[]))
        }
        (None, Some(OssWorkloadIdentity { role_name })) => {
            const FIELD: &str = "credentials.workloadIdentity.roleName";
            if let Some(role) = &role_name {
                let message = "must be the name of a RAM role alone: letters, digits, '.', '_' and '-'";
                checker.matches(FIELD, role, pattern::OSS_ROLE, message);
            }
            // Without the label the webhook passes pods over, unless their namespace has it.
            let label = role_name.is_some().then_some(INJECTION);
            Some(checker.identity(FIELD, [(ROLE, role_name)], label))
        }
        (None, None) | (Some(_), Some(_)) => {
            checker.add("credentials", "must have exactly one of secretRef and workloadIdentity");
            None
        }
    };
    Some(ValidObjectStore {
        credentials: credentials?,
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
