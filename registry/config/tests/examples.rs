//! Configurations that people run Distribution with, of both series: each is read, says what it should, comes back as it
//! was, and shows no secret.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use berth_config::{Auth, Config, Driver, Duration, Loaded, Method, Platforms, TlsVersion};

fn load(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    Config::load(&text, []).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn all() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples");
    let files = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_example_comes_back_as_it_was() {
    let names = all();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let config = load(&name).config;
        let written = config.to_yaml();
        let read = Config::load(&written, []).unwrap_or_else(|error| panic!("{name}: {error}\n{written}"));
        assert_eq!(read.config, config, "{name}\n{written}");
        assert!(read.warnings.is_empty(), "{name}: {:?}", read.warnings);
    }
}

#[test]
fn no_example_shows_its_secret() {
    let mut hidden = 0;
    for name in all() {
        let Loaded { config, warnings } = load(&name);
        let shown = config.to_yaml_redacted();
        assert!(!shown.contains("hunter2x"), "{name}\n{shown}");
        assert!(!format!("{config:?}{warnings:?}").contains("hunter2x"), "{name}");
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2x"), "{name}");
        hidden += shown.matches("<hidden>").count();
    }
    assert!(hidden >= 12, "{hidden}");
}

#[test]
fn what_has_no_use_is_said() {
    let keys = |name: &str| -> Vec<String> {
        load(name).warnings.iter().map(|warning| warning.split([' ', ':']).next().unwrap().to_owned()).collect()
    };
    for (name, expected) in [
        ("default-2.8.yml", vec!["storage.cache"]),
        ("default-3.yml", vec!["storage.cache", "storage.tag"]),
        (
            "htpasswd-tls-2.8.yml",
            vec!["loglevel", "log.hooks", "redis", "reporting", "storage.cache", "http.tls.minimumtls"],
        ),
        ("token-3.yml", vec![]),
        ("notifications-3.yml", vec![]),
    ] {
        assert_eq!(keys(name), expected, "{name}");
    }
}

#[test]
fn old_spellings_mean_what_they_meant() {
    let config = load("htpasswd-tls-2.8.yml").config;
    let Some(Auth { method: Some(Method::Htpasswd(htpasswd)), .. }) = &config.auth else { panic!("{:?}", config.auth) };
    assert_eq!((htpasswd.realm.as_str(), htpasswd.path.to_str()), ("basic-realm", Some("/etc/registry/htpasswd")));
    let tls = config.http.tls.unwrap();
    assert_eq!((tls.minimumtls, tls.letsencrypt, tls.clientcas.len()), (TlsVersion::Tls12, None, 1));
    assert!(config.compatibility.schema1.enabled && config.storage.redirect.disable);
    assert!(!config.log.accesslog.disabled);
    assert_eq!(config.log.fields["instance"], 3);
    assert!(config.validation.is_on());
}

#[test]
fn parameters_of_drivers_may_be_quoted() {
    let Driver::S3(s3) = load("s3-minio-3.yml").config.storage.driver else { panic!() };
    assert_eq!(s3.accesskey.as_deref(), Some("0073917284"));
    assert_eq!((s3.secure, s3.skipverify, s3.forcepathstyle, s3.chunksize), (false, false, Some(true), 32 << 20));
    let Driver::Swift(swift) = load("swift-2.8.yml").config.storage.driver else { panic!() };
    assert_eq!((swift.tenant.as_deref(), swift.chunksize), (Some("12345"), 5 << 20));
    let cloudfront = load("s3-cloudfront-2.8.yml").config.middleware.storage.remove(0);
    assert_eq!(cloudfront.options.updatefrequency, Some(Duration::from_secs(12 * 3600)));
}

#[test]
fn what_entries_share_may_be_an_anchor() {
    let config = load("notifications-3.yml").config;
    let [alerts, audit] = config.notifications.endpoints.as_slice() else { panic!("{:?}", config.notifications) };
    assert_eq!((alerts.name.as_str(), audit.name.as_str()), ("alerts", "audit"));
    assert_eq!(alerts.url, audit.url);
    assert_eq!(audit.threshold, 10, "zero is the default");
    assert_eq!(alerts.headers["X-Id"][0].expose(), "7");
    assert_eq!((config.auth, config.storage.driver), (None, Driver::InMemory));
    assert_eq!(config.validation.manifests.indexes.platforms, Platforms::List);
    assert_eq!(config.health.file[0].threshold, 1);
}
