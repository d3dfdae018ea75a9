//! From settings to an account that can be asked: which account, where it is, and what opens it.
//!
//! [`plan`] decides, without a look at the network or the disk; [`Access`] is a plan that was carried out.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use object_store::azure::{AzureAccessKey, AzureCredential, authority_hosts, split_sas};

use super::connection::{self, Connection};
use super::options::{AzureLogin, AzureOptions};
use super::sas::Delegation;
use super::tokens::Tokens;
use crate::http::Http;
use crate::{BoxError, StoreError};

/// The domain of the public cloud.
const REALM: &str = "core.windows.net";

/// What the files of a directory of credentials hold, each named as in the configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) accountkey: Option<String>,
    pub(super) connectionstring: Option<String>,
    pub(super) secret: Option<String>,
}

/// What the settings come to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Plan {
    account: String,
    endpoint: String,
    opener: Opener,
}

/// What opens the account.
#[derive(Clone, PartialEq, Eq)]
enum Opener {
    Key(String),
    Signature(String),
    Entra(Entra),
}

/// How a token is to be had from Microsoft Entra.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entra {
    /// Where tokens are given out.
    pub(super) authority: String,
    /// What is shown for them.
    pub(super) proof: Proof,
}

/// What shows Microsoft Entra who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The secret of an application.
    Secret { tenant: String, client: String, secret: String },
    /// A token of the cluster, in a file.
    Workload { tenant: String, client: String, file: String },
    /// The machine or the service itself, at an address that only it can reach.
    Managed { client: Option<String>, address: Option<String> },
}

/// Decides what opens which account. Files go before what is inline, and that before the environment.
pub(super) fn plan(
    options: &AzureOptions,
    files: &Files,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, StoreError> {
    let connection = files.connectionstring.as_deref().or(options.connection_string.as_deref());
    let connection = connection.map(Connection::parse).transpose()?.unwrap_or_default();
    let (service_url, signature) = match options.service_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) => Some(connection::split_signature(url)).unzip(),
        None => (None, None),
    };
    let endpoint = service_url.or(connection.endpoint);
    // Inline, a key of its own is more particular than the connection string; a file is always newer.
    let inline = options.account_key.clone().filter(|_| files.connectionstring.is_none());
    let own_key = files.accountkey.clone().or(inline);
    let named = Some(options.account_name.clone()).filter(|name| !name.is_empty());
    // What opens an account belongs to the account that is named beside it.
    let account = match own_key.is_some() {
        true => named.or(connection.account),
        false => connection.account.or(named),
    };
    let account = account.or_else(|| endpoint.as_deref().and_then(connection::account_of));
    let account = account.ok_or_else(|| unset("accountname", "the account has to be named"))?;
    let realm = if options.realm.is_empty() { REALM } else { &options.realm };
    let endpoint = endpoint.unwrap_or_else(|| format!("https://{account}.blob.{realm}"));
    let encrypted = check_endpoint(&endpoint)?;
    let opener = match &options.login {
        None | Some(AzureLogin::SharedKey) => {
            match (own_key.or(connection.key), connection.signature.or(signature.flatten())) {
                (Some(key), _) => Opener::Key(key),
                (None, Some(signature)) => Opener::Signature(signature),
                (None, None) => return Err(unset("accountkey", "is needed, or a connection string, or credentials")),
            }
        }
        Some(_) if !encrypted => {
            return Err(unset("serviceurl", "must begin with https:// where tokens of Microsoft Entra are sent"));
        }
        Some(login) => {
            let authority = options.authority.clone().or_else(|| environment("AZURE_AUTHORITY_HOST"));
            let authority = authority.unwrap_or_else(|| authority_of(realm).to_owned());
            let proof = plan_proof(login, files, environment)?;
            Opener::Entra(Entra { authority: authority.trim_end_matches('/').to_owned(), proof })
        }
    };
    Ok(Plan { account, endpoint, opener })
}

/// Makes sure that an address can be one, and says whether it is encrypted.
fn check_endpoint(endpoint: &str) -> Result<bool, StoreError> {
    let address: Uri = endpoint.parse().map_err(|error| settings("serviceurl", error))?;
    match (address.scheme_str(), address.host()) {
        (Some("https"), Some(_)) => Ok(true),
        (Some("http"), Some(_)) => Ok(false),
        _ => Err(unset("serviceurl", "must be an address that begins with http:// or https://")),
    }
}

fn plan_proof(
    login: &AzureLogin,
    files: &Files,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Proof, StoreError> {
    Ok(match login {
        AzureLogin::SharedKey => return Err(unset("credentials.type", "shared_key asks nothing of Microsoft Entra")),
        AzureLogin::ClientSecret { tenant_id, client_id, secret } => {
            let needed =
                |value: Option<&String>, key| value.cloned().ok_or_else(|| unset(key, "is needed for client_secret"));
            Proof::Secret {
                tenant: needed(tenant_id.as_ref(), "credentials.tenantid")?,
                client: needed(client_id.as_ref(), "credentials.clientid")?,
                secret: needed(files.secret.as_ref().or(secret.as_ref()), "credentials.secret")?,
            }
        }
        AzureLogin::Default { tenant_id, client_id } => {
            let tenant = tenant_id.clone().or_else(|| environment("AZURE_TENANT_ID"));
            let client = client_id.clone().or_else(|| environment("AZURE_CLIENT_ID"));
            let secret = environment("AZURE_CLIENT_SECRET");
            let file = environment("AZURE_FEDERATED_TOKEN_FILE");
            match (tenant, client, secret, file) {
                (Some(tenant), Some(client), Some(secret), _) => Proof::Secret { tenant, client, secret },
                (Some(tenant), Some(client), None, Some(file)) => Proof::Workload { tenant, client, file },
                (None, ..) | (_, None, ..) if environment("AZURE_FEDERATED_TOKEN_FILE").is_some() => {
                    let text =
                        "workload identity needs AZURE_TENANT_ID and AZURE_CLIENT_ID beside the file of the token";
                    return Err(unset("credentials", text));
                }
                // App Service and its relatives say where to ask; a machine has one fixed address for it.
                (_, client, ..) => {
                    let address = environment("IDENTITY_HEADER").and_then(|_| environment("IDENTITY_ENDPOINT"));
                    Proof::Managed { client, address }
                }
            }
        }
    })
}

/// Who gives out the tokens of a cloud.
fn authority_of(realm: &str) -> &'static str {
    match realm {
        realm if realm.ends_with("chinacloudapi.cn") => authority_hosts::AZURE_CHINA,
        realm if realm.ends_with("usgovcloudapi.net") => authority_hosts::AZURE_GOVERNMENT,
        _ => authority_hosts::AZURE_PUBLIC_CLOUD,
    }
}

/// An account that can be asked.
pub(super) struct Access {
    /// Its name.
    pub(super) account: String,
    /// Its address, without a slash at its end.
    pub(super) endpoint: String,
    /// What opens it.
    pub(super) login: Login,
    /// The key that signs addresses where the account's own is not known.
    pub(super) delegation: Delegation,
}

/// What opens an account, ready for use.
pub(super) enum Login {
    /// The account's key, as it is and as the signer of requests has it.
    Key { bytes: Vec<u8>, credential: Arc<AzureCredential> },
    /// A shared access signature.
    Signature(Arc<AzureCredential>),
    /// Tokens, which are fetched when they are needed and kept until they end.
    Entra(Box<Tokens>),
}

impl Access {
    /// Carries out a plan.
    pub(super) fn new(plan: Plan, container: &str, http: &Http) -> Result<Self, StoreError> {
        let Plan { account, endpoint, opener } = plan;
        let login = match opener {
            Opener::Key(key) => {
                let invalid = |_| unset("accountkey", "is not what Azure gives out: it must be base64");
                let bytes = STANDARD.decode(key.trim()).map_err(invalid)?;
                let credential = AzureAccessKey::try_new(key.trim()).map_err(|error| settings("accountkey", error))?;
                Login::Key { bytes, credential: AzureCredential::AccessKey(credential).into() }
            }
            Opener::Signature(signature) => {
                let invalid = |_| unset("connectionstring", "its shared access signature has a part without `=`");
                Login::Signature(AzureCredential::SASToken(split_sas(&signature).map_err(invalid)?).into())
            }
            Opener::Entra(plan) => Login::Entra(Box::new(Tokens::new(plan, &account, container, http.clone())?)),
        };
        Ok(Access { account, endpoint, login, delegation: Delegation::default() })
    }

    /// What a request is signed with.
    pub(super) async fn credential(&self) -> Result<Arc<AzureCredential>, StoreError> {
        match &self.login {
            Login::Key { credential, .. } | Login::Signature(credential) => Ok(credential.clone()),
            Login::Entra(tokens) => tokens.current().await,
        }
    }

    /// Gives up what a request was signed with, since the service does not believe it. Says whether there may be another.
    pub(super) async fn give_up(&self, used: &Arc<AzureCredential>) -> bool {
        match &self.login {
            Login::Key { .. } | Login::Signature(_) => false,
            Login::Entra(tokens) => tokens.give_up(used).await,
        }
    }
}

fn unset(key: &str, what: &'static str) -> StoreError {
    settings(key, what)
}

/// An error about one of the driver's settings.
pub(super) fn settings(key: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: format!("storage.azure.{key}"), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a plan comes to, in one line.
    fn shown(plan: &Plan) -> String {
        let opener = match &plan.opener {
            Opener::Key(key) => format!("key {key}"),
            Opener::Signature(signature) => format!("signature {signature}"),
            Opener::Entra(Entra { authority, proof }) => {
                let proof = match proof {
                    Proof::Secret { tenant, client, secret } => format!("secret {tenant} {client} {secret}"),
                    Proof::Workload { tenant, client, file } => format!("workload {tenant} {client} {file}"),
                    Proof::Managed { client, address } => format!("managed {client:?} {address:?}"),
                };
                format!("{authority} {proof}")
            }
        };
        format!("{} {} {opener}", plan.account, plan.endpoint)
    }

    fn check(options: &AzureOptions, files: &Files, environment: &[(&str, &str)], expected: &str) {
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let found = match plan(options, files, &lookup) {
            Ok(plan) => shown(&plan),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    fn options() -> AzureOptions {
        AzureOptions { account_name: "acct".into(), realm: "core.windows.net".into(), ..AzureOptions::default() }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn keys_and_connection_strings_have_an_order() {
        let none = Files::default();
        let keyed = AzureOptions { account_key: text("a2V5"), ..options() };
        check(&keyed, &none, &[], "acct https://acct.blob.core.windows.net key a2V5");
        check(&options(), &none, &[], "storage.azure.accountkey: is needed, or a connection string, or credentials");
        let rotated = Files { accountkey: text("bmV3"), ..none.clone() };
        check(&keyed, &rotated, &[], "acct https://acct.blob.core.windows.net key bmV3");
        let string = "AccountName=other;AccountKey=c3Ry;EndpointSuffix=core.example";
        let with_string = AzureOptions { account_name: String::new(), connection_string: text(string), ..options() };
        check(&with_string, &none, &[], "other https://other.blob.core.example key c3Ry");
        let both = AzureOptions { connection_string: text(string), ..keyed.clone() };
        check(&both, &none, &[], "acct https://other.blob.core.example key a2V5");
        let file = Files { connectionstring: text("AccountName=other;AccountKey=ZmlsZQ=="), ..none.clone() };
        check(&both, &file, &[], "other https://other.blob.core.windows.net key ZmlsZQ==");
        let signed = "BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature=sig=x";
        let signed = AzureOptions { connection_string: text(signed), ..options() };
        check(&signed, &none, &[], "acct https://acct.blob.core.windows.net signature sig=x");
    }

    #[test]
    fn the_address_is_the_one_that_is_set_or_made_from_account_and_realm() {
        let none = Files::default();
        let unsaid = AzureOptions { realm: String::new(), account_key: text("a2V5"), ..options() };
        check(&unsaid, &none, &[], "acct https://acct.blob.core.windows.net key a2V5");
        let at = |url: &str| AzureOptions { service_url: text(url), account_key: text("a2V5"), ..options() };
        check(&at("http://azurite:10000/acct/"), &none, &[], "acct http://azurite:10000/acct key a2V5");
        check(
            &at("azurite:10000"),
            &none,
            &[],
            "storage.azure.serviceurl: must be an address that begins with http:// or https://",
        );
        let unnamed = AzureOptions { account_name: String::new(), ..at("https://acct.blob.core.windows.net") };
        check(&unnamed, &none, &[], "acct https://acct.blob.core.windows.net key a2V5");
        let nowhere = AzureOptions { account_name: String::new(), ..options() };
        check(&nowhere, &none, &[], "storage.azure.accountname: the account has to be named");
    }

    #[test]
    fn an_application_is_known_by_its_secret() {
        let login = |secret: Option<&str>| AzureLogin::ClientSecret {
            tenant_id: text("tenant"),
            client_id: text("client"),
            secret: secret.map(str::to_owned),
        };
        let with = |secret| AzureOptions { login: Some(login(secret)), ..options() };
        let at = "acct https://acct.blob.core.windows.net https://login.microsoftonline.com";
        check(&with(Some("s")), &Files::default(), &[], &format!("{at} secret tenant client s"));
        let file = Files { secret: text("new"), ..Files::default() };
        check(&with(None), &file, &[], &format!("{at} secret tenant client new"));
        let missing = "storage.azure.credentials.secret: is needed for client_secret";
        check(&with(None), &Files::default(), &[], missing);
        let abroad = AzureOptions { realm: "core.chinacloudapi.cn".into(), ..with(Some("s")) };
        check(
            &abroad,
            &Files::default(),
            &[],
            "acct https://acct.blob.core.chinacloudapi.cn https://login.chinacloudapi.cn secret tenant client s",
        );
        let open = AzureOptions { service_url: text("http://azurite:10000/acct"), ..with(Some("s")) };
        check(
            &open,
            &Files::default(),
            &[],
            "storage.azure.serviceurl: must begin with https:// where tokens of Microsoft Entra are sent",
        );
    }

    #[test]
    fn default_credentials_take_what_the_environment_has() {
        let options =
            AzureOptions { login: Some(AzureLogin::Default { tenant_id: None, client_id: None }), ..options() };
        let none = Files::default();
        let at = "acct https://acct.blob.core.windows.net";
        let names = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_AUTHORITY_HOST", "https://login.x/")];
        let with = |more: &[(&'static str, &'static str)]| [names.as_slice(), more].concat();
        let federated = ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token");
        check(&options, &none, &with(&[federated]), &format!("{at} https://login.x workload t c /var/run/token"));
        let secret = ("AZURE_CLIENT_SECRET", "s");
        check(&options, &none, &with(&[federated, secret]), &format!("{at} https://login.x secret t c s"));
        check(&options, &none, &with(&[]), &format!("{at} https://login.x managed Some(\"c\") None"));
        let service = [("IDENTITY_ENDPOINT", "http://localhost/token"), ("IDENTITY_HEADER", "h")];
        let managed = "https://login.microsoftonline.com managed None Some(\"http://localhost/token\")";
        check(&options, &none, &service, &format!("{at} {managed}"));
        let alone = "storage.azure.credentials: workload identity needs AZURE_TENANT_ID and AZURE_CLIENT_ID beside the \
                     file of the token";
        check(&options, &none, &[federated], alone);
    }
}
