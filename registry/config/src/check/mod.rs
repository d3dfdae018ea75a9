//! What the types cannot say: which values fit together. Each refusal names the key.

mod auth;

use std::path::PathBuf;

use crate::load::Error;
use crate::{
    Azure, AzureCredentialsKind, ClientAuth, Config, Driver, Filesystem, Gcs, Health, Http, IndexValidation, Layer,
    Middleware, Net, Notifications, Oss, Platforms, Proxy, S3, Swift, Tls,
};

/// Checks a configuration in force.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    check_http(&config.http)?;
    check_driver(&config.storage.driver)?;
    config.auth.as_ref().map_or(Ok(()), |auth| auth::check(auth, config.http.tls.as_ref()))?;
    check_middleware(&config.middleware)?;
    check_notifications(&config.notifications)?;
    config.proxy.as_ref().map_or(Ok(()), check_proxy)?;
    check_health(&config.health)?;
    check_indexes(&config.validation.manifests.indexes)?;
    if config.catalog.maxentries == 0 {
        return refuse("catalog.maxentries", "must be at least 1");
    }
    if config.tags.maxtags == 0 {
        return refuse("tags.maxtags", "must be at least 1");
    }
    Ok(())
}

fn refuse<T>(path: &str, message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Key { path: path.into(), message: message.into() })
}

fn require(path: &str, given: &str) -> Result<(), Error> {
    if given.is_empty() { refuse(path, "must be set") } else { Ok(()) }
}

fn require_web_address(path: &str, given: &str) -> Result<(), Error> {
    let authority = given.strip_prefix("http://").or_else(|| given.strip_prefix("https://"));
    match authority {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(()),
        // The text may hold a password, so it is not shown.
        _ => refuse(path, "is not an address that begins with http:// or https://"),
    }
}

fn require_port(path: &str, addr: &str) -> Result<(), Error> {
    if addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
        return refuse(path, format!("{addr:?} is not HOST:PORT; write for example :5000"));
    }
    Ok(())
}

fn check_http(http: &Http) -> Result<(), Error> {
    let debug = http.debug.as_ref().map(|debug| ("http.debug.addr", &debug.addr));
    let api = (http.net == Net::Tcp).then_some(("http.addr", &http.addr));
    for (path, addr) in api.into_iter().chain(debug) {
        require_port(path, addr)?;
    }
    if debug.is_some_and(|(_, addr)| *addr == http.addr && !addr.ends_with(":0")) {
        return refuse("http.debug.addr", "the same address as http.addr: the debug port must be another");
    }
    let prefix = http.prefix.as_str();
    if !prefix.is_empty() && (!prefix.starts_with('/') || !prefix.ends_with('/')) {
        return refuse("http.prefix", format!("{prefix:?} must begin and end with a slash"));
    }
    if let Some(host) =
        http.host.as_deref().filter(|host| !host.starts_with("http://") && !host.starts_with("https://"))
    {
        return refuse("http.host", format!("{host:?} is not an address: write https://{host}"));
    }
    http.tls.as_ref().map_or(Ok(()), check_tls)
}

fn check_tls(tls: &Tls) -> Result<(), Error> {
    if let Some(acme) = &tls.letsencrypt
        && acme.hosts.is_empty()
    {
        return refuse("http.tls.letsencrypt.hosts", "names no host to get a certificate for");
    }
    match tls.clientauth {
        Some(mode) if tls.clientcas.is_empty() && mode != ClientAuth::RequestClientCert => {
            let mode = mode.as_str();
            let message = format!(
                "{mode} has no effect without http.tls.clientcas, and every client would be let in: name there the \
                 authorities that sign the certificates of clients, or remove clientauth"
            );
            return refuse("http.tls.clientauth", message);
        }
        _ => {}
    }
    match (&tls.certificate, &tls.key, &tls.letsencrypt) {
        (Some(_), Some(_), None) | (None, None, Some(_)) => Ok(()),
        (Some(_), None, _) => refuse("http.tls.key", "must be set where http.tls.certificate is"),
        (None, Some(_), _) => refuse("http.tls.certificate", "must be set where http.tls.key is"),
        (None, None, None) => refuse("http.tls", "names no certificate: set certificate and key, or letsencrypt"),
        (Some(_), Some(_), Some(_)) => {
            refuse("http.tls.letsencrypt", "cannot stand beside certificate and key: keep one of the two")
        }
    }
}

/// Refuses what cannot stand in a header: the challenge that clients get.
fn require_header(path: &str, given: &str) -> Result<(), Error> {
    if given.chars().all(|c| matches!(c, ' '..='~')) {
        return Ok(());
    }
    refuse(path, "must be of ASCII characters that can be printed: clients get it in a header")
}

fn check_driver(driver: &Driver) -> Result<(), Error> {
    match driver {
        Driver::InMemory => Ok(()),
        Driver::Filesystem(Filesystem { rootdirectory, .. }) => {
            require("storage.filesystem.rootdirectory", &rootdirectory.to_string_lossy())
        }
        Driver::S3(s3) => check_s3(s3),
        Driver::Azure(azure) => check_azure(azure),
        Driver::Gcs(gcs) => check_gcs(gcs),
        Driver::Swift(swift) => check_swift(swift),
        Driver::Oss(oss) => check_oss(oss),
    }
}

/// Refuses credentials that stand beside a directory of them: which of the two counts would be a guess.
fn refuse_beside(directory: Option<&PathBuf>, driver: &str, keys: &[(&str, bool)]) -> Result<(), Error> {
    match keys.iter().find(|(_, is_set)| directory.is_some() && *is_set) {
        Some((key, _)) => {
            let path = format!("storage.{driver}.credentialsdirectory");
            refuse(&path, format!("cannot stand beside storage.{driver}.{key}: keep one of the two"))
        }
        None => Ok(()),
    }
}

fn check_s3(s3: &S3) -> Result<(), Error> {
    require("storage.s3.bucket", &s3.bucket)?;
    let inline = [
        ("accesskey", s3.accesskey.is_some()),
        ("secretkey", s3.secretkey.is_some()),
        ("sessiontoken", s3.sessiontoken.is_some()),
    ];
    refuse_beside(s3.credentialsdirectory.as_ref(), "s3", &inline)?;
    if s3.region.is_none() && s3.regionendpoint.is_none() {
        return refuse("storage.s3.region", "must be set unless regionendpoint is");
    }
    match (&s3.accesskey, &s3.secretkey) {
        (Some(_), None) => return refuse("storage.s3.secretkey", "must be set where accesskey is"),
        (None, Some(_)) => return refuse("storage.s3.accesskey", "must be set where secretkey is"),
        _ => {}
    }
    for (path, bytes) in
        [("storage.s3.chunksize", s3.chunksize), ("storage.s3.multipartcopychunksize", s3.multipartcopychunksize)]
    {
        if !(S3::MIN_CHUNK_BYTES..=S3::MAX_CHUNK_BYTES).contains(&bytes) {
            let message = format!("must be from {} to {} bytes", S3::MIN_CHUNK_BYTES, S3::MAX_CHUNK_BYTES);
            return refuse(path, message);
        }
    }
    if s3.multipartcopymaxconcurrency == 0 {
        return refuse("storage.s3.multipartcopymaxconcurrency", "must be at least 1");
    }
    if s3.multipartcopythresholdsize > S3::MAX_CHUNK_BYTES {
        return refuse("storage.s3.multipartcopythresholdsize", format!("must be at most {}", S3::MAX_CHUNK_BYTES));
    }
    if !s3.v4auth && s3.regionendpoint.is_none() {
        return refuse("storage.s3.v4auth", "must be true: Amazon S3 takes no other signature");
    }
    Ok(())
}

fn check_azure(azure: &Azure) -> Result<(), Error> {
    let is_in_directory = azure.credentialsdirectory.is_some();
    // The directory may hold a connection string, which names the account.
    if azure.connectionstring.is_none() && !is_in_directory {
        require("storage.azure.accountname", &azure.accountname)?;
    }
    require("storage.azure.container", &azure.container)?;
    let inline = [
        ("accountkey", azure.accountkey.is_some()),
        ("connectionstring", azure.connectionstring.is_some()),
        ("credentials.secret", azure.credentials.as_ref().is_some_and(|credentials| credentials.secret.is_some())),
    ];
    refuse_beside(azure.credentialsdirectory.as_ref(), "azure", &inline)?;
    if azure.max_retries < -1 {
        return refuse("storage.azure.max_retries", "must be at least -1");
    }
    let Some(credentials) = &azure.credentials else { return Ok(()) };
    match credentials.kind {
        AzureCredentialsKind::DefaultCredentials => Ok(()),
        AzureCredentialsKind::SharedKey if azure.accountkey.is_some() || is_in_directory => Ok(()),
        AzureCredentialsKind::SharedKey => {
            refuse("storage.azure.accountkey", "must be set where credentials.type is shared_key")
        }
        AzureCredentialsKind::ClientSecret => {
            let missing = [
                ("clientid", credentials.clientid.is_none()),
                ("tenantid", credentials.tenantid.is_none()),
                ("secret", credentials.secret.is_none() && !is_in_directory),
            ];
            match missing.iter().find(|(_, is_missing)| *is_missing) {
                Some((key, _)) => refuse(
                    &format!("storage.azure.credentials.{key}"),
                    "must be set where credentials.type is client_secret",
                ),
                None => Ok(()),
            }
        }
    }
}

fn check_gcs(gcs: &Gcs) -> Result<(), Error> {
    require("storage.gcs.bucket", &gcs.bucket)?;
    if gcs.chunksize == 0 || !gcs.chunksize.is_multiple_of(Gcs::CHUNK_UNIT_BYTES) {
        return refuse("storage.gcs.chunksize", format!("must be a multiple of {} bytes", Gcs::CHUNK_UNIT_BYTES));
    }
    if gcs.keyfile.is_some() && !gcs.credentials.is_empty() {
        return refuse("storage.gcs.credentials", "cannot stand beside keyfile: keep one of the two");
    }
    gcs.endpoint.as_ref().map_or(Ok(()), |endpoint| require_web_address("storage.gcs.endpoint", endpoint))
}

fn check_swift(swift: &Swift) -> Result<(), Error> {
    require_web_address("storage.swift.authurl", &swift.authurl)?;
    // The name of a user is no secret, and may stand here while the directory holds the rest.
    let inline = [
        ("password", swift.password.is_some()),
        ("secretkey", swift.secretkey.is_some()),
        ("accesskey", swift.accesskey.is_some()),
    ];
    refuse_beside(swift.credentialsdirectory.as_ref(), "swift", &inline)?;
    if swift.credentialsdirectory.is_none() {
        require("storage.swift.username", &swift.username)?;
        if swift.password.is_none() {
            return refuse("storage.swift.password", "must be set");
        }
    }
    require("storage.swift.container", &swift.container)?;
    if swift.chunksize < Swift::MIN_CHUNK_BYTES {
        return refuse("storage.swift.chunksize", format!("must be at least {} bytes", Swift::MIN_CHUNK_BYTES));
    }
    if swift.authversion.is_some_and(|version| !(1..=3).contains(&version)) {
        return refuse("storage.swift.authversion", "must be 1, 2 or 3");
    }
    Ok(())
}

fn check_oss(oss: &Oss) -> Result<(), Error> {
    let inline = [("accesskeyid", !oss.accesskeyid.is_empty()), ("accesskeysecret", oss.accesskeysecret.is_some())];
    refuse_beside(oss.credentialsdirectory.as_ref(), "oss", &inline)?;
    // Neither: the keys, or the role, that the process has been given.
    match (oss.accesskeyid.is_empty(), oss.accesskeysecret.is_some()) {
        (false, false) => return refuse("storage.oss.accesskeysecret", "must be set beside storage.oss.accesskeyid"),
        (true, true) => return refuse("storage.oss.accesskeyid", "must be set beside storage.oss.accesskeysecret"),
        _ => {}
    }
    require("storage.oss.region", &oss.region)?;
    require("storage.oss.bucket", &oss.bucket)?;
    if oss.chunksize < Oss::MIN_CHUNK_BYTES {
        return refuse("storage.oss.chunksize", format!("must be at least {} bytes", Oss::MIN_CHUNK_BYTES));
    }
    Ok(())
}

fn check_middleware(Middleware { registry, repository, storage }: &Middleware) -> Result<(), Error> {
    for (list, layers) in [("registry", registry), ("repository", repository)] {
        if let Some(Layer { name, .. }) = layers.first() {
            let message = format!("{name:?} is not known; neither Berth nor Distribution has one of these");
            return refuse(&format!("middleware.{list}.0.name"), message);
        }
    }
    storage.iter().enumerate().try_for_each(|(index, layer)| check_layer(index, layer))
}

fn check_layer(index: usize, Layer { name, options, .. }: &Layer) -> Result<(), Error> {
    let known: &[(&str, bool)] = match name.as_str() {
        "cloudfront" => &[
            ("baseurl", options.baseurl.is_some()),
            ("privatekey", options.privatekey.is_some()),
            ("keypairid", options.keypairid.is_some()),
        ],
        "redirect" => &[("baseurl", options.baseurl.is_some())],
        "rewrite" => &[],
        "alicdn" => &[
            ("baseurl", options.baseurl.is_some()),
            ("authtype", options.authtype.is_some()),
            ("privatekey", options.privatekey.is_some()),
        ],
        _ => {
            let message = format!("{name:?} is not known; write one of cloudfront, redirect, rewrite, alicdn");
            return refuse(&format!("middleware.storage.{index}.name"), message);
        }
    };
    match known.iter().find(|(_, is_set)| !is_set) {
        Some((option, _)) => {
            refuse(&format!("middleware.storage.{index}.options.{option}"), format!("must be set for {name}"))
        }
        None => Ok(()),
    }
}

fn check_notifications(notifications: &Notifications) -> Result<(), Error> {
    const ACTIONS: [&str; 4] = ["pull", "push", "mount", "delete"];
    for (index, endpoint) in notifications.endpoints.iter().enumerate() {
        let path = |key: &str| format!("notifications.endpoints.{index}.{key}");
        require(&path("name"), &endpoint.name)?;
        require_web_address(&path("url"), &endpoint.url)?;
        if notifications.endpoints[..index].iter().any(|other| other.name == endpoint.name) {
            return refuse(&path("name"), format!("{:?} is the name of two endpoints", endpoint.name));
        }
        if let Some(action) = endpoint.ignore.actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
            let message = format!("{action:?} is not known; write one of {}", ACTIONS.join(", "));
            return refuse(&path("ignore.actions"), message);
        }
    }
    Ok(())
}

fn check_proxy(proxy: &Proxy) -> Result<(), Error> {
    require_web_address("proxy.remoteurl", &proxy.remoteurl)?;
    if let Some(exec) = &proxy.exec {
        require("proxy.exec.command", &exec.command)?;
    }
    Ok(())
}

fn check_health(Health { storagedriver: _, file, http, tcp }: &Health) -> Result<(), Error> {
    for (index, entry) in file.iter().enumerate() {
        require(&format!("health.file.{index}.file"), &entry.file.to_string_lossy())?;
    }
    for (index, entry) in http.iter().enumerate() {
        require_web_address(&format!("health.http.{index}.uri"), &entry.uri)?;
        if !(100..=599).contains(&entry.statuscode) {
            return refuse(&format!("health.http.{index}.statuscode"), "must be from 100 to 599");
        }
    }
    tcp.iter().enumerate().try_for_each(|(index, entry)| require_port(&format!("health.tcp.{index}.addr"), &entry.addr))
}

fn check_indexes(indexes: &IndexValidation) -> Result<(), Error> {
    let path = "validation.manifests.indexes.platformlist";
    match (indexes.platforms, indexes.platformlist.is_empty()) {
        (Platforms::List, true) => refuse(path, "must be set where platforms is list"),
        (Platforms::All | Platforms::None, false) => refuse(path, "has a use only where platforms is list"),
        _ => Ok(()),
    }
}
