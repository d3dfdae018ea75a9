//! What the types cannot say: which values fit together. Each refusal names the key.

use crate::load::Error;
use crate::{Config, Http, Net, Tls};

/// Checks a configuration in force.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    check_http(&config.http)?;
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

fn check_http(http: &Http) -> Result<(), Error> {
    let debug = http.debug.as_ref().map(|debug| ("http.debug.addr", &debug.addr));
    let api = (http.net == Net::Tcp).then_some(("http.addr", &http.addr));
    for (path, addr) in api.into_iter().chain(debug) {
        if addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
            return refuse(path, format!("{addr:?} is not HOST:PORT; write for example :5000"));
        }
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
