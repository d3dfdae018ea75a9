//! Connection strings: an account, where it is, and what opens it, in one text of `Name=value` pairs between semicolons.

use http::Uri;

use crate::{BoxError, StoreError};

/// The account that the emulators of the service have, and its key, which is no secret.
const EMULATED_ACCOUNT: &str = "devstoreaccount1";
const EMULATED_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What a connection string says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Connection {
    /// The account, if it is named.
    pub(super) account: Option<String>,
    /// Its key.
    pub(super) key: Option<String>,
    /// A shared access signature, without a question mark.
    pub(super) signature: Option<String>,
    /// The address of the account, without a slash at its end.
    pub(super) endpoint: Option<String>,
}

impl Connection {
    /// Reads a connection string. What another service of the account would need is passed over.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let (mut found, mut protocol, mut suffix) = (Connection::default(), None, None);
        let (mut emulated, mut emulator) = (false, None);
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            // Neither the pair nor its value may be shown: who knows what has slipped.
            let (name, value) = pair.split_once('=').ok_or_else(|| wrong("has a part without `=`"))?;
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let value = value.to_owned();
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => found.account = Some(value),
                "accountkey" => found.key = Some(value),
                "sharedaccesssignature" => found.signature = Some(value.trim_start_matches('?').to_owned()),
                "blobendpoint" => found.endpoint = Some(value),
                "defaultendpointsprotocol" => protocol = Some(value),
                "endpointsuffix" => suffix = Some(value),
                "usedevelopmentstorage" => emulated = value.eq_ignore_ascii_case("true"),
                "developmentstorageproxyuri" => emulator = Some(value),
                _ => {}
            }
        }
        if emulated {
            let host = emulator.unwrap_or_else(|| "http://127.0.0.1".to_owned());
            found.account.get_or_insert_with(|| EMULATED_ACCOUNT.to_owned());
            found.key.get_or_insert_with(|| EMULATED_KEY.to_owned());
            found.endpoint.get_or_insert_with(|| format!("{}:10000/{EMULATED_ACCOUNT}", host.trim_end_matches('/')));
        }
        if let Some((address, signature)) = found.endpoint.take().as_deref().map(split_signature) {
            found.signature = found.signature.or(signature);
            found.endpoint = Some(address);
        } else if let (Some(account), Some(suffix)) = (&found.account, suffix) {
            let protocol = protocol.as_deref().unwrap_or("https");
            found.endpoint = Some(format!("{protocol}://{account}.blob.{suffix}"));
        }
        Ok(found)
    }
}

/// An address and the shared access signature that may stand behind it.
pub(super) fn split_signature(address: &str) -> (String, Option<String>) {
    let trimmed = |address: &str| address.trim_end_matches('/').to_owned();
    match address.split_once('?') {
        Some((address, signature)) => (trimmed(address), Some(signature.to_owned()).filter(|text| !text.is_empty())),
        None => (trimmed(address), None),
    }
}

/// The account that an address belongs to: the first part of its host, or of its path where the host has no such part.
pub(super) fn account_of(address: &str) -> Option<String> {
    let address: Uri = address.parse().ok()?;
    let from_path = address.path().split('/').find(|part| !part.is_empty());
    let from_host = address.host()?.split_once('.').filter(|(_, domain)| domain.contains("blob."));
    from_host.map(|(account, _)| account).or(from_path).map(str::to_owned)
}

fn wrong(what: &str) -> StoreError {
    StoreError::Settings { key: "storage.azure.connectionstring".to_owned(), source: BoxError::from(what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, account: &str, opened_by: &str, endpoint: &str) {
        let found = Connection::parse(text).unwrap();
        let named = found.account.clone().or_else(|| account_of(found.endpoint.as_deref()?));
        assert_eq!(named.as_deref().unwrap_or_default(), account, "{text}");
        let opener = match (&found.key, &found.signature) {
            (Some(key), None) => format!("key {key}"),
            (None, Some(signature)) => format!("signature {signature}"),
            other => format!("{other:?}"),
        };
        assert_eq!(opener, opened_by, "{text}");
        assert_eq!(found.endpoint.as_deref().unwrap_or_default(), endpoint, "{text}");
    }

    #[test]
    fn every_form_of_a_connection_string_is_understood() {
        check(
            "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=a2V5==;EndpointSuffix=core.windows.net",
            "acct",
            "key a2V5==",
            "https://acct.blob.core.windows.net",
        );
        check("AccountName=acct;AccountKey=a2V5", "acct", "key a2V5", "");
        check(
            " accountname = acct ; accountkey = a2V5 ; EndpointSuffix=core.chinacloudapi.cn ; ",
            "acct",
            "key a2V5",
            "https://acct.blob.core.chinacloudapi.cn",
        );
        check(
            "BlobEndpoint=https://acct.blob.core.windows.net/;QueueEndpoint=https://acct.queue.core.windows.net/;\
             SharedAccessSignature=sv=2022-11-02&sig=a%2Bb%3D",
            "acct",
            "signature sv=2022-11-02&sig=a%2Bb%3D",
            "https://acct.blob.core.windows.net",
        );
        check(
            "BlobEndpoint=https://acct.blob.core.windows.net/?sv=2022-11-02&sig=x",
            "acct",
            "signature sv=2022-11-02&sig=x",
            "https://acct.blob.core.windows.net",
        );
        check(
            "BlobEndpoint=http://azurite:10000/other;AccountName=named;AccountKey=a2V5;",
            "named",
            "key a2V5",
            "http://azurite:10000/other",
        );
        check(
            "BlobEndpoint=http://127.0.0.1:10000/first;SharedAccessSignature=?sig=x",
            "first",
            "signature sig=x",
            "http://127.0.0.1:10000/first",
        );
        let emulated = format!("key {EMULATED_KEY}");
        check("UseDevelopmentStorage=true", EMULATED_ACCOUNT, &emulated, "http://127.0.0.1:10000/devstoreaccount1");
        check(
            "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite",
            EMULATED_ACCOUNT,
            &emulated,
            "http://azurite:10000/devstoreaccount1",
        );
    }

    #[test]
    fn a_malformed_connection_string_is_refused_without_a_word_of_it() {
        let error = Connection::parse("AccountName=acct;s3cr3t").err().unwrap().to_string();
        assert_eq!(error, "storage.azure.connectionstring: has a part without `=`");
    }
}
