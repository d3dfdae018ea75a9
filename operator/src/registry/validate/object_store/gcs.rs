//! [pure] Google Cloud Storage.

use berth_config::Gcs as Settings;
use berth_crds::{Gcs, GcsCredentials, GcsWorkloadIdentity, pattern};

use super::{Checker, ChunkBounds, MAX_CHUNK_BYTES, ValidDriver, ValidObjectStore, is};
use crate::problem::Problems;

const CHUNKS: ChunkBounds = ChunkBounds {
    least: Settings::CHUNK_UNIT_BYTES,
    most: MAX_CHUNK_BYTES,
    unit: Settings::CHUNK_UNIT_BYTES,
    message: "must be a multiple of 256Ki up to 64Mi, such as 16Mi: a pod holds at least two chunks in memory",
};

/// The annotation by which Google's cluster gives a service account.
const ACCOUNT: &str = "iam.gke.io/gcp-service-account";

/// What is peculiar to Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidGcs {
    /// The bucket.
    pub bucket: String,
    /// The address of the store.
    pub endpoint: Option<String>,
    /// The size of a part of an upload.
    pub chunk_bytes: u64,
}

pub(in crate::registry::validate) fn gcs_of(gcs: Gcs, problems: &mut Problems) -> Option<ValidObjectStore> {
    let mut checker = Checker { driver: "gcs", problems };
    let Gcs { bucket, endpoint, root_directory, chunk_size, ca, insecure_skip_verify, credentials, redirect } = gcs;
    checker.bucket(&bucket);
    checker.host_address("endpoint", endpoint.as_ref());
    let chunk_bytes = checker.chunk_bytes(chunk_size, Settings::default().chunksize, &CHUNKS);
    let GcsCredentials { secret_ref, workload_identity } = credentials.unwrap_or_default();
    let credentials = match (secret_ref, workload_identity) {
        (Some(secret), None) => Some(checker.secret(secret, "credentials.secretRef", &["keyfile"], &[])),
        (None, Some(GcsWorkloadIdentity { service_account })) => {
            if let Some(account) = &service_account {
                let message = "must be the address of a service account of Google's, such as \
                               registry@acme.iam.gserviceaccount.com";
                checker.matches("credentials.workloadIdentity.serviceAccount", account, pattern::GCS_ACCOUNT, message);
            }
            if let Some(endpoint) = &endpoint {
                let message = "must be one of Google's own, https://….googleapis.com, beside workloadIdentity, which is \
                               shown to nobody else: leave it out, or name a Secret in credentials.secretRef";
                checker.matches("endpoint", endpoint, pattern::GOOGLE_ADDRESS, message);
            }
            let field = "credentials.workloadIdentity.serviceAccount";
            Some(checker.identity(field, [(ACCOUNT, service_account)], None))
        }
        (None, None) | (Some(_), Some(_)) => {
            checker.add("credentials", "must have exactly one of secretRef and workloadIdentity");
            None
        }
    };
    Some(ValidObjectStore {
        root_directory: checker.root_directory(root_directory),
        ca: checker.ca(ca),
        driver: ValidDriver::Gcs(ValidGcs { bucket, endpoint, chunk_bytes }),
        credentials: credentials?,
        skip_verify: is(insecure_skip_verify),
        redirect: is(redirect),
    })
}
