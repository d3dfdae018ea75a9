//! The configuration of the server, and the ConfigMap that carries it.

use berth_config::{
    AccessLog, Admin, Catalog, Compatibility, Config, Debug, Delete, Driver, Duration, Events, Filesystem, H2c, Health,
    Http, Http2, IndexValidation, Level, Log, LogFormat, Maintenance, ManifestValidation, Middleware, Net,
    Notifications, Platforms, Policy, Prometheus, ReadOnly, Redirect, RepositoryPolicy, Schema1, Storage,
    StorageHealth, Tags, UploadPurging, Urls, Validation, Version,
};
use berth_crds::LogLevel;
use k8s_openapi::api::core::v1::ConfigMap;

use super::{ValidRegistry, deployment::DRAIN_SECONDS, metadata};
use crate::names;

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
            fields: [].into(),
            accesslog: AccessLog { disabled: false },
        },
        storage: Storage {
            driver: Driver::Filesystem(Filesystem {
                rootdirectory: names::DATA_DIRECTORY.into(),
                maxthreads: Filesystem::DEFAULT_MAX_THREADS,
            }),
            delete: Delete { enabled: registry.delete },
            maintenance: Maintenance {
                uploadpurging: UploadPurging {
                    enabled: true,
                    age: Duration::from_secs(168 * 3600),
                    interval: Duration::from_secs(24 * 3600),
                    dryrun: false,
                },
                readonly: ReadOnly { enabled: registry.read_only },
            },
            redirect: Redirect { disable: false },
        },
        auth: None,
        middleware: Middleware { registry: [].into(), repository: [].into(), storage: [].into() },
        http: Http {
            addr: format!(":{}", names::REGISTRY_PORT),
            net: Net::Tcp,
            host: None,
            prefix: String::new(),
            secret: None,
            relativeurls: false,
            draintimeout: Duration::from_secs(DRAIN_SECONDS.unsigned_abs()),
            tls: None,
            http2: Http2 { disabled: false },
            h2c: H2c { enabled: false },
            headers: [].into(),
            debug: Some(Debug {
                addr: format!(":{}", names::DEBUG_PORT),
                prometheus: Prometheus { enabled: true, path: "/metrics".into() },
                admin: Some(Admin { tokenfile: format!("{}/{}", names::CONFIG_DIRECTORY, names::TOKEN_FILE).into() }),
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
        validation: Validation {
            enabled: false,
            disabled: false,
            manifests: ManifestValidation {
                urls: Urls { allow: [].into(), deny: [].into() },
                indexes: IndexValidation { platforms: Platforms::All, platformlist: [].into() },
            },
        },
        policy: Policy { repository: RepositoryPolicy { classes: [].into() } },
        compatibility: Compatibility { schema1: Schema1 { signingkeyfile: None, enabled: false } },
    }
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
