//! `storage.oss` as its driver is told.

use berth_config::Oss;
use berth_storage::{OssCredentials, OssOptions, Trust};

/// What the driver is told. Taken apart without `..`: a new key must be dealt with here.
pub(super) fn options(settings: &Oss) -> OssOptions {
    let Oss {
        accesskeyid,
        accesskeysecret,
        credentialsdirectory,
        region,
        endpoint,
        internal,
        bucket,
        encrypt,
        secure,
        skipverify,
        cafile,
        chunksize,
        rootdirectory,
    } = settings.clone();
    let credentials = match (credentialsdirectory, accesskeysecret) {
        (Some(directory), _) => OssCredentials::Directory(directory),
        (None, Some(secret)) => {
            OssCredentials::Keys { access_key_id: accesskeyid, access_key_secret: secret.expose().to_owned() }
        }
        (None, None) => OssCredentials::Surroundings,
    };
    OssOptions {
        credentials,
        region,
        endpoint,
        internal,
        bucket,
        encrypt,
        secure,
        chunk_bytes: chunksize,
        root_directory: rootdirectory,
        trust: Trust { ca_file: cafile, skip_verify: skipverify },
        ..OssOptions::default()
    }
}
