//! The store of the server's configuration: which driver, and where it finds its credentials. Nothing is left to a
//! default of the server's, and no credential is here: the configuration names files.

use std::path::PathBuf;

use berth_config::{
    Azure, AzureCredentials, AzureCredentialsKind, Driver, Duration, Filesystem, Gcs, Oss, Redirect, S3, S3LogLevel,
    Swift,
};
use berth_crds::{S3Encryption, SwiftEndpointType};

use super::config_map::mounted;
use crate::{
    names,
    registry::validate::{
        ValidAzure, ValidCredentials, ValidDriver, ValidGcs, ValidObjectStore, ValidOss, ValidS3, ValidStorage,
        ValidSwift,
    },
};

/// Distribution's values of what no field of a Registry sets.
const COPY_PART_BYTES: u64 = 32 << 20;
const COPIES_AT_ONCE: u64 = 100;
const GCS_REQUESTS_AT_ONCE: u64 = 50;
const AZURE_TRIES: i32 = 5;
const AZURE_TRY_AFTER: Duration = Duration::from_millis(100);

pub(super) fn build_driver(storage: &ValidStorage) -> Driver {
    let store = match storage {
        ValidStorage::OwnClaim { .. } | ValidStorage::ExistingClaim { .. } | ValidStorage::EmptyDir { .. } => {
            return Driver::Filesystem(Filesystem {
                rootdirectory: names::DATA_DIRECTORY.into(),
                maxthreads: Filesystem::DEFAULT_MAX_THREADS,
            });
        }
        ValidStorage::InMemory => return Driver::InMemory,
        ValidStorage::Object(store) => store,
    };
    match &store.driver {
        ValidDriver::S3(s3) => Driver::S3(Box::new(build_s3(store, s3))),
        ValidDriver::Azure(azure) => Driver::Azure(Box::new(build_azure(store, azure))),
        ValidDriver::Gcs(gcs) => Driver::Gcs(Box::new(build_gcs(store, gcs))),
        ValidDriver::Swift(swift) => Driver::Swift(Box::new(build_swift(store, swift))),
        ValidDriver::Oss(oss) => Driver::Oss(Box::new(build_oss(store, oss))),
    }
}

pub(super) fn build_redirect(storage: &ValidStorage) -> Redirect {
    // A volume cannot be redirected to.
    Redirect { disable: storage.object_store().is_some_and(|store| !store.redirect) }
}

fn credentials_directory(store: &ValidObjectStore) -> Option<PathBuf> {
    store.secret().map(|_| mounted(names::STORAGE_DIRECTORY))
}

fn ca_file(store: &ValidObjectStore) -> Option<PathBuf> {
    store.ca.as_ref().map(|_| mounted(names::STORAGE_CA_FILE))
}

/// Whether an address is one of TLS; where there is none, the store's own is.
fn is_secure(endpoint: Option<&String>) -> bool {
    endpoint.is_none_or(|endpoint| !endpoint.starts_with("http://"))
}

fn build_s3(store: &ValidObjectStore, s3: &ValidS3) -> S3 {
    let ValidS3 {
        bucket,
        region,
        endpoint,
        redirect_endpoint,
        path_style,
        encryption,
        storage_class,
        chunk_bytes,
        use_dual_stack,
        use_fips,
        accelerate,
    } = s3.clone();
    S3 {
        bucket,
        region,
        secure: is_secure(endpoint.as_ref()),
        regionendpoint: endpoint,
        redirectendpoint: redirect_endpoint,
        accesskey: None,
        secretkey: None,
        sessiontoken: None,
        credentialsdirectory: credentials_directory(store),
        forcepathstyle: Some(path_style),
        rootdirectory: store.root_directory.clone(),
        encrypt: encryption.is_some(),
        keyid: encryption.and_then(|S3Encryption { key_id }| key_id),
        skipverify: store.skip_verify,
        cafile: ca_file(store),
        v4auth: true,
        chunksize: chunk_bytes,
        multipartcopychunksize: COPY_PART_BYTES,
        multipartcopymaxconcurrency: COPIES_AT_ONCE,
        multipartcopythresholdsize: COPY_PART_BYTES,
        storageclass: storage_class,
        objectacl: "private".into(),
        useragent: None,
        usedualstack: use_dual_stack,
        accelerate,
        usefipsendpoint: use_fips,
        loglevel: S3LogLevel::Off,
    }
}

fn build_azure(store: &ValidObjectStore, azure: &ValidAzure) -> Azure {
    let ValidAzure { account, container, realm, endpoint, application } = azure.clone();
    let credentials = match (&store.credentials, application) {
        (ValidCredentials::Identity(_), _) => Some(AzureCredentials {
            kind: AzureCredentialsKind::DefaultCredentials,
            clientid: None,
            tenantid: None,
            secret: None,
        }),
        (ValidCredentials::Secret(_), Some((client, tenant))) => Some(AzureCredentials {
            kind: AzureCredentialsKind::ClientSecret,
            clientid: Some(client),
            tenantid: Some(tenant),
            secret: None,
        }),
        (ValidCredentials::Secret(_), None) => None,
    };
    Azure {
        accountname: account.unwrap_or_default(),
        accountkey: None,
        connectionstring: None,
        credentialsdirectory: credentials_directory(store),
        container,
        realm,
        serviceurl: endpoint,
        rootdirectory: store.root_directory.clone(),
        credentials,
        max_retries: AZURE_TRIES,
        retry_delay: AZURE_TRY_AFTER,
        skipverify: store.skip_verify,
        cafile: ca_file(store),
    }
}

fn build_gcs(store: &ValidObjectStore, gcs: &ValidGcs) -> Gcs {
    let ValidGcs { bucket, endpoint, chunk_bytes } = gcs.clone();
    Gcs {
        bucket,
        keyfile: credentials_directory(store).map(|directory| directory.join("keyfile")),
        credentials: [].into(),
        endpoint,
        skipverify: store.skip_verify,
        cafile: ca_file(store),
        rootdirectory: store.root_directory.clone(),
        chunksize: chunk_bytes,
        maxconcurrency: GCS_REQUESTS_AT_ONCE,
        useragent: None,
    }
}

fn build_swift(store: &ValidObjectStore, swift: &ValidSwift) -> Swift {
    let ValidSwift {
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
        chunk_bytes,
        temp_url_container_key,
    } = swift.clone();
    let endpoint_type = match endpoint_type {
        SwiftEndpointType::Public => "public",
        SwiftEndpointType::Internal => "internal",
        SwiftEndpointType::Admin => "admin",
    };
    Swift {
        authurl: auth_url,
        username: username.unwrap_or_default(),
        password: None,
        credentialsdirectory: credentials_directory(store),
        container,
        region,
        tenant,
        tenantid: tenant_id,
        domain,
        domainid: domain_id,
        tenantdomain: tenant_domain,
        tenantdomainid: tenant_domain_id,
        trustid: trust_id,
        authversion: auth_version,
        endpointtype: Some(endpoint_type.into()),
        insecureskipverify: store.skip_verify,
        cafile: ca_file(store),
        chunksize: chunk_bytes,
        prefix: store.root_directory.clone(),
        secretkey: None,
        accesskey: None,
        tempurlcontainerkey: temp_url_container_key,
        tempurlmethods: Vec::new(),
    }
}

fn build_oss(store: &ValidObjectStore, oss: &ValidOss) -> Oss {
    let ValidOss { bucket, region, endpoint, internal, encrypt, chunk_bytes } = oss.clone();
    let secure = is_secure(endpoint.as_ref());
    // Here the key has no scheme, which `secure` says.
    let host = endpoint.map(|endpoint| match endpoint.split_once("://") {
        Some((_, host)) => host.to_owned(),
        None => endpoint,
    });
    Oss {
        accesskeyid: String::new(),
        accesskeysecret: None,
        credentialsdirectory: credentials_directory(store),
        region,
        endpoint: host,
        internal,
        bucket,
        encrypt,
        secure,
        skipverify: store.skip_verify,
        cafile: ca_file(store),
        chunksize: chunk_bytes,
        rootdirectory: store.root_directory.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Settings,
        registry::{render::build_config, validate::validate},
    };
    use berth_config::{Config, Storage};
    use berth_crds::Registry;
    use serde_json::{Value, json};

    /// The storage of the configuration that is rendered for this, which the server's parser reads back as it was.
    fn storage(spec: &Value) -> Storage {
        let registry: Registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main"}, "spec": {"storage": spec}}))
        .unwrap();
        let config = build_config(&validate(&registry, &Settings::default()).unwrap());
        let loaded = Config::load(&config.to_yaml(), []).unwrap_or_else(|error| panic!("{spec}: {error}"));
        assert_eq!(loaded.config, config, "{spec}");
        assert!(loaded.warnings.is_empty(), "{spec}: {:?}", loaded.warnings);
        config.storage
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn every_field_reaches_the_configuration() {
        let ca = json!({"configMapRef": {"name": "corp-ca"}});
        for (name, driver, fields) in [
            (
                "s3_in_full",
                "s3",
                json!({"bucket": "acme", "region": "eu-central-1", "endpoint": "http://minio:9000",
                    "redirectEndpoint": "https://minio.example", "pathStyle": false, "rootDirectory": "a/b",
                    "encryption": {"keyId": "alias/images"}, "storageClass": "NONE", "chunkSize": "8Mi", "ca": ca,
                    "insecureSkipVerify": true, "credentials": {"secretRef": {"name": "s3"}}, "redirect": true}),
            ),
            (
                "s3_with_an_identity",
                "s3",
                json!({"bucket": "acme", "region": "eu-central-1", "useDualStack": true, "useFips": true,
                    "encryption": {}, "credentials": {"workloadIdentity": {}}}),
            ),
            (
                "s3_accelerated",
                "s3",
                json!({"bucket": "acme", "region": "eu-central-1", "accelerate": true,
                    "credentials": {"workloadIdentity": {}}}),
            ),
            (
                "azure_in_full",
                "azure",
                json!({"accountName": "acme", "container": "images", "realm": "core.chinacloudapi.cn",
                    "endpoint": "https://acme.example", "rootDirectory": "a", "ca": ca, "insecureSkipVerify": true,
                    "credentials": {"secretRef": {"name": "azure"}}, "redirect": true}),
            ),
            (
                "azure_by_a_connection_string",
                "azure",
                json!({"container": "images", "credentials": {"secretRef": {"name": "azure"}}}),
            ),
            (
                "azure_by_an_application",
                "azure",
                json!({"accountName": "acme", "container": "images", "credentials": {"clientSecret": {
                    "clientId": "i", "tenantId": "t", "secretRef": {"name": "azure"}}}}),
            ),
            (
                "azure_with_an_identity",
                "azure",
                json!({"accountName": "acme", "container": "images", "credentials": {"workloadIdentity": {}}}),
            ),
            (
                "gcs_in_full",
                "gcs",
                json!({"bucket": "acme", "endpoint": "https://gcs.example", "rootDirectory": "a", "chunkSize": "1Mi",
                    "ca": ca, "insecureSkipVerify": true, "credentials": {"secretRef": {"name": "gcs"}},
                    "redirect": true}),
            ),
            ("gcs_with_an_identity", "gcs", json!({"bucket": "acme", "credentials": {"workloadIdentity": {}}})),
            (
                "swift_in_full",
                "swift",
                json!({"authUrl": "https://keystone.example/v3", "authVersion": 3, "username": "u", "container": "c",
                    "region": "r", "tenant": "t", "tenantId": "ti", "domain": "d", "domainId": "di",
                    "tenantDomain": "td", "tenantDomainId": "tdi", "trustId": "tr", "endpointType": "Internal",
                    "rootDirectory": "a", "chunkSize": "2Mi", "tempUrlContainerKey": true, "ca": ca,
                    "insecureSkipVerify": true, "credentials": {"secretRef": {"name": "swift"}}, "redirect": true}),
            ),
            (
                "swift_in_short",
                "swift",
                json!({"authUrl": "https://keystone.example/v3", "container": "c",
                    "credentials": {"secretRef": {"name": "swift"}}}),
            ),
            (
                "oss_in_full",
                "oss",
                json!({"bucket": "acme", "region": "oss-eu-central-1", "endpoint": "http://oss.example:8080",
                    "rootDirectory": "a", "encrypt": true, "chunkSize": "5Mi", "ca": ca, "insecureSkipVerify": true,
                    "credentials": {"secretRef": {"name": "oss"}}, "redirect": true}),
            ),
            (
                "oss_with_a_role",
                "oss",
                json!({"bucket": "acme", "region": "oss-eu-central-1", "internal": true,
                    "credentials": {"workloadIdentity": {"roleName": "acme-registry"}}}),
            ),
            (
                "oss_in_short",
                "oss",
                json!({"bucket": "acme", "region": "oss-eu-central-1", "internal": true,
                    "credentials": {"secretRef": {"name": "oss"}}}),
            ),
        ] {
            insta::assert_yaml_snapshot!(name, storage(&json!({ driver: fields })));
        }
        assert_eq!(storage(&json!({"inMemory": {}})).driver, Driver::InMemory);
    }
}
