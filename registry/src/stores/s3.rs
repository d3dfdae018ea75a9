//! `storage.s3` as its driver is told.

use berth_config::{S3, S3LogLevel};
use berth_storage::{S3Credentials, S3Options, Trust};

/// What the driver is told. Taken apart without `..`: a new key must be dealt with here.
pub(super) fn options(settings: &S3) -> S3Options {
    let S3 {
        bucket,
        region,
        regionendpoint,
        redirectendpoint,
        accesskey,
        secretkey,
        sessiontoken,
        credentialsdirectory,
        forcepathstyle,
        rootdirectory,
        encrypt,
        keyid,
        secure,
        skipverify,
        cafile,
        v4auth,
        chunksize,
        multipartcopychunksize,
        multipartcopymaxconcurrency,
        multipartcopythresholdsize,
        storageclass,
        objectacl,
        useragent,
        usedualstack,
        accelerate,
        usefipsendpoint,
        loglevel,
    } = settings.clone();
    let secret = |secret: Option<berth_config::Secret>| secret.map(|secret| secret.expose().to_owned());
    let credentials = match (credentialsdirectory, accesskey, secret(secretkey)) {
        (Some(directory), _, _) => S3Credentials::Directory(directory),
        (None, Some(access_key), Some(secret_key)) => {
            S3Credentials::Keys { access_key, secret_key, session_token: secret(sessiontoken) }
        }
        _ => S3Credentials::Surroundings,
    };
    S3Options {
        bucket,
        region,
        endpoint: regionendpoint,
        redirect_endpoint: redirectendpoint,
        credentials,
        force_path_style: forcepathstyle,
        root_directory: rootdirectory,
        encrypt,
        key_id: keyid,
        secure,
        trust: Trust { ca_file: cafile, skip_verify: skipverify },
        v4_auth: v4auth,
        chunk_bytes: chunksize,
        copy_chunk_bytes: multipartcopychunksize,
        copies_at_once: multipartcopymaxconcurrency,
        copy_threshold_bytes: multipartcopythresholdsize,
        storage_class: storageclass,
        object_acl: objectacl,
        user_agent: useragent,
        dual_stack: usedualstack,
        accelerate,
        fips: usefipsendpoint,
        log_requests: loglevel != S3LogLevel::Off,
    }
}
