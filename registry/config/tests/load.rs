//! Configurations as users write them, and what becomes of them.

use berth_config::{
    Admin, Certificate, CertificateGroups, CertificateName, Config, Debug, Driver, Duration, Filesystem, Level,
    LogFormat, Method, Prometheus, Secret, Silly,
};

/// The file that Distribution 3's own image ships.
const DISTRIBUTION_DEFAULT: &str = "
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_stock_file_is_read() {
    let loaded = Config::load(DISTRIBUTION_DEFAULT, []).unwrap();
    let Driver::Filesystem(filesystem) = &loaded.config.storage.driver else { panic!("{loaded:?}") };
    assert_eq!(filesystem.rootdirectory.to_str(), Some("/var/lib/registry"));
    assert!(!loaded.config.storage.delete.enabled);
    assert_eq!(loaded.config.http.headers["X-Content-Type-Options"], ["nosniff"]);
    assert_eq!(loaded.warnings, ["storage.cache has no effect: Berth needs no choice of cache"]);
}

#[test]
fn a_configuration_comes_back_as_it_was_written() {
    let mut config = Config::default();
    config.http.secret = Some(Secret::new("s3cr3t".into()));
    config.http.headers.insert("X-A".into(), vec!["1".into(), "yes".into()]);
    config.http.debug = Some(Debug {
        addr: ":5001".into(),
        prometheus: Prometheus { enabled: true, path: "/metrics".into() },
        admin: Some(Admin { tokenfile: "/etc/berth/admin/token".into() }),
    });
    config.log.fields.insert("service".into(), "registry".into());
    for driver in [Driver::InMemory, config.storage.driver.clone()] {
        config.storage.driver = driver;
        let yaml = config.to_yaml();
        assert_eq!(Config::load(&yaml, []).unwrap().config, config, "{yaml}");
    }
}

#[test]
fn clients_are_checked_against_authorities_or_not_at_all() {
    let load = |tls: &str| {
        let text = format!("version: 0.1\nstorage: inmemory\nhttp: {{tls: {{certificate: /c, key: /k{tls}}}}}");
        Config::load(&text, []).map_err(|error| error.to_string().split(':').next().unwrap().to_owned())
    };
    for mode in ["require-any-client-cert", "verify-client-cert-if-given", "require-and-verify-client-cert"] {
        let refused = load(&format!(", clientauth: {mode}")).unwrap_err();
        assert_eq!(refused, "http.tls.clientauth", "{mode}");
        let loaded = load(&format!(", clientauth: {mode}, clientcas: [/ca]")).unwrap();
        assert!(loaded.warnings.is_empty(), "{mode}: {:?}", loaded.warnings);
        // What is written is read back, with and without.
        assert_eq!(Config::load(&loaded.config.to_yaml(), []).unwrap().config, loaded.config);
    }
    // It asks for nothing that would keep anybody out.
    let loaded = load(", clientauth: request-client-cert").unwrap();
    assert_eq!(loaded.warnings, ["http.tls.clientauth has no effect without http.tls.clientcas"]);
    let loaded = load("").unwrap();
    assert_eq!((loaded.config.http.tls.as_ref().unwrap().clientauth, loaded.warnings.len()), (None, 0));
    assert_eq!(Config::load(&loaded.config.to_yaml(), []).unwrap().config, loaded.config);
}

#[test]
fn the_environment_overrides_the_file() {
    let check = |pairs: &[(&str, &str)]| Config::load(DISTRIBUTION_DEFAULT, variables(pairs)).unwrap();

    let loaded = check(&[("REGISTRY_STORAGE_DELETE_ENABLED", "true"), ("REGISTRY_LOG_LEVEL", "debug")]);
    assert!(loaded.config.storage.delete.enabled);
    assert_eq!(loaded.config.log.level, Level::Debug);

    let loaded = check(&[("REGISTRY_STORAGE", "inmemory")]);
    assert_eq!(loaded.config.storage.driver, Driver::InMemory);

    let loaded = check(&[("REGISTRY_HTTP_HEADERS_X-B", "[one, two]"), ("REGISTRY_HTTP_DRAINTIMEOUT", "5s")]);
    assert_eq!(loaded.config.http.headers["x-b"], ["one", "two"]);
    assert_eq!(loaded.config.http.draintimeout, Duration::from_secs(5));

    let loaded = check(&[("REGISTRY_PORT", "tcp://10.0.0.1:5000"), ("REGISTRY_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
    let link = "environment variable REGISTRY_PORT is Kubernetes' link to a Service and has no effect";
    assert_eq!(loaded.warnings[0], link);

    let loaded = check(&[("REGISTRY_AUTH_SERVICE_HOST", "10.0.0.1"), ("REGISTRY_AUTH_SERVICE_PORT", "80")]);
    assert!(loaded.warnings[1].contains("REGISTRY_AUTH_SERVICE_PORT is Kubernetes' link"), "{:?}", loaded.warnings);

    let loaded = check(&[("REGISTRY_HTTP__ADDR", ":1"), ("REGISTRY_LOG_LEVEL_", "debug")]);
    let unknown = |name: &str| format!("environment variable {name} has no effect: it names no key");
    assert_eq!(loaded.warnings[..2], [unknown("REGISTRY_HTTP__ADDR"), unknown("REGISTRY_LOG_LEVEL_")]);

    let loaded = check(&[("REGISTRY_HTTP_TLS_CERTIFICATE", ""), ("REGISTRY_HTTP_TLS_KEY", ""), ("REGISTRY_AUTH", "")]);
    assert_eq!(loaded, check(&[]));
}

#[test]
fn short_and_old_forms_are_understood() {
    let inmemory = |text: &str| Config::load(text, []).unwrap().config;
    assert_eq!(inmemory("version: '0.1'\nstorage: inmemory").storage.driver, Driver::InMemory);
    assert_eq!(inmemory("version: 0.1\nstorage:\n  inmemory:").storage.driver, Driver::InMemory);
    assert_eq!(inmemory("version: 0.1\nstorage: inmemory\nlog: {level: INFO}").log.level, Level::Info);
    assert_eq!(inmemory("version: 0.1\nstorage: inmemory\nlog: {level: Debug}").log.level, Level::Debug);
    let config = inmemory("version: 0.1\nloglevel: warn\nlog: {formatter: json}\nstorage: {filesystem: }");
    assert_eq!((config.log.level, config.log.formatter), (Level::Warn, LogFormat::Json));
    assert_eq!(config.storage.driver, Driver::Filesystem(Filesystem::default()));
    let config = inmemory("version: 0.1\nstorage: {filesystem: {rootdirectory: /x, maxthreads: 3}}");
    let Driver::Filesystem(filesystem) = config.storage.driver else { panic!() };
    assert_eq!(filesystem.maxthreads, Filesystem::MIN_MAX_THREADS);
}

#[test]
fn the_old_level_counts_where_there_is_no_new_one() {
    let old = || variables(&[("REGISTRY_LOGLEVEL", "debug")]);
    let level = |loaded: Result<berth_config::Loaded, _>| loaded.unwrap().config.log.level;
    assert_eq!(level(Config::load(DISTRIBUTION_DEFAULT, old())), Level::Debug);
    assert_eq!(level(Config::load_default(old())), Level::Debug);
    assert_eq!(level(Config::load_default([])), Level::Info);
    let written = "version: 0.1\nstorage: inmemory\nlog: {level: warn}";
    assert_eq!(level(Config::load(written, old())), Level::Warn);
    let both = variables(&[("REGISTRY_LOGLEVEL", "debug"), ("REGISTRY_LOG_LEVEL", "error")]);
    assert_eq!(level(Config::load_default(both)), Level::Error);
    let warnings = Config::load(DISTRIBUTION_DEFAULT, old()).unwrap().warnings;
    assert_eq!(warnings[0], "loglevel is old: write log.level");
}

#[test]
fn bad_configurations_name_the_key() {
    for (text, message) in [
        ("", ".: the configuration is not a map"),
        ("version: [", "the configuration is not YAML: it cannot be read at line 1, column "),
        ("version: 0.2\nstorage: inmemory", "version: version 0.2 is not known"),
        ("storage: inmemory", "version: must be set"),
        ("version: 0.1", "storage: must be set"),
        ("version: 0.1\nstorage: {delete: {enabled: true}}", "storage: storage names no driver"),
        ("version: 0.1\nstorage: {inmemory: , filesystem: }", "storage: storage names two drivers"),
        ("version: 0.1\nstorage: {filesystm: {}}", "storage.filesystm: there is no such key; did you mean filesystem?"),
        ("version: 0.1\nstorage: inmemory\nhttp: {adr: ':1'}", "http.adr: there is no such key; did you mean addr?"),
        ("version: 0.1\nstorage: inmemory\nhttp: {addr: localhost}", "http.addr: \"localhost\" is not HOST:PORT"),
        ("version: 0.1\nstorage: inmemory\nhttp: {debug: {addr: ':5000'}}", "http.debug.addr: the same address"),
        ("version: 0.1\nstorage: inmemory\nhttp: {host: r.example}", "http.host: \"r.example\" is not an address"),
        ("version: 0.1\nstorage: inmemory\nhttp: {prefix: x}", "http.prefix: \"x\" must begin and end"),
        ("version: 0.1\nstorage: inmemory\nhttp: {draintimeout: 5x}", "http.draintimeout: duration \"5x\""),
        (
            "version: 0.1\nstorage: inmemory\nlog: {level: loud}",
            "log.level: \"loud\" is not known; write one of error, warn, info, debug",
        ),
        (
            "version: 0.1\nstorage: inmemory\nlog: {auditlog: {events: writes}}",
            "log.auditlog.events: \"writes\" is not known; write one of none, changes, all",
        ),
        (
            "version: 0.1\nstorage: inmemory\nlog: {auditlog: {disabled: true}}",
            "log.auditlog.disabled: there is no such key",
        ),
        ("version: 0.1\nstorage: inmemory\ntags: {maxtags: -1}", "tags.maxtags: invalid value: integer `-1`"),
        ("version: 0.1\nstorage: inmemory\nauth: {htpasswd: {}}", "auth.htpasswd.realm: must be set"),
        ("version: 0.1\nstorage: inmemory\nauth: htpasswd", "auth.htpasswd.realm: must be set"),
        ("version: 0.1\nstorage: inmemory\nhttp: {tls: {certificate: /c}}", "http.tls.key: must be set where"),
        (
            "version: 0.1\nstorage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientauth: require-any-client-cert}}",
            "http.tls.clientauth: require-any-client-cert has no effect without http.tls.clientcas, and every client",
        ),
    ] {
        let error = Config::load(text, []).unwrap_err().to_string();
        assert!(error.contains(message), "{text:?}\n gave {error}\n not {message}");
    }
    for (name, value, message) in [
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/x", "auth.htpasswd.realm: must be set"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "", "auth.htpasswd.realm: must be set"),
        ("REGISTRY_AUTH_HTPASWD_PATH", "/x", "REGISTRY_AUTH_HTPASWD_PATH: auth.htpaswd: there is no such key; did you"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/x", "http.tls.key: must be set where http.tls.certificate is"),
        ("REGISTRY_LOG_LEVEL", "[", "environment variable REGISTRY_LOG_LEVEL: its value is not YAML"),
        ("REGISTRY_LOG_LEVEL", "loud", "log.level: \"loud\" is not known; write one of error, warn, info, debug"),
        ("REGISTRY_HTTP_ADDR_X", "1", "environment variable REGISTRY_HTTP_ADDR_X: \"x\" lies below a plain value"),
    ] {
        let error = Config::load(DISTRIBUTION_DEFAULT, variables(&[(name, value)])).unwrap_err().to_string();
        assert!(error.contains(message), "{name}={value}\n gave {error}\n not {message}");
    }
}

/// Configurations whose values do not fit together, below `version`, and what is said of each.
const UNFIT: &[(&str, &str)] = &[
    ("storage: {inmemory: , s3: {bucket: b, region: r}}", "storage: storage names two drivers, inmemory and s3: keep"),
    ("storage: {s3: {bucket: b, region: r}, s3aws: {bucket: b}}", "storage: storage names two drivers, s3 and s3aws"),
    ("storage: {s3: {region: r}}", "storage.s3.bucket: must be set"),
    ("storage: {s3: {bucket: b}}", "storage.s3.region: must be set unless regionendpoint is"),
    ("storage: {s3: {bucket: b, region: r, accesskey: a}}", "storage.s3.secretkey: must be set where accesskey is"),
    ("storage: {s3: {bucket: b, region: r, chunksize: 1}}", "storage.s3.chunksize: must be from 5242880 to"),
    ("storage: {s3: {bucket: b, region: r, v4auth: false}}", "storage.s3.v4auth: must be true"),
    ("storage: {s3: {bucket: b, region: r, secure: maybe}}", "storage.s3.secure: invalid type: string \"maybe\""),
    (
        "storage: {s3: {bucket: b, region: r, buckte: b}}",
        "storage.s3.buckte: there is no such key; did you mean bucket?",
    ),
    (
        "storage: {s3: {bucket: b, region: r, accesskey: a, secretkey: s, credentialsdirectory: /d}}",
        "storage.s3.credentialsdirectory: cannot stand beside storage.s3.accesskey: keep one of the two",
    ),
    (
        "storage: {s3: {bucket: b, region: r, sessiontoken: t, credentialsdirectory: /d}}",
        "storage.s3.credentialsdirectory: cannot stand beside storage.s3.sessiontoken",
    ),
    ("storage: {azure: {container: c}}", "storage.azure.accountname: must be set"),
    (
        "storage: {azure: {container: c, accountname: a, max_retries: -2}}",
        "storage.azure.max_retries: must be at least -1",
    ),
    (
        "storage: {azure: {container: c, connectionstring: s, credentialsdirectory: /d}}",
        "storage.azure.credentialsdirectory: cannot stand beside storage.azure.connectionstring",
    ),
    (
        "storage: {azure: {container: c, accountname: a, credentialsdirectory: /d, credentials: {type: client_secret, \
         clientid: i, tenantid: t, secret: s}}}",
        "storage.azure.credentialsdirectory: cannot stand beside storage.azure.credentials.secret",
    ),
    (
        "storage: {azure: {container: c, accountname: a, credentialsdirectory: /d, credentials: {type: client_secret}}}",
        "storage.azure.credentials.clientid: must be set",
    ),
    (
        "storage: {azure: {container: c, accountname: a, credentials: {type: client_secret, clientid: i}}}",
        "storage.azure.credentials.tenantid: must be set",
    ),
    ("storage: {gcs: {bucket: b, chunksize: 1000}}", "storage.gcs.chunksize: must be a multiple of 262144 bytes"),
    ("storage: {gcs: {bucket: b, endpoint: 'store:4443'}}", "storage.gcs.endpoint: is not an address that begins"),
    (
        "storage: {swift: {authurl: a, username: u, container: c}}",
        "storage.swift.authurl: is not an address that begins",
    ),
    ("storage: {swift: {authurl: 'http://a', username: u, container: c}}", "storage.swift.password: must be set"),
    (
        "storage: {swift: {authurl: 'http://a', container: c, secretkey: s, credentialsdirectory: /d}}",
        "storage.swift.credentialsdirectory: cannot stand beside storage.swift.secretkey",
    ),
    ("storage: {oss: {accesskeyid: i, region: r, bucket: b}}", "storage.oss.accesskeysecret: must be set beside"),
    ("storage: {oss: {accesskeysecret: s, region: r, bucket: b}}", "storage.oss.accesskeyid: must be set beside"),
    (
        "storage: {oss: {accesskeyid: i, region: r, bucket: b, credentialsdirectory: /d}}",
        "storage.oss.credentialsdirectory: cannot stand beside storage.oss.accesskeyid",
    ),
    ("storage: inmemory\nauth: ldap", "auth.ldap: there is no such key; here are known silly, htpasswd, token"),
    (
        "storage: inmemory\nauth: {htpasswd: {realm: r, path: /p}, silly: {realm: r, service: s}}",
        "auth: auth names two methods, silly and htpasswd",
    ),
    (
        "storage: inmemory\nauth: {htpasswd: {realm: \"a\\nb\", path: /p}}",
        "auth.htpasswd.realm: must be of ASCII characters",
    ),
    (
        "storage: inmemory\nauth: {token: {realm: 'https://a', service: s, issuer: i}}",
        "auth.token: names no key to check tokens with",
    ),
    (
        "storage: inmemory\nauth: {htpasswd: {realm: r, path: /p}, rules: [{users: [a], repositories: b, actions: [pull]}, {repositories: b, actions: [pull]}]}",
        "auth.rules.1: it names nobody: add users",
    ),
    (
        "storage: inmemory\nauth: {htpasswd: {realm: r, path: /p}, rules: [{groups: [a], repositories: b, actions: [pull]}]}",
        "auth.rules.0.groups: nobody has any",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\n\
         auth: {certificate: {groups: none}, rules: [{groups: [a], repositories: b, actions: [pull]}]}",
        "auth.rules.0.groups: nobody has any",
    ),
    ("storage: inmemory\nauth: {htpasswd: {realm: r, path: /p}, rules: []}", "auth: auth.rules has no rule: add one"),
    (
        "storage: inmemory\nauth: {htpasswd: {realm: r, path: /p}, certificate: {}}",
        "auth.certificate: needs http.tls.clientcas",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k}}\nauth: {certificate: {}}",
        "auth.certificate: needs http.tls.clientcas",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: request-client-cert}}\n\
         auth: {certificate: {}}",
        "auth.certificate: has no effect where http.tls.clientauth is request-client-cert, which verifies no certificate",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: require-any-client-cert}}\n\
         auth: {certificate: {}}",
        "auth.certificate: has no effect where http.tls.clientauth is require-any-client-cert",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\n\
         auth: {token: {realm: 'https://a', service: s, issuer: i, jwks: /k}, certificate: {}}",
        "auth.certificate: needs auth.rules beside auth.token",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\nauth: {certificate: {prefix: 'a*'}}",
        "auth.certificate.prefix: must be at most 64 bytes of text without * { and }",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\n\
         auth: {certificate: {prefix: 'system:node:'}, rules: [{users: [a], repositories: b, actions: [pull]}], \
         issuer: {service: r, issuer: 'https://r/auth', keys: /k, htpasswd: {path: /p}}}",
        "auth.certificate.prefix: must not begin as system: does",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\n\
         auth: {certificate: {}, rules: [{users: [a], repositories: b, actions: [pull]}], \
         issuer: {service: r, issuer: 'https://r/auth', keys: /k, oidc: [{name: cert, url: 'https://a', audience: r}]}}",
        "auth.certificate.prefix: \"cert:\" must not begin as \"cert:\" does, which is in front of what an issuer",
    ),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}\nauth: {certificate: {name: subject}}",
        "auth.certificate.name: \"subject\" is not known; write one of commonname, uri, dns, email",
    ),
    (
        "storage: inmemory\nauth: {anonymous: [{repositories: 'Public/**', actions: [pull]}]}",
        "auth.anonymous.0.repositories: \"Public/**\" is no pattern of repositories",
    ),
    ("storage: inmemory\nauth: {anonymous: [{repositories: a}]}", "auth.anonymous.0: it grants no actions"),
    ("storage: inmemory\nauth: {anonymous: [{repositories: a, actions: [write]}]}", "auth.anonymous.0.actions"),
    (
        "storage: inmemory\nauth: {token: {realm: 'https://a', service: s, issuer: i, jwks: 'http://id.example/keys'}}",
        "auth.token.jwks: must begin with https://",
    ),
    (
        "storage: inmemory\nauth: {token: {realm: 'https://a', service: s, issuer: i, jwks: /keys.json, jwkscafile: /ca}}",
        "auth.token.jwkscafile: has no effect",
    ),
    (
        "storage: inmemory\nauth: {token: {realm: a, service: s, issuer: i, jwks: /k}}",
        "auth.token.realm: is not an address",
    ),
    ("storage: inmemory\nhttp: {tls: {letsencrypt: {cachefile: /c}}}", "http.tls.letsencrypt.hosts: names no host"),
    (
        "storage: inmemory\nhttp: {tls: {certificate: /c, key: /k, clientauth: any}}",
        "http.tls.clientauth: \"any\" is not known; write one of request-client-cert",
    ),
    ("storage: inmemory\nhttp: {net: udp}", "http.net: \"udp\" is not known; write one of tcp, unix"),
    (
        "storage: inmemory\nmiddleware: {storage: [{name: cloudflare}]}",
        "middleware.storage.0.name: \"cloudflare\" is not known",
    ),
    (
        "storage: inmemory\nmiddleware: {storage: [{name: redirect}]}",
        "middleware.storage.0.options.baseurl: must be set for redirect",
    ),
    (
        "storage: inmemory\nnotifications: {endpoints: [{name: a, url: 'http://a'}, {name: a, url: 'http://b'}]}",
        "notifications.endpoints.1.name: \"a\" is the name of two",
    ),
    (
        "storage: inmemory\nnotifications: {endpoints: [{name: a, url: 'http://a', ignore: {actions: [pulls]}}]}",
        "notifications.endpoints.0.ignore.actions: \"pulls\" is not known",
    ),
    (
        "storage: inmemory\nnotifications: {endpoints: [{name: a, url: 'http://a', tiemout: 1s}]}",
        "notifications.endpoints.0.tiemout: there is no such key; did you mean timeout?",
    ),
    ("storage: inmemory\nproxy: {remoteurl: docker.io}", "proxy.remoteurl: is not an address"),
    ("storage: inmemory\nproxy: {username: u}", "proxy.remoteurl: must be set"),
    ("storage: inmemory\nproxy: {remoteurl: 'https://r', ttl: soon}", "proxy.ttl: duration \"soon\""),
    (
        "storage: inmemory\nproxy: {remoteurl: 'https://r', ttl: [1]}",
        "proxy.ttl: invalid type: sequence, expected a duration such as",
    ),
    ("storage: inmemory\nhealth: {file: [{interval: 1s}]}", "health.file.0.file: must be set"),
    ("storage: inmemory\nhealth: {tcp: [{addr: host}]}", "health.tcp.0.addr: \"host\" is not HOST:PORT"),
    (
        "storage: inmemory\nhealth: {http: [{uri: 'http://a', statuscode: 99}]}",
        "health.http.0.statuscode: must be from 100",
    ),
    (
        "storage: inmemory\nvalidation: {manifests: {indexes: {platforms: list}}}",
        "validation.manifests.indexes.platformlist: must be set where",
    ),
    ("storage: inmemory\nhttp: {headers: nosniff}", "http.headers: invalid type: string \"nosniff\", expected a map"),
];

#[test]
fn what_does_not_fit_together_is_named() {
    for (text, expected) in UNFIT {
        let error = Config::load(&format!("version: 0.1\n{text}"), []).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}\n gave {error}\n not {expected}");
    }
}

/// Credentials may be in files, so that the configuration is no secret; then it needs none itself.
#[test]
fn credentials_may_be_in_a_directory() {
    for text in [
        "s3: {bucket: b, region: r, credentialsdirectory: /d, cafile: /ca}",
        "azure: {container: c, accountname: a, credentialsdirectory: /d, cafile: /ca}",
        "azure: {container: c, credentialsdirectory: /d}",
        "azure: {container: c, accountname: a, credentialsdirectory: /d, credentials: {type: shared_key}}",
        "azure: {container: c, accountname: a, credentialsdirectory: /d, credentials: {type: client_secret, clientid: i, \
         tenantid: t}}",
        "gcs: {bucket: b, keyfile: /d/keyfile, endpoint: 'https://store:4443', cafile: /ca, skipverify: true}",
        "swift: {authurl: 'http://a', container: c, credentialsdirectory: /d, cafile: /ca}",
        "swift: {authurl: 'http://a', container: c, username: u, credentialsdirectory: /d}",
        "oss: {region: r, bucket: b, credentialsdirectory: /d, cafile: /ca, skipverify: true}",
    ] {
        let config = Config::load(&format!("version: 0.1\nstorage: {{{text}}}"), []);
        let config = config.unwrap_or_else(|error| panic!("{text}: {error}")).config;
        let written = config.to_yaml();
        assert_eq!(Config::load(&written, []).unwrap().config, config, "{written}");
    }
}

/// As CNCF Distribution documents it; a zero is its word for the default.
#[test]
fn azure_may_be_asked_once_only() {
    let tries = |max_retries: i32| {
        let text =
            format!("version: 0.1\nstorage: {{azure: {{accountname: a, container: c, max_retries: {max_retries}}}}}");
        let config = Config::load(&text, []).unwrap().config;
        assert_eq!(Config::load(&config.to_yaml(), []).unwrap().config, config);
        let Driver::Azure(azure) = config.storage.driver else { panic!() };
        azure.max_retries
    };
    assert_eq!([tries(-1), tries(0), tries(3)], [-1, 5, 3]);
}

#[test]
fn variables_reach_every_key() {
    let base = "version: 0.1\nstorage: inmemory";
    let check = |pairs: &[(&str, &str)]| {
        let loaded = Config::load(base, variables(pairs)).unwrap_or_else(|error| panic!("{pairs:?}: {error}"));
        assert!(loaded.warnings.is_empty(), "{pairs:?}: {:?}", loaded.warnings);
        loaded.config
    };
    let config = check(&[
        ("REGISTRY_HEALTH_FILECHECKERS_0_FILE", "/tmp/down"),
        ("REGISTRY_HEALTH_FILECHECKERS_0_INTERVAL", "1m"),
        ("REGISTRY_HEALTH_TCP_0_ADDR", "a:1"),
        ("REGISTRY_HEALTH_TCPCHECKERS_1_ADDR", "b:2"),
    ]);
    assert_eq!((config.health.file[0].interval, config.health.tcp.len()), (Duration::from_secs(60), 2));
    let config = check(&[
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/a.pem"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_1", "/b.pem"),
        ("REGISTRY_HTTP_TLS_KEY", "/k"),
    ]);
    assert_eq!(config.http.tls.unwrap().clientcas.len(), 2);
    let config = check(&[
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "0073917284"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_REGION", "us-east-1"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "@*{x"),
        ("REGISTRY_STORAGE_S3_SECURE", "no"),
        ("REGISTRY_STORAGE_S3_CHUNKSIZE", "5242880"),
    ]);
    let Driver::S3(s3) = config.storage.driver else { panic!() };
    assert_eq!((s3.accesskey.as_deref(), s3.secure, s3.chunksize), (Some("0073917284"), false, 5 << 20));
    assert_eq!(s3.secretkey.unwrap().expose(), "@*{x");
    let config = check(&[
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME", "a"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_HEADERS_AUTHORIZATION", "[Bearer x]"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL", "http://a"),
        ("REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES", "true"),
        ("REGISTRY_AUTH", "{htpasswd: {realm: r, path: /p}}"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Here"),
        ("REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW", "['^https:']"),
        ("REGISTRY_POLICY_REPOSITORY_CLASSES_0", "image"),
    ]);
    assert!(config.notifications.events.includereferences);
    assert_eq!(config.notifications.endpoints[0].headers["authorization"][0].expose(), "Bearer x");
    let azure = [
        ("REGISTRY_STORAGE", "{azure: {accountname: a, container: c}}"),
        ("REGISTRY_STORAGE_AZURE_MAX_RETRIES", "9"),
        ("REGISTRY_STORAGE_AZURE_RETRY_DELAY", "1s"),
    ];
    let Driver::Azure(azure) = check(&azure).storage.driver else { panic!() };
    assert_eq!((azure.max_retries, azure.retry_delay), (9, Duration::from_secs(1)));
    assert_eq!(check(&[("REGISTRY_AUTH", "none")]).auth, None);
    for (pairs, message) in [
        (&[("REGISTRY_HEALTH_FILE_1_FILE", "/f")][..], "health.file: is a list and has no entry 0, but 1"),
        (
            &[("REGISTRY_STORAGE_S3_BUKET", "b")],
            "REGISTRY_STORAGE_S3_BUKET: storage.s3.buket: there is no such key; did",
        ),
        (&[("REGISTRY_HTTP", "{adr: x}")], "http.adr: there is no such key; did you mean addr?"),
        (
            &[("REGISTRY_AUTH_HTPASSWD_FILE", "/f")],
            "REGISTRY_AUTH_HTPASSWD_FILE: auth.htpasswd.file: there is no such key",
        ),
    ] {
        let error = Config::load(base, variables(pairs)).unwrap_err().to_string();
        assert!(error.contains(message), "{pairs:?}\n gave {error}\n not {message}");
    }
    let loaded = Config::load(base, variables(&[("REGISTRY_HTTP_DRAIN", "1s")])).unwrap();
    let warning =
        "environment variable REGISTRY_HTTP_DRAIN has no effect: http.drain: there is no such key; here are known";
    assert!(loaded.warnings[0].starts_with(warning), "{:?}", loaded.warnings);
}

#[test]
fn secrets_are_not_shown() {
    let mut config = Config::default();
    config.http.secret = Some(Secret::new("s3cr3t".into()));
    assert!(config.to_yaml().contains("s3cr3t"));
    assert!(!config.to_yaml_redacted().contains("s3cr3t"));
    assert!(!format!("{config:?}").contains("s3cr3t"));

    let text = "version: 0.1\nstorage: {inmemory: {}}\nhealth: {http: [{uri: \"https://me:s3cr3t@a.example/?t=s3cr3t\"}]}\n\
                proxy: {remoteurl: \"https://me:s3cr3t@b.example\"}\n\
                notifications: {endpoints: [{name: a, url: \"https://s3cr3t@c.example/x?y\"}]}\n";
    let config = Config::load(text, []).unwrap().config;
    assert_eq!(config.to_yaml().matches("s3cr3t").count(), 4);
    let shown = config.to_yaml_redacted();
    assert!(!shown.contains("s3cr3t"), "{shown}");
    for address in
        ["https://<hidden>@a.example/?<hidden>", "https://<hidden>@b.example", "https://<hidden>@c.example/x?<hidden>"]
    {
        assert!(shown.contains(address), "{address}: {shown}");
    }
}

/// Values that YAML reads as something else than text, or cannot read, or whose reading fails only as a secret.
const AWKWARD_SECRETS: &[&str] = &[
    "7391728465",
    "-7391728465",
    "7391728465.5",
    "739172846573917284657391728465",
    "true",
    "@hunter2x",
    "*hunter2x",
    "&hunter2x",
    "!hunter2x",
    "%hunter2x",
    "`hunter2x",
    "|hunter2x",
    "[hunter2x",
    "{hunter2x",
    "}hunter2x",
    "'hunter2x",
    "\"hunter2x",
    "\"\\hunter2x\"",
    "hunter2x: hunter2x: hunter2x",
    "hunter2x: *hunter2x",
    "- hunter2x",
    "{<<: hunter2x}",
    "!!int hunter2x",
    "!!binary hunter2x",
    "{hunter2x: 1, hunter2x: 2}",
    "[7391728465]",
    "{a: 7391728465}",
];

#[test]
fn a_secret_in_a_variable_is_its_text() {
    for secret in AWKWARD_SECRETS {
        for text in [DISTRIBUTION_DEFAULT, "version: 0.1\nstorage: inmemory\nhttp: {secret: other}"] {
            let loaded = Config::load(text, variables(&[("REGISTRY_HTTP_SECRET", secret)])).unwrap();
            assert_eq!(loaded.config.http.secret.unwrap().expose(), *secret);
            assert!(!loaded.warnings.concat().contains(secret), "{:?}", loaded.warnings);
        }
    }
}

#[test]
fn no_error_shows_a_secret() {
    let shows = |text: &str| text.contains("hunter2x") || text.contains("73917284");
    for secret in AWKWARD_SECRETS {
        let file = format!("version: 0.1\nstorage: inmemory\nhttp:\n  secret: {secret}\n  addr: here\n");
        let error = Config::load(&file, []).unwrap_err();
        assert!(!shows(&error.to_string()) && !shows(&format!("{error:?}")), "{secret:?} gave {error:?}");
        let whole = format!("secret: {secret}");
        for (name, value) in [("REGISTRY_HTTP", whole.as_str()), ("REGISTRY_HTTP_SECRET_X", secret)] {
            let Err(error) = Config::load(DISTRIBUTION_DEFAULT, variables(&[(name, value)])) else { continue };
            assert!(!shows(&error.to_string()) && !shows(&format!("{error:?}")), "{name}={value:?} gave {error:?}");
        }
    }
    let plain = |secret| Config::load(&format!("version: 0.1\nstorage: inmemory\nhttp: {{secret: {secret}}}"), []);
    for (written, read) in [("12345", "12345"), ("true", "true"), ("abc", "abc"), ("'1'", "1")] {
        assert_eq!(plain(written).unwrap().config.http.secret.unwrap().expose(), read);
    }
    let refused = plain("[1]").unwrap_err().to_string();
    assert_eq!(refused, "http.secret: invalid type: sequence, expected a plain value");
}

#[test]
fn the_certificates_of_clients_say_who_asks() {
    let load = |auth: &str| {
        let text = format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{tls: {{certificate: /c, key: /k, clientcas: [/ca]}}}}\nauth: {auth}"
        );
        let config = Config::load(&text, []).unwrap().config;
        assert_eq!(Config::load(&config.to_yaml(), []).unwrap().config, config, "{auth}");
        config.auth.unwrap().certificate.unwrap()
    };
    let plain = load("{certificate: {}}");
    assert_eq!(plain, Certificate::default());
    assert_eq!((load("certificate"), load("{certificate: }")), (plain.clone(), plain));
    let other = load("{htpasswd: {realm: r, path: /p}, certificate: {name: uri, groups: organization, prefix: 'x/'}}");
    let (name, groups) = (CertificateName::Uri, CertificateGroups::Organization);
    assert_eq!(other, Certificate { name, groups, prefix: Some("x/".into()) });
    load("{certificate: {}, rules: [{groups: ['cert:a'], repositories: b, actions: [pull]}]}");

    let method = Method::Silly(Silly { realm: "r".into(), service: "s".into() });
    for (prefix, alone, beside) in [(None, "", "cert:"), (Some("x/"), "x/", "x/")] {
        let certificate = Certificate { prefix: prefix.map(Into::into), ..Certificate::default() };
        assert_eq!((certificate.prefix_beside(None), certificate.prefix_beside(Some(&method))), (alone, beside));
    }
}
