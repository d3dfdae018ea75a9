//! Whether a configuration can be served: what it says by itself, and what the files hold that it names.
//!
//! Each judgement is made by the function that the server starts with, so that one cannot be told what the other denies.
//! What only the network knows, such as whether an address is free or a name resolves, is not asked.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use berth_config::{Config, Method};
use berth_storage::Memory;

use crate::health::Health;
use crate::reach::Reach;
use crate::tls::Policy;
use crate::{acme, auth, issuer, read_only_file, redirects, settings, transport};

/// Refuses a configuration that the server would not start with, as far as that is seen without looking at a file.
///
/// # Errors
/// What is wrong; the key is named.
pub(crate) fn check(config: &Config) -> Result<()> {
    settings::refuse_unsupported(config)?;
    settings::rules(config)?;
    settings::headers(config)?;
    redirects::check(config)?;
    match method(config) {
        Some(Method::Token(token)) => auth::token::check(token)?,
        Some(Method::Issuer(settings)) => issuer::check(settings)?,
        Some(Method::Htpasswd(_) | Method::Silly(_)) | None => {}
    }
    if let Some(tls) = &config.http.tls {
        Policy::new(tls, !config.http.http2.disabled)?;
        tls.letsencrypt.as_ref().map_or(Ok(()), acme::check)?;
    }
    // Which store it is says nothing about the rest.
    Health::of(&config.health, Arc::new(Reach::new(Arc::new(Memory::new()))))?;
    Ok(())
}

fn method(config: &Config) -> Option<&Method> {
    config.auth.as_ref().and_then(|auth| auth.method.as_ref())
}

/// Each file that the server reads at its start or while it runs, with its key.
fn named(config: &Config) -> Vec<(String, PathBuf)> {
    let mut files: Vec<(&'static str, Option<&PathBuf>)> = Vec::new();
    if let Some(tls) = &config.http.tls {
        let directory_ca = tls.letsencrypt.as_ref().and_then(|acme| acme.directoryca.as_ref());
        files.extend([("http.tls.certificate", tls.certificate.as_ref()), ("http.tls.key", tls.key.as_ref())]);
        files.extend(tls.clientcas.iter().map(|path| ("http.tls.clientcas", Some(path))));
        files.push(("http.tls.letsencrypt.directoryca", directory_ca));
    }
    if let Some(Method::Htpasswd(htpasswd)) = method(config) {
        files.push(("auth.htpasswd.path", Some(&htpasswd.path)));
    }
    if let Some(Method::Token(token)) = method(config) {
        files.push(("auth.token.rootcertbundle", token.rootcertbundle.as_ref()));
        files.push(("auth.token.jwkscafile", token.jwkscafile.as_ref()));
    }
    if let Some(Method::Issuer(issuer)) = method(config) {
        files.push(("auth.issuer.keys", Some(&issuer.keys)));
        files.push(("auth.issuer.htpasswd.path", issuer.htpasswd.as_ref().map(|file| &file.path)));
        files.extend(issuer.oidc.iter().map(|oidc| ("auth.issuer.oidc[].cafile", oidc.cafile.as_ref())));
        let accounts = issuer.serviceaccounts.as_ref();
        files.push(("auth.issuer.serviceaccounts.cafile", accounts.map(|accounts| &accounts.cafile)));
        files.push(("auth.issuer.serviceaccounts.tokenfile", accounts.map(|accounts| &accounts.tokenfile)));
    }
    let admin = config.http.debug.as_ref().and_then(|debug| debug.admin.as_ref());
    files.extend([
        ("compatibility.schema1.signingkeyfile", config.compatibility.schema1.signingkeyfile.as_ref()),
        ("http.debug.admin.tokenfile", admin.map(|admin| &admin.tokenfile)),
        ("storage.maintenance.readonly.file", config.storage.maintenance.readonly.file.as_ref()),
    ]);
    let files = files.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path?.clone())));
    files.chain(redirects::files(config)).collect()
}

/// What is to be said of files that are not here. They may be where the server will run.
pub(crate) fn absent(config: &Config) -> Vec<String> {
    let files = named(config).into_iter().filter(|(_, path)| !path.exists());
    files.map(|(key, path)| format!("{key}: there is no {} here", path.display())).collect()
}

/// Reads the files as the server does.
///
/// # Errors
/// Which file cannot be used, and why; the key is named.
pub(crate) async fn read_files(config: &Config) -> Result<()> {
    if let Some(tls) = &config.http.tls {
        transport::read_files(tls, !config.http.http2.disabled)?;
    }
    let issuer = settings::issuer(config).await?;
    settings::authenticator(config, issuer.as_ref()).await?;
    settings::signer(config)?;
    redirects::read_files(config)?;
    if let Some(admin) = config.http.debug.as_ref().and_then(|debug| debug.admin.as_ref()) {
        let read = std::fs::read_to_string(&admin.tokenfile);
        read.with_context(|| format!("http.debug.admin.tokenfile: cannot read {}", admin.tokenfile.display()))?;
    }
    if let Some(file) = &config.storage.maintenance.readonly.file {
        read_only_file::read(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::load(&format!("version: 0.1\nstorage: inmemory\n{text}"), []).unwrap().config
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_its_key() {
        for (text, expected) in [
            ("http: {headers: {'X A': [a]}}", "http.headers: \"X A\" is no header name"),
            ("http: {headers: {X-A: [\"a\\nb\"]}}", "http.headers.X-A: a value is invalid"),
            (
                "http: {tls: {certificate: /c, key: /k, ciphersuites: [FOO]}}",
                "http.tls.ciphersuites: FOO is not offered",
            ),
            (
                "http: {tls: {letsencrypt: {cachefile: /c, hosts: ['*.example']}}}",
                "http.tls.letsencrypt.hosts: \"*.example\"",
            ),
            ("validation: {manifests: {urls: {allow: ['(']}}}", "validation.manifests.urls.allow[0]"),
            ("health: {tcp: [{addr: ':1'}, {addr: ':1'}]}", "health: \":1\" is looked at by two checks"),
            ("health: {http: [{uri: 'http://a b'}]}", "health.http.0.uri"),
            ("proxy: {remoteurl: 'https://r.example'}", "proxy: "),
        ] {
            let error = format!("{:#}", check(&config(text)).unwrap_err());
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        check(&Config::default()).unwrap();
        check(&config("http: {tls: {certificate: /c, key: /k}}\nauth: {htpasswd: {realm: r, path: /p}}")).unwrap();
    }

    #[tokio::test]
    async fn files_are_looked_for_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let text = format!(
            "http: {{tls: {{certificate: {0}, key: {1}, clientcas: [{2}]}}, debug: {{addr: ':1', admin: {{tokenfile: {3}}}}}}}\n\
             auth: {{htpasswd: {{realm: r, path: {4}}}}}\ncompatibility: {{schema1: {{signingkeyfile: {5}}}}}\n",
            path("crt"),
            path("key"),
            path("ca"),
            path("token"),
            path("users"),
            path("trust")
        );
        let config = config(&text);
        let keys: Vec<String> =
            absent(&config).iter().map(|warning| warning.split(": ").next().unwrap().to_owned()).collect();
        let expected = [
            "http.tls.certificate",
            "http.tls.key",
            "http.tls.clientcas",
            "auth.htpasswd.path",
            "compatibility.schema1.signingkeyfile",
            "http.debug.admin.tokenfile",
        ];
        assert_eq!(keys, expected);
        // One after the other is made, and the next one is complained of.
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        for (name, content, complaint) in [
            ("crt", made.cert.pem(), "http.tls.certificate: cannot read "),
            ("key", made.signing_key.serialize_pem(), "http.tls.key: cannot read "),
            ("ca", made.cert.pem(), "http.tls.clientcas: cannot read "),
            ("users", String::new(), "auth.htpasswd.path: "),
            (
                "trust",
                include_str!("../tests/data/schema1/trustkey.pem").to_owned(),
                "compatibility.schema1.signingkeyfile: cannot read ",
            ),
            ("token", "secret".to_owned(), "http.debug.admin.tokenfile: cannot read "),
        ] {
            let error = format!("{:#}", read_files(&config).await.unwrap_err());
            assert!(error.starts_with(complaint), "{name}: {error}");
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        read_files(&config).await.unwrap();
        assert!(absent(&config).is_empty());
    }
}
