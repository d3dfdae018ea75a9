//! The configuration of the server, and the ConfigMap that carries it.

use std::path::{Path, PathBuf};

use berth_config::{
    AccessLog, Admin, AuditEvents, AuditLog, Catalog, Compatibility, Config, Debug, Delete, Duration, Events, H2c,
    Health, Http, Http2, IndexValidation, Level, Log, LogFormat, Maintenance, ManifestValidation, Middleware, Net,
    Notifications, Platform, Platforms, Policy, Prometheus, ReadOnly, RepositoryPolicy, Schema1, Storage,
    StorageHealth, Tags, Tls, TlsVersion, UploadPurging, Urls, Validation, Version,
};
use berth_crds::{LogLevel, UrlRules};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    ValidRegistry,
    auth::build_auth,
    deployment::DRAIN_SECONDS,
    metadata,
    store::{build_driver, build_redirect},
};
use crate::{
    names,
    registry::validate::{ValidPlatforms, ValidTls, ValidValidation},
};

/// Matches every address that a layer may name.
const ANY_URL: &str = "^https?://";

/// The whole configuration; nothing is left to a default of the server's, so that a newer server runs the same.
#[must_use]
pub fn build_config(registry: &ValidRegistry) -> Config {
    Config {
        version: Version,
        log: Log {
            level: match registry.log_level {
                LogLevel::Error => Level::Error,
                LogLevel::Warn => Level::Warn,
                LogLevel::Info => Level::Info,
                LogLevel::Debug => Level::Debug,
            },
            formatter: match registry.log_format {
                berth_crds::LogFormat::Json => LogFormat::Json,
                berth_crds::LogFormat::Text => LogFormat::Text,
            },
            fields: registry.log_fields.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
            accesslog: AccessLog { disabled: !registry.log_requests },
            auditlog: AuditLog {
                events: registry.log_audit.map(|events| match events {
                    berth_crds::AuditEvents::None => AuditEvents::None,
                    berth_crds::AuditEvents::Changes => AuditEvents::Changes,
                    berth_crds::AuditEvents::All => AuditEvents::All,
                }),
            },
        },
        storage: Storage {
            driver: build_driver(&registry.storage),
            delete: Delete { enabled: registry.delete },
            maintenance: Maintenance {
                uploadpurging: UploadPurging {
                    enabled: true,
                    age: Duration::from_secs(168 * 3600),
                    interval: Duration::from_secs(24 * 3600),
                    dryrun: false,
                },
                readonly: ReadOnly { enabled: false, file: Some(mounted(names::READ_ONLY_FILE)) },
            },
            redirect: build_redirect(&registry.storage),
        },
        auth: registry.auth.as_ref().map(build_auth),
        middleware: Middleware { registry: [].into(), repository: [].into(), storage: [].into() },
        http: Http {
            addr: format!(":{}", names::REGISTRY_PORT),
            net: Net::Tcp,
            host: None,
            prefix: String::new(),
            secret: None,
            relativeurls: false,
            draintimeout: Duration::from_secs(DRAIN_SECONDS.unsigned_abs()),
            tls: registry.tls.as_ref().map(build_tls),
            http2: Http2 { disabled: false },
            h2c: H2c { enabled: false },
            headers: registry.headers.clone(),
            debug: Some(Debug {
                addr: format!(":{}", names::DEBUG_PORT),
                prometheus: Prometheus { enabled: true, path: names::METRICS_PATH.into() },
                admin: Some(Admin { tokenfile: mounted(names::TOKEN_FILE) }),
            }),
        },
        notifications: Notifications { events: Events { includereferences: false }, endpoints: [].into() },
        catalog: Catalog { maxentries: 1000 },
        tags: Tags { maxtags: 1000 },
        health: Health {
            storagedriver: StorageHealth { enabled: true, interval: Duration::from_secs(10), threshold: 3 },
            file: [].into(),
            http: [].into(),
            tcp: [].into(),
        },
        proxy: None,
        validation: build_validation(&registry.validation),
        policy: Policy { repository: RepositoryPolicy { classes: [].into() } },
        compatibility: Compatibility { schema1: Schema1 { signingkeyfile: None, enabled: false } },
    }
}

/// Where a file of the configuration's volume is.
pub(super) fn mounted(file: &str) -> PathBuf {
    Path::new(names::CONFIG_DIRECTORY).join(file)
}

fn build_tls(tls: &ValidTls) -> Tls {
    Tls {
        certificate: Some(mounted(names::CERTIFICATE_FILE)),
        key: Some(mounted(names::PRIVATE_KEY_FILE)),
        clientcas: Vec::new(),
        clientauth: None,
        minimumtls: match tls.min_version {
            berth_crds::TlsVersion::V1_2 => TlsVersion::Tls12,
            berth_crds::TlsVersion::V1_3 => TlsVersion::Tls13,
        },
        ciphersuites: Vec::new(),
        letsencrypt: None,
    }
}

fn build_validation(validation: &ValidValidation) -> Validation {
    let ValidValidation { urls, platforms } = validation;
    let urls = match urls {
        Some(UrlRules { allow, deny }) => Urls { allow: allow.clone(), deny: deny.clone() },
        // Two empty lists allow none.
        None => Urls { allow: vec![ANY_URL.to_owned()], deny: Vec::new() },
    };
    let (platforms, list) = match platforms {
        ValidPlatforms::All => (Platforms::All, [].as_slice()),
        ValidPlatforms::None => (Platforms::None, [].as_slice()),
        ValidPlatforms::List(list) => (Platforms::List, list.as_slice()),
    };
    let platform = |platform: &berth_crds::Platform| {
        let berth_crds::Platform { architecture, os } = platform.clone();
        Platform { architecture, os }
    };
    let indexes = IndexValidation { platforms, platformlist: list.iter().map(platform).collect() };
    Validation { enabled: true, disabled: false, manifests: ManifestValidation { urls, indexes } }
}

/// An immutable ConfigMap, named after its content: the pods of the last rollout keep theirs until they are gone.
pub(super) fn build_config_map(registry: &ValidRegistry) -> ConfigMap {
    let content = build_config(registry).to_yaml();
    let name = names::config_map(&registry.name, &names::digest(content.as_bytes()));
    ConfigMap {
        metadata: metadata(registry, name),
        data: Some([(names::CONFIG_FILE.to_owned(), content)].into()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}
