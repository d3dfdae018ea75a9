//! `storage.swift` as its driver is told.

use berth_config::{Secret, Swift};
use berth_storage::{SwiftOptions, Trust};

/// What the driver is told. Taken apart without `..`: a new key must be dealt with here.
pub(super) fn options(settings: &Swift) -> SwiftOptions {
    let Swift {
        authurl,
        username,
        password,
        credentialsdirectory,
        container,
        region,
        tenant,
        tenantid,
        domain,
        domainid,
        tenantdomain,
        tenantdomainid,
        trustid,
        authversion,
        endpointtype,
        insecureskipverify,
        cafile,
        chunksize,
        prefix,
        secretkey,
        accesskey,
        tempurlcontainerkey,
        tempurlmethods,
    } = settings.clone();
    let secret = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
    SwiftOptions {
        auth_url: authurl,
        auth_version: authversion,
        username,
        password: secret(password),
        credentials_directory: credentialsdirectory,
        container,
        prefix,
        region,
        endpoint_type: endpointtype,
        tenant,
        tenant_id: tenantid,
        domain,
        domain_id: domainid,
        tenant_domain: tenantdomain,
        tenant_domain_id: tenantdomainid,
        trust_id: trustid,
        trust: Trust { ca_file: cafile, skip_verify: insecureskipverify },
        chunk_bytes: chunksize,
        secret_key: secret(secretkey),
        access_key: secret(accesskey),
        temp_url_container_key: tempurlcontainerkey,
        temp_url_methods: tempurlmethods,
        redirect_endpoint: None,
    }
}
